/** OTLP/JSON requests, read into items. Keys are lowerCamelCase; others are ignored. */
import {
  type Batch,
  type Exemplar,
  type ExponentialBuckets,
  type LogRecord,
  type Metric,
  type MetricType,
  NO_RECORDED_VALUE,
  type Point,
  type Resource,
  type Scope,
  type Series,
  type Signal,
  type Span,
} from '../../model.ts';
import { attributesOf } from './attributes.ts';
import { encodeAside, resourceEnvelope, scopeEnvelope, writeAttributes } from './encode-common.ts';
import {
  envelopeKey,
  type InternedMetric,
  type InternedResource,
  type InternedScope,
  type Interner,
  metricKey,
} from './interner.ts';
import { OtlpJsonError, parseJson } from './json-text.ts';
import {
  booleanAt,
  countAt,
  countOf,
  doubleOf,
  eachAt,
  idAt,
  int64At,
  intAt,
  type JsonObject,
  objectAt,
  optionalDoubleAt,
  path,
  readJsonAny,
  readJsonAttributes,
  stringOf,
  textAt,
  timeAt,
  uintAt,
  valuesAt,
} from './json-values.ts';
import { countsOf, type Rejections } from './rejections.ts';

/** The lists of each signal's request. */
const NAMES = {
  metrics: ['resourceMetrics', 'scopeMetrics', 'metrics'],
  traces: ['resourceSpans', 'scopeSpans', 'spans'],
  logs: ['resourceLogs', 'scopeLogs', 'logRecords'],
} as const;

/** Reads a whole request; throws an OtlpJsonError that names the byte or the key. */
export function readJson(
  signal: Signal,
  bytes: Uint8Array,
  interner: Interner,
  rejections: Rejections,
): Batch['items'] {
  const root = parseJson(bytes);
  if (typeof root !== 'object' || root === null || Array.isArray(root)) {
    throw new OtlpJsonError('an export request must be a JSON object (at byte 0)');
  }
  return readJsonRequest(signal, root as JsonObject, interner, rejections);
}

/** Like `readJson`, of text that is parsed already. */
export function readJsonRequest(
  signal: Signal,
  root: JsonObject,
  interner: Interner,
  rejections: Rejections,
): Batch['items'] {
  path.length = 0;
  const [resources, scopes, items] = NAMES[signal];
  const out: (Point | Span | LogRecord)[] = [];
  eachAt(root, resources, (envelope) => {
    const resource = readResource(envelope);
    const owner = interner.resource(keyOf(resource.schemaUrl, resourceEnvelope(resource).head), () => resource);
    eachAt(envelope, scopes, (inner) => {
      const read = readScope(inner);
      const scope = interner.scope(owner, keyOf(read.schemaUrl, scopeEnvelope(read).head), () => read);
      eachAt(inner, items, (item) => {
        if (signal === 'metrics') readMetric(item, { interner, owner, scope, rejections, out: out as Point[] });
        else if (signal === 'traces') out.push(readSpan(item, owner.resource, scope.scope));
        else out.push(readLog(item, owner.resource, scope.scope));
      });
    });
  });
  return out as Batch['items'];
}

/** A message without the tag and the length in front of it. */
function contentOf(field: Uint8Array): Uint8Array {
  let start = 1;
  while (field[start]! >= 0x80) start++;
  return field.subarray(start + 1);
}

/** As protobuf says it, so that a sender is recognised in either encoding, however its JSON is written. */
const keyOf = (schemaUrl: string, head: Uint8Array) => () => envelopeKey(schemaUrl, contentOf(head));

function readResource(envelope: JsonObject): Resource {
  const raw = objectAt(envelope, 'resource') ?? {};
  const resource = {
    attributes: readJsonAttributes(raw, 'attributes'),
    droppedAttributesCount: uintAt(raw, 'droppedAttributesCount'),
    schemaUrl: textAt(envelope, 'schemaUrl'),
  };
  const entityRefs: NonNullable<Resource['entityRefs']>[number][] = [];
  eachAt(raw, 'entityRefs', (ref) =>
    entityRefs.push({
      schemaUrl: textAt(ref, 'schemaUrl'),
      type: textAt(ref, 'type'),
      idKeys: valuesAt(ref, 'idKeys', stringOf),
      descriptionKeys: valuesAt(ref, 'descriptionKeys', stringOf),
    }),
  );
  return entityRefs.length ? { ...resource, entityRefs } : resource;
}

function readScope(envelope: JsonObject): Scope {
  const raw = objectAt(envelope, 'scope') ?? {};
  return {
    name: textAt(raw, 'name'),
    version: textAt(raw, 'version'),
    attributes: readJsonAttributes(raw, 'attributes'),
    droppedAttributesCount: uintAt(raw, 'droppedAttributesCount'),
    schemaUrl: textAt(envelope, 'schemaUrl'),
  };
}

interface Target {
  readonly interner: Interner;
  readonly owner: InternedResource;
  readonly scope: InternedScope;
  readonly rejections: Rejections;
  readonly out: Point[];
}

const DATA: readonly (readonly [string, MetricType])[] = [
  ['gauge', 'gauge'],
  ['sum', 'sum'],
  ['histogram', 'histogram'],
  ['exponentialHistogram', 'exponential_histogram'],
  ['summary', 'summary'],
];

const TEMPORALITIES = {
  AGGREGATION_TEMPORALITY_UNSPECIFIED: 0,
  AGGREGATION_TEMPORALITY_DELTA: 1,
  AGGREGATION_TEMPORALITY_CUMULATIVE: 2,
};

function readMetric(raw: JsonObject, target: Target): void {
  for (const [key, type] of DATA) {
    const data = objectAt(raw, key);
    if (data === undefined) continue;
    const metric: Metric = {
      name: textAt(raw, 'name'),
      description: textAt(raw, 'description'),
      unit: textAt(raw, 'unit'),
      type,
      temporality: type === 'gauge' || type === 'summary' ? 0 : intAt(data, 'aggregationTemporality', TEMPORALITIES),
      monotonic: type === 'sum' && booleanAt(data, 'isMonotonic'),
      metadata: readJsonAttributes(raw, 'metadata'),
    };
    const metadata = Object.entries(metric.metadata).map(([name, value]) =>
      contentOf(encodeAside((w) => writeAttributes(w, attributesOf({ [name]: value }), 0x62))),
    );
    const identity = metricKey(metric, metadata);
    const interned = target.interner.metric(target.owner, target.scope, identity, type, () => metric);
    path.push(key);
    eachAt(data, 'dataPoints', (point) => {
      const read = readPoint(point, type, interned, target);
      if (read) target.out.push(read);
    });
    path.pop();
    return;
  }
}

function readPoint(raw: JsonObject, type: MetricType, metric: InternedMetric, target: Target): Point | undefined {
  const series: Series = target.interner.seriesOf(metric, readJsonAttributes(raw, 'attributes'));
  let flags = uintAt(raw, 'flags');
  const time = timeAt(raw, 'timeUnixNano');
  const startTime = timeAt(raw, 'startTimeUnixNano');
  const exemplars = type === 'summary' ? undefined : readExemplars(raw);
  const shared = { series, time, startTime };
  if (type === 'gauge' || type === 'sum') {
    let value = readValue(raw);
    if (value === undefined) {
      // No value is what the flag says in words; a zero would be an invention.
      value = 0;
      flags = (flags | NO_RECORDED_VALUE) >>> 0;
    }
    return { ...shared, flags, value, ...(exemplars && { exemplars }) };
  }
  const count = countAt(raw, 'count');
  const sum = optionalDoubleAt(raw, 'sum');
  if (type === 'summary') {
    const quantiles: { quantile: number; value: number }[] = [];
    eachAt(raw, 'quantileValues', (entry) =>
      quantiles.push({
        quantile: optionalDoubleAt(entry, 'quantile') ?? 0,
        value: optionalDoubleAt(entry, 'value') ?? 0,
      }),
    );
    return { ...shared, flags, count, sum: sum ?? 0, quantiles };
  }
  const min = optionalDoubleAt(raw, 'min');
  const max = optionalDoubleAt(raw, 'max');
  const more = {
    ...(sum !== undefined && { sum }),
    ...(min !== undefined && { min }),
    ...(max !== undefined && { max }),
    ...(exemplars && { exemplars }),
  };
  if (type === 'exponential_histogram') {
    const positive = readBuckets(raw, 'positive');
    const negative = readBuckets(raw, 'negative');
    return {
      ...shared,
      flags,
      count,
      scale: intAt(raw, 'scale'),
      zeroCount: countAt(raw, 'zeroCount'),
      zeroThreshold: optionalDoubleAt(raw, 'zeroThreshold') ?? 0,
      ...(positive && { positive }),
      ...(negative && { negative }),
      ...more,
    };
  }
  const counts = valuesAt(raw, 'bucketCounts', countOf);
  const bounds = valuesAt(raw, 'explicitBounds', doubleOf);
  if (counts.length !== bounds.length + 1 && !(counts.length === 0 && bounds.length === 0)) {
    target.rejections.histogram(metric.metric.name, bounds.length, counts.length);
    return undefined;
  }
  return {
    ...shared,
    flags,
    count,
    bounds: target.interner.bounds(metric, bounds),
    bucketCounts: countsOf(counts),
    ...more,
  };
}

function readValue(raw: JsonObject): number | bigint | undefined {
  if (raw['asInt'] !== undefined && raw['asInt'] !== null) return int64At(raw, 'asInt');
  return optionalDoubleAt(raw, 'asDouble');
}

function readBuckets(raw: JsonObject, key: string): ExponentialBuckets | undefined {
  const buckets = objectAt(raw, key);
  if (buckets === undefined) return undefined;
  return { offset: intAt(buckets, 'offset'), counts: countsOf(valuesAt(buckets, 'bucketCounts', countOf)) };
}

function readExemplars(raw: JsonObject): Exemplar[] | undefined {
  let exemplars: Exemplar[] | undefined;
  eachAt(raw, 'exemplars', (entry) => {
    const value = readValue(entry);
    if (value === undefined) return;
    exemplars ??= [];
    exemplars.push({
      time: timeAt(entry, 'timeUnixNano'),
      value,
      traceId: idAt(entry, 'traceId', 32),
      spanId: idAt(entry, 'spanId', 16),
      filteredAttributes: readJsonAttributes(entry, 'filteredAttributes'),
    });
  });
  return exemplars;
}

const KINDS = Object.fromEntries(
  ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'].map((name, i) => [`SPAN_KIND_${name}`, i]),
);
const STATUS_CODES = { STATUS_CODE_UNSET: 0, STATUS_CODE_OK: 1, STATUS_CODE_ERROR: 2 };
const SEVERITIES = Object.fromEntries([
  ['SEVERITY_NUMBER_UNSPECIFIED', 0],
  ...['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'].flatMap((name, i) =>
    ['', '2', '3', '4'].map((n, j) => [`SEVERITY_NUMBER_${name}${n}`, i * 4 + j + 1]),
  ),
]);

function readSpan(raw: JsonObject, resource: Resource, scope: Scope): Span {
  const events: Span['events'][number][] = [];
  eachAt(raw, 'events', (event) =>
    events.push({
      time: timeAt(event, 'timeUnixNano'),
      name: textAt(event, 'name'),
      attributes: readJsonAttributes(event, 'attributes'),
      droppedAttributesCount: uintAt(event, 'droppedAttributesCount'),
    }),
  );
  const links: Span['links'][number][] = [];
  eachAt(raw, 'links', (link) =>
    links.push({
      traceId: idAt(link, 'traceId', 32),
      spanId: idAt(link, 'spanId', 16),
      traceState: textAt(link, 'traceState'),
      flags: uintAt(link, 'flags'),
      attributes: readJsonAttributes(link, 'attributes'),
      droppedAttributesCount: uintAt(link, 'droppedAttributesCount'),
    }),
  );
  const status = objectAt(raw, 'status') ?? {};
  return {
    resource,
    scope,
    traceId: idAt(raw, 'traceId', 32),
    spanId: idAt(raw, 'spanId', 16),
    parentSpanId: idAt(raw, 'parentSpanId', 16),
    traceState: textAt(raw, 'traceState'),
    flags: uintAt(raw, 'flags'),
    name: textAt(raw, 'name'),
    kind: intAt(raw, 'kind', KINDS),
    startTime: timeAt(raw, 'startTimeUnixNano'),
    endTime: timeAt(raw, 'endTimeUnixNano'),
    attributes: readJsonAttributes(raw, 'attributes'),
    droppedAttributesCount: uintAt(raw, 'droppedAttributesCount'),
    events,
    droppedEventsCount: uintAt(raw, 'droppedEventsCount'),
    links,
    droppedLinksCount: uintAt(raw, 'droppedLinksCount'),
    status: { code: intAt(status, 'code', STATUS_CODES), message: textAt(status, 'message') },
  };
}

function readLog(raw: JsonObject, resource: Resource, scope: Scope): LogRecord {
  return {
    resource,
    scope,
    time: timeAt(raw, 'timeUnixNano'),
    observedTime: timeAt(raw, 'observedTimeUnixNano'),
    severityNumber: intAt(raw, 'severityNumber', SEVERITIES),
    severityText: textAt(raw, 'severityText'),
    body: readJsonAny(objectAt(raw, 'body'), 0),
    attributes: readJsonAttributes(raw, 'attributes'),
    droppedAttributesCount: uintAt(raw, 'droppedAttributesCount'),
    flags: uintAt(raw, 'flags'),
    traceId: idAt(raw, 'traceId', 32),
    spanId: idAt(raw, 'spanId', 16),
    eventName: textAt(raw, 'eventName'),
  };
}
