/** Builds the world of a scenario: places replicas on nodes, wires ranks to GPUs, gives everything its identity. */
import { counters } from '../dialects.ts';
import { eventQueue } from '../events.ts';
import { MODELS, SKUS, type Sku } from '../hardware.ts';
import { type Random, random } from '../random.ts';
import type { Spec } from '../spec.ts';
import { histogram } from './histogram.ts';
import { kvCache } from './kv-cache.ts';
import type { Frontend, Gpu, Group, Nic, Node, Rank, Replica, Sched, World } from './types.ts';

const HEX = '0123456789abcdef';
const hex = (r: Random, n: number): string => {
  let out = '';
  for (let i = 0; i < n; i++) out += HEX[r.int(16)];
  return out;
};

function buildGpu(spec: Spec, node: Node, index: number, sku: Sku): Gpu {
  const r = random(spec.seed, `gpu/${node.name}/${index}`);
  const bus = (0x17 + index * 0x11).toString(16).padStart(2, '0');
  return {
    uuid:
      sku.vendor === 'nvidia' ? `GPU-${hex(r, 8)}-${hex(r, 4)}-${hex(r, 4)}-${hex(r, 4)}-${hex(r, 12)}` : hex(r, 16),
    serial: `${1650000000000 + r.int(9_999_999)}`,
    index,
    pci: `0000:${bus}:00.0`,
    node,
    sku,
    random: random(spec.seed, `gpu-noise/${node.name}/${index}`),
    rank: null,
    leakage: Math.max(0.9, Math.min(1.1, 1 + 0.025 * r.normal())),
    resistance: sku.thermalResistance * Math.max(0.9, Math.min(1.12, 1 + 0.03 * r.normal())) * (1 + 0.02 * (index % 4)),
    temperature: 45,
    memTemperature: 50,
    powerW: sku.idleW,
    clockMHz: sku.maxClockMHz,
    memClockMHz: sku.memClockMHz,
    limitW: sku.tdpW,
    reasons: 0,
    energyJ: 1e9 + r.int(1e9),
    fbUsedMiB: 0,
    fbReservedMiB: Math.round(sku.memoryMiB * 0.0075),
    pcieGen: sku.pcieGen,
    pcieWidth: sku.pcieWidth,
    violationS: { power: 0, thermal: 0, reliability: 0, boardLimit: 0, lowUtil: 0, syncBoost: 0 },
    reasonS: new Map(),
    xid: 0,
    xids: [],
    sbe: r.chance(0.15) ? r.int(4) : 0,
    dbe: 0,
    remappedCorrectable: r.chance(0.1) ? 1 : 0,
    remappedUncorrectable: 0,
    remapPending: 0,
    remapFailure: 0,
    pcieReplays: r.chance(0.2) ? r.int(6) : 0,
    nvlinkCrc: 0,
    nvlinkReplay: 0,
    nvlinkRecovery: 0,
    lost: false,
    thermalShare: 1,
    busyS: 0,
    tensorS: 0,
    dramS: 0,
    linkBytes: 0,
    linkTotal: 0,
    pcieTx: 0,
    pcieRx: 0,
    shown: { gr: 0, sm: 0, tensor: 0, dram: 0, linkTx: 0, pcieTx: 0, pcieRx: 0 },
    slowCompute: 1,
    slowMemory: 1,
    fault: {
      resistance: 0,
      ambient: 0,
      capW: 0,
      brake: false,
      lockMHz: 0,
      hiddenClock: 0,
      memClock: 0,
      kernel: 1,
      tenant: 0,
      tenantMiB: 0,
      tenantPid: 0,
      pcieWidth: 0,
      pcieGen: 0,
      linkLost: 0,
      linkCrcPerS: 0,
      sbePerS: 0,
      leakMiBPerS: 0,
      leakedMiB: 0,
    },
  };
}

function buildNode(spec: Spec, index: number): Node {
  const { cluster } = spec;
  const name = `node${index}`;
  const r = random(spec.seed, `node/${name}`);
  const sku = SKUS[cluster.otherSkus?.[String(index)] ?? cluster.sku]!;
  const node: Node = {
    name,
    id: hex(r, 32),
    index,
    ip: `10.0.${index}.1`,
    cores: cluster.coresPerNode,
    gpus: [],
    nics: [],
    random: random(spec.seed, `node-noise/${name}`),
    clockOffsetMs: spec.observe.clockOffsetMsSd * r.normal(),
    clockDriftPpm: spec.observe.clockDriftPpmSd * r.normal(),
    clockStepMs: 0,
    cpu: { user: 4e4 + r.int(1e4), system: 9e3, idle: 2e6, iowait: 400, steal: 0, softirq: 900 },
    pressure: { cpu: 120, io: 30, ioFull: 12, memory: 0, memoryFull: 0 },
    memAvailable: 0.7 * cluster.coresPerNode * 16e9,
    memTotal: cluster.coresPerNode * 16e9,
    contextSwitches: 1e9,
    eth: { tx: 4e11, rx: 3e11, retransmitted: 900 },
    oomKills: 0,
    load1: 4,
    cpuWait: 0,
    fault: { foreignCores: 0, steal: 0, ioPressure: 0, memoryBandwidth: 0, ambient: 0, airflow: 1 },
    replicas: [],
  };
  for (let i = 0; i < cluster.gpusPerNode; i++) node.gpus.push(buildGpu(spec, node, i, sku));
  for (let i = 0; i < cluster.rails; i++) {
    const nic: Nic = {
      device: `mlx5_${i}`,
      rail: i,
      node,
      lineRate: (cluster.nicGbps * 1e9) / 8,
      rate: 0,
      rateGbps: cluster.nicGbps,
      txBytes: 0,
      rxBytes: 0,
      txPackets: 0,
      rxPackets: 0,
      symbolErrors: 0,
      linkDowned: 0,
      linkRecovered: 0,
      xmitWait: 0,
      retransmits: 0,
      outOfSequence: 0,
      cnp: 0,
      ecnMarked: 0,
      fault: { rate: 0, errorsPerS: 0, retransmitShare: 2e-7, congestion: 0 },
      out: new Set(),
      in: new Set(),
    };
    node.nics.push(nic);
  }
  return node;
}

/** KV tokens of one engine core: what the memory leaves beside weights and activations. */
export function kvTokensOf(spec: Spec, sku: Sku): number {
  const d = spec.deploy;
  const model = MODELS[d.model]!;
  if (d.kvTokens > 0) return d.kvTokens;
  const shards = d.tp * d.pp * (d.ep ? d.dp : 1);
  const free = sku.memoryMiB * 1048576 * 0.88 - (model.params * model.weightBytes) / shards - 5e9;
  return Math.max(2048, Math.floor((free * d.tp * d.pp) / model.kvBytes));
}

function buildSched(w: World, rep: Replica, dp: number, blocks: number, blockSize: number): Sched {
  const d = w.spec.deploy;
  const s: Sched = {
    replica: rep,
    dp,
    kv: kvCache(blocks, blockSize, d.prefixCaching),
    waiting: [],
    waitingHead: 0,
    waitingDead: 0,
    deferred: new Set(),
    grammarWaiting: 0,
    wakeAt: Number.POSITIVE_INFINITY,
    groups: [],
    counters: counters(d.engine, rep.model.maxModelLen),
    running: { n: 0 },
    loaded: new Map(),
    adapterUse: new Map(),
    tier: new Map(),
    tierState: { tokens: 0, capacity: blocks * blockSize * 6, freeAt: 0 },
    held: new Set(),
    bootstrap: new Set(),
    prealloc: [],
    inTransfer: 0,
    decodeSinceLog: 0,
    logged: { at: 0, tokens: 0 },
    stepKind: 0,
  };
  for (let g = 0; g < d.pp; g++) {
    const group: Group = {
      sched: s,
      index: g,
      run: [],
      n: 0,
      prefilling: [],
      nDecode: 0,
      ctx: 0,
      g: 0,
      phase: new Int32Array(blockSize),
      fresh: [],
      heapKeys: [],
      heap: [],
      lastEnd: 0,
      chunkOf: [],
      chunkTokens: [],
      stepDecode: 0,
      advance: 1,
      stepPrefillTokens: 0,
    };
    s.groups.push(group);
  }
  return s;
}

function buildReplica(w: World, index: number, role: Replica['role'], gpus: Gpu[]): Replica {
  const { spec, model } = w;
  const d = spec.deploy;
  const node = gpus[0]!.node;
  const pool = role === 'aggregated' ? d.service : role;
  const prefix = role === 'prefill' ? 'p' : role === 'decode' ? 'd' : 'r';
  const number = role === 'decode' ? index - d.pd!.prefill : index;
  const id = `${prefix}${number}`;
  const port = d.engine === 'sglang' ? 30000 + index : 8000 + index;
  const name = `replica/${id}`;
  const r = random(spec.seed, name);
  const rep: Replica = {
    id,
    index,
    role,
    pool,
    node,
    pod: `${d.service}-${d.engine === 'dynamo' ? 'worker' : d.engine}-${role === 'aggregated' ? '' : `${role}-`}${hex(r, 9)}-${hex(r, 5)}`,
    url: `http://${node.ip}:${d.engine === 'dynamo' ? 9090 + index : port}/metrics`,
    port,
    model,
    sku: gpus[0]!.sku,
    ranks: [],
    tpGroups: [],
    scheds: [],
    random: r,
    noise: random(spec.seed, `${name}/noise`),
    workerId: 7587888000000000 + r.int(999_999_999),
    expertParallel: d.ep,
    state: 'ready',
    life: 0,
    startedAt: -spec.warmupS - 6 * 3600 - r.int(4000),
    readyAt: -spec.warmupS - 5.9 * 3600,
    restarts: 0,
    lastExit: 0,
    groupBusy: new Array<boolean>(d.pp).fill(false),
    stageFree: new Float64Array(d.pp).fill(-spec.warmupS),
    noiseLevel: 0,
    cpu: { engine: 900, api: 700, worker: 5000 },
    cgroup: { periods: 200_000, throttledPeriods: 12, throttledS: 0.4, usageS: 20_000, demand: 0 },
    hostSlow: 1,
    hostPause: 0,
    hostPauseS: 0,
    api: { backlogS: 0, use: 0, demandS: 0, usual: 0.02 },
    cordoned: false,
    stepId: 0,
    commSeq: 100_000 + r.int(1_000_000),
    hostS: 0,
    gpuS: 0,
    knobs: {
      maxSeqs: d.maxSeqs,
      maxBatchTokens: d.maxBatchTokens,
      kvScale: 1,
      eager: false,
      graphMaxSeqs: d.graphMaxSeqs,
      hostScale: 1,
      apiScale: 1 / 1,
      stageShare: new Array<number>(d.pp).fill(1 / d.pp),
      hotExpert: 0,
      hotExpertRank: 0,
      commBandwidth: 1,
      commLatency: 1,
      transport: 'nvlink',
      specAcceptance: d.speculative?.acceptance ?? 0,
      saltShare: 0,
      loadS: 75 + 20 * r.next(),
      wireScale: 1,
      wireLatencyS: 0,
      wireTcp: false,
      transferFail: 0,
      offloadScale: 1,
      cpuQuota: d.cpuQuota,
      dpSkew: 0,
      longPrefill: 0,
      grammarS: 0.12,
      grammarMask: 0,
      loraLoadS: 0.35,
      cacheLeak: 0,
      expire: 0,
    },
    hungRank: -1,
    hungAt: 0,
    outcome: { ok: 0, abort: 0, error: 0 },
  };
  // GPUs in the order tp fastest, then pp, then dp: a TP group is next to itself inside a node.
  let at = 0;
  for (let dp = 0; dp < d.dp; dp++) {
    const stages: Rank[][] = [];
    for (let pp = 0; pp < d.pp; pp++) {
      const group: Rank[] = [];
      for (let tp = 0; tp < d.tp; tp++) {
        const gpu = gpus[at]!;
        const rank: Rank = {
          replica: rep,
          gpu,
          tp,
          pp,
          dp,
          ep: dp * d.tp + tp,
          global: at,
          random: random(spec.seed, `${name}/rank${at}`),
          hostDelayS: 0,
          hostDelayShare: 0,
        };
        gpu.rank = rank;
        gpu.fbUsedMiB = Math.round(gpu.sku.memoryMiB * 0.9 + 380 * r.next());
        group.push(rank);
        rep.ranks.push(rank);
        at++;
      }
      stages.push(group);
    }
    rep.tpGroups.push(stages);
  }
  const blockSize = d.engine === 'sglang' ? 1 : 16;
  const tokens = kvTokensOf(spec, rep.sku);
  for (let dp = 0; dp < d.dp; dp++) rep.scheds.push(buildSched(w, rep, dp, Math.floor(tokens / blockSize), blockSize));
  for (const n of new Set(gpus.map((g) => g.node))) n.replicas.push(rep);
  return rep;
}

function buildFrontend(w: World): Frontend {
  const { spec } = w;
  const dynamo = spec.deploy.frontend === 'dynamo';
  const log = (lo: number, hi: number, n: number) =>
    Array.from({ length: n }, (_, i) => {
      const v = lo * (hi / lo) ** (i / (n - 1));
      const digits = 10 ** (1 - Math.floor(Math.log10(v)));
      return Math.round(v * digits) / digits;
    });
  const eppDuration = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120, 180, 240,
    300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
  ];
  const eppTokens = [
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32778, 65536, 131072, 262144, 524288, 1048576,
  ];
  const phase = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];
  const node = w.nodes[w.nodes.length - 1]!;
  return {
    name: dynamo ? 'dynamo-frontend' : 'epp',
    random: random(spec.seed, 'frontend'),
    node,
    url: dynamo ? `http://${node.ip}:8000/metrics` : `http://${node.ip}:9090/metrics`,
    startedAt: -spec.warmupS - 6 * 3600,
    requests: 0,
    running: 0,
    errors: 0,
    rejected: 0,
    retries: 0,
    cancelled: 0,
    ttft: histogram(dynamo ? [0, ...log(0.001, 480, 17)] : eppDuration.slice(0, 24)),
    itl: histogram(
      dynamo
        ? [0, ...log(0.001, 2, 12)]
        : [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2],
    ),
    duration: histogram(dynamo ? [0, ...log(1, 512, 9)] : eppDuration),
    inputTokens: histogram(dynamo ? [0, ...log(50, 128000, 11)] : eppTokens),
    outputTokens: histogram(dynamo ? [0, ...log(50, 32000, 9)] : eppTokens.slice(0, 12)),
    cachedTokens: histogram(dynamo ? [0, ...log(50, 128000, 11)] : eppTokens),
    decision: histogram(phase),
    decisionMs: histogram(Array.from({ length: 17 }, (_, i) => 0.01 * 3 ** i)),
    queueTime: histogram([0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]),
    hitRatio: histogram(
      dynamo
        ? Array.from({ length: 21 }, (_, i) => Math.round(i * 5) / 100)
        : [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    ),
    tpot: histogram([
      0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2,
    ]),
    ntpot: histogram([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]),
    processing: histogram([0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]),
    outputTotal: 0,
    queued: 0,
    pdSplit: 0,
    sent: new Map(),
    inflight: new Map(),
    fault: { delayS: 0, skew: 0, skewTo: 0, refreshS: 0, random: 0, cpu: 0, noCorrection: false },
    cpuS: 0,
  };
}

/** Which GPUs each replica gets: whole groups per node in order, spilling over nodes only when one node is too small. */
function place(w: World, count: number, size: number): Gpu[][] {
  const out: Gpu[][] = [];
  const { nodes } = w;
  const perNode = w.spec.cluster.gpusPerNode;
  if (size <= perNode) {
    const slots = Math.floor(perNode / size);
    // Round robin over the nodes, so that the halves of a split service do not share all their nodes.
    for (let slot = 0; slot < slots && out.length < count; slot++)
      for (let n = 0; n < nodes.length && out.length < count; n++)
        out.push(nodes[n]!.gpus.slice(slot * size, slot * size + size));
  } else {
    const all = nodes.flatMap((n) => n.gpus);
    for (let i = 0; i < count; i++) out.push(all.slice(i * size, i * size + size));
  }
  return out;
}

/** A world at the start of its warm-up; nothing is scheduled yet. */
export function buildWorld(spec: Spec): World {
  const w: World = {
    spec,
    model: MODELS[spec.deploy.model]!,
    now: -spec.warmupS,
    queue: eventQueue(),
    nodes: [],
    gpus: [],
    replicas: [],
    frontend: null as unknown as Frontend,
    random: random(spec.seed, 'world'),
    flows: new Set(),
    unreachable: new Set(),
    changes: [],
    load: {
      scale: 1,
      promptScale: 1,
      outputScale: 1,
      structured: 0,
      saltShare: 0,
      longShare: 0,
      newSchemas: 0.15,
      adapters: 0,
    },
    totals: { arrived: 0, completed: 0, aborted: 0, failed: 0, retried: 0, timedOut: 0, inSystem: 0 },
    listeners: {},
    kick: () => {},
    stopped: false,
  };
  for (let i = 0; i < spec.cluster.nodes; i++) w.nodes.push(buildNode(spec, i));
  for (const n of w.nodes) w.gpus.push(...n.gpus);
  const d = spec.deploy;
  const count = d.pd ? d.pd.prefill + d.pd.decode : d.replicas;
  const places = place(w, count, d.tp * d.pp * d.dp);
  for (let i = 0; i < count; i++) {
    const role = d.pd ? (i < d.pd.prefill ? 'prefill' : 'decode') : 'aggregated';
    w.replicas.push(buildReplica(w, i, role, places[i]!));
  }
  (w as { frontend: Frontend }).frontend = buildFrontend(w);
  for (const rep of w.replicas) {
    w.frontend.sent.set(rep, 0);
    w.frontend.inflight.set(rep, { requests: 0, tokens: 0 });
  }
  return w;
}
