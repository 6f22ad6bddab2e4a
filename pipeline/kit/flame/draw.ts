/** Spans in, the tree of one view out, with what a reader should know of it. */
import type { UnixNano } from '../../model.ts';
import { buildForest, type Forest } from './forest.ts';
import type { SpanStore } from './store.ts';
import type { FlameTree } from './tree.ts';
import { type Charge, criticalPathView, type Grouping, resourceView } from './views.ts';

export const VIEWS = ['resource', 'critical-path'] as const;
export type ViewName = (typeof VIEWS)[number];

const TITLES: Readonly<Record<ViewName, string>> = {
  resource: 'resource time',
  'critical-path': 'critical path of requests',
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
  readonly view: ViewName;
  readonly by: Grouping;
}

export function drawFlame(store: SpanStore, { view, by }: DrawOptions, also?: (forest: Forest) => Charge): Drawn {
  const forest = buildForest(store);
  const make = view === 'resource' ? resourceView : criticalPathView;
  const tree = make(store, forest, by, also?.(forest));
  let requests = 0;
  let from = Number.POSITIVE_INFINITY;
  let until = Number.NEGATIVE_INFINITY;
  for (const i of forest.order) {
    if (forest.parent[i]! < 0 && store.onRank[i] !== 1) requests++;
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
  for (const [host, ms] of [...forest.shifted].slice(0, 5)) {
    notes.push(`The clock of ${host} was moved by ${ms.toFixed(1)} ms, so that its spans lie inside their parents.`);
  }
  return notes;
}
