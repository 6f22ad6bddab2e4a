import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';

export default defineDetector({
  id: 'crash-loop',
  class: 'symptom',
  canBeRoot: true,
  family: 'lifecycle',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A replica dies and starts again, over and over.',
  rule: '≥ restarts starts within window: the start time moved, the restart count grew, or the counters fell',
  signals: [
    'process.uptime',
    'k8s.container.restart.count',
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
    if (counted.length === 0 && uptimes.length === 0 && told === 0)
      return view.missing('process.uptime', 'k8s.container.restart.count');
    if (starts < p.restarts) return view.clear();
    return view.judge({
      all: [
        view.atLeast(
          byKubernetes >= starts ? 'k8s.container.restart.count' : 'process.uptime',
          starts,
          p.restarts,
          'starts',
        ),
      ],
      grade: told >= starts ? 'A' : 'B',
      discrete: true,
      severity: 'critical',
      intensity: starts / p.restarts,
      summary: `Replica ${view.entity.id}: started ${starts} times within ${Math.round(p.window / 60_000)} minutes.`,
    });
  },
});
