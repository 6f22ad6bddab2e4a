/** What collectives say about the way between ranks: how long the transfer itself takes at each size, and its share of time. */
import { median } from '../../pipeline/kit/stats/robust.ts';
import type { Collective, Group } from './events.ts';

/** The shortest duration among the ranks of an operation: what is left when nobody waits any more, in milliseconds. */
export function pureMs(op: Collective): number {
  let least = Number.POSITIVE_INFINITY;
  for (const d of op.durations) if (d < least) least = d;
  return least;
}

/** The transfer time of a group's operations at one size: a power of two of bytes. */
export interface AtSize {
  readonly key: string;
  readonly op: string;
  readonly bytes: number;
  /** Operations of this kind that the time rests on, shared evenly between its sizes. */
  readonly n: number;
  /** Milliseconds. */
  readonly ms: number;
}

/**
 * Pure transfer times at whole powers of two within the sizes seen, read off a line start + bytes / rate through the medians of
 * half-octave classes. Batches differ from minute to minute; times at the same sizes can be compared all the same. Kinds with
 * fewer than `fewest` operations are left out.
 */
export function timesAtSizes(group: Group, now: number, windowMs: number, fewest = 24): AtSize[] {
  const kinds = new Map<string, Map<number, { bytes: number[]; ms: number[] }>>();
  for (const c of group.complete.since(now - windowMs, (o) => o.at)) {
    if (c.op === 'barrier' || c.bytes <= 0) continue;
    let classes = kinds.get(c.op);
    if (!classes) {
      classes = new Map();
      kinds.set(c.op, classes);
    }
    const k = Math.round(2 * Math.log2(c.bytes));
    let list = classes.get(k);
    if (!list) {
      list = { bytes: [], ms: [] };
      classes.set(k, list);
    }
    list.bytes.push(c.bytes);
    list.ms.push(pureMs(c));
  }
  const out: AtSize[] = [];
  for (const [op, classes] of kinds) {
    const points = [...classes.values()]
      .filter((c) => c.ms.length >= 4)
      .map((c) => ({ bytes: median(c.bytes), ms: median(c.ms), n: c.ms.length }))
      .filter((c) => c.ms > 0)
      .sort((x, y) => x.bytes - y.bytes);
    const n = points.reduce((a, c) => a + c.n, 0);
    if (n < fewest) continue;
    const line = throughMedians(points);
    const low = points[0]!.bytes / Math.SQRT2;
    const high = points.at(-1)!.bytes * Math.SQRT2;
    const sizes: number[] = [];
    for (let e = Math.ceil(Math.log2(low)); 2 ** e <= high; e++) sizes.push(2 ** e);
    for (const bytes of sizes) {
      const ms = line(bytes);
      if (ms > 0) out.push({ key: `${op}/${Math.log2(bytes)}`, op, bytes, n: n / sizes.length, ms });
    }
  }
  return out;
}

/** start + bytes × slope with least relative error, neither below zero; in proportion to nothing (constant) for one point. */
function throughMedians(points: readonly { bytes: number; ms: number; n: number }[]): (bytes: number) => number {
  const first = points[0]!;
  if (points.length < 2) return () => first.ms;
  let w = 0;
  let wx = 0;
  let wy = 0;
  let wxx = 0;
  let wxy = 0;
  for (const { bytes, ms, n } of points) {
    const weight = n / (ms * ms);
    w += weight;
    wx += weight * bytes;
    wy += weight * ms;
    wxx += weight * bytes * bytes;
    wxy += weight * bytes * ms;
  }
  const det = w * wxx - wx * wx;
  const slope = det > 0 ? Math.max(0, (w * wxy - wx * wy) / det) : 0;
  const start = Math.max(0, (wy - slope * wx) / w);
  return (bytes) => start + slope * bytes;
}

/** Bus bandwidth of an operation, bytes per second (the convention of NCCL's tests). */
export function busBandwidth(op: string, bytes: number, ms: number, size: number): number {
  const factor = op === 'all_reduce' ? (2 * (size - 1)) / size : (size - 1) / size;
  return ms > 0 ? (factor * bytes * 1000) / ms : 0;
}

export interface CommShare {
  /** Share of the time between operations that the transfers themselves take. */
  readonly pure: number;
  /** The same with waiting for others. */
  readonly exposed: number;
  /** Shortest over longest durations: near 1 it is transfer, low it is waiting. */
  readonly transfer: number;
  readonly ops: number;
}

/** How much of the time goes into operations of this group; pauses between sampled bursts do not count. */
export function commShare(group: Group, now: number, windowMs: number): CommShare | undefined {
  const ops = group.complete.since(now - windowMs, (o) => o.at).filter((o) => o.op !== 'barrier');
  if (ops.length < 32) return undefined;
  const gaps: number[] = [];
  for (let i = 1; i < ops.length; i++) gaps.push(Math.max(0, ops[i]!.at - ops[i - 1]!.at));
  const usual = median(gaps);
  let total = 0;
  let pure = 0;
  let longest = 0;
  let counted = 0;
  for (let i = 1; i < ops.length; i++) {
    if (gaps[i - 1]! > 20 * usual) continue;
    const { durations } = ops[i]!;
    let high = 0;
    for (const d of durations) if (d > high) high = d;
    total += gaps[i - 1]!;
    pure += pureMs(ops[i]!);
    longest += high;
    counted++;
  }
  if (counted < 32 || total <= 0) return undefined;
  return {
    pure: Math.min(1, pure / total),
    exposed: Math.min(1, longest / total),
    transfer: longest > 0 ? pure / longest : 1,
    ops: counted,
  };
}
