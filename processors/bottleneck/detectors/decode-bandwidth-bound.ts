import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { clockLoss, percent, seconds } from '../readings.ts';
import type { View } from '../view.ts';

/** Mean of a GPU signal over the GPUs that surely belong to the replica. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
export function gpuMean(view: View<any>, signal: string, windowMs: number): number | undefined {
  let sum = 0;
  let n = 0;
  for (const g of view.related('gpu')) {
    if (view.topology.related(g, 'replica').length !== 1) continue;
    const m = view.on(g).gauge(signal)?.mean(windowMs);
    if (!m) continue;
    sum += m.value;
    n++;
  }
  return n > 0 ? sum / n : undefined;
}

export default defineDetector({
  id: 'decode-bandwidth-bound',
  class: 'symptom',
  canBeRoot: true,
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Decoding waits for the GPU’s memory: reading weights and KV makes the time per token.',
  rule: 'ITL over its objective, or ≥ rise above baseline at ≥ z scales ∧ DRAM active ≥ dram ∧ tensor active < tensor ∧ prefill share of tokens < prefill',
  signals: [
    'inference.inter_token.latency',
    'inference.requests.running',
    'hw.gpu.dram_active',
    'hw.gpu.tensor_active',
    'hw.gpu.utilization',
    'hw.gpu.sm_active',
    'hw.gpu.clock',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
    'inference.tokens.prompt.computed',
    'inference.prefix_cache.hits',
    'inference.tokens.generated',
    'inference.kv.usage',
  ],
  needs: [{ grade: 'B', signals: ['inference.inter_token.latency', 'hw.gpu.dram_active'] }],
  enable: 'DRAM activity of the GPUs (dcgm-exporter’s profiling fields: DCGM_FI_PROF_DRAM_ACTIVE).',
  params: {
    dram: t.number({ description: 'DRAM activity.', default: 0.6, minimum: 0, maximum: 1 }),
    tensor: t.number({
      description: 'Tensor activity above which it is compute.',
      default: 0.45,
      minimum: 0,
      maximum: 1,
    }),
    prefill: t.number({
      description: 'Share of time in steps with prefill above which it is not decode.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    rise: t.number({ description: 'ITL above its usual.', default: 0.2, minimum: 0 }),
    z: t.number({ description: 'Scales above the usual.', default: 4, minimum: 0 }),
  },
  not: [
    'little DRAM activity with slow tokens: host, communication or throttling',
    'a low memory clock: clock-anomaly',
    'prefill chunks between the decode steps',
  ],
  remedies: ['D1'],
  wouldChangeMyMind: 'ITL does not follow the batch size and the context held.',
  evaluate(view) {
    const p = view.params;
    const itl = view.histogram('inference.inter_token.latency');
    const mean = itl?.mean(view.wf);
    if (!itl || !mean) return view.missing('inference.inter_token.latency');
    const dram = gpuMean(view, 'hw.gpu.dram_active', view.wf);
    if (dram === undefined) return view.missing('hw.gpu.dram_active');
    const tensor = gpuMean(view, 'hw.gpu.tensor_active', view.wf);
    const slo = view.slo()?.itl;
    const base = view.baseline('decode.itl', mean.value, 16);
    const z = base ? (mean.value - base.median) / base.scale : 0;
    const conditions = [
      ...(slo !== undefined ? [view.atLeast('inference.inter_token.latency', mean, slo, 'over its objective')] : []),
      ...(base
        ? [
            view.atLeast(
              'inference.inter_token.latency',
              { ...mean, value: z >= p.z ? mean.value : Math.min(mean.value, base.median), baseline: base },
              base.median * (1 + p.rise),
            ),
          ]
        : []),
    ];
    if (conditions.length === 0) return view.hold();
    // Steps tell the share of prefill; without them nothing is said about it.
    const steps = view.events.steps(view.entity)?.since(view.now - 90_000, (s) => s.end) ?? [];
    let mixed = 0;
    let all = 0;
    for (const s of steps) {
      const d = s.gpuMs ?? s.end - s.start;
      all += d;
      if (s.prefillTokens > 0) mixed += d;
    }
    const prefill = steps.length >= 20 && all > 0 ? mixed / all : undefined;
    const running = view.gauge('inference.requests.running')?.mean(view.wf);
    const usualRunning = running ? view.baseline('decode.running', running.value, 16) : undefined;
    const gpus = view.related('gpu');
    const slow = gpus.some((g) => (clockLoss(view.on(g), view.wf, 'memory')?.loss.value ?? 0) > 0.05);
    return view.judge({
      all: [
        view.atLeast('hw.gpu.dram_active', dram, p.dram, 'mean over its GPUs'),
        ...(tensor === undefined ? [] : [view.atMost('hw.gpu.tensor_active', tensor, p.tensor, 'mean over its GPUs')]),
        ...(prefill === undefined
          ? []
          : [view.atMost('hook.engine_step', prefill, p.prefill, 'share of step time with prefill')]),
      ],
      any: conditions,
      support: [
        running && usualRunning
          ? view.atLeast(
              'inference.requests.running',
              { ...running, baseline: usualRunning },
              usualRunning.median * 1.2,
            )
          : undefined,
      ],
      counter: [
        view.counterEvidence('a memory clock is low', slow || undefined, 'a GPU of the replica lost memory clock'),
      ],
      grade: 'B',
      intensity: base ? mean.value / base.median : mean.value / (slo ?? mean.value),
      summary: `Replica ${view.entity.id}: a token takes ${seconds(mean.value)}${base ? ` (usually ${seconds(base.median)})` : ''} with GPU memory ${percent(dram)} busy${tensor !== undefined ? ` and tensor cores only ${percent(tensor)}` : ''}.`,
    });
  },
});
