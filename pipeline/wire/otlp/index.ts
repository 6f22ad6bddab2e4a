/**
 * OTLP: batches to requests and back, in protobuf and JSON. Without loss relative to the model; what the model leaves out
 * (envelopes without items, metrics without points, all-zero ids) is dropped on reading.
 */
import {
  type Batch,
  itemCount,
  type LogRecord,
  lazyBatch,
  type Point,
  type Resource,
  type Signal,
  type Span,
} from '../../model.ts';
import { Reader } from '../protobuf/reader.ts';
import { readMetrics } from './decode-metrics.ts';
import { readLogs, readTraces } from './decode-traces.ts';
import { writer } from './encode-common.ts';
import { writeMetrics } from './encode-metrics.ts';
import { writeLogs, writeTraces } from './encode-traces.ts';
import { inspectRequest } from './inspect.ts';
import { createInterner, type Interner } from './interner.ts';
import { readJson, readJsonRequest } from './json-decode.ts';
import { jsonOf } from './json-encode.ts';
import type { JsonObject } from './json-values.ts';
import { createRejections, type Rejections } from './rejections.ts';
import { changeResources } from './reopen.ts';

export { ProtobufError } from '../protobuf/reader.ts';
export { attributesOf } from './attributes.ts';
export { createInterner, type Interner, type InternerLimits } from './interner.ts';
export { OtlpJsonError } from './json-text.ts';
export { createRejections, type Rejections } from './rejections.ts';
export {
  decodeResponse,
  decodeStatus,
  encodeResponse,
  encodeStatus,
  type PartialSuccess,
  type RpcStatus,
} from './responses.ts';

export type OtlpEncoding = 'protobuf' | 'json';

/** Protobuf requests that batches were opened from, and how they are read when somebody asks. */
const opened = new WeakMap<Batch, { readonly bytes: Uint8Array; readonly options: DecodeOptions }>();

/**
 * The Export…ServiceRequest of a batch: neighbours of one resource, scope and metric share an envelope. For a batch of
 * `openRequest`, its own bytes, untouched. The result must not be changed.
 */
export function encodeRequest(batch: Batch, encoding: OtlpEncoding): Uint8Array {
  if (encoding === 'json') return Buffer.from(jsonOf(batch));
  const original = opened.get(batch);
  if (original !== undefined) return original.bytes;
  try {
    if (batch.signal === 'metrics') writeMetrics(writer, batch.items);
    else if (batch.signal === 'traces') writeTraces(writer, batch.items);
    else writeLogs(writer, batch.items);
    return writer.take();
  } catch (error) {
    writer.reset();
    throw error;
  }
}

/** The request as one line of JSON with its line break: a line of a recording. */
export const encodeJsonLine = (batch: Batch): Uint8Array => Buffer.from(`${jsonOf(batch)}\n`);

export interface DecodeOptions {
  /** Makes the same series of a sender the same objects in every request. Without: new ones each time. */
  readonly interner?: Interner;
  /** Takes note of items that had to be left out. */
  readonly rejections?: Rejections;
}

/**
 * Reads an Export…ServiceRequest. Throws a ProtobufError or an OtlpJsonError (both name the place) if it is malformed;
 * items that are well-formed but contradict themselves are left out and noted in `rejections`.
 */
export function decodeRequest(
  signal: Signal,
  bytes: Uint8Array,
  encoding: OtlpEncoding,
  options: DecodeOptions = {},
): Batch {
  const interner = options.interner ?? createInterner({}, false);
  const rejections = options.rejections ?? createRejections();
  interner.begin();
  if (encoding === 'json') return batchOf(signal, readJson(signal, bytes, interner, rejections));
  const reader = new Reader(bytes);
  switch (signal) {
    case 'metrics':
      return { signal, items: readMetrics(reader, interner, rejections) };
    case 'traces':
      return { signal, items: readTraces(reader, interner) };
    case 'logs':
      return { signal, items: readLogs(reader, interner) };
  }
}

/**
 * Like `decodeRequest` of protobuf, but looks the request over only, as far as is needed to know that it is well-formed;
 * its items are decoded when somebody asks for them. Passing it on costs next to nothing. `bytes` must not change.
 */
export function openRequest(signal: Signal, bytes: Uint8Array, options: DecodeOptions = {}): Batch {
  const items = inspectRequest(signal, new Reader(bytes));
  if (items === undefined) return decodeRequest(signal, bytes, 'protobuf', options);
  return open(signal, items, bytes, options);
}

function open(signal: Signal, items: number, bytes: Uint8Array, options: DecodeOptions): Batch {
  const batch = lazyBatch(signal, items, () => decodeRequest(signal, bytes, 'protobuf', options).items);
  opened.set(batch, { bytes, options });
  return batch;
}

/**
 * An opened batch with other resources, its items not decoded for it; the same batch if nothing changes, undefined if it was
 * not opened or has to be decoded. `change` may be asked for one resource more than once.
 */
export function reopenWithResources(batch: Batch, change: (resource: Resource) => Resource): Batch | undefined {
  const original = opened.get(batch);
  if (original === undefined) return undefined;
  const { bytes, options } = original;
  const made = changeResources(bytes, options.interner ?? createInterner({}, false), change);
  if (made === undefined) return undefined;
  return made === bytes ? batch : open(batch.signal, itemCount(batch), made, options);
}

/**
 * One batch of what several batches of one signal hold, in order, if all of them were opened and none was changed: a
 * protobuf request followed by another is the request of both. Else undefined.
 */
export function joinOpened(batches: readonly Batch[]): Batch | undefined {
  const parts: Uint8Array[] = [];
  for (const batch of batches) {
    const original = opened.get(batch);
    if (original === undefined) return undefined;
    parts.push(original.bytes);
  }
  const first = batches[0];
  if (first === undefined) return undefined;
  const count = batches.reduce((sum, batch) => sum + itemCount(batch), 0);
  const all = lazyBatch(first.signal, count, () => batches.flatMap((batch) => batch.items as Point[]));
  opened.set(all, { bytes: Buffer.concat(parts), options: opened.get(first)?.options ?? {} });
  return all;
}

/** `decodeRequest` of an OTLP/JSON request object that is parsed already (numbers beyond 2^53 may be rounded). */
export function decodeJsonObject(signal: Signal, request: object, options: DecodeOptions = {}): Batch {
  const interner = options.interner ?? createInterner({}, false);
  interner.begin();
  const rejections = options.rejections ?? createRejections();
  return batchOf(signal, readJsonRequest(signal, request as JsonObject, interner, rejections));
}

function batchOf(signal: Signal, items: Batch['items']): Batch {
  switch (signal) {
    case 'metrics':
      return { signal, items: items as readonly Point[] };
    case 'traces':
      return { signal, items: items as readonly Span[] };
    case 'logs':
      return { signal, items: items as readonly LogRecord[] };
  }
}
