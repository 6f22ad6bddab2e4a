/**
 * Detectors over windows of the signals that pass, findings with a life, and incidents with roots and paths. Batches go on
 * unchanged; findings and incidents follow as log records, what is firing as a gauge.
 */
import { resolve } from '../../config/schema.ts';
import { defineProcessor } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { type MeasuredLimits, measuredLimits, readBaseline } from '../../pipeline/kit/baseline/file.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { outbox } from '../../pipeline/kit/outbox.ts';
import { createTopology, type Entity, WEAK } from '../../pipeline/kit/topology.ts';
import { applyTopology } from '../../pipeline/kit/topology-records.ts';
import {
  CHANGE_EVENT,
  type EntityName,
  FINDING_EVENT,
  findingRecord,
  INCIDENT_EVENT,
  INSUFFICIENT_EVENT,
  incidentRecord,
  insufficientRecord,
  isoTime,
  TOPOLOGY_EVENT,
} from '../../pipeline/kit/verdict.ts';
import type { Batch, LogRecord } from '../../pipeline/model.ts';
import type { AnyDetector } from './detector.ts';
import { detectors } from './detectors/index.ts';
import { activeGauge, findingFrom } from './emit.ts';
import { createEvaluator, type Mode } from './evaluate.ts';
import { createEvents } from './events.ts';
import { withoutSuperseded } from './from-below.ts';
import { createHistory, createPeerMemory } from './history.ts';
import { createImpacts, LATENCIES } from './impact.ts';
import { createIncidents } from './incidents.ts';
import { NO_KEEPER, openKeeper } from './keep.ts';
import { createMachine, type Transition } from './machine.ts';
import { bottleneckOptions, checkOverrides, detectorSchema } from './options.ts';
import { weigh, worse } from './severity.ts';
import { createStore } from './store.ts';
import type { Slo, World } from './view.ts';

/** A finding whose signals are gone ends after this; so does one of before a restart that does not hold again. */
const LOST_MS = 300_000;
const GAPS_AFTER_MS = 120_000;
const GAPS_EVERY_MS = 300_000;
const OWN_EVENTS = new Set([FINDING_EVENT, INCIDENT_EVENT, INSUFFICIENT_EVENT]);

/** Signals that the framework itself reads, besides the detectors'. */
const OWN_SIGNALS = Object.values(LATENCIES).flat();

export const bottleneck = defineProcessor({
  type: 'bottleneck',
  summary: 'Finds bottlenecks, their causes and paths: findings and incidents as log records and a gauge',
  stability: 'alpha',
  signals: ['metrics', 'traces', 'logs'],
  config: bottleneckOptions,
  validate: checkOverrides,

  async start(config, next, { id, clock, log, meter }) {
    const topology = createTopology({ entities: config.limits.entities, links: config.limits.entities * 4 });
    const enabled = detectors.filter((d) => modeIn(config.detectors, d) !== 'off' || config.overrides.length > 0);
    const wanted = new Set<string>([...OWN_SIGNALS, ...enabled.flatMap((d) => d.signals)]);
    const store = createStore(topology, wanted, { channels: config.limits.channels, entities: config.limits.entities });
    const events = createEvents(topology);
    const history = createHistory(config.limits.channels);
    const slos = new Map<string, Slo | undefined>();
    const names = new Map<Entity, EntityName>();
    let namesVersion = -1;
    const paramsMemo = new Map<string, unknown>();
    const { baseline } = (config.detectors as Record<string, { baseline?: string }>)['capacity-knee'] ?? {};
    const measured = baseline === undefined ? new Map<string, MeasuredLimits>() : await limitsIn(baseline);

    const world: World = {
      topology,
      store,
      events,
      history,
      peerMemory: createPeerMemory(history),
      now: clock.now(),
      memo: new Map(),
      frozen: (entity) => incidents.frozen(world.name(entity).service ?? ''),
      slo(service) {
        if (!slos.has(service)) slos.set(service, sloOf(config.services[service]?.slo ?? config.slo));
        return slos.get(service);
      },
      name(entity) {
        if (namesVersion !== topology.version) {
          names.clear();
          namesVersion = topology.version;
        }
        let name = names.get(entity);
        if (!name) {
          name = nameOf(entity);
          names.set(entity, name);
        }
        return name;
      },
      params(detector, entity) {
        const key = `${detector.id}|${config.overrides.length > 0 || measured.size > 0 ? overrideKey(entity) : ''}`;
        let params = paramsMemo.get(key);
        if (!params) {
          params = paramsOf(detector, entity);
          if (paramsMemo.size > 10_000) paramsMemo.clear();
          paramsMemo.set(key, params);
        }
        return params;
      },
    };

    function nameOf(entity: Entity): EntityName {
      const strong = (kind: 'service' | 'pool' | 'replica' | 'rank') =>
        topology.related(entity, kind).filter((r) => r.confidence >= WEAK);
      const only = (list: readonly { entity: Entity }[]) => (list.length === 1 ? list[0]!.entity : undefined);
      const replica = entity.kind === 'replica' ? entity : only(strong('replica'));
      const service = only(strong('service')) ?? (replica ? only(topology.related(replica, 'service')) : undefined);
      const pool = replica ? only(topology.related(replica, 'pool')) : undefined;
      const node = entity.kind === 'node' ? entity : only(topology.nodes(entity).map((e) => ({ entity: e })));
      const rank = entity.kind === 'rank' ? entity : entity.kind === 'gpu' ? only(strong('rank')) : undefined;
      const index = Number(rank?.attributes['index'] ?? Number.NaN);
      const role = (replica ?? entity).attributes['role'];
      return {
        kind: entity.kind,
        id: entity.id,
        ...(service ? { service: service.id } : {}),
        ...(pool ? { pool: pool.id } : {}),
        ...(typeof role === 'string' ? { role } : {}),
        ...(replica && replica !== entity ? { replica: replica.id } : {}),
        ...(entity.kind === 'replica' ? { replica: entity.id } : {}),
        ...(node ? { node: node.id } : {}),
        ...(Number.isFinite(index) ? { rank: index } : {}),
      };
    }

    const overrideKey = (entity: Entity): string => {
      const n = world.name(entity);
      return `${n.service}|${n.pool}|${n.role}|${entity.attributes['model']}`;
    };

    function paramsOf(detector: Pick<AnyDetector, 'id' | 'params'>, entity: Entity): unknown {
      const base = (config.detectors as Record<string, object>)[detector.id] ?? {};
      const name = world.name(entity);
      const models = [entity, ...topology.related(entity, 'replica').map((r) => r.entity)].map(
        (e) => e.attributes['model'],
      );
      let extra: Record<string, unknown> =
        detector.id === 'capacity-knee' ? { ...measured.get(name.service ?? '') } : {};
      for (const o of config.overrides) {
        if (o.service !== undefined && o.service !== name.service) continue;
        if (o.pool !== undefined && o.pool !== name.pool) continue;
        if (o.role !== undefined && o.role !== name.role) continue;
        if (o.model !== undefined && !models.includes(o.model)) continue;
        extra = { ...extra, ...((o.detectors as Record<string, object>)[detector.id] ?? {}) };
      }
      if (Object.keys(extra).length === 0) return base;
      const resolved = resolve(detectorSchema(detector.id), extra) as Record<string, unknown>;
      return { ...base, ...Object.fromEntries(Object.keys(extra).map((k) => [k, resolved[k]])) };
    }

    const modeOf = (d: AnyDetector, entity: Entity): Mode => (world.params(d, entity) as { mode?: Mode }).mode ?? 'on';

    const keeper = config.storage
      ? await openKeeper(config.storage.directory, id, history, clock.now(), log)
      : NO_KEEPER;
    let serial = 0;
    const machine = createMachine(
      { clearRatio: 0.8, clearForMs: 90_000, lostAfterMs: LOST_MS, limit: config.limits.findings },
      (detector, _entity, at) => `${detector}-${Math.round(at / 1000).toString(36)}-${(serial++).toString(36)}`,
      keeper.recall,
    );
    const impacts = createImpacts(world);
    const evaluator = createEvaluator(world, enabled, modeOf, machine, (detector, entity, error) => {
      errors.add(1, { detector: detector.id });
      log.error('A detector failed; its verdict stays as it was.', {
        detector: detector.id,
        entity: entity.key,
        error: error instanceof Error ? error : describeError(error),
      });
    });
    const incidents = createIncidents(
      world,
      impacts,
      new Map(enabled.map((d) => [d.id, d])),
      evaluator.sight,
      evaluator.missingFor,
      { waitMs: config.incident_wait, limit: config.limits.causes },
      { incidents: keeper.incidents, until: clock.now() + LOST_MS },
    );
    const active = activeGauge(2000);

    const errors = meter.counter('bottleneck_detector_errors', 'Evaluations that threw.');
    meter.gauge('bottleneck_channels', 'Series windows kept.', () => store.channels);
    meter.gauge('bottleneck_entities', 'Entities known.', () => topology.entities.size);
    meter.gauge(
      'bottleneck_refused',
      'Entities, series and findings refused by a limit.',
      () => topology.refused + store.refused + machine.refused,
    );
    meter.gauge(
      'bottleneck_findings_firing',
      'Findings that fire.',
      () => machine.active().filter((a) => a.state === 'firing').length,
    );
    meter.gauge('bottleneck_incidents_open', 'Incidents that are open.', () => incidents.open);
    const spent = meter.counter('bottleneck_evaluation_seconds', 'Time spent evaluating.', 's');

    const records = outbox(next, 'Findings', { log, meter });
    const startedAt = clock.now();
    let gapsAt = startedAt + GAPS_AFTER_MS - GAPS_EVERY_MS;
    let gapsSent = '';
    let lastSlow = Number.NEGATIVE_INFINITY;
    let expiredAt = clock.now();
    let timer: Timer | undefined;
    let stopped = false;

    async function deliver(): Promise<void> {
      await records.deliver();
      const firing = machine.active().filter((a) => a.state === 'firing' && !a.observed);
      const points = active.points(firing, world);
      if (points) {
        try {
          await next.consume(points);
        } catch (error) {
          log.warn('The gauge of findings could not be handed on.', { error });
        }
      }
    }

    function report(transitions: readonly Transition[]): void {
      for (const { finding, to } of transitions) {
        if (to === 'pending') {
          if (config.emit_pending) records.push(findingRecord(findingFrom(finding, world), world.now));
          continue;
        }
        const before = finding.emittedSeverity;
        if (to !== 'resolved') weigh(finding, impacts);
        const due =
          to === 'firing' ||
          to === 'resolved' ||
          (before !== undefined && finding.severity !== before) ||
          world.now - finding.emittedAt >= config.repeat_interval;
        if (!due) continue;
        finding.emittedAt = world.now;
        finding.emittedSeverity = before === undefined ? finding.severity : worse(before, finding.severity);
        records.push(findingRecord(findingFrom(finding, world), world.now));
      }
    }

    function round(slow: boolean): void {
      const began = clock.monotonic();
      world.now = clock.now();
      world.memo.clear();
      if (slow) impacts.update();
      report(evaluator.round(slow));
      if (slow)
        for (const a of machine.active())
          if (a.detector.id === 'engine-stall') impacts.setStopped(a.entity, a.state === 'firing');
      for (const change of incidents.update(machine.active(), world.now))
        records.push(incidentRecord(change.incident, world.now));
      if (world.now - startedAt >= LOST_MS) {
        for (const finding of keeper.forgotten())
          records.push(findingRecord({ ...finding, state: 'resolved', ended_at: isoTime(world.now) }, world.now));
      }
      if (slow) void keep(false);
      if (world.now - gapsAt >= GAPS_EVERY_MS) sayGaps();
      if (world.now - expiredAt >= 60_000) {
        expiredAt = world.now;
        const before = world.now - config.forget_after;
        store.expire(before);
        events.expire(before);
        history.expire(world.now - 2 * 3_600_000);
        topology.expire(before, world.now);
      }
      spent.add((clock.monotonic() - began) / 1000);
    }

    async function keep(force: boolean): Promise<void> {
      if (!config.storage) return;
      const firing = machine.active().filter((a) => a.state === 'firing');
      const findings = firing.map((a) => ({
        key: `${a.detector.id}|${a.entity.key}`,
        id: a.id,
        firstTrue: a.firstTrue,
        firingAt: a.firingAt,
        onset: a.onset,
        severity: a.severity,
        confidence: a.confidence,
        finding: findingFrom(a, world),
      }));
      await keeper.keep(findings, incidents.saved(), clock.now(), force);
    }

    function sayGaps(): void {
      gapsAt = world.now;
      const gaps = evaluator.gaps();
      const text = JSON.stringify(gaps.map((g) => [g.detector, g.missing, g.entities]));
      if (text === gapsSent) return;
      gapsSent = text;
      for (const gap of gaps) records.push(insufficientRecord(gap, world.now));
    }

    function arm(): void {
      if (stopped) return;
      const step = config.fast_interval;
      const wait = step - (clock.now() % step);
      timer = clock.after(wait, () => {
        const now = clock.now();
        // Aligned to wall time, so that two processes (and a replay) look at the same moments.
        const slow = now - lastSlow >= config.evaluation_interval - step / 2 || now < lastSlow;
        if (slow) lastSlow = now;
        try {
          round(slow);
        } catch (error) {
          log.error('An evaluation round failed.', { error });
        }
        deliver()
          .catch((error: unknown) => log.error('Findings could not be handed on.', { error }))
          .finally(arm);
      });
    }
    arm();

    return {
      consume(batch: Batch) {
        const now = clock.now();
        switch (batch.signal) {
          case 'metrics':
            store.ingest(batch.items, now);
            break;
          case 'traces':
            events.spans(batch.items, now);
            break;
          case 'logs': {
            const rest: LogRecord[] = [];
            for (const r of batch.items) {
              if (r.eventName === TOPOLOGY_EVENT) applyTopology(topology, r, now);
              else if (r.eventName !== '' && !OWN_EVENTS.has(r.eventName)) rest.push(r);
            }
            if (rest.length > 0) events.logs(rest, now);
            const { rest: onward, dropped } = withoutSuperseded(batch);
            if (dropped === 0) break;
            meter.dropped('logs', dropped, 'filtered');
            return onward.items.length > 0 ? next.consume(onward) : undefined;
          }
        }
        return next.consume(batch);
      },
      async stop() {
        if (stopped) return;
        stopped = true;
        timer?.cancel();
        try {
          round(true);
          sayGaps();
        } catch (error) {
          log.error('The last evaluation round failed.', { error });
        }
        await deliver();
        await keep(true);
      },
    };
  },
});

const modeIn = (section: object, d: AnyDetector): Mode =>
  ((section as Record<string, { mode?: Mode } | undefined>)[d.id]?.mode ?? 'on') as Mode;

async function limitsIn(path: string): Promise<ReadonlyMap<string, MeasuredLimits>> {
  try {
    return measuredLimits(await readBaseline(path));
  } catch (error) {
    throw new Error(`${path} (detectors::capacity-knee::baseline) cannot be used: ${describeError(error)}`, {
      cause: error,
    });
  }
}

function sloOf(section: { ttft?: number; itl?: number; e2e?: number; objective: number } | undefined): Slo | undefined {
  if (!section || (section.ttft === undefined && section.itl === undefined && section.e2e === undefined))
    return undefined;
  const s = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);
  const slo: { ttft?: number; itl?: number; e2e?: number; objective: number } = { objective: section.objective };
  for (const kind of ['ttft', 'itl', 'e2e'] as const) {
    const value = s(section[kind]);
    if (value !== undefined) slo[kind] = value;
  }
  return slo;
}

export { CHANGE_EVENT };
