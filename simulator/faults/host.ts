/** What goes wrong with CPUs, and with the processes in front of the engines. */
import { type FaultKind, nodeEntity, rankEntity, replicaEntity } from './types.ts';

const ALL = ['step', 'ramp', 'intermittent'] as const;

export const hostFaults: readonly FaultKind[] = [
  {
    kind: 'cpu-quota',
    summary: 'The CPU limit of a replica is below what its processes need: the cgroup is throttled.',
    victims: ['replica'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ['step'],
    apply(w, v, dose) {
      const rep = v.replica!;
      const need = Math.max(1, rep.cgroup.demand);
      rep.knobs.cpuQuota = dose > 0 ? Math.max(0.5, need * (1 - dose)) : w.spec.deploy.cpuQuota;
    },
    root: (_w, v) => ({ id: 'host-bound', entity: replicaEntity(v.replica!), accept: [] }),
    evidence: ['host', 'hooks'],
    change: (w, v) => ({
      kind: 'config',
      attributes: { service: w.spec.deploy.service, replica: v.replica!.id, change: 'resources.limits.cpu' },
    }),
  },
  {
    kind: 'noisy-host',
    summary: 'A foreign job takes the CPUs of a node.',
    victims: ['node'],
    doses: [0.1, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      v.node!.fault.foreignCores = dose > 0 ? v.node!.cores * (0.85 + dose) : 0;
    },
    root: (_w, v) => ({ id: 'noisy-neighbour-host', entity: nodeEntity(v.node!), accept: [] }),
    evidence: ['host'],
  },
  {
    kind: 'cpu-steal',
    summary: 'The hypervisor takes CPU time from a node.',
    victims: ['node'],
    doses: [0.1, 0.2, 0.3],
    shapes: ALL,
    apply(_w, v, dose) {
      v.node!.fault.steal = dose;
      v.node!.fault.memoryBandwidth = dose;
    },
    root: (_w, v) => ({ id: 'noisy-neighbour-host', entity: nodeEntity(v.node!), accept: [] }),
    evidence: ['host'],
  },
  {
    kind: 'gil-engine',
    summary: 'The engine thread of a replica burns its core (a hot Python path): the GPU waits for it.',
    victims: ['replica'],
    doses: [0.2, 0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(_w, v, dose) {
      // The dose is the share of the step that the GPU then stands still.
      v.replica!.knobs.hostScale = dose > 0 ? 1 + (18 * dose) / (1 - dose) + 9 : 1;
    },
    root: (_w, v) => ({ id: 'host-bound', entity: replicaEntity(v.replica!), accept: [] }),
    evidence: ['hooks', 'gpu'],
  },
  {
    kind: 'rank-descheduled',
    summary: 'The worker process of one rank is descheduled again and again.',
    victims: ['rank'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      v.rank!.hostDelayS = dose * 0.05;
      v.rank!.hostDelayShare = dose > 0 ? Math.min(1, 0.15 + dose) : 0;
    },
    root: (_w, v) => ({
      id: 'tp-straggler',
      entity: rankEntity(v.rank!),
      accept: [`host-bound@${replicaEntity(v.replica!)}`],
    }),
    evidence: ['hooks'],
  },
  {
    kind: 'tokenizer-saturated',
    summary: 'The API processes of the service cannot keep up (tokenizer, detokenizer, templates).',
    victims: ['service'],
    doses: [0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(_w, v, dose) {
      for (const r of v.replicas) {
        // Costs that bring the process towards the edge of its core.
        r.knobs.apiScale = dose > 0 ? Math.max(1, (0.66 + 0.5 * dose) / Math.max(0.003, r.api.usual)) : 1;
      }
    },
    root: (w) => ({
      id: 'frontend-bound',
      entity: `service:${w.spec.deploy.service}`,
      accept: ['frontend-bound@*'],
    }),
    evidence: ['router', 'engine'],
  },
];
