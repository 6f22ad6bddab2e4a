/** The intervals of the score board. */
import { random } from '../../simulator/random.ts';

export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

const Z = 1.959964;

/** Wilson's 95 % interval of a share. */
export function wilson(hits: number, n: number): Interval {
  if (n === 0) return { value: Number.NaN, low: 0, high: 1, n: 0 };
  const p = hits / n;
  const z2 = Z * Z;
  const middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const half = (Z * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return { value: p, low: Math.max(0, middle - half), high: Math.min(1, middle + half), n };
}

/**
 * 95 % interval of any measure, by resampling whole clusters (seeds): cases of one seed share their cluster, so they are
 * not independent. Deterministic.
 */
export function clusterBootstrap<T>(
  items: readonly T[],
  clusterOf: (item: T) => number | string,
  measure: (items: readonly T[]) => number,
  rounds = 400,
): Interval {
  const groups = new Map<number | string, T[]>();
  for (const item of items) {
    const key = clusterOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  const clusters = [...groups.values()];
  const value = measure(items);
  if (clusters.length < 2) return { value, low: Number.NaN, high: Number.NaN, n: items.length };
  const r = random(1, 'bootstrap');
  const values: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const sample: T[] = [];
    for (let j = 0; j < clusters.length; j++) sample.push(...clusters[r.int(clusters.length)]!);
    const v = measure(sample);
    if (!Number.isNaN(v)) values.push(v);
  }
  values.sort((a, b) => a - b);
  const at = (q: number) => values[Math.min(values.length - 1, Math.floor(q * values.length))] ?? Number.NaN;
  return { value, low: at(0.025), high: at(0.975), n: items.length };
}

/** Garwood's exact 95 % interval of a rate after `events` in `exposure`; after 0 events the one-sided bound, 3/exposure. */
export function rateInterval(events: number, exposure: number): Interval {
  if (exposure <= 0) return { value: Number.NaN, low: 0, high: Number.POSITIVE_INFINITY, n: events };
  const low = events === 0 ? 0 : meanAt(events - 1, 0.975);
  const high = events === 0 ? 3 : meanAt(events, 0.025);
  return { value: events / exposure, low: low / exposure, high: high / exposure, n: events };
}

/** The Poisson mean at which `k` or fewer events have the chance `p`; by bisection. */
function meanAt(k: number, p: number): number {
  let [low, high] = [0, 10 + k + 10 * Math.sqrt(k + 1)];
  for (let i = 0; i < 60; i++) {
    const mean = (low + high) / 2;
    if (poissonUpTo(k, mean) > p) low = mean;
    else high = mean;
  }
  return low;
}

function poissonUpTo(k: number, mean: number): number {
  // In logarithms: exp(-mean) alone is 0 beyond 745.
  let log = -mean;
  let sum = Math.exp(log);
  for (let i = 1; i <= k; i++) {
    log += Math.log(mean / i);
    sum += Math.exp(log);
  }
  return sum;
}

/** The smallest value that at least a share `q` of them does not exceed; NaN of nothing. */
export const quantile = (sorted: readonly number[], q: number): number =>
  sorted.length === 0 ? Number.NaN : sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!;

/** Chance of `b` or fewer of `n` fair coin flips: the one-sided sign test. */
export function signTest(b: number, n: number): number {
  let p = 0;
  let term = 0.5 ** n;
  for (let k = 0; k <= b; k++) {
    p += term;
    term = (term * (n - k)) / (k + 1);
  }
  return Math.min(1, p);
}

/** Shares by rising dose, made monotone by pooling neighbours that contradict. */
export function isotonic(
  points: readonly { readonly x: number; readonly hits: number; readonly n: number }[],
): number[] {
  const blocks: { hits: number; n: number; width: number }[] = [];
  for (const p of points) {
    blocks.push({ hits: p.hits, n: p.n, width: 1 });
    for (let i = blocks.length - 1; i > 0; i--) {
      const a = blocks[i - 1]!;
      const b = blocks[i]!;
      if (a.hits / a.n <= b.hits / b.n) break;
      blocks.splice(i - 1, 2, { hits: a.hits + b.hits, n: a.n + b.n, width: a.width + b.width });
    }
  }
  return blocks.flatMap((b) => Array.from({ length: b.width }, () => b.hits / b.n));
}

/** The dose at which the monotone curve reaches `share`, between grid points on a logarithmic scale; null if never. */
export function doseAtShare(
  points: readonly { readonly x: number; readonly hits: number; readonly n: number }[],
  share: number,
): number | null {
  const curve = isotonic(points);
  for (let i = 0; i < curve.length; i++) {
    if (curve[i]! < share) continue;
    if (i === 0) return points[0]!.x;
    const [a, b] = [curve[i - 1]!, curve[i]!];
    const t = (share - a) / (b - a);
    return Math.exp(Math.log(points[i - 1]!.x) * (1 - t) + Math.log(points[i]!.x) * t);
  }
  return null;
}
