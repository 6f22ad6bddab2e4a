/** What a page of metrics is, from the names on it. */

import { belongsTo } from './catalog-index.ts';
import type { CatalogSource } from './catalog-types.ts';
import { normalName } from './mapping.ts';

export interface Recognition {
  /** Every source whose names are there, the one the page is about first. */
  readonly sources: readonly CatalogSource[];
  /** What `inference.engine` should be; undefined for hosts, GPUs and unknown pages. */
  readonly engine: string | undefined;
  readonly role: string | undefined;
  /** A look-alike or wrapper: `llm-d-inference-sim`, `vllm under Ray`. */
  readonly variant: string | undefined;
  /** What the names say about the version: `>=0.20`. */
  readonly version: string | undefined;
  /** Prefixes that users chose, and the ones they stand for. */
  readonly aliases: readonly { readonly from: string; readonly to: string }[];
}

const ORDER: Readonly<Record<CatalogSource['kind'], number>> = {
  engine: 0,
  framework: 1,
  router: 2,
  cache: 3,
  transfer: 4,
  hardware: 5,
  host: 6,
  container: 7,
  kubernetes: 8,
  process: 9,
};

/** Kinds of sources that are about inference; the others have no engine. */
export const servesInference = (source: CatalogSource): boolean => ORDER[source.kind] <= ORDER.transfer;

/** Recognises a set of names in normal form. */
export function recogniseNames(all: readonly CatalogSource[], names: ReadonlySet<string>): Recognition {
  const aliases: { from: string; to: string }[] = [];
  let found = all.filter((source) => {
    if (isThere(source, names)) return true;
    const prefix = source.freePrefix && chosenPrefix(source.freePrefix.knownBy, names);
    if (prefix === undefined || prefix === source.freePrefix?.standsFor) return false;
    aliases.push({ from: prefix, to: source.freePrefix!.standsFor });
    return true;
  });
  const replaced = new Set(found.flatMap((s) => s.replaces));
  found = found.filter((s) => !replaced.has(s.name)).sort((a, b) => ORDER[a.kind] - ORDER[b.kind]);
  const main = found.find(servesInference);
  const has = (name: string) => names.has(name) || names.has(`${name}_total`) || names.has(name.replace(/_total$/, ''));
  return {
    sources: found,
    engine: main?.engine,
    role: main?.role,
    variant: main?.variants.find((v) => v.has.some(has))?.is,
    version: main?.versions.find((v) => v.has.every(has) && !v.lacks.some(has))?.says,
    aliases,
  };
}

function isThere(source: CatalogSource, names: ReadonlySet<string>): boolean {
  const { recognise } = source;
  if (recognise) {
    if (recognise.any.some((n) => names.has(n))) return true;
    return recognise.all.length > 0 && recognise.all.every((n) => names.has(n));
  }
  for (const name of names) if (belongsTo(source, name) !== undefined) return true;
  return false;
}

/** The text that stands before all of some names; undefined if there is none, or if nothing stands there. */
function chosenPrefix(knownBy: readonly string[], names: ReadonlySet<string>): string | undefined {
  const [first, ...others] = knownBy;
  if (first === undefined) return undefined;
  for (const name of names) {
    if (!name.endsWith(first) || name.length === first.length) continue;
    const prefix = name.slice(0, -first.length);
    if (others.every((o) => names.has(prefix + o))) return prefix;
  }
  return undefined;
}

/** Recognises names as they stand on a page. */
export const recogniseIn = (all: readonly CatalogSource[], names: Iterable<string>): Recognition =>
  recogniseNames(all, new Set(Array.from(names, normalName)));
