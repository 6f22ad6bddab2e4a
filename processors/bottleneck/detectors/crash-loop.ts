import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import type { Samples } from '../measure.ts';

/** When values first changed in a way, going by pairs of neighbours. */
function first(samples: Samples | undefined, changed: (before: number, after: number) => boolean): number | undefined {
  if (!samples) return undefined;
  for (let i = 1; i < samples.t.length; i++) if (changed(samples.v[i - 1]!, samples.v[i]!)) return samples.t[i]!;
  return undefined;
}

export default defineDetector({
  id: 'crash-loop',
  class: 'symptom',
  canBeRoot: true,
  family: 'lifecycle',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A replica dies and starts again, over and over.',
  rule: '≥ restarts starts within window (two within quick): the start time moved, the restart count grew, or the counters fell',
  signals: [
    'process.uptime',
    'k8s.container.restart.count',
    'up',
    'inference.requests.finished',
    'inference.tokens.generated',
  ],
  needs: [
    { grade: 'A', signals: ['event.restart'] },
    { grade: 'B', signals: ['process.uptime'] },
    { grade: 'B', signals: ['k8s.container.restart.count'] },
    { grade: 'C', signals: ['inference.tokens.generated'] },
  ],
  enable: 'Scrape the engine’s process metrics, or kube-state-metrics.',
  params: {
    restarts: t.integer({ description: 'Starts that make a loop.', default: 3, minimum: 2 }),
    window: t.duration({ description: 'Within this time.', default: '15m' }),
    quick: t.duration({ description: 'Two starts within this time are a loop too.', default: '6m' }),
  },
  persist: { k: 1, n: 1 },
  not: ['a rolling restart: one start each', 'an exporter that restarted while the engine did not'],
  remedies: ['L2'],
  wouldChangeMyMind: 'Somebody restarted it on purpose that often.',
  evaluate(view) {
    const p = view.params;
    const counted = view.gauge('k8s.container.restart.count')?.samples(p.window).v ?? [];
    const byKubernetes = counted.length > 1 ? counted.at(-1)! - counted[0]! : 0;
    const uptimes = view.gauge('process.uptime')?.samples(p.window).v ?? [];
    let byUptime = 0;
    for (let i = 1; i < uptimes.length; i++) if (uptimes[i]! < uptimes[i - 1]! - 5) byUptime++;
    const told = view.events.happenings
      .since(view.now - p.window, (h) => h.at)
      .filter((h) => /restart|crash|start/i.test(h.kind) && h.entity === view.entity).length;
    const starts = Math.max(byKubernetes, byUptime, told);
    const from = first(view.gauge('process.uptime')?.samples(p.window), (a, b) => b < a - 5);
    const counts = first(view.gauge('k8s.container.restart.count')?.samples(p.window), (a, b) => b > a);
    const began = Math.min(from ?? Number.POSITIVE_INFINITY, counts ?? Number.POSITIVE_INFINITY);
    // Two deaths close together are a loop already: nobody restarts a replica twice on purpose while it still loads.
    const needed = starts === 2 && view.now - began <= p.quick ? 2 : p.restarts;
    if (counted.length === 0 && uptimes.length === 0 && told === 0)
      return view.missing('process.uptime', 'k8s.container.restart.count');
    if (starts < needed) return view.clear();
    return view.judge({
      all: [
        view.atLeast(
          byKubernetes >= starts ? 'k8s.container.restart.count' : 'process.uptime',
          starts,
          needed,
          'starts',
        ),
      ],
      // Starts are counted, not estimated; that it could not be reached in between says the same again.
      support: [
        view.fact('process.uptime', true, 'every start was seen'),
        view.atLeast(
          'up',
          view.gauge('up')?.share(p.window, (v) => v < 0.5, 'share of scrapes unanswered'),
          0.05,
        ),
      ],
      grade: told >= starts ? 'A' : 'B',
      discrete: true,
      severity: 'critical',
      intensity: starts / p.restarts,
      ...(Number.isFinite(began) ? { onset: { after: began - 240_000, by: began } } : {}),
      summary: `Replica ${view.entity.id}: started ${starts} times within ${Math.round(p.window / 60_000)} minutes.`,
    });
  },
});
