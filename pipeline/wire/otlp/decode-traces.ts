/** Export requests of traces and logs in protobuf, read into spans and records. */
import {
  type AnyValue,
  type LogRecord,
  NO_ATTRIBUTES,
  type Resource,
  type Scope,
  type Span,
  type SpanEvent,
  type SpanLink,
} from '../../model.ts';
import type { Reader } from '../protobuf/reader.ts';
import { type MutableAttributes, newAttributes } from './attributes.ts';
import { type Range, range, readAny, readEnvelope, readKeyValue, readResource, readScope } from './decode-common.ts';
import { type Interner, keyOf } from './interner.ts';

function readItems<T>(
  r: Reader,
  interner: Interner,
  read: (r: Reader, end: number, resource: Resource, scope: Scope) => T,
): T[] {
  const end = r.buffer.length;
  const items: T[] = [];
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag !== 0x0a) {
      r.skip(tag, end);
      continue;
    }
    const stop = r.enter(end);
    const envelope = readEnvelope(r, stop);
    const owner = interner.resource(keyOf(envelope), () => readResource(envelope.head, envelope.schemaUrl));
    const { parts } = envelope;
    for (let i = 0; i < parts.length; i += 2) {
      r.at = parts[i]!;
      const inner = readEnvelope(r, parts[i + 1]!);
      const { scope } = interner.scope(owner, keyOf(inner), () => readScope(inner.head, inner.schemaUrl));
      for (let j = 0; j < inner.parts.length; j += 2) {
        r.at = inner.parts[j]!;
        items.push(read(r, inner.parts[j + 1]!, owner.resource, scope));
      }
    }
    r.at = stop;
  }
  return items;
}

/** An ExportTraceServiceRequest; reads all of `r`. */
export const readTraces = (r: Reader, interner: Interner): Span[] => readItems(r, interner, readSpan);

/** An ExportLogsServiceRequest; reads all of `r`. */
export const readLogs = (r: Reader, interner: Interner): LogRecord[] => readItems(r, interner, readLogRecord);

const NO_EVENTS: readonly SpanEvent[] = Object.freeze([]);
const NO_LINKS: readonly SpanLink[] = Object.freeze([]);
const UNSET: Span['status'] = Object.freeze({ code: 0, message: '' });

function readSpan(r: Reader, end: number, resource: Resource, scope: Scope): Span {
  let traceId = '';
  let spanId = '';
  let parentSpanId = '';
  let traceState = '';
  let flags = 0;
  let name = '';
  let kind = 0;
  let startTime = 0n;
  let endTime = 0n;
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  let events: SpanEvent[] | undefined;
  let droppedEventsCount = 0;
  let links: SpanLink[] | undefined;
  let droppedLinksCount = 0;
  let status = UNSET;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x0a:
        traceId = r.id(16, end);
        break;
      case 0x12:
        spanId = r.id(8, end);
        break;
      case 0x1a:
        traceState = r.string(end);
        break;
      case 0x22:
        parentSpanId = r.id(8, end);
        break;
      case 0x2a:
        name = r.string(end);
        break;
      case 0x30:
        kind = r.uint32(end) | 0;
        break;
      case 0x39:
        startTime = r.fixed64(end);
        break;
      case 0x41:
        endTime = r.fixed64(end);
        break;
      case 0x4a:
        attributes ??= newAttributes();
        readKeyValue(r, r.enter(end), attributes);
        break;
      case 0x50:
        droppedAttributesCount = r.uint32(end);
        break;
      case 0x5a:
        events ??= [];
        events.push(readEvent(r, r.enter(end)));
        break;
      case 0x60:
        droppedEventsCount = r.uint32(end);
        break;
      case 0x6a:
        links ??= [];
        links.push(readLink(r, r.enter(end)));
        break;
      case 0x70:
        droppedLinksCount = r.uint32(end);
        break;
      case 0x7a:
        status = readStatus(r, r.enter(end), status);
        break;
      case 133:
        flags = r.fixed32(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  return {
    resource,
    scope,
    traceId,
    spanId,
    parentSpanId,
    traceState,
    flags,
    name,
    kind,
    startTime,
    endTime,
    attributes: attributes ?? NO_ATTRIBUTES,
    droppedAttributesCount,
    events: events ?? NO_EVENTS,
    droppedEventsCount,
    links: links ?? NO_LINKS,
    droppedLinksCount,
    status,
  };
}

function readStatus(r: Reader, end: number, earlier: Span['status']): Span['status'] {
  let { code, message } = earlier;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x12) message = r.string(end);
    else if (tag === 0x18) code = r.uint32(end) | 0;
    else r.skip(tag, end);
  }
  return { code, message };
}

function readEvent(r: Reader, end: number): SpanEvent {
  let time = 0n;
  let name = '';
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    if (tag === 0x09) time = r.fixed64(end);
    else if (tag === 0x12) name = r.string(end);
    else if (tag === 0x1a) {
      attributes ??= newAttributes();
      readKeyValue(r, r.enter(end), attributes);
    } else if (tag === 0x20) droppedAttributesCount = r.uint32(end);
    else r.skip(tag, end);
  }
  return { time, name, attributes: attributes ?? NO_ATTRIBUTES, droppedAttributesCount };
}

function readLink(r: Reader, end: number): SpanLink {
  let traceId = '';
  let spanId = '';
  let traceState = '';
  let flags = 0;
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x0a:
        traceId = r.id(16, end);
        break;
      case 0x12:
        spanId = r.id(8, end);
        break;
      case 0x1a:
        traceState = r.string(end);
        break;
      case 0x22:
        attributes ??= newAttributes();
        readKeyValue(r, r.enter(end), attributes);
        break;
      case 0x28:
        droppedAttributesCount = r.uint32(end);
        break;
      case 0x35:
        flags = r.fixed32(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  return { traceId, spanId, traceState, flags, attributes: attributes ?? NO_ATTRIBUTES, droppedAttributesCount };
}

function readLogRecord(r: Reader, end: number, resource: Resource, scope: Scope): LogRecord {
  let time = 0n;
  let observedTime = 0n;
  let severityNumber = 0;
  let severityText = '';
  let body: Range | undefined;
  let attributes: MutableAttributes | undefined;
  let droppedAttributesCount = 0;
  let flags = 0;
  let traceId = '';
  let spanId = '';
  let eventName = '';
  while (r.at < end) {
    const tag = r.tag(end);
    switch (tag) {
      case 0x09:
        time = r.fixed64(end);
        break;
      case 0x10:
        severityNumber = r.uint32(end) | 0;
        break;
      case 0x1a:
        severityText = r.string(end);
        break;
      case 0x2a:
        body = range(r, end, body);
        break;
      case 0x32:
        attributes ??= newAttributes();
        readKeyValue(r, r.enter(end), attributes);
        break;
      case 0x38:
        droppedAttributesCount = r.uint32(end);
        break;
      case 0x45:
        flags = r.fixed32(end);
        break;
      case 0x4a:
        traceId = r.id(16, end);
        break;
      case 0x52:
        spanId = r.id(8, end);
        break;
      case 0x59:
        observedTime = r.fixed64(end);
        break;
      case 0x62:
        eventName = r.string(end);
        break;
      default:
        r.skip(tag, end);
    }
  }
  return {
    resource,
    scope,
    time,
    observedTime,
    severityNumber,
    severityText,
    body: body ? readBody(body) : null,
    attributes: attributes ?? NO_ATTRIBUTES,
    droppedAttributesCount,
    flags,
    traceId,
    spanId,
    eventName,
  };
}

function readBody(part: Range): AnyValue {
  part.reader.at = part.start;
  return readAny(part.reader, part.end, 0);
}
