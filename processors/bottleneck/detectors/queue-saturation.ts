import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { capacityShare, percent, seconds, waitingTime } from '../readings.ts';

export default defineDetector({
  id: 'queue-saturation',
  class: 'symptom',
  family: 'queueing',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Requests wait long for admission.',
  rule: 'Wq = mean(waiting)/arrivals ≥ max(slo_share × TTFT objective, factor × baseline, floor) ∧ waiting ≥ 2 in ≥ share of samples ∧ (waiting grows, or ≥ backlog × running)',
  signals: [
    'inference.requests.waiting',
    'inference.requests.running',
    'inference.requests.finished',
    'inference.requests.started',
    'inference.requests.aborted',
    'inference.request.queue.duration',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.waiting', 'inference.requests.finished'] }],
  enable: 'Scrape the engine’s own metrics.',
  params: {
    slo_share: t.number({
      description: 'Share of the TTFT objective that may be spent waiting.',
      default: 0.5,
      minimum: 0,
    }),
    factor: t.number({ description: 'Multiple of the usual wait.', default: 3, minimum: 1 }),
    floor: t.duration({ description: 'Waits below this are never too long.', default: '300ms' }),
    share: t.number({
      description: 'Least share of samples with two or more waiting.',
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    backlog: t.number({
      description: 'Waiting over running that counts as saturated without growth.',
      default: 0.25,
      minimum: 0,
    }),
  },
  not: ['waiting that is deferred', 'a scrape on the edge of a burst'],
  remedies: ['Q2', 'Q1'],
  wouldChangeMyMind: 'The waiting requests are deferred by design, or the queue empties between bursts.',
  evaluate(view) {
    const p = view.params;
    const waiting = view.gauge('inference.requests.waiting');
    const wait = waitingTime(view, view.wf);
    const busy = waiting?.share(view.wf, (v) => v >= 2, 'share of samples with waiting ≥ 2');
    if (!wait || !busy) return view.missing('inference.requests.waiting', 'inference.requests.finished');
    const base = view.baseline('wait', wait.value);
    const slo = view.slo()?.ttft;
    const threshold = Math.max(
      p.floor / 1000,
      slo === undefined ? 0 : slo * p.slo_share,
      base ? base.median * p.factor : 0,
    );
    const mean = waiting?.mean(view.wf);
    const running = view.gauge('inference.requests.running')?.mean(view.wf);
    const trend = waiting?.trend(view.wf * 2);
    const capacity = capacityShare(view, view.wf);
    return view.judge({
      all: [
        view.atLeast('inference.requests.waiting', base ? { ...wait, baseline: base } : wait, threshold),
        view.atLeast('inference.requests.waiting', busy, p.share),
      ],
      any: [
        view.atLeast(
          'inference.requests.waiting',
          mean && running ? mean.value / Math.max(1, running.value) : undefined,
          p.backlog,
          'waiting / running',
        ),
        view.fact(
          'inference.requests.waiting',
          trend ? trend.perSecond > 0 && trend.p < 0.05 : undefined,
          'waiting grows',
        ),
      ],
      counter: [
        view.counterEvidence(
          'waiting is deferred, not for capacity',
          capacity === undefined ? undefined : capacity < 0.3,
          `${percent(capacity ?? 1)} wait for capacity`,
        ),
      ],
      grade: 'B',
      intensity: wait.value,
      summary: `Replica ${view.entity.id}: a request waits ${seconds(wait.value)} for admission (${Math.round(mean?.value ?? 0)} waiting).`,
    });
  },
});
