import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';

export interface Knee {
  /** Load at which the output stops growing in proportion. */
  readonly load: number;
  /** Output per second there. */
  readonly output: number;
  /** Slope behind the knee over the slope before it. */
  readonly flatness: number;
  readonly levels: number;
  /** Load levels seen behind the knee. */
  readonly beyond: number;
}

/**
 * Continuous two-segment fit of output on load, through the origin, on the means of load levels (a quarter of an octave
 * each). Undefined below six levels, or when fewer than two lie behind the best breakpoint.
 */
export function fitKnee(loads: readonly number[], outputs: readonly number[]): Knee | undefined {
  const bins = new Map<number, { load: number; output: number; n: number }>();
  for (let i = 0; i < loads.length; i++) {
    if (!(loads[i]! > 0)) continue;
    const key = Math.round(4 * Math.log2(loads[i]!));
    const b = bins.get(key);
    if (b) {
      b.load += loads[i]!;
      b.output += outputs[i]!;
      b.n++;
    } else bins.set(key, { load: loads[i]!, output: outputs[i]!, n: 1 });
  }
  const levels = [...bins.values()]
    .filter((b) => b.n >= 2)
    .map((b) => ({ x: b.load / b.n, y: b.output / b.n }))
    .sort((a, b) => a.x - b.x);
  if (levels.length < 6) return undefined;
  let best: (Knee & { cost: number }) | undefined;
  for (let k = 1; k < levels.length - 1; k++) {
    const at = levels[k]!.x;
    // y = a·min(x, at) + b·max(0, x − at)
    let aa = 0;
    let bb = 0;
    let ab = 0;
    let ay = 0;
    let by = 0;
    for (const { x, y } of levels) {
      const u = Math.min(x, at);
      const v = Math.max(0, x - at);
      aa += u * u;
      bb += v * v;
      ab += u * v;
      ay += u * y;
      by += v * y;
    }
    const det = aa * bb - ab * ab;
    if (!(det > 0)) continue;
    const a = (bb * ay - ab * by) / det;
    const b = (aa * by - ab * ay) / det;
    if (!(a > 0)) continue;
    let cost = 0;
    for (const { x, y } of levels) cost += (y - a * Math.min(x, at) - b * Math.max(0, x - at)) ** 2;
    if (!best || cost < best.cost)
      best = { load: at, output: a * at, flatness: b / a, levels: levels.length, beyond: levels.length - 1 - k, cost };
  }
  if (!best || best.beyond < 2) return undefined;
  const { cost: _cost, ...knee } = best;
  return knee;
}

export default defineDetector({
  id: 'capacity-knee',
  class: 'context',
  family: 'queueing',
  scope: ['pool', 'service'],
  pace: 'slow',
  meaning: 'The service is operated at or beyond the load where more requests no longer give more output.',
  rule: 'load (running + waiting) ≥ share × the knee of output over load, fitted in two segments over ≥ levels load levels of the last hour, where the slope behind it is ≤ flat × the slope before',
  signals: [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.tokens.generated',
    'inference.request.prompt.tokens',
  ],
  needs: [
    { grade: 'B', signals: ['inference.requests.running', 'inference.requests.waiting', 'inference.tokens.generated'] },
  ],
  enable: 'Scrape every replica; six different load levels within the hour are needed (a load test gives them).',
  params: {
    share: t.number({ description: 'Load over the knee.', default: 0.9, minimum: 0 }),
    flat: t.number({
      description: 'Slope behind the knee over the slope before.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    points: t.integer({ description: 'Fewest past points.', default: 40, minimum: 12 }),
    least: t.number({ description: 'A knee below this many requests at once is noise.', default: 8, minimum: 0 }),
    mix: t.number({ description: 'Change of prompt length that makes the past useless.', default: 1.4, minimum: 1 }),
    baseline: t.optional(
      t.path({
        description:
          'A file that `enginelight baseline` wrote: for the services in it, its knee and its load within the SLO count instead of what the past hour tells.',
      }),
    ),
    knee: t.optional(t.number({ description: 'Requests at once at the knee, measured.', minimum: 0 })),
    feasible: t.optional(
      t.number({ description: 'Requests at once up to which the SLO holds, measured.', minimum: 0 }),
    ),
    replicas: t.integer({
      description: 'Replicas with which that was measured; with more or fewer it is in proportion. 0: unknown.',
      default: 0,
      minimum: 0,
    }),
  },
  not: [
    'a fault that lowered the output at the same load',
    'another mix of requests',
    'a load never seen before: then nothing is known',
  ],
  remedies: ['Q2'],
  wouldChangeMyMind: 'At a higher load the output was higher, with the same mix.',
  evaluate(view) {
    const p = view.params;
    if (view.entity.kind === 'service' && view.related('pool').length > 0) return view.hold();
    const split = view.related('replica').some((e) => e.attributes['role'] === 'decode');
    // Prefill replicas put out one token a request: their load has no such curve.
    if (view.related('replica').every((e) => e.attributes['role'] === 'prefill')) return view.clear();
    const engines = view.pooled('replica', (e) => !split || e.attributes['role'] === 'decode');
    const running = engines.gauge('inference.requests.running')?.mean(view.wf);
    const waiting = engines.gauge('inference.requests.waiting')?.mean(view.wf);
    const output = engines.counter('inference.tokens.generated')?.rate(view.wf);
    if (!running || !waiting || !output)
      return view.missing('inference.requests.running', 'inference.requests.waiting', 'inference.tokens.generated');
    const load = running.value + waiting.value;
    if (p.knee !== undefined || p.feasible !== undefined) {
      const now = view
        .related('replica')
        .filter((e) => !/^(frontend|router)$/.test(String(e.attributes['role']))).length;
      const scale = p.replicas > 0 && now > 0 ? now / p.replicas : 1;
      const limit = Math.min(p.knee ?? Infinity, p.feasible ?? Infinity) * scale;
      const which = limit < (p.knee ?? Infinity) * scale ? 'the load within the SLO' : 'the knee';
      const share = load / limit;
      return view.judge({
        all: [
          view.atLeast(
            'inference.requests.running',
            share,
            p.share,
            `load over ${which}, ${limit.toFixed(0)}, measured`,
          ),
        ],
        grade: 'B',
        severity: 'info',
        intensity: share,
        sizes: {
          Q2: { size: `capacity for ${Math.ceil(load)} concurrent requests; measured were ${Math.round(limit)}` },
        },
        summary: `${view.entity.kind === 'pool' ? 'Pool' : 'Service'} ${view.entity.id}: ${Math.round(load)} requests at once, and ${which} that was measured is at ${Math.round(limit)}.`,
      });
    }
    view.baseline('knee.load', load);
    view.baseline('knee.output', output.value);
    const lengths = engines.histogram('inference.request.prompt.tokens')?.mean(view.ws);
    const usual = lengths ? view.baseline('knee.lengths', lengths.value) : undefined;
    const loads = view.past('knee.load', 3_600_000).v;
    const outputs = view.past('knee.output', 3_600_000).v;
    if (loads.length < p.points) return view.hold();
    const knee = fitKnee(loads, outputs);
    if (!knee || knee.load < p.least) return view.hold();
    const ratio = lengths && usual ? lengths.value / usual.median : 1;
    if (Math.max(ratio, 1 / Math.max(1e-9, ratio)) > p.mix) return view.hold();
    return view.judge({
      all: [
        view.atLeast(
          'inference.requests.running',
          load / knee.load,
          p.share,
          `load over the knee at ${knee.load.toFixed(0)} (${knee.levels} levels)`,
        ),
        view.atMost(
          'inference.tokens.generated',
          Math.max(0, knee.flatness),
          p.flat,
          'slope behind the knee / before it',
        ),
      ],
      grade: 'B',
      severity: 'info',
      intensity: load / knee.load,
      sizes: {
        Q2: { size: `capacity for ${Math.ceil(load)} concurrent requests; the knee is at ${Math.round(knee.load)}` },
      },
      summary: `${view.entity.kind === 'pool' ? 'Pool' : 'Service'} ${view.entity.id}: ${Math.round(load)} requests at once, and output stops growing at about ${Math.round(knee.load)} (${Math.round(knee.output)} tokens/s), within the range seen.`,
    });
  },
});
