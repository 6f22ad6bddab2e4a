/** From a file that a library wrote to what the detectors say about it. */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import type { Running } from '../../pipeline/component.ts';
import { bottleneck } from '../../processors/bottleneck/index.ts';
import { correlation } from '../../processors/correlation/index.ts';
import { engineLog } from '../../receivers/engine_log/index.ts';
import { flightRecorder } from '../../receivers/flight_recorder/index.ts';
import { looking } from '../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../kit/harness.ts';

let dir: string;
let running: Running[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-feeds-'));
});
afterEach(async () => {
  for (const one of running) await one.stop();
  running = [];
  rmSync(dir, { recursive: true, force: true });
});

/** Both receivers in front of the processors that a pipeline has. */
async function started() {
  const context = testContext();
  const out = sink();
  const last = await bottleneck.start(resolve(bottleneck.config, {}), out, context);
  const next = await correlation.start(resolve(correlation.config, {}), last, context);
  const labels = { replica: 'r0', node: 'n1', service: 'llm' };
  const dumps = resolve(flightRecorder.config, { include: [join(dir, 'nccl_trace_rank_*')], labels });
  const logs = resolve(engineLog.config, { include: [join(dir, '*.log')], labels });
  running = [await flightRecorder.start(dumps, next, context), await engineLog.start(logs, next, context), next, last];
  const findings = () => out.logs().filter((r) => r.eventName === 'inference.finding');
  const look = (done: () => boolean) => looking(context.clock as ManualClock, 1000, done);
  return { findings, look, nowMs: context.clock.now() };
}

const dump = (rank: number, last: number, nowMs: number) => {
  const nanos = (agoMs: number) => `${BigInt(Math.round(nowMs - agoMs)) * 1_000_000n}`;
  const entries = Array.from({ length: last }, (_, i) => ({
    pg_id: 0,
    process_group: ['0', 'default_pg'],
    collective_seq_id: i + 1,
    profiling_name: 'nccl:all_reduce',
    time_created_ns: nanos(60_000),
    time_discovered_started_ns: nanos(50_000),
    ...(i < 3 ? { time_discovered_completed_ns: nanos(40_000), duration_ms: 1.5 } : {}),
    state: i < 3 ? 'completed' : 'started',
    input_sizes: [[4]],
    input_dtypes: ['Float'],
    is_p2p: false,
  }));
  const json = { version: '2.5', pg_config: { 0: { name: '0', desc: 'default_pg', ranks: '[0, 1, 2]' } }, entries };
  writeFileSync(join(dir, `nccl_trace_rank_${rank}`), JSON.stringify(json));
};

test('dumps of a job that hangs name the rank that never came', async () => {
  const { findings, look, nowMs } = await started();
  dump(0, 4, nowMs);
  dump(1, 3, nowMs);
  dump(2, 4, nowMs);
  await look(() => findings().length > 0);
  expect(findings()[0]!.attributes['finding.detector']).toBe('collective-stall');
  expect(findings()[0]!.body).toMatch(/all_reduce 4 of group r0\/0 is open .* missing: r0\/rank1/);
});

test('a log line about memory is a finding about its replica', async () => {
  const { findings, look } = await started();
  appendFileSync(join(dir, 'a.log'), 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n');
  await look(() => findings().length > 0);
  expect(findings()[0]!.attributes).toMatchObject({ 'finding.detector': 'gpu-oom-risk', 'entity.id': 'r0' });
});
