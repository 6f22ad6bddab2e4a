/**
 * Time lines of ranks (detectors C1, C2, C4): each moment of what was observed of a replica is one thing on each of its ranks, so
 * that every rank adds up to the same time.
 *
 * Hooks send in bursts: what was observed are steps that follow one another, not the pauses between bursts. Of a collective, the
 * shortest span of its ranks is transfer, what others have more is waiting for the last one. Clocks of hosts are aligned by the
 * ends of collectives, which all ranks leave together.
 */
import { median } from '../stats/robust.ts';
import { COLLECTIVE, type Lane, PHASE_NAMES, type RankStore, STAGE, STEP } from './rank-store.ts';
import { FlameTree } from './tree.ts';
import type { Grouping } from './views.ts';

/** What a moment can be, what comes first has it. */
export const CLASSES = ['comm_pure', 'comm_wait', 'comm', 'host', 'compute', 'bubble', 'host_gap', 'idle'] as const;
export type RankClass = (typeof CLASSES)[number] | 'not_seen';

/** Nanoseconds from `from` to `until` of one rank. */
export type Segment = (lane: number, from: number, until: number, phase: string, what: RankClass) => void;

interface Interval {
  readonly start: number;
  readonly end: number;
}

/** Steps further apart than so many of their usual durations are of different bursts. */
const BURST = 10;

export interface Ranks {
  readonly tree: FlameTree;
  /** Nanoseconds observed, by replica. */
  readonly observed: ReadonlyMap<string, number>;
  /** Hosts whose clocks were moved, milliseconds. */
  readonly shifted: ReadonlyMap<string, number>;
}

export function rankView(store: RankStore, by: Grouping, also?: Segment): Ranks {
  const tree = new FlameTree();
  const shortest = shortestOf(store);
  const replicas = new Map<string, number[]>();
  store.lanes.forEach(({ service, replica }, lane) => {
    const key = `${service}\n${replica}`;
    const list = replicas.get(key);
    if (list) list.push(lane);
    else replicas.set(key, [lane]);
  });
  const observed = new Map<string, number>();
  const shifted = new Map<string, number>();
  for (const lanes of replicas.values()) {
    const offsets = offsetsOf(store, lanes);
    for (const [host, nanos] of offsets) if (nanos !== 0) shifted.set(host, -nanos / 1e6);
    const replica = lanes.map((lane) => timelineOf(store, lane, offsets.get(store.lanes[lane]!.host) ?? 0, shortest));
    const { windows, usual } = windowsOf(replica);
    observed.set(
      store.lanes[lanes[0]!]!.replica,
      windows.reduce((sum, window) => sum + window.end - window.start, 0),
    );
    const steps = replica.flatMap((line) => line.steps);
    const hasSteps = steps.length > 0;
    replica.forEach((line, k) => {
      const lane = store.lanes[lanes[k]!]!;
      const alike = (pick: (other: Timeline) => readonly Step[], same: (other: Lane) => boolean): readonly Step[] => {
        if (pick(line).length > 0) return pick(line);
        for (let o = 0; o < replica.length; o++)
          if (same(store.lanes[lanes[o]!]!) && pick(replica[o]!).length > 0) return pick(replica[o]!);
        return [];
      };
      // Only the first rank of a stage tells of its stages and steps.
      const ownSteps = alike(
        (other) => other.steps,
        (other) => other.dp === lane.dp,
      );
      const stages = alike(
        (other) => other.stages,
        (other) => other.dp === lane.dp && other.pp === lane.pp,
      );
      const top = topOf(tree, lane, by);
      sweep(
        line,
        ownSteps.length > 0 || !hasSteps ? ownSteps : steps,
        stages,
        windows,
        usual,
        (from, until, phase, what) => {
          let node = top;
          if (phase !== '') node = tree.child(node, tree.frameId(phase));
          tree.add(tree.child(node, tree.frameId(what)), until - from);
          also?.(lanes[k]!, from, until, phase, what);
        },
      );
    });
  }
  return { tree, observed, shifted };
}

function topOf(tree: FlameTree, lane: Lane, by: Grouping): number {
  const middle = by === 'service' ? [] : [by === 'replica' ? lane.replica : lane.role];
  return tree.at([lane.service, ...middle, ...lane.place]);
}

/** Of each operation its shortest span, if all ranks are there; NaN otherwise. */
function shortestOf(store: RankStore): Float64Array {
  const least = new Float64Array(store.operations).fill(Number.POSITIVE_INFINITY);
  const seen = new Int32Array(store.operations);
  const members = new Int32Array(store.operations);
  for (let i = 0; i < store.size; i++) {
    const op = store.operation[i]!;
    if (store.kind[i] !== COLLECTIVE || op < 0) continue;
    least[op] = Math.min(least[op]!, store.duration[i]!);
    seen[op]!++;
    members[op] = store.members[i]!;
  }
  for (let op = 0; op < least.length; op++) if (seen[op]! < 2 || seen[op] !== members[op]) least[op] = Number.NaN;
  return least;
}

/** By host, how far its clock is ahead of the first rank's, nanoseconds. */
function offsetsOf(store: RankStore, lanes: readonly number[]): Map<string, number> {
  const offsets = new Map<string, number>();
  const reference = store.lanes[lanes[0]!]!.host;
  const ends = new Map<number, number>();
  for (const lane of lanes) {
    if (store.lanes[lane]!.host !== reference) continue;
    for (const i of store.lanes[lane]!.spans)
      if (store.operation[i]! >= 0) ends.set(store.operation[i]!, store.start[i]! + store.duration[i]!);
  }
  const differences = new Map<string, number[]>();
  for (const lane of lanes) {
    const { host, spans } = store.lanes[lane]!;
    if (host === reference) continue;
    let list = differences.get(host);
    if (!list) {
      list = [];
      differences.set(host, list);
    }
    for (const i of spans) {
      const end = ends.get(store.operation[i]!);
      if (store.operation[i]! >= 0 && end !== undefined) list.push(store.start[i]! + store.duration[i]! - end);
    }
  }
  for (const [host, list] of differences) if (list.length >= 8) offsets.set(host, Math.round(median(list)));
  return offsets;
}

interface Step extends Interval {
  readonly phase: number;
  readonly schedule: number;
}

interface Timeline {
  readonly pure: readonly Interval[];
  readonly wait: readonly Interval[];
  /** Communication that cannot be divided: not all ranks are known, or they do not wait for each other. */
  readonly comm: readonly Interval[];
  readonly stages: readonly Step[];
  readonly steps: readonly Step[];
}

function timelineOf(store: RankStore, lane: number, ahead: number, shortest: Float64Array): Timeline {
  const [pure, wait, comm, stages, steps]: [Interval[], Interval[], Interval[], Step[], Step[]] = [[], [], [], [], []];
  for (const i of store.lanes[lane]!.spans) {
    const start = store.start[i]! - ahead;
    const end = start + store.duration[i]!;
    if (store.kind[i] === STEP) steps.push({ start, end, phase: store.phase[i]!, schedule: store.schedule[i]! });
    else if (store.kind[i] === STAGE) stages.push({ start, end, phase: 0, schedule: 0 });
    else {
      const least = store.operation[i]! < 0 ? Number.NaN : shortest[store.operation[i]!]!;
      if (Number.isNaN(least)) comm.push({ start, end });
      else {
        wait.push({ start, end: end - least });
        pure.push({ start: end - least, end });
      }
    }
  }
  return { pure, wait, comm, stages, steps };
}

/** What was observed of a replica: what its ranks tell, and the gaps that are no longer than those between steps. */
function windowsOf(replica: readonly Timeline[]): { windows: Interval[]; usual: number } {
  const all: Interval[] = [];
  for (const { pure, wait, comm, stages, steps } of replica)
    for (const list of [pure, wait, comm, stages, steps]) for (const interval of list) all.push(interval);
  const beats = replica.flatMap(({ steps, stages }) => (steps.length > 0 ? steps : stages));
  const of = beats.length > 0 ? beats : all;
  const usual = of.length > 0 ? median(of.map(({ start, end }) => end - start)) : 0;
  all.sort((a, b) => a.start - b.start);
  const windows: { start: number; end: number }[] = [];
  for (const { start, end } of all) {
    const last = windows.at(-1);
    if (last && start - last.end <= BURST * usual) last.end = Math.max(last.end, end);
    else windows.push({ start, end });
  }
  return { windows: windows.filter(({ start, end }) => end > start), usual };
}

const PURE = 0;
const WAIT = 1;
const COMM = 2;
const SCHEDULE = 3;
const IN_STAGE = 4;
const IN_STEP = 5;
const WINDOW = 6;

function sweep(
  line: Timeline,
  steps: readonly Step[],
  stages: readonly Step[],
  windows: readonly Interval[],
  usual: number,
  put: (from: number, until: number, phase: string, what: RankClass) => void,
): void {
  const at: number[] = [];
  /** Class, and whether it opens; the phase of a step that opens. */
  const what: number[] = [];
  const phases: number[] = [];
  const edge = (time: number, kind: number, opens: boolean, phase = 0) => {
    at.push(time);
    what.push(opens ? kind + 1 : -(kind + 1));
    phases.push(phase);
  };
  const put2 = (interval: Interval, kind: number, phase = 0) => {
    if (interval.end <= interval.start) return;
    edge(interval.start, kind, true, phase);
    edge(interval.end, kind, false);
  };
  for (const interval of line.pure) put2(interval, PURE);
  for (const interval of line.wait) put2(interval, WAIT);
  for (const interval of line.comm) put2(interval, COMM);
  for (const interval of stages) put2(interval, IN_STAGE);
  for (const step of steps) {
    put2(step, IN_STEP, step.phase);
    put2({ start: step.start, end: step.start + step.schedule }, SCHEDULE);
  }
  for (const window of windows) put2(window, WINDOW);
  const order = Int32Array.from(at.keys()).sort((a, b) => at[a]! - at[b]!);
  const open = new Int32Array(WINDOW + 1);
  const seenIn = seenWindows(line, windows);
  let window = -1;
  let phase = 0;
  let from = 0;
  for (let k = 0; k < order.length; k++) {
    const time = at[order[k]!]!;
    if (open[WINDOW]! > 0 && time > from) {
      const name = open[IN_STEP]! > 0 ? PHASE_NAMES[phase]! : '';
      put(
        from,
        time,
        name,
        seenIn[window] ? classOf(open, stages.length > 0, steps.length > 0, time - from, usual) : 'not_seen',
      );
    }
    from = time;
    // Everything that changes at this moment, before it goes on.
    for (; k < order.length && at[order[k]!] === time; k++) {
      const kind = what[order[k]!]!;
      if (kind > 0) {
        open[kind - 1]!++;
        if (kind - 1 === IN_STEP) phase = phases[order[k]!]!;
        if (kind - 1 === WINDOW) window++;
      } else open[-kind - 1]!--;
    }
    k--;
  }
}

function classOf(open: Int32Array, hasStages: boolean, hasSteps: boolean, took: number, usual: number): RankClass {
  if (open[PURE]! > 0) return 'comm_pure';
  if (open[WAIT]! > 0) return 'comm_wait';
  if (open[COMM]! > 0) return 'comm';
  if (open[IN_STAGE]! > 0) return 'compute';
  if (open[SCHEDULE]! > 0) return 'host';
  if (open[IN_STEP]! > 0) return hasStages ? 'bubble' : 'compute';
  // Without steps nobody knows when there was work; what lies between collectives is most likely that.
  if (!hasSteps && !hasStages) return 'compute';
  return took <= usual ? 'host_gap' : 'idle';
}

/** Whether the rank told anything in each window. */
function seenWindows(line: Timeline, windows: readonly Interval[]): boolean[] {
  const starts: number[] = [];
  for (const list of [line.pure, line.comm, line.stages, line.steps]) for (const { start } of list) starts.push(start);
  starts.sort((a, b) => a - b);
  let next = 0;
  return windows.map(({ start, end }) => {
    while (next < starts.length && starts[next]! < start) next++;
    return next < starts.length && starts[next]! < end;
  });
}
