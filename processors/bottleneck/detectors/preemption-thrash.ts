import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { derived } from '../readings.ts';

export default defineDetector({
  id: 'preemption-thrash',
  class: 'symptom',
  canBeRoot: true,
  family: 'memory',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Admitted requests are evicted and computed again.',
  rule: 'increase(preemptions) / max(increase(finished), 1) ≥ ratio ∧ ≥ events preemptions in the window',
  signals: [
    'inference.preemptions',
    'inference.requests.finished',
    'inference.kv.usage',
    'inference.preempted.tokens',
    'inference.tokens.prompt',
    'inference.tokens.generated',
  ],
  needs: [{ grade: 'B', signals: ['inference.preemptions', 'inference.requests.finished'] }],
  enable: 'Scrape the engine’s own metrics.',
  params: {
    window: t.duration({ description: 'Window of the counts.', default: '2m' }),
    ratio: t.number({ description: 'Preemptions per finished request that are too many.', default: 0.05, minimum: 0 }),
    events: t.integer({ description: 'Fewest preemptions in the window.', default: 5, minimum: 1 }),
    critical_ratio: t.number({
      description: 'Preemptions per finished request that are critical.',
      default: 0.5,
      minimum: 0,
    }),
  },
  persist: { k: 2, n: 4 },
  not: ['a counter that restarted', 'a single burst', 'a KV leak by failed hand-offs'],
  remedies: ['M3', 'M1'],
  wouldChangeMyMind: 'The preemptions come from one short burst and stop by themselves.',
  evaluate(view) {
    const p = view.params;
    const events =
      view.counter('inference.preemptions')?.increase(p.window) ??
      view.counter('inference.preemptions')?.increase(view.wf);
    const done =
      view.counter('inference.requests.finished')?.increase(p.window) ??
      view.counter('inference.requests.finished')?.increase(view.wf);
    if (!events || !done) return view.missing('inference.preemptions', 'inference.requests.finished');
    const ratio = derived(
      'inference.preemptions',
      'preemptions / finished',
      events.value / Math.max(1, done.value),
      [events, done],
      events.of,
    );
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    return view.judge({
      all: [
        view.atLeast('inference.preemptions', ratio, p.ratio),
        view.atLeast('inference.preemptions', events, p.events),
      ],
      support: [view.atLeast('inference.kv.usage', usage, 0.9)],
      grade: 'B',
      severity: ratio.value >= p.critical_ratio && done.value >= 10 ? 'warning' : undefined,
      intensity: ratio.value,
      summary: `Replica ${view.entity.id}: ${Math.round(events.value)} preemptions for ${Math.round(done.value)} finished requests.`,
    });
  },
});
