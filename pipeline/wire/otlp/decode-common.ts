/** The parts that all three signals share when OTLP protobuf is read: values, attributes, resources, scopes. */
import {
  type AnyValue,
  type Attributes,
  Double,
  type EntityRef,
  KeyValues,
  NO_ATTRIBUTES,
  type Resource,
  type Scope,
} from '../../model.ts';
import { Reader } from '../protobuf/reader.ts';
import { type MutableAttributes, newAttributes } from './attributes.ts';

/** How deep values may be nested; deeper ones are refused, not followed. */
export const MAX_DEPTH = 128;

/** A number that was a double on the wire, as the model says it. */
export const doubleValue = (value: number): number | Double =>
  Number.isSafeInteger(value) && !Object.is(value, -0) ? new Double(value) : value;

/** An AnyValue. `value` is what an earlier occurrence of the same field gave: protobuf merges them. */
export function readAny(r: Reader, end: number, depth: number, initial: AnyValue = null): AnyValue {
  if (depth > MAX_DEPTH) r.fail(`values are nested more than ${MAX_DEPTH} deep`);
  let value = initial;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x0a:
        value = r.string(end);
        break;
      case 0x10:
        value = r.uint32(end) !== 0;
        break;
      case 0x18:
        value = r.int64(end, true);
        break;
      case 0x21:
        value = doubleValue(r.double(end));
        break;
      case 0x2a: {
        const items: AnyValue[] = Array.isArray(value) ? [...value] : [];
        const stop = r.enter(end);
        while (r.at < stop) {
          const inner = r.tag(stop);
          if (inner === 0x0a) items.push(readAny(r, r.enter(stop), depth + 1));
          else r.skip(inner, stop);
        }
        value = items;
        break;
      }
      case 0x32: {
        const entries = newAttributes();
        if (value instanceof KeyValues) Object.assign(entries, value.entries);
        const stop = r.enter(end);
        while (r.at < stop) {
          const inner = r.tag(stop);
          if (inner === 0x0a) readKeyValue(r, r.enter(stop), entries, depth + 1);
          else r.skip(inner, stop);
        }
        value = new KeyValues(entries);
        break;
      }
      case 0x3a:
        value = r.bytes(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  return value;
}

/** A KeyValue, into `attributes`; a key that is there already takes the new value. */
export function readKeyValue(r: Reader, end: number, attributes: MutableAttributes, depth = 0): void {
  let key = '';
  let value: AnyValue = null;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) key = r.string(end);
    else if (tag === 0x12) {
      const stop = r.enter(end);
      const start = r.at;
      // Nearly every value is a string that fills its AnyValue.
      if (stop - start >= 2 && r.buffer[start] === 0x0a && r.buffer[start + 1] === stop - start - 2) {
        r.at = start + 1;
        value = r.string(stop);
      } else value = readAny(r, stop, depth, value);
    } else r.skip(tag, end);
  }
  attributes[key] = value;
}

/** Attributes that are the repeated field `tag` of a message of nothing else. */
export function readAttributes(r: Reader, end: number, tag: number): Attributes {
  if (r.at >= end) return NO_ATTRIBUTES;
  const attributes = newAttributes();
  while (r.at < end) {
    const found = r.tag(end);
    if (found === tag) readKeyValue(r, r.enter(end), attributes);
    else r.skip(found, end);
  }
  return attributes;
}

/** A part of a reader's bytes. Of a field that came more than once it is all of them, joined: protobuf merges them. */
export interface Range {
  readonly reader: Reader;
  readonly start: number;
  readonly end: number;
}

/** The range of the field that begins here, joined to what an earlier occurrence gave. Moves to its end. */
export function range(r: Reader, end: number, earlier?: Range): Range {
  const stop = r.enter(end);
  const start = r.at;
  r.at = stop;
  if (earlier === undefined) return { reader: r, start, end: stop };
  const joined = Buffer.concat([bytesOf(earlier), r.buffer.subarray(start, stop)]);
  return { reader: new Reader(joined), start: 0, end: joined.length };
}

export const bytesOf = (part: Range): Buffer => part.reader.buffer.subarray(part.start, part.end);

const EMPTY: Range = { reader: new Reader(new Uint8Array(0)), start: 0, end: 0 };

/** A Resource message. */
export function readResource(part: Range = EMPTY, schemaUrl: string): Resource {
  const { reader: r, end } = part;
  r.at = part.start;
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  let entityRefs: EntityRef[] | undefined;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) {
      attributes ??= newAttributes();
      readKeyValue(r, r.enter(end), attributes);
    } else if (tag === 0x10) droppedAttributesCount = r.uint32(end);
    else if (tag === 0x1a) {
      entityRefs ??= [];
      entityRefs.push(readEntityRef(r, r.enter(end)));
    } else r.skip(tag, end);
  }
  const resource = { attributes: attributes ?? NO_ATTRIBUTES, droppedAttributesCount, schemaUrl };
  return entityRefs ? { ...resource, entityRefs } : resource;
}

function readEntityRef(r: Reader, end: number): EntityRef {
  const ref = { schemaUrl: '', type: '', idKeys: [] as string[], descriptionKeys: [] as string[] };
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) ref.schemaUrl = r.string(end);
    else if (tag === 0x12) ref.type = r.string(end);
    else if (tag === 0x1a) ref.idKeys.push(r.string(end));
    else if (tag === 0x22) ref.descriptionKeys.push(r.string(end));
    else r.skip(tag, end);
  }
  return ref;
}

/** An InstrumentationScope message. */
export function readScope(part: Range = EMPTY, schemaUrl: string): Scope {
  const { reader: r, end } = part;
  r.at = part.start;
  let name = '';
  let version = '';
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) name = r.string(end);
    else if (tag === 0x12) version = r.string(end);
    else if (tag === 0x1a) {
      attributes ??= newAttributes();
      readKeyValue(r, r.enter(end), attributes);
    } else if (tag === 0x20) droppedAttributesCount = r.uint32(end);
    else r.skip(tag, end);
  }
  return { name, version, attributes: attributes ?? NO_ATTRIBUTES, droppedAttributesCount, schemaUrl };
}

/** One Resource… or Scope… envelope taken apart: field 1, the ranges of field 2, field 3. */
export interface Envelope {
  readonly head: Range | undefined;
  readonly schemaUrl: string;
  /** Start and end of each element of field 2, in turn. */
  readonly parts: readonly number[];
}

/** Reads an envelope up to `end` without looking into its parts: what they are about may come behind them. */
export function readEnvelope(r: Reader, end: number): Envelope {
  let head: Range | undefined;
  let schemaUrl = '';
  const parts: number[] = [];
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) head = range(r, end, head);
    else if (tag === 0x12) {
      const stop = r.enter(end);
      parts.push(r.at, stop);
      r.at = stop;
    } else if (tag === 0x1a) schemaUrl = r.string(end);
    else r.skip(tag, end);
  }
  return { head, schemaUrl, parts };
}
