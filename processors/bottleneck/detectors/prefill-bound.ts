import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { computedTokens, derived, hitRatio, overUsual, percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'prefill-bound',
  class: 'symptom',
  canBeRoot: true,
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Processing prompts limits the time to first token.',
  rule: 'mean(prefill) / mean(TTFT) ≥ share ∧ TTFT over its objective (share above ≥ slo_bad) or ≥ factor × baseline ∧ (prefill share of step time ≥ step_share, or computed tokens/s near its own maximum)',
  signals: [
    'gen_ai.server.time_to_first_token',
    'inference.request.prefill.duration',
    'inference.request.queue.duration',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
    'inference.tokens.prompt.computed',
    'inference.prefix_cache.queries',
    'inference.prefix_cache.hits',
    'inference.preemptions',
    'inference.preempted.tokens',
    'inference.step.tokens',
    'inference.requests.finished',
    'hw.gpu.tensor_active',
  ],
  needs: [
    { grade: 'A', signals: ['hook.engine_step', 'gen_ai.server.time_to_first_token'] },
    {
      grade: 'B',
      signals: ['gen_ai.server.time_to_first_token', 'inference.request.prefill.duration', 'inference.tokens.prompt'],
    },
    { grade: 'C', signals: ['gen_ai.server.time_to_first_token', 'inference.request.prefill.duration'] },
  ],
  enable: 'Scrape the engine’s own metrics; the hook’s engine steps tell the prefill share directly.',
  params: {
    share: t.number({ description: 'Prefill time over TTFT.', default: 0.5, minimum: 0, maximum: 1 }),
    slo_bad: t.number({
      description: 'Share of requests over the TTFT objective.',
      default: 0.05,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({ description: 'TTFT over its usual, where there is no objective.', default: 1.3, minimum: 1 }),
    step_share: t.number({
      description: 'Share of step time in steps with prefill tokens.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
    near_maximum: t.number({
      description: 'Computed tokens per second over the 90th percentile of its past.',
      default: 0.9,
      minimum: 0,
    }),
  },
  not: [
    'a fallen cache hit rate or recomputation after preemption: they inflate the computed tokens',
    'TTFT from queueing',
  ],
  remedies: ['P1', 'P2'],
  wouldChangeMyMind:
    'The queue is the larger part of TTFT, or the computed tokens per request are above their usual at the same prompt length.',
  evaluate(view) {
    const p = view.params;
    const ttft = view.histogram('gen_ai.server.time_to_first_token');
    const mean = ttft?.mean(view.wf);
    if (!ttft || !mean) return view.missing('gen_ai.server.time_to_first_token');
    const prefill = view.histogram('inference.request.prefill.duration')?.mean(view.wf);
    const queue = view.histogram('inference.request.queue.duration')?.mean(view.wf);
    const base = view.baseline('ttft', mean.value);
    const slo = view.slo()?.ttft;
    const over = slo === undefined ? undefined : ttft.above(view.wf, slo);
    const slow = over
      ? view.atLeast('gen_ai.server.time_to_first_token', over, p.slo_bad, 'share over the objective')
      : view.atLeast(
          'gen_ai.server.time_to_first_token',
          base ? { ...mean, baseline: base } : undefined,
          base ? Math.max(base.median * overUsual(p.factor, base), base.median + 4 * base.scale) : 0,
        );
    const steps = view.events.steps(view.entity)?.since(view.now - view.wf, (s) => s.end) ?? [];
    let withPrefill = 0;
    let all = 0;
    for (const s of steps) {
      const d = s.gpuMs ?? s.end - s.start;
      all += d;
      if (s.prefillTokens > 0) withPrefill += d;
    }
    const stepShare = steps.length >= 20 && all > 0 ? withPrefill / all : undefined;
    const tokens = computedTokens(view, view.wf);
    const usualTokens = tokens ? view.baseline('computed', tokens.value) : undefined;
    const past = view.past('computed', 3_600_000).v;
    const top = past.length >= 30 ? [...past].sort((a, b) => a - b)[Math.floor(past.length * 0.9)]! : undefined;
    const share = prefill
      ? derived(
          'inference.request.prefill.duration',
          'mean prefill / mean TTFT',
          prefill.value / mean.value,
          [prefill, mean],
          prefill.of,
        )
      : undefined;
    const hits = hitRatio(view, view.wf);
    const usualHits = hits ? view.baseline('hits', hits.value) : undefined;
    const lost =
      hits && usualHits && usualHits.median >= 0.1
        ? hits.value < usualHits.median - Math.max(0.1, 3 * usualHits.scale)
        : undefined;
    const preempted = view.counter('inference.preemptions')?.increase(view.wf);
    const finished = view.counter('inference.requests.finished')?.increase(view.wf);
    const recompute =
      preempted && finished ? preempted.value >= 0.1 * Math.max(1, finished.value) && preempted.value >= 5 : undefined;
    return view.judge({
      all: [
        ...(share ? [view.atLeast('inference.request.prefill.duration', share, p.share)] : []),
        slow,
        ...(stepShare === undefined
          ? []
          : [view.atLeast('hook.engine_step', stepShare, p.step_share, 'share of step time with prefill')]),
        ...(stepShare === undefined && tokens && top !== undefined
          ? [
              view.atLeast(
                'inference.tokens.prompt',
                tokens.value / Math.max(1, top),
                p.near_maximum,
                'computed tokens/s over its usual maximum',
              ),
            ]
          : []),
      ],
      support: [
        tokens && usualTokens
          ? view.atLeast('inference.tokens.prompt', { ...tokens, baseline: usualTokens }, usualTokens.median * 1.2)
          : undefined,
        view.atLeast('hw.gpu.tensor_active', view.gauge('hw.gpu.tensor_active')?.mean(view.wf), 0.5),
      ],
      counter: [
        view.counterEvidence(
          'queueing is the larger part of TTFT',
          queue && prefill ? queue.value > prefill.value : undefined,
          `queue ${seconds(queue?.value ?? 0)}, prefill ${seconds(prefill?.value ?? 0)}`,
        ),
        view.counterEvidence(
          'the cache hit rate fell',
          lost,
          `${percent(hits?.value ?? 0)}, usually ${percent(usualHits?.median ?? 0)}`,
        ),
        view.counterEvidence(
          'preempted requests are computed again',
          recompute,
          `${Math.round(preempted?.value ?? 0)} preemptions`,
        ),
      ],
      grade: stepShare !== undefined ? 'A' : share && tokens && top !== undefined ? 'B' : 'C',
      tags: [...(lost ? ['lost-hits'] : []), ...(recompute ? ['recompute'] : [])],
      intensity: mean.value,
      summary: `Replica ${view.entity.id}: TTFT is ${seconds(mean.value)}, of which ${share ? percent(Math.min(1, share.value)) : 'most'} is prefill.`,
    });
  },
});
