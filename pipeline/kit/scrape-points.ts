/** From the numbers of one page to points: a slot is one series with the lines that feed it and its start time. */
import {
  type Attributes,
  type Exemplar,
  type HistogramPoint,
  type Metric,
  NO_RECORDED_VALUE,
  nanosFromMs,
  type Point,
  type Series,
  type SummaryPoint,
  type UnixNano,
} from '../model.ts';
import type { Labels } from '../wire/prometheus/labels.ts';
import type { LineExemplar, Part } from '../wire/prometheus/lines.ts';
import type { FamilyMetadata } from '../wire/prometheus/metadata.ts';

/** One sample's series, as Prometheus counts them: a bucket is one too. */
export interface SamplePart extends Part {
  /** As exposed, and as relabelled. */
  readonly exposedName: string;
  readonly name: string;
  /** After merging with the target's labels and relabelling, sorted. */
  readonly labels: Labels;
  slot: Slot | undefined;
  /** The last exemplar, kept while its text does not change. */
  exemplar: { readonly text: string; readonly value: Exemplar } | undefined;
  /** Another one of the same hash. */
  next: SamplePart | undefined;
}

interface SlotBase {
  family: Family;
  readonly labels: Labels;
  series: Series;
  /** Had a value in the latest scrape. */
  live: boolean;
  /** Its latest point had a timestamp of its own. */
  timed: boolean;
  start: UnixNano;
  /** The latest value (of a histogram or summary: count) and its time, to see resets. */
  latest: number;
  latestTime: UnixNano;
  /** The sample that says when it was created, and its value as last converted. */
  created: SamplePart | undefined;
  createdSeconds: number;
  createdTime: UnixNano;
}

export interface NumberSlot extends SlotBase {
  readonly kind: 'number';
  part: SamplePart;
}

export interface HistogramSlot extends SlotBase {
  readonly kind: 'histogram';
  /** By upper bound. */
  buckets: SamplePart[];
  uppers: number[];
  /** The finite ones of `uppers`; undefined until the next point needs them. */
  bounds: Float64Array | undefined;
  sum: SamplePart | undefined;
  count: SamplePart | undefined;
}

export interface SummarySlot extends SlotBase {
  readonly kind: 'summary';
  quantiles: SamplePart[];
  levels: number[];
  sum: SamplePart | undefined;
  count: SamplePart | undefined;
}

export type Slot = NumberSlot | HistogramSlot | SummarySlot;

/** Every series of one metric. */
export interface Family {
  readonly key: string;
  readonly metric: Metric;
  readonly metadata: FamilyMetadata | undefined;
  slots: Slot[];
}

const NO_BOUNDS = new Float64Array(0);

/** Stands for a sample that moved elsewhere. */
export const NO_PART: SamplePart = {
  generation: -1,
  value: 0,
  tail: undefined,
  exposedName: '',
  name: '',
  labels: [],
  slot: undefined,
  exemplar: undefined,
  next: undefined,
};

/** Whether a page shows anything of a series. */
export function isSeen(slot: Slot, generation: number): boolean {
  if (slot.kind === 'number') return slot.part.generation === generation;
  if (slot.count?.generation === generation || slot.sum?.generation === generation) return true;
  return (slot.kind === 'histogram' ? slot.buckets : slot.quantiles).some((p) => p.generation === generation);
}

/** What every slot needs to know about the scrape. */
export interface Moment {
  readonly generation: number;
  readonly time: UnixNano;
  /** When the target's process says it started; 0n when it does not. */
  readonly processStart: UnixNano;
  /** The successful scrape before; 0n on the first. */
  readonly before: UnixNano;
  readonly honorTimestamps: boolean;
  /** Some sample has a timestamp or an exemplar. */
  readonly tails: boolean;
  /** What could not be made a point, and why. */
  readonly malformed: (slot: Slot, wrong: string) => void;
  /** Gives zeros for the counts of a histogram. */
  readonly zeros: (length: number) => Float64Array;
}

/** Beyond this a page's counts are in several pieces, so that one point that is kept does not keep much. */
const MAX_PIECE = 4096;

/**
 * Cuts the counts of one page's histograms out of few large arrays: an array for each would be an allocation outside of
 * V8's heap for each, which costs more than the numbers in it. Call it once per page.
 */
export function pieces(): () => (length: number) => Float64Array {
  let wanted = 0;
  return () => {
    let piece = NO_BOUNDS;
    let used = 0;
    let size = Math.min(wanted, MAX_PIECE);
    wanted = 0;
    return (length) => {
      wanted += length;
      if (used + length > piece.length) {
        piece = new Float64Array(Math.max(length, size));
        // More than the last page had: what comes is not known.
        size = Math.min(Math.max(length, size), MAX_PIECE);
        used = 0;
      }
      used += length;
      return piece.subarray(used - length, used);
    };
  };
}

/** A start that moves by less is the same start, computed with jitter. */
const START_JITTER = 2_000_000_000n;

/**
 * The start time of a cumulative series: its created time, else the process's start, else the last scrape that did not
 * have it, else the time it was first seen. A value that fell is a reset since the last scrape.
 */
function startOf(slot: Slot, value: number, time: UnixNano, moment: Moment): UnixNano {
  let declared = moment.processStart;
  const created = slot.created;
  if (created !== undefined && created.generation === moment.generation) {
    if (created.value !== slot.createdSeconds) {
      slot.createdSeconds = created.value;
      slot.createdTime = secondsToNanos(created.value);
    }
    declared = slot.createdTime;
  }
  if (declared > time) declared = 0n;
  if (slot.latestTime === 0n) slot.start = declared !== 0n ? declared : moment.before !== 0n ? moment.before : time;
  else if (value < slot.latest) slot.start = declared > slot.latestTime ? declared : slot.latestTime;
  else if (declared > slot.start + START_JITTER) slot.start = declared;
  slot.latest = value;
  slot.latestTime = time;
  return slot.start;
}

/** Seconds since the epoch, as samples give them; 0n for what cannot be a time. */
export const secondsToNanos = (seconds: number): UnixNano =>
  seconds > 0 && seconds < 1e11 ? nanosFromMs(seconds * 1000) : 0n;

/** Adds the points of a family to `out`. Series that had a value before and have none now get a last, stale point. */
export function emit(family: Family, moment: Moment, out: Point[]): void {
  const { slots } = family;
  const cumulative = family.metric.monotonic;
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i]!;
    const point =
      slot.kind === 'number'
        ? numberPoint(slot, moment, cumulative)
        : slot.kind === 'histogram'
          ? histogramPoint(slot, moment)
          : summaryPoint(slot, moment);
    if (point !== undefined) {
      slot.live = true;
      out.push(point);
    } else if (slot.live) end(slot, moment.time, out);
  }
}

/** Ends a series: a stale point, unless its points came with timestamps of their own, as in Prometheus. */
export function end(slot: Slot, time: UnixNano, out: Point[]): void {
  slot.live = false;
  if (!slot.timed) out.push(stalePoint(slot.series, time));
}

/** The point that says "this series has ended". */
export function stalePoint(series: Series, time: UnixNano): Point {
  const base = { series, time, startTime: 0n, flags: NO_RECORDED_VALUE };
  switch (series.metric.type) {
    case 'histogram':
      return { ...base, count: 0, bounds: NO_BOUNDS, bucketCounts: NO_BOUNDS };
    case 'summary':
      return { ...base, count: 0, sum: 0, quantiles: [] };
    default:
      return { ...base, value: 0 };
  }
}

function numberPoint(slot: NumberSlot, moment: Moment, cumulative: boolean): Point | undefined {
  const part = slot.part;
  if (part.generation !== moment.generation) return undefined;
  const { value, tail } = part;
  let time = moment.time;
  slot.timed = false;
  if (tail !== undefined && moment.honorTimestamps && tail.timestampMs !== undefined) {
    time = nanosFromMs(tail.timestampMs);
    slot.timed = true;
  }
  const startTime = cumulative ? startOf(slot, value, time, moment) : 0n;
  if (tail?.exemplar !== undefined) {
    return {
      series: slot.series,
      time,
      startTime,
      flags: 0,
      value,
      exemplars: [exemplarOf(part, tail.exemplar, time)],
    };
  }
  return { series: slot.series, time, startTime, flags: 0, value };
}

function histogramPoint(slot: HistogramSlot, moment: Moment): HistogramPoint | undefined {
  const { generation } = moment;
  const { buckets } = slot;
  const hasCount = slot.count !== undefined && slot.count.generation === generation;
  const hasSum = slot.sum !== undefined && slot.sum.generation === generation;
  let seen = 0;
  for (let i = 0; i < buckets.length; i++) if (buckets[i]!.generation === generation) seen++;
  if (seen === 0 && !hasCount && !hasSum) return undefined;

  slot.bounds ??= finite(slot.uppers);
  let { bounds, uppers } = slot;
  let shown = buckets;
  if (seen < buckets.length) {
    // A bucket that this page left out: the bounds of this point differ from those of the series.
    const kept = buckets.map((_, i) => i).filter((i) => buckets[i]!.generation === generation);
    shown = kept.map((i) => buckets[i]!);
    uppers = kept.map((i) => slot.uppers[i]!);
    bounds = finite(uppers);
  }
  const infinite = shown.length > bounds.length;
  if (!infinite && !hasCount) {
    moment.malformed(slot, 'a histogram with neither a +Inf bucket nor a count');
    return undefined;
  }
  let counts: Float64Array = NO_BOUNDS;
  let total = 0;
  if (shown.length > 0) {
    counts = moment.zeros(bounds.length + 1);
    for (let i = 0; i < shown.length; i++) {
      // Buckets that fall were read while the engine was counting; what is cumulative cannot fall.
      const value = shown[i]!.value;
      if (value > total) {
        counts[i] = value - total;
        total = value;
      }
    }
  }
  if (!infinite) {
    const count = slot.count!.value;
    if (shown.length > 0 && count > total) counts[bounds.length] = count - total;
    if (count > total) total = count;
  }
  if (!Number.isFinite(total)) {
    moment.malformed(slot, 'a histogram whose count is not a number');
    return undefined;
  }
  let time = moment.time;
  let exemplars: Exemplar[] | undefined;
  slot.timed = false;
  if (moment.tails) {
    const timestamp = (slot.count?.generation === generation ? slot.count : shown[0])?.tail?.timestampMs;
    if (moment.honorTimestamps && timestamp !== undefined) {
      time = nanosFromMs(timestamp);
      slot.timed = true;
    }
    for (const part of shown) {
      if (part.tail?.exemplar !== undefined) {
        exemplars ??= [];
        exemplars.push(exemplarOf(part, part.tail.exemplar, time));
      }
    }
  }
  const point: HistogramPoint = {
    series: slot.series,
    time,
    startTime: startOf(slot, total, time, moment),
    flags: 0,
    count: countOf(total),
    bounds,
    bucketCounts: counts,
    ...(hasSum ? { sum: slot.sum!.value } : undefined),
    ...(exemplars ? { exemplars } : undefined),
  };
  return point;
}

/** The uppers without +Inf. */
function finite(uppers: readonly number[]): Float64Array {
  const n =
    uppers.length > 0 && uppers[uppers.length - 1] === Number.POSITIVE_INFINITY ? uppers.length - 1 : uppers.length;
  return Float64Array.from(uppers.slice(0, n));
}

function summaryPoint(slot: SummarySlot, moment: Moment): SummaryPoint | undefined {
  const { generation } = moment;
  const count = slot.count?.generation === generation ? slot.count : undefined;
  const sum = slot.sum?.generation === generation ? slot.sum : undefined;
  const quantiles: { quantile: number; value: number }[] = [];
  let timestampMs = moment.tails ? count?.tail?.timestampMs : undefined;
  for (let i = 0; i < slot.quantiles.length; i++) {
    const part = slot.quantiles[i]!;
    if (part.generation !== generation) continue;
    quantiles.push({ quantile: slot.levels[i]!, value: part.value });
    timestampMs ??= part.tail?.timestampMs;
  }
  if (!count && !sum && quantiles.length === 0) return undefined;
  const total = count && Number.isFinite(count.value) && count.value > 0 ? count.value : 0;
  let time = moment.time;
  slot.timed = false;
  if (moment.honorTimestamps && timestampMs !== undefined) {
    time = nanosFromMs(timestampMs);
    slot.timed = true;
  }
  return {
    series: slot.series,
    time,
    startTime: startOf(slot, total, time, moment),
    flags: 0,
    count: countOf(total),
    sum: sum?.value ?? 0,
    quantiles,
  };
}

const countOf = (value: number): number | bigint => {
  const whole = Math.round(value);
  return Number.isSafeInteger(whole) ? whole : BigInt(whole);
};

const HEX = /^[0-9a-fA-F]+$/;

function exemplarOf(part: SamplePart, line: LineExemplar, time: UnixNano): Exemplar {
  if (part.exemplar?.text === line.text) return part.exemplar.value;
  let traceId = '';
  let spanId = '';
  const rest: Record<string, string> = Object.create(null);
  for (let i = 0; i < line.labels.length; i += 2) {
    const [name, value] = [line.labels[i]!, line.labels[i + 1]!];
    if (name === 'trace_id' && value.length === 32 && HEX.test(value)) traceId = value.toLowerCase();
    else if (name === 'span_id' && value.length === 16 && HEX.test(value)) spanId = value.toLowerCase();
    else rest[name] = value;
  }
  const value: Exemplar = {
    time: line.timestampMs === undefined ? time : nanosFromMs(line.timestampMs),
    value: line.value,
    traceId,
    spanId,
    filteredAttributes: rest as Attributes,
  };
  part.exemplar = { text: line.text, value };
  return value;
}
