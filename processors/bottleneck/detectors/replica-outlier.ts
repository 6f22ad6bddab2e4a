import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';
import type { View } from '../view.ts';

type Parameters = { effect: number; past_effect: number; z: number; rows: number };

interface Point {
  readonly slow: number;
  readonly running: number;
  readonly prefill: number;
}

/** The latency that this replica’s own work decides: between tokens where it decodes, of the prefill where it does not. */
function pointOf(view: View<Parameters>): (Point & { kind: string; signal: string }) | undefined {
  const itl =
    view.histogram('inference.inter_token.latency')?.mean(view.wf) ??
    view.histogram('gen_ai.server.time_per_output_token')?.mean(view.wf);
  const prefillTime = itl ? undefined : view.histogram('inference.request.prefill.duration')?.mean(view.wf);
  const slow = itl ?? prefillTime;
  if (!slow || slow.value <= 0) return undefined;
  const running = view.gauge('inference.requests.running')?.mean(view.wf)?.value ?? 0;
  const prompt = view.counter('inference.tokens.prompt')?.rate(view.wf)?.value ?? 0;
  const cached = view.counter('inference.tokens.prompt.cached')?.rate(view.wf)?.value ?? 0;
  return {
    slow: slow.value,
    running,
    prefill: Math.max(0, prompt - cached),
    kind: itl ? 'ITL' : 'prefill time',
    signal: slow.signal,
  };
}

/** Least squares of ln(slow) on ln(1+running) and prefill rate over the cohort’s past; returns a predictor. */
function fitLoad(rows: readonly Point[], least: number): ((p: Point) => number) | undefined {
  const usable = rows.filter((r) => r.slow > 0);
  if (usable.length < least) return undefined;
  const scale = Math.max(1, ...usable.map((r) => r.prefill));
  const x = (r: Point): [number, number, number] => [1, Math.log1p(r.running), r.prefill / scale];
  let weights = usable.map(() => 1);
  let beta: [number, number, number] = [0, 0, 0];
  for (let pass = 0; pass < 3; pass++) {
    const a = [0, 0, 0, 0, 0, 0, 0, 0, 0];
    const b = [0, 0, 0];
    usable.forEach((r, k) => {
      const v = x(r);
      const y = Math.log(r.slow);
      for (let i = 0; i < 3; i++) {
        b[i]! += weights[k]! * v[i]! * y;
        for (let j = 0; j < 3; j++) a[i * 3 + j]! += weights[k]! * v[i]! * v[j]!;
      }
    });
    for (let i = 0; i < 3; i++) a[i * 3 + i]! += 1e-3 * usable.length * (i === 0 ? 1e-6 : 1);
    beta = solve3(a, b);
    const residuals = usable.map((r) => Math.abs(Math.log(r.slow) - dot(beta, x(r))));
    const middle = [...residuals].sort((p, q) => p - q)[residuals.length >> 1]!;
    // Rows far off (a fault in the past) lose their say.
    weights = residuals.map((e) => (e <= 3 * Math.max(middle, 0.005) ? 1 : 0.05));
  }
  // More load can only slow down; a fit that says otherwise saw too little load to tell.
  if (beta[1] < 0) beta = [beta[0] + beta[1] * Math.log1p(median(usable.map((r) => r.running))), 0, beta[2]];
  if (beta[2] < 0) beta = [beta[0], beta[1], 0];
  return (p) => Math.exp(dot(beta, x(p)));
}

const median = (v: readonly number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1] ?? 0;
const dot = (a: readonly [number, number, number], b: readonly [number, number, number]): number =>
  a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

function solve3(a: readonly number[], b: readonly number[]): [number, number, number] {
  const m = [0, 1, 2].map((i) => [a[i * 3]!, a[i * 3 + 1]!, a[i * 3 + 2]!, b[i]!]);
  for (let i = 0; i < 3; i++) {
    let pivot = i;
    for (let r = i + 1; r < 3; r++) if (Math.abs(m[r]![i]!) > Math.abs(m[pivot]![i]!)) pivot = r;
    [m[i], m[pivot]] = [m[pivot]!, m[i]!];
    const d = m[i]![i]! || 1e-12;
    for (let r = 0; r < 3; r++) {
      if (r === i) continue;
      const f = m[r]![i]! / d;
      for (let c = i; c < 4; c++) m[r]![c]! -= f * m[i]![c]!;
    }
  }
  return [0, 1, 2].map((i) => m[i]![3]! / (m[i]![i]! || 1e-12)) as [number, number, number];
}

export default defineDetector({
  id: 'replica-outlier',
  class: 'symptom',
  family: 'disaggregation',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A replica is slow for the load it carries.',
  rule: 'residual of mean ITL (prefill time where nothing is decoded) on running and prefill rate: against the cohort acute (z ≥ z, + effect) or chronic, or against its own past z ≥ 4 and + past_effect',
  signals: [
    'inference.inter_token.latency',
    'gen_ai.server.time_per_output_token',
    'inference.request.prefill.duration',
    'inference.requests.running',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
  ],
  needs: [
    { grade: 'B', signals: ['inference.inter_token.latency', 'inference.requests.running'] },
    { grade: 'C', signals: ['gen_ai.server.time_per_output_token'] },
    { grade: 'C', signals: ['inference.request.prefill.duration'] },
  ],
  enable: 'Scrape the engine’s own metrics; comparing needs three replicas of one role, or half an hour of history.',
  params: {
    effect: t.number({
      description: 'Slower than the cohort by this share, beyond its own usual.',
      default: 0.08,
      minimum: 0,
    }),
    past_effect: t.number({
      description: 'Slower than its own past by this share at the same load.',
      default: 0.15,
      minimum: 0,
    }),
    z: t.number({ description: 'Pooled scales from its usual place in the cohort.', default: 3.5, minimum: 0 }),
    rows: t.integer({ description: 'Fewest past points before load is accounted for.', default: 60, minimum: 10 }),
  },
  not: [
    'a replica with more load',
    'another model of GPU',
    'a change of all replicas together: then it is not this one',
  ],
  remedies: ['T1'],
  wouldChangeMyMind: 'At the same running requests and prefill rate its peers are as slow.',
  evaluate(view) {
    const p = view.params;
    const now = pointOf(view);
    if (!now) return view.hold();
    const cohort = [view.entity, ...view.peers()].map((e) => e.key).sort()[0];
    const predict = view.once(`fit|${cohort}`, () => {
      const rows: Point[] = [];
      for (const e of [view.entity, ...view.peers()].slice(0, 64)) {
        const v = view.on(e);
        const slow = v.past('ro.slow', 3_600_000);
        const running = v.past('ro.running', 3_600_000);
        const prefill = v.past('ro.prefill', 3_600_000);
        const n = Math.min(slow.v.length, running.v.length, prefill.v.length);
        for (let i = 0; i < n; i++) rows.push({ slow: slow.v[i]!, running: running.v[i]!, prefill: prefill.v[i]! });
      }
      return fitLoad(rows, p.rows) ?? null;
    });
    view.baseline('ro.slow', now.slow);
    view.baseline('ro.running', now.running);
    view.baseline('ro.prefill', now.prefill);
    // Before enough is known about load, slowness is compared as it is, and only with the peers.
    const residual = predict ? now.slow / predict(now) : now.slow;
    const gates = { z: p.z, effect: p.effect };
    const raw = view.peer('slow', (v) => pointOf(v)?.slow, gates);
    const fitted = predict
      ? view.peer(
          'residual',
          (v) => {
            const point = pointOf(v);
            return point && point.slow / predict(point);
          },
          gates,
        )
      : undefined;
    // The residual begins its past only when load is accounted for; until that suffices, slowness as it is goes on.
    const peer = fitted && (fitted.known || !raw?.known) ? fitted : raw;
    // Its own past is judged by the same residual, so that more load is not mistaken for slowness.
    const past = predict ? view.baseline('ro.residual', residual) : undefined;
    const own = past ? { z: (residual - past.median) / past.scale, effect: residual / past.median - 1 } : undefined;
    const versusPeers = peer ? peer.r - (peer.acute ? peer.usual : 0) : undefined;
    const conditions = [
      ...(peer
        ? [
            view.atLeast(
              now.signal,
              peer.acute || peer.chronic ? versusPeers : 0,
              p.effect,
              `${now.kind} at matched load over ${peer.members - 1} peers`,
            ),
          ]
        : []),
      ...(own
        ? [
            view.atLeast(
              now.signal,
              own.z >= 4 ? own.effect : 0,
              p.past_effect,
              `${now.kind} at matched load over its own past`,
            ),
          ]
        : []),
    ];
    if (conditions.length === 0) return view.hold();
    const worst = Math.max(versusPeers ?? 0, own?.effect ?? 0);
    return view.judge({
      all: [],
      any: conditions,
      grade: view.has('inference.inter_token.latency') ? 'B' : 'C',
      tags: [
        ...(conditions[0]?.holds && peer ? ['vs-peers'] : []),
        ...(own && own.z >= 4 && own.effect >= p.past_effect ? ['vs-past'] : []),
        ...(peer?.chronic ? ['chronic'] : []),
      ],
      intensity: predict ? Math.max(0, residual - 1) : worst,
      summary: `Replica ${view.entity.id}: ${now.kind} ${seconds(now.slow)} is ${percent(worst)} above ${conditions[0]?.holds && peer ? 'its peers' : 'its own past'} at the same load.`,
    });
  },
});
