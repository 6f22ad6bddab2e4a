/** The tests of a rule file. */
import { type Fail, type Fields, fields, isMap, type Path } from './fields.ts';
import { readNotation } from './notation.ts';
import type { Expectation, Rule, RuleTest, Sample, TestSeries } from './rule.ts';

const INSTRUMENTS = ['gauge', 'counter', 'updowncounter', 'histogram'] as const;

export function readTests(top: Fields, rules: readonly Rule[], fail: Fail): RuleTest[] {
  const tests: RuleTest[] = [];
  const names = new Set(rules.map((rule) => rule.name));
  top.each('tests', (entry, path) => {
    const f = fields(entry, path, fail);
    const name = f.text('name') ?? `test ${tests.length + 1}`;
    const intervalMs = f.duration('interval') ?? 15_000;
    if (!(intervalMs >= 1000)) fail([...path, 'interval'], 'an interval is 1s at least');
    const prometheus = f.flag('prometheus') ?? true;
    const series: TestSeries[] = [];
    f.each('series', (one, at) => {
      const read = readSeries(one, at, fail);
      if (read) series.push(read);
    });
    const expect: Expectation[] = [];
    f.each('expect', (one, at) => {
      const e = fields(one, at, fail);
      const atMs = e.duration('at');
      const alert = e.text('alert');
      const firing: Record<string, string>[] = [];
      e.each('firing', (labels, where) => {
        if (!isMap(labels)) fail(where, 'expected labels, such as { replica: r0 }; {} for any');
        else firing.push(Object.fromEntries(Object.entries(labels).map(([k, v]) => [k, String(v)])));
      });
      e.done();
      if (atMs === undefined || alert === undefined)
        return fail(at, 'an expectation needs `at` (a time) and `alert` (a name)');
      if (!names.has(alert)) return fail([...at, 'alert'], `there is no rule ${alert} in this file`);
      expect.push({ atMs, alert, firing });
    });
    f.done();
    if (expect.length === 0) fail(path, `test "${name}" expects nothing; add { at: 5m, alert: NAME, firing: [] }`);
    tests.push({ name, prometheus, intervalMs, series, expect });
  });
  return tests;
}

function readSeries(value: unknown, path: Path, fail: Fail): TestSeries | undefined {
  const f = fields(value, path, fail);
  const signal = f.text('signal');
  const instrument = f.choice('instrument', INSTRUMENTS);
  const of = f.stringMap('of') ?? {};
  const attributes = f.stringMap('attributes') ?? {};
  const samples = (text: unknown, at: Path): readonly Sample[] => {
    const read = readNotation(String(text));
    if (typeof read !== 'string') return read;
    fail(at, read);
    return [];
  };
  const written = f.take('values');
  const buckets = f.map('buckets');
  f.done();
  if (signal === undefined) return void fail(path, 'a series needs a signal');
  if ((written === undefined) === (buckets === undefined)) {
    return void fail(path, 'a series needs either `values` or, for a histogram, `buckets`');
  }
  const list = Object.entries(buckets ?? {})
    .map(([bound, text]) => ({
      bound: bound === 'inf' || bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound),
      values: samples(text, [...path, 'buckets', bound]),
    }))
    .sort((a, b) => a.bound - b.bound);
  if (list.some((b) => Number.isNaN(b.bound))) fail([...path, 'buckets'], 'bounds are numbers, the last is inf');
  return {
    signal,
    of,
    attributes,
    instrument,
    values: written === undefined ? [] : samples(written, [...path, 'values']),
    buckets: buckets === undefined ? undefined : list,
  };
}
