/**
 * What verdicts cost: the `bottleneck` processor with all its detectors over made-up clusters of growing size, on a clock that is
 * moved by hand. Engines tell 17 series every five seconds (three of them histograms), GPUs eight series every second; everything
 * is healthy but for one hot GPU, so that findings and an incident are made too. CPU time of all threads per second of
 * the cluster's time, without making the points; memory is the whole process after a collection.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadCatalog } from '../../config/catalog.ts';
import { resolve } from '../../config/schema.ts';
import type { Context } from '../../pipeline/component.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import {
  gauge,
  type Metric,
  metricsBatch,
  nanosFromMs,
  type Point,
  type Resource,
  resource,
  type Series,
  SIGNALS,
  scope,
  sum,
} from '../../pipeline/model.ts';
import { bottleneck } from '../../processors/bottleneck/index.ts';

export interface DetectRow {
  readonly replicas: number;
  readonly gpus: number;
  readonly points: number;
  /** CPU seconds per second of the cluster's time, after the warm-up. */
  readonly core: number;
  readonly mib: number;
  readonly findings: number;
}

const SCOPE = scope('bench');
const BOUNDS = Float64Array.from([0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]);
const bag = (o: object) => Object.assign(Object.create(null), o);

type Make = (time: bigint, t: number) => Point;

function wiggle(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return 1 + 0.04 * (s / 2 ** 32 - 0.5);
  };
}

function series(of: Resource, metric: Metric, at: object = {}): Series {
  return { resource: of, scope: SCOPE, metric, attributes: bag(at) };
}

function engine(id: string, node: string, seed: number): Make[] {
  const of = resource(
    bag({
      'service.name': 'chat',
      'service.instance.id': id,
      'inference.engine': 'vllm',
      'inference.role': 'aggregated',
      'host.name': node,
    }),
  );
  const noise = wiggle(seed);
  const level = (name: string, value: number, at?: object): Make => {
    const s = series(of, gauge(name, '1'), at);
    return (time) => ({ series: s, time, startTime: 0n, flags: 0, value: value * noise() });
  };
  const count = (name: string, perSecond: number, at?: object): Make => {
    const s = series(of, sum(name, '1'), at);
    let value = 0;
    return (time) => {
      value += perSecond * 5 * noise();
      return { series: s, time, startTime: 0n, flags: 0, value };
    };
  };
  const spread = (name: string, mean: number, n: number): Make => {
    const s = series(of, { ...sum(name, 's'), type: 'histogram', monotonic: false } as Metric);
    let total = 0;
    let added = 0;
    const buckets = new Float64Array(BOUNDS.length + 1);
    return (time) => {
      const now = mean * noise();
      let b = 0;
      while (b < BOUNDS.length && now > BOUNDS[b]!) b++;
      buckets[b]! += n;
      total += n;
      added += n * now;
      return {
        series: s,
        time,
        startTime: 0n,
        flags: 0,
        count: total,
        sum: added,
        bounds: BOUNDS,
        bucketCounts: buckets.slice(),
      } as Point;
    };
  };
  return [
    level('up', 1),
    level('inference.requests.running', 20),
    level('inference.requests.waiting', 0),
    level('inference.kv.usage', 0.4),
    level('process.uptime', 90_000),
    count('inference.requests.finished', 2, { finish_reason: 'stop' }),
    count('inference.requests.failed', 0),
    count('inference.preemptions', 0),
    count('inference.tokens.prompt', 2000),
    count('inference.tokens.generated', 400),
    count('inference.prefix_cache.queries', 2000),
    count('inference.prefix_cache.hits', 1000),
    count('process.cpu.time', 0.6),
    count('container.cpu.throttled.time', 0),
    spread('inference.inter_token.latency', 0.02, 200),
    spread('gen_ai.server.time_to_first_token', 0.3, 10),
    spread('gen_ai.server.request.duration', 2.2, 10),
  ];
}

function gpu(id: string, replica: string, node: string, rank: number, seed: number, hot: boolean): Make[] {
  const of = resource(
    bag({
      'hw.id': id,
      'hw.model': 'H100',
      'host.name': node,
      'service.name': 'chat',
      'service.instance.id': replica,
      'inference.rank': rank,
    }),
  );
  const noise = wiggle(seed);
  const level = (name: string, value: (t: number) => number, at?: object): Make => {
    const s = series(of, gauge(name, '1'), at);
    return (time, t) => ({ series: s, time, startTime: 0n, flags: 0, value: value(t) });
  };
  const grown = (name: string, perSecond: (t: number) => number, at?: object): Make => {
    const s = series(of, sum(name, '1'), at);
    let value = 0;
    return (time, t) => {
      value += perSecond(t);
      return { series: s, time, startTime: 0n, flags: 0, value };
    };
  };
  const ill = (t: number) => hot && t >= 60;
  return [
    level('hw.gpu.clock', (t) => (ill(t) ? 1.4e9 : 1.95e9) * noise(), { clock: 'sm' }),
    level('hw.gpu.clock', () => 2.6e9, { clock: 'memory' }),
    level('hw.gpu.utilization', () => 0.9 * noise()),
    level('hw.temperature', (t) => (ill(t) ? 91 : 62) * noise()),
    level('hw.power', () => 600 * noise()),
    level('hw.gpu.memory.usage', () => 7e10),
    grown('hw.gpu.throttle', (t) => (ill(t) ? 0.6 : 0), { reason: 'thermal' }),
    grown('hw.errors', () => 0, { 'error.type': 'uncorrected' }),
  ];
}

function memoryMib(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().rss / 2 ** 20;
}

const ownCpu = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** One cluster for `seconds` of its time, the first `warmUp` not measured. */
export async function benchDetect(
  replicas: number,
  gpusEach: number,
  seconds: number,
  warmUp: number,
): Promise<DetectRow> {
  const clock = manualClock(Date.parse('2026-05-01T12:00:00Z'));
  const context: Context = {
    id: 'bottleneck',
    kind: 'processor',
    log: createLogger({ clock, level: 'error' }),
    clock,
    catalog: loadCatalog(),
    signals: new Set(SIGNALS),
    status() {},
    meter: { counter: () => ({ add() {} }), gauge() {}, dropped() {}, sent() {}, failed() {} },
  };
  let findings = 0;
  const stage = await bottleneck.start(
    resolve(bottleneck.config, {}),
    {
      consume(batch) {
        if (batch.signal === 'logs') findings += batch.items.length;
      },
    },
    context,
  );
  const engines: Make[][] = [];
  const gpus: Make[][] = [];
  for (let r = 0; r < replicas; r++) {
    const node = `node${Math.floor((r * gpusEach) / 8)}`;
    engines.push(engine(`r${r}`, node, r + 1));
    for (let g = 0; g < gpusEach; g++)
      gpus.push(gpu(`GPU-${r}-${g}`, `r${r}`, node, g, r * 64 + g + 7, r === 0 && g === 0));
  }
  let spent = 0;
  let points = 0;
  for (let t = 0; t < seconds; t++) {
    const time = nanosFromMs(clock.now());
    // As from scrapes: one batch per engine, its turn within its five seconds; one per node's exporter every second.
    const batches: Point[][] = [];
    engines.forEach((e, i) => {
      if ((t + i) % 5 === 0) batches.push(e.map((make) => make(time, t)));
    });
    for (let i = 0; i < gpus.length; i += 8)
      batches.push(gpus.slice(i, i + 8).flatMap((g) => g.map((make) => make(time, t))));
    const before = ownCpu();
    for (const b of batches) await stage.consume(metricsBatch(b));
    await clock.advance(1000);
    if (t >= warmUp) {
      spent += ownCpu() - before;
      points += batches.reduce((n, b) => n + b.length, 0);
    }
  }
  const mib = memoryMib();
  await stage.stop();
  const measured = seconds - warmUp;
  return { replicas, gpus: gpus.length, points: points / measured, core: spent / measured, mib, findings };
}

export const SIZES: readonly (readonly [replicas: number, gpusEach: number, seconds: number, warmUp: number])[] = [
  [8, 4, 900, 300],
  [100, 8, 180, 60],
  [1000, 8, 120, 45],
];

export function detectHead(): string {
  return `  ${'replicas'.padStart(8)}${'GPUs'.padStart(8)}${'points/s'.padStart(10)}${'% of a core'.padStart(13)}${'µs/GPU s'.padStart(10)}${'MiB'.padStart(8)}`;
}

export function detectLine(r: DetectRow): string {
  return `  ${String(r.replicas).padStart(8)}${String(r.gpus).padStart(8)}${String(Math.round(r.points)).padStart(10)}${(r.core * 100).toFixed(1).padStart(13)}${((r.core * 1e6) / r.gpus).toFixed(0).padStart(10)}${r.mib.toFixed(0).padStart(8)}`;
}
