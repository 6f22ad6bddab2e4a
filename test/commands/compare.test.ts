import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
