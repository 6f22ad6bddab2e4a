/** One round: every due detector on every entity of its scope, and what could not be judged. */
import type { Entity } from '../../pipeline/kit/topology.ts';
import type { Insufficient } from '../../pipeline/kit/verdict.ts';
import { type AnyDetector, scopesOf } from './detector.ts';
import type { Sight } from './explain.ts';
import type { Machine, Transition } from './machine.ts';
import type { Outcome } from './outcome.ts';
import { INSTANCE_KINDS, shapeOf } from './signals.ts';
import { createView, type World } from './view.ts';

export type Mode = 'off' | 'observe' | 'on';

export interface Evaluator {
  /** Runs the detectors that are due; `slow` includes all of them. */
  round(slow: boolean): readonly Transition[];
  sight(detector: string, entity: Entity): Sight;
  missingFor(detector: string, entity: Entity): readonly string[];
  /** What no entity could be judged on, and why, grouped. */
  gaps(): readonly Insufficient[];
  readonly evaluations: number;
}

/** What is told of these comes in samples only, all at once; events and hooks say nothing about them between two scrapes. */
const FED_BY_SAMPLES: ReadonlySet<string> = new Set(['gpu', 'nic', 'node']);

const hearsEvents = (d: AnyDetector): boolean =>
  d.needs.some((n) => n.signals.some((s) => s.startsWith('event.') || s.startsWith('hook.')));

interface Last {
  readonly kind: 'clear' | 'missing';
  readonly missing: readonly string[];
}

export function createEvaluator(
  world: World,
  detectors: readonly AnyDetector[],
  mode: (detector: AnyDetector, entity: Entity) => Mode,
  machine: Machine,
  failed: (detector: AnyDetector, entity: Entity, error: unknown) => void,
): Evaluator {
  const last = new Map<string, Map<Entity, Last>>(detectors.map((d) => [d.id, new Map()]));
  /** What was said of an entity, and how new its samples were then. */
  const said = new Map<string, Map<Entity, { readonly samples: number; readonly outcome: Outcome }>>(
    detectors.filter((d) => d.pace === 'fast' && !hearsEvents(d)).map((d) => [d.id, new Map()]),
  );
  let evaluations = 0;

  /** Judges anew, or says the same again where between two slow rounds nothing came that could change it. */
  function judgeIfNew(detector: AnyDetector, entity: Entity, slow: boolean): Outcome {
    const samples = FED_BY_SAMPLES.has(entity.kind) ? world.store.of(entity)?.last : undefined;
    const kept = samples === undefined ? undefined : said.get(detector.id);
    if (samples === undefined || !kept) return judge(detector, entity);
    const before = kept.get(entity);
    if (!slow && before?.samples === samples) return before.outcome;
    const outcome = judge(detector, entity);
    kept.set(entity, { samples, outcome });
    return outcome;
  }

  /** Whether a signal (or kind of event) can be read for this entity. */
  function present(signal: string, entity: Entity): boolean {
    const { store, events } = world;
    switch (signal) {
      case 'hook.collective':
        return events.groups.size > 0 && (entity.kind === 'group' || groupsNear(entity));
      case 'hook.engine_step':
        return stepsNear(entity);
      case 'hook.pipeline_stage':
        return instancesNear(entity).some((e) => events.stages(e) !== undefined);
      case 'hook.kv_transfer':
        return entity.kind === 'pair' ? events.transfers(entity) !== undefined : world.topology.all('pair').length > 0;
      case 'span.request':
        return instancesNear(entity).some((e) => events.requests(e) !== undefined);
    }
    if (signal.startsWith('event.')) return true;
    const { of } = shapeOf(signal);
    const own = of === 'instance' ? INSTANCE_KINDS.includes(entity.kind) : of === entity.kind;
    return own ? (store.of(entity)?.signals.has(signal) ?? false) : store.has(signal);
  }

  const instancesNear = (entity: Entity): readonly Entity[] =>
    INSTANCE_KINDS.includes(entity.kind) ? [entity] : world.topology.related(entity, 'replica').map((r) => r.entity);
  const stepsNear = (entity: Entity): boolean => instancesNear(entity).some((e) => world.events.steps(e) !== undefined);
  const groupsNear = (entity: Entity): boolean =>
    world.topology.related(entity, 'group').length > 0 ||
    instancesNear(entity).some((e) => world.events.groupsOf(e).length > 0);

  /** Entities that could possibly be judged: the rest is not even looked at. */
  function worthLooking(detector: AnyDetector, entity: Entity): boolean {
    const state = world.store.of(entity);
    if (state) {
      if (detector.signals.length === 0) return true;
      for (const s of detector.signals) if (state.signals.has(s)) return true;
    }
    return !['gpu', 'node', 'nic', 'target'].includes(entity.kind);
  }

  function judge(detector: AnyDetector, entity: Entity): Outcome {
    let absent: readonly string[] | undefined;
    for (const need of detector.needs) {
      const lacking = need.signals.filter((s) => !present(s, entity));
      if (lacking.length === 0) {
        absent = undefined;
        break;
      }
      if (absent === undefined || lacking.length <= absent.length) absent = lacking;
    }
    if (absent) return { kind: 'missing', missing: absent };
    evaluations++;
    try {
      return detector.evaluate(createView(world, detector, entity));
    } catch (error) {
      failed(detector, entity, error);
      return { kind: 'hold' };
    }
  }

  return {
    get evaluations() {
      return evaluations;
    },
    round(slow) {
      const out: Transition[] = [];
      for (const detector of detectors) {
        if (!slow && detector.pace !== 'fast') continue;
        const known = last.get(detector.id)!;
        for (const kind of scopesOf(detector)) {
          for (const entity of world.topology.all(kind)) {
            if (!worthLooking(detector, entity)) continue;
            const how = mode(detector, entity);
            if (how === 'off') continue;
            const outcome = judgeIfNew(detector, entity, slow);
            if (outcome.kind === 'missing') {
              const absent = outcome.missing.filter((s) => !present(s, entity));
              known.set(entity, { kind: 'missing', missing: absent });
            } else if (outcome.kind !== 'hold') known.set(entity, { kind: 'clear', missing: [] });
            const transition = machine.step(detector, entity, outcome, world.now, how === 'observe');
            if (transition) out.push(transition);
          }
        }
        if (!slow) continue;
        for (const entity of known.keys()) if (!world.topology.entities.has(entity.key)) known.delete(entity);
        const kept = said.get(detector.id);
        for (const entity of kept?.keys() ?? []) if (!world.topology.entities.has(entity.key)) kept!.delete(entity);
      }
      if (slow) out.push(...machine.sweep(world.now));
      return out;
    },
    sight(detector, entity) {
      return last.get(detector)?.get(entity)?.kind ?? 'never';
    },
    missingFor(detector, entity) {
      const known = last.get(detector)?.get(entity);
      if (known?.kind === 'missing' && known.missing.length > 0) return known.missing;
      if (known) return [];
      return (
        detectors
          .find((d) => d.id === detector)
          ?.needs.at(-1)
          ?.signals.filter((s) => !present(s, entity)) ?? []
      );
    },
    gaps() {
      const out: Insufficient[] = [];
      for (const detector of detectors) {
        const known = last.get(detector.id)!;
        const groups = new Map<string, { entities: Entity[]; missing: readonly string[] }>();
        for (const [entity, l] of known) {
          if (l.kind !== 'missing' || l.missing.length === 0) continue;
          const key = l.missing.join();
          const group = groups.get(key) ?? { entities: [], missing: l.missing };
          group.entities.push(entity);
          groups.set(key, group);
        }
        if (known.size === 0) {
          // Nothing of its scope was ever seen with any of its signals: said once, for the service (or nothing at all).
          const service = world.topology.all('service')[0];
          if (!service) continue;
          const missing = detector.needs.at(-1)?.signals.filter((s) => !present(s, service)) ?? [];
          if (missing.length > 0) {
            out.push({
              detector: detector.id,
              entity: world.name(service),
              entities: 0,
              missing,
              enable: detector.enable,
            });
          }
          continue;
        }
        for (const { entities, missing } of groups.values()) {
          const first = entities[0]!;
          const service = world.topology.related(first, 'service')[0]?.entity;
          const about = entities.length > 1 && service ? service : first;
          out.push({
            detector: detector.id,
            entity: world.name(about),
            entities: entities.length,
            missing,
            enable: detector.enable,
          });
        }
      }
      return out;
    },
  };
}
