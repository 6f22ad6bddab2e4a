/**
 * CPUs once a second: what engines, API processes, workers and strangers want, what quota and cores give them, and what
 * that does to the time host work takes. Also network counters that only move with time.
 */
import type { Node, Replica, World } from './types.ts';

/** Cores that one worker process burns while it polls its GPU. */
const WORKER_CORES = 0.5;

/** CPU that the replica's processes would use in the last second if nobody stopped them, in cores. */
function demandOf(rep: Replica, dt: number): number {
  if (rep.state === 'down') return 0;
  if (rep.state === 'loading') return Math.min(6, rep.knobs.cpuQuota);
  const busy = Math.min(1, rep.gpuS / dt / Math.max(1, rep.stageFree.length));
  const workers = rep.ranks.length * (0.12 + WORKER_CORES * busy);
  return (
    0.15 +
    rep.hostS / rep.hostSlow / dt +
    rep.api.demandS / dt +
    workers +
    (rep.state === 'hung' ? rep.ranks.length * 0.6 : 0)
  );
}

export function tickNode(w: World, node: Node, dt: number): void {
  const f = node.fault;
  let own = 0;
  for (const rep of node.replicas) {
    rep.cgroup.demand = demandOf(rep, dt);
    own += Math.min(rep.cgroup.demand, rep.knobs.cpuQuota);
  }
  const background = 0.6 + 0.2 * Math.abs(node.random.normal());
  const foreign = f.foreignCores * (0.9 + 0.2 * node.random.next()) + background;
  const wanted = own + foreign;
  const cores = node.cores * (1 - f.steal);
  const fit = Math.min(1, cores / wanted);
  // Below full use threads still queue now and then; beyond it they wait in proportion.
  const load = wanted / cores;
  const queueing = load > 0.6 ? Math.min(1.5, (load - 0.6) ** 2 * 2.2) : 0;
  node.cpuWait = Math.min(6, queueing + (fit < 1 ? 1 / fit - 1 : 0) * 1.6);
  const memory = 1 + f.memoryBandwidth * 0.9;
  for (const rep of node.replicas) {
    const { cgroup, knobs } = rep;
    const quota = knobs.cpuQuota;
    const squeeze = cgroup.demand > quota ? quota / cgroup.demand : 1;
    const periods = Math.round(dt * 10);
    cgroup.periods += periods;
    const throttled = squeeze < 1 ? Math.min(periods, Math.ceil(periods * Math.min(1, (1 - squeeze) * 3))) : 0;
    cgroup.throttledPeriods += throttled;
    cgroup.throttledS += dt * (1 - squeeze) * Math.min(quota, rep.ranks.length + 2) * 0.5;
    const used = Math.min(cgroup.demand, quota) * fit;
    cgroup.usageS += used * dt;
    rep.hostSlow = (1 / squeeze) ** 1.3 * (1 + node.cpuWait) * memory * (1 / (1 - f.steal)) * (1 + f.ioPressure * 0.4);
    // A throttled cgroup stands still for the rest of its 100 ms period.
    const stall = 1 - squeeze;
    rep.hostPause = Math.min(0.5, stall * 0.25 + node.cpuWait * 0.16 + f.steal * 0.5);
    rep.hostPauseS = Math.max(0.1 * stall * 0.5, node.cpuWait > 0.02 || f.steal > 0.02 ? 0.014 + f.steal * 0.03 : 0);
    // One API process has one core's worth of Python.
    const capacity = (w.spec.deploy.apiServers * 0.95) / rep.hostSlow;
    const demand = rep.api.demandS / dt;
    rep.api.usual += 0.02 * (demand / rep.knobs.apiScale / w.spec.deploy.apiServers - rep.api.usual);
    rep.api.use = 0.6 * rep.api.use + 0.4 * (demand / capacity);
    rep.api.backlogS = Math.max(0, rep.api.backlogS + ((demand - capacity) * dt) / capacity);
    rep.cpu.worker += rep.ranks.length * 0.3 * dt;
    rep.api.demandS = 0;
    rep.hostS = 0;
    rep.gpuS = Math.max(0, rep.gpuS - dt * rep.stageFree.length);
  }
  const total = Math.min(wanted * fit, cores);
  const c = node.cpu;
  c.user += total * 0.82 * dt;
  c.system += total * 0.16 * dt;
  c.softirq += total * 0.02 * dt;
  c.steal += node.cores * f.steal * dt;
  c.iowait += node.cores * f.ioPressure * 0.15 * dt;
  c.idle += Math.max(0, node.cores - total - node.cores * f.steal - node.cores * f.ioPressure * 0.15) * dt;
  const p = node.pressure;
  p.cpu += Math.min(1, 0.004 + node.cpuWait * 0.5 + (load > 0.5 ? (load - 0.5) * 0.08 : 0)) * dt;
  p.io += Math.min(1, 0.001 + f.ioPressure * 0.7) * dt;
  p.ioFull += f.ioPressure * 0.4 * dt;
  p.memory += f.memoryBandwidth * 0.02 * dt;
  node.eth.tx += 2e6 * (0.8 + 0.4 * node.random.next()) * dt;
  node.eth.rx += 2e6 * (0.8 + 0.4 * node.random.next()) * dt;
  node.load1 += ((wanted - node.load1) * dt) / 60;
  node.contextSwitches += (12_000 + 2_500 * total + 9_000 * node.cpuWait * node.cores) * dt;
  for (const nic of node.nics) {
    const errors = nic.fault.errorsPerS * dt;
    if (errors > 0) {
      nic.symbolErrors += Math.round(errors * (0.5 + node.random.next()));
      if (node.random.chance(Math.min(0.02, errors / 500))) nic.linkDowned++;
      if (node.random.chance(Math.min(0.3, errors / 20))) nic.linkRecovered++;
    }
    if (nic.fault.congestion > 0) {
      nic.xmitWait += Math.round(nic.fault.congestion * 4e6 * dt * (0.8 + 0.4 * node.random.next()));
      nic.cnp += Math.round(nic.fault.congestion * 900 * dt * (0.8 + 0.4 * node.random.next()));
      nic.ecnMarked += Math.round(nic.fault.congestion * 2100 * dt * (0.8 + 0.4 * node.random.next()));
    } else if (node.random.chance(0.05)) {
      nic.xmitWait += node.random.int(2000);
      nic.cnp += node.random.int(3);
    }
  }
}
