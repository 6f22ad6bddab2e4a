import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { RetryableError } from '../../../pipeline/errors.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { type HistogramPoint, isHistogramPoint } from '../../../pipeline/model.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { ncclInspector } from '../../../receivers/nccl_inspector/index.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

let dir: string;
let running: Running | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-inspector-'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function started(more: Record<string, unknown> = {}) {
  const context = testContext();
  const next = sink();
  const config = resolve(ncclInspector.config, {
    include: [join(dir, '*.log')],
    labels: { replica: 'r0' },
    start_at: 'beginning',
    ...more,
  });
  running = await ncclInspector.start(config, next, context);
  const look = (done?: () => boolean) => looking(context.clock as ManualClock, 1000, done);
  return { context, next, look };
}

const DUMPED = 1_748_030_377_748_202;
const line = (rank: number, seq: number, took = 61_974, more: object = {}) =>
  `${JSON.stringify({
    header: { id: '0x7f8c496ae9f661', comm_name: 'TP', rank, n_ranks: 2, nnodes: 1 },
    metadata: {
      inspector_output_format_version: 'v4.0',
      git_rev: '',
      rec_mechanism: 'nccl_profiler_interface',
      dump_timestamp_us: DUMPED + seq * 100_000,
      hostname: 'n1',
      pid: 100 + rank,
    },
    coll_perf: {
      coll: 'AllReduce',
      coll_sn: seq,
      coll_msg_size_bytes: 17_179_869_184,
      coll_exec_time_us: took,
      coll_timing_source: 'kernel_gpu',
      coll_algobw_gbs: 277.210914,
      coll_busbw_gbs: 485.119099,
      ...more,
    },
  })}\n`;

test('a line becomes a collective, and adds to its histogram and bandwidth', async () => {
  const { next, look } = await started();
  appendFileSync(join(dir, 'rank0.log'), line(0, 1407) + line(0, 1408, 1500));
  await look(() => next.points().length >= 2);
  const [span] = next.spans();
  expect(span!.name).toBe('collective');
  expect(span!.resource.attributes).toMatchObject({
    'service.instance.id': 'r0',
    'host.name': 'n1',
    'process.pid': 100,
  });
  expect(span!.attributes).toEqual({
    'comm.id': '0x7f8c496ae9f661',
    'comm.seq': 1407,
    'comm.op': 'all_reduce',
    'comm.bytes': 17_179_869_184,
    'comm.size': 2,
    'comm.rank': 0,
    'comm.backend': 'nccl',
    'hook.clock': 'device',
  });
  expect(Number(span!.endTime - span!.startTime)).toBeCloseTo(61_974_000, -3);
  const [duration, bandwidth] = next.points();
  expect(isHistogramPoint(duration!)).toBe(true);
  expect((duration as HistogramPoint).count).toBe(2);
  expect((duration as HistogramPoint).sum).toBeCloseTo(0.063474, 6);
  expect(bandwidth).toMatchObject({ value: 485_119_099_000 });
  expect(bandwidth!.series.metric.name).toBe('inference.comm.bus_bandwidth');
});

test('where kernels were traced, the last one says when it ended', async () => {
  const { next, look } = await started();
  const trace = {
    coll_start_ts: 1,
    coll_stop_ts: 2,
    kernel_events: [{ kernel_stop_ts: DUMPED - 400 }, { kernel_stop_ts: DUMPED - 500 }],
  };
  appendFileSync(join(dir, 'rank0.log'), line(0, 1, 100, { event_trace_ts: trace }));
  await look(() => next.spans().length > 0);
  expect(next.spans()[0]!.endTime / 1000n).toBe(BigInt(DUMPED - 400));
});

test('sends and receives have a peer', async () => {
  const { next, look } = await started();
  const p2p = JSON.parse(line(0, 1));
  delete p2p.coll_perf;
  p2p.p2p_perf = {
    p2p: 'Send',
    p2p_sn: 3,
    p2p_peer: 1,
    p2p_msg_size_bytes: 9000,
    p2p_exec_time_us: 12,
    p2p_timing_source: 'collective_cpu',
  };
  appendFileSync(join(dir, 'rank0.log'), `${JSON.stringify(p2p)}\n`);
  await look(() => next.spans().length > 0);
  expect(next.spans()[0]!.attributes).toMatchObject({
    'comm.op': 'send',
    'comm.peer': 1,
    'comm.seq': 3,
    'hook.clock': 'host',
  });
});

test('the ranks of a group meet by sequence number where the detectors look', async () => {
  const { next, look } = await started();
  for (const rank of [0, 1]) {
    let text = '';
    for (let seq = 1; seq <= 300; seq++) text += line(rank, seq, rank === 0 ? 500 : 100);
    writeFileSync(join(dir, `rank${rank}.log`), text);
  }
  await look(() => next.spans().length >= 600);
  const events = createEvents(createTopology());
  events.spans(next.spans(), DUMPED / 1000);
  const [group] = events.groups.values();
  expect(group!.complete.items.length).toBe(300);
  expect([...group!.complete.items[0]!.durations].map(Math.round)).toEqual([1, 0]);
});

test('garbage, a line cut by a rotation, and lines of the future are left out and counted; the rest comes', async () => {
  const { context, next, look } = await started();
  const cut = line(0, 2);
  writeFileSync(
    join(dir, 'rank0.log'),
    `\u0000\u0001garbage\n{"header": {}}\n[1]\nnull\n${line(0, 1)}${cut.slice(0, 100)}`,
  );
  await look(() => next.spans().length >= 1);
  renameSync(join(dir, 'rank0.log'), join(dir, 'rank0.old'));
  writeFileSync(join(dir, 'rank0.log'), `${cut.slice(100)}${line(0, 3, 10, { something_new: [{}] })}`);
  await look(() => next.spans().length >= 2 && context.measured.drops.length >= 6);
  expect(next.spans().map((s) => s.attributes['comm.seq'])).toEqual([1, 3]);
  expect(context.measured.drops.every((d) => d.reason === 'bad_line')).toBe(true);
});

test('a full pipeline: nothing is lost or counted twice', async () => {
  const { next, look } = await started();
  next.failWith(new RetryableError('full'));
  writeFileSync(join(dir, 'rank0.log'), line(0, 1) + line(0, 2));
  await look();
  next.failWith(undefined);
  await look(() => next.points().length >= 2);
  expect(next.spans().length).toBe(2);
  expect((next.points()[0] as HistogramPoint).count).toBe(2);
});
