/** What synchronising operations say about their members, without any clock agreement: the late one has the shortest. */
import { binomialTail } from './chance.ts';

/** One operation seen by every rank: durations by rank, in any one unit. */
export type Operation = ArrayLike<number>;

export interface Attribution {
  readonly ops: number;
  /** Index of the rank that arrived last most often, and how often. */
  readonly rank: number;
  readonly share: number;
  /** Chance of that share if every rank were equally likely. */
  readonly p: number;
  /** Share of `totalTime` that would be saved if this rank arrived with the second-latest. */
  readonly saving: number;
  /** pure / (pure + wait): near 1 it is transfer, near 0 it is waiting for somebody. */
  readonly pureShare: number;
  /** Mean shortest duration and mean wait per operation. */
  readonly pure: number;
  readonly wait: number;
  readonly verdict: 'straggler' | 'transfer' | 'jitter' | 'insufficient';
}

export interface AttributionLimits {
  readonly minimumOps?: number;
  readonly saving?: number;
  readonly p?: number;
}

/** The share of last arrivals at which a rank of `size` is no longer chance: .85 at two and three, .7 at four, .5 from six. */
export const stragglerShare = (size: number): number => Math.max(0.5, Math.min(0.85, 2.8 / size));

/**
 * Who makes the group wait. `size` is the number of ranks; operations with another number of durations are dropped.
 * Invariant to clock offsets (only durations are used) and to the order of ranks. `totalTime` is the wall time the operations
 * were taken from, in their unit.
 */
export function attribute(
  operations: Iterable<Operation>,
  size: number,
  totalTime: number,
  limits: AttributionLimits = {},
): Attribution {
  const votes = new Float64Array(size);
  const saved = new Float64Array(size);
  let ops = 0;
  let pure = 0;
  let wait = 0;
  for (const durations of operations) {
    if (durations.length !== size) continue;
    let first = Number.POSITIVE_INFINITY;
    let second = Number.POSITIVE_INFINITY;
    let last = -1;
    let sum = 0;
    for (let r = 0; r < size; r++) {
      const d = durations[r]!;
      sum += d;
      if (d < first) {
        second = first;
        first = d;
        last = r;
      } else if (d < second) second = d;
    }
    if (last < 0 || !Number.isFinite(sum)) continue;
    ops++;
    votes[last]!++;
    if (size > 1) saved[last]! += second - first;
    pure += first;
    wait += sum / size - first;
  }
  let rank = 0;
  for (let r = 1; r < size; r++) if (votes[r]! > votes[rank]!) rank = r;
  const share = ops > 0 ? votes[rank]! / ops : 0;
  const p = ops > 0 && size > 1 ? binomialTail(ops, 1 / size, votes[rank]!) : 1;
  const saving = totalTime > 0 ? saved[rank]! / totalTime : 0;
  const pureShare = pure + wait > 0 ? pure / (pure + wait) : 1;
  const verdict =
    ops < (limits.minimumOps ?? 200) || size < 2
      ? 'insufficient'
      : share >= stragglerShare(size) && p < (limits.p ?? 1e-6) && saving >= (limits.saving ?? 0.03)
        ? 'straggler'
        : pureShare >= 0.6
          ? 'transfer'
          : 'jitter';
  return { ops, rank, share, p, saving, pureShare, pure: ops ? pure / ops : 0, wait: ops ? wait / ops : 0, verdict };
}
