/**
 * Everything that one target's metrics (one resource) have in common: what the page is, which names it shows, which of
 * several series with the same meaning counts, and the neutral series that come out.
 *
 * A series is planned once, when it is first met. What a plan depends on beyond its own series (another name that makes it
 * superfluous, whether there are several ranks) only grows; when it does, the page's generation goes up and its series are
 * planned anew. Neutral series keep their identity through that; one that nobody gives any more ends with a stale point.
 */
import { type Catalog, type CatalogSource, lookUp } from '../../config/catalog.ts';
import { operandsIn } from '../../config/catalog-index.ts';
import { type Mapping, normalName, type Operand, RANKS } from '../../config/mapping.ts';
import { type Recognition, recogniseNames, servesInference } from '../../config/recognise.ts';
import { type AnyValue, type Attributes, type Resource, type Series, Temporality } from '../../pipeline/model.ts';
import { type Bucket, type Claim, claimOf, contend, keyOf, metricOf, type Output, SCOPE, withdraw } from './claims.ts';
import { type Cell, type Making, makeConvert, shapeOf } from './convert.ts';
import { appliesTo, labelText, splitLabels } from './labels.ts';

export interface Plan {
  readonly page: Page;
  readonly generation: number;
  readonly outputs: readonly Output[];
  /** Metrics that others are worked out with leave their value here. */
  readonly feeds: readonly Cell[];
  readonly cells: readonly string[];
  /** It belongs to a source that the catalogue knows. */
  readonly known: boolean;
  readonly mapped: boolean;
  /** It was made by a `normalize` before this one: an agent's, or the one whose output was recorded. */
  readonly neutral: boolean;
}

export interface Page {
  readonly generation: number;
  readonly recognition: Recognition;
  readonly buckets: ReadonlyMap<string, Bucket>;
  /** Takes note of series that are met for the first time; true if others have to be planned anew for that. */
  learn(series: readonly Series[]): boolean;
  plan(series: Series): Plan;
  /** Gives up what a plan claimed; returns the neutral series that nobody gives now. */
  release(plan: Plan): readonly Claim[];
  /** Takes a neutral series that nobody gives off the page; false if somebody gives it after all, or it is off already. */
  end(claim: Claim): boolean;
}

/** One empty list for the many series that have nothing to list. */
const NONE: readonly never[] = [];

/** Names, values of a rank label, and values other metrics are worked out with, that are remembered per target. */
const MAX_NAMES = 5_000;
const MAX_VALUES = 4_096;
const MAX_CELLS = 100_000;

/** What a neutral resource says before the labels of a series are added. */
interface Base {
  readonly attributes: Attributes;
  readonly key: string;
}

interface Found {
  readonly source: CatalogSource;
  readonly own: string;
  readonly hits: readonly { readonly mapping: Mapping; readonly index: number }[];
}

export function createPage(catalog: Catalog, input: Resource): Page {
  const names = new Set<string>();
  /** Names of the catalogue that the page shows, however it spells them. */
  const present = new Set<string>();
  /** Signals that something other than a fallback gives. */
  const given = new Set<string>();
  const values = new Map<string, Set<string>>();
  const facts = new Map<string, string | undefined>();
  const found = new Map<string, Found | undefined>();
  const cells = new Map<string, Cell>();
  const buckets = new Map<string, Bucket>();
  let recognition = recogniseNames([], names);
  let generation = 0;
  let bases = new Map<string, Base>();

  function find(series: Series): Found | undefined {
    const { name } = series.metric;
    if (found.has(name)) return found.get(name);
    let hit = lookUp(catalog, name, recognition.sources);
    let own = normalName(name);
    for (const { from, to } of hit ? [] : recognition.aliases) {
      if (!own.startsWith(from)) continue;
      own = to + own.slice(from.length);
      hit = lookUp(catalog, own, recognition.sources);
      if (hit) break;
      own = normalName(name);
    }
    if (hit) {
      for (const wrapper of hit.source.wrappers) if (own.startsWith(wrapper)) own = own.slice(wrapper.length);
    }
    const result = hit && { ...hit, own };
    if (found.size < MAX_NAMES) found.set(name, result);
    return result;
  }

  /** Whether a label shows more than one value on this page. */
  const several = (label: string): boolean => (values.get(label)?.size ?? 0) > 1;

  function note(series: Series, at: Found): boolean {
    let news = false;
    const grow = (set: Set<string>, value: string, limit: number) => {
      if (set.has(value) || set.size >= limit) return;
      set.add(value);
      news = true;
    };
    grow(present, at.own, MAX_NAMES);
    for (const { mapping, index } of at.hits) {
      grow(present, normalName(mapping.names[index]!.name), MAX_NAMES);
      if (!mapping.signal || !appliesTo(mapping, series)) continue;
      if (!mapping.fallback) grow(given, mapping.signal.name, MAX_NAMES);
      for (const [label, rules] of mapping.labels) {
        const counts = rules.some(
          (r) => r.keep === 'several' || (RANKS as readonly (string | undefined)[]).includes(r.to),
        );
        const text = counts ? labelText(series, label) : '';
        if (text === '') continue;
        let set = values.get(label);
        if (!set) {
          set = new Set();
          values.set(label, set);
        }
        // From one value to two is what changes something.
        if (!set.has(text) && set.size < MAX_VALUES) {
          set.add(text);
          if (set.size === 2) news = true;
        }
      }
    }
    return news;
  }

  /** Attributes of the whole page, taken from a label the first time it is seen, if the page shows one value only. */
  function learnFacts(series: readonly Series[]): boolean {
    const seen = new Map<string, Set<string>>();
    for (const s of series) {
      const at = find(s);
      for (const [attribute, label] of at?.source.page ?? []) {
        if (facts.has(attribute)) continue;
        const text = labelText(s, label);
        if (text === '') continue;
        const set = seen.get(attribute) ?? new Set();
        seen.set(attribute, set.add(text));
      }
    }
    for (const [attribute, set] of seen) facts.set(attribute, set.size === 1 ? [...set][0] : undefined);
    return seen.size > 0;
  }

  function learn(series: readonly Series[]): boolean {
    let news = false;
    let newNames = false;
    for (const s of series) {
      const name = normalName(s.metric.name);
      if (names.has(name) || names.size >= MAX_NAMES) continue;
      names.add(name);
      newNames = true;
    }
    if (newNames) {
      const before = recognition;
      recognition = recogniseNames(catalog.sources, names);
      const same =
        before.sources.length === recognition.sources.length &&
        before.sources.every((s, i) => s === recognition.sources[i]) &&
        before.aliases.length === recognition.aliases.length;
      if (same) {
        recognition = before;
      } else {
        found.clear();
        news = true;
      }
    }
    for (const s of series) {
      const at = find(s);
      if (at && note(s, at)) news = true;
    }
    if (learnFacts(series)) news = true;
    if (!news) return false;
    bases = new Map();
    generation++;
    return true;
  }

  /** What the neutral resource says before the labels of a series are added. */
  function baseOf(source: CatalogSource): Base {
    const cluster = source.kind === 'kubernetes';
    const inference = servesInference(source) || (source.kind === 'process' && recognition.engine !== undefined);
    const key = cluster ? 'cluster' : inference ? 'inference' : source.kind;
    const known = bases.get(key);
    if (known) return known;
    const out: Record<string, AnyValue> = { ...input.attributes };
    // kube-state-metrics speaks of other pods and nodes than the one it runs in.
    if (cluster) {
      for (const name of Object.keys(out)) if (/^(k8s\.|container\.|host\.)/.test(name)) delete out[name];
    }
    for (const [name, value] of facts) {
      const fits = inference ? !name.startsWith('host.') : name.startsWith('host.') && !cluster;
      if (fits && value !== undefined && out[name] === undefined) out[name] = value;
    }
    if (inference) {
      const main = recognition.sources.find(servesInference);
      const named = out['inference.engine'];
      const weaker = catalog.sources.some((s) => s.engine === named && s.kind !== 'engine' && servesInference(s));
      if (main?.engine !== undefined && (named === undefined || (main.kind === 'engine' && weaker))) {
        out['inference.engine'] = main.engine;
      }
      if (main?.role !== undefined && out['inference.role'] === undefined) out['inference.role'] = main.role;
    }
    const base = { attributes: out, key: keyOf(out) };
    bases.set(key, base);
    return base;
  }

  function bucketOf(base: Base, more: Attributes): Bucket {
    const key = `${base.key}\u0002${keyOf(more)}`;
    let bucket = buckets.get(key);
    if (!bucket) {
      const { droppedAttributesCount, schemaUrl } = input;
      const resource = { attributes: { ...base.attributes, ...more }, droppedAttributesCount, schemaUrl };
      bucket = { key, resource, points: [], claims: new Map() };
      buckets.set(key, bucket);
    }
    return bucket;
  }

  function cellOf(operand: Operand, series: Series, keys: string[]): Cell {
    let key = operand.name;
    for (const label of Object.keys(series.attributes).sort()) {
      if (!operand.when.has(label)) key += `\u0000${label}\u0001${labelText(series, label)}`;
    }
    for (const [label, wanted] of operand.when) key += `\u0000${label}\u0002${wanted.join()}`;
    let cell = cells.get(key);
    if (!cell) {
      cell = { value: Number.NaN, uses: 0 };
      // Beyond the limit a value is not shared, so what depends on it stays absent.
      if (cells.size < MAX_CELLS) cells.set(key, cell);
    }
    cell.uses++;
    keys.push(key);
    return cell;
  }

  function plan(series: Series): Plan {
    const at = find(series);
    const inKnownSource =
      at !== undefined || recognition.sources.some((s) => servesInference(s) && isPrefixed(s, series));
    const outputs: Output[] = [];
    const feeds: Cell[] = [];
    const keys: string[] = [];
    if (at) {
      for (const operand of operandsIn(at.source, at.own)) {
        if (appliesTo({ when: operand.when } as Mapping, series)) feeds.push(cellOf(operand, series, keys));
      }
      for (const { mapping, index } of at.hits) addOutputs(series, at, mapping, index, outputs, keys);
    }
    return {
      page,
      generation,
      outputs: outputs.length > 0 ? outputs : (NONE as readonly Output[]),
      feeds: feeds.length > 0 ? feeds : (NONE as readonly Cell[]),
      cells: keys.length > 0 ? keys : (NONE as readonly string[]),
      known: inKnownSource,
      mapped: outputs.length > 0,
      neutral: series.scope.name === SCOPE.name,
    };
  }

  function addOutputs(series: Series, at: Found, mapping: Mapping, index: number, to: Output[], keys: string[]): void {
    const { signal } = mapping;
    if (!signal || mapping.names.slice(0, index).some((n) => present.has(normalName(n.name)))) return;
    if (mapping.unless.some((name) => present.has(name))) return;
    if (mapping.fallback && given.has(signal.name)) return;
    if (!appliesTo(mapping, series)) return;
    const shape = shapeOf(series);
    const target = mapping.targets[shape === 'exponential' ? 'histogram' : shape];
    if (!target) return;
    const fixed = mapping.value && labelValue(mapping.value, series);
    if (mapping.value && fixed === undefined) return;

    const base = baseOf(at.source);
    const split = splitLabels(mapping, series, { base: base.attributes, several });
    const bucket = bucketOf(base, split.resource);
    const temporality = series.metric.temporality === Temporality.DELTA ? Temporality.DELTA : Temporality.CUMULATIVE;
    const metric = metricOf(signal, target, temporality);
    const operands = (mapping.combine?.with ?? []).map((operand) => ({
      cell: cellOf(operand, series, keys),
      optional: operand.optional,
    }));
    const late = mapping.newest ? 'newest' : mapping.combine ? 'combine' : 'no';
    const order = index * 2 ** 48 + split.order;
    const add = (attributes: Attributes, only: Making['only']) => {
      const claim = claimOf(bucket, metric, attributes);
      const making: Making = { mapping, target, shape, blank: at.source.blank, fixed, only, operands };
      const output: Output = { claim, convert: makeConvert(making), order, late };
      to.push(output);
      contend(claim, output);
    };
    const { expand } = mapping;
    if (!expand) add(split.point, undefined);
    for (const [key, name] of expand?.cases ?? []) {
      add({ ...split.point, [expand!.attribute]: name }, { of: expand!.of, key });
    }
  }

  function release(old: Plan): readonly Claim[] {
    for (const key of old.cells) {
      const cell = cells.get(key);
      if (cell && --cell.uses <= 0) cells.delete(key);
    }
    const ended: Claim[] = [];
    for (const output of old.outputs) if (withdraw(output)) ended.push(output.claim);
    return ended;
  }

  function end(claim: Claim): boolean {
    const { bucket, key } = claim;
    if (claim.owner || bucket.claims.get(key) !== claim) return false;
    bucket.claims.delete(key);
    if (bucket.claims.size === 0) buckets.delete(bucket.key);
    return true;
  }

  const page: Page = {
    get generation() {
      return generation;
    },
    get recognition() {
      return recognition;
    },
    buckets,
    learn,
    plan,
    release,
    end,
  };
  return page;
}

const isPrefixed = (source: CatalogSource, series: Series): boolean => {
  const name = normalName(series.metric.name);
  return source.prefixes.some((p) => name.startsWith(p));
};

/** A value that labels hold; undefined if they hold no number. */
function labelValue(how: NonNullable<Mapping['value']>, series: Series): number | undefined {
  if ('count' in how) {
    if (series.attributes[how.count] === undefined) return 0;
    return labelText(series, how.count)
      .split(',')
      .filter((part) => part.trim() !== '').length;
  }
  for (const labels of how.labels) {
    const numbers = labels.map((label) => Number(labelText(series, label) || Number.NaN));
    if (numbers.every((n) => Number.isFinite(n))) return numbers.reduce((a, b) => a * b, 1);
  }
  return undefined;
}
