/** What the interval processor holds: per series the newest point and what its values were since the last one handed on. */
import { seriesKeys } from '../../pipeline/kit/series-key.ts';
import {
  isNumberPoint,
  isStale,
  type NumberPoint,
  type Point,
  type Series,
  Temporality,
} from '../../pipeline/model.ts';

export type GaugeOf = 'last' | 'mean' | 'min' | 'max';

export interface KeptOptions {
  readonly gauge: GaugeOf;
  readonly pass: { readonly gauge: boolean; readonly summary: boolean };
  /** Most series kept. */
  readonly most: number;
  /** Called for a point that is older than what is kept of its series. */
  readonly stale: () => void;
}

/** A point to hand on, and whose it is. */
export interface Due {
  readonly point: Point;
  readonly slot: Slot;
  /** Which state of the slot it stands for: what came while it was being handed on stays. */
  readonly version: number;
}

export interface Kept {
  take(point: Point): 'kept' | 'passes' | 'no room';
  /** What is to be handed on now; stays until `done`. */
  due(): readonly Due[];
  done(due: readonly Due[]): void;
  size(): number;
  clear(): void;
}

interface Slot {
  readonly key: string;
  /** What becomes of several points: one that stands for all, the newest, or the newest of each run of counting. */
  readonly kind: 'level' | 'latest' | 'counter';
  /** Of the newest point ever taken, so that a late one does not come after it. */
  time: bigint;
  /** Points that must not be lost with a newer one of the series: the last before a restart, and the mark of its end. */
  ended: Point[];
  newest: Point | undefined;
  version: number;
  sum: number;
  n: number;
  low: number | bigint;
  high: number | bigint;
  /** How many times in a row there was nothing to hand on. */
  idle: number;
  gone: boolean;
}

/** A series that had nothing to say this many times is forgotten; it is kept anew when it speaks again. */
const FORGET_AFTER = 5;
/** Restarts within one interval of which the last point is kept; of more, the earliest are. */
const MOST_ENDED = 4;

const PASSES = 'passes';

export function createKept({ gauge, pass, most, stale }: KeptOptions): Kept {
  const keyOf = seriesKeys();
  const byKey = new Map<string, Slot>();
  const bySeries = new WeakMap<Series, Slot | typeof PASSES>();

  const passes = ({ metric }: Series): boolean =>
    metric.temporality === Temporality.DELTA ||
    (metric.type === 'gauge' && pass.gauge) ||
    (metric.type === 'summary' && pass.summary);

  const slotOf = (series: Series): Slot | typeof PASSES | undefined => {
    const known = bySeries.get(series);
    if (known !== undefined && (known === PASSES || !known.gone)) return known;
    let slot: Slot | typeof PASSES | undefined = PASSES;
    if (!passes(series)) {
      const key = keyOf(series);
      slot = byKey.get(key);
      if (slot === undefined) {
        if (byKey.size >= most) return undefined;
        slot = newSlot(key, series, gauge);
        byKey.set(key, slot);
      }
    }
    bySeries.set(series, slot);
    return slot;
  };

  return {
    take(point) {
      const slot = slotOf(point.series);
      if (slot === PASSES) return 'passes';
      if (slot === undefined) return 'no room';
      if (point.time < slot.time) {
        stale();
        return 'kept';
      }
      const before = slot.newest;
      if (before !== undefined && (isStale(point) || (slot.kind === 'counter' && restarted(before, point)))) {
        if (slot.ended.length < MOST_ENDED) slot.ended.push(standing(slot, gauge)!);
        empty(slot);
      }
      slot.time = point.time;
      slot.version++;
      slot.idle = 0;
      slot.newest = point;
      if (slot.kind === 'level' && isNumberPoint(point) && !isStale(point)) count(slot, point.value);
      return 'kept';
    },
    due() {
      const out: Due[] = [];
      for (const slot of byKey.values()) {
        const { version } = slot;
        for (const point of slot.ended) out.push({ point, slot, version });
        const point = standing(slot, gauge);
        if (point !== undefined) out.push({ point, slot, version });
        else if (slot.ended.length === 0 && ++slot.idle >= FORGET_AFTER) forget(slot);
      }
      return out;
    },
    done(due) {
      for (const { point, slot, version } of due) {
        const at = slot.ended.indexOf(point);
        if (at >= 0) slot.ended.splice(at, 1);
        // A newer point came meanwhile: its interval goes on, with what it has.
        else if (slot.version === version) empty(slot);
      }
    },
    size: () => byKey.size,
    clear() {
      for (const slot of byKey.values()) forget(slot);
    },
  };

  function forget(slot: Slot): void {
    slot.gone = true;
    byKey.delete(slot.key);
  }
}

function newSlot(key: string, { metric }: Series, gauge: GaugeOf): Slot {
  const falls = metric.type === 'gauge' || (metric.type === 'sum' && !metric.monotonic);
  return {
    key,
    // A code has no mean.
    kind: !falls ? 'counter' : gauge === 'last' || metric.unit === '{code}' ? 'latest' : 'level',
    time: 0n,
    ended: [],
    newest: undefined,
    version: 0,
    sum: 0,
    n: 0,
    low: Number.NaN,
    high: Number.NaN,
    idle: 0,
    gone: false,
  };
}

function empty(slot: Slot): void {
  slot.newest = undefined;
  slot.sum = 0;
  slot.n = 0;
}

function count(slot: Slot, value: number | bigint): void {
  const x = Number(value);
  if (Number.isNaN(x)) return;
  if (slot.n === 0 || x < slot.low) slot.low = value;
  if (slot.n === 0 || x > slot.high) slot.high = value;
  slot.sum += x;
  slot.n++;
}

/** The point that stands for the interval so far; undefined when nothing came. */
function standing(slot: Slot, gauge: GaugeOf): Point | undefined {
  const { newest } = slot;
  if (newest === undefined || slot.kind !== 'level' || slot.n === 0 || isStale(newest)) return newest;
  const value = gauge === 'mean' ? slot.sum / slot.n : gauge === 'min' ? slot.low : slot.high;
  return { ...(newest as NumberPoint), value };
}

/** Counting began anew: what was counted before would be lost with the older point. */
const restarted = (before: Point, point: Point): boolean =>
  before.startTime !== point.startTime ||
  (isNumberPoint(before) && isNumberPoint(point) ? point.value < before.value : counted(point) < counted(before));

const counted = (p: Point): number => ('count' in p ? Number(p.count) : 0);
