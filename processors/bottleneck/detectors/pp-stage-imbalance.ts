import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';
import { stageSteps } from '../stages.ts';

export default defineDetector({
  id: 'pp-stage-imbalance',
  class: 'root',
  family: 'communication',
  scope: 'replica',
  pace: 'fast',
  meaning: 'One pipeline stage takes longer for the same tokens than the others: they wait for it.',
  rule: 'max / mean of stage time per step − 1 ≥ over (beyond its usual where known: ≥ rise more) ∧ the same stage is the slowest in ≥ same of the steps, over ≥ steps',
  signals: [],
  needs: [{ grade: 'A', signals: ['hook.pipeline_stage'] }],
  enable: 'The hook’s pipeline_stage events.',
  params: {
    over: t.number({ description: 'Slowest stage over the mean stage, less one.', default: 0.15, minimum: 0 }),
    same: t.number({
      description: 'Least share of steps with the same slowest stage.',
      default: 0.7,
      minimum: 0,
      maximum: 1,
    }),
    rise: t.number({ description: 'Least rise over its usual.', default: 0.05, minimum: 0 }),
    steps: t.integer({ description: 'Fewest complete steps.', default: 24, minimum: 4 }),
  },
  persist: { k: 3, n: 5 },
  not: [
    'a slow GPU inside the stage: then that is the root',
    'the first and the last stage: embedding and output head make them longer by design',
  ],
  remedies: ['T5'],
  wouldChangeMyMind: 'One rank of the stage is late at its collectives: then it is that rank.',
  evaluate(view) {
    const p = view.params;
    const runs = view.events.stages(view.entity);
    if (!runs) return view.missing('hook.pipeline_stage');
    const steps = stageSteps(runs, view.now - 90_000);
    if (steps.length < p.steps) return view.hold();
    const stages = steps[0]!.busy.length;
    const times = Array.from({ length: stages }, (_, s) => median(steps.map((x) => x.busy[s]!)));
    const mean = times.reduce((a, b) => a + b, 0) / stages;
    if (mean <= 0) return view.hold();
    const slowest = times.indexOf(Math.max(...times));
    const over = times[slowest]! / mean - 1;
    const same = steps.filter((x) => x.busy.indexOf(Math.max(...x.busy)) === slowest).length / steps.length;
    const base = view.baseline('stage.over', over, 12);
    return view.judge({
      all: [
        view.atLeast(
          'hook.pipeline_stage',
          over,
          base ? Math.max(base.median + p.rise, base.median + 4 * base.scale) : p.over,
          `stage ${slowest} over the mean of ${stages} stages, less one`,
        ),
        view.atLeast(
          'hook.pipeline_stage',
          same,
          p.same,
          `share of ${steps.length} steps with stage ${slowest} slowest`,
        ),
      ],
      grade: base ? 'A' : 'B',
      tags: [`stage:${slowest}`],
      intensity: over,
      sizes: { T5: { size: `about ${percent(1 - mean / times[slowest]!)} fewer layers on stage ${slowest}` } },
      summary: `Replica ${view.entity.id}: stage ${slowest} takes ${percent(over)} longer than the mean of its ${stages} stages${base ? `, usually ${percent(base.median)}` : ''}.`,
    });
  },
});
