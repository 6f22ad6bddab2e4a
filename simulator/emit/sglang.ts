/**
 * SGLang 0.5's `/metrics`: always multi-process exposition (no `_created`, no process families), scheduler series with
 * rank labels, gauges written every 40 decode steps or at a prefill (they stand still in between), tokens and finished
 * requests counted at the end of a request.
 */
import type { Histogram } from '../world/histogram.ts';
import type { Counters, Replica, Sched, World } from '../world/types.ts';
import { python } from './number.ts';
import { type Labels, type Page, pageBuilder } from './page.ts';

const sorted = (labels: Labels): Labels => [...labels].sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));

export function sglangPage(w: World, rep: Replica, escaped: boolean): Page {
  const d = w.spec.deploy;
  const b = pageBuilder({ format: python, escaped, sumFirst: true });
  const model = rep.model.servedName;
  const type = rep.role === 'aggregated' ? 'unified' : rep.role;
  const cores = rep.scheds;
  const core = (s: Sched, extra: Labels = []): Labels =>
    sorted([
      ...(cores.length > 1 ? ([['dp_rank', String(s.dp)]] as const) : []),
      ['engine_type', type],
      ['model_name', model],
      ['moe_ep_rank', String(rep.expertParallel ? s.dp * d.tp : 0)],
      ['pp_rank', '0'],
      ['tp_rank', String(cores.length > 1 ? s.dp * d.tp : 0)],
      ...extra,
    ]);
  const front = (extra: Labels = []): Labels => sorted([['engine_type', type], ['model_name', model], ...extra]);
  const sum = (of: (c: Counters) => number) => () => {
    let total = 0;
    for (const s of cores) total += of(s.counters);
    return total;
  };
  const gauge = (name: string, help: string, of: (c: Counters, s: Sched) => number) => {
    b.family(name, 'gauge', help);
    for (const s of cores) b.sample(name, core(s), () => of(s.counters, s));
  };
  const counter = (name: string, help: string, of: (c: Counters) => number) => {
    b.family(name, 'counter', help);
    for (const s of cores) b.sample(name, core(s), () => of(s.counters));
  };
  const split = (
    name: string,
    help: string,
    label: string,
    parts: readonly (readonly [string, (c: Counters) => number])[],
  ) => {
    b.family(name, 'counter', help);
    for (const s of cores)
      for (const [value, of] of parts) b.sample(name, core(s, [[label, value]]), () => of(s.counters));
  };
  const hist = (name: string, help: string, of: (c: Counters) => Histogram, extra: Labels = []) => {
    b.family(name, 'histogram', help);
    for (const s of cores) b.histogram(name, core(s, extra), () => of(s.counters));
  };
  /** The tokenizer process sees all cores as one. */
  const frontHist = (name: string, help: string, of: (c: Counters) => Histogram) => {
    b.family(name, 'histogram', help);
    if (cores.length === 1) b.histogram(name, front(), () => of(cores[0]!.counters));
    else b.histogram(name, front(), () => merged(cores.map((s) => of(s.counters))));
  };
  const frontCounter = (name: string, help: string, of: (c: Counters) => number, extra: Labels = []) => {
    b.family(name, 'counter', help);
    b.sample(name, front(extra), sum(of));
  };

  gauge('sglang:num_running_reqs', 'Running requests.', (c) => c.running);
  gauge('sglang:num_used_tokens', 'Used tokens.', (c) => Math.round(c.kvUsage * capacity(cores[0]!)));
  gauge('sglang:token_usage', 'Token usage.', (c) => Math.round(c.kvUsage * 100) / 100);
  gauge('sglang:full_token_usage', 'Token usage of full attention layers.', (c) => Math.round(c.kvUsage * 100) / 100);
  gauge('sglang:pending_prealloc_token_usage', 'Token usage not preallocated yet.', () => 0);
  gauge('sglang:gen_throughput', 'Generation throughput (token/s).', (c) => c.genThroughput);
  gauge('sglang:num_queue_reqs', 'Requests in the waiting queue.', (c) => c.waiting);
  gauge('sglang:num_grammar_queue_reqs', 'Requests in the grammar queue.', (c) => c.grammarQueue);
  gauge('sglang:cache_hit_rate', 'Prefix cache hit rate.', (c) => c.cacheHitRate);
  gauge('sglang:decode_sum_seq_lens', 'Sum of sequence lengths in decode.', (c) => c.ctxTokens);
  if (d.speculative) {
    gauge('sglang:spec_accept_length', 'Average acceptance length.', (c) => (c.drafts > 0 ? 1 + c.acceptedRecent : 0));
    gauge('sglang:spec_accept_rate', 'Average acceptance rate.', (c) =>
      c.drafts > 0 ? c.acceptedRecent / d.speculative!.tokens : 0,
    );
  }
  gauge('sglang:num_retracted_reqs', 'Retracted requests.', () => 0);
  counter('sglang:num_retracted_requests_total', 'Retracted requests.', (c) => c.preemptions);
  counter('sglang:num_retracted_input_tokens_total', 'Retracted input tokens.', (c) => c.retractedInput);
  counter('sglang:num_retracted_output_tokens_total', 'Retracted output tokens.', (c) => c.retractedOutput);
  gauge('sglang:num_paused_reqs', 'Paused requests.', () => 0);
  if (d.pd) {
    gauge(
      'sglang:num_prefill_bootstrap_queue_reqs',
      'Requests in the prefill bootstrap queue.',
      (c) => c.bootstrapQueue,
    );
    gauge('sglang:num_prefill_inflight_queue_reqs', 'Requests in the prefill inflight queue.', (c) =>
      rep.role === 'prefill' ? c.inflightQueue : 0,
    );
    gauge('sglang:num_decode_prealloc_queue_reqs', 'Requests in the decode prealloc queue.', (c) => c.preallocQueue);
    gauge('sglang:num_decode_transfer_queue_reqs', 'Requests in the decode transfer queue.', (c) => c.transferQueue);
    b.when(
      () => cores.some((s) => s.counters.transferTime.count > 0),
      () => {
        hist('sglang:kv_transfer_speed_gb_s', 'KV transfer speed (GB/s).', (c) => c.transferPost);
        hist('sglang:kv_transfer_latency_ms', 'KV transfer latency (ms).', (c) => c.transferTime);
        hist('sglang:kv_transfer_total_mb', 'KV transfer size (MB).', (c) => c.transferBytes);
      },
    );
    counter('sglang:num_bootstrap_failed_reqs_total', 'Bootstrap failed requests.', () => 0);
    counter(
      'sglang:num_transfer_failed_reqs_total',
      'Transfer failed requests.',
      (c) => c.transferFailed + c.transferExpired,
    );
  }
  gauge('sglang:utilization', 'The utilization.', () => 0);
  gauge('sglang:is_cuda_graph', 'Whether the last batch used a CUDA graph.', (_c, s) =>
    rep.knobs.eager || s.stepKind === 1 ? 0 : 1,
  );
  split('sglang:cuda_graph_passes_total', 'Forward passes by mode.', 'mode', [
    ['decode_cuda_graph', (c) => c.graphSteps],
    ['decode_none', (c) => c.eagerSteps],
    ['prefill_none', (c) => c.piecewiseSteps],
  ]);
  if (d.lora) {
    const slots = d.lora.slots;
    gauge('sglang:lora_pool_slots_used', 'LoRA slots in use.', (_c, s) => s.loaded.size);
    gauge('sglang:lora_pool_slots_total', 'LoRA slots.', () => slots);
    gauge('sglang:lora_pool_utilization', 'LoRA slots used over total.', (_c, s) => s.loaded.size / slots);
  }
  split('sglang:realtime_tokens_total', 'Tokens by mode.', 'mode', [
    ['prefill_compute', (c) => c.computedTokens],
    ['prefill_cache', (c) => c.hits],
    ['decode', (c) => c.generatedTokens],
  ]);
  split('sglang:forward_execution_seconds_total', 'GPU time of forward passes by category.', 'category', [
    ['extend', (c) => Math.round(c.prefillSeconds * 1e6) / 1e6],
    ['decode', (c) => Math.round(c.decodeSeconds * 1e6) / 1e6],
  ]);
  if (rep.expertParallel) {
    b.family('sglang:eplb_balancedness', 'summary', 'Balancedness of experts.');
    for (const s of cores) {
      const labels = core(s, [['forward_mode', 'decode']]);
      b.sample('sglang:eplb_balancedness_count', labels, () => s.counters.balanceCount);
      b.sample('sglang:eplb_balancedness_sum', labels, () => Math.round(s.counters.balanceSum * 1e6) / 1e6);
    }
  }
  gauge('sglang:max_total_num_tokens', 'Maximum total number of tokens in the KV pool.', (_c, s) => capacity(s));
  gauge('sglang:page_size', 'KV cache page size in tokens.', () => 1);
  gauge('sglang:num_pages', 'Number of KV cache pages.', (_c, s) => capacity(s));
  gauge('sglang:context_len', 'Longest context.', () => rep.model.maxModelLen);
  hist('sglang:queue_time_seconds', 'Queueing time in seconds.', (c) => c.queue);
  b.family('sglang:per_stage_req_latency_seconds', 'histogram', 'Latency of each stage of a request.');
  for (const s of cores) {
    b.histogram(
      'sglang:per_stage_req_latency_seconds',
      core(s, [['stage', 'prefill_forward']]),
      () => s.counters.prefill,
    );
    b.histogram(
      'sglang:per_stage_req_latency_seconds',
      core(s, [['stage', 'decode_forward']]),
      () => s.counters.decode,
    );
  }
  const structured = () => cores.some((s) => s.counters.structuredRequests > 0);
  b.when(structured, () => {
    hist('sglang:grammar_compilation_time_seconds', 'Grammar compilation time in seconds.', (c) => c.grammarTime);
    counter('sglang:num_grammar_cache_hit_total', 'Grammar cache hits.', (c) => c.grammarHits);
    counter('sglang:num_grammar_aborted_total', 'Grammar aborted requests.', () => 0);
    counter('sglang:num_grammar_total', 'Grammar requests.', (c) => c.structuredRequests);
  });
  b.family('sglang:evicted_tokens_total', 'counter', 'Tokens evicted from the device cache.');
  b.sample(
    'sglang:evicted_tokens_total',
    [['cache_type', 'RadixCache']],
    sum((c) => c.evictedTokens),
  );

  frontCounter('sglang:prompt_tokens_total', 'Prefill tokens processed.', (c) => c.promptLen.sum);
  frontCounter('sglang:generation_tokens_total', 'Generation tokens processed.', (c) => c.outputLen.sum);
  frontCounter('sglang:cached_tokens_total', 'Cached prompt tokens.', (c) => c.promptLen.sum - c.kvComputed.sum, [
    ['cache_source', 'device'],
  ]);
  frontCounter('sglang:num_requests_total', 'Requests processed.', (c) => c.promptLen.count);
  b.when(structured, () =>
    frontCounter('sglang:num_so_requests_total', 'Structured output requests.', (c) => c.structuredRequests),
  );
  b.when(
    () => cores.some((s) => s.counters.finishedAbort > 0),
    () => frontCounter('sglang:num_aborted_requests_total', 'Aborted requests.', (c) => c.finishedAbort),
  );
  frontHist('sglang:prompt_tokens_histogram', 'Prompt length.', (c) => c.promptLen);
  frontHist('sglang:generation_tokens_histogram', 'Generation length.', (c) => c.outputLen);
  frontHist('sglang:time_to_first_token_seconds', 'Time to first token in seconds.', (c) => c.ttft);
  frontHist('sglang:inter_token_latency_seconds', 'Inter-token latency in seconds.', (c) => c.itl);
  frontHist('sglang:e2e_request_latency_seconds', 'End-to-end request latency in seconds.', (c) => c.e2e);
  b.family('sglang:process_cpu_seconds_total', 'counter', 'CPU time by component.');
  b.sample('sglang:process_cpu_seconds_total', [['component', 'tokenizer']], () => Math.round(rep.cpu.api * 60) / 100);
  b.sample(
    'sglang:process_cpu_seconds_total',
    [['component', 'scheduler']],
    () => Math.round(rep.cpu.engine * 100) / 100,
  );
  b.sample(
    'sglang:process_cpu_seconds_total',
    [['component', 'detokenizer']],
    () => Math.round(rep.cpu.api * 40) / 100,
  );
  return b.build();
}

const capacity = (s: Sched): number => s.kv.total * s.kv.blockSize;

const scratch = new WeakMap<readonly number[], Histogram>();
function merged(parts: readonly Histogram[]): Histogram {
  const bounds = parts[0]!.bounds;
  let out = scratch.get(bounds);
  if (!out) {
    out = { bounds, counts: new Float64Array(bounds.length + 1), count: 0, sum: 0 };
    scratch.set(bounds, out);
  }
  out.counts.fill(0);
  out.count = 0;
  out.sum = 0;
  for (const h of parts) {
    for (let i = 0; i < h.counts.length; i++) out.counts[i] = out.counts[i]! + h.counts[i]!;
    out.count += h.count;
    out.sum += h.sum;
  }
  return out;
}
