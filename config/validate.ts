/**
 * Checks a value against the declaration of its options with ajv, all mistakes at once. What JSON Schema cannot say well
 * (durations, sizes, which alternative of several was meant) is added as keywords, so that every error is about one thing.
 */
import { createRequire } from 'node:module';
import type { Ajv2020, AnySchemaObject, ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import { checkFormat } from './formats.ts';
import { type AnySchema, pickAlternative } from './schema.ts';

const require = createRequire(import.meta.url);

/** One thing that is wrong with a value. `keyword` is JSON Schema's, or `duration`, `size`, `text`, `union`. */
export interface Fault {
  readonly path: readonly string[];
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** The schema at `path`, as it was declared. */
  readonly schema: AnySchema;
}

/** What ajv compiles; `declared` leads back to our declaration. */
type Translated = Record<string, unknown> & { declared: AnySchema };

/** ajv reads the errors of a keyword off its function. */
type Check = ((value: unknown, context?: { instancePath: string }) => boolean) & { errors?: Partial<ErrorObject>[] };

let ajv: Ajv2020 | undefined;
const compiled = new WeakMap<object, ValidateFunction>();

/** Every fault of a value that went through `conform`; empty if it is valid. */
export function faultsOf(schema: AnySchema, value: unknown): Fault[] {
  const validate = compiledFor(schema);
  if (validate(value)) return [];
  return (validate.errors ?? []).map((error) => ({
    path: error.instancePath === '' ? [] : error.instancePath.slice(1).split('/').map(unescapePointer),
    keyword: error.keyword,
    params: error.params,
    schema: (error.parentSchema as Translated).declared,
  }));
}

/** Compiled when first needed: most configs use few components, and few alternatives of those. */
function compiledFor(schema: AnySchema): ValidateFunction {
  let validate = compiled.get(schema);
  if (!validate) {
    ajv ??= createAjv();
    validate = ajv.compile(translate(schema));
    compiled.set(schema, validate);
  }
  return validate;
}

const unescapePointer = (step: string): string => step.replaceAll('~1', '/').replaceAll('~0', '~');

function createAjv(): Ajv2020 {
  const { Ajv2020: Ajv } = require('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js');
  // The schemas are our own and typed: checking them against the meta-schema would only cost time at every start.
  const instance = new Ajv({
    allErrors: true,
    verbose: true,
    // The sentences are our own; and optimising the code takes longer than running it once ever will (measured: half).
    messages: false,
    code: { optimize: false },
    strict: false,
    meta: false,
    validateSchema: false,
    logger: false,
  });
  instance.addKeyword({ keyword: 'declared' });
  instance.addKeyword({
    keyword: 'text',
    type: ['string', 'number'],
    errors: true,
    compile: (format: AnySchema, parentSchema: AnySchemaObject) => {
      const check: Check = (value) => {
        const fault = checkFormat(format, value as string | number);
        if (fault === undefined) return true;
        check.errors = [{ keyword: 'text', params: { fault }, parentSchema }];
        return false;
      };
      return check;
    },
  });
  instance.addKeyword({
    keyword: 'union',
    errors: 'full',
    compile: (alternatives: AnySchema[], parent: AnySchemaObject) => {
      const check: Check = (value, context) => {
        const fit = pickAlternative(alternatives, value);
        const validator = fit && compiledFor(fit);
        // The context carries the path, so that the errors inside say where they are in the whole.
        if (validator?.(value, context as Parameters<typeof validator>[1])) return true;
        const none = { keyword: 'union', params: {}, instancePath: context?.instancePath ?? '', parentSchema: parent };
        check.errors = validator?.errors ?? [none];
        return false;
      };
      return check;
    },
  });
  return instance;
}

/** Our declaration in terms that ajv takes. */
function translate(schema: AnySchema): Translated {
  const out: Translated = { declared: schema };
  if (schema.anyOf) return { ...out, union: schema.anyOf };
  for (const key of KEPT) if (schema[key] !== undefined) out[key] = schema[key];
  if (schema.format !== undefined) out['text'] = schema;
  // A duration's bounds are durations; the `text` keyword checks them.
  if (schema.format === 'duration') {
    delete out['minimum'];
    delete out['maximum'];
  }
  if (schema.properties) {
    out['properties'] = mapValues(schema.properties, translate);
    out['required'] = (schema.required ?? []).filter((key) => schema.properties?.[key]?.default === undefined);
  }
  if (typeof schema.additionalProperties === 'object')
    out['additionalProperties'] = translate(schema.additionalProperties);
  if (schema.items) out['items'] = translate(schema.items);
  return out;
}

const KEPT = [
  'type',
  'enum',
  'const',
  'pattern',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minProperties',
  'maxProperties',
  'additionalProperties',
];

function mapValues<A, B>(record: Record<string, A>, map: (value: A) => B): Record<string, B> {
  const out: Record<string, B> = {};
  for (const [key, value] of Object.entries(record)) out[key] = map(value);
  return out;
}
