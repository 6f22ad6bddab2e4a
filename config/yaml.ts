/** YAML text to a tree with places. Uses `yaml` for the language; says its errors in words that name the remedy. */
import { createRequire } from 'node:module';
import type { Document, LineCounter, YAMLParseError, Node as YamlNode } from 'yaml';
import type { Entry, Node } from './tree.ts';
import type { Issue, Place } from './types.ts';

const require = createRequire(import.meta.url);

export interface ParsedYaml {
  /** What could be understood; also present when there are errors. */
  readonly node: Node;
  readonly issues: readonly Issue[];
  /** The line from which on nothing can be trusted; undefined if the syntax is sound (a duplicate key is). */
  readonly brokenFrom?: number;
}

/** More nodes than this are not a config; it stops aliases that multiply ("billion laughs"). */
const MAX_NODES = 200_000;

/** Parses one YAML document. `placeOf` turns a line and column of the text into a place. */
export function parseYaml(text: string, placeOf: (line: number, column: number) => Place): ParsedYaml {
  // Loaded here because most commands never read a config, and it costs 50 ms.
  const yaml = require('yaml') as typeof import('yaml');
  const lines = new yaml.LineCounter();
  let document: Document.Parsed;
  try {
    document = yaml.parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
  } catch (failure) {
    // The parser is recursive: a file that is nothing but brackets overflows its stack.
    if (!(failure instanceof RangeError)) throw failure;
    const place = placeOf(1, 1);
    const message = `${PREFIX}: it is nested too deeply`;
    const issue: Issue = { severity: 'error', place, path: '', message };
    return { node: { kind: 'scalar', value: null, place }, issues: [issue], brokenFrom: 1 };
  }
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return placeOf(line, col);
  };
  const issues: Issue[] = [];
  const report = (place: Place, message: string, hint?: string) =>
    issues.push({ severity: 'error', place, path: '', message, ...(hint === undefined ? {} : { hint }) });

  let brokenFrom: number | undefined;
  for (const error of document.errors) {
    const place = at(error.pos[0]);
    // One slip makes the parser complain several times; the first complaint of a line is the useful one.
    if (issues.some((i) => i.place?.line === place.line && i.place.file === place.file)) continue;
    const from = at(topLevelStart(document, error.pos[0])).line;
    brokenFrom = Math.min(brokenFrom ?? from, from);
    const { message, hint } = explain(error, text, lines);
    report(place, message, hint);
  }
  for (const warning of document.warnings) {
    report(at(warning.pos[0]), `cannot be parsed as YAML: ${warning.message}`, 'put the value in quotes');
  }
  const node = convert(document, at, report);
  return { node, issues, ...(brokenFrom === undefined ? {} : { brokenFrom }) };
}

/** Where the top-level key begins that an error belongs to: what an open bracket swallowed is not to be judged. */
function topLevelStart(document: Document.Parsed, offset: number): number {
  const contents = document.contents as { items?: readonly { key?: YamlNode | null }[] } | null;
  let start = contents?.items ? 0 : offset;
  for (const pair of contents?.items ?? []) {
    const from = pair?.key?.range?.[0];
    if (from !== undefined && from <= offset) start = from;
  }
  return start;
}

function convert(
  document: Document.Parsed,
  at: (offset: number) => Place,
  report: (place: Place, message: string, hint?: string) => void,
): Node {
  const yaml = require('yaml') as typeof import('yaml');
  let count = 0;
  const open = new Set<YamlNode>();
  const start = at(0);
  const nothing = (place: Place): Node => ({ kind: 'scalar', value: null, place });

  const walk = (source: YamlNode | null | undefined, fallback: Place): Node => {
    if (!source) return nothing(fallback);
    // A value that was left out is where its key is.
    const absent = yaml.isScalar(source) && source.value === null && (source.source ?? '') === '';
    const place = source.range && !absent ? at(source.range[0]) : fallback;
    if (++count > MAX_NODES) {
      if (count === MAX_NODES + 1) report(place, 'the file is too large, or its aliases multiply without end');
      return nothing(place);
    }
    if (yaml.isAlias(source)) {
      const target = source.resolve(document);
      if (!target) {
        report(place, `alias *${source.source} has no anchor: write &${source.source} in front of a value above it`);
        return nothing(place);
      }
      if (open.has(target)) {
        report(place, `alias *${source.source} contains itself`);
        return nothing(place);
      }
      return walk(target, place);
    }
    if (yaml.isScalar(source)) {
      const value = scalarValue(source.value);
      // As written, for settings that take text: `1.10` must not become `1.1`.
      const text = typeof value === 'string' ? undefined : source.source;
      return { kind: 'scalar', value, place, ...(text === undefined || value === null ? {} : { text }) };
    }
    open.add(source);
    try {
      if (yaml.isSeq(source)) {
        return { kind: 'list', items: source.items.map((item) => walk(item as YamlNode, place)), place };
      }
      if (yaml.isMap(source)) return walkMap(source.items, place);
    } finally {
      open.delete(source);
    }
    return nothing(place);
  };

  const walkMap = (pairs: readonly { key: unknown; value: unknown }[], place: Place): Node => {
    const entries = new Map<string, Entry>();
    const merged: Node[] = [];
    for (const pair of pairs) {
      const key = pair.key as YamlNode | null;
      const keyPlace = key?.range ? at(key.range[0]) : place;
      if (key && !yaml.isScalar(key)) {
        report(keyPlace, 'a key must be a plain text, not a map or list', 'put it in quotes');
        continue;
      }
      const name = key === null ? '' : keyText(key);
      const value = walk(pair.value as YamlNode | null, keyPlace);
      if (name === '<<') merged.push(...(value.kind === 'list' ? value.items : [value]));
      else if (!entries.has(name)) entries.set(name, { keyPlace, value });
      else
        report(
          keyPlace,
          `key "${name}" is given twice in the same map`,
          'keep one of the two; the Collector refuses the whole file for this',
        );
    }
    for (const node of merged) {
      if (node.kind !== 'map') {
        report(node.place, 'a merge key (<<) takes a map or a list of maps');
        continue;
      }
      for (const [name, entry] of node.entries) if (!entries.has(name)) entries.set(name, entry);
    }
    return { kind: 'map', entries, place };
  };

  return walk(document.contents, start);
}

/** A key as it was written; YAML would make `1.0` the number 1. */
function keyText(key: YamlNode): string {
  const scalar = key as { source?: string; value?: unknown; type?: string };
  return typeof scalar.value === 'string' ? scalar.value : (scalar.source ?? String(scalar.value));
}

function scalarValue(value: unknown): string | number | bigint | boolean | null {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'bigint':
    case 'boolean':
      return value;
    case 'object':
      // !!binary and the like: what it was decoded to is text, or nothing we take.
      return value === null ? null : value instanceof Uint8Array ? Buffer.from(value).toString() : String(value);
    default:
      return null;
  }
}

const PREFIX = 'cannot be parsed as YAML';

function explain(error: YAMLParseError, text: string, lines: LineCounter): { message: string; hint?: string } {
  const [from, to] = error.pos;
  switch (error.code) {
    case 'TAB_AS_INDENT':
      return { message: `${PREFIX}: a tab is used for indentation`, hint: 'YAML indents with spaces only' };
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'MULTILINE_IMPLICIT_KEY':
      return {
        message: `${PREFIX}: the indentation or a colon is wrong here (${lowerFirst(error.message)})`,
        hint: 'indent the line below its key, and put a value that contains ": " in quotes',
      };
    case 'BAD_INDENT':
    case 'BAD_COLLECTION_TYPE':
      return { message: `${PREFIX}: ${lowerFirst(error.message)}` };
    case 'MISSING_CHAR':
      return { message: `${PREFIX}: ${lowerFirst(error.message)}`, hint: 'a quote, bracket or colon is missing above' };
    case 'BAD_SCALAR_START':
      return {
        message: `${PREFIX}: a value cannot start with ${text.slice(from, Math.max(to, from + 1)).slice(0, 1)}`,
        hint: 'put the value in quotes',
      };
    case 'MULTIPLE_DOCS':
      return {
        message: `${PREFIX}: there are several documents in the file`,
        hint: `remove the line "---" (line ${lines.linePos(from).line}), or make it a second file and pass --config twice`,
      };
    default:
      if (error.message.includes('call stack')) return { message: `${PREFIX}: it is nested too deeply` };
      return { message: `${PREFIX}: ${lowerFirst(error.message)}` };
  }
}

const lowerFirst = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1);
