/** Quantiles of what happened in the last minute, per key, from cumulative or delta histograms with fixed bounds. */
import { type HistogramPoint, isStale, type Series, Temporality } from '../model.ts';
import { bucketQuantile } from './stats/counters.ts';

/** The minute in slots: the oldest is forgotten as a new one begins. */
const SLOT_MS = 15_000;
const SLOTS = 4;

interface Spread {
  readonly bounds: Float64Array;
  readonly slots: { at: number; counts: Float64Array }[];
}

export interface RecentQuantiles {
  take(key: string, point: HistogramPoint, nowMs: number): void;
  /** In the unit of the signal; undefined when nothing was observed in the last minute. */
  quantile(key: string, p: number, nowMs: number): number | undefined;
  /** Forgets what has nothing of the last minute. */
  forget(nowMs: number): void;
}

/** Keeps at most so many keys; more are not kept. */
export function recentQuantiles(limit = 5_000): RecentQuantiles {
  const spreads = new Map<string, Spread>();
  const lasts = new WeakMap<Series, HistogramPoint>();

  const slotOf = (spread: Spread, nowMs: number): Float64Array => {
    const at = Math.floor(nowMs / SLOT_MS);
    const newest = spread.slots.at(-1);
    if (newest && newest.at >= at) return newest.counts;
    const counts = new Float64Array(spread.bounds.length + 1);
    spread.slots.push({ at, counts });
    if (spread.slots.length > SLOTS) spread.slots.shift();
    return counts;
  };
  const fresh = (spread: Spread, nowMs: number) =>
    spread.slots.filter(({ at }) => at > Math.floor(nowMs / SLOT_MS) - SLOTS);

  return {
    take(key, point, nowMs) {
      if (isStale(point)) return;
      const { series, bounds, bucketCounts } = point;
      const isDelta = series.metric.temporality === Temporality.DELTA;
      const last = lasts.get(series);
      lasts.set(series, point);
      if (!isDelta && !last) return;
      let spread = spreads.get(key);
      if (spread?.bounds.length !== bounds.length) {
        if (!spread && spreads.size >= limit) return;
        spread = { bounds, slots: [] };
        spreads.set(key, spread);
      }
      const began =
        isDelta ||
        !last ||
        Number(point.count) < Number(last.count) ||
        last.bucketCounts.length !== bucketCounts.length;
      const counts = slotOf(spread, nowMs);
      for (let i = 0; i < bucketCounts.length; i++) {
        counts[i]! += Math.max(0, Number(bucketCounts[i]) - (began ? 0 : Number(last.bucketCounts[i])));
      }
    },
    quantile(key, p, nowMs) {
      const spread = spreads.get(key);
      if (!spread) return undefined;
      const total = new Float64Array(spread.bounds.length + 1);
      let n = 0;
      for (const { counts } of fresh(spread, nowMs)) {
        for (let i = 0; i < counts.length; i++) {
          total[i]! += counts[i]!;
          n += counts[i]!;
        }
      }
      return n === 0 ? undefined : bucketQuantile(spread.bounds, total, p, 1)?.mid;
    },
    forget(nowMs) {
      for (const [key, spread] of spreads) if (fresh(spread, nowMs).length === 0) spreads.delete(key);
    },
  };
}
