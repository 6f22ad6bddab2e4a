/** What goes wrong with the load, and with whoever spreads it. */

import { crash } from '../world/lifecycle.ts';
import type { World } from '../world/types.ts';
import { type FaultKind, type RootTruth, replicaEntity, type Victim } from './types.ts';

const ALL = ['step', 'ramp', 'intermittent'] as const;
const needsRouter = (s: { deploy: { replicas: number; pd?: { decode: number } } }) =>
  (s.deploy.pd ? s.deploy.pd.decode : s.deploy.replicas) < 2 ? 'it needs several replicas' : undefined;

const service =
  (detector: string, accept: (w: World, v: Victim) => string[] = () => []) =>
  (w: World, v: Victim): RootTruth => ({
    id: detector,
    entity: `service:${w.spec.deploy.service}`,
    accept: accept(w, v),
  });

const routing = service('router-imbalance', () => ['router-imbalance@*']);

export const demandFaults: readonly FaultKind[] = [
  {
    kind: 'surge',
    summary: 'Demand rises; the dose is by how much beyond the knee.',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(w, _v, dose) {
      w.load.scale = 1 + 2.2 * dose;
    },
    root: service('offered-load-surge', () => ['capacity-knee@*']),
    evidence: ['engine', 'router'],
  },
  {
    kind: 'mix-shift',
    summary: 'Prompts become longer at the same request rate.',
    victims: ['service'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(w, _v, dose) {
      w.load.promptScale = 1 + 14 * dose;
    },
    root: service('workload-shift'),
    evidence: ['engine'],
  },
  {
    kind: 'output-shift',
    summary: 'Answers become longer at the same request rate.',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(w, _v, dose) {
      w.load.outputScale = 1 + 3 * dose;
    },
    root: service('workload-shift'),
    evidence: ['engine'],
  },
  {
    kind: 'hol-long-prompts',
    summary: 'Now and then a very long prompt blocks the short ones behind it.',
    victims: ['service'],
    doses: [0.03, 0.05, 0.1],
    shapes: ['step'],
    apply(w, _v, dose) {
      w.load.longShare = dose * 0.25;
    },
    root: service('head-of-line-blocking', (_w, v) => [
      ...v.replicas.map((r) => `head-of-line-blocking@${replicaEntity(r)}`),
      'workload-shift@*',
    ]),
    evidence: ['engine'],
  },
  {
    kind: 'interference',
    summary: 'Large prefill chunks stall the decode of everybody in the batch.',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    apply(w, v, dose) {
      for (const r of v.replicas)
        r.knobs.maxBatchTokens =
          dose > 0 ? Math.round(w.spec.deploy.maxBatchTokens * (1 + 4 * dose)) : w.spec.deploy.maxBatchTokens;
      w.load.promptScale = dose > 0 ? 1 + 6 * dose : 1;
    },
    root: service('prefill-decode-interference', (_w, v) => [
      ...v.replicas.map((r) => `prefill-decode-interference@${replicaEntity(r)}`),
      'workload-shift@*',
    ]),
    evidence: ['engine'],
    change: (w) => ({
      kind: 'config',
      attributes: { service: w.spec.deploy.service, change: 'max_num_batched_tokens' },
    }),
  },
  {
    kind: 'router-skew',
    summary: 'The router sends a share of all requests to one replica.',
    victims: ['replica'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    impossible: needsRouter,
    apply(w, v, dose) {
      w.frontend.fault.skew = dose;
      w.frontend.fault.skewTo = v.replica!.index;
    },
    root: routing,
    evidence: ['engine', 'router'],
  },
  {
    kind: 'router-stale',
    summary: "The router's view of the replicas is seconds old: it herds.",
    victims: ['router'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    impossible: needsRouter,
    prepare: (s) => ({
      ...s,
      deploy: { ...s.deploy, router: s.deploy.frontend === 'dynamo' ? 'kv-cost' : 'least-loaded' },
    }),
    apply(w, _v, dose) {
      w.frontend.fault.refreshS = dose * 25;
      w.frontend.fault.noCorrection = dose > 0;
    },
    root: service('router-imbalance', () => ['router-imbalance@*', 'router-overhead@*']),
    evidence: ['engine', 'router'],
  },
  {
    kind: 'affinity-loss',
    summary: 'The router stopped sending prefixes to where they are cached.',
    victims: ['router'],
    doses: [0.6],
    shapes: ['step'],
    impossible: needsRouter,
    prepare: (s) => ({
      ...s,
      deploy: { ...s.deploy, router: s.deploy.router === 'kv-cost' ? 'kv-cost' : 'prefix', kvTokens: 120_000 },
      load: {
        ...s.load,
        sharedPrefix: 0.95,
        mix: s.load.mix === 'chat' || s.load.mix === 'agentic' ? s.load.mix : 'agentic',
      },
    }),
    apply(w, _v, dose) {
      w.frontend.fault.random = dose > 0 ? 1 : 0;
    },
    root: service('prefix-cache-collapse', (_w, v) => [
      'router-imbalance@*',
      ...v.replicas.map((r) => `prefix-cache-collapse@${replicaEntity(r)}`),
      'prefix-cache-collapse@pool:*',
    ]),
    evidence: ['engine', 'router'],
    change: (w) => ({ kind: 'config', attributes: { service: w.spec.deploy.service, change: 'router plugins' } }),
  },
  {
    kind: 'router-slow',
    summary: 'Routing itself takes long.',
    victims: ['router'],
    doses: [0.1, 0.3, 0.6],
    shapes: ALL,
    impossible: (s) => (s.deploy.frontend === 'none' ? 'there is no router to slow down' : undefined),
    apply(w, _v, dose) {
      w.frontend.fault.delayS = dose * 1.6;
      w.frontend.fault.cpu = dose * 0.02;
    },
    root: (w) => ({
      id: 'router-overhead',
      entity: `${w.spec.deploy.frontend === 'dynamo' ? 'frontend' : 'router'}:${w.frontend.name}`,
      accept: ['router-overhead@*'],
    }),
    evidence: ['router'],
  },
  {
    kind: 'pd-ratio',
    summary: 'One side of a split service is scaled too small for the traffic.',
    victims: ['pool'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    impossible: (s) =>
      s.deploy.pd
        ? Math.max(s.deploy.pd.prefill, s.deploy.pd.decode) < 2
          ? 'a pool of one replica cannot be made smaller'
          : undefined
        : 'it needs a prefill/decode split',
    apply() {},
    strike(w, v, dose, injection) {
      const n = Math.min(v.replicas.length - 1, Math.max(1, Math.round(v.replicas.length * dose)));
      for (const rep of v.replicas.slice(v.replicas.length - n)) {
        rep.cordoned = true;
        rep.knobs.loadS = 60;
        w.queue.at(w.now + 25, () => crash(w, rep, 0, Math.max(1, injection.durationS - 85)));
        w.queue.at(w.now + injection.durationS, () => {
          rep.cordoned = false;
        });
      }
    },
    root: service('pd-imbalance', (_w, v) => [
      'pd-imbalance@*',
      ...v.replicas.flatMap((r) => [`prefill-bound@${replicaEntity(r)}`, `replica-unavailable@${replicaEntity(r)}`]),
    ]),
    evidence: ['engine'],
    change: (w, v) => ({
      kind: 'scale',
      attributes: { service: w.spec.deploy.service, pool: v.pool!, change: 'scaled down' },
    }),
  },
  {
    kind: 'retry-storm',
    summary: 'A minute of too much load makes impatient clients retry; the retries keep the service down afterwards.',
    victims: ['service'],
    doses: [0.6],
    shapes: ['step'],
    prepare: (s) => ({ ...s, load: { ...s.load, mix: 'chat', clientRetry: { timeoutS: 30, max: 3 } } }),
    apply() {},
    strike(w, _v, dose) {
      w.load.scale = 1 + 5 * dose;
      w.queue.at(w.now + 90, () => {
        w.load.scale = 1;
      });
    },
    root: service('offered-load-surge', () => ['capacity-knee@*']),
    evidence: ['engine', 'router'],
  },
];
