/**
 * A small HTTP/1.1 server for components that listen. It keeps what every listener needs in one place: limits before and
 * after decompression, timeouts against slow clients, authentication before the body is read, TLS with rotating
 * certificates, CORS, and a stop that lets requests in flight finish.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { describeError } from '../errors.ts';
import { ENCODINGS, type Encoding } from '../wire/compression.ts';
import type { Clock, Timer } from './clock.ts';
import { createCors } from './cors.ts';
import {
  type BodyWriter,
  createRequest,
  HttpError,
  type HttpHandler,
  type HttpRequest,
  type HttpResponse,
} from './http-request.ts';
import { listen, urlOf } from './listen.ts';
import type { Logger } from './log.ts';
import { createAuthorizer } from './server-auth.ts';
import type { AuthServerConfig, CorsConfig, HttpServerConfig, TlsServerConfig } from './server-options.ts';
import { followServerTls, readServerTls } from './server-tls.ts';

export { type BodyWriter, HttpError, type HttpHandler, type HttpRequest, type HttpResponse } from './http-request.ts';

export interface ServeOptions {
  /** `host:port` (port 0: any free one), `:port`, or `unix:///path`. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Permissions of a Unix socket; default 0o600. */
  readonly socketMode?: number;
  readonly tls?: TlsServerConfig | undefined;
  readonly auth?: AuthServerConfig | undefined;
  readonly cors?: CorsConfig | undefined;
  /** Bytes, before and after decompression; default 20 MiB. */
  readonly maxBodySize?: number;
  /** Bytes that bodies may hold together, until their requests are answered; default 256 MiB or `maxBodySize`. */
  readonly maxBufferedBytes?: number;
  /** Encodings that are read; default all this Node knows. */
  readonly encodings?: readonly Encoding[];
  /** Milliseconds; 0 = no limit. Defaults 30 s, 60 s, 30 s, 60 s. */
  readonly readHeaderTimeoutMs?: number;
  readonly readTimeoutMs?: number;
  readonly writeTimeoutMs?: number;
  readonly idleTimeoutMs?: number;
  readonly keepAlive?: boolean;
  readonly maxConnections?: number;
  readonly responseHeaders?: Readonly<Record<string, string>>;
  /**
   * Refuses requests whose Host header is not an address or name of this machine (403), so that a web page cannot reach a
   * loopback server through a name of its own (DNS rebinding). For servers that people open in a browser.
   */
  readonly localHostsOnly?: boolean;
  /** How an error is said; default: its message as text. */
  readonly renderError?: (error: HttpError, request: HttpRequest) => HttpResponse;
  /** Called once per request when it is over. */
  readonly onAccess?: (record: AccessRecord) => void;
}

export interface AccessRecord {
  readonly method: string;
  readonly path: string;
  /** 499 when the client went away first. */
  readonly status: number;
  readonly durationMs: number;
  /** Bytes of the body as they were sent, where it was read. */
  readonly bodyBytes: number;
  readonly remoteAddress: string;
}

export interface Serving {
  readonly address: string;
  readonly port: number;
  readonly url: string;
  /** Open connections. */
  connections(): number;
  /**
   * Takes no new connection, lets requests in flight finish until `deadline` aborts, then cuts them. Resolves when all is
   * closed. Calling it twice is harmless.
   */
  close(deadline?: AbortSignal): Promise<void>;
}

/** The part of `ServeOptions` that comes from the shared config options. */
export const serveOptions = (config: HttpServerConfig) => ({
  endpoint: config.endpoint,
  tls: config.tls,
  auth: config.auth,
  cors: config.cors,
  maxBodySize: config.max_request_body_size,
  readHeaderTimeoutMs: config.read_header_timeout,
  readTimeoutMs: config.read_timeout,
  writeTimeoutMs: config.write_timeout,
  idleTimeoutMs: config.idle_timeout,
  keepAlive: config.keep_alives_enabled,
  maxConnections: config.max_connections,
  responseHeaders: config.response_headers,
});

/** How long bytes that nobody will read are still taken after an early answer, so that the answer is not lost. */
const LINGER_MS = 2000;

const plainError = (error: HttpError): HttpResponse => ({
  status: error.status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body: `${error.message}\n`,
});

interface ConnectionState {
  active: number;
  timer: Timer | undefined;
}

/** Starts listening; resolves when clients can connect, rejects with a sentence that says why not. */
export async function serve(options: ServeOptions, handler: HttpHandler): Promise<Serving> {
  const { clock, log, maxBodySize = 20 * 2 ** 20, encodings = ENCODINGS, renderError = plainError } = options;
  const {
    readHeaderTimeoutMs = 30_000,
    readTimeoutMs = 60_000,
    writeTimeoutMs = 30_000,
    idleTimeoutMs = 60_000,
  } = options;
  const authorizer = createAuthorizer(options.auth);
  const cors = createCors(options.cors);
  const buffered = { bytes: 0, limit: Math.max(options.maxBufferedBytes ?? 256 * 2 ** 20, maxBodySize) };
  const tls = options.tls && (await readServerTls(options.tls));
  // Node's own timeouts cannot be driven by our clock; ours cover the same ground.
  const nodeOptions = { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0, noDelay: true };
  const server: Server = tls
    ? createTlsServer({
        ...nodeOptions,
        ...tls,
        ALPNProtocols: ['http/1.1'],
        handshakeTimeout: readHeaderTimeoutMs || 120_000,
      })
    : createServer(nodeOptions);
  if (options.maxConnections) server.maxConnections = options.maxConnections;

  const sockets = new Set<Socket>();
  const states = new WeakMap<Socket, ConnectionState>();
  const stopping = new AbortController();

  const arm = (socket: Socket, state: ConnectionState, ms: number) => {
    state.timer?.cancel();
    state.timer = ms > 0 ? clock.after(ms, () => socket.destroy()) : undefined;
  };
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    const state: ConnectionState = { active: 0, timer: undefined };
    states.set(socket, state);
    arm(socket, state, readHeaderTimeoutMs);
    socket.once('close', () => state.timer?.cancel());
  });
  server.on('tlsClientError', (error: Error) => log.debug('A TLS handshake failed.', { error: describeError(error) }));

  const onRequest = (req: IncomingMessage, res: ServerResponse, expectsContinue: boolean) => {
    const state = states.get(req.socket) ?? { active: 0, timer: undefined };
    const started = clock.monotonic();
    state.active++;
    state.timer?.cancel();
    const request = createRequest(req, res, {
      maxBodySize,
      readTimeoutMs,
      encodings,
      clock,
      buffered,
      expectsContinue,
    });
    res.once('close', () => {
      state.active--;
      options.onAccess?.({
        method: request.method,
        path: request.path,
        status: res.writableFinished ? res.statusCode : 499,
        durationMs: clock.monotonic() - started,
        bodyBytes: request.bodyBytes(),
        remoteAddress: request.remoteAddress,
      });
      if (state.active > 0 || req.socket.destroyed) return;
      // A stopping server keeps only the connections whose last answer is still being taken.
      if (stopping.signal.aborted && !req.socket.writableEnded) req.socket.end();
      arm(req.socket, state, idleTimeoutMs);
    });
    void answer(request, req, res);
  };
  server.on('request', (req, res) => onRequest(req, res, false));
  server.on('checkContinue', (req, res) => onRequest(req, res, true));

  const decide = async (request: HttpRequest): Promise<HttpResponse> => {
    if (options.localHostsOnly && !isLocalHost(request.headers.host)) {
      throw new HttpError(403, `The host "${request.headers.host ?? ''}" is not this machine.`);
    }
    const preflight = cors?.preflight(request);
    if (preflight) return preflight;
    if (authorizer && !authorizer.allows(request.headers.authorization)) {
      throw new HttpError(401, 'The request needs an Authorization header with valid credentials.', {
        'www-authenticate': authorizer.challenge,
      });
    }
    return await handler(request);
  };

  const answer = async (request: HttpRequest, req: IncomingMessage, res: ServerResponse) => {
    let response: HttpResponse;
    try {
      response = await decide(request);
    } catch (error) {
      let failure: HttpError;
      if (error instanceof HttpError) failure = error;
      else {
        log.error('A request could not be answered because of a bug.', { path: request.path, error: stackOf(error) });
        failure = new HttpError(500, 'Internal error.');
      }
      response = renderError(failure, request);
      response = { ...response, headers: { ...failure.headers, ...response.headers } };
    }
    if (res.destroyed) return;
    try {
      await send(response, request, req, res);
    } catch (error) {
      // The status line is out: all that can be said now is that the answer is not whole.
      if (!request.gone.aborted) log.warn('An answer broke off.', { path: request.path, error: describeError(error) });
      res.destroy();
    }
  };

  const send = async (response: HttpResponse, request: HttpRequest, req: IncomingMessage, res: ServerResponse) => {
    const unread = !req.complete && hasBody(req);
    const headers: Record<string, string> = {
      ...options.responseHeaders,
      ...cors?.headers(request),
      ...response.headers,
    };
    if (unread || stopping.signal.aborted || options.keepAlive === false) {
      headers['connection'] = 'close';
    } else if (idleTimeoutMs > 0 && req.httpVersionMinor > 0) {
      // Tells clients when to stop using an idle connection, so that none is closed under a request.
      headers['keep-alive'] = `timeout=${Math.max(1, Math.floor(idleTimeoutMs / 1000))}`;
    }
    if (unread) lingerOn(req, clock);
    const { body } = response;
    if (typeof body === 'function') {
      res.writeHead(response.status, headers);
      if (req.method !== 'HEAD') await stream(body, request, res);
      res.end();
      return;
    }
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    if (response.status !== 204 && response.status !== 304) headers['content-length'] = String(bytes?.length ?? 0);
    res.writeHead(response.status, headers);
    if (bytes === undefined || req.method === 'HEAD') res.end();
    else res.end(bytes);
    if (!res.writableFinished && writeTimeoutMs > 0) {
      const timer = clock.after(writeTimeoutMs, () => res.destroy());
      res.once('close', () => timer.cancel());
    }
  };

  const stream = async (body: (writer: BodyWriter) => Promise<void>, request: HttpRequest, res: ServerResponse) => {
    const signal = AbortSignal.any([request.gone, stopping.signal]);
    await body({
      signal,
      write(chunk) {
        if (res.destroyed) return Promise.reject(new Error('the client is gone'));
        if (res.write(chunk)) return Promise.resolve();
        return new Promise((resolve, reject) => {
          const timer = writeTimeoutMs > 0 ? clock.after(writeTimeoutMs, () => res.destroy()) : undefined;
          const settle = () => {
            timer?.cancel();
            res.off('drain', settle);
            res.off('close', settle);
            if (res.destroyed) reject(new Error('the client is gone'));
            else resolve();
          };
          res.on('drain', settle);
          res.on('close', settle);
        });
      },
    });
  };

  const listening = await listen(server, options.endpoint, options.socketMode);
  server.on('error', (error) =>
    log.error('The listener failed.', { endpoint: options.endpoint, error: describeError(error) }),
  );
  const certificates =
    tls && options.tls ? followServerTls(options.tls, tls, server as never, { clock, log }) : undefined;

  let closed: Promise<void> | undefined;
  const close = async (deadline?: AbortSignal) => {
    certificates?.stop();
    const done = new Promise<void>((resolve) => server.close(() => resolve()));
    stopping.abort();
    for (const socket of sockets) {
      const state = states.get(socket);
      if (!tls && !state?.active) socket.destroy();
    }
    // Behind TLS the request belongs to another socket object than the one that was accepted.
    if (tls) server.closeIdleConnections();
    const cut = () => {
      for (const socket of sockets) socket.destroy();
    };
    if (deadline?.aborted) cut();
    else deadline?.addEventListener('abort', cut, { once: true });
    await done;
    deadline?.removeEventListener('abort', cut);
  };
  return {
    ...listening,
    url: urlOf(listening, tls ? 'https' : 'http'),
    connections: () => sockets.size,
    close(deadline) {
      closed ??= close(deadline);
      return closed;
    },
  };
}

const stackOf = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));

const hasBody = (req: IncomingMessage) =>
  req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0;

function isLocalHost(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || /^127\.\d+\.\d+\.\d+$/.test(name) || name === '[::1]';
}

/**
 * An answer before the end of the request: Node would close at once, the kernel would answer what the client still sends
 * with a reset, and the client would lose the answer. So the write side is closed first and the rest is discarded for a
 * moment.
 */
function lingerOn(req: IncomingMessage, clock: Clock): void {
  const { socket } = req;
  socket.destroySoon = () => {
    if (socket.destroyed) return;
    const timer = clock.after(LINGER_MS, () => socket.destroy());
    socket.once('close', () => timer.cancel());
    socket.end();
    if (req.complete) socket.destroy();
    else {
      req.once('end', () => socket.destroy());
      req.resume();
    }
  };
}
