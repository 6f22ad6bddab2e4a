import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'kv-transfer-failure',
  class: 'root',
  family: 'disaggregation',
  scope: ['replica', 'pair'],
  pace: 'slow',
  meaning: 'Hand-offs of KV cache fail or expire; prompts are computed again or requests are lost.',
  rule: 'failed / all ≥ share and ≥ least failures in five minutes; expired leases count as failures',
  signals: ['inference.kv.transfer.failures', 'inference.kv.transfer.count', 'inference.kv.transfer.duration'],
  needs: [
    { grade: 'A', signals: ['hook.kv_transfer'] },
    { grade: 'B', signals: ['inference.kv.transfer.failures'] },
  ],
  enable: 'Use a connector that counts failures (NIXL in vLLM; SGLang), or the hook’s kv_transfer events.',
  params: {
    share: t.number({ description: 'Share of hand-offs that fail.', default: 0.01, minimum: 0, maximum: 1 }),
    least: t.integer({ description: 'Fewest failures in five minutes.', default: 3, minimum: 1 }),
  },
  persist: { k: 2, n: 4 },
  not: ['a slow transfer: kv-transfer-bound', 'cancelled requests'],
  remedies: ['K3'],
  wouldChangeMyMind: 'The failures belong to requests that their clients gave up.',
  evaluate(view) {
    const p = view.params;
    const transfers = view.events.transfers(view.entity)?.since(view.now - view.ws, (x) => x.end) ?? [];
    const failedSpans = transfers.filter((x) => x.failed).length;
    if (transfers.length >= 20) {
      const share = failedSpans / transfers.length;
      if (failedSpans < p.least) return view.clear();
      return view.judge({
        all: [
          view.atLeast('hook.kv_transfer', share, p.share, `share of ${transfers.length} hand-offs that failed`),
          view.atLeast('hook.kv_transfer', failedSpans, p.least, 'failed hand-offs'),
        ],
        grade: 'A',
        intensity: share,
        summary: `${view.entity.kind === 'pair' ? 'Pair' : 'Replica'} ${view.entity.id}: ${percent(share)} of KV hand-offs fail.`,
      });
    }
    if (view.entity.kind === 'pair') return view.hold();
    const failures = view.counter('inference.kv.transfer.failures')?.increase(view.ws);
    if (!failures) return view.missing('inference.kv.transfer.failures');
    if (failures.value < p.least) return view.clear();
    const done =
      view.counter('inference.kv.transfer.count')?.increase(view.ws)?.value ??
      view.histogram('inference.kv.transfer.duration')?.count(view.ws)?.value;
    const share = done === undefined ? 1 : failures.value / Math.max(1, done + failures.value);
    return view.judge({
      all: [
        view.atLeast('inference.kv.transfer.failures', failures, p.least),
        view.atLeast('inference.kv.transfer.failures', share, p.share, 'share of hand-offs'),
      ],
      grade: 'B',
      intensity: share,
      summary: `Replica ${view.entity.id}: ${Math.round(failures.value)} KV hand-offs failed in five minutes${done === undefined ? '' : ` (${percent(share)})`}.`,
    });
  },
});
