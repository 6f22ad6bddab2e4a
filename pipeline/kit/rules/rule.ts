/**
 * Alert rules as data: a condition over folds of windows of signals, joined by all, any and not. Whoever judges, tests or
 * exports rules agrees here. Times are milliseconds, numbers are in the signal's own unit.
 */
import type { Severity } from '../verdict.ts';

/** What becomes of the samples of one series in the window. */
export const FOLDS = [
  'last',
  'mean',
  'min',
  'max',
  'range',
  'increase',
  'rate',
  'count',
  'quantile',
  'share_above',
  'age',
] as const;
export type Fold = (typeof FOLDS)[number];

/** What becomes of the series of one entity. */
export const COMBINES = ['sum', 'mean', 'max', 'min', 'median', 'count'] as const;
export type Combine = (typeof COMBINES)[number];

/** How an attribute has to be: one of the values, `*` there at all, or (negated) none of the values. */
export interface AttributeTest {
  readonly attribute: string;
  readonly values: readonly string[] | '*';
  readonly negated: boolean;
  /** It is about an attribute of the series of exactly this name, whatever the same word means elsewhere. */
  readonly view?: true;
}

export interface Term {
  readonly signal: string;
  readonly where: readonly AttributeTest[];
  readonly fold: Fold;
  readonly windowMs: number;
  /** How long ago the window ended. */
  readonly offsetMs: number;
  /** Of `quantile`. */
  readonly quantile: number;
  /** Of `share_above`: observations above this count. */
  readonly threshold: number;
  readonly combine: Combine;
  /** The words that tell entities apart, where the term is about a larger thing than the rule. */
  readonly by: readonly string[] | undefined;
  readonly dividedBy: Term | undefined;
  /** Fewer observations than this in the window of a histogram (or of a denominator) decide nothing. */
  readonly minCount: number;
  /** The share of the window that has to be covered by samples. */
  readonly coverage: number;
}

export type Comparison = '>' | '>=' | '<' | '<=';

export type Condition =
  | {
      readonly kind: 'bound';
      readonly term: Term;
      readonly comparison: Comparison;
      readonly bound: number;
      /** Used in place of the bound while the alert fires. */
      readonly clear: number;
    }
  | { readonly kind: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition };

export interface Rule {
  readonly name: string;
  readonly severity: Severity;
  /** The words that tell entities apart; empty: the whole fleet is one. */
  readonly by: readonly string[];
  readonly forMs: number;
  readonly keepFiringMs: number;
  readonly when: Condition;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** False: no other alert silences this one. */
  readonly inhibitable: boolean;
  /** The file it stands in, as a person named it. */
  readonly file: string;
  /** Part of what comes with enginelight. */
  readonly builtIn: boolean;
}

/** Label values an alert must have; several values are alternatives, `~` in front makes a whole-text regular expression. */
export type LabelMatch = Readonly<Record<string, readonly string[]>>;

/** While an alert that matches `source` fires, those that match `target` and agree in `equal` tell nobody. */
export interface Inhibition {
  readonly source: LabelMatch;
  readonly target: LabelMatch;
  readonly equal: readonly string[];
}

/** One series of a test: values by time, made from the notation. */
export interface TestSeries {
  readonly signal: string;
  readonly of: Readonly<Record<string, string>>;
  readonly attributes: Readonly<Record<string, string>>;
  readonly instrument: 'gauge' | 'counter' | 'updowncounter' | 'histogram' | undefined;
  readonly values: readonly Sample[];
  /** Histograms: values of each bucket by its upper bound, Infinity for the last. Each counts its own observations. */
  readonly buckets: readonly { readonly bound: number; readonly values: readonly Sample[] }[] | undefined;
}

/** A value; undefined: no sample; `stale`: the series was said to have ended. */
export type Sample = number | undefined | 'stale';

export interface Expectation {
  readonly atMs: number;
  readonly alert: string;
  /** Labels of each alert that fires at that time; no other alert of the name may fire. */
  readonly firing: readonly Readonly<Record<string, string>>[];
}

export interface RuleTest {
  readonly name: string;
  /** False: it shows what Prometheus' rules cannot do, and is not exported. */
  readonly prometheus: boolean;
  readonly intervalMs: number;
  readonly series: readonly TestSeries[];
  readonly expect: readonly Expectation[];
}

export interface RuleMistake {
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly warning?: true;
}

export interface RuleFile {
  readonly rules: readonly Rule[];
  readonly inhibitions: readonly Inhibition[];
  readonly tests: readonly RuleTest[];
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly mistakes: readonly RuleMistake[];
}

/** Which attributes a word stands for, in order of preference; any other word is an attribute's own name. */
export const WORDS: Readonly<Record<string, readonly string[]>> = {
  cluster: ['k8s.cluster.name'],
  service: ['service.name'],
  pool: ['inference.pool'],
  role: ['inference.role'],
  engine: ['inference.engine'],
  replica: ['service.instance.id', 'k8s.pod.name'],
  rank: ['inference.rank', 'inference.rank.tp', 'inference.rank.pp', 'inference.rank.dp', 'inference.rank.ep'],
  model: ['gen_ai.request.model', 'model_name'],
  node: ['host.name', 'k8s.node.name'],
  gpu: ['hw.id'],
  nic: ['hw.nic.device', 'network.interface.name'],
  pod: ['k8s.pod.name'],
  namespace: ['k8s.namespace.name'],
};

/** Words that an alert carries beyond those of its rule, where all its series agree on them. */
export const COMMON_WORDS = [
  'cluster',
  'namespace',
  'service',
  'pool',
  'role',
  'engine',
  'replica',
  'rank',
  'model',
  'node',
  'gpu',
  'pod',
];

/** The label that a word becomes. */
export const labelOfWord = (word: string): string => word.replace(/[^a-zA-Z0-9_]/g, '_');

/** Every term of a condition, denominators included. */
export function termsOf(condition: Condition): Term[] {
  switch (condition.kind) {
    case 'bound':
      return chain(condition.term);
    case 'not':
      return termsOf(condition.of);
    default:
      return condition.of.flatMap(termsOf);
  }
}

const chain = (term: Term): Term[] => (term.dividedBy ? [term, ...chain(term.dividedBy)] : [term]);

export const isHistogramFold = (fold: Fold): boolean =>
  fold === 'quantile' || fold === 'share_above' || fold === 'count';
