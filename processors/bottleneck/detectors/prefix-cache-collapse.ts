import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { hitRatio, percent } from '../readings.ts';

export default defineDetector({
  id: 'prefix-cache-collapse',
  class: 'symptom',
  canBeRoot: true,
  family: 'phase',
  scope: ['replica', 'service'],
  pace: 'slow',
  meaning: 'Cached prefixes are no longer found, and prompts are computed again.',
  rule: 'hit ratio ≤ fall × baseline ∧ baseline ≥ least ∧ z ≥ z, with ≥ queries tokens looked up',
  signals: [
    'inference.prefix_cache.queries',
    'inference.prefix_cache.hits',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
    'inference.kv.usage',
    'inference.requests.finished',
    'process.uptime',
  ],
  needs: [
    { grade: 'B', signals: ['inference.prefix_cache.queries', 'inference.prefix_cache.hits'] },
    { grade: 'B', signals: ['inference.tokens.prompt', 'inference.tokens.prompt.cached'] },
  ],
  enable: 'Enable prefix caching metrics of the engine.',
  params: {
    fall: t.number({ description: 'Hit ratio over its usual.', default: 0.6, minimum: 0, maximum: 1 }),
    least: t.number({
      description: 'Usual hit ratio below which there is nothing to lose.',
      default: 0.15,
      minimum: 0,
      maximum: 1,
    }),
    z: t.number({ description: 'Scales below the usual.', default: 4, minimum: 0 }),
    queries: t.integer({ description: 'Fewest tokens looked up in the window.', default: 20_000, minimum: 1 }),
    young: t.duration({ description: 'An engine younger than this has a cold cache.', default: '10m' }),
  },
  persist: { k: 3, n: 5 },
  not: ['a change of the queries alone: workload-shift', 'a cold start'],
  remedies: ['C1', 'C2'],
  wouldChangeMyMind:
    'The prompts have no common prefixes any more (then the workload changed), or the engine has just started.',
  evaluate(view) {
    const p = view.params;
    const pooled = view.entity.kind === 'service' ? view.pooled('replica') : view;
    const ratio = hitRatio(pooled, 90_000);
    if (!ratio) return view.missing('inference.prefix_cache.queries', 'inference.prefix_cache.hits');
    const queries =
      pooled.counter('inference.prefix_cache.queries')?.increase(90_000) ??
      pooled.counter('inference.tokens.prompt')?.increase(90_000);
    const base = view.baseline('hitratio', ratio.value);
    if (!base) return view.hold();
    if (base.median < p.least) return view.clear();
    if ((queries?.value ?? 0) < p.queries) return view.hold();
    const uptime = view.entity.kind === 'replica' ? view.gauge('process.uptime')?.last()?.value : undefined;
    const cold = uptime !== undefined && uptime * 1000 < p.young;
    const usage = pooled.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const everywhere =
      view.entity.kind === 'service' ||
      (view.peers().length >= 2 &&
        view.peers().filter((e) => {
          const other = view.on(e);
          const r = hitRatio(other, 90_000);
          const b = r ? other.baseline('hitratio', r.value) : undefined;
          return r && b && r.value <= b.median * p.fall;
        }).length >=
          view.peers().length * 0.7);
    const cause = cold
      ? 'cold'
      : usage && usage.value >= 0.9
        ? 'eviction'
        : everywhere
          ? view.happened(/deploy|config/, 900_000)
            ? 'template'
            : 'everywhere'
          : 'routing';
    return view.judge({
      all: [
        view.atMost('inference.prefix_cache.hits', { ...ratio, baseline: base }, base.median * p.fall),
        view.atLeast(
          'inference.prefix_cache.hits',
          (base.median - ratio.value) / base.scale,
          p.z,
          'scales below its usual',
        ),
      ],
      counter: [
        view.counterEvidence('the engine has just started', cold || undefined, `up for ${Math.round(uptime ?? 0)} s`),
      ],
      grade: 'B',
      tags: [cause],
      intensity: base.median - ratio.value,
      summary: `${view.entity.kind === 'service' ? 'Service' : 'Replica'} ${view.entity.id}: ${percent(ratio.value)} of prompt tokens are found in the prefix cache, usually ${percent(base.median)}.`,
    });
  },
});
