/** Batches as OTLP/JSON: one request, on one line. What does not change from scrape to scrape is kept with its object. */
import {
  type Batch,
  type Exemplar,
  type ExponentialBuckets,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  type LogRecord,
  type Metric,
  NO_RECORDED_VALUE,
  type Point,
  type Resource,
  type Scope,
  type Series,
  type Span,
} from '../../model.ts';
import { anyJson, attributesJson, doubleJson } from './json-values.ts';

/** Text of an object with only those members that are not ''. */
const join = (...members: string[]): string => members.filter((m) => m !== '').join(',');

const text = (key: string, value: string) => (value === '' ? '' : `"${key}":${JSON.stringify(value)}`);
const number = (key: string, value: number) => (value === 0 ? '' : `"${key}":${value}`);
/** 64-bit integers are strings. */
const big = (key: string, value: number | bigint) =>
  value === 0 || value === 0n ? '' : `"${key}":"${typeof value === 'bigint' ? BigInt.asUintN(64, value) : value}"`;
const attributes = (key: string, value: Resource['attributes']) => {
  const list = attributesJson(value);
  return list === '[]' ? '' : `"${key}":${list}`;
};
const optionalDouble = (key: string, value: number | undefined) =>
  value === undefined ? '' : `"${key}":${doubleJson(value)}`;

interface Envelope {
  readonly head: string;
  readonly tail: string;
}

/** `make` runs once per object. */
function cached<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const cache = new WeakMap<K, V>();
  return (key) => {
    let value = cache.get(key);
    if (value === undefined) {
      value = make(key);
      cache.set(key, value);
    }
    return value;
  };
}

const tail = (schemaUrl: string) => (schemaUrl === '' ? '' : `,${text('schemaUrl', schemaUrl)}`);

const resourceEnvelope = cached((resource: Resource): Envelope => {
  const refs = (resource.entityRefs ?? []).map(
    (ref) =>
      `{${join(
        text('schemaUrl', ref.schemaUrl),
        text('type', ref.type),
        ref.idKeys.length ? `"idKeys":${JSON.stringify(ref.idKeys)}` : '',
        ref.descriptionKeys.length ? `"descriptionKeys":${JSON.stringify(ref.descriptionKeys)}` : '',
      )}}`,
  );
  const members = join(
    attributes('attributes', resource.attributes),
    number('droppedAttributesCount', resource.droppedAttributesCount),
    refs.length ? `"entityRefs":[${refs.join(',')}]` : '',
  );
  return { head: `"resource":{${members}}`, tail: tail(resource.schemaUrl) };
});

const scopeEnvelope = cached((scope: Scope): Envelope => {
  const members = join(
    text('name', scope.name),
    text('version', scope.version),
    attributes('attributes', scope.attributes),
    number('droppedAttributesCount', scope.droppedAttributesCount),
  );
  return { head: `"scope":{${members}}`, tail: tail(scope.schemaUrl) };
});

/** The envelopes of one signal: names of the three lists, and the items of one scope. */
function requestJson<T>(
  names: readonly [resources: string, scopes: string, items: string],
  items: readonly T[],
  resourceOf: (item: T) => Resource,
  scopeOf: (item: T) => Scope,
  write: (from: number, to: number) => string,
): string {
  let out = `{"${names[0]}":[`;
  let at = 0;
  while (at < items.length) {
    const resource = resourceOf(items[at]!);
    const envelope = resourceEnvelope(resource);
    out += `${at > 0 ? ',' : ''}{${envelope.head},"${names[1]}":[`;
    for (let first = true; at < items.length && resourceOf(items[at]!) === resource; first = false) {
      const scope = scopeOf(items[at]!);
      let to = at + 1;
      while (to < items.length && scopeOf(items[to]!) === scope && resourceOf(items[to]!) === resource) to++;
      const inner = scopeEnvelope(scope);
      out += `${first ? '' : ','}{${inner.head},"${names[2]}":[${write(at, to)}]${inner.tail}}`;
      at = to;
    }
    out += `]${envelope.tail}}`;
  }
  return `${out}]}`;
}

/** The request as text without line breaks. */
export function jsonOf(batch: Batch): string {
  switch (batch.signal) {
    case 'metrics':
      return requestJson(
        ['resourceMetrics', 'scopeMetrics', 'metrics'],
        batch.items,
        (p) => p.series.resource,
        (p) => p.series.scope,
        (from, to) => metricsJson(batch.items, from, to),
      );
    case 'traces':
      return requestJson(
        ['resourceSpans', 'scopeSpans', 'spans'],
        batch.items,
        (s) => s.resource,
        (s) => s.scope,
        (from, to) => listJson(batch.items, from, to, spanJson),
      );
    case 'logs':
      return requestJson(
        ['resourceLogs', 'scopeLogs', 'logRecords'],
        batch.items,
        (r) => r.resource,
        (r) => r.scope,
        (from, to) => listJson(batch.items, from, to, logJson),
      );
  }
}

function listJson<T>(items: readonly T[], from: number, to: number, write: (item: T) => string): string {
  let out = '';
  for (let i = from; i < to; i++) out += i > from ? `,${write(items[i]!)}` : write(items[i]!);
  return out;
}

const DATA = {
  gauge: 'gauge',
  sum: 'sum',
  histogram: 'histogram',
  exponential_histogram: 'exponentialHistogram',
  summary: 'summary',
} as const;

const metricEnvelope = cached((metric: Metric): Envelope => {
  const { type } = metric;
  const head = join(
    text('name', metric.name),
    text('description', metric.description),
    text('unit', metric.unit),
    `"${DATA[type]}":{"dataPoints":[`,
  );
  const after = join(
    type === 'gauge' || type === 'summary' ? '' : number('aggregationTemporality', metric.temporality),
    type === 'sum' && metric.monotonic ? '"isMonotonic":true' : '',
  );
  const metadata = attributes('metadata', metric.metadata);
  return { head: `{${head}`, tail: `]${after && `,${after}`}}${metadata && `,${metadata}`}}` };
});

const seriesAttributes = cached((series: Series): string => attributes('attributes', series.attributes));

function metricsJson(points: readonly Point[], from: number, to: number): string {
  let out = '';
  let at = from;
  while (at < to) {
    const { metric } = points[at]!.series;
    let end = at + 1;
    while (end < to && points[end]!.series.metric === metric) end++;
    const envelope = metricEnvelope(metric);
    out += `${at > from ? ',' : ''}${envelope.head}${listJson(points, at, end, pointJson)}${envelope.tail}`;
    at = end;
  }
  return out;
}

let lastTime = 0n;
let lastTimeText = '0';
const timeText = (time: bigint) => {
  if (time !== lastTime) {
    lastTime = time;
    lastTimeText = String(time);
  }
  return lastTimeText;
};

function pointJson(point: Point): string {
  const { series, startTime, time, flags } = point;
  let out = `{${seriesAttributes(series)}`;
  const add = (member: string) => {
    if (member !== '') out += out.length > 1 ? `,${member}` : member;
  };
  if (startTime !== 0n) add(`"startTimeUnixNano":"${startTime}"`);
  if (time !== 0n) add(`"timeUnixNano":"${timeText(time)}"`);
  if (isNumberPoint(point)) {
    const { value } = point;
    if (typeof value === 'bigint') add(`"asInt":"${BigInt.asIntN(64, value)}"`);
    else if ((flags & NO_RECORDED_VALUE) === 0 || value !== 0) add(`"asDouble":${doubleJson(value)}`);
  } else {
    add(big('count', point.count));
    add(optionalDouble('sum', point.sum));
    if (isHistogramPoint(point)) {
      if (point.bucketCounts.length) add(`"bucketCounts":${countsJson(point.bucketCounts)}`);
      if (point.bounds.length) add(`"explicitBounds":[${Array.from(point.bounds, doubleJson).join(',')}]`);
    } else if (isExponentialHistogramPoint(point)) {
      add(number('scale', point.scale));
      add(big('zeroCount', point.zeroCount));
      add(bucketsJson('positive', point.positive));
      add(bucketsJson('negative', point.negative));
      if (point.zeroThreshold !== 0) add(`"zeroThreshold":${doubleJson(point.zeroThreshold)}`);
    } else if (point.quantiles.length) {
      const list = point.quantiles.map((q) => `{"quantile":${doubleJson(q.quantile)},"value":${doubleJson(q.value)}}`);
      add(`"quantileValues":[${list.join(',')}]`);
    }
    if ('min' in point) add(optionalDouble('min', point.min));
    if ('max' in point) add(optionalDouble('max', point.max));
  }
  add(number('flags', flags));
  if ('exemplars' in point && point.exemplars?.length) {
    add(`"exemplars":[${point.exemplars.map(exemplarJson).join(',')}]`);
  }
  return `${out}}`;
}

const countsJson = (counts: Float64Array | BigUint64Array) =>
  counts.length ? `["${(counts as Float64Array).join('","')}"]` : '[]';

const bucketsJson = (key: string, buckets: ExponentialBuckets | undefined) =>
  buckets === undefined
    ? ''
    : `"${key}":{${join(
        number('offset', buckets.offset),
        buckets.counts.length ? `"bucketCounts":${countsJson(buckets.counts)}` : '',
      )}}`;

const exemplarJson = (exemplar: Exemplar) =>
  `{${join(
    attributes('filteredAttributes', exemplar.filteredAttributes),
    big('timeUnixNano', exemplar.time),
    typeof exemplar.value === 'bigint'
      ? `"asInt":"${BigInt.asIntN(64, exemplar.value)}"`
      : `"asDouble":${doubleJson(exemplar.value)}`,
    text('spanId', exemplar.spanId),
    text('traceId', exemplar.traceId),
  )}}`;

const spanJson = (span: Span) =>
  `{${join(
    text('traceId', span.traceId),
    text('spanId', span.spanId),
    text('traceState', span.traceState),
    text('parentSpanId', span.parentSpanId),
    number('flags', span.flags),
    text('name', span.name),
    number('kind', span.kind),
    big('startTimeUnixNano', span.startTime),
    big('endTimeUnixNano', span.endTime),
    attributes('attributes', span.attributes),
    number('droppedAttributesCount', span.droppedAttributesCount),
    span.events.length
      ? `"events":[${span.events
          .map(
            (event) =>
              `{${join(
                big('timeUnixNano', event.time),
                text('name', event.name),
                attributes('attributes', event.attributes),
                number('droppedAttributesCount', event.droppedAttributesCount),
              )}}`,
          )
          .join(',')}]`
      : '',
    number('droppedEventsCount', span.droppedEventsCount),
    span.links.length
      ? `"links":[${span.links
          .map(
            (link) =>
              `{${join(
                text('traceId', link.traceId),
                text('spanId', link.spanId),
                text('traceState', link.traceState),
                attributes('attributes', link.attributes),
                number('droppedAttributesCount', link.droppedAttributesCount),
                number('flags', link.flags),
              )}}`,
          )
          .join(',')}]`
      : '',
    number('droppedLinksCount', span.droppedLinksCount),
    `"status":{${join(text('message', span.status.message), number('code', span.status.code))}}`,
  )}}`;

const logJson = (record: LogRecord) =>
  `{${join(
    big('timeUnixNano', record.time),
    big('observedTimeUnixNano', record.observedTime),
    number('severityNumber', record.severityNumber),
    text('severityText', record.severityText),
    record.body === null ? '' : `"body":${anyJson(record.body)}`,
    attributes('attributes', record.attributes),
    number('droppedAttributesCount', record.droppedAttributesCount),
    number('flags', record.flags),
    text('traceId', record.traceId),
    text('spanId', record.spanId),
    text('eventName', record.eventName),
  )}}`;
