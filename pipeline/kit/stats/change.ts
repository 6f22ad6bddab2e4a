/** Has it changed, and since when? */
import { autocorrelation, median, type Numbers } from './robust.ts';

/** Two-sided CUSUM state over standardised values; `step` returns true when either side passes `h`. */
export interface Cusum {
  high: number;
  low: number;
}

export const newCusum = (): Cusum => ({ high: 0, low: 0 });

/** Feeds one standardised value. Pre-whiten first: at autocorrelation .5 the false-alarm rate is ten times higher. */
export function cusumStep(state: Cusum, z: number, k = 1, h = 10): -1 | 0 | 1 {
  state.high = Math.max(0, state.high + z - k);
  state.low = Math.max(0, state.low - z - k);
  if (state.high > h) return 1;
  return state.low > h ? -1 : 0;
}

/** Removes first-order autocorrelation: e_i = x_i − φ·x_{i−1}, with φ from the values themselves unless given. */
export function prewhiten(values: Numbers, phi = Math.min(0.95, Math.max(0, autocorrelation(values)))): Float64Array {
  return Float64Array.from({ length: Math.max(0, values.length - 1) }, (_, i) => values[i + 1]! - phi * values[i]!);
}

export interface Onset {
  /** Last sample that was still on the good side; the first sample's time when none was. */
  readonly after: number;
  /** First sample on the bad side. */
  readonly by: number;
}

/**
 * When a value went over the line for good: walks back from the end while samples are on the bad side of `level`, forgiving
 * single samples. Undefined if the last two samples are on the good side.
 */
export function onset(times: Numbers, values: Numbers, level: number, rising = true): Onset | undefined {
  const bad = (i: number) => (rising ? values[i]! > level : values[i]! < level);
  const n = times.length;
  if (n === 0) return undefined;
  let first = -1;
  let good = 0;
  for (let i = n - 1; i >= 0; i--) {
    if (bad(i)) {
      first = i;
      good = 0;
    } else if (++good >= 2) break;
  }
  if (first < 0) return undefined;
  return { after: times[Math.max(0, first - 1)]!, by: times[first]! };
}

/**
 * The best single split of a series into two levels (least absolute deviation from the two medians), as an index: the first
 * sample of the second part. Undefined below six samples.
 */
export function splitPoint(
  values: Numbers,
): { readonly index: number; readonly before: number; readonly after: number } | undefined {
  const n = values.length;
  if (n < 6) return undefined;
  let best: { index: number; before: number; after: number } | undefined;
  let lowest = Number.POSITIVE_INFINITY;
  const all = Array.from(values);
  for (let i = 2; i <= n - 2; i++) {
    const before = median(all.slice(0, i));
    const after = median(all.slice(i));
    let cost = 0;
    for (let j = 0; j < n; j++) cost += Math.abs(all[j]! - (j < i ? before : after));
    if (cost < lowest) {
      lowest = cost;
      best = { index: i, before, after };
    }
  }
  return best;
}
