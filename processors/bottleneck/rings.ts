/**
 * Windows of samples in typed arrays: the only place where points are kept. A ring grows until it covers `KEEP_MS` (or its
 * own sampling interval times 24) or reaches `MAX_SAMPLES`; samples that come faster than that are merged.
 */

const MAX_SAMPLES = 512;
const FIRST = 16;
export const KEEP_MS = 330_000;
const MERGE_BELOW_MS = 500;

/** Samples of one number. Times are milliseconds, strictly rising. */
export interface Ring {
  t: Float64Array;
  v: Float64Array;
  /** Index of the oldest sample; the i-th is at (start + i) & (length − 1). */
  start: number;
  size: number;
  /** The usual distance of two samples, milliseconds; 0 until two have come. */
  step: number;
  /** Time of the last decrease, for counters; −Infinity when none. */
  resetAt: number;
  /** Samples refused because time did not advance. */
  late: number;
  /** How many samples of a merged mean the newest one stands for. */
  merged: number;
}

export function newRing(): Ring {
  return {
    t: new Float64Array(FIRST),
    v: new Float64Array(FIRST),
    start: 0,
    size: 0,
    step: 0,
    resetAt: Number.NEGATIVE_INFINITY,
    late: 0,
    merged: 1,
  };
}

/** The usual distance, following changes within a few samples; single gaps do not move it much. */
function nextStep(step: number, dt: number): number {
  if (step === 0) return dt;
  if (dt > step * 2.5) return step * 1.05;
  return step + (dt - step) * 0.2;
}

const keepFor = (step: number): number => Math.max(KEEP_MS, 24 * step);

/** Adds a sample. Counters remember resets; gauges that come too fast are averaged. */
export function push(ring: Ring, t: number, v: number, counter: boolean): void {
  const mask = ring.t.length - 1;
  if (ring.size > 0) {
    const last = (ring.start + ring.size - 1) & mask;
    const dt = t - ring.t[last]!;
    if (!(dt > 0)) {
      ring.late++;
      // A clock that was set back by more than a minute: what came before cannot be compared any more.
      if (dt < -60_000 || (dt < 0 && ring.late > 20)) clear(ring);
      else return;
    } else {
      if (counter && v < ring.v[last]!) ring.resetAt = t;
      if (
        dt < MERGE_BELOW_MS &&
        ring.size > 1 &&
        t - ring.t[(ring.start + ring.size - 2) & mask]! < MERGE_BELOW_MS * 2
      ) {
        ring.merged++;
        ring.v[last] = counter ? v : ring.v[last]! + (v - ring.v[last]!) / ring.merged;
        ring.t[last] = t;
        return;
      }
      ring.step = nextStep(ring.step, dt);
    }
  }
  ring.merged = 1;
  if (ring.size === ring.t.length) {
    if (ring.t.length < MAX_SAMPLES && ring.t[ring.start]! > t - keepFor(ring.step)) grow(ring);
    else {
      ring.t[ring.start] = t;
      ring.v[ring.start] = v;
      ring.start = (ring.start + 1) & mask;
      return;
    }
  }
  const at = (ring.start + ring.size) & (ring.t.length - 1);
  ring.t[at] = t;
  ring.v[at] = v;
  ring.size++;
}

function clear(ring: Ring): void {
  ring.start = 0;
  ring.size = 0;
  ring.step = 0;
  ring.late = 0;
  ring.resetAt = Number.NEGATIVE_INFINITY;
}

function grow(ring: Ring): void {
  const n = ring.t.length;
  const t = new Float64Array(n * 2);
  const v = new Float64Array(n * 2);
  for (let i = 0; i < n; i++) {
    const from = (ring.start + i) & (n - 1);
    t[i] = ring.t[from]!;
    v[i] = ring.v[from]!;
  }
  ring.t = t;
  ring.v = v;
  ring.start = 0;
}

export const timeAt = (ring: Ring, i: number): number => ring.t[(ring.start + i) & (ring.t.length - 1)]!;
export const valueAt = (ring: Ring, i: number): number => ring.v[(ring.start + i) & (ring.t.length - 1)]!;
export const lastTime = (ring: Ring): number =>
  ring.size > 0 ? timeAt(ring, ring.size - 1) : Number.NEGATIVE_INFINITY;
export const lastValue = (ring: Ring): number => (ring.size > 0 ? valueAt(ring, ring.size - 1) : Number.NaN);

/** Index of the first sample with a time ≥ `from`; `size` when none. */
export function firstFrom(ring: Ring, from: number): number {
  let lo = 0;
  let hi = ring.size;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (timeAt(ring, mid) < from) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** Rows of one histogram: count, sum, then one cumulative-over-time number per bucket. */
export interface HistogramRing {
  bounds: Float64Array;
  width: number;
  t: Float64Array;
  rows: Float64Array;
  start: number;
  size: number;
  step: number;
  resetAt: number;
  late: number;
}

const MAX_ROWS = 128;
const FIRST_ROWS = 16;

export function newHistogramRing(bounds: Float64Array, buckets: number): HistogramRing {
  const width = buckets + 2;
  return {
    bounds,
    width,
    t: new Float64Array(FIRST_ROWS),
    rows: new Float64Array(FIRST_ROWS * width),
    start: 0,
    size: 0,
    step: 0,
    resetAt: Number.NEGATIVE_INFINITY,
    late: 0,
  };
}

/** Offset of the i-th row in `rows`. */
export const rowAt = (ring: HistogramRing, i: number): number => ((ring.start + i) & (ring.t.length - 1)) * ring.width;
export const rowTime = (ring: HistogramRing, i: number): number => ring.t[(ring.start + i) & (ring.t.length - 1)]!;

/** Makes room for a row and returns its offset, or −1 if time did not advance. The caller fills it. */
export function nextRow(ring: HistogramRing, t: number): number {
  if (ring.size > 0) {
    const dt = t - rowTime(ring, ring.size - 1);
    if (!(dt > 0)) {
      ring.late++;
      if (dt >= -60_000 && ring.late <= 20) return -1;
      ring.start = 0;
      ring.size = 0;
      ring.step = 0;
      ring.late = 0;
    } else if (dt < MERGE_BELOW_MS && ring.size > 1) {
      ring.t[(ring.start + ring.size - 1) & (ring.t.length - 1)] = t;
      return rowAt(ring, ring.size - 1);
    } else ring.step = nextStep(ring.step, dt);
  }
  if (ring.size === ring.t.length) {
    if (ring.t.length < MAX_ROWS && ring.t[ring.start]! > t - keepFor(ring.step)) growRows(ring);
    else {
      const at = ring.start;
      ring.t[at] = t;
      ring.start = (ring.start + 1) & (ring.t.length - 1);
      return at * ring.width;
    }
  }
  const at = (ring.start + ring.size) & (ring.t.length - 1);
  ring.t[at] = t;
  ring.size++;
  return at * ring.width;
}

function growRows(ring: HistogramRing): void {
  const n = ring.t.length;
  const t = new Float64Array(n * 2);
  const rows = new Float64Array(n * 2 * ring.width);
  for (let i = 0; i < n; i++) {
    const from = (ring.start + i) & (n - 1);
    t[i] = ring.t[from]!;
    rows.set(ring.rows.subarray(from * ring.width, (from + 1) * ring.width), i * ring.width);
  }
  ring.t = t;
  ring.rows = rows;
  ring.start = 0;
}

/** Index of the first row with a time ≥ `from`. */
export function firstRowFrom(ring: HistogramRing, from: number): number {
  let lo = 0;
  let hi = ring.size;
  while (lo < hi) {
    const mid = (lo + hi) >>> 1;
    if (rowTime(ring, mid) < from) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}
