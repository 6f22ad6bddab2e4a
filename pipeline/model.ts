/**
 * What flows through a pipeline: OTLP's data, flat.
 *
 * A batch is a list of items of one signal. Every item points at the things it is about (its series, its resource, its
 * scope) instead of being nested in them, so a processor is a map over items and "what is worked out once" hangs off the
 * identity of those shared objects. Codecs group neighbouring items of the same resource, scope and metric back into
 * OTLP's envelopes; a decoder creates one object per envelope, so a round trip keeps the structure.
 *
 * Invariant: nothing here is ever changed after it was handed on. A processor returns a new batch that shares what did
 * not change. Caches live outside (a WeakMap keyed by the shared object).
 */

/**
 * A value of an attribute. A JavaScript number that is an integer (and not -0) is an OTLP int, any other number an OTLP
 * double; integers beyond 2^53 are bigint, and a double that happens to be whole is wrapped in `Double`. `null` is an
 * AnyValue with nothing set.
 */
export type AnyValue =
  | string
  | boolean
  | number
  | bigint
  | Double
  | Uint8Array
  | readonly AnyValue[]
  | KeyValues
  | null;

/** A nested key-value list. A class, so that it cannot be mistaken for a `Double` or bytes. */
export class KeyValues {
  readonly entries: Attributes;
  constructor(entries: Attributes) {
    this.entries = entries;
  }
}

/** A whole number that the sender typed as double; only needed to keep that type through a round trip. */
export class Double {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** Keys to values. Decoders make these without a prototype, so any key is safe; a duplicate key keeps its last value. */
export type Attributes = Readonly<Record<string, AnyValue>>;

export const NO_ATTRIBUTES: Attributes = Object.freeze(Object.create(null));

/** Nanoseconds since the Unix epoch; 0n is "not set". Items of one scrape share one bigint, so comparing is cheap. */
export type UnixNano = bigint;

/** An unsigned 64-bit count: a number while it is exact, a bigint beyond 2^53. */
export type Count = number | bigint;

/** Who the data is about. Identity matters: items of one entity share one object for as long as the source lives. */
export interface Resource {
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly schemaUrl: string;
  /** OTLP entity references, kept as they came. */
  readonly entityRefs?: readonly EntityRef[];
}

export interface EntityRef {
  readonly schemaUrl: string;
  readonly type: string;
  readonly idKeys: readonly string[];
  readonly descriptionKeys: readonly string[];
}

/** What produced the data. */
export interface Scope {
  readonly name: string;
  readonly version: string;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly schemaUrl: string;
}

export type MetricType = 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary';

/** OTLP's AggregationTemporality; gauges and summaries carry UNSPECIFIED. */
export const Temporality = { UNSPECIFIED: 0, DELTA: 1, CUMULATIVE: 2 } as const;
export type Temporality = number;

/** A metric without its points. */
export interface Metric {
  readonly name: string;
  readonly description: string;
  /** UCUM, as in OpenTelemetry: `s`, `By`, `1`, `{request}`. */
  readonly unit: string;
  readonly type: MetricType;
  readonly temporality: Temporality;
  readonly monotonic: boolean;
  readonly metadata: Attributes;
}

/**
 * One time series. A source that repeats its series (a scrape, a probe) hands out the same object every time; whoever
 * needs something per series (encoded bytes, a normalised name, a window) keeps it in a WeakMap keyed by this.
 */
export interface Series {
  readonly resource: Resource;
  readonly scope: Scope;
  readonly metric: Metric;
  readonly attributes: Attributes;
}

/** OTLP DataPointFlags. */
export const NO_RECORDED_VALUE = 1;

interface PointBase {
  readonly series: Series;
  readonly time: UnixNano;
  /** 0n when unknown. */
  readonly startTime: UnixNano;
  readonly flags: number;
}

/** A point of a gauge or sum: a number is an OTLP double, a bigint an OTLP int. A stale point's value is 0. */
export interface NumberPoint extends PointBase {
  readonly value: number | bigint;
  readonly exemplars?: readonly Exemplar[];
}

/** `bucketCounts` has one entry more than `bounds` (or both are empty); counts are per bucket, not cumulative. */
export interface HistogramPoint extends PointBase {
  readonly count: Count;
  readonly sum?: number;
  readonly min?: number;
  readonly max?: number;
  /** Shared by every point of a series whose bounds did not change. */
  readonly bounds: Float64Array;
  readonly bucketCounts: Float64Array | BigUint64Array;
  readonly exemplars?: readonly Exemplar[];
}

export interface ExponentialBuckets {
  readonly offset: number;
  readonly counts: Float64Array | BigUint64Array;
}

export interface ExponentialHistogramPoint extends PointBase {
  readonly count: Count;
  readonly sum?: number;
  readonly min?: number;
  readonly max?: number;
  readonly scale: number;
  readonly zeroCount: Count;
  readonly zeroThreshold: number;
  readonly positive?: ExponentialBuckets;
  readonly negative?: ExponentialBuckets;
  readonly exemplars?: readonly Exemplar[];
}

export interface SummaryPoint extends PointBase {
  readonly count: Count;
  readonly sum: number;
  readonly quantiles: readonly { readonly quantile: number; readonly value: number }[];
}

/** Discriminated by `series.metric.type`: gauge and sum are NumberPoint. Use the `is…` functions below. */
export type Point = NumberPoint | HistogramPoint | ExponentialHistogramPoint | SummaryPoint;

export const isNumberPoint = (p: Point): p is NumberPoint => 'value' in p;
export const isHistogramPoint = (p: Point): p is HistogramPoint => 'bounds' in p;
export const isExponentialHistogramPoint = (p: Point): p is ExponentialHistogramPoint => 'zeroCount' in p;
export const isSummaryPoint = (p: Point): p is SummaryPoint => 'quantiles' in p;
/** True for a point that says "this series has ended or could not be read". */
export const isStale = (p: Point): boolean => (p.flags & NO_RECORDED_VALUE) !== 0;

export interface Exemplar {
  readonly time: UnixNano;
  readonly value: number | bigint;
  /** Lower-case hex, '' when absent. */
  readonly traceId: string;
  readonly spanId: string;
  readonly filteredAttributes: Attributes;
}

export interface Span {
  readonly resource: Resource;
  readonly scope: Scope;
  /** Lower-case hex: 32 characters, or '' when absent. */
  readonly traceId: string;
  /** Lower-case hex: 16 characters, or '' when absent. */
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly traceState: string;
  readonly flags: number;
  readonly name: string;
  /** OTLP SpanKind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number;
  readonly startTime: UnixNano;
  readonly endTime: UnixNano;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly events: readonly SpanEvent[];
  readonly droppedEventsCount: number;
  readonly links: readonly SpanLink[];
  readonly droppedLinksCount: number;
  /** OTLP StatusCode: 0 unset, 1 ok, 2 error. */
  readonly status: { readonly code: number; readonly message: string };
}

export interface SpanEvent {
  readonly time: UnixNano;
  readonly name: string;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
}

export interface SpanLink {
  readonly traceId: string;
  readonly spanId: string;
  readonly traceState: string;
  readonly flags: number;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
}

export interface LogRecord {
  readonly resource: Resource;
  readonly scope: Scope;
  readonly time: UnixNano;
  readonly observedTime: UnixNano;
  /** OTLP SeverityNumber, 0 unspecified … 24. */
  readonly severityNumber: number;
  readonly severityText: string;
  readonly body: AnyValue;
  readonly attributes: Attributes;
  readonly droppedAttributesCount: number;
  readonly flags: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly eventName: string;
}

export type Signal = 'metrics' | 'traces' | 'logs';
export const SIGNALS: readonly Signal[] = ['metrics', 'traces', 'logs'];

export interface MetricsBatch {
  readonly signal: 'metrics';
  readonly items: readonly Point[];
}
export interface TracesBatch {
  readonly signal: 'traces';
  readonly items: readonly Span[];
}
export interface LogsBatch {
  readonly signal: 'logs';
  readonly items: readonly LogRecord[];
}
export type Batch = MetricsBatch | TracesBatch | LogsBatch;

export const metricsBatch = (items: readonly Point[]): MetricsBatch => ({ signal: 'metrics', items });
export const tracesBatch = (items: readonly Span[]): TracesBatch => ({ signal: 'traces', items });
export const logsBatch = (items: readonly LogRecord[]): LogsBatch => ({ signal: 'logs', items });

const ITEM_COUNT = Symbol('item count');

/** How many items a batch has; does not make a batch that was not decoded yet decode itself. */
export const itemCount = (batch: Batch): number =>
  (batch as { readonly [ITEM_COUNT]?: number })[ITEM_COUNT] ?? batch.items.length;

/** A batch whose `count` items are only made when somebody looks at them, once. */
export function lazyBatch(signal: Signal, count: number, make: () => Batch['items']): Batch {
  let items: Batch['items'] | undefined;
  const batch = {
    signal,
    get items() {
      items ??= make();
      return items;
    },
  };
  // Not enumerable: a batch that is spread into a new one with other items must not inherit the count.
  Object.defineProperty(batch, ITEM_COUNT, { value: count });
  return batch as Batch;
}

/** A resource with nothing but attributes. */
export function resource(attributes: Attributes, schemaUrl = ''): Resource {
  return { attributes, droppedAttributesCount: 0, schemaUrl };
}

/** A scope with nothing but a name and a version. */
export function scope(name: string, version = ''): Scope {
  return { name, version, attributes: NO_ATTRIBUTES, droppedAttributesCount: 0, schemaUrl: '' };
}

/** A gauge, described. */
export function gauge(name: string, unit: string, description = ''): Metric {
  return { name, unit, description, type: 'gauge', temporality: 0, monotonic: false, metadata: NO_ATTRIBUTES };
}

/** A cumulative sum, described; `monotonic` false makes it an up-down counter. */
export function sum(name: string, unit: string, description = '', monotonic = true): Metric {
  return { name, unit, description, type: 'sum', temporality: 2, monotonic, metadata: NO_ATTRIBUTES };
}

const NANOS_PER_MS = 1_000_000n;

/** Milliseconds (fractions allowed down to a microsecond) to nanoseconds. */
export function nanosFromMs(ms: number): UnixNano {
  const whole = Math.floor(ms);
  return BigInt(whole) * NANOS_PER_MS + BigInt(Math.round((ms - whole) * 1e6));
}

/** Nanoseconds to milliseconds, as a float: exact to about a microsecond in this century. */
export function msFromNanos(nanos: UnixNano): number {
  return Number(nanos / NANOS_PER_MS) + Number(nanos % NANOS_PER_MS) / 1e6;
}
