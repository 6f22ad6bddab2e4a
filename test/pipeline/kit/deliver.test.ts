import { describe, expect, it } from 'vitest';
import { options, resolve } from '../../../config/schema.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../../pipeline/errors.ts';
import { type ManualClock, manualClock } from '../../../pipeline/kit/clock.ts';
import { type DeliverExtras, deliver, type SendResult } from '../../../pipeline/kit/deliver.ts';
import { checkDeliverOptions, deliverOptions } from '../../../pipeline/kit/deliver-options.ts';
import {
  type Batch,
  gauge,
  metricsBatch,
  NO_ATTRIBUTES,
  type NumberPoint,
  resource,
  scope,
} from '../../../pipeline/model.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';

const schema = options(deliverOptions());
const series = { resource: resource({}), scope: scope('t'), metric: gauge('g', '1'), attributes: NO_ATTRIBUTES };
const points = (from: number, count: number): Batch =>
  deepFreeze(
    metricsBatch(
      Array.from({ length: count }, (_, i) => ({ series, time: 1n, startTime: 0n, flags: 0, value: from + i })),
    ),
  );
const values = (batch: Batch) => (batch.items as NumberPoint[]).map((p) => Number(p.value));

/** A sender whose sends are settled by the test. */
function backend() {
  const calls: {
    batch: Batch;
    values: number[];
    abort: AbortSignal;
    ok: (result?: SendResult) => void;
    fail: (error: Error) => void;
  }[] = [];
  let encoded = 0;
  return {
    calls,
    encodedTimes: () => encoded,
    sent: () => calls.map((c) => c.values),
    sender: {
      encode: (batch: Batch) => {
        encoded++;
        return batch;
      },
      bytes: (batch: Batch) => batch.items.length * 100,
      send: (batch: Batch, abort: AbortSignal) =>
        new Promise<SendResult | undefined>((resolve, reject) => {
          calls.push({ batch, values: values(batch), abort, ok: resolve, fail: reject });
        }),
    },
  };
}

async function start(config: unknown, extras: DeliverExtras = {}) {
  const clock = manualClock();
  const context = testContext({ id: 'otlp_http', kind: 'exporter', clock, signals: new Set(['metrics'] as const) });
  const other = backend();
  const stage = await deliver(resolve(schema, config), other.sender, context, { random: () => 0.5, ...extras });
  return { clock, context, other, stage, log: context.log.records, measured: context.measured };
}

const tick = (clock: ManualClock) => clock.advance(0);
const drops = (measured: { drops: { items: number; reason: string }[] }) =>
  measured.drops.map((d) => `${d.reason} ${d.items}`);

describe('deliver: the queue', () => {
  it('accepts at once and sends each batch as it came', async () => {
    const { other, stage, measured, clock } = await start({});
    expect(stage.consume(points(0, 3))).toBeUndefined();
    stage.consume(points(3, 2));
    await tick(clock);
    expect(other.sent()).toEqual([
      [0, 1, 2],
      [3, 4],
    ]);
    other.calls[0]!.ok();
    other.calls[1]!.ok();
    await tick(clock);
    expect(measured.sent).toBe(5);
    await stage.stop();
  });

  it('has at most num_consumers requests in flight and counts them', async () => {
    const { other, stage, measured, clock } = await start({ sending_queue: { num_consumers: 2 } });
    for (let i = 0; i < 5; i++) stage.consume(points(i, 1));
    await tick(clock);
    expect(other.calls.length).toBe(2);
    expect(measured.gauges.get('exporter_in_flight_requests')!()).toBe(2);
    other.calls[1]!.ok();
    await tick(clock);
    expect(other.sent()).toEqual([[0], [1], [2]]);
  });

  it('refuses with a retryable error when it is full, says so, and takes data again when there is room', async () => {
    const { other, stage, measured, log, clock } = await start({ sending_queue: { queue_size: 2, num_consumers: 1 } });
    stage.consume(points(0, 1));
    stage.consume(points(1, 1));
    expect(() => stage.consume(points(2, 4))).toThrow(RetryableError);
    expect(measured.counters.get('exporter_enqueue_failed_items{signal=metrics}')).toBe(4);
    expect(log.filter((r) => r.level === 'warn').map((r) => r.message)).toEqual([
      'The sending queue is full, data is refused.',
    ]);
    await tick(clock);
    other.calls[0]!.ok();
    await tick(clock);
    expect(stage.consume(points(3, 1))).toBeUndefined();
  });

  it.each([
    ['items', 10, [6, 4], 1],
    ['requests', 2, [600, 400], 1],
  ])('counts room by %s', async (sizer, queue_size, accepted, refused) => {
    const { stage } = await start({ sending_queue: { sizer, queue_size } });
    for (const n of accepted) stage.consume(points(0, n));
    expect(() => stage.consume(points(0, refused))).toThrow('queue is full');
  });

  it('counts room in bytes of OTLP', async () => {
    const { stage, measured } = await start({ sending_queue: { sizer: 'bytes', queue_size: 10_000 } });
    stage.consume(points(0, 10));
    const one = measured.gauges.get('exporter_queue_size')!()!;
    expect(one).toBeGreaterThan(100);
    stage.consume(points(0, 10));
    expect(measured.gauges.get('exporter_queue_size')!()).toBe(2 * one);
    expect(measured.gauges.get('exporter_queue_capacity')!()).toBe(10_000);
    expect(() => stage.consume(points(0, 100_000))).toThrow('element size too large');
  });

  it('refuses for good what is larger than the whole queue', async () => {
    const { stage } = await start({ sending_queue: { sizer: 'items', queue_size: 10 } });
    expect(() => stage.consume(points(0, 11))).toThrow(PermanentError);
  });

  it('lets senders wait for room, in their order, with block_on_overflow', async () => {
    const { other, stage, clock } = await start({
      sending_queue: { queue_size: 1, num_consumers: 1, block_on_overflow: true },
    });
    const order: number[] = [];
    for (let i = 0; i < 4; i++) void Promise.resolve(stage.consume(points(i, 1))).then(() => order.push(i));
    for (let i = 0; i < 4; i++) {
      await tick(clock);
      expect(other.sent().length).toBe(i + 1);
      other.calls[i]!.ok();
    }
    await tick(clock);
    expect(order).toEqual([0, 1, 2, 3]);
    expect(other.sent()).toEqual([[0], [1], [2], [3]]);
  });

  it('turns away who waits for room when it stops', async () => {
    const { other, stage, clock } = await start({
      sending_queue: { queue_size: 1, num_consumers: 1, block_on_overflow: true },
    });
    stage.consume(points(0, 1));
    const waiting = Promise.resolve(stage.consume(points(1, 1)));
    const refused = expect(waiting).rejects.toThrow('is stopping');
    const stop = stage.stop();
    await refused;
    await tick(clock);
    other.calls[0]!.ok();
    await stop;
  });

  it('answers only after the result with wait_for_result', async () => {
    const { other, stage, clock } = await start({ sending_queue: { wait_for_result: true } });
    let state = 'waiting';
    const one = Promise.resolve(stage.consume(points(0, 1))).then(() => {
      state = 'delivered';
    });
    await tick(clock);
    expect(state).toBe('waiting');
    other.calls[0]!.ok();
    await one;
    expect(state).toBe('delivered');
    const two = expect(Promise.resolve(stage.consume(points(0, 1)))).rejects.toThrow('no thanks');
    await tick(clock);
    other.calls[1]!.fail(new PermanentError('no thanks'));
    await two;
  });

  it('delivers while the sender waits when the queue is off, and passes the failure on', async () => {
    const { other, stage, measured, log, clock } = await start({ sending_queue: { enabled: false } });
    const ok = Promise.resolve(stage.consume(points(0, 2)));
    await tick(clock);
    other.calls[0]!.ok();
    await ok;
    const bad = expect(Promise.resolve(stage.consume(points(0, 2)))).rejects.toThrow('bad data');
    await tick(clock);
    other.calls[1]!.fail(new PermanentError('bad data'));
    await bad;
    expect([measured.sent, measured.failed, measured.drops.length]).toEqual([2, 2, 0]);
    expect(log.at(-1)?.message).toBe('Exporting failed. Rejecting data.');
  });

  it('holds what stands far back in the queue packed, and delivers it whole and in order', async () => {
    const { other, stage, clock } = await start({ sending_queue: { num_consumers: 1 } });
    const given = Array.from({ length: 100 }, (_, n) => points(n, 3));
    for (const batch of given) stage.consume(batch);
    // Compressing happens on other threads.
    await new Promise((resolve) => setTimeout(resolve, 200));
    for (let n = 0; n < 100; n++) {
      while (other.calls.length <= n) {
        await tick(clock);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      other.calls[n]!.ok();
    }
    expect(other.calls.map((c) => c.values[0])).toEqual(given.map((_, n) => n));
    expect(other.calls.map((c) => c.batch)).toEqual(given);
    const same = other.calls.map((c, n) => c.batch === given[n]);
    expect(same.slice(0, 33).every(Boolean)).toBe(true);
    expect(same.slice(40).some(Boolean)).toBe(false);
  });

  it('sends nothing for an empty batch', async () => {
    const { other, stage, clock } = await start({});
    stage.consume(points(0, 0));
    await tick(clock);
    expect(other.calls.length).toBe(0);
  });
});

describe('deliver: batching', () => {
  const batching = (batch: object, rest: object = {}) => start({ sending_queue: { batch, ...rest } });

  it('waits for min_size items', async () => {
    const { other, stage, clock } = await batching({ min_size: 5 });
    stage.consume(points(0, 3));
    await clock.advance(100);
    expect(other.calls.length).toBe(0);
    stage.consume(points(3, 3));
    await tick(clock);
    expect(other.sent()).toEqual([[0, 1, 2, 3, 4, 5]]);
  });

  it('sends what there is after flush_timeout, counted from the oldest', async () => {
    const { other, stage, clock } = await batching({ flush_timeout: '200ms' });
    stage.consume(points(0, 1));
    await clock.advance(150);
    stage.consume(points(1, 1));
    await clock.advance(49);
    expect(other.calls.length).toBe(0);
    await clock.advance(1);
    expect(other.sent()).toEqual([[0, 1]]);
    stage.consume(points(2, 1));
    await clock.advance(199);
    expect(other.calls.length).toBe(1);
    await clock.advance(1);
    expect(other.calls.length).toBe(2);
  });

  it('cuts at max_size without losing or repeating an item', async () => {
    const { other, stage, measured, clock } = await batching({ min_size: 4, max_size: 4, flush_timeout: '1s' });
    stage.consume(points(0, 3));
    stage.consume(points(3, 7));
    await clock.advance(1000);
    expect(other.sent()).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    for (const call of other.calls) call.ok();
    await tick(clock);
    expect(measured.sent).toBe(10);
    expect(measured.gauges.get('exporter_queue_size')!()).toBe(0);
  });

  it('settles a waiting sender once all parts of its batch have ended, with the first failure', async () => {
    const { other, stage, clock } = await batching({ min_size: 2, max_size: 2 }, { wait_for_result: true });
    const result = expect(Promise.resolve(stage.consume(points(0, 4)))).rejects.toThrow('second half');
    await tick(clock);
    other.calls[1]!.fail(new PermanentError('second half'));
    other.calls[0]!.ok();
    await result;
  });

  it('flushes at once when it stops', async () => {
    const { other, stage, clock, measured } = await batching({ flush_timeout: '1h' });
    stage.consume(points(0, 2));
    const stopped = stage.stop();
    await tick(clock);
    other.calls[0]!.ok();
    await stopped;
    expect(measured.sent).toBe(2);
    expect(clock.pending()).toBe(0);
  });
});

describe('deliver: retry and timeout', () => {
  const fails = async (one: Awaited<ReturnType<typeof start>>, error: Error) => {
    one.other.calls.at(-1)!.fail(error);
    await tick(one.clock);
  };

  it('sends the very same request again and encodes it once', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new RetryableError('busy'));
    await one.clock.advance(5000);
    expect(one.other.calls.length).toBe(2);
    expect(one.other.calls[1]!.batch).toBe(one.other.calls[0]!.batch);
    expect(one.other.encodedTimes()).toBe(1);
    expect(one.measured.counters.get('exporter_retries')).toBe(1);
  });

  it('waits 5 s, then 1.5 times longer each time up to 30 s, and gives up after 300 s with a counted drop', async () => {
    const one = await start({});
    one.stage.consume(points(0, 7));
    await tick(one.clock);
    const at: number[] = [];
    while (one.measured.drops.length === 0) {
      at.push(one.clock.monotonic());
      const before = one.other.calls.length;
      await fails(one, new RetryableError('busy'));
      while (one.other.calls.length === before && one.measured.drops.length === 0) await one.clock.advance(10);
    }
    const waits = at.slice(1).map((t, i) => t - at[i]!);
    expect(waits.slice(0, 4)).toEqual([5000, 7500, 11250, 16880]);
    expect(Math.max(...waits)).toBe(30_000);
    expect(at.at(-1)).toBeLessThanOrEqual(300_000);
    expect(at.at(-1)).toBeGreaterThan(265_000);
    expect(drops(one.measured)).toEqual(['retries_exhausted 7']);
    expect(one.measured.failed).toBe(7);
    const last = one.log.at(-1)!;
    expect([last.message, last.fields['dropped_items']]).toEqual(['Exporting failed. Dropping data.', 7]);
  });

  it('varies each wait by the randomization factor', async () => {
    const waits: number[] = [];
    for (const random of [0, 0.25, 0.999_999]) {
      const one = await start({}, { random: () => random });
      one.stage.consume(points(0, 1));
      await tick(one.clock);
      await fails(one, new RetryableError('busy'));
      while (one.other.calls.length < 2) await one.clock.advance(50);
      waits.push(one.clock.monotonic());
    }
    expect(waits).toEqual([2500, 3750, 7500]);
  });

  it('waits at least as long as the other side asks for', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new RetryableError('slow down', { retryAfterMs: 40_000 }));
    await one.clock.advance(39_999);
    expect(one.other.calls.length).toBe(1);
    await one.clock.advance(1);
    expect(one.other.calls.length).toBe(2);
  });

  it('caps an absurd wish to wait by max_elapsed_time and tries a last time', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new RetryableError('next century', { retryAfterMs: 3e12 }));
    await one.clock.advance(300_000);
    expect(one.other.calls.length).toBe(2);
    await fails(one, new RetryableError('next century', { retryAfterMs: 3e12 }));
    expect(drops(one.measured)).toEqual(['retries_exhausted 1']);
  });

  it('tries forever with max_elapsed_time 0', async () => {
    const one = await start({ retry_on_failure: { max_elapsed_time: 0 } });
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    for (let i = 0; i < 100; i++) {
      await fails(one, new RetryableError('busy'));
      await one.clock.advance(30_000);
    }
    expect(one.other.calls.length).toBeGreaterThan(100);
    expect(one.measured.drops).toEqual([]);
  });

  it('does not retry a permanent error; counts it and goes on', async () => {
    const one = await start({ sending_queue: { num_consumers: 1 } });
    one.stage.consume(points(0, 2));
    one.stage.consume(points(2, 1));
    await tick(one.clock);
    await fails(one, new PermanentError('refused'));
    expect(drops(one.measured)).toEqual(['permanent_error 2']);
    expect(one.other.sent().at(-1)).toEqual([2]);
  });

  it('treats anything else that is thrown as a bug: said with its stack, counted, and survived', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new TypeError('x is not a function'));
    expect(drops(one.measured)).toEqual(['permanent_error 1']);
    expect(one.log.some((r) => r.message.includes('bug') && String(r.fields['stack']).includes('TypeError'))).toBe(
      true,
    );
  });

  it('drops at once, with a hint, when retrying is off', async () => {
    const one = await start({ retry_on_failure: { enabled: false } });
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new RetryableError('busy'));
    expect(drops(one.measured)).toEqual(['retries_exhausted 1']);
    expect(one.log.at(-1)?.fields['hint']).toContain('retry_on_failure');
  });

  it('ends an attempt after the timeout and tries again', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await one.clock.advance(4999);
    expect(one.other.calls[0]!.abort.aborted).toBe(false);
    await one.clock.advance(1);
    expect(one.other.calls[0]!.abort.aborted).toBe(true);
    expect(one.log.at(-1)?.message).toBe('Exporting failed. Will retry the request after interval.');
    await one.clock.advance(5000);
    expect(one.other.calls.length).toBe(2);
  });

  it('counts what the other side rejects of a request it took, and does not send it again', async () => {
    const one = await start({});
    one.stage.consume(points(0, 5));
    await tick(one.clock);
    one.other.calls[0]!.ok({ rejected: 2 });
    await one.clock.advance(60_000);
    expect(one.other.calls.length).toBe(1);
    expect([one.measured.sent, one.measured.failed]).toEqual([3, 2]);
    expect(drops(one.measured)).toEqual(['partial_success 2']);
  });

  it('reports its state once it changes', async () => {
    const one = await start({});
    one.stage.consume(points(0, 1));
    await tick(one.clock);
    await fails(one, new RetryableError('connection refused'));
    await one.clock.advance(5000);
    one.other.calls.at(-1)!.ok();
    await tick(one.clock);
    expect(one.context.statuses).toEqual([
      { status: 'recoverable_error', message: 'connection refused' },
      { status: 'ok', message: '' },
    ]);
  });
});

describe('deliver: size of requests', () => {
  it('halves a request that is too large until its parts fit', async () => {
    const { other, stage, measured, clock } = await start({}, { maxRequestBytes: 300 });
    stage.consume(points(0, 10));
    for (let i = 0; i < 4; i++) {
      await tick(clock);
      other.calls[i]!.ok();
    }
    await tick(clock);
    expect(other.sent()).toEqual([
      [0, 1],
      [2, 3, 4],
      [5, 6],
      [7, 8, 9],
    ]);
    expect(measured.sent).toBe(10);
  });

  it('discards, with a record, an item that is too large alone, and sends the others', async () => {
    const context = testContext({ kind: 'exporter' });
    const sent: number[][] = [];
    const stage = await deliver(
      resolve(schema, {}),
      {
        encode: (batch: Batch) => values(batch),
        bytes: (v: number[]) => v.reduce((a, b) => a + b, 0),
        send: async (v: number[]) => {
          sent.push(v);
          return undefined;
        },
      },
      context,
      { maxRequestBytes: 100 },
    );
    stage.consume(
      metricsBatch([10, 20, 5000, 30].map((value) => ({ series, time: 1n, startTime: 0n, flags: 0, value }))),
    );
    await stage.stop();
    expect(sent).toEqual([[10, 20], [30]]);
    expect(context.measured.drops).toEqual([{ signal: 'metrics', items: 1, reason: 'too_large' }]);
    expect(context.log.records.at(-1)?.level).toBe('error');
  });
});

describe('deliver: stopping', () => {
  const stopIn = (stage: Stage, clock: ManualClock, ms: number) => {
    const deadline = new AbortController();
    clock.after(ms, () => deadline.abort());
    return stage.stop(deadline.signal);
  };

  it('sends what is queued, then resolves', async () => {
    const { other, stage, measured, clock } = await start({ sending_queue: { num_consumers: 1 } });
    for (let i = 0; i < 3; i++) stage.consume(points(i, 1));
    const stopped = stage.stop();
    for (let i = 0; i < 3; i++) {
      await tick(clock);
      other.calls[i]!.ok();
    }
    await stopped;
    expect(measured.sent).toBe(3);
    expect(measured.drops).toEqual([]);
  });

  it('refuses new data from then on', async () => {
    const { stage } = await start({});
    await stage.stop();
    expect(() => stage.consume(points(0, 1))).toThrow(RetryableError);
  });

  it('gives up at the deadline and reports exactly what was dropped', async () => {
    const { other, stage, measured, log, clock } = await start({ sending_queue: { num_consumers: 1 } });
    stage.consume(points(0, 5));
    stage.consume(points(5, 3));
    await tick(clock);
    const stopped = stopIn(stage, clock, 1000);
    await clock.advance(1000);
    await stopped;
    expect(other.calls.length).toBe(1);
    expect(other.calls[0]!.abort.aborted).toBe(true);
    expect(measured.drops.reduce((n, d) => n + d.items, 0)).toBe(8);
    expect(measured.drops.every((d) => d.reason === 'shutdown')).toBe(true);
    expect(log.at(-1)).toMatchObject({
      level: 'warn',
      message: 'Stopped before all data was delivered. Dropping data.',
      fields: { signal: 'metrics', dropped_items: 8 },
    });
  });

  it('goes on retrying until the deadline', async () => {
    const { other, stage, measured, clock } = await start({});
    stage.consume(points(0, 1));
    await tick(clock);
    other.calls[0]!.fail(new RetryableError('busy'));
    const stopped = stopIn(stage, clock, 60_000);
    await clock.advance(5000);
    other.calls[1]!.ok();
    await stopped;
    expect(measured.sent).toBe(1);
  });

  it('without a deadline tries each request once more and does not wait between tries', async () => {
    const { other, stage, measured, clock } = await start({ sending_queue: { num_consumers: 1 } });
    stage.consume(points(0, 1));
    stage.consume(points(1, 2));
    await tick(clock);
    other.calls[0]!.fail(new RetryableError('busy'));
    await tick(clock);
    const stopped = stage.stop();
    await tick(clock);
    other.calls[1]!.fail(new RetryableError('busy'));
    await stopped;
    expect(drops(measured)).toEqual(['shutdown 1', 'shutdown 2']);
  });

  it('can be called twice', async () => {
    const { stage } = await start({});
    expect(stage.stop()).toBe(stage.stop());
    await stage.stop();
  });
});

describe('deliver: shards', () => {
  it('keeps the items of a shard in order with one request in flight, and shards independent', async () => {
    const { other, stage, clock } = await start(
      {},
      { shards: { count: 2, of: (item) => Number((item as NumberPoint).value) % 2 } },
    );
    void stage.consume(points(0, 4));
    void stage.consume(points(4, 4));
    await tick(clock);
    expect(other.sent()).toEqual([
      [0, 2],
      [1, 3],
    ]);
    other.calls[1]!.ok();
    await tick(clock);
    expect(other.sent().slice(2)).toEqual([[5, 7]]);
  });
});

describe('deliver: options', () => {
  const check = (config: unknown) =>
    checkDeliverOptions(resolve(schema, config)).map((m) => `${m.path.join('.')}: ${m.message}`);

  it("has the Collector's defaults", () => {
    expect(resolve(schema, {})).toEqual({
      sending_queue: {
        enabled: true,
        num_consumers: 10,
        queue_size: 1000,
        sizer: 'requests',
        block_on_overflow: false,
        wait_for_result: false,
      },
      retry_on_failure: {
        enabled: true,
        initial_interval: 5000,
        randomization_factor: 0.5,
        multiplier: 1.5,
        max_interval: 30_000,
        max_elapsed_time: 300_000,
      },
      timeout: 5000,
    });
    expect(resolve(schema, { sending_queue: { batch: null } }).sending_queue.batch).toEqual({
      flush_timeout: 200,
      min_size: 8192,
      max_size: 0,
    });
    expect(check({})).toEqual([]);
    expect(check({ sending_queue: { batch: null, storage: null } })).toEqual([]);
  });

  it.each([
    [{ sending_queue: { batch: { max_size: 10 } } }, 'sending_queue.batch.max_size: `max_size` must be greater'],
    [{ sending_queue: { batch: { flush_timeout: 0 } } }, 'sending_queue.batch.flush_timeout: `flush_timeout` must'],
    [{ sending_queue: { sizer: 'items', batch: {} } }, 'sending_queue.batch.min_size: `min_size` must be less'],
    [{ sending_queue: { storage: {}, wait_for_result: true } }, 'sending_queue.storage: `wait_for_result` is not'],
    [{ sending_queue: { storage: { max_size: '1KiB' } } }, 'sending_queue.storage.max_size: `max_size` must be'],
    [{ retry_on_failure: { max_elapsed_time: '1s' } }, "retry_on_failure.max_elapsed_time: 'max_elapsed_time'"],
  ])('refuses %j', (config, message) => {
    const found = check(config);
    expect(found.length).toBe(1);
    expect(found[0]).toContain(message);
  });
});
