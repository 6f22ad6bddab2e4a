import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';
import { bubble, idealBubble, stageSteps } from '../stages.ts';

export default defineDetector({
  id: 'pp-bubble',
  class: 'symptom',
  family: 'communication',
  scope: 'replica',
  pace: 'fast',
  meaning: 'Pipeline stages stand idle while there is work in the pipeline.',
  rule: 'idle share of stage time ≥ share ∧ ≥ factor × the schedule’s own (from the micro-batches under way) ∧ ≥ rise above its usual',
  signals: ['inference.requests.running'],
  needs: [{ grade: 'A', signals: ['hook.pipeline_stage'] }],
  enable: 'The hook’s pipeline_stage events.',
  params: {
    share: t.number({ description: 'Idle share of stage time.', default: 0.25, minimum: 0, maximum: 1 }),
    factor: t.number({ description: 'Over the idle share of the schedule itself.', default: 1.5, minimum: 1 }),
    rise: t.number({ description: 'Over its usual, absolutely.', default: 0.05, minimum: 0 }),
  },
  persist: { k: 4, n: 6 },
  not: [
    'fewer micro-batches than stages at low load: that bubble is the schedule’s own',
    'a stage that waits for a straggler',
  ],
  remedies: ['T5'],
  wouldChangeMyMind: 'There were fewer micro-batches than stages.',
  evaluate(view) {
    const p = view.params;
    const runs = view.events.stages(view.entity);
    if (!runs) return view.missing('hook.pipeline_stage');
    const b = bubble(stageSteps(runs, view.now - 90_000));
    if (!b) return view.hold();
    const ideal = idealBubble(b.depth, b.stages);
    const base = view.baseline('bubble', b.share, 12);
    return view.judge({
      all: [
        view.atLeast(
          'hook.pipeline_stage',
          b.share,
          Math.max(p.share, ideal * p.factor, base ? Math.max(base.median + p.rise, base.median + 4 * base.scale) : 0),
          `idle share of ${b.stages} stages over ${b.steps} steps (the schedule’s own: ${ideal.toFixed(2)})`,
        ),
      ],
      grade: base ? 'A' : 'B',
      severity: b.depth < b.stages * 0.9 && !base ? 'info' : undefined,
      intensity: b.share,
      summary: `Replica ${view.entity.id}: its ${b.stages} stages stand idle ${percent(b.share)} of the time with ${b.depth.toFixed(1)} micro-batches under way${base ? `, usually ${percent(base.median)}` : ''}.`,
    });
  },
});
