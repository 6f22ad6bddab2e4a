/** Rule files for Prometheus, their tests for promtool, and inhibitions for Alertmanager, out of our own. */
import type { SignalInfo } from '../../../config/signals.ts';
import { durationOf, familyOf, instrumentFor, labelOfWordThere, NotInPromql, promqlOf } from './promql.ts';
import {
  type Expectation,
  type Inhibition,
  type LabelMatch,
  labelOfWord,
  type Rule,
  type RuleFile,
  type Sample,
  type TestSeries,
  termsOf,
  WORDS,
} from './rule.ts';

export interface Exported {
  /** Plain data; as YAML it is the file. */
  readonly file: object;
  /** What could not be said there, one sentence each. */
  readonly left: readonly string[];
}

/** A rule file's rules as one group of Prometheus' rule files. */
export function prometheusRules(
  name: string,
  rules: readonly Rule[],
  signals: ReadonlyMap<string, SignalInfo>,
): Exported {
  const left: string[] = [];
  const out: object[] = [];
  for (const rule of rules) {
    const labels = rule.by.map(labelOfWordThere);
    try {
      out.push({
        alert: rule.name,
        expr: promqlOf(rule.when, { signals, labels }),
        for: durationOf(rule.forMs),
        ...(rule.keepFiringMs > 0 ? { keep_firing_for: durationOf(rule.keepFiringMs) } : {}),
        labels: { ...rule.labels, severity: rule.severity, ...wordLabels(rule) },
        annotations: Object.fromEntries(Object.entries(rule.annotations).map(([k, text]) => [k, templateThere(text)])),
      });
    } catch (error) {
      if (!(error instanceof NotInPromql)) throw error;
      left.push(`${rule.name} ${error.message}`);
    }
  }
  return { file: { groups: [{ name, rules: out }] }, left };
}

/** Alerts keep the labels that ours have: `replica` beside Prometheus' `instance`. */
function wordLabels(rule: Rule): Record<string, string> {
  const out: Record<string, string> = {};
  for (const word of rule.by) {
    const there = labelOfWordThere(word);
    if (there !== labelOfWord(word)) out[labelOfWord(word)] = `{{ $labels.${there} }}`;
  }
  return out;
}

/** A template reads labels of the expression, which have Prometheus' names. */
function templateThere(text: string): string {
  return text.replace(/\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)/g, (_all, label: string) => {
    const word = Object.keys(WORDS).find((w) => labelOfWord(w) === label);
    return `$labels.${word === undefined ? label : labelOfWordThere(word)}`;
  });
}

/**
 * A rule file's tests for `promtool test rules`. Expectations are asked of ALERTS: how many alerts of the name fire with these
 * labels. Tests that say `prometheus: false` are left out.
 */
export function prometheusTests(
  ruleFile: string,
  file: RuleFile,
  exported: ReadonlySet<string>,
  signals: ReadonlyMap<string, SignalInfo>,
): object {
  return {
    rule_files: [ruleFile],
    evaluation_interval: '15s',
    tests: file.tests
      .filter((test) => test.prometheus)
      .map((test) => ({
        name: test.name,
        interval: durationOf(test.intervalMs),
        input_series: test.series.flatMap((one) => seriesThere(one, file.rules, signals)),
        promql_expr_test: test.expect
          .filter((e) => exported.has(e.alert))
          .flatMap((e) => expectationThere(e, labelsThere(file.rules, e.alert))),
      })),
  };
}

/** The labels that alerts of a name have there: not those that ours take from all their series. */
function labelsThere(rules: readonly Rule[], alert: string): ReadonlySet<string> {
  const own = rules.filter((rule) => rule.name === alert);
  return new Set(['severity', ...own.flatMap((rule) => [...rule.by.map(labelOfWord), ...Object.keys(rule.labels)])]);
}

function expectationThere({ alert, atMs, firing }: Expectation, known: ReadonlySet<string>): object[] {
  const alerts = (more = '') => `ALERTS{alertname=${JSON.stringify(alert)}, alertstate="firing"${more}}`;
  const at = durationOf(atMs);
  if (firing.length === 0) return [{ expr: alerts(), eval_time: at, exp_samples: [] }];
  const none = '{}';
  const out = [{ expr: `count(${alerts()})`, eval_time: at, exp_samples: [{ labels: none, value: firing.length }] }];
  for (const wanted of firing) {
    const labels = Object.entries(wanted).filter(([label]) => known.has(label));
    const where = labels.map(([k, v]) => `, ${k}=${JSON.stringify(v)}`).join('');
    const value = firing.filter((other) => labels.every(([k, v]) => other[k] === v)).length;
    out.push({ expr: `count(${alerts(where)})`, eval_time: at, exp_samples: [{ labels: none, value }] });
  }
  return out;
}

function seriesThere(one: TestSeries, rules: readonly Rule[], signals: ReadonlyMap<string, SignalInfo>): object[] {
  const info = signals.get(one.signal);
  const labels = {
    ...Object.fromEntries(Object.entries(one.of).map(([word, v]) => [labelOfWordThere(word), v])),
    ...Object.fromEntries(Object.entries(one.attributes).map(([name, v]) => [labelOfWordThere(name), v])),
  };
  const text = (name: string, more: Readonly<Record<string, string>> = {}) =>
    `${name}{${Object.entries({ ...labels, ...more })
      .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
      .join(', ')}}`;
  const folds = rules.flatMap((rule) => termsOf(rule.when)).filter((term) => term.signal === one.signal);
  const instrument = one.buckets
    ? 'histogram'
    : (one.instrument ?? (folds[0] ? instrumentFor(folds[0].fold, info) : (info?.instrument ?? 'gauge')));
  const family = familyOf(one.signal, instrument, info);
  if (!one.buckets) return [{ series: text(family), values: valuesThere(one.values) }];
  const { buckets } = one;
  const length = Math.max(...buckets.map((b) => b.values.length));
  const at = (upTo: number, i: number, weigh: (bound: number, low: number) => number): Sample => {
    let sum = 0;
    for (const [b, bucket] of buckets.slice(0, upTo + 1).entries()) {
      const v = bucket.values[i];
      if (typeof v !== 'number') return v;
      sum += v * weigh(bucket.bound, b === 0 ? 0 : buckets[b - 1]!.bound);
    }
    return sum;
  };
  const all = (upTo: number, weigh: (bound: number, low: number) => number = () => 1) =>
    valuesThere(Array.from({ length }, (_, i) => at(upTo, i, weigh)));
  const last = buckets.length - 1;
  const middle = (bound: number, low: number) => (Number.isFinite(bound) ? (low + bound) / 2 : low);
  return [
    ...buckets.map((bucket, b) => ({
      series: text(`${family}_bucket`, { le: Number.isFinite(bucket.bound) ? String(bucket.bound) : '+Inf' }),
      values: all(b),
    })),
    { series: text(`${family}_count`), values: all(last) },
    { series: text(`${family}_sum`), values: all(last, middle) },
  ];
}

const valuesThere = (samples: readonly Sample[]): string =>
  samples.map((s) => (s === undefined ? '_' : String(s))).join(' ');

/** Inhibitions as Alertmanager's `inhibit_rules`. */
export function alertmanagerInhibitions(inhibitions: readonly Inhibition[]): object {
  const matchers = (match: LabelMatch) =>
    Object.entries(match).map(([label, values]) => {
      const pattern = values.map((v) => (v.startsWith('~') ? v.slice(1) : v.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
      const plain = values.length === 1 && !values[0]!.startsWith('~');
      return plain ? `${label}=${JSON.stringify(values[0])}` : `${label}=~${JSON.stringify(pattern.join('|'))}`;
    });
  return {
    inhibit_rules: inhibitions.map(({ source, target, equal }) => ({
      source_matchers: matchers(source),
      target_matchers: matchers(target),
      equal,
    })),
  };
}
