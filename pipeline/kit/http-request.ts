/** One HTTP request as a handler sees it, and what a handler can say: the types, and how a body is read within limits. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { DecompressError, decompress, type Encoding, parseEncoding } from '../wire/compression.ts';
import type { Clock } from './clock.ts';

/** An answer that is not a success; thrown by handlers and by `HttpRequest.body`. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

export interface HttpRequest {
  readonly method: string;
  /** As it was sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** The media type without parameters, lower case; '' when absent or malformed. */
  readonly contentType: string;
  /** '' for a Unix socket. */
  readonly remoteAddress: string;
  /** Aborts when the client went away before it had the whole answer. */
  readonly gone: AbortSignal;
  /**
   * The body, decompressed. Reads it on the first call. Rejects with an HttpError: 413 too large, 415 unknown encoding,
   * 400 corrupt or cut short, 408 too slow, 503 too many bodies at once.
   */
  body(): Promise<Uint8Array>;
}

/** Writes an answer piece by piece. */
export interface BodyWriter {
  /** Resolves when the client has room again; rejects when it is gone. */
  write(chunk: string | Uint8Array): Promise<void>;
  /** Aborts when the client is gone or the server is stopping: a stream without end must then return. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** A function streams: the answer ends when it resolves. */
  readonly body?: string | Uint8Array | ((writer: BodyWriter) => Promise<void>);
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpResponse> | HttpResponse;

/** How a body may be read. `buffered` counts the bytes of all bodies whose requests are not answered yet. */
export interface BodyLimits {
  readonly maxBodySize: number;
  readonly readTimeoutMs: number;
  readonly encodings: readonly Encoding[];
  readonly clock: Clock;
  readonly buffered: { bytes: number; readonly limit: number };
  readonly expectsContinue: boolean;
}

/** Wraps Node's objects; `bodyBytes` is what was read of the body so far. */
export function createRequest(
  req: IncomingMessage,
  res: ServerResponse,
  limits: BodyLimits,
): HttpRequest & { bodyBytes(): number } {
  // A proxy's absolute form is as good as the usual one.
  const target = (req.url ?? '/').replace(/^https?:\/\/[^/?#]*/i, '') || '/';
  const mark = target.indexOf('?');
  let query: URLSearchParams | undefined;
  let body: Promise<Uint8Array> | undefined;
  let gone: AbortController | undefined;
  const received = { bytes: 0 };
  return {
    method: req.method ?? 'GET',
    path: mark < 0 ? target : target.slice(0, mark),
    get query() {
      query ??= new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
      return query;
    },
    headers: req.headers,
    contentType: mediaType(req.headers['content-type']),
    remoteAddress: req.socket.remoteAddress ?? '',
    get gone() {
      if (!gone) {
        const controller = new AbortController();
        gone = controller;
        const over = () => {
          if (!res.writableFinished) controller.abort();
        };
        if (res.destroyed) over();
        else res.once('close', over);
      }
      return gone.signal;
    },
    body() {
      body ??= readBody(req, res, limits, received);
      return body;
    },
    bodyBytes: () => received.bytes,
  };
}

const MEDIA_TYPE = /^\s*([\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+)\s*(?:;.*)?$/;
const mediaType = (header: string | undefined) => MEDIA_TYPE.exec(header ?? '')?.[1]?.toLowerCase() ?? '';

async function readBody(
  req: IncomingMessage,
  res: ServerResponse,
  limits: BodyLimits,
  received: { bytes: number },
): Promise<Uint8Array> {
  const header = req.headers['content-encoding'];
  const encoding = parseEncoding(header);
  if (encoding === undefined || (encoding !== 'identity' && !limits.encodings.includes(encoding))) {
    throw new HttpError(415, `Unsupported Content-Encoding: ${header}`, {
      'accept-encoding': limits.encodings.filter((e) => e !== 'identity').join(', '),
    });
  }
  const { maxBodySize, buffered } = limits;
  const announced = Number(req.headers['content-length'] ?? 0);
  if (announced > maxBodySize) throw bodyTooLarge(`announces ${announced} bytes, above`, maxBodySize);
  if (buffered.bytes + announced > buffered.limit) throw tooManyBodies();
  if (limits.expectsContinue) res.writeContinue();
  try {
    const raw = await collect(req, limits, received);
    if (encoding === 'identity') return raw;
    return await decompress(raw, encoding, maxBodySize);
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    if (error.tooLarge) throw bodyTooLarge('is, decompressed, above', maxBodySize);
    throw new HttpError(400, `The request body could not be decompressed: ${error.message}`);
  } finally {
    // The memory is in use until the request is answered.
    if (res.closed || res.destroyed) buffered.bytes -= received.bytes;
    else {
      res.once('close', () => {
        buffered.bytes -= received.bytes;
      });
    }
  }
}

const bodyTooLarge = (how: string, limit: number) =>
  new HttpError(413, `The request body ${how} the limit of ${limit} bytes (max_request_body_size).`);
const tooManyBodies = () =>
  new HttpError(503, 'Too many requests are being worked on at once; try again later.', { 'retry-after': '1' });

function collect(req: IncomingMessage, limits: BodyLimits, received: { bytes: number }): Promise<Uint8Array> {
  const { maxBodySize, buffered, clock, readTimeoutMs } = limits;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const timer = readTimeoutMs > 0 ? clock.after(readTimeoutMs, () => fail(tooSlow(readTimeoutMs))) : undefined;
    const over = () => {
      timer?.cancel();
      req.off('data', take).off('end', done).off('close', lost).off('error', lost);
    };
    const fail = (error: HttpError) => {
      over();
      req.on('error', () => {});
      req.pause();
      reject(error);
    };
    const lost = () => fail(new HttpError(400, 'The request body ended early.'));
    const take = (chunk: Buffer) => {
      received.bytes += chunk.length;
      buffered.bytes += chunk.length;
      if (received.bytes > maxBodySize) fail(bodyTooLarge('is above', maxBodySize));
      else if (buffered.bytes > buffered.limit) fail(tooManyBodies());
      else chunks.push(chunk);
    };
    const done = () => {
      over();
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    };
    req.on('data', take).on('end', done).on('close', lost).on('error', lost);
    if (req.complete && req.readableEnded) done();
    else if (req.destroyed) lost();
  });
}

const tooSlow = (ms: number) =>
  new HttpError(408, `The request body did not arrive within ${ms / 1000} s (read_timeout).`);
