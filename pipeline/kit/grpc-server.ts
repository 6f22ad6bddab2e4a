/**
 * A gRPC server for unary calls, on node:http2: what an OTLP receiver needs, with the same limits, authentication and
 * certificates as the HTTP server.
 */
import http2, { type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Server } from 'node:net';
import { describeError } from '../errors.ts';
import { encodeGrpcMessage, frame, GrpcCode, parseGrpcTimeout } from '../wire/grpc.ts';
import type { Clock } from './clock.ts';
import { ACCEPTED, GrpcError, readMessage } from './grpc-request.ts';
import { type GrpcKeepalive, KEEPALIVE, watchSession } from './grpc-session.ts';
import { listen, urlOf } from './listen.ts';
import type { Logger } from './log.ts';
import { createAuthorizer } from './server-auth.ts';
import type { AuthServerConfig, TlsServerConfig } from './server-options.ts';
import { followServerTls, readServerTls } from './server-tls.ts';

export { GrpcError } from './grpc-request.ts';

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
