/**
 * Metrics as OTLP protobuf. What does not change between two scrapes is encoded once and kept with the thing it belongs to
 * (series, metric, bounds), so that a point costs its numbers.
 */
import type {
  Count,
  Exemplar,
  ExponentialBuckets,
  ExponentialHistogramPoint,
  HistogramPoint,
  Metric,
  NumberPoint,
  Point,
  Series,
  SummaryPoint,
} from '../../model.ts';
import { NO_RECORDED_VALUE } from '../../model.ts';
import type { BackwardWriter } from '../protobuf/writer.ts';
import {
  ATTRIBUTE_TAGS,
  encodeAside,
  writeAttributes,
  writeEnvelopes,
  writeId,
  writeText,
  writeUint,
} from './encode-common.ts';

interface MetricBytes {
  /** Fields name, description and unit. */
  readonly head: Uint8Array;
  /** What follows the points inside the data message: temporality and monotonicity. */
  readonly dataTail: Uint8Array;
  /** Tag of the data field. */
  readonly dataTag: number;
  readonly metadata: Uint8Array;
}

const DATA_TAGS = { gauge: 0x2a, sum: 0x3a, histogram: 0x4a, exponential_histogram: 0x52, summary: 0x5a } as const;
const metrics = new WeakMap<Metric, MetricBytes>();

function metricBytes(metric: Metric): MetricBytes {
  let bytes = metrics.get(metric);
  if (bytes === undefined) {
    const { type } = metric;
    bytes = {
      head: encodeAside((w) => {
        writeText(w, metric.unit, 0x1a);
        writeText(w, metric.description, 0x12);
        writeText(w, metric.name, 0x0a);
      }),
      dataTail: encodeAside((w) => {
        if (type === 'sum') writeUint(w, metric.monotonic ? 1 : 0, 0x18);
        if (type !== 'gauge' && type !== 'summary') writeUint(w, metric.temporality, 0x10);
      }),
      dataTag: DATA_TAGS[type],
      metadata: encodeAside((w) => writeAttributes(w, metric.metadata, 0x62)),
    };
    metrics.set(metric, bytes);
  }
  return bytes;
}

/** A number point of a series with everything but its numbers filled in: tag, length, times, value, attributes. */
interface NumberTemplate {
  readonly bytes: Uint8Array;
  /** Offset of the eight bytes of the start time; -1 if there is none. */
  readonly start: number;
  readonly time: number;
  /** Offset of the tag of the value; the attributes begin nine bytes later. */
  readonly value: number;
}

const AS_DOUBLE = 0x21;
const AS_INT = 0x31;
const templates = new WeakMap<Series, NumberTemplate>();
const attributesCache = new WeakMap<Series, Uint8Array>();

/** The attributes of a series as fields of its points, worked out once. */
function attributeBytes(series: Series): Uint8Array {
  let bytes = attributesCache.get(series);
  if (bytes === undefined) {
    bytes = encodeAside((w) => writeAttributes(w, series.attributes, ATTRIBUTE_TAGS[series.metric.type]));
    attributesCache.set(series, bytes);
  }
  return bytes;
}

function makeTemplate(series: Series, hasStart: boolean): NumberTemplate {
  let attributesLength = 0;
  const bytes = encodeAside((w) => {
    writeAttributes(w, series.attributes, 0x3a);
    attributesLength = w.length;
    w.room(48);
    w.double(0);
    w.byte(AS_DOUBLE);
    w.double(0);
    w.byte(0x19);
    if (hasStart) {
      w.double(0);
      w.byte(0x11);
    }
    w.varint(w.length);
    w.byte(0x0a);
  });
  const value = bytes.length - attributesLength - 9;
  const template = { bytes, value, time: value - 8, start: hasStart ? value - 17 : -1 };
  templates.set(series, template);
  return template;
}

/** A whole ExportMetricsServiceRequest, into `w`. */
export function writeMetrics(w: BackwardWriter, points: readonly Point[]): void {
  writeEnvelopes(
    w,
    points,
    (p) => p.series.resource,
    (p) => p.series.scope,
    (_w, from, to) => writeScopePoints(w, points, from, to),
  );
}

function writeScopePoints(w: BackwardWriter, points: readonly Point[], from: number, to: number): void {
  let i = to - 1;
  while (i >= from) {
    const { metric } = points[i]!.series;
    const bytes = metricBytes(metric);
    const start = w.length;
    if (bytes.metadata.length > 0) w.copy(bytes.metadata);
    const dataStart = w.length;
    if (bytes.dataTail.length > 0) w.copy(bytes.dataTail);
    switch (metric.type) {
      case 'gauge':
      case 'sum':
        for (; i >= from && points[i]!.series.metric === metric; i--) writeNumberPoint(w, points[i] as NumberPoint);
        break;
      case 'histogram':
        for (; i >= from && points[i]!.series.metric === metric; i--) writeHistogram(w, points[i] as HistogramPoint);
        break;
      case 'exponential_histogram':
        for (; i >= from && points[i]!.series.metric === metric; i--) {
          writeExponential(w, points[i] as ExponentialHistogramPoint);
        }
        break;
      case 'summary':
        for (; i >= from && points[i]!.series.metric === metric; i--) writeSummary(w, points[i] as SummaryPoint);
        break;
    }
    w.room(16);
    w.varint(w.length - dataStart);
    w.byte(bytes.dataTag);
    w.copy(bytes.head);
    w.room(16);
    w.varint(w.length - start);
    w.byte(0x12);
  }
}

const time64 = new BigUint64Array(1);
const time32 = new Uint32Array(time64.buffer);
/** Times repeat from point to point; the words of the last one are kept. */
let lastTime = 0n;
let lastLow = 0;
let lastHigh = 0;
let lastStart = 0n;
let lastStartLow = 0;
let lastStartHigh = 0;

function writeNumberPoint(w: BackwardWriter, point: NumberPoint): void {
  const { value, time, startTime, series } = point;
  if (point.flags !== 0 || point.exemplars !== undefined || time === 0n) {
    writeFullNumber(w, point);
    return;
  }
  const hasStart = startTime !== 0n;
  let template = templates.get(series);
  if (template === undefined || template.start >= 0 !== hasStart) template = makeTemplate(series, hasStart);
  w.copy(template.bytes);
  const { at, view } = w;
  if (time !== lastTime) {
    time64[0] = time;
    lastTime = time;
    lastLow = time32[0]!;
    lastHigh = time32[1]!;
  }
  view.setUint32(at + template.time, lastLow, true);
  view.setUint32(at + template.time + 4, lastHigh, true);
  if (template.start >= 0) {
    if (startTime !== lastStart) {
      time64[0] = startTime;
      lastStart = startTime;
      lastStartLow = time32[0]!;
      lastStartHigh = time32[1]!;
    }
    view.setUint32(at + template.start, lastStartLow, true);
    view.setUint32(at + template.start + 4, lastStartHigh, true);
  }
  if (typeof value === 'number') view.setFloat64(at + template.value + 1, value, true);
  else {
    w.buffer[at + template.value] = AS_INT;
    view.setBigInt64(at + template.value + 1, value, true);
  }
}

function writeFullNumber(w: BackwardWriter, point: NumberPoint): void {
  const start = w.length;
  const { value, flags } = point;
  writeUint(w, flags, 0x40);
  w.copy(attributeBytes(point.series));
  w.room(64);
  const isInt = typeof value === 'bigint';
  if (isInt) {
    w.fixed64(BigInt.asUintN(64, value));
    w.byte(AS_INT);
  }
  writeExemplars(w, point.exemplars, 0x2a);
  w.room(48);
  // A stale point has no value: what stands there is only the model's filling.
  if (!isInt && ((flags & NO_RECORDED_VALUE) === 0 || value !== 0)) {
    w.double(value);
    w.byte(AS_DOUBLE);
  }
  closePoint(w, point, start);
}

/** Time, start time, length and tag: how every point but the exponential one begins. */
function closePoint(w: BackwardWriter, point: Point, start: number): void {
  w.room(48);
  if (point.time !== 0n) {
    w.fixed64(point.time);
    w.byte(0x19);
  }
  if (point.startTime !== 0n) {
    w.fixed64(point.startTime);
    w.byte(0x11);
  }
  w.varint(w.length - start);
  w.byte(0x0a);
}

function writeExemplars(w: BackwardWriter, exemplars: readonly Exemplar[] | undefined, tag: number): void {
  if (exemplars === undefined) return;
  for (let i = exemplars.length - 1; i >= 0; i--) {
    const exemplar = exemplars[i]!;
    const start = w.length;
    writeAttributes(w, exemplar.filteredAttributes, 0x3a);
    w.room(32);
    const { value } = exemplar;
    if (typeof value === 'bigint') {
      w.fixed64(BigInt.asUintN(64, value));
      w.byte(AS_INT);
    }
    writeId(w, exemplar.traceId, 0x2a);
    writeId(w, exemplar.spanId, 0x22);
    w.room(48);
    if (typeof value === 'number') {
      w.double(value);
      w.byte(0x19);
    }
    if (exemplar.time !== 0n) {
      w.fixed64(exemplar.time);
      w.byte(0x11);
    }
    w.varint(w.length - start);
    w.byte(tag);
  }
}

const boundsCache = new WeakMap<Float64Array, Uint8Array>();

/** Field explicit_bounds with tag and length, worked out once per array. */
function boundsBytes(bounds: Float64Array): Uint8Array {
  let bytes = boundsCache.get(bounds);
  if (bytes === undefined) {
    bytes = encodeAside((w) => {
      if (bounds.length === 0) return;
      w.room(bounds.length * 8 + 16);
      for (let i = bounds.length - 1; i >= 0; i--) w.double(bounds[i]!);
      w.varint(bounds.length * 8);
      w.byte(0x3a);
    });
    boundsCache.set(bounds, bytes);
  }
  return bytes;
}

function optionalDouble(w: BackwardWriter, value: number | undefined, tag: number): void {
  if (value === undefined) return;
  w.double(value);
  w.byte(tag);
}

function fixedCount(w: BackwardWriter, count: Count, tag: number): void {
  if (typeof count === 'bigint') w.fixed64(count);
  else if (count === 0) return;
  else w.fixed64Number(count);
  w.byte(tag);
}

function writeHistogram(w: BackwardWriter, point: HistogramPoint): void {
  const start = w.length;
  const { bucketCounts } = point;
  w.room(64);
  optionalDouble(w, point.max, 0x61);
  optionalDouble(w, point.min, 0x59);
  if (point.flags !== 0) writeUint(w, point.flags, 0x50);
  w.copy(attributeBytes(point.series));
  if (point.exemplars !== undefined) writeExemplars(w, point.exemplars, 0x42);
  w.copy(boundsBytes(point.bounds));
  const { length } = bucketCounts;
  w.room(length * 8 + 96);
  if (length > 0) {
    if (bucketCounts instanceof BigUint64Array) {
      for (let i = length - 1; i >= 0; i--) w.fixed64(bucketCounts[i]!);
    } else for (let i = length - 1; i >= 0; i--) w.fixed64Number(bucketCounts[i]!);
    w.varint(length * 8);
    w.byte(0x32);
  }
  optionalDouble(w, point.sum, 0x29);
  fixedCount(w, point.count, 0x21);
  closePoint(w, point, start);
}

function writeExponential(w: BackwardWriter, point: ExponentialHistogramPoint): void {
  const start = w.length;
  w.room(64);
  if (point.zeroThreshold !== 0) optionalDouble(w, point.zeroThreshold, 0x71);
  optionalDouble(w, point.max, 0x69);
  optionalDouble(w, point.min, 0x61);
  writeExemplars(w, point.exemplars, 0x5a);
  writeUint(w, point.flags, 0x50);
  writeBuckets(w, point.negative, 0x4a);
  writeBuckets(w, point.positive, 0x42);
  w.room(96);
  fixedCount(w, point.zeroCount, 0x39);
  if (point.scale !== 0) {
    w.zigzag(point.scale);
    w.byte(0x30);
  }
  optionalDouble(w, point.sum, 0x29);
  fixedCount(w, point.count, 0x21);
  if (point.time !== 0n) {
    w.fixed64(point.time);
    w.byte(0x19);
  }
  if (point.startTime !== 0n) {
    w.fixed64(point.startTime);
    w.byte(0x11);
  }
  w.copy(attributeBytes(point.series));
  w.room(16);
  w.varint(w.length - start);
  w.byte(0x0a);
}

function writeBuckets(w: BackwardWriter, buckets: ExponentialBuckets | undefined, tag: number): void {
  if (buckets === undefined) return;
  const start = w.length;
  const { counts, offset } = buckets;
  w.room(counts.length * 10 + 32);
  if (counts.length > 0) {
    if (counts instanceof BigUint64Array) for (let i = counts.length - 1; i >= 0; i--) w.varint64(counts[i]!);
    else for (let i = counts.length - 1; i >= 0; i--) w.varint(counts[i]!);
    w.varint(w.length - start);
    w.byte(0x12);
  }
  if (offset !== 0) {
    w.zigzag(offset);
    w.byte(0x08);
  }
  w.varint(w.length - start);
  w.byte(tag);
}

function writeSummary(w: BackwardWriter, point: SummaryPoint): void {
  const start = w.length;
  writeUint(w, point.flags, 0x40);
  w.copy(attributeBytes(point.series));
  const { quantiles } = point;
  w.room(quantiles.length * 24 + 64);
  for (let i = quantiles.length - 1; i >= 0; i--) {
    const { quantile, value } = quantiles[i]!;
    w.double(value);
    w.byte(0x11);
    w.double(quantile);
    w.byte(0x09);
    w.byte(18);
    w.byte(0x32);
  }
  if (point.sum !== 0 || Object.is(point.sum, -0)) optionalDouble(w, point.sum, 0x29);
  fixedCount(w, point.count, 0x21);
  closePoint(w, point, start);
}
