/**
 * The window store: which channel a series feeds, and the samples of every channel, by entity and signal. A series is
 * resolved once; after that a point costs one lookup by identity and one write. Signals that no detector wants cost the
 * lookup only.
 */
import { cleanId, type Entity, type Subject, type Topology } from '../../pipeline/kit/topology.ts';
import {
  type AnyValue,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  isSummaryPoint,
  msFromNanos,
  type Point,
  type Series,
  Temporality,
} from '../../pipeline/model.ts';
import { type HistogramRing, newHistogramRing, newRing, nextRow, push, type Ring, rowAt } from './rings.ts';
import { INSTANCE_KINDS, type SignalShape, shapeOf } from './signals.ts';

/** One stream of samples: an entity, a signal, and the attributes that tell it from its siblings. */
export interface Channel {
  readonly signal: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly kind: 'gauge' | 'counter' | 'histogram';
  readonly ring: Ring;
  histogram: HistogramRing | undefined;
  /** The series that feeds it; another one that also does is a duplicate and is left out. */
  owner: Series;
  /** When a marker said that the series ended; −Infinity while it lives. */
  endedAt: number;
  /** Times another source fed the same channel. */
  duplicates: number;
  /** Resets of all time (histograms and counters), for telling two processes behind one address. */
  resets: number[];
}

export interface EntityState {
  readonly entity: Entity;
  readonly signals: Map<string, Channel[]>;
  /** Time of its newest sample. */
  last: number;
  /** Forgotten; whoever still holds it must ask again. */
  gone: boolean;
  /** Readers and lists made from its channels, thrown away when a channel is added. */
  readonly made: Map<string, unknown>;
}

export interface StoreLimits {
  readonly channels: number;
  readonly entities: number;
}

export interface Store {
  readonly states: ReadonlyMap<string, EntityState>;
  readonly channels: number;
  /** Points dropped because they were not numbers, and channels refused because of the limit. */
  readonly notNumbers: number;
  readonly refused: number;
  /** Names of all signals that passed, wanted or not (at most 2,000). */
  readonly seen: ReadonlySet<string>;
  /** Whether any entity has (or had) a channel of this signal. */
  has(signal: string): boolean;
  ingest(points: readonly Point[], now: number): void;
  of(entity: Entity): EntityState | undefined;
  /** Forgets entities without a sample since `before`. */
  expire(before: number): void;
}

interface Slot {
  readonly state: EntityState;
  readonly channel: Channel;
  readonly counter: boolean;
  readonly delta: boolean;
  total: number;
  /** Added to the sender's time when its clock is plainly wrong. */
  skew: number;
  odd: number;
}

const FUTURE_MS = 30_000;
const PAST_MS = 60_000;
const ODD_BEFORE_SHIFT = 3;

const word = (value: AnyValue): string | undefined =>
  typeof value === 'string'
    ? cleanId(value)
    : typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean'
      ? String(value)
      : undefined;

export function createStore(
  topology: Topology,
  wanted: ReadonlySet<string>,
  limits: StoreLimits = { channels: 200_000, entities: 50_000 },
): Store {
  const slots = new WeakMap<Series, Slot | null>();
  const states = new Map<string, EntityState>();
  const seen = new Set<string>();
  const present = new Set<string>();
  let channels = 0;
  let notNumbers = 0;
  let refused = 0;
  let nanos = 0n;
  let ms = 0;

  function entityOf(shape: SignalShape, subject: Subject, series: Series, now: number): Entity | undefined {
    switch (shape.of) {
      case 'gpu':
        // `hw.errors` and `hw.status` are told of NICs too.
        return subject.gpu ?? subject.nic;
      case 'node':
        return subject.node;
      case 'nic':
        return subject.nic;
      case 'instance':
        return subject.instance;
      case 'target': {
        if (subject.instance) return subject.instance;
        const r = series.resource.attributes;
        const id = word(r['service.instance.id'] ?? r['server.address'] ?? r['url.full'] ?? '');
        return id ? topology.entity('target', id, now) : undefined;
      }
    }
  }

  function attributesOf(series: Series, shape: SignalShape): Record<string, string> {
    const out: Record<string, string> = {};
    let n = 0;
    for (const [key, value] of Object.entries(series.attributes)) {
      if (key === 'hw.id' || (n >= 8 && !shape.parts?.includes(key))) continue;
      const w = word(value);
      if (w === undefined) continue;
      out[key] = w;
      n++;
    }
    if (shape.of === 'instance') {
      for (const key of ['inference.rank.dp', 'inference.rank.pp', 'inference.rank.tp']) {
        const w = word(series.resource.attributes[key] ?? null);
        if (w !== undefined) out[key] ??= w;
      }
    }
    return out;
  }

  function resolve(series: Series, now: number): Slot | null {
    const { metric } = series;
    const signal = metric.name;
    if (seen.size < 2000) seen.add(signal);
    if (!wanted.has(signal)) return null;
    const shape = shapeOf(signal);
    const serving = shape.of === 'instance' && (signal.startsWith('inference.') || signal.startsWith('gen_ai.'));
    const subject = topology.observe(series.resource.attributes, series.attributes, now, serving);
    const entity = entityOf(shape, subject, series, now);
    if (!entity) return null;
    if (shape.of === 'instance' && !INSTANCE_KINDS.includes(entity.kind)) return null;
    let state = states.get(entity.key);
    if (!state || state.entity !== entity) {
      if (states.size >= limits.entities) {
        refused++;
        return null;
      }
      state = {
        entity,
        signals: state?.signals ?? new Map(),
        last: Number.NEGATIVE_INFINITY,
        gone: false,
        made: new Map(),
      };
      states.set(entity.key, state);
    }
    const counter = metric.type === 'sum' && metric.monotonic;
    const kind =
      metric.type === 'gauge' || (metric.type === 'sum' && !metric.monotonic)
        ? 'gauge'
        : metric.type === 'sum'
          ? 'counter'
          : 'histogram';
    const attributes = attributesOf(series, shape);
    const list = state.signals.get(signal) ?? [];
    const names = Object.keys(attributes);
    let channel = list.find(
      (c) =>
        c.kind === kind &&
        Object.keys(c.attributes).length === names.length &&
        names.every((k) => c.attributes[k] === attributes[k]),
    );
    if (channel) {
      channel.owner = series;
      channel.endedAt = Number.NEGATIVE_INFINITY;
    } else {
      if (channels >= limits.channels) {
        refused++;
        return null;
      }
      channels++;
      present.add(signal);
      channel = {
        signal,
        attributes,
        kind,
        ring: newRing(),
        histogram: undefined,
        owner: series,
        endedAt: Number.NEGATIVE_INFINITY,
        duplicates: 0,
        resets: [],
      };
      list.push(channel);
      state.signals.set(signal, list);
      state.made.clear();
    }
    const delta = metric.temporality === Temporality.DELTA && kind !== 'gauge';
    return { state, channel, counter, delta, total: 0, skew: 0, odd: 0 };
  }

  function timeOf(slot: Slot, t: number, now: number): number {
    const off = now - t - slot.skew;
    if (off <= PAST_MS && off >= -FUTURE_MS) {
      slot.odd = 0;
      return t + slot.skew;
    }
    // A sender whose clock is wrong is so every time; a late batch is not. Until that is known, its own time is kept.
    if (++slot.odd >= ODD_BEFORE_SHIFT || off < -FUTURE_MS) {
      slot.skew = now - t;
      slot.odd = 0;
    }
    return t + slot.skew;
  }

  function reset(channel: Channel, t: number): void {
    channel.resets.push(t);
    if (channel.resets.length > 16) channel.resets.shift();
  }

  function putHistogram(slot: Slot, t: number, count: number, sum: number, bounds: Float64Array | undefined, p: Point) {
    const { channel } = slot;
    const buckets = isHistogramPoint(p) ? p.bucketCounts : undefined;
    const width = buckets ? buckets.length : 0;
    let ring = channel.histogram;
    if (!ring || ring.width !== width + 2 || !sameBounds(ring.bounds, bounds)) {
      ring = newHistogramRing(bounds ?? new Float64Array(0), width);
      channel.histogram = ring;
    }
    const before = ring.size > 0 ? rowAt(ring, ring.size - 1) : -1;
    const previous = before >= 0 ? ring.rows[before]! : 0;
    const base = slot.delta && before >= 0 ? ring.rows.slice(before, before + ring.width) : undefined;
    const at = nextRow(ring, t);
    if (at < 0) return;
    const { rows } = ring;
    rows[at] = count + (base ? base[0]! : 0);
    rows[at + 1] = sum + (base ? base[1]! : 0);
    for (let i = 0; i < width; i++) rows[at + 2 + i] = Number(buckets![i]!) + (base ? base[2 + i]! : 0);
    if (!slot.delta && before >= 0 && count < previous) {
      ring.resetAt = t;
      reset(channel, t);
    }
  }

  function put(slot: Slot, p: Point, now: number): void {
    const { channel, state } = slot;
    if (p.time !== nanos) {
      nanos = p.time;
      ms = msFromNanos(nanos);
    }
    if (isStale(p)) {
      channel.endedAt = now;
      return;
    }
    if (channel.owner !== p.series) {
      channel.duplicates++;
      return;
    }
    const t = timeOf(slot, nanos === 0n ? now : ms, now);
    if (isNumberPoint(p)) {
      const raw = p.value;
      let v = typeof raw === 'number' ? raw : Number(raw);
      if (v - v !== 0) {
        notNumbers++;
        return;
      }
      if (slot.delta) {
        slot.total += v;
        v = slot.total;
      }
      const { ring } = channel;
      const was = ring.resetAt;
      push(ring, t, v, slot.counter);
      if (ring.resetAt !== was) reset(channel, t);
    } else if (isHistogramPoint(p)) {
      putHistogram(slot, t, Number(p.count), p.sum ?? Number.NaN, p.bounds, p);
    } else if (isExponentialHistogramPoint(p)) {
      putHistogram(slot, t, Number(p.count), p.sum ?? Number.NaN, undefined, p);
    } else if (isSummaryPoint(p)) putHistogram(slot, t, Number(p.count), p.sum, undefined, p);
    channel.endedAt = Number.NEGATIVE_INFINITY;
    if (t > state.last) state.last = t;
  }

  return {
    states,
    get channels() {
      return channels;
    },
    get notNumbers() {
      return notNumbers;
    },
    get refused() {
      return refused;
    },
    seen,
    has: (signal) => present.has(signal),
    ingest(points, now) {
      for (let i = 0; i < points.length; i++) {
        const p = points[i]!;
        let slot = slots.get(p.series);
        if (slot === null) continue;
        if (slot === undefined || slot.state.gone) {
          slot = resolve(p.series, now);
          slots.set(p.series, slot);
          if (slot === null) continue;
        }
        put(slot, p, now);
      }
    },
    of: (entity) => states.get(entity.key),
    expire(before) {
      for (const [key, state] of states) {
        if (state.last >= before) {
          state.entity.lastSeen = Math.max(state.entity.lastSeen, state.last);
          continue;
        }
        for (const list of state.signals.values()) channels -= list.length;
        state.gone = true;
        states.delete(key);
      }
    },
  };
}

function sameBounds(a: Float64Array, b: Float64Array | undefined): boolean {
  if (a === b) return true;
  if (!b || a.length !== b.length) return a.length === 0 && (!b || b.length === 0);
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
