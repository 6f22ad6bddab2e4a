import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';

export default defineDetector({
  id: 'replica-unavailable',
  class: 'symptom',
  canBeRoot: true,
  family: 'lifecycle',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A replica cannot be reached or is not ready: its capacity is missing.',
  rule: 'up = 0 for ≥ 2 scrapes and gone, or no sample for ≥ silent while others are fresh, or ready < desired',
  signals: ['up', 'inference.requests.running', 'k8s.pod.ready', 'inference.tokens.generated'],
  needs: [
    { grade: 'B', signals: ['up'] },
    { grade: 'C', signals: ['inference.requests.running'] },
  ],
  enable: 'Scrape the replicas directly; Kubernetes discovery adds readiness.',
  params: {
    gone: t.duration({ description: 'How long it must not answer.', default: '12s' }),
    silent: t.duration({ description: 'How long it must be silent where `up` is not told.', default: '60s' }),
  },
  persist: { k: 1, n: 1 },
  not: ['a scrape that times out while tokens flow: a starved host', 'a replica that was scaled down'],
  remedies: ['L2'],
  wouldChangeMyMind: 'It answers from another place, or it was removed on purpose.',
  evaluate(view) {
    const p = view.params;
    const up = view.gauge('up');
    const running = view.gauge('inference.requests.running');
    const tokens = view.counter('inference.tokens.generated');
    const planned = view.happened(/deploy|scale|restart|rollout/, 600_000);
    if (up?.fresh) {
      const { t: at, v } = up.samples(600_000);
      let i = v.length;
      while (i > 0 && v[i - 1]! < 0.5) i--;
      const down = v.length - i;
      if (down === 0) return view.clear();
      const since = at[at.length - 1]! - at[i]! + up.step;
      return view.judge({
        all: [
          view.atLeast('up', since, Math.max(p.gone, 2 * up.step), 'milliseconds without an answer'),
          view.atLeast('up', down, 2, 'scrapes in a row'),
        ],
        support: [
          running ? view.fact('inference.requests.running', !running.fresh, 'no engine metric arrives') : undefined,
        ],
        grade: 'B',
        discrete: true,
        severity: planned ? 'info' : undefined,
        tags: planned ? ['planned'] : [],
        intensity: since / 1000,
        summary: `Replica ${view.entity.id} has not answered ${down} scrapes in a row (${Math.round(since / 1000)} s)${planned ? '; a change was under way' : ''}.`,
      });
    }
    if (!running) return view.hold();
    const age = Math.min(running.age, tokens?.age ?? Number.POSITIVE_INFINITY);
    const others = view.peers().filter((e) => view.on(e).gauge('inference.requests.running')?.fresh).length;
    return view.judge({
      all: [
        view.atLeast(
          'inference.requests.running',
          age,
          Math.max(p.silent, 6 * running.step),
          'milliseconds without a sample',
        ),
        // When everybody is silent it is the telemetry that is gone.
        view.atLeast('inference.requests.running', others, 1, 'other replicas that are heard'),
      ],
      grade: 'C',
      severity: planned ? 'info' : undefined,
      tags: planned ? ['planned'] : [],
      intensity: age / 1000,
      summary: `Replica ${view.entity.id} has been silent for ${Math.round(age / 1000)} s while others are heard.`,
    });
  },
});
