/**
 * From findings to incidents: components of the cause graph, followed over time. An incident keeps its id while its findings
 * do, says its roots with paths and probabilities, and names what it cannot decide or cannot see.
 */
import { type Entity, WEAK } from '../../pipeline/kit/topology.ts';
import {
  entityWords,
  type Incident,
  isoTime,
  type PathStep,
  type Remedy,
  type RootCause,
  type Severity,
  type SloKind,
} from '../../pipeline/kit/verdict.ts';
import { sharedAncestor } from './ancestors.ts';
import { FEEDBACK, SEPARATES } from './causes.ts';
import { type AnyDetector, scopesOf } from './detector.ts';
import { type ExplainContext, type Explanation, edgesTo, type Sight, targets } from './explain.ts';
import type { Span } from './history.ts';
import type { Impacts } from './impact.ts';
import type { Active } from './machine.ts';
import { type Candidate, components, EXPLAINED, rank } from './rank.ts';
import { remediesFor } from './remedies.ts';
import { isSibling, withoutSiblings } from './siblings.ts';
import type { World } from './view.ts';

export interface IncidentChange {
  readonly incident: Incident;
  readonly to: 'opened' | 'changed' | 'resolved';
}

export interface IncidentTracker {
  /** Recomputes from the firing findings. */
  update(active: readonly Active[], now: number): readonly IncidentChange[];
  /** Those that are open and were announced, for the disk. */
  saved(): readonly SavedIncident[];
  /** When the service was (or is) in an incident: not to be learned from. */
  frozen(service: string): readonly Span[];
  readonly open: number;
}

export interface IncidentOptions {
  /** How long symptoms wait for a cause to show before the incident is opened without one. */
  readonly waitMs: number;
  /** Findings considered at once; the most severe first. */
  readonly limit: number;
}

const MEMBER_KEEP_MS = 300_000;
const MAX_FREEZE_MS = 7_200_000;
const REEMIT_MS = 300_000;
const LEAST_PROBABILITY = 0.15;
/** Below this, a story beside another one of the same service is not worth a second alarm. */
const BESIDE_PROBABILITY = 0.5;
const LONG_KNOWN_MS = 180_000;
const RANK: Record<Severity, number> = { info: 0, warning: 1, critical: 2 };

/** An incident as it is kept over a restart. */
export interface SavedIncident {
  readonly id: string;
  readonly service: string;
  readonly openedAt: number;
  readonly detectedAt: number;
  readonly startedAt: number;
  readonly before: number | null;
  readonly during: number | null;
  readonly slo: SloKind;
  readonly severity: Severity;
  /** Ids of findings. */
  readonly members: readonly string[];
  readonly last: Incident;
}

interface Tracked {
  readonly id: string;
  readonly service: string;
  readonly openedAt: number;
  detectedAt: number;
  members: Map<string, Active>;
  startedAt: number;
  before: number | null;
  during: number | null;
  slo: SloKind;
  severity: Severity;
  emitted: string;
  emittedAt: number;
  announced: boolean;
  last: Incident | undefined;
  freeze: Span;
}

/** Scores add up evidence as if every finding were another; they are not, so that rivals are weighed more softly than that. */
const SOFTNESS = 0.6;
/** Fitted on 27 alarms of 41 train cases, of which 25 were right: the product alone said 0.65 on average. */
const MODESTY = 0.6;
export function createIncidents(
  world: World,
  impacts: Impacts,
  detectors: ReadonlyMap<string, AnyDetector>,
  sight: (detector: string, entity: Entity) => Sight,
  missingFor: (detector: string, entity: Entity) => readonly string[],
  options: IncidentOptions,
  /** Open before a restart; they go on when one of their findings does, and end when none has by `until`. */
  kept: { readonly incidents: readonly SavedIncident[]; readonly until: number } = { incidents: [], until: 0 },
): IncidentTracker {
  const open = new Map<string, Tracked>();
  const frozen = new Map<string, Span[]>();
  const recent = new Map<string, { finding: Active; until: number }>();
  const severeSince = new WeakMap<Active, number>();
  let serial = 0;
  const waiting = new Map(kept.incidents.map((i) => [i.id, i]));

  /** An incident of before the restart that one of these findings belongs to. */
  function resume(component: readonly Active[]): Tracked | undefined {
    for (const saved of waiting.values()) {
      if (!component.some((f) => saved.members.includes(f.id))) continue;
      waiting.delete(saved.id);
      const { members: _ids, ...rest } = saved;
      const t: Tracked = {
        ...rest,
        members: new Map(),
        emitted: '',
        emittedAt: 0,
        announced: true,
        freeze: { from: saved.startedAt - 60_000, until: Number.POSITIVE_INFINITY },
      };
      follow(t);
      return t;
    }
    return undefined;
  }

  function follow(t: Tracked): void {
    open.set(t.id, t);
    const spans = frozen.get(t.service) ?? [];
    spans.push(t.freeze);
    if (spans.length > 64) spans.shift();
    frozen.set(t.service, spans);
  }

  const scopes = (id: string) => {
    const detector = detectors.get(id);
    return detector ? scopesOf(detector) : [];
  };

  function contextOf(findings: readonly Active[], now: number): ExplainContext {
    return { topology: world.topology, findings, now, scopes, sight };
  }

  /** Entities of single parts cannot explain what began everywhere at once. */
  function forbiddenIn(component: readonly Active[]): ((f: Active) => boolean) | undefined {
    const outliers = component.filter((f) => f.entity.kind === 'replica' && f.detector.class === 'symptom');
    const replicas = new Set(outliers.map((f) => f.entity));
    const one = outliers[0]?.entity;
    if (!one || replicas.size < 3) return undefined;
    const cohort = [one, ...world.topology.peers(one)];
    if (cohort.length < 3 || replicas.size / cohort.length < 0.7) return undefined;
    const onsets = outliers.map((f) => f.onset.by).sort((a, b) => a - b);
    const middle = onsets[onsets.length >> 1]!;
    const together = outliers.filter((f) => Math.abs(f.onset.by - middle) <= 45_000);
    if (new Set(together.map((f) => f.entity)).size / cohort.length < 0.7) return undefined;
    return (f) => {
      if (!['gpu', 'rank', 'group', 'nic', 'link', 'replica'].includes(f.entity.kind)) return false;
      const reach = world.topology.related(f.entity, 'replica').filter((r) => r.confidence >= WEAK);
      // The same fault on every replica is a common cause seen in many places, not a single part's.
      const same = component.filter((g) => g.detector.id === f.detector.id).length;
      return reach.length / cohort.length < 0.7 && same / cohort.length < 0.5;
    };
  }

  const serviceOf = (component: readonly Active[]): string => {
    for (const f of component) {
      const service = world.topology.related(f.entity, 'service').find((r) => r.confidence >= WEAK);
      if (service) return service.entity.id;
    }
    return world.topology.related(component[0]!.entity, 'service')[0]?.entity.id ?? 'unknown_service';
  };

  const worstOf = (findings: readonly Active[]): Severity =>
    findings.reduce<Severity>((a, f) => (RANK[f.severity] > RANK[a] ? f.severity : a), 'info');

  const step = (detector: string, entity: Entity): PathStep => ({ detector, entity: world.name(entity) });

  /** The path worth showing: to the user's pain if it reaches it, else to the strongest effect. */
  function pathOf(c: Candidate): PathStep[] {
    let best: Explanation | undefined;
    let weight = -1;
    for (const [f, e] of c.explains) {
      if (f === c.finding || e.strength < 0.05) continue;
      const w = (f.detector.id === 'slo-burn' ? 10 : RANK[f.severity]) + e.strength;
      if (w > weight) {
        weight = w;
        best = e;
      }
    }
    return (best?.path ?? [{ detector: c.finding.detector.id, entity: c.finding.entity }]).map((h) =>
      step(h.detector, h.entity),
    );
  }

  function rootOf(c: Candidate, probability: number): RootCause {
    return {
      detector: c.finding.detector.id,
      entity: world.name(c.finding.entity),
      probability: Math.round(probability * 1000) / 1000,
      grade: c.finding.grade,
      finding: c.finding.id,
      path: pathOf(c),
      ...(c.absent.length > 0 ? { note: `expected and not seen: ${c.absent.join(', ')}` } : {}),
    };
  }

  /** Unseen parents of a symptom that had to head the report. */
  function hypotheses(head: Active): Incident['hypotheses'] {
    const out = new Map<string, readonly string[]>();
    for (const edge of edgesTo(head.detector.id)) {
      const detector = detectors.get(edge.from);
      if (!detector || detector.class === 'symptom' || out.has(edge.from)) continue;
      const candidates = scopes(edge.from).flatMap((kind) => world.topology.related(head.entity, kind));
      const missing = new Set<string>();
      for (const { entity } of candidates) {
        if (
          targets(world.topology, edge, entity, scopes(edge.to)).has(head.entity) &&
          sight(edge.from, entity) !== 'clear'
        ) {
          for (const m of missingFor(edge.from, entity)) missing.add(m);
        }
      }
      if (candidates.length === 0) for (const m of detector.needs.at(-1)?.signals ?? []) missing.add(m);
      if (missing.size > 0) out.set(edge.from, [...missing].slice(0, 8));
    }
    return [...out].slice(0, 8).map(([detector, missing]) => ({ detector, missing }));
  }

  function ambiguity(
    roots: readonly Candidate[],
    candidates: readonly Candidate[],
    p: ReadonlyMap<Candidate, number>,
  ): string | null {
    const first = roots[0]!;
    const second = candidates.find((c) => !roots.includes(c) && !isSibling(first.finding, c.finding));
    if (!second) return null;
    const a = p.get(first)!;
    const b = p.get(second)!;
    if (first.score - second.score >= 1 && a >= 0.5) return null;
    if (b < 0.15) return null;
    const ids = [first.finding.detector.id, second.finding.detector.id];
    const known = SEPARATES.find((s) => ids.includes(s.pair[0]) && ids.includes(s.pair[1]));
    const look =
      known?.look ?? `${first.finding.detector.wouldChangeMyMind} ${second.finding.detector.wouldChangeMyMind}`;
    return `${ids[0]} on ${entityWords(world.name(first.finding.entity))} or ${ids[1]} on ${entityWords(world.name(second.finding.entity))}; to separate them, look at ${look}`;
  }

  function metastable(component: readonly Active[], root: Active, now: number): string | null {
    if (root.state !== 'resolved' || now - root.endedAt < 60_000) return null;
    const firing = new Set(component.filter((f) => f.state === 'firing').map((f) => f.detector.id));
    const loop = FEEDBACK.find((f) => firing.has(f.from) && firing.has(f.to));
    return loop ? `${root.detector.id} is over, but ${loop.words}` : null;
  }

  function build(t: Tracked, component: readonly Active[], now: number, resolved: boolean): Incident {
    const context = { ...contextOf(component, now), forbidden: forbiddenIn(component) };
    const ranking = rank(component, context);
    const roots = ranking.roots.length > 0 ? ranking.roots : ranking.candidates.slice(0, 1);
    const head = roots[0]!;
    const weightOf = (f: Active) => (f.detector.id === 'slo-burn' ? 2 : RANK[f.severity] * 0.5 + 0.5);
    const kinds = withoutSiblings(
      component.filter((f) => f.detector.class !== 'context'),
      weightOf,
    );
    // How much of what is to be explained a cause explains; siblings count once, itself not at all.
    const coverage = (c: Candidate): number => {
      let all = 0;
      let explained = 0;
      for (const f of kinds) {
        if (f === c.finding || isSibling(f, c.finding)) continue;
        all += weightOf(f);
        const best = component.reduce(
          (a, g) => (g === f || isSibling(g, f) ? Math.max(a, c.explains.get(g)?.strength ?? 0) : a),
          0,
        );
        explained += weightOf(f) * Math.min(1, best / EXPLAINED);
      }
      return all > 0 ? explained / all : 1;
    };
    const top = Math.max(...ranking.candidates.map((c) => c.score));
    // Siblings are one cause in many places: none of them is a rival of another.
    const rivals = (c: Candidate) => ranking.candidates.filter((d) => !isSibling(c.finding, d.finding));
    const probabilities = new Map(
      ranking.candidates.map((c) => {
        const total = rivals(c).reduce((sum, d) => sum + Math.exp((d.score - top) * SOFTNESS), 0);
        const share = Math.exp((c.score - top) * SOFTNESS) / total;
        const certain = (0.45 + 0.55 * c.finding.confidence) * (0.55 + 0.45 * coverage(c));
        // A symptom at the head means that its cause was not seen.
        const { detector } = c.finding;
        const cap = detector.class !== 'symptom' ? 1 : detector.canBeRoot ? 0.75 : 0.3;
        return [c, Math.min(cap, (share * certain) ** MODESTY)];
      }),
    );
    const p = (c: Candidate) => probabilities.get(c) ?? 0;
    const explained = new Set(
      roots.flatMap((r) => [...r.explains].filter(([, e]) => e.strength >= EXPLAINED).map(([f]) => f)),
    );
    const symptoms = component.filter((f) => explained.has(f) && !roots.some((r) => r.finding === f));
    const contexts = component.filter((f) => f.detector.class === 'context' && !roots.some((r) => r.finding === f));
    const service = world.topology.get('service', t.service);
    const impact = service ? impacts.service(service) : undefined;
    if (impact && !resolved) {
      const burning = component.find((f) => f.detector.id === 'slo-burn');
      const tagged = burning?.verdict?.tags.find((x) => x.startsWith('slo:'))?.slice(4) as SloKind | undefined;
      const slo = tagged ?? impact.worst;
      const now_ = impact.latencies.find((l) => l.kind === slo);
      if (now_ && (t.slo !== slo || t.during === null || now_.now > t.during)) {
        t.slo = slo;
        t.before = now_.before ?? t.before;
        t.during = now_.now;
      } else if (t.during === null) t.slo = slo;
    }
    const affected = [...new Set(component.filter((f) => f.entity.kind === 'replica').map((f) => f.entity))];
    const shared =
      affected.length >= 2 ? sharedAncestor(world.topology, affected, world.topology.all('replica')) : undefined;
    const replica = world.topology.related(head.finding.entity, 'replica')[0]?.entity;
    const engine = (replica ?? world.topology.all('replica')[0])?.attributes['engine'];
    const remedies: Remedy[] = roots.flatMap((r) =>
      remediesFor(
        r.finding.detector.remedies,
        typeof engine === 'string' ? engine : undefined,
        r.finding.verdict?.sizes,
      ),
    );
    const path = pathOf(head);
    const symptomHead = head.finding.detector.class === 'symptom';
    const quality: string[] = [];
    if (component.some((f) => f.detector.id === 'telemetry-untrustworthy'))
      quality.push('some telemetry of this service cannot be trusted');
    if (head.finding.verdict && head.finding.verdict.defects > 0)
      quality.push('the root was judged through weak joins, resets or gaps');
    const summary = `${head.finding.verdict?.summary ?? head.finding.detector.meaning}${path.length > 1 ? ` Path: ${path.map((s) => s.detector).join(' → ')}.` : ''}`;
    t.severity = RANK[worstOf(component)] > RANK[t.severity] ? worstOf(component) : t.severity;
    // What somebody does on purpose is shown, not shouted, as long as no objective is missed.
    const planned = head.finding.verdict?.tags.includes('planned') === true && world.slo(t.service) === undefined;
    return {
      id: t.id,
      service: t.service,
      severity: planned ? 'info' : t.severity,
      state: resolved ? 'resolved' : 'open',
      summary,
      impact: {
        started_at: isoTime(t.startedAt),
        ended_at: resolved ? isoTime(Math.max(...component.map((f) => f.lastTrue))) : null,
        slo: t.slo,
        before: t.before,
        during: t.during,
        unit: t.slo === 'availability' || t.slo === 'throughput' ? '1' : 's',
      },
      detected_at: isoTime(t.detectedAt),
      root: rootOf(head, p(head)),
      roots: roots.map((r) => rootOf(r, p(r))),
      candidates: [...roots.slice(1), ...ranking.candidates.filter((c) => !roots.includes(c))]
        .slice(0, 5)
        .map((c) => rootOf(c, p(c))),
      path,
      symptoms: symptoms.map((f) => f.id),
      contexts: contexts.map((f) => f.id),
      ambiguous: ambiguity(roots, ranking.candidates, probabilities),
      hypotheses: symptomHead ? hypotheses(head.finding) : [],
      shared: shared ? { attribute: shared.attribute, value: shared.value, p: shared.p } : null,
      metastable: metastable(component, head.finding, now),
      remedies,
      quality,
    };
  }

  /** Whether a component is worth an incident: users suffer, something stands still, or a proven cause does harm. */
  function matters(component: readonly Active[], now: number): boolean {
    return component.some((f) => {
      const { detector } = f;
      if (f.state !== 'firing' || detector.family === 'telemetry') return false;
      if (detector.id === 'kv-exhaustion-forecast') return false;
      if (detector.class === 'root' || (detector.canBeRoot === true && f.grade === 'A')) {
        if (f.verdict?.tags.includes('application')) return false;
        if (f.severity === 'info') return f.grade !== 'C' && f.confidence >= 0.6 && now - f.firingAt >= 30_000;
        return f.confidence >= 0.6 || component.length > 1;
      }
      if (f.severity === 'info') return false;
      // What was seen for minutes before anybody suffered (a bubble by design, a batch that is always full) did not begin this.
      if (now >= f.firingAt + LONG_KNOWN_MS && (severeSince.get(f) ?? now) - f.firingAt > LONG_KNOWN_MS) return false;
      if (f.severity === 'critical' || detector.family === 'lifecycle') return true;
      if (detector.class !== 'symptom' || !detector.canBeRoot) return false;
      // A full cache or a long queue everywhere is load; on one replica, lasting and felt, it is that replica's.
      const peers = world.topology.peers(f.entity);
      const alike = component.filter((g) => g.detector === detector && peers.includes(g.entity)).length;
      const felt = (f.impact.latency ?? 0) >= 0.3;
      return felt && f.confidence >= 0.6 && now - f.firingAt >= 90_000 && alike < 0.5 * peers.length;
    });
  }

  /** Headed by what users feel, or by what only shows in it. */
  const withoutCause = (i: Incident): boolean => {
    const head = detectors.get(i.root.detector);
    return head?.class === 'symptom' && head.canBeRoot !== true;
  };

  function print(i: Incident): string {
    const round = (x: number) => Math.round(x * 10);
    return `${i.state}|${i.severity}|${i.roots.map((r) => `${r.detector}@${r.entity.id}${round(r.probability)}`).join()}|${i.ambiguous === null}|${i.path.length}`;
  }

  return {
    get open() {
      return open.size;
    },
    frozen: (service) => frozen.get(service) ?? [],
    saved: () => [
      ...waiting.values(),
      ...[...open.values()].flatMap(({ members, last, announced, emitted, emittedAt, freeze, ...t }) =>
        announced && last ? [{ ...t, last, members: [...members.keys()] }] : [],
      ),
    ],
    update(active, now) {
      const out: IncidentChange[] = [];
      if (waiting.size > 0 && now >= kept.until) {
        for (const { last } of waiting.values())
          out.push({
            incident: { ...last, state: 'resolved', impact: { ...last.impact, ended_at: isoTime(now) } },
            to: 'resolved',
          });
        waiting.clear();
      }
      for (const f of active) {
        if (f.severity !== 'info' && !severeSince.has(f)) severeSince.set(f, now);
        if (f.state === 'firing' && !f.observed) recent.set(f.id, { finding: f, until: now + MEMBER_KEEP_MS });
      }
      const members = new Set([...open.values()].flatMap((t) => [...t.members.keys()]));
      const findings: Active[] = [];
      for (const [id, r] of recent) {
        if (r.finding.state === 'firing') findings.push(r.finding);
        else if (r.until >= now && members.has(id)) findings.push(r.finding);
        else if (r.until < now) recent.delete(id);
      }
      findings.sort(
        (a, b) => RANK[b.severity] - RANK[a.severity] || b.confidence - a.confidence || (a.id < b.id ? -1 : 1),
      );
      const considered = findings.slice(0, options.limit);
      const seen = new Set<Tracked>();
      for (const component of components(
        considered,
        contextOf(considered, now),
        [...open.values()].map((t) => t.members),
      )) {
        const overlapping = [...open.values()]
          .map((t) => ({ t, n: component.filter((f) => t.members.has(f.id)).length }))
          .filter((o) => o.n > 0 && !seen.has(o.t))
          .sort((a, b) => b.n - a.n || a.t.openedAt - b.t.openedAt);
        let t = overlapping[0]?.t ?? resume(component);
        if (!t) {
          if (!matters(component, now)) continue;
          const service = serviceOf(component);
          // Users already suffer and nobody knows from what: this may be the answer, and is not a second alarm.
          const unexplained = [...open.values()].find((o) => o.service === service && o.last && withoutCause(o.last));
          if (unexplained) {
            for (const f of component) unexplained.members.set(f.id, f);
            continue;
          }
          const startedAt = Math.min(...component.map((f) => f.onset.by));
          t = {
            id: `inc-${Math.round(startedAt / 1000).toString(36)}-${(serial++).toString(36)}`,
            service,
            openedAt: now,
            detectedAt: now,
            members: new Map(),
            startedAt,
            before: null,
            during: null,
            slo: 'ttft',
            severity: 'info',
            emitted: '',
            emittedAt: 0,
            announced: false,
            last: undefined,
            freeze: { from: startedAt - 60_000, until: Number.POSITIVE_INFINITY },
          };
          follow(t);
        }
        for (const { t: other } of overlapping.slice(1)) {
          // Two incidents turned out to be one: the one with more members goes on.
          for (const [id, f] of other.members) t.members.set(id, f);
          t.startedAt = Math.min(t.startedAt, other.startedAt);
          t.detectedAt = Math.min(t.detectedAt, other.detectedAt);
          t.announced ||= other.announced;
          other.freeze.until = now;
          open.delete(other.id);
          if (other.announced && other.last)
            out.push({
              incident: { ...other.last, state: 'resolved', summary: `Part of ${t.id}. ${other.last.summary}` },
              to: 'resolved',
            });
        }
        seen.add(t);
        for (const f of component) t.members.set(f.id, f);
        t.startedAt = Math.min(
          t.startedAt,
          ...component.filter((f) => f.detector.class !== 'context').map((f) => f.onset.by),
        );
        const incident = build(t, component, now, false);
        const head = component.find((f) => f.id === incident.root.finding);
        // A hang or a dead replica is news without its cause.
        const rootless = head?.detector.class === 'symptom' && head.verdict?.discrete !== true;
        if (!t.announced && rootless && now - t.openedAt < options.waitMs) continue;
        // That something else is wrong, nobody needs to be told: it waits for a cause that can be believed.
        if (!t.announced && incident.root.probability < LEAST_PROBABILITY) continue;
        const beside = [...open.values()].some((o) => o !== t && o.announced && o.service === t.service);
        if (!t.announced && beside && (rootless || incident.root.probability < BESIDE_PROBABILITY)) continue;
        const text = print(incident);
        if (!t.announced) {
          t.announced = true;
          t.detectedAt = now;
          out.push({ incident: { ...incident, detected_at: isoTime(now) }, to: 'opened' });
        } else if (text !== t.emitted || now - t.emittedAt >= REEMIT_MS) out.push({ incident, to: 'changed' });
        else {
          t.last = incident;
          continue;
        }
        t.emitted = text;
        t.emittedAt = now;
        t.last = incident;
      }
      for (const [id, t] of open) {
        const firing = [...t.members.values()].some((f) => f.state === 'firing');
        if (now - t.freeze.from > MAX_FREEZE_MS && t.freeze.until === Number.POSITIVE_INFINITY) t.freeze.until = now;
        if (firing) continue;
        open.delete(id);
        t.freeze.until = Math.min(t.freeze.until, now);
        if (!t.announced || !t.last) continue;
        const ended = Math.max(...[...t.members.values()].map((f) => f.lastTrue));
        out.push({
          incident: { ...t.last, state: 'resolved', impact: { ...t.last.impact, ended_at: isoTime(ended) } },
          to: 'resolved',
        });
      }
      return out;
    },
  };
}
