/**
 * A gRPC server for unary calls, on node:http2: what an OTLP receiver needs, with the same limits, authentication and
 * certificates as the HTTP server.
 */
import http2, { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Server } from 'node:net';
import { describeError } from '../errors.ts';
import { DecompressError, decompress, ENCODINGS, parseEncoding } from '../wire/compression.ts';
import { encodeGrpcMessage, FRAME_HEADER_BYTES, frame, GrpcCode, parseGrpcTimeout } from '../wire/grpc.ts';
import type { Clock, Timer } from './clock.ts';
import { listen, urlOf } from './listen.ts';
import type { Logger } from './log.ts';
import { createAuthorizer } from './server-auth.ts';
import type { AuthServerConfig, TlsServerConfig } from './server-options.ts';
import { followServerTls, readServerTls } from './server-tls.ts';

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

export interface GrpcCall {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The request message, decompressed. */
  readonly message: Uint8Array;
  readonly remoteAddress: string;
}

/** Resolves to the response message; rejects with a GrpcError. */
export type GrpcMethod = (call: GrpcCall) => Promise<Uint8Array> | Uint8Array;

export interface GrpcServeOptions {
  /** `host:port` (port 0: any free one), `:port`, or `unix:///path`. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly tls?: TlsServerConfig | undefined;
  readonly auth?: AuthServerConfig | undefined;
  /** Bytes of a message, before and after decompression. */
  readonly maxMessageSize: number;
  /** Bytes that messages may hold together, until their calls are answered; default 256 MiB or `maxMessageSize`. */
  readonly maxBufferedBytes?: number;
  /** Calls at once on one connection; default 100. */
  readonly maxConcurrentStreams?: number;
  readonly maxConnections?: number;
  /** Milliseconds from the start of a call to the end of its request; 0 = no limit; default 60 s. */
  readonly readTimeoutMs?: number;
  /** Milliseconds; 0 = no limit. */
  readonly keepalive?: Partial<GrpcKeepalive>;
}

/** How long connections live; all in milliseconds, 0 = no limit. */
export interface GrpcKeepalive {
  /** A connection without calls is closed after this; default 5 min. */
  readonly maxConnectionIdleMs: number;
  /** A connection is closed after this, its calls may finish. */
  readonly maxConnectionAgeMs: number;
  /** How long the calls of a connection that is too old may take. */
  readonly maxConnectionAgeGraceMs: number;
  /** A connection without calls is asked this often whether it is still there; default 30 s. */
  readonly timeMs: number;
  /** A ping that is not answered within this ends the connection; default 20 s. */
  readonly timeoutMs: number;
  /** A client that pings more often than this, three times between two calls, is sent away; default 5 min, as in Go. */
  readonly minPingIntervalMs: number;
  /** Whether that interval also holds while there is no call; else it is two hours then. */
  readonly permitPingsWithoutCalls: boolean;
}

const KEEPALIVE: GrpcKeepalive = {
  maxConnectionIdleMs: 300_000,
  maxConnectionAgeMs: 0,
  maxConnectionAgeGraceMs: 0,
  timeMs: 30_000,
  timeoutMs: 20_000,
  minPingIntervalMs: 300_000,
  permitPingsWithoutCalls: false,
};

export interface GrpcServing {
  readonly address: string;
  readonly port: number;
  readonly url: string;
  /** Open connections. */
  connections(): number;
  /** Takes no new call, lets those in flight finish until `deadline` aborts, then cuts them. Twice is harmless. */
  close(deadline?: AbortSignal): Promise<void>;
}

const { constants } = http2;
const IDLE_PING_INTERVAL_MS = 7_200_000;
/** Large batches must not wait for a window update every 64 KiB. */
const STREAM_WINDOW = 4 * 2 ** 20;
const CONNECTION_WINDOW = 16 * 2 ** 20;

/** Starts listening; resolves when clients can connect, rejects with a sentence that says why not. */
export async function serveGrpc(
  options: GrpcServeOptions,
  methods: Readonly<Record<string, GrpcMethod>>,
): Promise<GrpcServing> {
  const { clock, log, maxMessageSize, readTimeoutMs = 60_000 } = options;
  const keepalive: GrpcKeepalive = { ...KEEPALIVE, ...options.keepalive };
  const authorizer = createAuthorizer(options.auth);
  const buffered = { bytes: 0, limit: Math.max(options.maxBufferedBytes ?? 256 * 2 ** 20, maxMessageSize) };
  const tls = options.tls && (await readServerTls(options.tls));
  const nodeOptions = {
    maxSessionMemory: 128,
    settings: { maxConcurrentStreams: options.maxConcurrentStreams ?? 100, initialWindowSize: STREAM_WINDOW },
  };
  const server = tls ? http2.createSecureServer({ ...nodeOptions, ...tls }) : http2.createServer(nodeOptions);
  if (options.maxConnections) (server as Server).maxConnections = options.maxConnections;
  const sessions = new Set<ServerHttp2Session>();
  let closing = false;

  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.setLocalWindowSize(CONNECTION_WINDOW);
    // Broken frames and lost connections are the client's affair; calls notice by themselves.
    session.on('error', (error) => log.debug('A gRPC connection failed.', { error: describeError(error) }));
    watchSession(session, keepalive, clock, () => sessions.delete(session));
  });
  server.on('sessionError', (error) => log.debug('A gRPC connection failed.', { error: describeError(error) }));
  if (tls) {
    server.on('tlsClientError', (error: Error) =>
      log.debug('A TLS handshake failed.', { error: describeError(error) }),
    );
  }
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', (error) => log.debug('A gRPC call broke off.', { error: describeError(error) }));
    void handle(stream, headers);
  });

  const handle = async (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    if (headers[':method'] !== 'POST') return refuse(stream, 405);
    if (!/^application\/grpc(?:\+proto)?(?:;|$)/i.test(headers['content-type'] ?? '')) return refuse(stream, 415);
    const timeout = parseGrpcTimeout(headers['grpc-timeout'] as string | undefined);
    let answered = false;
    const answer = (send: () => void) => {
      timer?.cancel();
      if (answered || stream.destroyed || stream.closed) return;
      answered = true;
      send();
    };
    const timer =
      timeout === undefined
        ? undefined
        : clock.after(timeout, () =>
            answer(() =>
              fail(stream, new GrpcError(GrpcCode.DEADLINE_EXCEEDED, 'the deadline of the call has passed')),
            ),
          );
    try {
      const path = headers[':path'] ?? '';
      if (authorizer && !authorizer.allows(headers.authorization)) {
        throw new GrpcError(GrpcCode.UNAUTHENTICATED, 'the call needs valid credentials in its authorization header');
      }
      const method = Object.hasOwn(methods, path) ? methods[path] : undefined;
      if (method === undefined) throw new GrpcError(GrpcCode.UNIMPLEMENTED, `there is no method ${path}`);
      const message = await readMessage(stream, headers, { maxMessageSize, readTimeoutMs, clock, buffered });
      const remoteAddress = stream.session?.socket?.remoteAddress ?? '';
      const response = await method({ path, headers, message, remoteAddress });
      answer(() => succeed(stream, response));
    } catch (error) {
      answer(() => {
        if (error instanceof GrpcError) return fail(stream, error);
        log.error('A call could not be answered because of a bug.', {
          path: headers[':path'],
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        });
        fail(stream, new GrpcError(GrpcCode.INTERNAL, 'internal error'));
      });
    }
  };

  const listening = await listen(server as Server, options.endpoint);
  server.on('error', (error: Error) => log.error('The listener failed.', { error: describeError(error) }));
  const certificates =
    tls && options.tls ? followServerTls(options.tls, tls, server as never, { clock, log }) : undefined;

  let closed: Promise<void> | undefined;
  const close = async (deadline?: AbortSignal) => {
    closing = true;
    certificates?.stop();
    const done = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const session of sessions) session.close();
    const cut = () => {
      for (const session of sessions) session.destroy();
    };
    if (deadline?.aborted) cut();
    else deadline?.addEventListener('abort', cut, { once: true });
    await done;
    deadline?.removeEventListener('abort', cut);
  };
  return {
    ...listening,
    url: urlOf(listening, tls ? 'https' : 'http'),
    connections: () => (closing ? 0 : sessions.size),
    close(deadline) {
      closed ??= close(deadline);
      return closed;
    },
  };
}

/** Ends connections that are idle, too old, silent or that ping too often. */
function watchSession(session: ServerHttp2Session, keepalive: GrpcKeepalive, clock: Clock, gone: () => void): void {
  const { maxConnectionIdleMs, maxConnectionAgeMs, maxConnectionAgeGraceMs, timeMs, timeoutMs } = keepalive;
  const timers: Record<'idle' | 'age' | 'ping', Timer | undefined> = {
    idle: undefined,
    age: undefined,
    ping: undefined,
  };
  let streams = 0;
  const start = (name: keyof typeof timers, ms: number, run: () => void) => {
    timers[name]?.cancel();
    timers[name] = ms > 0 ? clock.after(ms, run) : undefined;
  };
  const idle = () => start('idle', maxConnectionIdleMs, () => session.close());
  idle();
  session.on('stream', (stream) => {
    streams++;
    timers.idle?.cancel();
    stream.once('close', () => {
      streams--;
      if (streams === 0) idle();
    });
  });
  start('age', maxConnectionAgeMs, () => {
    session.close();
    start('age', maxConnectionAgeGraceMs, () => session.destroy());
  });
  // Also the only way to notice, on some versions of Node, that a connection ended in the middle of a broken frame.
  const ping = () =>
    start('ping', timeMs, () => {
      if (session.destroyed || session.closed) return;
      if (streams > 0) return ping();
      session.ping((error) => {
        if (!error) ping();
      });
      start('ping', timeoutMs, () => session.destroy());
    });
  ping();
  let lastPing = Number.NEGATIVE_INFINITY;
  let strikes = 0;
  session.on('ping', () => {
    const now = clock.monotonic();
    const { minPingIntervalMs, permitPingsWithoutCalls } = keepalive;
    const interval =
      streams > 0 || permitPingsWithoutCalls || minPingIntervalMs === 0 ? minPingIntervalMs : IDLE_PING_INTERVAL_MS;
    if (now - lastPing < interval && ++strikes > 2) {
      session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'));
      session.destroy();
    }
    lastPing = now;
  });
  session.on('stream', () => {
    strikes = 0;
  });
  session.once('close', () => {
    for (const timer of Object.values(timers)) timer?.cancel();
    gone();
  });
}

/** An answer that is not gRPC, to something that is not gRPC. */
function refuse(stream: ServerHttp2Stream, status: number): void {
  stream.respond({ ':status': status }, { endStream: true });
  closeAfterAnswer(stream);
}

/** Tells the client to stop sending what is of no interest. Not at once: a reset could overtake the answer. */
function closeAfterAnswer(stream: ServerHttp2Stream): void {
  setImmediate(() => {
    if (!stream.closed) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}

const ACCEPTED = ENCODINGS.join(',');
const HEADERS = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': ACCEPTED,
} as const;

function succeed(stream: ServerHttp2Stream, response: Uint8Array): void {
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(frame(response, false));
}

function fail(stream: ServerHttp2Stream, error: GrpcError): void {
  const details = error.details && { 'grpc-status-details-bin': Buffer.from(error.details).toString('base64') };
  stream.respond(
    { ...HEADERS, 'grpc-status': String(error.code), 'grpc-message': encodeGrpcMessage(error.message), ...details },
    { endStream: true },
  );
  closeAfterAnswer(stream);
}

interface MessageLimits {
  readonly maxMessageSize: number;
  readonly readTimeoutMs: number;
  readonly clock: Clock;
  readonly buffered: { bytes: number; readonly limit: number };
}

async function readMessage(
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
    const slow = new GrpcError(
      GrpcCode.DEADLINE_EXCEEDED,
      `the request did not arrive within ${readTimeoutMs / 1000} s`,
    );
    const timer = readTimeoutMs > 0 ? clock.after(readTimeoutMs, () => settle(slow)) : undefined;
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
