/**
 * How much larger one set of blocks is than another, as a ratio with an interval (Hodges–Lehmann on logarithms, interval from
 * the ranks of Mann and Whitney), and what follows from it. Blocks are runs or minutes, never single requests.
 */
import { autocorrelation, type Numbers, normalCdf, quantileSorted } from './robust.ts';

export interface Shift {
  /** Median of all ratios after/before; 1.1 is 10 % more. */
  readonly ratio: number;
  /** 95 % interval. */
  readonly low: number;
  readonly high: number;
  /** Two-sided p of "no shift". */
  readonly p: number;
  /** Probability that a block of after is larger than one of before; 0.5 is no difference. */
  readonly superiority: number;
  /** Spread between blocks of one side, relative (robust). */
  readonly cv: number;
  readonly before: number;
  readonly after: number;
}

/** Fewest blocks of a side of which anything is said. */
export const FEWEST_BLOCKS = 5;
/** The p below which a difference is called one: at 0.05, one of fifty comparisons of noisy but equal sides would be. */
const CERTAIN = 0.01;
const Z95 = 1.959964;

/**
 * Compares positive values. `consecutive` blocks are neighbours in time and resemble each other, which widens the interval;
 * runs do not. Undefined below `FEWEST_BLOCKS` a side.
 */
export function shiftOf(before: Numbers, after: Numbers, consecutive: boolean): Shift | undefined {
  const a = Float64Array.from(before, Math.log).filter(Number.isFinite);
  const b = Float64Array.from(after, Math.log).filter(Number.isFinite);
  const n = a.length;
  const m = b.length;
  if (n < FEWEST_BLOCKS || m < FEWEST_BLOCKS) return undefined;
  const widen = consecutive ? Math.sqrt((inflation(a) + inflation(b)) / 2) : 1;
  const differences = new Float64Array(n * m);
  let above = 0;
  for (let i = 0, k = 0; i < n; i++) {
    for (let j = 0; j < m; j++, k++) {
      const d = b[j]! - a[i]!;
      differences[k] = d;
      above += d > 0 ? 1 : d === 0 ? 0.5 : 0;
    }
  }
  differences.sort();
  const sd = Math.sqrt((n * m * (n + m + 1)) / 12) * widen;
  const k = Math.max(0, Math.floor((n * m) / 2 - Z95 * sd - 0.5));
  const z = Math.max(0, Math.abs(above - (n * m) / 2) - 0.5) / sd;
  return {
    ratio: Math.exp(quantileSorted(differences, 0.5)),
    low: Math.exp(differences[k]!),
    high: Math.exp(differences[n * m - 1 - k]!),
    p: Math.min(1, 2 * (1 - normalCdf(z))),
    superiority: above / (n * m),
    cv: Math.sqrt((spread(a) ** 2 + spread(b) ** 2) / 2),
    before: Math.exp(quantileSorted(a.slice().sort(), 0.5)),
    after: Math.exp(quantileSorted(b.slice().sort(), 0.5)),
  };
}

/** By how much the variance of a mean grows when neighbours resemble each other (first order). */
function inflation(values: Numbers): number {
  // Short series look less alike than they are, by about (1 + 3r)/n.
  const n = values.length;
  const r = Math.min(0.9, Math.max(0, (n * autocorrelation(values) + 1) / Math.max(1, n - 3)));
  return (1 + r) / (1 - r);
}

function spread(values: Float64Array): number {
  const s = values.slice().sort();
  return (quantileSorted(s, 0.75) - quantileSorted(s, 0.25)) / 1.349;
}

export type ShiftVerdict = 'regressed' | 'improved' | 'equivalent' | 'inconclusive';

/**
 * What a shift means. `band` is the relative difference that does not matter (0.03): a difference is one when it is no chance,
 * its interval does not hold "no difference", and its size is beyond the band; two are equivalent when the whole interval lies
 * inside the band. `worse`: which way is bad.
 */
export function judgeShift(shift: Shift, band: number, worse: 'up' | 'down', p = shift.p): ShiftVerdict {
  const up = shift.low > 1 && shift.ratio > 1 + band;
  const down = shift.high < 1 && shift.ratio < 1 / (1 + band);
  if ((up || down) && p < CERTAIN) return up === (worse === 'up') ? 'regressed' : 'improved';
  if (shift.low > 1 / (1 + band) && shift.high < 1 + band) return 'equivalent';
  return 'inconclusive';
}

/** About how many blocks a side needs for a difference of `difference` to be seen 4 times of 5. */
export function blocksNeeded(cv: number, difference: number): number {
  const delta = Math.log1p(difference);
  return Math.max(FEWEST_BLOCKS, Math.ceil(2 * (1.96 + 0.84) ** 2 * (cv / delta) ** 2));
}
