import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { readHistogram } from '../measure.ts';
import { computedTokens, derived, percent, seconds } from '../readings.ts';

const DEVICE = new Set(['gpu', 'device', 'hbm', 'local', 'g1', 'l0']);

export default defineDetector({
  id: 'kv-offload-bound',
  class: 'root',
  family: 'memory',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Fetching KV from host memory, disk or a remote tier costs more than computing it again would.',
  rule: 'load time / TTFT ≥ share ∧ load time per token > dear × prefill time per token (beyond its usual where one of the two rates is unknown)',
  signals: [
    'inference.kv.offload.duration',
    'inference.kv.offload.io',
    'inference.prefix_cache.hits',
    'inference.prefix_cache.queries',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
    'inference.tokens.prompt.computed',
    'inference.request.prefill.duration',
    'gen_ai.server.time_to_first_token',
    'hw.gpu.io',
  ],
  needs: [{ grade: 'B', signals: ['inference.kv.offload.duration', 'gen_ai.server.time_to_first_token'] }],
  enable: 'Scrape the offload connector’s metrics (LMCache, vLLM’s own from 0.15, HiCache).',
  params: {
    share: t.number({ description: 'Load time per request over TTFT.', default: 0.25, minimum: 0, maximum: 1 }),
    dear: t.number({ description: 'Time to load a token over the time to compute it.', default: 0.8, minimum: 0 }),
    factor: t.number({ description: 'Load time over its usual, where a rate is unknown.', default: 2, minimum: 1 }),
    loads: t.integer({ description: 'Fewest loads in the window.', default: 10, minimum: 1 }),
  },
  not: ['a degraded PCIe link: then that is the root', 'first touches after a start'],
  remedies: ['C3'],
  wouldChangeMyMind: 'Computing the same prefixes takes longer than loading them.',
  evaluate(view) {
    const p = view.params;
    const ttft = view.histogram('gen_ai.server.time_to_first_token')?.mean(view.ws);
    // Stages of a load are views of the same time: the whole is what has no stage.
    const whole = (view.histogram('inference.kv.offload.duration', { direction: 'load' })?.channels ?? []).filter(
      (c) => c.attributes['stage'] === undefined,
    );
    const loads =
      whole.length > 0 ? readHistogram(whole, view, 'inference.kv.offload.duration', () => view.name) : undefined;
    const spent = loads?.over(view.ws, p.loads);
    const total =
      spent?.sum ?? view.counter('inference.kv.offload.duration', { direction: 'load' })?.increase(view.ws)?.value;
    if (!loads && total === undefined) return view.missing('inference.kv.offload.duration');
    if (total === undefined || !ttft) return view.hold();
    const perLoad = spent ? spent.mean : total / Math.max(1, ttft.n);
    const share = derived(
      'inference.kv.offload.duration',
      'load time per request / TTFT',
      total / Math.max(1e-9, ttft.value * ttft.n),
      [ttft],
      ttft.of,
    );
    const { course: _ofTtft, ...told } = share;
    let loaded = 0;
    for (const tier of view.values('inference.prefix_cache.hits', 'tier')) {
      if (DEVICE.has(tier)) continue;
      loaded = Math.max(loaded, view.counter('inference.prefix_cache.hits', { tier })?.increase(view.ws)?.value ?? 0);
    }
    const prefill = view.histogram('inference.request.prefill.duration')?.over(view.ws, p.loads);
    const rate = computedTokens(view, view.ws);
    const computed = rate ? (rate.value * rate.windowMs) / 1000 : 0;
    const dear =
      loaded > 0 && prefill && computed > 0 ? total / loaded / Math.max(1e-12, prefill.sum / computed) : undefined;
    const base = view.baseline('offload.load', perLoad, 16);
    if (dear === undefined && !base) return view.hold();
    const slower = base ? perLoad / Math.max(1e-9, base.median) : undefined;
    return view.judge({
      all: [
        view.atLeast('inference.kv.offload.duration', told, p.share),
        ...(dear !== undefined
          ? [view.atLeast('inference.kv.offload.duration', dear, p.dear, 'time to load a token / time to compute it')]
          : [view.atLeast('inference.kv.offload.duration', slower, p.factor, 'load time over its usual')]),
      ],
      support: [
        dear !== undefined && slower !== undefined
          ? view.atLeast('inference.kv.offload.duration', slower, p.factor, 'load time over its usual')
          : undefined,
      ],
      grade: 'B',
      intensity: perLoad,
      summary: `Replica ${view.entity.id}: loading KV from a lower tier takes ${seconds(perLoad)} a time${base ? ` (usually ${seconds(base.median)})` : ''}, ${percent(Math.min(1, share.value))} of TTFT${dear !== undefined ? `; per token ${dear.toFixed(1)} times what computing costs` : ''}.`,
    });
  },
});
