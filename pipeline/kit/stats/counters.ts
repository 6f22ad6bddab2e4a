/** Counters and histograms as they really arrive: with restarts, gaps and bucket limits. */
import type { Numbers } from './robust.ts';

export interface Increase {
  /** Sum of the increases; after a reset the new value counts as the increase. */
  readonly total: number;
  /** From the first to the last sample used, in the unit of `times`. */
  readonly span: number;
  readonly resets: number;
  readonly gaps: number;
  readonly n: number;
}

/**
 * The increase of a counter over samples [from, to). Not extrapolated to the window's edges, so whole counts stay whole, and
 * additive: splitting a window at a sample changes nothing. A gap is a distance above `gap`; the counter survives it.
 */
export function increase(times: Numbers, values: Numbers, gap: number, from = 0, to: number = times.length): Increase {
  let total = 0;
  let resets = 0;
  let gaps = 0;
  for (let i = from + 1; i < to; i++) {
    const d = values[i]! - values[i - 1]!;
    if (d >= 0) total += d;
    else {
      total += values[i]!;
      resets++;
    }
    if (times[i]! - times[i - 1]! > gap) gaps++;
  }
  const n = Math.max(0, to - from);
  return { total, span: n > 1 ? times[to - 1]! - times[from]! : 0, resets, gaps, n };
}

/** A quantile that is only known to lie in a bucket. `hi` is Infinity above the last finite bound. */
export interface QuantileInterval {
  readonly lo: number;
  readonly mid: number;
  readonly hi: number;
  readonly n: number;
}

/** Fewest observations for a quantile to mean something (order-statistic bounds for the tails). */
export function minimumCount(p: number): number {
  if (p >= 0.999) return 3688;
  if (p >= 0.99) return 400;
  if (p >= 0.95) return 100;
  return 20;
}

/** Quantile p of per-bucket counts (`counts` has one entry more than `bounds`); undefined when there are too few. */
export function bucketQuantile(
  bounds: Numbers,
  counts: Numbers,
  p: number,
  atLeast = minimumCount(p),
): QuantileInterval | undefined {
  let n = 0;
  for (let i = 0; i < counts.length; i++) n += counts[i]!;
  if (n < atLeast || n <= 0 || bounds.length === 0) return undefined;
  const rank = p * n;
  let below = 0;
  let i = 0;
  while (i < counts.length - 1 && below + counts[i]! < rank) below += counts[i++]!;
  const lo = i > 0 ? bounds[i - 1]! : 0;
  if (i >= bounds.length) return { lo, mid: lo, hi: Number.POSITIVE_INFINITY, n };
  const hi = bounds[i]!;
  const inside = counts[i]!;
  return { lo, mid: inside > 0 ? lo + ((hi - lo) * Math.max(0, rank - below)) / inside : lo, hi, n };
}

/** Whether a quantile exceeds a threshold; `unknown` must neither fire nor clear anything. */
export function exceeds(q: QuantileInterval | undefined, threshold: number): 'yes' | 'no' | 'unknown' {
  if (!q) return 'unknown';
  if (q.lo > threshold) return 'yes';
  return q.hi <= threshold ? 'no' : 'unknown';
}

/**
 * The exact share of observations above the smallest bucket bound that is ≥ `threshold`, with the bound that was used;
 * undefined without observations or without such a bound.
 */
export function shareAbove(
  bounds: Numbers,
  counts: Numbers,
  threshold: number,
): { readonly share: number; readonly bound: number; readonly above: number; readonly n: number } | undefined {
  let k = 0;
  while (k < bounds.length && bounds[k]! < threshold * (1 - 1e-9)) k++;
  if (k >= bounds.length) return undefined;
  let n = 0;
  let above = 0;
  for (let i = 0; i < counts.length; i++) {
    n += counts[i]!;
    if (i > k) above += counts[i]!;
  }
  return n > 0 ? { share: above / n, bound: bounds[k]!, above, n } : undefined;
}
