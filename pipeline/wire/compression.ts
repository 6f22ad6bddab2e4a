/**
 * The content codings of HTTP and gRPC, both directions. Decompression never makes more than the bytes it was allowed,
 * whatever the input promises, and takes nothing that is cut short or has something behind its end.
 */
import zlib from 'node:zlib';
import { SnappyError, snappyCompress, snappyDecompress } from './snappy.ts';
import { zstdFrames } from './zstd-frames.ts';

/** `deflate` is zlib's format, as HTTP says (bare deflate is read too); `snappy` is the block format. */
export type Encoding = 'identity' | 'gzip' | 'deflate' | 'zstd' | 'snappy';

type ZlibCall = (
  input: Uint8Array,
  options: zlib.ZlibOptions & { params?: Record<number, number> },
  callback: (error: Error | null, result: Buffer) => void,
) => void;

// Node has zstd from 22.15 on; the types that the compiler checks against are those of Node 20.
const withZstd = zlib as typeof zlib & { zstdCompress?: ZlibCall; zstdDecompress?: ZlibCall };
const ZSTD_LEVEL = (zlib.constants as unknown as Record<string, number>)['ZSTD_c_compressionLevel'] ?? 100;

/** Whether this Node can do zstd (22.15 and later). */
export const HAS_ZSTD = typeof withZstd.zstdCompress === 'function' && typeof withZstd.zstdDecompress === 'function';

/** What this process can read and write, in the order it would like to receive it. */
export const ENCODINGS: readonly Encoding[] = [
  ...(HAS_ZSTD ? (['zstd'] as const) : []),
  'gzip',
  'deflate',
  'snappy',
  'identity',
];

/** Bytes that could not be decompressed: malformed, or (`tooLarge`) beyond what was allowed. */
export class DecompressError extends Error {
  override readonly name = 'DecompressError';
  readonly tooLarge: boolean;
  constructor(message: string, tooLarge = false) {
    super(message);
    this.tooLarge = tooLarge;
  }
}

/**
 * The encoding that a Content-Encoding (or grpc-encoding) header names; absent and empty mean identity. Undefined if it
 * is one this process cannot read, or more than one.
 */
export function parseEncoding(header: string | undefined): Encoding | undefined {
  const name = (header ?? '').trim().toLowerCase();
  if (name === '') return 'identity';
  if (name === 'x-gzip') return 'gzip';
  if (name === 'zlib') return 'deflate';
  return ENCODINGS.find((e) => e === name);
}

/** The best of `ENCODINGS` but `snappy` that an Accept-Encoding header allows with q > 0; identity if none. */
export function acceptedEncoding(
  header: string | undefined,
  offered: readonly Encoding[] = ['zstd', 'gzip'],
): Encoding {
  const weights = new Map<string, number>();
  for (const part of (header ?? '').split(',')) {
    const [name, ...parameters] = part.trim().toLowerCase().split(';');
    const q = parameters.map((p) => /^\s*q=([0-9.]+)\s*$/.exec(p)?.[1]).find((v) => v !== undefined);
    if (name) weights.set(name.trim(), q === undefined ? 1 : Number(q));
  }
  let best: Encoding = 'identity';
  let bestWeight = 0;
  for (const encoding of offered) {
    if (!ENCODINGS.includes(encoding)) continue;
    const weight = weights.get(encoding) ?? weights.get('*') ?? 0;
    if (weight > bestWeight) {
      best = encoding;
      bestWeight = weight;
    }
  }
  return best;
}

/** Undoes `encoding`. Rejects with a DecompressError; never holds more than about `maxBytes` of output. */
export async function decompress(input: Uint8Array, encoding: Encoding, maxBytes: number): Promise<Uint8Array> {
  switch (encoding) {
    case 'identity':
      if (input.length > maxBytes) throw tooLarge(maxBytes);
      return input;
    case 'gzip':
      return inflate(zlib.gunzip as unknown as InfoCall, input, encoding, maxBytes);
    case 'deflate':
      return inflate(
        (hasZlibHeader(input) ? zlib.inflate : zlib.inflateRaw) as unknown as InfoCall,
        input,
        encoding,
        maxBytes,
      );
    case 'zstd':
      return unzstd(input, maxBytes);
    case 'snappy':
      try {
        return snappyDecompress(input, maxBytes);
      } catch (error) {
        if (error instanceof SnappyError) throw new DecompressError(error.message, error.tooLarge);
        throw error;
      }
  }
}

async function unzstd(input: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  if (!withZstd.zstdDecompress) throw new DecompressError('zstd needs Node 22.15 or later');
  const frames = zstdFrames(input);
  if (typeof frames === 'string') throw new DecompressError(`zstd: ${frames}`);
  const parts: Uint8Array[] = [];
  let left = maxBytes;
  for (const [start, end] of frames) {
    const part = await inflate(
      withZstd.zstdDecompress as unknown as InfoCall,
      input.subarray(start, end),
      'zstd',
      left,
    );
    left -= part.length;
    parts.push(part);
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

const tooLarge = (maxBytes: number) =>
  new DecompressError(`the decompressed size is above the limit of ${maxBytes} bytes`, true);

const hasZlibHeader = (b: Uint8Array) => b.length >= 2 && (b[0]! & 0x0f) === 8 && ((b[0]! << 8) | b[1]!) % 31 === 0;

type InfoCall = (
  input: Uint8Array,
  options: { maxOutputLength: number; info: true },
  callback: (
    error: (Error & { code?: string }) | null,
    result: { buffer: Buffer; engine: { bytesWritten: number } },
  ) => void,
) => void;

function inflate(call: InfoCall, input: Uint8Array, encoding: Encoding, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // zlib treats an output limit of 0 as none.
    call(input, { maxOutputLength: Math.max(1, maxBytes), info: true }, (error, result) => {
      if (error) {
        reject(
          error.code === 'ERR_BUFFER_TOO_LARGE'
            ? tooLarge(maxBytes)
            : new DecompressError(`${encoding}: ${error.message}`),
        );
      } else if (result.buffer.length > maxBytes) reject(tooLarge(maxBytes));
      else if (result.engine.bytesWritten !== input.length) {
        // zlib stops quietly at the end of its stream; what follows was never looked at.
        reject(
          new DecompressError(
            `${encoding}: ${input.length - result.engine.bytesWritten} bytes follow the end of the data`,
          ),
        );
      } else resolve(result.buffer);
    });
  });
}

/**
 * Inputs up to this many bytes are compressed at once, in half a millisecond or so: handing them to another thread and back
 * costs more than the work.
 */
const SMALL = 256 * 1024;

/** Applies `encoding`; `level` is gzip's or zstd's own (defaults 1 and 1: measured to cost least per byte saved). */
export function compress(input: Uint8Array, encoding: Encoding, level = 1): Promise<Uint8Array> {
  if (encoding === 'identity') return Promise.resolve(input);
  if (encoding === 'snappy') return Promise.resolve(snappyCompress(input));
  if (encoding === 'gzip' && input.length <= SMALL) return Promise.resolve(zlib.gzipSync(input, { level }));
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, result: Buffer) => (error ? reject(error) : resolve(result));
    if (encoding === 'gzip') zlib.gzip(input, { level }, done);
    else if (encoding === 'deflate') zlib.deflate(input, { level }, done);
    else if (withZstd.zstdCompress) withZstd.zstdCompress(input, { params: { [ZSTD_LEVEL]: level } }, done);
    else reject(new Error('zstd needs Node 22.15 or later'));
  });
}
