/** Offers all metrics on a page that Prometheus scrapes. */
import { options, t } from '../../config/schema.ts';
import { type DropReason, defineExporter } from '../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { HttpError, serve, serveOptions } from '../../pipeline/kit/http-server.ts';
import { labelOptions, prometheusNameOptions } from '../../pipeline/kit/prometheus-options.ts';
import { httpServerOptions, serverMistakes } from '../../pipeline/kit/server-options.ts';
import { acceptedEncoding, compress } from '../../pipeline/wire/compression.ts';
import { contentType } from '../../pipeline/wire/prometheus-text-write.ts';
import { negotiate } from './negotiate.ts';
import { store } from './store.ts';

const config = options({
  ...httpServerOptions({ endpoint: '127.0.0.1:9464' }),
  path: t.string({ description: 'Where the page is.', default: '/metrics', pattern: '^/' }),
  ...prometheusNameOptions,
  const_labels: t.map(t.string({ description: 'The value.' }), {
    description: 'Labels added to every series that has none of the name.',
    default: {},
  }),
  send_timestamps: t.boolean({
    description: 'Write the time of each sample; then Prometheus does not mark vanished series as stale by itself.',
    default: false,
  }),
  metric_expiration: t.duration({
    description: 'A series that was not heard of for this long leaves the page.',
    default: '5m',
  }),
  enable_open_metrics: t.boolean({
    description: 'Offer OpenMetrics (with exemplars and units) to scrapers that ask for it.',
    default: true,
  }),
  max_series: t.integer({
    description: 'How many series the page holds; further ones are dropped and counted.',
    default: 500_000,
    minimum: 1,
  }),
});

const REMEDY: Partial<Record<DropReason, [message: string, remedy: string]>> = {
  duplicate: [
    'Two sources make the same series; the later one is not shown.',
    'add the attribute that tells them apart to resource_constant_labels.included',
  ],
  unsupported: ['A metric is not shown: its name is taken by one of another type.', 'rename one of them'],
  limit: ['The page is full; further series are not shown.', 'raise max_series, or drop series before this exporter'],
  stale: ['A point is not shown because a newer one is.', 'one source should send each series, in order of time'],
};

export const prometheusExporter = defineExporter({
  type: 'prometheus',
  summary: 'A page that Prometheus scrapes, as text or OpenMetrics',
  stability: 'beta',
  signals: ['metrics'],
  config,
  validate(config) {
    const mistakes = serverMistakes(config);
    if (config.metric_expiration <= 0) {
      mistakes.push({ path: ['metric_expiration'], message: '`metric_expiration` must be positive' });
    }
    return mistakes;
  },
  async start(config, { id, log, clock, meter }) {
    const said = new Set<DropReason>();
    let lost = 0;
    const series = store({
      ...labelOptions(config, config.const_labels),
      expirationMs: config.metric_expiration,
      timestamps: config.send_timestamps,
      maxSeries: config.max_series,
      dropped(reason, what) {
        lost++;
        meter.dropped('metrics', 1, reason);
        if (said.has(reason)) return;
        said.add(reason);
        const [message, remedy] = REMEDY[reason] ?? ['A point is not shown.', undefined];
        log.warn(message, { what, remedy });
      },
    });
    meter.gauge('exporter_prometheus_series', 'Series on the page.', series.series, '{series}');
    const scrapes = meter.counter('exporter_prometheus_scrapes', 'Times that the page was read.', '{request}');
    let stopped = false;

    const sweepMs = Math.min(config.metric_expiration, 60_000);
    const sweep = () => {
      said.clear();
      series.expire(clock.monotonic());
      timer = clock.after(sweepMs, sweep);
    };
    let timer = clock.after(sweepMs, sweep);

    const server = await serve({ ...serveOptions(config), clock, log }, async (request) => {
      if (request.path !== config.path) throw new HttpError(404, `Nothing here; the metrics are at ${config.path}.`);
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        throw new HttpError(405, 'Only GET and HEAD.', { allow: 'GET, HEAD' });
      }
      const format = negotiate(request.headers.accept, config.enable_open_metrics);
      const page = Buffer.from(series.page(format, clock.monotonic()).join(''));
      const encoding = acceptedEncoding(headerText(request.headers['accept-encoding']));
      const body = await compress(page, encoding);
      scrapes.add(1);
      const coded: Record<string, string> = encoding === 'identity' ? {} : { 'content-encoding': encoding };
      return {
        status: 200,
        headers: { 'content-type': contentType(format), vary: 'Accept, Accept-Encoding', ...coded },
        body,
      };
    }).catch((error) => {
      timer.cancel();
      throw error;
    });
    log.info('Metrics can be scraped.', { url: `${server.url}${config.path}` });

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        if (batch.signal !== 'metrics') throw new PermanentError(`${id} takes metrics, not ${batch.signal}`);
        const now = clock.monotonic();
        lost = 0;
        for (const point of batch.items) series.put(point, now);
        meter.sent('metrics', batch.items.length - lost);
      },
      async stop(deadline) {
        stopped = true;
        timer.cancel();
        await server.close(deadline);
      },
    };
  },
});

const headerText = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(',') : value;
