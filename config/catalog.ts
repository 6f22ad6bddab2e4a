/**
 * What we know about each source of metrics, as data: how to recognise it, where it listens, and how its names map to the
 * engine-neutral signals. One YAML file per source in config/catalog/; users and plug-ins add their own.
 */

/** The whole of our knowledge; immutable. */
export interface Catalog {
  readonly sources: readonly CatalogSource[];
}

export interface CatalogSource {
  readonly name: string;
}

/** Reads config/catalog/*.yaml. */
export function loadCatalog(): Catalog {
  return { sources: [] };
}
