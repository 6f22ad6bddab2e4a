/** Items with another resource or other attributes, remembered so that what is shared stays shared. */
import type { Batch, LogRecord, Point, Resource, Series, Span } from '../model.ts';
import { logsBatch, metricsBatch, tracesBatch } from '../model.ts';
import { reopenWithResources } from '../wire/otlp/index.ts';

/**
 * Returns the batch with every resource changed; the same batch if nothing changes. `change` is asked once a resource. Items
 * of a request that nobody has looked into are not decoded for it.
 */
export function resourceChanger(change: (resource: Resource) => Resource): (batch: Batch) => Batch {
  const resources = new WeakMap<Resource, Resource>();
  const changed = (resource: Resource): Resource => {
    let made = resources.get(resource);
    if (made === undefined) {
      made = change(resource);
      resources.set(resource, made);
    }
    return made;
  };
  const series = seriesChanger((s) => {
    const resource = changed(s.resource);
    return resource === s.resource ? s : { ...s, resource };
  });
  const one = <T extends Span | LogRecord>(item: T): T => {
    const resource = changed(item.resource);
    return resource === item.resource ? item : { ...item, resource };
  };
  return (batch) => {
    const reopened = reopenWithResources(batch, changed);
    if (reopened !== undefined) return reopened;
    if (batch.signal === 'metrics') return series(batch);
    if (batch.signal === 'traces') return mapped(batch, batch.items, one, tracesBatch);
    return mapped(batch, batch.items, one, logsBatch);
  };
}

/** Returns the batch of points with every series changed; the same batch if nothing changes. */
export function seriesChanger(change: (series: Series) => Series): (batch: Batch & { signal: 'metrics' }) => Batch {
  const known = new WeakMap<Series, Series>();
  const one = (p: Point): Point => {
    let made = known.get(p.series);
    if (made === undefined) {
      made = change(p.series);
      known.set(p.series, made);
    }
    return made === p.series ? p : { ...p, series: made };
  };
  return (batch) => mapped(batch, batch.items, one, metricsBatch);
}

/** A batch of changed items; the same batch if none was. */
export function mapped<T>(
  batch: Batch,
  items: readonly T[],
  change: (item: T) => T,
  make: (items: readonly T[]) => Batch,
): Batch {
  let out: T[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    const made = change(item);
    if (made !== item && out === undefined) out = items.slice(0, i);
    out?.push(made);
  }
  return out === undefined ? batch : make(out);
}
