/**
 * Metric families as the text of an exposition: Prometheus text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0. The part of
 * a line before its value is made once per series and kept, so that a page costs its numbers.
 */
import {
  type Exemplar,
  type ExponentialHistogramPoint,
  type HistogramPoint,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isSummaryPoint,
  type Point,
  type SummaryPoint,
  type UnixNano,
} from '../model.ts';
import { classicBuckets } from './prometheus-text-exponential.ts';
import {
  boundText,
  type Escaping,
  escapeName,
  isLegacyLabel,
  isLegacyName,
  numberText,
} from './prometheus-text-names.ts';
import type { Label, PrometheusType } from './prometheus-text-series.ts';

/** What a scraper asked for. */
export interface ExpositionFormat {
  readonly kind: 'text' | 'openmetrics';
  readonly version: '0.0.1' | '0.0.4' | '1.0.0';
  readonly escaping: Escaping;
}

export interface ExposedFamily {
  readonly name: string;
  readonly type: PrometheusType;
  readonly help: string;
  /** OpenMetrics' unit, '' if none. */
  readonly unit: string;
  readonly series: Iterable<ExposedSeries>;
}

/** `cache` belongs to the writer; make it with `newCache` and keep it as long as name and labels stay the same. */
export interface ExposedSeries {
  readonly labels: readonly Label[];
  readonly point: Point;
  readonly cache: SeriesCache;
}

interface Prefixes {
  /** Of the one sample of a number. */
  value: string;
  /** Of `_bucket` or quantile samples, in order; made for `bounds`. */
  parts: string[];
  bounds: unknown;
  sum: string;
  count: string;
}
export interface SeriesCache {
  /** For names that every escaping leaves as they are. */
  any: Prefixes | undefined;
  byEscaping: Map<Escaping, Prefixes> | undefined;
}
export const newCache = (): SeriesCache => ({ any: undefined, byEscaping: undefined });

/** The value of the Content-Type header. */
export function contentType(format: ExpositionFormat): string {
  const type = format.kind === 'openmetrics' ? 'application/openmetrics-text' : 'text/plain';
  return `${type}; version=${format.version}; charset=utf-8; escaping=${format.escaping}`;
}

const escapeValue = (text: string) =>
  /["\\\n]/.test(text) ? text.replace(/\\/g, '\\\\').replace(/\n/g, '\\n').replace(/"/g, '\\"') : text;

/** `name{labels}` and a space, in quotes where it must be. */
function linePrefix(name: string, labels: readonly Label[], extra: Label | undefined, escaping: Escaping): string {
  const parts: string[] = [];
  const shown = escapeName(name, escaping);
  const quoted = !isLegacyName(shown);
  if (quoted) parts.push(`"${escapeValue(shown)}"`);
  for (const [key, value] of extra ? [...labels, extra] : labels) {
    const label = escapeName(key, escaping, true);
    parts.push(`${isLegacyLabel(label) ? label : `"${escapeValue(label)}"`}="${escapeValue(value)}"`);
  }
  return `${quoted ? '' : shown}${parts.length > 0 ? `{${parts.join(',')}}` : ''} `;
}

function prefixes(family: ExposedFamily, series: ExposedSeries, escaping: Escaping): Prefixes {
  const { cache } = series;
  const known = (escaping === 'dots' ? undefined : cache.any) ?? cache.byEscaping?.get(escaping);
  if (known) return known;
  const value = linePrefix(family.name, series.labels, undefined, escaping);
  const made: Prefixes = { value, parts: [], bounds: undefined, sum: '', count: '' };
  if (escaping !== 'dots' && isLegacyName(family.name) && series.labels.every(([name]) => isLegacyLabel(name))) {
    cache.any = made;
  } else {
    cache.byEscaping ??= new Map();
    cache.byEscaping.set(escaping, made);
  }
  return made;
}

/** Makes the prefixes of a histogram or summary, again only if its bounds have changed. */
function partPrefixes(
  made: Prefixes,
  family: ExposedFamily,
  series: ExposedSeries,
  escaping: Escaping,
  bounds: ArrayLike<number>,
  label: 'le' | 'quantile',
): Prefixes {
  if (made.bounds === bounds || (made.bounds && equal(made.bounds as ArrayLike<number>, bounds))) return made;
  made.bounds = bounds;
  const name = label === 'le' ? `${family.name}_bucket` : family.name;
  const values = Array.from(bounds, boundText);
  if (label === 'le') values.push('+Inf');
  made.parts = values.map((v) => linePrefix(name, series.labels, [label, v], escaping));
  made.sum = linePrefix(`${family.name}_sum`, series.labels, undefined, escaping);
  made.count = linePrefix(`${family.name}_count`, series.labels, undefined, escaping);
  return made;
}

function equal(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export interface WriteOptions {
  readonly format: ExpositionFormat;
  /** Writes the time of each sample. */
  readonly timestamps: boolean;
  /** OpenMetrics: true if another family has this name, so that a counter cannot give up its `_total`. */
  readonly taken?: (familyName: string) => boolean;
}

/** One family: its comments, then its samples. Nothing if it has no series. */
export function writeFamily(family: ExposedFamily, options: WriteOptions): string {
  const { format, timestamps } = options;
  const { escaping } = format;
  const om = format.kind === 'openmetrics';
  let out = '';
  for (const series of family.series) {
    const { point } = series;
    const stamp = timestamps && point.time !== 0n ? ` ${timeText(point.time, om)}` : '';
    const made = prefixes(family, series, escaping);
    if (isNumberPoint(point)) {
      const exemplar = om && family.type === 'counter' ? exemplarText(latest(point.exemplars)) : '';
      out += `${made.value}${numberText(point.value)}${stamp}${exemplar}\n`;
    } else if (isSummaryPoint(point)) out += summary(made, family, series, point, escaping, stamp);
    else if (isHistogramPoint(point)) out += histogram(made, family, series, point, escaping, stamp, om);
    else if (isExponentialHistogramPoint(point)) out += exponential(made, family, series, point, escaping, stamp);
  }
  return out === '' ? '' : comments(family, options) + out;
}

/** What ends the page. */
export const pageEnd = (format: ExpositionFormat): string => (format.kind === 'openmetrics' ? '# EOF\n' : '');

function comments(family: ExposedFamily, { format, taken }: WriteOptions): string {
  const om = format.kind === 'openmetrics';
  let { name } = family;
  let type: string = family.type;
  if (om) {
    // OpenMetrics demands suffixes. A scraped name that lacks its suffix keeps its name and loses its type.
    const suffix = type === 'counter' ? '_total' : type === 'info' ? '_info' : '';
    if (suffix) {
      const base = name.slice(0, -suffix.length);
      if (name.endsWith(suffix) && base !== '' && !taken?.(base)) name = base;
      else type = type === 'info' ? 'gauge' : 'unknown';
    }
    if (type === 'stateset') type = 'gauge';
  } else if (type === 'info' || type === 'stateset') type = 'gauge';
  else if (type === 'unknown') type = 'untyped';
  const shown = escapeName(name, format.escaping);
  const title = isLegacyName(shown) ? shown : `"${escapeValue(shown)}"`;
  let out = '';
  if (family.help !== '') {
    const help = family.help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n');
    out += `# HELP ${title} ${om ? help.replace(/"/g, '\\"') : help}\n`;
  }
  out += `# TYPE ${title} ${type}\n`;
  if (om && family.unit !== '' && type !== 'info' && name.endsWith(`_${family.unit}`)) {
    out += `# UNIT ${title} ${family.unit}\n`;
  }
  return out;
}

function summary(
  made: Prefixes,
  family: ExposedFamily,
  series: ExposedSeries,
  point: SummaryPoint,
  escaping: Escaping,
  stamp: string,
): string {
  const { quantiles } = point;
  const p = partPrefixes(
    made,
    family,
    series,
    escaping,
    quantiles.map((q) => q.quantile),
    'quantile',
  );
  let out = '';
  for (let i = 0; i < quantiles.length; i++) out += `${p.parts[i]}${numberText(quantiles[i]!.value)}${stamp}\n`;
  return `${out}${p.sum}${numberText(point.sum)}${stamp}\n${p.count}${point.count}${stamp}\n`;
}

function histogram(
  made: Prefixes,
  family: ExposedFamily,
  series: ExposedSeries,
  point: HistogramPoint,
  escaping: Escaping,
  stamp: string,
  om: boolean,
): string {
  const { bounds, bucketCounts } = point;
  const p = partPrefixes(made, family, series, escaping, bounds, 'le');
  const exemplars = om && point.exemplars?.length ? point.exemplars : undefined;
  let out = '';
  let total = 0;
  for (let i = 0; i < bounds.length; i++) {
    total += Number(bucketCounts[i] ?? 0);
    out += `${p.parts[i]}${total}${stamp}`;
    out += exemplars ? `${exemplarText(within(exemplars, bounds[i - 1], bounds[i]))}\n` : '\n';
  }
  out += `${p.parts[bounds.length]}${point.count}${stamp}`;
  out += exemplars ? `${exemplarText(within(exemplars, bounds.at(-1), undefined))}\n` : '\n';
  if (point.sum !== undefined) out += `${p.sum}${numberText(point.sum)}${stamp}\n`;
  return `${out}${p.count}${point.count}${stamp}\n`;
}

function exponential(
  made: Prefixes,
  family: ExposedFamily,
  series: ExposedSeries,
  point: ExponentialHistogramPoint,
  escaping: Escaping,
  stamp: string,
): string {
  const { bounds, cumulative } = classicBuckets(point);
  const p = partPrefixes(made, family, series, escaping, bounds, 'le');
  let out = '';
  for (let i = 0; i < bounds.length; i++) out += `${p.parts[i]}${cumulative[i]}${stamp}\n`;
  out += `${p.parts[bounds.length]}${point.count}${stamp}\n`;
  if (point.sum !== undefined) out += `${p.sum}${numberText(point.sum)}${stamp}\n`;
  return `${out}${p.count}${point.count}${stamp}\n`;
}

/** Milliseconds in the text format, seconds in OpenMetrics. */
function timeText(time: UnixNano, om: boolean): string {
  const ms = time / 1_000_000n;
  return om ? `${ms / 1000n}.${String(ms % 1000n).padStart(3, '0')}` : String(ms);
}

function latest(exemplars: readonly Exemplar[] | undefined): Exemplar | undefined {
  let found: Exemplar | undefined;
  for (const e of exemplars ?? []) if (!found || e.time >= found.time) found = e;
  return found;
}

const within = (exemplars: readonly Exemplar[], above: number | undefined, upTo: number | undefined) =>
  latest(
    exemplars.filter((e) => {
      const value = Number(e.value);
      return (above === undefined || value > above) && (upTo === undefined || value <= upTo);
    }),
  );

/** OpenMetrics allows so many characters in all names and values of an exemplar. */
const MAX_EXEMPLAR = 128;

/** ` # {labels} value time`; ids first, then what still fits of the rest. */
function exemplarText(exemplar: Exemplar | undefined): string {
  if (!exemplar) return '';
  const parts: string[] = [];
  let room = MAX_EXEMPLAR;
  const put = (name: string, value: string) => {
    const length = [...name].length + [...value].length;
    if (length > room) return;
    room -= length;
    parts.push(`${name}="${escapeValue(value)}"`);
  };
  if (exemplar.traceId) put('trace_id', exemplar.traceId);
  if (exemplar.spanId) put('span_id', exemplar.spanId);
  for (const key in exemplar.filteredAttributes) {
    const value = exemplar.filteredAttributes[key];
    if (typeof value === 'string' && isLegacyLabel(key) && key !== 'trace_id' && key !== 'span_id') put(key, value);
  }
  const time = exemplar.time === 0n ? '' : ` ${timeText(exemplar.time, true)}`;
  return ` # {${parts.join(',')}} ${numberText(exemplar.value)}${time}`;
}
