/**
 * The handful of log lines that matter: what an engine, its libraries and the kernel say once when something goes wrong that
 * no metric tells. A row is data: to know one more line, add a row with where it comes from.
 *
 * Only what a pattern matches leaves the receiver, never the line: logs can quote what users asked.
 */

export interface LogPattern {
  /** `event_name` of the record. */
  readonly event: string;
  /** Who writes it; absent for libraries that several engines use. */
  readonly engine?: string;
  /** OpenTelemetry's severity number: 9 INFO, 13 WARN, 17 ERROR, 21 FATAL. */
  readonly severity: number;
  /** Has to be in the line as it stands; looked for first, because most lines match nothing. */
  readonly words: string;
  /** Matched where `words` are; named groups become attributes of the same name, `__` in them a dot. */
  readonly pattern: RegExp;
}

export const ENGINE_PATTERNS: readonly LogPattern[] = [
  // Kernels that are compiled while requests wait for them. vLLM's jit_monitor; DeepGEMM in SGLang.
  {
    event: 'inference.engine.jit',
    engine: 'vllm',
    severity: 13,
    words: 'JIT compilation during inference',
    pattern: /(?<compiler>\w+)?(?: kernel)? JIT compilation during inference: (?<kernel>[\w.<>-]{0,120}[\w>])/,
  },
  {
    event: 'inference.engine.jit',
    severity: 13,
    words: 'DeepGEMM JIT',
    pattern: /DeepGEMM JIT (?:Compiling for|Pre-Compile session for|Compile for)? ?<?(?<kernel>[\w.-]{0,120}\w)/i,
  },
  // The KV pool is full and requests lose their place.
  {
    event: 'inference.engine.kv_full',
    engine: 'sglang',
    severity: 13,
    words: 'KV cache pool is full',
    pattern: /KV cache pool is full\. Retract requests\.(?: #retracted_reqs: (?<requests>\d{1,9}))?/,
  },
  {
    event: 'inference.engine.kv_full',
    engine: 'sglang',
    severity: 13,
    words: 'ecode out of memory happened',
    pattern: /[Dd]ecode out of memory happened(?:\. |, )?(?:#retracted_reqs: (?<requests>\d{1,9}))?/,
  },
  {
    event: 'inference.engine.kv_full',
    engine: 'vllm',
    severity: 13,
    words: 'is preempted by PreemptionMode',
    pattern: /is preempted by PreemptionMode\.(?<mode>\w{1,20}) mode because there is not enough KV cache space/,
  },
  // KV hand-offs between engines that fail. NIXL's own words, its vLLM connector, SGLang's disaggregation.
  {
    event: 'inference.engine.transfer_error',
    engine: 'vllm',
    severity: 17,
    words: 'NIXL transfer failure',
    pattern: /NIXL transfer failure: (?<error__type>\w{1,60})/,
  },
  {
    event: 'inference.engine.transfer_error',
    severity: 17,
    words: 'NIXL_ERR_',
    pattern: /(?<error__type>NIXL_ERR_[A-Z_]{1,60})/,
  },
  {
    event: 'inference.engine.transfer_error',
    engine: 'vllm',
    severity: 13,
    words: 'Releasing expired KV blocks',
    pattern: /Releasing expired KV blocks for request (?<request__id>[\w.:-]{1,120})/,
  },
  {
    event: 'inference.engine.transfer_error',
    engine: 'sglang',
    severity: 17,
    words: 'transfer failed for request rank',
    pattern: /(?<side>Prefill|Decode) transfer failed for request rank=(?<rank>\d{1,6})/,
  },
  {
    event: 'inference.engine.transfer_error',
    severity: 17,
    words: 'UCX  ERROR',
    pattern: /UCX {2}ERROR (?<error__type>[\w.-]{1,60})/,
  },
  // Memory of the GPU, and of the machine (the kernel's table has the latter).
  {
    event: 'inference.engine.oom',
    severity: 17,
    words: 'out of memory. Tried to allocate',
    pattern: /(?<platform>CUDA|HIP|XPU) out of memory\. Tried to allocate (?<wanted>[\d.]{1,10} [KMG]iB)/,
  },
  {
    event: 'inference.engine.oom',
    severity: 17,
    words: 'CUDA error: out of memory',
    pattern: /CUDA error: out of memory/,
  },
  {
    event: 'inference.engine.oom',
    engine: 'sglang',
    severity: 17,
    words: 'Prefill out of memory',
    pattern: /Prefill out of memory/,
  },
  {
    event: 'inference.engine.oom',
    engine: 'vllm',
    severity: 17,
    words: 'No available memory for the cache blocks',
    pattern: /No available memory for the cache blocks/,
  },
  // What hangs, and what ends.
  {
    event: 'inference.comm.timeout',
    severity: 17,
    words: 'Watchdog caught collective operation timeout',
    pattern:
      /Watchdog caught collective operation timeout: Work\w+\(SeqNum=(?<comm__seq>\d{1,15}), OpType=(?<comm__op>\w{1,40})/,
  },
  {
    event: 'inference.engine.hang',
    engine: 'vllm',
    severity: 13,
    words: 'No available shared memory broadcast block',
    pattern: /No available shared memory broadcast block found in (?<seconds>\d{1,6}) second/,
  },
  {
    event: 'inference.engine.hang',
    engine: 'sglang',
    severity: 17,
    words: 'Watchdog timeout (',
    pattern: /Watchdog timeout \(\S{0,30}watchdog_timeout=(?<seconds>\d{1,6})/,
  },
  {
    event: 'inference.engine.fatal',
    engine: 'vllm',
    severity: 21,
    words: 'EngineCore encountered a fatal error',
    pattern: /EngineCore encountered a fatal error/,
  },
  {
    event: 'inference.engine.fatal',
    engine: 'sglang',
    severity: 21,
    words: 'Scheduler hit an exception',
    pattern: /Scheduler hit an exception/,
  },
];

/** Lines of the kernel's log. */
export const KERNEL_PATTERNS: readonly LogPattern[] = [
  {
    event: 'inference.gpu.xid',
    severity: 17,
    words: 'Xid (PCI:',
    pattern: /Xid \(PCI:(?<pci>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?)\): (?<code>\d{1,4})/,
  },
  {
    event: 'inference.host.oom',
    severity: 17,
    words: 'Out of memory: Killed process',
    pattern: /Out of memory: Killed process (?<pid>\d{1,9}) \((?<process>[^)]{1,30})\)/,
  },
  {
    event: 'inference.host.oom',
    severity: 17,
    words: 'Memory cgroup out of memory: Killed process',
    pattern: /Memory cgroup out of memory: Killed process (?<pid>\d{1,9}) \((?<process>[^)]{1,30})\)/,
  },
];
