import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';
import type { View } from '../view.ts';

const EAGER = /none|eager/i;
const REPLAYED = /graph|full|piecewise/i;

interface Passes {
  readonly eager: number;
  readonly n: number;
  readonly signal: string;
  /** Seconds of an eager decode step over one with a graph, where both are seen at a similar batch. */
  readonly slower: number | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function passesOf(view: View<any>): Passes | undefined {
  const steps = (view.events.steps(view.entity)?.since(view.now - 120_000, (s) => s.end) ?? []).filter(
    (s) => s.graph !== '' && s.prefillTokens === 0 && s.decodeSeqs > 0,
  );
  if (steps.length >= 20) {
    const eager = steps.filter((s) => EAGER.test(s.graph));
    return { eager: eager.length / steps.length, n: steps.length, signal: 'hook.engine_step', slower: undefined };
  }
  let off = 0;
  let all = 0;
  for (const mode of view.values('inference.cudagraph.passes', 'mode')) {
    if (/prefill|extend|mixed/i.test(mode)) continue;
    const n = view.counter('inference.cudagraph.passes', { mode })?.increase(view.wf)?.value;
    if (n === undefined) continue;
    all += n;
    if (!REPLAYED.test(mode) || /none/i.test(mode)) off += n;
  }
  return all >= 50 ? { eager: off / all, n: all, signal: 'inference.cudagraph.passes', slower: undefined } : undefined;
}

export default defineDetector({
  id: 'cudagraph-fallback',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Decode steps run without CUDA graphs although they usually have them: every kernel is launched by the CPU.',
  rule: 'share of decode passes without a graph ≥ share ∧ usually < usual ∧ ITL ≥ slower × baseline where known',
  signals: [
    'inference.cudagraph.passes',
    'inference.inter_token.latency',
    'inference.requests.running',
    'inference.step.batch_size',
  ],
  needs: [
    { grade: 'A', signals: ['hook.engine_step'] },
    { grade: 'B', signals: ['inference.cudagraph.passes'] },
  ],
  enable: 'The hook’s engine steps carry the launch mode; SGLang counts passes by mode.',
  params: {
    share: t.number({ description: 'Share of decode passes without a graph.', default: 0.2, minimum: 0, maximum: 1 }),
    usual: t.number({
      description: 'A usual share above this is a configured choice, not a fallback.',
      default: 0.05,
      minimum: 0,
      maximum: 1,
    }),
    slower: t.number({ description: 'ITL over its usual that corroborates it.', default: 1.15, minimum: 1 }),
  },
  not: ['an engine configured to run eagerly', 'prefill and mixed steps: they often have no graph'],
  remedies: ['H4'],
  wouldChangeMyMind: 'Steps without a graph take no longer than those with one at the same batch.',
  evaluate(view) {
    const p = view.params;
    const now = passesOf(view);
    if (!now) {
      const told = view.has('inference.cudagraph.passes') || view.events.steps(view.entity) !== undefined;
      return told ? view.hold() : view.missing('inference.cudagraph.passes', 'hook.engine_step');
    }
    const base = view.baseline('graph.eager', now.eager, 12);
    const peer = view.peer('graph.eager', (v) => passesOf(v)?.eager);
    const usual = base?.median ?? peer?.median;
    if (usual === undefined) return view.hold();
    if (usual >= p.usual) return view.clear();
    const itl = view.histogram('inference.inter_token.latency')?.mean(view.wf);
    const usualItl = itl ? view.baseline('graph.itl', itl.value, 16) : undefined;
    return view.judge({
      all: [
        view.atLeast(now.signal, now.eager, p.share, `share of ${Math.round(now.n)} decode passes without a graph`),
      ],
      support: [
        itl && usualItl
          ? view.atLeast('inference.inter_token.latency', { ...itl, baseline: usualItl }, usualItl.median * p.slower)
          : undefined,
      ],
      counter: [
        view.counterEvidence(
          'steps take no longer',
          itl && usualItl ? itl.value < usualItl.median * 1.03 : undefined,
          'ITL is at its usual',
        ),
      ],
      grade: now.signal === 'hook.engine_step' ? 'A' : 'B',
      intensity: now.eager,
      summary: `Replica ${view.entity.id}: ${percent(now.eager)} of decode passes run without a CUDA graph, usually ${percent(usual)}.`,
    });
  },
});
