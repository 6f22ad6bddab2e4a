/** The samples of one series, kept as its rules need them: a fine ring for short windows, a coarse one for long ones. */
import type { Fold, Term } from '../../pipeline/kit/rules/rule.ts';
import {
  isHistogramPoint,
  isNumberPoint,
  isSummaryPoint,
  type Point,
  type Series,
  Temporality,
} from '../../pipeline/model.ts';
import {
  COUNTER_STRIDE,
  ends,
  GAUGE_STRIDE,
  gaugeOver,
  newRing,
  pushCounter,
  pushGauge,
  pushRow,
  type Ring,
} from './rings.ts';

const FINE_MS = 900_000;
const STALE_MS = 60_000;

/** What the terms of one signal want to be kept. */
export interface Wanted {
  /** The furthest that any term looks back, milliseconds. */
  readonly spanMs: number;
  /** The same for quantiles, which need every bucket; 0 for none. */
  readonly bucketSpanMs: number;
  readonly thresholds: readonly number[];
}

/** What terms want of a signal, together. */
export function wantedOf(terms: readonly Term[]): Wanted {
  const reach = (list: readonly Term[]) => Math.max(0, ...list.map((t) => t.windowMs + t.offsetMs));
  return {
    spanMs: reach(terms),
    bucketSpanMs: reach(terms.filter((t) => t.fold === 'quantile')),
    thresholds: [...new Set(terms.filter((t) => t.fold === 'share_above').map((t) => t.threshold))],
  };
}

/** Rings of one number: tiers by span, the finest first. */
type Tiers = readonly Ring[];

const tiers = (spanMs: number, stride: number): Tiers =>
  spanMs <= FINE_MS ? [newRing(spanMs, stride)] : [newRing(FINE_MS, stride), newRing(spanMs, stride)];

const tierFor = (list: Tiers, reachMs: number): Ring => list.find((r) => r.spanMs >= reachMs) ?? list.at(-1)!;

export interface Channel {
  readonly key: string;
  readonly signal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** It counts up (a counter, a histogram), as opposed to going up and down. */
  readonly counts: boolean;
  /** Wall time of the newest sample. */
  lastMs: number;
  /** Time between samples, usually. */
  stepMs: number;
  /** When a marker said that the series ended; −Infinity while it lives. */
  endedMs: number;
  /** Forgotten; who still holds it must ask again. */
  gone: boolean;
  readonly add: (point: Point, t: number, zeroAt: number | undefined) => void;
  /** Of single numbers. */
  readonly number: (fold: Fold, from: number, to: number, reachMs: number, coverage: number) => number | undefined;
  /** Of histograms and counters: what came in the window. */
  readonly grown: (
    what: 'value' | 'count' | 'sum' | number,
    from: number,
    to: number,
    reachMs: number,
    coverage: number,
  ) => { amount: number; seconds: number } | undefined;
  readonly buckets: (
    from: number,
    to: number,
    coverage: number,
  ) => { bounds: Float64Array; counts: Float64Array } | undefined;
}

/** Makes the channel of a series. */
export function newChannel(
  key: string,
  first: Series,
  labels: Readonly<Record<string, string>>,
  wanted: Wanted,
): Channel {
  const { metric } = first;
  const counts = metric.type !== 'gauge' && !(metric.type === 'sum' && !metric.monotonic);
  const delta = metric.temporality === Temporality.DELTA;
  const totals = new Map<string, { tiers: Tiers; total: number; previous: number }>();
  const gauge = counts ? undefined : tiers(wanted.spanMs, GAUGE_STRIDE);
  let rows: { ring: Ring; bounds: Float64Array; total: Float64Array; previous: Float64Array } | undefined;
  let bounds: Float64Array | undefined;
  let previousCount = 0;
  let samples = 0;

  const track = (name: string) => {
    let found = totals.get(name);
    if (!found) {
      found = { tiers: tiers(wanted.spanMs, COUNTER_STRIDE), total: 0, previous: Number.NaN };
      totals.set(name, found);
    }
    return found;
  };
  /** Adds a cumulative value; after a reset everything that was counted since is new. */
  const put = (name: string, raw: number, t: number, reset: boolean | undefined, zeroAt: number | undefined) => {
    const of = track(name);
    if (Number.isNaN(of.previous)) {
      if (zeroAt !== undefined) {
        for (const ring of of.tiers) pushCounter(ring, zeroAt, 0);
        of.total = raw;
      } else if (delta) of.total = raw;
    } else if (delta) of.total += raw;
    else of.total += (reset ?? raw < of.previous) ? raw : raw - of.previous;
    of.previous = raw;
    for (const ring of of.tiers) pushCounter(ring, t, of.total);
  };

  function putHistogram(point: Point, t: number, zeroAt: number | undefined): void {
    if (isNumberPoint(point)) return;
    const count = Number(point.count);
    const sum = point.sum;
    const reset = samples > 0 && count < previousCount;
    previousCount = count;
    put('count', count, t, reset, zeroAt);
    if (sum !== undefined && sum - sum === 0) put('sum', sum, t, reset, zeroAt);
    if (isSummaryPoint(point) || !isHistogramPoint(point)) return;
    if (!bounds || !same(bounds, point.bounds)) {
      // Other buckets cannot be compared with those before.
      if (bounds) for (const name of [...totals.keys()]) if (name.startsWith('above ')) totals.delete(name);
      bounds = point.bounds;
      rows = undefined;
    }
    for (const threshold of wanted.thresholds) {
      const at = bounds.findIndex((bound) => bound >= threshold * (1 - 1e-9));
      if (at < 0) continue;
      let above = 0;
      for (let i = at + 1; i < point.bucketCounts.length; i++) above += Number(point.bucketCounts[i]!);
      put(`above ${threshold}`, above, t, reset, zeroAt);
    }
    if (wanted.bucketSpanMs > 0) putRow(point.bucketCounts, t, reset);
  }

  function putRow(raw: ArrayLike<number | bigint>, t: number, reset: boolean): void {
    const n = raw.length;
    if (!rows) {
      const ring = newRing(wanted.bucketSpanMs, n + 1);
      rows = { ring, bounds: bounds!, total: new Float64Array(n), previous: new Float64Array(n).fill(Number.NaN) };
    }
    for (let i = 0; i < n; i++) {
      const v = Number(raw[i]!);
      const was = rows.previous[i]!;
      if (Number.isNaN(was)) rows.total[i] = 0;
      else rows.total[i]! += delta || reset || v < was ? v : v - was;
      rows.previous[i] = v;
    }
    pushRow(rows.ring, t, rows.total);
  }

  const channel: Channel = {
    key,
    signal: metric.name,
    labels,
    counts,
    lastMs: Number.NEGATIVE_INFINITY,
    stepMs: 0,
    endedMs: Number.NEGATIVE_INFINITY,
    gone: false,
    add(point, t, zeroAt) {
      if (t <= channel.lastMs) return;
      if (isNumberPoint(point)) {
        const v = Number(point.value);
        if (v - v !== 0) return;
        if (gauge) for (const ring of gauge) pushGauge(ring, t, v);
        else put('value', v, t, undefined, zeroAt);
      } else putHistogram(point, t, zeroAt);
      const dt = t - channel.lastMs;
      if (samples > 0)
        channel.stepMs =
          channel.stepMs === 0
            ? dt
            : dt > 2.5 * channel.stepMs
              ? channel.stepMs * 1.05
              : channel.stepMs + (dt - channel.stepMs) * 0.2;
      samples++;
      channel.lastMs = t;
      channel.endedMs = Number.NEGATIVE_INFINITY;
    },
    number(fold, from, to, reachMs, coverage) {
      if (!gauge || !isAlive(channel, to)) return undefined;
      const ring = tierFor(gauge, reachMs);
      // The last value may be older than a short window.
      const start = fold === 'last' ? Math.min(from, to - staleAfter(channel)) : from;
      const over = gaugeOver(ring, start, to, fold === 'last' ? 0 : coverage, channel.stepMs);
      if (!over) return undefined;
      return fold === 'range' ? over.max - over.min : over[fold as 'last' | 'mean' | 'min' | 'max'];
    },
    grown(what, from, to, reachMs, coverage) {
      const of = totals.get(typeof what === 'number' ? `above ${what}` : what);
      if (!of || !isAlive(channel, to)) return undefined;
      const ring = tierFor(of.tiers, reachMs);
      const at = ends(ring, from, to, coverage);
      return at && { amount: ring.data[at.last + 1]! - ring.data[at.first + 1]!, seconds: at.seconds };
    },
    buckets(from, to, coverage) {
      if (!rows || !isAlive(channel, to)) return undefined;
      const { ring } = rows;
      const at = ends(ring, from, to, coverage);
      if (!at) return undefined;
      const counts = new Float64Array(ring.stride - 1);
      for (let i = 0; i < counts.length; i++) counts[i] = ring.data[at.last + 1 + i]! - ring.data[at.first + 1 + i]!;
      return { bounds: rows.bounds, counts };
    },
  };
  return channel;
}

/** How long after its last sample a series still counts. */
export const staleAfter = (channel: Channel): number => Math.max(STALE_MS, 2.5 * channel.stepMs);

/** Whether the series was heard of lately, and did not end. */
export const isAlive = (channel: Channel, at: number): boolean =>
  channel.endedMs < channel.lastMs && at - channel.lastMs <= staleAfter(channel);

const same = (a: Float64Array, b: Float64Array): boolean =>
  a === b || (a.length === b.length && a.every((v, i) => v === b[i]));
