/** A made-up page in the shape of a vLLM server's: 8 engines, 13 histograms each, counters, gauges, process metrics. */

/** A generator of pages of one server, whose numbers move a little from page to page (about a third of the samples). */
export function vllmLikePage(options: { engines?: number; seed?: number; created?: boolean } = {}): () => string {
  const { engines = 8, created = false } = options;
  let state = options.seed ?? 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const bounds = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160];
  const histograms = [
    'time_to_first_token_seconds',
    'inter_token_latency_seconds',
    'e2e_request_latency_seconds',
    'request_queue_time_seconds',
    'request_inference_time_seconds',
    'request_prefill_time_seconds',
    'request_decode_time_seconds',
    'request_time_per_output_token_seconds',
    'request_prompt_tokens',
    'request_generation_tokens',
    'request_max_num_generation_tokens',
    'request_params_n',
    'iteration_tokens_total',
  ];
  const counters = [
    'prompt_tokens',
    'generation_tokens',
    'num_preemptions',
    'prefix_cache_queries',
    'prefix_cache_hits',
    'external_prefix_cache_queries',
    'external_prefix_cache_hits',
    'mm_cache_queries',
  ];
  const gauges = ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc', 'lora_requests_running'];
  const reasons = ['stop', 'length', 'abort', 'error'];
  const model = 'meta-llama/Llama-3.1-8B-Instruct';
  const at = (family: number, engine: number) => family * engines + engine;
  const buckets = Array.from({ length: histograms.length * engines }, () => ({
    counts: new Float64Array(bounds.length + 1),
    sum: 0,
  }));
  const totals = new Float64Array(counters.length * engines);
  const finished = new Float64Array(reasons.length * engines);
  const float = (v: number) => (Number.isInteger(v) ? `${v}.0` : `${v}`);

  return () => {
    const out: string[] = [];
    const family = (name: string, type: string) => {
      out.push(`# HELP vllm:${name} The ${name.replaceAll('_', ' ')} of the engine.`, `# TYPE vllm:${name} ${type}`);
    };
    for (const [name, value] of [
      ['process_virtual_memory_bytes', '6.0249088e+09'],
      ['process_resident_memory_bytes', `${4.3e9 + Math.floor(random() * 1e6)}.0`],
      ['process_start_time_seconds', '1.7781949804607377e+09'],
      ['process_open_fds', '87.0'],
    ] as const) {
      out.push(`# HELP ${name} ${name.replaceAll('_', ' ')}.`, `# TYPE ${name} gauge`, `${name} ${value}`);
    }
    for (const name of gauges) {
      family(name, 'gauge');
      for (let e = 0; e < engines; e++) {
        const value = name.endsWith('perc') ? random() : Math.floor(random() * 40);
        out.push(`vllm:${name}{engine="${e}",model_name="${model}"} ${float(value)}`);
      }
    }
    for (const [c, name] of counters.entries()) {
      family(`${name}_total`, 'counter');
      for (let e = 0; e < engines; e++) {
        totals[at(c, e)]! += Math.floor(random() * 2000);
        out.push(`vllm:${name}_total{engine="${e}",model_name="${model}"} ${float(totals[at(c, e)]!)}`);
      }
    }
    family('request_success_total', 'counter');
    for (let e = 0; e < engines; e++) {
      for (const [r, reason] of reasons.entries()) {
        finished[at(r, e)]! += random() < 0.3 ? 1 : 0;
        out.push(
          `vllm:request_success_total{engine="${e}",finished_reason="${reason}",model_name="${model}"} ${float(finished[at(r, e)]!)}`,
        );
      }
    }
    for (const [h, name] of histograms.entries()) {
      family(name, 'histogram');
      for (let e = 0; e < engines; e++) {
        const { counts } = buckets[at(h, e)]!;
        const rest = `{engine="${e}",model_name="${model}"}`;
        for (let n = 0; n < 3; n++) {
          const value = random() ** 3 * 10;
          const index = bounds.findIndex((b) => value <= b);
          counts[index < 0 ? bounds.length : index]!++;
          buckets[at(h, e)]!.sum += value;
        }
        let total = 0;
        for (let b = 0; b <= bounds.length; b++) {
          total += counts[b]!;
          const le = b < bounds.length ? float(bounds[b]!) : '+Inf';
          out.push(`vllm:${name}_bucket{engine="${e}",le="${le}",model_name="${model}"} ${float(total)}`);
        }
        out.push(`vllm:${name}_count${rest} ${float(total)}`, `vllm:${name}_sum${rest} ${buckets[at(h, e)]!.sum}`);
      }
      if (created) {
        out.push(`# HELP vllm:${name}_created Created.`, `# TYPE vllm:${name}_created gauge`);
        for (let e = 0; e < engines; e++) {
          out.push(`vllm:${name}_created{engine="${e}",model_name="${model}"} 1.77819498046${e}7377e+09`);
        }
      }
    }
    return `${out.join('\n')}\n`;
  };
}
