/** How likely is it that this is nothing? Tail probabilities, corrections for many looks, and the unevenness of pure chance. */
import { normalCdf } from './robust.ts';

/**
 * About the 99th percentile of max/mean when `n` items fall on `bins` bins by chance. Trust it for n/bins ≥ 8: it is low by
 * up to .25 at n/bins = 4 and by .45 at 2.
 */
export function nullMax(n: number, bins: number): number {
  if (n <= 0 || bins <= 1) return Number.POSITIVE_INFINITY;
  return 1 + (Math.sqrt(2 * Math.log(bins)) + 1) * Math.sqrt(bins / n);
}

const LANCZOS = [
  76.18009172947146, -86.50532032941678, 24.01409824083091, -1.231739572450155, 0.1208650973866179e-2,
  -0.5395239384953e-5,
] as const;

/** Natural logarithm of the gamma function for x > 0. */
export function logGamma(x: number): number {
  const t = x + 5.5 - (x + 0.5) * Math.log(x + 5.5);
  let series = 1.000000000190015;
  LANCZOS.forEach((c, i) => {
    series += c / (x + 1 + i);
  });
  return -t + Math.log((2.5066282746310007 * series) / x);
}

const logChoose = (n: number, k: number): number => logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);

/** P(X ≥ k) of a binomial(n, p). */
export function binomialTail(n: number, p: number, k: number): number {
  if (k <= 0) return 1;
  if (k > n || p <= 0) return 0;
  if (p >= 1) return 1;
  let total = 0;
  for (let i = k; i <= n; i++) {
    const term = Math.exp(logChoose(n, i) + i * Math.log(p) + (n - i) * Math.log1p(-p));
    total += term;
    if (i > n * p && term < total * 1e-14) break;
  }
  return Math.min(1, total);
}

/** P(at least k of the `drawn` are marked) when `marked` of `population` are. */
export function hypergeometricTail(population: number, marked: number, drawn: number, k: number): number {
  let total = 0;
  const all = logChoose(population, drawn);
  for (let i = Math.max(k, 0, drawn - (population - marked)); i <= Math.min(marked, drawn); i++) {
    total += Math.exp(logChoose(marked, i) + logChoose(population - marked, drawn - i) - all);
  }
  return Math.min(1, total);
}

/** Upper tail of chi-square with `df` degrees of freedom (regularised incomplete gamma). */
export function chiSquareTail(x: number, df: number): number {
  if (x <= 0 || df <= 0) return 1;
  const a = df / 2;
  const z = x / 2;
  if (z < a + 1) {
    let term = 1 / a;
    let total = term;
    for (let n = 1; n < 1000 && term > total * 1e-14; n++) {
      term *= z / (a + n);
      total += term;
    }
    return Math.max(0, 1 - total * Math.exp(-z + a * Math.log(z) - logGamma(a)));
  }
  let b = z + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let h = d;
  for (let i = 1; i < 1000; i++) {
    const an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b || 1e-300);
    c = b + an / c || 1e-300;
    const delta = d * c;
    h *= delta;
    if (Math.abs(delta - 1) < 1e-12) break;
  }
  return Math.min(1, Math.exp(-z + a * Math.log(z) - logGamma(a)) * h);
}

/** p of "these counts come from equal shares" (or from `weights`); 1 with fewer than two bins or no counts. */
export function evenness(counts: ArrayLike<number>, weights?: ArrayLike<number>): number {
  let n = 0;
  let w = 0;
  for (let i = 0; i < counts.length; i++) {
    n += counts[i]!;
    w += weights ? weights[i]! : 1;
  }
  if (counts.length < 2 || n <= 0 || w <= 0) return 1;
  let chi = 0;
  for (let i = 0; i < counts.length; i++) {
    const expected = (n * (weights ? weights[i]! : 1)) / w;
    if (expected > 0) chi += (counts[i]! - expected) ** 2 / expected;
  }
  return chiSquareTail(chi, counts.length - 1);
}

/** Two-sided p that two proportions a/n and b/m are equal (pooled normal approximation). */
export function twoProportions(a: number, n: number, b: number, m: number): number {
  if (n <= 0 || m <= 0) return 1;
  const pooled = (a + b) / (n + m);
  const sd = Math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m));
  return sd > 0 ? 2 * (1 - normalCdf(Math.abs(a / n - b / m) / sd)) : 1;
}

/** Holm's adjusted p-values, in the order given. */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((_, i) => i).sort((a, b) => ps[a]! - ps[b]!);
  const out: number[] = new Array(ps.length);
  let highest = 0;
  order.forEach((index, rank) => {
    highest = Math.max(highest, Math.min(1, ps[index]! * (ps.length - rank)));
    out[index] = highest;
  });
  return out;
}

/** Benjamini–Hochberg q-values, in the order given. */
export function benjaminiHochberg(ps: readonly number[]): number[] {
  const order = ps.map((_, i) => i).sort((a, b) => ps[b]! - ps[a]!);
  const out: number[] = new Array(ps.length);
  let lowest = 1;
  order.forEach((index, i) => {
    lowest = Math.min(lowest, (ps[index]! * ps.length) / (ps.length - i));
    out[index] = lowest;
  });
  return out;
}
