/** Writes metrics into Prometheus and everything that takes its remote write. */
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, type DropReason, defineExporter } from '../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { checkClientOptions, clientOptions } from '../../pipeline/kit/client-options.ts';
import { nowNanos } from '../../pipeline/kit/clock.ts';
import { httpWithoutEffect } from '../../pipeline/kit/collector-options.ts';
import { deliver } from '../../pipeline/kit/deliver.ts';
import { checkDeliverOptions, type DeliverConfig, deliverOptions } from '../../pipeline/kit/deliver-options.ts';
import { answerError, excerpt } from '../../pipeline/kit/http-answers.ts';
import { type PostAnswer, poster, shownUrl } from '../../pipeline/kit/post.ts';
import { labelOptions, prometheusNameOptions } from '../../pipeline/kit/prometheus-options.ts';
import type { Point } from '../../pipeline/model.ts';
import { labeller } from '../../pipeline/wire/prometheus-text-series.ts';
import { encodeWriteRequest, type WriteRequest } from '../../pipeline/wire/remote-write.ts';
import { storedNames } from '../../pipeline/wire/remote-write-series.ts';
import { snappyCompress } from '../../pipeline/wire/snappy.ts';
import { isInfo, prepare } from './prepare.ts';

const V2 = 'io.prometheus.write.v2.Request';

const config = options({
  endpoint: t.url({
    description: 'The whole URL to write to.',
    examples: ['http://127.0.0.1:9090/api/v1/write'],
  }),
  protobuf_message: t.choice(['prometheus.WriteRequest', V2], {
    description: 'Version 1.0 of the protocol, which everybody takes, or 2.0: smaller, and every series with its type.',
    default: 'prometheus.WriteRequest',
  }),
  ...prometheusNameOptions,
  external_labels: t.map(t.string({ description: 'The value.' }), {
    description: 'Labels added to every series that has none of the name.',
    default: {},
  }),
  target_info: t.section(
    { enabled: t.boolean({ description: 'Write target_info.', default: true }) },
    { description: 'A series for each job and instance with the other attributes of the resource as labels.' },
  ),
  send_metadata: t.boolean({
    description: 'Describe the metrics (type, help, unit) once a minute; version 2.0 does it always.',
    default: false,
  }),
  max_batch_size_bytes: t.size({
    description: 'A larger request, before compression, is sent as several.',
    default: '3000000',
  }),
  max_series: t.integer({
    description: 'How many series are kept in order of time; points of further ones are dropped and counted.',
    default: 500_000,
    minimum: 1,
  }),
  ...clientOptions,
  proxy_url: t.optional(
    t.url({
      description: 'An HTTP proxy to go through; without it HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured.',
    }),
  ),
  ...deliverOptions({ numConsumers: 5 }),
  ...httpWithoutEffect,
  max_idle_conns: t.withoutEffect('`sending_queue.num_consumers` connections are kept'),
  max_batch_request_parallelism: t.withoutEffect('see `sending_queue.num_consumers`'),
  export_created_metric: t.withoutEffect('creation times are not written'),
  remote_write_queue: t.optional(
    t.section(
      {
        enabled: t.boolean({ description: 'Like `sending_queue.enabled`.', default: true }),
        queue_size: t.integer({ description: 'Like `sending_queue.queue_size`.', default: 10_000, minimum: 1 }),
        num_consumers: t.integer({ description: 'Like `sending_queue.num_consumers`.', default: 5, minimum: 1 }),
      },
      { description: "The Collector's older spelling of `sending_queue`; written, it wins." },
    ),
  ),
  wal: t.optional(
    t.section(
      {
        directory: t.path({ description: 'Like `sending_queue.storage.directory`.', default: './enginelight-queue' }),
        buffer_size: t.withoutEffect('the queue is not buffered'),
        truncate_frequency: t.withoutEffect('what was delivered is deleted at once'),
        lag_record_frequency: t.withoutEffect('the size of the queue is always known'),
      },
      { description: "The Collector's older spelling of `sending_queue.storage`. Off unless written." },
    ),
  ),
});

/** The older spellings, put where they belong. */
function queueOf(given: DeliverConfig & { remote_write_queue?: object; wal?: { directory: string } }): DeliverConfig {
  const storage = given.wal && {
    max_size: 2 ** 30,
    fsync: 'interval' as const,
    fsync_interval: 1000,
    ...given.sending_queue.storage,
    directory: given.wal.directory,
  };
  return {
    retry_on_failure: given.retry_on_failure,
    timeout: given.timeout,
    sending_queue: { ...given.sending_queue, ...given.remote_write_queue, ...(storage ? { storage } : {}) },
  };
}

const METADATA_EVERY_MS = 60_000;
const FORGET_AFTER_MS = 600_000;

interface Request extends WriteRequest {
  readonly body: Uint8Array;
  readonly items: number;
}

export const prometheusRemoteWriteExporter = defineExporter({
  type: 'prometheus_remote_write',
  aliases: ['prometheusremotewrite'],
  summary: 'Writes metrics into Prometheus or whatever takes its remote write',
  stability: 'beta',
  signals: ['metrics'],
  config,
  validate(config): ConfigMistake[] {
    const mistakes = [...checkClientOptions(config), ...checkDeliverOptions(queueOf(config))];
    for (const name of Object.keys(config.external_labels)) {
      if (name.startsWith('__')) {
        mistakes.push({
          path: ['external_labels', name],
          message: 'names that start with __ are for Prometheus itself',
        });
      }
    }
    return mistakes;
  },
  async start(config, context) {
    const { log, clock, meter } = context;
    const url = new URL(config.endpoint);
    const where = shownUrl(url);
    const version = config.protobuf_message === V2 ? '2.0' : '1.0';
    const naming = labelOptions(config, config.external_labels);
    const names = storedNames(naming);
    const said = new Set<DropReason>();
    const ready = prepare({
      names,
      labels: labeller(naming),
      targetInfo: config.target_info.enabled,
      maxSeries: config.max_series,
      expirationMs: FORGET_AFTER_MS,
      dropped(reason, what) {
        meter.dropped('metrics', 1, reason);
        if (said.has(reason)) return;
        said.add(reason);
        const [message, remedy] = WHY[reason] ?? ['A point cannot be written.', undefined];
        log.warn(message, { what, remedy });
      },
    });
    meter.gauge('exporter_remote_write_series', 'Series that are kept in order of time.', ready.series, '{series}');
    const client = poster({ client: config, clock, log });
    const headers = {
      'content-encoding': 'snappy',
      'content-type': version === '2.0' ? `application/x-protobuf;proto=${V2}` : 'application/x-protobuf',
      'x-prometheus-remote-write-version': version === '2.0' ? '2.0.0' : '0.1.0',
    };
    let metadataAt = Number.NEGATIVE_INFINITY;
    let stopped = false;

    const sweep = () => {
      said.clear();
      ready.expire(clock.monotonic());
      timer = clock.after(METADATA_EVERY_MS, sweep);
    };
    let timer = clock.after(METADATA_EVERY_MS, sweep);

    const queue = queueOf(config);
    const delivery = await deliver<Request>(
      queue,
      {
        prepare: (batch) => ready.batch(batch.items as readonly Point[], clock.monotonic(), nowNanos(clock)),
        encode(batch) {
          const now = clock.monotonic();
          const metadata = config.send_metadata && now - metadataAt >= METADATA_EVERY_MS;
          if (metadata) metadataAt = now;
          const request = encodeWriteRequest(batch.items as readonly Point[], names, { version, metadata });
          const fits = request.bytes.length <= config.max_batch_size_bytes;
          const body = fits ? snappyCompress(request.bytes) : request.bytes;
          return { ...request, body, items: batch.items.length };
        },
        bytes: (request) => request.bytes.length,
        counted: (batch) => {
          let own = 0;
          for (const item of batch.items) if ('series' in item && isInfo(item.series)) own++;
          return batch.items.length - own;
        },
        async send(request, abort) {
          const answer = await client.post(url, request.body, headers, abort);
          if (answer.status >= 200 && answer.status < 300) return undefined;
          const rejected = version === '2.0' && answer.status === 400 ? unwritten(request, answer) : undefined;
          if (rejected !== undefined && rejected < request.items) {
            log.warn('A part of the data was refused.', { endpoint: where, rejected, message: excerpt(answer.body) });
            return { rejected };
          }
          const hint =
            answer.status === 415 && version === '2.0'
              ? ' (it does not take version 2.0: set protobuf_message: prometheus.WriteRequest)'
              : '';
          throw answerError(where, answer, excerpt(answer.body) + hint, (s) => s === 429 || s >= 500, clock);
        },
      },
      context,
      {
        maxRequestBytes: config.max_batch_size_bytes,
        maxRequestOption: 'max_batch_size_bytes',
        shards: {
          count: queue.sending_queue.num_consumers,
          of: (item) => ('series' in item ? names.of(item).hash : 0),
        },
      },
    ).catch((error) => {
      timer.cancel();
      client.close();
      throw error;
    });

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${context.id} is stopping`, { reason: 'shutdown' });
        if (batch.signal !== 'metrics') throw new PermanentError(`${context.id} takes metrics, not ${batch.signal}`);
        return delivery.consume(ready.withInfo(batch, clock.monotonic()));
      },
      async stop(deadline) {
        stopped = true;
        timer.cancel();
        await delivery.stop(deadline);
        client.close();
      },
    };
  },
});

const WHY: Partial<Record<DropReason, [message: string, remedy?: string]>> = {
  duplicate: [
    'Two points of one series have the same time; one is not written.',
    'add the attribute that tells their sources apart to resource_constant_labels.included',
  ],
  stale: ['A point is older than one of its series that was written; it is not.', 'send each series in order of time'],
  unsupported: ['A metric has no form in remote write; it is not written.'],
  limit: ['There are too many series; points of further ones are not written.', 'raise max_series or drop series'],
};

/** How many items of a refused request were not written, by what the server says it wrote; undefined if it says nothing. */
function unwritten(request: Request, answer: PostAnswer): number | undefined {
  const written = (what: string) => answer.headers[`x-prometheus-remote-write-${what}-written`];
  const samples = written('samples');
  const histograms = written('histograms');
  if (samples === undefined && histograms === undefined) return undefined;
  const all = request.samples + request.histograms;
  const missing = all - Number(samples ?? 0) - Number(histograms ?? 0);
  if (!(missing >= 0)) return undefined;
  return Math.ceil((request.items * missing) / Math.max(1, all));
}
