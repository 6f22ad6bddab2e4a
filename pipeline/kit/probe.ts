/**
 * What a probe says in one round: numbers on series that keep their identity from round to round, and the things it could
 * not read, named once. Shared by the host and GPU receivers.
 */
import type { Context } from '../component.ts';
import {
  type Attributes,
  type Metric,
  type MetricsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  nanosFromMs,
  type Point,
  type Resource,
  type Scope,
  type Series,
  type UnixNano,
} from '../model.ts';

export interface Round {
  /** Adds a number; not finite or undefined adds nothing: what is not known is absent, never zero. */
  add(resource: Resource, metric: Metric, value: number | undefined, attributes?: Attributes): void;
  /** The round's numbers. */
  finish(): MetricsBatch;
}

export interface Probe {
  /** Starts a round at a wall time in milliseconds; sums carry `startMs` (when the counting began). */
  round(timeMs: number, startMs: number): Round;
  /**
   * Something that could not be had: logged once with what to do, and visible as `enginelight_probe_gap{what}` until it
   * can be had again.
   */
  gap(what: string, because: string, enable: string): void;
  /** It can be had (again). */
  filled(what: string): void;
}

/** Series that were not seen for this many rounds of their probe are forgotten. */
const FORGET_AFTER = 120;

export function createProbe(context: Pick<Context, 'log' | 'meter'>, scope: Scope): Probe {
  const known = new Map<Resource, Map<Metric, Map<string, { series: Series; seen: number }>>>();
  const gaps = new Map<string, { open: boolean }>();
  let rounds = 0;

  /** Attributes that are frozen are the same object every time: no need to spell them out. */
  let byObject = new WeakMap<Attributes, Map<Resource, Map<Metric, { series: Series; seen: number }>>>();

  const seriesOf = (resource: Resource, metric: Metric, attributes: Attributes): Series => {
    if (!Object.isFrozen(attributes)) return entryFor(resource, metric, attributes).series;
    // Nearly always known; the closures of `entryOf` would be made for nothing.
    let entry = byObject.get(attributes)?.get(resource)?.get(metric);
    if (!entry) {
      entry = entryFor(resource, metric, attributes);
      const resources = byObject.get(attributes) ?? new Map<Resource, Map<Metric, { series: Series; seen: number }>>();
      byObject.set(attributes, resources);
      entryOf(resources, resource, () => new Map<Metric, { series: Series; seen: number }>()).set(metric, entry);
    }
    entry.seen = rounds;
    return entry.series;
  };

  const entryFor = (resource: Resource, metric: Metric, attributes: Attributes) => {
    const metrics = entryOf(known, resource, () => new Map<Metric, Map<string, { series: Series; seen: number }>>());
    const points = entryOf(metrics, metric, () => new Map<string, { series: Series; seen: number }>());
    const entry = entryOf(points, keyOf(attributes), () => ({
      series: { resource, scope, metric, attributes },
      seen: 0,
    }));
    entry.seen = rounds;
    return entry;
  };

  const forget = () => {
    for (const [resource, metrics] of known) {
      for (const [metric, points] of metrics) {
        for (const [key, entry] of points) {
          if (rounds - entry.seen <= FORGET_AFTER) continue;
          points.delete(key);
          byObject = new WeakMap();
        }
        if (points.size === 0) metrics.delete(metric);
      }
      if (metrics.size === 0) known.delete(resource);
    }
  };

  return {
    round(timeMs, startMs) {
      const time: UnixNano = nanosFromMs(timeMs);
      const startTime: UnixNano = nanosFromMs(startMs);
      const points: Point[] = [];
      rounds++;
      if (rounds % FORGET_AFTER === 0) forget();
      return {
        add(resource, metric, value, attributes = NO_ATTRIBUTES) {
          if (value === undefined || !Number.isFinite(value)) return;
          points.push({
            series: seriesOf(resource, metric, attributes),
            time,
            startTime: metric.type === 'sum' ? startTime : 0n,
            flags: 0,
            value,
          });
        },
        finish: () => metricsBatch(points),
      };
    },
    gap(what, because, enable) {
      let entry = gaps.get(what);
      if (!entry) {
        const opened = { open: true };
        entry = opened;
        gaps.set(what, opened);
        context.meter.gauge(
          'probe_gap',
          '1 while something the probe looks for cannot be read',
          () => (opened.open ? 1 : 0),
          '1',
          { what },
        );
        context.log.info('Not available on this machine.', { what, because, enable });
      }
      entry.open = true;
    },
    filled(what) {
      const entry = gaps.get(what);
      if (entry) entry.open = false;
    },
  };
}

/** The value of a key, made on first sight. */
export function entryOf<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

function keyOf(attributes: Attributes): string {
  let key = '';
  for (const name in attributes) key += `${name}=${String(attributes[name])};`;
  return key;
}
