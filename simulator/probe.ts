/**
 * What the truth is judged by: every five seconds the state that lies behind the telemetry, of every replica, GPU, host
 * and the router. A run with the fault and its twin without it are compared on these, never on what a detector would see.
 */
import { waitingCount } from './world/scheduler.ts';
import type { World } from './world/types.ts';

export const PROBE_S = 5;

export const REPLICA_PROBES = [
  'itlSum',
  'itlCount',
  'ttftSum',
  'ttftCount',
  'queueSum',
  'queueCount',
  'e2eSum',
  'e2eCount',
  'finished',
  'generated',
  'computed',
  'hits',
  'queries',
  'preemptions',
  'steps',
  'stepS',
  'hostS',
  'prefillS',
  'decodeS',
  'eager',
  'allSteps',
  'drafts',
  'accepted',
  'transferSum',
  'transferCount',
  'transferFailed',
  'transferExpired',
  'grammarQueue',
  'loads',
  'offloadS',
  'running',
  'waiting',
  'deferred',
  'kv',
  'up',
  'apiUse',
  'throttled',
  'straggle',
  'comm',
  'imbalance',
  'sent',
  'restarts',
  'hung',
  'stuck',
  'prompts',
  'promptTokens',
  'dpSkew',
  'stepTokens',
] as const;
export const GPU_PROBES = [
  'clock',
  'memClock',
  'thermal',
  'power',
  'brake',
  'applied',
  'watts',
  'limit',
  'gr',
  'dram',
  'errors',
  'xids',
  'pcie',
  'fb',
  'slow',
  'lost',
  'remap',
] as const;
export const NODE_PROBES = ['cpuWait', 'steal', 'nicErrors', 'cnp', 'busy', 'io', 'oom', 'nicRate'] as const;
export const SERVICE_PROBES = [
  'ttftSum',
  'ttftCount',
  'itlSum',
  'itlCount',
  'e2eSum',
  'e2eCount',
  'completed',
  'failed',
  'timedOut',
  'arrived',
  'decisionSum',
  'decisionCount',
  'changes',
  'promptSum',
  'outputSum',
] as const;

export interface Probes {
  readonly times: number[];
  readonly replicas: Float64Array[][];
  readonly gpus: Float64Array[][];
  readonly nodes: Float64Array[][];
  readonly service: Float64Array[];
}

/** Records probes of this world from second `from` on. */
export function installProbes(w: World, from = 0): Probes {
  const probes: Probes = {
    times: [],
    replicas: w.replicas.map(() => []),
    gpus: w.gpus.map(() => []),
    nodes: w.nodes.map(() => []),
    service: [],
  };
  const earlier = w.listeners.tick;
  let next = from;
  w.listeners.tick = (world) => {
    earlier?.(world);
    if (world.now < next - 1e-6) return;
    next += PROBE_S;
    take(world, probes);
  };
  return probes;
}

function take(w: World, p: Probes): void {
  p.times.push(w.now);
  w.replicas.forEach((rep, i) => {
    const v = new Float64Array(REPLICA_PROBES.length);
    let n = 0;
    const c = rep.scheds.map((s) => s.counters);
    const sum = (of: (x: (typeof c)[number]) => number) => {
      let total = 0;
      for (const x of c) total += of(x);
      v[n++] = total;
    };
    sum((x) => x.itl.sum);
    sum((x) => x.itl.count);
    sum((x) => x.ttft.sum);
    sum((x) => x.ttft.count);
    sum((x) => x.queue.sum);
    sum((x) => x.queue.count);
    sum((x) => x.e2e.sum);
    sum((x) => x.e2e.count);
    sum((x) => x.finishedStop + x.finishedLength);
    sum((x) => x.generatedTokens);
    sum((x) => x.computedTokens);
    sum((x) => x.hits);
    sum((x) => x.queries);
    sum((x) => x.preemptions);
    sum((x) => x.steps);
    sum((x) => x.stepSeconds);
    sum((x) => x.hostSeconds);
    sum((x) => x.prefillSeconds);
    sum((x) => x.decodeSeconds);
    sum((x) => x.eagerSteps);
    sum((x) => x.eagerSteps + x.graphSteps + x.piecewiseSteps);
    sum((x) => x.draftTokens);
    sum((x) => x.acceptedTokens);
    sum((x) => x.transferTime.sum);
    sum((x) => x.transferTime.count);
    sum((x) => x.transferFailed);
    sum((x) => x.transferExpired);
    let grammar = 0;
    let running = 0;
    let waiting = 0;
    let deferred = 0;
    let kv = 0;
    let stuck = 0;
    let most = 0;
    for (const s of rep.scheds) {
      grammar += s.grammarWaiting;
      running += s.running.n;
      most = Math.max(most, s.running.n);
      waiting += waitingCount(s) + s.prealloc.length;
      deferred += s.deferred.size + s.inTransfer;
      kv = Math.max(kv, s.kv.used / s.kv.total);
      stuck = Math.max(stuck, s.kv.stuck / s.kv.total);
    }
    v[n++] = grammar;
    sum((x) => x.loraLoads);
    sum((x) => x.offloadLoadSeconds);
    v[n++] = running;
    v[n++] = waiting;
    v[n++] = deferred;
    v[n++] = kv;
    v[n++] = rep.state === 'ready' ? 1 : 0;
    v[n++] = rep.api.use;
    v[n++] = rep.cgroup.throttledPeriods;
    // How much the slowest rank of its TP group is behind the median one.
    let straggle = 0;
    for (const stages of rep.tpGroups)
      for (const group of stages) {
        if (group.length < 2) continue;
        const slow = group.map((r) => slowness(r.gpu) + r.hostDelayS * r.hostDelayShare * 40).sort((a, b) => a - b);
        straggle = Math.max(straggle, slow[slow.length - 1]! / slow[Math.floor((slow.length - 1) / 2)]! - 1);
      }
    v[n++] = straggle;
    const k = rep.knobs;
    v[n++] =
      (k.transport === 'shm' ? 8 : 1) *
      (1 / k.commBandwidth) *
      (0.5 + 0.5 * k.commLatency) *
      Math.max(1, ...rep.ranks.map((r) => 1 / (1 - r.gpu.fault.linkLost)));
    v[n++] = Math.max(...k.stageShare) * k.stageShare.length - 1 + k.hotExpert;
    v[n++] = w.frontend.sent.get(rep) ?? 0;
    v[n++] = rep.restarts;
    v[n++] = rep.state === 'hung' ? 1 : 0;
    v[n++] = stuck;
    sum((x) => x.promptLen.count);
    sum((x) => x.promptLen.sum);
    v[n++] = rep.scheds.length > 1 ? most / Math.max(1, running / rep.scheds.length) : 1;
    sum((x) => x.stepTokens.sum);
    p.replicas[i]!.push(v);
  });
  w.gpus.forEach((g, i) => {
    p.gpus[i]!.push(
      Float64Array.of(
        g.clockMHz,
        g.memClockMHz,
        (g.reasonS.get(0x20) ?? 0) + (g.reasonS.get(0x40) ?? 0),
        g.reasonS.get(0x4) ?? 0,
        g.reasonS.get(0x80) ?? 0,
        g.reasonS.get(0x2) ?? 0,
        g.powerW,
        g.limitW,
        g.shown.gr,
        g.shown.dram,
        g.sbe + g.dbe + g.nvlinkCrc + g.pcieReplays,
        g.xids.length,
        g.pcieWidth * 10 + g.pcieGen,
        g.fault.tenantMiB + g.fault.leakedMiB,
        slowness(g),
        g.lost ? 1 : 0,
        g.remapFailure,
      ),
    );
  });
  w.nodes.forEach((node, i) => {
    let errors = 0;
    let cnp = 0;
    let rate = 0;
    for (const nic of node.nics) {
      errors += nic.symbolErrors + nic.retransmits + nic.outOfSequence;
      cnp += nic.cnp + nic.xmitWait / 1e4;
      rate += nic.rateGbps;
    }
    const c = node.cpu;
    p.nodes[i]!.push(
      Float64Array.of(node.cpuWait, c.steal, errors, cnp, c.user + c.system, node.pressure.io, node.oomKills, rate),
    );
  });
  const f = w.frontend;
  p.service.push(
    Float64Array.of(
      f.ttft.sum,
      f.ttft.count,
      f.itl.sum,
      f.itl.count,
      f.duration.sum,
      f.duration.count,
      w.totals.completed,
      w.totals.failed,
      w.totals.timedOut,
      w.totals.arrived,
      f.decision.sum,
      f.decision.count,
      w.changes.length,
      f.inputTokens.sum,
      f.outputTokens.sum,
    ),
  );
}

const slowness = (g: World['gpus'][number]): number =>
  (g.slowMemory * 0.6 + g.slowCompute * 0.4) * g.fault.kernel * (1 / (1 - g.fault.tenant));

export type Column<T extends readonly string[]> = T[number];

/** Difference of a cumulative probe between two seconds (restarts count from zero). */
export function increase(
  rows: readonly Float64Array[],
  times: readonly number[],
  column: number,
  from: number,
  to: number,
): number {
  let total = 0;
  let last = Number.NaN;
  for (let i = 0; i < times.length; i++) {
    if (times[i]! < from - 1e-6) continue;
    if (times[i]! > to + 1e-6) break;
    const v = rows[i]![column]!;
    if (!Number.isNaN(last)) total += v >= last ? v - last : v;
    last = v;
  }
  return total;
}

/** Mean of a gauge probe between two seconds. */
export function mean(
  rows: readonly Float64Array[],
  times: readonly number[],
  column: number,
  from: number,
  to: number,
): number {
  let total = 0;
  let n = 0;
  for (let i = 0; i < times.length; i++) {
    if (times[i]! < from - 1e-6 || times[i]! > to + 1e-6) continue;
    total += rows[i]![column]!;
    n++;
  }
  return n === 0 ? 0 : total / n;
}
