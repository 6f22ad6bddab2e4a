import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';
import type { View } from '../view.ts';
import { gpuMean } from './decode-bandwidth-bound.ts';

/** The batch at which computing would take as long as reading, from how busy both are at the present batch. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function readingOf(view: View<any>): { dram: number; batch: number; ridge: number; waiting: number } | undefined {
  const batch = view.gauge('inference.requests.running')?.mean(view.ws)?.value;
  const waiting = view.gauge('inference.requests.waiting')?.max(view.ws)?.value;
  const dram = gpuMean(view, 'hw.gpu.dram_active', view.ws);
  const tensor = gpuMean(view, 'hw.gpu.tensor_active', view.ws);
  if (batch === undefined || dram === undefined || tensor === undefined || waiting === undefined) return undefined;
  return { dram, batch, ridge: tensor > 0.001 ? (batch * dram) / tensor : Number.POSITIVE_INFINITY, waiting };
}

export default defineDetector({
  id: 'decode-underbatched',
  class: 'context',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning:
    'Several replicas read all their weights for few requests each: fewer replicas would do (efficiency, not latency).',
  rule: 'DRAM active ≥ dram ∧ batch < ridge × the batch at which computing takes as long as reading (batch × DRAM / tensor activity) ∧ nobody waits, for window, on this replica and at least one peer',
  signals: ['inference.requests.running', 'inference.requests.waiting', 'hw.gpu.dram_active', 'hw.gpu.tensor_active'],
  needs: [{ grade: 'C', signals: ['hw.gpu.dram_active', 'hw.gpu.tensor_active', 'inference.requests.running'] }],
  enable: 'DRAM and tensor activity of the GPUs (dcgm-exporter’s profiling fields).',
  params: {
    dram: t.number({ description: 'DRAM activity.', default: 0.5, minimum: 0, maximum: 1 }),
    ridge: t.number({ description: 'Batch over the balanced batch.', default: 0.25, minimum: 0, maximum: 1 }),
    window: t.duration({ description: 'How long it must have been so.', default: '30m' }),
  },
  persist: { k: 4, n: 6 },
  not: ['spare capacity for peaks, kept on purpose', 'a latency objective that wants small batches'],
  remedies: ['D2'],
  wouldChangeMyMind: 'The load has peaks in which these replicas are needed.',
  evaluate(view) {
    const p = view.params;
    const now = readingOf(view);
    if (!now) return view.missing('hw.gpu.dram_active', 'hw.gpu.tensor_active', 'inference.requests.running');
    const holds = (r: typeof now) => r.dram >= p.dram && r.batch >= 1 && r.batch < p.ridge * r.ridge && r.waiting < 1;
    view.baseline('underbatched', holds(now) ? 1 : 0);
    const { t: at, v } = view.past('underbatched', p.window);
    const covers = at.length > 0 && view.now - at[0]! >= p.window * 0.9;
    if (!covers) return view.hold();
    const share = v.reduce((a, b) => a + b, 0) / v.length;
    const others = view.peers().filter((e) => {
      const r = readingOf(view.on(e));
      return r !== undefined && holds(r);
    }).length;
    return view.judge({
      all: [
        view.atLeast('inference.requests.running', share, 0.9, `share of ${Math.round(p.window / 60_000)} minutes`),
        view.atLeast('inference.requests.running', others, 1, 'peers with the same'),
        view.atMost('inference.requests.running', now.batch / now.ridge, p.ridge, 'batch over the balanced batch'),
      ],
      grade: 'C',
      severity: 'info',
      intensity: 1 - now.batch / now.ridge,
      summary: `Replica ${view.entity.id}: GPU memory is ${percent(now.dram)} busy for a batch of ${now.batch.toFixed(1)}; about ${Math.round(Math.min(9999, now.ridge))} would balance reading and computing, and nobody waits.`,
    });
  },
});
