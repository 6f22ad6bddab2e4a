/**
 * Files of AIPerf: a record per request (`profile_export.jsonl`), and the summary of a run (`profile_export_aiperf.json`).
 * Source: AIPerf `common/models/record_models.py`, `export_models.py`.
 */
import { type BenchRequest, type BenchRun, type Json, listOf, numberOf, objectOf, textOf } from './run.ts';

/** Whether an object is the record of a request. */
export const isAiperfRecord = (o: Json): boolean =>
  'request_start_ns' in objectOf(o['metadata']) && ('metrics' in o || 'error' in o);

/** Whether an object is the summary of a run. */
export const isAiperfSummary = (o: Json): boolean =>
  ('aiperf_version' in o || 'input_config' in o) && 'unit' in objectOf(o['request_latency'] ?? o['request_count']);

/** Milliseconds of a unit. */
const UNITS: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1000, sec: 1000 };
/** A value with its unit, milliseconds. */
const msOf = (v: unknown): number | undefined => {
  const value = numberOf(objectOf(v)['value']);
  return value === undefined ? undefined : value * (UNITS[textOf(objectOf(v)['unit'])] ?? 1);
};

/** The gaps between outputs, milliseconds. */
function gapsOf(v: unknown): number[] | undefined {
  const { value, unit } = objectOf(v);
  const factor = UNITS[textOf(unit)] ?? 1;
  return Array.isArray(value) ? value.flatMap((g) => numberOf(g) ?? []).map((g) => g * factor) : undefined;
}

/** A record; undefined for those of the warm-up. Throws an Error if it does not say when it was. */
export function readAiperfRecord(o: Json): BenchRequest | undefined {
  const metadata = objectOf(o['metadata']);
  if (metadata['benchmark_phase'] === 'warmup') return undefined;
  const [start, end] = [numberOf(metadata['request_start_ns']), numberOf(metadata['request_end_ns'])];
  if (start === undefined || end === undefined || end < start) throw new Error('the record does not say when it was');
  const m = objectOf(o['metrics']);
  const count = (name: string) => numberOf(objectOf(m[name])['value']);
  const error = objectOf(o['error']);
  const failed = o['error'] !== undefined && o['error'] !== null;
  return {
    id: textOf(metadata['x_request_id']),
    startMs: start / 1e6,
    tookMs: msOf(m['request_latency']) ?? (end - start) / 1e6,
    ttftMs: msOf(m['time_to_first_token']),
    gapsMs: gapsOf(m['inter_chunk_latency']),
    gapMs: msOf(m['inter_token_latency']),
    inputTokens: count('input_sequence_length'),
    outputTokens: count('output_sequence_length') ?? count('output_token_count'),
    cachedTokens: count('usage_prompt_cache_read_tokens'),
    error: failed
      ? textOf(error['message'], 2000) || textOf(error['type']) || 'error'
      : metadata['was_cancelled'] === true
        ? 'cancelled'
        : undefined,
  };
}

/** All records of a file as one run. */
export function aiperfRun(requests: readonly BenchRequest[]): BenchRun {
  let from = Infinity;
  let to = -Infinity;
  for (const { startMs, tookMs } of requests) {
    if (startMs === undefined) continue;
    from = Math.min(from, startMs);
    to = Math.max(to, startMs + tookMs);
  }
  return { tool: 'aiperf', model: '', load: '', startMs: from, endMs: to, requests, totals: undefined };
}

/** The summary of a run; `endMs` is when it ended where it does not say. Throws an Error that says what is missing. */
export function readAiperfSummary(o: Json, endMs: number): BenchRun {
  const mean = (name: string) => numberOf(objectOf(o[name])['avg']);
  const ms = (name: string) => {
    const value = mean(name);
    return value === undefined ? undefined : value * (UNITS[textOf(objectOf(o[name])['unit'])] ?? 1);
  };
  const took = ms('benchmark_duration');
  const completed = mean('request_count') ?? numberOf(objectOf(o['request_latency'])['count']);
  const rate = mean('request_throughput');
  if (completed === undefined) throw new Error('the summary of AIPerf does not say how many requests there were');
  const tookMs = took ?? (rate ? (completed / rate) * 1000 : undefined);
  if (tookMs === undefined || tookMs <= 0) throw new Error('the summary of AIPerf does not say how long it took');
  const end = timeOf(o['end_time']) ?? endMs;
  const input = objectOf(o['input_config']);
  const latency = ms('request_latency');
  return {
    tool: 'aiperf',
    model: modelOf(input),
    load: loadOf(input),
    startMs: end - tookMs,
    endMs: end,
    requests: [],
    totals: {
      completed,
      failed: mean('error_request_count') ?? 0,
      inputTokens: mean('total_isl') ?? (mean('input_sequence_length') ?? 0) * completed,
      outputTokens:
        mean('total_osl') ?? mean('total_output_tokens') ?? (mean('output_sequence_length') ?? 0) * completed,
      ttftMs: ms('time_to_first_token'),
      gapMs: ms('inter_token_latency'),
      tpotMs: ms('inter_token_latency'),
      tookMs: latency,
      concurrency: latency === undefined ? undefined : (completed * latency) / tookMs,
    },
  };
}

function modelOf(input: Json): string {
  const models = input['models'];
  const names = objectOf(models)['items'] ?? objectOf(input['endpoint'])['model_names'] ?? models;
  const first = Array.isArray(names) ? names[0] : names;
  return textOf(first) || textOf(objectOf(first)['name']);
}

/** The load of the phase that is measured. */
function loadOf(input: Json): string {
  const phase = objectOf(listOf(input['phases']).findLast((p) => objectOf(p)['kind'] !== 'warmup'));
  const level = numberOf(phase['concurrency']);
  const rate = numberOf(phase['rate']) ?? numberOf(phase['request_rate']);
  return level !== undefined ? `concurrent@${level}` : rate !== undefined ? `rate ${rate}/s` : '';
}

/** ISO 8601; without a zone it is that of wherever it ran, read as UTC. */
function timeOf(v: unknown): number | undefined {
  if (typeof v !== 'string') return undefined;
  const ms = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(v) ? v : `${v}Z`);
  return Number.isFinite(ms) ? ms : undefined;
}
