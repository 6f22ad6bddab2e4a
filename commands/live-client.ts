/** Reads the live state of a running daemon at its `live` exporter; only GET. */
import { Agent, request } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import type { LiveSnapshot } from '../pipeline/kit/live-types.ts';
import type { Report } from '../pipeline/kit/report.ts';
import { UsageError } from './command.ts';

export const LIVE_URL = 'http://127.0.0.1:13134';

const TIMEOUT_MS = 5000;
const MOST_BYTES = 64 * 2 ** 20;

/** The daemon answered with an error of its own. */
export class LiveError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Where the state comes from: a daemon over HTTP, or a pipeline in this process. */
export interface LiveSource {
  state(): Promise<LiveSnapshot>;
  incident(id: string): Promise<Report>;
}

export interface LiveClient extends LiveSource {
  /** GET of a path below `/api/v1/`; rejects with a LiveError or with what the network says. */
  get(path: string): Promise<unknown>;
  close(): void;
}

/** `token` is a bearer token; credentials in the URL are sent as basic authentication. */
export function liveClient(address: string, token?: string): LiveClient {
  const text = /^[a-z]+:\/\//i.test(address) ? address : `http://${address}`;
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw new UsageError(`"${address}" is not an address of a daemon; write it as http://HOST:PORT`);
  }
  const url = new URL(text);
  const isTls = url.protocol === 'https:';
  const agent = isTls ? new TlsAgent({ keepAlive: true }) : new Agent({ keepAlive: true });
  const headers: Record<string, string> = { accept: 'application/json' };
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  else if (url.username !== '') {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
  }
  const get = (path: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const outgoing = (isTls ? tlsRequest : request)(
        {
          host: url.hostname.replace(/^\[|\]$/g, ''),
          port: url.port || (isTls ? 443 : 80),
          path: `/api/v1/${path}`,
          agent,
          headers,
          timeout: TIMEOUT_MS,
        },
        (response) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            chunks.push(chunk);
            bytes += chunk.length;
            if (bytes > MOST_BYTES) outgoing.destroy(new Error('the answer is too large'));
          });
          response.on('error', reject);
          response.on('end', () => {
            const status = response.statusCode ?? 0;
            try {
              const body: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
              if (status === 200) return resolve(body);
              const said = (body as { error?: unknown } | null)?.error;
              reject(new LiveError(status, typeof said === 'string' ? said.slice(0, 500) : `it answered ${status}`));
            } catch {
              reject(new Error(`it answered ${status}, and not as the live exporter does`));
            }
          });
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
      outgoing.on('error', reject);
      outgoing.end();
    });
  return {
    get,
    state: async () => (await get('state')) as LiveSnapshot,
    incident: async (id) => (await get(`incidents/${encodeURIComponent(id)}`)) as Report,
    close: () => agent.destroy(),
  };
}
