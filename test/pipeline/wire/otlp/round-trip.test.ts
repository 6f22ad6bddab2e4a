import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Batch, type Resource, SIGNALS } from '../../../../pipeline/model.ts';
import {
  createInterner,
  decodeRequest,
  encodeRequest,
  type OtlpEncoding,
} from '../../../../pipeline/wire/otlp/index.ts';
import { deepFreeze } from '../../../kit/harness.ts';
import { arbitraryBatch } from '../../../kit/otlp-arbitrary.ts';
import { oracleDecode, oracleEncode, plainRequest } from '../../../kit/otlp-oracle.ts';

const RUNS = Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 60);
const ENCODINGS: readonly OtlpEncoding[] = ['protobuf', 'json'];

/** Which items stand in one envelope with the one before. */
function structure(batch: Batch): string {
  const resourceOf = (i: number): Resource => {
    const item = batch.items[i]!;
    return 'series' in item ? item.series.resource : item.resource;
  };
  return batch.items.map((_, i) => (i > 0 && resourceOf(i) === resourceOf(i - 1) ? '.' : '|')).join('');
}

describe.each(SIGNALS)('a random batch of %s', (signal) => {
  test('is read by an independent implementation as what it is', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        deepFreeze(batch);
        expect(oracleDecode(signal, encodeRequest(batch, 'protobuf'))).toEqual(plainRequest(batch));
      }),
      { numRuns: RUNS },
    );
  });

  test('that an independent implementation wrote is read as what it is', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const decoded = decodeRequest(signal, oracleEncode(signal, plainRequest(batch)), 'protobuf');
        expect(decoded).toEqual(batch);
        expect(structure(decoded)).toBe(structure(batch));
      }),
      { numRuns: RUNS },
    );
  });

  test.each(ENCODINGS)('survives encoding and decoding in %s, with and without remembered series', (encoding) => {
    const interner = createInterner();
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const bytes = encodeRequest(batch, encoding);
        for (const options of [{}, { interner }, { interner }]) {
          const decoded = decodeRequest(signal, bytes, encoding, options);
          expect(decoded).toEqual(batch);
          expect(structure(decoded)).toBe(structure(batch));
          expect(Buffer.from(encodeRequest(decoded, encoding)).equals(Buffer.from(bytes))).toBe(true);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test('is one line of valid JSON', () => {
    fc.assert(
      fc.property(arbitraryBatch(signal), (batch) => {
        const text = Buffer.from(encodeRequest(batch, 'json')).toString();
        expect(text).not.toMatch(/[\n\r]/);
        JSON.parse(text);
      }),
      { numRuns: RUNS },
    );
  });
});
