/** What no well-behaved sender writes: the decoders must read it as protobuf says, or refuse it by name; never worse. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AnyValue,
  type KeyValues,
  type NumberPoint,
  type Point,
  SIGNALS,
  type Signal,
} from '../../../../pipeline/model.ts';
import {
  createInterner,
  createRejections,
  decodeRequest,
  encodeRequest,
  OtlpJsonError,
  ProtobufError,
} from '../../../../pipeline/wire/otlp/index.ts';
import { arbitraryBatch } from '../../../kit/otlp-arbitrary.ts';
import { double, fixed32, fixed64, group, message, raw, str, uint } from '../../../kit/protobuf-builder.ts';

const RUNS = Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 60);

const keyValue = (key: string, ...value: Uint8Array[]) => [str(1, key), message(2, ...value)];
const resourceMetrics = (...metrics: Uint8Array[]) => message(1, message(2, ...metrics));
const gaugeMetric = (...points: Uint8Array[]) =>
  message(2, str(1, 'm'), message(5, ...points.map((p) => message(1, p))));
const metrics = (bytes: Uint8Array) => decodeRequest('metrics', bytes, 'protobuf').items as readonly Point[];
const onePoint = (...fields: Uint8Array[]) =>
  metrics(resourceMetrics(gaugeMetric(Buffer.concat(fields))))[0] as NumberPoint;
const logBody = (...any: Uint8Array[]): AnyValue =>
  (
    decodeRequest('logs', message(1, message(2, message(2, message(5, ...any)))), 'protobuf').items[0] as {
      body: AnyValue;
    }
  ).body;

/** Fields that no message of OTLP has, of every wire type. */
const JUNK = Buffer.concat([
  uint(1000, -1n),
  fixed64(1001, 7n),
  message(1002, Buffer.from('junk')),
  fixed32(1003, 7),
  group(1004, uint(1, 5), group(2, str(3, 'x'))),
]);

describe('protobuf', () => {
  test.each(
    SIGNALS,
  )('%s cut at any byte are refused or are a shorter request, and the error names a byte', (signal) => {
    fc.assert(
      fc.property(arbitraryBatch(signal), fc.nat(), (batch, n) => {
        const bytes = encodeRequest(batch, 'protobuf');
        const cut = bytes.subarray(0, n % (bytes.length + 1));
        try {
          decodeRequest(signal, cut, 'protobuf');
        } catch (error) {
          expect(error).toBeInstanceOf(ProtobufError);
          expect((error as ProtobufError).offset).toBeLessThanOrEqual(cut.length);
          expect((error as ProtobufError).message).toMatch(/at byte \d+/);
        }
      }),
      { numRuns: RUNS * 5 },
    );
  });

  test('one request is refused at every single cut inside it', () => {
    const point = Buffer.concat([
      fixed64(2, 1n),
      fixed64(3, 2n),
      double(4, 1.5),
      message(7, ...keyValue('k', str(1, 'v'))),
    ]);
    const bytes = resourceMetrics(gaugeMetric(point));
    for (let n = 1; n < bytes.length; n++) expect(() => metrics(bytes.subarray(0, n))).toThrow(ProtobufError);
  });

  test.each(SIGNALS)('%s with bytes changed at random are refused or read, never worse', (signal) => {
    const interner = createInterner({ maxEntries: 200 });
    fc.assert(
      fc.property(
        arbitraryBatch(signal),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 5 }),
        (batch, changes) => {
          const bytes = Buffer.from(encodeRequest(batch, 'protobuf'));
          if (bytes.length === 0) return;
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          for (const options of [{}, { interner }]) {
            let decoded: ReturnType<typeof decodeRequest>;
            try {
              decoded = decodeRequest(signal, bytes, 'protobuf', options);
            } catch (error) {
              expect(error).toBeInstanceOf(ProtobufError);
              continue;
            }
            // Whatever was understood can be said again, and is then understood the same.
            for (const encoding of ['protobuf', 'json'] as const) {
              expect(decodeRequest(signal, encodeRequest(decoded, encoding), encoding)).toEqual(decoded);
            }
          }
        },
      ),
      { numRuns: RUNS * 5 },
    );
  });

  test.each(SIGNALS)('random bytes as %s are refused or read, never worse', (signal) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decodeRequest(signal, bytes, 'protobuf');
        } catch (error) {
          expect(error).toBeInstanceOf(ProtobufError);
        }
      }),
      { numRuns: RUNS * 10 },
    );
  });

  test('fields it does not know are passed over at every level, groups included', () => {
    const any = [JUNK, str(1, 'v'), JUNK];
    const attribute = Buffer.concat([JUNK, ...keyValue('k', ...any), JUNK]);
    const exemplar = message(5, JUNK, double(3, 2), JUNK);
    const point = Buffer.concat([JUNK, double(4, 1.5), JUNK, message(7, attribute), JUNK, exemplar, JUNK]);
    const bytes = Buffer.concat([
      JUNK,
      message(
        1,
        JUNK,
        message(1, JUNK, message(1, attribute), JUNK, message(3, JUNK, str(2, 'service'), JUNK)),
        message(
          2,
          JUNK,
          message(1, JUNK, str(1, 'scope'), JUNK),
          message(2, JUNK, str(1, 'm'), message(5, JUNK, message(1, point), JUNK), JUNK),
          JUNK,
        ),
        JUNK,
      ),
      JUNK,
    ]);
    const [read] = metrics(bytes) as NumberPoint[];
    expect(read).toMatchObject({ value: 1.5, exemplars: [{ value: 2 }] });
    expect(read!.series).toMatchObject({
      attributes: { k: 'v' },
      metric: { name: 'm' },
      scope: { name: 'scope' },
      resource: { attributes: { k: 'v' }, entityRefs: [{ type: 'service' }] },
    });
    const span = message(
      2,
      JUNK,
      str(5, 'span'),
      JUNK,
      message(11, JUNK, str(2, 'event'), JUNK),
      message(13, JUNK, str(3, 'state'), JUNK),
      message(15, JUNK, uint(3, 2), JUNK),
      JUNK,
    );
    expect(decodeRequest('traces', message(1, message(2, span)), 'protobuf').items[0]).toMatchObject({
      name: 'span',
      events: [{ name: 'event' }],
      links: [{ traceState: 'state' }],
      status: { code: 2 },
    });
  });

  test('a known field with another wire type is passed over', () => {
    const point = onePoint(uint(2, 5), str(3, 'x'), double(4, 2), fixed32(7, 1), fixed64(8, 9n));
    expect(point).toMatchObject({ time: 0n, startTime: 0n, value: 2, flags: 0 });
  });

  test.each([
    ['a field number of zero', '02 01 61'],
    ['wire type 6', '0e'],
    ['wire type 7', '0f'],
    ['a group that ends without having begun', '0c'],
    ['a group that ends as another', '0b 14'],
    ['a group that does not end', '0b'],
    ['a length beyond the end', '0a 05 61'],
    ['a length of 2^32-1', '0a ff ff ff ff 0f'],
    ['a length of more than 32 bits', '0a ff ff ff ff ff ff ff ff 7f'],
    ['a number of eleven bytes', '08 80 80 80 80 80 80 80 80 80 80 01'],
    ['a tag of six bytes', '88 80 80 80 80 00'],
  ])('%s is refused', (_what, hex) => {
    for (const signal of SIGNALS) expect(() => decodeRequest(signal, raw(hex), 'protobuf')).toThrow(ProtobufError);
  });

  test('values nested 10,000 deep are refused without a stack overflow, 100 deep are read', () => {
    const nest = (depth: number, kind: 'list' | 'map') => {
      let any = str(1, 'x');
      for (let i = 0; i < depth; i++) {
        any = kind === 'list' ? message(5, message(1, any)) : message(6, message(1, str(1, 'k'), message(2, any)));
      }
      return any;
    };
    for (const kind of ['list', 'map'] as const) {
      expect(() => logBody(nest(10_000, kind))).toThrow(/nested more than 128 deep/);
      let value = logBody(nest(100, kind));
      for (let i = 0; i < 100; i++) {
        value = kind === 'list' ? (value as AnyValue[])[0]! : (value as KeyValues).entries['k']!;
      }
      expect(value).toBe('x');
    }
  });

  test('unknown groups nested 10,000 deep are refused', () => {
    expect(() => metrics(Buffer.concat([Buffer.alloc(10_000, 0x0b), Buffer.alloc(10_000, 0x0c)]))).toThrow(/groups/);
  });

  test('numbers of ten bytes are negative', () => {
    expect(logBody(uint(3, -1n))).toBe(-1);
    expect(logBody(uint(3, -(2n ** 63n)))).toBe(-(2n ** 63n));
    expect(logBody(uint(3, 2n ** 63n - 1n))).toBe(2n ** 63n - 1n);
    expect(logBody(uint(3, 2n ** 53n - 1n))).toBe(2 ** 53 - 1);
    expect(logBody(uint(3, 2n ** 53n))).toBe(2n ** 53n);
  });

  test('repeated numbers are read packed, unpacked, and mixed', () => {
    const counts = (...n: bigint[]) => Buffer.concat(n.map((v) => fixed64(6, v)));
    const packed = (field: number, ...parts: Buffer[]) => message(field, ...parts.map((p) => p.subarray(1)));
    const histogram = (...fields: Uint8Array[]) =>
      metrics(resourceMetrics(message(2, message(9, message(1, ...fields)))))[0];
    const expected = { bounds: Float64Array.of(1, 2), bucketCounts: Float64Array.of(3, 4, 5) };
    const bounds = [double(7, 1), double(7, 2)];
    expect(histogram(counts(3n, 4n, 5n), ...bounds)).toMatchObject(expected);
    expect(
      histogram(packed(6, fixed64(6, 3n)), packed(7, ...bounds), counts(4n), packed(6, fixed64(6, 5n))),
    ).toMatchObject(expected);
    expect(() => histogram(message(6, Buffer.alloc(7)))).toThrow(/no multiple of 8/);
    const buckets = (...fields: Uint8Array[]) =>
      metrics(resourceMetrics(message(2, message(10, message(1, message(8, ...fields))))))[0];
    const exponential = { positive: { offset: -3, counts: Float64Array.of(1, 300) } };
    expect(buckets(uint(1, 5), uint(2, 1), uint(2, 300))).toMatchObject(exponential);
    expect(buckets(uint(1, 5), message(2, raw('01 ac02')))).toMatchObject(exponential);
  });

  test('fields in any order and a singular message in two parts are one message', () => {
    const first = message(1, message(1, ...keyValue('a', str(1, '1'))));
    const second = message(1, message(1, ...keyValue('b', str(1, '2'))), uint(2, 3));
    const metric = message(2, message(5, message(1, double(4, 1))), str(1, 'm'), message(5, message(1, double(4, 2))));
    const read = metrics(
      message(1, first, message(2, metric, message(1, str(1, 's')), message(1, str(2, 'v'))), second),
    );
    expect(read.map((p) => (p as NumberPoint).value)).toEqual([1, 2]);
    for (const point of read) {
      expect(point.series.resource).toMatchObject({ attributes: { a: '1', b: '2' }, droppedAttributesCount: 3 });
      expect(point.series.scope).toMatchObject({ name: 's', version: 'v' });
    }
    expect(logBody(str(1, 'first'), uint(3, 5))).toBe(5);
    expect(logBody(message(5, message(1, uint(3, 1))), message(5, message(1, uint(3, 2))))).toEqual([1, 2]);
  });

  test('of two kinds of data in one metric the last stands', () => {
    const metric = message(2, message(5, message(1, double(4, 1))), message(7, message(1, double(4, 2)), uint(3, 1)));
    const read = metrics(resourceMetrics(metric)) as NumberPoint[];
    expect(read.map((p) => [p.series.metric.type, p.value])).toEqual([['sum', 2]]);
  });

  test('attributes scattered over a point are those of the point', () => {
    const point = onePoint(
      message(7, ...keyValue('a', str(1, '1'))),
      double(4, 1),
      message(7, ...keyValue('b', str(1, '2'))),
    );
    expect(point.series.attributes).toEqual({ a: '1', b: '2' });
  });

  test('of two attributes with one key the last value counts, and keys are never special', () => {
    const point = onePoint(
      double(4, 1),
      message(7, ...keyValue('a', str(1, 'first'))),
      message(7, ...keyValue('__proto__', str(1, 'p'))),
      message(7, ...keyValue('a', str(1, 'last'))),
    );
    const { attributes } = point.series;
    expect(Object.entries(attributes)).toEqual([
      ['a', 'last'],
      ['__proto__', 'p'],
    ]);
    expect('toString' in attributes).toBe(false);
    expect(({} as Record<string, unknown>)['p']).toBe(undefined);
  });

  test('bytes that are not UTF-8 become the replacement character', () => {
    expect(logBody(message(1, raw('61 ff 62')))).toBe('a\ufffdb');
    expect(logBody(message(1, Buffer.alloc(100, 0xc3)))).toBe('\ufffd'.repeat(100));
  });

  test('ids of other lengths are refused, all-zero ids are no ids', () => {
    const span = (...fields: Uint8Array[]) =>
      decodeRequest('traces', message(1, message(2, message(2, ...fields))), 'protobuf').items[0];
    expect(() => span(message(1, Buffer.alloc(15, 1)))).toThrow(/an id has 15 bytes instead of 16 \(at byte 7\)/);
    expect(() => span(message(2, Buffer.alloc(9, 1)))).toThrow(/9 bytes instead of 8/);
    expect(span(message(1, Buffer.alloc(16)), message(2, Buffer.alloc(0)))).toMatchObject({ traceId: '', spanId: '' });
  });

  test('a point without a value says that it has none, instead of zero', () => {
    expect(onePoint(fixed64(3, 5n))).toMatchObject({ time: 5n, value: 0, flags: 1 });
    expect(onePoint(uint(8, 0xffff_fffe))).toMatchObject({ flags: 0xffff_ffff });
  });

  test('unknown enum values are kept', () => {
    const span = decodeRequest('traces', message(1, message(2, message(2, uint(6, 77)))), 'protobuf');
    expect(span.items[0]).toMatchObject({ kind: 77 });
    expect(decodeRequest('traces', encodeRequest(span, 'json'), 'json')).toEqual(span);
  });
});

describe('a histogram whose counts do not fit its bounds', () => {
  const histogram = message(9, message(1, double(7, 1), fixed64(6, 1n)), message(1, fixed64(6, 4n)));
  const bytes = resourceMetrics(message(2, str(1, 'h'), histogram), gaugeMetric(double(4, 1)));

  test('is left out and noted, and everything beside it is taken', () => {
    for (const encoding of ['protobuf', 'json'] as const) {
      const body =
        encoding === 'protobuf'
          ? bytes
          : Buffer.from(
              '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"dataPoints":[{"explicitBounds":[1],"bucketCounts":["1"]},{"bucketCounts":[4]}]}},{"name":"m","gauge":{"dataPoints":[{"asDouble":1}]}}]}]}]}',
            );
      const rejections = createRejections();
      const batch = decodeRequest('metrics', body, encoding, { rejections });
      expect(batch.items.length).toBe(2);
      expect(rejections.count).toBe(1);
      expect(rejections.message).toBe(
        'histogram "h" has 1 bucket counts for 1 bounds; it must have one count more than bounds',
      );
    }
  });
});

describe('JSON', () => {
  const read = (signal: Signal, text: string) => decodeRequest(signal, Buffer.from(text), 'json').items;
  const point = (fields: string) =>
    read('metrics', `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{${fields}}]}}]}]}]}`)[0];
  const body = (any: string) =>
    (read('logs', `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":${any}}]}]}]}`)[0] as { body: AnyValue }).body;

  test('integers beyond 2^53 survive as strings and as numbers', () => {
    for (const value of ['9223372036854775807', '-9223372036854775808', '9007199254740993', '1234567890123456']) {
      expect(point(`"asInt":${value}`)).toMatchObject({ value: BigInt(value) });
      expect(point(`"asInt":"${value}"`)).toMatchObject({ value: BigInt(value) });
      const expected = Number.isSafeInteger(Number(value)) ? Number(value) : BigInt(value);
      expect(body(`{"intValue":${value}}`)).toBe(expected);
      expect(body(`{"intValue": "${value}"}`)).toBe(expected);
    }
    expect(point('"timeUnixNano":18446744073709551615,"asDouble":1')).toMatchObject({ time: 2n ** 64n - 1n });
    expect(point('"asDouble":12345678901234567890')).toMatchObject({ value: Number('12345678901234567890') });
    expect(point('"asDouble":0.12345678901234567890')).toMatchObject({ value: Number('0.12345678901234567890') });
    expect(point('"asDouble":1.5e-1234567890123456789')).toMatchObject({ value: 0 });
    expect(body('{"stringValue":"a\\":1234567890123456789,\\\\"}')).toBe('a":1234567890123456789,\\');
  });

  test.each([
    ['"asInt":"9223372036854775808"', 'asInt'],
    ['"asInt":"1.5"', 'asInt'],
    ['"asInt":1.5', 'asInt'],
    ['"timeUnixNano":-1', 'timeUnixNano'],
    ['"timeUnixNano":"18446744073709551616"', 'timeUnixNano'],
    ['"asDouble":"1x"', 'asDouble'],
    ['"asDouble":true', 'asDouble'],
    ['"attributes":{}', 'attributes'],
    ['"attributes":[5]', 'attributes[0]'],
    ['"attributes":[{"key":5}]', 'attributes[0].key'],
    ['"attributes":[{"key":"k","value":{"bytesValue":"*"}}]', 'attributes[0].bytesValue'],
    ['"exemplars":[{"asInt":1,"traceId":"abc"}]', 'exemplars[0].traceId'],
    ['"exemplars":[{"asInt":1,"spanId":"zzzzzzzzzzzzzzzz"}]', 'exemplars[0].spanId'],
  ])('%s is refused by the name of the key', (fields, key) => {
    expect(() => point(fields)).toThrow(OtlpJsonError);
    expect(() => point(fields)).toThrow(
      `(at resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0].${key})`,
    );
  });

  test.each([
    ['', 0],
    ['{', 1],
    ['{"a"', 4],
    ['{"a":}', 5],
    ['{"a":1,}', 7],
    ['{"a":1 "b":2}', 7],
    ['{"a":[1,2}', 9],
    ['{"a":01}', 6],
    ['{"a":tru}', 5],
    ['{"ä":x}', 6],
    ['{"a":"\u0001"}', 6],
    ['{"a":"\\x"}', 6],
    ['{"a":"b}', 8],
    ['{} x', 3],
    ["{'a':1}", 1],
  ])('%j is refused by the number of the byte', (text, offset) => {
    expect(() => read('metrics', text)).toThrow(OtlpJsonError);
    expect(() => read('metrics', text)).toThrow(`(at byte ${offset})`);
  });

  test.each(['[]', '1', '"x"', 'null'])('%s is not a request', (text) => {
    expect(() => read('logs', text)).toThrow(/must be a JSON object/);
  });

  test('keys it does not know and snake_case keys are passed over', () => {
    expect(read('metrics', '{"resource_metrics":[{"scope_metrics":[]}],"x":[1]}')).toEqual([]);
    expect(point('"as_double":5,"time_unix_nano":"5","x":{}')).toMatchObject({ value: 0, flags: 1, time: 0n });
  });

  test('null stands for absent', () => {
    expect(point('"attributes":null,"asInt":null,"asDouble":null,"flags":null,"exemplars":null')).toMatchObject({
      flags: 1,
    });
    expect(read('logs', '{"resourceLogs":null}')).toEqual([]);
  });

  test('enums are numbers, and their names are understood', () => {
    const kind = (value: string) =>
      read('traces', `{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":${value}}]}]}]}`)[0];
    expect(kind('3')).toMatchObject({ kind: 3 });
    expect(kind('"SPAN_KIND_CLIENT"')).toMatchObject({ kind: 3 });
    expect(kind('99')).toMatchObject({ kind: 99 });
    expect(() => kind('"CLIENT"')).toThrow(/not an integer/);
    const log = read(
      'logs',
      '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"SEVERITY_NUMBER_WARN2"}]}]}]}',
    );
    expect(log[0]).toMatchObject({ severityNumber: 14 });
  });

  test('NaN and infinities are strings', () => {
    expect(point('"asDouble":"NaN"')).toMatchObject({ value: Number.NaN });
    expect(point('"asDouble":"-Infinity"')).toMatchObject({ value: Number.NEGATIVE_INFINITY });
    expect(body('{"doubleValue":"Infinity"}')).toBe(Number.POSITIVE_INFINITY);
  });

  test('a byte order mark and bytes that are not UTF-8 do no harm', () => {
    expect(read('logs', '\ufeff{"resourceLogs":[]}')).toEqual([]);
    const bytes = Buffer.concat([
      Buffer.from('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"'),
      Buffer.from([0xff]),
      Buffer.from('"}}]}]}]}'),
    ]);
    expect(decodeRequest('logs', bytes, 'json').items[0]).toMatchObject({ body: '\ufffd' });
  });

  test('values nested 10,000 deep are refused without a stack overflow', () => {
    const list = '{"arrayValue":{"values":['.repeat(10_000) + ']}}'.repeat(10_000);
    const map = `${'{"kvlistValue":{"values":[{"key":"k","value":'.repeat(10_000)}{}${'}]}}'.repeat(10_000)}`;
    for (const any of [list, map]) expect(() => body(any)).toThrow(/nested more than 128 deep/);
    expect(() => read('logs', '['.repeat(1e6))).toThrow(OtlpJsonError);
    expect(() => read('logs', `{"x":${'['.repeat(1e5)}${']'.repeat(1e5)}}`)).not.toThrow();
  });

  test.each(SIGNALS)('%s with characters changed at random are refused or read, never worse', (signal) => {
    fc.assert(
      fc.property(
        arbitraryBatch(signal),
        fc.array(fc.tuple(fc.nat(), fc.constantFrom(...'{}[]",:0-9aE\\.')), { minLength: 1, maxLength: 3 }),
        (batch, changes) => {
          const bytes = Buffer.from(encodeRequest(batch, 'json'));
          for (const [at, character] of changes) bytes[at % bytes.length] = character.charCodeAt(0);
          let decoded: ReturnType<typeof decodeRequest>;
          try {
            decoded = decodeRequest(signal, bytes, 'json');
          } catch (error) {
            expect(error).toBeInstanceOf(OtlpJsonError);
            expect((error as Error).message).toMatch(/\(at .+\)$/);
            return;
          }
          expect(decodeRequest(signal, encodeRequest(decoded, 'json'), 'json')).toEqual(decoded);
        },
      ),
      { numRuns: RUNS * 5 },
    );
  });

  test('a long string with a long number behind it costs no more than its length', () => {
    const long = 'x\\"'.repeat(2_000_000);
    expect(body(`{"stringValue":"${long}","x":1234567890123456789}`)).toBe('x"'.repeat(2_000_000));
    expect(() => body(`{"stringValue":"${long}" "x"}`)).toThrow(/at byte/);
  });
});
