/** What goes wrong inside the engines: settings, memory, caches, kernels, parallelism. */
import { expertComm, groupEntity, tensorComm } from '../world/comms.ts';
import { flush } from '../world/kv-cache.ts';
import { crash, hang } from '../world/lifecycle.ts';
import type { Replica } from '../world/types.ts';
import { type FaultKind, rankEntity, replicaEntity, type Victim } from './types.ts';

const onReplica =
  (detector: string, accept: readonly string[] = []) =>
  (_w: unknown, v: Victim) => ({
    id: detector,
    entity: replicaEntity(v.replica!),
    accept,
  });

/** Shrinks a core's pool; what lived in the lost part is thrown out by the scheduler when it needs room. */
function resize(rep: Replica, share: number): void {
  for (const s of rep.scheds) {
    const full = fullSize.get(s) ?? s.kv.total;
    fullSize.set(s, full);
    flush(s.kv);
    s.kv.total = Math.max(Math.ceil(8192 / s.kv.blockSize), Math.floor(full * share), share < 1 ? s.kv.used : 0);
  }
}
const fullSize = new WeakMap<object, number>();

/** KV share at which the replica just holds what it runs, less the dose. */
function tight(rep: Replica, dose: number): number {
  const s = rep.scheds[0]!;
  const full = fullSize.get(s) ?? s.kv.total;
  const live = Math.max(s.kv.used, Math.ceil(4000 / s.kv.blockSize));
  return Math.min(1, (live * (1.25 - dose)) / full);
}

export const engineFaults: readonly FaultKind[] = [
  {
    kind: 'kv-undersize',
    summary: 'A replica came up with far too small a KV pool: admission waits for blocks.',
    victims: ['replica'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      resize(v.replica!, dose > 0 ? tight(v.replica!, dose) : 1);
    },
    root: (_w, v) => ({
      id: 'kv-saturation',
      entity: replicaEntity(v.replica!),
      accept: [`preemption-thrash@${replicaEntity(v.replica!)}`],
    }),
    evidence: ['engine'],
    change: (w, v) => ({
      kind: 'config',
      attributes: { service: w.spec.deploy.service, replica: v.replica!.id, change: 'gpu_memory_utilization' },
    }),
  },
  {
    kind: 'max-seqs-cap',
    summary: 'A configured cap on running sequences makes the queue, with memory to spare.',
    victims: ['replica', 'service'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step'],
    apply(w, v, dose) {
      for (const r of v.replicas) {
        let running = 0;
        for (const s of r.scheds) running = Math.max(running, s.running.n);
        r.knobs.maxSeqs = dose > 0 ? Math.max(2, Math.round(Math.max(4, running) * (1 - dose))) : w.spec.deploy.maxSeqs;
      }
    },
    root: (w, v) => ({
      id: 'admission-limited',
      entity: v.kind === 'service' ? `service:${w.spec.deploy.service}` : replicaEntity(v.replica!),
      accept: v.replicas.map((r) => `admission-limited@${replicaEntity(r)}`),
    }),
    evidence: ['engine'],
    change: (w) => ({ kind: 'config', attributes: { service: w.spec.deploy.service, change: 'max_num_seqs' } }),
  },
  {
    kind: 'eager-fallback',
    summary: 'Decode of a replica runs without CUDA graphs.',
    victims: ['replica'],
    doses: [0.3],
    shapes: ['step', 'intermittent'],
    apply(_w, v, dose) {
      v.replica!.knobs.eager = dose > 0;
    },
    root: onReplica('cudagraph-fallback'),
    evidence: ['hooks', 'engine'],
  },
  {
    kind: 'grammar-storm',
    summary: 'A flood of new JSON schemas keeps the grammar compiler busy; requests wait for it.',
    victims: ['service'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step', 'ramp'],
    prepare: (s) => ({ ...s, load: { ...s.load, structured: Math.max(0.35, s.load.structured) } }),
    apply(w, v, dose) {
      w.load.newSchemas = dose > 0 ? 1 : 0.15;
      for (const r of v.replicas) {
        r.knobs.grammarS = dose > 0 ? 0.12 + 6 * dose : 0.12;
        r.knobs.grammarMask = dose * 0.00025;
      }
    },
    root: (w, v) => ({
      id: 'grammar-bound',
      entity: `service:${w.spec.deploy.service}`,
      accept: v.replicas.map((r) => `grammar-bound@${replicaEntity(r)}`),
    }),
    evidence: ['engine'],
  },
  {
    kind: 'spec-acceptance',
    summary: 'Draft tokens are no longer accepted; drafting only costs.',
    victims: ['service', 'replica'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    prepare: (s) =>
      s.deploy.speculative ? s : { ...s, deploy: { ...s.deploy, speculative: { tokens: 3, acceptance: 0.72 } } },
    apply(w, v, dose) {
      const usual = w.spec.deploy.speculative!.acceptance;
      for (const r of v.replicas) r.knobs.specAcceptance = usual * (1 - Math.min(0.97, dose * 1.3));
    },
    root: (w, v) => ({
      id: 'spec-decode-regression',
      entity: v.kind === 'service' ? `service:${w.spec.deploy.service}` : replicaEntity(v.replica!),
      accept: v.replicas.map((r) => `spec-decode-regression@${replicaEntity(r)}`),
    }),
    evidence: ['engine'],
  },
  {
    kind: 'lora-churn',
    summary: 'More adapters are asked for than there are slots; they are loaded again and again.',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    prepare: (s) => ({ ...s, deploy: { ...s.deploy, lora: { adapters: 6, slots: 8 } } }),
    apply(w, v, dose) {
      w.load.adapters = dose > 0 ? Math.round(24 + 60 * dose) : 0;
      for (const r of v.replicas) r.knobs.loraLoadS = dose > 0 ? 0.4 + 1.2 * dose : 0.35;
    },
    root: (w, v) => ({
      id: 'adapter-thrash',
      entity: `service:${w.spec.deploy.service}`,
      accept: v.replicas.map((r) => `adapter-thrash@${replicaEntity(r)}`),
    }),
    evidence: ['engine'],
  },
  {
    kind: 'prefix-salt',
    summary: 'A deploy put something unique at the start of prompts: shared prefixes no longer match.',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    prepare: (s) => ({ ...s, load: { ...s.load, sharedPrefix: Math.max(0.85, s.load.sharedPrefix) } }),
    apply(w, _v, dose) {
      w.load.saltShare = dose > 0 ? Math.min(1, dose + 0.4) : 0;
    },
    root: (w, v) => ({
      id: 'prefix-cache-collapse',
      entity: `service:${w.spec.deploy.service}`,
      accept: [...v.replicas.map((r) => `prefix-cache-collapse@${replicaEntity(r)}`), 'prefix-cache-collapse@pool:*'],
    }),
    evidence: ['engine'],
    change: (w) => ({ kind: 'deploy', attributes: { service: w.spec.deploy.service, change: 'prompt template' } }),
  },
  {
    kind: 'kv-fragmentation',
    summary: "Part of a replica's pool cannot be used (another pool of a hybrid model, or leaked blocks).",
    victims: ['replica'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(_w, v, dose) {
      const rep = v.replica!;
      for (const s of rep.scheds) {
        const want =
          dose > 0 ? Math.max(0, s.kv.total - Math.ceil(Math.max(s.kv.used - s.kv.stuck, 300) * (1.45 - dose))) : 0;
        const more = Math.min(want, s.kv.total - s.kv.used + s.kv.stuck) - s.kv.stuck;
        if (more > 0) {
          const spare = s.kv.total - s.kv.used - s.kv.idle;
          if (more > spare) flush(s.kv);
        }
        s.kv.used += more;
        s.kv.stuck += more;
      }
    },
    root: onReplica('kv-fragmentation'),
    evidence: ['engine'],
  },
  {
    kind: 'offload-slow',
    summary: 'The tier that cached KV is fetched from has become slow: hits cost more than they save.',
    victims: ['service', 'replica'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    impossible: (s) =>
      s.deploy.engine === 'sglang' || s.deploy.pd ? 'the tier is LMCache beside an aggregated vLLM' : undefined,
    prepare: (s) => ({
      ...s,
      deploy: { ...s.deploy, lmcache: true, kvTokens: 70_000 },
      load: { ...s.load, sharedPrefix: 0.9 },
    }),
    apply(_w, v, dose) {
      for (const r of v.replicas) r.knobs.offloadScale = dose > 0 ? 1 - Math.min(0.98, 0.75 + dose * 0.38) : 1;
    },
    root: (w, v) => ({
      id: 'kv-offload-bound',
      entity: v.kind === 'service' ? `service:${w.spec.deploy.service}` : replicaEntity(v.replica!),
      accept: v.replicas.map((r) => `kv-offload-bound@${replicaEntity(r)}`),
    }),
    evidence: ['engine'],
  },
  {
    kind: 'pp-partition',
    summary: 'One pipeline stage holds more layers than the others.',
    victims: ['rank'],
    doses: [0.1, 0.2, 0.3],
    shapes: ['step'],
    impossible: (s) => (s.deploy.pp < 2 ? 'it needs pipeline parallelism' : undefined),
    apply(_w, v, dose) {
      const rep = v.replica!;
      const p = rep.stageFree.length;
      const heavy = (1 / p) * (1 + dose * 1.4);
      for (let s = 0; s < p; s++)
        rep.knobs.stageShare[s] = dose > 0 ? (s === v.rank!.pp ? heavy : (1 - heavy) / (p - 1)) : 1 / p;
    },
    root: (_w, v) => ({
      id: 'pp-stage-imbalance',
      entity: rankEntity(v.rank!),
      accept: [
        `pp-stage-imbalance@${replicaEntity(v.replica!)}`,
        `pp-stage-imbalance@rank:${v.replica!.id}/pp${v.rank!.pp}`,
        ...v.replica!.ranks.filter((r) => r.pp === v.rank!.pp).map((r) => `pp-stage-imbalance@${rankEntity(r)}`),
      ],
    }),
    evidence: ['hooks'],
    change: (w, v) => ({
      kind: 'deploy',
      attributes: { service: w.spec.deploy.service, replica: v.replica!.id, change: 'layer partition' },
    }),
  },
  {
    kind: 'ep-hot-expert',
    summary: 'A few experts get most tokens: their rank works longest.',
    victims: ['rank'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step', 'ramp'],
    impossible: (s) => (s.deploy.ep ? undefined : 'it needs expert parallelism'),
    apply(_w, v, dose) {
      v.replica!.knobs.hotExpert = dose * 2.5;
      v.replica!.knobs.hotExpertRank = v.rank!.ep;
    },
    root: (_w, v) => ({
      id: 'ep-imbalance',
      entity: groupEntity(v.replica!, expertComm(v.replica!)),
      accept: [`ep-imbalance@${replicaEntity(v.replica!)}`, `ep-imbalance@${rankEntity(v.rank!)}`],
    }),
    evidence: ['hooks', 'engine'],
  },
  {
    kind: 'dp-skew',
    summary: 'Requests of a data-parallel replica go to its first core: the others run dummy steps.',
    victims: ['replica'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    impossible: (s) => (s.deploy.dp > 1 ? undefined : 'it needs data parallelism'),
    apply(_w, v, dose) {
      v.replica!.knobs.dpSkew = dose;
    },
    root: onReplica('dp-imbalance'),
    evidence: ['engine'],
  },
  {
    kind: 'hang',
    summary: 'One rank stops inside a collective: the group stands still, the API answers, gauges are frozen.',
    victims: ['rank'],
    doses: [0.6],
    shapes: ['step'],
    apply(w, v, dose) {
      if (dose === 0 && v.replica!.state === 'hung') crash(w, v.replica!, 134, 5);
    },
    strike(w, v) {
      hang(w, v.replica!, v.rank!.global);
    },
    root: (w, v) =>
      w.spec.deploy.tp * w.spec.deploy.dp > 1
        ? {
            id: 'collective-stall',
            entity: groupEntity(v.replica!, tensorComm(v.replica!, v.rank!.dp, v.rank!.pp)),
            accept: [
              `collective-stall@${replicaEntity(v.replica!)}`,
              `collective-stall@${rankEntity(v.rank!)}`,
              `engine-stall@${replicaEntity(v.replica!)}`,
            ],
          }
        : { id: 'engine-stall', entity: replicaEntity(v.replica!), accept: [] },
    evidence: ['engine', 'hooks'],
  },
  {
    kind: 'oom-crash',
    summary: 'An engine runs out of memory once, dies and starts again.',
    victims: ['replica'],
    doses: [0.6],
    shapes: ['step'],
    apply() {},
    strike(w, v) {
      v.replica!.node.oomKills++;
      crash(w, v.replica!, 137, 10);
    },
    root: (_w, v) => ({
      id: 'gpu-oom-risk',
      entity: replicaEntity(v.replica!),
      accept: [
        `crash-loop@${replicaEntity(v.replica!)}`,
        `replica-unavailable@${replicaEntity(v.replica!)}`,
        ...v.replica!.ranks.map((r) => `gpu-oom-risk@gpu:${r.gpu.uuid}`),
      ],
    }),
    evidence: ['events', 'host', 'engine'],
  },
  {
    kind: 'crash-loop',
    summary: 'An engine dies again and again shortly after it started.',
    victims: ['replica'],
    doses: [0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      if (dose === 0) v.replica!.knobs.loadS = 75;
    },
    strike(w, v, _dose, injection) {
      const rep = v.replica!;
      rep.knobs.loadS = 35;
      const end = w.now + injection.durationS;
      let backoff = 10;
      const again = () => {
        if (w.now >= end) return;
        crash(w, rep, 1, backoff);
        const up = backoff + rep.knobs.loadS + 12;
        backoff = Math.min(40, backoff * 1.4);
        w.queue.at(w.now + up, again);
      };
      again();
    },
    root: onReplica('crash-loop'),
    evidence: ['events', 'engine'],
  },
  {
    kind: 'slow-load',
    summary: 'A restarted replica takes very long to load its model.',
    victims: ['replica'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      if (dose === 0) v.replica!.knobs.loadS = 80;
    },
    strike(w, v, dose, injection) {
      v.replica!.knobs.loadS = injection.durationS * (0.55 + 0.5 * dose);
      v.replica!.node.fault.ioPressure = 0.5;
      w.queue.at(w.now + v.replica!.knobs.loadS, () => {
        v.replica!.node.fault.ioPressure = 0;
      });
      crash(w, v.replica!, 0, 5);
    },
    root: (_w, v) => ({
      id: 'cold-start',
      entity: replicaEntity(v.replica!),
      accept: [`replica-unavailable@${replicaEntity(v.replica!)}`],
    }),
    evidence: ['events', 'engine'],
  },
];
