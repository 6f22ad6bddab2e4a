/** What the suite over every registered component needs: README examples made harmless, sample data, peers. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { AnySchema } from '../../config/schema.ts';
import type { AnyDefinition } from '../../pipeline/component.ts';
import {
  type Batch,
  gauge,
  type Metric,
  metricsBatch,
  NO_RECORDED_VALUE,
  type Point,
  resource,
  type Signal,
  scope,
  sum,
} from '../../pipeline/model.ts';
import { deepFreeze } from './harness.ts';
import { records, spans } from './parts.ts';

export const ROOT = new URL('../../', import.meta.url).pathname;

/** Where a component lives, relative to the root. */
export const folderOf = ({ kind, type }: AnyDefinition): string => `${kind}s/${type}`;

export const readmeOf = (definition: AnyDefinition): string =>
  readFileSync(join(ROOT, folderOf(definition), 'README.md'), 'utf8');

/** The first YAML block of a README. */
export function exampleOf(readme: string): string {
  const match = /^```yaml\n([\s\S]*?)^```/m.exec(readme);
  if (!match) throw new Error('the README has no ```yaml block');
  return match[1]!;
}

/** Every option of a schema with its path; elements of lists and values of maps are `[]`. */
export function* optionsOf(schema: AnySchema, path: readonly string[] = []): Generator<[string, AnySchema]> {
  for (const [key, sub] of Object.entries(schema.properties ?? {})) {
    const at = [...path, key];
    yield [at.join('.'), sub];
    yield* optionsOf(sub, at);
  }
  if (schema.items) {
    yield [`${path.join('.')}[]`, schema.items];
    yield* optionsOf(schema.items, [...path, '[]']);
  }
  if (typeof schema.additionalProperties === 'object') {
    yield [`${path.join('.')}[]`, schema.additionalProperties];
    yield* optionsOf(schema.additionalProperties, [...path, '[]']);
  }
  for (const [i, alternative] of (schema.anyOf ?? []).entries()) {
    yield [`${path.join('.')}(${i})`, alternative];
    yield* optionsOf(alternative, path);
  }
}

/**
 * A resolved config that cannot leave this machine: listeners take any free port of the loopback, URLs lead to a closed
 * port of it, absolute paths into `folder`.
 */
export function harmless(schema: AnySchema, value: unknown, folder: string): unknown {
  if (typeof value === 'string') {
    switch (schema.format) {
      case 'endpoint':
        return '127.0.0.1:0';
      case 'http_url':
        return `http://127.0.0.1:9${new URL(value).pathname}`;
      case 'path':
        return value.startsWith('/') || !value.startsWith('.') ? join(folder, value) : join(folder, value.slice(1));
      default:
        return schema.anyOf?.some((s) => s.format === 'http_url') || /^https?:\/\//.test(value)
          ? value.replace(/^(https?:\/\/)[^/]*/, '$1127.0.0.1:9')
          : value;
    }
  }
  if (Array.isArray(value)) {
    const items = schema.items;
    return value.map((v) => (items ? harmless(items, v, folder) : v));
  }
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const alternatives = schema.anyOf ?? [schema];
  return Object.fromEntries(
    Object.entries(value).map(([key, v]) => {
      const sub = alternatives
        .map(
          (s) =>
            s.properties?.[key] ?? (typeof s.additionalProperties === 'object' ? s.additionalProperties : undefined),
        )
        .find((s) => s !== undefined);
      return [key, harmless(sub ?? ({} as AnySchema), v, folder)];
    }),
  );
}

const about = resource({ 'service.name': 'llm', 'service.instance.id': 'r0', 'inference.engine': 'vllm' });
const by = scope('conformance', '1');

/** One frozen batch of a signal, with something of everything that the model knows. */
export function sample(signal: Signal): Batch {
  if (signal === 'logs') return deepFreeze(records(3));
  if (signal === 'traces') return deepFreeze(spans(3));
  const at = { time: 1_700_000_000_000_000_000n, startTime: 1_699_999_000_000_000_000n, flags: 0 };
  const of = (metric: Metric, attributes: Record<string, string> = {}) => ({
    series: { resource: about, scope: by, metric, attributes },
    ...at,
  });
  const histogram: Metric = { ...gauge('gen_ai.server.time_to_first_token', 's'), type: 'histogram', temporality: 2 };
  const points: Point[] = [
    { ...of(gauge('inference.requests.running', '{request}')), value: 3 },
    { ...of(gauge('inference.kv.usage', '1'), { model_name: 'a' }), value: 0.5 },
    { ...of(sum('inference.tokens.generated', '{token}')), value: 1000n },
    { ...of(gauge('vllm:num_requests_running', ''), { model_name: 'a' }), value: Number.NaN },
    { ...of(gauge('gone', '1')), value: 0, flags: NO_RECORDED_VALUE },
    {
      ...of(histogram),
      count: 3,
      sum: 1.5,
      bounds: new Float64Array([0.1, 1]),
      bucketCounts: new Float64Array([1, 1, 1]),
    },
    {
      ...of({ ...histogram, name: 'exponential', type: 'exponential_histogram' }),
      count: 3,
      sum: 1.5,
      scale: 2,
      zeroCount: 1,
      zeroThreshold: 0,
      positive: { offset: 1, counts: new Float64Array([1, 1]) },
    },
    {
      ...of({ ...histogram, name: 'summary', type: 'summary', temporality: 0 }),
      count: 3,
      sum: 1.5,
      quantiles: [{ quantile: 0.5, value: 0.4 }],
    },
  ];
  return deepFreeze(metricsBatch(points));
}

export type Mood = 'takes' | 'busy' | 'refuses';

/** The other side of an exporter or receiver that a test controls. */
export interface Peer {
  readonly url: string;
  requests(): number;
  answered(): number;
  /** How it answers from now on: takes everything, is busy for now, or refuses for good. */
  be(mood: Mood): void;
  /** Answers nothing until `letGo`. */
  holdBack(): void;
  letGo(): void;
  close(): Promise<void>;
}

/** Counts, and holds back, what a server is asked; `reply` is called when it may answer. */
function attendant() {
  let requests = 0;
  let answered = 0;
  let mood: Mood = 'takes';
  let hold: Promise<void> | undefined;
  let release = () => {};
  return {
    async attend(reply: (mood: Mood) => void) {
      requests++;
      await hold;
      reply(mood);
      answered++;
    },
    peer: {
      requests: () => requests,
      answered: () => answered,
      be(next: Mood) {
        mood = next;
      },
      holdBack() {
        hold = new Promise((resolve) => {
          release = resolve;
        });
      },
      letGo() {
        hold = undefined;
        release();
      },
    },
  };
}

const HTTP_STATUS: Record<Mood, number> = { takes: 200, busy: 503, refuses: 400 };

/** An HTTP server; what it takes it answers with `body`. */
export async function httpPeer(body = ''): Promise<Peer> {
  const { attend, peer } = attendant();
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      void attend((mood) => {
        response.writeHead(HTTP_STATUS[mood], { 'content-type': 'text/plain; version=0.0.4' }).end(body);
      });
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    ...peer,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      peer.letGo();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** A gRPC server, of an implementation that is not ours, for every service of OTLP. */
export async function grpcPeer(): Promise<Peer> {
  const { attend, peer } = attendant();
  const server = new Server();
  const raw = (bytes: Buffer) => bytes;
  for (const service of ['metrics.v1.MetricsService', 'trace.v1.TraceService', 'logs.v1.LogsService']) {
    const path = `/opentelemetry.proto.collector.${service}/Export`;
    const method = {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: raw,
      requestDeserialize: raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    };
    server.addService(
      { Export: method },
      {
        Export: (_call: unknown, done: (error: object | null, answer?: Buffer) => void) => {
          void attend((mood) => {
            if (mood === 'takes') done(null, Buffer.alloc(0));
            else done({ code: mood === 'busy' ? status.UNAVAILABLE : status.INVALID_ARGUMENT, details: mood });
          });
        },
      },
    );
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    ...peer,
    url: `http://127.0.0.1:${port}`,
    async close() {
      peer.letGo();
      server.forceShutdown();
    },
  };
}

/** Sockets, servers, watches and the like that are open now and are not in a list that was taken before. */
export function opened(before: readonly string[]): string[] {
  const open = process
    .getActiveResourcesInfo()
    .filter((name) => /TCP|UDP|Pipe|FSEvent|StatWatcher|FileHandle|HTTP|TLS|Signal|ChildProcess|Worker/.test(name))
    .sort();
  for (const name of before) {
    const at = open.indexOf(name);
    if (at >= 0) open.splice(at, 1);
  }
  return open;
}
