/** One file of the catalogue to a source: our own fast and unchecked (a test checks them), a user's with every mistake. */
import { readFileSync } from 'node:fs';
import { catalogFileSchema } from './catalog-schema.ts';
import type { CatalogSource } from './catalog-types.ts';
import { normalName, type RawMetric, readMapping } from './mapping.ts';
import { readPlainYaml } from './plain-yaml.ts';
import { formatIssue } from './report.ts';
import type { AnySchema } from './schema.ts';
import { sentenceFor } from './sentences.ts';
import { builtInSignals, type RawSignal, signalOf } from './signals.ts';
import { didYouMean } from './suggest.ts';
import { formatPath, keyPlace, type Node, nodeAt, type Path, toPlain, valuePlace } from './tree.ts';
import type { Issue } from './types.ts';
import { faultsOf } from './validate.ts';
import { parseYaml } from './yaml.ts';

interface RawFile {
  name: string;
  title?: string;
  kind: CatalogSource['kind'];
  engine?: string;
  role?: string;
  prefixes?: string[];
  names?: string[];
  wrappers?: string[];
  free_prefix?: { stands_for: string; known_by: string[] };
  recognise?: { any?: string[]; all?: string[] };
  replaces?: string[];
  endpoints?: { port?: number; path: string; of?: string }[];
  gauges_freeze_when_idle?: boolean;
  when?: RawMetric['when'];
  labels?: RawMetric['labels'];
  about?: RawMetric['about'];
  page?: Record<string, string>;
  versions?: { says: string; has: string[]; lacks?: string[] }[];
  variants?: { is: string; has: string[] }[];
  semantics?: Record<string, string>;
  blank?: { at_least?: number; equals?: number[] };
  spans?: {
    match: { names?: string[]; attributes?: string[]; engine?: string };
    set?: Record<string, string | number>;
    attributes?: Record<string, string>;
  }[];
  signals?: RawSignal[];
  metrics?: RawMetric[];
}

/** A mistake in a catalogue file: the message holds all of them, a line each, with their places. */
export class CatalogError extends Error {
  override readonly name = 'CatalogError';
}

const names = (list: readonly string[] | undefined): readonly string[] => (list ?? []).map(normalName);

function sourceOf(raw: RawFile): CatalogSource {
  return {
    name: raw.name,
    title: raw.title ?? raw.name,
    kind: raw.kind,
    engine: raw.engine,
    role: raw.role,
    prefixes: names(raw.prefixes),
    extraNames: names(raw.names),
    wrappers: raw.wrappers ?? [],
    freePrefix: raw.free_prefix && {
      standsFor: normalName(raw.free_prefix.stands_for),
      knownBy: names(raw.free_prefix.known_by),
    },
    recognise: raw.recognise && { any: names(raw.recognise.any), all: names(raw.recognise.all) },
    replaces: raw.replaces ?? [],
    endpoints: (raw.endpoints ?? []).map(({ port, path, of = '' }) => ({ port, path, of })),
    gaugesFreezeWhenIdle: raw.gauges_freeze_when_idle ?? false,
    page: new Map(Object.entries(raw.page ?? {})),
    versions: (raw.versions ?? []).map(({ says, has, lacks }) => ({ says, has: names(has), lacks: names(lacks) })),
    variants: (raw.variants ?? []).map(({ is, has }) => ({ is, has: names(has) })),
    semantics: raw.semantics ?? {},
    blank: raw.blank && {
      atLeast: raw.blank.at_least ?? Number.POSITIVE_INFINITY,
      equals: raw.blank.equals ?? [],
    },
    spans: (raw.spans ?? []).map(({ match, set, attributes }) => ({
      names: match.names && new Set(match.names),
      having: match.attributes ?? [],
      engine: match.engine,
      set: Object.entries(set ?? {}),
      rename: Object.entries(attributes ?? {}),
    })),
    signals: new Map((raw.signals ?? []).map((s) => [s.name, signalOf(s)])),
    defaults: { when: raw.when, labels: raw.labels, about: raw.about },
  };
}

/** The rows of a source: a list, or the text that they are still in. */
const rows = new WeakMap<CatalogSource, readonly RawMetric[] | string>();

/** The rows of a source as they stand in its file. */
export function rowsOf(source: CatalogSource): readonly RawMetric[] {
  let found = rows.get(source) ?? [];
  if (typeof found === 'string') {
    found = (readPlainYaml(found) as { metrics: RawMetric[] }).metrics;
    rows.set(source, found);
  }
  return found;
}

/** Reads one of our own files: what comes before `metrics:` now, the rest when it is asked for. */
export function readBuiltIn(path: string): CatalogSource {
  const text = readFileSync(path, 'utf8');
  const split = text.indexOf('\nmetrics:\n') + 1;
  const source = sourceOf(readPlainYaml(text.slice(0, split)) as RawFile);
  rows.set(source, text.slice(split));
  return source;
}

/** Reads a user's file. Throws a CatalogError with every mistake as `file:line:col: …`. */
export function readCatalogFile(path: string): CatalogSource {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (failure) {
    throw new CatalogError(`catalogue file ${path} cannot be read: ${(failure as Error).message}`);
  }
  const { node, issues } = parseYaml(text, (line, column) => ({ file: path, line, column }));
  const all = issues.length > 0 ? issues : checkTree(node);
  if (all.length > 0) throw new CatalogError(all.map((issue) => formatIssue(issue)).join('\n'));
  return keep(toPlain(node) as RawFile);
}

/** What a file would say, as an object (from a plug-in). Throws a CatalogError with every mistake. */
export function readCatalogObject(value: unknown, origin = 'catalogue entry'): CatalogSource {
  const tree = treeOf(value, origin);
  const all = checkTree(tree);
  if (all.length > 0) throw new CatalogError(all.map((issue) => formatIssue(issue)).join('\n'));
  return keep(toPlain(tree) as RawFile);
}

function keep(raw: RawFile): CatalogSource {
  const source = sourceOf(raw);
  rows.set(source, raw.metrics ?? []);
  return source;
}

function treeOf(value: unknown, file: string): Node {
  const place = { file, line: 0, column: 0 };
  if (Array.isArray(value)) return { kind: 'list', items: value.map((v) => treeOf(v, file)), place };
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    return {
      kind: 'map',
      entries: new Map(entries.map(([k, v]) => [k, { keyPlace: place, value: treeOf(v, file) }])),
      place,
    };
  }
  return { kind: 'scalar', value: value === undefined ? null : (value as string | number | boolean | null), place };
}

/** Every mistake of a file: what its schema refuses, and rows that cannot become what they say. */
function checkTree(node: Node): Issue[] {
  const schema = catalogFileSchema as unknown as AnySchema;
  const plain = toPlain(node);
  const issues: Issue[] = faultsOf(schema, plain).map((fault) => {
    const at = { node: nodeAt(node, fault.path), root: schema, base: [], emptied: () => undefined };
    const { path, aboutKey, message, hint } = sentenceFor(fault, at);
    return issue(node, path, message, aboutKey, hint);
  });
  if (issues.length > 0) return issues;
  const raw = plain as RawFile;
  const own = new Map((raw.signals ?? []).map((s) => [s.name, signalOf(s)]));
  const find = (name: string) => own.get(name) ?? builtInSignals().get(name);
  const defaults = { source: raw.name, when: raw.when, labels: raw.labels, about: raw.about };
  for (const [index, row] of (raw.metrics ?? []).entries()) {
    const mapping = readMapping(row, defaults, find);
    if (!('wrong' in mapping)) continue;
    for (const sentence of mapping.wrong) {
      const near =
        row.to === null || find(row.to) ? '' : didYouMean(row.to, [...own.keys(), ...builtInSignals().keys()]);
      issues.push(issue(node, ['metrics', index, 'to'], `${sentence}${near}`, false, undefined));
    }
  }
  return issues;
}

function issue(root: Node, path: Path, message: string, aboutKey: boolean, hint: string | undefined): Issue {
  return {
    severity: 'error',
    place: aboutKey ? keyPlace(root, path) : valuePlace(root, path),
    path: formatPath(path),
    message,
    ...(hint === undefined ? {} : { hint }),
  };
}
