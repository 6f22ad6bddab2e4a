/** The built daemon as a child process, an engine for it to watch and a backend that takes its OTLP. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { onTestFinished } from 'vitest';
import type { Signal } from '../../pipeline/model.ts';
import { oracleDecode, type Plain } from '../kit/otlp-oracle.ts';

const MAIN = new URL('../../dist/main.js', import.meta.url).pathname;

/** Waits until something is so, looking often; fails after a while with what was awaited. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const giveUp = Date.now() + 15_000;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > giveUp) throw new Error(`in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

export interface Daemon {
  readonly child: ChildProcess;
  stdout(): string;
  /** The log, as text. */
  stderr(): string;
  /** Waits for a text in the log. */
  says(text: string): Promise<void>;
  /** Sends a signal; resolves with the exit code once the process has ended. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts `enginelight` with these arguments. It is killed when the test ends. */
export function enginelight(args: readonly string[], env: Record<string, string> = {}): Daemon {
  if (!existsSync(MAIN)) throw new Error('dist/main.js is not there: run `npm run build` first');
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  onTestFinished(() => void child.kill('SIGKILL'));
  return {
    child,
    stdout: () => out,
    stderr: () => err,
    says: async (text) => {
      await until(`"${text}" in the log:\n${err}`, () => err.includes(text)).catch(() => {
        throw new Error(`the log never said "${text}":\n${err}`);
      });
    },
    end(signal = 'SIGTERM') {
      child.kill(signal);
      return exited;
    },
  };
}

/** A folder of its own with these files. */
export function folder(files: Record<string, string>): string {
  const path = mkdtempSync(join(tmpdir(), 'enginelight-e2e-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

async function listening(handler: (request: IncomingMessage, response: ServerResponse) => void, port = 0) {
  const server: Server = createServer(handler);
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  onTestFinished(close);
  return { port: (server.address() as AddressInfo).port, close };
}

/** A page as vLLM writes it. `running` and `tokens` are what a test sets; a scrape makes nothing happen. */
export async function fakeEngine() {
  const state = { running: 2, waiting: 1, kv: 0.25, tokens: 1000, scrapes: 0, paths: [] as string[] };
  const labels = 'engine="0",model_name="Qwen/Qwen2.5-7B-Instruct"';
  const page = () => `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{${labels}} ${state.running}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{${labels}} ${state.waiting}
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{${labels}} ${state.kv}
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{${labels}} ${state.tokens}
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{${labels},le="0.1"} 3
vllm:time_to_first_token_seconds_bucket{${labels},le="1.0"} 5
vllm:time_to_first_token_seconds_bucket{${labels},le="+Inf"} 6
vllm:time_to_first_token_seconds_sum{${labels}} 4.5
vllm:time_to_first_token_seconds_count{${labels}} 6
`;
  const { port, close } = await listening((request, response) => {
    state.paths.push(`${request.method} ${request.url}`);
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    state.scrapes++;
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(page());
  });
  return { state, url: `http://127.0.0.1:${port}`, close };
}

export interface Value {
  readonly name: string;
  readonly resource: Readonly<Record<string, unknown>>;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly value: unknown;
}

/** An OTLP/HTTP backend that decodes with an independent implementation. */
export async function backend(port = 0) {
  const state = { status: 200, requests: 0 };
  const values: Value[] = [];
  const server = await listening((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      state.requests++;
      if (state.status !== 200) {
        response.writeHead(state.status).end();
        return;
      }
      const body = Buffer.concat(chunks);
      const signal = request.url?.split('/').at(-1) as Signal;
      const plain = oracleDecode(signal, request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body);
      if (signal === 'metrics') values.push(...flatten(plain));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  }, port);
  return {
    ...server,
    url: `http://127.0.0.1:${server.port}`,
    state,
    values,
    /** What came under a name, the last of each. */
    last: (name: string) => values.findLast((v) => v.name === name),
  };
}

type List = readonly Plain[];

function flatten(request: Plain): Value[] {
  const out: Value[] = [];
  for (const r of request['resourceMetrics'] as List) {
    const resource = attributesOf((r['resource'] as Plain)['attributes'] as List);
    for (const s of r['scopeMetrics'] as List) {
      for (const m of s['metrics'] as List) {
        const data = (m['gauge'] ?? m['sum'] ?? m['histogram']) as Plain | undefined;
        for (const p of (data?.['dataPoints'] ?? []) as List) {
          out.push({
            name: String(m['name']),
            resource,
            attributes: attributesOf(p['attributes'] as List),
            value: p['asDouble'] ?? p['asInt'] ?? p['count'],
          });
        }
      }
    }
  }
  return out;
}

const attributesOf = (list: List): Record<string, unknown> =>
  Object.fromEntries(
    list.map((a) => [String(a['key']), Object.values(a['value'] as Plain).find((v) => v !== undefined && v !== null)]),
  );
