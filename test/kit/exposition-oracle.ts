/**
 * A second reader of expositions, written without looking at the first: one regular expression a line, nothing remembered.
 * And a maker of pages, for comparing the two.
 */
import fc from 'fast-check';

export interface OracleSample {
  readonly key: string;
  readonly value: number;
  readonly timestampMs: number | undefined;
}

const QUOTED = String.raw`"(?:[^"\\\n]|\\[^\n])*"`;
const LINE = new RegExp(
  String.raw`^[ \t]*(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?[ \t]*(?:\{(?<labels>(?:[^"}]|${QUOTED})*)\})?[ \t]*(?<rest>.*?)[ \t\r]*$`,
);
const LABEL = new RegExp(
  String.raw`^[ \t]*(?:(?<bare>[a-zA-Z_][a-zA-Z0-9_]*)|(?<quoted>${QUOTED}))[ \t]*(?:=[ \t]*(?<value>${QUOTED}))?[ \t]*(?<comma>,|$)`,
);
const NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|infinity)|[+-]?nan)$/i;

const unquote = (text: string) =>
  text.slice(1, -1).replace(/\\(.)/g, (all, c) => (c === 'n' ? '\n' : c === '"' || c === '\\' ? c : all));

function toNumber(text: string): number | undefined {
  if (!NUMBER.test(text)) return undefined;
  if (/nan/i.test(text)) return Number.NaN;
  if (/inf/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  return Number(text);
}

/** What a page says: the first sample of each series, how many came again, the numbers of lines that say nothing. */
export function readNaively(page: string): { samples: OracleSample[]; duplicates: number; bad: number[] } {
  const samples = new Map<string, OracleSample>();
  const bad: number[] = [];
  let duplicates = 0;
  for (const [i, line] of page.split('\n').entries()) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const sample = readLine(line);
    if (!sample) bad.push(i + 1);
    else if (samples.has(sample.key)) duplicates++;
    else samples.set(sample.key, sample);
  }
  return { samples: [...samples.values()], duplicates, bad };
}

function readLine(line: string): OracleSample | undefined {
  const groups = LINE.exec(line)?.groups;
  if (!groups) return undefined;
  let name = groups['name'];
  const labels = new Map<string, string>();
  let left = groups['labels'] ?? '';
  if (name !== undefined && groups['labels'] === undefined && !/[ \t]/.test(line.trimStart()[name.length] ?? '')) {
    return undefined;
  }
  while (left.trim() !== '') {
    const label = LABEL.exec(left);
    if (!label?.groups) return undefined;
    const { bare, quoted, value } = label.groups;
    left = left.slice(label[0].length);
    if (value === undefined) {
      if (quoted === undefined || name !== undefined) return undefined;
      name = unquote(quoted);
      continue;
    }
    const key = bare ?? unquote(quoted!);
    if (labels.has(key) || key === '' || key === '__name__') return undefined;
    labels.set(key, unquote(value));
  }
  if (!name) return undefined;
  const [first = '', second, ...more] = (groups['rest'] ?? '').split(/[ \t]+/);
  const value = toNumber(first);
  if (value === undefined || more.length > 0) return undefined;
  const timestampMs = second === undefined ? undefined : toNumber(second);
  if (second !== undefined && !Number.isFinite(timestampMs)) return undefined;
  const shown = [...labels].filter(([, v]) => v !== '').sort(([a], [b]) => (a < b ? -1 : 1));
  return { key: JSON.stringify([name, ...shown]), value, timestampMs };
}

const quote = (s: string) => `"${s.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;
const word = fc.constantFrom('a', 'ab', 'abc', 'abcd_total', 'x:y', 'long_name_of_a_metric', 'up');
const labelName = fc.constantFrom('a', 'b', 'le', 'model_name', 'engine');
const labelValue = fc.oneof(
  fc.constantFrom('', '0', '1', '+Inf', '}', '{', '"', '\\', '\n', 'ö', 'a b', 'a,b="c"', '# {'),
  fc.string({ unit: 'grapheme', maxLength: 5 }),
);
const space = fc.constantFrom('', '', '', ' ', '\t', '  ');
const number = fc.oneof(
  fc.double({ noNaN: true }).map(String),
  fc.integer().map((n) => `${n}.0`),
  fc.constantFrom('NaN', '+Inf', '-Inf', '1e3', '0'),
);

/** A line of a page: mostly samples, well and badly written. */
export const anyLine: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(
        word,
        fc.array(fc.tuple(labelName, labelValue, space), { maxLength: 3 }),
        number,
        fc.option(fc.integer({ min: 0, max: 2e12 })),
        space,
        fc.boolean(),
      )
      .map(([name, labels, value, time, gap, quoted]) => {
        const list = labels.map(([n, v, g]) => `${g}${n}${g}=${g}${quote(v)}${g}`);
        const end = `${value}${time === null ? '' : ` ${time}`}`;
        if (quoted) return `{${[quote(name), ...list].join(',')}}${gap}${end}`;
        return labels.length > 0 ? `${name}${gap}{${list.join(',')}}${gap}${end}` : `${name} ${gap}${end}`;
      }),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '',
      '   ',
      '# HELP a help',
      '# TYPE a gauge',
      '# TYPE ab counter',
      '# something else',
      'a',
      'a b',
      'a{',
      'a{a="b"',
      'a{a="b} 1',
      'a{a="b"} 1 2 3',
      '1a 1',
      '{} 1',
      'a{a="1",a="2"} 1',
      'a 1 x',
      '"a" 1',
    ),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 20 }).filter((s) => !s.includes('\n') && !s.includes('\0')) },
);
