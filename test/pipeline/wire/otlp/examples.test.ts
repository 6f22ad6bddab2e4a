/** The facts of the official OTLP/JSON examples, with their 64-bit integers as plain JSON numbers. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { KeyValues, type Metric } from '../../../../pipeline/model.ts';
import { attributesOf, decodeRequest, encodeRequest } from '../../../../pipeline/wire/otlp/index.ts';
import { oracleDecode, plainRequest } from '../../../kit/otlp-oracle.ts';

const read = (name: string) => readFileSync(new URL(`../../../fixtures/otlp/${name}.json`, import.meta.url));
const resource = { attributes: { 'service.name': 'my.service' }, droppedAttributesCount: 0, schemaUrl: '' };
const scope = {
  name: 'my.library',
  version: '1.0.0',
  attributes: { 'my.scope.attribute': 'some scope attribute' },
  droppedAttributesCount: 0,
  schemaUrl: '',
};
const T = 1544712660300000000n;

test('the metrics example is read as what it says', () => {
  const series = (metric: Partial<Metric>) => ({
    resource,
    scope,
    metric: { unit: '1', temporality: 1, monotonic: false, metadata: {}, ...metric },
    attributes: { [`${metric.name}.attr`]: 'some value' },
  });
  expect(decodeRequest('metrics', read('metrics'), 'json').items).toEqual([
    {
      series: series({ name: 'my.counter', description: 'I am a Counter', type: 'sum', monotonic: true }),
      time: T,
      startTime: T,
      flags: 0,
      value: 5,
    },
    {
      series: series({ name: 'my.gauge', description: 'I am a Gauge', type: 'gauge', temporality: 0 }),
      time: T,
      startTime: 0n,
      flags: 0,
      value: 10,
    },
    {
      series: series({ name: 'my.histogram', description: 'I am a Histogram', type: 'histogram' }),
      time: T,
      startTime: T,
      flags: 0,
      count: 2,
      sum: 2,
      min: 0,
      max: 2,
      bounds: Float64Array.of(1),
      bucketCounts: Float64Array.of(1, 1),
    },
    {
      series: series({
        name: 'my.exponential.histogram',
        description: 'I am an Exponential Histogram',
        type: 'exponential_histogram',
      }),
      time: T,
      startTime: T,
      flags: 0,
      count: 3,
      sum: 10,
      min: 0,
      max: 5,
      scale: 0,
      zeroCount: 1,
      zeroThreshold: 0,
      positive: { offset: 1, counts: Float64Array.of(0, 2) },
    },
  ]);
});

test('the trace example is read as what it says', () => {
  expect(decodeRequest('traces', read('trace'), 'json').items).toEqual([
    {
      resource,
      scope,
      traceId: '5b8efff798038103d269b633813fc60c',
      spanId: 'eee19b7ec3c1b174',
      parentSpanId: 'eee19b7ec3c1b173',
      traceState: '',
      flags: 0,
      name: "I'm a server span",
      kind: 2,
      startTime: 1544712660000000000n,
      endTime: 1544712661000000000n,
      attributes: { 'my.span.attr': 'some value' },
      droppedAttributesCount: 0,
      events: [],
      droppedEventsCount: 0,
      links: [],
      droppedLinksCount: 0,
      status: { code: 0, message: '' },
    },
  ]);
});

test('the logs example is read as what it says', () => {
  const [record] = decodeRequest('logs', read('logs'), 'json').items;
  expect(record).toMatchObject({
    time: T,
    observedTime: T,
    severityNumber: 10,
    severityText: 'Information',
    traceId: '5b8efff798038103d269b633813fc60c',
    body: 'Example log record',
  });
  expect(record).toHaveProperty('attributes', {
    'string.attribute': 'some string',
    'boolean.attribute': true,
    'int.attribute': 10,
    'double.attribute': 637.704,
    'array.attribute': ['many', 'values'],
    'map.attribute': new KeyValues(attributesOf({ 'some.map.key': 'some value' })),
  });
});

test('the events example is read as what it means, though its map lacks the object around the values', () => {
  const [record] = decodeRequest('logs', read('events'), 'json').items;
  expect(record).toMatchObject({ severityNumber: 9, attributes: { 'event.name': 'browser.page_view' } });
  expect(record).toHaveProperty(
    'body',
    new KeyValues(attributesOf({ type: 0, url: 'https://example.com/page', title: 'A page' })),
  );
});

describe.each([
  ['metrics', 'metrics'],
  ['trace', 'traces'],
  ['logs', 'logs'],
  ['events', 'logs'],
] as const)('the example %s', (name, signal) => {
  test('becomes protobuf that an independent implementation reads as the same, and the same JSON again', () => {
    const batch = decodeRequest(signal, read(name), 'json');
    const bytes = encodeRequest(batch, 'protobuf');
    expect(oracleDecode(signal, bytes)).toEqual(plainRequest(batch));
    expect(decodeRequest(signal, bytes, 'protobuf')).toEqual(batch);
    expect(decodeRequest(signal, encodeRequest(batch, 'json'), 'json')).toEqual(batch);
  });
});
