/** One among its like: is this member off, and is it new or has it always been so? */
import { location, median, type Numbers } from './robust.ts';

/** x_i / median of the others − 1, for every member; NaN where it cannot be said (others' median 0, or alone). */
export function relativeToOthers(values: Numbers): Float64Array {
  const all = Array.from(values);
  return Float64Array.from(all, (value, i) => {
    const others = all.filter((v, j) => j !== i && Number.isFinite(v));
    const m = median(others);
    return others.length > 0 && m !== 0 && Number.isFinite(value) ? value / m - 1 : Number.NaN;
  });
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

/**
 * Judges member `index`. `now` are the cohort's r, `histories` their past r (oldest first, without the present). The scale is
 * pooled over all members' deviations from their own medians: with four to eight members the momentary spread alone cries
 * wolf in 8–41 % of healthy windows.
 */
export function judgePeer(
  index: number,
  now: Numbers,
  histories: readonly Numbers[],
  gates: PeerGates = {},
): PeerVerdict | undefined {
  const r = now[index];
  if (r === undefined || !Number.isFinite(r)) return undefined;
  const minimum = gates.history ?? 20;
  const deviations: number[] = [];
  for (const history of histories) {
    if (history.length < 4) continue;
    const m = median(history);
    for (let i = 0; i < history.length; i++) deviations.push(history[i]! - m);
  }
  const own = histories[index] ?? [];
  const known = own.length >= minimum;
  const usual = known ? median(own) : 0;
  const scale = Math.max(0.01, deviations.length >= minimum ? location(deviations).scale : 0.05);
  const z = (r - usual) / scale;
  const effect = gates.effect ?? 0.05;
  const acute = known && z > (gates.z ?? 3) && r - usual > effect;
  const chronic = own.length >= minimum * 2 && median(own) > (gates.chronic ?? 0.1);
  return { r, usual, scale, z, acute, chronic };
}
