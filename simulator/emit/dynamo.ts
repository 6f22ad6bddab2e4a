/** NVIDIA Dynamo 1.1: the frontend with its router, and what a worker adds to the page of its engine. */

import { waitingCount } from '../world/scheduler.ts';
import type { Replica, World } from '../world/types.ts';
import { rust } from './number.ts';
import { type Labels, type Page, type PageBuilder, pageBuilder } from './page.ts';

export function dynamoFrontendPage(w: World, escaped: boolean): Page {
  const f = w.frontend;
  const b = pageBuilder({ format: rust, escaped, leLast: true, sumFirst: false });
  const model: Labels = [['model', w.model.servedName.toLowerCase()]];
  const gauge = (name: string, help: string, value: () => number, labels: Labels = model) => {
    b.family(name, 'gauge', help);
    b.sample(name, labels, value);
  };
  b.family('dynamo_frontend_requests_total', 'counter', 'Total number of LLM requests processed');
  const outcome = (status: string, type: string, value: () => number) =>
    b.sample(
      'dynamo_frontend_requests_total',
      [
        ['endpoint', 'chat_completions'],
        ['error_type', type],
        ...model,
        ['request_type', 'stream'],
        ['status', status],
      ],
      value,
    );
  outcome('success', '', () => f.duration.count);
  b.when(
    () => f.errors > 0,
    () => outcome('error', 'internal', () => f.errors),
  );
  b.when(
    () => f.cancelled > 0,
    () => outcome('error', 'cancelled', () => f.cancelled),
  );
  gauge('dynamo_frontend_active_requests', 'Requests being handled', () => f.running);
  gauge('dynamo_frontend_inflight_requests', 'Number of inflight requests', () => f.running);
  gauge('dynamo_frontend_queued_requests', 'Number of requests in the HTTP queue', () => f.queued);
  gauge('dynamo_frontend_disconnected_clients', 'Disconnected clients', () => f.cancelled, []);
  const hist = (name: string, help: string, of: () => typeof f.ttft, labels: Labels = model) => {
    b.family(name, 'histogram', help);
    b.histogram(name, labels, of);
  };
  hist('dynamo_frontend_request_duration_seconds', 'Duration of LLM requests', () => f.duration);
  hist('dynamo_frontend_input_sequence_tokens', 'Input sequence length in tokens', () => f.inputTokens);
  hist('dynamo_frontend_output_sequence_tokens', 'Output sequence length in tokens', () => f.outputTokens);
  b.family('dynamo_frontend_output_tokens_total', 'counter', 'Total output tokens');
  b.sample('dynamo_frontend_output_tokens_total', model, () => f.outputTotal);
  hist('dynamo_frontend_cached_tokens', 'Cached tokens', () => f.cachedTokens);
  hist('dynamo_frontend_time_to_first_token_seconds', 'Time to first token in seconds', () => f.ttft);
  hist('dynamo_frontend_inter_token_latency_seconds', 'Inter-token latency in seconds', () => f.itl);
  const total = (r: Replica) => r.scheds.reduce((a, s) => a + s.kv.total, 0);
  gauge('dynamo_frontend_model_total_kv_blocks', 'Total KV blocks', () => total(w.replicas[0]!));
  gauge('dynamo_frontend_model_kv_cache_block_size', 'KV cache block size', () => 16);
  b.family('dynamo_frontend_worker_active_decode_blocks', 'gauge', 'Active decode blocks of a worker');
  for (const r of w.replicas)
    b.when(
      () => r.state === 'ready' || r.state === 'hung',
      () =>
        b.sample(
          'dynamo_frontend_worker_active_decode_blocks',
          [
            ['dp_rank', '0'],
            ['worker_id', String(r.workerId)],
            ['worker_type', r.role === 'prefill' ? 'prefill' : 'decode'],
          ],
          () => Math.ceil((f.inflight.get(r)!.tokens ?? 0) / 16),
        ),
    );
  gauge('dynamo_frontend_router_queue_pending_requests', 'Requests pending in the router queue', () => f.queued, [
    ...model,
    ['policy_class', 'default'],
    ['worker_type', 'decode'],
  ]);
  const router: Labels = [['router_id', 'r-1']];
  const component: Labels = [['dynamo_component', 'router'], ['dynamo_namespace', 'dynamo'], ...router];
  b.family('dynamo_component_router_requests_total', 'counter', 'Requests of the router');
  b.sample('dynamo_component_router_requests_total', component, () => f.requests);
  hist(
    'dynamo_component_router_time_to_first_token_seconds',
    'Time to first token at the router',
    () => f.ttft,
    component,
  );
  hist('dynamo_component_router_kv_hit_rate', 'Predicted KV hit rate', () => f.hitRatio, component);
  b.family('dynamo_component_router_worker_registered', 'gauge', 'Registered workers');
  for (const r of w.replicas)
    b.when(
      () => r.state === 'ready' || r.state === 'hung',
      () =>
        b.sample(
          'dynamo_component_router_worker_registered',
          [
            ['dp_rank', '0'],
            ...component,
            ['router_worker_id', String(r.workerId)],
            ['worker_type', r.role === 'prefill' ? 'prefill' : 'decode'],
          ],
          () => 1,
        ),
    );
  hist('dynamo_router_overhead_total_ms', 'Total routing overhead in milliseconds', () => f.decisionMs, router);
  return b.build();
}

/** Labels that Dynamo adds to everything a worker shows. */
export function workerLabels(rep: Replica): Labels {
  return [
    ['dynamo_component', rep.role === 'prefill' ? 'prefill' : 'backend'],
    ['dynamo_endpoint', 'generate'],
    ['dynamo_namespace', 'dynamo'],
    ['worker_id', rep.workerId.toString(16)],
  ];
}

/** A worker's own families, behind those of its engine. */
export function addWorkerFamilies(b: PageBuilder, w: World, rep: Replica): void {
  const labels: Labels = [
    ...workerLabels(rep).slice(0, 3),
    ['model', rep.model.servedName],
    ...workerLabels(rep).slice(3),
  ];
  const f = w.frontend;
  const c = () => rep.scheds[0]!.counters;
  const add = (name: string, type: string, help: string, value: () => number, extra: Labels = []) => {
    b.family(name, type, help);
    b.sample(name, [...labels, ...extra], value, rust);
  };
  add(
    'dynamo_component_requests_total',
    'counter',
    'Total number of requests processed by the endpoint',
    () => f.sent.get(rep) ?? 0,
  );
  add('dynamo_component_inflight_requests', 'gauge', 'Number of requests currently being processed', () =>
    rep.scheds.reduce((a, s) => a + s.running.n + waitingCount(s) + s.prealloc.length + s.inTransfer, 0),
  );
  b.when(
    () => rep.outcome.error > 0,
    () =>
      add('dynamo_component_errors_total', 'counter', 'Total number of errors', () => rep.outcome.error, [
        ['error_type', 'generate'],
      ]),
  );
  b.when(
    () => rep.outcome.abort > 0,
    () =>
      add('dynamo_component_cancellation_total', 'counter', 'Total number of cancellations', () => rep.outcome.abort),
  );
  add(
    'dynamo_component_uptime_seconds',
    'gauge',
    'Total uptime in seconds',
    () => Math.round((w.now - rep.startedAt) * 1000) / 1000,
  );
  add('dynamo_component_total_blocks', 'gauge', 'Total KV blocks', () => rep.scheds[0]!.kv.total, [['dp_rank', '0']]);
  add('dynamo_component_gpu_cache_usage_percent', 'gauge', 'KV cache usage, 0 to 1', () => c().kvUsage, [
    ['dp_rank', '0'],
  ]);
}
