/**
 * A gRPC client for unary calls, on Node's http2: one connection, opened when it is needed and again when it is gone,
 * many calls on it at once.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import type { Credentials } from '../../pipeline/kit/client-options.ts';
import type { Clock, Timer } from '../../pipeline/kit/clock.ts';
import type { Logger } from '../../pipeline/kit/log.ts';
import { openTunnel, proxyFor } from '../../pipeline/kit/post-proxy.ts';
import type { ClientTls } from '../../pipeline/kit/tls.ts';
import { USER_AGENT } from '../../pipeline/kit/version.ts';
import { DecompressError, decompress, parseEncoding } from '../../pipeline/wire/compression.ts';
import { decodeGrpcMessage, FRAME_HEADER_BYTES, formatGrpcTimeout, GrpcCode } from '../../pipeline/wire/grpc.ts';

export interface GrpcClientOptions {
  /** `http:` for no TLS, `https:`, or `unix:` with a path. */
  readonly target: URL;
  /** The `:authority` to send, if not the target's. */
  readonly authority: string | undefined;
  readonly credentials: Credentials;
  readonly proxyUrl: string | undefined;
  /** The name of the compression of messages, for the `grpc-encoding` header; undefined if they are not compressed. */
  readonly encoding: string | undefined;
  readonly maxResponseBytes: number;
  /** Tells the server how long we wait, milliseconds; 0: does not. */
  readonly timeoutMs: number;
  readonly keepalive: { readonly timeMs: number; readonly timeoutMs: number; readonly idleToo: boolean } | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How a call ended that reached the server. */
export interface GrpcAnswer {
  readonly code: number;
  readonly text: string;
  /** google.rpc.Status in protobuf, from the grpc-status-details-bin trailer. */
  readonly details: Uint8Array | undefined;
  readonly message: Uint8Array;
}

export interface GrpcClient {
  /**
   * One unary call with a framed message. Resolves with whatever status the server gave; rejects with a RetryableError if
   * the connection failed or `abort` came, with a PermanentError if the answer is too large or not gRPC.
   */
  call(path: string, framed: Uint8Array, abort: AbortSignal): Promise<GrpcAnswer>;
  close(): void;
}

type Headers = IncomingHttpHeaders & IncomingHttpStatusHeader;

/** A connection that did not answer a call in time must answer a ping in this, or is given up. */
const PROBE_MS = 5000;
/** A connection that takes longer to open is given up, so that the next try starts afresh. */
const CONNECT_MS = 20_000;

const NOT_SENT: ReadonlySet<string> = new Set(['ERR_HTTP2_INVALID_SESSION', 'ERR_HTTP2_GOAWAY_SESSION']);

/** gRPC's own table for answers that are plain HTTP. */
const CODE_OF_HTTP: Readonly<Record<number, number>> = {
  400: GrpcCode.INTERNAL,
  401: GrpcCode.UNAUTHENTICATED,
  403: GrpcCode.PERMISSION_DENIED,
  404: GrpcCode.UNIMPLEMENTED,
  429: GrpcCode.UNAVAILABLE,
  502: GrpcCode.UNAVAILABLE,
  503: GrpcCode.UNAVAILABLE,
  504: GrpcCode.UNAVAILABLE,
};

export function grpcClient(options: GrpcClientOptions): GrpcClient {
  const { target, credentials, clock, log, keepalive } = options;
  const secure = target.protocol === 'https:';
  let current: { session: ClientHttp2Session; tls: ClientTls | undefined } | undefined;
  let opening: Promise<ClientHttp2Session> | undefined;
  let closed = false;
  /** In flight. */
  let calls = 0;

  const open = async (): Promise<ClientHttp2Session> => {
    const tls = secure ? await credentials.tls() : undefined;
    if (current && current.tls === tls && !current.session.closed && !current.session.destroyed) return current.session;
    // Calls in flight end on the old connection.
    current?.session.close();
    const socket = await openSocket(options, tls);
    return new Promise((resolve, reject) => {
      const session = connect(target.protocol === 'unix:' ? 'http://localhost' : target.origin, {
        maxSessionMemory: 64,
        settings: { enablePush: false, initialWindowSize: 1 << 20 },
        ...tls,
        ...(socket ? { createConnection: () => socket } : {}),
      });
      const one = { session, tls };
      let keepaliveTimer: Timer | undefined;
      const patience = clock.after(CONNECT_MS, () =>
        session.destroy(new Error(`no connection within ${CONNECT_MS} ms`)),
      );
      const gone = () => {
        patience.cancel();
        keepaliveTimer?.cancel();
        if (current === one) current = undefined;
      };
      session.on('error', (error) => {
        gone();
        reject(error);
      });
      session.on('close', () => {
        gone();
        reject(new Error('the connection was closed'));
      });
      // The server wants no further calls here; those in flight may end.
      session.on('goaway', gone);
      session.once('connect', () => {
        patience.cancel();
        if (closed) {
          session.destroy();
          return;
        }
        current = one;
        const ping = () => {
          keepaliveTimer = clock.after(keepalive?.timeMs ?? 0, () => {
            if (keepalive && (keepalive.idleToo || calls > 0)) probe(session, keepalive.timeoutMs);
            ping();
          });
        };
        if (keepalive) ping();
        resolve(session);
      });
    });
  };

  /** Ends a connection that does not answer a ping: the network may have forgotten it without telling us. */
  const probe = (session: ClientHttp2Session, withinMs: number) => {
    if (session.destroyed) return;
    const timer = clock.after(withinMs, () => {
      log.debug('The connection does not answer; it is opened anew.', { endpoint: target.host });
      session.destroy();
    });
    try {
      session.ping(() => timer.cancel());
    } catch {
      timer.cancel();
    }
  };

  const session = (): Promise<ClientHttp2Session> => {
    opening ??= open().finally(() => {
      opening = undefined;
    });
    return opening;
  };

  const request = (connection: ClientHttp2Session, path: string, headers: Record<string, string>) =>
    connection.request({
      ...headers,
      ':method': 'POST',
      ':path': path,
      ':scheme': secure ? 'https' : 'http',
      ':authority': options.authority ?? (target.protocol === 'unix:' ? 'localhost' : target.host),
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': USER_AGENT,
      'grpc-accept-encoding': 'identity,gzip',
      ...(options.encoding ? { 'grpc-encoding': options.encoding } : {}),
      ...(options.timeoutMs > 0 ? { 'grpc-timeout': formatGrpcTimeout(options.timeoutMs) } : {}),
    });

  const call = async (path: string, framed: Uint8Array, abort: AbortSignal, again: boolean): Promise<GrpcAnswer> => {
    let connection: ClientHttp2Session;
    let headers: Record<string, string>;
    try {
      headers = await credentials.headers();
      connection = await abortable(session(), abort);
    } catch (error) {
      if (abort.aborted) throw new RetryableError(`no connection to ${shown(target)} in time`);
      throw new RetryableError(`cannot connect to ${shown(target)}`, { cause: error });
    }
    calls++;
    try {
      return await exchange(request(connection, path, headers), framed, abort, options.maxResponseBytes);
    } catch (error) {
      if (error instanceof PermanentError) throw error;
      if (abort.aborted) {
        probe(connection, PROBE_MS);
        throw new RetryableError(`no answer from ${shown(target)} in time`);
      }
      // The connection ended just before this call: nothing of it was sent.
      if (again && NOT_SENT.has((error as NodeJS.ErrnoException).code ?? '')) return call(path, framed, abort, false);
      throw new RetryableError(`the call to ${shown(target)} broke off`, { cause: error });
    } finally {
      calls--;
    }
  };

  return {
    call: (path, framed, abort) => call(path, framed, abort, true),
    close() {
      closed = true;
      current?.session.close();
      current?.session.destroy();
      current = undefined;
    },
  };
}

const shown = (target: URL) => (target.protocol === 'unix:' ? `unix://${target.pathname}` : target.host);

function abortable<T>(work: Promise<T>, abort: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (abort.aborted) return reject(new Error('aborted'));
    const stop = () => reject(new Error('aborted'));
    abort.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => abort.removeEventListener('abort', stop));
  });
}

/** A socket that is not simply host and port; undefined lets http2 open its own. */
async function openSocket(options: GrpcClientOptions, tls: ClientTls | undefined): Promise<Socket | undefined> {
  const { target } = options;
  if (target.protocol === 'unix:') return connectTcp(target.pathname);
  const proxy = proxyFor(target, options.proxyUrl);
  if (!proxy) return undefined;
  const host = target.hostname.replace(/^\[|\]$/g, '');
  const socket = await openTunnel(proxy, host, Number(target.port || (tls ? 443 : 80)));
  if (!tls) return socket;
  return connectTls({ socket, host, servername: host, ALPNProtocols: ['h2'], ...tls });
}

function exchange(
  stream: ClientHttp2Stream,
  framed: Uint8Array,
  abort: AbortSignal,
  maxBytes: number,
): Promise<GrpcAnswer> {
  return new Promise((resolve, reject) => {
    let headers: Headers = {};
    let trailers: IncomingHttpHeaders | undefined;
    let failure: Error | undefined;
    const chunks: Buffer[] = [];
    let size = 0;
    const fail = (error: Error) => {
      failure ??= error;
      stream.close(constants.NGHTTP2_CANCEL);
    };
    const stop = () => fail(new Error('aborted'));
    if (abort.aborted) stop();
    else abort.addEventListener('abort', stop, { once: true });
    stream.on('response', (given) => {
      headers = given;
      // An answer of one piece has its status in the headers.
      if (given['grpc-status'] !== undefined) trailers = given;
    });
    stream.on('trailers', (given) => {
      trailers = given;
    });
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes + FRAME_HEADER_BYTES) fail(tooLarge(maxBytes));
      else chunks.push(chunk);
    });
    stream.on('error', (error) => {
      failure ??= error;
    });
    stream.on('close', () => {
      abort.removeEventListener('abort', stop);
      if (failure instanceof PermanentError) return reject(failure);
      if (trailers === undefined && headers[':status'] === undefined) {
        return reject(failure ?? new Error(`the stream was closed (${stream.rstCode})`));
      }
      if (trailers === undefined && failure) return reject(failure);
      answer(headers, trailers, Buffer.concat(chunks), maxBytes).then(resolve, reject);
    });
    stream.end(framed);
  });
}

const tooLarge = (maxBytes: number) => new PermanentError(`the answer is larger than ${maxBytes} bytes`);

async function answer(
  headers: Headers,
  trailers: IncomingHttpHeaders | undefined,
  body: Buffer,
  maxBytes: number,
): Promise<GrpcAnswer> {
  const status = Number(headers[':status'] ?? 0);
  const type = String(headers['content-type'] ?? '');
  const code = trailers?.['grpc-status'];
  if (code === undefined) {
    if (status === 200 && type.startsWith('application/grpc')) throw new Error('the answer has no status');
    return {
      code: CODE_OF_HTTP[status] ?? GrpcCode.UNKNOWN,
      text: `HTTP status ${status}${type.startsWith('application/grpc') ? '' : `, ${type || 'no content type'}: not a gRPC server`}`,
      details: undefined,
      message: new Uint8Array(0),
    };
  }
  const details = trailers?.['grpc-status-details-bin'];
  return {
    code: Number(code),
    text: decodeGrpcMessage(String(trailers?.['grpc-message'] ?? '')),
    details: typeof details === 'string' ? Buffer.from(details, 'base64') : undefined,
    message: Number(code) === 0 ? await unframed(body, headers['grpc-encoding'], maxBytes) : new Uint8Array(0),
  };
}

async function unframed(body: Buffer, encoding: unknown, maxBytes: number): Promise<Uint8Array> {
  if (body.length === 0) return body;
  const length = body.length >= FRAME_HEADER_BYTES ? body.readUInt32BE(1) : -1;
  if (length > maxBytes) throw tooLarge(maxBytes);
  if (length < 0 || body.length < FRAME_HEADER_BYTES + length) throw new PermanentError('the answer is cut short');
  const message = body.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + length);
  if (body[0] === 0) return message;
  const coding = parseEncoding(String(encoding ?? ''));
  if (coding === undefined)
    throw new PermanentError(`the answer is compressed with ${encoding}, which was not offered`);
  try {
    return await decompress(message, coding, maxBytes);
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    throw error.tooLarge
      ? tooLarge(maxBytes)
      : new PermanentError('the answer cannot be decompressed', { cause: error });
  }
}
