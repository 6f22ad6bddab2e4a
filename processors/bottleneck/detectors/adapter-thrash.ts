import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'adapter-thrash',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'More LoRA adapters are wanted than there are slots, so adapters are loaded again and again.',
  rule: 'adapter slots ≥ full in ≥ share of samples ∧ adapters waiting ≥ 1 in ≥ share of samples (without that signal: requests wait while the KV cache has room, slots usually not full) ∧ loads ≥ loads per minute where told',
  signals: [
    'inference.lora.active',
    'inference.lora.capacity',
    'inference.lora.usage',
    'inference.lora.waiting',
    'inference.requests.waiting',
    'inference.kv.usage',
    'gen_ai.server.time_to_first_token',
  ],
  needs: [
    { grade: 'B', signals: ['inference.lora.active', 'inference.lora.capacity', 'inference.lora.waiting'] },
    { grade: 'C', signals: ['inference.lora.active', 'inference.lora.capacity'] },
  ],
  enable: 'Engines tell their adapter slots as soon as LoRA is on.',
  params: {
    full: t.number({ description: 'Slots in use from which they are full.', default: 0.97, minimum: 0, maximum: 1 }),
    share: t.number({ description: 'Least share of samples.', default: 0.5, minimum: 0, maximum: 1 }),
    ttft: t.number({
      description: 'TTFT over its usual, where waiting adapters are not told.',
      default: 1.3,
      minimum: 1,
    }),
  },
  not: ['full slots with nobody waiting for one: good use of them', 'requests that wait for KV'],
  remedies: ['D4'],
  wouldChangeMyMind: 'The same few adapters stay in the slots.',
  evaluate(view) {
    const p = view.params;
    const active = view.gauge('inference.lora.active');
    const capacity = view.gauge('inference.lora.capacity')?.last();
    if (!active || !capacity) return view.missing('inference.lora.active', 'inference.lora.capacity');
    if (capacity.value <= 0) return view.clear();
    const full = active.share(view.wf, (v) => v >= capacity.value * p.full, 'share of samples with all slots in use');
    const waiting = view.gauge('inference.lora.waiting');
    const queued = waiting?.share(view.wf, (v) => v >= 1, 'share of samples with adapters waiting');
    const slots = full ? view.baseline('lora.full', full.value, 16) : undefined;
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const held = active.mean(view.wf)?.value ?? 0;
    const counter = [
      view.counterEvidence(
        'the KV cache is full',
        usage ? usage.value >= 0.92 : undefined,
        `${percent(usage?.value ?? 0)} full`,
      ),
    ];
    if (queued) {
      const wants = waiting?.mean(view.wf)?.value ?? 0;
      return view.judge({
        all: [
          view.atLeast('inference.lora.waiting', queued, p.share),
          view.atLeast('inference.lora.active', full, p.share),
        ],
        counter,
        grade: 'B',
        intensity: wants / Math.max(1, capacity.value),
        sizes: { D4: { size: `from ${Math.round(capacity.value)} to at least ${Math.ceil(held + wants)} slots` } },
        summary: `Replica ${view.entity.id}: all ${Math.round(capacity.value)} adapter slots are in use and ${wants.toFixed(1)} adapters wait for one.`,
      });
    }
    const ttft = view.histogram('gen_ai.server.time_to_first_token')?.mean(view.wf);
    const usual = ttft ? view.baseline('lora.ttft', ttft.value, 16) : undefined;
    if (!ttft || !usual) return view.hold();
    return view.judge({
      all: [
        view.atLeast('inference.lora.active', full, Math.max(p.share, 0.9)),
        // Slots that are always full say nothing by themselves.
        ...(slots ? [view.fact('inference.lora.active', slots.median < 0.5, 'slots are usually not all in use')] : []),
        view.atLeast(
          'gen_ai.server.time_to_first_token',
          { ...ttft, baseline: usual },
          Math.max(usual.median * p.ttft, usual.median + 4 * usual.scale),
        ),
      ],
      counter,
      grade: 'C',
      intensity: ttft.value / Math.max(1e-9, usual.median),
      sizes: { D4: { size: `more than ${Math.round(capacity.value)} slots` } },
      summary: `Replica ${view.entity.id}: all ${Math.round(capacity.value)} adapter slots are in use, which they usually are not, and TTFT is ${(ttft.value / usual.median).toFixed(1)} times its usual.`,
    });
  },
});
