import { expect, test } from 'vitest';
import { gauge, metricsBatch, type NumberPoint, resource, type Series, scope } from '../../../../pipeline/model.ts';
import {
  attributesOf,
  createInterner,
  decodeRequest,
  encodeRequest,
  type Interner,
} from '../../../../pipeline/wire/otlp/index.ts';

const about = resource(attributesOf({ 'service.name': 'svc' }));
const by = scope('lib', '1');
const metric = gauge('m', '1');
const series = (n: number): Series => ({ resource: about, scope: by, metric, attributes: attributesOf({ n }) });
const request = (list: readonly Series[], encoding: 'protobuf' | 'json' = 'protobuf') =>
  encodeRequest(
    metricsBatch(list.map((one, value) => ({ series: one, time: 1n, startTime: 0n, flags: 0, value }))),
    encoding,
  );
const read = (interner: Interner, list: readonly Series[], encoding: 'protobuf' | 'json' = 'protobuf') =>
  (decodeRequest('metrics', request(list, encoding), encoding, { interner }).items as NumberPoint[]).map(
    (p) => p.series,
  );

test('a series is the same object in every request, whatever their order and encoding', () => {
  const interner = createInterner();
  const [a, b, c] = [series(1), series(2), series(3)];
  const first = read(interner, [a, b, c]);
  expect(read(interner, [a, b, c])).toEqual(first);
  const shuffled = read(interner, [c, a]);
  expect([shuffled[0] === first[2], shuffled[1] === first[0]]).toEqual([true, true]);
  const json = read(interner, [b], 'json');
  expect([json[0]!.resource === first[1]!.resource, json[0]!.scope === first[1]!.scope]).toEqual([true, true]);
  expect(read(interner, [b], 'json')[0]).toBe(json[0]);
});

test('a resource is the same object in metrics, spans and logs', () => {
  const interner = createInterner();
  const [point] = read(interner, [series(1)]);
  const logs = encodeRequest(
    {
      signal: 'logs',
      items: [
        {
          resource: about,
          scope: by,
          time: 1n,
          observedTime: 1n,
          severityNumber: 0,
          severityText: '',
          body: 'x',
          attributes: {},
          droppedAttributesCount: 0,
          flags: 0,
          traceId: '',
          spanId: '',
          eventName: '',
        },
      ],
    },
    'protobuf',
  );
  const [record] = decodeRequest('logs', logs, 'protobuf', { interner }).items;
  expect(record).toHaveProperty('resource');
  expect((record as { resource: unknown }).resource).toBe(point!.resource);
});

test('without an interner every request makes its own objects', () => {
  const bytes = request([series(1)]);
  const once = () => (decodeRequest('metrics', bytes, 'protobuf').items[0] as NumberPoint).series;
  expect(once()).toEqual(once());
  expect(once()).not.toBe(once());
});

test('a sender with ever new series is forgotten, not kept', () => {
  const interner = createInterner({ maxEntries: 100 });
  for (let n = 0; n < 50; n++) {
    read(
      interner,
      Array.from({ length: 30 }, (_, i) => series(n * 30 + i)),
    );
    expect(interner.size()).toBeLessThan(200);
  }
  const large = createInterner({ maxBytes: 10_000 });
  for (let n = 0; n < 50; n++) {
    const attributes = attributesOf({ text: 'x'.repeat(500) + String(n) });
    read(large, [{ ...series(n), attributes }]);
    expect(large.size()).toBeLessThan(60);
  }
});

test('series with the same hash are told apart, however many somebody makes', () => {
  const interner = createInterner();
  const list = Array.from({ length: 5000 }, (_, n) => series(n));
  for (let round = 0; round < 3; round++) {
    expect(read(interner, list).map((s) => s.attributes['n'])).toEqual(list.map((_, n) => n));
  }
});

test('envelopes of one request that look the same stay apart, hundreds of them too', () => {
  const interner = createInterner();
  const list = Array.from({ length: 300 }, () => ({ ...series(1), resource: { ...about } }));
  for (let round = 0; round < 2; round++) {
    expect(new Set(read(interner, list).map((s) => s.resource)).size).toBe(300);
  }
});
