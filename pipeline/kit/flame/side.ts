/** One side of a differential flame graph: a tree, what it is divided by, and both in blocks of time for the statistics. */
import { type Drawn, type DrawOptions, drawFlame } from './draw.ts';
import type { Forest } from './forest.ts';
import { RANK, REQUEST, type SpanStore } from './store.ts';

/** What times are divided by, so that windows with different traffic can be compared. */
export type Per = 'request' | 'token' | 'step';

export interface Side {
  readonly drawn: Drawn;
  /** Requests, tokens or steps: of all, and by block. */
  readonly units: number;
  readonly blockUnits: Float64Array;
  /** Own nanoseconds by `node * blocks + block`. */
  readonly blockSelf: ReadonlyMap<number, number>;
  readonly blocks: number;
}

/** Blocks are minutes, or a twentieth of what is shorter than twenty; never more than this many. */
const MOST_BLOCKS = 60;
const MINUTE = 60e9;

/** Whether there are requests among the spans, and whether they tell how many tokens they answered with. */
export function unitsIn(store: SpanStore): { readonly requests: boolean; readonly tokens: boolean } {
  let requests = false;
  let tokens = false;
  for (let i = 0; i < store.size && !(requests && tokens); i++) {
    if (store.kind[i] === REQUEST) requests = true;
    if (store.tokens[i]! > 0) tokens = true;
  }
  return { requests, tokens };
}

export function sideOf(store: SpanStore, options: DrawOptions, per: Per): Side {
  let blocks = 1;
  let blockUnits = new Float64Array(1);
  let units = 0;
  const blockSelf = new Map<number, number>();
  const drawn = drawFlame(store, options, (forest) => {
    const { from, width, count } = blocksOf(forest);
    blocks = count;
    blockUnits = new Float64Array(count);
    const blockAt = (i: number) => Math.min(count - 1, Math.max(0, Math.floor((forest.start[i]! - from) / width)));
    const tokens = new Float32Array(store.size);
    const root = new Int32Array(store.size);
    for (const i of forest.order) {
      const p = forest.parent[i]!;
      const r = p < 0 ? i : root[p]!;
      root[i] = r;
      // The frontend and the engine both tell of the same tokens.
      tokens[r] = Math.max(tokens[r]!, store.tokens[i]!);
    }
    for (const i of forest.order) {
      if (forest.parent[i]! >= 0) break;
      if (store.kind[i] !== (per === 'step' ? RANK : REQUEST)) continue;
      const n = per === 'token' ? tokens[i]! : 1;
      units += n;
      blockUnits[blockAt(i)]! += n;
    }
    return (node, nanos, r) => {
      const key = node * count + blockAt(r);
      blockSelf.set(key, (blockSelf.get(key) ?? 0) + nanos);
    };
  });
  return { drawn, units, blockUnits, blockSelf, blocks };
}

function blocksOf(forest: Forest) {
  let from = Number.POSITIVE_INFINITY;
  let until = Number.NEGATIVE_INFINITY;
  for (const i of forest.order) {
    if (forest.parent[i]! >= 0) break;
    from = Math.min(from, forest.start[i]!);
    until = Math.max(until, forest.start[i]!);
  }
  const span = Math.max(1, until - from);
  const width = Math.max(span / MOST_BLOCKS, Math.min(MINUTE, span / 20));
  return { from, width, count: Math.max(1, Math.min(MOST_BLOCKS, Math.ceil(span / width))) };
}
