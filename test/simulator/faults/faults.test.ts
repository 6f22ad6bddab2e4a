import { describe, expect, it } from 'vitest';
import { BENIGN, doseAt, FAULTS } from '../../../simulator/faults/index.ts';
import type { EntityKind } from '../../../simulator/faults/types.ts';
import { simulateCase } from '../../../simulator/simulate.ts';
import { injection, type SpecOverrides } from '../../../simulator/spec.ts';
import type { Truth } from '../../../simulator/truth.ts';
import { small } from '../kit.ts';

/** The 56 detectors that a truth may name. */
const DETECTORS = new Set(
  (
    'kv-saturation preemption-thrash kv-fragmentation gpu-oom-risk kv-exhaustion-forecast kv-offload-bound queue-saturation ' +
    'head-of-line-blocking admission-limited offered-load-surge workload-shift capacity-knee prefill-bound ' +
    'decode-bandwidth-bound decode-underbatched prefill-decode-interference host-bound frontend-bound cudagraph-fallback ' +
    'grammar-bound spec-decode-regression adapter-thrash prefix-cache-collapse tp-straggler collective-stall comm-bound ' +
    'slow-link comm-transport-fallback pp-bubble pp-stage-imbalance dp-imbalance ep-imbalance kv-transfer-bound ' +
    'kv-transfer-failure pd-imbalance router-imbalance router-overhead replica-outlier replica-unavailable thermal-throttle ' +
    'power-throttle clock-anomaly gpu-hw-fault ecc-degradation pcie-degradation nvlink-degradation nic-degradation ' +
    'network-congestion noisy-neighbour-gpu noisy-neighbour-host cold-start crash-loop engine-stall slo-burn regression ' +
    'telemetry-untrustworthy'
  ).split(' '),
);

const SPLIT: SpecOverrides = {
  cluster: { nodes: 4, gpusPerNode: 4 },
  deploy: { pd: { prefill: 2, decode: 2 }, tp: 4 },
  load: { rps: [[0, 8]], mix: 'rag' },
};
const PIPELINE: SpecOverrides = {
  cluster: { nodes: 2, gpusPerNode: 8 },
  deploy: { replicas: 2, tp: 4, pp: 2 },
  load: { rps: [[0, 14]] },
};
const EXPERTS: SpecOverrides = {
  cluster: { nodes: 2, gpusPerNode: 8 },
  deploy: { replicas: 2, tp: 2, dp: 4, ep: true, model: 'moe-like' },
  load: { rps: [[0, 20]] },
};
const PLAIN: SpecOverrides = {
  cluster: { nodes: 2, gpusPerNode: 4 },
  deploy: { replicas: 2, tp: 4 },
  load: { rps: [[0, 14]] },
};

const WORLD: Readonly<Record<string, SpecOverrides>> = {
  'nic-degraded': SPLIT,
  'fabric-congestion': SPLIT,
  'kv-wire-slow': SPLIT,
  'kv-transport-fallback': SPLIT,
  'kv-transfer-failing': SPLIT,
  'kv-leak': SPLIT,
  'pd-ratio': SPLIT,
  'pp-partition': PIPELINE,
  'ep-hot-expert': EXPERTS,
  'dp-skew': EXPERTS,
  'affinity-loss': { ...PLAIN, load: { rps: [[0, 6]] } },
};
const VICTIM: Readonly<Record<EntityKind, string>> = {
  gpu: 'node1/gpu2',
  node: 'node1',
  replica: 'r1',
  rank: 'r1/tp2',
  nic: 'node1/nic0',
  link: 'rail:0',
  pool: 'pool:prefill',
  service: 'service',
  router: 'router',
  group: 'r1',
  pair: 'p0->d0',
  frontend: 'router',
  target: 'r1',
};
const ENTITY: Readonly<Record<string, string>> = {
  'kv-wire-slow': 'p0',
  'kv-transfer-failing': 'd1',
  'pp-partition': 'r1/pp1/tp0',
  'ep-hot-expert': 'r1/tp0dp2',
};

const done = new Map<string, Truth>();
function run(kind: string): Truth {
  const known = done.get(kind);
  if (known) return known;
  const fault = FAULTS.find((f) => f.kind === kind)!;
  const spec = small({
    ...(WORLD[kind] ?? PLAIN),
    durationS: 220,
    warmupS: 30,
    inject: [
      injection({
        kind,
        entity: ENTITY[kind] ?? VICTIM[fault.victims[0]!],
        at: 80,
        durationS: 120,
        dose: fault.doses.at(-1)!,
      }),
    ],
  });
  const truth = simulateCase(spec, { record: false }).truth();
  done.set(kind, truth);
  return truth;
}

it('there are at least 40 kinds of faults, each with doses of the grid and a sentence', () => {
  expect(FAULTS.filter((f) => !f.benign).length).toBeGreaterThanOrEqual(40);
  expect(new Set(FAULTS.map((f) => f.kind)).size).toBe(FAULTS.length);
  for (const f of [...FAULTS, ...BENIGN]) {
    for (const dose of f.doses) expect([0.03, 0.05, 0.1, 0.2, 0.3, 0.6]).toContain(dose);
    expect(f.summary).toMatch(/\.$/);
    expect(f.shapes.length).toBeGreaterThan(0);
  }
});

describe.each(FAULTS.filter((f) => !f.benign).map((f) => f.kind))('%s, at its largest dose', (kind) => {
  const truth = run(kind);
  const root = truth.roots[0]!;

  it('is felt by users, or at least seen in telemetry', () => {
    expect(root.impact || root.observable.full !== false).toBe(true);
    expect(truth.roots).toHaveLength(1);
  });

  it('shows its own mechanism in at least one layer of telemetry', () => {
    expect(root.observable.full).toBe(true);
  });

  it('names a detector and an entity that reports can name', () => {
    expect(DETECTORS.has(root.id)).toBe(true);
    expect(root.entity).toMatch(/^(service|pool|replica|rank|group|gpu|node|nic|link|pair|router|frontend):.+$/);
    for (const a of root.accept) {
      expect(a).toMatch(/^[a-z-]+@(\*|[a-z]+:.+)$/);
      expect(DETECTORS.has(a.slice(0, a.indexOf('@')))).toBe(true);
    }
  });

  it('has a path from its root to the objective when users felt it', () => {
    expect(truth.path[0]).toBe(`${root.id}@${root.entity}`);
    if (root.impact) expect(truth.path.at(-1)).toBe('slo-burn@service:chat');
    for (const step of truth.path) expect(DETECTORS.has(step.slice(0, step.indexOf('@')))).toBe(true);
  });

  it('begins when it was injected, and impact not before that', () => {
    expect(root.onset).toBe(80);
    expect(root.end).toBe(200);
    if (truth.impactOnset !== null) {
      expect(truth.impactOnset).toBeGreaterThanOrEqual(80);
      expect(truth.impactOnset).toBeLessThan(200);
    }
  });
});

it('all but a warning hurt at their largest dose', () => {
  const silent = FAULTS.filter((f) => !f.benign && !run(f.kind).impact).map((f) => f.kind);
  // Rows that were remapped hurt nobody yet; they are a warning.
  expect(silent).toEqual(['row-remap-pending']);
});

describe('a benign event', () => {
  it.each([
    'xid-application',
    'config-noop',
    'scrape-gap',
    'exporter-restart',
    'clock-step',
  ])('%s hurts nobody and is no root', (kind) => {
    const row = BENIGN.find((f) => f.kind === kind)!;
    const truth = simulateCase(
      small({
        ...PLAIN,
        durationS: 200,
        inject: [injection({ kind, entity: VICTIM[row.victims[0]!], at: 80, durationS: 100, dose: 0.1 })],
      }),
      { record: false },
    ).truth();
    expect(truth.roots).toEqual([]);
    expect(truth.impact).toBe(false);
    expect(truth.benign).toHaveLength(1);
  });
});

it('doses follow their shape', () => {
  const i = injection({ kind: 'x', entity: 'y', at: 100, durationS: 100, dose: 0.4 });
  expect([99, 100, 199, 200].map((t) => doseAt(i, t))).toEqual([0, 0.4, 0.4, 0]);
  const ramp = { ...i, shape: 'ramp' as const, shapeS: 50 };
  expect(doseAt(ramp, 100)).toBeLessThan(0.02);
  expect(doseAt(ramp, 125)).toBeCloseTo(0.208, 2);
  expect(doseAt(ramp, 180)).toBe(0.4);
  const pulses = { ...i, shape: 'intermittent' as const, shapeS: 20, duty: 0.3 };
  expect([100, 105, 106, 119, 120].map((t) => doseAt(pulses, t))).toEqual([0.4, 0.4, 0, 0, 0.4]);
});

it('two faults at once are two roots, each judged by itself', () => {
  const truth = simulateCase(
    small({
      ...PLAIN,
      durationS: 300,
      inject: [
        injection({ kind: 'power-brake', entity: 'node0/gpu1', at: 100, durationS: 150, dose: 0.6 }),
        injection({ kind: 'max-seqs-cap', entity: 'r1', at: 130, durationS: 150, dose: 0.6 }),
      ],
    }),
    { record: false },
  ).truth();
  expect(truth.roots.map((r) => [r.id, r.impact])).toEqual([
    ['power-throttle', true],
    ['admission-limited', true],
  ]);
  expect(truth.paths).toHaveLength(2);
});
