import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { readDump } from '../../../pipeline/kit/flight-recorder-dump.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { msFromNanos } from '../../../pipeline/model.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { flightRecorder } from '../../../receivers/flight_recorder/index.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

const dumps: Record<string, string> = JSON.parse(
  readFileSync(new URL('../../fixtures/pickle/python.json', import.meta.url), 'utf8'),
);
const evil: Record<string, string> = JSON.parse(
  readFileSync(new URL('../../fixtures/pickle/evil.json', import.meta.url), 'utf8'),
);
const bytes = (text: string) => Buffer.from(text, 'base64');

let dir: string;
let running: Running | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-fr-'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function started(more: Record<string, unknown> = {}) {
  const context = testContext();
  const next = sink();
  const config = resolve(flightRecorder.config, {
    include: [join(dir, 'nccl_trace_rank_*')],
    labels: { replica: 'r0', node: 'n1' },
    ...more,
  });
  running = await flightRecorder.start(config, next, context);
  const look = (done?: () => boolean) => looking(context.clock as ManualClock, 5000, done);
  return { context, next, look };
}

const WRITTEN = 1724779260;
function write(name: string, content: Buffer | string): void {
  writeFileSync(join(dir, name), content);
  utimesSync(join(dir, name), WRITTEN, WRITTEN);
}

test('a dump becomes the collectives that hang and those that were timed; the untimed ones are counted', async () => {
  const { context, next, look } = await started();
  write('nccl_trace_rank_1', bytes(dumps['protocol2']!));
  await look(() => next.spans().length >= 3);
  const spans = next.spans();
  expect(spans.map((s) => [s.attributes['comm.seq'], s.attributes['comm.op'], s.attributes['hook.open']])).toEqual([
    [1, 'all_reduce', undefined],
    [3, 'all_reduce', true],
    [5, 'send', true],
  ]);
  const [timed, open, send] = spans;
  expect(timed!.name).toBe('collective');
  expect(timed!.resource.attributes).toMatchObject({
    'service.instance.id': 'r0',
    'host.name': 'n1',
    'inference.rank': 1,
    'inference.world_size': 2,
  });
  expect(timed!.attributes).toMatchObject({
    'comm.id': '0',
    'comm.bytes': 24,
    'comm.size': 2,
    'comm.rank': 1,
    'comm.backend': 'nccl',
    'hook.clock': 'device',
  });
  expect(timed!.endTime - timed!.startTime).toBe(1_500_000n);
  expect(timed!.endTime).toBe(1724779240975811724n);
  expect(msFromNanos(open!.endTime)).toBe(WRITTEN * 1000);
  expect(open!.startTime).toBe(1724779242936800000n);
  expect(open!.attributes['hook.state']).toBe('started');
  expect(send!.attributes['comm.peer']).toBe(1);
  expect(context.measured.counters.get('receiver_flight_recorder_untimed')).toBe(1);
});

test('all protocols, and JSON, say the same', () => {
  const read = (text: string) => readDump(bytes(dumps[text]!));
  for (const protocol of [0, 1, 3, 4, 5]) expect(read(`protocol${protocol}`)).toEqual(read('protocol2'));
  const json = `{"version":"2.5","pg_config":{"0":{"name":"0","desc":"default_pg","ranks":"[0, 1]"}},
    "entries":[{"pg_id":0,"process_group":["0","default_pg"],"collective_seq_id":3,"p2p_seq_id":0,"is_p2p":false,
    "profiling_name":"nccl:_all_gather_base","time_created_ns":1724779239936775119,"duration_ms":"2.5","state":"completed",
    "time_discovered_completed_ns":1724779239975811724,"input_sizes":[[3,4]],"input_dtypes":["Float"]}]}`;
  expect(readDump(Buffer.from(json)).entries).toEqual([
    {
      group: '0',
      op: 'all_gather',
      backend: 'nccl',
      seq: 3,
      peer: undefined,
      bytes: 48,
      state: 'completed',
      created: 1724779239936775119n,
      started: undefined,
      completed: 1724779239975811724n,
      durationMs: 2.5,
      timeoutMs: undefined,
    },
  ]);
});

test('both ranks of a dump meet in the group that the hang detector looks at', async () => {
  const { next, look } = await started();
  write('nccl_trace_rank_0', bytes(dumps['protocol2']!));
  write('nccl_trace_rank_1', bytes(dumps['protocol4']!));
  await look(() => next.spans().length >= 6);
  const events = createEvents(createTopology());
  events.spans(next.spans(), 1_724_779_260_000);
  const [group] = events.groups.values();
  expect(group!.size).toBe(2);
  expect([...group!.open.keys()]).toEqual([0, 1]);
  expect(group!.complete.items.map((c) => c.seq)).toEqual([1]);
});

test('a pickle that wants to run something, garbage, half a dump: each is said, none stops the next', async () => {
  const { context, next, look } = await started();
  write('nccl_trace_rank_0', bytes(evil['nested2']!));
  write('nccl_trace_rank_1', bytes(dumps['protocol2']!));
  write('nccl_trace_rank_2', bytes(dumps['protocol2']!).subarray(0, 500));
  write('nccl_trace_rank_3', '{"entries": 7');
  write('nccl_trace_rank_4', 'hello');
  await look(() => next.spans().length >= 3 && context.measured.drops.length >= 4);
  expect(next.spans().length).toBe(3);
  expect(context.measured.drops.filter((d) => d.reason === 'bad_line').length).toBe(4);
  expect(context.log.records.some((r) => JSON.stringify(r).includes('posix.system'))).toBe(true);
});

test('what was there before the start is left alone, unless it is written again or asked for', async () => {
  write('nccl_trace_rank_0', bytes(dumps['protocol2']!));
  const { next, look } = await started();
  await look();
  expect(next.spans()).toEqual([]);
  writeFileSync(join(dir, 'nccl_trace_rank_0'), bytes(dumps['protocol2']!));
  await look(() => next.spans().length > 0);
  expect(next.spans().length).toBe(3);
  await running!.stop();
  const again = await started({ start_at: 'beginning' });
  await again.look(() => again.next.spans().length > 0);
  expect(again.next.spans().length).toBe(3);
});

test('after a restart with storage a dump is not read twice, and one of meanwhile is read', async () => {
  const storage = { directory: join(dir, 'state') };
  write('nccl_trace_rank_0', bytes(dumps['protocol2']!));
  const before = await started({ start_at: 'beginning', storage });
  await before.look(() => before.next.spans().length > 0);
  await running!.stop();
  write('nccl_trace_rank_1', bytes(dumps['protocol2']!));
  const after = await started({ start_at: 'beginning', storage });
  await after.look(() => after.next.spans().length > 0);
  expect(after.next.spans().map((s) => s.resource.attributes['inference.rank'])).toEqual([1, 1, 1]);
});
