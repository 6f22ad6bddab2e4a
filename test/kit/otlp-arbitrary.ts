/** Random batches in the model's normal form: everything OTLP can say, boundaries included. For fast-check. */
import fc from 'fast-check';
import {
  type AnyValue,
  type Attributes,
  type Batch,
  Double,
  type Exemplar,
  KeyValues,
  type LogRecord,
  type Metric,
  NO_RECORDED_VALUE,
  type Point,
  type Resource,
  type Scope,
  type Series,
  type Signal,
  type Span,
} from '../../pipeline/model.ts';

/** Objects with the usual prototype: the model's own are only ever attributes without. */
const fields = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;

const MAX_U64 = 2n ** 64n - 1n;
const text = fc.oneof(
  { arbitrary: fc.string({ maxLength: 8 }), weight: 6 },
  { arbitrary: fc.string({ unit: 'grapheme', maxLength: 6 }), weight: 2 },
  {
    arbitrary: fc.constantFrom(
      '',
      '__proto__',
      'constructor',
      '\u0000',
      '7',
      'ä'.repeat(70),
      'x'.repeat(64),
      'y'.repeat(200),
    ),
    weight: 2,
  },
);
const uint32 = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  fc.constantFrom(1, 127, 128, 2 ** 32 - 1),
);
const int32 = fc.oneof(
  fc.constant(0),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.constantFrom(-(2 ** 31), 2 ** 31 - 1),
);
const u64 = fc.oneof(
  fc.constant(0n),
  fc.bigInt({ min: 0n, max: MAX_U64 }),
  fc.constantFrom(1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, MAX_U64),
);
const count = u64.map((v) => (v <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(v) : v));
const i64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, -1n, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n),
);
const double = fc.oneof(
  fc.double(),
  fc.integer().map(Number),
  fc.constantFrom(0, -0, Number.NaN, Infinity, -Infinity, 5e-324, Number.MAX_VALUE, 2 ** 53, 0.1),
);

const scalar: fc.Arbitrary<AnyValue> = fc.oneof(
  text,
  fc.boolean(),
  fc.maxSafeInteger().map((n) => (Object.is(n, -0) ? 0 : n)),
  i64.map((v) => (Number.isSafeInteger(Number(v)) ? Number(v) : v)),
  double.map((v) => (Number.isSafeInteger(v) && !Object.is(v, -0) ? new Double(v) : v)),
  fc.uint8Array({ maxLength: 80 }),
  fc.constant(null),
);
const { any: anyValue } = fc.letrec<{ any: AnyValue; list: AnyValue; map: AnyValue }>((tie) => ({
  any: fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalar, tie('list'), tie('map')),
  list: fc.array(tie('any'), { maxLength: 3 }),
  map: fc.array(fc.tuple(text, tie('any')), { maxLength: 2 }).map((pairs) => new KeyValues(record(pairs))),
}));

function record(pairs: readonly (readonly [string, AnyValue])[]): Attributes {
  const out: Record<string, AnyValue> = Object.create(null);
  for (const [key, value] of pairs) out[key] = value;
  return out;
}

const attributes: fc.Arbitrary<Attributes> = fc.array(fc.tuple(text, anyValue), { maxLength: 3 }).map(record);
const id = (bytes: number) =>
  fc.oneof(
    fc.constant(''),
    fc
      .uint8Array({ minLength: bytes, maxLength: bytes })
      .map((b) => (b.some((v) => v !== 0) ? Buffer.from(b).toString('hex') : '')),
  );

const resource: fc.Arbitrary<Resource> = fields({
  attributes,
  droppedAttributesCount: uint32,
  schemaUrl: text,
  entityRefs: fc.array(
    fields({
      schemaUrl: text,
      type: text,
      idKeys: fc.array(text),
      descriptionKeys: fc.array(text, { maxLength: 2 }),
    }),
    { maxLength: 2 },
  ),
}).map(({ entityRefs, ...rest }) => (entityRefs.length ? { ...rest, entityRefs } : rest));
const scope: fc.Arbitrary<Scope> = fields({
  name: text,
  version: text,
  attributes,
  droppedAttributesCount: uint32,
  schemaUrl: text,
});
const metric: fc.Arbitrary<Metric> = fields({
  name: text,
  description: text,
  unit: text,
  type: fc.constantFrom('gauge', 'sum', 'histogram', 'exponential_histogram', 'summary'),
  temporality: fc.constantFrom(0, 1, 2, 7),
  monotonic: fc.boolean(),
  metadata: attributes,
} as const).map((m) => ({
  ...m,
  temporality: m.type === 'gauge' || m.type === 'summary' ? 0 : m.temporality,
  monotonic: m.type === 'sum' && m.monotonic,
}));

const value = fc.oneof(double, i64);
const exemplar: fc.Arbitrary<Exemplar> = fields({
  time: u64,
  value,
  traceId: id(16),
  spanId: id(8),
  filteredAttributes: attributes,
});
const exemplars = fc.oneof(fc.constant(undefined), fc.array(exemplar, { minLength: 1, maxLength: 3 }));
const counts = (length: number) =>
  fc.oneof(
    fc
      .array(fc.maxSafeInteger().map(Math.abs), { minLength: length, maxLength: length })
      .map((a) => Float64Array.from(a)),
    fc
      .array(u64, { minLength: length, maxLength: length })
      .map((a) =>
        a.some((v) => v > BigInt(Number.MAX_SAFE_INTEGER)) ? BigUint64Array.from(a) : Float64Array.from(a, Number),
      ),
  );
const optional = { sum: double, min: double, max: double };
const withoutUndefined = <T extends object>(o: T): T =>
  Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)) as T;

function point(series: Series): fc.Arbitrary<Point> {
  const base = { series: fc.constant(series), time: u64, startTime: u64, flags: fc.oneof(fc.constant(0), uint32) };
  const optionals = fc.record(optional, { requiredKeys: [], noNullPrototype: true });
  switch (series.metric.type) {
    case 'gauge':
    case 'sum':
      return fields({ ...base, value, exemplars })
        .map(withoutUndefined)
        .map((p) =>
          (p.flags & NO_RECORDED_VALUE) !== 0 && Object.is(p.value, -0) ? { ...p, value: 0 } : p,
        ) as fc.Arbitrary<Point>;
    case 'histogram':
      return fc
        .array(double, { maxLength: 6 })
        .chain((bounds) =>
          fc.tuple(
            fields({
              ...base,
              count,
              bounds: fc.constant(Float64Array.from(bounds)),
              bucketCounts: bounds.length ? counts(bounds.length + 1) : fc.oneof(counts(0), counts(1)),
              exemplars,
            }),
            optionals,
          ),
        )
        .map(([a, b]) => withoutUndefined({ ...a, ...b })) as fc.Arbitrary<Point>;
    case 'exponential_histogram': {
      const buckets = fc.oneof(
        fc.constant(undefined),
        fc.integer({ min: 0, max: 5 }).chain((n) => fields({ offset: int32, counts: counts(n) })),
      );
      return fc
        .tuple(
          fields({
            ...base,
            count,
            scale: int32,
            zeroCount: count,
            zeroThreshold: fc.constantFrom(0, 1e-9, 2),
            exemplars,
          }),
          optionals,
          fields({ positive: buckets, negative: buckets }),
        )
        .map(([a, b, c]) => withoutUndefined({ ...a, ...b, ...c })) as fc.Arbitrary<Point>;
    }
    case 'summary':
      return fields({
        ...base,
        count,
        sum: double,
        quantiles: fc.array(fields({ quantile: fc.constantFrom(0, 0.5, 0.99, 1), value: double }), { maxLength: 3 }),
      });
  }
}

const event = fields({ time: u64, name: text, attributes, droppedAttributesCount: uint32 });
const link = fields({
  traceId: id(16),
  spanId: id(8),
  traceState: text,
  flags: uint32,
  attributes,
  droppedAttributesCount: uint32,
});
const span = (resource: Resource, scope: Scope): fc.Arbitrary<Span> =>
  fields({
    resource: fc.constant(resource),
    scope: fc.constant(scope),
    traceId: id(16),
    spanId: id(8),
    parentSpanId: id(8),
    traceState: text,
    flags: uint32,
    name: text,
    kind: fc.constantFrom(0, 1, 2, 3, 4, 5, 99),
    startTime: u64,
    endTime: u64,
    attributes,
    droppedAttributesCount: uint32,
    events: fc.array(event, { maxLength: 2 }),
    droppedEventsCount: uint32,
    links: fc.array(link, { maxLength: 2 }),
    droppedLinksCount: uint32,
    status: fields({ code: fc.constantFrom(0, 1, 2), message: text }),
  });
const log = (resource: Resource, scope: Scope): fc.Arbitrary<LogRecord> =>
  fields({
    resource: fc.constant(resource),
    scope: fc.constant(scope),
    time: u64,
    observedTime: u64,
    severityNumber: fc.integer({ min: 0, max: 24 }),
    severityText: text,
    body: anyValue,
    attributes,
    droppedAttributesCount: uint32,
    flags: uint32,
    traceId: id(16),
    spanId: id(8),
    eventName: text,
  });

/** Batches whose items share a few resources, scopes, metrics and series, in runs as real ones do. */
export function arbitraryBatch(signal: Signal): fc.Arbitrary<Batch> {
  const pools = fields({
    resources: fc.array(resource, { minLength: 1, maxLength: 3 }),
    scopes: fc.array(scope, { minLength: 1, maxLength: 3 }),
    metrics: fc.array(metric, { minLength: 1, maxLength: 4 }),
    sets: fc.array(attributes, { minLength: 1, maxLength: 4 }),
  });
  const pick = fc.nat();
  return pools.chain(({ resources, scopes, metrics, sets }) => {
    const of = <T>(pool: readonly T[], n: number): T => pool[n % pool.length]!;
    const item = fc.tuple(pick, pick, pick, pick).chain(([a, b, c, d]): fc.Arbitrary<Point | Span | LogRecord> => {
      const r = of(resources, a);
      const s = of(scopes, b);
      if (signal === 'traces') return span(r, s);
      if (signal === 'logs') return log(r, s);
      return point({ resource: r, scope: s, metric: of(metrics, c), attributes: of(sets, d) });
    });
    return fc.array(item, { maxLength: 8 }).map((items) => ({ signal, items }) as Batch);
  });
}
