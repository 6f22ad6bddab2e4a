/** What a detector sees of the world: one entity at one moment, its relatives, peers and past. */
import type { TSchema } from '../../config/schema.ts';
import { type Onset, onset } from '../../pipeline/kit/stats/change.ts';
import { relativeToOthers } from '../../pipeline/kit/stats/peers.ts';
import type { Location } from '../../pipeline/kit/stats/robust.ts';
import { cohortKey, type Entity, type EntityKind, type Topology, WEAK } from '../../pipeline/kit/topology.ts';
import type { CounterEvidence, EntityName, Evidence, Grade, Remedy, Severity } from '../../pipeline/kit/verdict.ts';
import type { Events } from './events.ts';
import { type History, judge, type PeerGates, type PeerMemory, type PeerVerdict, type Span } from './history.ts';
import {
  type CounterReading,
  type GaugeReading,
  type HistogramReading,
  type Measure,
  readCounter,
  readGauge,
  readHistogram,
} from './measure.ts';
import type { Condition, Outcome } from './outcome.ts';
import { shapeOf } from './signals.ts';
import type { Channel, EntityState, Store } from './store.ts';

export const WF = 60_000;
export const WS = 300_000;
export const WL = 1_800_000;

export interface Slo {
  readonly ttft?: number;
  readonly itl?: number;
  readonly e2e?: number;
  /** Share of requests that must meet each of them. */
  readonly objective: number;
}

/** Whose eyes a view is for: parameters and memories are kept by detector. */
export interface Judge {
  readonly id: string;
  readonly params: Readonly<Record<string, TSchema>>;
}

/** Everything that views look at; one per processor, `now` moves with every evaluation. */
export interface World {
  readonly topology: Topology;
  readonly store: Store;
  readonly events: Events;
  readonly history: History;
  readonly peerMemory: PeerMemory;
  now: number;
  /** Thrown away after every evaluation. */
  readonly memo: Map<string, unknown>;
  /** Times that baselines must not learn from, for an entity's service. */
  frozen(entity: Entity): readonly Span[];
  slo(service: string): Slo | undefined;
  name(entity: Entity): EntityName;
  params(detector: Judge, entity: Entity): unknown;
}

export type Filter = Readonly<Record<string, string>>;

export interface Judgement {
  /** All must hold; the first is the one whose margin counts. */
  readonly all: readonly Condition[];
  /** At least one must hold. */
  readonly any?: readonly Condition[];
  /** Each that holds makes it more certain; the others change nothing. */
  readonly support?: readonly (Condition | undefined)[];
  readonly counter?: readonly (CounterEvidence | undefined)[];
  readonly grade: Grade;
  readonly summary: string;
  readonly tags?: readonly string[];
  readonly severity?: Severity | undefined;
  readonly discrete?: boolean;
  /** When it began, where the detector knows better than its conditions; may lie long ago. */
  readonly onset?: Onset;
  readonly sizes?: Readonly<Record<string, Partial<Remedy>>>;
  /** Defaults to the first condition's margin. */
  readonly intensity?: number;
}

export interface View<P> {
  readonly now: number;
  readonly entity: Entity;
  readonly name: EntityName;
  readonly params: P;
  readonly topology: Topology;
  readonly events: Events;
  /** Windows, milliseconds: short (60 s), long (5 min), very long (30 min). Readings widen them for slow sampling. */
  readonly wf: number;
  readonly ws: number;
  readonly wl: number;
  /** True if the entity has any channel of the signal. */
  has(signal: string): boolean;
  /** The reading of a signal, or undefined if the entity does not have it. `where` picks parts (`{reason: 'capacity'}`). */
  gauge(signal: string, where?: Filter): GaugeReading | undefined;
  counter(signal: string, where?: Filter): CounterReading | undefined;
  histogram(signal: string, where?: Filter): HistogramReading | undefined;
  /** Values of an attribute that channels of a signal carry: the reasons of a throttle, the endpoints of a router. */
  values(signal: string, attribute: string): readonly string[];
  /** Every channel of the entity, whatever the signal. */
  channels(): readonly Channel[];
  /** The same, looking at another entity. */
  on(entity: Entity): View<P>;
  /** Related entities of a kind. Using a weak relation costs the verdict a grade. */
  related(kind: EntityKind): readonly Entity[];
  /** The one related entity of a kind, if there is exactly one and the relation is strong. */
  the(kind: EntityKind): Entity | undefined;
  /** Others that may be compared with it. */
  peers(): readonly Entity[];
  /** Readings over all related entities of a kind, pooled: a service's TTFT over its replicas. */
  pooled(kind: EntityKind, pick?: (entity: Entity) => boolean): View<P>;
  /**
   * Median and scale of this feature's past (trailing hour that ends a long window ago, without incidents), and remembers the
   * present value. Undefined until 12 values (three minutes) are known.
   */
  baseline(feature: string, value: number, fewest?: number): Location | undefined;
  /** A quantile of this feature's past instead; a feature is read either as a baseline or as a quantile, not both. */
  pastQuantile(feature: string, value: number, p: number, fewest?: number): number | undefined;
  /** How this entity compares with its cohort in a feature, now and against its own past. Undefined below three members. */
  peer(
    feature: string,
    measure: (view: View<P>) => number | undefined,
    gates?: PeerGates,
  ): (PeerVerdict & { median: number; members: number }) | undefined;
  /** Past values of a feature. */
  past(feature: string, windowMs: number): { readonly t: readonly number[]; readonly v: readonly number[] };
  /** Computed once per evaluation round, shared between entities and detectors. */
  once<T>(key: string, make: () => T): T;
  slo(): Slo | undefined;
  /** True if something of this kind happened to this entity (or what it is part of) in the window. */
  happened(kind: RegExp, windowMs: number): boolean;
  atLeast(signal: string, measure: Measure | number | undefined, threshold: number, note?: string): Condition;
  atMost(signal: string, measure: Measure | number | undefined, threshold: number, note?: string): Condition;
  /** A plain fact as a condition: holds or not, without a scale. */
  fact(signal: string, holds: boolean | undefined, note: string): Condition;
  counterEvidence(check: string, against: boolean | undefined, result: string): CounterEvidence | undefined;
  judge(judgement: Judgement): Outcome;
  /** Plainly not the case (idle, nothing to judge). */
  clear(): Outcome;
  /** Cannot be said right now; whatever was said before stays. */
  hold(): Outcome;
  missing(...signals: readonly string[]): Outcome;
}

const NONE: readonly Channel[] = [];
/** Kept in place of a reader where there is none to make. */
const NOTHING = Symbol('nothing');

/** Picks the channels that answer for a signal: totals rather than parts, the preferred parts, or the filtered ones. */
export function pickChannels(
  channels: readonly Channel[] | undefined,
  signal: string,
  where?: Filter,
): readonly Channel[] {
  if (!channels || channels.length === 0) return NONE;
  if (where) return channels.filter((c) => Object.entries(where).every(([k, v]) => c.attributes[k] === v));
  if (channels.length === 1) return channels;
  const { parts, prefer } = shapeOf(signal);
  if (!parts) return channels;
  const totals = channels.filter((c) => parts.every((p) => c.attributes[p] === undefined));
  if (totals.length > 0) return totals;
  for (const [attribute, values] of Object.entries(prefer ?? {})) {
    const preferred = channels.filter((c) => values.includes(c.attributes[attribute] ?? ''));
    if (preferred.length > 0) return preferred;
  }
  return channels;
}

export function createView<P>(world: World, detector: Judge, entity: Entity, weakness = { used: 0 }): View<P> {
  const { topology, store, history, now } = world;
  return viewOf<P>(world, detector, entity, [store.of(entity)], weakness, now, topology, history);
}

function viewOf<P>(
  world: World,
  detector: Judge,
  entity: Entity,
  states: readonly (EntityState | undefined)[],
  weakness: { used: number },
  now: number,
  topology: Topology,
  history: History,
): View<P> {
  const channelsOf = (signal: string, where?: Filter): readonly Channel[] => {
    if (states.length === 1) return pickChannels(states[0]?.signals.get(signal), signal, where);
    return states.flatMap((s) => pickChannels(s?.signals.get(signal), signal, where));
  };
  const of = () => world.name(entity);

  /** Readers of one entity are made once and kept with its channels; pooled ones are made anew. */
  function reader(type: 'g' | 'c' | 'h', signal: string, where: Filter | undefined): unknown {
    const only = states.length === 1 ? states[0] : undefined;
    if (states.length === 1 && !only) return undefined;
    if (only && !only.signals.has(signal)) return undefined;
    const key = where ? `${type}|${signal}|${JSON.stringify(where)}` : `${type}|${signal}`;
    if (only) {
      const known = only.made.get(key);
      if (known !== undefined) return known === NOTHING ? undefined : known;
    }
    let made: unknown;
    if (type === 'g') {
      const channels = channelsOf(signal, where);
      if (channels.length > 0) made = readGauge(channels, world, signal, of, shapeOf(signal).combine);
    } else if (type === 'c') {
      const channels = channelsOf(signal, where).filter((c) => c.kind !== 'histogram');
      if (channels.length > 0) made = readCounter(channels, world, signal, of);
    } else {
      const channels = channelsOf(signal, where).filter((c) => c.kind === 'histogram');
      if (channels.length > 0) made = readHistogram(channels, world, signal, of);
    }
    only?.made.set(key, made ?? NOTHING);
    return made;
  }

  const view: View<P> = {
    now,
    entity,
    get name() {
      return world.name(entity);
    },
    get params() {
      return world.params(detector, entity) as P;
    },
    topology,
    events: world.events,
    wf: WF,
    ws: WS,
    wl: WL,
    has: (signal) => states.some((s) => s?.signals.has(signal)),
    gauge: (signal, where) => reader('g', signal, where) as GaugeReading | undefined,
    counter: (signal, where) => reader('c', signal, where) as CounterReading | undefined,
    histogram: (signal, where) => reader('h', signal, where) as HistogramReading | undefined,
    values(signal, attribute) {
      const only = states.length === 1 ? states[0] : undefined;
      const key = `v|${signal}|${attribute}`;
      const known = only?.made.get(key) as string[] | undefined;
      if (known) return known;
      const out = new Set<string>();
      for (const s of states) {
        for (const c of s?.signals.get(signal) ?? []) {
          const value = c.attributes[attribute];
          if (value !== undefined) out.add(value);
        }
      }
      const list = [...out];
      only?.made.set(key, list);
      return list;
    },
    channels: () => states.flatMap((s) => (s ? [...s.signals.values()].flat() : [])),
    on: (other) => createView<P>(world, detector, other, weakness),
    related(kind) {
      const found = topology.related(entity, kind);
      if (found.some((r) => r.confidence < WEAK)) weakness.used++;
      return found.map((r) => r.entity);
    },
    the(kind) {
      const found = topology.related(entity, kind).filter((r) => r.confidence >= WEAK);
      return found.length === 1 ? found[0]!.entity : undefined;
    },
    peers: () => topology.peers(entity),
    pooled(kind, pick) {
      const members = topology.related(entity, kind).map((r) => r.entity);
      const chosen = pick ? members.filter(pick) : members;
      return viewOf<P>(
        world,
        detector,
        entity,
        chosen.map((e) => world.store.of(e)),
        weakness,
        now,
        topology,
        history,
      );
    },
    baseline(feature, value, fewest = 12) {
      return history.baseline(`${feature}|${entity.key}`, value, now, WS, fewest, world.frozen(entity));
    },
    pastQuantile: (feature, value, p, fewest = 16) =>
      history.quantile(`${feature}|${entity.key}`, value, p, now, WS, fewest, world.frozen(entity)),
    past: (feature, windowMs) => history.course(`${feature}|${entity.key}`, now - windowMs),
    peer(feature, measure, gates) {
      const cohort = cohortKey(topology, entity);
      const table = view.once(`peer|${feature}|${cohort}`, () => {
        const members = topology.all(entity.kind).filter((e) => cohortKey(topology, e) === cohort);
        const values = members.map((e) => measure(createView<P>(world, detector, e, { used: 0 })) ?? Number.NaN);
        const r = relativeToOthers(values);
        const known = values.filter(Number.isFinite);
        const keys = members.map((e) => `r|${feature}|${e.key}`);
        const past = world.peerMemory.pooled(`${feature}|${cohort}`, keys, now, WS / 2, world.frozen(entity));
        r.forEach((value, i) => void history.record(keys[i]!, value, now));
        known.sort((a, b) => a - b);
        return { index: new Map(members.map((e, i) => [e, i])), r, past, known };
      });
      const i = table.index.get(entity);
      if (i === undefined || table.known.length < 3) return undefined;
      const verdict = judge(i, table.r[i]!, table.past, gates);
      const median = table.known[table.known.length >> 1]!;
      return verdict && { ...verdict, median, members: table.known.length };
    },
    once<T>(key: string, make: () => T): T {
      let value = world.memo.get(key) as T | undefined;
      if (value === undefined) {
        value = make();
        world.memo.set(key, value);
      }
      return value;
    },
    slo: () => world.slo(world.name(entity).service ?? ''),
    happened(kind, windowMs) {
      const name = world.name(entity);
      return world.events.happenings
        .since(now - windowMs, (h) => h.at)
        .some((h) => {
          if (!kind.test(h.kind)) return false;
          if (!h.entity || h.entity === entity) return true;
          const other = world.name(h.entity);
          return h.entity.kind === 'service'
            ? other.id === name.service
            : other.replica !== undefined && other.replica === name.replica;
        });
    },
    atLeast: (signal, m, threshold, note) => compare(view.name, signal, m, threshold, '>=', note),
    atMost: (signal, m, threshold, note) => compare(view.name, signal, m, threshold, '<=', note),
    fact: (signal, holds, note) => ({
      known: holds !== undefined,
      holds: holds === true,
      margin: holds === true ? 1.5 : 0,
      defects: 0,
      missing: holds === undefined ? [signal] : [],
      evidence:
        holds === undefined
          ? undefined
          : {
              signal,
              entity: view.name,
              window_s: 0,
              value: holds ? 1 : 0,
              threshold: 1,
              comparison: '>=',
              holds,
              note,
            },
    }),
    counterEvidence: (check, against, result) => (against === undefined ? undefined : { check, against, result }),
    judge: (j) => judgeAll(j, weakness),
    clear: () => ({ kind: 'clear' }),
    hold: () => ({ kind: 'hold' }),
    missing: (...signals) => ({ kind: 'missing', missing: signals }),
  };
  return view;
}

function compare(
  of: EntityName,
  signal: string,
  m: Measure | number | undefined,
  threshold: number,
  comparison: '>=' | '<=',
  note: string | undefined,
): Condition {
  const value = typeof m === 'number' ? m : m?.value;
  if (value === undefined || Number.isNaN(value)) {
    return { known: false, holds: false, margin: 0, evidence: undefined, missing: [signal], defects: 0 };
  }
  const measure = typeof m === 'object' ? m : undefined;
  const holds = comparison === '>=' ? value >= threshold : value <= threshold;
  const how = [measure?.how, note].filter((s) => s !== undefined && s !== '').join(': ');
  const evidence: Evidence = {
    signal,
    entity: measure?.of ?? of,
    window_s: Math.round((measure?.windowMs ?? 0) / 1000),
    value,
    threshold,
    comparison,
    holds,
    ...(measure ? { n: measure.n } : {}),
    ...(measure?.unit ? { unit: measure.unit } : {}),
    ...(measure?.baseline ? { baseline: measure.baseline } : {}),
    ...(how ? { note: how } : {}),
  };
  return {
    known: true,
    holds,
    margin: margin(value, threshold, comparison),
    evidence,
    missing: [],
    defects: measure?.defects ?? 0,
    ...(measure?.course
      ? {
          onset() {
            const { t, v } = measure.course!();
            // Dated at half way between what was usual and what is now, so that a slow ramp is not dated at its end.
            return onset(t, v, threshold, comparison === '>=');
          },
        }
      : {}),
  };
}

/** How far beyond its threshold a value is, as a factor; 1 is exactly there. Bounded, so that a tiny threshold says little. */
function margin(value: number, threshold: number, comparison: '>=' | '<='): number {
  const factor =
    comparison === '>='
      ? threshold > 0
        ? value / threshold
        : value >= threshold
          ? 1.5
          : 0.5
      : threshold > 0
        ? value > 0
          ? threshold / value
          : 10
        : value <= threshold
          ? 1.5
          : 0.5;
  return Math.min(10, Math.max(0, factor));
}

const LOWER: Record<Grade, Grade> = { A: 'B', B: 'C', C: 'C' };

function judgeAll(j: Judgement, weakness: { used: number }): Outcome {
  const missing = new Set<string>();
  for (const c of j.all) if (!c.known) for (const m of c.missing) missing.add(m);
  if (missing.size > 0) return { kind: 'missing', missing: [...missing] };
  const any = (j.any ?? []).filter((c) => c.known);
  if (j.any && j.any.length > 0 && any.length === 0) {
    return { kind: 'missing', missing: j.any.flatMap((c) => c.missing) };
  }
  const best = any.reduce<Condition | undefined>((a, b) => (!a || b.margin > a.margin ? b : a), undefined);
  const required = best ? [...j.all, best] : [...j.all];
  const holds = required.every((c) => c.holds);
  const support = (j.support ?? []).filter((c): c is Condition => c?.known === true && c.holds);
  const first = required[0];
  const evidence = [...required, ...support].flatMap((c) => (c.evidence ? [c.evidence] : []));
  return {
    kind: 'verdict',
    holds,
    margin: first?.margin ?? 0,
    floor: required.length > 0 ? Math.min(...required.map((c) => c.margin)) : 0,
    grade: weakness.used > 0 ? LOWER[j.grade] : j.grade,
    evidence,
    counter: (j.counter ?? []).filter((c): c is CounterEvidence => c !== undefined),
    corroborations: support.length,
    defects: required.reduce((sum, c) => sum + c.defects, 0) + (weakness.used > 0 ? 1 : 0),
    severity: j.severity,
    discrete: j.discrete ?? false,
    tags: j.tags ?? [],
    summary: j.summary,
    sizes: j.sizes ?? {},
    intensity: j.intensity ?? first?.margin ?? 0,
    ...(j.onset ? { known: j.onset } : {}),
    onset: () => {
      for (const c of required) {
        const o = c.onset?.();
        if (o) return o;
      }
      return undefined;
    },
  };
}
