/**
 * Which series feed which terms of which rules. A series is resolved once; after that a point costs a lookup by identity and
 * a write. Series that no rule wants cost the lookup.
 */
import { COMMON_WORDS, type Rule, type Term, termsOf, WORDS } from '../../pipeline/kit/rules/rule.ts';
import {
  type AnyValue,
  Double,
  isStale,
  msFromNanos,
  type Point,
  type Resource,
  type Series,
} from '../../pipeline/model.ts';
import { type Channel, newChannel, type Wanted, wantedOf } from './channel.ts';

/** The series of one entity that a term is about. */
export interface Group {
  readonly key: string;
  /** The words that tell the entity from others. */
  readonly values: Readonly<Record<string, string>>;
  readonly channels: Set<Channel>;
  /** What the term came to in the round of that time. */
  memoAt: number;
  memo: number | undefined;
}

export interface TermIndex {
  readonly term: Term;
  readonly by: readonly string[];
  readonly groups: Map<string, Group>;
}

export interface StoreLimits {
  readonly series: number;
}

export interface Store {
  readonly series: number;
  readonly refused: number;
  index(term: Term): TermIndex;
  ingest(points: readonly Point[], now: number): void;
  /** Forgets series without a sample since `before`. */
  expire(before: number): void;
}

const MAX_LABEL = 200;
/** OpenTelemetry's word for nothing. */
const UNKNOWN_SERVICE = /^unknown_service(:|$)/;
const SKEW_MS = 120_000;
// Values become labels of alerts: no control characters, and no longer than people read.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

function text(value: AnyValue | undefined): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'object' && !(value instanceof Double)) return undefined;
  const raw = value instanceof Double ? String(value.value) : String(value);
  const clean = raw.length > MAX_LABEL ? `${raw.slice(0, MAX_LABEL)}…` : raw;
  return clean.replace(CONTROL, ' ');
}

/** The value of a word for a series; an attribute of the series comes before one of its resource. */
function wordOf(series: Series, word: string): string | undefined {
  for (const name of Object.hasOwn(WORDS, word) ? WORDS[word]! : [word]) {
    const found = text(series.attributes[name]) ?? text(series.resource.attributes[name]);
    if (found !== undefined && found !== '' && !(word === 'service' && UNKNOWN_SERVICE.test(found))) return found;
  }
  // A finding is about an entity, which its resource need not name.
  return series.attributes['entity_kind'] === word ? text(series.attributes['entity']) : undefined;
}

export const groupKey = (by: readonly string[], values: Readonly<Record<string, string>>): string =>
  by.map((word) => values[word] ?? '').join('\u0000');

const IDENTITY = ['service.name', 'service.instance.id', 'server.address', 'server.port', 'url.full', 'inference.pool'];

export function createStore(rules: readonly Rule[], limits: StoreLimits): Store {
  const bySignal = new Map<string, TermIndex[]>();
  const indexes = new Map<Term, TermIndex>();
  const wanted = new Map<string, Wanted>();
  const slots = new WeakMap<Series, Channel | null>();
  const channels = new Map<string, { channel: Channel; groups: readonly { index: TermIndex; group: Group }[] }>();
  const resourceKeys = new WeakMap<Resource, string>();
  const sources = new Map<string, { first: number; last: number; previous: number }>();
  let refused = 0;

  for (const rule of rules) {
    for (const term of termsOf(rule.when)) {
      const index: TermIndex = { term, by: term.by ?? rule.by, groups: new Map() };
      indexes.set(term, index);
      const list = bySignal.get(term.signal) ?? [];
      list.push(index);
      bySignal.set(term.signal, list);
    }
  }
  for (const [signal, list] of bySignal) wanted.set(signal, wantedOf(list.map((i) => i.term)));

  function matches(series: Series, term: Term): boolean {
    return term.where.every(({ attribute, values, negated, view }) => {
      const value = view ? text(series.attributes[attribute]) : wordOf(series, attribute);
      const fits = values === '*' ? value !== undefined : value !== undefined && values.includes(value);
      return fits !== negated;
    });
  }

  function resourceKey(resource: Resource): string {
    let key = resourceKeys.get(resource);
    if (key === undefined) {
      const names = new Set([...IDENTITY, ...COMMON_WORDS.flatMap((word) => WORDS[word]!)]);
      key = [...names].map((name) => text(resource.attributes[name]) ?? '').join('\u0000');
      resourceKeys.set(resource, key);
    }
    return key;
  }

  function resolve(series: Series): Channel | null {
    const list = bySignal.get(series.metric.name);
    const fitting = list?.filter((index) => matches(series, index.term)) ?? [];
    if (fitting.length === 0) return null;
    const attributes = Object.keys(series.attributes)
      .sort()
      .map((name) => `${name}=${text(series.attributes[name]) ?? ''}`)
      .join('\u0000');
    const { metric } = series;
    const key = [metric.name, metric.type, series.scope.name, resourceKey(series.resource), attributes].join('\u0001');
    const known = channels.get(key);
    if (known) return known.channel;
    if (channels.size >= limits.series) {
      refused++;
      return null;
    }
    const labels: Record<string, string> = Object.create(null);
    for (const word of new Set([...COMMON_WORDS, ...fitting.flatMap((index) => index.by)])) {
      const value = wordOf(series, word);
      if (value !== undefined) labels[word] = value;
    }
    const channel = newChannel(key, series, labels, wanted.get(metric.name)!);
    const groups = fitting.flatMap((index) => {
      // A series that has none of the words is not about such an entity at all.
      if (index.by.length > 0 && !index.by.some((word) => labels[word] !== undefined)) return [];
      const at = groupKey(index.by, labels);
      let group = index.groups.get(at);
      if (!group) {
        const values: Record<string, string> = Object.create(null);
        for (const word of index.by) if (labels[word] !== undefined) values[word] = labels[word];
        group = { key: at, values, channels: new Set(), memoAt: Number.NaN, memo: undefined };
        index.groups.set(at, group);
      }
      group.channels.add(channel);
      return [{ index, group }];
    });
    if (groups.length === 0) return null;
    channels.set(key, { channel, groups });
    return channel;
  }

  /** When this source was heard before `t`; undefined if this is the first time. */
  function heard(series: Series, t: number): { before: number; first: number } | undefined {
    const key = `${series.scope.name}\u0001${resourceKey(series.resource)}`;
    let source = sources.get(key);
    if (!source) {
      if (sources.size > limits.series) sources.clear();
      source = { first: t, last: t, previous: t };
      sources.set(key, source);
    } else if (t > source.last) {
      source.previous = source.last;
      source.last = t;
    }
    return source.previous < t ? { before: source.previous, first: source.first } : undefined;
  }

  let lastResource: Resource | undefined;
  let lastNanos = -1n;
  let lastMs = 0;
  let source: { before: number; first: number } | undefined;

  const zeroAt = (point: Point): number | undefined =>
    source && (point.startTime === 0n || msFromNanos(point.startTime) >= source.first) ? source.before : undefined;

  return {
    get series() {
      return channels.size;
    },
    get refused() {
      return refused;
    },
    index: (term) => indexes.get(term)!,
    ingest(points, now) {
      for (const point of points) {
        const { series } = point;
        if (point.time !== lastNanos || series.resource !== lastResource) {
          lastNanos = point.time;
          lastResource = series.resource;
          const ms = point.time === 0n ? now : msFromNanos(point.time);
          lastMs = Math.abs(ms - now) > SKEW_MS ? now : ms;
          source = heard(series, lastMs);
        }
        let channel = slots.get(series);
        let fresh = false;
        if (channel === undefined || channel?.gone) {
          const size = channels.size;
          channel = resolve(series);
          fresh = channels.size > size;
          slots.set(series, channel);
        }
        if (channel === null) continue;
        if (isStale(point)) channel.endedMs = Math.max(now, channel.lastMs);
        // A counter that appears at a source that was there before has counted from nothing.
        else channel.add(point, lastMs, fresh ? zeroAt(point) : undefined);
      }
    },
    expire(limit) {
      for (const [key, { channel, groups }] of channels) {
        if (channel.lastMs >= limit) continue;
        channels.delete(key);
        channel.gone = true;
        for (const { index, group } of groups) {
          group.channels.delete(channel);
          if (group.channels.size === 0) index.groups.delete(group.key);
        }
      }
      for (const [key, source] of sources) if (source.last < limit) sources.delete(key);
    },
  };
}
