/**
 * Runs of load generators as lines of a recording: the neutral signals as the client saw them, cumulative, a point every
 * second (every five in long runs), and a span per request.
 */
import {
  gauge,
  type HistogramPoint,
  type Metric,
  metricsBatch,
  type NumberPoint,
  nanosFromMs,
  type Point,
  type Resource,
  resource,
  type Scope,
  type Series,
  type Span,
  scope,
  sum,
  Temporality,
  tracesBatch,
} from '../../model.ts';
import type { BatchLine } from '../recording.ts';
import type { BenchRequest, BenchRun } from './run.ts';

const histogram = (name: string, description: string): Metric => ({
  name,
  description,
  unit: 's',
  type: 'histogram',
  temporality: Temporality.CUMULATIVE,
  monotonic: false,
  metadata: {},
});

const TTFT = histogram('gen_ai.server.time_to_first_token', 'Time to the first token, as the client saw it');
const ITL = histogram('inference.inter_token.latency', 'Time between outputs, as the client saw it');
const TPOT = histogram('gen_ai.server.time_per_output_token', 'Time per output token after the first');
const E2E = histogram('gen_ai.server.request.duration', 'Duration of requests, as the client saw it');
const FINISHED = sum('inference.requests.finished', '{request}', 'Requests that ended');
const FAILED = sum('inference.requests.failed', '{request}', 'Requests that failed');
const GENERATED = sum('inference.tokens.generated', '{token}', 'Output tokens');
const PROMPT = sum('inference.tokens.prompt', '{token}', 'Prompt tokens');
const RUNNING = gauge('inference.requests.running', '{request}', 'Requests under way, mean of the interval');

/** From a millisecond to three minutes, four bounds for every doubling. */
const BOUNDS = Float64Array.from({ length: 71 }, (_, i) => 0.001 * 2 ** (i / 4));
const NO_BOUNDS = new Float64Array(0);
/** More points than this in a run are not made. */
const MOST_STEPS = 20_000;
const SPANS = 1000;
const NOTHING: readonly never[] = [];

/** Values of one histogram, cumulative over the file. */
interface Tally {
  readonly metric: Metric;
  count: number;
  sum: number;
  readonly buckets: Float64Array;
  /** False once something came whose distribution is not known. */
  exact: boolean;
}

const tally = (metric: Metric): Tally => ({ metric, count: 0, sum: 0, buckets: new Float64Array(72), exact: true });

function observe(t: Tally, ms: number, times = 1): void {
  const s = ms / 1000;
  const at = s <= 0.001 ? 0 : Math.min(71, Math.ceil(Math.log2(s / 0.001) * 4 - 1e-9));
  t.count += times;
  t.sum += s * times;
  t.buckets[at]! += times;
}

/** What happened in one interval. */
interface Step {
  readonly ttft: number[];
  readonly gaps: (readonly [ms: number, times: number])[];
  readonly ended: BenchRequest[];
  /** Milliseconds of requests under way. */
  busy: number;
  generated: number;
  prompt: number;
}
const step = (): Step => ({ ttft: [], gaps: [], ended: [], busy: 0, generated: 0, prompt: 0 });

/**
 * The lines of runs, in order of time. What a file says of no model is said to be of `service`; `withSpans: false` leaves out
 * the spans, where the reader has better ones.
 */
export function benchLines(runs: readonly BenchRun[], service: string, withSpans = true): BatchLine[] {
  const lines: BatchLine[] = [];
  const writers = new Map<string, Writer>();
  for (const run of [...runs].sort((a, b) => a.startMs - b.startMs)) {
    const name = run.model || service;
    const writer = writers.get(name) ?? newWriter(name, run.tool, run.startMs);
    writers.set(name, writer);
    if (run.totals) writer.totals(run, lines);
    else writer.requests(run, lines);
    if (withSpans) spans(run, writer.about, writer.by, lines);
  }
  return lines.sort((a, b) => a.timeMs - b.timeMs);
}

interface Writer {
  readonly about: Resource;
  readonly by: Scope;
  requests(run: BenchRun, out: BatchLine[]): void;
  totals(run: BenchRun, out: BatchLine[]): void;
}

function newWriter(service: string, tool: string, startMs: number): Writer {
  const about = resource({
    'service.name': service,
    'service.instance.id': tool,
    'inference.role': 'frontend',
    'gen_ai.request.model': service,
  });
  const by = scope(`enginelight/recordings/${tool.replace(/ /g, '_')}`);
  const startTime = nanosFromMs(startMs);
  const series = (metric: Metric, attributes = {}): Series => ({ resource: about, scope: by, metric, attributes });
  const tallies = [TTFT, ITL, TPOT, E2E].map(tally);
  const [ttft, itl, tpot, e2e] = tallies as [Tally, Tally, Tally, Tally];
  const histograms = tallies.map((t) => ({ t, series: series(t.metric) }));
  const ids = {
    ok: series(FINISHED),
    bad: series(FINISHED, { finish_reason: 'error' }),
    failed: series(FAILED, { 'error.type': 'client' }),
    generated: series(GENERATED),
    prompt: series(PROMPT),
    running: series(RUNNING),
  };
  const counts = { ok: 0, bad: 0, generated: 0, prompt: 0 };
  let begun = false;

  const write = (timeMs: number, running: number | undefined, out: BatchLine[]) => {
    const time = nanosFromMs(timeMs);
    const value = (s: Series, v: number): NumberPoint => ({ series: s, time, startTime, flags: 0, value: v });
    const points: Point[] = [
      value(ids.ok, counts.ok),
      value(ids.generated, counts.generated),
      value(ids.prompt, counts.prompt),
    ];
    if (counts.bad > 0) points.push(value(ids.bad, counts.bad), value(ids.failed, counts.bad));
    if (running !== undefined) points.push({ ...value(ids.running, running), startTime: 0n });
    for (const { t, series } of histograms) {
      if (t.count === 0 && begun) continue;
      const point: HistogramPoint = {
        series,
        time,
        startTime,
        flags: 0,
        count: t.count,
        sum: t.sum,
        bounds: t.exact ? BOUNDS : NO_BOUNDS,
        bucketCounts: t.exact ? t.buckets.slice() : NO_BOUNDS,
      };
      points.push(point);
    }
    begun = true;
    out.push({ kind: 'batch', timeMs, batches: [metricsBatch(points)] });
  };

  return {
    about,
    by,
    requests(run, out) {
      const timed = run.requests.every((r) => r.startMs !== undefined);
      let from = run.startMs;
      let to = run.endMs;
      for (const r of run.requests) {
        from = Math.min(from, r.startMs ?? from);
        to = Math.max(to, (r.startMs ?? -Infinity) + r.tookMs);
      }
      const width = timed ? Math.max(to - from > 600_000 ? 5000 : 1000, (to - from) / MOST_STEPS) : to - from;
      const steps = Array.from({ length: Math.max(1, Math.ceil((to - from) / width)) }, step);
      const at = (ms: number) => steps[Math.min(steps.length - 1, Math.max(0, Math.floor((ms - from) / width)))]!;
      for (const r of run.requests) place(r, from, to, width, steps, at);
      // Between two runs nothing is under way.
      write(from, 0, out);
      for (const [i, s] of steps.entries()) {
        for (const ms of s.ttft) observe(ttft, ms);
        for (const [ms, times] of s.gaps) observe(itl, ms, times);
        for (const r of s.ended) {
          if (r.error !== undefined) {
            counts.bad++;
            continue;
          }
          counts.ok++;
          observe(e2e, r.tookMs);
          const after = (r.outputTokens ?? 0) - 1;
          if (after > 0 && r.ttftMs !== undefined) observe(tpot, Math.max(0, r.tookMs - r.ttftMs) / after);
        }
        counts.generated += s.generated;
        counts.prompt += s.prompt;
        const until = Math.min(to, from + (i + 1) * width);
        write(until, s.busy / Math.max(1, until - (from + i * width)), out);
      }
    },
    totals(run, out) {
      const { totals } = run;
      if (!totals) return;
      const add = (t: Tally, ms: number | undefined, times: number) => {
        if (ms === undefined || !(times > 0)) return;
        t.exact = false;
        t.count += times;
        t.sum += (ms / 1000) * times;
      };
      write(run.startMs, 0, out);
      counts.ok += totals.completed;
      counts.bad += totals.failed;
      counts.generated += totals.outputTokens;
      counts.prompt += totals.inputTokens;
      add(ttft, totals.ttftMs, totals.completed);
      add(e2e, totals.tookMs, totals.completed);
      add(itl, totals.gapMs, Math.max(0, totals.outputTokens - totals.completed));
      add(tpot, totals.tpotMs, totals.completed);
      write(run.endMs, totals.concurrency, out);
    },
  };
}

/** Puts what a request did into the intervals in which it did it. */
function place(
  r: BenchRequest,
  from: number,
  to: number,
  width: number,
  steps: readonly Step[],
  at: (ms: number) => Step,
): void {
  const start = r.startMs;
  const end = start === undefined ? to : start + r.tookMs;
  // An interval holds its end: what ends with the last is in it.
  if (!r.unfinished) at(Math.max(from, end - 1e-6)).ended.push(r);
  if (r.error !== undefined) return;
  if (start === undefined) {
    const only = steps[0]!;
    only.busy += r.tookMs;
    only.generated += r.outputTokens ?? 0;
    only.prompt += r.inputTokens ?? 0;
    if (r.ttftMs !== undefined) only.ttft.push(r.ttftMs);
    for (const gap of r.gapsMs ?? []) only.gaps.push([gap, 1]);
    return;
  }
  const first = start + (r.ttftMs ?? r.tookMs);
  const share = (a: number, b: number, add: (s: Step, ms: number) => void) => {
    for (let t = a; t < b; ) {
      const i = Math.min(steps.length - 1, Math.floor((t - from) / width + 1e-9));
      const until = i === steps.length - 1 ? b : Math.min(b, from + (i + 1) * width);
      add(steps[i]!, until - t);
      if (until <= t) break;
      t = until;
    }
  };
  share(start, end, (s, ms) => {
    s.busy += ms;
  });
  at(first).prompt += r.inputTokens ?? 0;
  if (r.ttftMs !== undefined) at(first).ttft.push(r.ttftMs);
  const tokens = r.outputTokens ?? 0;
  if (tokens > 0) {
    at(first).generated += 1;
    if (end > first) {
      share(first, end, (s, ms) => {
        s.generated += ((tokens - 1) * ms) / (end - first);
      });
    } else at(first).generated += tokens - 1;
  }
  if (r.gapsMs && r.gapsMs.length > 0) {
    let t = first;
    for (const gap of r.gapsMs) {
      t += gap;
      at(Math.min(t, end - 1e-6)).gaps.push([gap, 1]);
    }
  } else if (r.gapMs !== undefined && tokens > 1) at(end - 1e-6).gaps.push([r.gapMs, tokens - 1]);
}

function spans(run: BenchRun, about: Resource, by: Scope, out: BatchLine[]): void {
  const timed = run.requests.filter((r) => r.startMs !== undefined && !r.unfinished);
  timed.sort((a, b) => a.startMs! + a.tookMs - (b.startMs! + b.tookMs));
  for (let i = 0; i < timed.length; i += SPANS) {
    const some = timed.slice(i, i + SPANS);
    const last = some.at(-1)!;
    const batch = tracesBatch(some.map((r, j) => spanOf(r, i + j, run, about, by)));
    out.push({ kind: 'batch', timeMs: last.startMs! + last.tookMs, batches: [batch] });
  }
}

const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000);

const hex16 = (n: number) => Math.round(n).toString(16).padStart(16, '0');

function spanOf(r: BenchRequest, index: number, run: BenchRun, about: Resource, by: Scope): Span {
  const said = {
    'inference.stage': 'request',
    'inference.request.id': r.id === '' ? undefined : r.id,
    'gen_ai.request.model': run.model === '' ? undefined : run.model,
    'gen_ai.usage.input_tokens': r.inputTokens,
    'gen_ai.usage.output_tokens': r.outputTokens,
    'gen_ai.usage.cache_read.input_tokens': r.cachedTokens,
    'gen_ai.server.request.duration': seconds(r.tookMs),
    'gen_ai.server.time_to_first_token': seconds(r.ttftMs),
  };
  const attributes: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(said)) if (value !== undefined) attributes[name] = value;
  return {
    resource: about,
    scope: by,
    traceId: hex16(run.startMs * 1000) + hex16(index + 1),
    spanId: hex16(index + 1),
    parentSpanId: '',
    traceState: '',
    flags: 0,
    name: 'request',
    kind: 3,
    startTime: nanosFromMs(r.startMs!),
    endTime: nanosFromMs(r.startMs! + r.tookMs),
    attributes,
    droppedAttributesCount: 0,
    events: NOTHING,
    droppedEventsCount: 0,
    links: NOTHING,
    droppedLinksCount: 0,
    status: r.error === undefined ? { code: 0, message: '' } : { code: 2, message: r.error.slice(0, 500) },
  };
}
