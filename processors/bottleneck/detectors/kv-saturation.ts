import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { capacityShare, percent } from '../readings.ts';

export default defineDetector({
  id: 'kv-saturation',
  class: 'symptom',
  canBeRoot: true,
  family: 'memory',
  scope: 'replica',
  pace: 'slow',
  meaning: 'The KV cache is full and requests wait for room in it.',
  rule: 'q90(kv.usage) ≥ usage ∧ waiting ≥ 1 in ≥ waiting_share of samples ∧ (share waiting for capacity ≥ .5, or preemptions > 0)',
  signals: [
    'inference.kv.usage',
    'inference.requests.waiting',
    'inference.requests.running',
    'inference.preemptions',
    'inference.pd.queue',
    'inference.kv.capacity',
  ],
  needs: [
    { grade: 'B', signals: ['inference.kv.usage', 'inference.requests.waiting', 'inference.preemptions'] },
    { grade: 'C', signals: ['inference.kv.usage', 'inference.requests.waiting'] },
  ],
  enable: 'Scrape the engine’s own metrics.',
  params: {
    usage: t.number({
      description: 'KV usage (90th percentile of a minute) from which it is full.',
      default: 0.92,
      minimum: 0,
      maximum: 1,
    }),
    waiting_share: t.number({
      description: 'Least share of samples with somebody waiting.',
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    capacity_share: t.number({
      description: 'Least share of the waiting that waits for capacity, where told.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: [
    'high usage with nobody waiting: good utilisation',
    'waiting that is deferred: remote KV, grammar',
    'usage that counts evictable cached blocks',
  ],
  remedies: ['M1', 'M2'],
  wouldChangeMyMind: 'Requests keep waiting while usage is below 0.8, or all of them are deferred.',
  evaluate(view) {
    const p = view.params;
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const waitingNow = view.gauge('inference.requests.waiting');
    const waiting = waitingNow?.share(view.wf, (v) => v >= 1, 'share of samples with waiting ≥ 1');
    const capacity = capacityShare(view, view.wf);
    const preempted =
      view.counter('inference.preemptions')?.increase(view.ws) ??
      view.counter('inference.preemptions')?.increase(view.wf);
    // In a split service a full receiver shows as transfers that wait for room, not as waiting requests.
    const prealloc = view.gauge('inference.pd.queue', { queue: 'prealloc' })?.mean(view.wf);
    const queued =
      prealloc && prealloc.value >= 1
        ? view.atLeast('inference.pd.queue', prealloc, 1, 'waiting for pre-allocation')
        : view.atLeast('inference.requests.waiting', waiting, p.waiting_share);
    const told = capacity !== undefined;
    const grounds = [
      ...(told
        ? [view.atLeast('inference.requests.waiting', capacity, p.capacity_share, 'share waiting for capacity')]
        : []),
      ...(preempted ? [view.atLeast('inference.preemptions', preempted, 1)] : []),
    ];
    const queue = waitingNow?.mean(view.wf)?.value ?? 0;
    const running = view.gauge('inference.requests.running')?.mean(view.wf)?.value ?? 0;
    const size =
      running > 0 && queue > 0
        ? {
            M1: { size: `about ${Math.ceil((queue / running) * 100)} % more KV tokens to admit what waits now` },
            M2: { size: `at most ${Math.max(1, Math.floor(running * 0.9))} running` },
          }
        : {};
    const usable = grounds.filter((c) => c.holds);
    return view.judge({
      all: [queued, view.atLeast('inference.kv.usage', usage, p.usage)],
      ...(grounds.length > 0 && (told || usable.length > 0) ? { any: grounds } : {}),
      counter: [
        view.counterEvidence(
          'waiting is deferred (remote KV, grammar), not for capacity',
          capacity === undefined ? undefined : capacity < p.capacity_share,
          `${percent(capacity ?? 0)} wait for capacity`,
        ),
      ],
      grade: usable.length > 0 ? 'B' : 'C',
      intensity: (usage?.value ?? 0) + Math.min(2, queue / Math.max(1, running)),
      sizes: size,
      summary: `Replica ${view.entity.id}: KV cache ${percent(usage?.value ?? 0)} full with ${Math.round(queue)} requests waiting behind ${Math.round(running)} running.`,
    });
  },
});
