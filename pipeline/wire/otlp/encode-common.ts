/** The parts that all three signals share in OTLP protobuf: attributes, resources, scopes, ids. */
import { type AnyValue, type Attributes, Double, KeyValues, type Resource, type Scope } from '../../model.ts';
import { BackwardWriter } from '../protobuf/writer.ts';

/** One for all: encoding never waits, so nobody can come in between. */
export const writer = new BackwardWriter();

/** For bytes that are worked out once and kept; used while `writer` holds half a request. */
const side = new BackwardWriter();

/** Encodes with a writer of its own and gives the bytes. `write` must not cause a nested call. */
export function encodeAside(write: (w: BackwardWriter) => void): Uint8Array {
  try {
    write(side);
    return side.takeSmall();
  } catch (error) {
    side.reset();
    throw error;
  }
}

/** Tag of the attributes in the points of each type of metric. */
export const ATTRIBUTE_TAGS = {
  gauge: 0x3a,
  sum: 0x3a,
  histogram: 0x4a,
  exponential_histogram: 0x0a,
  summary: 0x3a,
} as const;

const keyBytes = new Map<string, Uint8Array>();
const MAX_KEYS = 4096;

/** An attribute's key with its tag and length; the same few keys come again and again. */
function writeKey(w: BackwardWriter, key: string): void {
  let bytes = keyBytes.get(key);
  if (bytes === undefined) {
    const text = Buffer.from(key);
    const head = [0x0a];
    let length = text.length;
    for (; length >= 0x80; length >>>= 7) head.push((length & 0x7f) | 0x80);
    head.push(length);
    bytes = Buffer.concat([Buffer.from(head), text]);
    if (keyBytes.size >= MAX_KEYS) keyBytes.clear();
    if (text.length <= 256) keyBytes.set(key, bytes);
  }
  w.copy(bytes);
}

/** The fields of an AnyValue, without a length. */
function writeAny(w: BackwardWriter, value: AnyValue): void {
  switch (typeof value) {
    case 'string':
      w.text(value);
      w.byte(0x0a);
      return;
    case 'number':
      w.room(16);
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
        w.int(value);
        w.byte(0x18);
      } else {
        w.double(value);
        w.byte(0x21);
      }
      return;
    case 'boolean':
      w.room(16);
      w.byte(value ? 1 : 0);
      w.byte(0x10);
      return;
    case 'bigint':
      w.room(16);
      w.varint64(value);
      w.byte(0x18);
      return;
  }
  if (value === null) return;
  if (value instanceof Double) {
    w.room(16);
    w.double(value.value);
    w.byte(0x21);
  } else if (value instanceof Uint8Array) {
    w.copy(value);
    w.varint(value.length);
    w.byte(0x3a);
  } else if (value instanceof KeyValues) {
    const start = w.length;
    writeAttributes(w, value.entries, 0x0a);
    w.room(16);
    w.varint(w.length - start);
    w.byte(0x32);
  } else {
    const start = w.length;
    for (let i = value.length - 1; i >= 0; i--) {
      const before = w.length;
      writeAny(w, value[i]!);
      w.room(16);
      w.varint(w.length - before);
      w.byte(0x0a);
    }
    w.room(16);
    w.varint(w.length - start);
    w.byte(0x2a);
  }
}

/** An AnyValue as a field: value, length, tag. */
export function writeAnyField(w: BackwardWriter, value: AnyValue, tag: number): void {
  const start = w.length;
  writeAny(w, value);
  w.room(16);
  w.varint(w.length - start);
  w.varint(tag);
}

/** Key-value pairs, each as a field with this tag, in the order of the object. */
export function writeAttributes(w: BackwardWriter, attributes: Attributes, tag: number): void {
  const keys = Object.keys(attributes);
  for (let i = keys.length - 1; i >= 0; i--) {
    const key = keys[i]!;
    const start = w.length;
    writeAnyField(w, attributes[key]!, 0x12);
    writeKey(w, key);
    w.room(16);
    w.varint(w.length - start);
    w.varint(tag);
  }
}

/** An id in hex as bytes with length and tag; nothing if it is empty or not hex. */
export function writeId(w: BackwardWriter, hex: string, tag: number): void {
  const size = hex.length >> 1;
  if (size === 0) return;
  w.room(size + 16);
  const { buffer } = w;
  let to = w.at;
  for (let i = size - 1; i >= 0; i--) {
    const high = HEX[hex.charCodeAt(2 * i)]!;
    const low = HEX[hex.charCodeAt(2 * i + 1)]!;
    if (high === undefined || low === undefined || (high | low) > 15) return;
    buffer[--to] = (high << 4) | low;
  }
  w.at = to;
  w.varint(size);
  w.varint(tag);
}

const HEX = new Uint8Array(128).fill(255);
for (let i = 0; i < 16; i++) {
  HEX[i.toString(16).charCodeAt(0)] = i;
  HEX[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

/** A string as a field; nothing if it is empty. */
export function writeText(w: BackwardWriter, text: string, tag: number): void {
  if (text === '') return;
  w.text(text);
  w.varint(tag);
}

/** An unsigned number as a varint field; nothing if it is zero. */
export function writeUint(w: BackwardWriter, value: number, tag: number): void {
  if (value === 0) return;
  w.room(16);
  w.varint(value);
  w.varint(tag);
}

interface Envelope {
  /** Field 1: the message, with tag and length. */
  readonly head: Uint8Array;
  /** Field 3: the schema URL, with tag and length; often empty. */
  readonly tail: Uint8Array;
}

const resources = new WeakMap<Resource, Envelope>();
const scopes = new WeakMap<Scope, Envelope>();

const tailOf = (schemaUrl: string) => encodeAside((w) => writeText(w, schemaUrl, 0x1a));

/** The bytes of a resource in a Resource{Metrics,Spans,Logs}, worked out once. */
export function resourceEnvelope(resource: Resource): Envelope {
  let envelope = resources.get(resource);
  if (envelope === undefined) {
    const head = encodeAside((w) => {
      const refs = resource.entityRefs ?? [];
      for (let i = refs.length - 1; i >= 0; i--) {
        const ref = refs[i]!;
        const start = w.length;
        for (const key of [...ref.descriptionKeys].reverse()) writeTextAlways(w, key, 0x22);
        for (const key of [...ref.idKeys].reverse()) writeTextAlways(w, key, 0x1a);
        writeText(w, ref.type, 0x12);
        writeText(w, ref.schemaUrl, 0x0a);
        w.room(16);
        w.varint(w.length - start);
        w.byte(0x1a);
      }
      writeUint(w, resource.droppedAttributesCount, 0x10);
      writeAttributes(w, resource.attributes, 0x0a);
      w.room(16);
      w.varint(w.length);
      w.byte(0x0a);
    });
    envelope = { head, tail: tailOf(resource.schemaUrl) };
    resources.set(resource, envelope);
  }
  return envelope;
}

/** The bytes of a scope in a Scope{Metrics,Spans,Logs}, worked out once. */
export function scopeEnvelope(scope: Scope): Envelope {
  let envelope = scopes.get(scope);
  if (envelope === undefined) {
    const head = encodeAside((w) => {
      writeUint(w, scope.droppedAttributesCount, 0x20);
      writeAttributes(w, scope.attributes, 0x1a);
      writeText(w, scope.version, 0x12);
      writeText(w, scope.name, 0x0a);
      w.room(16);
      w.varint(w.length);
      w.byte(0x0a);
    });
    envelope = { head, tail: tailOf(scope.schemaUrl) };
    scopes.set(scope, envelope);
  }
  return envelope;
}

/** An element of a repeated string field: empty ones count too. */
function writeTextAlways(w: BackwardWriter, text: string, tag: number): void {
  w.text(text);
  w.varint(tag);
}

/**
 * Walks a list of items from last to first and writes the envelopes around them: neighbours of one resource share one,
 * neighbours of one scope within it likewise. `items` writes items `from`..`to` of one scope.
 */
export function writeEnvelopes<T>(
  w: BackwardWriter,
  list: readonly T[],
  resourceOf: (item: T) => Resource,
  scopeOf: (item: T) => Scope,
  items: (w: BackwardWriter, from: number, to: number) => void,
): void {
  let end = list.length;
  while (end > 0) {
    const resource = resourceOf(list[end - 1]!);
    const resourceStart = w.length;
    const envelope = resourceEnvelope(resource);
    w.copy(envelope.tail);
    while (end > 0) {
      const last = list[end - 1]!;
      if (resourceOf(last) !== resource) break;
      const scope = scopeOf(last);
      let from = end - 1;
      while (from > 0) {
        const item = list[from - 1]!;
        if (scopeOf(item) !== scope || resourceOf(item) !== resource) break;
        from--;
      }
      const scopeStart = w.length;
      const scopeBytes = scopeEnvelope(scope);
      w.copy(scopeBytes.tail);
      items(w, from, end);
      w.copy(scopeBytes.head);
      w.room(16);
      w.varint(w.length - scopeStart);
      w.byte(0x12);
      end = from;
    }
    w.copy(envelope.head);
    w.room(16);
    w.varint(w.length - resourceStart);
    w.byte(0x0a);
  }
}
