/**
 * A config as it was written: plain values that know their place. Everything that happens to a config before it is
 * checked (parsing, merging, expanding) maps trees to trees, so a mistake can always say where it is.
 */
import type { Place } from './types.ts';

export type Node = ScalarNode | MapNode | ListNode;

interface NodeBase {
  readonly place: Place;
  /**
   * The text this was read from, where a text setting takes that instead of what YAML made of it: `0123` from an
   * environment variable stays `0123`.
   */
  readonly text?: string;
  /** The expression (`${env:NAME}`) that the value came from. It is shown in place of the value, which may be secret. */
  readonly origin?: string;
}

export interface ScalarNode extends NodeBase {
  readonly kind: 'scalar';
  readonly value: string | number | bigint | boolean | null;
  /** Reading it failed and that was reported; nothing more is said about it. */
  readonly failed?: true;
}

export interface MapNode extends NodeBase {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, Entry>;
}

export interface ListNode extends NodeBase {
  readonly kind: 'list';
  readonly items: readonly Node[];
}

export interface Entry {
  readonly keyPlace: Place;
  readonly value: Node;
}

export type Path = readonly (string | number)[];

export const isNull = (node: Node | undefined): boolean =>
  node === undefined || (node.kind === 'scalar' && node.value === null);

/** The value under a key of a map; undefined where there is none. */
export const child = (node: Node | undefined, key: string): Node | undefined =>
  node?.kind === 'map' ? node.entries.get(key)?.value : undefined;

/** The node at a path, or undefined. */
export function nodeAt(node: Node | undefined, path: Path): Node | undefined {
  let current = node;
  for (const step of path) {
    if (current?.kind === 'map') current = current.entries.get(String(step))?.value;
    else if (current?.kind === 'list') current = current.items[Number(step)];
    else return undefined;
  }
  return current;
}

/** Where to point for a mistake about the value at a path: a single value itself, the key of a map or list. */
export function valuePlace(root: Node, path: Path): Place {
  let place = root.place;
  let current: Node | undefined = root;
  for (const step of path) {
    if (current?.kind === 'map') {
      const entry: Entry | undefined = current.entries.get(String(step));
      if (!entry) return place;
      current = entry.value;
      place = current.kind === 'scalar' ? current.place : entry.keyPlace;
    } else if (current?.kind === 'list') {
      const item: Node | undefined = current.items[Number(step)];
      if (!item) return place;
      current = item;
      place = item.place;
    } else return place;
  }
  return place;
}

/** Where to point for a mistake about a key itself. */
export function keyPlace(root: Node, path: Path): Place {
  const parent = nodeAt(root, path.slice(0, -1));
  const last = path.at(-1);
  if (parent?.kind === 'map' && last !== undefined) {
    const entry = parent.entries.get(String(last));
    if (entry) return entry.keyPlace;
  }
  return valuePlace(root, path);
}

/** The plain value, without places. Maps have no prototype, so any key is safe. */
export function toPlain(node: Node): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'list':
      return node.items.map(toPlain);
    case 'map': {
      const out: Record<string, unknown> = Object.create(null);
      for (const [key, entry] of node.entries) out[key] = toPlain(entry.value);
      return out;
    }
  }
}

/** A path in the Collector's notation: `service::pipelines::traces`. */
export const formatPath = (path: Path): string => path.join('::');

/** What a node is, as the Collector's messages say it. */
export function goType(node: Node): string {
  if (node.kind === 'list') return '[]interface {}';
  if (node.kind === 'map') return 'map[string]interface {}';
  if (node.value === null) return 'nil';
  if (typeof node.value === 'string') return 'string';
  if (typeof node.value === 'boolean') return 'bool';
  return Number.isInteger(node.value) || typeof node.value === 'bigint' ? 'int' : 'float64';
}

/** What a node is, in words. */
export function describeKind(node: Node): string {
  if (node.kind === 'list') return 'a list';
  if (node.kind === 'map') return 'a map';
  if (node.value === null) return 'nothing';
  return typeof node.value === 'string' ? 'a text' : typeof node.value === 'boolean' ? 'true or false' : 'a number';
}
