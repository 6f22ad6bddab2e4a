import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { RetryableError } from '../../../pipeline/errors.ts';
import { readJsonElements } from '../../../pipeline/kit/json-elements.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { kineto } from '../../../receivers/kineto/index.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

let dir: string;
let running: Running | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-kineto-'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function started(more: Record<string, unknown> = {}) {
  const context = testContext();
  const next = sink();
  const config = resolve(kineto.config, {
    include: [join(dir, '*.json*')],
    labels: { replica: 'r0' },
    start_at: 'beginning',
    ...more,
  });
  running = await kineto.start(config, next, context);
  const look = (done?: () => boolean) => looking(context.clock as ManualClock, 10_000, done);
  return { context, next, look };
}

const BASE = 1_715_000_000_123_456_789n;
const kernel = (seq: number, ts: number, dur: number, more: object = {}) => ({
  ph: 'X',
  cat: 'kernel',
  name: 'ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)',
  pid: 0,
  tid: 20,
  ts,
  dur,
  args: {
    'External id': 7,
    device: 0,
    stream: 20,
    'Collective name': 'allreduce',
    'In msg nelems': 4096,
    'Out msg nelems': 4096,
    'Group size': 2,
    dtype: 'BFloat16',
    'Process Group Name': '3',
    'Process Group Description': 'tp:0',
    'Process Group Ranks': '[4, 5]',
    Seq: seq,
    ...more,
  },
});
const annotation = (cat: string, name: string, ts: number, dur: number) => ({
  ph: 'X',
  cat,
  name,
  pid: 1,
  tid: 1,
  ts,
  dur,
  args: {},
});
const head = (rank: number) =>
  `{"schemaVersion":1,"deviceProperties":[{"id":0,"name":"NVIDIA \\"H200\\" ]}"}],"distributedInfo":{"backend":"nccl","rank":${rank},"world_size":8}`;
const trace = (rank: number, events: object[], tail = `"baseTimeNanoseconds":${BASE}`) =>
  `${head(rank)},"displayTimeUnit":"ms","traceEvents":[\n${events.map((e) => JSON.stringify(e)).join(',\n')}\n],"traceName":"x.json",${tail}}`;

describe('the receiver', () => {
  test('kernels of collectives become spans at their absolute time, though it stands behind the events', async () => {
    const { next, look } = await started();
    const cpu = { ...kernel(7, 1, 2), cat: 'cpu_op', name: 'record_param_comms' };
    writeFileSync(
      join(dir, 'a.json'),
      trace(5, [cpu, kernel(7, 1000.25, 61.5), annotation('cpu_op', 'aten::add', 1, 2)]),
    );
    await look(() => next.spans().length > 0);
    expect(next.spans().length).toBe(1);
    const [span] = next.spans();
    expect(span!.startTime).toBe(BASE + 1_000_250n);
    expect(span!.endTime - span!.startTime).toBe(61_500n);
    expect(span!.attributes).toEqual({
      'comm.id': '3',
      'comm.seq': 7,
      'comm.op': 'all_reduce',
      'comm.bytes': 8192,
      'comm.size': 2,
      'comm.rank': 1,
      'comm.backend': 'nccl',
      'hook.clock': 'device',
    });
    expect(span!.resource.attributes).toMatchObject({
      'service.instance.id': 'r0',
      'inference.rank': 5,
      'inference.world_size': 8,
    });
  });

  test('steps have their time on the device beside that on the host', async () => {
    const { next, look } = await started();
    const events = [
      annotation('gpu_user_annotation', 'ProfilerStep#12', 150, 900),
      annotation('user_annotation', 'ProfilerStep#12', 100, 500),
      annotation('user_annotation', 'execute_context_2(512)_generation_16(16)', 10, 50),
    ];
    writeFileSync(join(dir, 'a.json.gz'), gzipSync(trace(0, events)));
    await look(() => next.spans().length > 1);
    expect(next.spans().map((s) => [s.name, s.attributes])).toEqual([
      ['engine_step', { 'hook.clock': 'host', 'step.prefill_tokens': 512, 'step.decode_seqs': 16 }],
      ['engine_step', { 'hook.clock': 'host', 'step.id': 12, 'step.gpu_time_ns': 900_000 }],
    ]);
  });

  test('the ranks of a group meet by sequence number where the detectors look', async () => {
    const { next, look } = await started();
    for (const rank of [4, 5]) {
      const events = Array.from({ length: 300 }, (_, i) => kernel(i, i * 1000, rank === 4 ? 500 : 100));
      writeFileSync(join(dir, `rank${rank}.json`), trace(rank, events));
    }
    await look(() => next.spans().length >= 600);
    const events = createEvents(createTopology());
    events.spans(next.spans(), 0);
    const [group] = events.groups.values();
    expect(group!.complete.items.length).toBe(300);
    expect([...group!.complete.items[9]!.durations]).toEqual([0.5, 0.1].map((n) => expect.closeTo(n, 2)));
  });

  test('a host backend is timed by its calls; older traces have absolute times and no numbers', async () => {
    const { next, look } = await started();
    const event = { ...kernel(0, 1_715_000_000_000_000.5, 10), cat: 'cpu_op', name: 'record_param_comms' };
    delete (event.args as Record<string, unknown>)['Seq'];
    writeFileSync(
      join(dir, 'a.json'),
      `{"distributedInfo":{"backend":"cpu:gloo","rank":4,"world_size":8},"traceEvents":[${JSON.stringify(event)}]}`,
    );
    await look(() => next.spans().length > 0);
    const [span] = next.spans();
    expect(span!.startTime).toBe(1_715_000_000_000_000_500n);
    expect(span!.attributes).toMatchObject({ 'comm.backend': 'gloo', 'hook.clock': 'host' });
    expect(span!.attributes['comm.seq']).toBeUndefined();
  });

  test('a trace that is cut off gives what it has; one that is none, or bad events, are said', async () => {
    const { context, next, look } = await started();
    const whole = trace(4, [kernel(1, 10, 1), kernel(2, 20, 1), kernel(3, 30, 1)], '"x":1');
    writeFileSync(join(dir, 'cut.json'), whole.slice(0, whole.lastIndexOf('"ph"')));
    writeFileSync(join(dir, 'none.json'), 'hello');
    writeFileSync(join(dir, 'list.json'), '[{"ph":"X"}]');
    writeFileSync(
      join(dir, 'bad.json'),
      '{"traceEvents":[{"Collective name": bad},{"ph":"X","args":{"Collective name":7}}]}',
    );
    await look(() => next.spans().length > 1 && context.measured.drops.length > 2);
    expect(next.spans().map((s) => s.attributes['comm.seq'])).toEqual([1, 2]);
    expect(context.measured.drops.length).toBe(3);
  });

  test('a pipeline that is full in the middle of a file gets the rest later, nothing twice', async () => {
    const { next, look } = await started();
    writeFileSync(
      join(dir, 'a.json'),
      trace(
        4,
        Array.from({ length: 5000 }, (_, i) => kernel(i, i, 1)),
      ),
    );
    const consume = next.consume.bind(next);
    let calls = 0;
    next.consume = (batch) => {
      if (++calls === 2) throw new RetryableError('full');
      return consume(batch);
    };
    await look(() => next.spans().length >= 5000);
    await look();
    expect(next.spans().map((s) => s.attributes['comm.seq'])).toEqual(Array.from({ length: 5000 }, (_, i) => i));
  });
});

describe('elements of a list in a file', () => {
  const read = async (content: string | Buffer, more: object = {}) => {
    writeFileSync(join(dir, 'x.json'), content);
    const elements: unknown[] = [];
    const beside: Record<string, unknown> = {};
    const result = await readJsonElements(join(dir, 'x.json'), {
      list: 'list',
      maxElementBytes: 1000,
      maxBytes: 10_000_000,
      element: (text) => void elements.push(JSON.parse(text.toString())),
      beside: (key, text) => {
        beside[key] = JSON.parse(text);
      },
      ...more,
    });
    return { elements, beside, result };
  };

  test('are those that JSON.parse finds, whatever stands beside and inside them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), { maxLength: 8 }),
        fc.dictionary(
          fc.string().filter((s) => s !== 'list' && !/["\\\p{C}]/u.test(s) && s !== ''),
          fc.jsonValue({ maxDepth: 2 }),
        ),
        fc.boolean(),
        async (list, other, gzip) => {
          const text = JSON.stringify({ ...other, list, list2: 1 }, null, 1);
          const { elements, beside, result } = await read(gzip ? gzipSync(text) : text, { maxElementBytes: 1e6 });
          expect(elements).toEqual(JSON.parse(JSON.stringify(list)));
          expect({ ...beside }).toEqual({ ...JSON.parse(JSON.stringify(other)), list2: 1 });
          expect(result.cut).toBe(false);
        },
      ),
      { numRuns: 100, seed: 4 },
    );
  });
  test('one that is too large is passed over, and costs no memory', async () => {
    const { elements, result } = await read(`{"list":[{"a":1},{"b":"${'x'.repeat(3_000_000)}"},{"c":2}]}`);
    expect(elements).toEqual([{ a: 1 }, { c: 2 }]);
    expect(result.skipped).toBe(1);
  });
  test('too much text, and 10,000-deep nesting, end it or not, but do no harm', async () => {
    await expect(read(gzipSync(`{"list":[${'{"a":1},'.repeat(200_000)}`), { maxBytes: 1_000_000 })).rejects.toThrow(
      'more than',
    );
    const { elements } = await read(`{"deep":${'['.repeat(10_000)}${']'.repeat(10_000)},"list":[{"a":1}]}`);
    expect(elements).toEqual([{ a: 1 }]);
    await expect(read('}')).rejects.toThrow('no JSON object');
    await expect(read('')).rejects.toThrow('no JSON object');
  });
});
