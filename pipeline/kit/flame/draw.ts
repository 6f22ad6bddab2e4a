/** Spans in, the tree of one view out, with what a reader should know of it. */
import type { UnixNano } from '../../model.ts';
import { buildForest, type Forest } from './forest.ts';
import { plainId } from './names.ts';
import type { RankStore } from './rank-store.ts';
import type { Ranks } from './ranks.ts';
import { REQUEST, type SpanStore } from './store.ts';
import type { FlameTree } from './tree.ts';
import { type Charge, criticalPathView, type Grouping, resourceView } from './views.ts';

export const VIEWS = ['resource', 'critical-path', 'ranks'] as const;
export type ViewName = (typeof VIEWS)[number];

const TITLES: Readonly<Record<ViewName, string>> = {
  resource: 'resource time',
  'critical-path': 'critical path of requests',
  ranks: 'what ranks did',
};

export interface Drawn {
  readonly title: string;
  readonly tree: FlameTree;
  readonly spans: number;
  /** Requests: spans without a parent that are no rank's own. */
  readonly requests: number;
  /** When the first span began, and nanoseconds until the last one's end. */
  readonly start: UnixNano;
  readonly durationNanos: number;
  /** Sentences about what was put right or left out. */
  readonly notes: readonly string[];
}

export interface DrawOptions {
  readonly view: Exclude<ViewName, 'ranks'>;
  readonly by: Grouping;
  /** Requests only, or what ranks did only; both if absent. */
  readonly only?: 'requests' | 'ranks';
}

/** `also` is given every piece of time beside the tree. */
export function drawFlame(store: SpanStore, { view, by, only }: DrawOptions, also?: (forest: Forest) => Charge): Drawn {
  const forest = buildForest(store);
  const make = view === 'resource' ? resourceView : criticalPathView;
  const tree = make(store, forest, { by, only }, also?.(forest));
  let requests = 0;
  let from = Number.POSITIVE_INFINITY;
  let until = Number.NEGATIVE_INFINITY;
  for (const i of forest.order) {
    if (forest.parent[i]! < 0 && store.kind[i] === REQUEST) requests++;
    from = Math.min(from, forest.start[i]!);
    until = Math.max(until, forest.start[i]! + store.duration[i]!);
  }
  return {
    title: TITLES[view],
    tree,
    spans: forest.order.length,
    requests,
    start: store.base + (Number.isFinite(from) ? BigInt(Math.round(from)) : 0n),
    durationNanos: Number.isFinite(from) ? until - from : 0,
    notes: notesOf(store, forest),
  };
}

/** The time lines of ranks as one graph. */
export function drawRanks(store: RankStore, { tree, observed, shifted }: Ranks): Drawn {
  let until = 0;
  let from = Number.POSITIVE_INFINITY;
  for (let i = 0; i < store.size; i++) {
    from = Math.min(from, store.start[i]!);
    until = Math.max(until, store.start[i]! + store.duration[i]!);
  }
  const notes: string[] = [];
  const seen = [...observed].map(([replica, nanos]) => `${replica} ${(nanos / 1e9).toFixed(2)} s`);
  if (seen.length > 0)
    notes.push(`Observed, in bursts of the hooks: ${seen.slice(0, 8).join(', ')}${seen.length > 8 ? ', …' : ''}.`);
  notes.push(...movedNote('Clocks moved so that ranks leave collectives together', shifted));
  return {
    title: TITLES.ranks,
    tree,
    spans: store.size,
    requests: 0,
    start: store.base,
    durationNanos: store.size > 0 ? until - from : 0,
    notes,
  };
}

function movedNote(what: string, shifted: ReadonlyMap<string, number>): string[] {
  const moved = [...shifted].map(([host, ms]) => `${plainId(host)} by ${ms.toFixed(1)} ms`);
  if (moved.length === 0) return [];
  const more = moved.length > 5 ? ` and ${moved.length - 5} more` : '';
  return [`${what}: ${moved.slice(0, 5).join(', ')}${more}.`];
}

const some = (n: number, one: string, many: string) => `${n.toLocaleString('en-US')} ${n === 1 ? one : many}`;

function notesOf(store: SpanStore, forest: Forest): string[] {
  const { untimed, negative } = store.odd;
  const { orphans, cycles, twice } = forest.odd;
  const notes: string[] = [];
  if (untimed > 0) notes.push(`${some(untimed, 'span has', 'spans have')} no time and were left out.`);
  if (negative > 0) notes.push(`${some(negative, 'span ends', 'spans end')} before the beginning and count as 0.`);
  if (twice > 0) notes.push(`${some(twice, 'span was', 'spans were')} there twice and counted once.`);
  if (orphans > 0)
    notes.push(
      `${some(orphans, 'span names a parent that is', 'spans name parents that are')} not there; each is a root.`,
    );
  if (cycles > 0) notes.push(`${some(cycles, 'circle', 'circles')} of parents cut at the earliest span.`);
  notes.push(...movedNote('Clocks moved so that spans lie inside their parents', forest.shifted));
  return notes;
}
