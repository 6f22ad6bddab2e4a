/** The things of the world. Plain records; the modules beside this file move them. */
import type { EventQueue } from '../events.ts';
import type { Model, Sku } from '../hardware.ts';
import type { Random } from '../random.ts';
import type { Spec } from '../spec.ts';
import type { Histogram } from './histogram.ts';
import type { KvCache, KvNode, Segment } from './kv-cache.ts';

/** Bits of the clock-event reasons, as NVML numbers them. */
export const REASON = {
  idle: 0x1,
  applied: 0x2,
  powerCap: 0x4,
  hwSlowdown: 0x8,
  syncBoost: 0x10,
  swThermal: 0x20,
  hwThermal: 0x40,
  powerBrake: 0x80,
} as const;

export interface Gpu {
  readonly uuid: string;
  readonly serial: string;
  readonly index: number;
  readonly pci: string;
  readonly node: Node;
  readonly sku: Sku;
  readonly random: Random;
  /** The rank it hosts; null when nothing runs on it. */
  rank: Rank | null;
  /** Power of this chip at equal work and clock, relative to the mean chip. */
  readonly leakage: number;
  /** Kelvin per watt, with its place in the air stream. */
  readonly resistance: number;

  temperature: number;
  memTemperature: number;
  powerW: number;
  clockMHz: number;
  memClockMHz: number;
  limitW: number;
  reasons: number;
  energyJ: number;
  fbUsedMiB: number;
  fbReservedMiB: number;
  pcieGen: number;
  pcieWidth: number;
  /** Seconds lost to each reason since the driver was loaded. */
  readonly violationS: {
    power: number;
    thermal: number;
    reliability: number;
    boardLimit: number;
    lowUtil: number;
    syncBoost: number;
  };
  /** Seconds that each reason was set, since the driver was loaded. */
  readonly reasonS: Map<number, number>;
  xid: number;
  readonly xids: { at: number; code: number }[];
  sbe: number;
  dbe: number;
  remappedCorrectable: number;
  remappedUncorrectable: number;
  remapPending: number;
  remapFailure: number;
  pcieReplays: number;
  nvlinkCrc: number;
  nvlinkReplay: number;
  nvlinkRecovery: number;
  lost: boolean;

  /** What heat leaves of the clock, 0…1. */
  thermalShare: number;
  /** Work since the last tick: seconds of kernels, of tensor and of memory pipes, and bytes moved. */
  busyS: number;
  tensorS: number;
  dramS: number;
  linkBytes: number;
  linkTotal: number;
  pcieTx: number;
  pcieRx: number;
  /** What the last tick made of it: shares of time 0…1 and bytes per second. */
  readonly shown: {
    gr: number;
    sm: number;
    tensor: number;
    dram: number;
    linkTx: number;
    pcieTx: number;
    pcieRx: number;
  };

  /** How much longer compute-bound and memory-bound work takes than on a mean chip at the reference clock. */
  slowCompute: number;
  slowMemory: number;

  readonly fault: {
    resistance: number;
    ambient: number;
    capW: number;
    brake: boolean;
    lockMHz: number;
    /** SM clock cut without any reason given. */
    hiddenClock: number;
    memClock: number;
    kernel: number;
    /** Share of the SMs and of the bandwidth that another process takes. */
    tenant: number;
    tenantMiB: number;
    tenantPid: number;
    pcieWidth: number;
    pcieGen: number;
    linkLost: number;
    linkCrcPerS: number;
    sbePerS: number;
    leakMiBPerS: number;
    leakedMiB: number;
  };
}

export interface Nic {
  readonly device: string;
  readonly rail: number;
  readonly node: Node;
  /** Bytes per second of the line. */
  readonly lineRate: number;
  /** What is left of it. */
  rate: number;
  rateGbps: number;
  txBytes: number;
  rxBytes: number;
  txPackets: number;
  rxPackets: number;
  symbolErrors: number;
  linkDowned: number;
  linkRecovered: number;
  xmitWait: number;
  retransmits: number;
  outOfSequence: number;
  cnp: number;
  ecnMarked: number;
  readonly fault: { rate: number; errorsPerS: number; retransmitShare: number; congestion: number };
  /** Flows that use it now, in each direction. */
  readonly out: Set<Flow>;
  readonly in: Set<Flow>;
}

export interface Flow {
  readonly from: Nic;
  readonly to: Nic;
  bytesLeft: number;
  rate: number;
  updated: number;
  /** Bytes per second the path gives at most, whatever the NICs could do. */
  cap: number;
  version: number;
  readonly started: number;
  readonly total: number;
  /** Over TCP and the ordinary interface instead of RDMA. */
  readonly tcp: boolean;
  done: ((at: number) => void) | null;
}

export interface Node {
  readonly name: string;
  readonly id: string;
  readonly index: number;
  readonly ip: string;
  readonly cores: number;
  readonly gpus: Gpu[];
  readonly nics: Nic[];
  readonly random: Random;
  /** Milliseconds this host's wall clock is ahead of true time, and its drift. */
  readonly clockOffsetMs: number;
  readonly clockDriftPpm: number;
  /** A jump of the wall clock, milliseconds. */
  clockStepMs: number;
  /** CPU seconds per mode since boot. */
  readonly cpu: { user: number; system: number; idle: number; iowait: number; steal: number; softirq: number };
  /** Seconds of pressure since boot. */
  readonly pressure: { cpu: number; io: number; ioFull: number; memory: number; memoryFull: number };
  memAvailable: number;
  readonly memTotal: number;
  contextSwitches: number;
  /** Bytes of the ordinary network interface, and TCP segments sent again. */
  readonly eth: { tx: number; rx: number; retransmitted: number };
  oomKills: number;
  load1: number;
  /** Share of the time of one core that a runnable thread waits beyond what it uses: 0 = idle machine. */
  cpuWait: number;
  /** The share of core time a foreign load and the hypervisor take now. */
  readonly fault: {
    foreignCores: number;
    steal: number;
    ioPressure: number;
    memoryBandwidth: number;
    ambient: number;
    airflow: number;
  };
  readonly replicas: Replica[];
}

export interface Rank {
  readonly replica: Replica;
  readonly gpu: Gpu;
  readonly tp: number;
  readonly pp: number;
  readonly dp: number;
  readonly ep: number;
  readonly global: number;
  readonly random: Random;
  /** Extra host delay of this rank's worker per step, seconds, and its share of steps hit. */
  hostDelayS: number;
  hostDelayShare: number;
}

export const REQUEST = { created: 0, waiting: 1, prefill: 2, decode: 3, held: 4, done: 5, aborted: 6 } as const;

export interface Request {
  readonly id: number;
  readonly traceId: string;
  readonly tenant: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
  segments: readonly Segment[];
  /** Key under which the whole prompt and answer stay cached; the next turn of a conversation asks for it. */
  readonly ownKey: number;
  readonly structured: boolean;
  readonly schema: number;
  readonly lora: number;
  readonly arrival: number;
  attempt: number;
  state: number;
  /** In its core's waiting queue. */
  queued: boolean;
  replica: Replica | null;
  sched: Sched | null;
  group: Group | null;
  /** Tokens whose KV exists (cached ones included). */
  computed: number;
  cached: number;
  /** Tokens to have before the next token can be sampled: prompt, and after a preemption also what was generated. */
  target: number;
  generated: number;
  /** Where it stands: at the group's clock `startG` it held `base` tokens. */
  base: number;
  startG: number;
  finishG: number;
  path: KvNode[];
  privateBlocks: number;
  preemptions: number;
  dispatched: number;
  routed: number;
  engineArrival: number;
  queuedAt: number;
  firstScheduled: number;
  firstToken: number;
  lastToken: number;
  finished: number;
  sampled: boolean;
  /** The decode half of a split request. */
  decodeReplica: Replica | null;
  prefillReplica: Replica | null;
  preallocated: boolean;
  /** Tokens that come from the tier outside the GPU; NaN before it was asked. */
  offloaded: number;
  /** The prefill half of a split request. */
  leg: Request | null;
  transferStart: number;
  transferEnd: number;
  transferBytes: number;
  transferWait: number;
  heldSince: number;
  /** Nothing to be scheduled before this time: grammar, adapter or remote KV. */
  blockedBy: number;
  blockedUntil: number;
  /** The client has gone before the end. */
  onAbort: (() => void) | null;
  onFirst: ((request: Request, at: number) => void) | null;
  onEnd: ((request: Request, outcome: 'ok' | 'abort' | 'error') => void) | null;
}

export const BLOCKED = { nothing: 0, grammar: 1, adapter: 2, remoteKv: 3 } as const;

/** What one engine core has counted, with the populations of the engine: live ones grow per step, the others per end. */
export interface Counters {
  running: number;
  waiting: number;
  waitingDeferred: number;
  kvUsage: number;
  grammarQueue: number;
  preallocQueue: number;
  transferQueue: number;
  bootstrapQueue: number;
  inflightQueue: number;
  genThroughput: number;
  cacheHitRate: number;
  ctxTokens: number;
  preemptions: number;
  promptTokens: number;
  cachedTokens: number;
  externalTokens: number;
  recomputedTokens: number;
  computedTokens: number;
  generatedTokens: number;
  queries: number;
  hits: number;
  externalQueries: number;
  externalHits: number;
  finishedStop: number;
  finishedLength: number;
  finishedAbort: number;
  finishedError: number;
  drafts: number;
  draftTokens: number;
  acceptedTokens: number;
  readonly acceptedAt: Float64Array;
  flops: number;
  readBytes: number;
  writeBytes: number;
  steps: number;
  graphSteps: number;
  eagerSteps: number;
  piecewiseSteps: number;
  stepSeconds: number;
  prefillSeconds: number;
  decodeSeconds: number;
  hostSeconds: number;
  evictedTokens: number;
  loraLoads: number;
  structuredRequests: number;
  grammarHits: number;
  transferFailed: number;
  transferExpired: number;
  offloadLoadBytes: number;
  offloadLoadSeconds: number;
  offloadStoreBytes: number;
  offloadStoreSeconds: number;
  retractedInput: number;
  retractedOutput: number;
  balanceSum: number;
  balanceCount: number;
  /** Accepted draft tokens per step, smoothed as the engine's log interval does. */
  acceptedRecent: number;
  offloadLookups: number;
  offloadLookupTokens: number;
  offloadHitTokens: number;
  offloadStoredTokens: number;
  offloadUsedBytes: number;
  readonly ttft: Histogram;
  readonly itl: Histogram;
  readonly e2e: Histogram;
  readonly queue: Histogram;
  readonly prefill: Histogram;
  readonly decode: Histogram;
  readonly inference: Histogram;
  readonly tpot: Histogram;
  readonly promptLen: Histogram;
  readonly outputLen: Histogram;
  readonly maxTokens: Histogram;
  readonly paramsN: Histogram;
  readonly kvComputed: Histogram;
  readonly stepTokens: Histogram;
  readonly transferTime: Histogram;
  readonly transferPost: Histogram;
  readonly transferBytes: Histogram;
  readonly transferDescriptors: Histogram;
  readonly grammarTime: Histogram;
  readonly loadTime: Histogram;
  readonly storeTime: Histogram;
}

/** Requests that step together: the whole core, or one microbatch of a pipeline. */
export interface Group {
  readonly sched: Sched;
  readonly index: number;
  readonly run: Request[];
  n: number;
  readonly prefilling: Request[];
  nDecode: number;
  /** Tokens of context of all decoding requests. */
  ctx: number;
  /** Tokens that each decoding request has got since the start: the group's clock. */
  g: number;
  readonly phase: Int32Array;
  /** Began decoding since the last decode step. */
  readonly fresh: Request[];
  readonly heapKeys: number[];
  readonly heap: Request[];
  lastEnd: number;
  /** The step that is under way. */
  readonly chunkOf: Request[];
  readonly chunkTokens: number[];
  stepDecode: number;
  advance: number;
  stepPrefillTokens: number;
}

/** One scheduler with its own KV pool: an engine core, one per data-parallel rank. */
export interface Sched {
  readonly replica: Replica;
  readonly dp: number;
  readonly kv: KvCache;
  readonly waiting: Request[];
  waitingHead: number;
  /** Entries of the queue whose client has gone; they are skipped when they come up. */
  waitingDead: number;
  /** Waiting for grammar, adapter or remote KV. */
  readonly deferred: Set<Request>;
  /** Of the deferred, how many wait for their grammar. */
  grammarWaiting: number;
  /** When the deferred are to be looked at again; earlier when somebody leaves the batch. */
  wakeAt: number;
  readonly groups: Group[];
  readonly counters: Counters;
  readonly running: { n: number };
  readonly loaded: Map<number, number>;
  /** How many running requests use an adapter. */
  readonly adapterUse: Map<number, number>;
  /** Cached prefixes outside the GPU: tokens by key, least recently used first. */
  readonly tier: Map<number, number>;
  readonly tierState: { tokens: number; capacity: number; freeAt: number };
  /** Prefill side: finished prompts that wait to be fetched. */
  readonly held: Set<Request>;
  /** Prefill side: waiting for room on the decode side. */
  readonly bootstrap: Set<Request>;
  /** Decode side: waiting for room. */
  readonly prealloc: Request[];
  inTransfer: number;
  decodeSinceLog: number;
  logged: { at: number; tokens: number };
  /** 0 when the last step only decoded. */
  stepKind: number;
}

export type ReplicaState = 'ready' | 'loading' | 'down' | 'hung';

export interface Replica {
  readonly id: string;
  readonly index: number;
  readonly role: 'aggregated' | 'prefill' | 'decode';
  readonly pool: string;
  readonly node: Node;
  readonly pod: string;
  readonly url: string;
  readonly port: number;
  readonly model: Model;
  readonly sku: Sku;
  readonly ranks: Rank[];
  /** Ranks by [dp][pp], each a TP group. */
  readonly tpGroups: Rank[][][];
  readonly scheds: Sched[];
  readonly random: Random;
  readonly noise: Random;
  readonly workerId: number;
  readonly expertParallel: boolean;
  state: ReplicaState;
  /** A generation number: what was under way before a restart is void. */
  life: number;
  startedAt: number;
  readyAt: number;
  restarts: number;
  lastExit: number;
  /** Busy microbatch slots and when each pipeline stage is free. */
  readonly groupBusy: boolean[];
  readonly stageFree: Float64Array;
  noiseLevel: number;
  /** CPU seconds per thread kind since start. */
  readonly cpu: { engine: number; api: number; worker: number };
  readonly cgroup: { periods: number; throttledPeriods: number; throttledS: number; usageS: number; demand: number };
  /** Factor on host time and the chance of a descheduling pause per step. */
  hostSlow: number;
  hostPause: number;
  hostPauseS: number;
  /** API process: seconds of work waiting and use of its cores, 0…1+. */
  /** `usual`: cores that its work takes over minutes, at the normal cost. */
  readonly api: { backlogS: number; use: number; demandS: number; usual: number };
  /** The router sends nothing more; it is about to be taken away. */
  cordoned: boolean;
  stepId: number;
  commSeq: number;
  /** Sum over the last second for host accounting. */
  hostS: number;
  gpuS: number;
  readonly knobs: {
    maxSeqs: number;
    maxBatchTokens: number;
    kvScale: number;
    eager: boolean;
    graphMaxSeqs: number;
    hostScale: number;
    apiScale: number;
    stageShare: number[];
    hotExpert: number;
    hotExpertRank: number;
    commBandwidth: number;
    commLatency: number;
    transport: 'nvlink' | 'shm';
    specAcceptance: number;
    saltShare: number;
    loadS: number;
    wireScale: number;
    wireLatencyS: number;
    wireTcp: boolean;
    transferFail: number;
    offloadScale: number;
    cpuQuota: number;
    dpSkew: number;
    longPrefill: number;
    grammarS: number;
    grammarMask: number;
    loraLoadS: number;
    cacheLeak: number;
    /** Share of hand-offs that nobody fetches before the lease is over. */
    expire: number;
  };
  hungRank: number;
  hungAt: number;
  outcome: { ok: number; abort: number; error: number };
}

export interface Frontend {
  readonly name: string;
  readonly random: Random;
  readonly node: Node;
  readonly url: string;
  startedAt: number;
  requests: number;
  running: number;
  errors: number;
  rejected: number;
  retries: number;
  cancelled: number;
  readonly ttft: Histogram;
  readonly itl: Histogram;
  readonly duration: Histogram;
  readonly inputTokens: Histogram;
  readonly outputTokens: Histogram;
  readonly cachedTokens: Histogram;
  readonly decision: Histogram;
  readonly decisionMs: Histogram;
  readonly queueTime: Histogram;
  readonly hitRatio: Histogram;
  readonly tpot: Histogram;
  readonly ntpot: Histogram;
  readonly processing: Histogram;
  outputTotal: number;
  queued: number;
  pdSplit: number;
  readonly sent: Map<Replica, number>;
  readonly inflight: Map<Replica, { requests: number; tokens: number }>;
  readonly fault: {
    delayS: number;
    skew: number;
    skewTo: number;
    refreshS: number;
    random: number;
    cpu: number;
    noCorrection: boolean;
  };
  cpuS: number;
}

export interface ChangeEvent {
  readonly at: number;
  readonly kind: 'deploy' | 'restart' | 'scale' | 'config';
  readonly attributes: Readonly<Record<string, string | number>>;
}

export interface World {
  readonly spec: Spec;
  readonly model: Model;
  /** Simulated second; 0 is the first recorded one, the warm-up is negative. */
  now: number;
  readonly queue: EventQueue;
  readonly nodes: Node[];
  readonly gpus: Gpu[];
  readonly replicas: Replica[];
  readonly frontend: Frontend;
  readonly random: Random;
  readonly flows: Set<Flow>;
  /** Targets that nobody can reach now, though they are well: `engine/r1`, `gpu/node0`. */
  readonly unreachable: Set<string>;
  /** Things that change feeds would tell. */
  readonly changes: ChangeEvent[];
  readonly load: {
    scale: number;
    promptScale: number;
    outputScale: number;
    structured: number;
    saltShare: number;
    longShare: number;
    newSchemas: number;
    adapters: number;
  };
  readonly totals: {
    arrived: number;
    completed: number;
    aborted: number;
    failed: number;
    retried: number;
    timedOut: number;
    inSystem: number;
  };
  readonly listeners: WorldListeners;
  /** Makes an idle replica look for work. */
  kick: (replica: Replica) => void;
  stopped: boolean;
}

/** Whoever wants to hear of single events: emitters and tests. All optional, called synchronously. */
export interface WorldListeners {
  /** Whether the next step of this replica is to be reported with every rank's part. */
  detail?: (replica: Replica) => boolean;
  step?: (replica: Replica, info: StepInfo) => void;
  finished?: (request: Request, outcome: 'ok' | 'abort' | 'error') => void;
  transfer?: (request: Request, info: TransferInfo) => void;
  tick?: (world: World) => void;
}

export interface StepInfo {
  readonly start: number;
  readonly end: number;
  readonly group: number;
  readonly prefillTokens: number;
  readonly decodeSeqs: number;
  readonly gpuS: number;
  readonly hostS: number;
  readonly opS: number;
  readonly mode: 'full' | 'piecewise' | 'eager';
  /** Start and end of every stage. */
  readonly stageStart: readonly number[];
  readonly stageEnd: readonly number[];
  readonly bytesPerOp: number;
  /** Per data-parallel core and stage, when `detail` asked for it. */
  readonly detail: readonly StageDetail[] | null;
}

export interface StageDetail {
  readonly dp: number;
  readonly stage: number;
  readonly tokens: number;
  /** Kernel seconds of every rank of the TP group, before waiting. */
  readonly compute: readonly number[];
  /** Seconds by which a rank's host was late. */
  readonly late: readonly number[];
  readonly op: number;
  readonly ops: number;
  readonly opBytes: number;
}

export interface TransferInfo {
  readonly from: Replica;
  readonly to: Replica;
  readonly bytes: number;
  readonly start: number;
  readonly end: number;
  readonly waitS: number;
  readonly ok: boolean;
}
