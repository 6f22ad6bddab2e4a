/** What an OTLP server answers: Export…ServiceResponse with a partial success, or google.rpc.Status with a RetryInfo. */
import type { Signal } from '../../model.ts';
import { Reader } from '../protobuf/reader.ts';
import type { BackwardWriter } from '../protobuf/writer.ts';
import { range } from './decode-common.ts';
import { encodeAside, writeText } from './encode-common.ts';
import { OtlpJsonError, parseJson } from './json-text.ts';
import { eachAt, int64At, intAt, type JsonObject, objectAt, path, textAt } from './json-values.ts';

/** What the server did not take; `rejected` 0 with a message is a warning, 0 without one is full success. */
export interface PartialSuccess {
  readonly rejected: number;
  readonly message: string;
}

const REJECTED = {
  metrics: 'rejectedDataPoints',
  traces: 'rejectedSpans',
  logs: 'rejectedLogRecords',
} as const;

type Encoding = 'protobuf' | 'json';

/** The answer to a request that was accepted; empty (or `{}`) unless something was rejected. */
export function encodeResponse(signal: Signal, encoding: Encoding, partial?: PartialSuccess): Uint8Array {
  const { rejected = 0, message = '' } = partial ?? {};
  const full = rejected === 0 && message === '';
  if (encoding === 'json') {
    if (full) return Buffer.from('{}');
    const text = { [REJECTED[signal]]: String(rejected), errorMessage: message };
    return Buffer.from(JSON.stringify({ partialSuccess: text }));
  }
  if (full) return new Uint8Array(0);
  return encodeAside((w) => {
    writeText(w, message, 0x12);
    if (rejected !== 0) {
      w.room(16);
      w.int(rejected);
      w.byte(0x08);
    }
    wrap(w, 0, 0x0a);
  });
}

function wrap(w: BackwardWriter, start: number, tag: number): void {
  w.room(16);
  w.varint(w.length - start);
  w.byte(tag);
}

/** Reads an answer; throws a ProtobufError or an OtlpJsonError if it is none. */
export function decodeResponse(signal: Signal, bytes: Uint8Array, encoding: Encoding): PartialSuccess {
  if (encoding === 'json') {
    const partial = objectAt(parseObject(bytes), 'partialSuccess') ?? {};
    path.push('partialSuccess');
    const key = REJECTED[signal];
    return {
      rejected: partial[key] === undefined || partial[key] === null ? 0 : Number(int64At(partial, key)),
      message: textAt(partial, 'errorMessage'),
    };
  }
  let rejected = 0;
  let message = '';
  const r = new Reader(bytes);
  const end = bytes.length;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag !== 0x0a) {
      r.skip(tag, end);
      continue;
    }
    const stop = r.enter(end);
    while (r.at < stop) {
      const inner = r.tag(stop);
      if (inner === 0x08) rejected = Number(r.int64(stop, true));
      else if (inner === 0x12) message = r.string(stop);
      else r.skip(inner, stop);
    }
  }
  return { rejected, message };
}

function parseObject(bytes: Uint8Array): JsonObject {
  path.length = 0;
  const value = parseJson(bytes);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new OtlpJsonError('a JSON object should be here (at byte 0)');
  }
  return value as JsonObject;
}

/** google.rpc.Status, of which OTLP uses the RetryInfo among the details. */
export interface RpcStatus {
  /** google.rpc.Code, as gRPC. */
  readonly code: number;
  readonly message: string;
  /** When to try again, milliseconds from now; absent: the status does not say. */
  readonly retryAfterMs?: number;
}

const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo';

export function encodeStatus(status: RpcStatus, encoding: Encoding): Uint8Array {
  const { code, message, retryAfterMs } = status;
  if (encoding === 'json') {
    const details =
      retryAfterMs === undefined ? {} : { details: [{ '@type': RETRY_INFO, retryDelay: `${retryAfterMs / 1000}s` }] };
    return Buffer.from(JSON.stringify({ code, message, ...details }));
  }
  return encodeAside((w) => {
    if (retryAfterMs !== undefined) {
      const seconds = Math.floor(retryAfterMs / 1000);
      const nanos = Math.round((retryAfterMs - seconds * 1000) * 1e6);
      w.room(64);
      if (nanos > 0) {
        w.varint(nanos);
        w.byte(0x10);
      }
      if (seconds > 0) {
        w.varint(seconds);
        w.byte(0x08);
      }
      wrap(w, 0, 0x0a);
      wrap(w, 0, 0x12);
      writeText(w, RETRY_INFO, 0x0a);
      wrap(w, 0, 0x1a);
    }
    writeText(w, message, 0x12);
    if (code !== 0) {
      w.room(16);
      w.varint(code);
      w.byte(0x08);
    }
  });
}

/** Reads a status; throws a ProtobufError or an OtlpJsonError if it is none. */
export function decodeStatus(bytes: Uint8Array, encoding: Encoding): RpcStatus {
  if (encoding === 'json') return statusOfJson(parseObject(bytes));
  const r = new Reader(bytes);
  const end = bytes.length;
  let code = 0;
  let message = '';
  let retryAfterMs: number | undefined;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x08) code = r.uint32(end) | 0;
    else if (tag === 0x12) message = r.string(end);
    else if (tag === 0x1a) retryAfterMs = readDetail(r, r.enter(end)) ?? retryAfterMs;
    else r.skip(tag, end);
  }
  return { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

function statusOfJson(object: JsonObject): RpcStatus {
  let retryAfterMs: number | undefined;
  eachAt(object, 'details', (detail) => {
    if (detail['@type'] !== RETRY_INFO) return;
    const delay = /^([0-9]{1,12}(?:\.[0-9]{1,9})?)s$/.exec(textAt(detail, 'retryDelay'));
    if (delay) retryAfterMs = Number(delay[1]) * 1000;
  });
  return {
    code: intAt(object, 'code'),
    message: textAt(object, 'message'),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

/** An Any: the delay in milliseconds if it is a RetryInfo that has one. */
function readDetail(r: Reader, end: number): number | undefined {
  let type = '';
  let value: ReturnType<typeof range> | undefined;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x0a) type = r.string(end);
    else if (tag === 0x12) value = range(r, end);
    else r.skip(tag, end);
  }
  if (type !== RETRY_INFO || value === undefined) return undefined;
  const resume = r.at;
  r.at = value.start;
  let delay: number | undefined;
  while (r.at < value.end) {
    const tag = r.tag(value.end);
    if (tag !== 0x0a) {
      r.skip(tag, value.end);
      continue;
    }
    const stop = r.enter(value.end);
    delay = 0;
    while (r.at < stop) {
      const inner = r.tag(stop);
      if (inner === 0x08) delay += Number(r.int64(stop, true)) * 1000;
      else if (inner === 0x10) delay += Number(r.int64(stop, true)) / 1e6;
      else r.skip(inner, stop);
    }
  }
  r.at = resume;
  return delay === undefined ? undefined : Math.max(0, delay);
}
