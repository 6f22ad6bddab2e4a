/** Exponential histograms where only other forms can go: coarser ones, sums of two, buckets with fixed bounds. */
import type { ExponentialBuckets, ExponentialHistogramPoint } from '../model.ts';

type Counts = ExponentialBuckets['counts'];
const at = (counts: Counts, i: number): number => Number(counts[i] ?? 0);

/** The same counts in buckets `2 ** by` times as wide (on the logarithmic scale); exact. */
export function coarser(buckets: ExponentialBuckets, by: number): ExponentialBuckets {
  if (by <= 0 || buckets.counts.length === 0) return buckets;
  // Not a shift: a hostile scale makes `by` larger than 31.
  const to = (index: number) => Math.floor(index / 2 ** by);
  const offset = to(buckets.offset);
  const last = to(buckets.offset + buckets.counts.length - 1);
  const counts = new Float64Array(last - offset + 1);
  for (let i = 0; i < buckets.counts.length; i++) {
    const bucket = to(buckets.offset + i) - offset;
    counts[bucket] = counts[bucket]! + at(buckets.counts, i);
  }
  return { offset, counts };
}

function added(a: ExponentialBuckets | undefined, b: ExponentialBuckets | undefined): ExponentialBuckets | undefined {
  if (!a || a.counts.length === 0) return b;
  if (!b || b.counts.length === 0) return a;
  const offset = Math.min(a.offset, b.offset);
  const end = Math.max(a.offset + a.counts.length, b.offset + b.counts.length);
  const counts = new Float64Array(end - offset);
  for (const one of [a, b]) {
    for (let i = 0; i < one.counts.length; i++) {
      const to = one.offset + i - offset;
      counts[to] = counts[to]! + at(one.counts, i);
    }
  }
  return { offset, counts };
}

/** The point with a scale of at most `scale`. */
export function downscaled(point: ExponentialHistogramPoint, scale: number): ExponentialHistogramPoint {
  const by = point.scale - scale;
  if (by <= 0) return point;
  return {
    ...point,
    scale,
    ...(point.positive ? { positive: coarser(point.positive, by) } : {}),
    ...(point.negative ? { negative: coarser(point.negative, by) } : {}),
  };
}

const span = (a: ExponentialBuckets | undefined, b: ExponentialBuckets | undefined): number =>
  a && b && a.counts.length > 0 && b.counts.length > 0
    ? Math.max(a.offset + a.counts.length, b.offset + b.counts.length) - Math.min(a.offset, b.offset)
    : 0;

/** Buckets of a sum; where two histograms lie further apart, the sum is made coarser. */
const MAX_SUM = 1024;

/** `before` and `delta` together, with the later time and the earlier start. */
export function accumulatedExponential(
  before: ExponentialHistogramPoint,
  delta: ExponentialHistogramPoint,
): ExponentialHistogramPoint {
  let scale = Math.min(before.scale, delta.scale);
  let a = downscaled(before, scale);
  let b = downscaled(delta, scale);
  while (span(a.positive, b.positive) > MAX_SUM || span(a.negative, b.negative) > MAX_SUM) {
    a = downscaled(a, --scale);
    b = downscaled(b, scale);
  }
  const positive = added(a.positive, b.positive);
  const negative = added(a.negative, b.negative);
  const { positive: _p, negative: _n, sum: _s, min: _min, max: _max, ...rest } = b;
  return {
    ...rest,
    startTime: a.startTime,
    count: Number(a.count) + Number(b.count),
    zeroCount: Number(a.zeroCount) + Number(b.zeroCount),
    zeroThreshold: Math.max(a.zeroThreshold, b.zeroThreshold),
    ...(a.sum !== undefined && b.sum !== undefined ? { sum: a.sum + b.sum } : {}),
    ...(positive ? { positive } : {}),
    ...(negative ? { negative } : {}),
  };
}

/** So many buckets at most; a histogram that spans more is made coarser. */
const MAX_CLASSIC = 160;

/**
 * As a classic histogram: bounds that are powers of two (or of a power of two), at the edges of the occupied buckets, and
 * cumulative counts, which are exact. The bounds of one series are always from one fixed set, so they do not wander.
 */
export function classicBuckets(point: ExponentialHistogramPoint): { bounds: number[]; cumulative: number[] } {
  let scale = Math.min(0, point.scale);
  let coarse = downscaled(point, scale);
  const length = (p: ExponentialHistogramPoint) => (p.positive?.counts.length ?? 0) + (p.negative?.counts.length ?? 0);
  while (length(coarse) > MAX_CLASSIC) coarse = downscaled(coarse, --scale);
  const edge = (index: number) => 2 ** (index * 2 ** -scale);
  const bounds: number[] = [];
  const cumulative: number[] = [];
  let total = 0;
  const put = (bound: number, count: number) => {
    total += count;
    if (!Number.isFinite(bound)) return;
    if (bound <= (bounds.at(-1) ?? Number.NEGATIVE_INFINITY)) {
      cumulative[cumulative.length - 1] = total;
      return;
    }
    bounds.push(bound);
    cumulative.push(total);
  };
  const { negative, positive } = coarse;
  if (negative && negative.counts.length > 0) {
    for (let i = negative.counts.length - 1; i >= 0; i--) put(-edge(negative.offset + i), at(negative.counts, i));
  }
  const zero = Number(point.zeroCount);
  if (zero > 0 || bounds.length > 0) put(point.zeroThreshold, zero);
  if (positive && positive.counts.length > 0) {
    // The lower edge of the first bucket keeps `histogram_quantile` from starting at zero.
    const lower = edge(positive.offset);
    if (lower > (bounds.at(-1) ?? Number.NEGATIVE_INFINITY)) put(lower, 0);
    for (let i = 0; i < positive.counts.length; i++) put(edge(positive.offset + i + 1), at(positive.counts, i));
  }
  return { bounds, cumulative };
}
