/** A rule file's plain value to rules; every mistake at once, each with its path and the remedy. */
import { parseDuration } from '../../../config/schema.ts';
import type { SignalInfo } from '../../../config/signals.ts';
import { nearest } from '../../../config/suggest.ts';
import type { Severity } from '../verdict.ts';
import { fields, isMap, type Path } from './fields.ts';
import { readTests } from './read-tests.ts';
import {
  type AttributeTest,
  COMBINES,
  type Combine,
  type Comparison,
  type Condition,
  FOLDS,
  type Fold,
  type Inhibition,
  isHistogramFold,
  type LabelMatch,
  type Rule,
  type RuleFile,
  type RuleMistake,
  type Term,
  WORDS,
} from './rule.ts';
import { templateMistake } from './template.ts';

/** Metrics that rules may use and that no engine gives, with their unit: of the scraping, and of the verdict. */
export const OWN_METRICS: Readonly<Record<string, string>> = {
  up: '',
  scrape_duration_seconds: 's',
  scrape_samples_scraped: '',
  enginelight_finding_active: '',
  enginelight_incident_open: '',
};

export interface ReadOptions {
  readonly file: string;
  readonly builtIn: boolean;
  /** The vocabulary: names are checked against it, units and kinds come from it. */
  readonly signals: ReadonlyMap<string, SignalInfo>;
  /** Values in place of those that the file gives its parameters. */
  readonly parameters?: Readonly<Record<string, unknown>>;
}

const SEVERITIES: readonly Severity[] = ['info', 'warning', 'critical'];
const FOR_BY_SEVERITY: Record<Severity, number> = { critical: 30_000, warning: 120_000, info: 300_000 };
const COMPARISONS: Readonly<Record<string, Comparison>> = {
  above: '>',
  at_least: '>=',
  below: '<',
  at_most: '<=',
};
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
/** Cleared at this share of a bound from above, so that a value at the bound does not switch an alert on and off. */
const CLEAR_SHARE = 0.8;
/** Observations below which a quantile says nothing (a distribution-free interval does not exist). */
const MIN_FOR_QUANTILE = (q: number): number => (q >= 0.99 ? 400 : q >= 0.95 ? 100 : 20);

/** Reads a file's value. */
export function readRules(value: unknown, options: ReadOptions): RuleFile {
  const mistakes: RuleMistake[] = [];
  const fail = (path: Path, message: string) => void mistakes.push({ path, message });
  const top = fields(value ?? {}, [], fail);
  const own = top.map('parameters') ?? {};
  const parameters = { ...own, ...pick(options.parameters ?? {}, Object.keys(own)) };
  const fill = (v: unknown, path: Path): unknown => {
    if (typeof v === 'string' && /^\$[a-z][a-z0-9_]*$/.test(v)) {
      const name = v.slice(1);
      if (Object.hasOwn(parameters, name)) return parameters[name];
      const near = nearest(name, Object.keys(parameters));
      fail(path, `there is no parameter ${name}${near === undefined ? '' : `; did you mean ${near}?`}`);
      return undefined;
    }
    if (Array.isArray(v)) return v.map((e, i) => fill(e, [...path, i]));
    if (isMap(v)) {
      const out: Record<string, unknown> = Object.create(null);
      for (const [k, e] of Object.entries(v)) out[k] = k === 'annotations' ? e : fill(e, [...path, k]);
      return out;
    }
    return v;
  };

  const rules: Rule[] = [];
  const names = new Set<string>();
  top.each('rules', (entry, path) => {
    const rule = readRule(fill(entry, path), path, options, mistakes);
    if (!rule) return;
    const key = `${rule.name}|${rule.severity}`;
    if (names.has(key)) fail([...path, 'alert'], `there is another ${rule.severity} rule ${rule.name} in this file`);
    names.add(key);
    rules.push(rule);
  });
  const inhibitions: Inhibition[] = [];
  top.each('inhibit', (entry, path) => {
    const f = fields(entry, path, fail);
    inhibitions.push({
      source: readMatch(f.map('source'), [...path, 'source'], fail),
      target: readMatch(f.map('target'), [...path, 'target'], fail),
      equal: f.texts('equal') ?? [],
    });
    f.done();
  });
  const tests = readTests(top, rules, fail);
  top.done();
  return { rules, inhibitions, tests, parameters, mistakes };
}

function pick(from: Readonly<Record<string, unknown>>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(from).filter(([name]) => names.includes(name)));
}

/** Label values of a matcher; a single value is a list of one. A regular expression that cannot be compiled is a mistake. */
export function readMatch(
  value: Readonly<Record<string, unknown>> | undefined,
  path: Path,
  fail: (path: Path, message: string) => void,
): LabelMatch {
  const out: Record<string, readonly string[]> = Object.create(null);
  for (const [label, wanted] of Object.entries(value ?? {})) {
    const values = (Array.isArray(wanted) ? wanted : [wanted]).map(String);
    for (const text of values) {
      if (!text.startsWith('~')) continue;
      try {
        new RegExp(`^(?:${text.slice(1)})$`, 'u');
      } catch (error) {
        fail([...path, label], `"${text.slice(1)}" is not a regular expression: ${(error as Error).message}`);
        return out;
      }
    }
    out[label] = values;
  }
  return out;
}

function readRule(value: unknown, path: Path, options: ReadOptions, mistakes: RuleMistake[]): Rule | undefined {
  const fail = (at: Path, message: string) => void mistakes.push({ path: at, message });
  const before = mistakes.length;
  const f = fields(value, path, fail);
  const name = f.text('alert');
  if (name === undefined) fail(path, 'a rule needs a name: `alert: KVPressure`');
  else if (!LABEL.test(name)) fail([...path, 'alert'], `"${name}" has to be letters, digits and _`);
  const severity = f.choice('severity', SEVERITIES) ?? 'warning';
  const by = f.texts('by') ?? [];
  const forMs = f.duration('for') ?? FOR_BY_SEVERITY[severity];
  const keepFiringMs = f.duration('keep_firing_for') ?? Math.min(2 * forMs, 300_000);
  const when = f.take('when');
  if (when === undefined) fail(path, `rule ${name ?? ''} needs a condition: \`when: { signal: …, above: … }\``);
  const condition = when === undefined ? undefined : readCondition(when, [...path, 'when'], options, mistakes);
  const labels = f.stringMap('labels') ?? {};
  for (const label of Object.keys(labels)) {
    if (!LABEL.test(label)) fail([...path, 'labels', label], `"${label}" is no label name: letters, digits and _`);
    if (label === 'alertname' || label === 'severity') fail([...path, 'labels', label], `${label} is set by the rule`);
  }
  const annotations = f.stringMap('annotations') ?? {};
  for (const [key, text] of Object.entries(annotations)) {
    const wrong = templateMistake(text);
    if (wrong !== undefined) fail([...path, 'annotations', key], wrong);
  }
  const inhibitable = f.flag('inhibitable') ?? true;
  f.done();
  if (mistakes.slice(before).some((m) => !m.warning) || name === undefined || !condition) return undefined;
  return {
    name,
    severity,
    by,
    forMs,
    keepFiringMs,
    when: condition,
    labels,
    annotations,
    inhibitable,
    file: options.file,
    builtIn: options.builtIn,
  };
}

function readCondition(
  value: unknown,
  path: Path,
  options: ReadOptions,
  mistakes: RuleMistake[],
  depth = 0,
): Condition | undefined {
  const fail = (at: Path, message: string) => void mistakes.push({ path: at, message });
  if (depth > 10) return void fail(path, 'conditions are nested too deeply');
  if (!isMap(value)) {
    return void fail(
      path,
      'a condition is a map: { signal, fold, window, above } or { all: […] }, { any: […] }, { not: … }',
    );
  }
  for (const kind of ['all', 'any'] as const) {
    if (!(kind in value)) continue;
    const f = fields(value, path, fail);
    const of: Condition[] = [];
    f.each(kind, (entry, at) => {
      const one = readCondition(entry, at, options, mistakes, depth + 1);
      if (one) of.push(one);
    });
    f.done();
    if (of.length === 0) return void fail([...path, kind], `${kind} needs at least one condition`);
    return { kind, of };
  }
  if ('not' in value) {
    const f = fields(value, path, fail);
    const of = readCondition(f.take('not'), [...path, 'not'], options, mistakes, depth + 1);
    f.done();
    return of && { kind: 'not', of };
  }
  if ('burn' in value) return readBurn(value, path, options, mistakes);
  return readBound(value, path, options, mistakes);
}

/** `burn: { bad: term, objective: 0.99, windows: [{ long, short, factor }] }`: bad share above factor × (1 − objective). */
function readBurn(
  value: Readonly<Record<string, unknown>>,
  path: Path,
  options: ReadOptions,
  mistakes: RuleMistake[],
): Condition | undefined {
  const fail = (at: Path, message: string) => void mistakes.push({ path: at, message });
  const outer = fields(value, path, fail);
  const at = [...path, 'burn'];
  const f = fields(outer.take('burn'), at, fail);
  outer.done();
  const bad = f.map('bad');
  const objective = f.number('objective');
  if (objective === undefined || !(objective > 0 && objective < 1)) {
    return void fail(at, 'objective is the share of good requests, between 0 and 1, such as 0.99');
  }
  if (!bad)
    return void fail(
      at,
      '`bad` is missing: the share of bad requests, such as { signal, fold: share_above, threshold }',
    );
  const of: Condition[] = [];
  f.each('windows', (entry, where) => {
    const w = fields(entry, where, fail);
    const factor = w.number('factor');
    const sides = (['long', 'short'] as const).map((side) => {
      const window = w.duration(side);
      if (window === undefined) return void fail(where, `${side} is missing, a duration`);
      // A long window counts from a quarter of its length, so that a new daemon does not stay silent for hours.
      const coverage = side === 'long' ? 0.25 : 0.5;
      const term = readTerm(withWindow(bad, `${window / 1000}s`, coverage), [...at, 'bad'], options, mistakes, 'above');
      if (!term || factor === undefined) return undefined;
      const bound = factor * (1 - objective);
      return { kind: 'bound', term, comparison: '>', bound, clear: bound * CLEAR_SHARE } satisfies Condition;
    });
    w.done();
    if (factor === undefined) fail(where, 'factor is missing: how many times faster than allowed');
    else if (factor * (1 - objective) >= 1)
      fail(where, `a burn of ${factor} cannot be reached with objective ${objective}`);
    const known = sides.filter((s) => s !== undefined);
    if (known.length === 2) of.push({ kind: 'all', of: known });
  });
  f.done();
  if (of.length === 0) return void fail(at, '`windows` needs at least one { long: 1h, short: 5m, factor: 14.4 }');
  return of.length === 1 ? of[0] : { kind: 'any', of };
}

const withWindow = (term: Readonly<Record<string, unknown>>, window: string, coverage: number): object => ({
  ...term,
  window,
  coverage,
  ...(isMap(term['divided_by']) ? { divided_by: withWindow(term['divided_by'], window, coverage) } : {}),
});

function readBound(
  value: Readonly<Record<string, unknown>>,
  path: Path,
  options: ReadOptions,
  mistakes: RuleMistake[],
): Condition | undefined {
  const fail = (at: Path, message: string) => void mistakes.push({ path: at, message });
  const used = Object.keys(COMPARISONS).filter((key) => key in value);
  if (used.length !== 1) {
    return void fail(
      path,
      `a condition needs exactly one bound: above, at_least, below or at_most${used.length > 1 ? `, not ${used.join(' and ')}` : ''}`,
    );
  }
  const key = used[0]!;
  const { [key]: written, clear: clearWritten, ...rest } = value;
  const term = readTerm(rest, path, options, mistakes, key === 'above' || key === 'at_least' ? 'above' : 'below');
  if (!term) return undefined;
  const unit = unitOfTerm(term, options.signals);
  const bound = quantity(written, unit);
  if (typeof bound === 'string') return void fail([...path, key], bound);
  const clear = clearWritten === undefined ? undefined : quantity(clearWritten, unit);
  if (typeof clear === 'string') return void fail([...path, 'clear'], clear);
  const comparison = COMPARISONS[key]!;
  const up = comparison === '>' || comparison === '>=';
  if (clear !== undefined && (up ? clear > bound : clear < bound)) {
    return void fail([...path, 'clear'], `clear ${clear} is on the wrong side of ${key} ${bound}`);
  }
  if (unit === '1' && isFraction(term, options.signals) && bound > 1) {
    return void fail(
      [...path, key],
      `${term.signal} is a fraction between 0 and 1, it never gets above ${bound}; write ${bound > 100 ? 1 : bound / 100} or ${Math.min(bound, 100)}%`,
    );
  }
  return { kind: 'bound', term, comparison, bound, clear: clear ?? (up && bound > 0 ? bound * CLEAR_SHARE : bound) };
}

/** The unit of what a term gives; undefined where nothing is known of it. */
function unitOfTerm(term: Term, signals: ReadonlyMap<string, SignalInfo>): string | undefined {
  if (term.dividedBy) return 'ratio';
  if (term.fold === 'age') return 's';
  if (term.fold === 'share_above') return '1';
  if (term.fold === 'count' || term.combine === 'count') return '{observation}';
  const unit = (signals.get(term.signal)?.unit ?? OWN_METRICS[term.signal]) || undefined;
  if (unit === undefined || term.fold !== 'rate') return unit;
  // Seconds per second are a share of time.
  return unit === 's' ? '1' : `${unit}/s`;
}

const RATIO_KEYS = /usage$|utilization$|_active$|ratio$|saturation$/;
const isFraction = (term: Term, signals: ReadonlyMap<string, SignalInfo>): boolean =>
  !term.dividedBy &&
  term.combine !== 'sum' &&
  (term.fold === 'share_above' || (signals.get(term.signal)?.unit === '1' && RATIO_KEYS.test(term.signal)));

/** A number, `90%` of a ratio, `2s` of a time; a text that says what is wrong otherwise. */
export function quantity(value: unknown, unit: string | undefined): number | string {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'string') {
    const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(value);
    if (percent) {
      if (unit === undefined || unit === '1' || unit === 'ratio') return Number(percent[1]) / 100;
      return `${value} is a share, but the signal is in ${unit}`;
    }
    const ms = parseDuration(value);
    if (ms !== undefined) {
      if (unit === undefined || unit === 's') return ms / 1000;
      return `${value} is a time, but the value here is ${unit === 'ratio' ? 'a ratio' : `in ${unit}`}`;
    }
  }
  return `"${String(value)}" is not a number`;
}

export function readTerm(
  value: unknown,
  path: Path,
  options: ReadOptions,
  mistakes: RuleMistake[],
  side: 'above' | 'below',
): Term | undefined {
  const fail = (at: Path, message: string) => void mistakes.push({ path: at, message });
  const before = mistakes.length;
  const f = fields(value, path, fail);
  const signal = f.text('signal');
  const own = f.flag('own') ?? false;
  if (signal === undefined) return void fail(path, 'a condition needs a signal: `signal: inference.kv.usage`');
  const info = options.signals.get(signal);
  if (!info && !own && !Object.hasOwn(OWN_METRICS, signal)) {
    const near = nearest(signal, [...options.signals.keys(), ...Object.keys(OWN_METRICS)]);
    return void fail(
      [...path, 'signal'],
      `there is no signal ${signal}, so the rule could never fire${near === undefined ? '' : `; did you mean ${near}?`} Names are in docs/signals.md; a metric of your own needs \`own: true\``,
    );
  }
  const kind = info?.instrument;
  const fold = f.choice('fold', FOLDS) ?? defaultFold(kind);
  const wrong = foldMistake(fold, kind, info);
  if (wrong !== undefined) fail([...path, 'fold'], `${signal} ${wrong}`);
  const windowMs = f.duration('window') ?? 60_000;
  if (!(windowMs > 0)) fail([...path, 'window'], 'a window is longer than 0');
  if (windowMs > 24 * 3_600_000) fail([...path, 'window'], 'windows are 24h at most');
  const offsetMs = f.duration('offset') ?? 0;
  if (offsetMs < 0 || offsetMs > 24 * 3_600_000) fail([...path, 'offset'], 'offsets are 0 to 24h');
  const q = f.number('quantile');
  if (fold === 'quantile' && !(q !== undefined && q > 0 && q < 1))
    fail(path, 'fold quantile needs `quantile: 0.95`, between 0 and 1');
  const thresholdWritten = f.take('threshold');
  let threshold = Number.NaN;
  if (fold === 'share_above') {
    const given = quantity(thresholdWritten, info?.unit);
    if (typeof given === 'string') fail([...path, 'threshold'], `fold share_above needs a threshold: ${given}`);
    else threshold = given;
  } else if (thresholdWritten !== undefined) fail([...path, 'threshold'], 'only fold share_above has a threshold');
  const combine = f.choice('combine', COMBINES) ?? defaultCombine(fold, kind, side);
  if (combine === 'sum' && info?.unit === '1' && kind === 'gauge' && RATIO_KEYS.test(signal)) {
    fail([...path, 'combine'], `fractions of several sources do not add up; use max, mean or median of ${signal}`);
  }
  const by = f.texts('by');
  const where = readWhere(f.map('where'), info);
  const coverage = f.number('coverage') ?? 0.5;
  const minCount =
    f.number('min_count') ??
    (fold === 'quantile' ? MIN_FOR_QUANTILE(q ?? 0) : isHistogramFold(fold) && fold !== 'count' ? 20 : 0);
  const written = f.take('divided_by');
  const dividedBy =
    written === undefined ? undefined : readTerm(written, [...path, 'divided_by'], options, mistakes, side);
  f.done();
  if (mistakes.length > before) return undefined;
  return {
    signal,
    where,
    fold,
    windowMs,
    offsetMs,
    quantile: q ?? 0,
    threshold,
    combine,
    by,
    dividedBy,
    minCount,
    coverage,
  };
}

function readWhere(
  value: Readonly<Record<string, unknown>> | undefined,
  info: SignalInfo | undefined,
): AttributeTest[] {
  const tests: AttributeTest[] = [];
  for (const [attribute, wanted] of Object.entries(value ?? {})) {
    const texts = (Array.isArray(wanted) ? wanted : [wanted]).map(String);
    if (texts.length === 1 && texts[0] === '*') tests.push({ attribute, values: '*', negated: false });
    else {
      const negated = texts.every((text) => text.startsWith('!'));
      tests.push({ attribute, values: negated ? texts.map((t) => t.slice(1)) : texts, negated });
    }
  }
  // Views show the same thing otherwise: those that were not asked for must not be mixed in.
  for (const view of info?.views ?? []) {
    if (!tests.some((t) => t.attribute === view))
      tests.push({ attribute: view, values: '*', negated: true, view: true });
  }
  return tests;
}

const defaultFold = (kind: SignalInfo['instrument'] | undefined): Fold =>
  kind === 'counter' ? 'increase' : kind === 'histogram' ? 'mean' : 'last';

function foldMistake(
  fold: Fold,
  kind: SignalInfo['instrument'] | undefined,
  info: SignalInfo | undefined,
): string | undefined {
  if (kind === undefined || fold === 'age') return undefined;
  const kinds = new Set([kind, ...(info?.forms.map((form) => form.instrument) ?? [])]);
  const has = (...wanted: readonly string[]) => wanted.some((w) => kinds.has(w as never));
  if (isHistogramFold(fold) && !has('histogram', 'summary')) return `is a ${kind}, ${fold} needs a histogram`;
  if ((fold === 'increase' || fold === 'rate') && !has('counter', 'histogram', 'summary'))
    return `is a ${kind}, ${fold} needs a counter`;
  if ((fold === 'last' || fold === 'min' || fold === 'max' || fold === 'range') && !has('gauge', 'updowncounter')) {
    return `is a ${kind}, its ${fold} says nothing; use ${kind === 'histogram' ? 'quantile, mean or share_above' : 'increase or rate'}`;
  }
  if (fold === 'mean' && !has('gauge', 'updowncounter', 'histogram', 'summary'))
    return `is a ${kind}, its mean says nothing; use increase or rate`;
  return undefined;
}

function defaultCombine(fold: Fold, kind: SignalInfo['instrument'] | undefined, side: 'above' | 'below'): Combine {
  if (fold === 'age') return 'min';
  if (kind === 'counter' || kind === 'histogram' || kind === 'updowncounter' || isHistogramFold(fold)) return 'sum';
  // Of several gauges the worst decides.
  return side === 'above' ? 'max' : 'min';
}

/** Whether a word names something that alerts are told apart by. */
export const isKnownWord = (word: string): boolean => Object.hasOwn(WORDS, word) || word.includes('.');
