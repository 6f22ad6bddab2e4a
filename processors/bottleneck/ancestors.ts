/** What the affected have in common and the others do not: a node, a version, a model of GPU, a pool. */
import { holm, hypergeometricTail } from '../../pipeline/kit/stats/chance.ts';
import type { Entity, Topology } from '../../pipeline/kit/topology.ts';

export interface SharedAncestor {
  readonly attribute: string;
  readonly value: string;
  readonly p: number;
  readonly lift: number;
  readonly affected: number;
  readonly others: number;
}

const ATTRIBUTES = [
  'node',
  'rack',
  'rail',
  'switch',
  'power_domain',
  'model',
  'driver',
  'version',
  'image',
  'pool',
  'role',
] as const;

function valuesOf(topology: Topology, e: Entity, attribute: string): string[] {
  if (attribute === 'node') return topology.nodes(e).map((n) => n.id);
  if (attribute === 'pool') return topology.related(e, 'pool').map((r) => r.entity.id);
  const own = e.attributes[attribute];
  const fromNodes = topology.nodes(e).flatMap((n) => n.attributes[attribute] ?? []);
  return [...(own === undefined ? [] : [own]), ...fromNodes].map(String);
}

/**
 * The attribute value that marks the affected among all entities of their kind: Holm-corrected hypergeometric p below .01,
 * at least three times as frequent among the affected, covering 80 % of them and at most 20 % of the rest.
 */
export function sharedAncestor(
  topology: Topology,
  affected: readonly Entity[],
  all: readonly Entity[],
): SharedAncestor | undefined {
  if (affected.length < 2 || all.length <= affected.length) return undefined;
  const hit = new Set(affected);
  const found: SharedAncestor[] = [];
  for (const attribute of ATTRIBUTES) {
    const counts = new Map<string, { affected: number; total: number }>();
    for (const e of all) {
      for (const value of new Set(valuesOf(topology, e, attribute))) {
        const c = counts.get(value) ?? { affected: 0, total: 0 };
        c.total++;
        if (hit.has(e)) c.affected++;
        counts.set(value, c);
      }
    }
    for (const [value, c] of counts) {
      if (c.affected < 2) continue;
      const share = c.affected / affected.length;
      const rest = (c.total - c.affected) / (all.length - affected.length);
      const lift = share / (c.total / all.length);
      if (share < 0.8 || rest > 0.2) continue;
      const p = hypergeometricTail(all.length, c.total, affected.length, c.affected);
      found.push({ attribute, value, p, lift, affected: c.affected, others: c.total - c.affected });
    }
  }
  const adjusted = holm(found.map((f) => f.p));
  const good = found
    .map((f, i) => ({ ...f, p: adjusted[i]! }))
    .filter((f) => f.p < 0.01 && (f.lift >= 3 || f.others === 0));
  good.sort((a, b) => a.p - b.p || a.others - b.others);
  return good[0];
}
