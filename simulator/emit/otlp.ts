/** OTLP/JSON text, built by hand: int64 as strings, ids in lower-case hex. */

const q = (text: string) => JSON.stringify(text);

export type Value = string | number | boolean;

/** An attribute list; whole numbers are ints. */
export function attributes(entries: readonly (readonly [string, Value | undefined])[]): string {
  let out = '[';
  for (const [key, value] of entries) {
    if (value === undefined) continue;
    if (out.length > 1) out += ',';
    out += `{"key":${q(key)},"value":${anyValue(value)}}`;
  }
  return `${out}]`;
}

function anyValue(value: Value): string {
  if (typeof value === 'string') return `{"stringValue":${q(value)}}`;
  if (typeof value === 'boolean') return `{"boolValue":${value}}`;
  return Number.isInteger(value) ? `{"intValue":"${value}"}` : `{"doubleValue":${value}}`;
}

/** Seconds since the epoch (float, about 0.2 µs exact) to nanoseconds as text. */
export function nanos(epochMs: number, seconds: number): string {
  const us = Math.round(seconds * 1e9);
  const whole = Math.floor(us / 1e6);
  const rest = us - whole * 1e6;
  return `${epochMs + whole}${String(rest).padStart(6, '0')}`;
}

export const hexId = (n: number, width: number): string => n.toString(16).padStart(width, '0');

export interface SpanText {
  readonly traceId: string;
  readonly spanId: string;
  readonly parent?: string;
  readonly name: string;
  readonly kind: number;
  readonly start: string;
  readonly end: string;
  readonly attributes: string;
  readonly error?: string;
}

export function spanText(s: SpanText): string {
  const parent = s.parent ? `"parentSpanId":"${s.parent}",` : '';
  const status = s.error === undefined ? '' : `,"status":{"code":2,"message":${q(s.error)}}`;
  return `{"traceId":"${s.traceId}","spanId":"${s.spanId}",${parent}"name":${q(s.name)},"kind":${s.kind},"startTimeUnixNano":"${s.start}","endTimeUnixNano":"${s.end}","attributes":${s.attributes}${status}}`;
}

/** One export request of spans. */
export function spansLine(resource: string, scope: string, spans: readonly string[]): string {
  return `{"resourceSpans":[{"resource":{"attributes":${resource}},"scopeSpans":[{"scope":{"name":${q(scope)}},"spans":[${spans.join(',')}]}]}]}`;
}
