/** An ExportMetricsServiceRequest in protobuf, read into points. */
import { type Metric, type MetricType, NO_ATTRIBUTES, type Point } from '../../model.ts';
import type { Reader } from '../protobuf/reader.ts';
import { newAttributes } from './attributes.ts';
import { bytesOf, type Range, range, readEnvelope, readKeyValue, readResource, readScope } from './decode-common.ts';
import { readExponential, readHistogram, readNumber, readSummary } from './decode-points.ts';
import { type InternedResource, type InternedScope, type Interner, keyOf, metricKey } from './interner.ts';
import type { Rejections } from './rejections.ts';

const TYPES: Readonly<Record<number, MetricType>> = {
  42: 'gauge',
  58: 'sum',
  74: 'histogram',
  82: 'exponential_histogram',
  90: 'summary',
};
/** Reads all of `r`. */
export function readMetrics(r: Reader, interner: Interner, rejections: Rejections): Point[] {
  const end = r.buffer.length;
  const points: Point[] = [];
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag !== 0x0a) {
      r.skip(tag, end);
      continue;
    }
    const stop = r.enter(end);
    const envelope = readEnvelope(r, stop);
    const owner = interner.resource(keyOf(envelope), () => readResource(envelope.head, envelope.schemaUrl));
    const { parts } = envelope;
    for (let i = 0; i < parts.length; i += 2) {
      r.at = parts[i]!;
      const inner = readEnvelope(r, parts[i + 1]!);
      const scope = interner.scope(owner, keyOf(inner), () => readScope(inner.head, inner.schemaUrl));
      for (let j = 0; j < inner.parts.length; j += 2) {
        r.at = inner.parts[j]!;
        readMetric(r, inner.parts[j + 1]!, { interner, owner, scope, rejections, points });
      }
    }
    r.at = stop;
  }
  return points;
}

interface Target {
  readonly interner: Interner;
  readonly owner: InternedResource;
  readonly scope: InternedScope;
  readonly rejections: Rejections;
  readonly points: Point[];
}

function readMetric(r: Reader, end: number, target: Target): void {
  let name = '';
  let description = '';
  let unit = '';
  let dataTag = 0;
  let data: Range | undefined;
  let metadata: Range[] | undefined;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x0a:
        name = r.string(end);
        break;
      case 0x12:
        description = r.string(end);
        break;
      case 0x1a:
        unit = r.string(end);
        break;
      case 0x2a:
      case 0x3a:
      case 0x4a:
      case 0x52:
      case 0x5a:
        // A oneof: another member takes the place of what was there, the same member is merged with it.
        data = range(r, end, tag === dataTag ? data : undefined);
        dataTag = tag;
        break;
      case 0x62:
        metadata ??= [];
        metadata.push(range(r, end));
        break;
      default:
        r.skip(tag, end);
    }
  }
  const type = TYPES[dataTag];
  if (data === undefined || type === undefined) {
    // It gives no points; what is malformed is refused all the same.
    if (metadata) readMetadata(metadata);
    r.at = end;
    return;
  }
  readData(data, type, { name, description, unit, metadata }, target);
}

interface Description {
  readonly name: string;
  readonly description: string;
  readonly unit: string;
  readonly metadata: readonly Range[] | undefined;
}

function readData(data: Range, type: MetricType, about: Description, target: Target): void {
  const { reader: r, end } = data;
  let temporality = 0;
  let monotonic = false;
  const spots: number[] = [];
  r.at = data.start;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) {
      const stop = r.enter(end);
      spots.push(r.at, stop);
      r.at = stop;
    } else if (tag === 0x10 && type !== 'gauge' && type !== 'summary') temporality = r.uint32(end) | 0;
    else if (tag === 0x18 && type === 'sum') monotonic = r.uint32(end) !== 0;
    else r.skip(tag, end);
  }
  const { name, description, unit } = about;
  const described = { name, description, unit, type, temporality, monotonic };
  const key = metricKey(described, about.metadata?.map(bytesOf) ?? []);
  const metric = target.interner.metric(
    target.owner,
    target.scope,
    key,
    type,
    (): Metric => ({
      ...described,
      metadata: about.metadata ? readMetadata(about.metadata) : NO_ATTRIBUTES,
    }),
  );
  const { points, interner, rejections } = target;
  for (let i = 0; i < spots.length; i += 2) {
    r.at = spots[i]!;
    const stop = spots[i + 1]!;
    switch (type) {
      case 'gauge':
      case 'sum':
        points.push(readNumber(r, stop, metric, interner));
        break;
      case 'histogram': {
        const point = readHistogram(r, stop, metric, interner, rejections);
        if (point) points.push(point);
        break;
      }
      case 'exponential_histogram':
        points.push(readExponential(r, stop, metric, interner));
        break;
      case 'summary':
        points.push(readSummary(r, stop, metric, interner));
    }
  }
}

function readMetadata(parts: readonly Range[]) {
  const attributes = newAttributes();
  for (const part of parts) {
    part.reader.at = part.start;
    readKeyValue(part.reader, part.end, attributes);
  }
  return attributes;
}
