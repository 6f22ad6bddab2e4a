/**
 * Makes points fit for storage, in which every series is written once, in order of time: totals instead of deltas, no point
 * twice or too late, and target_info beside them.
 */
import type { DropReason } from '../../pipeline/component.ts';
import {
  type Attributes,
  gauge,
  isStale,
  type MetricsBatch,
  metricsBatch,
  type NumberPoint,
  type Point,
  type Resource,
  resource,
  type Series,
  scope,
  Temporality,
  type UnixNano,
} from '../../pipeline/model.ts';
import { accumulated } from '../../pipeline/wire/prometheus-text-accumulate.ts';
import { jobAndInstance, type Labeller } from '../../pipeline/wire/prometheus-text-series.ts';
import { isStorable } from '../../pipeline/wire/remote-write.ts';
import type { StoredNames } from '../../pipeline/wire/remote-write-series.ts';

export interface PrepareOptions {
  readonly names: StoredNames;
  readonly labels: Labeller;
  readonly targetInfo: boolean;
  readonly maxSeries: number;
  /** A series that was silent for this long is forgotten. */
  readonly expirationMs: number;
  readonly dropped: (reason: DropReason, what: string) => void;
}

export interface Prepare {
  /** The batch with target_info beside it. */
  withInfo(batch: MetricsBatch, nowMs: number): MetricsBatch;
  /** The points that can be written now; `undo` forgets that they were. */
  batch(points: readonly Point[], nowMs: number, wall: UnixNano): { batch: MetricsBatch; undo(): void };
  expire(nowMs: number): void;
  series(): number;
}

interface State {
  /** Milliseconds, as they are stored. */
  time: number;
  total: Point | undefined;
  seen: number;
}

const NOWHERE = resource({});
const INFO = { ...gauge('target_info', '', 'Target metadata'), metadata: { 'prometheus.type': 'info' } };
const SCOPE = scope('');

/** Whether a series is one that `withInfo` has added (also after it was on disk). */
export const isInfo = ({ metric, scope: by }: Series): boolean => metric.name === INFO.name && by.name === '';

export function prepare(options: PrepareOptions): Prepare {
  const { names, labels, dropped } = options;
  const states = new Map<string, State>();
  const bySeries = new WeakMap<Series, State>();
  const infos = new WeakMap<Resource, { series: Series; identity: string } | 'none'>();
  /** Of each job and instance, the target_info that describes it. */
  const described = new Map<string, { series: Series; text: string; seen: number }>();

  const infoOf = (of: Resource) => {
    let info = infos.get(of);
    if (!info) {
      const made = labels.targetInfo(of);
      if (made) {
        const attributes: Attributes = Object.assign(Object.create(null), Object.fromEntries(made));
        const series = { resource: NOWHERE, scope: SCOPE, metric: INFO, attributes };
        info = { series, identity: jobAndInstance(of).flat().join('\0') };
      } else info = 'none';
      infos.set(of, info);
    }
    return info;
  };

  const info = (of: Resource, time: UnixNano, nowMs: number): Point | undefined => {
    const mine = infoOf(of);
    if (mine === 'none') return undefined;
    const text = JSON.stringify(mine.series.attributes);
    let shown = described.get(mine.identity);
    // Several resources may share job and instance (the ranks of a replica); the first one describes them.
    if (!shown || nowMs - shown.seen > options.expirationMs) {
      shown = { series: mine.series, text, seen: nowMs };
      described.set(mine.identity, shown);
    }
    if (shown.text !== text) return undefined;
    shown.seen = nowMs;
    const point: NumberPoint = { series: shown.series, time, startTime: 0n, flags: 0, value: 1 };
    return point;
  };

  /** What is known of a point's series; undefined (counted) if it cannot be written at all. */
  const stateOf = (point: Point, nowMs: number): State | undefined => {
    let state = bySeries.get(point.series);
    if (!state || state.seen < 0) {
      const { key, name } = names.of(point);
      if (name === '') return void dropped('unsupported', 'a metric without a name');
      state = states.get(key);
      if (!state) {
        if (states.size >= options.maxSeries) return void dropped('limit', key);
        state = { time: Number.NEGATIVE_INFINITY, total: undefined, seen: nowMs };
        states.set(key, state);
      }
      bySeries.set(point.series, state);
    }
    state.seen = nowMs;
    return state;
  };

  const admit = (given: Point, state: State, wall: UnixNano): Point | undefined => {
    if (!isStorable(given)) {
      const { name } = given.series.metric;
      return void dropped('unsupported', `${name}: an exponential histogram coarser than Prometheus knows`);
    }
    let point = given.time === 0n ? { ...given, time: wall } : given;
    const time = Number(point.time / 1_000_000n);
    if (time <= state.time) {
      // target_info comes with every batch of its resources; one that is there already is no loss.
      if (!isInfo(point.series)) {
        dropped(time === state.time ? 'duplicate' : 'stale', names.of(point).key);
      }
      return undefined;
    }
    state.time = time;
    if (point.series.metric.temporality === Temporality.DELTA && !isStale(point)) {
      if (state.total) point = accumulated(state.total, point);
      state.total = point;
    }
    return point;
  };

  return {
    withInfo(batch, nowMs) {
      if (!options.targetInfo) return batch;
      const latest = new Map<Resource, UnixNano>();
      for (const point of batch.items) {
        if (isStale(point)) continue;
        const of = point.series.resource;
        const before = latest.get(of);
        if (before === undefined || point.time > before) latest.set(of, point.time);
      }
      const made = new Map<Series, Point>();
      for (const [of, time] of latest) {
        const point = info(of, time, nowMs);
        const before = point && made.get(point.series);
        if (point && (!before || before.time < point.time)) made.set(point.series, point);
      }
      return made.size === 0 ? batch : metricsBatch([...batch.items, ...made.values()]);
    },
    batch(given, nowMs, wall) {
      const points: Point[] = [];
      const before: [State, number, Point | undefined][] = [];
      for (const one of given) {
        const state = stateOf(one, nowMs);
        if (!state) continue;
        const { time, total } = state;
        const point = admit(one, state, wall);
        if (!point) continue;
        points.push(point);
        before.push([state, time, total]);
      }
      return {
        batch: metricsBatch(points),
        undo() {
          for (const [state, time, total] of before.reverse()) {
            state.time = time;
            state.total = total;
          }
        },
      };
    },
    expire(nowMs) {
      for (const [key, state] of states) {
        if (nowMs - state.seen <= options.expirationMs) continue;
        states.delete(key);
        // Whoever still holds it must ask again.
        state.seen = -1;
      }
      for (const [key, { seen }] of described) if (nowMs - seen > options.expirationMs) described.delete(key);
    },
    series: () => states.size,
  };
}
