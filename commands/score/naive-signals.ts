/**
 * What a naive method looks at: the neutral signals that somebody would put on a dashboard, per replica, GPU, node and
 * router, in bins of 15 seconds, each with the cause that it is commonly blamed on.
 */
import {
  type Batch,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  msFromNanos,
  type Point,
  type Series,
} from '../../pipeline/model.ts';

export interface NaiveRow {
  readonly signal: string;
  /** Divided by this signal of the same entity. */
  readonly over?: string;
  readonly on: 'replica' | 'gpu' | 'node' | 'router';
  /** Only series with these attributes; a list allows any of its values. */
  readonly where?: Readonly<Record<string, readonly string[]>>;
  readonly combine: 'sum' | 'max' | 'mean';
  /** The cause that it is blamed on. */
  readonly blames: string;
  /** 1: more is worse; -1: less is worse. */
  readonly sense: 1 | -1;
  /** A static threshold that people use for it. */
  readonly limit?: number;
  /** Least deviation that is no noise, in the signal's unit. */
  readonly floor: number;
  /** It is what users feel, so it triggers an analysis and is no cause. */
  readonly sli?: true;
}

export const NAIVE_ROWS: readonly NaiveRow[] = [
  {
    signal: 'gen_ai.server.time_to_first_token',
    on: 'replica',
    combine: 'sum',
    blames: 'replica-outlier',
    sense: 1,
    floor: 0.02,
    sli: true,
  },
  {
    signal: 'inference.inter_token.latency',
    on: 'replica',
    combine: 'sum',
    blames: 'replica-outlier',
    sense: 1,
    floor: 0.001,
    sli: true,
  },
  { signal: 'up', on: 'replica', combine: 'max', blames: 'replica-unavailable', sense: -1, limit: 0.5, floor: 0.1 },
  {
    signal: 'inference.kv.usage',
    on: 'replica',
    combine: 'max',
    blames: 'kv-saturation',
    sense: 1,
    limit: 0.85,
    floor: 0.02,
  },
  {
    signal: 'inference.requests.waiting',
    over: 'inference.requests.running',
    on: 'replica',
    combine: 'sum',
    blames: 'queue-saturation',
    sense: 1,
    limit: 1,
    floor: 0.1,
  },
  {
    signal: 'inference.request.queue.duration',
    on: 'replica',
    combine: 'sum',
    blames: 'queue-saturation',
    sense: 1,
    floor: 0.02,
  },
  {
    signal: 'inference.request.prefill.duration',
    on: 'replica',
    combine: 'sum',
    blames: 'prefill-bound',
    sense: 1,
    floor: 0.02,
  },
  {
    signal: 'inference.preemptions',
    on: 'replica',
    combine: 'sum',
    blames: 'preemption-thrash',
    sense: 1,
    limit: 0.1,
    floor: 0.02,
  },
  {
    signal: 'inference.prefix_cache.hits',
    over: 'inference.prefix_cache.queries',
    on: 'replica',
    combine: 'sum',
    blames: 'prefix-cache-collapse',
    sense: -1,
    limit: 0.2,
    floor: 0.03,
  },
  {
    signal: 'inference.tokens.generated',
    on: 'replica',
    combine: 'sum',
    blames: 'replica-outlier',
    sense: -1,
    floor: 20,
  },
  {
    signal: 'inference.requests.running',
    on: 'replica',
    combine: 'sum',
    blames: 'router-imbalance',
    sense: 1,
    floor: 2,
  },
  {
    signal: 'inference.request.prompt.tokens',
    on: 'replica',
    combine: 'sum',
    blames: 'workload-shift',
    sense: 1,
    floor: 100,
  },
  {
    signal: 'inference.kv.transfer.duration',
    on: 'replica',
    combine: 'sum',
    blames: 'kv-transfer-bound',
    sense: 1,
    floor: 0.005,
  },
  {
    signal: 'inference.kv.transfer.failures',
    on: 'replica',
    combine: 'sum',
    blames: 'kv-transfer-failure',
    sense: 1,
    limit: 0.01,
    floor: 0.01,
  },
  {
    signal: 'inference.spec.tokens.accepted',
    over: 'inference.spec.tokens.drafted',
    on: 'replica',
    combine: 'sum',
    blames: 'spec-decode-regression',
    sense: -1,
    limit: 0.4,
    floor: 0.03,
  },
  {
    signal: 'inference.structured.compile.duration',
    on: 'replica',
    combine: 'sum',
    blames: 'grammar-bound',
    sense: 1,
    floor: 0.02,
  },
  {
    signal: 'inference.kv.offload.duration',
    on: 'replica',
    combine: 'sum',
    blames: 'kv-offload-bound',
    sense: 1,
    floor: 0.01,
  },
  { signal: 'process.cpu.time', on: 'replica', combine: 'sum', blames: 'host-bound', sense: 1, floor: 0.2 },
  {
    signal: 'inference.router.decision.duration',
    on: 'router',
    combine: 'sum',
    blames: 'router-overhead',
    sense: 1,
    floor: 0.002,
  },
  {
    signal: 'hw.temperature',
    on: 'gpu',
    where: { 'hw.sensor_location': ['gpu', 'junction', 'edge', 'hotspot'] },
    combine: 'max',
    blames: 'thermal-throttle',
    sense: 1,
    limit: 80,
    floor: 2,
  },
  {
    signal: 'hw.gpu.throttle',
    on: 'gpu',
    where: { reason: ['thermal', 'hw_thermal', 'sw_thermal'] },
    combine: 'sum',
    blames: 'thermal-throttle',
    sense: 1,
    floor: 0.02,
  },
  {
    signal: 'hw.gpu.throttle',
    on: 'gpu',
    where: { reason: ['power', 'power_brake', 'hw_power_brake', 'sw_power'] },
    combine: 'sum',
    blames: 'power-throttle',
    sense: 1,
    limit: 0.05,
    floor: 0.02,
  },
  {
    signal: 'hw.gpu.clock',
    on: 'gpu',
    where: { clock: ['sm', 'gfx', 'system'] },
    combine: 'mean',
    blames: 'clock-anomaly',
    sense: -1,
    floor: 20e6,
  },
  { signal: 'hw.gpu.utilization', on: 'gpu', combine: 'max', blames: 'host-bound', sense: -1, limit: 0.5, floor: 0.05 },
  { signal: 'hw.errors', on: 'gpu', combine: 'sum', blames: 'gpu-hw-fault', sense: 1, limit: 1e-9, floor: 0.01 },
  {
    signal: 'hw.gpu.link.errors',
    on: 'gpu',
    combine: 'sum',
    blames: 'nvlink-degradation',
    sense: 1,
    limit: 0.1,
    floor: 0.05,
  },
  { signal: 'hw.gpu.io', on: 'gpu', combine: 'sum', blames: 'pcie-degradation', sense: -1, floor: 50e6 },
  { signal: 'system.cpu.wait.time', on: 'node', combine: 'sum', blames: 'noisy-neighbour-host', sense: 1, floor: 0.3 },
  {
    signal: 'system.network.errors',
    on: 'node',
    combine: 'sum',
    blames: 'nic-degradation',
    sense: 1,
    limit: 1,
    floor: 0.5,
  },
];

export const BIN_S = 15;

export interface NaiveEntity {
  readonly kind: string;
  readonly id: string;
  readonly replica: string;
  readonly node: string;
}

/** One row of one entity over time; NaN where nothing is known. */
export interface Track {
  readonly row: NaiveRow;
  readonly entity: NaiveEntity;
  readonly values: Float64Array;
}

interface Channel {
  readonly signal: string;
  readonly entity: NaiveEntity;
  readonly attributes: Series['attributes'];
  readonly fold: 'last' | 'rate' | 'mean';
  readonly at: number[];
  readonly value: number[];
  readonly count: number[];
}

const SIGNALS = new Set(NAIVE_ROWS.flatMap((r) => (r.over ? [r.signal, r.over] : [r.signal])));

export interface NaiveSignals {
  see(batch: Batch): void;
  nodes(): number;
  series(): number;
  /** All tracks from `startMs` on, `bins` long. */
  tracks(startMs: number, bins: number): Track[];
}

/** Keeps what the rows need of everything that passes. */
export function naiveSignals(): NaiveSignals {
  const channels = new WeakMap<Series, Channel | null>();
  const all: Channel[] = [];
  const nodes = new Set<unknown>();
  let series = 0;
  const channelOf = (s: Series): Channel | null => {
    const known = channels.get(s);
    if (known !== undefined) return known;
    series++;
    const node = s.resource.attributes['host.name'];
    if (node !== undefined) nodes.add(node);
    const entity = SIGNALS.has(s.metric.name) ? entityOf(s) : undefined;
    const made: Channel | null = entity
      ? {
          signal: s.metric.name,
          entity,
          attributes: s.attributes,
          fold:
            s.metric.type === 'histogram' ? 'mean' : s.metric.type === 'sum' && s.metric.monotonic ? 'rate' : 'last',
          at: [],
          value: [],
          count: [],
        }
      : null;
    channels.set(s, made);
    if (made) all.push(made);
    return made;
  };
  const add = (point: Point) => {
    const channel = channelOf(point.series);
    if (!channel || isStale(point)) return;
    if (isNumberPoint(point)) {
      channel.value.push(Number(point.value));
      channel.count.push(0);
    } else if (isHistogramPoint(point)) {
      channel.value.push(point.sum ?? 0);
      channel.count.push(Number(point.count));
    } else return;
    channel.at.push(msFromNanos(point.time));
  };
  return {
    see(batch) {
      if (batch.signal === 'metrics') for (const point of batch.items) add(point);
    },
    nodes: () => nodes.size,
    series: () => series,
    tracks(startMs, bins) {
      const out: Track[] = [];
      for (const row of NAIVE_ROWS) {
        const own = group(all.filter((c) => fits(c, row, row.signal)));
        const below = row.over === undefined ? undefined : group(all.filter((c) => fits(c, row, row.over!)));
        for (const [key, members] of own) {
          const values = combined(members, row.combine, startMs, bins);
          if (below) {
            const others = below.get(key);
            if (!others) continue;
            const divisor = combined(others, row.combine, startMs, bins);
            for (let i = 0; i < bins; i++) values[i] = divisor[i]! > 0 ? values[i]! / divisor[i]! : Number.NaN;
          }
          out.push({ row, entity: members[0]!.entity, values });
        }
      }
      return out;
    },
  };
}

const fits = (c: Channel, row: NaiveRow, signal: string): boolean =>
  c.signal === signal &&
  c.entity.kind === row.on &&
  Object.entries(row.where ?? {}).every(([k, allowed]) => allowed.includes(String(c.attributes[k] ?? '')));

function group(channels: readonly Channel[]): Map<string, Channel[]> {
  const out = new Map<string, Channel[]>();
  for (const c of channels) {
    const members = out.get(c.entity.id);
    if (members) members.push(c);
    else out.set(c.entity.id, [c]);
  }
  return out;
}

function entityOf(s: Series): NaiveEntity | undefined {
  const of = (key: string): string => String(s.attributes[key] ?? s.resource.attributes[key] ?? '');
  const node = of('host.name');
  const replica = of('service.instance.id');
  if (s.metric.name.startsWith('hw.')) {
    const id = of('hw.id');
    return id === '' ? undefined : { kind: 'gpu', id, replica, node };
  }
  if (s.metric.name.startsWith('system.'))
    return node === '' ? undefined : { kind: 'node', id: node, replica: '', node };
  if (replica === '' || of('service.name') === '') return undefined;
  const role = of('inference.role');
  const kind = role === 'router' || role === 'frontend' ? 'router' : 'replica';
  return { kind, id: replica, replica: kind === 'replica' ? replica : '', node };
}

/** Channels of one entity as one row of bins: rates and means over two bins, gauges as they last were. */
function combined(channels: readonly Channel[], how: NaiveRow['combine'], startMs: number, bins: number): Float64Array {
  const out = new Float64Array(bins).fill(Number.NaN);
  const sums = new Float64Array(bins);
  const counts = new Float64Array(bins);
  for (const c of channels) {
    const last = indexes(c.at, startMs, bins);
    for (let b = 2; b < bins; b++) {
      const now = last[b]!;
      const then = last[b - 2]!;
      if (now < 0) continue;
      let v = c.value[now]!;
      if (c.fold !== 'last') {
        if (then < 0 || then === now || c.value[now]! < c.value[then]!) continue;
        v = (c.value[now]! - c.value[then]!) / ((c.at[now]! - c.at[then]!) / 1000);
        if (c.fold === 'mean') {
          sums[b]! += c.value[now]! - c.value[then]!;
          counts[b]! += c.count[now]! - c.count[then]!;
          continue;
        }
      } else if (startMs + (b + 1) * BIN_S * 1000 - c.at[now]! > 60_000) continue;
      const old = out[b]!;
      out[b] = Number.isNaN(old) ? v : how === 'max' ? Math.max(old, v) : how === 'mean' ? (old + v) / 2 : old + v;
    }
  }
  for (let b = 0; b < bins; b++) if (counts[b]! > 0) out[b] = sums[b]! / counts[b]!;
  return out;
}

/** Index of the last sample at or before the end of every bin; -1 before the first. */
function indexes(at: readonly number[], startMs: number, bins: number): Int32Array {
  const out = new Int32Array(bins);
  let i = -1;
  for (let b = 0; b < bins; b++) {
    const end = startMs + (b + 1) * BIN_S * 1000;
    while (i + 1 < at.length && at[i + 1]! <= end) i++;
    out[b] = i;
  }
  return out;
}
