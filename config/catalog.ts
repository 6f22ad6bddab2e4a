/**
 * What we know about each source of metrics, as data: how to recognise it, where it listens, and how its names map to the
 * engine-neutral signals. One YAML file per source in config/catalog/; users and plug-ins add their own.
 *
 * Only the head of each file is read at first; the rows of a source when one of its names is met.
 */
import { readdirSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { readBuiltIn, readCatalogFile, readCatalogObject } from './catalog-file.ts';
import { belongsTo, type Hit, hitsIn, mappingsOf } from './catalog-index.ts';
import type { Catalog, CatalogSource } from './catalog-types.ts';
import { configFile } from './config-files.ts';
import { type Mapping, normalName } from './mapping.ts';
import { type Recognition, recogniseIn } from './recognise.ts';
import { builtInSignals, type SignalInfo } from './signals.ts';

export { CatalogError } from './catalog-file.ts';
export { mappingsOf } from './catalog-index.ts';
export type { Catalog, CatalogSource, Endpoint } from './catalog-types.ts';
export type { Mapping } from './mapping.ts';
export type { Recognition } from './recognise.ts';
export type { SignalInfo } from './signals.ts';

let builtIn: Catalog | undefined;

/** Reads config/catalog/*.yaml (once), and more files. Throws a CatalogError that names every mistake in those. */
export function loadCatalog(extraFiles: readonly string[] = []): Catalog {
  if (!builtIn) {
    const folder = configFile('catalog');
    const files = readdirSync(folder).filter((f) => f.endsWith('.yaml'));
    builtIn = { sources: files.sort().map((f) => readBuiltIn(join(folder, f))) };
  }
  return extraFiles.reduce((catalog, file) => extendCatalog(catalog, file), builtIn);
}

/**
 * A catalogue with one source more: the path of a file (relative to `folder`), or what such a file would say. A source of a
 * name that is there already comes before it, so its rows win. Throws a CatalogError that names every mistake.
 */
export function extendCatalog(catalog: Catalog, entry: unknown, folder = '.'): Catalog {
  const source =
    typeof entry === 'string'
      ? readCatalogFile(isAbsolute(entry) ? entry : resolve(folder, entry))
      : readCatalogObject(entry);
  return { ...catalog, sources: [source, ...catalog.sources] };
}

/** The source of a name (`vllm`, `dcgm`). */
export const sourceByName = (catalog: Catalog, name: string): CatalogSource | undefined =>
  catalog.sources.find((s) => s.name === name);

/** What a page is, from the names of its metrics. */
export const recognise = (catalog: Catalog, names: Iterable<string>): Recognition =>
  recogniseIn(catalog.sources, names);

/** A signal of the vocabulary, or one that a source added. */
export function signalInfo(catalog: Catalog, name: string): SignalInfo | undefined {
  for (const source of catalog.sources) {
    const own = source.signals.get(name);
    if (own) return own;
  }
  return builtInSignals().get(name);
}

/** Every signal, in the order of the vocabulary. */
export function allSignals(catalog: Catalog): readonly SignalInfo[] {
  const all = new Map(builtInSignals());
  for (const source of catalog.sources) for (const [name, info] of source.signals) all.set(name, info);
  return [...all.values()];
}

/**
 * The rows that a name leads to, those of an older spelling included. `sources` are the ones that the target is known to
 * be; names without a prefix of their own count only for those.
 */
export function lookUp(
  catalog: Catalog,
  name: string,
  sources: readonly CatalogSource[] = [],
): { readonly source: CatalogSource; readonly hits: readonly Hit[] } | undefined {
  const normal = normalName(name);
  for (const source of catalog.sources) {
    const own = belongsTo(source, normal);
    const here = sources.includes(source);
    if (own === undefined ? !here : source.recognise !== undefined && !here) continue;
    const hits = hitsIn(source, own ?? normal);
    if (hits.length > 0) return { source, hits };
  }
  return undefined;
}

/**
 * What a metric of an engine (or any source, by its name) maps to; undefined if it is unknown. A metric that is known and
 * has no neutral name has one mapping without a signal.
 */
export function mappingFor(catalog: Catalog, engine: string | undefined, name: string): readonly Mapping[] | undefined {
  const of = catalog.sources.filter((s) => engine !== undefined && (s.engine === engine || s.name === engine));
  return lookUp(catalog, name, of)?.hits.map((h) => h.mapping);
}

/** How an engine's values of a signal are to be read. */
export interface Semantics {
  readonly population: SignalInfo['population'];
  /** The gauge stands still while the engine is idle. */
  readonly freezesWhenIdle: boolean;
  /** Of `inference.kv.usage`: `live` counts blocks in use by requests; `unknown` may hold cached ones as well. */
  readonly kvUsage: 'live' | 'unknown';
}

/** How the values that an engine gives for a signal are to be read; undefined if it never gives that signal. */
export function semanticsOf(catalog: Catalog, engine: string, signal: string): Semantics | undefined {
  for (const source of catalog.sources) {
    if (source.engine !== engine) continue;
    const mapping = mappingsOf(source).find((m) => m.signal?.name === signal && !m.fallback);
    if (!mapping) continue;
    const gauge = mapping.types.includes('gauge') && mapping.signal?.instrument !== 'counter';
    return {
      population: mapping.population,
      freezesWhenIdle: gauge && source.gaugesFreezeWhenIdle,
      kvUsage: source.semantics['kv_usage'] === 'live' ? 'live' : 'unknown',
    };
  }
  return undefined;
}

/** One name on the wire and what becomes of it, for `enginelight components --catalog`. */
export interface CatalogRow {
  readonly source: string;
  readonly engine: string | undefined;
  readonly metric: string;
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly type: string;
  readonly unit: string;
  /** The signal; undefined for a metric that is known and has no neutral name. */
  readonly to: string | undefined;
  readonly toInstrument: string | undefined;
  readonly toUnit: string | undefined;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly brief: string;
  readonly note: string | undefined;
}

/** Every name of every source, source by source in the order of its file. */
export function describeCatalog(catalog: Catalog): readonly CatalogRow[] {
  return catalog.sources.flatMap((source) =>
    mappingsOf(source).flatMap((mapping) => {
      const target = mapping.targets.number ?? mapping.targets.histogram ?? mapping.targets.summary;
      return mapping.names.map(({ name, since, until }) => ({
        source: source.name,
        engine: source.engine,
        metric: name,
        since,
        until,
        type: mapping.types.join('|'),
        unit: mapping.unit,
        to: mapping.signal?.name,
        toInstrument: target?.instrument,
        toUnit: target?.unit,
        attributes: mapping.set,
        brief: mapping.brief,
        note: mapping.note,
      }));
    }),
  );
}
