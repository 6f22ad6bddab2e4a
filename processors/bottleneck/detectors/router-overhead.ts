import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'router-overhead',
  class: 'root',
  family: 'disaggregation',
  scope: ['router', 'frontend'],
  pace: 'slow',
  meaning: 'Routing or flow control costs time of its own.',
  rule: 'p95(decision time) ≥ max(floor, share × TTFT) (its mean where the buckets do not reach), beyond usual; or mean time in the flow-control queue ≥ the same while the pool is less than saturation full',
  signals: [
    'inference.router.decision.duration',
    'inference.router.queue.duration',
    'inference.router.queue.size',
    'inference.router.saturation',
    'gen_ai.server.time_to_first_token',
    'inference.requests.waiting',
    'process.cpu.time',
  ],
  needs: [
    { grade: 'B', signals: ['inference.router.decision.duration'] },
    { grade: 'B', signals: ['inference.router.queue.duration'] },
  ],
  enable: 'Scrape the router itself (the endpoint picker, Dynamo’s frontend, the gateway), not only the engines.',
  params: {
    floor: t.duration({ description: 'Routing faster than this is never the limit.', default: '50ms' }),
    share: t.number({ description: 'Routing time over TTFT.', default: 0.1, minimum: 0, maximum: 1 }),
    saturation: t.number({
      description: 'How full the pool may look for its queue to be the router’s own doing.',
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({ description: 'Mean routing time over its usual.', default: 2, minimum: 1 }),
    decisions: t.integer({ description: 'Fewest decisions in the window.', default: 20, minimum: 1 }),
  },
  not: [
    'a queue at the router because the pool is full: then the engines are the limit',
    'a slow network in front of it',
  ],
  remedies: ['R2', 'R4'],
  wouldChangeMyMind: 'The engines queue as well, or TTFT at the router equals TTFT at the engines.',
  evaluate(view) {
    const p = view.params;
    const decision = view.histogram('inference.router.decision.duration');
    const queue = view.histogram('inference.router.queue.duration');
    if (!decision && !queue) return view.missing('inference.router.decision.duration');
    const mean = decision?.mean(view.wf, p.decisions);
    const high = mean && mean.n >= 100 ? decision?.quantile(view.wf, 0.95) : undefined;
    const held = queue?.mean(view.wf, p.decisions);
    if (!mean && !held) return view.hold();
    const ttft = view.histogram('gen_ai.server.time_to_first_token')?.mean(view.wf);
    const floor = Math.max(p.floor / 1000, ttft ? ttft.value * p.share : 0);
    const usual = mean ? view.baseline('router.decision', mean.value, 16) : undefined;
    // A quantile inside a wide bucket may be anything in it: only its lower end is sure.
    const time = mean ? Math.max(mean.value, high?.lo ?? 0) : 0;
    const waiting = view.pooled('replica').gauge('inference.requests.waiting')?.mean(view.wf);
    const saturation = view.gauge('inference.router.saturation')?.mean(view.wf);
    const full = saturation ? saturation.value >= p.saturation : waiting ? waiting.value >= 2 : undefined;
    const usualHeld = held ? view.baseline('router.held', held.value, 16) : undefined;
    const dear = (value: number, base: { median: number } | undefined) =>
      base ? Math.max(floor, base.median * p.factor) : Math.max(floor, value > 0 ? floor : 0);
    const byDecision = mean
      ? view.atLeast(
          'inference.router.decision.duration',
          {
            ...mean,
            value: time,
            how: high ? 'p95 (at least) or mean' : 'mean',
            ...(usual ? { baseline: usual } : {}),
          },
          dear(time, usual),
        )
      : undefined;
    const byQueue =
      held && full === false
        ? view.atLeast(
            'inference.router.queue.duration',
            { ...held, ...(usualHeld ? { baseline: usualHeld } : {}) },
            dear(held.value, usualHeld),
            'while the pool has room',
          )
        : undefined;
    const conditions = [byDecision, byQueue].filter((c) => c !== undefined);
    if (conditions.length === 0) return view.clear();
    const cost = Math.max(time, full === false ? (held?.value ?? 0) : 0);
    return view.judge({
      all: [],
      any: conditions,
      support: [byDecision?.holds && byQueue?.holds ? byQueue : undefined],
      counter: [
        view.counterEvidence(
          'the engines queue as well',
          full,
          `${Math.round(waiting?.value ?? 0)} waiting at the engines`,
        ),
      ],
      grade: 'B',
      tags: [byQueue?.holds && !byDecision?.holds ? 'flow-control' : 'decision'],
      intensity: cost,
      summary: `${view.entity.kind === 'router' ? 'Router' : 'Frontend'} ${view.entity.id}: choosing a replica takes ${seconds(cost)}${usual ? ` (usually ${seconds(usual.median)})` : ''}${ttft ? `, ${percent(Math.min(1, cost / Math.max(1e-9, ttft.value)))} of TTFT` : ''}.`,
    });
  },
});
