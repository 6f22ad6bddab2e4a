/**
 * Results of `vllm bench serve` and of SGLang's `bench_serving`: one JSON object a run, of which a file may have several, one
 * a line. With `--save-detailed` and `--output-details` they have a value per request. Sources: vLLM
 * `vllm/benchmarks/serve.py`, SGLang `python/sglang/bench_serving.py`.
 */
import { type BenchRequest, type BenchRun, type Json, listOf, numberOf, objectOf, sumOf, textOf } from './run.ts';

/** Whether an object is such a result. */
export const isServeResult = (o: Json): boolean =>
  typeof o['request_throughput'] === 'number' && typeof o['duration'] === 'number' && 'completed' in o;

/** Reads a result; `endMs` is when the run ended where it does not say so itself. Throws an Error that says what is wrong. */
export function readServeResult(o: Json, endMs: number): BenchRun {
  const seconds = numberOf(o['duration']);
  if (seconds === undefined || seconds === 0) throw new Error('the benchmark took no time');
  // SGLang writes the number of tokens as its own tokenizer counts them, too.
  const tool = 'total_output_tokens_retokenized' in o ? 'sglang bench_serving' : 'vllm bench serve';
  const end = dateOf(o['date']) ?? endMs;
  const start = end - seconds * 1000;
  const rate = o['request_rate'];
  const concurrency = numberOf(o['max_concurrency']);
  return {
    tool,
    model: textOf(o['model_id']) || textOf(objectOf(o['server_info'])['served_model_name']),
    load: [
      typeof rate === 'number' && Number.isFinite(rate) ? `rate ${rate}/s` : '',
      concurrency === undefined ? '' : `concurrent@${concurrency}`,
    ]
      .filter((s) => s !== '')
      .join(' '),
    startMs: start,
    endMs: end,
    ...contents(o, start, seconds * 1000),
  };
}

function contents(o: Json, startMs: number, tookMs: number): Pick<BenchRun, 'requests' | 'totals'> {
  const ttfts = listOf(o['ttfts']);
  const errors = listOf(o['errors']);
  const starts = listOf(o['start_times']);
  const latencies = listOf(o['latencies']);
  const gaps = listOf(o['itls']);
  const [inputs, outputs] = [listOf(o['input_lens']), listOf(o['output_lens'])];
  // Seconds of a clock of their own.
  let first = Infinity;
  for (const s of starts) if (typeof s === 'number' && s < first) first = s;
  const requests: BenchRequest[] = [];
  for (let i = 0; i < ttfts.length; i++) {
    const own = listOf(gaps[i]);
    const ttft = numberOf(ttfts[i]);
    const sent = starts[i];
    const took = numberOf(latencies[i]) ?? (ttft ?? 0) + sumOf(own);
    const error = textOf(errors[i], 2000);
    requests.push({
      id: String(i),
      startMs: typeof sent === 'number' && Number.isFinite(sent) ? startMs + (sent - first) * 1000 : undefined,
      tookMs: Math.min(took * 1000, tookMs),
      ttftMs: ttft === undefined || ttft === 0 ? undefined : ttft * 1000,
      gapsMs: own.flatMap((g) => (typeof g === 'number' && g >= 0 ? [g * 1000] : [])),
      gapMs: undefined,
      inputTokens: numberOf(inputs[i]),
      outputTokens: numberOf(outputs[i]),
      cachedTokens: undefined,
      error: error === '' ? undefined : error,
    });
  }
  if (requests.length > 0) return { requests, totals: undefined };
  const mean = (name: string) => numberOf(o[name]);
  return {
    requests,
    totals: {
      completed: numberOf(o['completed']) ?? 0,
      failed: numberOf(o['failed']) ?? 0,
      inputTokens: numberOf(o['total_input_tokens']) ?? 0,
      outputTokens: numberOf(o['total_output_tokens']) ?? 0,
      ttftMs: mean('mean_ttft_ms'),
      gapMs: mean('mean_itl_ms'),
      tpotMs: mean('mean_tpot_ms'),
      tookMs: mean('mean_e2e_latency_ms') ?? mean('mean_e2el_ms') ?? meanOf(latencies),
      concurrency:
        numberOf(o['concurrency']) ?? (latencies.length > 0 ? (sumOf(latencies) * 1000) / tookMs : undefined),
    },
  };
}

const meanOf = (seconds: readonly unknown[]): number | undefined =>
  seconds.length === 0 ? undefined : (sumOf(seconds) * 1000) / seconds.length;

/** `20261201-154500`, the wall clock of wherever it ran; read as UTC. */
function dateOf(v: unknown): number | undefined {
  const m = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)$/.exec(typeof v === 'string' ? v : '');
  return m ? Date.UTC(+m[1]!, +m[2]! - 1, +m[3]!, +m[4]!, +m[5]!, +m[6]!) : undefined;
}
