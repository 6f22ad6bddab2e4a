/** Engine-neutral signals folded into one line of numbers per replica. */
import {
  type HistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  type Point,
  type Resource,
  type Series,
} from '../../pipeline/model.ts';

/** What a row shows; undefined where the engine does not say. */
export interface Row {
  readonly replica: string;
  readonly engine: string;
  readonly model: string;
  readonly down: boolean;
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  /** 0 to 1. */
  readonly kv: number | undefined;
  /** Seconds, of the requests since the last row. */
  readonly ttftP50: number | undefined;
  readonly ttftP95: number | undefined;
  readonly itlP50: number | undefined;
  /** Tokens per second since the last row. */
  readonly promptRate: number | undefined;
  readonly outputRate: number | undefined;
}

export interface Replicas {
  take(points: readonly Point[], now: number): void;
  /** The rows, and a new start for what is counted between two calls. */
  rows(now: number): Row[];
}

const LEVELS = ['inference.requests.running', 'inference.requests.waiting', 'inference.kv.usage'] as const;
const COUNTERS = ['inference.tokens.prompt', 'inference.tokens.generated'] as const;
const HISTOGRAMS = [
  'gen_ai.server.time_to_first_token',
  'inference.inter_token.latency',
  'gen_ai.server.time_per_output_token',
] as const;

type Level = (typeof LEVELS)[number];
type Count = (typeof COUNTERS)[number];
type Spread = (typeof HISTOGRAMS)[number];
const KIND = new Map<string, 'level' | 'count' | 'spread' | 'up'>([
  ...LEVELS.map((name) => [name, 'level'] as const),
  ...COUNTERS.map((name) => [name, 'count'] as const),
  ...HISTOGRAMS.map((name) => [name, 'spread'] as const),
  ['up', 'up'],
]);

/** A replica of which nothing was heard for so long is no longer shown. */
const FORGET_MS = 300_000;

interface Replica {
  readonly name: string;
  engine: string;
  model: string;
  up: boolean;
  seen: number;
  /** Whether anything but `up` was ever heard of it. */
  known: boolean;
  readonly levels: Map<Level, Map<Series, number>>;
  readonly counts: Map<Count, number>;
  readonly spreads: Map<Spread, { bounds: Float64Array; counts: Float64Array }>;
}

/** Starts with no replica. */
export function createReplicas(): Replicas {
  const byName = new Map<string, Replica>();
  const ofResource = new WeakMap<Resource, Replica>();
  const lastValue = new WeakMap<Series, number>();
  const lastHistogram = new WeakMap<Series, HistogramPoint>();
  let since: number | undefined;

  const replicaOf = (resource: Resource, now: number): Replica => {
    const known = ofResource.get(resource);
    if (known && byName.get(known.name) === known) return known;
    const { attributes } = resource;
    const text = (key: string) => (typeof attributes[key] === 'string' ? (attributes[key] as string) : '');
    const name = text('service.instance.id') || text('k8s.pod.name') || text('host.name') || text('service.name');
    let replica = byName.get(name);
    if (!replica) {
      replica = {
        name,
        engine: '',
        model: '',
        up: true,
        seen: now,
        known: false,
        levels: new Map(),
        counts: new Map(),
        spreads: new Map(),
      };
      byName.set(name, replica);
    }
    replica.engine = text('inference.engine') || replica.engine;
    replica.model = text('gen_ai.request.model') || replica.model;
    ofResource.set(resource, replica);
    return replica;
  };

  const takeOne = (point: Point, kind: 'level' | 'count' | 'spread' | 'up', now: number): void => {
    const { series } = point;
    const replica = replicaOf(series.resource, now);
    const name = series.metric.name;
    replica.seen = now;
    if (kind === 'up') {
      if (isNumberPoint(point) && !isStale(point)) replica.up = Number(point.value) > 0;
      return;
    }
    replica.known = true;
    if (replica.model === '') {
      const model = series.attributes['gen_ai.request.model'] ?? series.attributes['model_name'];
      if (typeof model === 'string') replica.model = model;
    }
    if (kind === 'level' && isNumberPoint(point)) {
      const values = replica.levels.get(name as Level) ?? new Map<Series, number>();
      replica.levels.set(name as Level, values);
      if (isStale(point)) values.delete(series);
      else values.set(series, Number(point.value));
    } else if (kind === 'count' && isNumberPoint(point) && !isStale(point)) {
      const value = Number(point.value);
      const last = lastValue.get(series);
      lastValue.set(series, value);
      if (last === undefined) return;
      const more = value >= last ? value - last : value;
      replica.counts.set(name as Count, (replica.counts.get(name as Count) ?? 0) + more);
    } else if (kind === 'spread' && isHistogramPoint(point) && !isStale(point)) {
      const last = lastHistogram.get(series);
      lastHistogram.set(series, point);
      if (last) addDifference(replica, name as Spread, last, point);
    }
  };

  return {
    take(points, now) {
      for (const point of points) {
        const kind = KIND.get(point.series.metric.name);
        if (kind !== undefined) takeOne(point, kind, now);
      }
    },
    rows(now) {
      const seconds = since === undefined ? undefined : (now - since) / 1000;
      since = now;
      const rows: Row[] = [];
      for (const replica of byName.values()) {
        if (now - replica.seen > FORGET_MS) byName.delete(replica.name);
        else if (replica.known) rows.push(rowOf(replica, seconds));
        replica.counts.clear();
        replica.spreads.clear();
      }
      return rows.sort((a, b) => a.replica.localeCompare(b.replica, 'en', { numeric: true }));
    },
  };
}

function addDifference(replica: Replica, name: Spread, last: HistogramPoint, point: HistogramPoint): void {
  const { bounds, bucketCounts } = point;
  const isReset = Number(point.count) < Number(last.count) || last.bucketCounts.length !== bucketCounts.length;
  let spread = replica.spreads.get(name);
  if (!spread || spread.bounds.length !== bounds.length) {
    spread = { bounds, counts: new Float64Array(bucketCounts.length) };
    replica.spreads.set(name, spread);
  }
  for (let i = 0; i < bucketCounts.length; i++) {
    const more = Number(bucketCounts[i]) - (isReset ? 0 : Number(last.bucketCounts[i]));
    spread.counts[i]! += Math.max(0, more);
  }
}

function rowOf(replica: Replica, seconds: number | undefined): Row {
  const total = (name: Level) => {
    const values = replica.levels.get(name);
    return values && values.size > 0 ? [...values.values()].reduce((a, b) => a + b, 0) : undefined;
  };
  const highest = (name: Level) => {
    const values = replica.levels.get(name);
    return values && values.size > 0 ? Math.max(...values.values()) : undefined;
  };
  const rate = (name: Count) => {
    const count = replica.counts.get(name);
    return count === undefined || !seconds ? undefined : count / seconds;
  };
  const of = (name: Spread, q: number) => quantile(replica.spreads.get(name), q);
  return {
    replica: replica.name,
    engine: replica.engine,
    model: replica.model,
    down: !replica.up,
    running: total('inference.requests.running'),
    waiting: total('inference.requests.waiting'),
    kv: highest('inference.kv.usage'),
    ttftP50: of('gen_ai.server.time_to_first_token', 0.5),
    ttftP95: of('gen_ai.server.time_to_first_token', 0.95),
    itlP50: of('inference.inter_token.latency', 0.5) ?? of('gen_ai.server.time_per_output_token', 0.5),
    promptRate: rate('inference.tokens.prompt'),
    outputRate: rate('inference.tokens.generated'),
  };
}

/** Linear within the bucket, as Prometheus does it; the last bucket answers with its lower bound. */
function quantile(spread: { bounds: Float64Array; counts: Float64Array } | undefined, q: number): number | undefined {
  if (!spread) return undefined;
  const { bounds, counts } = spread;
  const total = counts.reduce((a, b) => a + b, 0);
  if (total === 0) return undefined;
  let before = 0;
  for (let i = 0; i < counts.length; i++) {
    const here = counts[i]!;
    if (before + here >= q * total && here > 0) {
      const upper = bounds[i];
      const lower = i === 0 ? 0 : bounds[i - 1]!;
      return upper === undefined ? lower : lower + (upper - lower) * ((q * total - before) / here);
    }
    before += here;
  }
  return bounds.at(-1);
}
