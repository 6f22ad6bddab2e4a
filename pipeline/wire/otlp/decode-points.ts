/** The points of OTLP protobuf metrics, each type with its fields. */
import {
  type Count,
  type Exemplar,
  type ExponentialBuckets,
  type ExponentialHistogramPoint,
  type HistogramPoint,
  NO_ATTRIBUTES,
  NO_RECORDED_VALUE,
  type NumberPoint,
  type Series,
  type SummaryPoint,
} from '../../model.ts';
import { Reader } from '../protobuf/reader.ts';
import { newAttributes } from './attributes.ts';
import { type Range, range, readKeyValue } from './decode-common.ts';
import type { InternedMetric, Interner } from './interner.ts';
import { countsOf, type Rejections } from './rejections.ts';

/**
 * Moves over the attributes that begin here (their tag is read already) and all that follow at once; gives where they
 * began and where they end. Attributes of one point nearly always stand together.
 */
function attributeRun(r: Reader, end: number, tag: number, runs: number[]): void {
  const start = r.at - 1;
  const { buffer } = r;
  r.at = r.enter(end);
  while (r.at < end && buffer[r.at] === tag) {
    r.at++;
    r.at = r.enter(end);
  }
  runs.push(start, r.at);
}

/** The attributes of one point are worked through here, point after point. */
const runs: number[] = [];

function seriesOf(r: Reader, metric: InternedMetric, interner: Interner): Series {
  if (runs.length === 2) return interner.series(metric, r, runs[0]!, runs[1]!);
  if (runs.length === 0) return interner.series(metric, r, r.at, r.at);
  // Scattered between other fields: as good as one after the other.
  const pieces: Buffer[] = [];
  for (let i = 0; i < runs.length; i += 2) pieces.push(r.buffer.subarray(runs[i]!, runs[i + 1]!));
  const joined = new Reader(Buffer.concat(pieces));
  return interner.series(metric, joined, 0, joined.buffer.length);
}

/** A point of a gauge or sum. */
export function readNumber(r: Reader, end: number, metric: InternedMetric, interner: Interner): NumberPoint {
  let time = 0n;
  let startTime = 0n;
  let flags = 0;
  let value: number | bigint | undefined;
  let exemplars: Exemplar[] | undefined;
  runs.length = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x11:
        startTime = r.startTime(end);
        break;
      case 0x19:
        time = r.time(end);
        break;
      case 0x21:
        value = r.double(end);
        break;
      case 0x31:
        value = r.sfixed64(end);
        break;
      case 0x3a:
        attributeRun(r, end, tag, runs);
        break;
      case 0x2a:
        exemplars = addExemplar(r, end, exemplars);
        break;
      case 0x40:
        flags = r.uint32(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  if (value === undefined) {
    // No value is what the flag says in words; a zero would be an invention.
    value = 0;
    flags = (flags | NO_RECORDED_VALUE) >>> 0;
  }
  const series = seriesOf(r, metric, interner);
  return exemplars === undefined
    ? { series, time, startTime, flags, value }
    : { series, time, startTime, flags, value, exemplars };
}

function addExemplar(r: Reader, end: number, list: Exemplar[] | undefined): Exemplar[] | undefined {
  const stop = r.enter(end);
  let time = 0n;
  let value: number | bigint | undefined;
  let traceId = '';
  let spanId = '';
  let filteredAttributes: ReturnType<typeof newAttributes> | undefined;
  while (r.at < stop) {
    const tag = r.tag(stop);
    switch (tag) {
      case 0x11:
        time = r.fixed64(stop);
        break;
      case 0x19:
        value = r.double(stop);
        break;
      case 0x31:
        value = r.sfixed64(stop);
        break;
      case 0x22:
        spanId = r.id(8, stop);
        break;
      case 0x2a:
        traceId = r.id(16, stop);
        break;
      case 0x3a:
        filteredAttributes ??= newAttributes();
        readKeyValue(r, r.enter(stop), filteredAttributes);
        break;
      default:
        r.skip(tag, stop);
    }
  }
  // An example without a value is an example of nothing.
  if (value === undefined) return list;
  const exemplar = { time, value, traceId, spanId, filteredAttributes: filteredAttributes ?? NO_ATTRIBUTES };
  if (list === undefined) return [exemplar];
  list.push(exemplar);
  return list;
}

/** Eight-byte elements of a repeated field, packed or not, added to `list`. */
function readDoubles(r: Reader, end: number, list: number[]): void {
  const stop = r.enter(end);
  if ((stop - r.at) % 8 !== 0) r.fail('a packed list of 64-bit numbers has a length that is no multiple of 8');
  for (; r.at < stop; r.at += 8) list.push(r.view.getFloat64(r.at, true));
}

function readCounts(r: Reader, end: number, list: Count[]): void {
  const stop = r.enter(end);
  if ((stop - r.at) % 8 !== 0) r.fail('a packed list of 64-bit numbers has a length that is no multiple of 8');
  for (; r.at < stop; r.at += 8) list.push(r.countAt(r.at));
}

/** Lists of the point that is being read, used again for the next. */
const bounds: number[] = [];
const counts: Count[] = [];

/** A histogram point; undefined (and noted) if its counts do not fit its bounds. */
export function readHistogram(
  r: Reader,
  end: number,
  metric: InternedMetric,
  interner: Interner,
  rejections: Rejections,
): HistogramPoint | undefined {
  const point: { -readonly [K in keyof HistogramPoint]?: HistogramPoint[K] } & { count: Count } = { count: 0 };
  let time = 0n;
  let startTime = 0n;
  let flags = 0;
  let exemplars: Exemplar[] | undefined;
  runs.length = 0;
  bounds.length = 0;
  counts.length = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x11:
        startTime = r.startTime(end);
        break;
      case 0x19:
        time = r.time(end);
        break;
      case 0x21:
        point.count = r.count(end);
        break;
      case 0x29:
        point.sum = r.double(end);
        break;
      case 0x32:
        readCounts(r, end, counts);
        break;
      case 0x31:
        counts.push(r.count(end));
        break;
      case 0x3a:
        readDoubles(r, end, bounds);
        break;
      case 0x39:
        bounds.push(r.double(end));
        break;
      case 0x42:
        exemplars = addExemplar(r, end, exemplars);
        break;
      case 0x4a:
        attributeRun(r, end, tag, runs);
        break;
      case 0x50:
        flags = r.uint32(end);
        break;
      case 0x59:
        point.min = r.double(end);
        break;
      case 0x61:
        point.max = r.double(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  const series = seriesOf(r, metric, interner);
  if (counts.length !== bounds.length + 1 && !(counts.length === 0 && bounds.length === 0)) {
    rejections.histogram(metric.metric.name, bounds.length, counts.length);
    return undefined;
  }
  return {
    series,
    time,
    startTime,
    flags,
    count: point.count,
    ...(point.sum !== undefined && { sum: point.sum }),
    ...(point.min !== undefined && { min: point.min }),
    ...(point.max !== undefined && { max: point.max }),
    bounds: interner.bounds(metric, bounds),
    bucketCounts: countsOf(counts),
    ...(exemplars !== undefined && { exemplars }),
  };
}

/** An exponential histogram point. */
export function readExponential(
  r: Reader,
  end: number,
  metric: InternedMetric,
  interner: Interner,
): ExponentialHistogramPoint {
  const extra: { -readonly [K in keyof ExponentialHistogramPoint]?: ExponentialHistogramPoint[K] } = {};
  let time = 0n;
  let startTime = 0n;
  let flags = 0;
  let count: Count = 0;
  let scale = 0;
  let zeroCount: Count = 0;
  let zeroThreshold = 0;
  let positive: Range | undefined;
  let negative: Range | undefined;
  let exemplars: Exemplar[] | undefined;
  runs.length = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x0a:
        attributeRun(r, end, tag, runs);
        break;
      case 0x11:
        startTime = r.startTime(end);
        break;
      case 0x19:
        time = r.time(end);
        break;
      case 0x21:
        count = r.count(end);
        break;
      case 0x29:
        extra.sum = r.double(end);
        break;
      case 0x30:
        scale = r.zigzag(end);
        break;
      case 0x39:
        zeroCount = r.count(end);
        break;
      case 0x42:
        positive = range(r, end, positive);
        break;
      case 0x4a:
        negative = range(r, end, negative);
        break;
      case 0x50:
        flags = r.uint32(end);
        break;
      case 0x5a:
        exemplars = addExemplar(r, end, exemplars);
        break;
      case 0x61:
        extra.min = r.double(end);
        break;
      case 0x69:
        extra.max = r.double(end);
        break;
      case 0x71:
        zeroThreshold = r.double(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  const series = seriesOf(r, metric, interner);
  if (positive) extra.positive = readBuckets(positive);
  if (negative) extra.negative = readBuckets(negative);
  if (exemplars) extra.exemplars = exemplars;
  return { series, time, startTime, flags, count, scale, zeroCount, zeroThreshold, ...extra };
}

function readBuckets(part: Range): ExponentialBuckets {
  const { reader: r, end } = part;
  let offset = 0;
  counts.length = 0;
  r.at = part.start;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x08) offset = r.zigzag(end);
    else if (tag === 0x12) {
      const stop = r.enter(end);
      while (r.at < stop) counts.push(r.int64(stop, false));
    } else if (tag === 0x10) counts.push(r.int64(end, false));
    else r.skip(tag, end);
  }
  return { offset, counts: countsOf(counts) };
}

/** A summary point. */
export function readSummary(r: Reader, end: number, metric: InternedMetric, interner: Interner): SummaryPoint {
  let time = 0n;
  let startTime = 0n;
  let flags = 0;
  let count: Count = 0;
  let sum = 0;
  const quantiles: { quantile: number; value: number }[] = [];
  runs.length = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x11:
        startTime = r.startTime(end);
        break;
      case 0x19:
        time = r.time(end);
        break;
      case 0x21:
        count = r.count(end);
        break;
      case 0x29:
        sum = r.double(end);
        break;
      case 0x32: {
        const stop = r.enter(end);
        const entry = { quantile: 0, value: 0 };
        while (r.at < stop) {
          const inner = r.tag(stop);
          if (inner === 0x09) entry.quantile = r.double(stop);
          else if (inner === 0x11) entry.value = r.double(stop);
          else r.skip(inner, stop);
        }
        quantiles.push(entry);
        break;
      }
      case 0x3a:
        attributeRun(r, end, tag, runs);
        break;
      case 0x40:
        flags = r.uint32(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  return { series: seriesOf(r, metric, interner), time, startTime, flags, count, sum, quantiles };
}
