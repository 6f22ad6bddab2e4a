/** Rows of the live view out of the history of the neutral signals: one per replica, one per GPU. */
import type { LiveGpu, LiveReplica } from './live-types.ts';
import type { ReportTopology } from './report.ts';
import type { History, Line } from './report-series.ts';
import { cleanId } from './topology.ts';

type Sum = 'add' | 'most' | 'mean';
type Numbers = Record<string, number | null>;

/** Which signal gives which number, and how the lines of one thing come together. */
const REPLICA: readonly (readonly [field: string, signal: string, how: Sum])[] = [
  ['running', 'inference.requests.running', 'add'],
  ['waiting', 'inference.requests.waiting', 'add'],
  ['kv', 'inference.kv.usage', 'most'],
  ['prompt_rate', 'inference.tokens.prompt', 'add'],
  ['output_rate', 'inference.tokens.generated', 'add'],
  ['queue', 'inference.request.queue.duration', 'mean'],
  ['prefill', 'inference.request.prefill.duration', 'mean'],
  ['transfer', 'inference.kv.transfer.duration', 'mean'],
  ['decode', 'inference.request.decode.duration', 'mean'],
];
const GPU: readonly (readonly [field: string, signal: string, how: Sum])[] = [
  ['utilization', 'hw.gpu.utilization', 'most'],
  ['clock', 'hw.gpu.clock', 'most'],
  ['power', 'hw.power', 'most'],
  ['power_limit', 'hw.power.limit', 'most'],
  ['temperature', 'hw.temperature', 'most'],
  ['memory_used', 'hw.gpu.memory.usage', 'most'],
  ['memory_limit', 'hw.gpu.memory.limit', 'most'],
  ['link_errors', 'hw.gpu.link.errors', 'add'],
  ['io', 'hw.gpu.io', 'add'],
];
const TREND: readonly (readonly ['ttft' | 'itl', string])[] = [
  ['ttft', 'gen_ai.server.time_to_first_token'],
  ['itl', 'inference.inter_token.latency'],
];
const TREND_BUCKETS = 40;

/** What looks at the same thing otherwise: not to be added to the rest. */
function isPlain(line: Line): boolean {
  const { attributes: a, metric } = line;
  if ('statistic' in a || 'endpoint' in a || 'stage' in a || 'limit_type' in a || 'hw.gpu.task' in a) return false;
  if ('tier' in a && !/^(gpu|device|hbm|g1|l1)$/i.test(String(a['tier']))) return false;
  if (metric.name === 'hw.gpu.clock') return !('clock' in a) || /^(sm|graphics)$/i.test(String(a['clock']));
  if (metric.name === 'hw.temperature') return !/mem|hbm|junction/i.test(String(a['hw.sensor_location'] ?? ''));
  return true;
}

interface Reader {
  /** The newest value of the last minute; for a mean, the mean of that minute. */
  of(line: Line, how: Sum): number | undefined;
  trend(line: Line): (number | null)[];
}

function reader(history: History, nowMs: number): Reader {
  const { startMs, stepMs, count } = history.span();
  const newest = Math.min(count - 1, Math.floor((nowMs - startMs) / stepMs));
  const oldest = Math.max(0, newest - Math.ceil(60_000 / stepMs));
  return {
    of(line, how) {
      const values = line.values();
      let sum = 0;
      let n = 0;
      for (let i = newest; i >= oldest; i--) {
        const value = values[i]!;
        if (Number.isNaN(value)) continue;
        if (how !== 'mean') return value;
        sum += value;
        n++;
      }
      return n === 0 ? undefined : sum / n;
    },
    trend(line) {
      const values = line.values();
      const from = Math.max(0, newest + 1 - TREND_BUCKETS);
      return Array.from(values.subarray(from, newest + 1), (v) => (Number.isNaN(v) ? null : short(v)));
    },
  };
}

/** Four digits are enough for an eye, and a third of the bytes. */
const short = (n: number): number => Number(n.toPrecision(4));

function gather(
  history: History,
  read: Reader,
  table: typeof REPLICA,
  keyOf: (line: Line) => string | undefined,
  meet: (key: string, line: Line) => void,
): Map<string, Numbers> {
  const rows = new Map<string, Numbers>();
  for (const [field, signal, how] of table) {
    const counts = new Map<string, number>();
    for (const line of history.lines(signal)) {
      const key = keyOf(line);
      if (key === undefined || !isPlain(line)) continue;
      const value = read.of(line, how);
      if (value === undefined) continue;
      meet(key, line);
      let row = rows.get(key);
      if (!row) {
        row = {};
        rows.set(key, row);
      }
      const n = (counts.get(key) ?? 0) + 1;
      counts.set(key, n);
      const before = row[field] ?? null;
      if (before === null) row[field] = value;
      else if (how === 'add') row[field] = before + value;
      else if (how === 'most') row[field] = Math.max(before, value);
      else row[field] = before + (value - before) / n;
    }
  }
  return rows;
}

const numberOf = (row: Numbers, field: string): number | null => {
  const value = row[field];
  return value === undefined || value === null ? null : short(value);
};

export type ReplicaRow = Omit<LiveReplica, 'up' | 'ttft_p50' | 'ttft_p95' | 'itl_p50' | 'itl_p95' | 'trouble'>;

/** Replicas, routers and frontends of which a signal was heard within a minute, by name. */
export function replicaRows(history: History, topology: ReportTopology, nowMs: number): ReplicaRow[] {
  const read = reader(history, nowMs);
  const ids = new Map<string, Line>();
  const meet = (key: string, line: Line) => {
    if (!ids.has(key)) ids.set(key, line);
  };
  const rows = gather(history, read, REPLICA, (line) => line.ids.replica, meet);
  const trends = new Map<string, { ttft: (number | null)[]; itl: (number | null)[] }>();
  for (const [field, signal] of TREND) {
    for (const line of history.lines(signal)) {
      const key = line.ids.replica;
      if (key === undefined || !rows.has(key)) continue;
      let trend = trends.get(key);
      if (!trend) {
        trend = { ttft: [], itl: [] };
        trends.set(key, trend);
      }
      if (trend[field].length === 0) trend[field] = read.trend(line);
    }
  }
  const known = new Map(topology.replicas.map((r) => [r.id, r]));
  return [...rows]
    .map(([id, row]) => {
      const name = cleanId(id);
      const about = known.get(name);
      const line = ids.get(id)!;
      return {
        id: name,
        service: about?.service ?? named(line.ids.service),
        engine: about?.engine ?? null,
        role: about?.role ?? named(line.ids.role),
        model: about?.model ?? null,
        node: about?.nodes[0] ?? named(line.ids.node),
        running: numberOf(row, 'running'),
        waiting: numberOf(row, 'waiting'),
        kv: numberOf(row, 'kv'),
        phases: {
          queue: numberOf(row, 'queue'),
          prefill: numberOf(row, 'prefill'),
          transfer: numberOf(row, 'transfer'),
          decode: numberOf(row, 'decode'),
        },
        prompt_rate: numberOf(row, 'prompt_rate'),
        output_rate: numberOf(row, 'output_rate'),
        trend: trends.get(id) ?? { ttft: [], itl: [] },
      };
    })
    .sort((a, b) => byName(a.id, b.id));
}

export type GpuRow = Omit<LiveGpu, 'trouble'>;

/** GPUs of which a signal was heard within a minute, by node and index. */
export function gpuRows(history: History, topology: ReportTopology, nowMs: number): GpuRow[] {
  const read = reader(history, nowMs);
  const ids = new Map<string, Line>();
  const meet = (key: string, line: Line) => {
    if (!ids.has(key)) ids.set(key, line);
  };
  const rows = gather(history, read, GPU, (line) => line.ids.gpu, meet);
  const held = new Map<string, { share: number; most: number; reason: string }>();
  for (const line of history.lines('hw.gpu.throttle')) {
    const key = line.ids.gpu;
    const share = key === undefined ? undefined : read.of(line, 'most');
    const reason = String(line.attributes['reason'] ?? '');
    // An idle GPU's clock is down by its own will.
    if (key === undefined || share === undefined || /idle/i.test(reason)) continue;
    const one = held.get(key);
    if (!one) held.set(key, { share, most: share, reason });
    else if (share > one.most) held.set(key, { share: Math.max(one.share, share), most: share, reason });
  }
  const known = new Map(topology.gpus.map((g) => [g.id, g]));
  return [...rows]
    .map(([id, row]) => {
      const name = cleanId(id);
      const about = known.get(name);
      const throttle = held.get(id);
      return {
        id: name,
        index: about?.index ?? null,
        node: about?.node ?? named(ids.get(id)?.ids.node),
        replica: about?.replica ?? null,
        rank: about?.rank ?? null,
        model: about?.model ?? null,
        utilization: numberOf(row, 'utilization'),
        clock: numberOf(row, 'clock'),
        power: numberOf(row, 'power'),
        power_limit: numberOf(row, 'power_limit'),
        temperature: numberOf(row, 'temperature'),
        memory_used: numberOf(row, 'memory_used'),
        memory_limit: numberOf(row, 'memory_limit'),
        throttle: throttle ? short(Math.min(1, throttle.share)) : null,
        throttle_reason: throttle && throttle.share > 0 ? cleanId(throttle.reason) : null,
        link_errors: numberOf(row, 'link_errors'),
        io: numberOf(row, 'io'),
      };
    })
    .sort((a, b) => byName(a.node ?? '', b.node ?? '') || (a.index ?? 0) - (b.index ?? 0) || byName(a.id, b.id));
}

/** As the topology writes it: a name of 10⁵ characters is not sent to everybody, again and again. */
const named = (text: string | undefined): string | null => (text === undefined ? null : cleanId(text));

const NAMES = new Intl.Collator('en', { numeric: true });
const byName = (a: string, b: string): number => NAMES.compare(a, b);
