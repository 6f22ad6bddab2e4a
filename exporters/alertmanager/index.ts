/**
 * Sends alerts to Alertmanager, version 2 of its API, the way Prometheus does: all that fire, again and again, with an end that
 * is moved on each time; what ended is told for a while, so that one who missed it learns of it.
 */
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, defineExporter } from '../../pipeline/component.ts';
import { describeError, PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { type BookedAlert, createAlertBook } from '../../pipeline/kit/alert-book.ts';
import { checkClientOptions, clientOptions } from '../../pipeline/kit/client-options.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { poster, shownUrl } from '../../pipeline/kit/post.ts';
import { postJson } from '../../pipeline/kit/post-json.ts';
import { isoTime } from '../../pipeline/kit/verdict.ts';

const config = options({
  endpoints: t.list(t.url({ description: 'An Alertmanager, as in `http://127.0.0.1:9093`.' }), {
    description: 'Every Alertmanager of a cluster, not a load balancer in front of them: each gets every alert.',
    default: ['http://127.0.0.1:9093'],
    minItems: 1,
  }),
  resend_interval: t.duration({
    description: 'What fires is sent again this often.',
    default: '1m',
    minimum: '1s',
  }),
  resolve_after: t.duration({
    description: 'Alertmanager takes an alert for resolved when it has not been sent again for so long.',
    default: '5m',
    minimum: '3s',
  }),
  forget_after: t.duration({
    description:
      'An alert that the `alerts` processor has not said again for so long is over; several of its `repeat_interval`.',
    default: '20m',
    minimum: '30s',
  }),
  external_labels: t.map(t.string({ description: 'The value.' }), {
    description: 'Labels added to every alert that has none of the name.',
    default: {},
    examples: [{ cluster: 'eu-1' }],
  }),
  generator_url: t.optional(t.url({ description: 'Where a person can look further; sent with every alert.' })),
  timeout: t.duration({ description: 'A request that takes longer is given up.', default: '10s', minimum: '1ms' }),
  max_alerts: t.integer({ description: 'Most alerts kept; more are counted as dropped.', default: 10_000, minimum: 1 }),
  ...clientOptions,
});

/** News are collected for so long, so that what breaks together is sent together. */
const COLLECT_MS = 1000;
const KEEP_ENDED_MS = 900_000;
const PER_REQUEST = 256;
const RETRY_MS = [5000, 10_000, 20_000, 30_000];

export const alertmanagerExporter = defineExporter({
  type: 'alertmanager',
  summary: 'Sends alerts to Alertmanager',
  stability: 'alpha',
  signals: ['logs'],
  config,
  validate(config): ConfigMistake[] {
    const mistakes = checkClientOptions(config);
    if (config.resolve_after < 2 * config.resend_interval) {
      mistakes.push({
        path: ['resolve_after'],
        message: 'has to be twice resend_interval at least, or one lost request resolves every alert',
      });
    }
    return mistakes;
  },
  async start(config, { id, clock, log, meter, status }) {
    const client = poster({ client: config, clock, log });
    const book = createAlertBook(config.max_alerts);
    const targets = config.endpoints.map((endpoint) => ({
      url: new URL(`${endpoint.replace(/\/+$/, '')}/api/v2/alerts`),
      failures: 0,
    }));
    const hardStop = new AbortController();
    const sends = meter.counter('exporter_alertmanager_requests', 'Requests to Alertmanager, by outcome.', '{request}');
    meter.gauge('exporter_alertmanager_alerts', 'Alerts that are kept.', () => book.size, '{alert}');
    let refused = 0;
    let timer: Timer | undefined;
    let dueMs = Number.POSITIVE_INFINITY;
    let sending: Promise<void> | undefined;
    let stopped = false;
    let waiting = 0;

    function form({ alert, endedMs }: BookedAlert, now: number) {
      const over = !Number.isNaN(endedMs);
      return {
        labels: { ...config.external_labels, ...alert.labels },
        annotations: alert.annotations,
        startsAt: alert.starts_at,
        endsAt: isoTime(over ? endedMs : now + config.resolve_after),
        ...(config.generator_url === undefined ? {} : { generatorURL: config.generator_url }),
      };
    }

    async function post(target: (typeof targets)[number], alerts: readonly object[]): Promise<boolean> {
      try {
        await postJson(client, target.url, alerts, { clock, timeoutMs: config.timeout, stop: hardStop.signal });
        sends.add(1, { outcome: 'accepted' });
        if (target.failures > 0) log.info('Alertmanager answers again.', { endpoint: shownUrl(target.url) });
        target.failures = 0;
        return true;
      } catch (error) {
        sends.add(1, { outcome: error instanceof PermanentError ? 'refused' : 'failed' });
        if (target.failures++ === 0)
          log.warn('Alerts could not be sent; they are sent again.', { endpoint: shownUrl(target.url), error });
        status('recoverable_error', describeError(error));
        return false;
      }
    }

    async function send(): Promise<void> {
      const now = clock.now();
      book.expire(now, config.forget_after, KEEP_ENDED_MS);
      const alerts = [...book.all()].filter((b) => b.alert.suppressed === undefined);
      const taken = waiting;
      let took = 0;
      const outcomes = await Promise.all(
        targets.map(async (target) => {
          for (let i = 0; i < alerts.length; i += PER_REQUEST) {
            const part = alerts.slice(i, i + PER_REQUEST).map((b) => form(b, now));
            if (!(await post(target, part))) return false;
          }
          took++;
          return true;
        }),
      );
      if (took > 0) {
        meter.sent('logs', taken);
        waiting -= taken;
      }
      if (outcomes.every((ok) => ok)) {
        status('ok');
        if (book.size > 0) schedule(config.resend_interval);
      } else {
        const failures = Math.max(...targets.map((target) => target.failures));
        schedule(Math.min(config.resend_interval, RETRY_MS[Math.min(failures, RETRY_MS.length) - 1] ?? RETRY_MS[0]!));
      }
    }

    function schedule(inMs: number): void {
      const at = clock.now() + inMs;
      if (stopped || at >= dueMs) return;
      timer?.cancel();
      dueMs = at;
      timer = clock.after(inMs, () => {
        dueMs = Number.POSITIVE_INFINITY;
        if (sending) return schedule(COLLECT_MS);
        sending = send()
          .catch((error: unknown) => log.error('Alerts could not be sent.', { error }))
          .finally(() => {
            sending = undefined;
          });
      });
    }

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        if (batch.signal !== 'logs') throw new PermanentError(`${id} takes logs, not ${batch.signal}`);
        const news = book.take(batch.items, clock.now());
        if (book.refused > refused) {
          meter.dropped('logs', book.refused - refused, 'limit');
          refused = book.refused;
        }
        waiting += news.length;
        if (news.length > 0) schedule(COLLECT_MS);
      },
      async stop(deadline) {
        if (stopped) return;
        stopped = true;
        timer?.cancel();
        deadline?.addEventListener('abort', () => hardStop.abort(), { once: true });
        if (deadline?.aborted) hardStop.abort();
        await sending;
        if (waiting > 0) await send();
        if (waiting > 0) meter.dropped('logs', waiting, 'shutdown');
        client.close();
      },
    };
  },
});
