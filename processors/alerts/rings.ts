/**
 * Samples of one number over a span, in slots of equal width: what comes faster than a slot is merged into it, so memory is
 * bounded whatever the source does. A gauge's slot keeps last, sum, count, lowest and highest; a counter's the last value.
 */

const MAX_SLOTS = 240;
const MIN_SLOT_MS = 1000;
const FIRST = 8;

export interface Ring {
  /** Numbers per slot: time, last value, and for gauges sum, count, min, max; for buckets one per bucket. */
  readonly stride: number;
  readonly slotMs: number;
  readonly spanMs: number;
  data: Float64Array;
  start: number;
  size: number;
}

export const GAUGE_STRIDE = 6;
export const COUNTER_STRIDE = 2;

export function newRing(spanMs: number, stride: number): Ring {
  const slotMs = Math.max(MIN_SLOT_MS, Math.ceil(spanMs / MAX_SLOTS));
  return { stride, slotMs, spanMs, data: new Float64Array(FIRST * stride), start: 0, size: 0 };
}

const capacity = (ring: Ring): number => ring.data.length / ring.stride;

/** Offset of the i-th slot in `data`; 0 is the oldest. */
export const slotAt = (ring: Ring, i: number): number => ((ring.start + i) % capacity(ring)) * ring.stride;
export const timeOf = (ring: Ring, i: number): number => ring.data[slotAt(ring, i)]!;
export const lastTime = (ring: Ring): number =>
  ring.size > 0 ? timeOf(ring, ring.size - 1) : Number.NEGATIVE_INFINITY;

/** The slot for a sample at `t`: its offset and whether it already holds samples; −1 when time did not advance. */
function slotFor(ring: Ring, t: number): { at: number; merged: boolean } | undefined {
  if (ring.size > 0) {
    const last = slotAt(ring, ring.size - 1);
    const before = ring.data[last]!;
    if (t <= before) return undefined;
    if (Math.floor(t / ring.slotMs) === Math.floor(before / ring.slotMs)) {
      ring.data[last] = t;
      return { at: last, merged: true };
    }
  }
  if (ring.size === capacity(ring)) {
    // The newest sample before the span is kept: it is where an increase over the whole span begins.
    const second = ring.size > 1 ? timeOf(ring, 1) : t;
    if (second <= t - ring.spanMs) {
      ring.start = (ring.start + 1) % capacity(ring);
      ring.size--;
    } else grow(ring);
  }
  const at = slotAt(ring, ring.size);
  ring.size++;
  ring.data[at] = t;
  return { at, merged: false };
}

function grow(ring: Ring): void {
  const data = new Float64Array(ring.data.length * 2);
  for (let i = 0; i < ring.size; i++) {
    const from = slotAt(ring, i);
    data.set(ring.data.subarray(from, from + ring.stride), i * ring.stride);
  }
  ring.data = data;
  ring.start = 0;
}

export function pushGauge(ring: Ring, t: number, v: number): void {
  const slot = slotFor(ring, t);
  if (!slot) return;
  const { data } = ring;
  const { at, merged } = slot;
  data[at + 1] = v;
  data[at + 2] = merged ? data[at + 2]! + v : v;
  data[at + 3] = merged ? data[at + 3]! + 1 : 1;
  data[at + 4] = merged ? Math.min(data[at + 4]!, v) : v;
  data[at + 5] = merged ? Math.max(data[at + 5]!, v) : v;
}

/** `total` never falls: resets are taken out before. */
export function pushCounter(ring: Ring, t: number, total: number): void {
  const slot = slotFor(ring, t);
  if (slot) ring.data[slot.at + 1] = total;
}

/** A row of totals that never fall, one per bucket. */
export function pushRow(ring: Ring, t: number, totals: Float64Array): void {
  const slot = slotFor(ring, t);
  if (slot) ring.data.set(totals, slot.at + 1);
}

/** Index of the newest slot at or before `t`; −1 when none. */
export function indexAt(ring: Ring, t: number): number {
  let lo = 0;
  let hi = ring.size;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (timeOf(ring, mid) <= t) lo = mid + 1;
    else hi = mid;
  }
  return lo - 1;
}

/** The window's two ends in a ring of totals; undefined while it covers too little of the window. */
export function ends(
  ring: Ring,
  from: number,
  to: number,
  coverage: number,
): { first: number; last: number; seconds: number } | undefined {
  const last = indexAt(ring, to);
  if (last < 0 || timeOf(ring, last) <= from) return undefined;
  const first = Math.max(0, indexAt(ring, from));
  if (last === first) return undefined;
  const length = timeOf(ring, last) - timeOf(ring, first);
  if (length < coverage * (to - from)) return undefined;
  return { first: slotAt(ring, first), last: slotAt(ring, last), seconds: length / 1000 };
}

export interface GaugeWindow {
  readonly last: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
}

/** A gauge over a window; undefined while its samples cover too little of it. `stepMs` is their usual distance. */
export function gaugeOver(
  ring: Ring,
  from: number,
  to: number,
  coverage: number,
  stepMs: number,
): GaugeWindow | undefined {
  const end = indexAt(ring, to);
  let at = indexAt(ring, from) + 1;
  if (end < at) return undefined;
  if (to - timeOf(ring, at) + stepMs < coverage * (to - from)) return undefined;
  let sum = 0;
  let n = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (; at <= end; at++) {
    const slot = slotAt(ring, at);
    sum += ring.data[slot + 2]!;
    n += ring.data[slot + 3]!;
    min = Math.min(min, ring.data[slot + 4]!);
    max = Math.max(max, ring.data[slot + 5]!);
  }
  return { last: ring.data[slotAt(ring, end) + 1]!, mean: sum / n, min, max };
}
