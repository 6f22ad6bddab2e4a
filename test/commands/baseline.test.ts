import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { baseline } from '../../commands/baseline.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { exporters } from '../../exporters/index.ts';
import { processors } from '../../processors/index.ts';
import { receivers } from '../../receivers/index.ts';
import { runCommand } from '../kit/command.ts';

const registry = { receivers: [], processors, exporters: [], extensions: [], catalog: loadCatalog() };
const START = Date.parse('2026-05-01T12:00:00Z');
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-baseline-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What an engine with 40 seats says under some load: tokens a second, time to first token. */
const SEATS = 40;
const carried = (load: number) => 50 * Math.min(load, SEATS);
const ttft = (load: number) => (load <= SEATS ? 0.1 : 3);

/** A sweep: a minute and a half of each load on one vLLM replica, scraped every five seconds. */
function sweep(name: string, loads: readonly number[], label = 'r0'): string {
  const lines: string[] = [];
  let [tokens, done, sum, good] = [0, 0, 0, 0];
  loads.forEach((load, level) => {
    for (let s = 0; s < 90; s += 5) {
      const now = carried(load) / 100;
      tokens += carried(load) * 5;
      done += now * 5;
      sum += ttft(load) * now * 5;
      if (ttft(load) <= 1) good += now * 5;
      const body = [
        '# TYPE vllm:num_requests_running gauge',
        `vllm:num_requests_running{model_name="m"} ${Math.min(load, SEATS)}`,
        '# TYPE vllm:num_requests_waiting gauge',
        `vllm:num_requests_waiting{model_name="m"} ${Math.max(0, load - SEATS)}`,
        '# TYPE vllm:kv_cache_usage_perc gauge',
        `vllm:kv_cache_usage_perc{model_name="m"} ${Math.min(load, SEATS) / 80}`,
        '# TYPE vllm:generation_tokens counter',
        `vllm:generation_tokens_total{model_name="m"} ${tokens}`,
        '# TYPE vllm:request_success counter',
        `vllm:request_success_total{model_name="m",finished_reason="stop"} ${done}`,
        '# TYPE vllm:time_to_first_token_seconds histogram',
        ...['0.2', '1.0', '+Inf'].map(
          (le) => `vllm:time_to_first_token_seconds_bucket{model_name="m",le="${le}"} ${le === '+Inf' ? done : good}`,
        ),
        `vllm:time_to_first_token_seconds_sum{model_name="m"} ${sum}`,
        `vllm:time_to_first_token_seconds_count{model_name="m"} ${done}`,
        '',
      ].join('\n');
      const time = new Date(START + (level * 90 + s) * 1000).toISOString();
      const labels = { replica: label, service: 'chat' };
      lines.push(JSON.stringify({ scrape: { time, url: 'http://10.0.0.7:8000/metrics', labels, status: 200, body } }));
    }
  });
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
}
const run = (...args: string[]) => runCommand(baseline, args, { registry, cwd: folder });
const LOADS = [2, 5, 10, 16, 24, 32, 48, 64, 90];

describe('enginelight baseline', () => {
  test('finds knee, capacity, the load within the objective and what runs out, and keeps them', async () => {
    const ran = await run(sweep('sweep.jsonl', LOADS), '--slo', 'ttft=1s', '--output', 'base.json');
    expect(ran.err).toBe('');
    expect(ran.code).toBe(0);
    expect(ran.out).toContain('Service chat, 1 replica');
    const kept = JSON.parse(readFileSync(join(folder, 'base.json'), 'utf8'));
    expect(kept.schema).toBe('enginelight.baseline/v1');
    const [service] = kept.services;
    expect(service.knee.status).toBe('found');
    expect(Math.abs(service.knee.load.value / SEATS - 1)).toBeLessThan(0.15);
    expect(service.knee.load.low).toBeLessThanOrEqual(SEATS);
    expect(service.knee.load.high).toBeGreaterThanOrEqual(SEATS);
    expect(service.capacity.tokens_per_s.value).toBeCloseTo(2000, -2);
    // Between the last level that holds, 32, and the first that does not, 48.
    expect(service.feasible.load).toBeGreaterThan(30);
    expect(service.feasible.load).toBeLessThan(48);
    const kv = service.resources.find((r: { signal: string }) => r.signal === 'inference.kv.usage');
    expect(kv.used).toBeCloseTo(0.4, 1);
    expect(kv.full_at_tokens_per_s).toBeGreaterThan(3000);
    expect(service.minutes['inference.tokens.generated'].length).toBeGreaterThan(10);
  });

  test('takes the objectives of the config where none are named', async () => {
    const path = sweep('again.jsonl', LOADS);
    const file = join(folder, 'config.yaml');
    const parts = ['processors: { normalize: {}, bottleneck: { slo: { ttft: 1s, objective: 0.9 } } }'];
    parts.push('receivers: { hooks: {} }', 'exporters: { debug: {} }');
    parts.push(
      'service: { pipelines: { inference: { receivers: [hooks], processors: [normalize, bottleneck], exporters: [debug] } } }',
    );
    writeFileSync(file, parts.join('\n'));
    const all = { ...registry, receivers, exporters };
    const ran = await runCommand(baseline, [path, '--format', 'json', '--config', file], {
      registry: all,
      cwd: folder,
    });
    expect(ran.err).toBe('');
    expect(JSON.parse(ran.out).services[0].feasible).toMatchObject({
      objectives: { ttft: 1 },
      share: 0.9,
      open: false,
    });
  });

  test('says what is missing: a sweep that was too short, one that never got to the knee, none at all', async () => {
    expect((await run(sweep('few.jsonl', [4, 8, 16]))).out).toMatch(
      /Knee: not known, \d load levels were seen, 6 are needed/,
    );
    expect((await run(sweep('low.jsonl', [2, 4, 8, 12, 16, 24, 32]))).out).toMatch(/Knee: not reached/);
    const idle = await run(sweep('idle.jsonl', [0, 0]));
    expect(idle.out).toMatch(/0 load levels|There is no load/);
    writeFileSync(join(folder, 'empty.jsonl'), '');
    expect(await run('empty.jsonl')).toMatchObject({ code: 1, err: expect.stringContaining('There is nothing in') });
    expect(await run('none.jsonl')).toMatchObject({ code: 1 });
    expect(await run()).toMatchObject({ code: 2 });
    expect(await run('x', '--slo', 'ttft')).toMatchObject({ code: 2, err: expect.stringContaining('as in ttft=2s') });
    expect(await run('x', '--slo', 'p99=2s')).toMatchObject({ code: 2 });
    expect(await run('x', '--objective', '99')).toMatchObject({ code: 2, err: expect.stringContaining('0.99') });
  });

  test('takes recordings of single levels together', async () => {
    const files = LOADS.map((load, i) => sweep(`level${i}.jsonl`, [load]));
    const ran = await run(...files, '--format', 'json');
    expect(ran.err).toBe('');
    const { services } = JSON.parse(ran.out);
    expect(services).toHaveLength(1);
    expect(services[0].levels.length).toBe(LOADS.length);
    expect(services[0].knee.status).toBe('found');
  });

  test('a hostile name moves no cursor', async () => {
    const text = readFileSync(sweep('evil.jsonl', LOADS), 'utf8').replaceAll(
      '"service":"chat"',
      `"service":"\\u001b[2J<script>${'x'.repeat(5000)}"`,
    );
    writeFileSync(join(folder, 'evil.jsonl'), text);
    const ran = await run('evil.jsonl');
    expect(ran.out).not.toContain('\u001b');
    expect(ran.out.split('\n')[0]!.length).toBeLessThan(140);
  });
});
