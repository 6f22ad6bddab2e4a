/** Prometheus remote write, requests only: version 1.0 (prometheus.WriteRequest) and 2.0 (a table of symbols). */
import {
  type Exemplar,
  type ExponentialBuckets,
  type ExponentialHistogramPoint,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isStale,
  type Point,
} from '../model.ts';
import { downscaled } from './prometheus-text-exponential.ts';
import { isLegacyLabel } from './prometheus-text-names.ts';
import type { PrometheusType } from './prometheus-text-series.ts';
import { BackwardWriter } from './protobuf/writer.ts';
import type { StoredMetric, StoredNames, StoredSeries } from './remote-write-series.ts';

export type RemoteWriteVersion = '1.0' | '2.0';

export interface WriteRequest {
  /** Protobuf, not compressed. */
  readonly bytes: Uint8Array;
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

export interface EncodeOptions {
  readonly version: RemoteWriteVersion;
  /** Version 1.0 only: whether this request describes its metrics; 2.0 always does. */
  readonly metadata: boolean;
}

/** The value by which Prometheus knows that a series has ended; a NaN that is no other. */
const STALE = 0x7ff0000000000002n;
/** Native histograms go from 2^-4 to 2^8 buckets for each power of two. */
export const MAX_SCHEMA = 8;
export const MIN_SCHEMA = -4;
/** What Prometheus takes for "around zero" where the sender says nothing. */
const ZERO_THRESHOLD = 1e-128;

const TYPES: Record<PrometheusType, number> = {
  unknown: 0,
  counter: 1,
  gauge: 2,
  histogram: 3,
  summary: 5,
  info: 6,
  stateset: 7,
};

const writer = new BackwardWriter();
const labelBytes = new WeakMap<StoredSeries, Uint8Array>();

/**
 * Encodes points; those of one series become one series with its samples in order of time. Points whose series cannot be
 * stored (see `isStorable`) must have been taken out.
 */
export function encodeWriteRequest(points: readonly Point[], names: StoredNames, options: EncodeOptions): WriteRequest {
  const groups = new Map<string, { metric: StoredMetric; points: Point[] }>();
  for (const point of points) {
    const metric = names.of(point);
    let { key } = metric;
    let group = groups.get(key);
    // Buckets that changed in between are other series.
    while (group && group.metric !== metric && !isStale(point) && !sameShape(group.metric, metric)) {
      key += "'";
      group = groups.get(key);
    }
    if (group) group.points.push(point);
    else groups.set(key, { metric, points: [point] });
  }
  try {
    return write([...groups.values()], options);
  } catch (error) {
    writer.reset();
    throw error;
  }
}

/** Whether remote write has a form for the point: an exponential histogram must not be coarser than it knows. */
export const isStorable = (point: Point): boolean => !isExponentialHistogramPoint(point) || point.scale >= MIN_SCHEMA;

const sameShape = (a: StoredMetric, b: StoredMetric): boolean =>
  a.series.length === b.series.length &&
  a.series.every((series, i) => series.labels.join('\0') === b.series[i]!.labels.join('\0'));

function write(
  groups: { metric: StoredMetric; points: Point[] }[],
  { version, metadata }: EncodeOptions,
): WriteRequest {
  const w = writer;
  const v2 = version === '2.0';
  const symbols = v2 ? symbolTable() : undefined;
  const counts = { samples: 0, histograms: 0, exemplars: 0 };
  // Symbols get their numbers in the order of the series; the writer goes from back to front.
  if (symbols) {
    for (const { metric } of groups) {
      for (const series of metric.series) for (const text of series.labels) symbols.ref(text);
      symbols.ref(metric.help);
      symbols.ref(metric.unit);
    }
  }
  if (!v2 && metadata) {
    const described = new Map(groups.map(({ metric }) => [metric.name, metric]));
    for (const metric of [...described.values()].reverse()) writeMetadata1(w, metric);
  }
  for (let g = groups.length - 1; g >= 0; g--) {
    const { metric, points } = groups[g]!;
    points.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
    const cumulative = points.map(cumulativeOf);
    for (let i = metric.series.length - 1; i >= 0; i--) {
      const series = metric.series[i]!;
      const start = w.length;
      if (symbols) {
        message(w, 0x2a, () => {
          w.room(32);
          w.varint(symbols.ref(metric.unit));
          w.byte(0x20);
          w.varint(symbols.ref(metric.help));
          w.byte(0x18);
          w.byte(TYPES[metric.type]);
          w.byte(0x08);
        });
        counts.exemplars += writeExemplars(w, series, points, 0x22, symbols);
        if (metric.native) counts.histograms += writeHistograms(w, points, 0x1a);
        else counts.samples += writeSamples(w, series, points, cumulative);
        message(w, 0x0a, () => {
          for (let l = series.labels.length - 1; l >= 0; l--) {
            w.room(16);
            w.varint(symbols.ref(series.labels[l]!));
          }
        });
      } else {
        if (metric.native) counts.histograms += writeHistograms(w, points, 0x22);
        counts.exemplars += writeExemplars(w, series, points, 0x1a, undefined);
        if (!metric.native) counts.samples += writeSamples(w, series, points, cumulative);
        w.copy(bytesOfLabels(series));
      }
      w.room(16);
      w.varint(w.length - start);
      w.byte(v2 ? 0x2a : 0x0a);
    }
  }
  if (symbols) {
    for (const text of symbols.texts.reverse()) {
      w.text(text);
      w.byte(0x22);
    }
  }
  return { bytes: w.take(), ...counts };
}

interface Symbols {
  readonly texts: string[];
  ref(text: string): number;
}

function symbolTable(): Symbols {
  const refs = new Map<string, number>([['', 0]]);
  const texts = [''];
  return {
    texts,
    ref(text) {
      let ref = refs.get(text);
      if (ref === undefined) {
        ref = texts.length;
        refs.set(text, ref);
        texts.push(text);
      }
      return ref;
    },
  };
}

/** A field with a length: what `body` writes. */
function message(w: BackwardWriter, tag: number, body: () => void): void {
  const start = w.length;
  body();
  w.room(16);
  w.varint(w.length - start);
  w.byte(tag);
}

/** The label fields of a series in version 1.0, worked out once. */
function bytesOfLabels(series: StoredSeries): Uint8Array {
  let bytes = labelBytes.get(series);
  if (!bytes) {
    const side = new BackwardWriter();
    for (let i = series.labels.length - 2; i >= 0; i -= 2) writeLabel1(side, series.labels[i]!, series.labels[i + 1]!);
    bytes = side.takeSmall();
    labelBytes.set(series, bytes);
  }
  return bytes;
}

function writeLabel1(w: BackwardWriter, name: string, value: string): void {
  message(w, 0x0a, () => {
    w.text(value);
    w.byte(0x12);
    w.text(name);
    w.byte(0x0a);
  });
}

function writeMetadata1(w: BackwardWriter, metric: StoredMetric): void {
  message(w, 0x1a, () => {
    if (metric.unit) {
      w.text(metric.unit);
      w.byte(0x2a);
    }
    if (metric.help) {
      w.text(metric.help);
      w.byte(0x22);
    }
    w.text(metric.name);
    w.byte(0x12);
    w.byte(TYPES[metric.type]);
    w.byte(0x08);
  });
}

const milliseconds = (point: Point | Exemplar): number => Number(point.time / 1_000_000n);

/** Bucket counts as Prometheus has them: each with all below it; undefined where there are none. */
function cumulativeOf(point: Point): Float64Array | undefined {
  if (!isHistogramPoint(point)) return undefined;
  const { bounds, bucketCounts } = point;
  const sums = new Float64Array(bounds.length + 1);
  let total = 0;
  for (let i = 0; i < bounds.length; i++) {
    total += Number(bucketCounts[i] ?? 0);
    sums[i] = total;
  }
  sums[bounds.length] = Number(point.count);
  return sums;
}

function writeSamples(
  w: BackwardWriter,
  series: StoredSeries,
  points: readonly Point[],
  cumulative: readonly (Float64Array | undefined)[],
): number {
  for (let i = points.length - 1; i >= 0; i--) {
    const point = points[i]!;
    w.room(48);
    const start = w.length;
    w.int(milliseconds(point));
    w.byte(0x10);
    if (isStale(point)) w.fixed64(STALE);
    else w.double(series.value(point, cumulative[i]));
    w.byte(0x09);
    w.varint(w.length - start);
    w.byte(0x12);
  }
  return points.length;
}

function writeExemplars(
  w: BackwardWriter,
  series: StoredSeries,
  points: readonly Point[],
  tag: number,
  symbols: Symbols | undefined,
): number {
  if (!series.exemplars) return 0;
  const [above, upTo] = series.exemplars;
  let written = 0;
  for (let i = points.length - 1; i >= 0; i--) {
    const point = points[i]!;
    const exemplars = 'exemplars' in point ? point.exemplars : undefined;
    if (!exemplars || isStale(point)) continue;
    for (const exemplar of exemplars) {
      const value = Number(exemplar.value);
      if (!(value > above && value <= upTo) && !(above === Number.NEGATIVE_INFINITY && upTo === -above)) continue;
      writeExemplar(w, exemplar, value, milliseconds(exemplar.time === 0n ? point : exemplar), tag, symbols);
      written++;
    }
  }
  return written;
}

function writeExemplar(
  w: BackwardWriter,
  exemplar: Exemplar,
  value: number,
  ms: number,
  tag: number,
  symbols: Symbols | undefined,
): void {
  const labels: [string, string][] = [];
  for (const [key, text] of Object.entries(exemplar.filteredAttributes)) {
    if (typeof text === 'string' && isLegacyLabel(key) && key !== 'trace_id' && key !== 'span_id')
      labels.push([key, text]);
  }
  if (exemplar.traceId) labels.push(['trace_id', exemplar.traceId]);
  if (exemplar.spanId) labels.push(['span_id', exemplar.spanId]);
  labels.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  message(w, tag, () => {
    w.room(48);
    w.int(ms);
    w.byte(0x18);
    w.double(value);
    w.byte(0x11);
    if (!symbols) {
      for (const [name, text] of labels.reverse()) writeLabel1(w, name, text);
      return;
    }
    message(w, 0x0a, () => {
      for (const text of labels.flat().reverse()) {
        w.room(16);
        w.varint(symbols.ref(text));
      }
    });
  });
}

function writeHistograms(w: BackwardWriter, points: readonly Point[], tag: number): number {
  for (let i = points.length - 1; i >= 0; i--) {
    const point = points[i]!;
    if (isExponentialHistogramPoint(point)) message(w, tag, () => writeHistogram(w, downscaled(point, MAX_SCHEMA)));
  }
  return points.length;
}

function writeHistogram(w: BackwardWriter, point: ExponentialHistogramPoint): void {
  const stale = isStale(point);
  w.room(64);
  w.int(milliseconds(point));
  w.byte(0x78);
  if (!stale) {
    writeBuckets(w, point.positive, 0x62, 0x5a);
    writeBuckets(w, point.negative, 0x4a, 0x42);
  }
  w.room(96);
  writeCount(w, stale ? 0 : point.zeroCount, 0x30);
  w.double(point.zeroThreshold > 0 ? point.zeroThreshold : ZERO_THRESHOLD);
  w.byte(0x29);
  w.zigzag(point.scale);
  w.byte(0x20);
  if (stale) w.fixed64(STALE);
  else w.double(point.sum ?? Number.NaN);
  w.byte(0x19);
  writeCount(w, stale ? 0 : point.count, 0x08);
}

function writeCount(w: BackwardWriter, count: number | bigint, tag: number): void {
  if (typeof count === 'bigint') w.varint64(count);
  else w.varint(count);
  w.byte(tag);
}

/** Empty buckets in a row beyond this many are a gap between spans, as Prometheus itself does it. */
const MAX_GAP = 2;

/** Spans of neighbouring buckets, and the differences of their counts. */
function writeBuckets(
  w: BackwardWriter,
  buckets: ExponentialBuckets | undefined,
  deltasTag: number,
  spansTag: number,
): void {
  if (!buckets) return;
  const { counts, offset } = buckets;
  const spans: { start: number; length: number }[] = [];
  const deltas: number[] = [];
  let before = 0;
  let zeros = 0;
  for (let i = 0; i < counts.length; i++) {
    const count = Number(counts[i]);
    if (count === 0) {
      zeros++;
      continue;
    }
    // Prometheus numbers a bucket by its upper edge, OpenTelemetry by its lower.
    const index = offset + i + 1;
    const span = spans.at(-1);
    if (span && zeros <= MAX_GAP) {
      for (; zeros > 0; zeros--) {
        deltas.push(-before);
        before = 0;
        span.length++;
      }
      span.length++;
    } else spans.push({ start: index, length: 1 });
    zeros = 0;
    deltas.push(count - before);
    before = count;
  }
  if (spans.length === 0) return;
  message(w, deltasTag, () => {
    for (let i = deltas.length - 1; i >= 0; i--) {
      w.room(16);
      const delta = deltas[i]!;
      // Zigzag by hand: counts may need more than 32 bits.
      w.varint(delta >= 0 ? delta * 2 : -delta * 2 - 1);
    }
  });
  for (let i = spans.length - 1; i >= 0; i--) {
    const { start, length } = spans[i]!;
    const previous = spans[i - 1];
    message(w, spansTag, () => {
      w.room(16);
      w.varint(length);
      w.byte(0x10);
      w.zigzag(previous ? start - (previous.start + previous.length) : start);
      w.byte(0x08);
    });
  }
}
