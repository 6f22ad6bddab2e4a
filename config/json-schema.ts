/**
 * One JSON Schema of a whole config file, for editors (yaml-language-server and everything built on it): names, defaults,
 * descriptions and mistakes while typing. Draft 7, because that is what editors know best.
 */
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { SIGNALS } from '../pipeline/model.ts';
import { shutdownTimeout, telemetryOptions } from '../pipeline/telemetry-options.ts';
import { SECTIONS, type Section } from './checker.ts';
import { type AnySchema, isOptionalSection } from './schema.ts';

type Json = Record<string, unknown>;

/** `${…}` may stand wherever a single value may. */
const EXPRESSION = '\\$\\{';
const DURATION = '^[+-]?(\\d+(\\.\\d*)?(ns|us|µs|ms|s|m|h|d))+$|^0$';
const SIZE = '^\\d+(\\.\\d+)?\\s*([kKmMgGtT]([iI])?)?[bB]?$';
const ENDPOINT = '^(\\[[^\\]]*\\]|[^:\\[\\]]*):\\d{1,5}$';
const NAME = '/.+';

/** The schema of every config that can name what is in this registry. */
export function configSchema(registry: Registry): Json {
  const definitions: Json = {};
  const properties: Json = {};
  for (const section of SECTIONS) properties[section] = sectionSchema(section, registry, definitions);
  return shareRepeated({
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'enginelight config',
    description: 'What enginelight receives, how it processes it, and where it sends it.',
    type: 'object',
    properties: { ...properties, service: serviceSchema(registry) },
    additionalProperties: false,
    required: ['receivers', 'exporters', 'service'],
    definitions,
  });
}

const SECTION_TEXT: Record<Section, string> = {
  receivers: 'Where data comes from. Each id is type or type/name.',
  processors: 'What happens to it on the way.',
  exporters: 'Where it goes.',
  extensions: 'What the daemon does besides.',
};

function sectionSchema(section: Section, registry: Registry, definitions: Json): Json {
  const properties: Json = {};
  const patternProperties: Json = {};
  for (const definition of registry[section] as readonly AnyDefinition[]) {
    const name = `${section}.${definition.type}`;
    const signals = 'signals' in definition ? ` Signals: ${definition.signals.join(', ')}.` : '';
    definitions[name] = {
      ...translate(definition.config as AnySchema),
      description: `${definition.summary}. Stability: ${definition.stability}.${signals}`,
    };
    const reference = { $ref: `#/definitions/${name}` };
    // Editors complete from properties, never from patterns: so the bare types are properties, named ones a pattern.
    for (const type of [definition.type, ...(definition.aliases ?? [])]) {
      properties[type] = reference;
      patternProperties[`^${type}${NAME}$`] = reference;
    }
  }
  return {
    type: ['object', 'null'],
    description: SECTION_TEXT[section],
    properties,
    patternProperties,
    additionalProperties: false,
  };
}

function serviceSchema(registry: Registry): Json {
  const ids = (section: Section, description: string): Json => {
    const types = (registry[section] as readonly AnyDefinition[]).flatMap((d) => [d.type, ...(d.aliases ?? [])]);
    return {
      type: ['array', 'string', 'null'],
      description,
      // With no component of a kind there is nothing to offer.
      items:
        types.length === 0
          ? { type: 'string' }
          : {
              anyOf: [
                { enum: types },
                { type: 'string', pattern: `^\\s*(${types.join('|')})\\s*(${NAME})?$|${EXPRESSION}` },
              ],
            },
    };
  };
  const pipeline: Json = {
    type: 'object',
    properties: {
      receivers: ids('receivers', 'Ids of receivers; at least one.'),
      processors: ids('processors', 'Ids of processors, in the order in which data passes them.'),
      exporters: ids('exporters', 'Ids of exporters; each gets all the data. At least one.'),
    },
    required: ['receivers', 'exporters'],
    additionalProperties: false,
  };
  const kinds = [...SIGNALS, 'inference'];
  return {
    type: 'object',
    description: 'What is started, and how it is connected.',
    properties: {
      pipelines: {
        type: 'object',
        description:
          'A pipeline id is metrics, traces, logs, or inference (all signals down one path), or one of them with a /name.',
        properties: Object.fromEntries(kinds.map((kind) => [kind, pipeline])),
        patternProperties: { [`^(${kinds.join('|')})${NAME}$`]: pipeline },
        additionalProperties: false,
        minProperties: 1,
      },
      extensions: ids('extensions', 'Ids of extensions, in the order in which they start.'),
      telemetry: { ...translate(telemetryOptions as AnySchema), description: "The daemon's own log and metrics." },
      plugins: {
        type: ['array', 'null'],
        description: 'Modules that add components: paths relative to this file, or names of packages.',
        items: { type: 'string' },
      },
      shutdown_timeout: translate(shutdownTimeout as AnySchema),
    },
    required: ['pipelines'],
    additionalProperties: false,
  };
}

function translate(schema: AnySchema): Json {
  const about = aboutOf(schema);
  if (schema.anyOf) return { ...about, anyOf: [...schema.anyOf.map(translate), { type: 'null' }] };
  if (schema.enum)
    return { ...about, anyOf: [{ enum: schema.enum }, { type: 'string', pattern: EXPRESSION }, { type: 'null' }] };
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  switch (types[0]) {
    case 'object':
      return { ...about, ...translateObject(schema) };
    case 'array':
      return {
        ...about,
        // A text with commas is a list too, and an expression can stand for one.
        type: ['array', 'string', 'null'],
        items: translate((schema.items ?? {}) as AnySchema),
        ...keep(schema, ['minItems', 'maxItems', 'uniqueItems']),
      };
    case 'integer':
    case 'number':
    case 'boolean':
      return {
        ...about,
        type: [types[0], 'string', 'null'],
        pattern: EXPRESSION,
        ...keep(schema, ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']),
      };
    case 'string':
      return { ...about, ...translateText(schema, types) };
    default:
      return about;
  }
}

function aboutOf(schema: AnySchema): Json {
  const notes = [
    schema.description,
    schema.deprecated === undefined ? undefined : `Deprecated: ${schema.deprecated}.`,
    schema.ignored === undefined ? undefined : `Has no effect: ${schema.ignored}.`,
  ].filter((note) => note !== undefined);
  return {
    ...(notes.length > 0 ? { description: notes.join(' ') } : {}),
    // A section's default is only a marker that it is filled in.
    ...(schema.default === undefined || schema.properties ? {} : { default: schema.default }),
    ...keep(schema, ['examples']),
    ...(schema.deprecated === undefined && schema.ignored === undefined ? {} : { deprecated: true }),
  };
}

function translateObject(schema: AnySchema): Json {
  // `${file:part.yaml}` can stand for a whole section.
  const base: Json = { type: ['object', 'null', 'string'], pattern: EXPRESSION };
  if (!schema.properties) {
    const values = typeof schema.additionalProperties === 'object' ? translate(schema.additionalProperties) : {};
    // Beside a key of the user's, a number is taken as text.
    const lenient = Array.isArray(values['type']) && values['type'][0] === 'string';
    return {
      ...base,
      additionalProperties: lenient ? { ...values, type: ['string', 'number', 'boolean', 'null'] } : values,
    };
  }
  const properties: Json = {};
  for (const [key, inner] of Object.entries(schema.properties)) {
    const translated = translate(inner);
    if (isOptionalSection(schema, key) && inner.properties && !Object.hasOwn(inner.properties, 'enabled')) {
      const enabled = { type: 'boolean', description: 'False turns the section off, as if it were left out.' };
      properties[key] = { ...translated, properties: { ...(translated['properties'] as Json), enabled } };
    } else properties[key] = translated;
  }
  const required = (schema.required ?? []).filter((key) => schema.properties?.[key]?.default === undefined);
  return { ...base, properties, additionalProperties: false, ...(required.length > 0 ? { required } : {}) };
}

function translateText(schema: AnySchema, types: readonly unknown[]): Json {
  // `patternErrorMessage` and `errorMessage` are the editors' own: what they say in place of the regular expression.
  const pattern = (regex: string, message: string): Json => ({
    type: [...types, 'null'],
    pattern: `${regex}|${EXPRESSION}`,
    patternErrorMessage: `Expected ${message}.`,
  });
  switch (schema.format) {
    case 'duration': {
      const message = 'a duration with a unit, such as 5s or 1m30s';
      const text = { ...pattern(DURATION, message), type: ['string', 'null'], errorMessage: `Expected ${message}.` };
      return { anyOf: [text, { const: 0 }] };
    }
    case 'size':
      return { ...pattern(SIZE, 'a size such as 4MiB, or bytes'), minimum: 0 };
    case 'endpoint':
      return pattern(ENDPOINT, 'host:port');
    case 'http_url':
      return pattern('^[hH][tT][tT][pP][sS]?://[^/?#]', 'a URL such as http://host:port');
    default: {
      const own = schema['pattern'] as string | undefined;
      if (own !== undefined) return pattern(own, `a text that matches ${own}`);
      return { type: [...types, 'null'], ...keep(schema, ['minLength', 'maxLength']) };
    }
  }
}

/**
 * Moves what is said several times (TLS settings, discovery) into definitions: receivers share most of their options, and
 * an editor reads the file at every start.
 */
function shareRepeated(schema: Json): Json {
  const seen = new Map<string, { count: number; name: string }>();
  const count = (value: unknown, key: string): void => {
    if (typeof value !== 'object' || value === null) return;
    if (isShareable(value)) {
      const text = JSON.stringify(value);
      const known = seen.get(text);
      if (known) {
        known.count++;
        return;
      }
      seen.set(text, { count: 1, name: key });
    }
    for (const [name, inner] of Object.entries(value)) count(inner, name);
  };
  count(schema, '');

  const definitions: Json = {};
  const names = new Map<string, string>();
  const replace = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const text = isShareable(value) ? JSON.stringify(value) : '';
    const known = seen.get(text);
    if (known === undefined || known.count < 2) return rebuild(value, replace);
    let name = names.get(text);
    if (name === undefined) {
      name = known.name;
      for (let n = 2; Object.hasOwn(definitions, `shared.${name}`); n++) name = `${known.name}.${n}`;
      names.set(text, name);
      definitions[`shared.${name}`] = {};
      definitions[`shared.${name}`] = rebuild(value, replace);
    }
    return { $ref: `#/definitions/shared.${name}` };
  };
  const whole = replace(schema) as Json;
  return { ...whole, definitions: { ...(whole['definitions'] as Json), ...definitions } };
}

/** A schema of some size; a `$ref` to anything smaller saves nothing. */
const isShareable = (value: object): boolean =>
  ('type' in value || 'anyOf' in value) && 'description' in value && JSON.stringify(value).length > 300;

const rebuild = (value: object, map: (inner: unknown) => unknown): unknown =>
  Array.isArray(value)
    ? value.map(map)
    : Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, map(inner)]));

function keep(schema: AnySchema, keys: readonly string[]): Json {
  return Object.fromEntries(keys.filter((key) => schema[key] !== undefined).map((key) => [key, schema[key]]));
}
