/** An incident with its finding, and the clocks of some GPUs of which one is slow: for whoever shows or keeps verdicts. */
import type { Finding, Incident } from '../../pipeline/kit/verdict.ts';
import {
  gauge,
  type MetricsBatch,
  metricsBatch,
  nanosFromMs,
  resource,
  type Series,
  scope,
} from '../../pipeline/model.ts';

export const T = Date.parse('2026-05-01T12:00:00Z');
export const GPU = { kind: 'gpu' as const, id: 'GPU-3', service: 'chat', replica: 'r1', node: 'n1', rank: 3 };
const RANK = { kind: 'rank' as const, id: 'r1/tp3', service: 'chat', replica: 'r1', node: 'n1', rank: 3 };
const iso = (ms: number) => new Date(ms).toISOString();

const REMEDY = {
  code: 'G1',
  action: 'restore cooling, and drain the node until then',
  flag: 'kubectl cordon',
  expected_effect: 'the clock returns to its reference',
  risk: 'capacity while drained',
  verify: 'hw.gpu.clock of that GPU',
};

export const aFinding = (over: Partial<Finding> = {}): Finding => ({
  id: 'f1',
  detector: 'thermal-throttle',
  class: 'root',
  entity: GPU,
  severity: 'warning',
  confidence: 0.9,
  grade: 'A',
  state: 'firing',
  started_at: iso(T),
  detected_at: iso(T + 20_000),
  ended_at: null,
  summary: 'GPU-3 is held down by its temperature.',
  impact: { latency: 0.34 },
  tags: [],
  flapping: false,
  observed: false,
  evidence: [
    {
      signal: 'hw.gpu.clock',
      entity: GPU,
      window_s: 60,
      value: 1.41e9,
      threshold: 1.8e9,
      comparison: '<=',
      holds: true,
      unit: 'Hz',
      baseline: { median: 1.98e9, scale: 1e7, n: 120 },
    },
  ],
  counter_evidence: [{ check: 'a power reason dominates', result: 'power 0 %', against: false }],
  would_change_my_mind: 'The clock of its peers falls as well.',
  remedies: [REMEDY],
  ...over,
});

export const anIncident = (over: Partial<Incident> = {}): Incident => {
  const root = {
    detector: 'thermal-throttle',
    entity: GPU,
    probability: 0.93,
    grade: 'A' as const,
    finding: 'f1',
    path: [],
  };
  return {
    id: 'inc-1',
    service: 'chat',
    severity: 'critical',
    state: 'open',
    summary: 'Replica r1, rank 3, GPU-3: clock 1,410 of 1,980 MHz (thermal).',
    impact: { started_at: iso(T), ended_at: null, slo: 'itl', before: 0.041, during: 0.055, unit: 's' },
    detected_at: iso(T + 20_000),
    root,
    roots: [root],
    candidates: [
      { ...root, detector: 'power-throttle', probability: 0.04, finding: 'f2', note: 'no power reason was set' },
    ],
    path: [
      { detector: 'thermal-throttle', entity: GPU },
      { detector: 'tp-straggler', entity: RANK },
    ],
    symptoms: [],
    contexts: [],
    ambiguous: null,
    hypotheses: [],
    shared: null,
    metastable: null,
    remedies: [REMEDY],
    quality: [],
    ...over,
  };
};

/** Clocks of GPUs, four to a node, around T; the slow one loses 30 % at T. */
export function* clocks(options: {
  gpus: number;
  seconds: number;
  everyS: number;
  slow: string;
}): Generator<MetricsBatch> {
  const metric = gauge('hw.gpu.clock', 'Hz');
  const about = scope('test');
  const series: Series[] = Array.from({ length: options.gpus }, (_, i) => ({
    resource: resource({ 'hw.id': `GPU-${i}`, 'host.name': `n${i >> 2}`, 'service.name': 'chat' }),
    scope: about,
    metric,
    attributes: { clock: 'sm' },
  }));
  const from = T - (options.seconds * 1000) / 2;
  for (let s = 0; s <= options.seconds; s += options.everyS) {
    const ms = from + s * 1000;
    const time = nanosFromMs(ms);
    yield metricsBatch(
      series.map((one, i) => ({
        series: one,
        time,
        startTime: 0n,
        flags: 0,
        value: one.resource.attributes['hw.id'] === options.slow && ms >= T ? 1.41e9 : 1.98e9 - i * 1e6,
      })),
    );
  }
}
