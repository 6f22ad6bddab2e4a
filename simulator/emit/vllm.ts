/**
 * vLLM's `/metrics`, as 0.10 (multi-process: no `_created`, no process families, old and new names side by side) and 0.20
 * (single process: `_created` gauges, waiting by reason, token sources) show it.
 */
import type { Histogram } from '../world/histogram.ts';
import type { Counters, Replica, Request, Sched, World } from '../world/types.ts';
import { python } from './number.ts';
import { type Labels, type Page, type PageBuilder, pageBuilder } from './page.ts';

type Count = (c: Counters) => number;

/** The page of one replica's API server; every data-parallel core adds a series to each family. */
/** `added` labels go on every series (Dynamo), `tail` adds families behind (Dynamo, LMCache). */
export function vllmPage(
  w: World,
  rep: Replica,
  epoch: number,
  escaped: boolean,
  added: Labels = [],
  tail?: (b: PageBuilder) => void,
): Page {
  const d = w.spec.deploy;
  const modern = d.version !== '0.10';
  const single = modern && d.apiServers === 1 && d.engine === 'vllm' && !d.lmcache;
  const b = pageBuilder({ format: python, escaped, sumFirst: !single });
  const model = rep.model.servedName;
  const cores = rep.scheds;
  const labels = (s: Sched, extra: Labels = []): Labels =>
    [
      ...([
        ['engine', String(s.dp)],
        ['model_name', model],
      ] as const),
      ...added,
      ...extra,
    ].sort((x, y) => (x[0] < y[0] ? -1 : 1));
  const createdAt = () => Math.round((epoch + rep.startedAt + 20) * 1e6) / 1e6;

  const gauge = (name: string, help: string, value: Count, extra: Labels = []) => {
    b.family(name, 'gauge', help);
    for (const s of cores) b.sample(name, labels(s, extra), () => value(s.counters));
  };
  const counter = (name: string, help: string, series: readonly (readonly [Labels, Count])[]) => {
    b.family(`${name}_total`, 'counter', help);
    for (const s of cores)
      for (const [extra, value] of series) b.sample(`${name}_total`, labels(s, extra), () => value(s.counters));
    if (!single) return;
    b.family(`${name}_created`, 'gauge', help);
    for (const s of cores) for (const [extra] of series) b.sample(`${name}_created`, labels(s, extra), createdAt);
  };
  const one = (name: string, help: string, value: Count) => counter(name, help, [[[], value]]);
  const hist = (name: string, help: string, of: (c: Counters) => Histogram) => {
    b.family(name, 'histogram', help);
    for (const s of cores) b.histogram(name, labels(s), () => of(s.counters));
    if (!single) return;
    b.family(`${name}_created`, 'gauge', help);
    for (const s of cores) b.sample(`${name}_created`, labels(s), createdAt);
  };

  if (single) {
    b.family('python_info', 'gauge', 'Python platform information');
    b.sample(
      'python_info',
      [
        ['implementation', 'CPython'],
        ['major', '3'],
        ['minor', '12'],
        ['patchlevel', '10'],
        ['version', '3.12.10'],
      ],
      () => 1,
    );
    const process = (name: string, type: string, help: string, value: () => number) => {
      b.family(name, type, help);
      b.sample(name, [], value);
    };
    process('process_virtual_memory_bytes', 'gauge', 'Virtual memory size in bytes.', () => 28_912_345_088);
    process('process_resident_memory_bytes', 'gauge', 'Resident memory size in bytes.', () => 4_316_303_360);
    process(
      'process_start_time_seconds',
      'gauge',
      'Start time of the process since unix epoch in seconds.',
      () => Math.round((epoch + rep.startedAt) * 100) / 100,
    );
    process(
      'process_cpu_seconds_total',
      'counter',
      'Total user and system CPU time spent in seconds.',
      () => Math.round(rep.cpu.api * 100) / 100,
    );
    process(
      'process_open_fds',
      'gauge',
      'Number of open file descriptors.',
      () => 66 + w.frontend.inflight.get(rep)!.requests,
    );
    process('process_max_fds', 'gauge', 'Maximum number of open file descriptors.', () => 1_048_576);
  }
  gauge('vllm:num_requests_running', 'Requests in model execution batches.', (c) => c.running);
  gauge('vllm:num_requests_waiting', 'Requests waiting to be processed.', (c) => c.waiting);
  if (modern) {
    b.family('vllm:num_requests_waiting_by_reason', 'gauge', 'Waiting requests by reason.');
    for (const s of cores) {
      b.sample(
        'vllm:num_requests_waiting_by_reason',
        labels(s, [['reason', 'capacity']]),
        () => s.counters.waiting - s.counters.waitingDeferred,
      );
      b.sample(
        'vllm:num_requests_waiting_by_reason',
        labels(s, [['reason', 'deferred']]),
        () => s.counters.waitingDeferred,
      );
    }
    b.family('vllm:engine_sleep_state', 'gauge', 'Engine sleep state.');
    for (const s of cores)
      for (const [state, value] of [
        ['awake', 1],
        ['weights_offloaded', 0],
        ['discard_all', 0],
      ] as const)
        b.sample('vllm:engine_sleep_state', labels(s, [['sleep_state', state]]), () => value);
  }
  gauge('vllm:kv_cache_usage_perc', 'KV-cache usage. 1 means 100 percent usage.', (c) => c.kvUsage);
  if (!modern) {
    gauge('vllm:gpu_cache_usage_perc', 'DEPRECATED: KV-cache usage.', (c) => c.kvUsage);
    one('vllm:gpu_prefix_cache_queries', 'DEPRECATED: queried tokens.', (c) => c.queries);
    one('vllm:gpu_prefix_cache_hits', 'DEPRECATED: cached tokens.', (c) => c.hits);
  }
  one('vllm:prefix_cache_queries', 'Prefix cache queries, in tokens.', (c) => c.queries);
  one('vllm:prefix_cache_hits', 'Prefix cache hits, in tokens.', (c) => c.hits);
  if (modern) {
    one(
      'vllm:external_prefix_cache_queries',
      "Queries to other instances' caches, in tokens.",
      (c) => c.externalQueries,
    );
    one('vllm:external_prefix_cache_hits', "Hits in other instances' caches, in tokens.", (c) => c.externalHits);
    one('vllm:mm_cache_queries', 'Multi-modal cache queries, in items.', () => 0);
    one('vllm:mm_cache_hits', 'Multi-modal cache hits, in items.', () => 0);
  }
  one('vllm:num_preemptions', 'Preemptions by the engine.', (c) => c.preemptions);
  one('vllm:prompt_tokens', 'Prefill tokens processed.', (c) => c.promptTokens);
  if (modern) {
    counter('vllm:prompt_tokens_by_source', 'Prompt tokens by source.', [
      [[['source', 'local_compute']], (c) => c.promptTokens - c.cachedTokens - c.externalTokens],
      [[['source', 'local_cache_hit']], (c) => c.cachedTokens],
      [[['source', 'external_kv_transfer']], (c) => c.externalTokens],
    ]);
    one('vllm:prompt_tokens_cached', 'Cached prompt tokens.', (c) => c.cachedTokens + c.externalTokens);
  }
  one('vllm:generation_tokens', 'Generation tokens processed.', (c) => c.generatedTokens);
  const reasons: (readonly [Labels, Count])[] = [
    [[['finished_reason', 'stop']], (c) => c.finishedStop],
    [[['finished_reason', 'length']], (c) => c.finishedLength],
    [[['finished_reason', 'abort']], (c) => c.finishedAbort],
  ];
  if (modern)
    reasons.push(
      [[['finished_reason', 'error']], (c) => c.finishedError],
      [[['finished_reason', 'repetition']], () => 0],
    );
  counter('vllm:request_success', 'Successfully processed requests.', reasons);
  hist('vllm:request_prompt_tokens', 'Prefill tokens of a request.', (c) => c.promptLen);
  hist('vllm:request_generation_tokens', 'Generation tokens of a request.', (c) => c.outputLen);
  hist('vllm:iteration_tokens_total', 'Tokens per engine step.', (c) => c.stepTokens);
  hist('vllm:request_max_num_generation_tokens', 'Maximum number of requested generation tokens.', (c) => c.maxTokens);
  hist('vllm:request_params_n', 'The n request parameter.', (c) => c.paramsN);
  hist('vllm:request_params_max_tokens', 'The max_tokens request parameter.', (c) => c.maxTokens);
  hist('vllm:time_to_first_token_seconds', 'Time to first token in seconds.', (c) => c.ttft);
  if (!modern)
    hist('vllm:time_per_output_token_seconds', 'DEPRECATED: time per output token in seconds.', (c) => c.itl);
  hist('vllm:inter_token_latency_seconds', 'Inter-token latency in seconds.', (c) => c.itl);
  if (modern)
    hist('vllm:request_time_per_output_token_seconds', 'Time per output token of a request, seconds.', (c) => c.tpot);
  hist('vllm:e2e_request_latency_seconds', 'End to end request latency in seconds.', (c) => c.e2e);
  hist('vllm:request_queue_time_seconds', 'Time in WAITING phase of a request.', (c) => c.queue);
  hist('vllm:request_inference_time_seconds', 'Time in RUNNING phase of a request.', (c) => c.inference);
  hist('vllm:request_prefill_time_seconds', 'Time in PREFILL phase of a request.', (c) => c.prefill);
  hist('vllm:request_decode_time_seconds', 'Time in DECODE phase of a request.', (c) => c.decode);
  if (modern)
    hist('vllm:request_prefill_kv_computed_tokens', 'New KV tokens computed in prefill.', (c) => c.kvComputed);
  b.family('vllm:cache_config_info', 'gauge', 'Information of the LLMEngine CacheConfig');
  for (const s of cores)
    b.dynamic(() => {
      const labels: Labels = [
        ...added,
        ['block_size', String(s.kv.blockSize)],
        ['cache_dtype', 'auto'],
        ['calculate_kv_scales', 'False'],
        ['cpu_offload_gb', '0'],
        ['enable_prefix_caching', d.prefixCaching ? 'True' : 'False'],
        ['engine', String(s.dp)],
        ['gpu_memory_utilization', '0.9'],
        ['num_cpu_blocks', 'None'],
        ['num_gpu_blocks', String(s.kv.total)],
        ['num_gpu_blocks_override', 'None'],
        ['prefix_caching_hash_algo', 'sha256'],
        ['sliding_window', 'None'],
      ];
      return `vllm:cache_config_info{${labels.map(([k, v]) => `${k}="${v}"`).join(',')}} 1.0\n`;
    });
  if (d.speculative) {
    one('vllm:spec_decode_num_drafts', 'Spec decoding drafts.', (c) => c.drafts);
    one('vllm:spec_decode_num_draft_tokens', 'Draft tokens.', (c) => c.draftTokens);
    one('vllm:spec_decode_num_accepted_tokens', 'Accepted tokens.', (c) => c.acceptedTokens);
    counter(
      'vllm:spec_decode_num_accepted_tokens_per_pos',
      'Accepted tokens per position.',
      Array.from(
        { length: d.speculative.tokens },
        (_, i) => [[['position', String(i)]], (c: Counters) => c.acceptedAt[i]!] as const,
      ),
    );
  }
  if (d.lora) loraInfo(b, w, cores, epoch);
  if (d.pd) {
    const used = () => cores.some((s) => s.counters.transferTime.count > 0);
    b.when(used, () => {
      hist('vllm:nixl_xfer_time_seconds', 'Transfer duration of NIXL KV cache transfers.', (c) => c.transferTime);
      hist('vllm:nixl_post_time_seconds', 'Post time of NIXL KV cache transfers.', (c) => c.transferPost);
      hist('vllm:nixl_bytes_transferred', 'Bytes of NIXL KV cache transfers.', (c) => c.transferBytes);
      hist('vllm:nixl_num_descriptors', 'Descriptors of NIXL KV cache transfers.', (c) => c.transferDescriptors);
    });
    one('vllm:nixl_num_failed_transfers', 'Failed NIXL KV cache transfers.', (c) => c.transferFailed);
    one('vllm:nixl_num_failed_notifications', 'Failed NIXL notifications.', () => 0);
    if (modern)
      one(
        'vllm:nixl_num_kv_expired_reqs',
        'Requests whose KV expired before it was fetched.',
        (c) => c.transferExpired,
      );
  }
  b.when(
    () => rep.outcome.ok + rep.outcome.error > 0,
    () => {
      b.family('http_requests_total', 'counter', 'Requests by method, status and handler.');
      b.sample(
        'http_requests_total',
        [
          ['handler', '/v1/chat/completions'],
          ['method', 'POST'],
          ['status', '2xx'],
        ],
        () => rep.outcome.ok,
      );
      b.when(
        () => rep.outcome.error > 0,
        () =>
          b.sample(
            'http_requests_total',
            [
              ['handler', '/v1/chat/completions'],
              ['method', 'POST'],
              ['status', '5xx'],
            ],
            () => rep.outcome.error,
          ),
      );
    },
  );
  tail?.(b);
  return b.build();
}

/** Adapter names are labels here, and the value is a time: a new series at every change. */
function loraInfo(b: PageBuilder, w: World, cores: readonly Sched[], epoch: number): void {
  const names = (of: Iterable<Request>) => {
    const set = new Set<number>();
    for (const r of of) if (r.lora >= 0) set.add(r.lora);
    return [...set]
      .sort((x, y) => x - y)
      .map((a) => `adapter-${a}`)
      .join(',');
  };
  b.family('vllm:lora_requests_info', 'gauge', 'Running stats on lora requests.');
  for (const s of cores)
    b.dynamic(() => {
      const running = names(s.groups.flatMap((g) => g.run.filter((r) => r.group === g)));
      const waiting = names([...s.deferred, ...s.waiting.slice(s.waitingHead).filter((r) => r.queued)]);
      const max = w.spec.deploy.lora!.slots;
      return `vllm:lora_requests_info{max_lora="${max}",running_lora_adapters="${running}",waiting_lora_adapters="${waiting}"} ${python(Math.round((epoch + w.now) * 1e3) / 1e3)}\n`;
    });
}
