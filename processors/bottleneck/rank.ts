/** Which findings head the others: scores, a greedy cover for faults that happen at once, probabilities. */
import type { Entity } from '../../pipeline/kit/topology.ts';
import type { Severity } from '../../pipeline/kit/verdict.ts';
import { PRIOR, PRIORS } from './causes.ts';
import { type ExplainContext, type Explanation, edgesFrom, explain, targets } from './explain.ts';
import type { Active } from './machine.ts';
import { isSibling, tieSiblings } from './siblings.ts';

const EPSILON = 0.03;
/** Explained well enough to be somebody's symptom; worth mentioning at all. */
export const EXPLAINED = 0.2;
const MENTIONED = 0.1;
const GAIN_NATS = 3;
const MAX_ROOTS = 3;

const WEIGHT: Record<Severity, number> = { critical: 1.5, warning: 1, info: 0.5 };
const weightOf = (f: Active): number => (f.detector.id === 'slo-burn' ? 2 : WEIGHT[f.severity]);

export interface Candidate {
  readonly finding: Active;
  readonly score: number;
  readonly probability: number;
  readonly explains: ReadonlyMap<Active, Explanation>;
  /** Effects that this cause usually has, that could be seen, and that are not there. */
  readonly absent: readonly string[];
}

export interface Ranking {
  /** All candidates, best first; probabilities add up to 1. */
  readonly candidates: readonly Candidate[];
  readonly roots: readonly Candidate[];
}

const logit = (p: number): number => Math.log(p / (1 - p));

export interface RankContext extends ExplainContext {
  /** Called for a pool-wide simultaneous onset: entities that no single part of a replica can explain. */
  readonly forbidden?: ((f: Active) => boolean) | undefined;
}

/** The findings of one component, ranked. Deterministic: ties go to the earlier onset, then to the id. */
export function rank(component: readonly Active[], context: RankContext): Ranking {
  const explanations = new Map<Active, Map<Active, Explanation>>();
  for (const f of component) explanations.set(f, explain(f, context));
  const explainedByOther = (f: Active): boolean =>
    component.some((g) => g !== f && rootable(g) && (explanations.get(g)!.get(f)?.strength ?? 0) >= EXPLAINED);
  let candidates = component.filter((f) => rootable(f) || (f.detector.canBeRoot === true && !explainedByOther(f)));
  if (candidates.length === 0) candidates = component.filter((f) => !explainedBySomething(f, component, explanations));
  if (candidates.length === 0) candidates = [...component];

  const members = new Set(component);
  const scored = candidates.map((f) => {
    const explains = new Map([...explanations.get(f)!].filter(([g]) => members.has(g)));
    const absent = absentEffects(f, context);
    return { finding: f, explains, absent, ...scoreOf(f, component, explains, absent, context) };
  });
  const top = Math.max(...scored.map((s) => s.score));
  const total = scored.reduce((sum, s) => sum + Math.exp(s.score - top), 0);
  const all: Candidate[] = scored
    .map((s) => ({
      finding: s.finding,
      score: s.score,
      probability: Math.exp(s.score - top) / total,
      explains: s.explains,
      absent: s.absent.map((a) => a.name),
    }))
    .sort(
      (a, b) => b.score - a.score || a.finding.onset.by - b.finding.onset.by || (a.finding.id < b.finding.id ? -1 : 1),
    );
  return { candidates: all, roots: cover(all, component, context) };
}

/** Whether a finding may head a report on its own account. */
const rootable = (f: Active): boolean => f.detector.class === 'root' || f.detector.class === 'context';

function explainedBySomething(
  f: Active,
  component: readonly Active[],
  all: Map<Active, Map<Active, Explanation>>,
): boolean {
  return component.some(
    (g) =>
      g !== f &&
      (all.get(g)!.get(f)?.strength ?? 0) >= EXPLAINED &&
      !((all.get(f)!.get(g)?.strength ?? 0) > (all.get(g)!.get(f)?.strength ?? 0)),
  );
}

function scoreOf(
  f: Active,
  remaining: readonly Active[],
  explains: ReadonlyMap<Active, Explanation>,
  absent: readonly { p: number }[],
  context: RankContext,
): { score: number; gain: number } {
  let gain = 0;
  for (const s of remaining) {
    // A sibling has the same cause as this one, which speaks neither for it nor against it.
    if (isSibling(f, s)) continue;
    const e = explains.get(s)?.strength ?? 0;
    gain += weightOf(s) * (e >= MENTIONED ? Math.log((e + EPSILON) / (2 * EPSILON)) : -Math.log(2));
  }
  let score = logit(Math.min(0.97, Math.max(0.03, f.confidence))) + Math.log(PRIORS[f.detector.id] ?? PRIOR) + gain;
  for (const a of absent) score += 0.5 * Math.log(1 - 0.9 * a.p);
  if (context.forbidden?.(f)) score -= 6;
  return { score, gain };
}

function absentEffects(f: Active, context: RankContext): { name: string; p: number }[] {
  const out: { name: string; p: number }[] = [];
  const seen = new Set<string>();
  for (const edge of edgesFrom(f.detector.id)) {
    if (seen.has(edge.to) || edge.p < 0.5) continue;
    if (context.now - f.onset.by < edge.lag[1] * 1000 + 60_000) continue;
    const reach = targets(context.topology, edge, f.entity, context.scopes(edge.to));
    if (reach.size === 0) continue;
    seen.add(edge.to);
    const found = context.findings.some((g) => g.detector.id === edge.to && reach.has(g.entity));
    const visible = [...reach.keys()].some((e: Entity) => context.sight(edge.to, e) === 'clear');
    if (!found && visible) out.push({ name: edge.to, p: edge.p * Math.max(...reach.values()) });
  }
  return out;
}

/** Takes the best, removes what it explains, and goes on while the best of the rest still gains enough. */
function cover(all: readonly Candidate[], component: readonly Active[], context: RankContext): Candidate[] {
  const first = all[0];
  if (!first) return [];
  const roots = [first];
  const left = (by: Candidate) => (s: Active) =>
    (by.explains.get(s)?.strength ?? 0) < EXPLAINED && !isSibling(by.finding, s);
  let remaining = component.filter(left(first));
  while (roots.length < MAX_ROOTS && remaining.length > 0) {
    let best: { candidate: Candidate; gain: number } | undefined;
    for (const candidate of all) {
      const f = candidate.finding;
      if (!remaining.includes(f) || !(rootable(f) || f.detector.canBeRoot) || f.severity === 'info') continue;
      if (context.forbidden?.(f)) continue;
      let gain = logit(Math.min(0.97, Math.max(0.03, f.confidence)));
      for (const s of remaining) {
        const e = candidate.explains.get(s)?.strength ?? 0;
        if (e >= MENTIONED) gain += weightOf(s) * Math.log((e + EPSILON) / (2 * EPSILON));
      }
      if (!best || gain > best.gain) best = { candidate, gain };
    }
    if (!best || best.gain < GAIN_NATS) break;
    roots.push(best.candidate);
    remaining = remaining.filter(left(best.candidate));
  }
  return roots;
}

/**
 * Findings that hang together: linked by any explanation of some strength, or by having hung together before (`known`), so
 * that an incident does not fall apart and come together again with every wavering link.
 */
export function components(
  findings: readonly Active[],
  context: ExplainContext,
  known: readonly ReadonlyMap<string, Active>[] = [],
): Active[][] {
  const parent = new Map<Active, Active>(findings.map((f) => [f, f]));
  const find = (f: Active): Active => {
    let root = f;
    while (parent.get(root) !== root) root = parent.get(root)!;
    parent.set(f, root);
    return root;
  };
  for (const members of known) {
    let first: Active | undefined;
    for (const f of findings) {
      if (!members.has(f.id)) continue;
      if (first) parent.set(find(f), find(first));
      else first = f;
    }
  }
  for (const f of findings) {
    for (const [g, e] of explain(f, context)) {
      if (g === f || e.strength < MENTIONED || !parent.has(g)) continue;
      parent.set(find(f), find(g));
    }
  }
  tieSiblings(findings, context.topology, (a, b) => parent.set(find(a), find(b)));
  const groups = new Map<Active, Active[]>();
  for (const f of findings) {
    const root = find(f);
    const list = groups.get(root);
    if (list) list.push(f);
    else groups.set(root, [f]);
  }
  return [...groups.values()];
}
