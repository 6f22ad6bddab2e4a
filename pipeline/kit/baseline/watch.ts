/**
 * Watches neutral signals pass and keeps, per service and second, what load, output and latencies were: what the knee, the
 * load within an SLO and the headroom of resources are found from.
 */
import {
  type Batch,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  msFromNanos,
  type Point,
  type Series,
  Temporality,
} from '../../model.ts';
import {
  LATENCIES,
  type Latency,
  LEVELS,
  type Level,
  LIMITS,
  RATES,
  type Rate,
  RESOURCES,
  type Resource,
  type Second,
  type Service,
  second,
  type Window,
  windowsOf,
} from './windows.ts';

/** What requests may take, seconds; a latency without an objective is not judged. */
export interface Objectives {
  readonly ttft?: number;
  readonly itl?: number;
  readonly e2e?: number;
}

export interface WatchedService {
  readonly service: string;
  readonly model: string;
  /** Replicas of engines that were seen; 0 if only a client or a frontend was. */
  readonly replicas: number;
  readonly windows: readonly Window[];
}

export interface LoadWatch {
  add(batch: Batch): void;
  services(): WatchedService[];
}

/** Nobody's; hosts and GPUs that no join gave to a service. */
const NOBODY = '';
const MOST_SERIES = 20_000;
const MOST_SECONDS = 14 * 86_400;
/** Longer between two points is a gap, of which nothing is known; ten times what is usual at most. */
const MOST_GAP_MS = 120_000;
const FRONT = new Set(['frontend', 'router']);

interface Kept {
  readonly service: string;
  readonly front: boolean;
  readonly replica: string;
  readonly kind: 'rate' | 'latency' | 'level' | 'resource' | 'limit';
  readonly what: string;
  lastMs: number;
  last: number;
  lastCount: number;
  lastGood: number;
}

export function createLoadWatch(objectives: Objectives): LoadWatch {
  const services = new Map<string, Service>();
  const kept = new WeakMap<Series, Kept | null>();
  const limits = new Map<string, number>();
  const gaps: number[] = [];
  let series = 0;
  let firstMs = Number.NaN;

  const serviceOf = (name: string): Service => {
    let found = services.get(name);
    if (!found) {
      found = {
        engines: new Map(),
        fronts: new Map(),
        replicas: new Set(),
        seen: { engines: new Set(), fronts: new Set() },
        model: '',
      };
      services.set(name, found);
    }
    return found;
  };

  const open = (s: Series): Kept | null => {
    const name = s.metric.name;
    const kind = Object.hasOwn(RATES, name)
      ? 'rate'
      : Object.hasOwn(LATENCIES, name)
        ? 'latency'
        : Object.hasOwn(LEVELS, name)
          ? 'level'
          : Object.hasOwn(RESOURCES, name)
            ? 'resource'
            : Object.hasOwn(LIMITS, name)
              ? 'limit'
              : undefined;
    if (kind === undefined || series >= MOST_SERIES) return null;
    // A core of many, or a phase of CPU time, is not the whole.
    if ('cpu.logical_number' in s.attributes || 'cpu' in s.attributes) return null;
    series++;
    const about = s.resource.attributes;
    const replica = String(about['service.instance.id'] ?? '');
    const front = FRONT.has(String(about['inference.role'] ?? ''));
    const hardware = kind === 'resource' || kind === 'limit';
    const named = about['service.name'];
    const service = typeof named === 'string' && (!hardware || name.startsWith('inference.')) ? named : NOBODY;
    if (!hardware) {
      const known = serviceOf(service);
      (front ? known.seen.fronts : known.seen.engines).add(name);
      if (!front && replica !== '') known.replicas.add(replica);
      known.model ||= String(about['gen_ai.request.model'] ?? s.attributes['gen_ai.request.model'] ?? '');
    }
    const table: Readonly<Record<string, string>> = { ...RATES, ...LATENCIES, ...LEVELS };
    return {
      service,
      front,
      replica: String(about['hw.id'] ?? s.attributes['hw.id'] ?? about['host.name'] ?? replica),
      kind,
      what: table[name] ?? LIMITS[name] ?? name,
      lastMs: Number.NaN,
      last: Number.NaN,
      lastCount: 0,
      lastGood: 0,
    };
  };

  /** Spreads what happened between two times over the seconds in between. */
  const spread = (k: Kept, fromMs: number, toMs: number, put: (s: Second, share: number, seconds: number) => void) => {
    const service = serviceOf(k.service);
    const all = k.front ? service.fronts : service.engines;
    const whole = toMs - fromMs;
    for (let t = fromMs; t < toMs; ) {
      const at = Math.floor((t - firstMs) / 1000);
      const until = Math.min(toMs, firstMs + (at + 1) * 1000);
      if (at > MOST_SECONDS) return;
      let s = all.get(at);
      if (!s) {
        s = second();
        all.set(at, s);
      }
      put(s, (until - t) / whole, (until - t) / 1000);
      if (until <= t) return;
      t = until;
    }
  };
  const add = <K>(map: Map<K, { amount: number; seconds: number }>, key: K, amount: number, seconds: number) => {
    const found = map.get(key);
    if (found) {
      found.amount += amount;
      found.seconds += seconds;
    } else map.set(key, { amount, seconds });
  };

  const point = (p: Point) => {
    let k = kept.get(p.series);
    if (k === undefined) {
      k = open(p.series);
      kept.set(p.series, k);
    }
    if (k === null) return;
    const ms = msFromNanos(p.time);
    if (isStale(p) || !(ms > 0)) {
      k.lastMs = Number.NaN;
      return;
    }
    if (Number.isNaN(firstMs)) firstMs = ms;
    const { lastMs, last, lastCount, lastGood } = k;
    const gap = ms - lastMs;
    if (gap <= 0 || ms < firstMs) return;
    k.lastMs = ms;
    const whole = !Number.isNaN(gap) && gap <= MOST_GAP_MS;
    if (whole && k.kind === 'level' && gaps.length < 5000) gaps.push(gap);
    if (isNumberPoint(p)) {
      const value = Number(p.value);
      k.last = value;
      if (!Number.isFinite(value)) return;
      if (k.kind === 'limit') limits.set(k.replica, value);
      else if (k.kind === 'rate') {
        const delta = p.series.metric.temporality === Temporality.DELTA;
        const more = delta ? value : value < last ? value : value - last;
        // A counter of long ago tells its sum and nothing of when; benchmarks that have sums only tell them so.
        const from = delta ? Math.max(msFromNanos(p.startTime), firstMs) : lastMs;
        if (Number.isNaN(gap) && !delta) return;
        spread(k, from, ms, (s, share, seconds) => add(s.rates, k.what as Rate, more * share, seconds));
      } else if (whole) {
        const limit = k.what === 'hw.power' ? limits.get(k.replica) : 1;
        if (k.kind === 'resource') {
          if (limit)
            spread(k, lastMs, ms, (s, _, sec) => add(s.resources, k.what as Resource, (value / limit) * sec, sec));
        } else spread(k, lastMs, ms, (s, _, sec) => add(s.levels, k.what as Level, value * sec, sec));
      } else if (!Number.isNaN(gap) && k.kind === 'level') {
        spread(k, lastMs, ms, (s, _, sec) => add(s.levels, k.what as Level, value * sec, sec));
      }
    } else if (isHistogramPoint(p) && k.kind === 'latency') {
      const latency = k.what as Latency;
      const limit = objectives[latency];
      let [sum, count] = [p.sum ?? Number.NaN, Number(p.count)];
      let good = 0;
      // The bucket in which the objective lies is good as a whole: exact where a bound is the objective.
      const known = limit !== undefined && p.bounds.length > 0;
      if (known) {
        const at = p.bounds.findIndex((b) => b >= limit * (1 - 1e-9));
        for (let i = 0; i <= (at < 0 ? p.bounds.length : at); i++) good += Number(p.bucketCounts[i] ?? 0);
      }
      if (p.series.metric.temporality !== Temporality.DELTA) {
        k.last = sum;
        k.lastCount = count;
        k.lastGood = good;
        if (Number.isNaN(gap)) return;
        if (count >= lastCount) [sum, count, good] = [sum - last, count - lastCount, good - lastGood];
      }
      if (!(count > 0) || !Number.isFinite(sum)) return;
      const from = Number.isNaN(gap) ? ms - 1 : lastMs;
      spread(k, Math.max(from, firstMs), ms, (s, share) => {
        const found = s.latencies.get(latency) ?? { sum: 0, count: 0, good: 0, judged: 0 };
        found.sum += sum * share;
        found.count += count * share;
        if (known) {
          found.good += good * share;
          found.judged += count * share;
        }
        s.latencies.set(latency, found);
      });
    }
  };

  return {
    add(batch) {
      if (batch.signal === 'metrics') for (const p of batch.items) point(p);
    },
    services() {
      gaps.sort((a, b) => a - b);
      const usual = gaps[gaps.length >> 1] ?? 1000;
      // Scrapes of different replicas come at different times: a window has some of each.
      const width = Math.max(3, Math.ceil((2 * usual) / 1000));
      const shared = services.get(NOBODY);
      return [...services]
        .filter(([name]) => name !== NOBODY)
        .map(([service, s]) => ({
          service,
          model: s.model,
          replicas: s.replicas.size,
          windows: windowsOf(s, shared, width, firstMs),
        }))
        .filter((s) => s.windows.length > 0);
    },
  };
}
