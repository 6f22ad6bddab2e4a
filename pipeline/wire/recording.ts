/**
 * Lines of a recording: OTLP/JSON requests (so that files of the Collector's file exporter are recordings too), scrapes as
 * they came, and events from outside. One JSON object a line.
 */
import type { AnyValue, Batch, Signal, UnixNano } from '../model.ts';
import { decodeJsonObject } from './otlp/index.ts';

export interface ScrapeLine {
  readonly kind: 'scrape';
  readonly timeMs: number;
  readonly url: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly durationMs: number;
  readonly status: number;
  readonly contentType: string | undefined;
  /** Absent when the scrape failed. */
  readonly body: string | undefined;
  /** `timeout`, `refused`, `reset`, …; absent when it did not fail. */
  readonly error: string | undefined;
}

export interface BatchLine {
  readonly kind: 'batch';
  /** The latest time in the batch: a batch is sent after what it holds. 0 if it has no times. */
  readonly timeMs: number;
  readonly batches: readonly Batch[];
}

export interface EventLine {
  readonly kind: 'event';
  readonly timeMs: number;
  /** `deploy`, `restart`, `scale`, `config`. */
  readonly event: string;
  readonly attributes: Readonly<Record<string, AnyValue>>;
}

export type RecordingLine = ScrapeLine | BatchLine | EventLine;

const REQUESTS: readonly (readonly [string, Signal])[] = [
  ['resourceMetrics', 'metrics'],
  ['resourceSpans', 'traces'],
  ['resourceLogs', 'logs'],
];

/** Reads one line. Throws an Error whose message says what is wrong with it. */
export function readRecordingLine(text: string): RecordingLine {
  const object = jsonObject(text);
  const line = readRecordingObject(object);
  if (line) return line;
  throw new Error(
    'it is no recording line: none of resourceMetrics, resourceSpans, resourceLogs, scrape, event is in it',
  );
}

/** The JSON object of a line. Throws an Error that says what it is instead. */
export function jsonObject(text: string): Record<string, unknown> {
  let object: Record<string, unknown>;
  try {
    object = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Error(`it is not JSON (${error instanceof Error ? error.message : String(error)})`);
  }
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    throw new Error('it is not a JSON object');
  return object;
}

/** Reads a line's object; undefined if it is none of a recording. Throws an Error that says what is wrong with it. */
export function readRecordingObject(object: Record<string, unknown>): RecordingLine | undefined {
  if ('scrape' in object) return readScrape(object['scrape']);
  if ('event' in object && !isEnvelope(object)) return readEvent(object['event']);
  const batches: Batch[] = [];
  for (const [key, signal] of REQUESTS) {
    if (!(key in object)) continue;
    const batch = decodeJsonObject(signal, object);
    if (batch.items.length > 0) batches.push(batch);
  }
  if (batches.length === 0 && !REQUESTS.some(([key]) => key in object)) return undefined;
  return { kind: 'batch', timeMs: batches.reduce((latest, b) => Math.max(latest, latestMs(b)), 0), batches };
}

/** Dynamo's sink wraps its records in an `event` of another kind. */
const isEnvelope = ({ event }: Record<string, unknown>): boolean =>
  typeof event === 'object' && event !== null && 'schema' in event;

function readScrape(value: unknown): ScrapeLine {
  const scrape = record(value, 'scrape');
  const url = scrape['url'];
  if (typeof url !== 'string' || !URL.canParse(url)) throw new Error('scrape.url is not a URL');
  const labels: Record<string, string> = {};
  for (const [name, label] of Object.entries(record(scrape['labels'] ?? {}, 'scrape.labels')))
    labels[name] = String(label);
  const body = scrape['body'];
  const error = scrape['error'];
  if (typeof body !== 'string' && typeof error !== 'string') throw new Error('scrape has neither body nor error');
  const contentType = scrape['content_type'];
  return {
    kind: 'scrape',
    timeMs: timeOf(scrape['time'], 'scrape.time'),
    url,
    labels,
    durationMs: Number(scrape['duration_ms'] ?? 0),
    status: Number(scrape['status'] ?? (typeof body === 'string' ? 200 : 0)),
    contentType: typeof contentType === 'string' ? contentType : undefined,
    body: typeof body === 'string' ? body : undefined,
    error: typeof error === 'string' ? error : undefined,
  };
}

function readEvent(value: unknown): EventLine {
  const event = record(value, 'event');
  if (typeof event['kind'] !== 'string') throw new Error('event.kind is missing');
  const attributes: Record<string, AnyValue> = Object.create(null);
  for (const [name, v] of Object.entries(record(event['attributes'] ?? {}, 'event.attributes'))) {
    attributes[name] = typeof v === 'string' || typeof v === 'number' || typeof v === 'boolean' ? v : JSON.stringify(v);
  }
  return { kind: 'event', timeMs: timeOf(event['time'], 'event.time'), event: event['kind'], attributes };
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${name} is not an object`);
  return value as Record<string, unknown>;
}

/** ISO 8601, or nanoseconds since the epoch. */
function timeOf(value: unknown, name: string): number {
  const ms = typeof value === 'string' && !/^\d+$/.test(value) ? Date.parse(value) : Number(value) / 1e6;
  if (!Number.isFinite(ms)) throw new Error(`${name} is not a time`);
  return ms;
}

function latestMs(batch: Batch): number {
  let latest: UnixNano = 0n;
  const at = (time: UnixNano) => {
    if (time > latest) latest = time;
  };
  if (batch.signal === 'metrics') for (const point of batch.items) at(point.time);
  else if (batch.signal === 'traces') for (const span of batch.items) at(span.endTime);
  else for (const entry of batch.items) at(entry.observedTime > 0n ? entry.observedTime : entry.time);
  return Number(latest / 1000n) / 1000;
}
