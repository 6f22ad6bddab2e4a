/** One among its like: is this member off, and is it new or has it always been so? */
import { location, median, type Numbers } from './robust.ts';

/** x_i / median of the others − 1, for every member; NaN where it cannot be said (others' median 0, or alone). */
export function relativeToOthers(values: Numbers): Float64Array {
  const out = new Float64Array(values.length).fill(Number.NaN);
  const order: number[] = [];
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) order.push(i);
  order.sort((a, b) => values[a]! - values[b]!);
  const others = order.length - 1;
  if (others < 1) return out;
  // The median of the others is found by rank: one sort for all members.
  const at = (rank: number, skip: number) => values[order[rank < skip ? rank : rank + 1]!]!;
  order.forEach((index, rank) => {
    const low = at((others - 1) >> 1, rank);
    const high = at(others >> 1, rank);
    const m = (low + high) / 2;
    if (m !== 0) out[index] = values[index]! / m - 1;
  });
  return out;
}

export interface PeerVerdict {
  /** Now, relative to the others' median. */
  readonly r: number;
  /** Own history's median of r, and the cohort's pooled scale. */
  readonly usual: number;
  readonly scale: number;
  readonly z: number;
  /** Off since lately: beyond 3 pooled scales and by the effect gate against its own history. */
  readonly acute: boolean;
  /** Off for as long as we look: median of r over the long window beyond the chronic gate. */
  readonly chronic: boolean;
  /** Past values of this member. */
  readonly n: number;
  /** They are enough to say what is usual for it. */
  readonly known: boolean;
}

export interface PeerGates {
  readonly z?: number;
  /** Smallest difference from its own usual that matters, as a share. */
  readonly effect?: number;
  /** Smallest lasting difference from the cohort, as a share. */
  readonly chronic?: number;
  /** Fewest past values before "usual" can be said. */
  readonly history?: number;
}

/** What a cohort's past says: each member's own median, and the scale pooled over everybody's deviations from theirs. */
export interface PooledHistory {
  readonly medians: readonly number[];
  readonly counts: readonly number[];
  readonly scale: number;
}

const FEWEST = 16;

/**
 * Pools the past r of a cohort (one list per member, without the present). With four to eight members the momentary spread
 * alone cries wolf in 8–41 % of healthy windows; pooled over time it does not.
 */
export function poolHistories(histories: readonly Numbers[]): PooledHistory {
  const deviations: number[] = [];
  const medians: number[] = [];
  const counts: number[] = [];
  // Some thousand deviations say what a hundred thousand would.
  const stride = Math.max(1, Math.floor(histories.length / 64));
  histories.forEach((history, k) => {
    const m = history.length > 0 ? median(history) : Number.NaN;
    medians.push(m);
    counts.push(history.length);
    if (history.length < 4 || k % stride !== 0) return;
    for (let i = 0; i < history.length; i++) deviations.push(history[i]! - m);
  });
  return { medians, counts, scale: Math.max(0.01, deviations.length >= FEWEST ? location(deviations).scale : 0.05) };
}

/** Judges member `index` with its present `r` against its cohort's past. */
export function judge(index: number, r: number, past: PooledHistory, gates: PeerGates = {}): PeerVerdict | undefined {
  if (!Number.isFinite(r)) return undefined;
  const n = past.counts[index] ?? 0;
  const known = n >= (gates.history ?? FEWEST);
  const usual = known ? past.medians[index]! : 0;
  const z = (r - usual) / past.scale;
  return {
    r,
    usual,
    scale: past.scale,
    z,
    n,
    known,
    acute: known && z > (gates.z ?? 3) && r - usual > (gates.effect ?? 0.05),
    chronic: n >= (gates.history ?? FEWEST) * 2 && past.medians[index]! > (gates.chronic ?? 0.1),
  };
}

/** The same in one step: `now` are the cohort's r, `histories` their past. */
export function judgePeer(
  index: number,
  now: Numbers,
  histories: readonly Numbers[],
  gates: PeerGates = {},
): PeerVerdict | undefined {
  return judge(index, now[index] ?? Number.NaN, poolHistories(histories), gates);
}
