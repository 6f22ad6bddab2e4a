/**
 * The only client that receivers have: it can GET, on paths that its allow-list knows, and nothing else. One connection
 * is kept per target and one request is in flight on it; an answer may be neither late nor large nor lead elsewhere.
 */
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { describeError } from '../errors.ts';
import { DecompressError, decompress, parseEncoding } from '../wire/compression.ts';
import { type ClientOptions, credentials } from './client-options.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import { openTunnel, proxyAuthorization } from './post-proxy.ts';
import { sharedReads } from './shared-reads.ts';
import type { ClientTls } from './tls.ts';
import { USER_AGENT } from './version.ts';

export interface GetterOptions {
  /** `http://host:port`; a path in it is ignored. */
  readonly origin: string;
  /** Says of a path (without its query) whether it may be asked for; redirects are checked with it too. */
  readonly allow: (path: string) => boolean;
  readonly client: Partial<ClientOptions>;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface GetRequest {
  /** Path and query. */
  readonly path: string;
  /** For the whole exchange, milliseconds. */
  readonly timeoutMs: number;
  /** Of the body, before and after decompression. */
  readonly maxBytes: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ask for gzip, which costs the target CPU to save bytes on the way. */
  readonly gzip?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Gives the memory that a body of several pieces is put together in, of exactly this size; default: new memory. */
  readonly memory?: ((bytes: number) => Buffer) | undefined;
}

export interface GetAnswer {
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** Bytes on the wire, of the body. */
  readonly wireBytes: number;
  /** From the sending of the request to the last byte, milliseconds; a new connection's handshakes are not in it. */
  readonly durationMs: number;
  /** False when a connection had to be opened. */
  readonly reused: boolean;
}

/** Why there is no answer; a closed list, used as a label. */
export type GetReason =
  | 'timeout'
  | 'refused'
  | 'reset'
  | 'unreachable'
  | 'dns'
  | 'tls'
  | 'credentials'
  | 'status'
  | 'too_large'
  | 'encoding'
  | 'protocol'
  | 'redirect'
  | 'forbidden'
  | 'stopped';

export class GetFailure extends Error {
  override readonly name = 'GetFailure';
  readonly reason: GetReason;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  constructor(reason: GetReason, message: string, options: { cause?: unknown; status?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.status = options.status;
  }
}

export interface Getter {
  /** Resolves with the body of a 200 answer; rejects with a GetFailure. A second call waits for the first. */
  get(request: GetRequest): Promise<GetAnswer>;
  /**
   * Reads an answer that goes on: `read` gets each chunk as it comes. Resolves when the other side ends it. The timeout is
   * for the answer to begin. Uses a connection of its own.
   */
  stream(request: GetRequest, read: (chunk: Buffer) => void): Promise<void>;
  close(): void;
}

const MAX_REDIRECTS = 2;

interface Exchange {
  readonly sent: ClientRequest;
  readonly response: IncomingMessage;
  /** When the request could be sent. */
  readonly begun: number;
}

/** Makes a client for one target; the connection is opened when it is needed. */
export function getter(options: GetterOptions): Getter {
  const { client, clock, log, allow } = options;
  const origin = new URL(options.origin);
  const secure = origin.protocol === 'https:';
  const from = credentials(client, { clock, log });
  const proxy = client.proxy_url === undefined ? undefined : new URL(client.proxy_url);
  let agent: { tls: ClientTls | undefined; agent: HttpAgent | HttpsAgent } | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let closed = false;

  const agentFor = async (): Promise<HttpAgent | HttpsAgent> => {
    const tls = secure ? await from.tls() : undefined;
    if (agent && agent.tls === tls) return agent.agent;
    agent?.agent.destroy();
    // Two: a request and, where there is one, a stream.
    const kept = { keepAlive: true, maxSockets: 2, maxFreeSockets: 1 };
    const made = tls ? new HttpsAgent({ ...kept, ...tls }) : new HttpAgent({ ...kept, ...sharedReads });
    if (tls && proxy) tunnelThrough(made as HttpsAgent, proxy, tls);
    agent = { tls, agent: made };
    return made;
  };

  /** Opens one exchange; resolves with the answer once its head is there. */
  const open = async (request: GetRequest, abort: AbortSignal): Promise<Exchange> => {
    const url = new URL(request.path, origin);
    if (url.origin !== origin.origin || !allow(url.pathname)) {
      throw new GetFailure('forbidden', `${url.pathname} is not on the list of paths that may be asked for`);
    }
    let headers: Record<string, string>;
    let over: HttpAgent | HttpsAgent;
    try {
      headers = {
        'user-agent': USER_AGENT,
        'accept-encoding': request.gzip ? 'gzip' : 'identity',
        ...request.headers,
        ...(await from.headers()),
      };
      over = await agentFor();
    } catch (error) {
      throw new GetFailure('credentials', describeError(error), { cause: error });
    }
    const send = (): ClientRequest => {
      if (secure) return httpsRequest(url, { method: 'GET', headers, agent: over });
      if (!proxy) return httpRequest(url, { method: 'GET', headers, agent: over });
      return httpRequest({
        method: 'GET',
        agent: over,
        host: proxy.hostname.replace(/^\[|\]$/g, ''),
        port: proxy.port || 80,
        path: url.href,
        headers: { ...headers, host: url.host, ...proxyAuthorization(proxy) },
      });
    };
    return new Promise((resolve, reject) => {
      const attempt = (first: boolean) => {
        if (abort.aborted) return reject(abort.reason);
        let begun = clock.monotonic();
        const sent = send();
        let answered = false;
        sent.once('socket', (socket) => {
          if (!socket.connecting) return;
          socket.once(secure ? 'secureConnect' : 'connect', () => {
            begun = clock.monotonic();
          });
        });
        const stop = () => sent.destroy(abort.reason as Error);
        abort.addEventListener('abort', stop, { once: true });
        sent.on('error', (error: NodeJS.ErrnoException) => {
          abort.removeEventListener('abort', stop);
          // The target closed the kept connection just when we used it (many engines do after 5 s).
          const stale = sent.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '');
          if (first && !answered && stale && !abort.aborted) attempt(false);
          else reject(error);
        });
        sent.on('response', (response) => {
          answered = true;
          response.once('close', () => abort.removeEventListener('abort', stop));
          resolve({ sent, response, begun });
        });
        sent.end();
      };
      attempt(true);
    });
  };

  /** Opens an exchange, follows redirects that stay on the list, and refuses every status but 200. */
  const begin = async (request: GetRequest, abort: AbortSignal): Promise<Exchange> => {
    let { path } = request;
    for (let hops = 0; ; hops++) {
      const exchange = await open({ ...request, path }, abort);
      const { sent, response } = exchange;
      const status = response.statusCode ?? 0;
      if (status === 200) return exchange;
      response.on('error', () => {});
      sent.destroy();
      const location = response.headers.location;
      if (![301, 302, 303, 307, 308].includes(status)) {
        throw new GetFailure('status', `server returned HTTP status ${status} ${response.statusMessage ?? ''}`.trim(), {
          status,
        });
      }
      const about = `server returned HTTP status ${status} with a redirect`;
      if (!location || !URL.canParse(location, new URL(path, origin).href)) {
        throw new GetFailure('redirect', `${about} to nowhere`, { status });
      }
      const to = new URL(location, new URL(path, origin));
      if (to.origin !== origin.origin) {
        throw new GetFailure('redirect', `${about} to ${to.origin}, another origin, which is not followed`, { status });
      }
      if (!allow(to.pathname)) {
        throw new GetFailure('redirect', `${about} to ${to.pathname}, which may not be asked for`, { status });
      }
      if (hops >= MAX_REDIRECTS) throw new GetFailure('redirect', `${about} again and again`, { status });
      path = `${to.pathname}${to.search}`;
    }
  };

  const guarded = async <T>(request: GetRequest, work: (abort: AbortController, begun: () => void) => Promise<T>) => {
    if (closed) throw new GetFailure('stopped', 'the client is closed');
    const abort = new AbortController();
    const timer = clock.after(request.timeoutMs, () =>
      abort.abort(new GetFailure('timeout', `no complete answer within ${request.timeoutMs} ms`)),
    );
    const stop = () => abort.abort(new GetFailure('stopped', 'stopped'));
    request.signal?.addEventListener('abort', stop, { once: true });
    if (request.signal?.aborted) stop();
    try {
      return await work(abort, () => timer.cancel());
    } catch (error) {
      if (abort.signal.aborted) throw abort.signal.reason;
      throw failureOf(error);
    } finally {
      timer.cancel();
      request.signal?.removeEventListener('abort', stop);
    }
  };

  const getNow = (request: GetRequest): Promise<GetAnswer> =>
    guarded(request, async (abort) => {
      const { sent, response, begun } = await begin(request, abort.signal);
      try {
        const wire = await readAll(response, request);
        const durationMs = clock.monotonic() - begun;
        const body = await unpack(wire, response, request.maxBytes);
        const contentType = response.headers['content-type'];
        return { contentType, body, wireBytes: wire.length, durationMs, reused: sent.reusedSocket };
      } catch (error) {
        sent.destroy();
        throw error;
      }
    });

  return {
    get(request) {
      const result = last.then(() => getNow(request));
      // Not the answer itself: a body that waits for the next request would stay in memory until then.
      last = result.then(
        () => {},
        () => {},
      );
      return result;
    },
    stream: (request, read) =>
      guarded(request, async (abort, begun) => {
        const { sent, response } = await begin(request, abort.signal);
        begun();
        try {
          for await (const chunk of response as AsyncIterable<Buffer>) read(chunk);
        } finally {
          sent.destroy();
        }
      }),
    close() {
      closed = true;
      agent?.agent.destroy();
      agent = undefined;
    },
  };
}

const tooLarge = (maxBytes: number) => new GetFailure('too_large', `body size limit exceeded (${maxBytes} bytes)`);

async function readAll(response: IncomingMessage, { maxBytes, memory }: GetRequest): Promise<Buffer> {
  if (Number(response.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  if (!response.complete) throw new GetFailure('reset', 'the connection was closed in the middle of the answer');
  if (chunks.length === 1) return chunks[0]!;
  if (!memory) return Buffer.concat(chunks, size);
  const body = memory(size);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(body, at);
  return body;
}

async function unpack(wire: Buffer, response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const header = response.headers['content-encoding'];
  const encoding = parseEncoding(header);
  if (encoding === undefined)
    throw new GetFailure('encoding', `the answer has the unknown Content-Encoding "${header}"`);
  if (encoding === 'identity' || wire.length === 0) return wire;
  try {
    const body = await decompress(wire, encoding, maxBytes);
    return Buffer.from(body.buffer, body.byteOffset, body.length);
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    throw error.tooLarge
      ? tooLarge(maxBytes)
      : new GetFailure('encoding', 'the answer cannot be decompressed', { cause: error });
  }
}

const REASONS: Readonly<Record<string, [GetReason, string]>> = {
  ECONNREFUSED: ['refused', 'connection refused'],
  ECONNRESET: ['reset', 'the connection was closed in the middle of the answer'],
  EPIPE: ['reset', 'the connection was closed while asking'],
  ENOTFOUND: ['dns', 'the host name is not known'],
  EAI_AGAIN: ['dns', 'the host name cannot be looked up now'],
  EHOSTUNREACH: ['unreachable', 'no route to host'],
  ENETUNREACH: ['unreachable', 'network is unreachable'],
  ETIMEDOUT: ['unreachable', 'connection timed out'],
};

function failureOf(error: unknown): GetFailure {
  if (error instanceof GetFailure) return error;
  const { code = '', errors } = error as NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] };
  const known = REASONS[code] ?? REASONS[errors?.[0]?.code ?? ''];
  if (known) return new GetFailure(known[0], known[1], { cause: error });
  if (code.startsWith('HPE_')) return new GetFailure('protocol', 'the answer is not valid HTTP', { cause: error });
  if (/CERT|TLS|SSL|SELF_SIGNED|ISSUER|VERIFY|ALTNAME|^EPROTO$/.test(code)) {
    return new GetFailure('tls', 'TLS failed', { cause: error });
  }
  return new GetFailure('protocol', describeError(error), { cause: error });
}

/** Lets an agent reach its targets through a proxy's tunnel. */
function tunnelThrough(agent: HttpsAgent, proxy: URL, tls: ClientTls): void {
  type Target = { host?: string; hostname?: string; port?: number | string; servername?: string };
  const create = (target: Target, done: (error: Error | null, socket?: unknown) => void) => {
    const host = target.hostname ?? target.host ?? '';
    openTunnel(proxy, host, Number(target.port ?? 443)).then(
      (socket) => {
        const servername = tls.servername ?? target.servername;
        done(null, connectTls({ socket, host, ...tls, ...(servername ? { servername } : {}) }));
      },
      (error) => done(error),
    );
  };
  (agent as unknown as { createConnection: typeof create }).createConnection = create;
}
