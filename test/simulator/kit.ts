/** Small worlds for the simulator's tests. */
import { makeSpec, type Spec, type SpecOverrides } from '../../simulator/spec.ts';
import type { Request, Sched, World } from '../../simulator/world/types.ts';
import { REQUEST } from '../../simulator/world/types.ts';

/** Two replicas on two nodes, two minutes. */
export function small(over: SpecOverrides = {}): Spec {
  return makeSpec({
    seed: 11,
    durationS: 120,
    warmupS: 20,
    ...over,
    cluster: { nodes: 2, gpusPerNode: 4, coresPerNode: 16, ...over.cluster },
    deploy: { replicas: 2, tp: 4, ...over.deploy },
    load: { rps: [[0, 8]], ...over.load },
    observe: { ...over.observe },
  } as SpecOverrides);
}

export const SHAPES: Readonly<Record<string, SpecOverrides>> = {
  aggregated: {},
  'prefill and decode': {
    cluster: { nodes: 3, gpusPerNode: 4 },
    deploy: { pd: { prefill: 1, decode: 2 }, tp: 2, model: '32b-like' },
  },
  pipeline: { cluster: { nodes: 2, gpusPerNode: 8 }, deploy: { replicas: 2, tp: 4, pp: 2 } },
  experts: {
    cluster: { nodes: 1, gpusPerNode: 8 },
    deploy: { replicas: 1, tp: 2, dp: 4, ep: true, model: 'moe-like' },
  },
  'speculative, adapters, schemas': {
    deploy: { speculative: { tokens: 3, acceptance: 0.7 }, lora: { adapters: 10, slots: 4 } },
    load: { rps: [[0, 8]], structured: 0.3 },
  },
  'SGLang, little memory': {
    deploy: { engine: 'sglang', version: '0.5', kvTokens: 24_000, frontend: 'llm-d', router: 'least-loaded' },
    load: { rps: [[0, 14]], mix: 'chat' },
  },
  'tight memory, impatient clients': {
    deploy: { kvTokens: 20_000 },
    load: { rps: [[0, 16]], clientRetry: { timeoutS: 8, max: 2 } },
  },
  'a slow tier behind the cache': {
    deploy: { lmcache: true, kvTokens: 30_000 },
    load: { rps: [[0, 6]], mix: 'agentic' },
  },
};

/** Blocks that live requests hold, counted from the requests themselves. */
export function heldBlocks(w: World, s: Sched): number {
  const nodes = new Set<unknown>();
  let held = s.kv.stuck;
  const add = (r: Request, privateBlocks: number) => {
    for (const n of r.path)
      if (!nodes.has(n)) {
        nodes.add(n);
        held += n.blocks;
      }
    held += privateBlocks;
  };
  for (const g of s.groups)
    for (const r of g.run) {
      if (r.group !== g) continue;
      let blocks = r.privateBlocks;
      if (r.state === REQUEST.decode) {
        const tokens = r.base + g.g - r.startG;
        let path = 0;
        for (const n of r.path) path += n.blocks;
        blocks = Math.ceil(tokens / s.kv.blockSize) - path;
      }
      add(r, blocks);
    }
  for (const r of s.held) add(r, r.privateBlocks);
  for (let i = s.waitingHead; i < s.waiting.length; i++)
    if (s.waiting[i]!.queued) add(s.waiting[i]!, s.waiting[i]!.privateBlocks);
  for (const r of s.deferred) add(r, r.privateBlocks);
  for (const r of inTransfer.get(w) ?? [])
    if (r.sched === s && r.state === REQUEST.waiting && !r.queued) add(r, r.privateBlocks);
  return held;
}

/** Requests whose KV is on its way; filled by the caller from the world's listeners. */
export const inTransfer = new WeakMap<World, Set<Request>>();

/** Blocks that the step under way has already taken for tokens it has not yet written. */
export function inFlightBlocks(s: Sched): number {
  let blocks = 0;
  for (const g of s.groups) {
    if (!s.replica.groupBusy[g.index] || g.stepDecode === 0) continue;
    for (let j = 0; j < g.advance; j++) blocks += g.phase[(g.g + j) % g.phase.length]!;
  }
  return blocks;
}
