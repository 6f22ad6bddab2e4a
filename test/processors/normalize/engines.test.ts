import { describe, expect, test } from 'vitest';
import { neutralText } from './run.ts';

describe('SGLang', () => {
  const at = '@ gen_ai.request.model=m inference.engine=sglang';

  test('the build of November 2024: label name, other names, percent', async () => {
    const page = `
# TYPE sglang:num_requests_running gauge
sglang:num_requests_running{name="m"} 3
# TYPE sglang:num_requests_waiting gauge
sglang:num_requests_waiting{name="m"} 7
# TYPE sglang:queue_req gauge
sglang:queue_req{name="m"} 7
# TYPE sglang:cache_hit_rate gauge
sglang:cache_hit_rate{name="m"} 10.5
# TYPE sglang:max_total_num_tokens gauge
sglang:max_total_num_tokens{name="m"} 1000
# TYPE sglang:waiting_request_latency_seconds histogram
sglang:waiting_request_latency_seconds_bucket{le="1",name="m"} 1
sglang:waiting_request_latency_seconds_bucket{le="+Inf",name="m"} 1
sglang:waiting_request_latency_seconds_sum{name="m"} 0.5
sglang:waiting_request_latency_seconds_count{name="m"} 1
`;
    expect(await neutralText(page)).toEqual([
      `inference.kv.capacity 1000 {token} gauge ${at}`,
      `inference.prefix_cache.hit_ratio 0.105 1 gauge ${at}`,
      `inference.request.queue.duration n=1 sum=0.5 le=1 s histogram ${at}`,
      `inference.requests.running 3 {request} updown ${at}`,
      `inference.requests.waiting 7 {request} updown ${at}`,
    ]);
  });

  test('0.4: model_name only, retractions and queue time as gauges', async () => {
    const page = `
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m"} 162
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m"} 2826
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.28
# TYPE sglang:avg_request_queue_latency gauge
sglang:avg_request_queue_latency{model_name="m"} 1.5
# TYPE sglang:total_retracted_reqs gauge
sglang:total_retracted_reqs{model_name="m"} 12
# TYPE sglang:num_prefill_infight_queue_reqs gauge
sglang:num_prefill_infight_queue_reqs{model_name="m"} 3
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{model_name="m"} 100
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{model_name="m"} 40
`;
    expect(await neutralText(page)).toEqual([
      `inference.kv.usage 0.28 1 gauge ${at}`,
      `inference.pd.queue{queue=inflight} 3 {request} updown ${at}`,
      `inference.preemptions 12 {preemption} counter ${at}`,
      `inference.prefix_cache.hits 40 {token} counter ${at}`,
      `inference.prefix_cache.queries 100 {token} counter ${at}`,
      `inference.request.queue.duration 1.5 s gauge ${at}`,
      `inference.requests.running 162 {request} updown ${at}`,
      `inference.requests.waiting 2826 {request} updown ${at}`,
      `inference.tokens.prompt 100 {token} counter ${at}`,
      `inference.tokens.prompt.cached 40 {token} counter ${at}`,
    ]);
  });

  const ranks = 'engine_type="decode",model_name="m",moe_ep_rank="0",pp_rank="0",tp_rank="0"';
  const decode = '@ gen_ai.request.model=m inference.engine=sglang inference.role=decode';
  const rank0 =
    '@ gen_ai.request.model=m inference.engine=sglang inference.rank.ep=0 inference.rank.pp=0 inference.rank.tp=0 inference.role=decode';

  test('0.5.2 to 0.5.9: KV transfer as gauges of the last one', async () => {
    const page = `
# TYPE sglang:kv_transfer_latency_ms gauge
sglang:kv_transfer_latency_ms{${ranks}} 12
# TYPE sglang:kv_transfer_total_mb gauge
sglang:kv_transfer_total_mb{${ranks}} 2
# TYPE sglang:kv_transfer_speed_gb_s gauge
sglang:kv_transfer_speed_gb_s{${ranks}} 1
# TYPE sglang:gpu_execution_seconds_total counter
sglang:gpu_execution_seconds_total{${ranks},category="decode"} 5
`;
    expect(await neutralText(page)).toEqual([
      `inference.kv.transfer.bandwidth 1073741824 By/s gauge ${rank0}`,
      `inference.kv.transfer.duration 0.012 s gauge ${decode}`,
      `inference.kv.transfer.io 2097152 By gauge ${rank0}`,
      `inference.step.duration{category=decode} 5 s counter ${rank0}`,
    ]);
  });

  test('0.5.10 and later: the same names are histograms; pages times page size, host tier as a share', async () => {
    const page = `
# TYPE sglang:kv_transfer_latency_ms histogram
sglang:kv_transfer_latency_ms_bucket{${ranks},le="10"} 1
sglang:kv_transfer_latency_ms_bucket{${ranks},le="+Inf"} 2
sglang:kv_transfer_latency_ms_sum{${ranks}} 40
sglang:kv_transfer_latency_ms_count{${ranks}} 2
# TYPE sglang:kv_transfer_total_mb histogram
sglang:kv_transfer_total_mb_bucket{${ranks},le="+Inf"} 2
sglang:kv_transfer_total_mb_sum{${ranks}} 3
sglang:kv_transfer_total_mb_count{${ranks}} 2
# TYPE sglang:num_pages gauge
sglang:num_pages{${ranks}} 100
# TYPE sglang:page_size gauge
sglang:page_size{${ranks}} 16
# TYPE sglang:hicache_host_used_tokens gauge
sglang:hicache_host_used_tokens{${ranks}} 30
# TYPE sglang:hicache_host_total_tokens gauge
sglang:hicache_host_total_tokens{${ranks}} 120
# TYPE sglang:kv_used_tokens gauge
sglang:kv_used_tokens{${ranks}} 5
# TYPE sglang:num_used_tokens gauge
sglang:num_used_tokens{${ranks}} 9
# TYPE sglang:utilization gauge
sglang:utilization{${ranks}} -1
# TYPE sglang:fwd_occupancy gauge
sglang:fwd_occupancy{${ranks}} NaN
# TYPE sglang:num_decode_prealloc_queue_reqs gauge
sglang:num_decode_prealloc_queue_reqs{${ranks}} 4
# TYPE sglang:forward_execution_seconds_total counter
sglang:forward_execution_seconds_total{${ranks},category="decode"} 5
# TYPE sglang:realtime_tokens_total counter
sglang:realtime_tokens_total{${ranks},mode="decode"} 50
`;
    expect((await neutralText(page)).filter((l) => !l.startsWith('inference.config.info'))).toEqual([
      `inference.kv.capacity 1600 {token} gauge ${decode}`,
      `inference.kv.offload.capacity{tier=host} 120 {token} gauge ${decode}`,
      `inference.kv.offload.usage{tier=host} 0.25 1 gauge ${decode}`,
      `inference.kv.offload.used{tier=host} 30 {token} gauge ${decode}`,
      `inference.kv.transfer.count 2 {transfer} counter ${decode}`,
      `inference.kv.transfer.duration n=2 sum=0.04 le=0.01 s histogram ${decode}`,
      `inference.kv.transfer.io 3145728 By counter ${rank0}`,
      `inference.kv.used 5 {token} gauge ${decode}`,
      `inference.pd.queue{queue=prealloc} 4 {request} updown ${decode}`,
      `inference.step.duration{category=decode} 5 s counter ${rank0}`,
      `inference.step.tokens{phase=decode} 50 {token} counter ${decode}`,
    ]);
  });

  test('its gateway’s /engine_metrics: colons replaced, one page for several workers', async () => {
    const page = `
# TYPE sglang_num_running_reqs gauge
sglang_num_running_reqs{model_name="m",worker_addr="http://w1:30000"} 1
sglang_num_running_reqs{model_name="m",worker_addr="http://w2:30000"} 2
`;
    expect(await neutralText(page)).toEqual([
      `inference.requests.running 1 {request} updown ${at} service.instance.id=http://w1:30000`,
      `inference.requests.running 2 {request} updown ${at} service.instance.id=http://w2:30000`,
    ]);
  });

  test('its gateway itself, new and old: summaries, breaker states, workers', async () => {
    const router = '@ inference.engine=sglang inference.role=router';
    const page = `
# TYPE smg_router_ttft_seconds summary
smg_router_ttft_seconds{router_type="grpc",quantile="0.5"} 0.2
smg_router_ttft_seconds_sum{router_type="grpc"} 3
smg_router_ttft_seconds_count{router_type="grpc"} 10
# TYPE smg_worker_cb_state gauge
smg_worker_cb_state{worker="w1"} 1
# TYPE smg_worker_health gauge
smg_worker_health{worker="w1"} 1
smg_worker_health{worker="w2"} 0
# TYPE smg_worker_pool_size gauge
smg_worker_pool_size{worker_type="regular"} 2
# TYPE smg_http_rate_limit_total counter
smg_http_rate_limit_total{result="allowed"} 90
smg_http_rate_limit_total{result="rejected"} 10
`;
    expect(await neutralText(page)).toEqual([
      `gen_ai.server.time_to_first_token{router_type=grpc} n=10 sum=3 q0.5=0.2 s summary ${router}`,
      `inference.router.breaker.state{state=closed,worker=w1} 0 1 gauge ${router}`,
      `inference.router.breaker.state{state=half_open,worker=w1} 0 1 gauge ${router}`,
      `inference.router.breaker.state{state=open,worker=w1} 1 1 gauge ${router}`,
      `inference.router.endpoints.ready{endpoint=w1} 1 {endpoint} updown ${router}`,
      `inference.router.endpoints.ready{endpoint=w2} 0 {endpoint} updown ${router}`,
      `inference.router.rejections{reason=rejected} 10 {request} counter ${router}`,
    ]);
    const old = `
# TYPE sgl_router_requests_total counter
sgl_router_requests_total{route="/generate",method="POST"} 5
# TYPE sgl_router_processed_requests_total counter
sgl_router_processed_requests_total{worker="w1"} 5
`;
    expect(await neutralText(old)).toEqual([
      `inference.router.requests{method=POST,route=/generate} 5 {request} counter ${router}`,
    ]);
  });
});

describe('Dynamo', () => {
  const frontend = '@ gen_ai.request.model=m inference.engine=dynamo inference.role=frontend';

  test('0.3 and before: nv_llm_http_service_*', async () => {
    const page = `
# TYPE nv_llm_http_service_requests_total counter
nv_llm_http_service_requests_total{model="m",endpoint="chat_completions",request_type="stream",status="success"} 4
# TYPE nv_llm_http_service_inflight_requests gauge
nv_llm_http_service_inflight_requests{model="m"} 2
`;
    expect(await neutralText(page)).toEqual([
      `http.server.active_requests 2 {request} updown ${frontend}`,
      `inference.requests.finished{endpoint=chat_completions,request_type=stream,status=success} 4 {request} counter ${frontend}`,
    ]);
  });

  const page = (p: string) => `
# TYPE ${p}_requests_total counter
${p}_requests_total{model="m",status="success",error_type=""} 4
${p}_requests_total{model="m",status="error",error_type="overload"} 1
# TYPE ${p}_time_to_first_token_seconds histogram
${p}_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 5
${p}_time_to_first_token_seconds_sum{model="m"} 2
${p}_time_to_first_token_seconds_count{model="m"} 5
# TYPE ${p}_input_sequence_tokens histogram
${p}_input_sequence_tokens_bucket{model="m",le="+Inf"} 5
${p}_input_sequence_tokens_sum{model="m"} 2000
${p}_input_sequence_tokens_count{model="m"} 5
# TYPE ${p}_output_sequence_tokens histogram
${p}_output_sequence_tokens_bucket{model="m",le="+Inf"} 5
${p}_output_sequence_tokens_sum{model="m"} 300
${p}_output_sequence_tokens_count{model="m"} 5
# TYPE ${p}_request_duration_seconds histogram
${p}_request_duration_seconds_bucket{model="m",le="+Inf"} 5
${p}_request_duration_seconds_sum{model="m"} 9
${p}_request_duration_seconds_count{model="m"} 5
# TYPE ${p}_cached_tokens histogram
${p}_cached_tokens_bucket{model="m",le="+Inf"} 5
${p}_cached_tokens_sum{model="m"} 800
${p}_cached_tokens_count{model="m"} 5
# TYPE ${p}_model_total_kv_blocks gauge
${p}_model_total_kv_blocks{model="m"} 100
# TYPE ${p}_model_kv_cache_block_size gauge
${p}_model_kv_cache_block_size{model="m"} 16
# TYPE ${p}_inflight_requests_total gauge
${p}_inflight_requests_total{model="m"} 3
`;
  const expected = [
    `gen_ai.server.request.duration n=5 sum=9 s histogram ${frontend}`,
    `gen_ai.server.time_to_first_token n=5 sum=2 s histogram ${frontend}`,
    `http.server.active_requests 3 {request} updown ${frontend}`,
    `inference.kv.capacity 1600 {token} gauge ${frontend}`,
    `inference.request.output.tokens n=5 sum=300 {token} histogram ${frontend}`,
    `inference.request.prompt.tokens n=5 sum=2000 {token} histogram ${frontend}`,
    `inference.requests.failed{error.type=overload} 1 {request} counter ${frontend}`,
    `inference.requests.finished{error.type=overload,status=error} 1 {request} counter ${frontend}`,
    `inference.requests.finished{status=success} 4 {request} counter ${frontend}`,
    `inference.tokens.prompt.cached 800 {token} counter ${frontend}`,
  ];

  test('the frontend since 0.4', async () => {
    expect(await neutralText(page('dynamo_frontend'))).toEqual(expected);
  });

  test('the frontend under a prefix of the user’s choice', async () => {
    expect(await neutralText(page('acme_llm'))).toEqual(expected);
  });

  test('the router inside a frontend is told from the frontend', async () => {
    const both = `
# TYPE dynamo_frontend_time_to_first_token_seconds histogram
dynamo_frontend_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 5
dynamo_frontend_time_to_first_token_seconds_sum{model="m"} 2
dynamo_frontend_time_to_first_token_seconds_count{model="m"} 5
# TYPE dynamo_component_router_time_to_first_token_seconds histogram
dynamo_component_router_time_to_first_token_seconds_bucket{router_id="1",le="+Inf"} 5
dynamo_component_router_time_to_first_token_seconds_sum{router_id="1"} 1
dynamo_component_router_time_to_first_token_seconds_count{router_id="1"} 5
# TYPE dynamo_routing_overhead_total_ms histogram
dynamo_routing_overhead_total_ms_bucket{router_id="1",le="0.5"} 5
dynamo_routing_overhead_total_ms_bucket{router_id="1",le="+Inf"} 5
dynamo_routing_overhead_total_ms_sum{router_id="1"} 2
dynamo_routing_overhead_total_ms_count{router_id="1"} 5
# TYPE dynamo_frontend_worker_active_decode_blocks gauge
dynamo_frontend_worker_active_decode_blocks{worker_id="255",dp_rank="0",worker_type="decode"} 7
`;
    const router = '@ inference.engine=dynamo inference.role=router';
    expect(await neutralText(both)).toEqual([
      `gen_ai.server.time_to_first_token n=5 sum=2 s histogram ${frontend}`,
      `gen_ai.server.time_to_first_token{router_id=1} n=5 sum=1 s histogram ${router}`,
      `inference.router.decision.duration{router_id=1} n=5 sum=0.002 le=0.0005 s histogram ${router}`,
      'inference.router.worker.load{worker=255,worker_type=decode} 7 {block} gauge @ inference.engine=dynamo inference.rank.dp=0 inference.role=frontend',
    ]);
  });

  const labels = 'dynamo_namespace="ns",dynamo_component="prefill",dynamo_endpoint="generate",worker_id="ff",model="m"';

  test('a worker by itself, with its hexadecimal id', async () => {
    const worker = `
# TYPE dynamo_component_inflight_requests gauge
dynamo_component_inflight_requests{${labels}} 4
# TYPE dynamo_component_gpu_cache_usage_percent gauge
dynamo_component_gpu_cache_usage_percent{${labels},dp_rank="0"} 0.5
# TYPE dynamo_component_uptime_seconds gauge
dynamo_component_uptime_seconds{${labels}} 60
`;
    const at =
      '@ dynamo.component=prefill dynamo.namespace=ns gen_ai.request.model=m inference.engine=dynamo inference.role=prefill inference.worker.id=255';
    expect(await neutralText(worker)).toEqual([
      `inference.kv.usage{dynamo.endpoint=generate} 0.5 1 gauge ${at.replace('inference.role', 'inference.rank.dp=0 inference.role')}`,
      `inference.requests.running{dynamo.endpoint=generate} 4 {request} updown ${at}`,
      `process.uptime{dynamo.endpoint=generate} 60 s gauge ${at}`,
    ]);
  });

  test('a worker that passes the engine’s own page through: the engine’s numbers count', async () => {
    const worker = `
# TYPE dynamo_component_inflight_requests gauge
dynamo_component_inflight_requests{${labels}} 4
# TYPE dynamo_component_request_duration_seconds histogram
dynamo_component_request_duration_seconds_bucket{${labels},le="+Inf"} 5
dynamo_component_request_duration_seconds_sum{${labels}} 9
dynamo_component_request_duration_seconds_count{${labels}} 5
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m",engine="0"} 3
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{model_name="m",engine="0",le="+Inf"} 5
vllm:e2e_request_latency_seconds_sum{model_name="m",engine="0"} 8
vllm:e2e_request_latency_seconds_count{model_name="m",engine="0"} 5
`;
    const at = '@ gen_ai.request.model=m inference.engine=vllm inference.rank.dp=0';
    expect(await neutralText(worker)).toEqual([
      `gen_ai.server.request.duration n=5 sum=8 s histogram ${at}`,
      `inference.requests.running 3 {request} updown ${at}`,
    ]);
  });
});

describe('llm-d and the Gateway API inference extension', () => {
  const router = '@ inference.engine=llm_d inference.role=router';

  test('GIE 1.0: inference_model_* and inference_pool_*', async () => {
    const page = `
# TYPE inference_model_request_total counter
inference_model_request_total{model_name="m",target_model_name="t"} 783
# TYPE inference_pool_average_queue_size gauge
inference_pool_average_queue_size{name="p"} 1.5
# TYPE inference_pool_per_pod_queue_size gauge
inference_pool_per_pod_queue_size{model_server_pod="a",name="p"} 2
# TYPE inference_pool_ready_pods gauge
inference_pool_ready_pods{name="p"} 2
`;
    const pool = '@ inference.engine=llm_d inference.pool=p inference.role=router';
    expect(await neutralText(page)).toEqual([
      `inference.requests.waiting{endpoint=a} 2 {request} updown ${pool}`,
      `inference.requests.waiting{statistic=mean} 1.5 {request} updown ${pool}`,
      `inference.router.endpoints.ready 2 {endpoint} updown ${pool}`,
      `inference.router.requests{gen_ai.request.model=m,inference.target.model=t} 783 {request} counter ${router}`,
    ]);
  });

  test('router 0.9: old and new names together, with different labels, are counted once', async () => {
    const page = `
# TYPE llm_d_epp_request_total counter
llm_d_epp_request_total{model_name="m",target_model_name="t",fairness_id="f1",priority="0"} 6
llm_d_epp_request_total{model_name="m",target_model_name="t",fairness_id="f2",priority="0"} 4
# TYPE inference_objective_request_total counter
inference_objective_request_total{model_name="m",target_model_name="t",priority="0"} 10
# TYPE llm_d_epp_flow_control_requests_total counter
llm_d_epp_flow_control_requests_total{outcome="dispatched",priority="0",inference_pool="p"} 9
llm_d_epp_flow_control_requests_total{outcome="rejected_capacity",priority="0",inference_pool="p"} 1
# TYPE llm_d_epp_pd_decision_total counter
llm_d_epp_pd_decision_total{model_name="m",decision_type="prefill-decode"} 3
# TYPE llm_d_epp_disagg_decision_total counter
llm_d_epp_disagg_decision_total{model_name="m",decision_type="prefill-decode"} 3
`;
    const model = 'gen_ai.request.model=m,inference.target.model=t,priority=0';
    expect(await neutralText(page)).toEqual([
      `inference.pd.decisions{decision=prefill-decode,gen_ai.request.model=m} 3 {decision} counter ${router}`,
      'inference.router.rejections{priority=0,reason=rejected_capacity} 1 {request} counter @ inference.engine=llm_d inference.pool=p inference.role=router',
      `inference.router.requests{fairness_id=f1,${model}} 6 {request} counter ${router}`,
      `inference.router.requests{fairness_id=f2,${model}} 4 {request} counter ${router}`,
    ]);
  });
});

describe('TensorRT-LLM and Triton', () => {
  test('trtllm-serve: blocks times tokens per block, parts instead of totals', async () => {
    const l = 'engine_type="pytorch",model_name="m",pid="1"';
    const page = `
# TYPE trtllm_kv_cache_utilization gauge
trtllm_kv_cache_utilization{${l}} 0.5
# TYPE trtllm_kv_cache_max_blocks gauge
trtllm_kv_cache_max_blocks{${l}} 100
# TYPE trtllm_kv_cache_used_blocks gauge
trtllm_kv_cache_used_blocks{${l}} 50
# TYPE trtllm_kv_cache_tokens_per_block gauge
trtllm_kv_cache_tokens_per_block{${l}} 32
# TYPE trtllm_request_success_total counter
trtllm_request_success_total{${l},finished_reason="stop"} 8
# TYPE trtllm_num_requests_completed_total counter
trtllm_num_requests_completed_total{${l}} 8
# TYPE trtllm_kv_cache_reused_blocks_total counter
trtllm_kv_cache_reused_blocks_total{${l}} 6
# TYPE trtllm_kv_cache_missed_blocks_total counter
trtllm_kv_cache_missed_blocks_total{${l}} 4
`;
    const at = '@ gen_ai.request.model=m inference.engine.backend=pytorch inference.engine=trtllm';
    expect(await neutralText(page)).toEqual([
      `inference.kv.capacity 3200 {token} gauge ${at}`,
      `inference.kv.usage 0.5 1 gauge ${at}`,
      `inference.kv.used 1600 {token} gauge ${at}`,
      `inference.prefix_cache.hits 6 {block} counter ${at}`,
      `inference.prefix_cache.queries{outcome=hit} 6 {block} counter ${at}`,
      `inference.prefix_cache.queries{outcome=miss} 4 {block} counter ${at}`,
      `inference.requests.finished{finish_reason=stop} 8 {request} counter ${at}`,
    ]);
  });

  test('Triton: sums and counts become histograms, one family holds several signals', async () => {
    const page = `
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="m",version="1"} 10
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{model="m",version="1"} 5000000
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="m",version="1",request_type="active"} 4
nv_trt_llm_request_metrics{model="m",version="1",request_type="waiting"} 2
nv_trt_llm_request_metrics{model="m",version="1",request_type="max"} 64
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{model="m",version="1",kv_cache_block_type="max"} 100
nv_trt_llm_kv_cache_block_metrics{model="m",version="1",kv_cache_block_type="tokens_per"} 64
nv_trt_llm_kv_cache_block_metrics{model="m",version="1",kv_cache_block_type="fraction"} 0.25
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
`;
    const at = '@ gen_ai.request.model=m inference.engine=trtllm';
    expect(await neutralText(page)).toEqual([
      `gen_ai.server.request.duration{model.version=1} n=10 sum=5 s histogram ${at}`,
      'hw.gpu.utilization 0.5 1 gauge @ hw.id=GPU-1 inference.engine=trtllm',
      `inference.kv.capacity{model.version=1} 6400 {token} gauge ${at}`,
      `inference.kv.usage{model.version=1} 0.25 1 gauge ${at}`,
      `inference.requests.finished{model.version=1} 10 {request} counter ${at}`,
      `inference.requests.running{model.version=1} 4 {request} updown ${at}`,
      `inference.requests.waiting{model.version=1} 2 {request} updown ${at}`,
      `inference.step.limit{limit=max_num_seqs,model.version=1} 64 {request} gauge ${at}`,
    ]);
  });
});

describe('TGI, NIM, NIXL, Mooncake', () => {
  test('TGI: counters with no _total, failures by cause', async () => {
    const page = `
# TYPE tgi_request_count counter
tgi_request_count 150
# TYPE tgi_request_failure counter
tgi_request_failure{err="overloaded"} 3
tgi_request_failure{err="dropped"} 2
# TYPE tgi_request_skipped_tokens summary
tgi_request_skipped_tokens{quantile="0.5"} 1
tgi_request_skipped_tokens_sum 40
tgi_request_skipped_tokens_count 20
`;
    expect(await neutralText(page)).toEqual([
      'inference.requests.aborted 2 {request} counter @ inference.engine=tgi',
      'inference.requests.failed{error.type=dropped} 2 {request} counter @ inference.engine=tgi',
      'inference.requests.failed{error.type=overloaded} 3 {request} counter @ inference.engine=tgi',
      'inference.requests.started 150 {request} counter @ inference.engine=tgi',
      'inference.router.rejections{reason=overloaded} 3 {request} counter @ inference.engine=tgi',
      'inference.spec.tokens.accepted 40 {token} counter @ inference.engine=tgi',
    ]);
  });

  test('NIM: bare names, but only where the page is known to be one', async () => {
    const bare = '# TYPE num_requests_running gauge\nnum_requests_running{model_name="m"} 2\n';
    expect(await neutralText(bare)).toEqual([]);
    expect(
      await neutralText(
        `${bare}# TYPE request_finish_total counter\nrequest_finish_total{model_name="m",finished_reason="stop"} 5\n`,
      ),
    ).toEqual([
      'inference.requests.finished{finish_reason=stop} 5 {request} counter @ gen_ai.request.model=m inference.engine=nim',
      'inference.requests.running 2 {request} updown @ gen_ai.request.model=m inference.engine=nim',
    ]);
  });

  test('NIXL 1.3 and 1.4: gauge and counters without _total, then a histogram in microseconds', async () => {
    const old = `
# TYPE agent_tx_bytes counter
agent_tx_bytes{category="NIXL",hostname="n1",agent_name="a"} 100
# TYPE agent_xfer_time gauge
agent_xfer_time{category="NIXL",hostname="n1",agent_name="a"} 250
`;
    expect(await neutralText(old)).toEqual([
      'inference.kv.transfer.duration{agent=a} 0.00025 s gauge @ host.name=n1',
      'inference.kv.transfer.io{agent=a,direction=transmit} 100 By counter @ host.name=n1',
    ]);
    const now = `
# TYPE agent_tx_bytes_total counter
agent_tx_bytes_total{hostname="n1",agent_name="a"} 100
# TYPE agent_xfer_time_us histogram
agent_xfer_time_us_bucket{hostname="n1",agent_name="a",le="500"} 2
agent_xfer_time_us_bucket{hostname="n1",agent_name="a",le="+Inf"} 2
agent_xfer_time_us_sum{hostname="n1",agent_name="a"} 600
agent_xfer_time_us_count{hostname="n1",agent_name="a"} 2
# TYPE agent_xfer_time_total counter
agent_xfer_time_total{hostname="n1",agent_name="a"} 600
`;
    expect(await neutralText(now)).toEqual([
      'inference.kv.transfer.duration{agent=a} n=2 sum=0.0006 le=0.0005 s histogram @ host.name=n1',
      'inference.kv.transfer.io{agent=a,direction=transmit} 100 By counter @ host.name=n1',
    ]);
  });

  test('Mooncake: how full its segments are', async () => {
    const page = `
# TYPE master_allocated_bytes gauge
master_allocated_bytes 25
# TYPE master_total_capacity_bytes gauge
master_total_capacity_bytes 100
# TYPE segment_allocated_bytes gauge
segment_allocated_bytes{segment="a"} 25
# TYPE master_evicted_key_count counter
master_evicted_key_count 3
`;
    expect(await neutralText(page)).toEqual([
      'inference.kv.evictions{tier=mooncake} 3 {key} counter',
      'inference.kv.offload.capacity{tier=mooncake} 100 By gauge',
      'inference.kv.offload.usage{tier=mooncake} 0.25 1 gauge',
      'inference.kv.offload.used{tier=mooncake} 25 By gauge',
    ]);
  });

  test('LMCache’s server before and after its counters were renamed', async () => {
    const of = (name: string) => `# TYPE ${name} counter\n${name}{cache_salt=""} 13\n`;
    const expected = [
      'inference.kv.offload.io{direction=store,tier=host} 13 {chunk} counter @ inference.engine=lmcache',
    ];
    expect(await neutralText(of('lmcache_mp_l1_write_keys_total'))).toEqual(expected);
    expect(await neutralText(of('lmcache_mp_l1_write_chunks_total'))).toEqual(expected);
  });
});
