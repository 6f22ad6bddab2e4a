import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { RetryableError } from '../../../pipeline/errors.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { msFromNanos, type NumberPoint } from '../../../pipeline/model.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { engineLog } from '../../../receivers/engine_log/index.ts';
import { match, ranksOf, unwrap } from '../../../receivers/engine_log/match.ts';
import { ENGINE_PATTERNS, KERNEL_PATTERNS } from '../../../receivers/engine_log/patterns.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

/** Lines as they are seen in the field, and what they have to become. */
const LINES: readonly (readonly [string, string, Record<string, string>])[] = [
  [
    '(EngineCore_DP0 pid=45009) WARNING 09-02 21:06:21 [jit_monitor.py:103] Triton kernel JIT compilation during inference: _topk_topp_kernel. This causes a latency spike.',
    'inference.engine.jit',
    { compiler: 'Triton', kernel: '_topk_topp_kernel' },
  ],
  [
    'WARNING [jit_monitor.py:103] TileLang JIT compilation during inference: mhc_pre_big_fuse_with_norm_tilelang',
    'inference.engine.jit',
    { compiler: 'TileLang', kernel: 'mhc_pre_big_fuse_with_norm_tilelang' },
  ],
  [
    '[2026-07-21 20:23:46 TP0] KV cache pool is full. Retract requests. #retracted_reqs: 1, #new_token_ratio: 0.0980 -> 0.8353',
    'inference.engine.kv_full',
    { requests: '1' },
  ],
  [
    '[gpu=0] decode out of memory happened, #retracted_reqs: 3, #new_token_ratio: 0.4',
    'inference.engine.kv_full',
    { requests: '3' },
  ],
  [
    'WARNING scheduler.py:1057] Sequence group cmpl-17 is preempted by PreemptionMode.RECOMPUTE mode because there is not enough KV cache space. This can affect the end-to-end performance.',
    'inference.engine.kv_full',
    { mode: 'RECOMPUTE' },
  ],
  [
    'ERROR NIXL transfer failure: transfer_exception ... remote_host: 10.0.11.136',
    'inference.engine.transfer_error',
    { 'error.type': 'transfer_exception' },
  ],
  [
    'nixl_cu12._bindings.nixlRemoteDisconnectError: NIXL_ERR_REMOTE_DISCONNECT',
    'inference.engine.transfer_error',
    { 'error.type': 'NIXL_ERR_REMOTE_DISCONNECT' },
  ],
  [
    'Releasing expired KV blocks for request cmpl-1a which were retrieved by 0 decode worker(s) within 480 seconds.',
    'inference.engine.transfer_error',
    { 'request.id': 'cmpl-1a' },
  ],
  [
    'Decode transfer failed for request rank=0 decode_req.req.rid=abc',
    'inference.engine.transfer_error',
    { side: 'Decode', rank: '0' },
  ],
  [
    'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB',
    'inference.engine.oom',
    { platform: 'CUDA', wanted: '2.00 GiB' },
  ],
  [
    'torch.OutOfMemoryError: HIP out of memory. Tried to allocate 512.00 MiB.',
    'inference.engine.oom',
    { platform: 'HIP', wanted: '512.00 MiB' },
  ],
  [
    '[rank1]:[E ProcessGroupNCCL.cpp:607] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1407, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600020 milliseconds before timing out.',
    'inference.comm.timeout',
    { 'comm.seq': '1407', 'comm.op': 'ALLREDUCE' },
  ],
  [
    'INFO [shm_broadcast.py:501] No available shared memory broadcast block found in 60 second.',
    'inference.engine.hang',
    { seconds: '60' },
  ],
  [
    '[2026-01-01 00:00:00 TP0] Watchdog timeout (self.watchdog_timeout=300, self.soft=False)',
    'inference.engine.hang',
    { seconds: '300' },
  ],
  ['ERROR [core.py:710] EngineCore encountered a fatal error.', 'inference.engine.fatal', {}],
];

describe('lines that matter', () => {
  test.each(LINES)('%s', (line, event, groups) => {
    const found = match(line, ENGINE_PATTERNS)!;
    expect(found.pattern.event).toBe(event);
    expect(found.groups).toEqual(groups);
  });
  test('of the kernel', () => {
    const xid = match('NVRM: Xid (PCI:0000:17:00): 79, pid=1234, GPU has fallen off the bus.', KERNEL_PATTERNS)!;
    expect([xid.pattern.event, xid.groups]).toEqual(['inference.gpu.xid', { pci: '0000:17:00', code: '79' }]);
    const oom = match('Out of memory: Killed process 4711 (python3) total-vm:1kB', KERNEL_PATTERNS)!;
    expect([oom.pattern.event, oom.groups]).toEqual(['inference.host.oom', { pid: '4711', process: 'python3' }]);
  });
  test.each([
    'INFO 05-01 12:00:00 [loggers.py:1] Engine 000: Avg prompt throughput: 1.0 tokens/s, Running: 1 reqs, GPU KV cache usage: 0.1%',
    'INFO: 127.0.0.1:1234 - "POST /v1/completions HTTP/1.1" 200 OK',
    'how do I handle an out of memory error?',
  ])('not: %s', (line) => {
    expect(match(line, [...ENGINE_PATTERNS, ...KERNEL_PATTERNS])).toBeUndefined();
  });
  test('every pattern is found by its own words, and takes no time on a line that is made to annoy it', () => {
    for (const { words } of [...ENGINE_PATTERNS, ...KERNEL_PATTERNS]) {
      match(`${words}${words.repeat(50_000)}`, [...ENGINE_PATTERNS, ...KERNEL_PATTERNS]);
      match(`${' '.repeat(100_000)}${words}${'a'.repeat(100_000)}`, [...ENGINE_PATTERNS, ...KERNEL_PATTERNS]);
    }
  });
});

describe('what lines are wrapped in', () => {
  test('CRI, Docker, a time, or nothing', () => {
    const time = Date.parse('2026-05-01T12:00:00.123Z');
    expect(unwrap('2026-05-01T12:00:00.123456789Z stderr F text')).toEqual({ text: 'text', timeMs: time });
    expect(unwrap('{"log":"text\\n","stream":"stderr","time":"2026-05-01T12:00:00.123456789Z"}')).toEqual({
      text: 'text\n',
      timeMs: time,
    });
    expect(unwrap('2026-05-01T12:00:00.123Z text')).toEqual({ text: 'text', timeMs: time });
    expect(unwrap('{"log":"cut')).toEqual({ text: '{"log":"cut', timeMs: undefined });
    expect(unwrap('text')).toEqual({ text: 'text', timeMs: undefined });
  });
  test('ranks', () => {
    expect(ranksOf('(EngineCore_DP3 pid=45009) x')).toEqual({ 'inference.rank.dp': 3 });
    expect(ranksOf('(Worker_TP1 pid=7) x')).toEqual({ 'inference.rank.tp': 1 });
    expect(ranksOf('[2026-05-24 03:51:44 DP1 TP5 EP2] x')).toEqual({
      'inference.rank.dp': 1,
      'inference.rank.tp': 5,
      'inference.rank.ep': 2,
    });
    expect(ranksOf('TP1 is a thing')).toEqual({});
  });
});

describe('the receiver', () => {
  let dir: string;
  let running: Running | undefined;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'enginelight-log-'));
  });
  afterEach(async () => {
    await running?.stop();
    running = undefined;
    rmSync(dir, { recursive: true, force: true });
  });
  async function started(more: Record<string, unknown> = {}) {
    const context = testContext();
    const next = sink();
    const config = resolve(engineLog.config, {
      include: [join(dir, '*.log')],
      labels: { replica: 'r0', node: 'n1' },
      ...more,
    });
    running = await engineLog.start(config, next, context);
    const look = (done?: () => boolean) => looking(context.clock as ManualClock, 1000, done);
    return { context, next, look };
  }

  test('says what matters, about whom, and nothing of the rest of the line', async () => {
    const { next, look, context } = await started();
    appendFileSync(
      join(dir, 'a.log'),
      `2026-05-01T12:00:00.5Z stderr F [x TP1] Tell me about my secret. KV cache pool is full. Retract requests. #retracted_reqs: 2, secret\nplain\n`,
    );
    await look(() => next.logs().length > 0);
    const [record] = next.logs();
    expect(record).toMatchObject({
      eventName: 'inference.engine.kv_full',
      severityText: 'WARN',
      body: 'KV cache pool is full. Retract requests. #retracted_reqs: 2',
      attributes: { requests: 2 },
    });
    expect(msFromNanos(record!.time)).toBe(Date.parse('2026-05-01T12:00:00.5Z'));
    expect({ ...record!.resource.attributes }).toEqual({
      'service.instance.id': 'r0',
      'host.name': 'n1',
      'inference.engine': 'sglang',
      'inference.rank.tp': 1,
    });
    expect(context.measured.counters.get('receiver_engine_log_matches{event=inference.engine.kv_full}')).toBe(1);
  });

  test('a flood of the same is one record now, and later one that says how many there were', async () => {
    const { context, next, look } = await started();
    appendFileSync(join(dir, 'a.log'), 'NIXL_ERR_BACKEND\n'.repeat(3000));
    await look(() => next.logs().length > 0);
    await (context.clock as ManualClock).advance(20_000);
    appendFileSync(join(dir, 'a.log'), `NIXL_ERR_BACKEND\n`);
    await look(() => next.logs().length > 1);
    expect(next.logs().map((r) => r.attributes['repeated'])).toEqual([undefined, 2999]);
  });

  test('a full pipeline loses nothing', async () => {
    const { next, look } = await started();
    next.failWith(new RetryableError('full'));
    appendFileSync(join(dir, 'a.log'), 'NIXL_ERR_BACKEND\nEngineCore encountered a fatal error\n');
    await look();
    next.failWith(undefined);
    await look(() => next.logs().length > 1);
    expect(next.logs().map((r) => r.eventName)).toEqual(['inference.engine.transfer_error', 'inference.engine.fatal']);
  });

  test('counts events from zero for rules, about the replica and not its ranks', async () => {
    const { context, next, look } = await started({ counts_interval: '5s' });
    const clock = context.clock as ManualClock;
    const jit = () =>
      next
        .points()
        .filter((p) => p.series.attributes['event'] === 'inference.engine.jit')
        .map((p) => (p as NumberPoint).value);
    await clock.advance(5000);
    expect(jit()).toEqual([0]);
    appendFileSync(join(dir, 'a.log'), '[x TP1] DeepGEMM JIT Compiling for gemm\n'.repeat(3));
    await look(() => next.logs().length > 0);
    await clock.advance(5000);
    expect(jit().at(-1)).toBe(3);
    const { series } = next.points().at(-1)!;
    expect(series.metric).toMatchObject({ name: 'inference.engine.log.events', type: 'sum', monotonic: true });
    expect({ ...series.resource.attributes }).toEqual({ 'service.instance.id': 'r0', 'host.name': 'n1' });
  });

  test('an OOM is what the detectors look for', async () => {
    const { next, look } = await started();
    appendFileSync(join(dir, 'a.log'), 'CUDA out of memory. Tried to allocate 2.00 GiB.\n');
    await look(() => next.logs().length > 0);
    const events = createEvents(createTopology());
    events.logs(next.logs(), 0);
    expect(events.happenings.items[0]).toMatchObject({
      kind: 'inference.engine.oom',
      entity: { kind: 'replica', id: 'r0' },
    });
  });

  test('own patterns come first; one that is no regular expression is a mistake in the config', async () => {
    const patterns = [
      { event: 'my.event', words: 'tokenizer (slow)', severity: 'info' },
      { event: 'b', words: 'took', pattern: 'took (?<ms>\\d+) ms' },
    ];
    const { next, look } = await started({ patterns });
    appendFileSync(join(dir, 'a.log'), 'the tokenizer (slow) is\nit took 17 ms\n');
    await look(() => next.logs().length > 1);
    expect(next.logs().map((r) => [r.eventName, r.body, r.attributes['ms']])).toEqual([
      ['my.event', 'tokenizer (slow)', undefined],
      ['b', 'took 17 ms', 17],
    ]);
    const bad = resolve(engineLog.config, { include: ['x'], patterns: [{ event: 'b', words: 'abc', pattern: '(' }] });
    expect(engineLog.validate!(bad)[0]!.path).toEqual(['patterns', 0, 'pattern']);
    expect(engineLog.validate!(resolve(engineLog.config, {}))[0]!.path).toEqual(['include']);
  });

  test('the kernel: an XID is on its GPU, found by the bus address; what was there before the start is old', async () => {
    mkdirSync(join(dir, 'dev'));
    mkdirSync(join(dir, 'proc/driver/nvidia/gpus/0000:17:00.0'), { recursive: true });
    writeFileSync(
      join(dir, 'proc/driver/nvidia/gpus/0000:17:00.0/information'),
      'Model: \t H200\nGPU UUID: \t GPU-aaaa-1\nDevice Minor: \t 0\n',
    );
    writeFileSync(join(dir, 'dev/kmsg'), '4,1,1,-;NVRM: Xid (PCI:0000:17:00): 13, old\n');
    const { next, look } = await started({ include: [], kernel: true, root_path: dir });
    appendFileSync(
      join(dir, 'dev/kmsg'),
      '4,2,2,-;NVRM: Xid (PCI:0000:17:00): 79, pid=1, GPU has fallen off the bus.\n6,3,3,-;usb 1-1: new\n',
    );
    await look(() => next.logs().length > 0);
    expect(next.logs().map((r) => [r.eventName, r.attributes['code'], { ...r.resource.attributes }])).toEqual([
      ['inference.gpu.xid', 79, { 'host.name': 'n1', 'hw.gpu.pci_bus_id': '0000:17:00.0', 'hw.id': 'GPU-aaaa-1' }],
    ]);
    const events = createEvents(createTopology());
    events.logs(next.logs(), 0);
    expect(events.happenings.items[0]!.entity).toMatchObject({ kind: 'gpu', id: 'GPU-aaaa-1' });
  });

  test('a kernel log that is not to be had is a gap, no end', async () => {
    const { context, next, look } = await started({ include: [], kernel: true, root_path: join(dir, 'none') });
    await look();
    expect(next.batches).toEqual([]);
    expect(context.log.records.some((r) => JSON.stringify(r).includes('kmsg'))).toBe(true);
  });
});
