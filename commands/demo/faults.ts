/** What can break in the demo's cluster, and whom it hits. */
import { generateCase } from '../../simulator/cases.ts';
import { FAULTS, faultKind } from '../../simulator/faults/index.ts';
import { findVictim } from '../../simulator/faults/victims.ts';
import { injection, type Spec } from '../../simulator/spec.ts';
import type { World } from '../../simulator/world/types.ts';

export interface DemoFault {
  readonly kind: string;
  readonly entity: string;
  readonly dose: number;
  readonly summary: string;
}

/** The cluster of the demo: the same for everybody, so that what a reader was promised is what happens. */
export const SEED = 7;

/** A healthy scenario long enough for a demo that is left running. */
export function demoSpec(durationS: number): Spec {
  return generateCase(SEED, {
    tier: 'demo',
    fault: 'none',
    topology: 'aggregated',
    dialect: 'vllm-0.20',
    load: 0.6,
    durationS,
    over: OVER,
  });
}

const OVER = {
  cluster: { nodes: 4, gpusPerNode: 4, sku: 'H100-like', kubernetes: true, rails: 2, nicGbps: 400 },
  deploy: {
    service: 'chat',
    engine: 'vllm',
    version: '0.20',
    model: '70b-like',
    tp: 4,
    replicas: 4,
    frontend: 'llm-d',
    router: 'least-loaded',
    asyncScheduling: true,
    apiServers: 1,
  },
  load: { process: 'poisson', mix: 'chat', structured: 0, clientRetry: { timeoutS: 120, max: 0 } },
  observe: {
    engineScrapeS: 5,
    gpuScrapeS: 5,
    nodeScrapeS: 15,
    routerScrapeS: 5,
    gpuExporter: 'full',
    clockOffsetMsSd: 0.4,
    dropScrape: 0,
  },
} as const;

/** A fault by its own name or by the detector that should find it; undefined when the cluster cannot have it. */
export function demoFault(world: World, name: string, draw: number): DemoFault | undefined {
  const known = faultKind(name);
  if (known) return drawn(world, known.kind, draw);
  for (const fault of FAULTS) {
    if (fault.benign) continue;
    const candidate = drawn(world, fault.kind, draw);
    if (!candidate) continue;
    const victim = findVictim(world, candidate.entity);
    if (typeof victim === 'string') continue;
    const at = injection({ kind: fault.kind, entity: candidate.entity, at: world.now });
    if (fault.root(world, victim, at).id === name) return candidate;
  }
  return undefined;
}

/** Every name that `demoFault` takes: faults, then detectors. */
export function demoFaultNames(world: World): string[] {
  return FAULTS.filter((f) => !f.benign && drawn(world, f.kind, 0)).map((f) => f.kind);
}

/** Faults of which the demo's cluster, at its load, feels nothing below this dose. */
const STRONG: Readonly<Record<string, number>> = { 'cpu-quota': 0.6, 'cpu-steal': 0.3, 'noisy-host': 0.6 };

const doseOf = ({ kind, doses }: (typeof FAULTS)[number]): number =>
  STRONG[kind] ?? doses.filter((d) => d <= 0.3).at(-1) ?? doses[0]!;

function drawn(world: World, kind: string, draw: number): DemoFault | undefined {
  const fault = faultKind(kind);
  if (!fault || fault.impossible?.(world.spec)) return undefined;
  // What a fault needs from the start (drafting, adapters, …) cannot be had once the world runs.
  if (fault.prepare && JSON.stringify(fault.prepare(world.spec)) !== JSON.stringify(world.spec)) return undefined;
  try {
    const { inject } = generateCase(SEED + draw, {
      fault: kind,
      topology: 'aggregated',
      dialect: 'vllm-0.20',
      over: OVER,
    });
    const entity = inject[0]?.entity;
    if (entity === undefined || typeof findVictim(world, entity) === 'string') return undefined;
    return { kind, entity, dose: doseOf(fault), summary: fault.summary };
  } catch {
    return undefined;
  }
}
