/**
 * Posts alerts to a URL, grouped, in the form of Alertmanager's webhook (version 4), so that what takes those takes ours. For
 * those who have no Alertmanager; it groups and repeats by itself, and knows nothing of routes.
 */
import { options, t } from '../../config/schema.ts';
import { type ConfigMistake, defineExporter } from '../../pipeline/component.ts';
import { describeError, PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { type BookedAlert, createAlertBook, isFiring } from '../../pipeline/kit/alert-book.ts';
import { checkClientOptions, clientOptions } from '../../pipeline/kit/client-options.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { poster } from '../../pipeline/kit/post.ts';
import { postJson } from '../../pipeline/kit/post-json.ts';
import { isoTime, type Severity } from '../../pipeline/kit/verdict.ts';
import { commonOf, groupOf } from './groups.ts';

const SEVERITIES: readonly Severity[] = ['info', 'warning', 'critical'];

const config = options({
  url: t.url({ description: 'Where to post.', examples: ['https://hooks.example.com/enginelight'] }),
  min_severity: t.choice(SEVERITIES, { description: 'Alerts below it are not posted.', default: 'warning' }),
  group_by: t.list(t.string({ description: 'A label.' }), {
    description: 'Alerts that agree in these labels are posted together.',
    default: ['service', 'alertname'],
  }),
  group_wait: t.duration({ description: 'A new group waits so long for more of its kind.', default: '15s' }),
  group_interval: t.duration({
    description: 'News of a group that was posted follow this often at most.',
    default: '5m',
    minimum: '1s',
  }),
  repeat_interval: t.duration({
    description: 'A group without news that still fires is posted again this often.',
    default: '4h',
    minimum: '1m',
  }),
  send_resolved: t.boolean({ description: 'Post the end of alerts too.', default: true }),
  receiver: t.string({ description: 'The name of the receiver in what is posted.', default: 'enginelight' }),
  external_url: t.optional(t.url({ description: 'Where a person can look further.' })),
  forget_after: t.duration({
    description:
      'An alert that the `alerts` processor has not said again for so long is over; several of its `repeat_interval`.',
    default: '20m',
    minimum: '30s',
  }),
  timeout: t.duration({ description: 'A request that takes longer is given up.', default: '10s', minimum: '1ms' }),
  max_alerts: t.integer({ description: 'Most alerts kept; more are counted as dropped.', default: 10_000, minimum: 1 }),
  ...clientOptions,
});

const KEEP_ENDED_MS = 900_000;
const RETRY_MS = 15_000;
const CHECK_MS = 60_000;
/** Alerts in one post; the rest are only counted, as Alertmanager does. */
const PER_POST = 500;

interface Group {
  readonly key: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Fingerprints that the other side was told of as firing. */
  told: Set<string>;
  postedMs: number;
  dueMs: number;
  failures: number;
}

export const webhookExporter = defineExporter({
  type: 'webhook',
  summary: 'Posts alerts to a URL, grouped, in the form of Alertmanager’s webhook',
  stability: 'alpha',
  signals: ['logs'],
  config,
  validate: (config): ConfigMistake[] => checkClientOptions(config),
  async start(config, { id, clock, log, meter, status }) {
    const url = new URL(config.url);
    const client = poster({ client: config, clock, log });
    const book = createAlertBook(config.max_alerts);
    const groups = new Map<string, Group>();
    const hardStop = new AbortController();
    const posts = meter.counter('exporter_webhook_posts', 'Posts of groups of alerts, by outcome.', '{request}');
    meter.gauge('exporter_webhook_groups', 'Groups of alerts that fire.', () => groups.size, '{group}');
    const least = SEVERITIES.indexOf(config.min_severity);
    let refused = 0;
    let timer: Timer | undefined;
    let posting: Promise<void> | undefined;
    let stopped = false;

    const wanted = (b: BookedAlert) => SEVERITIES.indexOf(b.alert.severity) >= least;

    function note(news: readonly BookedAlert[], now: number): void {
      for (const booked of news) {
        if (!wanted(booked)) continue;
        const { key, labels } = groupOf(booked.alert.labels, config.group_by);
        let group = groups.get(key);
        if (!group) {
          if (!isFiring(booked)) continue;
          group = { key, labels, told: new Set(), postedMs: Number.NaN, dueMs: now + config.group_wait, failures: 0 };
          groups.set(key, group);
        }
        const soon = Number.isNaN(group.postedMs) ? now + config.group_wait : group.postedMs + config.group_interval;
        group.dueMs = Math.min(group.dueMs, Math.max(now, soon));
      }
    }

    async function post(group: Group, alerts: readonly BookedAlert[], now: number): Promise<void> {
      const list = alerts.slice(0, PER_POST);
      const firing = alerts.some(isFiring);
      const body = {
        version: '4',
        groupKey: group.key,
        truncatedAlerts: alerts.length - list.length,
        status: firing ? 'firing' : 'resolved',
        receiver: config.receiver,
        groupLabels: group.labels,
        commonLabels: commonOf(list.map((b) => b.alert.labels)),
        commonAnnotations: commonOf(list.map((b) => b.alert.annotations)),
        externalURL: config.external_url ?? '',
        alerts: list.map((b) => ({
          status: isFiring(b) ? 'firing' : 'resolved',
          labels: b.alert.labels,
          annotations: b.alert.annotations,
          startsAt: b.alert.starts_at,
          endsAt: isFiring(b) ? '0001-01-01T00:00:00Z' : isoTime(b.endedMs),
          generatorURL: config.external_url ?? '',
          fingerprint: b.fingerprint,
        })),
      };
      try {
        await postJson(client, url, body, { clock, timeoutMs: config.timeout, stop: hardStop.signal });
      } catch (error) {
        posts.add(1, { outcome: 'failed' });
        if (group.failures++ === 0) log.warn('Alerts could not be posted; they are posted again.', { error });
        status('recoverable_error', describeError(error));
        group.dueMs = now + Math.min(config.group_interval, RETRY_MS * 2 ** Math.min(group.failures - 1, 4));
        return;
      }
      posts.add(1, { outcome: 'accepted' });
      meter.sent('logs', alerts.length);
      status('ok');
      group.failures = 0;
      group.postedMs = now;
      group.dueMs = now + config.repeat_interval;
      group.told = new Set(alerts.filter(isFiring).map((b) => b.fingerprint));
      if (!firing) groups.delete(group.key);
    }

    /** Posts every group whose time has come, one after the other. */
    async function round(): Promise<void> {
      const now = clock.now();
      note(book.expire(now, config.forget_after, KEEP_ENDED_MS), now);
      const due = [...groups.values()].filter((group) => group.dueMs <= now);
      if (due.length === 0) return;
      const members = new Map<string, BookedAlert[]>();
      for (const booked of book.all()) {
        if (!wanted(booked)) continue;
        const { key } = groupOf(booked.alert.labels, config.group_by);
        const list = members.get(key) ?? [];
        list.push(booked);
        members.set(key, list);
      }
      for (const group of due) {
        const alerts = (members.get(group.key) ?? []).filter((b) =>
          isFiring(b) ? b.alert.suppressed === undefined : config.send_resolved && group.told.has(b.fingerprint),
        );
        if (alerts.length > 0) await post(group, alerts, now);
        else if ((members.get(group.key) ?? []).some(isFiring)) group.dueMs = now + config.group_interval;
        else groups.delete(group.key);
        if (hardStop.signal.aborted) return;
      }
    }

    function arm(): void {
      timer?.cancel();
      if (stopped || groups.size === 0) return;
      let at = clock.now() + CHECK_MS;
      for (const group of groups.values()) at = Math.min(at, group.dueMs);
      timer = clock.after(Math.max(0, at - clock.now()), () => {
        posting ??= round()
          .catch((error: unknown) => log.error('Alerts could not be posted.', { error }))
          .finally(() => {
            posting = undefined;
            arm();
          });
      });
    }

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        if (batch.signal !== 'logs') throw new PermanentError(`${id} takes logs, not ${batch.signal}`);
        const now = clock.now();
        const news = book.take(batch.items, now);
        if (book.refused > refused) {
          meter.dropped('logs', book.refused - refused, 'limit');
          refused = book.refused;
        }
        if (news.length === 0) return;
        note(news, now);
        if (!posting) arm();
      },
      async stop(deadline) {
        if (stopped) return;
        stopped = true;
        timer?.cancel();
        deadline?.addEventListener('abort', () => hardStop.abort(), { once: true });
        if (deadline?.aborted) hardStop.abort();
        await posting;
        // What was not told yet is told now: after the restart it may be over.
        for (const group of groups.values()) group.dueMs = Number.isNaN(group.postedMs) ? 0 : Number.POSITIVE_INFINITY;
        await round();
        const untold = [...groups.values()].filter((group) => Number.isNaN(group.postedMs)).map((group) => group.key);
        if (untold.length > 0) {
          const lost = [...book.all()].filter(
            (b) => wanted(b) && untold.includes(groupOf(b.alert.labels, config.group_by).key),
          );
          meter.dropped('logs', lost.length, 'shutdown');
          log.warn('Stopped before these alerts could be posted.', { alerts: lost.length });
        }
        client.close();
      },
    };
  },
});
