/** What goes wrong on a GPU. */
import { raiseXid, resistanceForLoss } from '../world/gpu.ts';
import { crash } from '../world/lifecycle.ts';
import type { Gpu } from '../world/types.ts';
import { type FaultKind, gpuEntity, nodeEntity, rankEntity, replicaEntity, type Victim } from './types.ts';

const ALL = ['step', 'ramp', 'intermittent'] as const;
const onGpu =
  (detector: string, accept: (v: Victim) => string[] = () => []) =>
  (_w: unknown, v: Victim) => ({
    id: detector,
    entity: gpuEntity(v.gpu!),
    accept: accept(v),
  });

const nvlinkOnly = (spec: { cluster: { sku: string } }) =>
  spec.cluster.sku === 'L40S-like' ? 'an L40S has no NVLink' : undefined;

export const gpuFaults: readonly FaultKind[] = [
  {
    kind: 'thermal-gpu',
    summary: 'One GPU cools badly (a blocked air path) and throttles; the dose is the share of its clock that is lost.',
    victims: ['gpu'],
    doses: [0.05, 0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      v.gpu!.fault.resistance = dose > 0 ? Math.max(v.gpu!.resistance, resistanceForLoss(v.gpu!, dose)) : 0;
    },
    root: onGpu('thermal-throttle'),
    evidence: ['gpu'],
  },
  {
    kind: 'thermal-node',
    summary: 'A node runs hot (inlet or fans): all its GPUs throttle.',
    victims: ['node'],
    doses: [0.05, 0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      for (const gpu of v.node!.gpus)
        gpu.fault.resistance = dose > 0 ? Math.max(gpu.resistance, resistanceForLoss(gpu, dose)) : 0;
    },
    root: (_w, v) => ({
      id: 'thermal-throttle',
      entity: nodeEntity(v.node!),
      accept: v.node!.gpus.map((g) => `thermal-throttle@${gpuEntity(g)}`),
    }),
    evidence: ['gpu'],
  },
  {
    kind: 'power-cap',
    summary: 'The power limit of a GPU is lowered.',
    victims: ['gpu'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      const gpu = v.gpu!;
      // Watts at which typical serving loses this share of the clock.
      gpu.fault.capW = dose > 0 ? Math.max(gpu.sku.idleW * 1.15, wattsFor(gpu, dose)) : 0;
    },
    root: onGpu('power-throttle'),
    evidence: ['gpu'],
  },
  {
    kind: 'power-brake',
    summary: 'The board asserts the hardware power brake (power supply or rack budget).',
    victims: ['gpu'],
    doses: [0.6],
    shapes: ['step', 'intermittent'],
    apply(_w, v, dose) {
      v.gpu!.fault.brake = dose > 0;
    },
    root: onGpu('power-throttle'),
    evidence: ['gpu'],
  },
  {
    kind: 'clocks-locked',
    summary: 'Somebody locked the SM clock of a GPU.',
    victims: ['gpu'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      v.gpu!.fault.lockMHz = dose > 0 ? v.gpu!.sku.maxClockMHz * (1 - dose) : 0;
    },
    root: onGpu('clock-anomaly'),
    evidence: ['gpu'],
  },
  {
    kind: 'clock-hidden',
    summary: 'The SM clock of a GPU is low and no reason is given.',
    victims: ['gpu'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ['step', 'ramp'],
    apply(_w, v, dose) {
      v.gpu!.fault.hiddenClock = dose;
    },
    root: onGpu('clock-anomaly'),
    evidence: ['gpu'],
  },
  {
    kind: 'mem-clock-low',
    summary: 'The memory clock of a GPU is low.',
    victims: ['gpu'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      v.gpu!.fault.memClock = dose;
    },
    root: onGpu('clock-anomaly'),
    evidence: ['gpu'],
  },
  {
    kind: 'slow-rank',
    summary: 'One rank computes slowly though its GPU shows nothing (a slow kernel).',
    victims: ['rank'],
    doses: [0.05, 0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    impossible: (s) => (s.deploy.tp < 2 ? 'a slow rank needs tp of 2 or more' : undefined),
    apply(_w, v, dose) {
      v.gpu!.fault.kernel = dose > 0 ? 1 / (1 - dose) : 1;
    },
    root: (_w, v) => ({
      id: 'tp-straggler',
      entity: rankEntity(v.rank!),
      accept: [`tp-straggler@${gpuEntity(v.gpu!)}`],
    }),
    evidence: ['hooks'],
  },
  {
    kind: 'gpu-tenant',
    summary: "Another process computes on an engine's GPU.",
    victims: ['gpu'],
    doses: [0.1, 0.2, 0.3, 0.6],
    shapes: ALL,
    apply(_w, v, dose) {
      const gpu = v.gpu!;
      gpu.fault.tenant = dose * 0.75;
      gpu.fault.tenantMiB = dose > 0 ? 3200 : 0;
      gpu.fault.tenantPid = dose > 0 ? 4_123_000 + gpu.index : 0;
    },
    root: onGpu('noisy-neighbour-gpu'),
    evidence: ['gpu'],
  },
  {
    kind: 'xid-fatal',
    summary: 'A fatal XID: the GPU falls off the bus, its engine dies and cannot come back.',
    victims: ['gpu'],
    doses: [0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      if (dose > 0) return;
      const gpu = v.gpu!;
      gpu.lost = false;
      gpu.xid = 0;
      if (v.replica) v.replica.knobs.loadS = Math.min(v.replica.knobs.loadS, 95);
    },
    strike(w, v, _dose, injection) {
      const gpu = v.gpu!;
      raiseXid(w, gpu, 79);
      gpu.lost = true;
      if (!v.replica) return;
      // Every restart fails until the GPU is back.
      v.replica.knobs.loadS = Math.max(60, injection.durationS);
      crash(w, v.replica, 1, 10);
    },
    root: (_w, v) => ({
      id: 'gpu-hw-fault',
      entity: gpuEntity(v.gpu!),
      accept: [],
    }),
    evidence: ['gpu', 'events'],
  },
  {
    kind: 'xid-application',
    summary: 'An application XID (13, 31) that harms nobody else: must not be blamed.',
    victims: ['gpu'],
    doses: [0.03],
    shapes: ['step'],
    benign: true,
    apply() {},
    strike(w, v) {
      raiseXid(w, v.gpu!, v.gpu!.index % 2 === 0 ? 31 : 13);
    },
    root: onGpu('none'),
    evidence: [],
  },
  {
    kind: 'ecc-storm',
    summary: 'Correctable ECC errors by the dozen; kernels retry.',
    victims: ['gpu'],
    doses: [0.05, 0.1, 0.3],
    shapes: ALL,
    apply(_w, v, dose) {
      v.gpu!.fault.sbePerS = dose * 40;
      v.gpu!.fault.kernel = dose > 0 ? 1 + dose * 0.5 : 1;
    },
    root: onGpu('ecc-degradation'),
    evidence: ['gpu'],
  },
  {
    kind: 'row-remap-pending',
    summary: 'Rows were remapped after uncorrectable errors and remapping fails.',
    victims: ['gpu'],
    doses: [0.1],
    shapes: ['step'],
    apply(_w, v, dose) {
      if (dose === 0) v.gpu!.remapFailure = 0;
    },
    strike(w, v) {
      v.gpu!.remappedUncorrectable += 2;
      v.gpu!.remapFailure = 1;
      v.gpu!.dbe += 2;
      raiseXid(w, v.gpu!, 63);
    },
    root: onGpu('ecc-degradation', (v) => [`gpu-hw-fault@${gpuEntity(v.gpu!)}`]),
    evidence: ['gpu', 'events'],
  },
  {
    kind: 'pcie-width',
    summary: 'The PCIe link of a GPU trains at a fraction of its width; launches and host copies suffer.',
    victims: ['gpu'],
    doses: [0.1, 0.3, 0.6],
    shapes: ['step'],
    apply(_w, v, dose) {
      const gpu = v.gpu!;
      gpu.fault.pcieWidth = dose > 0 ? (dose >= 0.6 ? 2 : dose >= 0.3 ? 4 : 8) : 0;
      if (gpu.rank) {
        gpu.rank.hostDelayS = dose * 0.012;
        gpu.rank.hostDelayShare = dose > 0 ? 1 : 0;
      }
    },
    root: onGpu('pcie-degradation'),
    evidence: ['gpu'],
  },
  {
    kind: 'nvlink-errors',
    summary: 'NVLink lanes retrain: bandwidth is lost and CRC errors count up.',
    victims: ['gpu'],
    doses: [0.1, 0.3, 0.6],
    shapes: ALL,
    impossible: (s) => nvlinkOnly(s) ?? (s.deploy.tp < 2 ? 'NVLink is unused without tensor parallelism' : undefined),
    apply(_w, v, dose) {
      v.gpu!.fault.linkLost = dose > 0 ? Math.min(0.97, dose + 0.3) : 0;
      v.gpu!.fault.linkCrcPerS = dose * 12;
    },
    root: onGpu('nvlink-degradation', (v) => (v.replica ? [`slow-link@group:${v.replica.id}`] : [])),
    evidence: ['gpu', 'hooks'],
  },
  {
    kind: 'fb-leak',
    summary: 'GPU memory leaks until an allocation fails and the engine dies.',
    victims: ['gpu'],
    doses: [0.1, 0.3],
    shapes: ['step'],
    apply(w, v, dose, injection) {
      const gpu = v.gpu!;
      const free = gpu.sku.memoryMiB - gpu.fbReservedMiB - gpu.fbUsedMiB;
      gpu.fault.leakMiBPerS = dose > 0 ? free / (injection.durationS * 0.6) : 0;
      if (dose === 0) {
        gpu.fault.leakedMiB = 0;
        return;
      }
      const started = w.now;
      const watch = () => {
        if (gpu.fault.leakMiBPerS === 0 || w.now > started + injection.durationS) return;
        if (gpu.fault.leakedMiB >= free * 0.995 && v.replica && v.replica.state === 'ready') {
          crash(w, v.replica, 1, 10);
          gpu.fault.leakedMiB = 0;
        }
        w.queue.at(w.now + 2, watch);
      };
      w.queue.at(w.now + 2, watch);
    },
    root: onGpu('gpu-oom-risk', (v) => (v.replica ? [`gpu-oom-risk@${replicaEntity(v.replica)}`] : [])),
    evidence: ['gpu', 'events'],
  },
];

function wattsFor(gpu: Gpu, loss: number): number {
  const dynamic = (1.06 * gpu.sku.tdpW - gpu.sku.idleW) * gpu.leakage;
  return gpu.sku.idleW + dynamic * (1 - loss) ** 2.2 * 0.62;
}
