/**
 * From trees of spans to flame graphs, two ways that are never mixed (detectors C4):
 *
 * - `resource`: what everything was busy with. A span's own time is its duration without what its children cover (their union,
 *   not their sum); things that ran side by side all count.
 * - `critical-path`: what made requests as long as they were. Every moment of a root's time is charged to exactly one span, the
 *   child that ended last before its parent went on, so a root's charges add up to its duration exactly (algorithm 6).
 *
 * Durations that a span without children only tells in attributes (queue, prefill, transfer, decode) become frames under it.
 */
import type { Forest } from './forest.ts';
import { PHASES, RANK, REQUEST, type SpanStore } from './store.ts';
import { FlameTree } from './tree.ts';

/** Where frames begin: all of a service's replicas in one, each role, or each replica by itself. */
export type Grouping = 'service' | 'role' | 'replica';

/** Gets the time of a piece: its tree node, nanoseconds, and the span at the root of its trace. */
export type Charge = (node: number, nanos: number, root: number) => void;

export interface Shown {
  readonly by: Grouping;
  /**
   * Requests only, or what ranks did only; all if undefined, transfers without a parent too. The critical path is of requests
   * anyway.
   */
  readonly only?: 'requests' | 'ranks' | undefined;
}

/** The node of every span, and the roots. */
function place(store: SpanStore, forest: Forest, tree: FlameTree, by: Grouping) {
  const { frame, who, whos, frames } = store;
  const frameIds = frames.map((name) => tree.frameId(name));
  const place = (w: number): string => {
    const { role, replica } = whos[w]!;
    return by === 'replica' ? `${replica} (${role})` : role;
  };
  const tops = whos.map(({ service }, w) => (by === 'service' ? tree.at([service]) : tree.at([service, place(w)])));
  const groups = whos.map((_, w) => (by === 'service' ? -1 : tree.frameId(place(w))));
  const node = new Int32Array(store.size);
  const root = new Int32Array(store.size);
  for (const i of forest.order) {
    const p = forest.parent[i]!;
    const w = who[i]!;
    if (p < 0) {
      root[i] = i;
      node[i] = tree.child(tops[w]!, frameIds[frame[i]!]!);
      continue;
    }
    root[i] = root[p]!;
    // Work that went somewhere else says so.
    const from = groups[w] === groups[who[p]!] ? node[p]! : tree.child(node[p]!, groups[w]!);
    node[i] = tree.child(from, frameIds[frame[i]!]!);
  }
  return { node, root };
}

/** Gives a piece [from, until] of a span without children to the phases it tells of, the rest to itself. */
function leaf(store: SpanStore, forest: Forest, tree: FlameTree, node: Int32Array, root: Int32Array, charge: Charge) {
  const phaseIds = PHASES.map((phase) => tree.frameId(phase));
  const { phases, duration } = store;
  const n = PHASES.length;
  return (i: number, from: number, until: number): void => {
    const r = root[i]!;
    let left = until - from;
    if (phases) {
      // The last one ends with the span; what engines do before they queue a request is at its beginning.
      let end = forest.start[i]! + duration[i]!;
      for (let p = n - 1; p >= 0; p--) {
        const took = phases[n * i + p]!;
        if (took <= 0) continue;
        const start = end - took;
        const piece = Math.min(left, Math.max(0, Math.min(until, end) - Math.max(from, start)));
        if (piece > 0) {
          charge(tree.child(node[i]!, phaseIds[p]!), piece, r);
          left -= piece;
        }
        end = start;
      }
    }
    if (left > 0) charge(node[i]!, left, r);
  };
}

export function resourceView(store: SpanStore, forest: Forest, { by, only }: Shown, also?: Charge): FlameTree {
  const tree = new FlameTree();
  const { node, root } = place(store, forest, tree, by);
  const charge: Charge = (at, nanos, r) => {
    tree.add(at, nanos);
    also?.(at, nanos, r);
  };
  const whole = leaf(store, forest, tree, node, root, charge);
  const { first, kids, start } = forest;
  const { duration } = store;
  for (const i of forest.order) {
    if (only !== undefined && store.kind[root[i]!] !== (only === 'ranks' ? RANK : REQUEST)) continue;
    const from = start[i]!;
    const until = from + duration[i]!;
    if (first[i] === first[i + 1]) {
      whole(i, from, until);
      continue;
    }
    let covered = 0;
    let reached = from;
    for (let k = first[i]!; k < first[i + 1]!; k++) {
      const child = kids[k]!;
      const end = Math.min(until, start[child]! + duration[child]!);
      const begin = Math.max(reached, start[child]!);
      if (end > begin) {
        covered += end - begin;
        reached = end;
      }
    }
    const own = until - from - covered;
    if (own > 0) charge(node[i]!, own, root[i]!);
  }
  return tree;
}

export function criticalPathView(store: SpanStore, forest: Forest, { by }: Shown, also?: Charge): FlameTree {
  const tree = new FlameTree();
  const { node, root } = place(store, forest, tree, by);
  const charge: Charge = (at, nanos, r) => {
    tree.add(at, nanos);
    also?.(at, nanos, r);
  };
  const whole = leaf(store, forest, tree, node, root, charge);
  const { first, kids, start, parent } = forest;
  const { duration } = store;
  const end = (i: number) => start[i]! + duration[i]!;
  // Those that began last mostly ended last.
  const isLastFirst = (list: readonly number[]): boolean => {
    for (let k = 1; k < list.length; k++) if (end(list[k]!) > end(list[k - 1]!)) return false;
    return true;
  };
  // One entry per open span: itself, where its time begins, how far back its time is charged, and its children, last-ending
  // first.
  const spans: number[] = [];
  const froms: number[] = [];
  const cursors: number[] = [];
  const lists: number[][] = [];
  const nexts: number[] = [];
  const open = (i: number, from: number, until: number) => {
    if (first[i] === first[i + 1]) {
      whole(i, from, until);
      return;
    }
    const list: number[] = [];
    for (let k = first[i + 1]! - 1; k >= first[i]!; k--) list.push(kids[k]!);
    if (!isLastFirst(list)) list.sort((a, b) => end(b) - end(a) || start[b]! - start[a]! || a - b);
    spans.push(i);
    froms.push(from);
    cursors.push(until);
    lists.push(list);
    nexts.push(0);
  };
  for (const r of forest.order) {
    // Roots come first; steps of ranks and transfers by themselves are nobody's waiting.
    if (parent[r]! >= 0) break;
    if (store.kind[r] !== REQUEST) continue;
    open(r, start[r]!, end(r));
    while (spans.length > 0) {
      const top = spans.length - 1;
      const i = spans[top]!;
      const list = lists[top]!;
      if (nexts[top]! >= list.length) {
        const left = cursors[top]! - froms[top]!;
        if (left > 0) charge(node[i]!, left, root[i]!);
        spans.pop();
        froms.pop();
        cursors.pop();
        lists.pop();
        nexts.pop();
        continue;
      }
      const child = list[nexts[top]!++]!;
      const until = Math.min(end(child), cursors[top]!);
      const from = Math.max(start[child]!, froms[top]!);
      if (until <= from) continue;
      if (cursors[top]! > until) charge(node[i]!, cursors[top]! - until, root[i]!);
      cursors[top] = from;
      open(child, from, until);
    }
  }
  return tree;
}
