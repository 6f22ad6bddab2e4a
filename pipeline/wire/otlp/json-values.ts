/** How OTLP/JSON says single values, and how they are read: 64-bit integers, doubles, bytes, ids, enums, AnyValue. */
import { type AnyValue, type Attributes, type Count, Double, KeyValues, NO_ATTRIBUTES } from '../../model.ts';
import { type MutableAttributes, newAttributes } from './attributes.ts';
import { doubleValue, MAX_DEPTH } from './decode-common.ts';
import { OtlpJsonError } from './json-text.ts';

export type JsonObject = { readonly [key: string]: unknown };

/** Where in the document reading is; only looked at when something is wrong. */
export const path: (string | number)[] = [];

export function fail(key: string | undefined, message: string): never {
  const all = key === undefined ? path : [...path, key];
  const where = all.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('');
  throw new OtlpJsonError(`${message} (at ${where.replace(/^\./, '') || 'the top'})`);
}

const show = (value: unknown) => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

/** The object at `key`; undefined if it is absent or null. */
export function objectAt(parent: JsonObject, key: string): JsonObject | undefined {
  const value = parent[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) fail(key, `${show(value)} is not an object`);
  return value as JsonObject;
}

/** Calls back for each element of the list of objects at `key`. */
export function eachAt(parent: JsonObject, key: string, read: (element: JsonObject) => void): void {
  const list = parent[key];
  if (list === undefined || list === null) return;
  if (!Array.isArray(list)) fail(key, `${show(list)} is not a list`);
  path.push(key);
  for (let i = 0; i < list.length; i++) {
    path.push(i);
    const element: unknown = list[i];
    if (typeof element !== 'object' || element === null || Array.isArray(element)) {
      fail(undefined, `${show(element)} is not an object`);
    }
    read(element as JsonObject);
    path.pop();
  }
  path.pop();
}

export function textAt(parent: JsonObject, key: string): string {
  const value = parent[key];
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  return fail(key, `${show(value)} is not a string`);
}

export function booleanAt(parent: JsonObject, key: string): boolean {
  const value = parent[key];
  if (typeof value === 'boolean') return value;
  if (value === undefined || value === null) return false;
  return fail(key, `${show(value)} is neither true nor false`);
}

/** A 32-bit integer, as a number or a string; 0 if absent. */
export function intAt(parent: JsonObject, key: string, names?: Readonly<Record<string, number>>): number {
  const value = parent[key];
  if (typeof value === 'number' && Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 32) return value;
  if (value === undefined || value === null) return 0;
  if (typeof value === 'string') {
    const named = names && Object.hasOwn(names, value) ? names[value] : undefined;
    if (named !== undefined) return named;
    if (/^-?[0-9]{1,10}$/.test(value)) return Number(value);
  }
  return fail(key, `${show(value)} is not an integer`);
}

/** As protobuf has it for uint32 and fixed32 fields. */
export const uintAt = (parent: JsonObject, key: string): number => intAt(parent, key) >>> 0;

const INTEGER = /^-?[0-9]{1,20}$/;

function bigOf(value: unknown, key: string, signed: boolean): bigint {
  let big: bigint | undefined;
  if (typeof value === 'string' && INTEGER.test(value)) big = BigInt(value);
  else if (typeof value === 'number' && Number.isInteger(value)) big = BigInt(value);
  const fits = big !== undefined && (signed ? BigInt.asIntN(64, big) : BigInt.asUintN(64, big)) === big;
  return fits ? big! : fail(key, `${show(value)} is not a ${signed ? 'signed' : 'unsigned'} 64-bit integer`);
}

export function int64At(parent: JsonObject, key: string): bigint {
  return bigOf(parent[key], key, true);
}

let lastTimeText = '';
let lastTime = 0n;

/** Nanoseconds; 0n if absent. */
export function timeAt(parent: JsonObject, key: string): bigint {
  const value = parent[key];
  if (value === undefined || value === null) return 0n;
  if (typeof value === 'string') {
    if (value === lastTimeText) return lastTime;
    lastTime = bigOf(value, key, false);
    lastTimeText = value;
    return lastTime;
  }
  return bigOf(value, key, false);
}

export function countOf(value: unknown, key: string): Count {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  const big = bigOf(value, key, false);
  return big <= Number.MAX_SAFE_INTEGER ? Number(big) : big;
}

export function countAt(parent: JsonObject, key: string): Count {
  const value = parent[key];
  return value === undefined || value === null ? 0 : countOf(value, key);
}

const NUMERIC = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

export function doubleOf(value: unknown, key: string): number {
  if (typeof value === 'number') return value;
  if (value === 'NaN') return Number.NaN;
  if (value === 'Infinity') return Number.POSITIVE_INFINITY;
  if (value === '-Infinity') return Number.NEGATIVE_INFINITY;
  if (typeof value === 'string' && NUMERIC.test(value)) return Number(value);
  return fail(key, `${show(value)} is not a number`);
}

export function optionalDoubleAt(parent: JsonObject, key: string): number | undefined {
  const value = parent[key];
  return value === undefined || value === null ? undefined : doubleOf(value, key);
}

/** Elements of a list of plain values. */
export function valuesAt<T>(parent: JsonObject, key: string, read: (value: unknown, key: string) => T): T[] {
  const list = parent[key];
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) fail(key, `${show(list)} is not a list`);
  return list.map((value) => read(value, key));
}

export const stringOf = (value: unknown, key: string): string =>
  typeof value === 'string' ? value : fail(key, `${show(value)} is not a string`);

const ID = { 16: /^[0-9a-fA-F]{16}$/, 32: /^[0-9a-fA-F]{32}$/ } as const;

/** An id in hex of any case; '' when absent or all zero. */
export function idAt(parent: JsonObject, key: string, digits: 16 | 32): string {
  const value = parent[key];
  if (value === undefined || value === null || value === '') return '';
  if (typeof value !== 'string' || !ID[digits].test(value)) {
    fail(key, `${show(value)} is not an id of ${digits} hexadecimal digits`);
  }
  return /^0+$/.test(value) ? '' : value.toLowerCase();
}

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

function bytesOf(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !BASE64.test(value)) fail('bytesValue', `${show(value)} is not base64`);
  return new Uint8Array(Buffer.from(value, 'base64'));
}

/** A list or map; some senders, and an official example, leave the object around the values out. */
const valuesOf = (any: JsonObject, key: string): JsonObject =>
  Array.isArray(any[key]) ? { values: any[key] } : objectAt(any, key)!;

/** An AnyValue object; null for one with nothing set. */
export function readJsonAny(any: JsonObject | undefined, depth: number): AnyValue {
  if (depth > MAX_DEPTH) fail(undefined, `values are nested more than ${MAX_DEPTH} deep`);
  if (any === undefined) return null;
  for (const key of Object.keys(any)) {
    const value = any[key];
    if (value === undefined || value === null) continue;
    switch (key) {
      case 'stringValue':
        return stringOf(value, key);
      case 'boolValue':
        return booleanAt(any, key);
      case 'intValue': {
        if (typeof value === 'number' && Number.isSafeInteger(value)) return Object.is(value, -0) ? 0 : value;
        const big = int64At(any, key);
        const number = Number(big);
        return Number.isSafeInteger(number) ? number : big;
      }
      case 'doubleValue':
        return doubleValue(doubleOf(value, key));
      case 'bytesValue':
        return bytesOf(value);
      case 'arrayValue': {
        const items: AnyValue[] = [];
        eachAt(valuesOf(any, key), 'values', (element) => items.push(readJsonAny(element, depth + 1)));
        return items;
      }
      case 'kvlistValue':
        return new KeyValues(readJsonAttributes(valuesOf(any, key), 'values', depth + 1));
    }
  }
  return null;
}

/** Key-value pairs; a duplicate key keeps its last value. */
export function readJsonAttributes(parent: JsonObject, key: string, depth = 0): Attributes {
  let attributes: MutableAttributes | undefined;
  eachAt(parent, key, (pair) => {
    attributes ??= newAttributes();
    attributes[textAt(pair, 'key')] = readJsonAny(objectAt(pair, 'value'), depth);
  });
  return attributes ?? NO_ATTRIBUTES;
}

/** A double as JSON: what JSON cannot say is a string. */
export function doubleJson(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? '-0' : String(value);
  return Number.isNaN(value) ? '"NaN"' : value > 0 ? '"Infinity"' : '"-Infinity"';
}

/** An AnyValue object as JSON text. */
export function anyJson(value: AnyValue): string {
  switch (typeof value) {
    case 'string':
      return `{"stringValue":${JSON.stringify(value)}}`;
    case 'boolean':
      return `{"boolValue":${value}}`;
    case 'bigint':
      return `{"intValue":"${BigInt.asIntN(64, value)}"}`;
    case 'number':
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? `{"intValue":"${value}"}`
        : `{"doubleValue":${doubleJson(value)}}`;
  }
  if (value === null) return '{}';
  if (value instanceof Double) return `{"doubleValue":${doubleJson(value.value)}}`;
  if (value instanceof Uint8Array) {
    return `{"bytesValue":"${Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64')}"}`;
  }
  if (value instanceof KeyValues) return `{"kvlistValue":{"values":${attributesJson(value.entries)}}}`;
  return `{"arrayValue":{"values":[${value.map(anyJson).join(',')}]}}`;
}

/** A list of KeyValue as JSON text. */
export function attributesJson(attributes: Attributes): string {
  let out = '[';
  for (const key of Object.keys(attributes)) {
    out += `${out.length > 1 ? ',' : ''}{"key":${JSON.stringify(key)},"value":${anyJson(attributes[key]!)}}`;
  }
  return `${out}]`;
}
