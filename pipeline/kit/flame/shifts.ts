/**
 * How far the clock of one host has to be moved for its spans to lie inside their parents on another host: by pair of hosts,
 * from all of their spans together. Source: detectors C2, C3; as in Jaeger's clock skew adjustment, but per pair, not per span.
 */
import { quantile } from '../stats/robust.ts';

const MOST_PAIRS = 4096;
/** Enough for stable quantiles. */
const SAMPLES = 4096;

export interface Shifts {
  /**
   * A child on host `to` of a parent on host `from`: it fits if it is moved by at least `least` and at most `most` (in any one
   * unit). `least` above `most` is a child that is longer than its parent, and says nothing.
   */
  add(from: string, to: string, least: number, most: number): void;
  /** By `from\nto`, what is to be added to the times of `to`. Pairs that fit as they are, are left out. */
  settle(): Map<string, number>;
}

export function createShifts(): Shifts {
  const pairs = new Map<string, { least: number[]; most: number[]; seen: number }>();
  return {
    add(from, to, least, most) {
      if (least > most) return;
      const key = `${from}\n${to}`;
      let pair = pairs.get(key);
      if (!pair) {
        if (pairs.size >= MOST_PAIRS) return;
        pair = { least: [], most: [], seen: 0 };
        pairs.set(key, pair);
      }
      const at = pair.seen++ % SAMPLES;
      pair.least[at] = least;
      pair.most[at] = most;
    },
    settle() {
      const out = new Map<string, number>();
      for (const [key, { least, most }] of pairs) {
        // A few children outlive their parents by design; the clock is what nearly all of them agree on.
        const low = quantile(least, 0.95);
        const high = quantile(most, 0.05);
        const shift = low > high ? (low + high) / 2 : Math.min(high, Math.max(low, 0));
        if (low > 0 || high < 0) out.set(key, shift);
      }
      return out;
    },
  };
}
