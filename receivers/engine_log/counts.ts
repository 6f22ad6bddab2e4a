/** How often each event was said since the receiver started: what rules can count, zero from the beginning. */
import {
  type MetricsBatch,
  metricsBatch,
  nanosFromMs,
  type Resource,
  type Scope,
  type Series,
  sum,
} from '../../pipeline/model.ts';

const METRIC = sum('inference.engine.log.events', '{event}', 'Lines of the log that matter, by event.');

export interface Counts {
  add(event: string): void;
  /** Every event with its number, at this wall time (milliseconds). */
  batch(nowMs: number): MetricsBatch;
}

/** Counts the events of one log's owner; only `events` are counted. */
export function createCounts(scope: Scope, resource: Resource, events: ReadonlySet<string>, startMs: number): Counts {
  const startTime = nanosFromMs(startMs);
  const counts = new Map<string, { readonly series: Series; n: number }>();
  for (const event of events)
    counts.set(event, { series: { resource, scope, metric: METRIC, attributes: { event } }, n: 0 });
  return {
    add(event) {
      const count = counts.get(event);
      if (count) count.n++;
    },
    batch(nowMs) {
      const time = nanosFromMs(nowMs);
      return metricsBatch(
        [...counts.values()].map(({ series, n }) => ({ series, time, startTime, flags: 0, value: n })),
      );
    },
  };
}
