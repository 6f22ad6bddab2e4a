/**
 * Reports of guidellm (`benchmarks.json`): a benchmark a load level, with the single requests or a sample of them. Source:
 * guidellm `benchmark/schemas` and `schemas/base/request_stats.py` (0.8; fields of 0.2 to 0.5 where they were named otherwise).
 */
import {
  type BenchRequest,
  type BenchRun,
  type BenchTotals,
  isObject,
  type Json,
  listOf,
  numberOf,
  objectOf,
  textOf,
} from './run.ts';

/** Whether an object is such a report. */
export const isGuidellmReport = (o: Json): boolean =>
  Array.isArray(o['benchmarks']) &&
  ('guidellm_version' in objectOf(o['metadata']) ||
    o['benchmarks'].some((b) => /^generative_benchmark$/.test(textOf(objectOf(b)['type_']))));

/** Reads a report. Throws an Error that says what is wrong with it. */
export function readGuidellm(o: Json): BenchRun[] {
  const runs: BenchRun[] = [];
  for (const value of listOf(o['benchmarks'])) if (isObject(value)) runs.push(readBenchmark(value, o));
  if (runs.length === 0) throw new Error('there is no benchmark in the report of guidellm');
  return runs.sort((a, b) => a.startMs - b.startMs);
}

function readBenchmark(b: Json, report: Json): BenchRun {
  const requests: BenchRequest[] = [];
  const groups = objectOf(b['requests']);
  for (const group of ['successful', 'errored', 'incomplete'] as const) {
    for (const value of listOf(groups[group])) {
      const request = isObject(value) ? readRequest(value, group) : undefined;
      if (request) requests.push(request);
    }
  }
  let [from, to] = [(numberOf(b['start_time']) ?? 0) * 1000, (numberOf(b['end_time']) ?? 0) * 1000];
  if (!(to > from)) {
    from = Math.min(...requests.map((r) => r.startMs ?? Infinity));
    to = Math.max(...requests.map((r) => (r.startMs ?? -Infinity) + r.tookMs));
  }
  if (!(to > from) || !Number.isFinite(to - from)) throw new Error('a benchmark of guidellm does not say when it was');
  const strategy = objectOf(objectOf(b['config'])['strategy'] ?? objectOf(b['args'])['strategy']);
  const kind = textOf(strategy['type_']);
  const level = numberOf(strategy['streams']) ?? numberOf(strategy['rate']) ?? numberOf(strategy['max_concurrency']);
  const totals = totalsOf(b, (to - from) / 1000);
  const listed = requests.filter((r) => r.error === undefined && !r.unfinished).length;
  return {
    tool: 'guidellm',
    model: modelOf(b, report),
    load: level === undefined ? kind : `${kind}@${level}`,
    startMs: from,
    endMs: to,
    requests,
    // A report may keep a sample of its requests only.
    totals: totals && totals.completed > listed ? totals : undefined,
  };
}

function readRequest(r: Json, group: 'successful' | 'errored' | 'incomplete'): BenchRequest | undefined {
  const timings = objectOf(objectOf(r['info'])['timings']);
  const seconds = (...values: unknown[]) => values.map(numberOf).find((v) => v !== undefined && v > 0);
  const start = seconds(r['request_start_time'], timings['request_start'], r['start_time']);
  const end = seconds(r['request_end_time'], timings['request_end'], timings['resolve_end'], r['end_time']);
  if (start === undefined || end === undefined || end < start) return undefined;
  const tokens = (name: string, side: string) =>
    numberOf(r[name]) ?? numberOf(objectOf(r[side])['total_tokens']) ?? numberOf(objectOf(r[side])['text_tokens']);
  return {
    id: textOf(r['request_id']),
    startMs: start * 1000,
    tookMs: (end - start) * 1000,
    ttftMs: numberOf(r['time_to_first_token_ms']),
    gapsMs: undefined,
    gapMs: numberOf(r['inter_token_latency_ms']),
    inputTokens: tokens('prompt_tokens', 'input_metrics'),
    outputTokens: tokens('output_tokens', 'output_metrics'),
    cachedTokens: numberOf(r['cached_tokens']),
    error: group === 'errored' ? textOf(objectOf(r['info'])['error'] ?? r['error'], 2000) || 'error' : undefined,
    ...(group === 'incomplete' && { unfinished: true }),
  };
}

/** Of the requests that succeeded, from the distributions that a report has of all of them. */
function totalsOf(b: Json, seconds: number): BenchTotals | undefined {
  const metrics = objectOf(b['metrics']);
  const of = (name: string) => objectOf(objectOf(metrics[name])['successful']);
  const took = of('request_latency');
  const completed = numberOf(took['count']);
  if (completed === undefined) return undefined;
  const mean = (name: string) => {
    const d = of(name);
    return numberOf(d['count']) ? numberOf(d['mean']) : undefined;
  };
  const total = (name: string) => numberOf(of(name)['total_sum']) ?? (mean(name) ?? 0) * completed;
  const tookMs = numberOf(took['mean']);
  return {
    completed,
    failed: numberOf(objectOf(objectOf(metrics['request_latency'])['errored'])['count']) ?? 0,
    inputTokens: total('prompt_token_count'),
    outputTokens: total('output_token_count'),
    ttftMs: mean('time_to_first_token_ms'),
    gapMs: mean('inter_token_latency_ms'),
    tpotMs: mean('inter_token_latency_ms'),
    tookMs: tookMs === undefined ? undefined : tookMs * 1000,
    concurrency: mean('request_concurrency') ?? (tookMs === undefined ? undefined : (completed * tookMs) / seconds),
  };
}

function modelOf(b: Json, report: Json): string {
  const config = objectOf(report['config']);
  const worker = objectOf(b['worker']);
  return (
    textOf(objectOf(objectOf(config['spec'])['backend'])['model']) ||
    textOf(objectOf(objectOf(b['config'])['backend'])['model']) ||
    textOf(worker['backend_model']) ||
    textOf(objectOf(report['args'])['model']) ||
    textOf(config['model'])
  );
}
