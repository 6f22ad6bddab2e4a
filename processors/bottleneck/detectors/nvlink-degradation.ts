import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { gpuWords } from '../readings.ts';

export default defineDetector({
  id: 'nvlink-degradation',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'An NVLink or XGMI link of a GPU is down or keeps correcting errors.',
  rule: 'a link inactive, or CRC, replay or recovery errors grew in ≥ windows of the last six 30 s windows',
  signals: ['hw.gpu.link.errors', 'hw.status'],
  needs: [
    { grade: 'B', signals: ['hw.gpu.link.errors'] },
    { grade: 'B', signals: ['hw.status'] },
  ],
  enable: 'Run the nvidia_gpu or amd_gpu receiver, or add the NVLink error fields to dcgm-exporter’s field list.',
  params: {
    windows: t.integer({
      description: 'In how many of the last six windows errors must have grown.',
      default: 3,
      minimum: 1,
      maximum: 6,
    }),
    errors: t.number({ description: 'Fewest errors in those windows together.', default: 3, minimum: 1 }),
  },
  not: ['a single burst', 'slow collectives without errors: slow-link'],
  remedies: ['G5', 'N1'],
  wouldChangeMyMind: 'The errors stop while the traffic stays.',
  evaluate(view) {
    const p = view.params;
    let worst: { type: string; total: number; windows: number } | undefined;
    let read = false;
    for (const link of view.values('hw.gpu.link.errors', 'link')) {
      if (!/nvlink|xgmi/i.test(link)) continue;
      for (const type of view.values('hw.gpu.link.errors', 'error.type')) {
        const counter = view.counter('hw.gpu.link.errors', { link, 'error.type': type });
        if (!counter) continue;
        read = true;
        let windows = 0;
        let before = 0;
        // Windows from now backwards; what grew in each is what the longer one has more.
        for (let i = 1; i <= 6; i++) {
          const total = counter.increase(i * 30_000)?.value ?? before;
          if (total > before) windows++;
          before = Math.max(before, total);
        }
        if (!worst || before > worst.total)
          worst = { type: `${link} ${type.replaceAll('_', ' ')}`, total: before, windows };
      }
    }
    const down = view.gauge('hw.status', { check: 'nvlink', 'hw.state': 'failed' })?.last();
    const inactive = (down?.value ?? 0) > 0;
    if (!read && !down) return view.missing('hw.gpu.link.errors');
    const failing = worst !== undefined && worst.windows >= p.windows && worst.total >= p.errors;
    if (!inactive && !failing) return view.clear();
    return view.judge({
      all: [
        failing
          ? view.atLeast(
              'hw.gpu.link.errors',
              worst?.total,
              p.errors,
              `${worst?.type} in 3 min, in ${worst?.windows} of 6 windows`,
            )
          : view.fact('hw.status', true, 'a link is inactive'),
      ],
      grade: 'B',
      tags: [inactive ? 'inactive' : 'errors'],
      intensity: inactive ? 10 : Math.log10(1 + (worst?.total ?? 0)),
      summary: `${gpuWords(view)}: ${inactive ? 'a link is inactive' : `${worst?.total} ${worst?.type} errors in three minutes`}.`,
    });
  },
});
