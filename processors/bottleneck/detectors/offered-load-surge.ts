import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { arrivals, derived, percent } from '../readings.ts';

export default defineDetector({
  id: 'offered-load-surge',
  class: 'context',
  family: 'queueing',
  scope: 'service',
  pace: 'slow',
  meaning: 'More work is asked for than usual.',
  rule: 'arrivals (requests/s) or offered prompt tokens/s ≥ factor × baseline ∧ z ≥ z',
  signals: [
    'inference.router.requests',
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.requests.finished',
    'inference.requests.started',
    'inference.requests.aborted',
    'inference.requests.failed',
    'inference.router.retries',
    'inference.request.prompt.tokens',
  ],
  needs: [
    { grade: 'A', signals: ['inference.router.requests'] },
    { grade: 'B', signals: ['inference.requests.finished', 'inference.requests.running'] },
  ],
  enable: 'Scrape the router or every replica.',
  params: {
    factor: t.number({ description: 'Arrivals over their usual.', default: 1.4, minimum: 1 }),
    z: t.number({ description: 'Scales above the usual.', default: 4, minimum: 0 }),
    window: t.duration({ description: 'Window of the rates.', default: '60s' }),
  },
  not: ['the release of a backlog after a stall: arrivals are flat', 'retries: then errors or timeouts rise first'],
  remedies: ['Q2'],
  wouldChangeMyMind: 'Arrivals were flat and only completions burst, or the extra requests are retries.',
  evaluate(view) {
    const p = view.params;
    const atRouter =
      view.pooled('router').counter('inference.router.requests')?.rate(p.window) ??
      view.pooled('frontend').counter('inference.router.requests')?.rate(p.window);
    const split = view.related('replica').some((e) => e.attributes['role'] === 'prefill');
    const replicas = view.pooled('replica', (e) => !split || e.attributes['role'] !== 'decode');
    const rate = atRouter ?? arrivals(replicas, p.window);
    if (!rate) return view.missing('inference.requests.finished', 'inference.requests.running');
    const base = view.baseline('arrivals', rate.value);
    const lengths = replicas.histogram('inference.request.prompt.tokens')?.mean(p.window);
    const work = lengths ? rate.value * lengths.value : undefined;
    const usualWork = work === undefined ? undefined : view.baseline('offered', work);
    if (!base) return view.hold();
    const failed = replicas.counter('inference.requests.failed')?.increase(p.window)?.value ?? 0;
    const aborted = replicas.counter('inference.requests.aborted')?.increase(p.window)?.value ?? 0;
    const retries = view.pooled('router').counter('inference.router.retries')?.increase(p.window)?.value ?? 0;
    const storm = failed + aborted + retries >= 0.2 * Math.max(1, (rate.value * p.window) / 1000);
    const z = (rate.value - base.median) / base.scale;
    // More tokens because the prompts are longer is another mix, not more demand: requests must make at least half of the rise.
    const more = rate.value / Math.max(1e-9, base.median);
    const byRequests =
      work !== undefined && usualWork !== undefined && more >= Math.sqrt(work / Math.max(1e-9, usualWork.median));
    return view.judge({
      all: [],
      any: [
        view.atLeast(
          rate.signal,
          z >= p.z
            ? {
                ...derived(rate.signal, 'arrivals / usual', rate.value / Math.max(1e-9, base.median), [rate], rate.of),
                baseline: base,
              }
            : 0,
          p.factor,
        ),
        view.atLeast(
          'inference.request.prompt.tokens',
          work !== undefined && usualWork && (work - usualWork.median) / usualWork.scale >= p.z && z >= 2 && byRequests
            ? work / Math.max(1e-9, usualWork.median)
            : 0,
          p.factor,
          'offered prompt tokens/s over their usual',
        ),
      ],
      counter: [
        view.counterEvidence(
          'retries make the load',
          storm || undefined,
          `${Math.round(failed + aborted + retries)} failed, aborted or retried`,
        ),
      ],
      grade: atRouter ? 'A' : 'B',
      tags: storm ? ['retry-storm'] : [],
      intensity: rate.value / Math.max(1e-9, base.median),
      summary: `Service ${view.entity.id}: ${rate.value.toFixed(1)} requests/s arrive, usually ${base.median.toFixed(1)} (${percent(rate.value / base.median - 1)} more).`,
    });
  },
});
