/**
 * What can be done, by code: data only. The daemon never does it. Each entry says what to expect, what it may cost, and how to
 * see whether it worked; a detector adds the size where its evidence allows computing one.
 */
import type { Remedy } from '../../pipeline/kit/verdict.ts';

interface Entry {
  readonly action: string;
  /** By engine name; `*` is any other. An empty flag means that there is nothing to switch. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly price?: string;
  readonly expected_effect: string;
  readonly risk: string;
  readonly verify: string;
}

export const REMEDIES: Readonly<Record<string, Entry>> = {
  M1: {
    action: 'give the KV cache more room',
    flags: {
      vllm: '--gpu-memory-utilization (up), --kv-cache-dtype fp8, --tensor-parallel-size (up)',
      sglang: '--mem-fraction-static (up), --kv-cache-dtype fp8_e5m2',
      trtllm: 'free_gpu_memory_fraction (up)',
      '*': 'more replicas',
    },
    expected_effect: 'requests stop waiting for KV blocks',
    risk: 'less headroom for activations: out-of-memory at peaks; fp8 KV changes outputs slightly',
    verify: 'inference.kv.usage below 0.9 and inference.requests.waiting{reason=capacity} at 0 under the same load',
  },
  M2: {
    action: 'keep fewer requests resident',
    flags: {
      vllm: '--max-num-seqs (down)',
      sglang: '--max-running-requests (down)',
      trtllm: 'GUARANTEED_NO_EVICT scheduler policy',
      llm_d: 'kvCacheUtilThreshold 0.8',
    },
    expected_effect: 'fewer evictions; the rest waits in the queue instead of in the cache',
    risk: 'lower peak throughput if the cap is set too low',
    verify: 'inference.preemptions flat, inference.kv.usage below 0.95',
  },
  M3: {
    action: 'admit more carefully so that admitted work is not thrown away',
    flags: {
      vllm: '--max-num-seqs (down), --max-num-batched-tokens (down)',
      sglang: '--schedule-conservativeness (up, 1.3)',
      trtllm: 'GUARANTEED_NO_EVICT scheduler policy',
    },
    expected_effect: 'recomputed tokens fall; ITL tail shrinks',
    risk: 'longer queue at the same load',
    verify: 'increase(inference.preemptions) / increase(inference.requests.finished) below 0.05',
  },
  M4: {
    action: 'shrink the waste per request',
    flags: { vllm: '--block-size (down)', sglang: '--page-size (down)' },
    expected_effect: 'more tokens fit into the same memory',
    risk: 'more descriptors per KV transfer',
    verify: 'tokens held per block',
  },
  M5: {
    action: 'leave memory free on the device',
    flags: {
      vllm: '--gpu-memory-utilization (down)',
      sglang: '--mem-fraction-static (down), --chunked-prefill-size (down)',
    },
    expected_effect: 'no allocation failure at peaks',
    risk: 'smaller KV cache',
    verify: 'hw.gpu.memory.usage stays below its limit at peak',
  },
  Q1: {
    action: 'raise the admission cap',
    flags: {
      vllm: '--max-num-seqs (up)',
      sglang: '--max-running-requests (up), --schedule-conservativeness 0.3',
      llm_d: 'queueDepthThreshold (up)',
    },
    expected_effect: 'waiting requests are admitted; the queue empties',
    risk: 'ITL rises with the batch; KV usage rises',
    verify: 'inference.requests.waiting at 0 while inference.kv.usage stays below 0.9 and ITL below its objective',
  },
  Q2: {
    action: 'add capacity, or shed and prioritise load',
    flags: { '*': 'replicas; priorities; flow control or scaling on queue and KV, not on GPU utilisation' },
    expected_effect: 'utilisation leaves the steep part of the queueing curve',
    risk: 'cost; cold caches on new replicas',
    verify: 'queue time back at its baseline at the same arrival rate',
  },
  Q4: {
    action: 'keep long prompts from blocking short ones',
    flags: {
      vllm: '--max-long-partial-prefills, --long-prefill-token-threshold',
      sglang: '--chunked-prefill-size (down), priority scheduling',
      '*': 'a pool for long contexts',
    },
    expected_effect: 'TTFT of short prompts no longer follows the longest prompt',
    risk: 'long prompts take longer',
    verify: 'TTFT by prompt length',
  },
  P1: {
    action: 'make prefill faster per token',
    flags: {
      vllm: '--max-num-batched-tokens (up), fp8 weights',
      sglang: '--chunked-prefill-size (up), --enable-mixed-chunk',
      '*': 'more prefill capacity',
    },
    expected_effect: 'TTFT falls',
    risk: 'decode steps wait longer for prefill chunks',
    verify: 'prefill time / TTFT, and ITL not worse',
  },
  P2: {
    action: 'compute fewer prompt tokens, or split prefill from decode',
    flags: { vllm: '--enable-prefix-caching', '*': 'P/D disaggregation, more prefill replicas' },
    expected_effect: 'prefill capacity suffices for the load',
    risk: 'KV transfer becomes part of TTFT',
    verify: 'computed prompt tokens per second against capacity',
  },
  P3: {
    action: 'make prefill chunks smaller',
    flags: { vllm: '--max-num-batched-tokens (down, 2048)', sglang: '--chunked-prefill-size (down)' },
    expected_effect: 'ITL tail shrinks',
    risk: 'TTFT grows',
    verify: 'share of ITL above three times its mean',
  },
  D1: {
    action: 'read fewer bytes per token',
    flags: { '*': 'quantised weights or KV, larger tensor parallelism' },
    expected_effect: 'ITL falls with the bytes read',
    risk: 'quality; more communication with larger groups',
    verify: 'ITL at the same batch',
  },
  D2: {
    action: 'serve the same load with fewer replicas, or let batches grow',
    flags: { '*': 'fewer replicas, routing that fills before it spreads' },
    expected_effect: 'more tokens per GPU; the weights are read for more requests at a time',
    risk: 'less room for peaks; ITL rises a little with the batch',
    verify: 'batch size per replica, ITL within its objective',
  },
  D3: {
    action: 'draft less, or stop drafting at large batches',
    flags: { vllm: '--speculative-config num_speculative_tokens (down)', sglang: '--speculative-num-steps (down)' },
    expected_effect: 'step time falls to that of plain decoding',
    risk: 'slower at small batches',
    verify: 'tokens per second at the same load',
  },
  D4: {
    action: 'hold more adapters at once',
    flags: { vllm: '--max-loras (up)', '*': 'route adapters to fixed replicas' },
    expected_effect: 'no waiting for adapter loads',
    risk: 'memory per slot',
    verify: 'adapter loads per minute',
  },
  H1: {
    action: 'take host work off the critical path',
    flags: { vllm: '--async-scheduling, no --enforce-eager', sglang: 'overlap schedule on' },
    expected_effect: 'gaps between steps shrink',
    risk: 'features that are incompatible with asynchronous scheduling',
    verify: 'gap share of step time, hw.gpu.utilization',
  },
  H2: {
    action: 'give the engine its CPU',
    flags: { '*': 'higher CPU request and limit (or none), static CPU manager, NUMA pinning, move the neighbour' },
    expected_effect: 'TTFT and ITL back at baseline (62 to 31 ms was seen going from 2 to 6 cores)',
    risk: 'fewer pods per node',
    verify: 'throttled periods at 0, pressure below 10 %',
  },
  H3: {
    action: 'add frontend processes',
    flags: { vllm: '--api-server-count (up)', sglang: '--tokenizer-worker-num (up)', '*': 'more frontends' },
    expected_effect: 'the outer TTFT approaches the engine’s',
    risk: 'memory; metrics of several processes',
    verify: 'TTFT outside minus TTFT inside',
  },
  H4: {
    action: 'capture graphs for the batch sizes that occur',
    flags: { vllm: 'compilation capture sizes (up)', sglang: '--cuda-graph-bs, --cuda-graph-max-bs (up)' },
    expected_effect: 'step time falls at those sizes',
    risk: 'memory and start-up time',
    verify: 'share of eager passes',
  },
  H5: {
    action: 'speed up or bound structured output',
    flags: { '*': 'a faster grammar backend, cached schemas, a larger CPU limit' },
    expected_effect: 'no queue for grammar compilation',
    risk: 'behaviour differences between backends',
    verify: 'grammar queue at 0',
  },
  C1: {
    action: 'send equal prefixes to where they are cached',
    flags: {
      dynamo: '--router-mode kv, --kv-overlap-score-weight (up)',
      llm_d: 'prefix affinityThreshold (down)',
      sglang: '--schedule-policy lpm',
      '*': 'prefix-aware routing',
    },
    expected_effect: 'hit rate returns; fewer computed prompt tokens',
    risk: 'hot replicas if affinity is too strong',
    verify: 'hits / queries at its baseline',
  },
  C2: {
    action: 'undo what changed the prefixes, or give the cache room',
    flags: { vllm: '--enable-prefix-caching', '*': 'same template, salt, hash seed and block size on all replicas' },
    expected_effect: 'hit rate returns within minutes',
    risk: 'none beyond the rollback',
    verify: 'hits / queries at its baseline',
  },
  C3: {
    action: 'load KV from the lower tier only where that is faster',
    flags: { '*': 'minimum length for offloaded prefixes, faster tier' },
    expected_effect: 'TTFT falls',
    risk: 'lower external hit rate',
    verify: 'load time / TTFT',
  },
  T1: {
    action: 'drain the replica that contains the slow rank, and fix or replace that device or node',
    flags: { '*': 'kubectl cordon; ranks pinned to the NUMA node of their GPU' },
    expected_effect: 'the group runs at the speed of its other ranks',
    risk: 'capacity of one replica while drained',
    verify: 'share of last arrivals back at 1/R',
  },
  T2: {
    action: 'communicate less, or over faster links',
    flags: { vllm: 'TP inside one NVLink domain, no --disable-custom-all-reduce', sglang: '--enable-dp-attention' },
    expected_effect: 'exposed communication falls',
    risk: 'layout change of the deployment',
    verify: 'exposed communication / step time',
  },
  T3: {
    action: 'overlap communication with compute',
    flags: { sglang: '--enable-two-batch-overlap', '*': 'asynchronous TP, NVLS' },
    expected_effect: 'exposed communication falls',
    risk: 'needs larger batches',
    verify: 'exposed communication / step time',
  },
  T4: {
    action: 'collect stacks and the flight recorder, then restart the group',
    flags: { '*': 'NCCL RAS, py-spy, TORCH_NCCL_DUMP_ON_TIMEOUT=1' },
    expected_effect: 'the replica serves again; the dump shows where it hung',
    risk: 'requests in flight are lost (they are not progressing)',
    verify: 'tokens flow, hooks advance',
  },
  T5: {
    action: 'balance the pipeline',
    flags: { '*': 'layer partition, more microbatches than stages, smaller chunks' },
    expected_effect: 'bubbles fall to the schedule’s own',
    risk: 'layout change',
    verify: 'bubble share',
  },
  T6: {
    action: 'balance experts or data-parallel ranks',
    flags: { vllm: '--enable-eplb', sglang: '--enable-eplb, --ep-num-redundant-experts' },
    expected_effect: 'ranks get equal tokens',
    risk: 'a pause at each rearrangement',
    verify: 'max/mean tokens per rank',
  },
  K1: {
    action: 'repair the KV path',
    flags: {
      vllm: '--kv-transfer-config, larger KV blocks; UCX_TLS, UCX_NET_DEVICES',
      sglang: 'the right IB device list',
      '*': 'RDMA rails pinned, same rail for P and D, GPUDirect checked',
    },
    expected_effect: 'transfers at the class rate of the link',
    risk: 'restart of the connectors',
    verify: 'bytes / transfer time against the NIC’s rate',
  },
  K2: {
    action: 'make room at the receiver',
    flags: { '*': 'more decode KV or decode replicas' },
    expected_effect: 'no waiting for pre-allocation',
    risk: 'cost',
    verify: 'pre-allocation queue at 0',
  },
  K3: {
    action: 'stop hand-offs from failing',
    flags: { vllm: 'kv_lease_duration (up)', '*': 'equal versions on both sides, connector health' },
    expected_effect: 'no failed or expired transfers',
    risk: 'blocks held longer on the prefill side',
    verify: 'failures flat',
  },
  R1: {
    action: 'spread the load evenly',
    flags: {
      sglang: '--load-balance-method',
      dynamo: '--kv-overlap-score-weight (down)',
      '*': 'lower affinity weight, power of two choices',
    },
    expected_effect: 'no replica queues while another is idle',
    risk: 'lower prefix hit rate',
    verify: 'max/mean of work per replica',
  },
  R2: {
    action: 'let the router see fresher state',
    flags: { llm_d: 'metrics refresh ≤ 200 ms, concurrency-based saturation detector' },
    expected_effect: 'no herd on the replica that looked idle',
    risk: 'more scraping',
    verify: 'staleness of endpoints',
  },
  R3: {
    action: 'change the ratio of prefill to decode',
    flags: { dynamo: 'planner', '*': 'replicas or roles' },
    expected_effect: 'both sides equally utilised',
    risk: 'drain of changed replicas',
    verify: 'utilisation of both roles',
  },
  R4: {
    action: 'scale the router or drop heavy scorers',
    expected_effect: 'decision time falls',
    risk: 'routing quality',
    verify: 'decision time',
  },
  N1: {
    action: 'take the link or NIC out, then replace it',
    flags: { '*': 'NCCL_IB_HCA without it; cable, transceiver, port' },
    expected_effect: 'paths over the other rails run at class rate',
    risk: 'less total bandwidth meanwhile',
    verify: 'bandwidth per size class, error counters flat',
  },
  N2: {
    action: 'bring back the fast transport',
    flags: { '*': 'NCCL_P2P_DISABLE unset, NCCL_IB_HCA, NCCL_NET_GDR_LEVEL; IOMMU and ACS off' },
    expected_effect: 'collectives at NVLink or RDMA rate',
    risk: 'restart of the group',
    verify: 'bus bandwidth; NVLink bytes non-zero',
  },
  N3: {
    action: 'relieve the fabric: ECN, PFC, adaptive routing, placement',
    expected_effect: 'marks and pauses fall',
    risk: 'fabric-wide change',
    verify: 'CNP and xmit-wait rates',
  },
  G1: {
    action: 'restore cooling of the device or node, and move load away until then',
    flags: { '*': 'airflow, fans, inlet temperature; drain the node' },
    expected_effect: 'the clock returns to its reference',
    risk: 'capacity while drained',
    verify: 'hw.gpu.clock and throttle time of that GPU',
  },
  G2: {
    action: 'restore the power limit, or the power supply',
    flags: { '*': 'nvidia-smi -pl <default>; PSU and rack budget' },
    expected_effect: 'the clock returns to that of its peers',
    risk: 'rack power budget',
    verify: 'hw.gpu.clock at equal utilisation',
  },
  G3: {
    action: 'reset the application clocks',
    flags: { '*': 'nvidia-smi -rac, -rgc' },
    expected_effect: 'the clock returns to that of its peers',
    risk: 'none',
    verify: 'hw.gpu.clock',
  },
  G4: {
    action: 'drain, reset the GPU, reboot, then replace, in that order',
    flags: { '*': 'the action bucket of the XID' },
    expected_effect: 'the fault does not come back',
    risk: 'capacity of the node',
    verify: 'no new XID or uncorrectable error under load',
  },
  G5: {
    action: 'reseat the card or retrain the link; check the BIOS generation',
    expected_effect: 'full width and generation',
    risk: 'downtime of the node',
    verify: 'link width and generation under load',
  },
  G6: {
    action: 'move the foreign process off the GPU',
    flags: { '*': 'exclusive process mode, MIG' },
    expected_effect: 'step time returns',
    risk: 'the other tenant',
    verify: 'process list',
  },
  L1: {
    action: 'make starts faster: local weights, compile and graph cache, warm pool',
    expected_effect: 'capacity returns sooner',
    risk: 'disk space',
    verify: 'start time by phase',
  },
  L2: {
    action: 'bring the replica back: read the exit reason, check readiness and budgets',
    flags: { '*': 'kubectl describe pod, logs --previous' },
    expected_effect: 'capacity returns',
    risk: 'none',
    verify: 'ready replicas',
  },
  L3: {
    action: 'compare before and after the change on a canary, and roll back if it is the change',
    expected_effect: 'the regression goes',
    risk: 'losing the change',
    verify: 'enginelight compare',
  },
  O1: {
    action: 'repair the telemetry first: scrape the process, not the load balancer; one target per process',
    expected_effect: 'verdicts regain their grade',
    risk: 'none',
    verify: 'no gaps, no alternating counters',
  },
};

/** Remedies by code for an engine, with the sizes a detector computed. Unknown codes are left out. */
export function remediesFor(
  codes: readonly string[],
  engine: string | undefined,
  sizes: Readonly<Record<string, Partial<Remedy>>> = {},
): Remedy[] {
  return codes.flatMap((code) => {
    const entry = REMEDIES[code];
    if (!entry) return [];
    const flag = (engine ? entry.flags?.[engine] : undefined) ?? entry.flags?.['*'];
    return [
      {
        code,
        action: entry.action,
        ...(flag ? { flag } : {}),
        ...(engine ? { engine } : {}),
        ...(entry.price ? { price: entry.price } : {}),
        expected_effect: entry.expected_effect,
        risk: entry.risk,
        verify: entry.verify,
        ...sizes[code],
      },
    ];
  });
}
