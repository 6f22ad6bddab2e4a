/**
 * Which operations hang, from counts alone. Ranks launch ahead of one another all the time, so a difference means nothing;
 * one that is the very same look after look means that those ahead wait for those behind.
 */
import { commOp } from '../../pipeline/kit/hook-span.ts';
import type { Communicator } from './status.ts';

export interface Stall {
  readonly comm: Communicator;
  readonly op: string;
  /** How many were launched by those ahead: the number of the one that hangs. */
  readonly seq: number;
  /** Ranks that launched it, and wait. */
  readonly inside: readonly number[];
  /** When the counts were first as they are, milliseconds. */
  readonly sinceMs: number;
}

interface Seen {
  readonly counts: string;
  readonly sinceMs: number;
  looks: number;
}

/** `looks`: in how many looks in a row the counts have to be the same. */
export function stallWatch(looks: number): (communicators: readonly Communicator[], nowMs: number) => Stall[] {
  let seen = new Map<string, Seen>();
  return (communicators, nowMs) => {
    const now = new Map<string, Seen>();
    const stalls: Stall[] = [];
    for (const comm of communicators) {
      for (const name of new Set(comm.ranks.flatMap((r) => [...r.counts.keys()]))) {
        const op = commOp(name);
        const counts = comm.ranks.map((r) => r.counts.get(name) ?? 0);
        const most = Math.max(...counts);
        // A rank that RAS cannot reach is behind as far as anybody can tell.
        if (op === undefined || most === 0 || (Math.min(...counts) === most && comm.missing.length === 0)) continue;
        const key = `${comm.id}/${name}`;
        const form = comm.ranks.map((r, i) => `${r.rank}:${counts[i]}`).join();
        const before = seen.get(key);
        const same = before?.counts === form;
        const entry = { counts: form, sinceMs: same ? before.sinceMs : nowMs, looks: (same ? before.looks : 0) + 1 };
        now.set(key, entry);
        if (entry.looks < looks) continue;
        const inside = comm.ranks.filter((_, i) => counts[i] === most).map((r) => r.rank);
        stalls.push({ comm, op, seq: most, inside, sinceMs: entry.sinceMs });
      }
    }
    seen = now;
    return stalls;
  };
}
