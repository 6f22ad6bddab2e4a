import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { gpuWords } from '../readings.ts';

export default defineDetector({
  id: 'ecc-degradation',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'The memory of a GPU shows errors that grow: cells wear out, rows are remapped or cannot be.',
  rule: 'Δuncorrected ≥ 1 or row remap failed: critical; remap pending, a row remapped, or Δcorrected ≥ corrected an hour: warning. Growth, never totals',
  signals: ['hw.errors', 'hw.status'],
  needs: [{ grade: 'B', signals: ['hw.errors'] }],
  enable: 'Run the nvidia_gpu or amd_gpu receiver, or add the ECC and row-remap fields to dcgm-exporter’s field list.',
  params: {
    corrected: t.integer({
      description: 'Corrected errors within an hour that are too many.',
      default: 10,
      minimum: 1,
    }),
    hold: t.duration({ description: 'How long growth keeps the finding up.', default: '10m' }),
  },
  persist: { k: 1, n: 1 },
  not: ['lifetime totals that do not grow', 'errors of the link: nvlink- or pcie-degradation'],
  remedies: ['G4'],
  wouldChangeMyMind: 'The counters were read for the first time, or the driver was reloaded and counts anew.',
  evaluate(view) {
    const p = view.params;
    const grown = (type: string, windowMs: number) =>
      view.counter('hw.errors', { 'error.type': type })?.increase(windowMs);
    const first = (types: readonly string[], windowMs: number, least: number) => {
      for (const type of types) {
        const increase = grown(type, windowMs);
        if (increase && increase.value >= least) return { type, increase };
      }
      return undefined;
    };
    const failed = view.gauge('hw.status', { 'hw.state': 'failed', check: 'row_remap' })?.last();
    const pending =
      view.gauge('hw.errors', { 'error.type': 'row_remap_pending' })?.last() ??
      view.gauge('hw.errors', { 'error.type': 'page_retirement_pending' })?.last();
    const bad = first(['uncorrected', 'uncorrectable', 'page_retired_uncorrected'], p.hold, 1);
    const remapped = first(
      ['row_remapped_uncorrected', 'row_remapped_corrected', 'page_retirement_pending'],
      p.hold,
      1,
    );
    const many = first(['corrected', 'correctable', 'page_retired_corrected'], 3_600_000, p.corrected);
    const critical = bad !== undefined || (failed?.value ?? 0) > 0;
    const worst = bad ?? remapped ?? many;
    if (!critical && !worst && !((pending?.value ?? 0) > 0)) return view.clear();
    const evidence = worst
      ? view.atLeast('hw.errors', worst.increase, worst === many ? p.corrected : 1, worst.type)
      : view.fact(
          'hw.status',
          true,
          critical ? 'row remapping failed' : 'a row waits to be remapped at the next reset',
        );
    const what =
      (failed?.value ?? 0) > 0 ? 'row remapping failed' : worst ? worst.type.replaceAll('_', ' ') : 'remap pending';
    return view.judge({
      all: [evidence],
      grade: 'B',
      discrete: true,
      severity: critical ? 'critical' : 'warning',
      tags: [critical ? 'uncorrectable' : 'correctable'],
      intensity: critical ? 2 : 1,
      summary: `${gpuWords(view)}: memory errors grow (${what}${worst ? `: ${worst.increase.value}` : ''}).`,
    });
  },
});
