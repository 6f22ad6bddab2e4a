import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { capacityShare, percent } from '../readings.ts';

export default defineDetector({
  id: 'admission-limited',
  class: 'root',
  family: 'queueing',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A configured cap on concurrent requests makes the queue, while the KV cache has room.',
  rule: 'waiting ≥ 1 in ≥ share of samples ∧ running at its maximum (give or take one, or 1 %) in ≥ plateau of samples ∧ q90(kv.usage) < usage ∧ ITL < slo_share × objective',
  signals: [
    'inference.requests.waiting',
    'inference.requests.running',
    'inference.kv.usage',
    'inference.inter_token.latency',
    'inference.config.info',
    'inference.preemptions',
    'inference.tokens.generated',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.waiting', 'inference.requests.running', 'inference.kv.usage'] }],
  enable: 'Scrape the engine’s own metrics.',
  params: {
    share: t.number({
      description: 'Least share of samples with somebody waiting.',
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    plateau: t.number({ description: 'Least share of samples at the plateau.', default: 0.6, minimum: 0, maximum: 1 }),
    usage: t.number({
      description: 'KV usage above which it may be the cache instead.',
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
    slo_share: t.number({
      description: 'Share of the ITL objective that must be left free.',
      default: 0.7,
      minimum: 0,
    }),
    least: t.integer({
      description: 'Plateaus below this many running requests are not caps.',
      default: 4,
      minimum: 1,
    }),
  },
  not: [
    'flow control upstream',
    'waiting for grammar or adapters',
    'a batch that is full because of tokens, not of requests',
  ],
  remedies: ['Q1'],
  wouldChangeMyMind: 'Running rises above the plateau while requests still wait.',
  evaluate(view) {
    const p = view.params;
    const waiting = view.gauge('inference.requests.waiting');
    const queued = waiting?.share(view.wf, (v) => v >= 1, 'share of samples with waiting ≥ 1');
    const running = view.gauge('inference.requests.running');
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const window = view.wf * 2;
    const top = running?.max(window) ?? running?.max(view.wf);
    if (!queued || !running || !top || !usage)
      return view.missing('inference.requests.waiting', 'inference.requests.running', 'inference.kv.usage');
    if (queued.value < p.share * 0.5) return view.clear();
    // An engine that stands still keeps its number of running requests too.
    if ((view.counter('inference.tokens.generated')?.idleFor() ?? 0) > 20_000) return view.clear();
    // A scheduler that is held by a number fills up to exactly that number; one that is held by tokens or blocks does not.
    const plateau = running.share(
      view.wf,
      (v) => v >= top.value - Math.max(1, top.value * 0.01),
      `share of samples at ${Math.round(top.value)} running`,
    );
    // A plateau is a cap only if running never got above it while somebody waited.
    const itl = view.histogram('inference.inter_token.latency')?.mean(view.wf);
    const slo = view.slo()?.itl;
    const capacity = capacityShare(view, view.wf);
    const preempted = view.counter('inference.preemptions')?.increase(view.wf);
    const queue = waiting?.mean(view.wf)?.value ?? 0;
    const round = [16, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024].includes(Math.round(top.value));
    const flat = running.min(view.wf);
    const exact = flat ? flat.value >= top.value - 1 : false;
    return view.judge({
      all: [
        view.atLeast('inference.requests.running', plateau, p.plateau),
        view.atLeast('inference.requests.waiting', queued, p.share),
        view.atMost('inference.kv.usage', usage, p.usage),
        view.atLeast('inference.requests.running', top, p.least),
        ...(itl && slo !== undefined ? [view.atMost('inference.inter_token.latency', itl, slo * p.slo_share)] : []),
      ],
      support: [
        view.fact('inference.requests.running', exact, 'running does not move'),
        view.fact('inference.requests.running', round, 'a usual setting'),
      ],
      counter: [
        view.counterEvidence(
          'requests are preempted',
          preempted ? preempted.value > 0 : undefined,
          `${Math.round(preempted?.value ?? 0)} preemptions`,
        ),
        view.counterEvidence(
          'waiting is deferred',
          capacity === undefined ? undefined : capacity < 0.3,
          `${percent(capacity ?? 1)} wait for capacity`,
        ),
      ],
      grade: 'B',
      intensity: queue / Math.max(1, top.value),
      sizes: {
        Q1: {
          size: `from ${Math.round(top.value)} to at least ${Math.ceil(top.value + queue)}`,
          price:
            usage.value > 0
              ? `KV usage rises to about ${percent(Math.min(1, (usage.value * (top.value + queue)) / top.value))}`
              : 'more KV usage',
        },
      },
      summary: `Replica ${view.entity.id}: running is held at ${Math.round(top.value)} while ${Math.round(queue)} wait and the KV cache is only ${percent(usage.value)} full.`,
    });
  },
});
