/** Spans and log records as OTLP protobuf. */
import type { LogRecord, Span, SpanEvent, SpanLink } from '../../model.ts';
import type { BackwardWriter } from '../protobuf/writer.ts';
import { writeAnyField, writeAttributes, writeEnvelopes, writeId, writeText, writeUint } from './encode-common.ts';

/** A whole ExportTraceServiceRequest, into `w`. */
export function writeTraces(w: BackwardWriter, spans: readonly Span[]): void {
  writeEnvelopes(
    w,
    spans,
    (s) => s.resource,
    (s) => s.scope,
    (_w, from, to) => {
      for (let i = to - 1; i >= from; i--) writeSpan(w, spans[i]!);
    },
  );
}

/** A whole ExportLogsServiceRequest, into `w`. */
export function writeLogs(w: BackwardWriter, records: readonly LogRecord[]): void {
  writeEnvelopes(
    w,
    records,
    (r) => r.resource,
    (r) => r.scope,
    (_w, from, to) => {
      for (let i = to - 1; i >= from; i--) writeLogRecord(w, records[i]!);
    },
  );
}

function close(w: BackwardWriter, start: number, tag: number): void {
  w.room(16);
  w.varint(w.length - start);
  w.varint(tag);
}

function writeTime(w: BackwardWriter, time: bigint, tag: number): void {
  if (time === 0n) return;
  w.room(16);
  w.fixed64(time);
  w.byte(tag);
}

function writeFixed32(w: BackwardWriter, value: number, tag: number): void {
  if (value === 0) return;
  w.room(16);
  w.fixed32(value);
  w.varint(tag);
}

/** Field 16, fixed32: the only tag of two bytes. */
const SPAN_FLAGS_TAG = (16 << 3) | 5;

function writeSpan(w: BackwardWriter, span: Span): void {
  const start = w.length;
  writeFixed32(w, span.flags, SPAN_FLAGS_TAG);
  const { status, links, events } = span;
  if (status.code !== 0 || status.message !== '') {
    const statusStart = w.length;
    writeUint(w, status.code, 0x18);
    writeText(w, status.message, 0x12);
    close(w, statusStart, 0x7a);
  }
  writeUint(w, span.droppedLinksCount, 0x70);
  for (let i = links.length - 1; i >= 0; i--) writeLink(w, links[i]!);
  writeUint(w, span.droppedEventsCount, 0x60);
  for (let i = events.length - 1; i >= 0; i--) writeEvent(w, events[i]!);
  writeUint(w, span.droppedAttributesCount, 0x50);
  writeAttributes(w, span.attributes, 0x4a);
  writeTime(w, span.endTime, 0x41);
  writeTime(w, span.startTime, 0x39);
  writeUint(w, span.kind, 0x30);
  writeText(w, span.name, 0x2a);
  writeId(w, span.parentSpanId, 0x22);
  writeText(w, span.traceState, 0x1a);
  writeId(w, span.spanId, 0x12);
  writeId(w, span.traceId, 0x0a);
  close(w, start, 0x12);
}

function writeEvent(w: BackwardWriter, event: SpanEvent): void {
  const start = w.length;
  writeUint(w, event.droppedAttributesCount, 0x20);
  writeAttributes(w, event.attributes, 0x1a);
  writeText(w, event.name, 0x12);
  writeTime(w, event.time, 0x09);
  close(w, start, 0x5a);
}

function writeLink(w: BackwardWriter, link: SpanLink): void {
  const start = w.length;
  writeFixed32(w, link.flags, 0x35);
  writeUint(w, link.droppedAttributesCount, 0x28);
  writeAttributes(w, link.attributes, 0x22);
  writeText(w, link.traceState, 0x1a);
  writeId(w, link.spanId, 0x12);
  writeId(w, link.traceId, 0x0a);
  close(w, start, 0x6a);
}

function writeLogRecord(w: BackwardWriter, record: LogRecord): void {
  const start = w.length;
  writeText(w, record.eventName, 0x62);
  writeTime(w, record.observedTime, 0x59);
  writeId(w, record.spanId, 0x52);
  writeId(w, record.traceId, 0x4a);
  writeFixed32(w, record.flags, 0x45);
  writeUint(w, record.droppedAttributesCount, 0x38);
  writeAttributes(w, record.attributes, 0x32);
  if (record.body !== null) writeAnyField(w, record.body, 0x2a);
  writeText(w, record.severityText, 0x1a);
  writeUint(w, record.severityNumber, 0x10);
  writeTime(w, record.time, 0x09);
  close(w, start, 0x12);
}
