/**
 * The life of findings: one state per detector and entity. Pending from the first true evaluation, firing when it held in k
 * of the last n (sooner when it is far beyond its threshold), resolved when it stayed below 0.8 of the threshold for a while, or below
 * the threshold for longer: what hovers in between is not held open for ever.
 * Many ups and downs are one flapping finding.
 */
import type { Onset } from '../../pipeline/kit/stats/change.ts';
import type { Entity } from '../../pipeline/kit/topology.ts';
import type { FindingState, Grade, Impact, Severity } from '../../pipeline/kit/verdict.ts';
import type { AnyDetector } from './detector.ts';
import type { Outcome, Verdict } from './outcome.ts';

export interface MachineOptions {
  /** Share of the threshold below which a firing finding begins to clear. */
  readonly clearRatio: number;
  /** How long it must stay clear; between that and the threshold, three times as long. */
  readonly clearForMs: number;
  /** A finding whose signals are gone is closed after this. */
  readonly lostAfterMs: number;
  readonly limit: number;
}

export interface Active {
  readonly id: string;
  readonly detector: AnyDetector;
  readonly entity: Entity;
  readonly observed: boolean;
  state: FindingState | 'inactive';
  /** One bit per evaluation, newest lowest. */
  bits: number;
  evaluations: number;
  lastFalse: number;
  firstTrue: number;
  /** When it last held, or was not far enough below its threshold to be over. */
  lastTrue: number;
  /** When it last held. */
  lastHeld: number;
  lastKnown: number;
  firingAt: number;
  endedAt: number;
  onset: Onset;
  verdict: Verdict | undefined;
  severity: Severity;
  impact: Impact;
  confidence: number;
  grade: Grade;
  flips: number[];
  /** (time, intensity) for dose-response, at most 64. */
  doses: { t: number; v: number }[];
  emittedAt: number;
  emittedSeverity: Severity | undefined;
}

export interface Transition {
  readonly finding: Active;
  readonly to: 'pending' | 'firing' | 'resolved' | 'changed';
}

/** A finding that fired before a restart: when it holds again, it is the same one. */
export interface Remembered {
  readonly id: string;
  readonly firstTrue: number;
  readonly firingAt: number;
  readonly onset: Onset;
  readonly severity: Severity;
  readonly confidence: number;
}

export interface Machine {
  /** All that are pending or firing. */
  active(): readonly Active[];
  get(detector: string, entity: Entity): Active | undefined;
  /** Takes one evaluation's outcome. */
  step(detector: AnyDetector, entity: Entity, outcome: Outcome, now: number, observed: boolean): Transition | undefined;
  /** Closes what nobody evaluates any more. */
  sweep(now: number): readonly Transition[];
  readonly refused: number;
}

/** How far before its first true evaluation a finding can have begun. */
const ONSET_BACK_MS = 120_000;

const CAP: Record<Grade, number> = { A: 0.97, B: 0.85, C: 0.6 };

/** The confidence of a verdict, from its margin, what else speaks for and against it, and its quality; capped by grade. */
export function confidenceOf(v: Pick<Verdict, 'margin' | 'corroborations' | 'counter' | 'defects' | 'grade'>): number {
  const logit =
    -0.5 +
    Math.min(2, Math.log(1 + 3 * Math.max(0, v.margin - 1))) +
    Math.min(3, v.corroborations) -
    1.5 * v.counter.filter((c) => c.against).length -
    0.5 * v.defects;
  return Math.min(CAP[v.grade], 1 / (1 + Math.exp(-logit)));
}

const popcount = (bits: number, n: number): number => {
  let count = 0;
  for (let i = 0; i < n; i++) if (bits & (1 << i)) count++;
  return count;
};

export function createMachine(
  options: MachineOptions,
  makeId: (detector: string, entity: Entity, at: number) => string,
  /** Gives a finding of before, by detector and entity's key, once. */
  recall: (key: string) => Remembered | undefined = () => undefined,
): Machine {
  const states = new Map<string, Active>();
  let refused = 0;

  function fire(a: Active, now: number): void {
    a.state = 'firing';
    a.firingAt = now;
    const known = a.verdict?.known;
    if (known) {
      a.onset = { after: Math.min(known.after, a.firstTrue), by: Math.min(known.by, a.firstTrue) };
      return;
    }
    const o = a.verdict?.onset?.();
    // A window reports late: its first true evaluation is the latest the onset can be, its own samples date it better. But a
    // value that hovers about its threshold for long must not date the finding to where the hovering began.
    const earliest = a.firstTrue - ONSET_BACK_MS;
    if (o && o.by <= now && o.by >= earliest) {
      a.onset = { after: Math.min(Math.max(o.after, earliest), a.firstTrue), by: Math.min(o.by, a.firstTrue) };
    } else {
      const before = a.lastFalse > Number.NEGATIVE_INFINITY ? Math.max(a.lastFalse - 45_000, earliest) : earliest;
      a.onset = { after: Math.min(before, a.firstTrue), by: a.firstTrue };
    }
  }

  function close(a: Active, now: number): void {
    a.state = 'resolved';
    a.endedAt = a.lastTrue;
    a.flips.push(now);
    if (a.flips.length > 16) a.flips.shift();
  }

  return {
    get refused() {
      return refused;
    },
    active: () => [...states.values()].filter((a) => a.state === 'pending' || a.state === 'firing'),
    get: (detector, entity) => states.get(`${detector}|${entity.key}`),
    step(detector, entity, outcome, now, observed) {
      const key = `${detector.id}|${entity.key}`;
      let a = states.get(key);
      const truth = outcome.kind === 'verdict' && outcome.holds;
      if (!a || a.state === 'resolved') {
        if (!truth) {
          if (a) {
            a.state = 'inactive';
            a.lastFalse = now;
            a.bits = 0;
          }
          return undefined;
        }
        if (!a && states.size >= options.limit) {
          refused++;
          return undefined;
        }
        a = {
          id: makeId(detector.id, entity, now),
          detector,
          entity,
          observed,
          state: 'inactive',
          bits: 0,
          evaluations: 0,
          lastFalse: a?.lastFalse ?? Number.NEGATIVE_INFINITY,
          firstTrue: now,
          lastTrue: now,
          lastHeld: now,
          lastKnown: now,
          firingAt: 0,
          endedAt: 0,
          onset: { after: now, by: now },
          verdict: undefined,
          severity: 'info',
          impact: {},
          confidence: 0,
          grade: 'C',
          flips: (a?.flips ?? []).filter((t) => t > now - 1_800_000),
          doses: [],
          emittedAt: Number.NEGATIVE_INFINITY,
          emittedSeverity: undefined,
        };
        states.set(key, a);
        const before = recall(key);
        if (before) Object.assign(a, before, { state: 'firing', emittedSeverity: before.severity });
      }
      if (outcome.kind === 'hold' || outcome.kind === 'missing') {
        // Not known: neither fires nor clears, until it has been unknown for too long.
        if (now - a.lastKnown <= options.lostAfterMs) return undefined;
        return end(a, now);
      }
      a.lastKnown = now;
      a.bits = ((a.bits << 1) | (truth ? 1 : 0)) & 0xffff;
      a.evaluations++;
      if (outcome.kind === 'verdict') {
        if (truth || a.state === 'firing') {
          const keepEvidence = a.verdict && !truth;
          if (!keepEvidence) a.verdict = outcome;
          a.doses.push({ t: now, v: outcome.intensity });
          if (a.doses.length > 64) a.doses.shift();
        }
        if (truth) {
          // Follows the evidence, without jumping with every evaluation.
          const fresh = confidenceOf(outcome);
          a.confidence = a.state === 'firing' ? a.confidence + 0.3 * (fresh - a.confidence) : fresh;
          a.grade = outcome.grade;
          a.lastTrue = now;
          a.lastHeld = now;
        } else if (
          a.state === 'firing' &&
          outcome.floor >= options.clearRatio &&
          now - a.lastHeld < 2 * options.clearForMs
        )
          a.lastTrue = now;
      }
      if (!truth) a.lastFalse = now;
      switch (a.state) {
        case 'inactive': {
          if (!truth) return undefined;
          a.firstTrue = now;
          a.state = 'pending';
          if (outcome.kind === 'verdict' && outcome.discrete) {
            fire(a, now);
            return { finding: a, to: 'firing' };
          }
          return { finding: a, to: 'pending' };
        }
        case 'pending': {
          const { k, n } = detector.persist ?? { k: 4, n: 6 };
          const v = a.verdict;
          // Far beyond the threshold, fewer looks are needed: chance does not double a threshold twice in a row.
          const strong = v !== undefined && v.floor >= 2 && v.grade !== 'C' ? Math.max(2, Math.ceil(k / 2)) : k;
          if (truth && (popcount(a.bits, n) >= strong || (v?.discrete ?? false))) {
            fire(a, now);
            return { finding: a, to: 'firing' };
          }
          if (popcount(a.bits, n) === 0) a.state = 'inactive';
          return undefined;
        }
        case 'firing': {
          const flapping = a.flips.length >= 4;
          if (now - a.lastTrue >= options.clearForMs * (flapping ? 2 : 1)) return end(a, now);
          return { finding: a, to: 'changed' };
        }
        default:
          return undefined;
      }
    },
    sweep(now) {
      const out: Transition[] = [];
      for (const [key, a] of states) {
        if ((a.state === 'firing' || a.state === 'pending') && now - a.lastKnown > options.lostAfterMs) {
          const t = end(a, now);
          if (t) out.push(t);
        }
        if ((a.state === 'resolved' || a.state === 'inactive') && now - a.lastKnown > 3_600_000) states.delete(key);
      }
      return out;
    },
  };

  function end(a: Active, now: number): Transition | undefined {
    if (a.state !== 'firing') {
      a.state = 'inactive';
      a.bits = 0;
      return undefined;
    }
    close(a, now);
    return { finding: a, to: 'resolved' };
  }
}
