/** Sends everything to an OTLP endpoint over HTTP. */
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, defineExporter } from '../../pipeline/component.ts';
import { PermanentError } from '../../pipeline/errors.ts';
import { checkClientOptions, clientOptions } from '../../pipeline/kit/client-options.ts';
import { httpWithoutEffect } from '../../pipeline/kit/collector-options.ts';
import { deliver, type SendResult } from '../../pipeline/kit/deliver.ts';
import { checkDeliverOptions, deliverOptions } from '../../pipeline/kit/deliver-options.ts';
import { answerError, excerpt } from '../../pipeline/kit/http-answers.ts';
import { type PostAnswer, poster, shownUrl } from '../../pipeline/kit/post.ts';
import { SIGNALS, type Signal } from '../../pipeline/model.ts';
import { compress, HAS_ZSTD } from '../../pipeline/wire/compression.ts';
import { encodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { decodeResponse, decodeStatus } from '../../pipeline/wire/otlp/responses.ts';

const signalUrl = (signal: string) =>
  t.optional(t.url({ description: `Where ${signal} go, the whole URL; without it \`endpoint\` and /v1/${signal}.` }));

const config = options({
  endpoint: t.optional(
    t.url({
      description: 'The base URL; /v1/metrics, /v1/traces and /v1/logs are added to it.',
      examples: ['http://127.0.0.1:4318'],
    }),
  ),
  metrics_endpoint: signalUrl('metrics'),
  traces_endpoint: signalUrl('traces'),
  logs_endpoint: signalUrl('logs'),
  encoding: t.choice(['proto', 'json'], { description: 'Protobuf, or JSON for people to read.', default: 'proto' }),
  compression: t.choice(['gzip', 'zstd', 'none'], {
    description: 'How requests are compressed. zstd needs Node 22.15 or later here, and a server that reads it.',
    default: 'gzip',
  }),
  compression_params: t.optional(
    t.section(
      {
        level: t.integer({
          description: 'gzip 1 to 9, zstd 1 to 22: higher is smaller and slower.',
          default: 1,
          minimum: 1,
          maximum: 22,
        }),
      },
      { description: 'How hard to compress.' },
    ),
  ),
  ...clientOptions,
  proxy_url: t.optional(
    t.url({
      description: 'An HTTP proxy to go through; without it HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.',
    }),
  ),
  max_request_size: t.size({
    description: 'A larger request, before compression, is sent as several; an item that is larger alone is dropped.',
    default: '64MiB',
  }),
  max_response_size: t.size({
    description: 'A larger answer, before or after decompression, is not read, and its request not sent again.',
    default: '4MiB',
  }),
  max_idle_conns: t.integer({ description: 'Connections kept open for the next request.', default: 100, minimum: 0 }),
  ...deliverOptions({ timeout: '30s' }),
  ...httpWithoutEffect,
});

/** OTLP's list, and nothing else. */
const RETRYABLE: readonly number[] = [429, 502, 503, 504];

interface Request {
  readonly signal: Signal;
  readonly bytes: number;
  readonly body: Uint8Array;
}

export const otlpHttpExporter = defineExporter({
  type: 'otlp_http',
  aliases: ['otlphttp'],
  summary: 'OTLP over HTTP to a Collector or any backend that takes it',
  stability: 'beta',
  signals: SIGNALS,
  config,
  validate(config) {
    const mistakes: ConfigMistake[] = [...checkClientOptions(config), ...checkDeliverOptions(config)];
    const put = (path: string[], message: string) => void mistakes.push({ path, message });
    if (!config.endpoint && !config.metrics_endpoint && !config.traces_endpoint && !config.logs_endpoint) {
      put(['endpoint'], 'at least one endpoint must be specified');
    }
    if (config.compression === 'zstd' && !HAS_ZSTD) {
      put(['compression'], `zstd needs Node 22.15 or later, this is ${process.versions.node}; use gzip`);
    }
    if (config.compression === 'gzip' && (config.compression_params?.level ?? 1) > 9) {
      put(['compression_params', 'level'], 'gzip knows levels 1 to 9');
    }
    return mistakes;
  },
  async start(config, context) {
    const { log, clock } = context;
    const urls = new Map<Signal, URL>();
    for (const signal of SIGNALS) {
      const own = config[`${signal}_endpoint`];
      const base = config.endpoint?.replace(/\/+$/, '');
      if (own !== undefined || base !== undefined) urls.set(signal, new URL(own ?? `${base}/v1/${signal}`));
    }
    for (const signal of context.signals) {
      if (!urls.has(signal)) {
        log.warn(`There is nowhere to send ${signal} to; they are dropped.`, {
          remedy: `set endpoint or ${signal}_endpoint`,
        });
      }
    }
    const client = poster({
      client: config,
      clock,
      log,
      maxResponseBytes: config.max_response_size,
      idleConnections: config.max_idle_conns,
    });
    const encoding = config.encoding === 'json' ? 'json' : 'protobuf';
    const coding = config.compression === 'none' ? 'identity' : config.compression;
    const headers: Record<string, string> = {
      'content-type': encoding === 'json' ? 'application/json' : 'application/x-protobuf',
      ...(coding === 'identity' ? {} : { 'content-encoding': coding }),
    };
    let lastWarning = '';

    const accepted = (signal: Signal, where: string, answer: PostAnswer): SendResult => {
      const { rejected, message } = readPartial(signal, where, answer);
      if (rejected === 0 && message === '') return {};
      if (message !== lastWarning) {
        lastWarning = message;
        log.warn(rejected > 0 ? 'Partial success response.' : 'The server took the data, and has something to say.', {
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
          const bytes = encodeRequest(batch, encoding);
          const fits = bytes.length <= config.max_request_size;
          const body = fits ? await compress(bytes, coding, config.compression_params?.level) : bytes;
          return { signal: batch.signal, bytes: bytes.length, body };
        },
        bytes: (request) => request.bytes,
        async send({ signal, body }, abort) {
          const url = urls.get(signal);
          if (!url) throw new PermanentError(`no endpoint for ${signal} (set endpoint or ${signal}_endpoint)`);
          const answer = await client.post(url, body, headers, abort);
          const where = shownUrl(url);
          if (answer.status >= 200 && answer.status < 300) return accepted(signal, where, answer);
          throw answerError(where, answer, errorText(answer), (status) => RETRYABLE.includes(status), clock);
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

const mediaType = (answer: PostAnswer) => (answer.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();

/** The partial success of an accepted request; a PermanentError if the answer is no OTLP: then it was no OTLP server. */
function readPartial(signal: Signal, where: string, answer: PostAnswer): { rejected: number; message: string } {
  const { body } = answer;
  if (body.length === 0) return { rejected: 0, message: '' };
  const type = mediaType(answer);
  try {
    if (type === 'application/json') return decodeResponse(signal, body, 'json');
    if (type === 'application/x-protobuf') return decodeResponse(signal, body, 'protobuf');
    const text = Buffer.from(body.subarray(0, 16)).toString().trim();
    if (text === '' || text === '{}') return { rejected: 0, message: '' };
  } catch (error) {
    throw new PermanentError(`${where} answered ${answer.status} with a body that is no OTLP answer`, { cause: error });
  }
  const what = `answered ${answer.status} with ${type || 'no content type'}, no OTLP answer (is the endpoint right?): ${excerpt(body)}`;
  // A web page, such as a log-in, took nothing. Anything else is a success by its status, as the specification has it.
  if (type === 'text/html') throw new PermanentError(`${where} ${what}`);
  return { rejected: 0, message: what };
}

/** What the server says about a failure: the message of a Status, or the beginning of whatever it sent. */
function errorText(answer: PostAnswer): string {
  const type = mediaType(answer);
  try {
    if (type === 'application/x-protobuf') return excerpt(Buffer.from(decodeStatus(answer.body, 'protobuf').message));
    if (type === 'application/json') {
      const { message } = decodeStatus(answer.body, 'json');
      if (message) return excerpt(Buffer.from(message));
    }
  } catch {
    // Not a Status after all: shown as it is.
  }
  return excerpt(answer.body);
}
