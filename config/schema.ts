/**
 * How a component declares its options: type, default and description in one place. Made on TypeBox, so the same
 * declaration is the TypeScript type, the JSON Schema that ajv and editors use, the defaults, and the reference docs.
 *
 * Keys are lower_snake_case, as in the Collector. Units are in the value (`5s`, `64MiB`), never in the key; after
 * `resolve`, a duration is a number of milliseconds and a size a number of bytes.
 */
import { type Static, type TArray, type TObject, type TSchema, type TUnsafe, Type } from '@sinclair/typebox';

export type { Static, TObject, TSchema } from '@sinclair/typebox';

/** A value that must never be printed. It shows itself as [REDACTED] to logs, JSON and string conversion. */
export class Secret {
  readonly #value: string;
  constructor(value: string) {
    this.#value = value;
  }
  /** The text itself; only at the moment it is sent. */
  reveal(): string {
    return this.#value;
  }
  toString(): string {
    return '[REDACTED]';
  }
  toJSON(): string {
    return '[REDACTED]';
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[REDACTED]';
  }
}

type Doc<T> = {
  /** One sentence or two: what it does, and when to change it. Required for every option. */
  description: string;
  default?: T;
  examples?: readonly unknown[];
  /** Still works, but warns: what to use in its place, one sentence without a full stop. */
  deprecated?: string;
  /** Accepted so that a Collector config loads unchanged, but has no effect here: why, one clause without a full stop. */
  ignored?: string;
};

type SectionDoc = Pick<Doc<never>, 'description' | 'deprecated' | 'ignored'>;

/** Text, number and so on as they are written in the file. */
export const t = {
  string: (o: Doc<string> & { pattern?: string; minLength?: number }) => Type.String(o as object),
  /** One of the given words. */
  choice: <const T extends string>(values: readonly T[], o: Doc<T>): TUnsafe<T> =>
    Type.Unsafe<T>({ type: 'string', enum: [...values], ...o }),
  boolean: (o: Doc<boolean>) => Type.Boolean(o as object),
  integer: (o: Doc<number> & { minimum?: number; maximum?: number }) => Type.Integer(o as object),
  number: (o: Doc<number> & { minimum?: number; maximum?: number; exclusiveMinimum?: number }) =>
    Type.Number(o as object),
  /** `1m30s`, `250ms`, `1h`; a bare number is refused, except 0. In code: milliseconds. */
  duration: (o: Doc<string> & { minimum?: string; maximum?: string }): TUnsafe<number> =>
    Type.Unsafe<number>({ type: ['string', 'integer'], format: 'duration', ...o }),
  /** `4MiB`, `64KiB`, `1000000` (bytes). In code: bytes. */
  size: (o: Doc<string>): TUnsafe<number> => Type.Unsafe<number>({ type: ['string', 'integer'], format: 'size', ...o }),
  /** `host:port`; `:port` and `0.0.0.0:port` listen on every interface. */
  endpoint: (o: Doc<string>) => Type.String({ format: 'endpoint', ...o } as object),
  /** An http or https URL. */
  url: (o: Doc<string>) => Type.String({ format: 'http_url', ...o } as object),
  /** A path of a file or folder. */
  path: (o: Doc<string>) => Type.String({ format: 'path', ...o } as object),
  /** Text that is redacted wherever it could be shown. In code: a Secret. */
  secret: (o: Doc<string>): TUnsafe<Secret> => Type.Unsafe<Secret>({ type: 'string', format: 'secret', ...o }),
  list: <T extends TSchema>(items: T, o: Doc<readonly unknown[]> & { minItems?: number }): TArray<T> =>
    Type.Array(items, o as object),
  /** Keys of the user's choice, all with values of one type. */
  map: <T extends TSchema>(values: T, o: Doc<Record<string, unknown>>): TUnsafe<Record<string, Static<T>>> =>
    Type.Unsafe<Record<string, Static<T>>>({ type: 'object', additionalProperties: values, ...o }),
  /** A section. Unknown keys are refused. Missing means all its defaults. */
  section: <P extends Record<string, TSchema>>(properties: P, o: SectionDoc): TObject<P> =>
    Type.Object(properties, { additionalProperties: false, default: {}, ...o }),
  /** One element of a list or map, or an alternative of `oneOf`: like a section, but never filled in by itself. */
  item: <P extends Record<string, TSchema>>(properties: P, o: SectionDoc): TObject<P> =>
    Type.Object(properties, { additionalProperties: false, ...o }),
  /** An option that may be left out; in code it is then absent. A section made optional is off unless written (null = on). */
  optional: <T extends TSchema>(schema: T) => Type.Optional(schema),
  /** Several shapes; in code, the union. Give each a description. */
  oneOf: <T extends TSchema[]>(alternatives: [...T], o: Doc<unknown>) => Type.Union(alternatives, o as object),
  /** Anything YAML can say. */
  any: (o: Doc<unknown>): TUnsafe<unknown> => Type.Unsafe<unknown>({ ...o }),
  /** An option of the Collector that has nothing to do here, taken with a warning; `why` is a clause without a full stop. */
  withoutEffect: (why: string) =>
    Type.Optional(Type.Unsafe<unknown>({ description: "The Collector's.", ignored: why })),
};

/** The whole config of a component. */
export function options<P extends Record<string, TSchema>>(properties: P): TObject<P> {
  return Type.Object(properties, { additionalProperties: false, default: {} });
}

const DURATION_UNITS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `1m30s` to milliseconds; undefined if it is not a duration. */
export function parseDuration(text: string | number): number | undefined {
  if (text === 0 || text === '0') return 0;
  if (typeof text !== 'string') return undefined;
  const sign = text.startsWith('-') ? -1 : 1;
  const body = text.replace(/^[+-]/, '');
  if (!/^(\d+(\.\d*)?(ns|us|µs|ms|s|m|h|d))+$/.test(body)) return undefined;
  let total = 0;
  for (const [, value, unit] of body.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h|d)/g)) {
    total += Number(value) * DURATION_UNITS[unit!]!;
  }
  return sign * total;
}

const SIZE_UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** `4MiB` to bytes; undefined if it is not a size. */
export function parseSize(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isSafeInteger(text) && text >= 0 ? text : undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$/.exec(text.trim());
  const unit = match?.[2]?.toLowerCase();
  // Own keys only: `5constructor` is no size.
  if (!match || unit === undefined || !Object.hasOwn(SIZE_UNITS, unit)) return undefined;
  return Math.round(Number(match[1]) * SIZE_UNITS[unit]!);
}

/** A schema as the code here reads it, whichever `t.*` made it. */
export type AnySchema = TSchema & {
  type?: string | string[];
  format?: string;
  enum?: string[];
  deprecated?: string;
  ignored?: string;
  properties?: Record<string, AnySchema>;
  required?: string[];
  additionalProperties?: AnySchema | boolean;
  items?: AnySchema;
  anyOf?: AnySchema[];
};

/**
 * Turns what the file says into what the code gets: defaults filled in, `null` sections filled with their defaults,
 * durations to milliseconds, sizes to bytes, secrets wrapped. Expects a value that already passed the schema; what does
 * not fit is left as it is.
 */
export function resolve<S extends TSchema>(schema: S, value: unknown): Static<S> {
  return walk(schema as AnySchema, value === undefined ? structuredDefault(schema) : value, convert) as Static<S>;
}

/** Like `resolve`, but values stay as a person writes them (`5s`); only the defaults are filled in. */
export function fillDefaults(schema: TSchema, value: unknown): unknown {
  return walk(schema as AnySchema, value === undefined ? structuredDefault(schema) : value, (_schema, v) => v);
}

const structuredDefault = (schema: AnySchema): unknown =>
  schema.default === undefined ? undefined : structuredClone(schema.default);

function convert(schema: AnySchema, value: unknown): unknown {
  switch (schema.format) {
    case 'duration':
      return parseDuration(value as string) ?? value;
    case 'size':
      return parseSize(value as string) ?? value;
    case 'secret':
      return value instanceof Secret ? value : new Secret(String(value));
    default:
      return value;
  }
}

function walk(schema: AnySchema, value: unknown, leaf: (schema: AnySchema, value: unknown) => unknown): unknown {
  if (value === null && schema.type === 'object') value = {};
  if (value === undefined || value === null) return value;
  if (schema.anyOf) {
    const match = pickAlternative(schema.anyOf, value) ?? schema.anyOf[0];
    return match ? walk(match, value, leaf) : value;
  }
  if (Array.isArray(value)) return schema.items ? value.map((v) => walk(schema.items!, v, leaf)) : value;
  if (schema.type === 'object' && typeof value === 'object') {
    const input = value as Record<string, unknown>;
    const output: Record<string, unknown> = {};
    for (const [key, sub] of Object.entries(schema.properties ?? {})) {
      const given = Object.hasOwn(input, key) ? input[key] : structuredDefault(sub);
      if (given === undefined || (isOptionalSection(schema, key) && !Object.hasOwn(input, key))) continue;
      output[key] = walk(sub, given, leaf);
    }
    for (const key of Object.keys(input)) {
      if (Object.hasOwn(schema.properties ?? {}, key)) continue;
      const extra = schema.additionalProperties;
      setOwn(output, key, typeof extra === 'object' ? walk(extra, input[key], leaf) : input[key]);
    }
    return output;
  }
  return leaf(schema, value);
}

/** Sets a key of the user's choice, which may be `__proto__`. */
function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
  else object[key] = value;
}

/** A section that is off unless written. */
export const isOptionalSection = (schema: AnySchema, key: string): boolean =>
  !(schema.required ?? []).includes(key) && schema.properties?.[key]?.type === 'object';

/**
 * The alternative of a `t.oneOf` that a value is meant to be: of those with its outer shape (a text, a number, a list, a
 * map) the one whose keys and words it fits best. Undefined if it has the shape of none.
 */
export function pickAlternative(alternatives: readonly AnySchema[], value: unknown): AnySchema | undefined {
  let best: AnySchema | undefined;
  let bestMisfits = Number.POSITIVE_INFINITY;
  for (const schema of alternatives) {
    const count = misfits(schema, value);
    if (count < bestMisfits) {
      best = schema;
      bestMisfits = count;
    }
  }
  return best;
}

/** How badly a value fits, judged from outside; infinite if it has another shape. */
function misfits(schema: AnySchema, value: unknown): number {
  if (schema.anyOf) return Math.min(...schema.anyOf.map((s) => misfits(s, value)));
  if (schema.type === undefined) return 0.5;
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const actual = Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value;
  if (actual === 'number') {
    return types.includes('number') || (types.includes('integer') && Number.isInteger(value)) ? 0 : Infinity;
  }
  if (!types.includes(actual)) return Infinity;
  if (actual === 'string') {
    if (schema.enum) return schema.enum.includes(value as string) ? 0 : 2;
    if (schema.format === 'duration') return parseDuration(value as string) === undefined ? 1 : 0;
    if (schema.format === 'size') return parseSize(value as string) === undefined ? 1 : 0;
    return 0;
  }
  if (actual !== 'object') return 0;
  const input = value as Record<string, unknown>;
  const properties = schema.properties ?? {};
  let count = 0;
  for (const key of Object.keys(input)) {
    const property = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (!property) count += typeof schema.additionalProperties === 'object' ? 0.1 : 1;
    else if (property.enum && !property.enum.includes(input[key] as string)) count += 10;
  }
  for (const key of schema.required ?? []) {
    if (!Object.hasOwn(input, key) && properties[key]?.default === undefined) count += 1;
  }
  return count;
}
