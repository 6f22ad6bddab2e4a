/** Sends everything to an OTLP endpoint over gRPC. */
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, defineExporter } from '../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { checkClientOptions, clientOptions, credentials } from '../../pipeline/kit/client-options.ts';
import { grpcWithoutEffect } from '../../pipeline/kit/collector-options.ts';
import { deliver } from '../../pipeline/kit/deliver.ts';
import { checkDeliverOptions, deliverOptions } from '../../pipeline/kit/deliver-options.ts';
import { excerpt } from '../../pipeline/kit/http-answers.ts';
import { SIGNALS, type Signal } from '../../pipeline/model.ts';
import { compress, HAS_ZSTD } from '../../pipeline/wire/compression.ts';
import { frame, GrpcCode, grpcCodeName } from '../../pipeline/wire/grpc.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { decodeResponse, decodeStatus } from '../../pipeline/wire/otlp/responses.ts';
import { type GrpcAnswer, grpcClient } from './client.ts';

const config = options({
  endpoint: t.string({
    description:
      'host:port of the server. http:// in front of it means no TLS, https:// TLS; without either, `tls.insecure` decides. unix:///path is a Unix socket.',
    examples: ['127.0.0.1:4317'],
    minLength: 1,
  }),
  compression: t.choice(['gzip', 'zstd', 'snappy', 'none'], {
    description: 'How messages are compressed. zstd needs Node 22.15 or later here; gzip is what every server reads.',
    default: 'gzip',
  }),
  ...clientOptions,
  proxy_url: t.optional(
    t.url({
      description: 'An HTTP proxy to tunnel through; without it HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.',
    }),
  ),
  authority: t.optional(
    t.string({ description: 'The name to ask the server for, where it is not the host of `endpoint`.' }),
  ),
  keepalive: t.optional(
    t.section(
      {
        time: t.duration({
          description: 'How often the connection is asked whether it still stands.',
          default: '30s',
          minimum: '1s',
        }),
        timeout: t.duration({
          description: 'How long the answer may take; then the connection is opened anew.',
          default: '10s',
        }),
        permit_without_stream: t.boolean({ description: 'Ask also while nothing is being sent.', default: false }),
      },
      { description: 'Pings on a quiet connection. Off unless written: a server may forbid them.' },
    ),
  ),
  max_request_size: t.size({
    description:
      'A larger request, before compression, is sent as several; an item that is larger alone is dropped. The default is what gRPC servers take unless told otherwise.',
    default: '4MiB',
  }),
  max_response_size: t.size({
    description: 'A larger answer, before or after decompression, is not read, and its request not sent again.',
    default: '4MiB',
  }),
  ...deliverOptions({ timeout: '5s' }),
  ...grpcWithoutEffect,
});

/** The codes that OTLP allows to try again; RESOURCE_EXHAUSTED only where the server says when. */
const RETRYABLE: readonly number[] = [
  GrpcCode.CANCELLED,
  GrpcCode.DEADLINE_EXCEEDED,
  GrpcCode.ABORTED,
  GrpcCode.OUT_OF_RANGE,
  GrpcCode.UNAVAILABLE,
  GrpcCode.DATA_LOSS,
];

const PATHS: Record<Signal, string> = {
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
};

/** The endpoint as a URL; undefined if it is none. */
function targetOf(endpoint: string, insecure: boolean): URL | undefined {
  if (endpoint.startsWith('unix:')) return new URL(`unix://${endpoint.slice(5).replace(/^\/\//, '')}`);
  const text = /^https?:\/\//.test(endpoint)
    ? endpoint
    : `${insecure ? 'http' : 'https'}://${endpoint.replace(/^dns:\/{0,3}/, '')}`;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  return url.pathname === '/' && url.hostname !== '' ? url : undefined;
}

interface Request {
  readonly signal: Signal;
  readonly bytes: number;
  readonly framed: Uint8Array;
}

export const otlpGrpcExporter = defineExporter({
  type: 'otlp_grpc',
  aliases: ['otlp'],
  summary: 'OTLP over gRPC to a Collector or any backend that takes it',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate(config) {
    const mistakes: ConfigMistake[] = [...checkClientOptions(config), ...checkDeliverOptions(config)];
    const put = (path: string[], message: string) => void mistakes.push({ path, message });
    if (!targetOf(config.endpoint, true)) {
      put(['endpoint'], `"${config.endpoint}" is not host:port, with http:// or https:// in front or not, and no path`);
    }
    if (config.compression === 'zstd' && !HAS_ZSTD) {
      put(['compression'], `zstd needs Node 22.15 or later, this is ${process.versions.node}; use gzip`);
    }
    return mistakes;
  },
  async start(config, context) {
    const { log, clock } = context;
    const target = targetOf(config.endpoint, config.tls?.insecure ?? false);
    if (!target) throw new Error(`${config.endpoint} is not an endpoint`);
    const where = target.protocol === 'unix:' ? config.endpoint : target.host;
    const coding = config.compression === 'none' ? 'identity' : config.compression;
    const client = grpcClient({
      target,
      authority: config.authority,
      credentials: credentials(config, { clock, log }),
      proxyUrl: config.proxy_url,
      encoding: coding === 'identity' ? undefined : coding,
      maxResponseBytes: config.max_response_size,
      timeoutMs: config.timeout,
      keepalive: config.keepalive && {
        timeMs: config.keepalive.time,
        timeoutMs: config.keepalive.timeout,
        idleToo: config.keepalive.permit_without_stream,
      },
      clock,
      log,
    });
    let lastWarning = '';

    const accepted = (signal: Signal, answer: GrpcAnswer) => {
      let partial: { rejected: number; message: string };
      try {
        partial = decodeResponse(signal, answer.message, 'protobuf');
      } catch (error) {
        throw new PermanentError(`${where} answered with something that is no OTLP answer`, { cause: error });
      }
      const { rejected, message } = partial;
      if (rejected === 0 && message === '') return {};
      if (message !== lastWarning) {
        lastWarning = message;
        log.warn('Partial success response.', {
          endpoint: where,
          rejected_items: rejected,
          message: message.slice(0, 300),
        });
      }
      return { rejected };
    };

    const delivery = await deliver<Request>(
      config,
      {
        async encode(batch) {
          const bytes = encodeRequest(batch, 'protobuf');
          const fits = bytes.length <= config.max_request_size;
          const body = fits ? await compress(bytes, coding) : bytes;
          return { signal: batch.signal, bytes: bytes.length, framed: frame(body, coding !== 'identity') };
        },
        bytes: (request) => request.bytes,
        async send({ signal, framed }, abort) {
          const answer = await client.call(PATHS[signal], framed, abort);
          if (answer.code === GrpcCode.OK) return accepted(signal, answer);
          throw refusal(where, answer);
        },
      },
      context,
      { maxRequestBytes: config.max_request_size },
    ).catch((error) => {
      client.close();
      throw error;
    });

    return {
      consume: (batch) => delivery.consume(batch),
      async stop(deadline) {
        await delivery.stop(deadline);
        client.close();
      },
    };
  },
});

/** The error for a status that is not OK. */
function refusal(where: string, { code, text, details }: GrpcAnswer): PermanentError | RetryableError {
  let retryAfterMs: number | undefined;
  try {
    if (details) retryAfterMs = decodeStatus(details, 'protobuf').retryAfterMs;
  } catch {
    // Details of somebody's own: they do not say when to try again.
  }
  const advice =
    code === GrpcCode.UNAUTHENTICATED || code === GrpcCode.PERMISSION_DENIED
      ? ' (check the credentials: authorization, basic_auth, headers, tls)'
      : code === GrpcCode.RESOURCE_EXHAUSTED && retryAfterMs === undefined
        ? ' (is the request too large for it? lower max_request_size or sending_queue.batch.max_size)'
        : '';
  const message = `${where} answered ${grpcCodeName(code)}${text ? `: ${excerpt(Buffer.from(text))}` : ''}${advice}`;
  const again = RETRYABLE.includes(code) || (code === GrpcCode.RESOURCE_EXHAUSTED && retryAfterMs !== undefined);
  if (!again) return new PermanentError(message);
  return new RetryableError(message, {
    exhausted: code === GrpcCode.RESOURCE_EXHAUSTED,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
