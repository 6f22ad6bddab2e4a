/** The Collector's attribute actions (insert, update, upsert, delete, hash, extract, convert), for resources and items. */
import { createHash } from 'node:crypto';
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';
import { type AnyValue, type Attributes, Double, KeyValues } from '../model.ts';

const ACTIONS = ['insert', 'update', 'upsert', 'delete', 'hash', 'extract', 'convert'] as const;

const action = t.item(
  {
    key: t.optional(t.string({ description: 'The attribute that the action is about' })),
    action: t.choice(ACTIONS, {
      description:
        '`insert` adds it where it is missing, `update` changes it where it is there, `upsert` does both; `delete` removes it; `hash` replaces its value by its SHA-256; `extract` makes attributes of the named groups of a pattern; `convert` changes its type',
    }),
    value: t.optional(t.any({ description: 'The new value' })),
    from_attribute: t.optional(t.string({ description: 'The attribute whose value is copied' })),
    pattern: t.optional(
      t.string({ description: 'A regular expression: the keys to delete or hash, or what to extract from the value' }),
    ),
    converted_type: t.optional(
      t.choice(['int', 'double', 'string'], { description: 'The type that `convert` changes to' }),
    ),
  },
  { description: 'One action; they are done in order' },
);

/** A list of actions, as an option. */
export const actionList = (description: string) => t.list(action, { description, minItems: 1 });

export type Action = Static<typeof action>;

/** What the schema cannot say about actions; `path` is where the list is. */
export function actionMistakes(actions: readonly Action[], path: readonly (string | number)[]): ConfigMistake[] {
  return actions.flatMap((a, index): ConfigMistake[] => {
    const at = [...path, index];
    const wrong = (message: string, key?: string): ConfigMistake[] => [
      { path: key === undefined ? at : [...at, key], message },
    ];
    const byPattern = a.action === 'delete' || a.action === 'hash';
    if (!a.key && !(byPattern && a.pattern)) {
      return wrong(`the action needs a "key"${byPattern ? ' or a "pattern"' : ''}`);
    }
    if (a.pattern !== undefined) {
      const regexp = compile(a.pattern);
      if (typeof regexp === 'string') return wrong(`"${a.pattern}" is not a regular expression: ${regexp}`, 'pattern');
      if (!byPattern && a.action !== 'extract') return wrong(`"${a.action}" does not use a "pattern"`, 'pattern');
      if (a.action === 'extract' && !/\(\?(?:P)?<[^=!]/.test(a.pattern)) {
        return wrong('the pattern of "extract" names no groups: write (?P<name>…)', 'pattern');
      }
    } else if (a.action === 'extract') return wrong('"extract" needs a "pattern" with named groups');
    const sets = a.action === 'insert' || a.action === 'update' || a.action === 'upsert';
    if (sets && a.value === undefined && a.from_attribute === undefined) {
      return wrong(`"${a.action}" needs a "value" or "from_attribute"`);
    }
    if (sets && a.value !== undefined && a.from_attribute !== undefined) {
      return wrong('only one of "value" and "from_attribute" can be given');
    }
    if (!sets && (a.value !== undefined || a.from_attribute !== undefined)) {
      return wrong(`"${a.action}" uses neither "value" nor "from_attribute"`);
    }
    if (a.action === 'convert' && a.converted_type === undefined) return wrong('"convert" needs a "converted_type"');
    return [];
  });
}

/** Go's `(?P<name>…)` is `(?<name>…)` here, and its flags in front are ours behind. A string says what is wrong. */
function compile(pattern: string): RegExp | string {
  const flags = /^\(\?([imsU]+)\)/.exec(pattern);
  const body = (flags ? pattern.slice(flags[0].length) : pattern).replaceAll('(?P<', '(?<');
  try {
    return new RegExp(body, `u${(flags?.[1] ?? '').replace('U', '')}`);
  } catch (failure) {
    return (failure as Error).message;
  }
}

type Change = (out: Record<string, AnyValue>) => boolean;

/** Compiles actions to a function that returns the attributes changed, or the same object if nothing changes. */
export function attributeActions(actions: readonly Action[]): (attributes: Attributes) => Attributes {
  const changes = actions.map(changeOf);
  return (attributes) => {
    const out: Record<string, AnyValue> = Object.assign(Object.create(null), attributes);
    let changed = false;
    for (const change of changes) if (change(out)) changed = true;
    return changed ? out : attributes;
  };
}

function changeOf(a: Action): Change {
  const key = a.key ?? '';
  const pattern = a.pattern === undefined ? undefined : (compile(a.pattern) as RegExp);
  const keys = (out: Record<string, AnyValue>): string[] =>
    Object.keys(out).filter((k) => k === a.key || pattern?.test(k) === true);
  switch (a.action) {
    case 'insert':
    case 'update':
    case 'upsert': {
      const fixed = a.value === undefined ? undefined : anyValue(a.value);
      return (out) => {
        const value = fixed ?? (a.from_attribute === undefined ? undefined : out[a.from_attribute]);
        const there = out[key] !== undefined;
        if (value === undefined || (a.action === 'insert' && there) || (a.action === 'update' && !there)) return false;
        out[key] = value;
        return true;
      };
    }
    case 'delete':
      return (out) => {
        const found = keys(out);
        for (const k of found) delete out[k];
        return found.length > 0;
      };
    case 'hash':
      return (out) => {
        const found = keys(out);
        for (const k of found) out[k] = hashed(out[k]!);
        return found.length > 0;
      };
    case 'extract':
      return (out) => {
        const value = out[key];
        const groups = typeof value === 'string' ? pattern?.exec(value)?.groups : undefined;
        for (const name in groups) out[name] = groups[name] ?? '';
        return groups !== undefined;
      };
    case 'convert':
      return (out) => {
        const value = out[key];
        const made = value === undefined ? undefined : convert(value, a.converted_type!);
        if (made === undefined || made === value) return false;
        out[key] = made;
        return true;
      };
  }
}

/** What YAML says, as an attribute's value. */
function anyValue(value: unknown): AnyValue {
  if (Array.isArray(value)) return value.map(anyValue);
  if (typeof value === 'object' && value !== null) {
    return new KeyValues(Object.fromEntries(Object.entries(value).map(([k, v]) => [k, anyValue(v)])));
  }
  return value as AnyValue;
}

/** SHA-256 in hexadecimal of the value's bytes: texts as UTF-8, numbers as 8 bytes little-endian, as the Collector does. */
function hashed(value: AnyValue): string {
  const hash = createHash('sha256');
  if (typeof value === 'string') return hash.update(value).digest('hex');
  if (value instanceof Uint8Array) return hash.update(value).digest('hex');
  if (typeof value === 'boolean') return hash.update(Uint8Array.of(value ? 1 : 0)).digest('hex');
  const bytes = Buffer.alloc(8);
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
    bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)));
  } else if (typeof value === 'number' || value instanceof Double) {
    bytes.writeDoubleLE(typeof value === 'number' ? value : value.value);
  } else return hash.update(JSON.stringify(value)).digest('hex');
  return hash.update(bytes).digest('hex');
}

/** Undefined where the value cannot be that; it then stays as it is. */
function convert(value: AnyValue, type: 'int' | 'double' | 'string'): AnyValue | undefined {
  const plain = value instanceof Double ? value.value : value;
  if (type === 'string') return typeof plain === 'object' ? undefined : String(plain);
  let number: number | bigint;
  if (typeof plain === 'string') {
    const text = plain.trim();
    if (text === '' || Number.isNaN(Number(text))) return undefined;
    if (type === 'int') return /^[+-]?\d+$/.test(text) ? wholeNumber(BigInt(text)) : undefined;
    number = Number(text);
  } else if (typeof plain === 'boolean') number = plain ? 1 : 0;
  else if (typeof plain === 'number' || typeof plain === 'bigint') number = plain;
  else return undefined;
  if (type === 'double') return Number.isInteger(Number(number)) ? new Double(Number(number)) : Number(number);
  if (typeof number === 'bigint') return wholeNumber(number);
  return Number.isFinite(number) ? wholeNumber(BigInt(Math.trunc(number))) : undefined;
}

const wholeNumber = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
