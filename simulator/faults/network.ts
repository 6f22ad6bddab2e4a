/** What goes wrong between GPUs and between nodes. */
import { tensorGroups } from '../world/comms.ts';
import { reshare } from '../world/network.ts';
import type { Replica, World } from '../world/types.ts';
import { type FaultKind, nodeEntity, type RootTruth, replicaEntity, type Victim } from './types.ts';

const needsPd = (s: { deploy: { pd?: unknown } }) => (s.deploy.pd ? undefined : 'it needs a prefill/decode split');
const needsTp = (s: { deploy: { tp: number } }) => (s.deploy.tp < 2 ? 'it needs tensor parallelism' : undefined);
const ALL = ['step', 'ramp', 'intermittent'] as const;

const group =
  (detector: string) =>
  (_w: World, v: Victim): RootTruth => ({
    id: detector,
    entity: tensorGroups(v.replica!)[0]!,
    accept: [
      ...tensorGroups(v.replica!).map((g) => `${detector}@${g}`),
      `${detector}@${replicaEntity(v.replica!)}`,
      `${detector}@link:*`,
    ],
  });

const pairs = (w: World, v: Victim): string[] => {
  const out: string[] = [];
  for (const p of w.replicas.filter((r) => r.role === 'prefill'))
    for (const d of w.replicas.filter((r) => r.role === 'decode'))
      if (p.node === v.node || d.node === v.node) out.push(`pair:${p.id}->${d.id}`);
  return out;
};

/** What a dose leaves of a path's rate: links that limp have a tenth or a hundredth of their rate, not half. */
const left = (dose: number): number => (1 - dose) ** 6;

const eachKnob = (reps: readonly Replica[], set: (r: Replica) => void) => {
  for (const r of reps) set(r);
};

export const networkFaults: readonly FaultKind[] = [
  {
    kind: 'tp-link-slow',
    summary: 'The interconnect inside a TP group gives a fraction of its bandwidth and answers late.',
    victims: ['replica'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    impossible: needsTp,
    apply(_w, v, dose) {
      v.replica!.knobs.commBandwidth = 1 - dose;
      v.replica!.knobs.commLatency = 1 + 3 * dose;
    },
    root: (w, v) => ({
      ...group('slow-link')(w, v),
      accept: [...group('slow-link')(w, v).accept, `comm-bound@${replicaEntity(v.replica!)}`],
    }),
    evidence: ['hooks'],
  },
  {
    kind: 'transport-fallback',
    summary: 'A TP group lost its NVLink path and talks through shared host memory.',
    victims: ['replica'],
    doses: [0.6],
    shapes: ['step'],
    impossible: (s) => needsTp(s) ?? (s.cluster.sku === 'L40S-like' ? 'an L40S has no NVLink to lose' : undefined),
    apply(_w, v, dose) {
      v.replica!.knobs.transport = dose > 0 ? 'shm' : 'nvlink';
    },
    root: group('comm-transport-fallback'),
    evidence: ['gpu', 'hooks'],
    change: (w, v) => ({
      kind: 'deploy',
      attributes: { service: w.spec.deploy.service, replica: v.replica!.id, change: 'container image' },
    }),
  },
  {
    kind: 'nic-degraded',
    summary: 'A NIC negotiated a lower rate and retransmits.',
    victims: ['nic'],
    doses: [0.3, 0.6],
    shapes: ALL,
    impossible: needsPd,
    apply(w, v, dose) {
      const nic = v.nic!;
      nic.fault.rate = 1 - left(dose);
      nic.fault.errorsPerS = dose * 8;
      nic.fault.retransmitShare = dose > 0 ? 4e-4 + dose * 2e-3 : 2e-7;
      nic.rateGbps = dose >= 0.6 ? w.spec.cluster.nicGbps / 4 : w.spec.cluster.nicGbps;
      reshare(w);
    },
    root: (w, v) => ({
      id: 'nic-degradation',
      entity: nodeEntity(v.node!),
      accept: [`nic-degradation@nic:${v.node!.name}/${v.nic!.device}`, ...pairs(w, v).map((p) => `slow-link@${p}`)],
    }),
    evidence: ['host', 'hooks'],
  },
  {
    kind: 'fabric-congestion',
    summary: 'Foreign traffic congests a rail of the fabric.',
    victims: ['link'],
    doses: [0.2, 0.3, 0.6],
    shapes: ALL,
    impossible: needsPd,
    apply(w, v, dose) {
      for (const node of w.nodes) {
        const nic = node.nics[v.rail!];
        if (nic) nic.fault.congestion = 1 - left(dose);
      }
      reshare(w);
    },
    root: () => ({ id: 'network-congestion', entity: 'link:fabric', accept: ['network-congestion@*'] }),
    evidence: ['host', 'hooks'],
  },
  {
    kind: 'kv-wire-slow',
    summary: 'The path from one prefill replica carries KV at a fraction of its class.',
    victims: ['replica'],
    doses: [0.3, 0.6],
    shapes: ALL,
    impossible: needsPd,
    apply(_w, v, dose) {
      v.replica!.knobs.wireScale = left(dose);
      v.replica!.knobs.wireLatencyS = dose * 0.08;
    },
    root: (w, v) => {
      const others = w.replicas.filter((r) => r.role === (v.replica!.role === 'prefill' ? 'decode' : 'prefill'));
      const ids = others.map((o) =>
        v.replica!.role === 'prefill' ? `pair:${v.replica!.id}->${o.id}` : `pair:${o.id}->${v.replica!.id}`,
      );
      return {
        id: 'kv-transfer-bound',
        entity: replicaEntity(v.replica!),
        accept: [
          ...ids.flatMap((p) => [`kv-transfer-bound@${p}`, `slow-link@${p}`]),
          `slow-link@${replicaEntity(v.replica!)}`,
        ],
      };
    },
    evidence: ['hooks', 'engine'],
  },
  {
    kind: 'kv-transport-fallback',
    summary: 'KV hand-offs of a service fell back from RDMA to TCP.',
    victims: ['service'],
    doses: [0.6],
    shapes: ['step'],
    impossible: needsPd,
    apply(_w, v, dose) {
      eachKnob(v.replicas, (r) => {
        r.knobs.wireScale = dose > 0 ? 0.045 : 1;
        r.knobs.wireLatencyS = dose > 0 ? 0.02 : 0;
        r.knobs.wireTcp = dose > 0;
      });
    },
    root: (w) => ({
      id: 'kv-transfer-bound',
      entity: `service:${w.spec.deploy.service}`,
      accept: ['kv-transfer-bound@*', 'comm-transport-fallback@*', 'slow-link@*'],
    }),
    evidence: ['hooks', 'engine'],
    change: (w) => ({ kind: 'deploy', attributes: { service: w.spec.deploy.service, change: 'container image' } }),
  },
  {
    kind: 'kv-transfer-failing',
    summary: 'A share of the KV hand-offs to one decode replica fails; prompts are computed again there.',
    victims: ['replica'],
    doses: [0.1, 0.3, 0.6],
    shapes: ALL,
    impossible: needsPd,
    apply(_w, v, dose) {
      v.replica!.knobs.transferFail = dose;
    },
    root: (w, v) => ({
      id: 'kv-transfer-failure',
      entity: replicaEntity(v.replica!),
      accept: w.replicas
        .filter((r) => r.role === 'prefill')
        .map((p) => `kv-transfer-failure@pair:${p.id}->${v.replica!.id}`),
    }),
    evidence: ['engine', 'hooks'],
  },
  {
    kind: 'kv-leak',
    summary: 'Prefill replicas keep the KV of cancelled requests until the lease is over; hand-offs expire.',
    victims: ['pool'],
    doses: [0.3, 0.6],
    shapes: ['step'],
    impossible: needsPd,
    apply(_w, v, dose) {
      eachKnob(v.replicas, (r) => {
        r.knobs.cacheLeak = dose;
      });
      for (const r of v.replicas) r.knobs.expire = dose;
    },
    root: (w, v) => ({
      id: 'kv-transfer-failure',
      entity: `pool:${v.pool}`,
      accept: [
        ...v.replicas.map((r) => `kv-transfer-failure@${replicaEntity(r)}`),
        `kv-transfer-failure@service:${w.spec.deploy.service}`,
        'kv-transfer-failure@pair:*',
      ],
    }),
    evidence: ['engine'],
  },
];
