/** Faults of a value as sentences: the Collector's own where it has one, then what to do. */
import { isSecretPath, redactUrls } from './redact.ts';
import type { AnySchema } from './schema.ts';
import { didYouMean } from './suggest.ts';
import { describeKind, goType, type Node, type Path } from './tree.ts';
import type { Fault } from './validate.ts';

export interface Sentence {
  /** The path it is about; its key rather than its value if `aboutKey`. */
  readonly path: Path;
  readonly aboutKey: boolean;
  readonly message: string;
  readonly hint?: string;
}

export interface Surroundings {
  /** The node at the fault's path; undefined where nothing was written. */
  readonly node: Node | undefined;
  /** The whole declaration, for finding where else a key is valid. */
  readonly root: AnySchema;
  /** The path from the top of the file to the checked value. */
  readonly base: Path;
  /** The expression that left this setting empty, if one did. */
  readonly emptied: (path: Path) => string | undefined;
}

/** One sentence for one fault. */
export function sentenceFor(fault: Fault, around: Surroundings): Sentence {
  const { path, schema } = fault;
  const name = `'${path.join('.')}'`;
  const value = (message: string, hint?: string): Sentence => ({
    path,
    aboutKey: false,
    message,
    ...(hint === undefined ? {} : { hint }),
  });
  switch (fault.keyword) {
    case 'additionalProperties': {
      const key = String(fault.params['additionalProperty']);
      const valid = Object.keys(schema.properties ?? {});
      const suggestion = suggestKey(key, path, valid, around.root);
      // A long list is only worth reading when there is no better guess.
      const list = valid.length > 0 && (suggestion === '' || valid.length <= 8);
      return {
        path: [...path, key],
        aboutKey: true,
        message: `${name} has invalid keys: ${key}${suggestion}`,
        ...(list ? { hint: `valid keys: ${shorten(valid)}` } : {}),
      };
    }
    case 'required': {
      const key = String(fault.params['missingProperty']);
      const emptied = around.emptied([...path, key]);
      const wanted = schema.properties?.[key];
      return {
        path: [...path, key],
        aboutKey: emptied === undefined,
        message:
          emptied === undefined
            ? `${path.length === 0 ? '' : `${name}: `}the required key "${key}" is missing${wanted ? `: write ${key}: ${exampleOf(wanted)}` : ''}`
            : `"${key}" is required, but ${emptied} stands for nothing: the variable is unset or empty`,
        ...(wanted?.description === undefined ? {} : { hint: wanted.description }),
      };
    }
    case 'type':
      return value(typeSentence(name, fault, around), hintFor(schema));
    case 'enum': {
      const words = schema.enum ?? [];
      const shown = show(fault, around);
      const near =
        around.node?.kind === 'scalar' && !isHidden(fault, around) ? didYouMean(String(around.node.value), words) : '';
      return value(`${name} has the unknown value ${shown}${near}`, `valid values: ${words.join(', ')}`);
    }
    case 'text':
      if (isHidden(fault, around))
        return value(`${name} is not ${describeSchema(schema)}: found ${show(fault, around)}`);
      return value(`${name}: ${String(fault.params['fault'])}`);
    case 'union':
      return value(
        `${name} has the wrong shape: expected ${orList((schema.anyOf ?? []).map(describeSchema))}, found ${around.node ? describeKind(around.node) : 'nothing'}`,
        (schema.anyOf ?? []).map((s) => s.description).join(' · ') || undefined,
      );
    case 'pattern':
      return value(
        `${name} must match the regex ${String(fault.params['pattern'])}, found ${show(fault, around)}`,
        schema.description,
      );
    case 'minLength':
      return value(`${name} must not be empty`, schema.description);
    case 'minItems': {
      const limit = Number(fault.params['limit']);
      return value(`${name} needs at least ${limit} ${limit === 1 ? 'item' : 'items'}`, schema.description);
    }
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum': {
      const bound = {
        minimum: 'at least',
        maximum: 'at most',
        exclusiveMinimum: 'more than',
        exclusiveMaximum: 'less than',
      };
      const limit = String(fault.params['limit']);
      return value(`${name} must be ${bound[fault.keyword]} ${limit}, found ${show(fault, around)}`);
    }
    default:
      return value(`${name} is not valid (${fault.keyword}), found ${show(fault, around)}`, schema.description);
  }
}

function typeSentence(name: string, fault: Fault, around: Surroundings): string {
  const { schema } = fault;
  const { node } = around;
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  const wanted = describeSchema(schema);
  if (!node || (node.kind === 'scalar' && node.value === null)) {
    const emptied = around.emptied(fault.path);
    return `${name} is empty: expected ${wanted}${emptied === undefined ? '' : `, but ${emptied} stands for nothing`}`;
  }
  if (types.includes('array')) {
    const kind = node.kind === 'map' ? 'map' : goType(node);
    return `${name} source data must be an array or slice, got ${kind}: expected ${wanted}`;
  }
  if (types.includes('object')) {
    const kind = node.kind === 'list' ? 'slice' : goType(node);
    return `${name} expected a map or struct, got "${kind}": expected ${wanted}`;
  }
  const shown = node.kind === 'scalar' ? ` (${show(fault, around)})` : '';
  return `${name} expected type '${goTypeOf(schema)}', got unconvertible type '${goType(node)}'${shown}: expected ${wanted}`;
}

function goTypeOf(schema: AnySchema): string {
  if (schema.format === 'duration') return 'time.Duration';
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  return { integer: 'int', number: 'float64', boolean: 'bool' }[type ?? ''] ?? 'string';
}

/** What a declaration takes, in words. */
export function describeSchema(schema: AnySchema): string {
  if (schema.anyOf) return orList(schema.anyOf.map(describeSchema));
  if (schema.enum)
    return schema.enum.length > 6 ? 'one of the valid words' : orList(schema.enum.map((word) => `"${word}"`));
  const words: Record<string, string> = {
    duration: 'a duration such as 5s',
    size: 'a size such as 4MiB',
    endpoint: 'host:port',
    http_url: 'a URL such as http://host:port',
    path: 'a path',
    secret: 'a text',
  };
  if (schema.format !== undefined && words[schema.format] !== undefined) return words[schema.format]!;
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case 'string':
      return 'a text (numbers need quotes)';
    case 'integer':
      return 'a whole number';
    case 'number':
      return 'a number';
    case 'boolean':
      return 'true or false';
    case 'array':
      return 'a list';
    case 'object':
      return schema.properties ? `a map with the keys ${shorten(Object.keys(schema.properties), 6)}` : 'a map';
    default:
      return 'a value';
  }
}

function exampleOf(schema: AnySchema): string {
  const example = (schema as { examples?: unknown[] }).examples?.[0];
  if (typeof example === 'string' || typeof example === 'number') return String(example);
  return `<${describeSchema(schema).replace(/ \(.*\)$/, '')}>`;
}

const hintFor = (schema: AnySchema): string | undefined => schema.description;

const isHidden = (fault: Fault, around: Surroundings): boolean =>
  around.node?.origin !== undefined || isSecretPath(fault.schema, [...around.base, ...fault.path]);

/** The value as a message may show it: never a secret, nor what an expression stands for. */
function show(fault: Fault, around: Surroundings): string {
  const { node } = around;
  if (node?.origin !== undefined) return `what ${shortenText(node.origin)} stands for`;
  if (isSecretPath(fault.schema, [...around.base, ...fault.path])) return 'a value that is not shown';
  if (!node) return 'nothing';
  if (node.kind !== 'scalar') return describeKind(node);
  const text = node.text ?? String(node.value);
  return typeof node.value === 'string' ? JSON.stringify(shortenText(redactUrls(text))) : text;
}

const shortenText = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);

function shorten(names: readonly string[], limit = 24): string {
  return names.length > limit
    ? `${names.slice(0, limit).join(', ')} and ${names.length - limit} more`
    : names.join(', ');
}

function orList(words: readonly string[]): string {
  const distinct = [...new Set(words)];
  return distinct.length < 2 ? distinct.join('') : `${distinct.slice(0, -1).join(', ')} or ${distinct.at(-1)}`;
}

/** The nearest key here; else the place where a key of exactly this name does belong. */
function suggestKey(key: string, path: readonly string[], valid: readonly string[], root: AnySchema): string {
  const elsewhere = placesOf(key, root).filter((place) => place.length <= path.length + 3);
  const near = didYouMean(key, valid);
  if (near !== '') return near;
  return elsewhere.length === 1 || elsewhere.length === 2
    ? `; it belongs in ${orList(elsewhere.map((place) => `"${place.join('::')}"`))}`
    : '';
}

function placesOf(key: string, schema: AnySchema, path: readonly string[] = []): string[][] {
  if (path.length > 4) return [];
  const found: string[][] = [];
  for (const [name, sub] of Object.entries(schema.properties ?? {})) {
    if (name === key) found.push([...path, name]);
    for (const inner of [sub, ...(sub.anyOf ?? [])]) found.push(...placesOf(key, inner, [...path, name]));
  }
  return found;
}
