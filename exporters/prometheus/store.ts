/**
 * What the page shows: the last point of every series that was heard of lately. Two sources of one series, and two types
 * under one name, cost the later one, never the page.
 */
import type { DropReason } from '../../pipeline/component.ts';
import { canonicalText, scopeText } from '../../pipeline/kit/series-key.ts';
import {
  isStale,
  type NumberPoint,
  type Point,
  type Resource,
  type Scope,
  type Series,
  Temporality,
} from '../../pipeline/model.ts';
import { accumulated } from '../../pipeline/wire/prometheus-text-accumulate.ts';
import { escapeName, isScraped, metricName, unitOf } from '../../pipeline/wire/prometheus-text-names.ts';
import {
  type Label,
  type LabelOptions,
  labeller,
  type PrometheusType,
  prometheusType,
} from '../../pipeline/wire/prometheus-text-series.ts';
import {
  type ExpositionFormat,
  newCache,
  pageEnd,
  type SeriesCache,
  writeFamily,
} from '../../pipeline/wire/prometheus-text-write.ts';

export interface StoreOptions extends LabelOptions {
  readonly namespace: string;
  readonly expirationMs: number;
  readonly timestamps: boolean;
  readonly maxSeries: number;
  /** Told about every point that is not shown; `what` names it. */
  readonly dropped: (reason: DropReason, what: string) => void;
}

export interface Store {
  /** Takes a point at `nowMs` of a monotonic clock. */
  put(point: Point, nowMs: number): void;
  /** The page, as pieces of text. */
  page(format: ExpositionFormat, nowMs: number): string[];
  /** Forgets what was not heard of for `expirationMs`. */
  expire(nowMs: number): void;
  series(): number;
  families(): number;
}

interface Entry {
  readonly family: Family;
  readonly key: string;
  readonly labels: readonly Label[];
  readonly cache: SeriesCache;
  point: Point;
  /** Of the point, nanoseconds rounded. */
  time: number;
  updated: number;
  owner: Owner;
  /** Counts owners, so that links to a former one are known to be old. */
  epoch: number;
  gone: boolean;
}

/** From a series to what it shows as. A source repeats its series in the same order: `next` is who came next last time. */
interface Link {
  readonly series: Series;
  readonly entry: Entry;
  readonly epoch: number;
  next: Link | undefined;
}

interface Family {
  readonly name: string;
  readonly type: PrometheusType;
  readonly help: string;
  readonly unit: string;
  readonly sampleNames: readonly string[];
  readonly series: Map<string, Entry>;
}

/** Who sends a series: everything about it, also what the labels do not show. */
interface Owner {
  readonly resource: string;
  readonly scope: string;
  readonly attributes: string;
}
const sameOwner = (a: Owner, b: Owner) =>
  a.resource === b.resource && a.scope === b.scope && a.attributes === b.attributes;

/** A source that was silent for this long has lost its series to the other that sends it. */
const TAKEOVER_MS = 60_000;

export function store(options: StoreOptions): Store {
  const { dropped, expirationMs } = options;
  const labels = labeller(options);
  const families = new Map<string, Family>();
  const bySample = new Map<string, Family>();
  const links = new WeakMap<Series, Link>();
  let lastLink: Link | undefined;
  const resourceText = new WeakMap<Resource, string>();
  const scopeTexts = new WeakMap<Scope, string>();
  const infos = new WeakMap<Resource, { labels: Label[]; key: string } | 'none'>();
  let sorted: Family[] | undefined;
  let size = 0;
  let lastResource: Resource | undefined;
  let lastTime = 0n;
  let lastTimeNumber = 0;
  const takeoverMs = Math.min(TAKEOVER_MS, expirationMs);

  const cached = <K extends object>(cache: WeakMap<K, string>, key: K, make: () => string) => {
    let text = cache.get(key);
    if (text === undefined) {
      text = make();
      cache.set(key, text);
    }
    return text;
  };

  const ownerOf = (series: Series, lossless: boolean): Owner => ({
    resource: cached(resourceText, series.resource, () => canonicalText(series.resource.attributes)),
    scope: cached(scopeTexts, series.scope, () => scopeText(series.scope)),
    attributes: lossless ? '' : canonicalText(series.attributes),
  });

  const remove = (entry: Entry) => {
    if (entry.gone) return;
    entry.gone = true;
    size--;
    const { family } = entry;
    family.series.delete(entry.key);
    if (family.series.size > 0) return;
    families.delete(family.name);
    for (const name of family.sampleNames) bySample.delete(name);
    sorted = undefined;
  };

  const familyOf = (name: string, type: PrometheusType, help: string, unit: string): Family | undefined => {
    const found = families.get(name);
    if (found) return found.type === type ? found : undefined;
    const sampleNames =
      type === 'histogram'
        ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]
        : type === 'summary'
          ? [name, `${name}_sum`, `${name}_count`]
          : [name];
    if (sampleNames.some((n) => bySample.has(n))) return undefined;
    const family: Family = { name, type, help, unit, sampleNames, series: new Map() };
    families.set(name, family);
    for (const n of sampleNames) bySample.set(n, family);
    sorted = undefined;
    return family;
  };

  const insert = (family: Family, key: string, labels: readonly Label[], point: Point, now: number, owner: Owner) => {
    const entry: Entry = {
      family,
      key,
      labels,
      cache: newCache(),
      point,
      time: Number(point.time),
      updated: now,
      owner,
      epoch: 0,
      gone: false,
    };
    family.series.set(key, entry);
    size++;
    return entry;
  };

  const target = (resource: Resource, point: Point, now: number) => {
    let info = infos.get(resource);
    if (!info) {
      const made = labels.targetInfo(resource);
      info = made ? { labels: made, key: labelText(made.filter(([n]) => n === 'job' || n === 'instance')) } : 'none';
      infos.set(resource, info);
    }
    if (info === 'none') return;
    const family = familyOf('target_info', 'info', 'Target metadata', '');
    const owner = { resource: '', scope: '', attributes: labelText(info.labels) };
    const entry = family?.series.get(info.key);
    if (entry && (sameOwner(entry.owner, owner) || now - entry.updated <= takeoverMs)) {
      // Several resources may share job and instance (the ranks of a replica); the first one describes them.
      entry.updated = now;
      entry.point = { ...entry.point, time: point.time };
      return;
    }
    if (entry) remove(entry);
    const shown: NumberPoint = { series: point.series, time: point.time, startTime: 0n, flags: 0, value: 1 };
    const again = familyOf('target_info', 'info', 'Target metadata', '');
    if (again) insert(again, info.key, info.labels, shown, now, owner);
  };

  const update = (entry: Entry, point: Point, now: number) => {
    if (isStale(point)) return remove(entry);
    entry.updated = now;
    if (point.series.metric.temporality === Temporality.DELTA) {
      if (point.time <= entry.point.time) return dropped('stale', `${entry.family.name}: a delta that is not newer`);
      entry.point = accumulated(entry.point, point);
      entry.time = Number(point.time);
      return;
    }
    // Points of one batch share their time; comparing big integers for each costs more than all the rest.
    if (point.time !== lastTime) {
      lastTime = point.time;
      lastTimeNumber = Number(lastTime);
    }
    if (lastTimeNumber >= entry.time) {
      entry.point = point;
      entry.time = lastTimeNumber;
    } else dropped('stale', `${entry.family.name}: a point that is older than the one shown`);
  };

  const admit = (point: Point, now: number) => {
    const { series } = point;
    const { metric } = series;
    const type = prometheusType(metric);
    const name = metricName(metric, options.strategy, options.namespace);
    if (name === '') return dropped('unsupported', 'a metric without a name');
    const reserved = type === 'histogram' ? ['le'] : type === 'summary' ? ['quantile'] : [];
    const { labels: own, lossless } = labels.series(series, reserved);
    const key = labelText(own);
    const owner = ownerOf(series, lossless && metric.name === name);
    const found = families.get(name)?.series.get(key);
    if (isStale(point)) {
      if (found && sameOwner(found.owner, owner)) remove(found);
      return;
    }
    if (found && found.family.type === type) {
      if (!sameOwner(found.owner, owner)) {
        if (now - found.updated <= takeoverMs) return dropped('duplicate', `${name}{${key}}`);
        found.owner = owner;
        found.epoch++;
        found.point = point;
        found.time = Number(point.time);
      }
      links.set(series, { series, entry: found, epoch: found.epoch, next: undefined });
      found.updated = now;
      if (found.point !== point) update(found, point, now);
      return;
    }
    if (size >= options.maxSeries) return dropped('limit', `${name}{${key}}`);
    const unit = isScraped(metric) ? metric.unit : unitOf(metric, name);
    const family = familyOf(name, type, metric.description, unit);
    if (!family) return dropped('unsupported', `${name} as a ${type}, which is something else already`);
    links.set(series, { series, entry: insert(family, key, own, point, now, owner), epoch: 0, next: undefined });
  };

  const expire = (now: number) => {
    for (const family of families.values()) {
      for (const entry of family.series.values()) if (now - entry.updated > expirationMs) remove(entry);
    }
    lastResource = undefined;
  };

  return {
    put(point, now) {
      const { series } = point;
      let link = lastLink?.next;
      if (link?.series !== series) {
        link = links.get(series);
        if (lastLink) lastLink.next = link;
      }
      lastLink = link;
      if (link && !link.entry.gone && link.epoch === link.entry.epoch) update(link.entry, point, now);
      else admit(point, now);
      if (series.resource !== lastResource && !isStale(point)) {
        lastResource = series.resource;
        target(series.resource, point, now);
      }
    },
    expire,
    page(format, now) {
      expire(now);
      sorted ??= [...families.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      const escapes = format.escaping === 'underscores' || format.escaping === 'dots';
      const seen = escapes ? new Set<string>() : undefined;
      const write = { format, timestamps: options.timestamps, taken: (name: string) => bySample.has(name) };
      const pieces: string[] = [];
      for (const family of sorted) {
        const shown = seen ? escapeName(family.name, format.escaping) : '';
        if (seen?.has(shown) || (shown !== family.name && seen && families.has(shown))) {
          dropped('duplicate', `${family.name}, which reads ${shown} in ${format.escaping}`);
          continue;
        }
        seen?.add(shown);
        pieces.push(writeFamily({ ...family, series: family.series.values() }, write));
      }
      pieces.push(pageEnd(format));
      return pieces;
    },
    series: () => size,
    families: () => families.size,
  };
}

const labelText = (labels: readonly Label[]): string => {
  let text = '';
  for (const [name, value] of labels) text += `${text && ','}${name}=${JSON.stringify(value)}`;
  return text;
};
