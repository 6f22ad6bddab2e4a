/**
 * Where a config comes from: `--config` and `--set`, and the `${…}` expressions inside. The semantics are the
 * Collector's; the daemon makes no network request for its config, so `http:` and `https:` are refused.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, isAbsolute, relative, resolve as resolvePath } from 'node:path';
import { didYouMean, nearest } from './suggest.ts';
import { type Entry, formatPath, type Node, type Path } from './tree.ts';
import type { Issue, LoadOptions, Place } from './types.ts';
import { type ParsedYaml, parseYaml } from './yaml.ts';

/** The state of one load: what was read so far, and what was wrong with it. */
export interface Reader extends Pick<LoadOptions, 'env' | 'cwd'> {
  readonly issues: Issue[];
  /** Absolute paths of every file that was read. */
  readonly files: Set<string>;
  /** Files whose syntax is broken from a line on. */
  readonly broken: Map<string, number>;
}

export const createReader = (options: Pick<LoadOptions, 'env' | 'cwd'>): Reader => ({
  env: options.env,
  cwd: options.cwd,
  issues: [],
  files: new Set(),
  broken: new Map(),
});

const SCHEMES = ['env', 'file', 'yaml'];
/** As the Collector's; a scheme has at least two letters, so that `C:\config.yaml` is a file. */
export const URI = /^([A-Za-z][A-Za-z0-9+.-]+):([\s\S]*)$/;
export const ENV_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const MAX_FILE_BYTES = 16 * 2 ** 20;
const NO_LINES = { line: 0, column: 0 };

export const error = (place: Place | undefined, path: Path, message: string, hint?: string): Issue => ({
  severity: 'error',
  ...(place ? { place } : {}),
  path: formatPath(path),
  message,
  ...(hint === undefined ? {} : { hint }),
});

/** Thrown by a provider; becomes an issue where the expression is. */
export class ProviderError extends Error {
  readonly hint: string | undefined;
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** What one `--config` says; undefined if it could not be read at all (the issue is noted). */
export function readConfig(uri: string, index: number, reader: Reader): Node | undefined {
  const match = URI.exec(uri);
  const scheme = match?.[1] ?? 'file';
  const opaque = match ? match[2]! : uri;
  const name = scheme === 'yaml' ? `<--config ${index + 1}>` : scheme === 'file' ? opaque : redactUri(uri);
  try {
    switch (scheme) {
      case 'file':
        return rootOf(readYamlFile(opaque, opaque, reader), opaque, reader);
      case 'yaml':
        return rootOf(parseText(opaque, name, reader), name, reader);
      case 'env': {
        checkEnvName(opaque);
        const text = variable(opaque, reader);
        if (text === undefined) {
          reader.issues.push({
            severity: 'warning',
            place: { file: uri, ...NO_LINES },
            path: '',
            message: unsetMessage(opaque),
          });
        }
        return rootOf(parseText(text ?? '', uri, reader), uri, reader);
      }
      default:
        throw unsupported(scheme, uri);
    }
  } catch (failure) {
    if (!(failure instanceof ProviderError)) throw failure;
    reader.issues.push(error({ file: name, ...NO_LINES }, [], failure.message, failure.hint));
    return undefined;
  }
}

/** What one `--set a.b.c=value` says. */
export function readSet(set: string, reader: Reader): Node | undefined {
  const equals = set.indexOf('=');
  const name = equals < 0 ? set : set.slice(0, equals);
  const place: Place = { file: `--set ${name}`, ...NO_LINES };
  if (equals < 0) {
    reader.issues.push(error(place, [], 'missing equal sign', 'write --set key=value, for example --set a.b.c=5s'));
    return undefined;
  }
  const keys = name.trim().split(/::|\./);
  if (keys.some((key) => key === '')) {
    reader.issues.push(error(place, [], `"${name}" is not a key: a part of it is empty`));
    return undefined;
  }
  const value = parseValue(set.slice(equals + 1), place).node;
  return keys.reduceRight<Node>(
    (node, key) => ({ kind: 'map', place, entries: new Map([[key, { keyPlace: place, value: node }]]) }),
    value,
  );
}

export function parseText(text: string, name: string, reader: Reader): ParsedYaml {
  const parsed = parseYaml(text, (line, column) => ({ file: name, line, column }));
  reader.issues.push(...parsed.issues);
  if (parsed.brokenFrom !== undefined) reader.broken.set(name, parsed.brokenFrom);
  return parsed;
}

function rootOf(parsed: ParsedYaml, name: string, reader: Reader): Node | undefined {
  const { node } = parsed;
  if (node.kind === 'map') return unflatten(node);
  if (node.kind === 'scalar' && node.value === null) return node;
  if (!reader.broken.has(name)) {
    const type = node.kind === 'list' ? '[]interface {}' : 'string';
    reader.issues.push(
      error(
        node.place,
        [],
        `retrieved value (type=${type}) cannot be used as a Conf: expected a map of receivers, exporters and service`,
        'a key needs a colon and a space after it: "receivers: "',
      ),
    );
  }
  return undefined;
}

/** `a::b: v` at the top is `a: { b: v }`, as in the Collector. */
function unflatten(node: Node): Node {
  if (node.kind !== 'map' || ![...node.entries.keys()].some((key) => key.includes('::'))) return node;
  const entries = new Map<string, Entry>();
  for (const [key, entry] of node.entries) {
    const [first, ...rest] = key.split('::');
    const value = rest.reduceRight<Node>(
      (inner, step) => ({
        kind: 'map',
        place: entry.keyPlace,
        entries: new Map([[step, { keyPlace: entry.keyPlace, value: inner }]]),
      }),
      entry.value,
    );
    const before = entries.get(first!);
    entries.set(first!, { keyPlace: entry.keyPlace, value: before ? overlay(before.value, value) : value });
  }
  return { ...node, entries };
}

function overlay(below: Node, above: Node): Node {
  if (below.kind !== 'map' || above.kind !== 'map') return above;
  const entries = new Map(below.entries);
  for (const [key, entry] of above.entries) {
    const before = entries.get(key);
    entries.set(key, before ? { ...entry, value: overlay(before.value, entry.value) } : entry);
  }
  return { ...below, entries };
}

/** A value on its own (an environment variable, `--set`): YAML, or if it is not YAML then plain text. */
export function parseValue(text: string, place: Place): { node: Node; text: string } {
  const parsed = parseYaml(text, () => place);
  if (parsed.issues.length > 0) return { node: { kind: 'scalar', value: text, place }, text };
  const { node } = parsed;
  // A text is taken verbatim, quotes and all, as the Collector does.
  if (node.kind === 'scalar' && typeof node.value === 'string') return { node: { ...node, value: text }, text };
  return { node: node.kind === 'scalar' && node.value === null ? node : { ...node, text }, text };
}

function readYamlFile(path: string, name: string, reader: Reader, base?: string): ParsedYaml {
  return parseText(readTextFile(path, reader, base).text, name, reader);
}

/** Reads a text file; relative to the working directory, as in the Collector, else to the folder of the file that names it. */
export function readTextFile(path: string, reader: Reader, base?: string): { text: string; shown: string } {
  if (path === '') throw new ProviderError('a file needs a path');
  let lastFailure: NodeJS.ErrnoException | undefined;
  for (const folder of base === undefined || isAbsolute(path) ? [reader.cwd] : [reader.cwd, base]) {
    const absolute = resolvePath(folder, path);
    try {
      const bytes = readFileSync(absolute);
      if (bytes.length > MAX_FILE_BYTES) throw new ProviderError(`the file ${path} is larger than 16 MiB`);
      reader.files.add(absolute);
      const shown = isAbsolute(path) ? path : folder === reader.cwd ? path : relative(reader.cwd, absolute);
      return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), shown };
    } catch (failure) {
      if (failure instanceof ProviderError) throw failure;
      if (failure instanceof TypeError) throw new ProviderError(`the file ${path} is not UTF-8 text`);
      lastFailure ??= failure as NodeJS.ErrnoException;
    }
  }
  throw new ProviderError(
    `unable to read the file ${path}: ${ERRNO[lastFailure?.code ?? ''] ?? lastFailure?.message ?? 'unknown reason'}`,
    nearFile(resolvePath(reader.cwd, path)),
  );
}

const ERRNO: Record<string, string> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is not a directory',
};

function nearFile(absolute: string): string | undefined {
  try {
    const near = nearest(basename(absolute), readdirSync(dirname(absolute)));
    return near === undefined ? undefined : `did you mean "${near}"?`;
  } catch {
    return undefined;
  }
}

export function checkEnvName(name: string): void {
  if (ENV_NAME.test(name)) return;
  throw new ProviderError(`environment variable "${name}" has invalid name: must match regex ${ENV_NAME.source}`);
}

/** The value of a variable; `process.env` also answers to `constructor` and the like, which is not meant. */
export const variable = (name: string, reader: Reader): string | undefined =>
  Object.hasOwn(reader.env, name) ? reader.env[name] : undefined;

export const unsetMessage = (name: string) =>
  `Configuration references unset environment variable: ${name} is not set, so the value is empty`;

export function unsupported(scheme: string, uri: string): ProviderError {
  if (scheme === 'http' || scheme === 'https') {
    return new ProviderError(
      `scheme "${scheme}" is not supported for uri "${redactUri(uri)}": the daemon makes no request for its config`,
      'download the file first and pass its path',
    );
  }
  return new ProviderError(
    `scheme "${scheme}" is not supported for uri "${redactUri(uri)}"${didYouMean(scheme, SCHEMES)}`,
    `schemes: ${SCHEMES.join(', ')}; write $$ for a dollar sign that begins no expression`,
  );
}

const redactUri = (uri: string) => uri.replace(/\/\/[^/@]*@/, '//[REDACTED]@');
