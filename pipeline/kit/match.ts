/** The Collector's include and exclude: which items a processor is about. */
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';
import { type AnyValue, type Attributes, Double } from '../model.ts';

/** Tells whether a text is one of those that were configured. */
export type TextMatcher = (text: string) => boolean;

/** `strict` compares whole texts, `regexp` searches: `^` and `$` make it whole, as in the Collector. */
export type MatchType = 'strict' | 'regexp';

export const matchType = t.choice(['strict', 'regexp'], {
  description:
    '`strict` compares whole texts; `regexp` searches for regular expressions (RE2 syntax as far as it is JavaScript’s)',
});

export const texts = (description: string) =>
  t.optional(t.list(t.string({ description: 'One of them' }), { description }));

const pair = t.item(
  {
    key: t.string({ description: 'The attribute', minLength: 1 }),
    value: t.optional(t.any({ description: 'Its value; left out: it only has to be there' })),
  },
  { description: 'An attribute and its value' },
);
export type Pair = Static<typeof pair>;

export const pairs = (description: string) => t.optional(t.list(pair, { description }));

export const severityNumber = t.optional(
  t.item(
    {
      min: t.oneOf(
        [t.integer({ description: 'A number, 1 to 24' }), t.string({ description: 'A name, such as WARN or ERROR2' })],
        { description: 'The lowest severity that matches' },
      ),
      match_undefined: t.optional(t.boolean({ description: 'Whether records without a severity match' })),
    },
    { description: 'Records of this severity or above' },
  ),
);

/** Compiles patterns; a mistake per pattern that cannot be compiled, at `path`. */
export function patternMistakes(
  type: MatchType,
  patterns: readonly (string | undefined)[] | undefined,
  path: readonly (string | number)[],
): ConfigMistake[] {
  if (type === 'strict') return [];
  return (patterns ?? []).flatMap((pattern, index) => {
    if (pattern === undefined) return [];
    try {
      regexpOf(pattern);
      return [];
    } catch (failure) {
      const message = `"${pattern}" is not a regular expression: ${(failure as Error).message}`;
      return [{ path: [...path, index], message }];
    }
  });
}

/** Go's named groups and leading flags, as JavaScript has them. */
function regexpOf(pattern: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(pattern);
  const body = (flags ? pattern.slice(flags[0].length) : pattern).replaceAll('(?P<', '(?<');
  return new RegExp(body, `u${flags?.[1] ?? ''}`);
}

/** Matches a text against a list; a list that was left out matches everything. */
export function textMatcher(type: MatchType, patterns: readonly string[] | undefined): TextMatcher | undefined {
  if (patterns === undefined || patterns.length === 0) return undefined;
  if (type === 'strict') {
    const set = new Set(patterns);
    return (text) => set.has(text);
  }
  const regexps = patterns.map(regexpOf);
  return (text) => regexps.some((r) => r.test(text));
}

/** Matches attributes that all have to be there, with their values where those are given. */
export function attributesMatcher(
  type: MatchType,
  wanted: readonly Pair[] | undefined,
): ((attributes: Attributes) => boolean) | undefined {
  if (wanted === undefined || wanted.length === 0) return undefined;
  const tests = wanted.map(({ key, value }) => {
    if (value === undefined || value === null) return (a: Attributes) => a[key] !== undefined;
    if (type === 'regexp') {
      const regexp = regexpOf(String(value));
      return (a: Attributes) => a[key] !== undefined && regexp.test(shown(a[key]!));
    }
    return (a: Attributes) => a[key] !== undefined && same(a[key]!, value);
  });
  return (attributes) => tests.every((test) => test(attributes));
}

const same = (value: AnyValue, wanted: unknown): boolean =>
  value === wanted || (value instanceof Double && value.value === wanted);

const shown = (value: AnyValue): string =>
  typeof value === 'object' && value !== null
    ? value instanceof Double
      ? String(value.value)
      : JSON.stringify(value)
    : String(value);

const SEVERITIES = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

/** The OTLP number of a severity written as a number or a name; undefined if there is none of that name. */
export function severityOf(written: string | number): number | undefined {
  if (typeof written === 'number') return written;
  const match = /^(?:SEVERITY_NUMBER_)?([A-Z]+)([2-4]?)$/.exec(written.toUpperCase());
  const level = match ? SEVERITIES.indexOf(match[1]!) : -1;
  return level < 0 ? undefined : level * 4 + Number(match![2] || 1);
}
