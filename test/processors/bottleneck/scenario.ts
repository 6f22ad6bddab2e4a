/** A small hand-made fleet for tests: says what every entity shows at a time, runs the processor on a moved clock. */
import { resolve } from '../../../config/schema.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  type Finding,
  findingOf,
  type Incident,
  type Insufficient,
  incidentOf,
  insufficientOf,
} from '../../../pipeline/kit/verdict.ts';
import {
  type AnyValue,
  gauge,
  logsBatch,
  type Metric,
  metricsBatch,
  NO_ATTRIBUTES,
  nanosFromMs,
  type Point,
  type Resource,
  resource,
  type Series,
  type Span,
  scope,
  sum,
  tracesBatch,
} from '../../../pipeline/model.ts';
import { bottleneck } from '../../../processors/bottleneck/index.ts';
import { sink, testContext } from '../../kit/harness.ts';

const SCOPE = scope('test');

export const attributes = (o: Record<string, AnyValue>): Record<string, AnyValue> =>
  Object.assign(Object.create(null), o);

/** A seeded generator: `next()` in 0..1, `normal()` standard normal. */
export function random(seed: number): { next(): number; normal(): number } {
  let s = seed >>> 0;
  const next = () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = s;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { next, normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()) };
}

export const ITL_BOUNDS = Float64Array.from([0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]);
export const TTFT_BOUNDS = Float64Array.from([
  0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
]);

/** What one source says: its series keep their identity, its counters and histograms accumulate. */
export interface Source {
  readonly resource: Resource;
  gauge(name: string, value: number, at?: Record<string, AnyValue>): void;
  /** Adds to a counter. */
  count(name: string, add: number, at?: Record<string, AnyValue>): void;
  /** Adds `n` observations of about `mean`. */
  observe(name: string, mean: number, n: number, bounds?: Float64Array, at?: Record<string, AnyValue>): void;
  /** Forgets all counters, as a restart does. */
  restart(): void;
  drain(time: bigint): Point[];
}

export function source(of: Record<string, AnyValue>): Source {
  const about = resource(attributes(of));
  const series = new Map<string, Series>();
  let totals = new Map<string, number>();
  let histograms = new Map<string, { count: number; sum: number; buckets: Float64Array; bounds: Float64Array }>();
  const now = new Map<string, (time: bigint) => Point>();
  const seriesOf = (name: string, at: Record<string, AnyValue>, make: () => Metric): [string, Series] => {
    const key = `${name}${JSON.stringify(at)}`;
    let s = series.get(key);
    if (!s) {
      s = {
        resource: about,
        scope: SCOPE,
        metric: make(),
        attributes: Object.keys(at).length ? attributes(at) : NO_ATTRIBUTES,
      };
      series.set(key, s);
    }
    return [key, s];
  };
  return {
    resource: about,
    gauge(name, value, at = {}) {
      const [key, s] = seriesOf(name, at, () => gauge(name, '1'));
      now.set(key, (time) => ({ series: s, time, startTime: 0n, flags: 0, value }));
    },
    count(name, add, at = {}) {
      const [key, s] = seriesOf(name, at, () => sum(name, '1'));
      const value = (totals.get(key) ?? 0) + add;
      totals.set(key, value);
      now.set(key, (time) => ({ series: s, time, startTime: 0n, flags: 0, value }));
    },
    observe(name, mean, n, bounds = TTFT_BOUNDS, at = {}) {
      const [key, s] = seriesOf(name, at, () => ({ ...sum(name, 's'), type: 'histogram' as const, monotonic: false }));
      let h = histograms.get(key);
      if (!h) {
        h = { count: 0, sum: 0, buckets: new Float64Array(bounds.length + 1), bounds };
        histograms.set(key, h);
      }
      for (let i = 0; i < n; i++) {
        // A fixed spread around the mean: exactly the mean on average.
        const v = mean * (n === 1 ? 1 : 0.6 + (0.8 * i) / (n - 1));
        let b = 0;
        while (b < bounds.length && v > bounds[b]!) b++;
        h.buckets[b]!++;
        h.count++;
        h.sum += v;
      }
      const { count, sum: total, buckets } = h;
      const counts = Float64Array.from(buckets);
      now.set(key, (time) => ({
        series: s,
        time,
        startTime: 0n,
        flags: 0,
        count,
        sum: total,
        bounds,
        bucketCounts: counts,
      }));
    },
    restart() {
      totals = new Map();
      histograms = new Map();
    },
    drain(time) {
      const out = [...now.values()].map((make) => make(time));
      now.clear();
      return out;
    },
  };
}

export interface Run {
  readonly clock: ReturnType<typeof manualClock>;
  readonly out: ReturnType<typeof sink>;
  readonly context: ReturnType<typeof testContext>;
  /** Seconds since the start. */
  now(): number;
  /** Calls `tell` every second for `seconds`; what the sources said is fed, hooks and logs at once. */
  run(seconds: number, tell: (t: number) => void): Promise<void>;
  source(of: Record<string, AnyValue>): Source;
  span(s: Partial<Span> & { name: string; resource: Resource; startMs: number; endMs: number }): void;
  log(eventName: string, of: Resource, at: Record<string, AnyValue>, body?: string): Promise<void>;
  stop(): Promise<void>;
  findings(): Finding[];
  incidents(): Incident[];
  gaps(): Insufficient[];
  /** Findings that fired, as `detector@entity`, in the order of their detection. */
  fired(): string[];
  /** The newest state of an incident. */
  last(): Incident | undefined;
}

export async function scenario(config: object = {}, startMs = Date.parse('2026-05-01T12:00:00Z')): Promise<Run> {
  const clock = manualClock(startMs);
  const context = testContext({ clock, kind: 'processor', id: 'bottleneck' });
  const out = sink();
  const stage = await bottleneck.start(resolve(bottleneck.config, config), out, context);
  const sources: Source[] = [];
  let spans: Span[] = [];
  let elapsed = 0;
  const findings = () => out.logs().flatMap((r) => findingOf(r) ?? []);
  const incidents = () => out.logs().flatMap((r) => incidentOf(r) ?? []);
  return {
    clock,
    out,
    context,
    now: () => elapsed,
    source(of) {
      const s = source(of);
      sources.push(s);
      return s;
    },
    span(s) {
      const { startMs: from, endMs: to, ...rest } = s;
      spans.push({
        scope: SCOPE,
        traceId: '',
        spanId: '',
        parentSpanId: '',
        traceState: '',
        flags: 0,
        kind: 1,
        startTime: nanosFromMs(from),
        endTime: nanosFromMs(to),
        attributes: NO_ATTRIBUTES,
        droppedAttributesCount: 0,
        events: [],
        droppedEventsCount: 0,
        links: [],
        droppedLinksCount: 0,
        status: { code: 0, message: '' },
        ...rest,
      });
    },
    async log(eventName, of, at, body = '') {
      const time = nanosFromMs(clock.now());
      await stage.consume(
        logsBatch([
          {
            resource: of,
            scope: SCOPE,
            time,
            observedTime: time,
            severityNumber: 9,
            severityText: '',
            body,
            attributes: attributes(at),
            droppedAttributesCount: 0,
            flags: 0,
            traceId: '',
            spanId: '',
            eventName,
          },
        ]),
      );
    },
    async run(seconds, tell) {
      for (let i = 0; i < seconds; i++) {
        tell(elapsed);
        const time = nanosFromMs(clock.now());
        const points = sources.flatMap((s) => s.drain(time));
        if (points.length > 0) await stage.consume(metricsBatch(points));
        if (spans.length > 0) {
          const batch = spans;
          spans = [];
          await stage.consume(tracesBatch(batch));
        }
        await clock.advance(1000);
        elapsed++;
      }
    },
    stop: () => stage.stop(),
    findings,
    incidents,
    gaps: () => out.logs().flatMap((r) => insufficientOf(r) ?? []),
    fired() {
      const seen = new Set<string>();
      for (const f of findings()) if (f.state === 'firing') seen.add(`${f.detector}@${f.entity.id}`);
      return [...seen];
    },
    last: () => incidents().at(-1),
  };
}

export interface Load {
  readonly running: number;
  readonly waiting: number;
  readonly usage: number;
  /** Seconds. */
  readonly itl: number;
  readonly ttft: number;
  readonly prefill: number;
  readonly queue: number;
  readonly rps: number;
  readonly prompt: number;
  readonly output: number;
  readonly hits: number;
  readonly preemptions: number;
}

export const CALM: Load = {
  running: 20,
  waiting: 0,
  usage: 0.4,
  itl: 0.02,
  ttft: 0.3,
  prefill: 0.1,
  queue: 0.02,
  rps: 2,
  prompt: 1000,
  output: 200,
  hits: 0.5,
  preemptions: 0,
};

/** One engine that tells its metrics every five seconds. */
export function engine(run: Run, id: string, more: Record<string, AnyValue> = {}, seed = 1) {
  const noise = random(seed * 7919 + id.length);
  const s = run.source({
    'service.name': 'chat',
    'service.instance.id': id,
    'inference.engine': 'vllm',
    'inference.role': 'aggregated',
    ...more,
  });
  const wiggle = (v: number, cv: number) => Math.max(0, v * (1 + cv * noise.normal()));
  return {
    source: s,
    tell(t: number, load: Partial<Load> = {}) {
      if (t % 5 !== 0) return;
      const l = { ...CALM, ...load };
      s.gauge('up', 1);
      s.gauge('inference.requests.running', Math.round(wiggle(l.running, 0.08)));
      s.gauge('inference.requests.waiting', Math.round(wiggle(l.waiting, 0.1)));
      s.gauge('inference.kv.usage', Math.min(1, wiggle(l.usage, 0.02)));
      const n = Math.max(1, Math.round(wiggle(l.rps * 5, 0.2)));
      s.count('inference.requests.finished', l.rps > 0 ? n : 0, { finish_reason: 'stop' });
      s.count('inference.preemptions', Math.round(l.preemptions * 5));
      s.count('inference.tokens.prompt', l.rps * 5 * l.prompt);
      s.count('inference.tokens.generated', l.rps * 5 * l.output);
      s.count('inference.prefix_cache.queries', l.rps * 5 * l.prompt);
      s.count('inference.prefix_cache.hits', wiggle(l.rps * 5 * l.prompt * l.hits, 0.03));
      if (l.rps > 0) {
        s.observe('inference.inter_token.latency', wiggle(l.itl, 0.02), 200, ITL_BOUNDS);
        s.observe('gen_ai.server.time_to_first_token', wiggle(l.ttft, 0.05), n);
        s.observe('inference.request.prefill.duration', wiggle(l.prefill, 0.04), n);
        s.observe('inference.request.queue.duration', wiggle(l.queue, 0.1), n);
        s.observe(
          'gen_ai.server.request.duration',
          wiggle(l.ttft + l.output * l.itl, 0.05),
          n,
          Float64Array.from([1, 2.5, 5, 10, 15, 20, 30, 40, 60, 120]),
        );
      }
    },
  };
}

/** One GPU that tells its state every second. */
export function gpu(run: Run, id: string, more: Record<string, AnyValue> = {}, seed = 1) {
  const noise = random(seed * 104729 + id.length);
  const s = run.source({ 'hw.id': id, 'hw.model': 'H100', ...more });
  let thermal = 0;
  return {
    source: s,
    tell(
      _t: number,
      o: { clock?: number; util?: number; temp?: number; power?: number; thermal?: number; powerShare?: number } = {},
    ) {
      thermal = o.thermal ?? 0;
      s.gauge('hw.gpu.clock', (o.clock ?? 1.95e9) * (1 + 0.004 * noise.normal()), { clock: 'sm' });
      s.gauge('hw.gpu.clock', 2.6e9, { clock: 'memory' });
      s.gauge('hw.gpu.utilization', Math.min(1, (o.util ?? 0.9) * (1 + 0.02 * noise.normal())));
      s.gauge('hw.temperature', (o.temp ?? 62) + noise.normal());
      s.gauge('hw.power', (o.power ?? 600) * (1 + 0.02 * noise.normal()));
      s.count('hw.gpu.throttle', thermal, { reason: 'thermal' });
      s.count('hw.gpu.throttle', o.powerShare ?? 0, { reason: 'power' });
    },
  };
}
