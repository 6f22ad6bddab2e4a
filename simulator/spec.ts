/**
 * A scenario: which cluster, which deployment, which load, what is observed, what breaks. Plain JSON; the same text gives
 * the same world, event for event. `checkSpec` refuses what cannot exist with sentences that name the value.
 */
import { MODELS, SKUS } from './hardware.ts';

export type EngineKind = 'vllm' | 'sglang' | 'dynamo';
export type RouterPolicy = 'random' | 'round-robin' | 'least-loaded' | 'prefix' | 'kv-cost';
export type MixName = 'chat' | 'rag' | 'code' | 'agentic' | 'chat+rag' | 'chat+code' | 'batch';
export const SHAPES = ['step', 'ramp', 'intermittent'] as const;
export type Shape = (typeof SHAPES)[number];

export interface ClusterSpec {
  readonly nodes: number;
  readonly gpusPerNode: number;
  readonly sku: string;
  /** SKU of single nodes that differ, by node index. */
  readonly otherSkus?: Readonly<Record<string, string>>;
  /** Rails (RDMA NICs) per node. */
  readonly rails: number;
  /** Line rate of one NIC, Gbit/s. */
  readonly nicGbps: number;
  readonly coresPerNode: number;
  readonly ambientC: number;
  /** True: pods, namespaces and pod labels exist. */
  readonly kubernetes: boolean;
}

export interface DeploySpec {
  readonly service: string;
  readonly engine: EngineKind;
  /** vllm: `0.10` or `0.20`; sglang: `0.5`; dynamo: `1.1` (in front of vLLM 0.20). */
  readonly version: string;
  readonly model: string;
  /** Replicas of an aggregated service; ignored with `pd`. */
  readonly replicas: number;
  readonly tp: number;
  readonly pp: number;
  readonly dp: number;
  /** Experts spread over tp*dp ranks. */
  readonly ep: boolean;
  readonly pd?: { readonly prefill: number; readonly decode: number };
  readonly frontend: 'none' | 'llm-d' | 'dynamo';
  readonly router: RouterPolicy;
  readonly routerRefreshS: number;
  readonly maxSeqs: number;
  readonly maxBatchTokens: number;
  /** KV tokens of one engine core; 0 = what fits into the memory. */
  readonly kvTokens: number;
  readonly prefixCaching: boolean;
  readonly asyncScheduling: boolean;
  /** Largest decode batch that has a CUDA graph. */
  readonly graphMaxSeqs: number;
  readonly apiServers: number;
  /** CPU cores of one replica's cgroup. */
  readonly cpuQuota: number;
  readonly speculative?: { readonly tokens: number; readonly acceptance: number };
  readonly lora?: { readonly adapters: number; readonly slots: number };
  readonly lmcache: boolean;
  /** Seconds a prefill replica keeps the blocks of a request nobody fetched. */
  readonly leaseS: number;
}

export interface LoadSpec {
  readonly process: 'poisson' | 'gamma' | 'trace' | 'diurnal';
  readonly cv: number;
  /** Requests per second over time: [second, rps], linear in between. */
  readonly rps: readonly (readonly [number, number])[];
  readonly mix: MixName;
  /** Share of prompts that begin with one of the tenants' shared prefixes. */
  readonly sharedPrefix: number;
  readonly tenants: number;
  /** Share of requests with a JSON schema. */
  readonly structured: number;
  readonly clientRetry: { readonly timeoutS: number; readonly max: number };
}

export interface ObserveSpec {
  readonly engineScrapeS: number;
  readonly gpuScrapeS: number;
  readonly nodeScrapeS: number;
  readonly routerScrapeS: number;
  /** Seconds between two bursts of hook events of a replica; 0 = no hooks. */
  readonly hooksEveryS: number;
  /** Collectives in one burst. */
  readonly hooksOps: number;
  /** Share of requests with spans; tail requests are kept. */
  readonly spans: number;
  readonly clockOffsetMsSd: number;
  readonly clockDriftPpmSd: number;
  readonly scrapeJitterS: number;
  readonly dropScrape: number;
  /** dcgm-exporter's default CSV, the full one, or the AMD exporter (by SKU); none = no GPU telemetry. */
  readonly gpuExporter: 'default' | 'full' | 'none';
  readonly nodeExporter: boolean;
  /** Kubelet's cadvisor page: CPU throttling of the replica's containers. */
  readonly cadvisor: boolean;
}

export interface Injection {
  readonly kind: string;
  /** `node2/gpu5`, `node1`, `r3`, `r3/tp1`, `r1->r4`, `pool:decode`, `service`, … what the fault's row asks for. */
  readonly entity: string;
  readonly at: number;
  readonly durationS: number;
  readonly shape: Shape;
  /** Seconds from nothing to the full dose (ramp), or on+off time (intermittent). */
  readonly shapeS: number;
  /** Share of on-time when intermittent. */
  readonly duty: number;
  /** Fraction of the victim's capacity or speed that is lost, 0…1. */
  readonly dose: number;
  readonly parameters?: Readonly<Record<string, number | string>>;
}

export interface Spec {
  readonly seed: number;
  readonly tier: string;
  readonly name: string;
  /** Simulated seconds that are recorded. */
  readonly durationS: number;
  /** Seconds simulated before the recording begins, so that batches and caches are in their steady state. */
  readonly warmupS: number;
  /** ISO time of the recording's second 0. */
  readonly start: string;
  readonly cluster: ClusterSpec;
  readonly deploy: DeploySpec;
  readonly load: LoadSpec;
  readonly observe: ObserveSpec;
  readonly inject: readonly Injection[];
  /** The service's own objectives, seconds; they are written nowhere in the recording. */
  readonly slo: { readonly ttft: number; readonly itl: number; readonly e2e: number };
}

/** A small healthy cluster; every part can be overridden. */
export function makeSpec(over: DeepPartial<Spec> = {}): Spec {
  const spec: Spec = {
    seed: over.seed ?? 1,
    tier: over.tier ?? 'adhoc',
    name: over.name ?? `case-${over.seed ?? 1}`,
    durationS: over.durationS ?? 1200,
    warmupS: over.warmupS ?? 90,
    start: over.start ?? '2026-05-01T12:00:00.000Z',
    cluster: {
      nodes: 4,
      gpusPerNode: 8,
      sku: 'H100-like',
      rails: 2,
      nicGbps: 400,
      coresPerNode: 32,
      ambientC: 27,
      kubernetes: true,
      ...over.cluster,
    } as ClusterSpec,
    deploy: {
      service: 'chat',
      engine: 'vllm',
      version: '0.20',
      model: '70b-like',
      replicas: 8,
      tp: 4,
      pp: 1,
      dp: 1,
      ep: false,
      frontend: 'llm-d',
      router: 'prefix',
      routerRefreshS: 0.2,
      maxSeqs: 256,
      maxBatchTokens: 8192,
      kvTokens: 0,
      prefixCaching: true,
      asyncScheduling: true,
      graphMaxSeqs: 512,
      apiServers: 2,
      cpuQuota: 12,
      lmcache: false,
      leaseS: 30,
      ...over.deploy,
    } as DeploySpec,
    load: {
      process: 'poisson',
      cv: 1,
      rps: [[0, 16]],
      mix: 'chat+rag',
      sharedPrefix: 0.6,
      tenants: 12,
      structured: 0,
      clientRetry: { timeoutS: 120, max: 0 },
      ...over.load,
    } as LoadSpec,
    observe: {
      engineScrapeS: 15,
      gpuScrapeS: 15,
      nodeScrapeS: 30,
      routerScrapeS: 15,
      hooksEveryS: 30,
      hooksOps: 26,
      spans: 0.01,
      clockOffsetMsSd: 0.4,
      clockDriftPpmSd: 2,
      scrapeJitterS: 0.15,
      dropScrape: 0.002,
      gpuExporter: 'full',
      nodeExporter: true,
      cadvisor: true,
      ...over.observe,
    } as ObserveSpec,
    inject: (over.inject ?? []).map((i) => injection(i as Partial<Injection>)),
    slo: { ttft: 2, itl: 0.1, e2e: 60, ...over.slo } as Spec['slo'],
  };
  return spec;
}

type DeepPartial<T> = {
  readonly [K in keyof T]?: T[K] extends readonly unknown[]
    ? readonly Partial<T[K][number]>[]
    : T[K] extends object | undefined
      ? Partial<NonNullable<T[K]>>
      : T[K];
};
export type SpecOverrides = DeepPartial<Spec>;

/** An injection with the defaults filled in. */
export function injection(part: Partial<Injection>): Injection {
  return {
    kind: '',
    entity: '',
    at: 480,
    durationS: 600,
    shape: 'step',
    shapeS: 120,
    duty: 0.5,
    dose: 0.3,
    ...part,
  };
}

/** One sentence per reason why this world cannot exist; empty when it can. */
export function checkSpec(spec: Spec): string[] {
  const mistakes: string[] = [];
  const say = (text: string) => void mistakes.push(text);
  const { cluster: c, deploy: d, load: l, observe: o } = spec;
  const whole = (name: string, value: number, lo: number, hi: number) => {
    if (!Number.isInteger(value) || value < lo || value > hi)
      say(`${name} is ${value}; it must be a whole number from ${lo} to ${hi}.`);
  };
  const within = (name: string, value: number, lo: number, hi: number) => {
    if (!(value >= lo && value <= hi)) say(`${name} is ${value}; it must be between ${lo} and ${hi}.`);
  };
  if (!Number.isSafeInteger(spec.seed)) say(`seed is ${spec.seed}; it must be a whole number.`);
  within('durationS', spec.durationS, 1, 86_400);
  within('warmupS', spec.warmupS, 0, 3600);
  if (Number.isNaN(Date.parse(spec.start))) say(`start is "${spec.start}"; it must be an ISO 8601 time.`);
  whole('cluster.nodes', c.nodes, 1, 256);
  whole('cluster.gpusPerNode', c.gpusPerNode, 1, 16);
  whole('cluster.rails', c.rails, 1, 16);
  whole('cluster.coresPerNode', c.coresPerNode, 1, 512);
  within('cluster.nicGbps', c.nicGbps, 1, 1600);
  for (const sku of [c.sku, ...Object.values(c.otherSkus ?? {})])
    if (!SKUS[sku]) say(`GPU "${sku}" is not known; there are ${Object.keys(SKUS).join(', ')}.`);
  const model = MODELS[d.model];
  if (!model) say(`model "${d.model}" is not known; there are ${Object.keys(MODELS).join(', ')}.`);
  for (const [name, value] of [
    ['tp', d.tp],
    ['pp', d.pp],
    ['dp', d.dp],
  ] as const)
    whole(`deploy.${name}`, value, 1, 64);
  const replicas = d.pd ? d.pd.prefill + d.pd.decode : d.replicas;
  if (d.pd) {
    whole('deploy.pd.prefill', d.pd.prefill, 1, 512);
    whole('deploy.pd.decode', d.pd.decode, 1, 512);
  } else whole('deploy.replicas', d.replicas, 1, 1024);
  const perReplica = d.tp * d.pp * d.dp;
  const have = c.nodes * c.gpusPerNode;
  if (mistakes.length === 0) {
    if (replicas * perReplica > have)
      say(
        `${replicas} replicas of tp ${d.tp} x pp ${d.pp} x dp ${d.dp} need ${replicas * perReplica} GPUs, the cluster has ${have}.`,
      );
    if (d.tp > c.gpusPerNode)
      say(`tp ${d.tp} does not fit into a node of ${c.gpusPerNode} GPUs; tensor parallel groups stay inside a node.`);
    if (
      d.tp <= c.gpusPerNode &&
      perReplica <= c.gpusPerNode &&
      c.gpusPerNode % perReplica !== 0 &&
      replicas > c.nodes * Math.floor(c.gpusPerNode / perReplica)
    )
      say(
        `Replicas of ${perReplica} GPUs do not fit ${replicas} times into nodes of ${c.gpusPerNode} GPUs without being split.`,
      );
    if (model && model.layers < d.pp) say(`pp ${d.pp} is more than the ${model.layers} layers of ${d.model}.`);
    if (model && d.ep && model.experts === 0) say(`ep is on but ${d.model} has no experts.`);
    if (model && d.ep && model.experts % (d.tp * d.dp) !== 0)
      say(`${model.experts} experts do not spread evenly over ${d.tp * d.dp} ranks.`);
    const sku = SKUS[c.sku];
    if (model && sku) {
      const shards = d.tp * d.pp * (d.ep ? d.dp : 1);
      const weights = (model.params * model.weightBytes) / shards;
      const room = sku.memoryMiB * 1048576 * 0.9 - weights;
      if (room < 0)
        say(
          `${d.model} needs ${(weights / 1e9).toFixed(0)} GB per GPU at tp ${d.tp} x pp ${d.pp}; a ${c.sku} has ${((sku.memoryMiB * 1048576) / 1e9).toFixed(0)} GB.`,
        );
      const perToken = model.kvBytes / (d.tp * d.pp);
      if (room > 0 && d.kvTokens * perToken > room)
        say(
          `kvTokens ${d.kvTokens} need ${((d.kvTokens * perToken) / 1e9).toFixed(0)} GB per GPU; ${(room / 1e9).toFixed(0)} GB are left beside the weights.`,
        );
    }
  }
  const versions: Record<string, readonly string[]> = { vllm: ['0.10', '0.20'], sglang: ['0.5'], dynamo: ['1.1'] };
  if (!versions[d.engine]) say(`engine "${d.engine}" is not known; there are vllm, sglang, dynamo.`);
  else if (!versions[d.engine]!.includes(d.version))
    say(`engine ${d.engine} has no version "${d.version}" here; there are ${versions[d.engine]!.join(', ')}.`);
  if (d.engine === 'dynamo' && d.frontend !== 'dynamo') say('engine dynamo needs frontend dynamo.');
  if (d.engine !== 'dynamo' && d.frontend === 'dynamo') say('frontend dynamo needs engine dynamo.');
  if (d.pd && d.dp > 1) say('pd with dp > 1 is not modelled; use several replicas instead.');
  if (d.pd && d.pp > 1) say('pd with pp > 1 is not modelled.');
  if (d.pp > 1 && d.dp > 1) say('pp > 1 together with dp > 1 is not modelled.');
  whole('deploy.maxSeqs', d.maxSeqs, 1, 4096);
  whole('deploy.maxBatchTokens', d.maxBatchTokens, 64, 131072);
  if (d.maxBatchTokens < d.maxSeqs)
    say(
      `maxBatchTokens ${d.maxBatchTokens} is below maxSeqs ${d.maxSeqs}; a step must hold a token of every sequence.`,
    );
  whole('deploy.apiServers', d.apiServers, 1, 64);
  within('deploy.cpuQuota', d.cpuQuota, 0.5, 512);
  within('deploy.routerRefreshS', d.routerRefreshS, 0.01, 600);
  if (d.kvTokens !== 0) whole('deploy.kvTokens', d.kvTokens, 256, 1e9);
  if (d.speculative) {
    whole('deploy.speculative.tokens', d.speculative.tokens, 1, 16);
    within('deploy.speculative.acceptance', d.speculative.acceptance, 0, 1);
  }
  if (l.rps.length === 0) say('load.rps is empty; it needs at least one [second, requests per second].');
  for (const [at, rps] of l.rps)
    if (!(Number.isFinite(at) && rps >= 0 && rps <= 10_000))
      say(`load.rps has [${at}, ${rps}]; a rate is between 0 and 10000.`);
  for (let i = 1; i < l.rps.length; i++)
    if (l.rps[i]![0] < l.rps[i - 1]![0]) say(`load.rps goes back in time at entry ${i}.`);
  within('load.cv', l.cv, 0.1, 10);
  within('load.sharedPrefix', l.sharedPrefix, 0, 1);
  within('load.structured', l.structured, 0, 1);
  whole('load.tenants', l.tenants, 1, 10_000);
  whole('load.clientRetry.max', l.clientRetry.max, 0, 20);
  within('load.clientRetry.timeoutS', l.clientRetry.timeoutS, 0.1, 86_400);
  for (const [name, value] of Object.entries({
    engineScrapeS: o.engineScrapeS,
    gpuScrapeS: o.gpuScrapeS,
    nodeScrapeS: o.nodeScrapeS,
    routerScrapeS: o.routerScrapeS,
  }))
    within(`observe.${name}`, value, 0.2, 3600);
  within('observe.dropScrape', o.dropScrape, 0, 1);
  within('observe.spans', o.spans, 0, 1);
  if (o.hooksEveryS !== 0) within('observe.hooksEveryS', o.hooksEveryS, 0.5, 3600);
  return mistakes;
}
