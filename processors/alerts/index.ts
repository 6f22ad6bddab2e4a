/**
 * Rules over windows of any signal that passes. Batches go on unchanged; alerts follow as log records, what is pending and
 * firing as a gauge. Exporters (`alertmanager`, `webhook`) tell people.
 */
import { defineProcessor } from '../../pipeline/component.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { outbox } from '../../pipeline/kit/outbox.ts';
import { type Rule, termsOf } from '../../pipeline/kit/rules/rule.ts';
import { openStateFile } from '../../pipeline/kit/state-file.ts';
import { type Batch, metricsBatch, type NumberPoint } from '../../pipeline/model.ts';
import { activeGauges, labelsOf, recordOf } from './emit.ts';
import { createIncidents } from './incidents.ts';
import { createJudge } from './judge.ts';
import { advance, begin, type Live, load, save } from './life.ts';
import { alertsOptions, checkAlerts, readMaintenance, readSilences, ruleFiles, rulesInForce } from './options.ts';
import { inhibited, quietBy } from './quiet.ts';
import { createStore, groupKey } from './store.ts';

/** Points that wait to be handed on, at most. */
const WAITING = 5000;
const GAUGES = 2000;
/** Series are kept for so long after their last sample, so that rules about silence have something to look at. */
const FORGET_MS = 1_800_000;
const STATE_VERSION = 1;

export const alerts = defineProcessor({
  type: 'alerts',
  summary: 'Rules over any signal: thresholds and burn rates to alerts, as log records and a gauge',
  stability: 'alpha',
  signals: ['metrics', 'logs'],
  config: alertsOptions,
  validate: checkAlerts,

  async start(config, next, { id, clock, log, meter, status }) {
    const files = ruleFiles(config);
    const rules = rulesInForce(files, config.disabled);
    const inhibitions = files.flatMap((f) => f.inhibitions);
    const silences = readSilences(config);
    const windows = readMaintenance(config);
    const store = createStore(rules, { series: config.limits.series });
    const judge = createJudge(store);
    const reach = Math.max(
      FORGET_MS,
      ...rules.flatMap((r) => termsOf(r.when)).map((term) => term.windowMs + term.offsetMs),
    );
    /** By rule, then by entity. */
    const lives = new Map<Rule, Map<string, Live>>(rules.map((rule) => [rule, new Map()]));
    const incidents = createIncidents();
    const gauges = activeGauges(GAUGES);
    const startedAt = clock.now();
    let count = 0;
    let blind: ReadonlyMap<string, string> = new Map();
    let saidBlind = '';
    let heard = false;
    const records = outbox(next, 'Alerts', { log, meter });
    let gaugesWaiting: readonly NumberPoint[] = [];
    let expiredAt = startedAt;
    let savedAt = startedAt;
    let changed = false;
    let busy = false;
    let saving: Promise<boolean> | undefined;
    let handedOn: Promise<void> = Promise.resolve();
    let timer: Timer | undefined;
    let stopped = false;

    const all = function* () {
      for (const of of lives.values()) yield* of.values();
    };
    const counted = (state: Live['state']) => {
      let n = 0;
      for (const live of all()) if (live.state === state) n++;
      return n;
    };
    const failures = meter.counter('alerts_rule_errors', 'Rules that could not be judged.');
    const refused = meter.counter('alerts_refused', 'Alerts that were refused because there are too many.');
    meter.gauge('alerts_rules', 'Rules in force.', () => rules.length);
    meter.gauge('alerts_rules_blind', 'Rules that can never fire for want of signals.', () => blind.size);
    meter.gauge('alerts_pending', 'Alerts that are pending.', () => counted('pending'));
    meter.gauge('alerts_firing', 'Alerts that fire.', () => counted('firing'));
    meter.gauge('alerts_series', 'Series kept for rules.', () => store.series);
    meter.gauge('alerts_series_refused', 'Series refused by a limit.', () => store.refused);

    const state = config.storage && (await openStateFile(config.storage.directory, id, log));
    await restore();

    async function restore(): Promise<void> {
      const saved = (await state?.read()) as { version?: unknown; alerts?: unknown } | undefined;
      if (saved?.version !== STATE_VERSION || !Array.isArray(saved.alerts)) return;
      const byName = new Map(rules.map((rule) => [`${rule.name}|${rule.severity}`, rule]));
      for (const one of saved.alerts.slice(0, config.limits.alerts)) {
        const live = load(one, byName, startedAt, (rule, values) => groupKey(rule.by, values));
        if (!live || lives.get(live.rule)!.has(live.key)) continue;
        lives.get(live.rule)!.set(live.key, live);
        count++;
      }
      if (count > 0) log.info('Alerts of before the restart go on.', { alerts: count });
    }

    const incidentFor = (live: Live): string | undefined => incidents.about(live.labels);

    function one(rule: Rule, key: string, values: Readonly<Record<string, string>>, now: number): void {
      const of = lives.get(rule)!;
      let live = of.get(key);
      const { answer, value } = judge.judge(rule, values, live?.state === 'firing', now);
      if (!live) {
        live = begin(rule, key, values, answer, value, now);
        if (!live) return;
        if (count >= config.limits.alerts) {
          refused.add(1);
          return;
        }
        of.set(key, live);
        count++;
        changed = true;
      }
      const change = advance(live, answer, value, now);
      if (change === 'none') return;
      changed = true;
      if (change === 'fired') live.labels = labelsOf(rule, values, judge.common(rule, values));
      else {
        of.delete(key);
        count--;
        if (change === 'resolved') records.push(recordOf(live, now, now, incidentFor(live)));
      }
    }

    function round(): void {
      const now = clock.now();
      const open = incidents.points(now);
      store.ingest(open, now);
      if (open.length > 0) gaugesWaiting = [...gaugesWaiting, ...open].slice(-WAITING);
      for (const rule of rules) {
        try {
          const groups = judge.groups(rule);
          for (const [key, values] of groups) one(rule, key, values, now);
          for (const [key, live] of lives.get(rule)!) if (!groups.has(key)) one(rule, key, live.values, now);
        } catch (error) {
          failures.add(1, { rule: rule.name });
          log.error('A rule could not be judged; its alerts stay as they were.', { rule: rule.name, error });
        }
      }
      speak(now);
      if (heard && now - startedAt >= config.blind_after) look();
      if (now - expiredAt >= 60_000) {
        expiredAt = now;
        store.expire(now - reach);
      }
    }

    /** Says what is new of the alerts that fire: that they do, that they are quiet or no longer are, and again in time. */
    function speak(now: number): void {
      const firing: Live[] = [];
      for (const live of all()) if (live.state === 'firing') firing.push(live);
      const inputs = firing.map((live) => ({ labels: live.labels, inhibitable: live.rule.inhibitable, live }));
      const explained = new Map([...inhibited(inputs, inhibitions)].map(([input, by]) => [input.live, by]));
      for (const live of firing) {
        const quiet = quietBy(live.labels, silences, windows, now) ?? explained.get(live);
        const same = (quiet === undefined) === (live.suppressed === undefined);
        live.suppressed = quiet;
        if (same && now - live.emittedMs < config.repeat_interval) continue;
        live.emittedMs = now;
        records.push(recordOf(live, Number.NaN, now, incidentFor(live)));
      }
    }

    /** Looks for rules that cannot fire for anything, and says so whenever that changed. */
    function look(): void {
      const found = new Map<string, string>();
      for (const rule of rules) {
        const missing = judge.missing(rule);
        if (missing.length > 0) found.set(rule.name, missing.join(', '));
      }
      blind = found;
      const text = [...found].map(([rule, missing]) => `${rule} (${missing})`).join('; ');
      if (text === saidBlind) return;
      saidBlind = text;
      const own = rules.filter((rule) => !rule.builtIn && found.has(rule.name)).map((rule) => rule.name);
      const said = { blind: found.size, of: rules.length, rules: text };
      if (own.length > 0) {
        log.warn('Rules of yours can never fire: no target exposes their signals.', { own: own.join(', '), ...said });
        status('recoverable_error', `rules can never fire, no target exposes their signals: ${own.join(', ')}`);
      } else {
        if (found.size > 0) log.info('Some built-in rules cannot fire: no target exposes their signals.', said);
        status('ok');
      }
    }

    async function deliver(): Promise<void> {
      await records.deliver();
      const points = [...gaugesWaiting, ...gauges(all(), blind, clock.now())];
      gaugesWaiting = [];
      if (points.length === 0) return;
      try {
        await next.consume(metricsBatch(points));
      } catch (error) {
        log.warn('The gauge of alerts could not be handed on.', { error });
      }
    }

    async function keep(force: boolean): Promise<void> {
      const now = clock.now();
      // Also without a change now and then: what an alert was last true at tells a short pause from a long one.
      if (!state || (saving && !force) || !(force || changed || (count > 0 && now - savedAt >= 60_000))) return;
      changed = false;
      savedAt = now;
      await saving;
      saving = state.write({ version: STATE_VERSION, alerts: [...all()].map(save) });
      await saving;
      saving = undefined;
    }

    function arm(): void {
      if (stopped) return;
      const every = config.evaluation_interval;
      timer = clock.after(every - (clock.now() % every), () => {
        round();
        // Neither a slow stage behind nor a slow disk delays the judging.
        if (!busy) {
          busy = true;
          handedOn = deliver()
            .catch((error: unknown) => log.error('Alerts could not be handed on.', { error }))
            .finally(() => {
              busy = false;
            });
        }
        void keep(false);
        arm();
      });
    }
    arm();

    return {
      consume(batch: Batch) {
        if (batch.signal === 'metrics') {
          store.ingest(batch.items, clock.now());
          heard ||= batch.items.length > 0;
        } else if (batch.signal === 'logs') incidents.notice(batch.items);
        return next.consume(batch);
      },
      async stop() {
        if (stopped) return;
        stopped = true;
        timer?.cancel();
        await handedOn;
        await deliver();
        await keep(true);
      },
    };
  },
});
