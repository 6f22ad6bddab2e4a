import { describe, expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import {
  gauge,
  type HistogramPoint,
  type Metric,
  metricsBatch,
  NO_RECORDED_VALUE,
  type NumberPoint,
  type Point,
  resource,
  type Series,
  sum,
  tracesBatch,
} from '../../pipeline/model.ts';
import { interval } from '../../processors/interval/index.ts';
import { sink, testContext } from '../kit/harness.ts';
import { SCOPE, span } from './items.ts';

const about = resource({ 'service.instance.id': 'r0' });
const of = (metric: Metric, attributes = {}): Series => ({ resource: about, scope: SCOPE, metric, attributes });
const at = (series: Series, seconds: number, value: number | bigint, more: Partial<NumberPoint> = {}): NumberPoint => ({
  series,
  time: BigInt(seconds) * 1_000_000_000n,
  startTime: 0n,
  flags: 0,
  value,
  ...more,
});

async function started(config: Record<string, unknown> = {}) {
  const clock = manualClock();
  const next = sink();
  const context = testContext({ kind: 'processor', clock });
  const stage = await interval.start(resolve(interval.config, config), next, context);
  const values = () => (next.points() as NumberPoint[]).map((p) => p.value);
  return { clock, next, context, stage, values, give: (...points: Point[]) => stage.consume(metricsBatch(points)) };
}

const RUNNING = of(gauge('inference.requests.running', '{request}'));
const TOKENS = of(sum('inference.tokens.generated', '{token}'));

describe('within an interval', () => {
  test('a series is handed on once, with its newest point', async () => {
    const { clock, give, next, values } = await started();
    await give(at(RUNNING, 1, 3), at(TOKENS, 1, 100));
    await give(at(RUNNING, 2, 5), at(TOKENS, 2, 150));
    expect(next.batches).toEqual([]);
    await clock.advance(60_000);
    expect(values()).toEqual([5, 150]);
    expect(next.points()[0]!.time).toBe(2_000_000_000n);
    await clock.advance(60_000);
    expect(values()).toEqual([5, 150]);
  });

  test.each<[string, number]>([
    ['last', 6],
    ['mean', 5],
    ['min', 2],
    ['max', 7],
  ])('%s of a gauge is handed on', async (how, expected) => {
    const { clock, give, values } = await started({ gauge: how });
    await give(at(RUNNING, 1, 7));
    await give(at(RUNNING, 2, 2));
    await give(at(RUNNING, 3, Number.NaN));
    await give(at(RUNNING, 4, 6));
    await clock.advance(60_000);
    expect(values()).toEqual([expected]);
  });

  test('each interval has its own mean; a code has none, nor a counter', async () => {
    const xid = of(gauge('hw.errors', '{code}'));
    const { clock, give, values } = await started({ gauge: 'mean' });
    await give(at(RUNNING, 1, 1), at(xid, 1, 79), at(TOKENS, 1, 10));
    await give(at(RUNNING, 2, 3), at(xid, 2, 31), at(TOKENS, 2, 30));
    await clock.advance(60_000);
    await give(at(RUNNING, 61, 8));
    await clock.advance(60_000);
    expect(values()).toEqual([2, 31, 30, 8]);
  });

  test('series are the same by what they say, not by whose objects they are', async () => {
    const { clock, give, values } = await started();
    await give(at(of(sum('t', '1'), { a: 1, b: 2 }), 1, 1));
    await give(at(of(sum('t', '1'), { b: 2, a: 1 }), 2, 2), at(of(sum('t', '1'), { b: 2, a: 3 }), 2, 9));
    await clock.advance(60_000);
    expect(values()).toEqual([2, 9]);
  });

  test('spans, deltas and what is to pass, pass at once', async () => {
    const { give, next, stage, values } = await started({ pass_through: { gauge: true } });
    const delta = of({ ...sum('d', '1'), temporality: 1 });
    await give(at(delta, 1, 4), at(TOKENS, 1, 5), at(RUNNING, 1, 6));
    expect(values()).toEqual([4, 6]);
    await stage.consume(tracesBatch([span('s')]));
    expect(next.spans()).toHaveLength(1);
  });
});

describe('nothing is lost', () => {
  test('when counting begins anew: the last point before it is handed on too', async () => {
    const { clock, give, values } = await started();
    await give(at(TOKENS, 1, 100));
    await give(at(TOKENS, 2, 7));
    await give(at(TOKENS, 3, 9, { startTime: 3n }));
    await clock.advance(60_000);
    expect(values()).toEqual([100, 7, 9]);
  });

  test('a histogram that restarts counts as one too', async () => {
    const h = of({ ...sum('ttft', 's'), type: 'histogram', monotonic: false });
    const bounds = new Float64Array([1]);
    const histogram = (seconds: number, count: number): HistogramPoint => ({
      series: h,
      time: BigInt(seconds),
      startTime: 0n,
      flags: 0,
      count,
      sum: count,
      bounds,
      bucketCounts: new Float64Array([count, 0]),
    });
    const { clock, give, next } = await started();
    await give(histogram(1, 5));
    await give(histogram(2, 8));
    await give(histogram(3, 1));
    await clock.advance(60_000);
    expect(next.points().map((p) => (p as HistogramPoint).count)).toEqual([8, 1]);
  });

  test('when a series ends: its last value, then the mark', async () => {
    const { clock, give, next } = await started({ gauge: 'mean' });
    await give(at(RUNNING, 1, 3));
    await give(at(RUNNING, 2, 5));
    await give(at(RUNNING, 3, 0, { flags: NO_RECORDED_VALUE }));
    await clock.advance(60_000);
    expect((next.points() as NumberPoint[]).map((p) => [p.value, p.flags])).toEqual([
      [4, 0],
      [0, NO_RECORDED_VALUE],
    ]);
  });

  test('while the next one takes nothing: the mean goes on until it does', async () => {
    const { clock, give, next, values } = await started({ gauge: 'mean' });
    next.failWith(new RetryableError('full'));
    await give(at(RUNNING, 1, 2));
    await clock.advance(60_000);
    await give(at(RUNNING, 61, 4));
    next.failWith(undefined);
    await clock.advance(60_000);
    expect(values()).toEqual([3]);
  });

  test('what is refused for good is counted, not tried again', async () => {
    const { clock, give, next, context, values } = await started();
    next.failWith(new PermanentError('no'));
    await give(at(RUNNING, 1, 2));
    await clock.advance(60_000);
    next.failWith(undefined);
    await clock.advance(60_000);
    expect(values()).toEqual([]);
    expect(context.measured.drops).toEqual([{ signal: 'metrics', items: 1, reason: 'permanent_error' }]);
  });

  test('at the end: what is held is handed on', async () => {
    const { give, stage, values, clock } = await started();
    await give(at(TOKENS, 1, 100));
    await stage.stop();
    await stage.stop();
    expect(values()).toEqual([100]);
    expect(clock.pending()).toBe(0);
  });
});

describe('bad input', () => {
  test('a point older than the newest is left out and counted, also in a later interval', async () => {
    const { clock, give, context, values } = await started();
    await give(at(TOKENS, 5, 100));
    await give(at(TOKENS, 4, 90));
    await clock.advance(60_000);
    await give(at(TOKENS, 3, 80));
    await clock.advance(60_000);
    expect(values()).toEqual([100]);
    expect(context.measured.drops).toHaveLength(2);
  });

  test('beyond the limit series pass at once and are counted; silent ones make room', async () => {
    const { clock, give, context, values } = await started({ limits: { series: 1 } });
    await give(at(TOKENS, 1, 1), at(RUNNING, 1, 2));
    expect(values()).toEqual([2]);
    expect(context.measured.counters.get('interval_unlimited_items')).toBe(1);
    await clock.advance(60_000 * 8);
    expect(context.measured.gauges.get('interval_series')?.()).toBe(0);
    await give(at(RUNNING, 500, 3));
    expect(values()).toEqual([2, 1]);
    await clock.advance(60_000);
    expect(values()).toEqual([2, 1, 3]);
  });
});
