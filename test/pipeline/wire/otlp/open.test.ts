import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resourceChanger } from '../../../../pipeline/kit/with.ts';
import { type Batch, itemCount, type Resource, SIGNALS } from '../../../../pipeline/model.ts';
import {
  decodeRequest,
  encodeRequest,
  joinOpened,
  openRequest,
  ProtobufError,
  reopenWithResources,
} from '../../../../pipeline/wire/otlp/index.ts';
import { arbitraryBatch } from '../../../kit/otlp-arbitrary.ts';
import { oracleEncode, plainRequest } from '../../../kit/otlp-oracle.ts';
import { double, fixed64, message } from '../../../kit/protobuf-builder.ts';

const RUNS = Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 60);

describe.each(SIGNALS)('an opened request of %s', (signal) => {
  test('leaves as the very bytes that came, and knows its number of items', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const bytes = oracleEncode(signal, plainRequest(batch));
        const opened = openRequest(signal, bytes);
        expect(itemCount(opened)).toBe(batch.items.length);
        expect(encodeRequest(opened, 'protobuf')).toBe(bytes);
      }),
      { numRuns: RUNS },
    );
  });

  test('gives its items to whoever asks, each time the same', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const opened = openRequest(signal, encodeRequest(batch, 'protobuf'));
        expect(opened).toEqual(batch);
        expect(opened.items).toBe(opened.items);
      }),
      { numRuns: RUNS },
    );
  });

  test('is refused exactly when decoding it would be', () => {
    fc.assert(
      fc.property(
        arbitraryBatch(signal),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
        (batch, changes) => {
          const bytes = Buffer.from(encodeRequest(batch, 'protobuf'));
          if (bytes.length === 0) return;
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const attempt = (f: () => { items: readonly unknown[] }) => {
            try {
              return f().items.length;
            } catch (error) {
              expect(error).toBeInstanceOf(ProtobufError);
              return 'refused';
            }
          };
          const opened = attempt(() => {
            const batch = openRequest(signal, bytes);
            return { items: { length: itemCount(batch) } as unknown as unknown[] };
          });
          expect(opened).toBe(attempt(() => decodeRequest(signal, bytes, 'protobuf')));
        },
      ),
      { numRuns: RUNS * 10 },
    );
  });
});

test('a batch made from an opened one does not take over its count or its bytes', () => {
  const opened = openRequest('metrics', message(1, message(2, message(2, message(5, message(1, double(4, 1)))))));
  const changed = { ...opened, items: [] } as typeof opened;
  expect(itemCount(opened)).toBe(1);
  expect(itemCount(changed)).toBe(0);
  expect(encodeRequest(changed, 'protobuf').length).toBe(0);
});

test('malformed metadata of a metric without points is refused, opened or decoded', () => {
  const bytes = message(1, message(2, message(2, message(12, message(2, Uint8Array.of(0x0a, 67))))));
  expect(() => openRequest('metrics', bytes)).toThrow(ProtobufError);
  expect(() => decodeRequest('metrics', bytes, 'protobuf')).toThrow(ProtobufError);
});

test('a histogram that has to be left out is left out of what is passed on', () => {
  const bytes = message(1, message(2, message(2, message(9, message(1, fixed64(6, 1n)), message(1, double(7, 1))))));
  const opened = openRequest('metrics', bytes);
  expect(itemCount(opened)).toBe(1);
  expect(encodeRequest(opened, 'protobuf').length).toBeLessThan(bytes.length);
});

describe.each(SIGNALS)('opened requests of %s', (signal) => {
  test('are joined without being decoded, and hold what they held', () => {
    fc.assert(
      fc.property(fc.array(arbitraryBatch(signal), { minLength: 1, maxLength: 4 }), (batches) => {
        const requests = batches.map((batch) => encodeRequest(batch, 'protobuf'));
        const joined = joinOpened(requests.map((bytes) => openRequest(signal, bytes)))!;
        expect(Buffer.from(encodeRequest(joined, 'protobuf')).equals(Buffer.concat(requests))).toBe(true);
        expect(itemCount(joined)).toBe(batches.reduce((sum, batch) => sum + batch.items.length, 0));
        expect(joined.items).toEqual(batches.flatMap((batch) => batch.items as unknown[]));
        expect(decodeRequest(signal, encodeRequest(joined, 'protobuf'), 'protobuf')).toEqual(joined);
      }),
      { numRuns: RUNS },
    );
  });

  test('are not joined with batches that were changed', () => {
    const opened = openRequest(signal, new Uint8Array(0));
    expect(joinOpened([opened, { ...opened } as typeof opened])).toBe(undefined);
    expect(joinOpened([])).toBe(undefined);
  });
});

const placed = (r: Resource): Resource =>
  // Some of them only, and some of those with other parts than attributes.
  Object.keys(r.attributes).length % 2 === 1
    ? r
    : { ...r, attributes: { ...r.attributes, site: 'a' }, schemaUrl: r.schemaUrl === '' ? 'urn:x' : '' };

describe.each(SIGNALS)('an opened request of %s whose resources change', (signal) => {
  test('holds what it would hold had it been decoded for that', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const bytes = oracleEncode(signal, plainRequest(batch));
        const changed = reopenWithResources(openRequest(signal, bytes), placed)!;
        const expected = resourceChanger(placed)({ ...decodeRequest(signal, bytes, 'protobuf') } as Batch);
        expect(itemCount(changed)).toBe(batch.items.length);
        expect(changed.items).toEqual(expected.items);
        // And again, by whoever is sent it.
        expect(decodeRequest(signal, encodeRequest(changed, 'protobuf'), 'protobuf').items).toEqual(expected.items);
        const again = reopenWithResources(changed, (r) => ({ ...r, droppedAttributesCount: 7 }))!;
        expect(again.items.length).toBe(batch.items.length);
      }),
      { numRuns: RUNS },
    );
  });

  test('is itself if none does, and is not decoded', () => {
    const opened = openRequest(signal, message(1, message(1, new Uint8Array(0))));
    expect(reopenWithResources(opened, (r) => r)).toBe(opened);
    expect(reopenWithResources({ ...opened } as Batch, placed)).toBe(undefined);
    expect(resourceChanger((r) => r)(opened)).toBe(opened);
  });
});

test('a resource that came in two parts, behind what it owns, is changed whole; what is not known stays', () => {
  const pair = (key: string) =>
    message(1, Buffer.concat([message(1, Buffer.from(key)), message(2, message(1, Buffer.from('v')))]));
  const scope = message(2, message(2, message(5, Buffer.from('span'))));
  const unknown = message(9, Buffer.from('later'));
  const bytes = message(1, Buffer.concat([message(1, pair('a')), scope, unknown, message(1, pair('b')), scope]));
  const changed = reopenWithResources(openRequest('traces', bytes), (r) => ({
    ...r,
    attributes: { ...r.attributes, c: 'w' },
  }))!;
  expect(changed.items.map((span) => (span as { resource: Resource }).resource.attributes)).toEqual([
    { a: 'v', b: 'v', c: 'w' },
    { a: 'v', b: 'v', c: 'w' },
  ]);
  const out = Buffer.from(encodeRequest(changed, 'protobuf'));
  expect(out.includes(Buffer.concat([scope, unknown]))).toBe(true);
});

test('a request of very many empty parts is decoded instead, which leaves them out', () => {
  const opened = openRequest(
    'traces',
    Buffer.concat(Array.from({ length: 20_000 }, () => message(1, new Uint8Array(0)))),
  );
  expect(reopenWithResources(opened, placed)).toBe(undefined);
  expect(itemCount(resourceChanger((r) => ({ ...r, schemaUrl: 'urn:x' }))(opened))).toBe(0);
});
