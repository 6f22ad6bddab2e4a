/** One gRPC request: how its message is read within limits, and how a call fails. */
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { DecompressError, decompress, ENCODINGS, parseEncoding } from '../wire/compression.ts';
import { FRAME_HEADER_BYTES, GrpcCode } from '../wire/grpc.ts';
import type { Clock } from './clock.ts';

/** How a call fails; thrown by methods. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: number;
  /** A google.rpc.Status in protobuf, for clients that want to know more (RetryInfo). */
  readonly details: Uint8Array | undefined;
  constructor(code: number, message: string, details?: Uint8Array) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** The encodings that are understood, as the grpc-accept-encoding header has them. */
export const ACCEPTED = ENCODINGS.join(',');

/** How a message may be read. `buffered` counts the bytes of all whose calls are not answered yet. */
export interface MessageLimits {
  readonly maxMessageSize: number;
  readonly readTimeoutMs: number;
  readonly clock: Clock;
  readonly buffered: { bytes: number; readonly limit: number };
}

/** The message of a call, decompressed; rejects with a GrpcError. */
export async function readMessage(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  limits: MessageLimits,
): Promise<Uint8Array> {
  const { maxMessageSize, buffered } = limits;
  const name = headers['grpc-encoding'] as string | undefined;
  const encoding = parseEncoding(name);
  if (encoding === undefined) {
    throw new GrpcError(GrpcCode.UNIMPLEMENTED, `the encoding "${name}" is not known; known are ${ACCEPTED}`);
  }
  const received = { bytes: 0 };
  try {
    const body = await collect(stream, limits, received);
    const compressed = body[0] === 1;
    const message = body.subarray(FRAME_HEADER_BYTES);
    if (!compressed) return message;
    if (encoding === 'identity') {
      throw new GrpcError(GrpcCode.INTERNAL, 'a message is marked as compressed, but no grpc-encoding is given');
    }
    return await decompress(message, encoding, maxMessageSize);
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    if (error.tooLarge) throw tooLarge('is, decompressed, above', maxMessageSize);
    throw new GrpcError(GrpcCode.INVALID_ARGUMENT, `the message could not be decompressed: ${error.message}`);
  } finally {
    // The memory is in use until the call is answered.
    if (stream.closed || stream.destroyed) buffered.bytes -= received.bytes;
    else {
      stream.once('close', () => {
        buffered.bytes -= received.bytes;
      });
    }
  }
}

const tooLarge = (how: string, limit: number) =>
  new GrpcError(GrpcCode.RESOURCE_EXHAUSTED, `the message ${how} the limit of ${limit} bytes`);

/** The bytes of a call's only frame. */
function collect(stream: ServerHttp2Stream, limits: MessageLimits, received: { bytes: number }): Promise<Buffer> {
  const { maxMessageSize, readTimeoutMs, clock, buffered } = limits;
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let expected = -1;
    // Made when it is needed: an error notes where it was made, which costs more than all else here.
    const slow = () =>
      settle(new GrpcError(GrpcCode.DEADLINE_EXCEEDED, `the request did not arrive within ${readTimeoutMs / 1000} s`));
    const timer = readTimeoutMs > 0 ? clock.after(readTimeoutMs, slow) : undefined;
    const settle = (result: GrpcError | Buffer) => {
      timer?.cancel();
      stream.off('data', take).off('end', end).off('close', lost);
      if (result instanceof GrpcError) {
        stream.pause();
        reject(result);
      } else resolve(result);
    };
    const lost = () => settle(new GrpcError(GrpcCode.CANCELLED, 'the call was cancelled'));
    const take = (chunk: Buffer) => {
      received.bytes += chunk.length;
      buffered.bytes += chunk.length;
      chunks.push(chunk);
      if (expected < 0 && received.bytes >= FRAME_HEADER_BYTES) {
        if (chunks.length > 1) chunks = [Buffer.concat(chunks)];
        const head = chunks[0]!;
        expected = head.readUInt32BE(1) + FRAME_HEADER_BYTES;
        if (head[0]! > 1) return settle(new GrpcError(GrpcCode.INTERNAL, `a message has the unknown flag ${head[0]}`));
        if (expected - FRAME_HEADER_BYTES > maxMessageSize) {
          return settle(tooLarge(`announces ${expected - FRAME_HEADER_BYTES} bytes, above`, maxMessageSize));
        }
      }
      if (expected >= 0 && received.bytes > expected) {
        return settle(new GrpcError(GrpcCode.INTERNAL, 'a unary call has more than one message'));
      }
      if (buffered.bytes > buffered.limit) {
        settle(new GrpcError(GrpcCode.UNAVAILABLE, 'too many calls are being worked on at once; try again later'));
      }
    };
    const end = () => {
      if (received.bytes === expected) settle(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
      else settle(new GrpcError(GrpcCode.INTERNAL, 'the call ended before its message was complete'));
    };
    stream.on('data', take).on('end', end).on('close', lost);
  });
}
