/**
 * Thins metrics: of what came within an interval, every series is handed on once. For a sidecar that scrapes every few seconds
 * and a gateway that compares replicas by the minute. Spans and log records (findings) pass at once.
 */
import { hostname } from 'node:os';
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, defineProcessor } from '../../pipeline/component.ts';
import { PermanentError, reasonOf } from '../../pipeline/errors.ts';
import { runEvery } from '../../pipeline/kit/every.ts';
import { metricsBatch, type Point } from '../../pipeline/model.ts';
import { createKept } from './kept.ts';

/** Points handed on at once: what one request of an exporter usually takes. */
const CHUNK = 8192;

const config = options({
  interval: t.duration({
    description: 'Every series is handed on once in this time.',
    default: '60s',
    minimum: '1s',
  }),
  gauge: t.choice(['last', 'mean', 'min', 'max'], {
    description:
      'What stands for the values of a gauge (or of a sum that may fall) within the interval. Codes (unit `{code}`) are always the last.',
    default: 'last',
  }),
  pass_through: t.section(
    {
      gauge: t.boolean({ description: 'Every point of a gauge passes at once.', default: false }),
      summary: t.boolean({ description: 'Every point of a summary passes at once.', default: false }),
    },
    { description: 'What is not thinned. Sums and histograms of differences (delta) never are.' },
  ),
  limits: t.section(
    {
      series: t.integer({
        description: 'Most series kept; points of further ones pass at once and are counted.',
        default: 200_000,
        minimum: 1,
      }),
    },
    { description: 'Bounds of memory.' },
  ),
});

export const interval = defineProcessor({
  type: 'interval',
  summary: 'Hands every series on once per interval: its last value, or what its gauge was on average',
  stability: 'alpha',
  signals: ['metrics'],
  config,
  validate: ({ interval }): ConfigMistake[] =>
    interval > 0 ? [] : [{ path: ['interval'], message: "'interval' must be greater than zero" }],
  async start(settings, next, { clock, id, log, meter }) {
    const unlimited = meter.counter(
      'interval_unlimited_items',
      'Points that passed at once because no more series are kept (`limits.series`).',
    );
    const kept = createKept({
      gauge: settings.gauge,
      pass: settings.pass_through,
      most: settings.limits.series,
      stale: () => meter.dropped('metrics', 1, 'stale'),
    });
    meter.gauge('interval_series', 'Series kept.', () => kept.size());

    /** Hands on what is due; what is not taken for now stays for the next time. */
    const flush = async () => {
      const due = kept.due();
      for (let at = 0; at < due.length; at += CHUNK) {
        const chunk = due.slice(at, at + CHUNK);
        try {
          await next.consume(metricsBatch(chunk.map((d) => d.point)));
        } catch (error) {
          if (!(error instanceof PermanentError)) return;
          meter.dropped('metrics', chunk.length, reasonOf(error));
          log.warn('Metrics were refused for good.', { items: chunk.length, error });
        }
        kept.done(chunk);
      }
    };
    const every = runEvery({
      clock,
      log,
      intervalMs: settings.interval,
      // Sidecars that are started together do not all send in the same second.
      key: `${hostname()} ${id}`,
      run: async () => {
        await flush();
        return undefined;
      },
    });
    return {
      consume(batch) {
        if (batch.signal !== 'metrics') return next.consume(batch);
        let passing: Point[] | undefined;
        for (const point of batch.items) {
          const taken = kept.take(point);
          if (taken === 'kept') continue;
          if (taken === 'no room') unlimited.add(1);
          passing ??= [];
          passing.push(point);
        }
        if (passing === undefined) return;
        return next.consume(passing.length === batch.items.length ? batch : metricsBatch(passing));
      },
      async stop(deadline) {
        await every.stop(deadline);
        await flush();
        const lost = kept.due().length;
        if (lost > 0) meter.dropped('metrics', lost, 'shutdown');
        kept.clear();
      },
    };
  },
});
