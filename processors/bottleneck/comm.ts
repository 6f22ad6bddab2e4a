/** What collectives say about the way between ranks: how long the transfer itself takes at each size, and its share of time. */
import { median } from '../../pipeline/kit/stats/robust.ts';
import type { Collective, Group } from './events.ts';

/** The shortest duration among the ranks of an operation: what is left when nobody waits any more, in milliseconds. */
export function pureMs(op: Collective): number {
  let least = Number.POSITIVE_INFINITY;
  for (const d of op.durations) if (d < least) least = d;
  return least;
}

/** Operations of one kind and size class (half an octave wide, so that a mix of sizes is not taken for a change). */
export interface SizeClass {
  readonly key: string;
  readonly op: string;
  readonly bytes: number;
  readonly n: number;
  /** Median pure transfer time, milliseconds. */
  readonly ms: number;
}

/** Median pure transfer times by kind and size class over the newest operations; classes below `fewest` are left out. */
export function sizeClasses(group: Group, now: number, windowMs: number, fewest = 8): SizeClass[] {
  const lists = new Map<string, { op: string; bytes: number[]; ms: number[] }>();
  for (const c of group.complete.since(now - windowMs, (o) => o.at)) {
    if (c.op === 'barrier' || c.bytes <= 0) continue;
    const key = `${c.op}/${Math.round(2 * Math.log2(c.bytes))}`;
    let list = lists.get(key);
    if (!list) {
      list = { op: c.op, bytes: [], ms: [] };
      lists.set(key, list);
    }
    list.bytes.push(c.bytes);
    list.ms.push(pureMs(c));
  }
  const out: SizeClass[] = [];
  for (const [key, { op, bytes, ms }] of lists) {
    if (ms.length >= fewest) out.push({ key, op, bytes: median(bytes), n: ms.length, ms: median(ms) });
  }
  return out;
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
