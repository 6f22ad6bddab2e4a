/** Order statistics and trends that a few wild samples cannot move. All are pure; NaN must be filtered by the caller. */

export type Numbers = ArrayLike<number>;

/** A sorted copy. */
export function sorted(values: Numbers): Float64Array {
  return Float64Array.from(values).sort();
}

/** Quantile p (0..1) of sorted values, linear between order statistics; NaN when empty. */
export function quantileSorted(values: Numbers, p: number): number {
  const n = values.length;
  if (n === 0) return Number.NaN;
  const at = (n - 1) * Math.min(1, Math.max(0, p));
  const low = Math.floor(at);
  const a = values[low]!;
  const b = values[Math.min(n - 1, low + 1)]!;
  return a + (b - a) * (at - low);
}

/** Quantile p (0..1) of unsorted values. */
export const quantile = (values: Numbers, p: number): number => quantileSorted(sorted(values), p);

/** The middle value; NaN when empty. */
export const median = (values: Numbers): number => quantile(values, 0.5);

export interface Location {
  readonly median: number;
  /** Standard-deviation-like: 1.4826 × MAD, never below 2 % of the median or `resolution`. */
  readonly scale: number;
  readonly n: number;
}

/** Median and a guarded robust scale (the reference's `base`). */
export function location(values: Numbers, resolution = 0): Location {
  const m = median(values);
  const deviations = Float64Array.from(values, (v) => Math.abs(v - m));
  const scale = Math.max(1.4826 * median(deviations), 0.02 * Math.abs(m), resolution);
  return { median: m, scale, n: values.length };
}

/** The median of all pairwise slopes (x in any unit); beyond 400 points every k-th pair is taken. NaN below two points. */
export function theilSen(x: Numbers, y: Numbers): number {
  return quantileSorted(pairwiseSlopes(x, y), 0.5);
}

/** Quantiles `ps` of the pairwise slopes, for an interval around a trend. */
export function slopeQuantiles(x: Numbers, y: Numbers, ps: readonly number[]): number[] {
  const slopes = pairwiseSlopes(x, y);
  return ps.map((p) => quantileSorted(slopes, p));
}

function pairwiseSlopes(x: Numbers, y: Numbers): Float64Array {
  const n = x.length;
  const stride = Math.max(1, Math.ceil((n * (n - 1)) / 2 / 80_000));
  const slopes: number[] = [];
  let pair = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      if (pair++ % stride !== 0) continue;
      const dx = x[j]! - x[i]!;
      if (dx !== 0) slopes.push((y[j]! - y[i]!) / dx);
    }
  }
  return Float64Array.from(slopes).sort();
}

/** Standard normal distribution function (absolute error below 1e-7). */
export function normalCdf(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const d = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const upper = d * t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z >= 0 ? 1 - upper : upper;
}

/**
 * Mann–Kendall: the two-sided p of "no trend" and its direction. The variance is widened for autocorrelation (first-order,
 * estimated on the detrended values), because samples of a busy engine are not independent.
 */
export function mannKendall(values: Numbers): { readonly p: number; readonly direction: -1 | 0 | 1 } {
  const n = values.length;
  if (n < 4) return { p: 1, direction: 0 };
  let s = 0;
  const ties = new Map<number, number>();
  for (let i = 0; i < n; i++) {
    ties.set(values[i]!, (ties.get(values[i]!) ?? 0) + 1);
    for (let j = i + 1; j < n; j++) s += Math.sign(values[j]! - values[i]!);
  }
  let variance = (n * (n - 1) * (2 * n + 5)) / 18;
  for (const t of ties.values()) if (t > 1) variance -= (t * (t - 1) * (2 * t + 5)) / 18;
  const index = Float64Array.from({ length: n }, (_, i) => i);
  const slope = theilSen(index, values);
  const r = Math.max(0, autocorrelation(Float64Array.from(values, (v, i) => v - slope * i)));
  variance *= Math.min(n / 2, (1 + r) / (1 - Math.min(0.95, r)));
  if (variance <= 0) return { p: 1, direction: 0 };
  const z = s === 0 ? 0 : (s - Math.sign(s)) / Math.sqrt(variance);
  return { p: Math.min(1, 2 * (1 - normalCdf(Math.abs(z)))), direction: Math.sign(s) as -1 | 0 | 1 };
}

/** Lag-1 autocorrelation; 0 for fewer than three values or a constant. */
export function autocorrelation(values: Numbers): number {
  const n = values.length;
  if (n < 3) return 0;
  let mean = 0;
  for (let i = 0; i < n; i++) mean += values[i]!;
  mean /= n;
  let top = 0;
  let bottom = 0;
  for (let i = 0; i < n; i++) {
    const d = values[i]! - mean;
    bottom += d * d;
    if (i > 0) top += d * (values[i - 1]! - mean);
  }
  return bottom > 0 ? top / bottom : 0;
}

/** Kendall's tau-b of two equally long series, -1..1; 0 when either is constant or shorter than three. */
export function kendallTau(x: Numbers, y: Numbers): number {
  const n = Math.min(x.length, y.length);
  if (n < 3) return 0;
  let s = 0;
  let nx = 0;
  let ny = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const a = Math.sign(x[j]! - x[i]!);
      const b = Math.sign(y[j]! - y[i]!);
      s += a * b;
      nx += a * a;
      ny += b * b;
    }
  }
  return nx > 0 && ny > 0 ? s / Math.sqrt(nx * ny) : 0;
}
