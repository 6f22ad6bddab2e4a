/**
 * Differential flame graphs (detectors C4): both sides per request, per token or per step first, never raw totals of windows
 * with different traffic. Whether a frame really changed is asked by a bootstrap over blocks of time, corrected for asking of
 * many frames; the others are there, muted.
 */
import { benjaminiHochberg } from '../stats/chance.ts';
import { normalCdf } from '../stats/robust.ts';
import type { Per, Side } from './side.ts';
import { FlameTree } from './tree.ts';

/** A frame that changed by less than this share of the whole is muted, significant or not. */
const LEAST_SHARE = 0.01;
const LEVEL = 0.05;
const FEWEST_BLOCKS = 5;
const RESAMPLES = 1000;

export interface FrameChange {
  /** Nanoseconds per unit with everything below. */
  readonly before: number;
  readonly after: number;
  /** 95 % interval of after − before; absent where it was not asked for. */
  readonly low?: number;
  readonly high?: number;
  readonly q?: number;
  /** It changed by more than chance and by enough to matter. */
  readonly changed: boolean;
}

export interface FlameDiff {
  readonly per: Per;
  /** The stacks of both sides; own values are those after, nanoseconds per unit. */
  readonly tree: FlameTree;
  readonly selfBefore: Float64Array;
  /** By node of the tree. */
  readonly changes: readonly FrameChange[];
  readonly unitsBefore: number;
  readonly unitsAfter: number;
  /** Why nothing can be called a change, if so. */
  readonly insufficient: string | undefined;
}

export function diffFlames(before: Side, after: Side, per: Per): FlameDiff {
  const tree = new FlameTree();
  const a = mapInto(tree, before.drawn.tree);
  const b = mapInto(tree, after.drawn.tree);
  const n = tree.size;
  const selfBefore = new Float64Array(n);
  const left = inclusive(tree, a, before);
  const right = inclusive(tree, b, after);
  for (let i = 0; i < before.drawn.tree.size; i++)
    selfBefore[a[i]!]! += before.drawn.tree.self[i]! / Math.max(1, before.units);
  for (let i = 0; i < after.drawn.tree.size; i++) tree.add(b[i]!, after.drawn.tree.self[i]! / Math.max(1, after.units));

  const insufficient =
    before.units === 0 || after.units === 0
      ? `there is no ${per} on one side`
      : filled(before) < FEWEST_BLOCKS || filled(after) < FEWEST_BLOCKS
        ? `a side has fewer than ${FEWEST_BLOCKS} blocks of time with a ${per} in them`
        : undefined;
  const totalsBefore = totalsOf(tree, selfBefore);
  const totalsAfter = tree.totals();
  const least = LEAST_SHARE * Math.max(totalsBefore[0]!, totalsAfter[0]!);
  const asked: number[] = [];
  const found: { low: number; high: number; p: number }[] = [];
  if (insufficient === undefined) {
    const drawsLeft = resamples(before, 1);
    const drawsRight = resamples(after, 2);
    for (let i = 1; i < n; i++) {
      if (Math.abs(totalsAfter[i]! - totalsBefore[i]!) < least) continue;
      asked.push(i);
      found.push(intervalOf(drawsLeft, left, right, drawsRight, i, totalsAfter[i]! - totalsBefore[i]!));
    }
  }
  const qs = benjaminiHochberg(found.map(({ p }) => p));
  const changes: FrameChange[] = Array.from({ length: n }, (_, i) => ({
    before: totalsBefore[i]!,
    after: totalsAfter[i]!,
    changed: false,
  }));
  asked.forEach((node, k) => {
    const { low, high } = found[k]!;
    const q = qs[k]!;
    changes[node] = { ...changes[node]!, low, high, q, changed: q < LEVEL };
  });
  return { per, tree, selfBefore, changes, unitsBefore: before.units, unitsAfter: after.units, insufficient };
}

/** `stack before after` for each stack, nanoseconds per unit. */
export function* diffLines(diff: FlameDiff): Generator<string> {
  for (let i = 1; i < diff.tree.size; i++) {
    const before = Math.round(diff.selfBefore[i]!);
    const after = Math.round(diff.tree.self[i]!);
    if (before > 0 || after > 0) yield `${diff.tree.stack(i).join(';')} ${before} ${after}\n`;
  }
}

/** The nodes of a tree in another one that has all of its stacks. */
function mapInto(into: FlameTree, tree: FlameTree): Int32Array {
  const to = new Int32Array(tree.size);
  for (let i = 1; i < tree.size; i++) to[i] = into.child(to[tree.parent[i]!]!, into.frameId(tree.name(i)));
  return to;
}

export function totalsOf(tree: FlameTree, self: Float64Array): Float64Array {
  const total = self.slice();
  for (let i = tree.size - 1; i > 0; i--) total[tree.parent[i]!]! += total[i]!;
  return total;
}

const filled = (side: Side) => side.blockUnits.reduce((n, units) => n + (units > 0 ? 1 : 0), 0);

/** Nanoseconds of each node with all below, by block. */
function inclusive(tree: FlameTree, to: Int32Array, side: Side): Float64Array[] {
  const blocks = Array.from({ length: side.blocks }, () => new Float64Array(tree.size));
  for (const [key, nanos] of side.blockSelf) blocks[key % side.blocks]![to[Math.floor(key / side.blocks)]!]! += nanos;
  return blocks.map((self) => totalsOf(tree, self));
}

/** Chance of a difference of `z` standard deviations that were taken from few blocks: Student's t, by Wallace's approximation. */
function twoSided(z: number, blocks: number): number {
  const freedom = blocks - 1;
  // Drawing with replacement makes the spread too small by this much.
  const t = z * Math.sqrt(freedom / blocks);
  const normal = ((8 * freedom + 1) / (8 * freedom + 3)) * Math.sqrt(freedom * Math.log1p((t * t) / freedom));
  return 2 * (1 - normalCdf(normal));
}

interface Draws {
  /** With something in them. */
  readonly blocks: number;
  /** How often each block is in each resample. */
  readonly counts: readonly Uint16Array[];
  readonly units: Float64Array;
}

/** Blocks drawn with replacement; the same every time. */
function resamples(side: Side, seed: number): Draws {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const used = [...side.blockUnits.keys()].filter((b) => side.blockUnits[b]! > 0);
  const counts: Uint16Array[] = [];
  const units = new Float64Array(RESAMPLES);
  for (let k = 0; k < RESAMPLES; k++) {
    const count = new Uint16Array(side.blocks);
    for (let d = 0; d < used.length; d++) count[used[next(used.length)]!]!++;
    for (const b of used) units[k]! += count[b]! * side.blockUnits[b]!;
    counts.push(count);
  }
  return { blocks: used.length, counts, units };
}

function intervalOf(
  a: Draws,
  left: readonly Float64Array[],
  right: readonly Float64Array[],
  b: Draws,
  node: number,
  difference: number,
) {
  const deltas = new Float64Array(RESAMPLES);
  const per = (draws: Draws, blocks: readonly Float64Array[], k: number) => {
    let sum = 0;
    const count = draws.counts[k]!;
    for (let i = 0; i < blocks.length; i++) if (count[i] !== 0) sum += count[i]! * blocks[i]![node]!;
    return sum / Math.max(1, draws.units[k]!);
  };
  let mean = 0;
  for (let k = 0; k < RESAMPLES; k++) {
    deltas[k] = per(b, right, k) - per(a, left, k);
    mean += deltas[k]! / RESAMPLES;
  }
  let variance = 0;
  for (const d of deltas) variance += (d - mean) ** 2 / (RESAMPLES - 1);
  deltas.sort();
  const sd = Math.sqrt(variance);
  return {
    low: deltas[Math.floor(0.025 * RESAMPLES)]!,
    high: deltas[Math.ceil(0.975 * RESAMPLES) - 1]!,
    p: sd === 0 ? (difference === 0 ? 1 : 0) : twoSided(Math.abs(difference) / sd, Math.min(a.blocks, b.blocks)),
  };
}
