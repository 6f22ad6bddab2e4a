/**
 * The past of features: one value per evaluation (about every 15 s) for an hour, per detector, feature and entity. Baselines
 * and peer comparisons read it. Times inside incidents and context events are not learned from.
 */
import {
  judge,
  type PeerGates,
  type PeerVerdict,
  type PooledHistory,
  poolHistories,
} from '../../pipeline/kit/stats/peers.ts';
import { type Location, location, median, quantile as quantileOf } from '../../pipeline/kit/stats/robust.ts';

const KEEP = 256;
const SPACING_MS = 12_000;
const LEAST_GAP_MS = 90_000;
/** As long as a service may take to fill up after a start. */
const FILLING_MS = 600_000;
/** Values from which their scale is taken as it is. */
const SETTLED = 30;
export const TRAILING_MS = 3_600_000;

interface Track {
  readonly t: Float64Array;
  readonly v: Float32Array;
  start: number;
  size: number;
  last: number;
  /** Kept for a minute: sorting a baseline at every evaluation would cost more than the detectors. */
  cached: { at: number; gap: number; value: Location | undefined; quantile?: number | undefined } | undefined;
}

export interface Span {
  readonly from: number;
  until: number;
}

export interface History {
  readonly tracks: number;
  /** Adds a value and gives the baseline of what came before `now − gap`, if at least `fewest` values are known; the gap is shorter while the track is young. */
  baseline(
    key: string,
    value: number,
    now: number,
    gapMs: number,
    fewest: number,
    frozen: readonly Span[],
  ): Location | undefined;
  /** Adds a value and gives a quantile of what came before `now − gap`; undefined below `fewest` values. */
  quantile(
    key: string,
    value: number,
    p: number,
    now: number,
    gapMs: number,
    fewest: number,
    frozen: readonly Span[],
  ): number | undefined;
  /** Adds a value. */
  record(key: string, value: number, now: number): void;
  /** The values of a track between two times, oldest first, without frozen ones. */
  values(key: string, from: number, to: number, frozen: readonly Span[]): number[];
  /** Values with their times since `from`. */
  course(key: string, from: number): { t: number[]; v: number[] };
  expire(before: number): void;
  /** The tracks that were heard of last, `limit` at most, for the disk. */
  dump(limit: number): SavedTrack[];
  /** Takes tracks back that no value was added to yet. */
  restore(tracks: readonly SavedTrack[], now: number): void;
}

/** Key, time of the first value in milliseconds, and base64 of pairs of 32-bit floats: seconds since then, value. */
export type SavedTrack = readonly [key: string, from: number, pairs: string];

export function createHistory(limit = 200_000): History {
  const tracks = new Map<string, Track>();

  function track(key: string): Track | undefined {
    let found = tracks.get(key);
    if (!found) {
      if (tracks.size >= limit) return undefined;
      found = {
        t: new Float64Array(KEEP),
        v: new Float32Array(KEEP),
        start: 0,
        size: 0,
        last: Number.NEGATIVE_INFINITY,
        cached: undefined,
      };
      tracks.set(key, found);
    }
    return found;
  }

  function add(tr: Track, value: number, now: number): void {
    if (!Number.isFinite(value) || now - tr.last < SPACING_MS) return;
    tr.last = now;
    if (tr.size < KEEP) {
      const at = (tr.start + tr.size++) % KEEP;
      tr.t[at] = now;
      tr.v[at] = value;
    } else {
      tr.t[tr.start] = now;
      tr.v[tr.start] = value;
      tr.start = (tr.start + 1) % KEEP;
    }
  }

  const isFrozen = (t: number, frozen: readonly Span[]): boolean => {
    for (const f of frozen) if (t >= f.from && t <= f.until) return true;
    return false;
  };

  function select(tr: Track, from: number, to: number, frozen: readonly Span[]): number[] {
    const out: number[] = [];
    for (let i = 0; i < tr.size; i++) {
      const at = (tr.start + i) % KEEP;
      const t = tr.t[at]!;
      if (t >= from && t <= to && !isFrozen(t, frozen)) out.push(tr.v[at]!);
    }
    return out;
  }

  return {
    get tracks() {
      return tracks.size;
    },
    baseline(key, value, now, gapMs, fewest, frozen) {
      const tr = track(key);
      if (!tr) return undefined;
      const { cached } = tr;
      let answer: Location | undefined;
      if (cached && cached.gap === gapMs && now - cached.at < 60_000 && cached.value) answer = cached.value;
      else {
        const values = select(tr, now - TRAILING_MS, now - gapOf(tr, now, gapMs), frozen);
        if (values.length >= fewest) answer = cautious(location(values), values, now - (tr.t[tr.start] ?? now));
        // What was known before an incident is still what is usual, though its first minutes are not learned from.
        else if (frozen.length > 0 && cached?.gap === gapMs) answer = cached.value;
        tr.cached = { at: now, gap: gapMs, value: answer };
      }
      add(tr, value, now);
      return answer;
    },
    quantile(key, value, p, now, gapMs, fewest, frozen) {
      const tr = track(key);
      if (!tr) return undefined;
      const { cached } = tr;
      let answer: number | undefined;
      if (cached?.quantile !== undefined && cached.gap === gapMs && now - cached.at < 60_000) answer = cached.quantile;
      else {
        const values = select(tr, now - TRAILING_MS, now - gapOf(tr, now, gapMs), frozen);
        if (values.length >= fewest) answer = quantileOf(values, p);
        else if (frozen.length > 0 && cached?.gap === gapMs) answer = cached.quantile;
        tr.cached = { at: now, gap: gapMs, value: undefined, quantile: answer };
      }
      add(tr, value, now);
      return answer;
    },
    record(key, value, now) {
      const tr = track(key);
      if (tr) add(tr, value, now);
    },
    values(key, from, to, frozen) {
      const tr = tracks.get(key);
      return tr ? select(tr, from, to, frozen) : [];
    },
    course(key, from) {
      const tr = tracks.get(key);
      const t: number[] = [];
      const v: number[] = [];
      for (let i = 0; tr && i < tr.size; i++) {
        const at = (tr.start + i) % KEEP;
        if (tr.t[at]! < from) continue;
        t.push(tr.t[at]!);
        v.push(tr.v[at]!);
      }
      return { t, v };
    },
    expire(before) {
      for (const [key, tr] of tracks) if (tr.last < before) tracks.delete(key);
    },
    dump(limit) {
      const newest = [...tracks].sort(([, a], [, b]) => b.last - a.last).slice(0, limit);
      return newest.map(([key, tr]) => {
        const from = tr.t[tr.start] ?? 0;
        const pairs = new Float32Array(tr.size * 2);
        for (let i = 0; i < tr.size; i++) {
          const at = (tr.start + i) % KEEP;
          pairs[2 * i] = (tr.t[at]! - from) / 1000;
          pairs[2 * i + 1] = tr.v[at]!;
        }
        return [key, from, Buffer.from(pairs.buffer).toString('base64')];
      });
    },
    restore(saved, now) {
      for (const [key, from, text] of saved) {
        const bytes = Buffer.from(text, 'base64');
        for (let i = 0; i + 8 <= bytes.length; i += 8) {
          const t = from + bytes.readFloatLE(i) * 1000;
          if (!(t <= now && t >= now - 2 * TRAILING_MS)) continue;
          const tr = track(key);
          if (tr) add(tr, bytes.readFloatLE(i + 4), t);
        }
      }
    },
  };
}

/** While little is known, less of the newest is left out: a third of what there is, so that the first fault is not missed. */
const gapOf = (tr: Track, now: number, gapMs: number): number =>
  Math.min(gapMs, Math.max(LEAST_GAP_MS, (now - (tr.t[tr.start] ?? now)) / 3));

/**
 * What few values (of overlapping windows at that) say: their scale is believed to be larger, and where they rise or fall, as they
 * do while a service fills up, what is usual now is where that leads, not where it was.
 */
function cautious(l: Location, values: readonly number[], age: number): Location {
  const n = values.length;
  if (n >= SETTLED) return l;
  const scale = l.scale * (1 + (SETTLED - n) / SETTLED);
  const third = Math.floor(n / 3);
  const late = median(values.slice(-third));
  const drift = late - median(values.slice(0, third));
  if (Math.abs(drift) <= l.scale || age > FILLING_MS) return { ...l, scale };
  const bound = Math.abs(late) / 3;
  return { ...l, median: late + Math.max(-bound, Math.min(bound, drift)), scale };
}

/** A cohort's pooled past of r, recomputed once a minute. */
export interface PeerMemory {
  pooled(key: string, members: readonly string[], now: number, gapMs: number, frozen: readonly Span[]): PooledHistory;
}

export function createPeerMemory(history: History): PeerMemory {
  const memory = new Map<string, { at: number; count: number; pooled: PooledHistory }>();
  return {
    pooled(key, members, now, gapMs, frozen) {
      const known = memory.get(key);
      if (known && now - known.at < 60_000 && known.count === members.length) return known.pooled;
      if (memory.size > 10_000) memory.clear();
      const pooled = poolHistories(members.map((m) => history.values(m, now - 1_800_000, now - gapMs, frozen)));
      memory.set(key, { at: now, count: members.length, pooled });
      return pooled;
    },
  };
}

export { judge, type PeerGates, type PeerVerdict };
