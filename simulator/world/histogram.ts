/** A cumulative-in-time histogram the way engines keep one; `counts` has one entry per bound and one above the last. */
export interface Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  count: number;
  sum: number;
}

export function histogram(bounds: readonly number[]): Histogram {
  return { bounds, counts: new Float64Array(bounds.length + 1), count: 0, sum: 0 };
}

/** Adds `n` equal observations; a value on a bound belongs to that bound's bucket, as in Prometheus. */
export function observe(h: Histogram, value: number, n = 1): void {
  const bounds = h.bounds;
  let lo = 0;
  let hi = bounds.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (bounds[mid]! < value) lo = mid + 1;
    else hi = mid;
  }
  h.counts[lo] = h.counts[lo]! + n;
  h.count += n;
  h.sum += value * n;
}

export function resetHistogram(h: Histogram): void {
  h.counts.fill(0);
  h.count = 0;
  h.sum = 0;
}
