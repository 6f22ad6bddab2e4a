import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { baseline } from '../../commands/baseline.ts';
import { compare } from '../../commands/compare.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { processors } from '../../processors/index.ts';
import { runCommand } from '../kit/command.ts';

const registry = { receivers: [], processors, exporters: [], extensions: [], catalog: loadCatalog() };
const START = Date.parse('2026-05-01T12:00:00Z');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-compare-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A recording of one vLLM replica: time to first token is `ttft` seconds, load is `rps` requests a second. */
function recording(name: string, minutes: number, ttft: (minute: number) => number, rps = 4): string {
  const lines: string[] = [];
  let count = 0;
  let sum = 0;
  let state = minutes + name.length;
  for (let s = 0; s <= minutes * 60; s += 15) {
    const minute = s / 60;
    // Neighbours are independent, as far as arithmetic allows.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const jitter = 0.98 + (0.04 * state) / 2 ** 32;
    count += rps * 15;
    sum += rps * 15 * ttft(minute) * jitter;
    const body = [
      '# TYPE vllm:time_to_first_token_seconds histogram',
      ...['0.1', '1.0', '10.0', '+Inf'].map(
        (le) => `vllm:time_to_first_token_seconds_bucket{model_name="m",le="${le}"} ${le === '0.1' ? 0 : count}`,
      ),
      `vllm:time_to_first_token_seconds_sum{model_name="m"} ${sum}`,
      `vllm:time_to_first_token_seconds_count{model_name="m"} ${count}`,
      '# TYPE vllm:request_success counter',
      `vllm:request_success_total{model_name="m",finished_reason="stop"} ${count}`,
      '# TYPE vllm:num_requests_running gauge',
      'vllm:num_requests_running{model_name="m"} 3',
      '',
    ].join('\n');
    const time = new Date(START + s * 1000).toISOString();
    lines.push(
      JSON.stringify({
        scrape: { time, url: 'http://10.0.0.7:8000/metrics', labels: { replica: 'r0' }, status: 200, body },
      }),
    );
  }
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
}
/** A sweep over one vLLM replica that gives 50 tokens a second a request up to so many at once. */
function sweep(name: string, seats: number): string {
  const lines: string[] = [];
  let tokens = 0;
  [2, 5, 10, 15, 20, 30, 45, 60, 90].forEach((load, level) => {
    for (let s = 0; s < 90; s += 5) {
      tokens += 50 * Math.min(load, seats) * 5;
      const body = [
        '# TYPE vllm:num_requests_running gauge',
        `vllm:num_requests_running{model_name="m"} ${load}`,
        '# TYPE vllm:generation_tokens counter',
        `vllm:generation_tokens_total{model_name="m"} ${tokens}`,
        '# TYPE vllm:request_success counter',
        `vllm:request_success_total{model_name="m",finished_reason="stop"} ${tokens / 100}`,
        '',
      ].join('\n');
      const time = new Date(START + (level * 90 + s) * 1000).toISOString();
      lines.push(
        JSON.stringify({
          scrape: { time, url: 'http://10.0.0.7:8000/metrics', labels: { replica: 'r0' }, status: 200, body },
        }),
      );
    }
  });
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
}

const run = (...args: string[]) => runCommand(compare, args, { registry });
const TTFT = 'gen_ai.server.time_to_first_token';

describe('enginelight compare', () => {
  test('finds what got slower, says by how much and how sure, and exits with 1', async () => {
    const before = recording('before.jsonl', 20, () => 0.5);
    const after = recording('after.jsonl', 20, () => 0.6);
    const json = await run(before, after, '--format', 'json');
    expect(json.err).toBe('');
    expect(json.code).toBe(1);
    const result = JSON.parse(json.out);
    expect(result).toMatchObject({
      schema: 'enginelight.compare/v1',
      verdict: 'regressed',
      unit_of_analysis: 'minute',
    });
    const ttft = result.metrics.find((m: { signal: string; headline: boolean }) => m.signal === TTFT && m.headline);
    expect(ttft.verdict).toBe('regressed');
    expect(ttft.shift.ratio).toBeCloseTo(1.2, 1);
    expect(ttft.shift.low).toBeGreaterThan(1.17);
    expect(ttft.shift.high).toBeLessThan(1.23);
    const text = await run(before, after);
    expect(text.out).toMatch(/^WORSE/);
    expect(text.out).toContain('Replicas that changed:');
  });

  test('finds no difference between a recording and itself', async () => {
    const same = recording('same.jsonl', 20, () => 0.5);
    const ran = await run(same, same);
    expect(ran.code).toBe(0);
    expect(ran.out).not.toMatch(/WORSE|BETTER/);
  });

  test('compares two time ranges of one recording', async () => {
    const both = recording('both.jsonl', 40, (minute) => (minute < 20 ? 0.5 : 0.4));
    const ran = await run(`${both}@0m..20m`, `${both}@2026-05-01T12:20:00Z..`, '--format', 'json');
    expect(JSON.parse(ran.out).verdict).toBe('improved');
    expect(ran.code).toBe(0);
  });

  test('says that there is not enough, and what is needed', async () => {
    const short = recording('short.jsonl', 4, () => 0.5);
    const ran = await run(short, short);
    expect(ran.out).toMatch(/^NOT DECIDED/);
    expect(ran.out).toContain('fewer than 5 minutes on a side');
    expect((await run(short, short, '--strict')).code).toBe(1);
  });

  test('writes one HTML file that needs nothing else, with hostile names made harmless', async () => {
    const before = recording('h1.jsonl', 20, () => 0.5);
    const after = recording('h2.jsonl', 20, () => 0.6);
    const evil = '<img src=x onerror=alert(1)>\u202e';
    for (const file of [before, after]) {
      const text = readFileSync(file, 'utf8').replaceAll('"replica":"r0"', `"replica":${JSON.stringify(evil)}`);
      writeFileSync(file, text);
    }
    const page = join(folder, 'page.html');
    expect((await run(before, after, '--format', 'html', '--output', page)).code).toBe(1);
    const html = readFileSync(page, 'utf8');
    expect(html).toMatch(/^<!doctype html>/);
    expect(html).toContain("default-src 'none'");
    expect(html).toMatch(/<h1>Worse: gen_ai\.server\.time_to_first_token of .* \+/);
    expect(html).not.toMatch(/<img|<script|https?:|\u202e/);
    expect(html).toContain('&lt;img src=x');
    expect(html).toContain('Every replica (1)');
    expect(statSync(page).mode & 0o077).toBe(0);
  });

  test('one service a side is the same service, whatever it is called; two that differ are not matched', async () => {
    const before = recording('n1.jsonl', 20, () => 0.5);
    const after = recording('n2.jsonl', 20, () => 0.6);
    writeFileSync(after, readFileSync(after, 'utf8').replaceAll('"labels":{', '"labels":{"service":"new",'));
    const result = JSON.parse((await run(before, after, '--format', 'json')).out);
    expect(result.verdict).toBe('regressed');
    expect(result.load).toHaveLength(1);
    expect(result.load[0].service).toMatch(/ → new$/);
  });

  test('compares knee and capacity of two sweeps, and a baseline that was kept', async () => {
    const old = sweep('old.jsonl', 40);
    const now = sweep('now.jsonl', 30);
    const base = join(folder, 'base.json');
    const kept = await runCommand(baseline, [old, '--output', base], { registry });
    expect(kept.code).toBe(0);
    for (const side of [old, base]) {
      const result = JSON.parse((await run(side, now, '--format', 'json')).out);
      const [carried] = result.capacity;
      expect(carried.verdict).toBe('regressed');
      expect(carried.ratio.value).toBeCloseTo(0.75, 1);
      expect(carried.knee[0].value).toBeGreaterThan(carried.knee[1].value);
      expect(result.metrics.map((m: { signal: string }) => m.signal)).toContain('inference.tokens.generated');
    }
    const text = await run(base, now);
    expect(text.out).toMatch(/Capacity: .* tokens\/s, -2\d %/);
    const html = await run(old, now, '--format', 'html');
    expect(html.out).toContain('What it carries');
    writeFileSync(base, '{"schema": "enginelight.baseline/v2", "services": []}');
    expect(await run(base, now)).toMatchObject({ code: 1, err: expect.stringContaining('it is no baseline') });
  });

  test('names what cannot be compared: an empty file, no file, a wrong range, one recording only', async () => {
    const good = recording('good.jsonl', 4, () => 0.5);
    const empty = join(folder, 'empty.jsonl');
    writeFileSync(empty, '');
    expect(await run(good, empty)).toMatchObject({ code: 1, err: expect.stringContaining('There is nothing in') });
    expect((await run(good, join(folder, 'none.jsonl'))).code).toBe(1);
    expect(await run(good, `${good}@x..y`)).toMatchObject({ code: 2, err: expect.stringContaining('neither a time') });
    expect(await run(good)).toMatchObject({ code: 2, err: expect.stringContaining('name two recordings') });
  });
});
