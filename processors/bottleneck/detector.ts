/**
 * What a detector is: one literal per module. It says what it is about, what it needs, its numbers, and how it judges one
 * entity at one moment. It keeps no state and does no I/O; windows, baselines, peers, persistence, severity, confidence and
 * emission belong to the framework. Documentation and the "insufficient evidence" answer come from the same literal.
 */
import type { Static, TObject, TSchema } from '@sinclair/typebox';
import type { EntityKind } from '../../pipeline/kit/topology.ts';
import type { FindingClass, Grade } from '../../pipeline/kit/verdict.ts';
import type { Outcome } from './outcome.ts';
import type { View } from './view.ts';

export type Family =
  | 'memory'
  | 'queueing'
  | 'phase'
  | 'communication'
  | 'disaggregation'
  | 'hardware'
  | 'lifecycle'
  | 'telemetry';

/** One sufficient set of signals and the grade it allows. `hook.*`, `span.*` and `event.*` stand for spans and log events. */
export interface Need {
  readonly grade: Grade;
  readonly signals: readonly string[];
}

type Parameters = Record<string, TSchema>;

export interface Detector<P extends Parameters = Parameters> {
  /** As in the reference; never reused for another meaning. */
  readonly id: string;
  readonly class: FindingClass;
  /** A symptom that may head a report when nothing that could cause it is seen (a sizing or configuration cause). */
  readonly canBeRoot?: boolean;
  readonly family: Family;
  /** The kinds of entities it judges, one verdict each. */
  readonly scope: EntityKind | readonly EntityKind[];
  /** `fast`: every 5 s, for hooks and GPU samples; `slow`: every 15 s. */
  readonly pace: 'fast' | 'slow';
  /** One sentence: what is wrong when it fires. */
  readonly meaning: string;
  /** The rule in words and symbols, for the documentation. */
  readonly rule: string;
  /** Every neutral signal it reads; only these are kept. */
  readonly signals: readonly string[];
  /** Sufficient sets of evidence, best first. Below all of them the answer is "insufficient". */
  readonly needs: readonly Need[];
  /** How to obtain what is usually missing: one sentence that names the switch. */
  readonly enable: string;
  /** Its numbers, declared with `t.*`; overridable as `detectors.<id>.<name>`. */
  readonly params: P;
  /** True in k of the last n evaluations before it fires; 4 of 6 unless said. */
  readonly persist?: { readonly k: number; readonly n: number };
  /** What looks alike and is not this. */
  readonly not: readonly string[];
  /** Codes of the remedies table. */
  readonly remedies: readonly string[];
  readonly wouldChangeMyMind: string;
  evaluate(view: View<Static<TObject<P>>>): Outcome;
}

// A list of detectors holds every parameter type; the type is known only inside each module.
// biome-ignore lint/suspicious/noExplicitAny: see above
export type AnyDetector = Detector<any>;

/** Checks the literal's types and returns it. */
export const defineDetector = <P extends Parameters>(detector: Detector<P>): Detector<P> => detector;

/** The scope as a list. */
export const scopesOf = (detector: AnyDetector): readonly EntityKind[] =>
  typeof detector.scope === 'string' ? [detector.scope] : detector.scope;
