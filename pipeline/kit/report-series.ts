/**
 * What the neutral signals did over time, kept small: every series is a row of buckets with a mean (gauges), a rate
 * (counters) or a mean per observation (histograms). For the charts of a report.
 */
import {
  type Attributes,
  type Batch,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  isSummaryPoint,
  type Metric,
  msFromNanos,
  type Point,
  type Series,
  Temporality,
} from '../model.ts';
import { CHANGE_EVENT } from './verdict.ts';

/** Which things a series is about; a report asks by these. */
export interface LineIds {
  readonly gpu: string | undefined;
  readonly nic: string | undefined;
  readonly replica: string | undefined;
  readonly node: string | undefined;
  readonly service: string | undefined;
  readonly role: string | undefined;
}

/** How the buckets of a line are to be read. */
export type LineKind = 'level' | 'rate' | 'mean';

export interface Line {
  readonly metric: Metric;
  readonly attributes: Attributes;
  readonly ids: LineIds;
  readonly kind: LineKind;
  /** One value per bucket of the history; NaN where nothing was seen. */
  values(): Float64Array;
}

/** Something that happened outside: a deploy, a restart. */
export interface ChangeMark {
  readonly timeMs: number;
  readonly what: string;
}

export interface History {
  add(batch: Batch): void;
  lines(signal: string): readonly Line[];
  changes(): readonly ChangeMark[];
  /** The beginning of the first bucket and the width of all, milliseconds; `count` buckets have been begun. */
  span(): { readonly startMs: number; readonly stepMs: number; readonly count: number };
}

export interface HistoryOptions {
  /** Width of a bucket, milliseconds. */
  readonly stepMs?: number;
  readonly buckets?: number;
  /**
   * What happens after the last bucket: `grow` doubles the width, so that all of a recording fits; `slide` forgets the oldest,
   * for a daemon.
   */
  readonly full: 'grow' | 'slide';
  /** Most series kept; more are not drawn. */
  readonly lines?: number;
}

const NEUTRAL = /^(inference|gen_ai|hw|system|process|container|k8s|http)\./;
const MAX_CHANGES = 200;
/** Longer than a pause in a recording is. */
const MAX_GAP_MS = 86_400_000;
/** Attributes that split a signal too finely to be drawn. */
const TOO_FINE = ['cpu.logical_number', 'le', 'quantile'];

interface Row extends Line {
  readonly sums: Float32Array;
  readonly weights: Float32Array;
  last: number;
  lastWeight: number;
  lastMs: number;
}

/** Keeps what passes. */
export function createHistory(options: HistoryOptions): History {
  const size = options.buckets ?? 180;
  const limit = options.lines ?? 8_000;
  let stepMs = options.stepMs ?? (options.full === 'grow' ? 5_000 : 10_000);
  let startMs = Number.NaN;
  let count = 0;
  const rows = new Map<string, Row>();
  const bySignal = new Map<string, Row[]>();
  /** A series that a processor renamed goes on in the row it had: rows are found by what they say. */
  const bySeries = new WeakMap<Series, Row | null>();
  const marks: ChangeMark[] = [];

  const open = (series: Series): Row | null => {
    const { metric, attributes } = series;
    if (!NEUTRAL.test(metric.name) || metric.name.endsWith('.info')) return null;
    for (const name of TOO_FINE) if (name in attributes) return null;
    const about = series.resource.attributes;
    const id = (...names: string[]) => {
      for (const name of names) {
        const value = attributes[name] ?? about[name];
        if (typeof value === 'string' && value !== '') return value;
      }
      return undefined;
    };
    const ids: LineIds = {
      gpu: id('hw.id'),
      nic: id('hw.nic.device', 'network.interface.name'),
      replica: id('service.instance.id'),
      node: id('host.name', 'k8s.node.name'),
      service: id('service.name'),
      role: id('inference.role'),
    };
    const key = JSON.stringify([metric.name, ids.gpu ?? [ids.replica, ids.node], ids.nic, plain(attributes)]);
    const known = rows.get(key);
    if (known) return known;
    if (rows.size >= limit) return null;
    const sums = new Float32Array(size);
    const weights = new Float32Array(size);
    const row: Row = {
      metric,
      attributes,
      ids,
      kind: metric.type === 'gauge' ? 'level' : metric.type === 'sum' ? (metric.monotonic ? 'rate' : 'level') : 'mean',
      sums,
      weights,
      last: Number.NaN,
      lastWeight: 0,
      lastMs: 0,
      values() {
        const out = new Float64Array(count);
        for (let i = 0; i < count; i++) out[i] = weights[i]! > 0 ? sums[i]! / weights[i]! : Number.NaN;
        return out;
      },
    };
    rows.set(key, row);
    const list = bySignal.get(metric.name);
    if (list) list.push(row);
    else bySignal.set(metric.name, [row]);
    return row;
  };

  /** The bucket of a time; negative when it is too early to be kept. */
  const bucketOf = (ms: number): number => {
    if (Number.isNaN(startMs)) startMs = Math.floor(ms / stepMs) * stepMs;
    let at = Math.floor((ms - startMs) / stepMs);
    if (at < 0) return -1;
    if (at >= size) {
      if (options.full === 'grow') {
        // A time far off (a broken clock) must not press everything else into one bucket.
        if ((at - count) * stepMs > MAX_GAP_MS) return -1;
        while (at >= size) {
          for (const row of rows.values()) halve(row);
          stepMs *= 2;
          count = Math.ceil(count / 2);
          at = Math.floor((ms - startMs) / stepMs);
        }
      } else {
        const by = Math.max(at - size + 1, size >> 2);
        for (const row of rows.values()) slide(row, by);
        startMs += by * stepMs;
        count = Math.max(0, count - by);
        at -= by;
      }
    }
    if (at >= count) count = at + 1;
    return at;
  };

  const put = (row: Row, ms: number, sum: number, weight: number) => {
    const at = bucketOf(ms);
    if (at < 0 || !Number.isFinite(sum) || !(weight > 0)) return;
    row.sums[at]! += sum;
    row.weights[at]! += weight;
  };

  const point = (p: Point) => {
    let row = bySeries.get(p.series);
    if (row === undefined) {
      row = open(p.series);
      bySeries.set(p.series, row);
    }
    if (row === null || isStale(p)) return;
    const ms = msFromNanos(p.time);
    if (row.kind === 'level') {
      if (isNumberPoint(p)) put(row, ms, Number(p.value), 1);
      return;
    }
    let value: number;
    let weight = 0;
    if (isNumberPoint(p)) value = Number(p.value);
    else if (isHistogramPoint(p) || isExponentialHistogramPoint(p) || isSummaryPoint(p)) {
      value = p.sum ?? Number.NaN;
      weight = Number(p.count);
    } else return;
    const { last, lastWeight, lastMs } = row;
    row.last = value;
    row.lastWeight = weight;
    row.lastMs = ms;
    if (row.metric.temporality === Temporality.DELTA) {
      put(row, ms, value, row.kind === 'mean' ? weight : Math.max(1, ms - msFromNanos(p.startTime)) / 1000);
      return;
    }
    if (Number.isNaN(last) || ms <= lastMs) return;
    // A counter that went down began again.
    if (row.kind === 'rate') put(row, ms, value < last ? value : value - last, (ms - lastMs) / 1000);
    else if (weight > lastWeight) put(row, ms, value - last, weight - lastWeight);
  };

  return {
    add(batch) {
      if (batch.signal === 'metrics') for (const p of batch.items) point(p);
      else if (batch.signal === 'logs') {
        for (const r of batch.items) {
          if (r.eventName !== CHANGE_EVENT) continue;
          if (marks.length >= MAX_CHANGES) marks.shift();
          marks.push({ timeMs: msFromNanos(r.time), what: String(r.attributes['change.kind'] ?? r.body) });
        }
      }
    },
    lines: (signal) => bySignal.get(signal) ?? [],
    changes: () => marks,
    span: () => ({ startMs: Number.isNaN(startMs) ? 0 : startMs, stepMs, count }),
  };
}

function halve({ sums, weights }: Row): void {
  const half = Math.ceil(sums.length / 2);
  for (let i = 0; i < half; i++) {
    sums[i] = sums[2 * i]! + (sums[2 * i + 1] ?? 0);
    weights[i] = weights[2 * i]! + (weights[2 * i + 1] ?? 0);
  }
  sums.fill(0, half);
  weights.fill(0, half);
}

function slide({ sums, weights }: Row, by: number): void {
  for (const list of [sums, weights]) {
    if (by < list.length) list.copyWithin(0, by);
    list.fill(0, Math.max(0, list.length - by));
  }
}

/** Attributes as comparable text. */
export function plain(attributes: Attributes): string {
  const parts: string[] = [];
  for (const name in attributes) parts.push(`${name}=${String(attributes[name])}`);
  return parts.sort().join('\n');
}
