import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { derived, hitRatio, percent } from '../readings.ts';

export default defineDetector({
  id: 'kv-fragmentation',
  class: 'root',
  family: 'memory',
  scope: 'replica',
  pace: 'slow',
  meaning: 'KV memory is held but unusable: wasted in blocks, leaked, or in the wrong pool of a hybrid model.',
  rule: '1 − tokens in use / tokens held ≥ waste, beyond its usual; or highest − lowest pool usage ≥ pools while requests wait; without tokens in use: tokens held per running request ≥ factor × baseline at the same lengths, with usage ≥ usage',
  signals: [
    'inference.kv.usage',
    'inference.kv.used',
    'inference.kv.capacity',
    'inference.kv.free',
    'inference.kv.evictable',
    'inference.step.tokens',
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.request.prompt.tokens',
    'inference.request.output.tokens',
    'inference.prefix_cache.queries',
    'inference.prefix_cache.hits',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
  ],
  needs: [
    { grade: 'B', signals: ['inference.kv.used', 'inference.step.tokens'] },
    { grade: 'C', signals: ['inference.kv.usage', 'inference.requests.running'] },
  ],
  enable:
    'SGLang tells the tokens in use and the usage of each pool; other engines tell only blocks in use, and it stays a proxy.',
  params: {
    waste: t.number({ description: 'Share of held tokens that nobody uses.', default: 0.15, minimum: 0, maximum: 1 }),
    pools: t.number({
      description: 'Distance of the fullest and emptiest pool.',
      default: 0.4,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({ description: 'Tokens held per running request over their usual.', default: 1.5, minimum: 1 }),
    usage: t.number({
      description: 'Usage below which the waste costs nothing.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
    lengths: t.number({ description: 'Change of lengths that explains it.', default: 1.25, minimum: 1 }),
  },
  not: [
    'many short requests: half a block each is lost by design',
    'longer requests',
    'lost prefix sharing: the same tokens held twice',
  ],
  remedies: ['M4'],
  wouldChangeMyMind: 'Requests became longer, or share fewer prefixes.',
  evaluate(view) {
    const p = view.params;
    const running = view.gauge('inference.requests.running')?.mean(view.wf);
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const waiting = view.gauge('inference.requests.waiting')?.mean(view.wf);
    const pools = view
      .values('inference.kv.usage', 'pool')
      .filter((pool) => !/total|all/i.test(pool))
      .flatMap((pool) => {
        const m = view.gauge('inference.kv.usage', { pool })?.mean(view.wf);
        return m ? [{ pool, value: m.value }] : [];
      });
    if (pools.length >= 2) {
      const high = pools.reduce((a, x) => (x.value > a.value ? x : a));
      const low = pools.reduce((a, x) => (x.value < a.value ? x : a));
      if (high.value - low.value >= p.pools && high.value >= 0.85) {
        return view.judge({
          all: [
            view.atLeast('inference.kv.usage', high.value - low.value, p.pools, `pool ${high.pool} − pool ${low.pool}`),
            view.atLeast('inference.requests.waiting', waiting, 1),
          ],
          grade: 'B',
          tags: ['pool'],
          intensity: high.value - low.value,
          summary: `Replica ${view.entity.id}: the ${high.pool} pool is ${percent(high.value)} full while the ${low.pool} pool is ${percent(low.value)}.`,
        });
      }
    }
    if (!running || !usage) return view.missing('inference.kv.usage', 'inference.requests.running');
    const hits = hitRatio(view, view.ws);
    const usualHits = hits ? view.baseline('frag.hits', hits.value, 16) : undefined;
    const unshared = hits && usualHits && usualHits.median >= 0.1 ? hits.value < usualHits.median * 0.75 : undefined;
    // A prefill engine seldom has anything running when it is looked at; half a request stands for it.
    const residents = Math.max(0.5, running.value);
    const used = view.gauge('inference.kv.used')?.mean(view.wf);
    const live = view.gauge('inference.step.tokens', { phase: 'decode_context' })?.mean(view.wf);
    if (used && live && used.value > 0 && live.value > 0 && running.value >= 1) {
      // Shared prefixes are held once and used by many, so the difference to its usual counts, not the number itself.
      const waste = derived(
        'inference.kv.used',
        'held tokens that no running request uses',
        1 - live.value / used.value,
        [used, live],
        used.of,
      );
      const base = view.baseline('frag.waste', waste.value, 16);
      if (!base) return view.hold();
      return view.judge({
        all: [
          view.atLeast(
            'inference.kv.used',
            { ...waste, baseline: base },
            Math.max(p.waste, base.median + p.waste, base.median + 4 * base.scale),
          ),
          view.atLeast('inference.kv.usage', usage, p.usage),
        ],
        support: [view.atLeast('inference.requests.waiting', waiting, 1)],
        counter: [view.counterEvidence('prefixes are shared less', unshared, `${percent(hits?.value ?? 0)} hits`)],
        grade: 'B',
        intensity: waste.value - base.median,
        summary: `Replica ${view.entity.id}: ${percent(waste.value)} of the KV tokens held belong to no running request, usually ${percent(Math.max(0, base.median))}.`,
      });
    }
    const capacity = view.gauge('inference.kv.capacity')?.last();
    const prompt = view.histogram('inference.request.prompt.tokens')?.mean(view.ws, 10);
    const output = view.histogram('inference.request.output.tokens')?.mean(view.ws, 10);
    const level = view.gauge('inference.kv.usage')?.mean(view.wf);
    if (!level) return view.missing('inference.kv.used', 'inference.kv.usage');
    if (!prompt || !output) return view.hold();
    const expected = residents * (prompt.value + output.value / 2);
    const held = derived(
      'inference.kv.usage',
      'tokens held / (running × mean length)',
      (level.value * (capacity?.value ?? 1e6)) / Math.max(1, expected),
      [level, prompt],
      level.of,
    );
    const base = view.baseline('frag.held', held.value, 16);
    const length = prompt.value + output.value / 2;
    const usualLength = view.baseline('frag.length', length, 16);
    if (!base || !usualLength) return view.hold();
    const longer = length / usualLength.median;
    return view.judge({
      all: [
        view.atLeast(
          'inference.kv.usage',
          { ...held, baseline: base },
          Math.max(base.median * p.factor, base.median + 4 * base.scale),
        ),
        view.atLeast('inference.kv.usage', usage, p.usage),
        view.atMost(
          'inference.request.prompt.tokens',
          Math.max(longer, 1 / Math.max(1e-9, longer)),
          p.lengths,
          'lengths over their usual',
        ),
      ],
      support: [view.atLeast('inference.requests.waiting', waiting, 1)],
      counter: [view.counterEvidence('prefixes are shared less', unshared, `${percent(hits?.value ?? 0)} hits`)],
      grade: 'C',
      intensity: held.value / base.median,
      summary: `Replica ${view.entity.id}: the KV cache is ${percent(level.value)} full with ${Math.round(running.value)} running: ${(held.value / base.median).toFixed(1)} times the usual per request of this length.`,
    });
  },
});
