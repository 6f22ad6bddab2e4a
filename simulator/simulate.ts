/** One case from its scenario: the recording's lines and the truth about it. */
import { installRecorder } from './emit/record.ts';
import { checkInjections, faultKind, plant } from './faults/index.ts';
import { installProbes, type Probes } from './probe.ts';
import { checkSpec, type Spec } from './spec.ts';
import { judge, type Truth } from './truth.ts';
import type { World } from './world/types.ts';
import { advance, createWorld } from './world/world.ts';

/** A scenario that cannot be simulated; the message has one sentence per reason. */
export class ImpossibleSpec extends Error {
  override readonly name = 'ImpossibleSpec';
  readonly reasons: readonly string[];
  constructor(reasons: readonly string[]) {
    super(reasons.join(' '));
    this.reasons = reasons;
  }
}

export interface Case {
  readonly spec: Spec;
  /** The recording, in time order; can be read once. */
  readonly lines: Iterable<string>;
  /** Judges the finished run; runs it to its end first if the lines were not read. Simulates the twin. */
  truth(): Truth;
  readonly world: World;
}

/** Applies what the faults ask of a scenario (a router policy, speculative decoding, …). */
export function prepared(spec: Spec): Spec {
  let out = spec;
  for (const i of spec.inject) {
    const prepare = faultKind(i.kind)?.prepare;
    if (prepare) out = prepare(out);
  }
  return out;
}

/** Builds a world with its faults planted; throws ImpossibleSpec. */
export function worldOf(spec: Spec): { world: World; planted: ReturnType<typeof plant> } {
  const mistakes = checkSpec(spec);
  if (mistakes.length > 0) throw new ImpossibleSpec(mistakes);
  const world = createWorld(spec);
  const wrong = checkInjections(world);
  if (wrong.length > 0) throw new ImpossibleSpec(wrong);
  return { world, planted: plant(world) };
}

/** Simulates a case. Nothing runs before `lines` is read or `truth` is called. Throws ImpossibleSpec at once. */
export function simulateCase(given: Spec, options: { control?: string | null; record?: boolean } = {}): Case {
  const spec = prepared(given);
  const { world, planted } = worldOf(spec);
  const pending: string[] = [];
  const probes = installProbes(world);
  if (options.record !== false) installRecorder(world, (line) => pending.push(line));
  let finished = false;
  const run = function* (): Generator<string> {
    for (let t = 0; t <= spec.durationS; t++) {
      advance(world, Math.min(t, spec.durationS));
      if (pending.length > 0) {
        yield* pending;
        pending.length = 0;
      }
    }
    finished = true;
  };
  const lines = run();
  return {
    spec,
    world,
    lines,
    truth() {
      if (!finished) for (const _ of lines);
      return judge(world, planted, probes, twinProbes(spec), options.control ?? null);
    },
  };
}

/** The same scenario without its faults; harmless events happen in both. */
export function twinOf(spec: Spec): Spec {
  return { ...spec, inject: spec.inject.filter((i) => faultKind(i.kind)?.benign) };
}

function twinProbes(spec: Spec): Probes {
  const { world } = worldOf(twinOf(spec));
  const probes = installProbes(world);
  advance(world, spec.durationS);
  return probes;
}
