import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waterfall } from '../../commands/waterfall.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { processors } from '../../processors/index.ts';
import { runCommand } from '../kit/command.ts';

const registry = { receivers: [], processors, exporters: [], extensions: [], catalog: loadCatalog() };
const START = Date.parse('2026-05-01T12:00:00Z');
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-waterfall-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const run = (...args: string[]) => runCommand(waterfall, args, { registry, cwd: folder });

/** vLLM's request spans: every twentieth waits. */
function spans(name: string, count: number, service = 'chat', id = (i: number) => `cmpl-0000aaaa${i}`): string {
  const lines: string[] = [];
  for (let i = 0; i < count; i++) {
    const queue = i % 20 === 19 ? 2 : 0.02 + (i % 5) / 1000;
    const nanos = (s: number) => String(BigInt(START) * 1_000_000n + BigInt(Math.round((i + s) * 1e9)));
    const told = {
      'gen_ai.request.id': id(i),
      'gen_ai.latency.time_to_first_token': queue + 0.105,
      'gen_ai.latency.time_in_queue': queue,
      'gen_ai.latency.time_in_model_prefill': 0.1,
    };
    const attributes = Object.entries(told).map(([key, value]) => ({
      key,
      value: typeof value === 'string' ? { stringValue: value } : { doubleValue: value },
    }));
    const span = {
      traceId: (i + 1).toString(16).padStart(32, '0'),
      spanId: (i + 1).toString(16).padStart(16, '0'),
      name: 'llm_request',
      kind: 2,
      startTimeUnixNano: nanos(0),
      endTimeUnixNano: nanos(queue + 1),
      attributes,
    };
    const resource = {
      attributes: [
        { key: 'service.name', value: { stringValue: service } },
        { key: 'service.instance.id', value: { stringValue: 'r0' } },
        { key: 'inference.engine', value: { stringValue: 'vllm' } },
      ],
    };
    lines.push(JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [span] }] }] }));
  }
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return name;
}

describe('enginelight waterfall', () => {
  test('says of which part slow requests have more, and shows the slowest', async () => {
    const { code, out, err } = await run(spans('a.jsonl', 200));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^chat: time to first token p50 127 ms, p95 \d+ ms over 200 requests\n/);
    expect(out).toMatch(/\n {2}queue +\d+\.\d ms +2\.00 s +\+1\.98 s +\+1\.98 s … \+1\.98 s\n/);
    expect(out).toMatch(/\n0000aaaa\d+ {2}2026-05-01T12:\S+ {2}r0 {2}2\.1\d s\n/);
    expect(out).toMatch(/unexplained +0\.00 ms/);
  });

  test('JSON adds up, and a page needs nothing else', async () => {
    spans('b.jsonl', 60);
    const json = JSON.parse((await run('b.jsonl', '--format', 'json', '--slowest', '2')).out);
    expect(json).toMatchObject({ schema: 'enginelight.waterfall/v1', requests: 60, without_first_token: 0 });
    expect(json.slowest).toHaveLength(2);
    for (const request of json.slowest) {
      const sum = Object.values<number>(request.parts).reduce((all, part) => all + part, request.remainder);
      expect(sum).toBeCloseTo(request.ttft, 4);
    }
    expect((await run('b.jsonl', '--output', 'b.html')).code).toBe(0);
    const page = readFileSync(join(folder, 'b.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).not.toMatch(/<script|src=|href=|@import/);
    expect(page).toContain('queue is 100 % of what makes slow requests slow');
  });

  test('one request can be asked for; one that is not there is said', async () => {
    spans('c.jsonl', 30);
    const found = await run('c.jsonl', '--request', 'aaaa19');
    expect(found.out).toContain('0000aaaa19');
    expect(found.out).not.toContain('The slowest');
    const none = await run('c.jsonl', '--request', 'nobody');
    expect(none).toMatchObject({ code: 1, out: '' });
  });

  test('where only histograms are, means are taken apart, and what they leave is a number', async () => {
    const lines: string[] = [];
    for (let i = 0; i < 5; i++) {
      const family = (name: string, mean: number) =>
        [
          `# TYPE vllm:${name} histogram`,
          `vllm:${name}_bucket{model_name="m",le="+Inf"} ${i * 100}`,
          `vllm:${name}_sum{model_name="m"} ${i * 100 * mean}`,
          `vllm:${name}_count{model_name="m"} ${i * 100}`,
        ].join('\n');
      const body = `${family('time_to_first_token_seconds', 0.5)}\n${family('request_queue_time_seconds', 0.3)}\n${family('request_prefill_time_seconds', 0.15)}\n`;
      const time = new Date(START + i * 15_000).toISOString();
      const labels = { replica: 'r0', service: 'chat' };
      lines.push(JSON.stringify({ scrape: { time, url: 'http://10.0.0.7:8000/metrics', labels, status: 200, body } }));
    }
    writeFileSync(join(folder, 'm.jsonl'), lines.join('\n'));
    const { code, out } = await run('m.jsonl');
    expect(code).toBe(0);
    expect(out).toBe(
      [
        'chat: mean time to first token 500 ms over 400 requests, from histograms: there are no spans',
        '  queue                    300 ms',
        '  prefill                  150 ms',
        '  unexplained             50.0 ms',
        '',
      ].join('\n'),
    );
    expect((await run('m.jsonl', '--output', 'm.html')).code).toBe(0);
  });

  test('hostile names are harmless in every form', async () => {
    const evil = '<script>alert(1)</script>\u001b[31m\u202e"&';
    spans('evil.jsonl', 30, `${evil}${'x'.repeat(1e5)}`, (i) => `cmpl-${evil}${i}${i === 29 ? 'y'.repeat(400) : ''}`);
    const text = (await run('evil.jsonl')).out;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
    expect(text.length).toBeLessThan(10_000);
    const page = (await run('evil.jsonl', '--format', 'html')).out;
    for (const bad of ['<script', '\u202e', '\u001b']) expect(page).not.toContain(bad);
    expect(page.length).toBeLessThan(100_000);
  });

  test('nothing to take apart is said, and exits with 1', async () => {
    writeFileSync(join(folder, 'empty.jsonl'), '\n');
    expect((await run('empty.jsonl')).code).toBe(1);
    writeFileSync(join(folder, 'event.jsonl'), `{"event":{"time":"2026-05-01T12:00:00Z","kind":"deploy"}}\n`);
    const { code, err } = await run('event.jsonl');
    expect(code).toBe(1);
    expect(err).toContain('neither request spans nor a histogram');
    expect((await run('missing.jsonl')).code).toBe(1);
    expect((await run()).code).toBe(2);
    expect((await run('a.jsonl', '--slowest', 'many')).code).toBe(2);
  });
});
