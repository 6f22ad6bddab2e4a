import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import type { NumberPoint } from '../../../pipeline/model.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { ncclRas } from '../../../receivers/nccl_ras/index.ts';
import { stallWatch } from '../../../receivers/nccl_ras/stalls.ts';
import { readStatus } from '../../../receivers/nccl_ras/status.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

let running: Running | undefined;
let server: Server | undefined;
const sockets = new Set<Socket>();
afterEach(async () => {
  await running?.stop();
  running = undefined;
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise((done) => (server ? server.close(done) : done(undefined)));
  server = undefined;
});

/** Speaks as NCCL's RAS thread does: a line for each command, the status last, then it hangs up. */
async function ras(answer: (command: string) => string | undefined): Promise<{ port: number; heard: string[] }> {
  const heard: string[] = [];
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    let rest = '';
    socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop()!;
      for (const command of lines) {
        heard.push(command);
        const text = answer(command);
        if (text !== undefined) socket.write(text);
        if (/status/i.test(command)) socket.end();
      }
    });
  });
  await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
  return { port: (server.address() as AddressInfo).port, heard };
}

const speaks = (status: () => object | string) => (command: string) => {
  if (command.startsWith('CLIENT PROTOCOL')) return 'SERVER PROTOCOL 2\n';
  if (!/status/i.test(command)) return 'OK\n';
  const said = status();
  return typeof said === 'string' ? said : `${JSON.stringify(said, null, 2)}\n`;
};

const rank = (n: number, counts: Record<string, number>, more: object = {}) => ({
  rank: n,
  host: '127.0.0.1',
  pid: 100 + n,
  cuda_dev: n,
  nvml_dev: n,
  status: { init_state: 0, async_error: 0, finalize_called: false, destroy_flag: false, abort_flag: false, ...more },
  collective_counts: { Broadcast: 1, Reduce: 0, AllGather: 0, ReduceScatter: 0, AllReduce: 0, ...counts },
});
const status = (ranks: object[], missing: object[] = []) => ({
  nccl_version: '2.28.3',
  cuda_runtime_version: 13000,
  cuda_driver_version: 13000,
  timestamp: '2026-06-01 12:00:00',
  communicators_count: 1,
  communicators: [
    {
      hash: '0x7f8c496ae9f661',
      secondary_hash: '0x1:0x2',
      size: 3,
      ranks_count: ranks.length,
      missing_ranks_count: missing.length,
      ranks,
      missing_ranks: missing,
    },
  ],
  ras: { collection_time_sec: 0.002, timeouts_count: 0 },
});

async function started(port: number) {
  const context = testContext();
  const next = sink();
  const config = resolve(ncclRas.config, { address: `127.0.0.1:${port}`, labels: { replica: 'r0' } });
  running = await ncclRas.start(config, next, context);
  const look = (done?: () => boolean) => looking(context.clock as ManualClock, 1000, done);
  return { context, next, look };
}

test('a status becomes what each rank launched and the ranks by state', async () => {
  const { port, heard } = await ras(speaks(() => status([rank(0, { AllReduce: 7 }), rank(1, { AllReduce: 7 })])));
  const { next, look } = await started(port);
  await look(() => next.points().length > 0);
  expect(heard).toEqual(['CLIENT PROTOCOL 2', 'TIMEOUT 4', 'SET FORMAT json', 'VERBOSE STATUS']);
  const points = next.points() as NumberPoint[];
  const launched = points.filter((p) => p.series.attributes['collective'] === 'AllReduce');
  expect(launched.map((p) => [p.series.attributes['comm.rank'], p.value])).toEqual([
    [0, 7],
    [1, 7],
  ]);
  expect(launched[0]!.series.resource.attributes).toMatchObject({
    'service.instance.id': 'r0',
    'process.pid': 100,
    'hw.gpu.index': 0,
  });
  const present = points.find((p) => p.series.attributes['state'] === 'present');
  expect(present!.value).toBe(2);
});

test('counts that differ and stand still become open collectives, which the hang detector counts as waiting', async () => {
  const ranks = [rank(0, { AllReduce: 8 }), rank(1, { AllReduce: 7 }), rank(2, { AllReduce: 8 })];
  const { port } = await ras(speaks(() => status(ranks)));
  const { next, look } = await started(port);
  await look(() => next.spans().length >= 2);
  expect(next.points().length).toBeGreaterThanOrEqual(3 * 15);
  expect(
    next
      .spans()
      .slice(0, 2)
      .map((s) => s.attributes),
  ).toMatchObject(
    [0, 2].map((n) => ({ 'comm.op': 'all_reduce', 'comm.seq': 8, 'comm.rank': n, 'comm.size': 3, 'hook.open': true })),
  );
  const events = createEvents(createTopology());
  events.spans(next.spans(), 0);
  const [group] = events.groups.values();
  expect([...group!.open.keys()]).toEqual([0, 2]);
});

test('a rank that runs behind, but runs, is no stall', () => {
  const watch = stallWatch(3);
  for (let i = 0; i < 10; i++) {
    const body = status([rank(0, { AllReduce: 8 + i }), rank(1, { AllReduce: 7 + i })]);
    expect(watch(readStatus(JSON.stringify(body)).communicators, i * 10_000)).toEqual([]);
  }
});

test('missing ranks and errors are said once, and again after they were well', async () => {
  const dead = {
    rank: 2,
    host: '10.0.0.9',
    pid: 9,
    cuda_dev: 0,
    nvml_dev: 0,
    status: { unresponsive: true, considered_dead: true },
  };
  let said: object = status([rank(0, {}), rank(1, {}, { async_error: 6 })], [dead]);
  const { port } = await ras(speaks(() => said));
  const { next, look } = await started(port);
  await look(() => next.logs().length >= 2);
  await look();
  expect(next.logs().map((r) => [r.eventName, r.attributes['comm.rank'], r.body])).toEqual([
    ['inference.comm.rank_missing', 2, 'Rank 2 of 3 is dead'],
    ['inference.comm.error', 1, 'Rank 1 of 3 reports error 6'],
  ]);
  expect(next.logs()[0]!.resource.attributes['host.name']).toBe('10.0.0.9');
  said = status([rank(0, {}), rank(1, {}, { async_error: 7 }), rank(2, {})]);
  const before = next.points().length;
  await look(() => next.points().length > before + 20);
  said = status([rank(0, {}), rank(1, {}), rank(2, {}, { abort_flag: true })]);
  await look(() => next.logs().length >= 3);
  expect(next.logs()[2]!.body).toBe('Rank 2 of 3 was aborted');
});

test.each([
  ['nothing listens', undefined, 'ECONNREFUSED'],
  ['something else listens', () => 'HTTP/1.1 400 Bad Request\r\n', 'no RAS of NCCL'],
  [
    'an NCCL that speaks no JSON',
    (c: string) =>
      c.startsWith('CLIENT') ? 'SERVER PROTOCOL 2\n' : c.startsWith('SET') ? 'ERROR: Unknown command\n' : 'OK\n',
    '2.28',
  ],
  ['an answer that is cut off', speaks(() => '{"communicators": [{"hash"'), 'JSON'],
  ['an answer that is none', speaks(() => '[]'), 'no communicators'],
] as const)('%s: it says so, and goes on', async (_name, answer, word) => {
  const { port } = answer ? await ras(answer) : { port: 1 };
  const { context, next, look } = await started(port);
  await look(() => context.statuses.some((s) => s.status === 'recoverable_error'));
  expect(context.statuses.at(-1)!.message).toContain(word);
  expect(next.batches).toEqual([]);
});

test('one that answers nothing is given up after the timeout, and a stop does not wait for it', async () => {
  const { port, heard } = await ras(() => undefined);
  const { context, look } = await started(port);
  await look(() => context.statuses.some((s) => s.message.includes('no answer within 8000 ms')));
  const before = heard.length;
  await look(() => heard.length > before);
  const deadline = new AbortController();
  deadline.abort();
  await running!.stop(deadline.signal);
});

test('an address of another machine is refused', () => {
  const config = resolve(ncclRas.config, { address: '10.0.0.1:28028' });
  expect(ncclRas.validate!(config)[0]!.path).toEqual(['address']);
});
