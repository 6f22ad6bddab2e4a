/**
 * What is read from windows: measures with their sample counts and their quality, or nothing. "Nothing" (too few samples, a
 * gap, no such signal) is never zero.
 */

import { bucketQuantile, type QuantileInterval, shareAbove } from '../../pipeline/kit/stats/counters.ts';
import { mannKendall, quantile, theilSen } from '../../pipeline/kit/stats/robust.ts';
import type { EntityName, Evidence } from '../../pipeline/kit/verdict.ts';
import { firstFrom, firstRowFrom, lastTime, lastValue, rowAt, rowTime, timeAt, valueAt } from './rings.ts';
import type { Combine } from './signals.ts';
import type { Channel } from './store.ts';

/** Share of a window that must be covered by samples, and the fewest samples, for it to count. */
export const COVERAGE = 0.7;
export const FEWEST = 4;

export interface Samples {
  readonly t: readonly number[];
  readonly v: readonly number[];
}

/** One number read from a window. */
export interface Measure {
  readonly signal: string;
  readonly of: EntityName;
  /** How it was folded: `mean`, `q90`, `rate`, … */
  readonly how: string;
  readonly windowMs: number;
  readonly value: number;
  readonly n: number;
  /** Something about the window lowers trust: resets, several channels of unequal age. */
  readonly defects: number;
  readonly unit?: string;
  readonly baseline?: Evidence['baseline'];
  /** The course behind it, for dating its beginning: the same quantity over time. */
  course?(): Samples;
}

/** The window that a channel can answer for: at least eight (short) or twenty (long) of its own intervals. */
export const effectiveWindow = (windowMs: number, step: number): number =>
  Math.max(windowMs, (windowMs <= 60_000 ? 8 : 20) * step);

export interface Reading {
  /** Milliseconds since the newest sample. */
  readonly age: number;
  /** The usual distance of samples. */
  readonly step: number;
  /** True while samples come: the newest is not older than two and a half intervals (or 10 s). */
  readonly fresh: boolean;
  readonly channels: readonly Channel[];
}

export interface GaugeReading extends Reading {
  /** The newest value, while fresh. */
  last(): Measure | undefined;
  mean(windowMs: number): Measure | undefined;
  max(windowMs: number): Measure | undefined;
  min(windowMs: number): Measure | undefined;
  quantile(windowMs: number, p: number): Measure | undefined;
  /** Share of samples that satisfy `test`. */
  share(windowMs: number, test: (value: number) => boolean, how: string): Measure | undefined;
  /** Theil–Sen slope per second with the Mann–Kendall p of "no trend". */
  trend(windowMs: number): { readonly perSecond: number; readonly p: number; readonly n: number } | undefined;
  /** How many of the newest samples are bit-identical. */
  identical(): number;
  samples(windowMs: number): Samples;
}

export interface CounterReading extends Reading {
  increase(windowMs: number): Measure | undefined;
  /** Per second. */
  rate(windowMs: number): Measure | undefined;
  /** Milliseconds since it last grew, by sample times; undefined if it never did in the window kept. */
  idleFor(): number | undefined;
  /** Rates between neighbouring samples. */
  rates(windowMs: number): Samples;
}

export interface Distribution {
  readonly n: number;
  readonly sum: number;
  readonly mean: number;
  readonly bounds: Float64Array;
  readonly counts: Float64Array;
  readonly resets: number;
}

export interface HistogramReading extends Reading {
  /** What was observed in the window; undefined below `atLeast` observations. */
  over(windowMs: number, atLeast?: number): Distribution | undefined;
  /** Δsum/Δcount, exact; undefined below `atLeast` observations (default 20). */
  mean(windowMs: number, atLeast?: number): Measure | undefined;
  count(windowMs: number): Measure | undefined;
  quantile(windowMs: number, p: number): QuantileInterval | undefined;
  /** Exact share above the bucket bound that `threshold` falls on, as a measure whose `how` names the bound. */
  above(
    windowMs: number,
    threshold: number,
    atLeast?: number,
  ): (Measure & { above: number; bound: number }) | undefined;
  /** Δsum/Δcount between neighbouring samples that saw something. */
  means(windowMs: number): Samples;
}

const stepOf = (channels: readonly Channel[]): number => {
  let step = 0;
  for (const c of channels) step = Math.max(step, c.histogram ? c.histogram.step : c.ring.step);
  return step;
};
const newest = (channels: readonly Channel[]): number => {
  let t = Number.NEGATIVE_INFINITY;
  for (const c of channels) {
    const at = c.histogram ? (c.histogram.size ? rowTime(c.histogram, c.histogram.size - 1) : t) : lastTime(c.ring);
    if (at > t) t = at;
  }
  return t;
};

/** Where readers take the present from. Readers are kept between evaluations, so it is asked each time. */
export interface Present {
  readonly now: number;
}

interface Base extends Reading {
  readonly age: number;
}

/** The live part of a reading: everything is worked out when it is asked for. */
function reading(channels: readonly Channel[], present: Present): Base {
  return {
    channels,
    get age() {
      return present.now - newest(channels);
    },
    get step() {
      return stepOf(channels);
    },
    get fresh() {
      let ended = true;
      for (const c of channels) if (c.endedAt === Number.NEGATIVE_INFINITY) ended = false;
      return !ended && present.now - newest(channels) <= Math.max(10_000, 2.5 * stepOf(channels));
    },
  };
}

/** A reading is made once and kept: getters must survive being combined with the methods. */
function withMethods<T extends object>(base: Base, methods: T): Base & T {
  return Object.defineProperties(methods, Object.getOwnPropertyDescriptors(base)) as Base & T;
}

/** Gauges of one entity and signal. Several channels are combined sample by sample, on the times of the busiest one. */
export function readGauge(
  channels: readonly Channel[],
  present: Present,
  signal: string,
  of: () => EntityName,
  combine: Combine,
): GaugeReading {
  const base = reading(channels, present);
  const single = channels.length === 1 ? channels[0]!.ring : undefined;

  function collect(windowMs: number): { t: number[]; v: number[]; window: number } {
    const { now } = present;
    const window = effectiveWindow(windowMs, base.step);
    const from = now - window;
    const t: number[] = [];
    const v: number[] = [];
    if (single) {
      for (let i = firstFrom(single, from); i < single.size; i++) {
        t.push(timeAt(single, i));
        v.push(valueAt(single, i));
      }
      return { t, v, window };
    }
    const lead = channels.reduce((a, b) => (b.ring.size > a.ring.size ? b : a)).ring;
    const cursors = channels.map(() => 0);
    for (let i = firstFrom(lead, from); i < lead.size; i++) {
      const at = timeAt(lead, i);
      let total = 0;
      let n = 0;
      for (let c = 0; c < channels.length; c++) {
        const ring = channels[c]!.ring;
        while (cursors[c]! + 1 < ring.size && timeAt(ring, cursors[c]! + 1) <= at + ring.step * 0.6) cursors[c]!++;
        if (ring.size === 0 || Math.abs(timeAt(ring, cursors[c]!) - at) > 2.5 * Math.max(ring.step, 1000)) continue;
        const value = valueAt(ring, cursors[c]!);
        total = combine === 'max' && n > 0 ? Math.max(total, value) : combine === 'max' ? value : total + value;
        n++;
      }
      if (n === 0) continue;
      t.push(at);
      v.push(combine === 'mean' ? total / n : total);
    }
    return { t, v, window };
  }

  const course = () => collect(600_000);
  const covered = (n: number, window: number): boolean => {
    const step = base.step;
    return n >= FEWEST && step > 0 && (n * step) / window >= COVERAGE;
  };
  const measure = (how: string, windowMs: number, value: number, n: number): Measure => ({
    signal,
    of: of(),
    how,
    windowMs,
    value,
    n,
    defects: 0,
    course,
  });

  /** Folds values one by one; of one ring without copying it. */
  function fold(
    windowMs: number,
    how: string,
    start: number,
    f: (a: number, v: number) => number,
    mean: boolean,
  ): Measure | undefined {
    if (!single) {
      const { v, window } = collect(windowMs);
      if (!covered(v.length, window)) return undefined;
      let a = start;
      for (const x of v) a = f(a, x);
      return measure(how, window, mean ? a / v.length : a, v.length);
    }
    const window = effectiveWindow(windowMs, single.step);
    const first = firstFrom(single, present.now - window);
    const n = single.size - first;
    if (!covered(n, window)) return undefined;
    let a = start;
    for (let i = first; i < single.size; i++) a = f(a, valueAt(single, i));
    return measure(how, window, mean ? a / n : a, n);
  }

  return withMethods<Omit<GaugeReading, keyof Reading>>(base, {
    samples: (windowMs: number): Samples => collect(windowMs),
    last() {
      if (!base.fresh) return undefined;
      if (single) return single.size > 0 ? measure('last', 0, lastValue(single), 1) : undefined;
      const { t, v } = collect(Math.max(10_000, 3 * base.step));
      const value = v.at(-1);
      return value === undefined ? undefined : measure('last', 0, value, t.length);
    },
    mean: (w: number) => fold(w, 'mean', 0, add, true),
    max: (w: number) => fold(w, 'max', Number.NEGATIVE_INFINITY, Math.max, false),
    min: (w: number) => fold(w, 'min', Number.POSITIVE_INFINITY, Math.min, false),
    quantile(w: number, p: number) {
      const { v, window } = collect(w);
      return covered(v.length, window)
        ? measure(`q${Math.round(p * 100)}`, window, quantile(v, p), v.length)
        : undefined;
    },
    share: (w: number, test: (value: number) => boolean, how: string) =>
      fold(w, how, 0, (a, v) => a + (test(v) ? 1 : 0), true),
    trend(w: number) {
      const { t, v, window } = collect(w);
      if (!covered(v.length, window)) return undefined;
      // Sixty points say as much about a trend as six hundred, for a hundredth of the pairs.
      const stride = Math.ceil(t.length / 60);
      const x = t.filter((_, i) => i % stride === 0).map((at) => (at - t[0]!) / 1000);
      const y = v.filter((_, i) => i % stride === 0);
      return { perSecond: theilSen(x, y), p: mannKendall(y).p, n: y.length };
    },
    identical() {
      let least = Number.POSITIVE_INFINITY;
      for (const { ring } of channels) {
        let n = ring.size > 0 ? 1 : 0;
        for (let i = ring.size - 2; i >= 0 && valueAt(ring, i) === lastValue(ring); i--) n++;
        least = Math.min(least, n);
      }
      return channels.length > 0 ? least : 0;
    },
  });
}

const add = (a: number, v: number): number => a + v;

/** Counters of one entity and signal; increases of several channels are added. */
export function readCounter(
  channels: readonly Channel[],
  present: Present,
  signal: string,
  of: () => EntityName,
): CounterReading {
  const base = reading(channels, present);

  function grow(
    windowMs: number,
  ): { total: number; span: number; n: number; resets: number; window: number } | undefined {
    const window = effectiveWindow(windowMs, base.step);
    const from = present.now - window;
    let total = 0;
    let span = 0;
    let n = 0;
    let resets = 0;
    for (const { ring } of channels) {
      // The sample just before the window closes it, unless there is a gap.
      let i = firstFrom(ring, from);
      if (i > 0 && (i === ring.size || timeAt(ring, i) > from) && from - timeAt(ring, i - 1) <= ring.step * 1.5) i--;
      const count = ring.size - i;
      if (count < 2) continue;
      if (ring.resetAt < timeAt(ring, i)) total += lastValue(ring) - valueAt(ring, i);
      else {
        for (let k = i + 1; k < ring.size; k++) {
          const d = valueAt(ring, k) - valueAt(ring, k - 1);
          total += d >= 0 ? d : valueAt(ring, k);
          if (d < 0) resets++;
        }
      }
      span = Math.max(span, lastTime(ring) - timeAt(ring, i));
      n = Math.max(n, count);
    }
    return n >= FEWEST && span >= COVERAGE * window ? { total, span, n, resets, window } : undefined;
  }

  function rates(windowMs: number): { t: number[]; v: number[] } {
    const window = effectiveWindow(windowMs, base.step);
    const t: number[] = [];
    const v: number[] = [];
    const lead = channels.reduce((a, b) => (b.ring.size > a.ring.size ? b : a), channels[0]!);
    const { ring } = lead;
    for (let i = Math.max(1, firstFrom(ring, present.now - window)); i < ring.size; i++) {
      const d = valueAt(ring, i) - valueAt(ring, i - 1);
      t.push(timeAt(ring, i));
      v.push(((d >= 0 ? d : valueAt(ring, i)) * 1000) / (timeAt(ring, i) - timeAt(ring, i - 1)));
    }
    return { t, v };
  }

  const measure = (value: number, how: string, g: { n: number; resets: number; window: number }): Measure => ({
    signal,
    of: of(),
    how,
    windowMs: g.window,
    value,
    n: g.n,
    defects: g.resets > 0 ? 1 : 0,
    course: () => rates(600_000),
  });

  return withMethods<Omit<CounterReading, keyof Reading>>(base, {
    rates,
    increase(w: number) {
      const g = grow(w);
      return g && measure(g.total, 'increase', g);
    },
    rate(w: number) {
      const g = grow(w);
      return g && measure((g.total * 1000) / g.span, 'rate', g);
    },
    idleFor() {
      let latest = Number.NEGATIVE_INFINITY;
      let end = Number.NEGATIVE_INFINITY;
      for (const { ring } of channels) {
        end = Math.max(end, lastTime(ring));
        for (let i = ring.size - 1; i > 0; i--) {
          if (valueAt(ring, i) !== valueAt(ring, i - 1)) {
            latest = Math.max(latest, timeAt(ring, i));
            break;
          }
        }
      }
      return latest > Number.NEGATIVE_INFINITY ? end - latest : undefined;
    },
  });
}

/** Histograms of one entity and signal; several channels with the same bounds are added. */
export function readHistogram(
  channels: readonly Channel[],
  present: Present,
  signal: string,
  of: () => EntityName,
): HistogramReading {
  const base = reading(channels, present);

  function over(windowMs: number, atLeast = 1): Distribution | undefined {
    const window = effectiveWindow(windowMs, base.step);
    const from = present.now - window;
    let n = 0;
    let sum = 0;
    let resets = 0;
    let bounds: Float64Array | undefined;
    let counts: Float64Array | undefined;
    let usable = false;
    for (const { histogram } of channels) {
      if (!histogram || histogram.size < 2) continue;
      let i = firstRowFrom(histogram, from);
      if (i > 0 && (i === histogram.size || rowTime(histogram, i) > from)) {
        if (from - rowTime(histogram, i - 1) <= histogram.step * 1.5) i--;
      }
      if (histogram.size - i < 2) continue;
      const width = histogram.width;
      if (!counts) {
        bounds = histogram.bounds;
        counts = new Float64Array(width - 2);
      }
      const same = counts.length === width - 2;
      usable = true;
      const stepwise = histogram.resetAt >= rowTime(histogram, i);
      for (let k = i + 1; k < histogram.size; k++) {
        const a = rowAt(histogram, stepwise ? k - 1 : i);
        const b = rowAt(histogram, stepwise ? k : histogram.size - 1);
        const { rows } = histogram;
        if (rows[b]! < rows[a]!) {
          resets++;
          continue;
        }
        n += rows[b]! - rows[a]!;
        sum += rows[b + 1]! - rows[a + 1]!;
        if (same) for (let j = 0; j < width - 2; j++) counts[j]! += Math.max(0, rows[b + 2 + j]! - rows[a + 2 + j]!);
        if (!stepwise) break;
      }
    }
    if (!usable || n < atLeast || n <= 0) return undefined;
    return { n, sum, mean: sum / n, bounds: bounds!, counts: counts!, resets };
  }

  function means(windowMs: number): { t: number[]; v: number[] } {
    const t: number[] = [];
    const v: number[] = [];
    const lead = channels.find((c) => c.histogram)?.histogram;
    if (!lead) return { t, v };
    for (let i = Math.max(1, firstRowFrom(lead, present.now - windowMs)); i < lead.size; i++) {
      const a = rowAt(lead, i - 1);
      const b = rowAt(lead, i);
      const n = lead.rows[b]! - lead.rows[a]!;
      if (n <= 0) continue;
      t.push(rowTime(lead, i));
      v.push((lead.rows[b + 1]! - lead.rows[a + 1]!) / n);
    }
    return { t, v };
  }

  const measure = (value: number, how: string, windowMs: number, d: Distribution): Measure => ({
    signal,
    of: of(),
    how,
    windowMs: effectiveWindow(windowMs, base.step),
    value,
    n: d.n,
    defects: d.resets > 0 ? 1 : 0,
    course: () => means(600_000),
  });

  return withMethods<Omit<HistogramReading, keyof Reading>>(base, {
    over,
    means: (windowMs: number): Samples => means(windowMs),
    mean(w: number, atLeast = 20) {
      const d = over(w, atLeast);
      return d && Number.isFinite(d.mean) ? measure(d.mean, 'mean', w, d) : undefined;
    },
    count(w: number) {
      const d = over(w);
      return d && measure(d.n, 'count', w, d);
    },
    quantile(w: number, p: number) {
      const d = over(w);
      return d && bucketQuantile(d.bounds, d.counts, p);
    },
    above(w: number, threshold: number, atLeast = 20) {
      const d = over(w, atLeast);
      const s = d && shareAbove(d.bounds, d.counts, threshold);
      return d && s
        ? { ...measure(s.share, `share above ${s.bound}`, w, d), above: s.above, bound: s.bound }
        : undefined;
    },
  });
}
