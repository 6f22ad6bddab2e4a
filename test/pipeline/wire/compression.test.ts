import zlib from 'node:zlib';
import fc from 'fast-check';
import snappyjs from 'snappyjs';
import { describe, expect, test } from 'vitest';
import {
  acceptedEncoding,
  compress,
  DecompressError,
  decompress,
  ENCODINGS,
  type Encoding,
  HAS_ZSTD,
  parseEncoding,
} from '../../../pipeline/wire/compression.ts';
import { snappyCompress, snappyDecompress } from '../../../pipeline/wire/snappy.ts';

const LIMIT = 1e6;
const real = ENCODINGS.filter((e) => e !== 'identity');
const text = Buffer.from('vllm:num_requests_running{model_name="m",engine="0"} 12.0\n'.repeat(500));
const failure = async (input: Uint8Array, encoding: Encoding, limit = LIMIT): Promise<DecompressError> => {
  const error = await decompress(input, encoding, limit).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(DecompressError);
  return error as DecompressError;
};

describe.each(real)('%s', (encoding) => {
  test('gives back what went in', async () => {
    for (const input of [Buffer.alloc(0), Buffer.from('x'), text, Buffer.alloc(200_000, 7)]) {
      const packed = await compress(input, encoding);
      expect(Buffer.from(await decompress(packed, encoding, LIMIT)).equals(input)).toBe(true);
    }
    expect((await compress(text, encoding)).length).toBeLessThan(text.length / 5);
  });

  test('may become exactly as large as the limit and no larger', async () => {
    const packed = await compress(text, encoding);
    expect((await decompress(packed, encoding, text.length)).length).toBe(text.length);
    expect((await failure(packed, encoding, text.length - 1)).tooLarge).toBe(true);
  });

  test('that is cut anywhere is an error', async () => {
    const packed = await compress(text.subarray(0, 600), encoding);
    for (let n = 0; n < packed.length; n++) {
      expect((await failure(packed.subarray(0, n), encoding)).tooLarge).toBe(false);
    }
  });

  test('with something behind its end is an error', async () => {
    const packed = await compress(text, encoding);
    for (const tail of [Buffer.from([0]), Buffer.from('garbage')]) {
      expect((await failure(Buffer.concat([packed, tail]), encoding)).tooLarge).toBe(false);
    }
  });

  test('of random bytes is an error or data, never anything else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const result = await decompress(bytes, encoding, 10_000).catch((e: unknown) => e);
        if (result instanceof Uint8Array) expect(result.length).toBeLessThanOrEqual(10_000);
        else expect(result).toBeInstanceOf(DecompressError);
      }),
      { numRuns: 300 },
    );
  });
});

test('several gzip members one after the other are one body', async () => {
  const members = Buffer.concat([zlib.gzipSync('one '), zlib.gzipSync(''), zlib.gzipSync('two')]);
  expect(Buffer.from(await decompress(members, 'gzip', LIMIT)).toString()).toBe('one two');
});

test('a gzip bomb costs no more than the limit', async () => {
  const bomb = zlib.gzipSync(Buffer.alloc(100e6));
  expect(bomb.length * 1000).toBeLessThan(101e6);
  const before = process.memoryUsage();
  expect((await failure(bomb, 'gzip')).tooLarge).toBe(true);
  const after = process.memoryUsage();
  expect(after.external + after.arrayBuffers - before.external - before.arrayBuffers).toBeLessThan(20e6);
});

test('deflate is zlib, and bare deflate is read too', async () => {
  for (const packed of [zlib.deflateSync(text), zlib.deflateRawSync(text)]) {
    expect(Buffer.from(await decompress(packed, 'deflate', LIMIT)).equals(text)).toBe(true);
  }
});

// Node before 22.15 has no zstd; the structure of its frames is tested everywhere (zstd-frames.test.ts).
if (HAS_ZSTD) {
  test('several zstd frames are one body', async () => {
    const packed = Buffer.concat([
      await compress(Buffer.from('one '), 'zstd'),
      await compress(Buffer.from('two'), 'zstd'),
    ]);
    expect(Buffer.from(await decompress(packed, 'zstd', LIMIT)).toString()).toBe('one two');
  });
} else {
  test('zstd is said to be missing where Node has none', async () => {
    expect(parseEncoding('zstd')).toBe(undefined);
    expect((await failure(Buffer.from('x'), 'zstd')).message).toContain('Node 22.15');
    await expect(compress(text, 'zstd')).rejects.toThrow('Node 22.15');
  });
}

describe('snappy', () => {
  test('understands and is understood by another implementation', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.constant(text.subarray(0, 3000))), { maxLength: 30 }),
        (parts) => {
          const input = Buffer.concat(parts);
          expect(Buffer.from(snappyjs.uncompress(snappyCompress(input)) as Uint8Array).equals(input)).toBe(true);
          expect(Buffer.from(snappyDecompress(snappyjs.compress(input) as Uint8Array, LIMIT)).equals(input)).toBe(true);
        },
      ),
    );
  });

  test('does not allocate what a lying header promises', async () => {
    const lie = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 0x61]);
    const before = process.memoryUsage().arrayBuffers;
    expect((await failure(lie, 'snappy', 2 ** 32)).message).toContain('promises 4294967295 bytes');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6);
    expect((await failure(lie, 'snappy')).tooLarge).toBe(true);
  });

  test('refuses copies from before the beginning', async () => {
    expect((await failure(Buffer.from([4, 0x0d, 0x01]), 'snappy')).message).toContain('outside');
  });
});

test('headers name encodings in any case, with the usual other names', () => {
  expect(parseEncoding(undefined)).toBe('identity');
  expect(parseEncoding('')).toBe('identity');
  expect(parseEncoding(' GZip ')).toBe('gzip');
  expect(parseEncoding('x-gzip')).toBe('gzip');
  expect(parseEncoding('zlib')).toBe('deflate');
  expect(parseEncoding('br')).toBe(undefined);
  expect(parseEncoding('gzip, gzip')).toBe(undefined);
});

test('the encoding of an answer is the best that the client takes', () => {
  expect(acceptedEncoding(undefined)).toBe('identity');
  expect(acceptedEncoding('gzip')).toBe('gzip');
  expect(acceptedEncoding('gzip;q=0')).toBe('identity');
  expect(acceptedEncoding('br, *;q=0.1', ['gzip'])).toBe('gzip');
  expect(acceptedEncoding('gzip;q=0.5, deflate;q=0.9', ['gzip', 'deflate'])).toBe('deflate');
});
