/** Findings as they leave: log records on every change, and the gauge of what is firing. */
import { type EntityName, type Finding, isoTime, resourceOf } from '../../pipeline/kit/verdict.ts';
import {
  gauge,
  type MetricsBatch,
  metricsBatch,
  NO_RECORDED_VALUE,
  type NumberPoint,
  nanosFromMs,
  type Scope,
  type Series,
  scope,
} from '../../pipeline/model.ts';
import type { Active } from './machine.ts';
import { remediesFor } from './remedies.ts';
import type { World } from './view.ts';

const SCOPE: Scope = scope('enginelight');
const ACTIVE = gauge('enginelight_finding_active', '', 'A finding is firing.');

/** The finding of a state, in the shape that everybody knows. */
export function findingFrom(a: Active, world: World): Finding {
  const entity: EntityName = world.name(a.entity);
  const v = a.verdict;
  const replica = world.topology.related(a.entity, 'replica')[0]?.entity;
  const engine = replica?.attributes['engine'];
  return {
    id: a.id,
    detector: a.detector.id,
    class: a.detector.class,
    entity,
    severity: a.severity,
    confidence: Math.round(a.confidence * 1000) / 1000,
    grade: a.grade,
    state: a.state === 'inactive' ? 'pending' : a.state,
    started_at: isoTime(a.onset.by),
    detected_at: a.firingAt > 0 ? isoTime(a.firingAt) : null,
    ended_at: a.state === 'resolved' ? isoTime(a.endedAt) : null,
    summary: v?.summary ?? a.detector.meaning,
    impact: a.impact,
    tags: v?.tags ?? [],
    flapping: a.flips.length >= 4,
    observed: a.observed,
    evidence: v?.evidence ?? [],
    counter_evidence: v?.counter ?? [],
    would_change_my_mind: a.detector.wouldChangeMyMind,
    remedies: remediesFor(a.detector.remedies, typeof engine === 'string' ? engine : undefined, v?.sizes),
  };
}

export interface ActiveGauge {
  /** Points of what fires now, and end markers of what no longer does. */
  points(firing: readonly Active[], world: World): MetricsBatch | undefined;
}

export function activeGauge(limit: number): ActiveGauge {
  let current = new Map<string, Series>();
  return {
    points(firing, world) {
      const next = new Map<string, Series>();
      const items: NumberPoint[] = [];
      const time = nanosFromMs(world.now);
      for (const a of firing) {
        if (next.size >= limit) break;
        const key = `${a.detector.id}|${a.entity.key}|${a.severity}`;
        if (next.has(key)) continue;
        let series = current.get(key);
        if (!series) {
          const name = world.name(a.entity);
          series = {
            resource: resourceOf(name),
            scope: SCOPE,
            metric: ACTIVE,
            attributes: Object.assign(Object.create(null), {
              detector: a.detector.id,
              entity_kind: a.entity.kind,
              entity: a.entity.id,
              severity: a.severity,
            }),
          };
        }
        next.set(key, series);
        items.push({ series, time, startTime: 0n, flags: 0, value: 1 });
      }
      for (const [key, series] of current) {
        if (!next.has(key)) items.push({ series, time, startTime: 0n, flags: NO_RECORDED_VALUE, value: 0 });
      }
      current = next;
      return items.length > 0 ? metricsBatch(items) : undefined;
    },
  };
}
