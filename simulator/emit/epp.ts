/**
 * The llm-d endpoint picker: the names of the Gateway API inference extension 1.1-1.3 (with vLLM 0.10), or of router 0.9,
 * which shows new and deprecated names side by side.
 */
import type { Replica, World } from '../world/types.ts';
import { go } from './number.ts';
import { type Labels, type Page, pageBuilder } from './page.ts';

/** The pool's name as the router knows it. */
export const poolName = (w: World): string => `${w.spec.deploy.service}-pool`;

export function eppPage(w: World, escaped: boolean): Page {
  const f = w.frontend;
  const b = pageBuilder({ format: go, escaped });
  const modern = w.spec.deploy.version !== '0.10';
  const model = w.model.servedName;
  const old: Labels = [
    ['model_name', model],
    ['target_model_name', model],
  ];
  const now: Labels = [
    ['fairness_id', 'default'],
    ['model_name', model],
    ['priority', '0'],
    ['target_model_name', model],
  ];
  const pool = poolName(w);
  const serving = w.replicas.filter((r) => r.role !== 'prefill');
  const endpoint = (r: Replica) => (w.spec.cluster.kubernetes ? r.pod : r.id);
  const mean = (of: (r: Replica) => number) => () => {
    let total = 0;
    let n = 0;
    for (const r of w.replicas)
      if (r.state === 'ready' || r.state === 'hung') {
        total += of(r);
        n++;
      }
    return n === 0 ? 0 : total / n;
  };
  const waiting = (r: Replica) => r.scheds.reduce((a, s) => a + s.counters.waiting, 0);
  const running = (r: Replica) => r.scheds.reduce((a, s) => a + s.counters.running, 0);
  const usage = (r: Replica) => Math.max(...r.scheds.map((s) => s.counters.kvUsage));

  /** New name and deprecated name of one thing. */
  const both = (
    fresh: string,
    dated: string,
    type: string,
    help: string,
    show: (name: string, labels: Labels) => void,
    plain = false,
  ) => {
    if (modern) {
      b.family(fresh, type, `[ALPHA] ${help}`);
      show(fresh, plain ? [] : now);
    }
    b.family(dated, type, modern ? `[ALPHA] [Deprecated: Use ${fresh}] ${help}` : `[ALPHA] ${help}`);
    show(dated, plain ? [] : old);
  };
  const withPriority = (labels: Labels): Labels =>
    modern
      ? ([...labels.filter(([k]) => k !== 'priority'), ['priority', '0'] as const].sort((x, y) =>
          x[0] < y[0] ? -1 : 1,
        ) as Labels)
      : labels;

  both('llm_d_epp_request_total', 'inference_objective_request_total', 'counter', 'Requests.', (n, l) =>
    b.sample(n, withPriority(l), () => f.requests),
  );
  b.when(
    () => f.errors + f.cancelled > 0,
    () =>
      both(
        'llm_d_epp_request_error_total',
        'inference_objective_request_error_total',
        'counter',
        'Request errors.',
        (n, l) => {
          b.sample(n, [['error_code', 'ServiceUnavailable'], ...l], () => f.errors);
        },
      ),
  );
  both(
    'llm_d_epp_request_duration_seconds',
    'inference_objective_request_duration_seconds',
    'histogram',
    'Response latency.',
    (n, l) => b.histogram(n, l, () => f.duration),
  );
  both(
    'llm_d_epp_request_ttft_seconds',
    'inference_objective_request_ttft_seconds',
    'histogram',
    'Time to first token.',
    (n, l) =>
      b.histogram(
        n,
        n.startsWith('llm') ? ([...l.slice(0, 3), ['streaming', 'true'], l[3]!] as Labels) : l,
        () => f.ttft,
      ),
  );
  if (modern) {
    b.family('llm_d_epp_request_streaming_itl_seconds', 'histogram', '[ALPHA] Gap between response chunks.');
    b.histogram('llm_d_epp_request_streaming_itl_seconds', now, () => f.itl);
    b.family('llm_d_epp_request_streaming_tpot_seconds', 'histogram', '[ALPHA] Time per output token.');
    b.histogram('llm_d_epp_request_streaming_tpot_seconds', now, () => f.tpot);
    b.family('llm_d_epp_request_input_tokens', 'histogram', '[ALPHA] Input tokens.');
    b.histogram('llm_d_epp_request_input_tokens', now, () => f.inputTokens);
    b.family('llm_d_epp_request_output_tokens', 'histogram', '[ALPHA] Output tokens.');
    b.histogram('llm_d_epp_request_output_tokens', now, () => f.outputTokens);
  } else {
    b.family('inference_objective_input_tokens', 'histogram', '[ALPHA] Input tokens.');
    b.histogram('inference_objective_input_tokens', old, () => f.inputTokens);
    b.family('inference_objective_output_tokens', 'histogram', '[ALPHA] Output tokens.');
    b.histogram('inference_objective_output_tokens', old, () => f.outputTokens);
  }
  both('llm_d_epp_request_running', 'inference_objective_running_requests', 'gauge', 'Running requests.', (n, l) =>
    b.sample(n, n.startsWith('llm') ? l : [['model_name', model]], () => f.running),
  );
  both(
    'llm_d_epp_average_kv_cache_utilization',
    'inference_pool_average_kv_cache_utilization',
    'gauge',
    'Average KV cache utilization.',
    (n) => b.sample(n, [['name', pool]], mean(usage)),
  );
  both('llm_d_epp_average_queue_size', 'inference_pool_average_queue_size', 'gauge', 'Average queue size.', (n) =>
    b.sample(n, [['name', pool]], mean(waiting)),
  );
  if (modern) {
    b.family('llm_d_epp_average_running_requests', 'gauge', '[ALPHA] Average running requests.');
    b.sample('llm_d_epp_average_running_requests', [['name', pool]], mean(running));
  }
  both('llm_d_epp_ready_endpoints', 'inference_pool_ready_pods', 'gauge', 'Ready endpoints.', (n) =>
    b.sample(n, [['name', pool]], () => w.replicas.filter((r) => r.state === 'ready' || r.state === 'hung').length),
  );
  both(
    'llm_d_epp_per_endpoint_queue_size',
    'inference_pool_per_pod_queue_size',
    'gauge',
    'Queue size of an endpoint.',
    (n) => {
      for (const r of w.replicas)
        b.when(
          () => r.state === 'ready' || r.state === 'hung',
          () =>
            b.sample(
              n,
              n.startsWith('llm')
                ? [
                    ['model_server_endpoint', endpoint(r)],
                    ['name', pool],
                  ]
                : [
                    ['model_server_pod', endpoint(r)],
                    ['name', pool],
                  ],
              () => waiting(r),
            ),
        );
    },
  );
  both(
    'llm_d_epp_scheduler_e2e_duration_seconds',
    'inference_extension_scheduler_e2e_duration_seconds',
    'histogram',
    'Scheduling latency.',
    (n) => b.histogram(n, [], () => f.decision),
    true,
  );
  both(
    'llm_d_epp_scheduler_attempts_total',
    'inference_extension_scheduler_attempts_total',
    'counter',
    'Scheduling attempts.',
    (n) => {
      for (const r of serving) {
        const labels: Labels = [
          [n.startsWith('llm') ? 'endpoint_name' : 'pod_name', endpoint(r)],
          ['namespace', 'inference'],
          ['port', String(r.port)],
          ['status', 'success'],
          ['target_model_name', model],
        ];
        b.when(
          () => (f.sent.get(r) ?? 0) > 0,
          () => b.sample(n, labels, () => f.sent.get(r)!),
        );
      }
    },
  );
  if (w.spec.deploy.router === 'prefix') {
    both(
      'llm_d_epp_prefix_indexer_hit_ratio',
      'inference_extension_prefix_indexer_hit_ratio',
      'histogram',
      'Prefix hit ratio.',
      (n) =>
        b.histogram(
          n,
          n.startsWith('llm')
            ? [
                ['plugin_name', 'prefix-cache-scorer'],
                ['plugin_type', 'prefix-cache-scorer'],
              ]
            : [],
          () => f.hitRatio,
        ),
    );
  }
  if (modern) {
    const flow: Labels = [
      ['fairness_id', 'default'],
      ['inference_pool', pool],
      ['model_name', model],
      ['outcome', 'Dispatched'],
      ['priority', '0'],
      ['target_model_name', model],
    ];
    both(
      'llm_d_epp_flow_control_request_queue_duration_seconds',
      'inference_extension_flow_control_request_queue_duration_seconds',
      'histogram',
      'Time in the flow control queue.',
      (n) => b.histogram(n, flow, () => f.queueTime),
    );
    const depth: Labels = flow.filter(([k]) => k !== 'outcome');
    both(
      'llm_d_epp_flow_control_queue_size',
      'inference_extension_flow_control_queue_size',
      'gauge',
      'Requests in the flow control queue.',
      (n) => b.sample(n, depth, () => f.queued),
    );
  }
  if (w.spec.deploy.pd) {
    const labels: Labels = [
      ['decision_type', 'prefill-decode'],
      ['model_name', model],
    ];
    if (modern) {
      b.family('llm_d_epp_disagg_decision_total', 'counter', '[ALPHA] Disaggregation decisions.');
      b.sample(
        'llm_d_epp_disagg_decision_total',
        [...labels, ['plugin_name', 'pd-profile-handler'], ['plugin_type', 'pd-profile-handler']],
        () => f.pdSplit,
      );
    }
  }
  const process = (name: string, type: string, help: string, value: () => number) => {
    b.family(name, type, help);
    b.sample(name, [], value);
  };
  process(
    'process_cpu_seconds_total',
    'counter',
    'Total user and system CPU time spent in seconds.',
    () => Math.round(f.cpuS * 100) / 100,
  );
  process('process_resident_memory_bytes', 'gauge', 'Resident memory size in bytes.', () => 142_606_336);
  return b.build();
}
