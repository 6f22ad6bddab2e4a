/**
 * The HTTP client of exporters: one POST at a time over kept connections, with everything that a request to somebody
 * else's server needs: TLS and credentials whose files may change, proxies, a limit on what is read of the answer, and no
 * redirect that would carry credentials to another place.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { PermanentError, RetryableError } from '../errors.ts';
import { DecompressError, decompress, parseEncoding } from '../wire/compression.ts';
import { type ClientOptions, type Credentials, credentials } from './client-options.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import { openTunnel, proxyAuthorization, proxyFor } from './post-proxy.ts';
import type { ClientTls } from './tls.ts';
import { USER_AGENT } from './version.ts';

export interface PostOptions {
  readonly client: Partial<ClientOptions>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Answers larger than this are refused, compressed or not. Default 4 MiB. */
  readonly maxResponseBytes?: number;
  /** Connections that are kept for the next request. */
  readonly idleConnections?: number;
  /** Where proxies are looked up; default the process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export interface PostAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Decompressed. */
  readonly body: Uint8Array;
}

export interface Poster {
  /**
   * Sends one POST and reads the answer, whatever its status. Rejects with a RetryableError if no whole answer came
   * (connection refused or cut, `abort`), with a PermanentError if it may not be followed or is too large.
   */
  post(url: URL, body: Uint8Array, headers: Readonly<Record<string, string>>, abort: AbortSignal): Promise<PostAnswer>;
  /** Closes idle connections, and those in use when they are done. */
  close(): void;
}

const MAX_REDIRECTS = 5;

/** A URL without what must not be shown: user, password, query. */
export const shownUrl = (url: URL): string => `${url.protocol}//${url.host}${url.pathname}`;

/** Makes a client; connections are opened when they are needed. */
export function poster(options: PostOptions): Poster {
  const { client, clock, log, maxResponseBytes = 4 << 20, idleConnections = 16 } = options;
  const from: Credentials = credentials(client, { clock, log });
  const agentOptions = { keepAlive: true, maxFreeSockets: idleConnections, scheduling: 'lifo' as const };
  let plain: HttpAgent | undefined;
  let secure: { tls: ClientTls; agents: Map<string, HttpsAgent> } | undefined;
  const retired = new Set<HttpsAgent>();

  const secureAgent = (tls: ClientTls, proxy: URL | undefined): HttpsAgent => {
    if (secure?.tls !== tls) {
      // Requests in flight keep the old connections; nobody new gets them.
      for (const agent of secure?.agents.values() ?? []) {
        agent.maxFreeSockets = 0;
        for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
        retired.add(agent);
      }
      secure = { tls, agents: new Map() };
    }
    const key = proxy?.href ?? '';
    let agent = secure.agents.get(key);
    if (!agent) {
      agent = new HttpsAgent({ ...agentOptions, ...tls });
      if (proxy) tunnelThrough(agent, proxy, tls);
      secure.agents.set(key, agent);
    }
    return agent;
  };

  const once = async (
    url: URL,
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    abort: AbortSignal,
  ): Promise<PostAnswer> => {
    const proxy = proxyFor(url, client.proxy_url, options.env);
    const all: Record<string, string | number> = {
      'user-agent': USER_AGENT,
      ...headers,
      ...(await from.headers()),
      'content-length': body.length,
    };
    if (url.protocol === 'https:') {
      const agent = secureAgent(await from.tls(), proxy);
      return exchange(() => httpsRequest(url, { method: 'POST', headers: all, agent }), body, abort, maxResponseBytes);
    }
    plain ??= new HttpAgent(agentOptions);
    const agent = plain;
    const via = proxy && {
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port || 80,
      path: url.href,
      headers: { ...all, host: url.host, ...proxyAuthorization(proxy) },
    };
    return exchange(
      () =>
        via
          ? httpRequest({ method: 'POST', agent, ...via })
          : httpRequest(url, { method: 'POST', headers: all, agent }),
      body,
      abort,
      maxResponseBytes,
    );
  };

  return {
    async post(url, body, headers, abort) {
      let at = url;
      for (let hops = 0; ; hops++) {
        let answer: PostAnswer;
        try {
          answer = await once(at, body, headers, abort);
        } catch (error) {
          if (error instanceof PermanentError) throw error;
          if (abort.aborted) throw new RetryableError(`no answer from ${shownUrl(at)} in time`);
          throw new RetryableError(`cannot send to ${shownUrl(at)}`, { cause: error });
        }
        if (answer.status < 300 || answer.status >= 400 || answer.status === 304) return answer;
        at = followed(at, answer, hops);
      }
    },
    close() {
      plain?.destroy();
      for (const agent of secure?.agents.values() ?? []) agent.destroy();
      for (const agent of retired) agent.destroy();
      retired.clear();
      secure = undefined;
      plain = undefined;
    },
  };
}

/** Where a redirect leads; throws where a POST with credentials must not go. */
function followed(from: URL, answer: PostAnswer, hops: number): URL {
  const { status } = answer;
  const text = answer.headers.location;
  const fail = (why: string) =>
    new PermanentError(
      `${shownUrl(from)} answered ${status} with a redirect ${why}; set the endpoint to where it shall go`,
    );
  if (!text || !URL.canParse(text, from.href)) throw fail('to nowhere');
  const to = new URL(text, from);
  if (to.origin !== from.origin) throw fail(`to another origin, ${shownUrl(to)}, which is not followed`);
  if (status !== 307 && status !== 308) throw fail(`to ${shownUrl(to)}, which would turn the POST into a GET`);
  if (hops >= MAX_REDIRECTS) throw fail('again and again');
  return to;
}

function exchange(
  open: () => ReturnType<typeof httpRequest>,
  body: Uint8Array,
  abort: AbortSignal,
  maxBytes: number,
): Promise<PostAnswer> {
  return new Promise((resolve, reject) => {
    if (abort.aborted) return reject(new Error('aborted'));
    const begin = () => {
      const request = open();
      let answered = false;
      const stop = () => request.destroy(new Error('aborted'));
      const end = () => abort.removeEventListener('abort', stop);
      abort.addEventListener('abort', stop, { once: true });
      request.on('error', (error: NodeJS.ErrnoException) => {
        end();
        // A kept connection turned out to be closed or spoilt: nothing of this request was seen. Each such connection is
        // gone after one try, so this ends.
        const spoilt = ['ECONNRESET', 'EPIPE'].includes(error.code ?? '') || error.code?.startsWith('HPE_');
        if (spoilt && !answered && request.reusedSocket && !abort.aborted) begin();
        else reject(error);
      });
      request.on('response', (response) => {
        answered = true;
        read(response, maxBytes).then(
          (answer) => {
            end();
            resolve(answer);
          },
          (error) => {
            end();
            request.destroy();
            reject(error);
          },
        );
      });
      request.end(body);
    };
    begin();
  });
}

async function read(response: IncomingMessage, maxBytes: number): Promise<PostAnswer> {
  const tooLarge = () => new PermanentError(`the answer is larger than ${maxBytes} bytes; is this the right endpoint?`);
  if (Number(response.headers['content-length'] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  if (!response.complete) throw new Error('the answer was cut short');
  const raw = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  const status = response.statusCode ?? 0;
  const encoding = parseEncoding(response.headers['content-encoding']);
  if (encoding === undefined) {
    throw new PermanentError(`the answer has the unknown Content-Encoding ${response.headers['content-encoding']}`);
  }
  try {
    const body = raw.length === 0 ? raw : await decompress(raw, encoding, maxBytes);
    return { status, headers: response.headers, body };
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    throw error.tooLarge ? tooLarge() : new PermanentError('the answer cannot be decompressed', { cause: error });
  }
}

function tunnelThrough(agent: HttpsAgent, proxy: URL, tls: ClientTls): void {
  const create = (
    options: { host?: string; hostname?: string; port?: number | string; servername?: string },
    done: (error: Error | null, socket?: unknown) => void,
  ) => {
    const host = options.hostname ?? options.host ?? '';
    openTunnel(proxy, host, Number(options.port ?? 443)).then(
      (socket) => {
        const servername = tls.servername ?? options.servername;
        done(null, connectTls({ socket, host, ...tls, ...(servername ? { servername } : {}) }));
      },
      (error) => done(error),
    );
  };
  (agent as unknown as { createConnection: typeof create }).createConnection = create;
}
