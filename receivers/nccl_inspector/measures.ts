/** What the lines add up to: time per operation as a histogram, and the newest bus bandwidth, per rank and communicator. */
import {
  type Attributes,
  gauge,
  type Metric,
  NO_ATTRIBUTES,
  type Point,
  type Resource,
  type Scope,
  type Series,
  type UnixNano,
} from '../../pipeline/model.ts';
import type { InspectorLine } from './line.ts';

/** Seconds: from a small all-reduce within a node to a large one between many. */
const BOUNDS = Float64Array.from([
  1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1, 5,
]);
const DURATION: Metric = {
  name: 'inference.comm.duration',
  description: 'Time of collectives and sends',
  unit: 's',
  type: 'histogram',
  temporality: 2,
  monotonic: false,
  metadata: NO_ATTRIBUTES,
};
const BANDWIDTH = gauge('inference.comm.bus_bandwidth', 'By/s', 'Bus bandwidth of the newest one');
const MOST_SERIES = 20_000;

interface Kept {
  readonly duration: Series;
  readonly bandwidth: Series;
  readonly startTime: UnixNano;
  readonly counts: Float64Array;
  count: number;
  sum: number;
  busBandwidth: number | undefined;
}

export interface Measures {
  add(resource: Resource, line: InspectorLine, now: UnixNano): void;
  /** What changed since the last `sent`. */
  points(time: UnixNano): Point[];
  sent(): void;
}

export function createMeasures(scope: Scope): Measures {
  const byResource = new Map<Resource, Map<string, Kept>>();
  let changed = new Set<Kept>();
  let series = 0;

  const keep = (resource: Resource, line: InspectorLine, now: UnixNano): Kept => {
    let ops = byResource.get(resource);
    if (!ops) {
      ops = new Map();
      byResource.set(resource, ops);
    }
    const key = `${line.op} ${line.comm}`;
    let kept = ops.get(key);
    if (!kept) {
      if (series >= MOST_SERIES) {
        // Processes come and go: the one that began first has to make room.
        const [oldest, its] = byResource.entries().next().value!;
        if (oldest !== resource) byResource.delete(oldest);
        else its.clear();
        series = [...byResource.values()].reduce((n, some) => n + some.size, 0);
      }
      series++;
      const attributes: Attributes = { collective: line.op, 'comm.id': line.comm };
      kept = {
        duration: { resource, scope, metric: DURATION, attributes },
        bandwidth: { resource, scope, metric: BANDWIDTH, attributes },
        startTime: now,
        counts: new Float64Array(BOUNDS.length + 1),
        count: 0,
        sum: 0,
        busBandwidth: undefined,
      };
      ops.set(key, kept);
    }
    return kept;
  };

  return {
    add(resource, line, now) {
      const kept = keep(resource, line, now);
      const seconds = (line.endUs - line.startUs) / 1e6;
      let bucket = 0;
      while (bucket < BOUNDS.length && seconds > BOUNDS[bucket]!) bucket++;
      kept.counts[bucket]!++;
      kept.count++;
      kept.sum += seconds;
      if (line.busBandwidth !== undefined) kept.busBandwidth = line.busBandwidth;
      changed.add(kept);
    },
    points(time) {
      const points: Point[] = [];
      for (const kept of changed) {
        points.push({
          series: kept.duration,
          time,
          startTime: kept.startTime,
          flags: 0,
          count: kept.count,
          sum: kept.sum,
          bounds: BOUNDS,
          bucketCounts: Float64Array.from(kept.counts),
        });
        if (kept.busBandwidth !== undefined) {
          points.push({ series: kept.bandwidth, time, startTime: 0n, flags: 0, value: kept.busBandwidth });
        }
      }
      return points;
    },
    sent() {
      changed = new Set();
    },
  };
}
