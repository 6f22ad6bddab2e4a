/**
 * The cases of the score board, from their seeds: kinds x dose x load x topology x dialect, stratified so that every kind
 * meets every part of the grid over the seeds of a tier. Train is seeds 1-199, dev 200-399.
 */
import { knee } from './capacity.ts';
import { baseSpec, type Dialect, dialectsFor, drawEntity, neededTopology, type Topology } from './deployments.ts';
import { FAULTS, faultKind } from './faults/index.ts';
import { type Random, random } from './random.ts';
import { type Injection, injection, makeSpec, type Shape, type Spec, type SpecOverrides } from './spec.ts';

export type Tier = 'train' | 'dev';

export const SEEDS: Readonly<Record<Tier, readonly [number, number]>> = { train: [1, 199], dev: [200, 399] };

/** Healthy patterns that must raise no alarm. */
export const CONTROLS = [
  'steady',
  'diurnal',
  'burst',
  'mix-drift',
  'rolling-restart',
  'autoscale',
  'scrape-gaps',
  'exporter-restart',
  'clock-step',
  'config-noop',
  'idle',
  'busy-within-slo',
  'mixed-skus',
  'slow-chip',
] as const;
export type Control = (typeof CONTROLS)[number];

export interface CaseSpec extends Spec {
  readonly control: Control | null;
  /** `single`, `double`, `cascade`, `control` or `confounded`. */
  readonly group: 'single' | 'double' | 'cascade' | 'control' | 'confounded';
}

/** Shares of the knee. */
export const LOADS = [0.3, 0.6, 0.8, 0.95] as const;

export interface CaseOptions {
  readonly tier?: string;
  /** A fault, `none`, or undefined for a drawn one. */
  readonly fault?: string;
  readonly entity?: string;
  readonly dose?: number;
  readonly shape?: string;
  readonly at?: number;
  readonly forS?: number;
  readonly durationS?: number;
  readonly topology?: string;
  readonly dialect?: string;
  /** Share of the knee. */
  readonly load?: number;
  readonly control?: Control;
  /** A second fault, or a harmless event beside the first one. */
  readonly beside?: string;
  readonly group?: CaseSpec['group'];
  readonly over?: SpecOverrides;
}

export { DIALECTS, TOPOLOGIES } from './deployments.ts';

const CONTROL_EVENT: Partial<Record<Control, readonly string[]>> = {
  burst: ['small-burst'],
  'mix-drift': ['mix-drift'],
  'rolling-restart': ['rolling-restart'],
  autoscale: ['autoscale'],
  'scrape-gaps': ['scrape-gap'],
  'exporter-restart': ['exporter-restart'],
  'clock-step': ['clock-step'],
  'config-noop': ['config-noop'],
  'slow-chip': ['slow-chip'],
};

/** Compressed bytes of one engine page and of one GPU on its exporter's page, measured. */
const PAGE_BYTES: Readonly<Record<Dialect, number>> = {
  'vllm-0.10': 2400,
  'vllm-0.20': 4000,
  'sglang-0.5': 3100,
  'dynamo-1.1': 3800,
};
const GPU_BYTES = 470;
const SPAN_BYTES = 25;
const PACES = [5, 10, 15, 20, 30] as const;

/** Scrape intervals and hook bursts, as fast as a case of 20 minutes stays around 5 MiB; sometimes slower. */
function paces(base: SpecOverrides, dialect: Dialect, durationS: number, r: Random): Partial<Spec['observe']> {
  const d = base.deploy as Spec['deploy'];
  const c = base.cluster as Spec['cluster'];
  const engines = d.pd ? d.pd.prefill + d.pd.decode : d.replicas;
  const ranks = d.tp * (d.pp ?? 1) * (d.dp ?? 1);
  const minutes20 = Math.min(1, durationS / 1200);
  const pick = (bytesPerRound: number, budget: number) => {
    const fits = PACES.filter((s) => ((1200 * minutes20) / s) * bytesPerRound <= budget * minutes20 * 1048576);
    const fastest = fits[0] ?? 30;
    return r.chance(0.75) ? fastest : (fits[1] ?? fastest);
  };
  const engineScrapeS = pick(engines * PAGE_BYTES[dialect], 2);
  const ops = ranks > 1 ? 64 : 0;
  return {
    engineScrapeS,
    routerScrapeS: engineScrapeS,
    gpuScrapeS: pick(c.nodes * c.gpusPerNode * GPU_BYTES, 1.4),
    hooksOps: 64,
    hooksEveryS: Math.max(10, pick(engines * (ops * Math.min(ranks, 8) + 12) * SPAN_BYTES, 1.3)),
  };
}

/** The case of a seed; whatever the options leave open is drawn from it. */
export function generateCase(seed: number, options: CaseOptions = {}): CaseSpec {
  // Not every drawn deployment can have every fault; the first one that can is taken.
  let spec = drawCase(seed, options, 0);
  for (let attempt = 1; attempt < 16 && !possible(spec); attempt++) spec = drawCase(seed, options, attempt);
  return spec;
}

const possible = (spec: Spec): boolean => spec.inject.every((i) => faultKind(i.kind)?.impossible?.(spec) === undefined);

function drawCase(seed: number, options: CaseOptions, attempt: number): CaseSpec {
  const control = options.control ?? null;
  const r = random(seed, `case/${options.fault ?? ''}/${control ?? ''}/${options.beside ?? ''}/${attempt}`);
  const kind = control ? 'none' : (options.fault ?? r.pick(FAULTS.filter((f) => !f.benign)).kind);
  const fault = faultKind(kind);
  const topology =
    (options.topology as Topology | undefined) ??
    neededTopology(kind) ??
    r.pick(['aggregated', 'aggregated', 'split', 'parallel'] as const);
  const dialect = (options.dialect as Dialect | undefined) ?? r.pick(dialectsFor(kind, topology));
  const drawn = baseSpec(r, topology, dialect, kind);
  const base = control === 'mixed-skus' ? { ...drawn, cluster: { ...drawn.cluster, sku: 'H100-like' } } : drawn;
  const durationS = options.durationS ?? 1200;
  const hours = r.int(24);
  const load =
    options.load ??
    (control === 'busy-within-slo'
      ? 0.85
      : control === 'rolling-restart' || control === 'autoscale'
        ? 0.45
        : r.pick(LOADS));
  const mix =
    topology === 'parallel'
      ? r.pick(['chat', 'chat+rag'] as const)
      : r.pick(['chat', 'chat+rag', 'chat+rag', 'rag', 'chat+code', 'agentic'] as const);
  let spec = makeSpec({
    ...base,
    ...options.over,
    seed,
    tier: options.tier ?? 'adhoc',
    durationS,
    start: `2026-05-${String(1 + (seed % 28)).padStart(2, '0')}T${String(hours).padStart(2, '0')}:00:00.000Z`,
    deploy: { ...base.deploy, ...options.over?.deploy } as Spec['deploy'],
    cluster: {
      ...base.cluster,
      ...(control === 'mixed-skus' ? { otherSkus: { '1': 'A100-like' } } : {}),
      ...options.over?.cluster,
    } as Spec['cluster'],
    load: {
      process: control === 'diurnal' ? 'diurnal' : r.pick(['poisson', 'gamma', 'trace'] as const),
      cv: r.pick([1.2, 1.6, 2.2]),
      mix,
      sharedPrefix: r.pick([0.4, 0.6, 0.8]),
      tenants: r.pick([6, 12, 30]),
      structured: r.chance(0.25) ? 0.15 : 0,
      clientRetry: r.chance(0.3) ? { timeoutS: 100, max: 1 } : { timeoutS: 120, max: 0 },
      ...options.over?.load,
    } as Spec['load'],
    observe: {
      ...paces(base, dialect, durationS, r),
      nodeScrapeS: r.pick([15, 30]),
      gpuExporter: r.chance(0.75) ? 'full' : 'default',
      clockOffsetMsSd: r.pick([0.05, 0.4, 3]),
      ...options.over?.observe,
    } as Spec['observe'],
  });
  // A fault's own needs come before the knee is measured, so that the load fits what will run.
  if (fault?.prepare) spec = fault.prepare(spec);
  const rps = control === 'idle' ? 0.15 : Math.max(0.2, load * knee(spec));
  const day = control ? 1 : 1 + 0.1 * (r.next() - 0.5);
  const rates: [number, number][] = [
    [0, rps],
    [durationS / 2, rps * day],
    [durationS, rps],
  ];
  spec = {
    ...spec,
    load: {
      ...spec.load,
      rps: options.over?.load?.rps ? (options.over.load.rps as unknown as [number, number][]) : rates,
    },
  };

  const inject: Injection[] = [];
  const at = options.at ?? Math.round(durationS * r.between(0.38, 0.45));
  const forS = options.forS ?? Math.round(durationS * r.between(0.3, 0.42));
  if (fault && kind !== 'none') {
    const shape = ((options.shape as Shape | undefined) ?? r.pick(fault.shapes)) as Shape;
    const dose = options.dose ?? r.pick(fault.doses);
    inject.push(
      injection({
        kind,
        entity: options.entity ?? drawEntity(r, spec, kind),
        at,
        durationS: forS,
        shape,
        shapeS: shape === 'intermittent' ? r.pick([40, 80]) : 120,
        duty: r.pick([0.3, 0.5]),
        dose,
      }),
    );
  }
  if (!fault && kind !== 'none') inject.push(injection({ kind, at, durationS: forS }));
  const more = control ? (CONTROL_EVENT[control] ?? []) : options.beside ? [options.beside] : [];
  for (const event of more) {
    const row = faultKind(event)!;
    const early = event === 'slow-chip';
    const shift = control ? 0 : Math.round(r.between(-60, 60));
    const prepared = row.prepare ? row.prepare(spec) : spec;
    spec = prepared;
    inject.push(
      injection({
        kind: event,
        entity: drawEntity(r, spec, event),
        at: early ? 0 : Math.max(30, at + shift),
        durationS: early ? durationS : event === 'scrape-gap' || event === 'exporter-restart' ? 90 : forS,
        shape: row.shapes[0]!,
        shapeS: forS,
        dose:
          options.beside && !row.benign
            ? r.pick(row.doses.filter((x) => x >= 0.2).concat(row.doses.slice(-1)))
            : row.doses[0]!,
      }),
    );
  }
  const group =
    options.group ??
    (control
      ? 'control'
      : options.beside
        ? faultKind(options.beside)!.benign
          ? 'confounded'
          : 'double'
        : kind === 'retry-storm'
          ? 'cascade'
          : 'single');
  const name = [options.tier ?? 'case', seed, control ?? kind, options.beside].filter((x) => x !== undefined).join('-');
  return { ...spec, name, inject, control, group };
}

export interface CaseSelection {
  readonly tier: Tier;
  /** Only these kinds: faults, controls, `double`, `confounded`. */
  readonly kinds?: readonly string[];
  readonly seeds?: readonly number[];
  /** At most so many cases, spread evenly over kinds and groups. */
  readonly limit?: number;
}

const CONFOUNDERS = ['small-burst', 'xid-application', 'config-noop', 'scrape-gap'] as const;

/**
 * All cases of a tier, lazily described: four single faults, one control and one case with two things at once per seed.
 * Kind, dose and load rotate at different speeds, so that all their combinations come up.
 */
export function caseSpecs(selection: CaseSelection): CaseSpec[] {
  const [from, to] = SEEDS[selection.tier];
  const seeds = selection.seeds ?? Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const kinds = FAULTS.filter((f) => !f.benign);
  const plans: { key: string; make: () => CaseSpec }[] = [];
  for (const seed of seeds) {
    const tier = selection.tier;
    for (let j = 0; j < 4; j++) {
      const n = (seed - from) * 4 + j;
      const fault = kinds[n % kinds.length]!;
      const round = Math.floor(n / kinds.length);
      const dose = fault.doses[round % fault.doses.length]!;
      const load = LOADS[(round + Math.floor(round / fault.doses.length) + (n % kinds.length)) % LOADS.length]!;
      plans.push({ key: fault.kind, make: () => generateCase(seed, { tier, fault: fault.kind, dose, load }) });
    }
    const control = CONTROLS[(seed - from) % CONTROLS.length]!;
    plans.push({ key: control, make: () => generateCase(seed, { tier, control }) });
    const r = random(seed, 'pairs');
    const first = r.pick(kinds);
    if (seed % 2 === 0) {
      const second = r.pick(
        kinds.filter(
          (k) =>
            k.kind !== first.kind &&
            neededTopology(k.kind) === undefined &&
            !DOMINANT.has(k.kind) &&
            k.kind !== 'offload-slow',
        ),
      );
      const one = DOMINANT.has(first.kind) ? kinds[0]! : first;
      plans.push({
        key: `double-${(seed >> 1) % 10}`,
        make: () =>
          generateCase(seed, {
            tier,
            fault: one.kind,
            beside: second.kind,
            dose: one.doses[one.doses.length - 1]!,
            load: 0.6,
          }),
      });
    } else {
      const beside = CONFOUNDERS[(seed >> 1) % CONFOUNDERS.length]!;
      plans.push({
        key: `confounded-${(seed >> 1) % 8}`,
        make: () =>
          generateCase(seed, {
            tier,
            fault: first.kind,
            beside,
            dose: first.doses[Math.floor(first.doses.length / 2)]!,
          }),
      });
    }
  }
  const { kinds: only } = selection;
  // `double-3` is asked for as `double`.
  const wanted = only ? plans.filter((p) => only.includes(p.key) || only.includes(p.key.replace(/-\d+$/, ''))) : plans;
  return spread(wanted, selection.limit ?? wanted.length).map((p) => p.make());
}

/** Faults that take a whole replica or the service away and leave nothing of a second one to see. */
const DOMINANT = new Set(['hang', 'crash-loop', 'xid-fatal', 'slow-load', 'retry-storm', 'oom-crash', 'surge']);

/** Takes `limit` of the plans so that every key comes up equally often. */
function spread<T extends { key: string }>(plans: readonly T[], limit: number): T[] {
  if (limit >= plans.length) return [...plans];
  const byKey = new Map<string, T[]>();
  for (const p of plans) {
    const list = byKey.get(p.key);
    if (list) list.push(p);
    else byKey.set(p.key, [p]);
  }
  // Fewer than keys: evenly among them, since like kinds stand together.
  const all = [...byKey.values()];
  if (limit < all.length)
    return Array.from({ length: limit }, (_, i) => {
      const list = all[Math.floor((i * all.length) / limit)]!;
      return list[(3 * i) % list.length]!;
    });
  const out: T[] = [];
  for (let round = 0; out.length < limit; round++)
    for (const list of byKey.values()) {
      // Every third of a key's cases, so that rounds meet different doses and loads.
      const p =
        list[(round * 3 + (round * 3 >= list.length ? Math.floor((round * 3) / list.length) : 0)) % list.length];
      if (p && !out.includes(p) && out.length < limit) out.push(p);
      if (round > list.length * 3) return out;
    }
  return out;
}
