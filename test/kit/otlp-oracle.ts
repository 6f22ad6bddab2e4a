/**
 * An independent implementation of OTLP protobuf: protobufjs, by reflection over the official .proto files (as npm carries
 * them, with the fields that were added since), and a plain-object view of our batches to compare with.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import protobuf from 'protobufjs';
import {
  type AnyValue,
  type Attributes,
  type Batch,
  Double,
  type Exemplar,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  KeyValues,
  type LogRecord,
  type Point,
  type Resource,
  type Scope,
  type Signal,
  type Span,
} from '../../pipeline/model.ts';

const folder = join(dirname(createRequire(import.meta.url).resolve('@platformatic/promotel')), '..', 'proto');
const root = new protobuf.Root();
root.resolvePath = (_origin, target) => join(folder, target);
root.loadSync(
  ['metrics', 'trace', 'logs'].map((s) => `opentelemetry/proto/collector/${s}/v1/${s}_service.proto`),
  { keepCase: false },
);
const V1 = (name: string) => `opentelemetry.proto.${name}`;
const addField = (message: string, ...field: ConstructorParameters<typeof protobuf.Field>) => {
  const type = root.lookupType(V1(message));
  if (!type.fields[field[0]]) type.add(new protobuf.Field(...field));
};
// Fields of later versions of the protocol than the files have.
addField('metrics.v1.Metric', 'metadata', 12, V1('common.v1.KeyValue'), 'repeated');
addField('logs.v1.LogRecord', 'eventName', 12, 'string');
addField('trace.v1.Span', 'flags', 16, 'fixed32');
addField('trace.v1.Span.Link', 'flags', 6, 'fixed32');
const common = root.lookup(V1('common.v1')) as protobuf.Namespace;
if (!common.get('EntityRef')) {
  common.add(
    new protobuf.Type('EntityRef')
      .add(new protobuf.Field('schemaUrl', 1, 'string'))
      .add(new protobuf.Field('type', 2, 'string'))
      .add(new protobuf.Field('idKeys', 3, 'string', 'repeated'))
      .add(new protobuf.Field('descriptionKeys', 4, 'string', 'repeated')),
  );
}
addField('resource.v1.Resource', 'entityRefs', 3, V1('common.v1.EntityRef'), 'repeated');
root.resolveAll();

const REQUESTS = {
  metrics: root.lookupType(V1('collector.metrics.v1.ExportMetricsServiceRequest')),
  traces: root.lookupType(V1('collector.trace.v1.ExportTraceServiceRequest')),
  logs: root.lookupType(V1('collector.logs.v1.ExportLogsServiceRequest')),
} as const;
const RESPONSES = {
  metrics: root.lookupType(V1('collector.metrics.v1.ExportMetricsServiceResponse')),
  traces: root.lookupType(V1('collector.trace.v1.ExportTraceServiceResponse')),
  logs: root.lookupType(V1('collector.logs.v1.ExportLogsServiceResponse')),
} as const;

export type Plain = { [key: string]: unknown };

const toPlain = (type: protobuf.Type, bytes: Uint8Array): Plain =>
  type.toObject(type.decode(bytes), { longs: String, enums: Number, bytes: Buffer, arrays: true }) as Plain;

/** A request as plain objects: 64-bit integers as decimal strings, bytes as Buffers, empty lists present. */
export const oracleDecode = (signal: Signal, bytes: Uint8Array): Plain => toPlain(REQUESTS[signal], bytes);
export const oracleDecodeResponse = (signal: Signal, bytes: Uint8Array): Plain => toPlain(RESPONSES[signal], bytes);

const encodeWith = (type: protobuf.Type, plain: Plain): Uint8Array => type.encode(type.fromObject(plain)).finish();
export const oracleEncode = (signal: Signal, plain: Plain): Uint8Array => encodeWith(REQUESTS[signal], plain);
export const oracleEncodeResponse = (signal: Signal, plain: Plain): Uint8Array => encodeWith(RESPONSES[signal], plain);

/** Leaves out what a proto3 reader cannot tell from nothing, as protobufjs does. */
function object(members: Plain): Plain {
  const out: Plain = {};
  for (const [key, value] of Object.entries(members)) {
    if (value === undefined || value === '' || Object.is(value, 0) || value === false) continue;
    if (Buffer.isBuffer(value) && value.length === 0) continue;
    out[key] = value;
  }
  return out;
}

/** A 64-bit integer; nothing if it is zero. */
const big = (value: number | bigint) => (value === 0 || value === 0n ? undefined : String(value));
const hex = (id: string) => Buffer.from(id, 'hex');

export function plainAny(value: AnyValue): Plain {
  if (value === null) return {};
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'bigint') return { intValue: String(value) };
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) && !Object.is(value, -0) ? { intValue: String(value) } : { doubleValue: value };
  }
  if (value instanceof Double) return { doubleValue: value.value };
  if (value instanceof Uint8Array) return { bytesValue: Buffer.from(value) };
  if (value instanceof KeyValues) return { kvlistValue: { values: plainAttributes(value.entries) } };
  return { arrayValue: { values: value.map(plainAny) } };
}

export const plainAttributes = (attributes: Attributes): Plain[] =>
  Object.keys(attributes).map((key) => ({ ...object({ key }), value: plainAny(attributes[key]!) }));

const plainResource = (resource: Resource): Plain =>
  object({
    attributes: plainAttributes(resource.attributes),
    droppedAttributesCount: resource.droppedAttributesCount,
    entityRefs: (resource.entityRefs ?? []).map((ref) => ({
      ...object({ schemaUrl: ref.schemaUrl, type: ref.type }),
      idKeys: [...ref.idKeys],
      descriptionKeys: [...ref.descriptionKeys],
    })),
  });

const plainScope = (scope: Scope): Plain =>
  object({
    name: scope.name,
    version: scope.version,
    attributes: plainAttributes(scope.attributes),
    droppedAttributesCount: scope.droppedAttributesCount,
  });

const plainExemplar = (exemplar: Exemplar): Plain => ({
  ...object({
    timeUnixNano: big(exemplar.time),
    spanId: hex(exemplar.spanId),
    traceId: hex(exemplar.traceId),
  }),
  filteredAttributes: plainAttributes(exemplar.filteredAttributes),
  ...(typeof exemplar.value === 'bigint' ? { asInt: String(exemplar.value) } : { asDouble: exemplar.value }),
});

function plainPoint(point: Point): Plain {
  const base = {
    ...object({ startTimeUnixNano: big(point.startTime), timeUnixNano: big(point.time), flags: point.flags }),
    attributes: plainAttributes(point.series.attributes),
  };
  const exemplars = 'exemplars' in point ? (point.exemplars ?? []).map(plainExemplar) : [];
  if (isNumberPoint(point)) {
    const { value } = point;
    if (typeof value === 'bigint') return { ...base, exemplars, asInt: String(value) };
    return isStale(point) && value === 0 ? { ...base, exemplars } : { ...base, exemplars, asDouble: value };
  }
  const count = object({ count: big(point.count) });
  const optional: Plain = {};
  for (const key of ['sum', 'min', 'max'] as const) {
    const value = (point as unknown as Plain)[key];
    if (value !== undefined) optional[key] = value;
  }
  if (isHistogramPoint(point)) {
    return {
      ...base,
      ...count,
      ...optional,
      exemplars,
      bucketCounts: Array.from(point.bucketCounts as Float64Array, String),
      explicitBounds: [...point.bounds],
    };
  }
  if (isExponentialHistogramPoint(point)) {
    const buckets = (b: typeof point.positive) =>
      b && { ...object({ offset: b.offset }), bucketCounts: Array.from(b.counts as Float64Array, String) };
    const { scale, zeroCount, zeroThreshold, positive, negative } = point;
    return {
      ...base,
      ...count,
      ...optional,
      ...object({
        scale,
        zeroCount: big(zeroCount),
        zeroThreshold,
        positive: buckets(positive),
        negative: buckets(negative),
      }),
      exemplars,
    };
  }
  return {
    ...base,
    ...count,
    ...(Object.is(point.sum, 0) ? {} : { sum: point.sum }),
    quantileValues: point.quantiles.map(({ quantile, value }) => object({ quantile, value })),
  };
}

const DATA = {
  gauge: 'gauge',
  sum: 'sum',
  histogram: 'histogram',
  exponential_histogram: 'exponentialHistogram',
  summary: 'summary',
} as const;

function plainMetrics(points: readonly Point[]): Plain[] {
  return runs(points, (p) => p.series.metric).map(([metric, run]) => ({
    ...object({ name: metric.name, description: metric.description, unit: metric.unit }),
    metadata: plainAttributes(metric.metadata),
    [DATA[metric.type]]: {
      ...object({
        aggregationTemporality: metric.type === 'gauge' || metric.type === 'summary' ? undefined : metric.temporality,
        isMonotonic: metric.type === 'sum' && metric.monotonic,
      }),
      dataPoints: run.map(plainPoint),
    },
  }));
}

function plainSpan(span: Span): Plain {
  const attributes = (a: Attributes, dropped: number) => ({
    ...object({ droppedAttributesCount: dropped }),
    attributes: plainAttributes(a),
  });
  return {
    ...object({
      traceId: hex(span.traceId),
      spanId: hex(span.spanId),
      parentSpanId: hex(span.parentSpanId),
      traceState: span.traceState,
      flags: span.flags,
      name: span.name,
      kind: span.kind,
      startTimeUnixNano: big(span.startTime),
      endTimeUnixNano: big(span.endTime),
      droppedEventsCount: span.droppedEventsCount,
      droppedLinksCount: span.droppedLinksCount,
    }),
    ...attributes(span.attributes, span.droppedAttributesCount),
    events: span.events.map((e) => ({
      ...object({ timeUnixNano: big(e.time), name: e.name }),
      ...attributes(e.attributes, e.droppedAttributesCount),
    })),
    links: span.links.map((l) => ({
      ...object({ traceId: hex(l.traceId), spanId: hex(l.spanId), traceState: l.traceState, flags: l.flags }),
      ...attributes(l.attributes, l.droppedAttributesCount),
    })),
    ...(span.status.code || span.status.message
      ? { status: object({ code: span.status.code, message: span.status.message }) }
      : {}),
  };
}

const plainLog = (record: LogRecord): Plain => ({
  ...object({
    timeUnixNano: big(record.time),
    observedTimeUnixNano: big(record.observedTime),
    severityNumber: record.severityNumber,
    severityText: record.severityText,
    body: record.body === null ? undefined : plainAny(record.body),
    droppedAttributesCount: record.droppedAttributesCount,
    flags: record.flags,
    traceId: hex(record.traceId),
    spanId: hex(record.spanId),
    eventName: record.eventName,
  }),
  attributes: plainAttributes(record.attributes),
});

/** Neighbours with one key. */
function runs<T, K>(items: readonly T[], keyOf: (item: T) => K): [K, T[]][] {
  const out: [K, T[]][] = [];
  for (const item of items) {
    const key = keyOf(item);
    const last = out.at(-1);
    if (last && last[0] === key) last[1].push(item);
    else out.push([key, [item]]);
  }
  return out;
}

function envelopes<T>(
  names: readonly [string, string, string],
  items: readonly T[],
  resourceOf: (item: T) => Resource,
  scopeOf: (item: T) => Scope,
  write: (items: T[]) => Plain[],
): Plain {
  return {
    [names[0]]: runs(items, resourceOf).map(([resource, ofResource]) => ({
      resource: { entityRefs: [], ...plainResource(resource) },
      ...object({ schemaUrl: resource.schemaUrl }),
      [names[1]]: runs(ofResource, scopeOf).map(([scope, ofScope]) => ({
        scope: plainScope(scope),
        ...object({ schemaUrl: scope.schemaUrl }),
        [names[2]]: write(ofScope),
      })),
    })),
  };
}

/** A batch as the oracle would decode it. */
export function plainRequest(batch: Batch): Plain {
  switch (batch.signal) {
    case 'metrics':
      return envelopes(
        ['resourceMetrics', 'scopeMetrics', 'metrics'],
        batch.items,
        (p) => p.series.resource,
        (p) => p.series.scope,
        plainMetrics,
      );
    case 'traces':
      return envelopes(
        ['resourceSpans', 'scopeSpans', 'spans'],
        batch.items,
        (s) => s.resource,
        (s) => s.scope,
        (items) => items.map(plainSpan),
      );
    case 'logs':
      return envelopes(
        ['resourceLogs', 'scopeLogs', 'logRecords'],
        batch.items,
        (r) => r.resource,
        (r) => r.scope,
        (items) => items.map(plainLog),
      );
  }
}
