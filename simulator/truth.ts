/**
 * What really happened in a case: roots, their onset, the way from a root to the users, how much users felt, and what
 * each tier of telemetry can show of it, all judged against the twin run without the faults.
 */
import { doseAt, type Planted } from './faults/index.ts';
import { type EvidenceLayer, gpuEntity, nodeEntity, rankEntity, replicaEntity } from './faults/types.ts';
import {
  GPU_PROBES,
  increase,
  mean,
  NODE_PROBES,
  PROBE_S,
  type Probes,
  REPLICA_PROBES,
  SERVICE_PROBES,
} from './probe.ts';
import type { Spec } from './spec.ts';
import type { World } from './world/types.ts';

export type Observability = true | 'partial' | false;
export const TIERS = ['full', 'noHooks', 'noGpu', 'metricsOnly', 'lossy'] as const;
export type TelemetryTier = (typeof TIERS)[number];

export interface TruthRoot {
  /** Detector id of the catalogue of detectors. */
  readonly id: string;
  /** `kind:id`, ids as in reports (interfaces.md §6). */
  readonly entity: string;
  /** Answers that are as right, `detector@kind:id`; `*` stands for any id, or for any kind and id. */
  readonly accept: readonly string[];
  readonly fault: string;
  readonly dose: number;
  readonly shape: string;
  /** Seconds since the start of the recording. */
  readonly onset: number;
  readonly end: number;
  readonly node?: string;
  readonly replica?: string;
  readonly rank?: number;
  /** Whether users felt this one, and what each tier shows of it. */
  readonly impact: boolean;
  readonly observable: Readonly<Record<TelemetryTier, Observability>>;
}

export interface TruthImpact {
  readonly slo: 'ttft' | 'itl' | 'e2e' | 'throughput' | 'availability';
  readonly scope: string;
  readonly before: number;
  readonly during: number;
  readonly unit: 's' | '1/s' | '1';
  readonly change: number;
}

export interface Truth {
  readonly seed: number;
  readonly tier: string;
  readonly name: string;
  readonly start: string;
  readonly durationS: number;
  readonly roots: readonly TruthRoot[];
  /** `detector@kind:id`, from the (first) root to the users; every step really happened. */
  readonly path: readonly string[];
  readonly paths: readonly (readonly string[])[];
  readonly impact: boolean;
  readonly impactOnset: number | null;
  readonly impacts: readonly TruthImpact[];
  readonly observable: Readonly<Record<TelemetryTier, Observability>>;
  /** Things in the recording that look like a cause and are none. */
  readonly benign: readonly string[];
  /** Which healthy pattern this case is, when it has no root. */
  readonly control: string | null;
  readonly changes: readonly {
    readonly at: number;
    readonly kind: string;
    readonly attributes: Readonly<Record<string, string | number>>;
  }[];
  readonly totals: World['totals'];
}

const R = Object.fromEntries(REPLICA_PROBES.map((n, i) => [n, i])) as Record<(typeof REPLICA_PROBES)[number], number>;
const G = Object.fromEntries(GPU_PROBES.map((n, i) => [n, i])) as Record<(typeof GPU_PROBES)[number], number>;
const N = Object.fromEntries(NODE_PROBES.map((n, i) => [n, i])) as Record<(typeof NODE_PROBES)[number], number>;
const S = Object.fromEntries(SERVICE_PROBES.map((n, i) => [n, i])) as Record<(typeof SERVICE_PROBES)[number], number>;

interface Pair {
  readonly fault: Probes;
  readonly twin: Probes;
}

const ratio = (p: Probes, rows: readonly Float64Array[], a: number, b: number, from: number, to: number): number => {
  const n = increase(rows, p.times, b, from, to);
  return n > 0 ? increase(rows, p.times, a, from, to) / n : Number.NaN;
};

interface Sli {
  readonly slo: TruthImpact['slo'];
  readonly unit: TruthImpact['unit'];
  readonly of: (p: Probes, from: number, to: number) => number;
  /** Least relative change, and least absolute one, that is more than run-to-run noise. */
  readonly relative: number;
  readonly absolute: number;
  /** Larger is worse (1) or better (-1). */
  readonly sense: 1 | -1;
}

const serviceSlis: readonly Sli[] = [
  {
    slo: 'ttft',
    unit: 's',
    of: (p, a, b) => ratio(p, p.service, S.ttftSum, S.ttftCount, a, b),
    relative: 0.12,
    absolute: 0.015,
    sense: 1,
  },
  {
    slo: 'itl',
    unit: 's',
    of: (p, a, b) => ratio(p, p.service, S.itlSum, S.itlCount, a, b),
    relative: 0.03,
    absolute: 0.0004,
    sense: 1,
  },
  {
    slo: 'e2e',
    unit: 's',
    of: (p, a, b) => ratio(p, p.service, S.e2eSum, S.e2eCount, a, b),
    relative: 0.04,
    absolute: 0.05,
    sense: 1,
  },
  {
    slo: 'throughput',
    unit: '1/s',
    of: (p, a, b) => increase(p.service, p.times, S.completed, a, b) / Math.max(1, b - a),
    relative: 0.03,
    absolute: 0.1,
    sense: -1,
  },
  {
    slo: 'availability',
    unit: '1',
    of: (p, a, b) =>
      1 -
      (increase(p.service, p.times, S.failed, a, b) + increase(p.service, p.times, S.timedOut, a, b)) /
        Math.max(1, increase(p.service, p.times, S.arrived, a, b)),
    relative: 0.004,
    absolute: 0.004,
    sense: -1,
  },
];

const replicaSlis = (i: number): readonly Sli[] => [
  {
    slo: 'ttft',
    unit: 's',
    of: (p, a, b) => ratio(p, p.replicas[i]!, R.ttftSum, R.ttftCount, a, b),
    relative: 0.3,
    absolute: 0.03,
    sense: 1,
  },
  {
    slo: 'itl',
    unit: 's',
    of: (p, a, b) => ratio(p, p.replicas[i]!, R.itlSum, R.itlCount, a, b),
    relative: 0.05,
    absolute: 0.0006,
    sense: 1,
  },
  {
    slo: 'availability',
    unit: '1',
    of: (p, a, b) => mean(p.replicas[i]!, p.times, R.up, a, b),
    relative: 0.02,
    absolute: 0.02,
    sense: -1,
  },
];

const moved = (sli: Sli, fault: number, twin: number): number => {
  if (Number.isNaN(fault) || Number.isNaN(twin)) return 0;
  const change = twin === 0 ? (fault === 0 ? 0 : Number.POSITIVE_INFINITY) : fault / twin - 1;
  return sli.sense * change >= sli.relative && sli.sense * (fault - twin) >= sli.absolute ? change : 0;
};

function impactsOf(w: World, pair: Pair, from: number, to: number): TruthImpact[] {
  const out: TruthImpact[] = [];
  const check = (sli: Sli, scope: string) => {
    const during = sli.of(pair.fault, from, to);
    const before = sli.of(pair.twin, from, to);
    const change = moved(sli, during, before);
    if (change !== 0) out.push({ slo: sli.slo, scope, before, during, unit: sli.unit, change });
  };
  for (const sli of serviceSlis) check(sli, `service:${w.spec.deploy.service}`);
  w.replicas.forEach((rep, i) => {
    for (const sli of replicaSlis(i)) check(sli, replicaEntity(rep));
  });
  return out;
}

/** First moment from which an SLI stays off for two blocks. */
function impactOnset(w: World, pair: Pair, impacts: readonly TruthImpact[], from: number, to: number): number | null {
  const block = 3 * PROBE_S;
  let best: number | null = null;
  for (const hit of impacts) {
    const i = w.replicas.findIndex((r) => replicaEntity(r) === hit.scope);
    const sli = (i >= 0 ? replicaSlis(i) : serviceSlis).find((s) => s.slo === hit.slo)!;
    let run = 0;
    for (let t = from; t + block <= to + block; t += PROBE_S) {
      const off = moved(sli, sli.of(pair.fault, t, t + block), sli.of(pair.twin, t, t + block)) !== 0;
      run = off ? run + 1 : 0;
      if (run === 3) {
        const at = t - 2 * PROBE_S;
        if (best === null || at < best) best = at;
        break;
      }
    }
  }
  return best;
}

/** Conditions that hold in the fault run and not in its twin, as `detector@kind:id`. */
function consequences(w: World, pair: Pair, from: number, to: number): Set<string> {
  const found = new Set<string>();
  const both = (i: number, of: (p: Probes, rows: readonly Float64Array[]) => number): [number, number] => [
    of(pair.fault, pair.fault.replicas[i]!),
    of(pair.twin, pair.twin.replicas[i]!),
  ];
  w.replicas.forEach((rep, i) => {
    const id = replicaEntity(rep);
    const avg = (c: number) => both(i, (p, rows) => mean(rows, p.times, c, from, to));
    const inc = (c: number) => both(i, (p, rows) => increase(rows, p.times, c, from, to));
    const per = (a: number, b: number) => both(i, (p, rows) => ratio(p, rows, a, b, from, to));
    const over = ([f, t]: [number, number], factor: number, atLeast: number) =>
      f >= atLeast && f >= factor * Math.max(t, 1e-9);
    if (over(avg(R.straggle), 1.5, 0.03)) {
      for (const stages of rep.tpGroups)
        for (const group of stages) {
          const slow = group.map(
            (r) => mean(pair.fault.gpus[w.gpus.indexOf(r.gpu)]!, pair.fault.times, G.slow, from, to) + r.hostDelayS,
          );
          const worst = slow.indexOf(Math.max(...slow));
          if (group.length > 1) found.add(`tp-straggler@${rankEntity(group[worst]!)}`);
        }
    }
    if (over(avg(R.comm), 1.15, 1.15)) found.add(`comm-bound@${id}`);
    if (over(per(R.itlSum, R.itlCount), 1.06, 0)) found.add(`replica-outlier@${id}`);
    if (over(avg(R.waiting), 2, 1)) found.add(`queue-saturation@${id}`);
    const [kvF, kvT] = avg(R.kv);
    if (kvF >= 0.85 && kvF > kvT + 0.1) found.add(`kv-saturation@${id}`);
    const [preF] = inc(R.preemptions);
    if (over(inc(R.preemptions), 2, 5) && preF / Math.max(1, inc(R.finished)[0]) >= 0.03)
      found.add(`preemption-thrash@${id}`);
    const hitF = per(R.hits, R.queries);
    if (hitF[0] <= 0.65 * hitF[1] && hitF[1] >= 0.1) found.add(`prefix-cache-collapse@${id}`);
    const prefill = both(
      i,
      (p, rows) =>
        increase(rows, p.times, R.prefillS, from, to) /
        Math.max(1e-9, increase(rows, p.times, R.prefillS, from, to) + increase(rows, p.times, R.decodeS, from, to)),
    );
    if (prefill[0] >= 0.5 && prefill[0] > prefill[1] * 1.15) found.add(`prefill-bound@${id}`);
    const transfer = per(R.transferSum, R.transferCount);
    if (transfer[0] >= 1.8 * transfer[1]) found.add(`kv-transfer-bound@${id}`);
    if (over(inc(R.transferFailed), 2, 3) || over(inc(R.transferExpired), 2, 3)) found.add(`kv-transfer-failure@${id}`);
    const [upF, upT] = avg(R.up);
    if (upF < upT - 0.02) found.add(`replica-unavailable@${id}`);
    if (avg(R.hung)[0] > 0) found.add(`engine-stall@${id}`);
    const host = per(R.hostS, R.stepS);
    if (host[0] >= 0.1 && host[0] >= 1.5 * host[1]) found.add(`host-bound@${id}`);
    const imbalance = avg(R.imbalance);
    if (imbalance[0] >= imbalance[1] + 0.1 && rep.stageFree.length > 1) found.add(`pp-bubble@${id}`);
  });
  return found;
}

/** Which condition can bring about which, inside the simulator. */
const CAUSES: Readonly<Record<string, readonly string[]>> = {
  'thermal-throttle': ['tp-straggler', 'replica-outlier'],
  'power-throttle': ['tp-straggler', 'replica-outlier'],
  'clock-anomaly': ['tp-straggler', 'replica-outlier'],
  'noisy-neighbour-gpu': ['tp-straggler', 'replica-outlier'],
  'ecc-degradation': ['tp-straggler', 'replica-outlier'],
  'pcie-degradation': ['tp-straggler', 'host-bound', 'replica-outlier'],
  'gpu-hw-fault': ['replica-unavailable', 'engine-stall'],
  'gpu-oom-risk': ['replica-unavailable'],
  'nvlink-degradation': ['comm-bound'],
  'slow-link': ['comm-bound', 'kv-transfer-bound'],
  'comm-transport-fallback': ['comm-bound'],
  'nic-degradation': ['kv-transfer-bound'],
  'network-congestion': ['kv-transfer-bound'],
  'noisy-neighbour-host': ['host-bound', 'replica-outlier'],
  'tp-straggler': ['replica-outlier'],
  'comm-bound': ['replica-outlier'],
  'host-bound': ['replica-outlier'],
  'cudagraph-fallback': ['replica-outlier', 'host-bound'],
  'spec-decode-regression': ['replica-outlier'],
  'grammar-bound': ['queue-saturation'],
  'adapter-thrash': ['replica-outlier', 'queue-saturation'],
  'pp-stage-imbalance': ['pp-bubble'],
  'pp-bubble': ['replica-outlier'],
  'ep-imbalance': ['replica-outlier'],
  'dp-imbalance': ['replica-outlier', 'queue-saturation', 'kv-saturation'],
  'replica-outlier': ['queue-saturation', 'kv-saturation'],
  'kv-fragmentation': ['kv-saturation'],
  'kv-offload-bound': ['queue-saturation'],
  'kv-saturation': ['queue-saturation', 'preemption-thrash'],
  'preemption-thrash': ['replica-outlier', 'prefill-bound'],
  'prefix-cache-collapse': ['prefill-bound', 'queue-saturation', 'replica-outlier'],
  'prefill-bound': ['queue-saturation', 'replica-outlier'],
  'admission-limited': ['queue-saturation'],
  'head-of-line-blocking': ['queue-saturation', 'prefill-bound'],
  'prefill-decode-interference': ['replica-outlier'],
  'router-imbalance': ['queue-saturation', 'kv-saturation', 'replica-outlier', 'prefix-cache-collapse'],
  'pd-imbalance': ['queue-saturation', 'kv-saturation', 'prefill-bound'],
  'kv-transfer-failure': ['kv-saturation', 'prefill-bound', 'replica-outlier'],
  'kv-transfer-bound': ['kv-saturation', 'queue-saturation'],
  'collective-stall': ['engine-stall'],
  'engine-stall': ['replica-unavailable'],
  'crash-loop': ['replica-unavailable'],
  'cold-start': ['replica-unavailable', 'prefix-cache-collapse'],
  'replica-unavailable': ['queue-saturation', 'kv-saturation', 'replica-outlier'],
  'offered-load-surge': ['queue-saturation', 'kv-saturation', 'prefill-bound', 'replica-outlier'],
  'workload-shift': ['prefill-bound', 'kv-saturation', 'queue-saturation', 'replica-outlier'],
};

/** Shortest way from the root to the service's objective over conditions that really held. */
function pathFrom(
  w: World,
  root: string,
  entity: string,
  victims: readonly string[],
  held: ReadonlySet<string>,
  impact: boolean,
): string[] {
  const start = `${root}@${entity}`;
  const end = `slo-burn@service:${w.spec.deploy.service}`;
  if (!impact) return [start];
  const inScope = (node: string): boolean =>
    victims.length === 0 || victims.some((v) => node.endsWith(`@replica:${v}`) || node.includes(`@rank:${v}/`));
  // The longest chain tells most; inside the victims first, then over all replicas (missing capacity loads the others).
  for (const narrow of [true, false]) {
    let best: string[] = [];
    const walk = (at: string, chain: string[]): void => {
      if (chain.length > best.length) best = [...chain];
      if (chain.length > 6) return;
      const detector = at.slice(0, at.indexOf('@'));
      const replica = /@(?:replica|rank):([^/]+)/.exec(at)?.[1];
      for (const next of CAUSES[detector] ?? [])
        for (const node of held) {
          if (!node.startsWith(`${next}@`) || chain.includes(node)) continue;
          if (narrow && !inScope(node)) continue;
          if (
            replica &&
            detector !== 'replica-unavailable' &&
            !node.endsWith(`:${replica}`) &&
            !node.includes(`:${replica}/`)
          )
            continue;
          walk(node, [...chain, node]);
        }
    };
    walk(start, [start]);
    if (narrow && best.length === 1 && held.size > 0 && victims.length > 0) continue;
    return [...best, end];
  }
  return [start, end];
}

/** Which layers of telemetry differ between the run and its twin. */
function layersOf(w: World, pair: Pair, from: number, to: number): Set<EvidenceLayer> {
  const layers = new Set<EvidenceLayer>();
  const f = pair.fault;
  const t = pair.twin;
  w.replicas.forEach((_, i) => {
    const rf = f.replicas[i]!;
    const rt = t.replicas[i]!;
    const gap = (c: number, scale: number) =>
      Math.abs(mean(rf, f.times, c, from, to) - mean(rt, t.times, c, from, to)) >= scale;
    const rel = (a: number, b: number, least: number) => {
      const x = ratio(f, rf, a, b, from, to);
      const y = ratio(t, rt, a, b, from, to);
      return !Number.isNaN(x) && !Number.isNaN(y) && Math.abs(x - y) >= least * Math.abs(y) && Math.abs(x - y) > 1e-9;
    };
    if (
      rel(R.itlSum, R.itlCount, 0.04) ||
      rel(R.ttftSum, R.ttftCount, 0.25) ||
      gap(R.kv, 0.08) ||
      gap(R.waiting, 1.5) ||
      rel(R.hits, R.queries, 0.3) ||
      rel(R.accepted, R.drafts, 0.1) ||
      gap(R.up, 0.02) ||
      gap(R.hung, 0.01)
    )
      layers.add('engine');
    const d = (c: number) => increase(rf, f.times, c, from, to) - increase(rt, t.times, c, from, to);
    if (
      d(R.preemptions) >= 5 ||
      d(R.transferFailed) >= 3 ||
      d(R.transferExpired) >= 3 ||
      d(R.loads) >= 5 ||
      rel(R.promptTokens, R.prompts, 0.15) ||
      rel(R.transferSum, R.transferCount, 0.5) ||
      gap(R.dpSkew, 0.4)
    )
      layers.add('engine');
    if (gap(R.grammarQueue, 0.5) || gap(R.stuck, 0.05) || rel(R.offloadS, R.finished, 0.3)) layers.add('engine');
    if (
      gap(R.straggle, 0.02) ||
      gap(R.comm, 0.12) ||
      gap(R.imbalance, 0.05) ||
      rel(R.hostS, R.stepS, 0.4) ||
      rel(R.eager, R.allSteps, 0.2) ||
      rel(R.transferSum, R.transferCount, 0.4) ||
      gap(R.hung, 0.01)
    )
      layers.add('hooks');
    if (d(R.throttled) >= 50) layers.add('host');
    if (d(R.restarts) > 0) layers.add('events');
    const sentF = increase(rf, f.times, R.sent, from, to);
    const sentT = increase(rt, t.times, R.sent, from, to);
    if (Math.abs(sentF - sentT) > 0.2 * Math.max(20, sentT)) layers.add('router');
  });
  w.gpus.forEach((_, i) => {
    const gf = f.gpus[i]!;
    const gt = t.gpus[i]!;
    const gap = (c: number, scale: number) =>
      Math.abs(mean(gf, f.times, c, from, to) - mean(gt, t.times, c, from, to)) >= scale;
    const reference = Math.max(1, mean(gt, t.times, G.clock, from, to));
    const seconds = Math.max(1, to - from);
    const d = (c: number) => increase(gf, f.times, c, from, to) - increase(gt, t.times, c, from, to);
    if (
      gap(G.clock, 0.03 * reference) ||
      gap(G.memClock, 20) ||
      gap(G.limit, 5) ||
      gap(G.pcie, 0.9) ||
      gap(G.fb, 400) ||
      gap(G.lost, 0.01) ||
      gap(G.remap, 0.01) ||
      gap(G.gr, 0.12)
    )
      layers.add('gpu');
    if (
      d(G.thermal) / seconds > 0.05 ||
      d(G.brake) / seconds > 0.02 ||
      d(G.applied) / seconds > 0.05 ||
      d(G.errors) >= 3
    )
      layers.add('gpu');
    if (d(G.xids) > 0) {
      layers.add('gpu');
      layers.add('events');
    }
  });
  w.nodes.forEach((_, i) => {
    const nf = f.nodes[i]!;
    const nt = t.nodes[i]!;
    const d = (c: number) => increase(nf, f.times, c, from, to) - increase(nt, t.times, c, from, to);
    const gap = Math.abs(mean(nf, f.times, N.cpuWait, from, to) - mean(nt, t.times, N.cpuWait, from, to));
    if (gap > 0.03 || d(N.steal) > 5 || d(N.nicErrors) > 60 || d(N.cnp) > 400 || d(N.io) > 10 || d(N.oom) > 0)
      layers.add('host');
  });
  const decision =
    ratio(f, f.service, S.decisionSum, S.decisionCount, from, to) -
    ratio(t, t.service, S.decisionSum, S.decisionCount, from, to);
  const ttft =
    ratio(f, f.service, S.ttftSum, S.ttftCount, from, to) / ratio(t, t.service, S.ttftSum, S.ttftCount, from, to);
  if (decision > 0.003 || ttft > 1.25) layers.add('router');
  const arrived =
    increase(f.service, f.times, S.arrived, from, to) / Math.max(1, increase(t.service, t.times, S.arrived, from, to));
  if (arrived > 1.15) layers.add('engine').add('router');
  if (increase(f.service, f.times, S.changes, from, to) > increase(t.service, t.times, S.changes, from, to))
    layers.add('events');
  return layers;
}

const TIER_LAYERS: Readonly<Record<TelemetryTier, readonly EvidenceLayer[]>> = {
  full: ['engine', 'gpu', 'host', 'hooks', 'router', 'events'],
  noHooks: ['engine', 'gpu', 'host', 'router', 'events'],
  noGpu: ['engine', 'host', 'hooks', 'router', 'events'],
  metricsOnly: ['engine', 'router'],
  lossy: ['engine', 'gpu', 'host', 'hooks', 'router', 'events'],
};

function observability(
  spec: Spec,
  seen: ReadonlySet<EvidenceLayer>,
  evidence: readonly EvidenceLayer[],
): Record<TelemetryTier, Observability> {
  const present = (layer: EvidenceLayer): boolean =>
    layer === 'hooks'
      ? spec.observe.hooksEveryS > 0
      : layer === 'gpu'
        ? spec.observe.gpuExporter !== 'none'
        : layer === 'host'
          ? spec.observe.nodeExporter || spec.observe.cadvisor
          : layer === 'router'
            ? spec.deploy.frontend !== 'none'
            : true;
  const of = (tier: TelemetryTier): Observability => {
    const layers = TIER_LAYERS[tier].filter((l) => present(l) && seen.has(l));
    if (layers.length === 0) return false;
    return layers.some((l) => evidence.includes(l)) ? true : 'partial';
  };
  return {
    full: of('full'),
    noHooks: of('noHooks'),
    noGpu: of('noGpu'),
    metricsOnly: of('metricsOnly'),
    lossy: of('lossy'),
  };
}

/** First second at which the dose is at least a twentieth of the full one. */
const onsetOf = (p: Planted): number => {
  const i = p.injection;
  for (let t = i.at; t < i.at + i.durationS; t++) if (doseAt(i, t) >= i.dose * 0.05) return t;
  return i.at;
};

/** Judges a finished run against its twin. */
export function judge(
  w: World,
  planted: readonly Planted[],
  fault: Probes,
  twin: Probes,
  control: string | null,
): Truth {
  const { spec } = w;
  const pair: Pair = { fault, twin };
  const active = planted.filter((p) => !p.fault.benign);
  const roots: TruthRoot[] = [];
  const paths: string[][] = [];
  let impacts: TruthImpact[] = [];
  let onset: number | null = null;
  const all: Record<TelemetryTier, Observability> = {
    full: false,
    noHooks: false,
    noGpu: false,
    metricsOnly: false,
    lossy: false,
  };
  const rank = (o: Observability) => (o === true ? 2 : o === 'partial' ? 1 : 0);
  for (const p of active) {
    const from = p.injection.at;
    const end = Math.min(spec.durationS, from + p.injection.durationS);
    const own = impactsOf(w, pair, from, end);
    const truth = p.fault.root(w, p.victim, p.injection);
    const seen = observability(spec, layersOf(w, pair, from, end), p.fault.evidence);
    for (const tier of TIERS) if (rank(seen[tier]) > rank(all[tier])) all[tier] = seen[tier];
    const begin = impactOnset(w, pair, own, from, end);
    if (begin !== null && (onset === null || begin < onset)) onset = begin;
    impacts = impacts.concat(own);
    roots.push({
      id: truth.id,
      entity: truth.entity,
      accept: truth.accept,
      fault: p.fault.kind,
      dose: p.injection.dose,
      shape: p.injection.shape,
      onset: onsetOf(p),
      end,
      ...(p.victim.node && p.victim.kind !== 'node' ? { node: p.victim.node.name } : {}),
      ...(p.victim.replica ? { replica: p.victim.replica.id } : {}),
      ...(p.victim.rank ? { rank: p.victim.rank.global } : {}),
      impact: own.length > 0,
      observable: seen,
    });
    const victims =
      p.victim.kind === 'service' || p.victim.kind === 'router' || p.victim.kind === 'link'
        ? []
        : p.victim.replicas.map((r) => r.id);
    paths.push(pathFrom(w, truth.id, truth.entity, victims, consequences(w, pair, from, end), own.length > 0));
  }
  const benign = planted
    .filter((p) => p.fault.benign)
    .map(
      (p) =>
        `${p.fault.kind}@${p.victim.gpu ? gpuEntity(p.victim.gpu) : p.victim.node ? nodeEntity(p.victim.node) : p.injection.entity}`,
    );
  return {
    seed: spec.seed,
    tier: spec.tier,
    name: spec.name,
    start: spec.start,
    durationS: spec.durationS,
    roots,
    path: paths[0] ?? [],
    paths,
    impact: impacts.length > 0,
    impactOnset: onset,
    impacts: unique(impacts),
    observable: all,
    benign,
    control: active.length === 0 ? (control ?? 'steady') : control,
    changes: w.changes.filter((c) => c.at >= 0),
    totals: w.totals,
  };
}

function unique(impacts: readonly TruthImpact[]): TruthImpact[] {
  const seen = new Map<string, TruthImpact>();
  for (const i of impacts) {
    const key = `${i.slo}@${i.scope}`;
    const old = seen.get(key);
    if (!old || Math.abs(i.change) > Math.abs(old.change)) seen.set(key, i);
  }
  return [...seen.values()].sort((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, 12);
}
