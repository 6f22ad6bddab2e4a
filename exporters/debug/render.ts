/** Batches as text for people: one glance, one line per item, or everything. */
import {
  type AnyValue,
  type Attributes,
  type Batch,
  Double,
  type Exemplar,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  isSummaryPoint,
  KeyValues,
  type LogRecord,
  type Metric,
  type Point,
  type Resource,
  type Scope,
  type Span,
  type UnixNano,
} from '../../pipeline/model.ts';

export type Verbosity = 'basic' | 'normal' | 'detailed';

/** Marks up text for a terminal, or leaves it as it is. */
export interface Ink {
  strong(text: string): string;
  faint(text: string): string;
}
export const PLAIN: Ink = { strong: (t) => t, faint: (t) => t };
export const ANSI: Ink = { strong: (t) => `\u001b[1m${t}\u001b[22m`, faint: (t) => `\u001b[2m${t}\u001b[22m` };

// Data comes from strangers; none of it may move the cursor, change colours or begin a line.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** The text without anything that a terminal would obey. */
export const safe = (text: string): string =>
  text.replace(CONTROL, (c) => SHORT[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

const plural = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;

/** Lines of text, without their line breaks. */
export function render(batch: Batch, verbosity: Verbosity, nowMs: number, ink: Ink = PLAIN): string[] {
  const lines = [ink.strong(`${new Date(nowMs).toISOString().slice(11, 23)} ${summary(batch)}`)];
  if (verbosity === 'basic') return lines;
  let resource: Resource | undefined;
  let scope: Scope | undefined;
  let metric: Metric | undefined;
  for (const item of batch.items) {
    const of = 'series' in item ? item.series : item;
    if (of.resource !== resource) {
      resource = of.resource;
      scope = undefined;
      metric = undefined;
      lines.push(...resourceLines(resource, verbosity, ink));
    }
    if (verbosity === 'detailed' && of.scope !== scope) {
      scope = of.scope;
      metric = undefined;
      const version = scope.version && ` ${scope.version}`;
      lines.push(ink.faint(`  scope ${safe(scope.name || '(no name)')}${safe(version)}${braces(scope.attributes)}`));
    }
    if (!('series' in item)) {
      lines.push(...('endTime' in item ? spanLines(item, verbosity) : logLines(item, verbosity)));
      continue;
    }
    if (verbosity === 'detailed' && item.series.metric !== metric) {
      metric = item.series.metric;
      lines.push(`    ${ink.strong(safe(metric.name))} ${ink.faint(metricText(metric))}`);
    }
    lines.push(verbosity === 'normal' ? pointLine(item) : `      ${pointDetail(item)}`);
    if (verbosity === 'detailed') lines.push(...exemplarLines(item));
  }
  return lines;
}

/** `metrics  2 resources, 57 metrics, 312 points`. */
function summary(batch: Batch): string {
  const resources = new Set<Resource>();
  const metrics = new Set<string>();
  for (const item of batch.items) {
    if ('series' in item) {
      resources.add(item.series.resource);
      metrics.add(item.series.metric.name);
    } else resources.add(item.resource);
  }
  const counts = [plural(resources.size, 'resource')];
  if (batch.signal === 'metrics') counts.push(plural(metrics.size, 'metric'), plural(batch.items.length, 'point'));
  else counts.push(plural(batch.items.length, batch.signal === 'traces' ? 'span' : 'record'));
  return `${batch.signal.padEnd(7)} ${counts.join(', ')}`;
}

function resourceLines(resource: Resource, verbosity: Verbosity, ink: Ink): string[] {
  const { attributes } = resource;
  if (verbosity === 'normal') {
    const first = ['service.name', 'service.instance.id', 'host.name'].filter((k) => attributes[k] !== undefined);
    const names = first.map((k) => safe(value(attributes[k]!))).join(' ');
    const rest = Object.fromEntries(Object.entries(attributes).filter(([k]) => !first.includes(k)));
    return [`  ${names ? ink.strong(names) : ink.faint('(no service)')}${ink.faint(braces(rest))}`];
  }
  const schema = resource.schemaUrl && ` schema ${resource.schemaUrl}`;
  return [
    ` ${ink.strong('resource')}${ink.faint(safe(schema))}`,
    ...Object.entries(attributes).map(([k, v]) => `   ${safe(k)} = ${typed(v)}`),
  ];
}

const TEMPORALITY = ['', 'delta', 'cumulative'];
function metricText(metric: Metric): string {
  const parts: string[] = [
    metric.type.replace('_', ' '),
    ...(metric.type === 'sum' && metric.monotonic ? ['monotonic'] : []),
    TEMPORALITY[metric.temporality] ?? `temporality ${metric.temporality}`,
    metric.unit && `in ${metric.unit}`,
    metric.description && `- ${metric.description}`,
  ];
  return safe(parts.filter(Boolean).join(' ')) + braces(metric.metadata);
}

const pointLine = (point: Point): string =>
  `    ${safe(point.series.metric.name)}${braces(point.series.attributes)} ${pointValue(point)}`;

function pointValue(point: Point): string {
  if (isStale(point)) return '(ended)';
  if (isNumberPoint(point)) return String(point.value);
  const parts = [`count=${point.count}`];
  if (point.sum !== undefined) parts.push(`sum=${short(point.sum)}`);
  if (isSummaryPoint(point)) for (const q of point.quantiles) parts.push(`q${q.quantile}=${short(q.value)}`);
  else {
    if (point.min !== undefined) parts.push(`min=${short(point.min)}`);
    if (point.max !== undefined) parts.push(`max=${short(point.max)}`);
    if (isHistogramPoint(point)) {
      for (const [i, n] of [...point.bucketCounts].entries()) {
        if (Number(n) > 0) parts.push(`le${i < point.bounds.length ? point.bounds[i] : '+Inf'}=${n}`);
      }
    } else {
      parts.push(`scale=${point.scale}`);
      if (Number(point.zeroCount) > 0) parts.push(`zero=${point.zeroCount}`);
    }
  }
  return parts.join(' ');
}

const short = (n: number) => (Number.isInteger(n) ? String(n) : String(Number(n.toPrecision(6))));

function pointDetail(point: Point): string {
  const parts = [time(point.time), pointValue(point)];
  if (isNumberPoint(point)) parts.push(typeof point.value === 'bigint' ? '(int)' : '(double)');
  if ('scale' in point) {
    for (const [sign, buckets] of [
      ['+', point.positive],
      ['-', point.negative],
    ] as const) {
      if (buckets) parts.push(`${sign}[${buckets.offset}: ${[...buckets.counts].join(' ')}]`);
    }
  }
  if (point.startTime !== 0n) parts.push(`since ${time(point.startTime)}`);
  if (point.flags !== 0) parts.push(`flags=${point.flags}`);
  return `${braces(point.series.attributes).trimStart() || '{}'} ${parts.join(' ')}`;
}

function exemplarLines(point: Point): string[] {
  const exemplars: readonly Exemplar[] = ('exemplars' in point && point.exemplars) || [];
  return exemplars.map(
    (e) =>
      `        exemplar ${e.value} ${time(e.time)}${e.traceId && ` trace=${e.traceId}`}${e.spanId && ` span=${e.spanId}`}${braces(e.filteredAttributes)}`,
  );
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer'];
const STATUS = ['', 'ok', 'ERROR'];

function spanLines(span: Span, verbosity: Verbosity): string[] {
  const ms = Number(span.endTime - span.startTime) / 1e6;
  const kind = KINDS[span.kind] ?? `kind ${span.kind}`;
  const status = STATUS[span.status.code] ?? `status ${span.status.code}`;
  const head = [safe(span.name), kind, `${short(ms)}ms`, status, safe(span.status.message)].filter(Boolean).join(' ');
  if (verbosity === 'normal') return [`    ${head}${braces(span.attributes)}`];
  const ids = `trace=${span.traceId || '-'} span=${span.spanId || '-'}${span.parentSpanId && ` parent=${span.parentSpanId}`}`;
  const dropped = span.droppedAttributesCount + span.droppedEventsCount + span.droppedLinksCount;
  return [
    `    ${head}`,
    `      ${ids} ${time(span.startTime)} .. ${time(span.endTime)}${span.traceState && ` state=${safe(span.traceState)}`}${dropped > 0 ? ` dropped=${dropped}` : ''}`,
    ...Object.entries(span.attributes).map(([k, v]) => `      ${safe(k)} = ${typed(v)}`),
    ...span.events.map((e) => `      event ${safe(e.name)} ${time(e.time)}${braces(e.attributes)}`),
    ...span.links.map((l) => `      link trace=${l.traceId} span=${l.spanId}${braces(l.attributes)}`),
  ];
}

function logLines(record: LogRecord, verbosity: Verbosity): string[] {
  const severity = record.severityText || (record.severityNumber > 0 ? `severity ${record.severityNumber}` : '');
  const body = record.body === null ? '' : safe(value(record.body));
  const head = [safe(severity), safe(record.eventName), body].filter(Boolean).join(' ') || '(empty)';
  if (verbosity === 'normal') return [`    ${head}${braces(record.attributes)}`];
  const ids = `${record.traceId && ` trace=${record.traceId}`}${record.spanId && ` span=${record.spanId}`}`;
  return [
    `    ${head}`,
    `      ${time(record.time)} observed ${time(record.observedTime)}${ids}`,
    ...Object.entries(record.attributes).map(([k, v]) => `      ${safe(k)} = ${typed(v)}`),
  ];
}

/** ` {a=b c=d}`, or nothing. */
function braces(attributes: Attributes): string {
  const parts = Object.entries(attributes).map(([k, v]) => `${safe(k)}=${quoted(v)}`);
  return parts.length === 0 ? '' : ` {${parts.join(' ')}}`;
}

const quoted = (v: AnyValue): string => {
  const text = value(v);
  return /^[^\s"={}]+$/.test(text) ? safe(text) : `"${safe(text.replace(/"/g, '\\"'))}"`;
};

/** A value as short text. */
function value(v: AnyValue): string {
  if (v === null) return 'null';
  if (typeof v !== 'object') return String(v);
  if (v instanceof Double) return String(v.value);
  if (v instanceof Uint8Array) return `0x${Buffer.from(v.subarray(0, 64)).toString('hex')}${v.length > 64 ? '…' : ''}`;
  if (v instanceof KeyValues) {
    return `{${Object.entries(v.entries)
      .map(([k, x]) => `${k}: ${value(x)}`)
      .join(', ')}}`;
  }
  return `[${v.map(value).join(', ')}]`;
}

/** A value with its type, as the Collector names it. */
function typed(v: AnyValue): string {
  const type =
    v === null
      ? 'Empty'
      : typeof v === 'string'
        ? 'Str'
        : typeof v === 'boolean'
          ? 'Bool'
          : typeof v === 'bigint' || (typeof v === 'number' && Number.isInteger(v) && !Object.is(v, -0))
            ? 'Int'
            : typeof v === 'number' || v instanceof Double
              ? 'Double'
              : v instanceof Uint8Array
                ? 'Bytes'
                : v instanceof KeyValues
                  ? 'Map'
                  : 'Slice';
  return `${type}(${safe(value(v))})`;
}

function time(nanos: UnixNano): string {
  if (nanos === 0n) return '(no time)';
  const ms = Number(nanos / 1_000_000n);
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return `${nanos}ns`;
  return date.toISOString().replace(/\d{3}Z$/, `${String(nanos % 1_000_000_000n).padStart(9, '0')}Z`);
}
