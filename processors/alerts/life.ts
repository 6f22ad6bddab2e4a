/**
 * The life of an alert: pending while its condition is true, firing once that lasted for `for`, and over when it was false for
 * `keep_firing_for`. What is not known keeps an alert as it is for a while: data that is missing is no recovery.
 */
import type { Rule } from '../../pipeline/kit/rules/rule.ts';
import type { Answer } from './judge.ts';

type Values = Readonly<Record<string, string>>;

export interface Live {
  readonly rule: Rule;
  readonly key: string;
  /** The words that tell the entity from others. */
  readonly values: Values;
  state: 'pending' | 'firing';
  /** When the condition came true, milliseconds. */
  sinceMs: number;
  firedMs: number;
  /** When it was last true, and when anything was last known of it. */
  trueMs: number;
  knownMs: number;
  value: number;
  /** Fixed when it fires: labels are what an alert is known by. */
  labels: Values;
  suppressed: string | undefined;
  emittedMs: number;
}

export type Change = 'none' | 'pending' | 'fired' | 'resolved' | 'dropped';

/** Not known for so long, a pending alert is forgotten; twice the usual distance of scrapes and more. */
const PENDING_UNKNOWN_MS = 90_000;
/** Not known for so long, an alert that fires ends: its entity is gone. */
export const LOST_MS = 300_000;

/** Takes the answer of one round to a new alert; undefined while nothing is the matter. */
export function begin(rule: Rule, key: string, values: Values, answer: Answer, value: number, now: number) {
  if (answer !== true) return undefined;
  const live: Live = {
    rule,
    key,
    values,
    state: 'pending',
    sinceMs: now,
    firedMs: Number.NaN,
    trueMs: now,
    knownMs: now,
    value,
    labels: {},
    suppressed: undefined,
    emittedMs: Number.NEGATIVE_INFINITY,
  };
  return live;
}

/** Takes the answer of one round. `dropped`: it was pending and is forgotten. */
export function advance(live: Live, answer: Answer, value: number, now: number): Change {
  if (answer === true) {
    live.trueMs = now;
    live.knownMs = now;
    live.value = value;
  } else if (answer === false) live.knownMs = now;

  if (live.state === 'pending') {
    if (answer === false) return 'dropped';
    if (answer === undefined) return now - live.knownMs > PENDING_UNKNOWN_MS ? 'dropped' : 'none';
    if (now - live.sinceMs < live.rule.forMs) return 'none';
    live.state = 'firing';
    live.firedMs = now;
    return 'fired';
  }
  if (answer === true) return 'none';
  // Firing and unknown: a gap says nothing about recovery, but an entity that is gone cannot recover either.
  if (answer === undefined) return now - live.knownMs > Math.max(LOST_MS, live.rule.keepFiringMs) ? 'resolved' : 'none';
  return now - live.trueMs >= live.rule.keepFiringMs ? 'resolved' : 'none';
}

/** As it is written to disk. */
export interface Saved {
  readonly rule: string;
  readonly severity: string;
  readonly values: Values;
  readonly state: 'pending' | 'firing';
  readonly since: number;
  readonly fired: number | null;
  readonly true: number;
  readonly value: number | null;
  readonly labels: Values;
}

export const save = (live: Live): Saved => ({
  rule: live.rule.name,
  severity: live.rule.severity,
  values: live.values,
  state: live.state,
  since: live.sinceMs,
  fired: Number.isNaN(live.firedMs) ? null : live.firedMs,
  true: live.trueMs,
  value: Number.isFinite(live.value) ? live.value : null,
  labels: live.labels,
});

/** Pending alerts are worth nothing after a longer pause, as nobody knows what happened in it. */
const PAUSE_MS = 120_000;

const isNumber = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);
const isTexts = (v: unknown): v is Values =>
  typeof v === 'object' && v !== null && Object.values(v).every((e) => typeof e === 'string');

/** Reads what was written; undefined for what is damaged, too old, or of a rule that is no more. */
export function load(
  saved: unknown,
  rules: ReadonlyMap<string, Rule>,
  now: number,
  keyOf: (rule: Rule, values: Values) => string,
): Live | undefined {
  const s = saved as Saved;
  if (typeof s !== 'object' || s === null) return undefined;
  const rule = rules.get(`${s.rule}|${s.severity}`);
  if (!rule || !isTexts(s.values) || !isTexts(s.labels) || !isNumber(s.since) || !isNumber(s.true)) return undefined;
  const firing = s.state === 'firing' && isNumber(s.fired);
  if (s.since > now || s.true > now) return undefined;
  if (!firing && (s.state !== 'pending' || now - s.true > PAUSE_MS)) return undefined;
  return {
    rule,
    key: keyOf(rule, s.values),
    values: s.values,
    state: firing ? 'firing' : 'pending',
    sinceMs: s.since,
    firedMs: firing ? (s.fired as number) : Number.NaN,
    trueMs: s.true,
    // Of what happened in between nothing is known; the engines get the usual time to show up again.
    knownMs: now,
    value: isNumber(s.value) ? s.value : Number.NaN,
    labels: s.labels,
    suppressed: undefined,
    emittedMs: Number.NEGATIVE_INFINITY,
  };
}
