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
  rule: 'up = 0 for ≥ 2 scrapes and gone, or its pod not ready for ≥ unready after it was, or no sample for ≥ silent while others are fresh',
  signals: ['up', 'inference.requests.running', 'k8s.pod.status.ready', 'inference.tokens.generated'],
  needs: [
    { grade: 'B', signals: ['up'] },
    { grade: 'B', signals: ['k8s.pod.status.ready'] },
    { grade: 'C', signals: ['inference.requests.running'] },
  ],
  enable: 'Scrape the replicas directly; kube-state-metrics adds readiness.',
  params: {
    gone: t.duration({ description: 'How long it must not answer.', default: '12s' }),
    unready: t.duration({ description: 'How long its pod must not be ready.', default: '30s' }),
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
    // It may answer its scrapes and yet be sent nothing. One that was never ready is starting: cold-start's matter.
    const notReady = () => {
      const ready = view.gauge('k8s.pod.status.ready', { condition: 'true' });
      if (!ready?.fresh) return undefined;
      const { t: at, v } = ready.samples(600_000);
      let i = v.length;
      while (i > 0 && v[i - 1]! < 0.5) i--;
      if (i === 0 || i === v.length) return undefined;
      const since = at[at.length - 1]! - at[i]! + ready.step;
      return view.judge({
        all: [
          view.atLeast(
            'k8s.pod.status.ready',
            since,
            Math.max(p.unready, 2 * ready.step),
            'milliseconds in which its pod is not ready',
          ),
        ],
        grade: 'B',
        discrete: true,
        severity: planned ? 'info' : undefined,
        tags: ['not-ready', ...(planned ? ['planned'] : [])],
        intensity: since / 1000,
        summary: `Replica ${view.entity.id}: its pod has not been ready for ${Math.round(since / 1000)} s${up?.fresh ? ', though it answers' : ''}${planned ? '; a change was under way' : ''}.`,
      });
    };
    if (up?.fresh) {
      const { t: at, v } = up.samples(600_000);
      let i = v.length;
      while (i > 0 && v[i - 1]! < 0.5) i--;
      const down = v.length - i;
      if (down === 0) return notReady() ?? view.clear();
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
    const told = notReady();
    if (told) return told;
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
