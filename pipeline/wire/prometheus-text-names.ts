/**
 * Names in Prometheus: how a metric of OpenTelemetry is called there, and how a name that an old scraper cannot read is
 * written for it. Follows OpenTelemetry's "Prometheus and OpenMetrics compatibility" and the Collector's spelling.
 */
import { type AnyValue, Double, KeyValues, type Metric } from '../model.ts';

export const STRATEGIES = [
  'UnderscoreEscapingWithSuffixes',
  'UnderscoreEscapingWithoutSuffixes',
  'NoUTF8EscapingWithSuffixes',
  'NoTranslation',
] as const;

/** Whether names are made of old characters only, and whether units and types become suffixes. */
export type TranslationStrategy = (typeof STRATEGIES)[number];

/** How names are written for a scraper that cannot read all of UTF-8; `allow-utf-8` is: as they are, in quotes. */
export type Escaping = 'allow-utf-8' | 'underscores' | 'dots' | 'values';

const LEGACY_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Whether every scraper can read the name without quotes. */
export const isLegacyName = (name: string): boolean => LEGACY_NAME.test(name);
export const isLegacyLabel = (name: string): boolean => LEGACY_LABEL.test(name);

const UNITS: Readonly<Record<string, string>> = {
  d: 'days',
  h: 'hours',
  min: 'minutes',
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  TiBy: 'tibibytes',
  KBy: 'kilobytes',
  kBy: 'kilobytes',
  MBy: 'megabytes',
  GBy: 'gigabytes',
  TBy: 'terabytes',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams',
  Cel: 'celsius',
  Hz: 'hertz',
  '1': '',
  '%': 'percent',
};
const PER_UNITS: Readonly<Record<string, string>> = {
  s: 'second',
  m: 'minute',
  h: 'hour',
  d: 'day',
  w: 'week',
  mo: 'month',
  y: 'year',
};

const words = (text: string): string[] => text.split(/[^a-zA-Z0-9:]+/).filter((w) => w !== '');

/** The words that a unit adds to a name: `By/s` is bytes and second; annotations in braces are nothing. */
function unitWords(unit: string): { main: string; per: string } {
  const slash = unit.indexOf('/');
  const first = (slash < 0 ? unit : unit.slice(0, slash)).trim();
  const second = slash < 0 ? '' : unit.slice(slash + 1).trim();
  const word = (text: string, table: Readonly<Record<string, string>>) =>
    /[{}]/.test(text) ? '' : words(Object.hasOwn(table, text) ? table[text]! : text).join('_');
  return { main: word(first, UNITS), per: word(second, PER_UNITS) };
}

/** OpenMetrics' UNIT of a metric of this name: the unit's words, where the name ends in them. */
export function unitOf(metric: Metric, name: string): string {
  const { main, per } = unitWords(metric.unit);
  const unit = [main, per && `per_${per}`].filter(Boolean).join('_');
  const base = name.endsWith('_total') ? name.slice(0, -6) : name;
  return unit !== '' && base.endsWith(`_${unit}`) ? unit : '';
}

/**
 * True for a metric that was scraped from an exposition: its name is Prometheus' own already and stays as it is, units
 * and suffixes included.
 */
export const isScraped = (metric: Metric): boolean => metric.metadata['prometheus.type'] !== undefined;

/** The name of a metric in Prometheus (the family: without `_bucket`, `_sum`, `_count`; with `_total`). */
export function metricName(metric: Metric, strategy: TranslationStrategy, namespace = ''): string {
  const utf8 = strategy === 'NoUTF8EscapingWithSuffixes' || strategy === 'NoTranslation';
  const suffixes = strategy === 'UnderscoreEscapingWithSuffixes' || strategy === 'NoUTF8EscapingWithSuffixes';
  if (!suffixes || isScraped(metric)) {
    const name = namespace ? `${namespace}_${metric.name}` : metric.name;
    return utf8 || isLegacyName(name)
      ? name
      : leadingDigit(
          name
            .split(/[^a-zA-Z0-9:_]+/)
            .filter(Boolean)
            .join('_'),
        );
  }
  const { main, per } = unitWords(metric.unit);
  const counter = metric.type === 'sum' && metric.monotonic;
  const ratio = metric.unit === '1' && metric.type === 'gauge';
  if (utf8) {
    let name = namespace ? `${namespace}_${metric.name}` : metric.name;
    const trim = (suffix: string) => {
      if (name.endsWith(`_${suffix}`) || name.endsWith(`.${suffix}`)) name = name.slice(0, -suffix.length - 1);
    };
    if (counter) trim('total');
    if (ratio) trim('ratio');
    if (per) trim(`per_${per}`);
    if (main && !name.endsWith(main)) name += `_${main}`;
    if (per) name += `_per_${per}`;
    return name + (ratio ? '_ratio' : '') + (counter ? '_total' : '');
  }
  let tokens = words(metric.name);
  if (main && !tokens.includes(main)) tokens.push(main);
  if (per && !tokens.includes(per)) tokens.push('per', per);
  if (counter) tokens = [...tokens.filter((w) => w !== 'total'), 'total'];
  if (ratio) tokens = [...tokens.filter((w) => w !== 'ratio'), 'ratio'];
  if (namespace) tokens.unshift(words(namespace).join('_'));
  return leadingDigit(tokens.join('_'));
}

const leadingDigit = (name: string) => (/^[0-9]/.test(name) ? `_${name}` : name);

/** The name of a label. Names that start with two underscores are Prometheus' own and lose one. */
export function labelName(name: string, strategy: TranslationStrategy): string {
  if (name === '') return '_';
  if (strategy === 'NoUTF8EscapingWithSuffixes' || strategy === 'NoTranslation') {
    return name.startsWith('__') ? name.slice(1) : name;
  }
  const escaped = name.replace(/[^a-zA-Z0-9]+/g, '_');
  return /^[0-9]/.test(escaped) ? `key_${escaped}` : escaped;
}

/** A name as it is written for a scraper that asked for this escaping; `label` names may not contain a colon. */
export function escapeName(name: string, escaping: Escaping, label = false): string {
  const legacy = label ? isLegacyLabel(name) : isLegacyName(name);
  if (escaping === 'allow-utf-8' || (legacy && escaping !== 'dots')) return name;
  let out = escaping === 'values' ? 'U__' : '';
  let first = true;
  for (const c of name) {
    const valid = /[a-zA-Z_]/.test(c) || (c === ':' && !label) || (!first && /[0-9]/.test(c));
    if (escaping === 'underscores') out += valid ? c : '_';
    else if (c === '_') out += '__';
    else if (valid) out += c;
    else if (escaping === 'dots') out += c === '.' ? '_dot_' : '__';
    else out += `_${c.codePointAt(0)!.toString(16)}_`;
    first = false;
  }
  return out;
}

/** An attribute's value as text: text as it is, bytes in base64, lists and maps as JSON. */
export function valueText(value: AnyValue): string {
  if (typeof value === 'string') return value;
  if (value === null) return '';
  if (typeof value !== 'object') return String(value);
  if (value instanceof Double) return numberText(value.value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  return JSON.stringify(plainValue(value));
}

function plainValue(value: AnyValue): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Double) return value.value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (value instanceof KeyValues) {
    return Object.fromEntries(Object.entries(value.entries).map(([k, v]) => [k, plainValue(v)]));
  }
  return value.map(plainValue);
}

/** A sample's value. */
export function numberText(value: number | bigint): string {
  const text = `${value}`;
  // Only the infinities are spelt otherwise; their first letters tell them from all other numbers.
  return text.length < 8 || !text.endsWith('y') ? text : text.startsWith('-') ? '-Inf' : '+Inf';
}

/**
 * A bound as the value of `le` or `quantile`: always with a point or an exponent, as OpenMetrics wants it, as Prometheus 3
 * and Python's client (most engines) write it in both formats.
 */
export function boundText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : numberText(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) {
    const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
    return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`;
  }
  const text = String(value);
  return text.includes('.') ? text : `${text}.0`;
}
