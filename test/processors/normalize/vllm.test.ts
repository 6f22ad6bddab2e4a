import { describe, expect, test } from 'vitest';
import { neutralText, target } from './run.ts';

const at = '@ gen_ai.request.model=m inference.engine=vllm';
const dp0 = `${at} inference.rank.dp=0`;

describe('vLLM', () => {
  test('V0 (0.6): no engine label, KV swap, block counts in labels', async () => {
    const page = `
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3
# TYPE vllm:num_requests_swapped gauge
vllm:num_requests_swapped{model_name="m"} 1
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{model_name="m"} 0.5
# TYPE vllm:cpu_cache_usage_perc gauge
vllm:cpu_cache_usage_perc{model_name="m"} 0.25
# TYPE vllm:gpu_prefix_cache_hit_rate gauge
vllm:gpu_prefix_cache_hit_rate{model_name="m"} -1
# TYPE vllm:time_in_queue_requests histogram
vllm:time_in_queue_requests_bucket{le="1.0",model_name="m"} 1
vllm:time_in_queue_requests_bucket{le="+Inf",model_name="m"} 2
vllm:time_in_queue_requests_sum{model_name="m"} 3
vllm:time_in_queue_requests_count{model_name="m"} 2
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{le="1.0",model_name="m"} 1
vllm:request_queue_time_seconds_bucket{le="+Inf",model_name="m"} 2
vllm:request_queue_time_seconds_sum{model_name="m"} 3
vllm:request_queue_time_seconds_count{model_name="m"} 2
# TYPE vllm:model_forward_time_milliseconds histogram
vllm:model_forward_time_milliseconds_bucket{le="25.0",model_name="m"} 1
vllm:model_forward_time_milliseconds_bucket{le="+Inf",model_name="m"} 2
vllm:model_forward_time_milliseconds_sum{model_name="m"} 300
vllm:model_forward_time_milliseconds_count{model_name="m"} 2
# TYPE vllm:avg_generation_throughput_toks_per_s gauge
vllm:avg_generation_throughput_toks_per_s{model_name="m"} 12
# TYPE vllm:avg_prompt_throughput_toks_per_s gauge
vllm:avg_prompt_throughput_toks_per_s{model_name="m"} 40
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",num_cpu_blocks="128",num_gpu_blocks="1000"} 1
`;
    expect(await neutralText(page)).toEqual([
      `inference.config.info{block_size=16,num_cpu_blocks=128,num_gpu_blocks=1000} 1 1 gauge ${at}`,
      `inference.kv.capacity 16000 {token} gauge ${at}`,
      `inference.kv.offload.capacity{tier=host} 2048 {token} gauge ${at}`,
      `inference.kv.offload.usage{tier=host} 0.25 1 gauge ${at}`,
      `inference.kv.usage 0.5 1 gauge ${at}`,
      `inference.request.queue.duration n=2 sum=3 le=1 s histogram ${at}`,
      `inference.requests.running 3 {request} updown ${at}`,
      `inference.requests.swapped 1 {request} updown ${at}`,
      `inference.step.duration{stage=forward} n=2 sum=0.3 le=0.025 s histogram ${at}`,
      `inference.throughput.generation 12 {token}/s gauge ${at}`,
    ]);
  });

  test('0.8: the engine label is the data parallel rank; gaps between tokens under their old name', async () => {
    const page = `
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2
vllm:num_requests_waiting{engine="1",model_name="m"} 5
# TYPE vllm:gpu_prefix_cache_queries counter
vllm:gpu_prefix_cache_queries_total{engine="0",model_name="m"} 100
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_bucket{engine="0",le="0.01",model_name="m"} 4
vllm:time_per_output_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 4
vllm:time_per_output_token_seconds_sum{engine="0",model_name="m"} 0.02
vllm:time_per_output_token_seconds_count{engine="0",model_name="m"} 4
# TYPE vllm:spec_decode_num_drafts counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 7
# TYPE vllm:spec_decode_num_accepted_tokens counter
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 9
`;
    expect(await neutralText(page)).toEqual([
      `inference.inter_token.latency n=4 sum=0.02 le=0.01 s histogram ${dp0}`,
      `inference.prefix_cache.queries 100 {token} counter ${dp0}`,
      `inference.requests.waiting 2 {request} updown ${dp0}`,
      `inference.requests.waiting 5 {request} updown ${at} inference.rank.dp=1`,
      `inference.spec.drafts 7 {draft} counter ${dp0}`,
      `inference.spec.tokens.accepted 9 {token} counter ${dp0}`,
    ]);
  });

  test('0.9.2 to 0.11: old and new names side by side are counted once', async () => {
    const page = `
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.4
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.4
# TYPE vllm:gpu_prefix_cache_hits counter
vllm:gpu_prefix_cache_hits_total{engine="0",model_name="m"} 50
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 50
# TYPE vllm:time_per_output_token_seconds histogram
vllm:time_per_output_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 4
vllm:time_per_output_token_seconds_sum{engine="0",model_name="m"} 0.02
vllm:time_per_output_token_seconds_count{engine="0",model_name="m"} 4
# TYPE vllm:inter_token_latency_seconds histogram
vllm:inter_token_latency_seconds_bucket{engine="0",le="+Inf",model_name="m"} 4
vllm:inter_token_latency_seconds_sum{engine="0",model_name="m"} 0.02
vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 4
`;
    expect(await neutralText(page)).toEqual([
      `inference.inter_token.latency n=4 sum=0.02 s histogram ${dp0}`,
      `inference.kv.usage 0.4 1 gauge ${dp0}`,
      `inference.prefix_cache.hits 50 {token} counter ${dp0}`,
    ]);
  });

  test('0.12: NIXL volumes are the sums of histograms, real time per output token', async () => {
    const page = `
# TYPE vllm:nixl_xfer_time_seconds histogram
vllm:nixl_xfer_time_seconds_bucket{engine="0",le="0.005",model_name="m"} 1
vllm:nixl_xfer_time_seconds_bucket{engine="0",le="+Inf",model_name="m"} 3
vllm:nixl_xfer_time_seconds_sum{engine="0",model_name="m"} 0.3
vllm:nixl_xfer_time_seconds_count{engine="0",model_name="m"} 3
# TYPE vllm:nixl_bytes_transferred histogram
vllm:nixl_bytes_transferred_bucket{engine="0",le="+Inf",model_name="m"} 3
vllm:nixl_bytes_transferred_sum{engine="0",model_name="m"} 6000
vllm:nixl_bytes_transferred_count{engine="0",model_name="m"} 3
# TYPE vllm:nixl_num_failed_transfers counter
vllm:nixl_num_failed_transfers_total{engine="0",model_name="m"} 1
# TYPE vllm:nixl_num_kv_expired_reqs counter
vllm:nixl_num_kv_expired_reqs_total{engine="0",model_name="m"} 2
# TYPE vllm:request_time_per_output_token_seconds histogram
vllm:request_time_per_output_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 3
vllm:request_time_per_output_token_seconds_sum{engine="0",model_name="m"} 0.06
vllm:request_time_per_output_token_seconds_count{engine="0",model_name="m"} 3
# TYPE vllm:external_prefix_cache_hits counter
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 11
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 22
`;
    expect(await neutralText(page)).toEqual([
      `gen_ai.server.time_per_output_token n=3 sum=0.06 s histogram ${dp0}`,
      `inference.kv.transfer.count 3 {transfer} counter ${dp0}`,
      `inference.kv.transfer.duration n=3 sum=0.3 le=0.005 s histogram ${dp0}`,
      `inference.kv.transfer.failures{error.type=expired} 2 {error} counter ${dp0}`,
      `inference.kv.transfer.failures{error.type=transfer} 1 {error} counter ${dp0}`,
      `inference.kv.transfer.io 6000 By counter ${dp0}`,
      `inference.prefix_cache.hits 22 {token} counter ${dp0}`,
      `inference.prefix_cache.hits{tier=external} 11 {token} counter ${dp0}`,
    ]);
  });

  test('0.16: prompt tokens by source, recomputed ones', async () => {
    const page = `
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 100
# TYPE vllm:prompt_tokens_by_source counter
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 30
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_cache_hit"} 60
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="external_kv_transfer"} 10
# TYPE vllm:prompt_tokens_cached counter
vllm:prompt_tokens_cached_total{engine="0",model_name="m"} 70
# TYPE vllm:prompt_tokens_recomputed counter
vllm:prompt_tokens_recomputed_total{engine="0",model_name="m"} 4
`;
    expect(await neutralText(page)).toEqual([
      `inference.tokens.prompt 100 {token} counter ${dp0}`,
      `inference.tokens.prompt.cached{source=external} 10 {token} counter ${dp0}`,
      `inference.tokens.prompt.cached{source=local} 60 {token} counter ${dp0}`,
      `inference.tokens.prompt.computed 30 {token} counter ${dp0}`,
      `inference.tokens.prompt.recomputed 4 {token} counter ${dp0}`,
    ]);
  });

  test('0.20 and later: waiting requests by reason add up, the total beside them is left out', async () => {
    const page = `
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 9
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 7
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="deferred"} 2
# TYPE vllm:request_success counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 10
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 2
vllm:request_success_total{engine="0",finished_reason="error",model_name="m"} 1
# TYPE vllm:kv_offload_load_bytes counter
vllm:kv_offload_load_bytes_total{engine="0",model_name="m"} 64
# TYPE vllm:kv_offload_total_bytes counter
vllm:kv_offload_total_bytes_total{engine="0",model_name="m",transfer_type="CPU_to_GPU"} 64
vllm:kv_offload_total_bytes_total{engine="0",model_name="m",transfer_type="GPU_to_CPU"} 32
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="1188352",num_gpu_blocks="74272",num_cpu_blocks="None"} 1
# TYPE vllm:spec_decode_num_accepted_tokens counter
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 5
# TYPE vllm:spec_decode_num_accepted_tokens_per_pos counter
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 4
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="1"} 1
`;
    expect((await neutralText(page)).filter((l) => !l.startsWith('inference.config.info'))).toEqual([
      `inference.kv.capacity 1188352 {token} gauge ${dp0}`,
      `inference.kv.offload.io{direction=load,tier=host} 64 By counter ${dp0}`,
      `inference.requests.aborted 2 {request} counter ${dp0}`,
      `inference.requests.failed{error.type=engine} 1 {request} counter ${dp0}`,
      `inference.requests.finished{finish_reason=abort} 2 {request} counter ${dp0}`,
      `inference.requests.finished{finish_reason=error} 1 {request} counter ${dp0}`,
      `inference.requests.finished{finish_reason=stop} 10 {request} counter ${dp0}`,
      `inference.requests.waiting{reason=capacity} 7 {request} updown ${dp0}`,
      `inference.requests.waiting{reason=deferred} 2 {request} updown ${dp0}`,
      `inference.spec.tokens.accepted{position=0} 4 {token} counter ${dp0}`,
      `inference.spec.tokens.accepted{position=1} 1 {token} counter ${dp0}`,
    ]);
  });

  test('Rust frontend: counters whose TYPE has no _total, and no cache_config_info, so no capacity', async () => {
    const page = `
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 100
# TYPE vllm:generation_tokens counter
vllm:generation_tokens{engine="0",model_name="m"} 50
# TYPE http_requests counter
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 3
# EOF
`;
    expect(await neutralText(page)).toEqual([
      `http.server.request.count{http.request.method=POST,http.response.status_code=2xx,http.route=/v1/completions} 3 {request} counter ${at}`,
      `inference.tokens.generated 50 {token} counter ${dp0}`,
      `inference.tokens.prompt 100 {token} counter ${dp0}`,
    ]);
  });

  test('lines without TYPE are still what the catalogue says they are', async () => {
    const page = 'vllm:prompt_tokens_total{model_name="m"} 100\nvllm:num_requests_running{model_name="m"} 1\n';
    expect(await neutralText(page)).toEqual([
      `inference.requests.running 1 {request} updown ${at}`,
      `inference.tokens.prompt 100 {token} counter ${at}`,
    ]);
  });

  test('under Ray: one page holds several replicas', async () => {
    const page = `
# TYPE ray_vllm_num_requests_running gauge
ray_vllm_num_requests_running{model_name="m",engine="0",ReplicaId="a1",WorkerId="w1",Version="2.9"} 3
ray_vllm_num_requests_running{model_name="m",engine="0",ReplicaId="b2",WorkerId="w2",Version="2.9"} 4
# TYPE ray_vllm_gpu_cache_usage_perc gauge
ray_vllm_gpu_cache_usage_perc{model_name="m",engine="0",ReplicaId="a1"} 0.1
# TYPE ray_vllm_kv_cache_usage_perc gauge
ray_vllm_kv_cache_usage_perc{model_name="m",engine="0",ReplicaId="a1"} 0.1
`;
    expect(await neutralText(page)).toEqual([
      `inference.kv.usage 0.1 1 gauge ${dp0} service.instance.id=a1`,
      `inference.requests.running{WorkerId=w1} 3 {request} updown ${dp0} service.instance.id=a1`,
      `inference.requests.running{WorkerId=w2} 4 {request} updown ${dp0} service.instance.id=b2`,
    ]);
  });

  test('of the LoRA series only the newest counts; adapters are counted in its labels', async () => {
    const page = `
# TYPE vllm:lora_requests_info gauge
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters="b,c"} 1000
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b,c",waiting_lora_adapters=""} 2000
`;
    expect(await neutralText(page)).toEqual([
      'inference.lora.active 3 {adapter} updown @ inference.engine=vllm',
      'inference.lora.capacity 4 {adapter} gauge @ inference.engine=vllm',
      'inference.lora.waiting 0 {adapter} gauge @ inference.engine=vllm',
    ]);
  });

  test('LMCache on the same page keeps its own tier and does not count the engine’s tokens again', async () => {
    const labels = 'model_name="m",served_model_name="m",worker_id="0",role="worker"';
    const page = `
# TYPE vllm:prompt_tokens counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 100
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 60
# TYPE lmcache:num_prompt_tokens counter
lmcache:num_prompt_tokens_total{${labels}} 100
# TYPE lmcache:num_vllm_hit_tokens counter
lmcache:num_vllm_hit_tokens_total{${labels}} 60
# TYPE lmcache:num_lookup_hits counter
lmcache:num_lookup_hits_total{${labels}} 30
# TYPE lmcache:num_hit_tokens counter
lmcache:num_hit_tokens_total{${labels}} 25
# TYPE lmcache:remote_time_to_get histogram
lmcache:remote_time_to_get_bucket{${labels},le="10"} 1
lmcache:remote_time_to_get_bucket{${labels},le="+Inf"} 1
lmcache:remote_time_to_get_sum{${labels}} 7
lmcache:remote_time_to_get_count{${labels}} 1
`;
    const tokens = (await neutralText(page)).filter((l) => !l.includes('duration'));
    expect(tokens).toEqual([
      `inference.prefix_cache.hits 60 {token} counter ${dp0}`,
      `inference.prefix_cache.hits{lmcache.role=worker,tier=lmcache} 30 {token} counter ${at}`,
      `inference.tokens.prompt 100 {token} counter ${dp0}`,
    ]);
    expect((await neutralText(page)).find((l) => l.includes('duration'))).toMatch(
      /^inference\.kv\.offload\.duration\{direction=load,lmcache\.role=worker,tier=remote\} n=1 sum=0\.007 le=0\.01 s histogram/,
    );
  });

  test('the production-stack router is not taken for an engine', async () => {
    const page = `
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{server="http://a:8000"} 3
# TYPE vllm:healthy_pods_total gauge
vllm:healthy_pods_total{server="http://a:8000"} 1
# TYPE vllm:current_qps gauge
vllm:current_qps{server="http://a:8000"} 3
`;
    expect(await neutralText(page)).toEqual([
      'inference.router.endpoints.ready{endpoint=http://a:8000} 1 {endpoint} updown @ inference.engine=vllm inference.role=router',
      'inference.router.worker.load{kind=running,worker=http://a:8000} 3 {request} gauge @ inference.engine=vllm inference.role=router',
    ]);
  });

  test('what the target’s configuration says is kept, and its labels are not repeated on points', async () => {
    const mine = target({ 'service.instance.id': 'r0', 'host.name': 'n1', 'inference.engine': 'vllm' });
    const page =
      '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m",replica="r0",node="n1",rack="7"} 3\n';
    expect(await neutralText(page, mine)).toEqual([
      'inference.requests.running{rack=7} 3 {request} updown @ gen_ai.request.model=m',
    ]);
  });
});
