import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { itemCount, SIGNALS } from '../../../../pipeline/model.ts';
import {
  decodeRequest,
  encodeRequest,
  joinOpened,
  openRequest,
  ProtobufError,
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
