/**
 * The same finding on several things at once is one story: a rack that runs hot, a deploy that reaches every replica. Siblings belong to
 * one incident, stand for each other when causes are weighed, and count once.
 */
import type { Topology } from '../../pipeline/kit/topology.ts';
import type { Active } from './machine.ts';

/** Onsets further apart are two stories. */
const TOGETHER_MS = 120_000;

/** The same finding on another thing of its kind, begun at about the same time. */
export const isSibling = (a: Active, b: Active): boolean =>
  a !== b &&
  a.detector === b.detector &&
  a.entity.kind === b.entity.kind &&
  a.entity.kind !== 'service' &&
  Math.abs(a.onset.by - b.onset.by) <= TOGETHER_MS;

/** Calls back for pairs of siblings that serve one service, or stand on one node; enough pairs to tie each group together. */
export function tieSiblings(
  findings: readonly Active[],
  topology: Topology,
  tie: (a: Active, b: Active) => void,
): void {
  const groups = new Map<string, Active[]>();
  for (const f of findings) {
    if (f.entity.kind === 'service') continue;
    const homes = [
      ...topology.related(f.entity, 'service').map((r) => r.entity.key),
      ...topology.nodes(f.entity).map((e) => e.key),
    ];
    for (const home of homes) {
      const key = `${f.detector.id}|${f.entity.kind}|${home}`;
      const list = groups.get(key);
      if (list) list.push(f);
      else groups.set(key, [f]);
    }
  }
  for (const list of groups.values()) {
    if (list.length < 2) continue;
    list.sort((a, b) => a.onset.by - b.onset.by);
    for (let i = 1; i < list.length; i++) if (isSibling(list[i - 1]!, list[i]!)) tie(list[i - 1]!, list[i]!);
  }
}

/** Findings with the strongest of each group of siblings only. */
export function withoutSiblings(findings: readonly Active[], weight: (f: Active) => number): Active[] {
  const kept: Active[] = [];
  for (const f of [...findings].sort((a, b) => weight(b) - weight(a)))
    if (!kept.some((k) => isSibling(k, f))) kept.push(f);
  return kept;
}
