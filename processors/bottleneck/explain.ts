/** What one finding can explain of the others: the best path through the graph of causes, entity by entity. */
import type { Onset } from '../../pipeline/kit/stats/change.ts';
import { kendallTau } from '../../pipeline/kit/stats/robust.ts';
import type { Entity, EntityKind, Topology } from '../../pipeline/kit/topology.ts';
import { EDGES, type Edge } from './causes.ts';
import type { Active } from './machine.ts';

export interface Hop {
  readonly detector: string;
  readonly entity: Entity;
  /** Undefined where the step was not seen (its signals are missing) or did not fire. */
  readonly finding: Active | undefined;
}

export interface Explanation {
  /** 0..1: how well. */
  readonly strength: number;
  /** From the cause to the effect, both included. */
  readonly path: readonly Hop[];
}

/** What is known of a detector on an entity in the last round. */
export type Sight = 'clear' | 'missing' | 'never';

export interface ExplainContext {
  readonly topology: Topology;
  readonly findings: readonly Active[];
  readonly now: number;
  scopes(detector: string): readonly EntityKind[];
  sight(detector: string, entity: Entity): Sight;
}

const byFrom = new Map<string, Edge[]>();
for (const edge of EDGES) {
  const list = byFrom.get(edge.from);
  if (list) list.push(edge);
  else byFrom.set(edge.from, [edge]);
}

export const edgesFrom = (detector: string): readonly Edge[] => byFrom.get(detector) ?? [];
export const edgesTo = (detector: string): readonly Edge[] => EDGES.filter((e) => e.to === detector);

/** Onsets are known to about this; a cause may seem to begin this much after its effect. */
const GRACE_MS = 15_000;
const LATE_MS = 60_000;
/** What was there for so long without this effect is hardly its cause. */
const VERY_LATE_MS = 300_000;
const LEAST = 0.02;
const MAX_STATES = 400;
const WIDE = 12;

/** P(cause began before effect) when both onsets are uniform over their intervals; 0 is a veto, otherwise at least 0.3. */
export function timeWeight(cause: Onset, effect: Onset, lagHighMs: number): number {
  if (effect.by < cause.after - GRACE_MS) return 0;
  const before = probabilityBefore(cause, { after: effect.after, by: effect.by + GRACE_MS });
  const late = effect.after - (cause.by + lagHighMs);
  return Math.max(0.3, before) * (late > VERY_LATE_MS ? 0.2 : late > LATE_MS ? 0.5 : 1);
}

function probabilityBefore(x: Onset, y: Onset): number {
  if (x.by <= y.after) return 1;
  if (y.by <= x.after) return 0;
  const width = y.by - y.after;
  let total = 0;
  const parts = 16;
  for (let i = 0; i < parts; i++) {
    const at = x.after + ((x.by - x.after) * (i + 0.5)) / parts;
    total += width > 0 ? Math.min(1, Math.max(0, (y.by - at) / width)) : at <= y.by ? 1 : 0;
  }
  return total / parts;
}

/** Agreement of two intensities over time; 1 when nothing can be said. */
export function doseWeight(cause: Active, effect: Active): number {
  const x: number[] = [];
  const y: number[] = [];
  let j = 0;
  for (const d of cause.doses) {
    while (j + 1 < effect.doses.length && Math.abs(effect.doses[j + 1]!.t - d.t) <= Math.abs(effect.doses[j]!.t - d.t))
      j++;
    const e = effect.doses[j];
    if (!e || Math.abs(e.t - d.t) > 10_000) continue;
    x.push(d.v);
    y.push(e.v);
  }
  if (x.length < 8 || spread(x) < 0.15 || spread(y) < 0.15) return 1;
  const tau = kendallTau(x, y);
  return tau >= 0.3 ? 1 : tau < -0.2 ? 0.4 : 0.75;
}

const spread = (v: readonly number[]): number => {
  const mean = v.reduce((a, b) => a + b, 0) / v.length;
  return mean === 0 ? 0 : (Math.max(...v) - Math.min(...v)) / Math.abs(mean);
};

/** Entities that an edge can lead to, with how sure the relation is. */
export function targets(
  topology: Topology,
  edge: Edge,
  from: Entity,
  kinds: readonly EntityKind[],
): Map<Entity, number> {
  const out = new Map<Entity, number>();
  if (edge.fromRole) {
    const role = from.attributes['role'];
    if (role !== undefined && role !== edge.fromRole) return out;
  }
  const put = (e: Entity, confidence: number) => {
    if (edge.toRole) {
      const role = e.attributes['role'];
      if (role !== undefined && role !== edge.toRole && e.kind === 'replica') return;
    }
    out.set(e, Math.max(out.get(e) ?? 0, confidence));
  };
  switch (edge.join) {
    case 'same':
      if (kinds.includes(from.kind)) put(from, 1);
      else for (const kind of kinds) for (const r of topology.related(from, kind)) put(r.entity, r.confidence);
      break;
    case 'line':
      for (const kind of kinds) for (const r of topology.related(from, kind)) put(r.entity, r.confidence);
      break;
    case 'peers':
      if (kinds.includes(from.kind)) for (const e of topology.peers(from)) put(e, 1);
      break;
    case 'source':
    case 'destination': {
      const id = from.attributes[edge.join];
      const e = typeof id === 'string' ? topology.get('replica', id) : undefined;
      if (e && kinds.includes('replica')) put(e, 1);
      else if (from.kind === 'replica') {
        // Without pairs the finding sits on a replica; who sends to it is not known, only its service.
        for (const service of topology.related(from, 'service')) {
          for (const r of topology.related(service.entity, 'replica')) if (r.entity !== from) put(r.entity, 0.6);
        }
        if (edge.join === 'destination') put(from, 0.9);
      }
      break;
    }
    case 'to-pair':
      if (kinds.includes('replica')) put(from, 1);
      for (const pair of topology.all('pair')) {
        if (pair.attributes['source'] === from.id || pair.attributes['destination'] === from.id) put(pair, 1);
      }
      break;
  }
  return out;
}

interface State {
  readonly detector: string;
  readonly entity: Entity;
  readonly finding: Active | undefined;
  readonly strength: number;
  readonly time: number;
  readonly lag: number;
  /** The last finding on the way that was really seen. */
  readonly seen: Active;
  readonly unseen: number;
  readonly from: State | undefined;
}

/** Everything that `root` explains, each with its best path. `root` explains itself with strength 1. */
export function explain(root: Active, context: ExplainContext): Map<Active, Explanation> {
  const { topology } = context;
  const out = new Map<Active, Explanation>();
  const done = new Set<string>();
  const index = new Map<string, Active[]>();
  for (const f of context.findings) {
    const list = index.get(f.detector.id);
    if (list) list.push(f);
    else index.set(f.detector.id, [f]);
  }
  const queue: State[] = [
    {
      detector: root.detector.id,
      entity: root.entity,
      finding: root,
      strength: 1,
      time: 1,
      lag: 0,
      seen: root,
      unseen: 0,
      from: undefined,
    },
  ];
  let states = 0;
  while (queue.length > 0 && states++ < MAX_STATES) {
    let best = 0;
    for (let i = 1; i < queue.length; i++) {
      if (queue[i]!.strength * queue[i]!.time > queue[best]!.strength * queue[best]!.time) best = i;
    }
    const state = queue.splice(best, 1)[0]!;
    const key = `${state.detector}|${state.entity.key}`;
    if (done.has(key)) continue;
    done.add(key);
    if (state.finding) {
      const dose = state.finding === root ? 1 : doseWeight(root, state.finding);
      out.set(state.finding, { strength: state.strength * state.time * dose, path: pathOf(state) });
    }
    for (const edge of edgesFrom(state.detector)) {
      const present = index.get(edge.to) ?? [];
      const leadsOn = edgesFrom(edge.to).some((e) => index.has(e.to));
      if (present.length === 0 && !leadsOn) continue;
      const reach = targets(topology, edge, state.entity, context.scopes(edge.to));
      for (const [entity, confidence] of reach) {
        if (done.has(`${edge.to}|${entity.key}`)) continue;
        const finding = present.find((f) => f.entity === entity);
        if (finding && edge.tag && !(finding.verdict?.tags.includes(edge.tag) ?? false)) continue;
        const lag = state.lag + edge.lag[1] * 1000;
        if (finding) {
          const time = Math.min(state.time, timeWeight(state.seen.onset, finding.onset, lag));
          const strength = state.strength * edge.p * confidence;
          if (time > 0 && strength >= LEAST) {
            queue.push({
              detector: edge.to,
              entity,
              finding,
              strength,
              time,
              lag: 0,
              seen: finding,
              unseen: 0,
              from: state,
            });
          }
          continue;
        }
        if (!leadsOn || state.unseen >= 2 || reach.size > WIDE) continue;
        const sight = context.sight(edge.to, entity);
        const strength = state.strength * edge.p * confidence * (sight === 'clear' ? 0.35 : 0.8);
        if (strength < LEAST) continue;
        queue.push({
          detector: edge.to,
          entity,
          finding: undefined,
          strength,
          time: state.time,
          lag,
          seen: state.seen,
          unseen: state.unseen + 1,
          from: state,
        });
      }
    }
  }
  return out;
}

function pathOf(state: State): Hop[] {
  const out: Hop[] = [];
  for (let s: State | undefined = state; s; s = s.from) {
    out.push({ detector: s.detector, entity: s.entity, finding: s.finding });
  }
  return out.reverse();
}
