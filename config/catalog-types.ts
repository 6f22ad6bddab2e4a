/** The shape of what is known about sources of metrics. Imports nothing that reads files or knows the pipeline. */
import type { RawMetric } from './mapping.ts';
import type { SignalInfo } from './signals.ts';

/** The whole of our knowledge; immutable. */
export interface Catalog {
  readonly sources: readonly CatalogSource[];
}

export const SOURCE_KINDS = [
  'engine',
  'framework',
  'router',
  'cache',
  'transfer',
  'hardware',
  'host',
  'container',
  'kubernetes',
  'process',
] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

export interface Endpoint {
  /** Undefined where there is no usual one. */
  readonly port: number | undefined;
  readonly path: string;
  readonly of: string;
}

/** What spans mean: those that match get `set`, and `attributes` under their neutral names. */
export interface SpanRule {
  readonly names: ReadonlySet<string> | undefined;
  /** Attributes that all have to be there. */
  readonly having: readonly string[];
  readonly engine: string | undefined;
  readonly set: readonly (readonly [string, string | number])[];
  readonly rename: readonly (readonly [string, string])[];
}

/** What is known about one source, without its metrics: those are read when a name of it is met. */
export interface CatalogSource {
  readonly name: string;
  readonly title: string;
  readonly kind: SourceKind;
  /** What `inference.engine` becomes. */
  readonly engine: string | undefined;
  readonly role: string | undefined;
  /** In normal form (see `normalName`), like every list of names here. */
  readonly prefixes: readonly string[];
  readonly extraNames: readonly string[];
  readonly wrappers: readonly string[];
  readonly freePrefix: { readonly standsFor: string; readonly knownBy: readonly string[] } | undefined;
  /** Its names are trusted only on pages that have any, or all, of these. */
  readonly recognise: { readonly any: readonly string[]; readonly all: readonly string[] } | undefined;
  /** Sources whose names it repeats. */
  readonly replaces: readonly string[];
  /** The usual place first. */
  readonly endpoints: readonly Endpoint[];
  readonly gaugesFreezeWhenIdle: boolean;
  /** Attributes of a whole page and the label they come from. */
  readonly page: ReadonlyMap<string, string>;
  readonly versions: readonly { says: string; has: readonly string[]; lacks: readonly string[] }[];
  readonly variants: readonly { is: string; has: readonly string[] }[];
  /** `kv_usage`: live (blocks that only cache count as free) or unknown. */
  readonly semantics: Readonly<Record<string, string>>;
  readonly blank: { readonly atLeast: number; readonly equals: readonly number[] } | undefined;
  readonly spans: readonly SpanRule[];
  readonly signals: ReadonlyMap<string, SignalInfo>;
  /** As they stand in the file; compiled together with each row. */
  readonly defaults: {
    readonly when: RawMetric['when'];
    readonly labels: RawMetric['labels'];
    readonly about: RawMetric['about'];
  };
}
