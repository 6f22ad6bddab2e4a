/** A run against an earlier one: the same cases pair by pair, so that small changes are seen and noise is not. */
import { describeError } from '../../pipeline/errors.ts';
import { found, measure, type Scores } from './measures.ts';
import type { CaseOutcome } from './run-case.ts';
import { signTest } from './statistics.ts';

/** What is kept of a run. */
export interface StoredRun {
  readonly schema: 'enginelight.score/v1';
  readonly title: string;
  readonly outcomes: readonly CaseOutcome[];
}

export interface Comparison {
  readonly text: string;
  /** The earlier run's measures over the cases that both have. */
  readonly before: Scores | undefined;
  /** Sentences about what got worse beyond noise. */
  readonly drops: readonly string[];
}

/** Reads a stored run. Throws an Error that says what is wrong with it. */
export function readRun(text: string, where: string): StoredRun {
  let value: StoredRun;
  try {
    value = JSON.parse(text) as StoredRun;
  } catch (error) {
    throw new Error(`${where} is not JSON (${describeError(error)})`);
  }
  if (value?.schema !== 'enginelight.score/v1' || !Array.isArray(value.outcomes)) {
    throw new Error(`${where} is no stored run of enginelight score`);
  }
  return value;
}

const NOISE = 0.05;

/** Compares case by case; cases that only one of the two has are left out. */
export function compareRuns(now: readonly CaseOutcome[], before: readonly CaseOutcome[]): Comparison {
  const key = (c: CaseOutcome) => `${c.name}/${c.telemetry}`;
  const old = new Map(before.map((c) => [key(c), c]));
  const pairs = now.flatMap((c) => {
    const other = old.get(key(c));
    return other && c.telemetry === 'full' ? [{ now: c, before: other }] : [];
  });
  if (pairs.length === 0) return { text: 'The previous run has none of these cases.', before: undefined, drops: [] };
  const gained: string[] = [];
  const lost: string[] = [];
  for (const pair of pairs) {
    for (const root of pair.now.roots) {
      const other = pair.before.roots.find((r) => r.fault === root.fault && r.entity === root.entity);
      if (!other || !root.counted || !other.counted) continue;
      const a = found(root, 1);
      const b = found(other, 1);
      if (a && !b) gained.push(`${pair.now.name} (${root.fault})`);
      if (b && !a) lost.push(`${pair.now.name} (${root.fault}: now ${root.first ?? 'nothing'})`);
    }
  }
  const falseOf = (c: CaseOutcome) => c.alarms.filter((a) => a.when !== 'during' && a.severity !== 'info').length;
  const falseNow = pairs.reduce((s, p) => s + falseOf(p.now), 0);
  const falseBefore = pairs.reduce((s, p) => s + falseOf(p.before), 0);
  const drops: string[] = [];
  if (lost.length > gained.length && signTest(gained.length, gained.length + lost.length) < NOISE) {
    drops.push(
      `${lost.length} faults that were named right no longer are, ${gained.length} are new: more than chance (p < ${NOISE}).`,
    );
  }
  // Given the sum of two Poisson counts over the same time, the earlier one is a fair coin's.
  if (falseNow > falseBefore && signTest(falseBefore, falseNow + falseBefore) < NOISE) {
    drops.push(
      `False alarms went from ${falseBefore} to ${falseNow} on the same cases: more than chance (p < ${NOISE}).`,
    );
  }
  const list = (names: readonly string[]) =>
    names.length === 0
      ? 'none'
      : `${names.slice(0, 12).join(', ')}${names.length > 12 ? `, and ${names.length - 12} more` : ''}`;
  return {
    before: measure(pairs.map((p) => p.before)),
    drops,
    text: [
      `Against the previous run, ${pairs.length} cases in common`,
      `  newly right: ${list(gained)}`,
      `  no longer right: ${list(lost)}`,
      `  false alarms: ${falseBefore} -> ${falseNow}`,
      ...drops.map((d) => `  WORSE: ${d}`),
    ].join('\n'),
  };
}
