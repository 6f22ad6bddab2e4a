/** Pipeline stages of one engine, step by step: how long each stage worked, and how long all of them were under way. */
import type { Bounded, StageRun } from './events.ts';

export interface StageStep {
  readonly start: number;
  readonly end: number;
  /** Working time by stage, milliseconds. */
  readonly busy: readonly number[];
}

/** Complete steps (every stage told once) that ended since `from`, oldest first. */
export function stageSteps(runs: Bounded<StageRun>, from: number): StageStep[] {
  const open = new Map<string, { start: number; end: number; busy: number[]; seen: number }>();
  const out: StageStep[] = [];
  for (const r of runs.since(from, (x) => x.end)) {
    if (!(r.stages >= 2 && r.stages <= 64) || r.stage < 0 || r.stage >= r.stages) continue;
    const key = `${r.step}/${r.microbatch}`;
    let step = open.get(key);
    if (!step || step.busy.length !== r.stages) {
      step = { start: r.start, end: r.end, busy: new Array<number>(r.stages).fill(Number.NaN), seen: 0 };
      open.set(key, step);
    }
    if (Number.isNaN(step.busy[r.stage]!)) step.seen++;
    step.busy[r.stage] = Math.max(0, r.end - r.start);
    step.start = Math.min(step.start, r.start);
    step.end = Math.max(step.end, r.end);
    if (step.seen === r.stages) {
      out.push(step);
      open.delete(key);
    }
  }
  const stages = out.at(-1)?.busy.length;
  return out.filter((s) => s.busy.length === stages).sort((a, b) => a.start - b.start);
}

export interface Bubble {
  /** Share of stage time that stages stand idle while the pipeline is under way. */
  readonly share: number;
  /** Micro-batches under way at a time. */
  readonly depth: number;
  readonly stages: number;
  readonly steps: number;
}

/** Idle share over the bursts of sampled steps: pauses between bursts, and while nothing is under way, do not count. */
export function bubble(steps: readonly StageStep[]): Bubble | undefined {
  if (steps.length < 16) return undefined;
  const stages = steps[0]!.busy.length;
  let span = 0;
  let busy = 0;
  let inside = 0;
  let from = steps[0]!.start;
  let to = steps[0]!.end;
  for (const s of steps) {
    if (s.start > to) {
      // Nothing was under way in between: an idle pipeline, or the sampling's pause.
      span += to - from;
      from = s.start;
      to = s.end;
    } else to = Math.max(to, s.end);
    for (const b of s.busy) busy += b;
    inside += s.end - s.start;
  }
  span += to - from;
  if (span <= 0) return undefined;
  return {
    share: Math.max(0, 1 - busy / (stages * span)),
    depth: Math.max(1, inside / span),
    stages,
    steps: steps.length,
  };
}

/** The idle share that a schedule of `microbatches` over `stages` has by itself. */
export const idealBubble = (microbatches: number, stages: number): number =>
  Math.min(0.95, Math.max(0, 1 - Math.min(1, microbatches / stages)));
