/**
 * Gives a sender's resources, scopes, metrics and series the same objects again, request after request, so that what was
 * worked out for them once (encoded bytes, normalised names, windows) is found again. They are recognised by their bytes.
 * Bounded: when it is full it forgets everything and begins anew.
 */
import {
  type Attributes,
  type Metric,
  type MetricType,
  NO_ATTRIBUTES,
  type Resource,
  type Scope,
  type Series,
} from '../../model.ts';
import { Reader } from '../protobuf/reader.ts';
import { bytesOf, type Envelope, readAttributes } from './decode-common.ts';
import { ATTRIBUTE_TAGS, encodeAside, writeAttributes } from './encode-common.ts';

export interface InternedResource {
  readonly resource: Resource;
  readonly scopes: Map<string, InternedScope[]>;
  usedIn: number;
}

export interface InternedScope {
  readonly scope: Scope;
  readonly metrics: Map<string, InternedMetric[]>;
  usedIn: number;
}

export interface InternedMetric {
  readonly metric: Metric;
  readonly resource: Resource;
  readonly scope: Scope;
  /** Tag of the attributes in this metric's points. */
  readonly tag: number;
  /** In the order in which the last request brought them: the next one will probably be the same. */
  readonly order: InternedSeries[];
  readonly table: Map<number, InternedSeries[]>;
  /** Points of this request so far. */
  position: number;
  bounds: Float64Array;
  usedIn: number;
}

interface InternedSeries {
  readonly series: Series;
  /** Where its bytes are in the arena, in words, and how many bytes they are. */
  readonly words: number;
  readonly bytes: number;
}

export interface InternerLimits {
  /** Objects that are remembered; default 200,000. */
  readonly maxEntries?: number;
  /** Bytes of attributes that are remembered; default 32 MiB. */
  readonly maxBytes?: number;
}

/** Envelopes of one request that look the same stay apart, up to this many; further ones are not remembered. */
const MAX_TWINS = 8;
/** Series with one hash value; more would be somebody's attack. */
const MAX_CHAIN = 8;

/** Points of one metric whose order is remembered. */
const MAX_ORDER = 65_536;

export interface Interner {
  /** Call before each request. */
  begin(): void;
  /** `key` says all that `make` depends on; it is only asked for when it is needed. */
  resource(key: () => string, make: () => Resource): InternedResource;
  scope(owner: InternedResource, key: () => string, make: () => Scope): InternedScope;
  metric(
    owner: InternedResource,
    scope: InternedScope,
    key: string,
    type: MetricType,
    make: () => Metric,
  ): InternedMetric;
  /** The series whose attributes are the bytes `start`..`end` of the reader. */
  series(metric: InternedMetric, r: Reader, start: number, end: number): Series;
  /** The series with these attributes. */
  seriesOf(metric: InternedMetric, attributes: Attributes): Series;
  /** These bounds as an array; the one of the point before if they are the same. */
  bounds(metric: InternedMetric, bounds: readonly number[]): Float64Array;
  /** Objects that are remembered now. */
  size(): number;
}

/** `remember: false` makes new objects for everything: for a single request. */
export function createInterner(limits: InternerLimits = {}, remember = true): Interner {
  const { maxEntries = 200_000, maxBytes = 32 * 2 ** 20 } = limits;
  const resources = new Map<string, InternedResource[]>();
  let request = 0;
  let entries = 0;
  let keyBytes = 0;
  let arena = new Int32Array(remember ? 4096 : 0);
  let arenaUsed = 0;

  /** An unused twin from the list, or a new one. */
  const pick = <T extends { usedIn: number }>(map: Map<string, T[]>, keyOf: () => string, make: () => T): T => {
    if (!remember) return make();
    const key = keyOf();
    let list = map.get(key);
    if (list) {
      for (const entry of list) {
        if (entry.usedIn === request) continue;
        entry.usedIn = request;
        return entry;
      }
    }
    const entry = make();
    if (!list) {
      list = [];
      map.set(key, list);
      keyBytes += key.length;
    }
    if (list.length < MAX_TWINS) {
      list.push(entry);
      // With its maps it weighs about as much as four series.
      entries += 4;
    }
    return entry;
  };

  const store = (r: Reader, start: number, end: number): number => {
    const words = (end - start + 3) >> 2;
    if (arenaUsed + words > arena.length) {
      const bigger = new Int32Array(Math.max(arena.length * 2, arenaUsed + words));
      bigger.set(arena);
      arena = bigger;
    }
    const at = arenaUsed;
    let i = start;
    let to = at;
    for (; i + 4 <= end; i += 4) arena[to++] = r.view.getInt32(i, true);
    if (i < end) arena[to] = lastWord(r, i, end);
    arenaUsed += words;
    return at;
  };

  const matches = (entry: InternedSeries, r: Reader, start: number, end: number): boolean => {
    if (entry.bytes !== end - start) return false;
    const { view } = r;
    let word = entry.words;
    let i = start;
    for (; i + 4 <= end; i += 4) if (arena[word++] !== view.getInt32(i, true)) return false;
    return i === end || arena[word] === lastWord(r, i, end);
  };

  const makeSeries = (m: InternedMetric, attributes: Attributes): Series => ({
    resource: m.resource,
    scope: m.scope,
    metric: m.metric,
    attributes,
  });

  const decodeSeries = (m: InternedMetric, r: Reader, start: number, end: number): Series => {
    const { at } = r;
    r.at = start;
    const attributes = start === end ? NO_ATTRIBUTES : readAttributes(r, end, m.tag);
    r.at = at;
    return makeSeries(m, attributes);
  };

  const find = (m: InternedMetric, r: Reader, start: number, end: number): Series => {
    if (!remember) return decodeSeries(m, r, start, end);
    const position = m.position++;
    const expected = m.order[position];
    if (expected !== undefined && matches(expected, r, start, end)) return expected.series;
    const hash = hashOf(r, start, end);
    let chain = m.table.get(hash);
    let found = chain?.find((entry) => matches(entry, r, start, end));
    if (found === undefined) {
      const series = decodeSeries(m, r, start, end);
      // What does not fit any more is decoded every time until `begin` makes room.
      if (entries > maxEntries || arenaUsed * 4 + keyBytes > maxBytes || (chain?.length ?? 0) >= MAX_CHAIN) {
        return series;
      }
      found = { series, words: store(r, start, end), bytes: end - start };
      entries++;
      if (chain === undefined) {
        chain = [];
        m.table.set(hash, chain);
      }
      chain.push(found);
    }
    if (position <= m.order.length && position < MAX_ORDER) m.order[position] = found;
    return found.series;
  };

  return {
    begin() {
      request++;
      if (entries <= maxEntries && arenaUsed * 4 + keyBytes <= maxBytes) return;
      resources.clear();
      entries = 0;
      keyBytes = 0;
      arena = new Int32Array(4096);
      arenaUsed = 0;
    },
    resource: (key, make) => pick(resources, key, () => ({ resource: make(), scopes: new Map(), usedIn: request })),
    scope: (owner, key, make) =>
      pick(owner.scopes, key, () => ({ scope: make(), metrics: new Map(), usedIn: request })),
    metric(owner, { scope, metrics }, key, type, make) {
      const makeEntry = () => ({
        metric: make(),
        resource: owner.resource,
        scope,
        tag: ATTRIBUTE_TAGS[type],
        order: [],
        table: new Map(),
        position: 0,
        bounds: NO_BOUNDS,
        usedIn: request,
      });
      const entry = pick(metrics, () => key, makeEntry);
      entry.position = 0;
      return entry;
    },
    series: find,
    seriesOf(m, attributes) {
      if (!remember) return makeSeries(m, attributes);
      const bytes = encodeAside((w) => writeAttributes(w, attributes, m.tag));
      return find(m, new Reader(bytes), 0, bytes.length);
    },
    bounds(m, bounds) {
      const { length } = bounds;
      const known = m.bounds;
      if (known.length === length) {
        let i = 0;
        while (i < length && known[i] === bounds[i]) i++;
        if (i === length) return known;
      }
      m.bounds = Float64Array.from(bounds);
      return m.bounds;
    },
    size: () => entries,
  };
}

/** All bytes that make a resource or scope, with its schema URL, unambiguously. */
export const envelopeKey = (schemaUrl: string, message: Uint8Array): string =>
  `${schemaUrl.length}|${schemaUrl}${latin1(message)}`;

/** Likewise of an envelope in protobuf; worked out when it is asked for. */
export const keyOf =
  ({ head, schemaUrl }: Envelope) =>
  (): string =>
    envelopeKey(schemaUrl, head ? bytesOf(head) : NO_BYTES);

const NO_BYTES = Buffer.alloc(0);

/** All that makes a metric, unambiguously; its metadata as the bytes of KeyValue messages. */
export function metricKey(metric: Omit<Metric, 'metadata'>, metadata: readonly Uint8Array[]): string {
  const { name, description, unit, type, temporality, monotonic } = metric;
  // The lengths in front make sure that no two descriptions can give one key.
  const lengths = [name.length, unit.length, description.length, ...metadata.map((part) => part.length)].join();
  return `${lengths}|${type}${temporality}${monotonic}|${name}${unit}${description}${metadata.map(latin1).join('')}`;
}

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

const NO_BOUNDS = new Float64Array(0);

function lastWord(r: Reader, from: number, end: number): number {
  let word = 0;
  for (let i = end - 1; i >= from; i--) word = (word << 8) | r.buffer[i]!;
  return word;
}

function hashOf(r: Reader, start: number, end: number): number {
  let hash = end - start;
  let i = start;
  for (; i + 4 <= end; i += 4) {
    hash = Math.imul(hash ^ r.view.getInt32(i, true), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  for (; i < end; i++) hash = Math.imul(hash ^ r.buffer[i]!, 0x9e3779b1);
  return hash ^ (hash >>> 13);
}
