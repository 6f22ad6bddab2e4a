/** The `${…}` expressions inside a config, and `$$`. The semantics are the Collector's, corner cases included. */
import { dirname, resolve as resolvePath } from 'node:path';
import {
  checkEnvName,
  ENV_NAME,
  error,
  ProviderError,
  parseText,
  parseValue,
  type Reader,
  readTextFile,
  URI,
  unsetMessage,
  unsupported,
  variable,
} from './providers.ts';
import { type Entry, formatPath, type Node, type Path, type ScalarNode } from './tree.ts';

const MAX_EXPANSIONS = 1000;
const MAX_TEXT = 2 ** 20;

/** Replaces every `${…}` in a tree by what it stands for, and `$$` by `$`. Keys stay as they are. */
export function expand(node: Node, reader: Reader): Node {
  return new Expansion(reader).node(node, [], []);
}

class Expansion {
  readonly reader: Reader;
  #count = 0;
  constructor(reader: Reader) {
    this.reader = reader;
  }

  /** `open` holds the expressions that this node came out of: meeting one again would never end. */
  node(node: Node, path: Path, open: readonly string[]): Node {
    switch (node.kind) {
      case 'map': {
        const entries = new Map<string, Entry>();
        for (const [key, entry] of node.entries) {
          entries.set(key, { keyPlace: entry.keyPlace, value: this.node(entry.value, [...path, key], open) });
        }
        return this.withText({ ...node, entries }, path, open);
      }
      case 'list':
        return this.withText(
          { ...node, items: node.items.map((item, i) => this.node(item, [...path, i], open)) },
          path,
          open,
        );
      case 'scalar':
        return typeof node.value === 'string' ? this.scalar(node, node.value, path, open) : node;
    }
  }

  /** The original text of a map or list is expanded too: a text setting would take that. */
  withText(node: Node, path: Path, open: readonly string[]): Node {
    if (node.text === undefined || !node.text.includes('$')) return node;
    const scalar: ScalarNode = { kind: 'scalar', value: node.text, place: node.place };
    const quiet = new Expansion({ ...this.reader, issues: [] });
    const expanded = quiet.scalar(scalar, node.text, path, open);
    return { ...node, text: expanded.kind === 'scalar' ? String(expanded.value) : (expanded.text ?? node.text) };
  }

  scalar(node: ScalarNode, written: string, path: Path, open: readonly string[]): Node {
    let text = written;
    const origin = node.origin ?? written;
    let changed = false;
    const seen: string[] = [...open];
    for (;;) {
      const found = findExpression(text);
      if (found === undefined) {
        const value = text.replaceAll('$$', '$');
        return value === node.value ? node : { ...node, value, ...(changed || node.origin ? { origin } : {}) };
      }
      if (++this.#count > MAX_EXPANSIONS * 10 || seen.length > MAX_EXPANSIONS || text.length > MAX_TEXT) {
        return this.fail(node, origin, path, 'too many recursive expansions');
      }
      changed = true;
      const expression = text.slice(found.start, found.end);
      const whole = expression === text;
      try {
        if (whole && seen.includes(expression)) {
          throw new ProviderError(`too many recursive expansions: ${expression} leads back to itself`);
        }
        const retrieved = this.retrieve(expression, node, path, origin);
        seen.push(expression);
        if (whole) {
          const { node: value } = retrieved;
          if (value.kind !== 'scalar') return this.node({ ...value, text: retrieved.text }, path, seen);
          if (typeof value.value !== 'string') return { ...value, origin };
          text = value.value;
        } else {
          text = text.slice(0, found.start) + insertable(expression, retrieved) + text.slice(found.end);
        }
      } catch (failure) {
        if (!(failure instanceof ProviderError)) throw failure;
        return this.fail(node, origin, path, failure.message, failure.hint);
      }
    }
  }

  fail(node: ScalarNode, origin: string, path: Path, message: string, hint?: string): Node {
    this.reader.issues.push(error(node.place, path, message, hint));
    return { kind: 'scalar', value: null, place: node.place, origin, failed: true };
  }

  retrieve(expression: string, at: ScalarNode, path: Path, origin: string): { node: Node; text: string } {
    const body = expression.slice(2, -1);
    const uri = body.includes(':') ? body : `env:${body}`;
    const match = URI.exec(uri);
    if (!match) throw new ProviderError(`invalid uri: "${uri}"`);
    const [, scheme, opaque] = match as unknown as [string, string, string];
    if (opaque.includes('$')) {
      throw new ProviderError(`the uri "${uri}" contains unsupported characters ('$')`, 'write $$ for a dollar sign');
    }
    const marked = (found: { node: Node; text: string }) => ({ ...found, node: mark(found.node, origin) });
    switch (scheme) {
      case 'env':
        return marked(this.env(opaque, at, path));
      case 'yaml':
        return marked(parseValue(opaque, at.place));
      case 'file': {
        const base = resolvePath(this.reader.cwd, dirname(at.place.file));
        const { text, shown } = readTextFile(opaque, this.reader, base);
        const issues = this.reader.issues.length;
        const { node } = parseText(text, shown, this.reader);
        if (node.kind !== 'scalar') return { node, text };
        // A file with one value (a token, an endpoint): its text, without the line end that editors add.
        this.reader.issues.length = issues;
        this.reader.broken.delete(shown);
        return marked(parseValue(text.replace(/\r?\n$/, ''), at.place));
      }
      default:
        // `${NAME:-default}`: the Collector wants `env:` in front; without it there is only one thing it can mean.
        if (opaque.startsWith('-') && ENV_NAME.test(scheme)) return marked(this.env(uri, at, path));
        throw unsupported(scheme, uri);
    }
  }

  env(opaque: string, at: ScalarNode, path: Path): { node: Node; text: string } {
    const split = opaque.indexOf(':-');
    const name = split < 0 ? opaque : opaque.slice(0, split);
    checkEnvName(name);
    const value = variable(name, this.reader);
    if (value === undefined && split < 0) {
      this.reader.issues.push({
        severity: 'warning',
        place: at.place,
        path: formatPath(path),
        message: unsetMessage(name),
        hint: `set it, or give a default: \${env:${name}:-value}`,
      });
    }
    return parseValue(value ?? (split < 0 ? '' : opaque.slice(split + 2)), at.place);
  }
}

/** Marks a value as coming from an expression, all the way down. */
function mark(node: Node, origin: string): Node {
  switch (node.kind) {
    case 'scalar':
      return { ...node, origin };
    case 'list':
      return { ...node, origin, items: node.items.map((item) => mark(item, origin)) };
    case 'map': {
      const entries = new Map<string, Entry>();
      for (const [key, entry] of node.entries) entries.set(key, { ...entry, value: mark(entry.value, origin) });
      return { ...node, origin, entries };
    }
  }
}

/** What an expression inside a longer text is replaced by: only single values have a text. */
function insertable(expression: string, found: { node: Node; text: string }): string {
  // `[::1]` is a list to YAML, but here it can only be an address.
  if (found.node.kind === 'scalar' || /^\[[0-9a-fA-F:.%]+\]$/.test(found.text)) return found.text;
  throw new ProviderError(
    `expanding ${expression}: retrieved value does not have unambiguous string representation: it is a ${found.node.kind}`,
    'a map or list can only be the whole value of a key',
  );
}

/**
 * The first innermost `${…}` that is not escaped: an odd number of dollar signs before its `${` escapes it. The rules are
 * the Collector's, corner cases included.
 */
export function findExpression(text: string): { start: number; end: number } | undefined {
  let start = 0;
  for (;;) {
    const close = text.indexOf('}', start);
    if (close < 0) return undefined;
    const open = text.lastIndexOf('${', close);
    if (open >= start) {
      let dollars = 0;
      for (let i = open - 1; i >= start && text[i] === '$'; i--) dollars++;
      if (dollars % 2 === 0) return { start: open, end: close + 1 };
    }
    start = close + 1;
  }
}
