/** What a detector's judgement of one entity at one moment can be. */
import type { Onset } from '../../pipeline/kit/stats/change.ts';
import type { CounterEvidence, Evidence, Grade, Remedy, Severity } from '../../pipeline/kit/verdict.ts';

/** One tested statement; `known` is false when its signal could not be read. */
export interface Condition {
  readonly known: boolean;
  readonly holds: boolean;
  /** value/threshold (or threshold/value for "at most"): ≥ 1 holds. */
  readonly margin: number;
  readonly evidence: Evidence | undefined;
  readonly missing: readonly string[];
  readonly defects: number;
  /** When it began to hold. */
  onset?(): Onset | undefined;
}

/** What `evaluate` returns; made by `view.judge`, `view.clear`, `view.missing`, `view.hold`. */
export type Outcome = Verdict | { readonly kind: 'clear' } | { readonly kind: 'hold' } | Gap;

export interface Gap {
  readonly kind: 'missing';
  readonly missing: readonly string[];
}

export interface Verdict {
  readonly kind: 'verdict';
  readonly holds: boolean;
  /** Of the first condition: how far beyond its threshold. */
  readonly margin: number;
  /** Of the weakest condition: decides about clearing. */
  readonly floor: number;
  readonly grade: Grade;
  readonly evidence: readonly Evidence[];
  readonly counter: readonly CounterEvidence[];
  readonly corroborations: number;
  readonly defects: number;
  /** Overrides severity by impact. */
  readonly severity: Severity | undefined;
  /** Fires at once and does not wait for persistence. */
  readonly discrete: boolean;
  readonly tags: readonly string[];
  readonly summary: string;
  /** Sizes and prices by remedy code. */
  readonly sizes: Readonly<Record<string, Partial<Remedy>>>;
  /** How strong, for dose-response; any unit, rising with severity. */
  readonly intensity: number;
  /** When it began, where that is known by itself (a restart, an event): taken as it is, however long ago. */
  readonly known?: Onset;
  onset?(): Onset | undefined;
}
