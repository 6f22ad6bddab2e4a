/**
 * Conditions as PromQL over the names that our exporters give signals in Prometheus (`prometheus` with `honor_labels`, and
 * `prometheus_remote_write`, both with their default names). What PromQL cannot say is an error, never left out silently.
 */
import type { Instrument, SignalInfo } from '../../../config/signals.ts';
import { type Metric, NO_ATTRIBUTES } from '../../model.ts';
import { labelName, metricName } from '../../wire/prometheus-text-names.ts';
import { OWN_METRICS } from './read.ts';
import { type AttributeTest, type Condition, type Fold, type Term, WORDS } from './rule.ts';

const STRATEGY = 'UnderscoreEscapingWithSuffixes';

/** Labels in Prometheus that are not the attribute's own name: our exporters write these two as Prometheus does. */
const OWN_LABELS: Readonly<Record<string, string>> = { service: 'job', replica: 'instance' };

/** The label that a word becomes in Prometheus. */
export function labelOfWordThere(word: string): string {
  if (Object.hasOwn(OWN_LABELS, word)) return OWN_LABELS[word]!;
  // A NIC is told by its interface; the RDMA device is only on series that have one.
  if (word === 'nic') return 'network_interface_name';
  return labelName(WORDS[word]?.[0] ?? word, STRATEGY);
}

/** Thrown for what PromQL cannot say; the message is a clause that follows the rule's name. */
export class NotInPromql extends Error {
  override readonly name = 'NotInPromql';
}

const COUNTING = new Set<Fold>(['increase', 'rate']);
const BUCKETS = new Set<Fold>(['quantile', 'share_above', 'count']);

/** The instrument that a fold reads, of those in which the signal is given. */
export function instrumentFor(fold: Fold, info: SignalInfo | undefined): Instrument {
  if (!info) return 'gauge';
  const kinds = [info.instrument, ...info.forms.map((form) => form.instrument)];
  const first = (...wanted: Instrument[]) => kinds.find((kind) => wanted.includes(kind));
  if (BUCKETS.has(fold)) return first('histogram', 'summary') ?? info.instrument;
  if (COUNTING.has(fold)) return first('counter', 'histogram', 'summary') ?? info.instrument;
  if (fold === 'mean') return first('gauge', 'updowncounter', 'histogram') ?? info.instrument;
  if (fold === 'age') return info.instrument;
  return first('gauge', 'updowncounter') ?? info.instrument;
}

/** The family of a signal in Prometheus, given as this instrument. */
export function familyOf(signal: string, instrument: Instrument, info: SignalInfo | undefined): string {
  const unit =
    info?.instrument === instrument
      ? info.unit
      : (info?.forms.find((form) => form.instrument === instrument)?.unit ?? info?.unit ?? OWN_METRICS[signal] ?? '1');
  const type = instrument === 'counter' || instrument === 'updowncounter' ? 'sum' : instrument;
  const metric: Metric = {
    name: signal,
    description: '',
    unit,
    type,
    temporality: type === 'gauge' ? 0 : 2,
    monotonic: instrument === 'counter',
    metadata: NO_ATTRIBUTES,
  };
  return metricName(metric, STRATEGY);
}

const quoted = (text: string): string => JSON.stringify(text);
const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function matcher({ attribute, values, negated, view }: AttributeTest): string {
  const label = view ? labelName(attribute, STRATEGY) : labelOfWordThere(attribute);
  if (values === '*') return `${label}${negated ? '=' : '!='}""`;
  if (values.length === 1) return `${label}${negated ? '!=' : '='}${quoted(values[0]!)}`;
  return `${label}${negated ? '!~' : '=~'}${quoted(values.map(escaped).join('|'))}`;
}

/** `1h30m`, as both languages write it. */
export function durationOf(ms: number): string {
  if (ms === 0) return '0s';
  let left = Math.round(ms);
  let out = '';
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const) {
    const n = Math.floor(left / size);
    if (n > 0) out += `${n}${unit}`;
    left -= n * size;
  }
  return out;
}

const AGGREGATES = { sum: 'sum', mean: 'avg', max: 'max', min: 'min', count: 'count' } as const;

function aggregate(how: Term['combine'], labels: readonly string[], expression: string): string {
  const by = labels.length > 0 ? ` by (${labels.join(', ')})` : '';
  if (how === 'median') return `quantile${by} (0.5, ${expression})`;
  return `${AGGREGATES[how]}${by} (${expression})`;
}

export interface Promql {
  readonly signals: ReadonlyMap<string, SignalInfo>;
  /** The labels that tell the rule's entities apart. */
  readonly labels: readonly string[];
  /** In place of every term's own window, such as a variable of Grafana's. */
  readonly window?: string;
  /** Matchers that every selector gets as well. */
  readonly matchers?: readonly string[];
}

/** What a term gives, one series for each entity. Throws NotInPromql. */
export const promqlOfTerm = (term: Term, of: Promql): string => {
  if (term.fold === 'age') throw new NotInPromql('asks for the age of a series, which PromQL cannot');
  return termPromql(term, of, term.by?.map(labelOfWordThere) ?? of.labels);
};

/** A condition as a vector of the entities for which it is true. Throws NotInPromql. */
export function promqlOf(condition: Condition, of: Promql): string {
  const on = `on (${of.labels.join(', ')})`;
  switch (condition.kind) {
    case 'bound': {
      const { term, comparison, bound } = condition;
      if (term.fold === 'age') return agePromql(term, comparison, bound, of);
      return `${termPromql(term, of, of.labels)} ${comparison} ${number(bound)}`;
    }
    case 'any':
      return condition.of.map((one) => `(${promqlOf(one, of)})`).join(` or ${on} `);
    case 'all': {
      const yes = condition.of.filter((one) => one.kind !== 'not');
      const no = condition.of.filter((one) => one.kind === 'not');
      if (yes.length === 0) throw new NotInPromql('says only what is not, which PromQL has no set to take from');
      const first = yes.map((one) => `(${promqlOf(one, of)})`).join(` and ${on} `);
      return no.reduce((text, one) => `${text} unless ${on} (${promqlOf(one.of as Condition, of)})`, first);
    }
    case 'not':
      throw new NotInPromql('has a `not` outside of an `all`, which PromQL has no set to take from');
  }
}

function number(n: number): string {
  if (n === Number.POSITIVE_INFINITY) return '+Inf';
  return String(n);
}

/** A series that was there and is no more; its age is told as the bound. */
function agePromql(term: Term, comparison: string, bound: number, of: Promql): string {
  if (!comparison.startsWith('>')) throw new NotInPromql('asks for a young series, which PromQL cannot');
  const labels = term.by?.map(labelOfWordThere) ?? of.labels;
  const family = baseOf(term, of);
  const seen = (seconds: number) =>
    aggregate('count', labels, `last_over_time(${family}[${durationOf(seconds * 1000)}])`);
  return `(${seen(bound + 1800)} unless on (${labels.join(', ')}) ${seen(bound)}) * 0 + ${number(bound)}`;
}

/** The selector of a term without its range; the family's own series for counters and gauges. */
function baseOf(term: Term, of: Promql, suffix = '', extra = ''): string {
  const base = selectorOf(term, of, suffix, extra);
  // A finding names a GPU as its entity, not by the attribute that metrics of the GPU have.
  const about = OF_ENTITIES.has(term.signal) && of.labels.includes('hw_id') && term.fold === 'last';
  return about ? `label_replace(${base}, "hw_id", "$1", "entity", "(GPU-.*)")` : base;
}

const OF_ENTITIES = new Set(['enginelight_finding_active', 'enginelight_incident_open']);

function selectorOf(term: Term, of: Promql, suffix: string, extra: string): string {
  const info = of.signals.get(term.signal);
  const family = familyOf(term.signal, instrumentFor(term.fold, info), info);
  const where = [...term.where.map(matcher), ...(of.matchers ?? []), ...(extra === '' ? [] : [extra])];
  return `${family}${suffix}${where.length > 0 ? `{${where.join(', ')}}` : ''}`;
}

/** The buckets of a histogram, how many observations fell into each in the window; needs the label `le`. */
export const promqlOfBuckets = (term: Term, of: Promql): string =>
  aggregate('sum', of.labels, `increase(${baseOf(term, of, '_bucket')}[${of.window ?? durationOf(term.windowMs)}])`);

function termPromql(term: Term, of: Promql, labels: readonly string[]): string {
  const under = term.dividedBy;
  const underLabels = under?.by?.map(labelOfWordThere);
  // A quotient by a larger thing needs the labels of that thing on this side.
  const own = underLabels ? [...new Set([...labels, ...underLabels])] : labels;
  const value = foldPromql(term, of, own);
  if (!under) return value;
  const right = termPromql(under, of, underLabels ?? labels);
  const enough = term.minCount > 0 && !under.dividedBy ? `(${right} >= ${term.minCount})` : `(${right})`;
  return underLabels
    ? `${value} / on (${underLabels.join(', ')}) group_left () ${enough}`
    : `${value} / on (${labels.join(', ')}) ${enough}`;
}

function foldPromql(term: Term, of: Promql, labels: readonly string[]): string {
  const info = of.signals.get(term.signal);
  const window = `[${of.window ?? durationOf(term.windowMs)}]`;
  const offset = term.offsetMs > 0 ? ` offset ${durationOf(term.offsetMs)}` : '';
  const over = (call: string, suffix = '', extra = '') =>
    `${call}(${baseOf(term, of, suffix, extra)}${window}${offset})`;
  const histogram = instrumentFor(term.fold, info) === 'histogram';
  const count = () => aggregate('sum', labels, over('increase', '_count'));
  const withEnough = (expression: string) =>
    term.minCount > 0 ? `(${expression} and on (${labels.join(', ')}) ${count()} >= ${term.minCount})` : expression;
  switch (term.fold) {
    case 'last':
      return aggregate(term.combine, labels, `${baseOf(term, of)}${offset}`);
    case 'mean':
      if (!histogram) return aggregate(term.combine, labels, over('avg_over_time'));
      return withEnough(
        `(${aggregate('sum', labels, over('increase', '_sum'))} / on (${labels.join(', ')}) ${count()})`,
      );
    case 'min':
    case 'max':
      return aggregate(term.combine, labels, over(`${term.fold}_over_time`));
    case 'range':
      return aggregate(term.combine, labels, `(${over('max_over_time')} - ${over('min_over_time')})`);
    case 'increase':
    case 'rate':
      return aggregate(term.combine, labels, over(term.fold, histogram ? '_count' : ''));
    case 'count':
      return aggregate(term.combine, labels, over('increase', '_count'));
    case 'quantile': {
      const buckets = aggregate('sum', [...labels, 'le'], over('rate', '_bucket'));
      return withEnough(`histogram_quantile(${term.quantile}, ${buckets})`);
    }
    case 'share_above': {
      // Some write the bound 2 as 2.0.
      const le = `le=~${quoted(`${escaped(String(term.threshold))}(\\.0)?`)}`;
      const below = aggregate('sum', labels, over('increase', '_bucket', le));
      return withEnough(`(1 - ${below} / on (${labels.join(', ')}) ${count()})`);
    }
    case 'age':
      throw new NotInPromql('uses the age of a series in a quotient, which PromQL cannot');
  }
}
