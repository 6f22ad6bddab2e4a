/**
 * A tree to the plain value that a schema describes: what YAML made of a text is undone where text is wanted, empty
 * sections get their defaults, a comma list becomes a list. It judges nothing that the schema can judge.
 */
import { type AnySchema, isOptionalSection, pickAlternative } from './schema.ts';
import { child, type Entry, isNull, type Node, type Path, toPlain } from './tree.ts';
import type { Issue } from './types.ts';

export interface Conformed {
  /** Problems that the plain value no longer shows. Paths are relative to the tree. */
  readonly issues: { severity: Issue['severity']; path: Path; message: string; hint?: string; aboutKey?: boolean }[];
  /** Where reading failed already, as JSON pointers: no second mistake is reported there. */
  readonly failed: Set<string>;
  /** Expressions that stand for nothing (an unset variable), as JSON pointers: they explain a missing setting. */
  readonly emptied: Map<string, string>;
}

export const newConformed = (): Conformed => ({ issues: [], failed: new Set(), emptied: new Map() });

export const pointer = (path: Path): string =>
  path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** Undefined means: leave it out. `userKeyed` is true for the values of a map whose keys the user chooses. */
export function conform(node: Node, schema: AnySchema, out: Conformed, path: Path, userKeyed = false): unknown {
  if (schema.anyOf) {
    const plain = toPlain(node);
    const fit =
      pickAlternative(schema.anyOf, plain) ??
      (node.text === undefined ? undefined : pickAlternative(schema.anyOf, node.text));
    return fit ? conform(node, fit, out, path, userKeyed) : isNull(node) ? empty(node, out, path) : plain;
  }
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  if (types[0] === undefined) return node.kind === 'scalar' && node.failed ? empty(node, out, path) : toPlain(node);
  if (isNull(node) && !types.includes('object')) return empty(node, out, path);
  if (types.includes('object')) {
    if (isNull(node)) empty(node, out, path);
    if (node.kind === 'map' || isNull(node)) return conformMap(node, schema, out, path);
  }
  if (types.includes('array')) return conformList(node, schema, out, path);
  if (types.includes('string')) return conformText(node, schema, types, userKeyed);
  return toPlain(node);
}

function empty(node: Node, out: Conformed, path: Path): undefined {
  if (node.kind === 'scalar' && node.failed) out.failed.add(pointer(path));
  else if (node.origin !== undefined) out.emptied.set(pointer(path), node.origin);
  return undefined;
}

function conformMap(node: Node, schema: AnySchema, out: Conformed, path: Path): Record<string, unknown> {
  const entries: ReadonlyMap<string, Entry> = node.kind === 'map' ? node.entries : new Map();
  const properties = schema.properties ?? {};
  const result: Record<string, unknown> = Object.create(null);
  for (const [key, { value }] of entries) {
    const known = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (known) {
      note(known, out, [...path, key]);
      const switchable = isOptionalSection(schema, key) && known.properties !== undefined;
      if (switchable && switchedOff(value, known)) continue;
      const inner = switchable ? withoutSwitch(value, known) : value;
      const plain = conform(inner, known, out, [...path, key]);
      if (plain !== undefined) result[key] = plain;
    } else if (typeof schema.additionalProperties === 'object') {
      const plain = conform(value, schema.additionalProperties, out, [...path, key], true);
      if (plain !== undefined) result[key] = plain;
      else if (!out.failed.has(pointer([...path, key])) && !out.emptied.has(pointer([...path, key]))) {
        out.issues.push({
          severity: 'warning',
          path: [...path, key],
          message: 'the value is empty, so the key has no effect',
        });
      }
    } else result[key] = toPlain(value);
  }
  // A section that was left out may still need something of the user.
  for (const [key, known] of Object.entries(properties)) {
    if (known.type === 'object' && known.properties && known.default !== undefined && !Object.hasOwn(result, key)) {
      if (isOptionalSection(schema, key)) continue;
      const place: Node = { kind: 'map', entries: new Map(), place: node.place };
      result[key] = conform(place, known, newConformed(), [...path, key]);
    }
  }
  return result;
}

/** As in the Collector, `enabled: false` turns a section off that is off when left out. */
function switchedOff(node: Node, schema: AnySchema): boolean {
  if (Object.hasOwn(schema.properties ?? {}, 'enabled')) return false;
  const enabled = child(node, 'enabled');
  return enabled?.kind === 'scalar' && enabled.value === false;
}

function withoutSwitch(node: Node, schema: AnySchema): Node {
  const enabled = child(node, 'enabled');
  if (node.kind !== 'map' || Object.hasOwn(schema.properties ?? {}, 'enabled')) return node;
  if (enabled?.kind !== 'scalar' || enabled.value !== true) return node;
  const entries = new Map(node.entries);
  entries.delete('enabled');
  return { ...node, entries };
}

function conformList(node: Node, schema: AnySchema, out: Conformed, path: Path): unknown {
  const items = schema.items ?? {};
  if (node.kind === 'scalar' && typeof node.value === 'string' && takesText(items as AnySchema)) {
    return node.value === '' ? [] : node.value.split(',').map((item) => item.trim());
  }
  if (node.kind !== 'list') return toPlain(node);
  const result: unknown[] = [];
  node.items.forEach((item, index) => {
    // An empty item is kept: the schema refuses it, and the positions of the items after it stay right.
    result.push(conform(item, items as AnySchema, out, [...path, index]) ?? null);
  });
  return result;
}

const takesText = (schema: AnySchema): boolean =>
  schema.type === 'string' || (schema.anyOf?.some((s) => takesText(s)) ?? false);

function conformText(
  node: Node,
  schema: AnySchema,
  types: readonly (string | undefined)[],
  userKeyed: boolean,
): unknown {
  if (schema.enum && node.kind === 'scalar' && node.value !== null) {
    const text = node.text ?? String(node.value);
    return (
      schema.enum.find((word) => word === text) ??
      schema.enum.find((word) => word === text.toLowerCase()) ??
      toPlain(node)
    );
  }
  if (node.kind !== 'scalar') return node.origin !== undefined && node.text !== undefined ? node.text : toPlain(node);
  if (typeof node.value === 'string') return node.value;
  if (types.includes('integer') && typeof node.value === 'number' && Number.isInteger(node.value)) return node.value;
  // An expression's text is text (`0123` stays so); so is whatever stands beside a key of the user's (`rank: 0`).
  if ((node.origin !== undefined || userKeyed) && node.text !== undefined) return node.text;
  return toPlain(node);
}

function note(schema: AnySchema, out: Conformed, path: Path): void {
  if (schema.deprecated !== undefined) {
    out.issues.push({
      severity: 'warning',
      path,
      message: `"${path.at(-1)}" is deprecated: ${schema.deprecated}`,
      aboutKey: true,
    });
  }
  if (schema.ignored !== undefined) {
    out.issues.push({
      severity: 'warning',
      path,
      message: `"${path.at(-1)}" has no effect: ${schema.ignored}`,
      aboutKey: true,
    });
  }
}
