/** What two sides carry, against each other: knee and capacity with their intervals. */
import type { Interval } from '../stats/knee.ts';
import type { ShiftVerdict } from '../stats/shift.ts';
import type { Carried } from './sides.ts';

export interface ComparedCapacity {
  readonly service: string;
  /** Requests at once at the knee; null where a side does not tell. */
  readonly knee: readonly [before: Interval | null, after: Interval | null];
  /** Tokens a second at most. */
  readonly capacity: readonly [before: Interval | null, after: Interval | null];
  /** Of the capacities, after over before, with 95 %. */
  readonly ratio: Interval | null;
  readonly verdict: ShiftVerdict;
  /** Why nothing can be said. */
  readonly note: string | null;
}

const BAND = 0.03;

/** Compares the services that both sides have. */
export function compareCapacities(before: Carried, after: Carried): ComparedCapacity[] {
  const out: ComparedCapacity[] = [];
  for (const [service, b] of before) {
    const a = after.get(service);
    if (!a) continue;
    const [from, to] = [b.capacity?.tokens_per_s ?? null, a.capacity?.tokens_per_s ?? null];
    const ratio = from && to ? ratioOf(from, to) : null;
    const why = (side: typeof a) =>
      side.knee.status === 'not_reached' ? 'the load never got to the knee' : (side.knee.why ?? '');
    out.push({
      service,
      knee: [b.knee.load, a.knee.load],
      capacity: [from, to],
      ratio,
      verdict: ratio ? judged(ratio) : 'inconclusive',
      note: ratio ? null : !from ? `before: ${why(b)}` : `after: ${why(a)}`,
    });
  }
  return out;
}

/** As if the errors of both were independent, and alike on a logarithm. */
function ratioOf(before: Interval, after: Interval): Interval {
  const value = after.value / before.value;
  const side = (x: Interval, end: number) => Math.log(end / x.value);
  const low = Math.hypot(side(after, after.low), side(before, before.high));
  const high = Math.hypot(side(after, after.high), side(before, before.low));
  return { value, low: value * Math.exp(-low), high: value * Math.exp(high) };
}

function judged({ value, low, high }: Interval): ShiftVerdict {
  if (high < 1 && value < 1 / (1 + BAND)) return 'regressed';
  if (low > 1 && value > 1 + BAND) return 'improved';
  return low > 1 / (1 + BAND) && high < 1 + BAND ? 'equivalent' : 'inconclusive';
}
