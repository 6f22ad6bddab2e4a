/** Deltas as running totals, which is all that Prometheus knows. */
import {
  type HistogramPoint,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  type Point,
} from '../model.ts';
import { accumulatedExponential } from './prometheus-text-exponential.ts';

/** The running total after a delta. Histograms whose bounds changed start again. */
export function accumulated(before: Point, delta: Point): Point {
  if (isNumberPoint(delta) && isNumberPoint(before)) {
    const exact = typeof before.value === 'bigint' && typeof delta.value === 'bigint';
    const value = exact
      ? (before.value as bigint) + (delta.value as bigint)
      : Number(before.value) + Number(delta.value);
    return { ...delta, startTime: before.startTime, value };
  }
  if (isHistogramPoint(delta) && isHistogramPoint(before)) return addHistograms(before, delta);
  if (isExponentialHistogramPoint(delta) && isExponentialHistogramPoint(before))
    return accumulatedExponential(before, delta);
  return delta;
}

function addHistograms(before: HistogramPoint, delta: HistogramPoint): HistogramPoint {
  const { bounds } = delta;
  if (before.bounds.length !== bounds.length || before.bounds.some((b, i) => b !== bounds[i])) return delta;
  const counts = new Float64Array(delta.bucketCounts.length);
  for (let i = 0; i < counts.length; i++)
    counts[i] = Number(delta.bucketCounts[i]) + Number(before.bucketCounts[i] ?? 0);
  const { sum: _sum, min: _min, max: _max, ...rest } = delta;
  return {
    ...rest,
    startTime: before.startTime,
    count: Number(before.count) + Number(delta.count),
    bucketCounts: counts,
    bounds: before.bounds,
    ...(before.sum !== undefined && delta.sum !== undefined ? { sum: before.sum + delta.sum } : {}),
  };
}
