import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
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
  folder = mkdtempSync(join(tmpdir(), 'enginelight-bad-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Scraped {
  readonly minutes: number;
  /** Seconds that the clock of the recorder is wrong by, at a time. */
  readonly skew?: (second: number) => number;
  readonly labels?: (second: number) => Record<string, string>;
  readonly value?: (second: number) => string;
}

/** Scrapes of vLLM every 15 s. */
function lines({ minutes, skew = () => 0, labels = () => ({ replica: 'r0' }), value }: Scraped): string[] {
  const out: string[] = [];
  for (let s = 0; s <= minutes * 60; s += 15) {
    const count = s * 4;
    const load = 2 + (s % 300) / 30;
    const body = [
      '# TYPE vllm:num_requests_running gauge',
      `vllm:num_requests_running{model_name="m"} ${value?.(s) ?? load}`,
      '# TYPE vllm:generation_tokens counter',
      `vllm:generation_tokens_total{model_name="m"} ${value?.(s) ?? count * 100}`,
      '# TYPE vllm:request_success counter',
      `vllm:request_success_total{model_name="m",finished_reason="stop"} ${count}`,
      '# TYPE vllm:time_to_first_token_seconds histogram',
      `vllm:time_to_first_token_seconds_bucket{model_name="m",le="+Inf"} ${count}`,
      `vllm:time_to_first_token_seconds_sum{model_name="m"} ${count * 0.5}`,
      `vllm:time_to_first_token_seconds_count{model_name="m"} ${count}`,
      '',
    ].join('\n');
    const time = new Date(START + (s + skew(s)) * 1000).toISOString();
    const url = 'http://10.0.0.7:8000/metrics';
    out.push(JSON.stringify({ scrape: { time, url, labels: labels(s), status: 200, body } }));
  }
  return out;
}
function file(name: string, content: string | Buffer | readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, Array.isArray(content) ? `${content.join('\n')}\n` : (content as string | Buffer));
  return path;
}
const compared = (...args: string[]) => runCommand(compare, args, { registry });
const kept = (...args: string[]) => runCommand(baseline, args, { registry });

describe('compare and baseline with recordings that are not as they should be', () => {
  test('a single line is nothing to compare, and says so', async () => {
    const one = file('one.jsonl', lines({ minutes: 0 }));
    const ran = await compared(one, one);
    expect(ran.code).toBe(0);
    expect(ran.out).toMatch(/None of the signals|fewer than 5|NOT DECIDED/);
    const base = await kept(one);
    expect(base.code).toBe(1);
    expect(base.out).toContain('There is no load');
  });

  test('a gzip that ends early gives what came before', async () => {
    const packed = gzipSync(`${lines({ minutes: 40 }).join('\n')}\n`);
    const cut = file('cut.jsonl.gz', packed.subarray(0, Math.floor(packed.length * 0.9)));
    const ran = await compared(cut, cut, '--format', 'json');
    expect(ran.err).toContain('the file ends early');
    expect(JSON.parse(ran.out).metrics.length).toBeGreaterThan(0);
    expect((await kept(cut)).err).toContain('the file ends early');
  });

  test('several services in a recording are kept apart, and one that is in one side only is not compared', async () => {
    const mixed = (names: readonly string[]) =>
      names.flatMap((service, i) =>
        lines({ minutes: 20, labels: () => ({ replica: `r${i}`, service }), skew: () => i }),
      );
    const sorted = (all: string[]) => all.sort((a, b) => (a.slice(0, 60) < b.slice(0, 60) ? -1 : 1));
    const before = file('mixed1.jsonl', sorted(mixed(['chat', 'code'])));
    const after = file('mixed2.jsonl', sorted(mixed(['chat', 'search'])));
    const result = JSON.parse((await compared(before, after, '--format', 'json')).out);
    const services = new Set(result.metrics.map((m: { service: string }) => m.service));
    expect(services).toEqual(new Set(['chat', 'code', 'search']));
    for (const m of result.metrics) if (m.service !== 'chat') expect(m.verdict).toBe('inconclusive');
    const text = await kept(before);
    expect(text.out).toContain('Service chat');
    expect(text.out).toContain('Service code');
  });

  test('a clock that jumps forth or back costs minutes, not the comparison', async () => {
    const good = file('good.jsonl', lines({ minutes: 30 }));
    const jumps = [
      (s: number) => (s > 900 ? 7200 : 0),
      (s: number) => (s > 900 ? -600 : 0),
      (s: number) => (s === 900 ? 10 * 365 * 86_400 : 0),
      (s: number) => (s === 900 ? -50 * 365 * 86_400 : 0),
    ];
    for (const [i, skew] of jumps.entries()) {
      const odd = file(`jump${i}.jsonl`, lines({ minutes: 30, skew }));
      const ran = await compared(good, odd, '--format', 'json');
      expect(ran.code).toBe(0);
      const ttft = JSON.parse(ran.out).metrics.find((m: { signal: string }) => /first_token/.test(m.signal));
      expect(ttft.blocks[1]).toBeGreaterThanOrEqual(5);
      expect(['equivalent', 'inconclusive']).toContain(ttft.verdict);
      if (i >= 2) expect(ran.err).toMatch(i === 2 ? /its time lies 3650 days ahead/ : /^$/);
      const base = await kept(odd);
      expect(base.out).toMatch(/Service \S+, 1 replica/);
    }
  });

  test('NaN, infinities and text for numbers are no values', async () => {
    for (const value of ['NaN', '+Inf', '-Inf', '1e999', 'abc']) {
      const odd = file(`odd${value.length}.jsonl`, lines({ minutes: 12, value: () => value }));
      expect((await compared(odd, odd)).code).toBe(0);
      const ran = await kept(odd, '--format', 'json');
      expect(ran.out).not.toMatch(/NaN|Infinity/);
      expect([0, 1]).toContain(ran.code);
    }
  });

  test('labels of a hundred thousand characters, and markup and control characters, are cut and harmless', async () => {
    const name = `<script>alert(1)</script>\u001b[2J${'x'.repeat(100_000)}`;
    const evil = file('evil.jsonl', lines({ minutes: 8, labels: () => ({ replica: name, service: name }) }));
    const text = await compared(evil, evil);
    expect(text.out).not.toContain('\u001b');
    expect(text.out.length).toBeLessThan(10_000);
    const html = await compared(evil, evil, '--format', 'html');
    expect(html.out).not.toContain('<script');
    expect(html.out).not.toContain('\u001b');
    expect(html.out.length).toBeLessThan(200_000);
    expect((await kept(evil)).out).not.toContain('\u001b');
  });

  test('what cannot be written is said, and fails', async () => {
    const good = file('w.jsonl', lines({ minutes: 12 }));
    for (const ran of [
      await compared(good, good, '--output', join(folder, 'none', 'x.json')),
      await kept(good, '--output', join(folder, 'none', 'x.json')),
    ]) {
      expect(ran.code).toBe(1);
      expect(ran.err).toMatch(/could not be written/);
    }
  });
});
