/** Time on lines: overlap of compute and communication, the pieces of a pipeline gap, the critical path of a request. */

export interface Interval {
  readonly start: number;
  readonly end: number;
}

/** Merges overlapping intervals; the result is sorted and disjoint. */
export function union(intervals: readonly Interval[]): Interval[] {
  const out: { start: number; end: number }[] = [];
  for (const { start, end } of intervals.filter((i) => i.end > i.start).sort((a, b) => a.start - b.start)) {
    const last = out.at(-1);
    if (last && start <= last.end) last.end = Math.max(last.end, end);
    else out.push({ start, end });
  }
  return out;
}

/** Total length of the union. */
export const covered = (intervals: readonly Interval[]): number =>
  union(intervals).reduce((sum, i) => sum + i.end - i.start, 0);

/** How a rank's window [start, end] divides; the four parts add up to it exactly. */
export interface Exposure {
  readonly compute: number;
  readonly overlap: number;
  /** Communication with no compute beside it. */
  readonly exposed: number;
  readonly idle: number;
}

/** Sweeps compute and communication intervals; `compute` excludes the overlap. */
export function exposure(compute: readonly Interval[], comm: readonly Interval[], window: Interval): Exposure {
  const clip = (list: readonly Interval[]) =>
    list.map((i) => ({ start: Math.max(i.start, window.start), end: Math.min(i.end, window.end) }));
  const a = covered(clip(compute));
  const b = covered(clip(comm));
  const either = covered([...clip(compute), ...clip(comm)]);
  const overlap = a + b - either;
  return { compute: a - overlap, overlap, exposed: b - overlap, idle: window.end - window.start - either };
}

/** The pieces of an idle gap of a pipeline stage; they add up to the gap exactly. */
export interface GapParts {
  /** Waiting for the stage before, which was busy: imbalance. */
  readonly imbalance: number;
  /** Waiting for the stage before, which was idle itself: fill, drain or starvation. */
  readonly fill: number;
  readonly comm: number;
  readonly host: number;
}

/**
 * Splits the gap [a, b] before a microbatch. `upstreamEnd` is when the stage before finished it, `received` when its input was
 * here, `upstreamBusy` the busy intervals of the stage before.
 */
export function splitGap(
  gap: Interval,
  upstreamEnd: number,
  received: number,
  upstreamBusy: readonly Interval[],
): GapParts {
  const { start: a, end: b } = gap;
  const u = Math.min(b, Math.max(a, upstreamEnd));
  const up = u - a;
  const comm = Math.max(0, Math.min(b, received) - u);
  const busy = covered(upstreamBusy.map((i) => ({ start: Math.max(i.start, a), end: Math.min(i.end, u) })));
  const imbalance = Math.min(up, busy);
  return { imbalance, fill: up - imbalance, comm, host: b - a - up - comm };
}

/** A span of a request, as a tree. */
export interface PathNode extends Interval {
  readonly name: string;
  readonly children: readonly PathNode[];
}

export interface Charge {
  readonly node: PathNode;
  readonly start: number;
  readonly end: number;
}

/**
 * The critical path of a tree: which node's own work each moment of the root's time is charged to, latest-ending child first.
 * The charges are disjoint and add up to the root's duration exactly. Children that stick out are clipped to their parent.
 */
export function criticalPath(root: PathNode): Charge[] {
  const charges: Charge[] = [];
  const walk = (node: PathNode, from: number, until: number) => {
    let cursor = until;
    const children = [...node.children].sort((a, b) => b.end - a.end || b.start - a.start);
    for (const child of children) {
      const end = Math.min(child.end, cursor);
      const start = Math.max(child.start, from);
      if (end <= start) continue;
      if (cursor > end) charges.push({ node, start: end, end: cursor });
      walk(child, start, end);
      cursor = start;
    }
    if (cursor > from) charges.push({ node, start: from, end: cursor });
  };
  if (root.end > root.start) walk(root, root.start, root.end);
  return charges.reverse();
}
