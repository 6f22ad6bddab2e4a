/** A started otlp receiver and one way to talk to it over each of its transports. */
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import type { Batch, Signal } from '../../../pipeline/model.ts';
import {
  decodeResponse,
  decodeStatus,
  encodeRequest,
  type OtlpEncoding,
  type PartialSuccess,
  type RpcStatus,
} from '../../../pipeline/wire/otlp/index.ts';
import { otlpReceiver } from '../../../receivers/otlp/index.ts';
import { grpcCall } from '../../kit/grpc-client.ts';
import { type Sink, sink, type TestContext, testContext } from '../../kit/harness.ts';

export interface Started {
  readonly running: Running;
  readonly context: TestContext;
  readonly sink: Sink;
  readonly http: string;
  readonly grpc: string;
}

type Overrides = { http?: object; grpc?: object; context?: Parameters<typeof testContext>[0]; next?: Sink };

/** Both protocols on free ports, unless told otherwise. */
export async function startOtlp(overrides: Overrides = {}): Promise<Started> {
  const context = testContext(overrides.context);
  const next = overrides.next ?? sink();
  const endpoint = '127.0.0.1:0';
  const config = resolve(otlpReceiver.config, {
    protocols: { http: { endpoint, ...overrides.http }, grpc: { endpoint, ...overrides.grpc } },
  });
  const running = await otlpReceiver.start(config, next, context);
  const url = (of: string) =>
    String(context.log.records.find((r) => r.message === `Receives OTLP over ${of}.`)?.fields['url']);
  return { running, context, sink: next, http: url('HTTP'), grpc: url('gRPC') };
}

/** What came back, in terms that all transports share. */
export interface Outcome {
  /** The code of gRPC; over HTTP that of the body. 0 is success. */
  readonly code: number;
  /** 200 over gRPC. */
  readonly httpStatus: number;
  readonly status: RpcStatus | undefined;
  readonly partial: PartialSuccess | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

export interface SendOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Name of the content coding that the body already has. */
  readonly encoding?: string;
  readonly tls?: object;
}

export interface Transport {
  readonly name: 'HTTP protobuf' | 'HTTP JSON' | 'gRPC';
  readonly encoding: OtlpEncoding;
  send(to: Started, signal: Signal, body: Uint8Array, options?: SendOptions): Promise<Outcome>;
}

export const PATHS = { metrics: '/v1/metrics', traces: '/v1/traces', logs: '/v1/logs' } as const;
export const METHODS = {
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
} as const;

export interface RawAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** One HTTP request, as it is told. */
export function request(
  url: string,
  options: {
    method?: string;
    headers?: Record<string, string>;
    body?: Uint8Array | string;
    agent?: http.Agent;
    tls?: object;
  } = {},
): Promise<RawAnswer> {
  return new Promise((resolvePromise, reject) => {
    const { request: send } = url.startsWith('https:') ? https : http;
    const { method = 'POST', headers = {}, agent, tls } = options;
    const req = send(url, { method, headers, ...(agent && { agent }), ...tls } as https.RequestOptions, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () =>
        resolvePromise({ status: res.statusCode!, headers: res.headers, body: Buffer.concat(chunks) }),
      );
    });
    req.on('error', reject).end(options.body);
  });
}

const overHttp = (name: Transport['name'], encoding: OtlpEncoding, contentType: string): Transport => ({
  name,
  encoding,
  async send(to, signal, body, options = {}) {
    const headers = {
      'content-type': contentType,
      ...(options.encoding !== undefined && { 'content-encoding': options.encoding }),
      ...options.headers,
    };
    const answer = await request(`${to.http}${PATHS[signal]}`, {
      body,
      headers,
      ...(options.tls && { tls: options.tls }),
    });
    const ok = answer.status === 200;
    const status = ok ? undefined : decodeStatus(answer.body, encoding);
    return {
      code: status?.code ?? 0,
      httpStatus: answer.status,
      status,
      partial: ok ? decodeResponse(signal, answer.body, encoding) : undefined,
      headers: answer.headers,
      body: answer.body,
    };
  },
});

const overGrpc: Transport = {
  name: 'gRPC',
  encoding: 'protobuf',
  async send(to, signal, body, options = {}) {
    const session = http2.connect(to.grpc, options.tls);
    try {
      const failed = new Promise<never>((_resolve, reject) => session.once('error', reject));
      const headers = {
        ...(options.encoding !== undefined && { 'grpc-encoding': options.encoding }),
        ...options.headers,
      };
      const call = grpcCall(session, METHODS[signal], body, {
        headers,
        compressed: options.encoding !== undefined && options.encoding !== 'identity',
      });
      const answer = await Promise.race([call, failed]);
      return {
        code: answer.status,
        httpStatus: answer.httpStatus,
        status: answer.details ? decodeStatus(answer.details, 'protobuf') : undefined,
        partial: answer.status === 0 ? decodeResponse(signal, answer.body, 'protobuf') : undefined,
        headers: answer.headers,
        body: answer.body,
      };
    } finally {
      session.destroy();
    }
  },
};

export const TRANSPORTS: readonly Transport[] = [
  overHttp('HTTP protobuf', 'protobuf', 'application/x-protobuf'),
  overHttp('HTTP JSON', 'json', 'application/json; charset=utf-8'),
  overGrpc,
];

/** Sends a batch and gives what the pipeline got of it; undefined if it was not called. */
export async function through(transport: Transport, to: Started, batch: Batch): Promise<Batch | undefined> {
  const before = to.sink.batches.length;
  const outcome = await transport.send(to, batch.signal, encodeRequest(batch, transport.encoding));
  if (outcome.code !== 0) throw new Error(`${outcome.httpStatus} ${outcome.code} ${outcome.status?.message}`);
  return to.sink.batches[before];
}
