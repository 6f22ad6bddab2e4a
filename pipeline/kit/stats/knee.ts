/**
 * Where output stops following load: a continuous fit with one bend, with an interval, and the largest load at which a share
 * still holds (isotonic).
 */
import { quantile, quantileSorted } from './robust.ts';

/** One load level: the load (requests at once) and the output that goes with it, both means over its windows. */
export interface LoadLevel {
  readonly load: number;
  readonly output: number;
  /** Windows it was seen in. */
  readonly windows: number;
  /** Relative standard error of the output; levels count by it. */
  readonly error?: number;
}

/** A fit of output over load that has a knee. */
export interface KneeFit {
  readonly load: number;
  /** Output there. */
  readonly output: number;
  /** Slope behind it over the mean slope up to it. */
  readonly flatness: number;
  /** Relative residuals, one a level. */
  readonly residuals: readonly number[];
  readonly cost: number;
  /** Levels that lie behind it. */
  readonly beyond: number;
  /** Whether it is better by more than chance than the same without a knee. */
  readonly bends: boolean;
}

type Pairs = readonly { readonly load: number; readonly output: number; readonly error?: number }[];
/** However often it was seen, a level is not known better than this: the next day it would differ by so much. */
const BEST_ERROR = 0.02;

const weightOf = ({ error }: { readonly error?: number }): number =>
  error === undefined ? 1 : BEST_ERROR ** 2 / (BEST_ERROR ** 2 + error ** 2);
/** Places where the knee may be that are tried between two levels. */
const BETWEEN = 12;
/** F at about 1 % for one or two parameters more and few levels. */
const NO_CHANCE = 9;

/**
 * The better of two fits to levels in order of load, each with three parameters, every level counting by how well it is known:
 * two straight lines, the first through the origin; or a time per request that grows with the batch, output = load/(r + s·load),
 * up to where output stays what it is. Undefined below five levels, or where there is no output.
 */
export function fitKnee(levels: Pairs): KneeFit | undefined {
  const n = levels.length;
  if (n < 5 || levels.some((l) => !(l.output > 0) || !(l.load > 0))) return undefined;
  const fits = [searched(levels, TWO_LINES), searched(levels, BATCH_THEN_FLAT)];
  const good = fits.filter((f) => f.bends && f.beyond >= 2);
  return (good.length > 0 ? good : fits).reduce((a, b) => (b.cost < a.cost ? b : a));
}

/** A curve with a knee at `k` and two coefficients, linear in them where a level's error is relative to it. */
interface Shape {
  /** What the coefficients are multiplied by for a level to give 1. */
  terms(load: number, output: number, k: number, into: [number, number]): void;
  /** Whether coefficients make sense. */
  sane(a: number, b: number): boolean;
  /** The curve where they do not: `sum` has one coefficient for both, `first` none for the second. */
  readonly without: 'sum' | 'first';
  /** Parameters that the same has less without a knee, which is one behind all levels. */
  readonly fewer: number;
  readonly at: (load: number, k: number, a: number, b: number) => number;
  slope(b: number): number;
}

/** output = a·min(load, k) + b·max(0, load − k). Without a knee one line. */
const TWO_LINES: Shape = {
  terms(load, output, k, into) {
    into[0] = Math.min(load, k) / output;
    into[1] = Math.max(0, load - k) / output;
  },
  sane: (a, b) => a > 0 && b <= a,
  without: 'sum',
  fewer: 2,
  at: (load, k, a, b) => a * Math.min(load, k) + b * Math.max(0, load - k),
  slope: (b) => b,
};

/** load/output = a + b·load up to k, and behind it such that output stays. Without a knee the first part goes on. */
const BATCH_THEN_FLAT: Shape = {
  terms(load, output, k, into) {
    into[0] = (Math.max(1, load / k) * output) / load;
    into[1] = output;
  },
  sane: (a, b) => a > 0 && b >= 0,
  without: 'first',
  fewer: 1,
  at: (load, k, a, b) => Math.min(load, k) / (a + b * Math.min(load, k)),
  slope: () => 0,
};

interface Coefficients {
  readonly a: number;
  readonly b: number;
  readonly cost: number;
}

const pair: [number, number] = [0, 0];

/** Least squares of the relative errors for one place of the knee. */
function solve(levels: Pairs, shape: Shape, k: number): Coefficients {
  let uu = 0;
  let vv = 0;
  let uv = 0;
  let u1 = 0;
  let v1 = 0;
  let ww = 0;
  for (const level of levels) {
    shape.terms(level.load, level.output, k, pair);
    const w = weightOf(level);
    const [u, v] = pair;
    ww += w;
    uu += w * u * u;
    vv += w * v * v;
    uv += w * u * v;
    u1 += w * u;
    v1 += w * v;
  }
  const det = uu * vv - uv * uv;
  let a = (vv * u1 - uv * v1) / det;
  let b = (uu * v1 - uv * u1) / det;
  if (!(det > 1e-12 * uu * vv) || !shape.sane(a, b)) {
    if (shape.without === 'sum') a = b = (u1 + v1) / (uu + 2 * uv + vv);
    else [a, b] = [u1 / uu, 0];
  }
  // Σ w·(1 − a·u − b·v)², from the same sums.
  const cost = ww - 2 * (a * u1 + b * v1) + a * a * uu + 2 * a * b * uv + b * b * vv;
  return { a, b, cost: Math.max(0, cost) };
}

function searched(levels: Pairs, shape: Shape): KneeFit {
  const n = levels.length;
  let at = levels[n - 2]!.load;
  let best = solve(levels, shape, at);
  for (let i = 1; i < n - 2; i++) {
    const step = (levels[i + 1]!.load / levels[i]!.load) ** (1 / BETWEEN);
    let k = levels[i]!.load;
    for (let j = 0; j < BETWEEN; j++, k *= step) {
      const found = solve(levels, shape, k);
      if (found.cost >= best.cost) continue;
      best = found;
      at = k;
    }
  }
  const { a, b, cost } = best;
  const output = shape.at(at, at, a, b);
  const scatter = Math.max(1e-9, cost / Math.max(1, n - 3));
  const without = solve(levels, shape, levels[n - 1]!.load);
  return {
    load: at,
    output,
    flatness: (shape.slope(b) * at) / output,
    residuals: levels.map((l) => (l.output - shape.at(l.load, at, a, b)) / l.output),
    cost,
    beyond: levels.filter((l) => l.load > at * 1.02).length,
    bends: (without.cost - cost) / shape.fewer / scatter > NO_CHANCE,
  };
}

export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface Knee {
  /** Load at which output stops following it. */
  readonly load: Interval;
  /** Output there. */
  readonly output: Interval;
  /** What the deployment gives at most. */
  readonly capacity: Interval;
  readonly flatness: number;
  /** The same from the output at its highest and the time that a request takes when nothing waits (N* = X·R). */
  readonly cross_check: number;
  readonly levels: number;
  readonly beyond: number;
}

export type KneeResult =
  | { readonly found: true; readonly knee: Knee }
  /** `seen` is how far the load went without a knee; undefined when too little was seen to tell. */
  | { readonly found: false; readonly why: string; readonly seen?: number };

/** Fewest load levels, and of those with more than half of the highest output. */
const FEWEST_LEVELS = 6;
const FEWEST_HIGH = 3;
const RESAMPLES = 500;

/** Finds the knee of levels in order of load; the same levels give the same interval. */
export function kneeOf(levels: readonly LoadLevel[]): KneeResult {
  const most = levels.at(-1)?.load ?? 0;
  if (levels.length < FEWEST_LEVELS) {
    return { found: false, why: `${levels.length} load levels were seen, ${FEWEST_LEVELS} are needed` };
  }
  const top = Math.max(...levels.map((l) => l.output));
  if (levels.filter((l) => l.output >= top / 2).length < FEWEST_HIGH) {
    return { found: false, why: `fewer than ${FEWEST_HIGH} load levels gave more than half of the highest output` };
  }
  const fit = fitKnee(levels);
  if (!fit) return { found: false, why: 'there are levels without output' };
  if (fit.flatness > 0.5 || fit.beyond < 2 || !fit.bends) {
    return { found: false, why: 'output followed the load as far as it went', seen: most };
  }
  const loads: number[] = [fit.load];
  const outputs: number[] = [fit.output];
  const capacities: number[] = [capacityOf(levels)];
  const spread = Math.sqrt(levels.length / Math.max(1, levels.length - 3));
  const next = generator(levels.length);
  // Residuals as if all levels were known equally well.
  const even = levels.map((l, j) => fit.residuals[j]! * Math.sqrt(weightOf(l)));
  const drawn = () => even[Math.floor(next() * even.length)]!;
  for (let i = 0; i < RESAMPLES; i++) {
    const again = levels.map((l, j) => ({
      ...l,
      output: l.output * (1 - fit.residuals[j]!) * (1 + (spread * drawn()) / Math.sqrt(weightOf(l))),
    }));
    const other = fitKnee(again);
    if (!other || other.flatness > 0.8) continue;
    loads.push(other.load);
    outputs.push(other.output);
    capacities.push(capacityOf(again));
  }
  const low = levels.slice(0, Math.max(2, Math.floor(levels.length / 4)));
  const alone = low.reduce((sum, l) => sum + l.output / l.load, 0) / low.length;
  const capacity = interval(capacities[0]!, capacities);
  return {
    found: true,
    knee: {
      load: asFarAsSeen(interval(fit.load, loads), levels),
      output: interval(fit.output, outputs),
      capacity,
      flatness: fit.flatness,
      cross_check: capacity.value / alone,
      levels: levels.length,
      beyond: fit.beyond,
    },
  };
}

/** Where no level lies in an interval nothing was seen there but the fit: the knee is somewhere between the neighbours. */
function asFarAsSeen(i: Interval, levels: readonly LoadLevel[]): Interval {
  if (levels.some((l) => l.load >= i.low && l.load <= i.high)) return i;
  const below = levels.findLast((l) => l.load < i.low)?.load ?? i.low;
  const above = levels.find((l) => l.load > i.high)?.load ?? i.high;
  return { value: i.value, low: below, high: above };
}

/** Mean output of the levels from where nearly all of it is given. */
function capacityOf(levels: readonly LoadLevel[]): number {
  const top = quantile(
    levels.map((l) => l.output),
    0.9,
  );
  const from = levels.findIndex((l) => l.output >= 0.95 * top);
  let [total, windows] = [0, 0];
  for (const l of levels.slice(Math.max(0, from))) {
    total += l.output * l.windows;
    windows += l.windows;
  }
  return total / windows;
}

function interval(value: number, samples: readonly number[]): Interval {
  const s = Float64Array.from(samples).sort();
  return { value, low: Math.min(value, quantileSorted(s, 0.025)), high: Math.max(value, quantileSorted(s, 0.975)) };
}

function generator(seed: number): () => number {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** The best fit that never rises, by pooling neighbours that do (weights are counts). */
export function neverRising(values: readonly number[], weights: readonly number[]): number[] {
  const pools: { value: number; weight: number; n: number }[] = [];
  for (let i = 0; i < values.length; i++) {
    pools.push({ value: values[i]!, weight: weights[i]!, n: 1 });
    while (pools.length > 1 && pools.at(-2)!.value < pools.at(-1)!.value) {
      const b = pools.pop()!;
      const a = pools.at(-1)!;
      const weight = a.weight + b.weight;
      a.value = weight > 0 ? (a.value * a.weight + b.value * b.weight) / weight : (a.value + b.value) / 2;
      a.weight = weight;
      a.n += b.n;
    }
  }
  return pools.flatMap((p) => new Array<number>(p.n).fill(p.value));
}

/**
 * The largest load at which at least `wanted` of the requests were good: between the last level that holds and the first that
 * does not, in proportion. Undefined where even the lowest does not hold; `open` where all do.
 */
export function feasibleLoad(
  levels: readonly { readonly load: number; readonly good: number; readonly all: number }[],
  wanted: number,
): { readonly load: number; readonly open: boolean } | undefined {
  const some = levels.filter((l) => l.all > 0);
  const shares = neverRising(
    some.map((l) => l.good / l.all),
    some.map((l) => l.all),
  );
  const first = shares.findIndex((s) => s < wanted);
  if (some.length === 0 || first === 0) return undefined;
  if (first < 0) return { load: some.at(-1)!.load, open: true };
  const [a, b] = [shares[first - 1]!, shares[first]!];
  const part = a > b ? (a - wanted) / (a - b) : 0;
  const [from, to] = [some[first - 1]!.load, some[first]!.load];
  return { load: from + part * (to - from), open: false };
}
