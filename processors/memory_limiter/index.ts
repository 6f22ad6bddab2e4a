/**
 * Refuses data while the process uses too much memory, so that senders wait instead of the process being killed. Counts what
 * the process really holds (resident memory, and buffers outside the JavaScript heap), not only the heap.
 */
import { options, type Static, t } from '../../config/schema.ts';
import { type ConfigMistake, defineProcessor } from '../../pipeline/component.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { createLimiter } from './limiter.ts';
import { memoryTotal } from './limits.ts';

const MIB = 2 ** 20;

const config = options({
  check_interval: t.duration({
    description: 'How often memory is measured. Shorter reacts faster to bursts; longer costs less.',
    default: '1s',
  }),
  limit_mib: t.integer({
    description: 'The hard limit in MiB. 0: `limit_percentage` counts.',
    default: 0,
    minimum: 0,
  }),
  spike_limit_mib: t.integer({
    description: 'How far below the hard limit data is refused already, in MiB. 0: a fifth of the hard limit.',
    default: 0,
    minimum: 0,
  }),
  limit_percentage: t.integer({
    description: 'The hard limit as a share of the memory there is: the container’s limit, or the machine’s memory.',
    default: 0,
    minimum: 0,
    maximum: 100,
  }),
  spike_limit_percentage: t.integer({
    description: 'The same for the distance between the two limits. 0: a fifth of the hard limit.',
    default: 0,
    minimum: 0,
    maximum: 100,
  }),
  min_gc_interval_when_soft_limited: t.duration({
    description: 'The least time between two forced garbage collections between the limits.',
    default: '10s',
  }),
  min_gc_interval_when_hard_limited: t.duration({
    description: 'The least time between two forced garbage collections above the hard limit.',
    default: '0s',
  }),
});
type Config = Static<typeof config>;

/** The limits in bytes; megabytes win over percentages. */
export function limitsOf(settings: Config, total: number): { soft: number; hard: number } {
  const byMib = settings.limit_mib > 0;
  const hard = byMib ? settings.limit_mib * MIB : (total * settings.limit_percentage) / 100;
  const spike = byMib ? settings.spike_limit_mib * MIB : (total * settings.spike_limit_percentage) / 100;
  return { hard, soft: hard - (spike > 0 ? spike : hard / 5) };
}

function mistakes(settings: Config): ConfigMistake[] {
  const out: ConfigMistake[] = [];
  if (settings.check_interval <= 0) {
    out.push({ path: ['check_interval'], message: "'check_interval' must be greater than zero" });
  }
  if (settings.limit_mib === 0 && settings.limit_percentage === 0) {
    out.push({ path: [], message: "'limit_mib' or 'limit_percentage' must be greater than zero" });
  }
  for (const unit of ['mib', 'percentage'] as const) {
    const limit = settings[`limit_${unit}`];
    const spike = settings[`spike_limit_${unit}`];
    if (limit > 0 && spike >= limit) {
      const key = `spike_limit_${unit}`;
      out.push({ path: [key], message: `'${key}' must be smaller than 'limit_${unit}'` });
    }
  }
  return out;
}

/** Bytes that the process holds: resident ones, or what it has reserved where the system has not given it all yet. */
function used(): number {
  const { rss, heapUsed, external } = process.memoryUsage();
  return Math.max(rss, heapUsed + external);
}

export const memoryLimiter = defineProcessor({
  type: 'memory_limiter',
  summary: 'Refuses data, for senders to try again, while the process uses too much memory',
  stability: 'beta',
  signals: ['metrics', 'traces', 'logs'],
  config,
  validate: mistakes,
  async start(settings, next, { clock, log, meter, status }) {
    const total = memoryTotal();
    const { soft, hard } = limitsOf(settings, total);
    const mib = (bytes: number) => Math.round(bytes / MIB);
    const limiter = createLimiter({
      limits: {
        soft,
        hard,
        gcEverySoftMs: settings.min_gc_interval_when_soft_limited,
        gcEveryHardMs: settings.min_gc_interval_when_hard_limited,
      },
      clock,
      measure: used,
      collect: globalThis.gc && (() => void globalThis.gc?.()),
      onChange(refusing, bytes) {
        const fields = { used_mib: mib(bytes), soft_limit_mib: mib(soft), hard_limit_mib: mib(hard) };
        if (refusing) {
          const remedy = 'raise the limit, or send less';
          log.warn('Memory is above the soft limit: data is refused.', { ...fields, remedy });
          status('recoverable_error', `${mib(bytes)} MiB in use, limit ${mib(soft)} MiB: data is refused; ${remedy}`);
        } else {
          log.info('Memory is below the soft limit again: data is accepted.', fields);
          status('ok');
        }
      },
    });
    log.info('Memory is limited.', {
      soft_limit_mib: mib(soft),
      hard_limit_mib: mib(hard),
      total_mib: mib(total),
      check_interval_ms: settings.check_interval,
    });
    meter.gauge('memory_limiter_used_bytes', 'Memory that the limiter counts.', () => limiter.used, 'By');
    meter.gauge('memory_limiter_limit_bytes', 'Memory from which on data is refused.', () => soft, 'By');

    limiter.check();
    let timer: Timer | undefined;
    const again = () => {
      timer = clock.after(settings.check_interval, () => {
        limiter.check();
        again();
      });
    };
    again();
    return {
      consume(batch) {
        if (limiter.refusing) throw new RetryableError('data refused due to high memory usage', { exhausted: true });
        return next.consume(batch);
      },
      async stop() {
        timer?.cancel();
      },
    };
  },
});
