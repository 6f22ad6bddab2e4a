/**
 * Who can cause whom: data only. An edge says which detector's finding can bring about another's, on which entities, within
 * which delay, and how often it does. Feedback edges explain why something lasts, never why it began. The graph over
 * (detector, role) is free of cycles except kv-saturation(decode) → kv-transfer-bound → kv-saturation(prefill).
 */

/**
 * How the two entities must stand to each other. `same`: the same entity. `line`: the effect's entity is what the cause's is
 * part of, carries, or sits on (GPU → rank → group, replica → service; node → what is on it). `peers`: other members of the
 * cause's cohort. `source`, `destination`: the effect is on the sending or receiving replica of the cause's pair;
 * `to-pair`: the effect is on a pair that the cause's replica takes part in.
 */
export type Join = 'same' | 'line' | 'peers' | 'source' | 'destination' | 'to-pair';

export interface Edge {
  readonly from: string;
  readonly to: string;
  readonly join: Join;
  /** Seconds from cause to effect. */
  readonly lag: readonly [number, number];
  /** Share of causes that show this effect where it can be seen. */
  readonly p: number;
  /** Roles (`prefill`, `decode`) that the cause's or effect's replica must have, where the service is split. */
  readonly fromRole?: string;
  readonly toRole?: string;
  /** Tag that the effect's finding must carry. */
  readonly tag?: string;
}

const edges: Edge[] = [];

/** One line of the table: several causes, several effects. */
function add(
  from: string,
  to: string,
  join: Join,
  lag: readonly [number, number],
  p: number,
  more: Partial<Edge> = {},
): void {
  for (const f of from.split('|')) for (const t of to.split('|')) edges.push({ from: f, to: t, join, lag, p, ...more });
}

// Hardware: one GPU, link or node.
add('thermal-throttle', 'tp-straggler', 'line', [0, 15], 0.9);
add('power-throttle', 'tp-straggler', 'line', [0, 15], 0.8);
add('clock-anomaly', 'tp-straggler', 'line', [0, 15], 0.85);
add('noisy-neighbour-gpu', 'tp-straggler', 'line', [0, 15], 0.8);
add('noisy-neighbour-gpu', 'gpu-oom-risk', 'same', [0, 30], 0.3);
add('ecc-degradation', 'gpu-hw-fault', 'same', [0, 600], 0.4);
add('ecc-degradation', 'tp-straggler|replica-outlier', 'line', [0, 60], 0.2);
add('gpu-hw-fault', 'engine-stall|collective-stall', 'line', [0, 30], 0.8);
add('gpu-hw-fault', 'crash-loop', 'line', [5, 60], 0.5);
add('gpu-hw-fault', 'replica-unavailable', 'line', [0, 90], 0.6);
add('gpu-hw-fault', 'tp-straggler|replica-outlier', 'line', [0, 30], 0.3);
add('pcie-degradation', 'kv-offload-bound|host-bound|kv-transfer-bound|cold-start', 'line', [0, 15], 0.4);
add('pcie-degradation', 'tp-straggler', 'line', [0, 15], 0.3);
add('pcie-degradation', 'replica-outlier', 'line', [0, 30], 0.5);
add('nvlink-degradation', 'slow-link|comm-transport-fallback', 'line', [0, 15], 0.85);
add('nvlink-degradation', 'comm-bound|replica-outlier', 'line', [0, 30], 0.6);
add('nvlink-degradation', 'tp-straggler', 'line', [0, 15], 0.3);
add('nic-degradation', 'slow-link|kv-transfer-bound', 'line', [0, 30], 0.7);
add('nic-degradation', 'comm-bound', 'line', [0, 30], 0.4);
add('network-congestion', 'slow-link|kv-transfer-bound', 'line', [0, 30], 0.6);
add('network-congestion', 'router-overhead|frontend-bound', 'line', [0, 30], 0.2);
add('noisy-neighbour-host', 'host-bound|frontend-bound|cold-start', 'line', [0, 15], 0.7);
add('noisy-neighbour-host', 'tp-straggler', 'line', [0, 15], 0.4);
add('noisy-neighbour-host', 'replica-outlier', 'line', [0, 30], 0.5);
add('thermal-throttle|power-throttle|clock-anomaly|noisy-neighbour-gpu', 'replica-outlier', 'line', [0, 30], 0.8);

// Inside a replica: ranks, stages, communication.
add('tp-straggler', 'comm-bound', 'line', [0, 15], 0.8);
add('tp-straggler', 'pp-stage-imbalance', 'line', [0, 15], 0.6);
add('tp-straggler', 'replica-outlier', 'line', [0, 30], 0.85);
add('slow-link', 'comm-bound|kv-transfer-bound', 'line', [0, 15], 0.9);
add('comm-transport-fallback', 'comm-bound', 'line', [0, 15], 0.95);
add('comm-transport-fallback', 'slow-link', 'same', [0, 15], 0.9);
add('comm-transport-fallback', 'replica-outlier|prefill-bound', 'line', [0, 60], 0.5);
add('ep-imbalance|dp-imbalance', 'comm-bound|replica-outlier', 'line', [0, 30], 0.6);
add('comm-bound', 'replica-outlier', 'same', [0, 30], 0.8);
add('pp-stage-imbalance', 'pp-bubble', 'line', [0, 15], 0.9);
add('pp-bubble', 'replica-outlier', 'same', [0, 30], 0.6);
add('collective-stall', 'engine-stall', 'line', [0, 45], 0.95);
add('host-bound|cudagraph-fallback|spec-decode-regression|adapter-thrash', 'replica-outlier', 'same', [0, 30], 0.75);
add('cudagraph-fallback', 'host-bound', 'same', [0, 15], 0.6);
add(
  'tp-straggler|comm-bound|host-bound|cudagraph-fallback|spec-decode-regression|adapter-thrash',
  'slo-burn',
  'line',
  [0, 120],
  0.4,
);
add('thermal-throttle|power-throttle|clock-anomaly|noisy-neighbour-gpu', 'slo-burn', 'line', [0, 120], 0.3);

// Load, memory and queues of a replica.
add('decode-bandwidth-bound|prefill-decode-interference|preemption-thrash', 'slo-burn', 'line', [0, 120], 0.6);
add('decode-bandwidth-bound|prefill-decode-interference', 'replica-outlier', 'same', [0, 30], 0.3);
add('replica-outlier', 'queue-saturation', 'same', [0, 90], 0.6);
add('replica-outlier', 'kv-saturation', 'same', [0, 120], 0.4);
add('replica-outlier', 'router-imbalance', 'line', [0, 120], 0.5);
add('replica-outlier', 'slo-burn', 'line', [0, 120], 0.5);
add('kv-fragmentation', 'kv-saturation', 'same', [0, 60], 0.8);
// Blocks that are held for nothing evict what would have been reused.
add('kv-fragmentation', 'prefix-cache-collapse', 'line', [0, 120], 0.5);
add('kv-fragmentation', 'prefill-bound|slo-burn', 'line', [0, 120], 0.4);
add('kv-saturation', 'prefix-cache-collapse', 'same', [0, 120], 0.3);
add('kv-exhaustion-forecast', 'kv-saturation', 'same', [0, 900], 0.7);
add('kv-saturation', 'queue-saturation', 'same', [0, 60], 0.7);
add('kv-saturation', 'preemption-thrash', 'same', [0, 60], 0.5);
add('kv-saturation', 'kv-transfer-bound', 'to-pair', [0, 60], 0.6, { fromRole: 'decode', tag: 'backpressure' });
add('kv-saturation', 'slo-burn', 'line', [0, 120], 0.5);
add('preemption-thrash', 'prefill-bound', 'same', [0, 45], 0.4);
add('preemption-thrash', 'replica-outlier', 'same', [0, 45], 0.4);
add('prefix-cache-collapse', 'prefill-bound', 'line', [0, 45], 0.7);
add('prefix-cache-collapse', 'queue-saturation|slo-burn', 'line', [0, 120], 0.4);
add('prefill-bound', 'queue-saturation', 'same', [0, 45], 0.7);
add('prefill-bound', 'prefill-decode-interference', 'same', [0, 20], 0.4);
add('prefill-bound', 'slo-burn', 'line', [0, 120], 0.6);
add('prefill-bound', 'replica-outlier', 'same', [0, 30], 0.3);
add('admission-limited|head-of-line-blocking|grammar-bound', 'queue-saturation', 'same', [0, 30], 0.8);
add('admission-limited|head-of-line-blocking|grammar-bound', 'slo-burn', 'line', [0, 120], 0.6);
add(
  'queue-saturation|frontend-bound|router-overhead|kv-transfer-bound|kv-offload-bound|router-imbalance',
  'slo-burn',
  'line',
  [0, 120],
  0.75,
);

// Between replicas.
// What fails between two is counted on both of them.
add('kv-transfer-failure', 'kv-transfer-failure', 'source', [0, 90], 0.8);
add('kv-transfer-failure', 'kv-transfer-failure', 'destination', [0, 90], 0.8);
add('kv-transfer-failure', 'kv-saturation', 'source', [0, 120], 0.6, { toRole: 'prefill' });
add('kv-transfer-failure', 'prefill-bound', 'destination', [0, 90], 0.5);
add('kv-transfer-failure', 'slo-burn', 'line', [0, 90], 0.5);
add('kv-transfer-bound', 'kv-saturation', 'source', [0, 60], 0.3, { toRole: 'prefill' });
add('kv-transfer-bound', 'queue-saturation', 'destination', [0, 60], 0.5);
add('pd-imbalance', 'queue-saturation', 'line', [0, 90], 0.8, { toRole: 'prefill' });
add('pd-imbalance', 'kv-saturation', 'line', [0, 90], 0.8, { toRole: 'decode' });
add('pd-imbalance', 'prefill-bound', 'line', [0, 90], 0.6, { toRole: 'prefill' });
add('router-imbalance', 'queue-saturation|kv-saturation', 'line', [0, 60], 0.6);
add('router-imbalance', 'prefix-cache-collapse', 'line', [0, 60], 0.3);
add('router-imbalance', 'preemption-thrash|replica-outlier', 'line', [0, 90], 0.3);

// Life and death.
add('gpu-oom-risk', 'crash-loop', 'line', [0, 120], 0.4);
add('gpu-oom-risk', 'replica-unavailable', 'line', [0, 120], 0.4);
add('crash-loop|engine-stall|cold-start', 'replica-unavailable', 'same', [0, 60], 0.9);
add('engine-stall|collective-stall', 'slo-burn', 'line', [0, 120], 0.6);
add('replica-unavailable', 'queue-saturation', 'peers', [5, 60], 0.5);
add('replica-unavailable', 'kv-saturation', 'peers', [5, 90], 0.4);
add('replica-unavailable', 'admission-limited|prefill-bound', 'peers', [5, 120], 0.4);
add('replica-unavailable', 'preemption-thrash|decode-bandwidth-bound', 'peers', [5, 120], 0.3);
add('replica-unavailable', 'capacity-knee|pd-imbalance', 'line', [5, 180], 0.3);
// The others carry the load of what is gone or stands still, and show every sign of more load.
add(
  'engine-stall|collective-stall|replica-unavailable|crash-loop',
  'host-bound|prefill-decode-interference|replica-outlier|prefill-bound|queue-saturation|kv-saturation|admission-limited|decode-bandwidth-bound|kv-exhaustion-forecast',
  'peers',
  [0, 180],
  0.3,
);
// What stands still lets its queue grow; what comes back finds a cold cache and everything that waited.
add('engine-stall', 'queue-saturation|admission-limited|kv-saturation', 'same', [0, 90], 0.4);
add('engine-stall|replica-unavailable', 'replica-outlier|prefill-bound|queue-saturation', 'same', [30, 300], 0.3);
add('replica-unavailable', 'slo-burn', 'line', [0, 120], 0.5);
add('crash-loop', 'cold-start|prefix-cache-collapse', 'same', [0, 60], 0.6);
add('cold-start', 'prefix-cache-collapse', 'same', [0, 60], 0.5);

// Demand and change.
add('offered-load-surge', 'queue-saturation|kv-saturation|capacity-knee', 'line', [0, 90], 0.6);
add('offered-load-surge', 'prefill-bound|preemption-thrash|admission-limited', 'line', [0, 90], 0.4);
add('offered-load-surge', 'slo-burn', 'line', [0, 120], 0.5);
add(
  'workload-shift',
  'prefill-bound|kv-saturation|decode-bandwidth-bound|prefix-cache-collapse|pd-imbalance|head-of-line-blocking|spec-decode-regression|ep-imbalance',
  'line',
  [0, 90],
  0.4,
);
add('offered-load-surge|workload-shift', 'kv-exhaustion-forecast', 'line', [0, 180], 0.5);
add(
  'offered-load-surge|workload-shift',
  'host-bound|prefill-decode-interference|replica-outlier|decode-bandwidth-bound|frontend-bound',
  'line',
  [0, 120],
  0.3,
);
add('workload-shift', 'queue-saturation|slo-burn', 'line', [0, 120], 0.3);
add(
  'regression',
  'host-bound|cudagraph-fallback|comm-transport-fallback|prefix-cache-collapse|admission-limited|spec-decode-regression|cold-start',
  'line',
  [0, 120],
  0.3,
);

/** Every edge of the model. */
export const EDGES: readonly Edge[] = edges;

/** What keeps something up after its trigger is gone. */
export const FEEDBACK: readonly { readonly from: string; readonly to: string; readonly words: string }[] = [
  { from: 'slo-burn', to: 'offered-load-surge', words: 'slow answers are retried, and the retries are load' },
  { from: 'preemption-thrash', to: 'kv-saturation', words: 'recomputing evicted requests fills the KV pool again' },
  {
    from: 'queue-saturation',
    to: 'prefix-cache-collapse',
    words: 'a long queue evicts the prefixes it would have reused',
  },
  {
    from: 'replica-unavailable',
    to: 'kv-saturation',
    words: 'the remaining replicas carry the load of the missing one',
  },
];

/** ln of these is added to a candidate's score: how often such a cause is the cause, before looking. */
export const PRIORS: Readonly<Record<string, number>> = {
  'offered-load-surge': 0.15,
  'workload-shift': 0.1,
  'admission-limited': 0.1,
  regression: 0.1,
  'host-bound': 0.1,
  'noisy-neighbour-host': 0.1,
  'prefix-cache-collapse': 0.1,
  'slow-link': 0.1,
  'nic-degradation': 0.1,
  'network-congestion': 0.1,
  'thermal-throttle': 0.1,
  'power-throttle': 0.1,
};
export const PRIOR = 0.07;

/** What tells two causes apart that look alike. */
export const SEPARATES: readonly { readonly pair: readonly [string, string]; readonly look: string }[] = [
  {
    pair: ['thermal-throttle', 'slow-link'],
    look: 'the shortest duration of each collective: at baseline for a slow GPU, raised on every rank for a slow link',
  },
  {
    pair: ['tp-straggler', 'comm-bound'],
    look: 'shortest over longest duration of the collectives: below 0.6 somebody is late',
  },
  {
    pair: ['host-bound', 'pp-bubble'],
    look: 'what ends each gap: the launch on this host, or the arrival from the stage before',
  },
  {
    pair: ['prefill-bound', 'prefix-cache-collapse'],
    look: 'computed prompt tokens per request at the same prompt length',
  },
  { pair: ['kv-saturation', 'workload-shift'], look: 'the mean length of prompts and answers' },
  { pair: ['router-imbalance', 'replica-outlier'], look: 'arrivals per replica: equal arrivals clear the router' },
  {
    pair: ['kv-transfer-bound', 'kv-saturation'],
    look: 'whether transfers wait on the wire or for room at the receiver',
  },
  { pair: ['noisy-neighbour-gpu', 'thermal-throttle'], look: 'the process list of the GPU, and its clock' },
  { pair: ['admission-limited', 'kv-saturation'], look: 'KV usage while requests wait: below 0.8 it is the cap' },
  {
    pair: ['offered-load-surge', 'replica-outlier'],
    look: 'arrivals: a slow replica has a backlog without more arrivals',
  },
  { pair: ['power-throttle', 'thermal-throttle'], look: 'the throttle reason and the power draw against its limit' },
];
