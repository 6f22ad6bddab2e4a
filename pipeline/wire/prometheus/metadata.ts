/** What an exposition says about its families in `# TYPE`, `# HELP` and `# UNIT` lines. */
import { unescaped } from './labels.ts';

export type FamilyType =
  | 'counter'
  | 'gauge'
  | 'histogram'
  | 'gaugehistogram'
  | 'summary'
  | 'info'
  | 'stateset'
  | 'unknown';

export interface FamilyMetadata {
  readonly type: FamilyType;
  readonly help: string;
  /** As exposed: `seconds`, `bytes`. */
  readonly unit: string;
}

const TYPES: ReadonlySet<string> = new Set<FamilyType>([
  'counter',
  'gauge',
  'histogram',
  'gaugehistogram',
  'summary',
  'info',
  'stateset',
  'unknown',
]);

export interface BadComment {
  readonly line: number;
  readonly text: string;
  readonly wrong: string;
}

const KEYWORD = /^#[ \t]+(TYPE|HELP|UNIT)[ \t]+("(?:[^"\\]|\\.)*"|[^ \t]+)(?:[ \t]+(.*))?$/;

/**
 * Reads every comment of a body. The first TYPE of a family counts; an unknown type or one that contradicts the first is a
 * bad line.
 */
export function readMetadata(body: Buffer): { families: Map<string, FamilyMetadata>; bad: BadComment[] } {
  const families = new Map<string, { type: FamilyType | undefined; help: string; unit: string }>();
  const bad: BadComment[] = [];
  let line = 0;
  for (let p = 0; p < body.length; ) {
    let end = body.indexOf(0x0a, p);
    if (end < 0) end = body.length;
    line++;
    let start = p;
    p = end + 1;
    while (start < end && body[start]! <= 0x20) start++;
    if (body[start] !== 0x23) continue;
    const text = body.toString('utf8', start, end).trimEnd();
    const match = KEYWORD.exec(text);
    if (!match) continue;
    const quoted = match[2]!;
    const name = quoted.startsWith('"') ? unescaped(quoted.slice(1, -1)) : quoted;
    const rest = match[3] ?? '';
    let family = families.get(name);
    if (!family) {
      family = { type: undefined, help: '', unit: '' };
      families.set(name, family);
    }
    if (match[1] === 'HELP') {
      if (family.help === '') family.help = unescaped(rest);
    } else if (match[1] === 'UNIT') {
      if (family.unit === '') family.unit = rest.trim();
    } else {
      const word = rest.trim().toLowerCase();
      const type = word === 'untyped' ? 'unknown' : word;
      if (!TYPES.has(type)) bad.push({ line, text, wrong: `unknown metric type "${type.slice(0, 40)}"` });
      else if (family.type === undefined) family.type = type as FamilyType;
      else if (family.type !== type) {
        bad.push({ line, text, wrong: `a second type for ${name.slice(0, 100)}, which is a ${family.type}` });
      }
    }
  }
  const out = new Map<string, FamilyMetadata>();
  for (const [name, f] of families) out.set(name, { type: f.type ?? 'unknown', help: f.help, unit: f.unit });
  return { families: out, bad };
}

/** What a sample is in its family. */
export type SampleRole =
  | { readonly kind: 'number'; readonly family: string }
  | { readonly kind: 'bucket' | 'sum' | 'count' | 'quantile' | 'created'; readonly family: string };

/**
 * Finds the family of a sample by its name, wherever in the page its TYPE line stands. Text and OpenMetrics differ in
 * where the suffix belongs (`# TYPE x_total counter` against `# TYPE x counter`); both are understood in both.
 */
export function roleOf(
  name: string,
  hasLabel: (label: string) => boolean,
  families: ReadonlyMap<string, FamilyMetadata>,
): SampleRole {
  const own = families.get(name);
  if (own) {
    if (own.type === 'summary' && hasLabel('quantile')) return { kind: 'quantile', family: name };
    return { kind: 'number', family: name };
  }
  const underscore = name.lastIndexOf('_');
  if (underscore > 0) {
    const base = name.slice(0, underscore);
    const type = families.get(base)?.type;
    if (type !== undefined) {
      switch (name.slice(underscore)) {
        case '_bucket':
          if (type === 'histogram' && hasLabel('le')) return { kind: 'bucket', family: base };
          break;
        case '_sum':
          if (type === 'histogram' || type === 'summary') return { kind: 'sum', family: base };
          break;
        case '_count':
          if (type === 'histogram' || type === 'summary') return { kind: 'count', family: base };
          break;
        case '_created':
          if (type === 'counter' || type === 'histogram' || type === 'summary') {
            return { kind: 'created', family: base };
          }
          break;
        case '_total':
          if (type === 'counter') return { kind: 'number', family: base };
          break;
        case '_info':
          if (type === 'info') return { kind: 'number', family: base };
          break;
      }
    }
  }
  return { kind: 'number', family: name };
}

const UCUM: Readonly<Record<string, string>> = {
  seconds: 's',
  milliseconds: 'ms',
  microseconds: 'us',
  nanoseconds: 'ns',
  minutes: 'min',
  hours: 'h',
  days: 'd',
  bytes: 'By',
  kibibytes: 'KiBy',
  mebibytes: 'MiBy',
  gibibytes: 'GiBy',
  kilobytes: 'kBy',
  megabytes: 'MBy',
  gigabytes: 'GBy',
  meters: 'm',
  volts: 'V',
  amperes: 'A',
  joules: 'J',
  watts: 'W',
  grams: 'g',
  celsius: 'Cel',
  hertz: 'Hz',
  ratio: '1',
  percent: '%',
};

/** The UCUM code of a unit word (`seconds` is `s`); an unknown word stays as it is. */
export const ucumOf = (word: string): string => (Object.hasOwn(UCUM, word) ? UCUM[word]! : word);
