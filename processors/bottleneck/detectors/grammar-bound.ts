import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'grammar-bound',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Compiling grammars for structured output holds requests back.',
  rule: 'grammar queue ≥ 1 in ≥ share of samples, or p95(compile time) ≥ compile with ≥ compiles compilations; without a grammar signal: deferred ≥ 1 in ≥ share of samples, beyond usual, with nothing else that defers',
  signals: [
    'inference.requests.waiting',
    'inference.structured.compile.duration',
    'inference.requests.running',
    'inference.kv.usage',
    'inference.lora.waiting',
    'inference.lora.active',
    'inference.kv.offload.duration',
    'inference.kv.transfer.duration',
    'inference.pd.queue',
  ],
  needs: [
    { grade: 'B', signals: ['inference.structured.compile.duration'] },
    { grade: 'C', signals: ['inference.requests.waiting'] },
  ],
  enable:
    'SGLang tells its grammar queue and compile times; vLLM from 0.20 on only that requests are deferred, so there it stays a conclusion by elimination.',
  params: {
    share: t.number({
      description: 'Least share of samples with somebody in the grammar queue.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
    compile: t.duration({ description: 'Compile time (95th percentile) that is too long.', default: '1s' }),
    compiles: t.integer({ description: 'Fewest compilations in five minutes.', default: 20, minimum: 1 }),
  },
  not: ['waiting for remote KV or for an adapter: both count as deferred', 'a full KV cache'],
  remedies: ['H5'],
  wouldChangeMyMind: 'Requests without a schema wait as long as those with one.',
  evaluate(view) {
    const p = view.params;
    const grammar = view.gauge('inference.requests.waiting', { reason: 'grammar' });
    const compile = view.histogram('inference.structured.compile.duration');
    const compiled = compile?.over(view.ws, p.compiles);
    const slow = compile?.quantile(view.ws, 0.95);
    const mean = compile?.mean(view.ws, p.compiles);
    if (grammar || compile) {
      const queued = grammar?.share(view.wf, (v) => v >= 1, 'share of samples with a grammar queue');
      const waiting = grammar?.mean(view.wf)?.value ?? 0;
      const conditions = [
        ...(queued ? [view.atLeast('inference.requests.waiting', queued, p.share)] : []),
        ...(compiled && slow
          ? [
              view.atLeast(
                'inference.structured.compile.duration',
                slow.mid,
                p.compile / 1000,
                'p95 of compile times (s)',
              ),
            ]
          : []),
      ];
      if (conditions.length === 0) return grammar ? view.hold() : view.clear();
      return view.judge({
        all: [],
        any: conditions,
        support: conditions.length > 1 ? [conditions[1]] : [],
        grade: 'B',
        intensity: waiting + (mean?.value ?? 0),
        summary: `Replica ${view.entity.id}: ${waiting >= 0.5 ? `${waiting.toFixed(1)} requests wait for a grammar` : 'grammars compile slowly'}${mean ? `; compiling one takes ${seconds(mean.value)}` : ''}.`,
      });
    }
    const deferred = view.gauge('inference.requests.waiting', { reason: 'deferred' });
    const share = deferred?.share(view.wf, (v) => v >= 1, 'share of samples with deferred requests');
    if (!deferred || !share) return view.missing('inference.structured.compile.duration');
    // The other reasons to defer: KV from elsewhere, and adapters. Where they exist, nothing follows from deferral.
    const otherwise =
      view.has('inference.kv.offload.duration') ||
      view.has('inference.kv.transfer.duration') ||
      view.has('inference.pd.queue') ||
      view.has('inference.lora.active') ||
      view.has('inference.lora.waiting') ||
      view.entity.attributes['role'] === 'decode' ||
      view.entity.attributes['role'] === 'prefill';
    if (otherwise) return view.missing('inference.structured.compile.duration');
    const mean5 = deferred.mean(view.wf);
    const usual = mean5 ? view.baseline('grammar.deferred', mean5.value, 16) : undefined;
    const usage = view.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    return view.judge({
      all: [
        view.atLeast('inference.requests.waiting', share, p.share),
        ...(usual && mean5
          ? [
              view.atLeast(
                'inference.requests.waiting',
                { ...mean5, baseline: usual },
                Math.max(1, usual.median * 2, usual.median + 4 * usual.scale),
                'deferred requests',
              ),
            ]
          : []),
      ],
      counter: [
        view.counterEvidence(
          'the KV cache is full',
          usage ? usage.value >= 0.92 : undefined,
          `${percent(usage?.value ?? 0)} full`,
        ),
      ],
      grade: 'C',
      intensity: mean5?.value ?? 0,
      summary: `Replica ${view.entity.id}: ${(mean5?.value ?? 0).toFixed(1)} requests are deferred without remote KV or adapters, which leaves grammar compilation.`,
    });
  },
});
