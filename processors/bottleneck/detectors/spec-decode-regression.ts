import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import type { Measure } from '../measure.ts';
import { derived, percent } from '../readings.ts';
import type { View } from '../view.ts';

interface Acceptance {
  readonly ratio: Measure;
  readonly drafts: number | undefined;
  /** Draft tokens per round. */
  readonly length: number | undefined;
  /** Accepted tokens per round, the engine’s own token not counted. */
  readonly gained: number | undefined;
  readonly direct: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function acceptanceOf(view: View<any>, windowMs: number): Acceptance | undefined {
  const drafted = view.counter('inference.spec.tokens.drafted')?.increase(windowMs);
  const accepted = view.counter('inference.spec.tokens.accepted')?.increase(windowMs);
  const rounds = view.counter('inference.spec.drafts')?.increase(windowMs);
  if (drafted && accepted && drafted.value > 0) {
    const drafts = rounds?.value;
    return {
      ratio: derived(
        'inference.spec.tokens.accepted',
        'accepted / drafted',
        Math.min(1, accepted.value / drafted.value),
        [accepted, drafted],
        accepted.of,
      ),
      drafts,
      length: drafts ? drafted.value / drafts : undefined,
      gained: drafts ? accepted.value / drafts : undefined,
      direct: true,
    };
  }
  const share = view.gauge('inference.spec.acceptance_ratio')?.mean(windowMs);
  const length = view.gauge('inference.spec.acceptance_length')?.mean(windowMs);
  if (share) {
    return {
      ratio: share,
      drafts: rounds?.value,
      length: undefined,
      gained: length ? length.value - 1 : undefined,
      direct: false,
    };
  }
  if (!length) return undefined;
  // The bonus token is always there: what drafting gains is the rest.
  return {
    ratio: { ...length, value: Math.max(0, length.value - 1), how: 'accepted tokens per round' },
    drafts: rounds?.value,
    length: undefined,
    gained: length.value - 1,
    direct: false,
  };
}

export default defineDetector({
  id: 'spec-decode-regression',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Speculative decoding no longer pays: drafted tokens are thrown away.',
  rule: 'accepted / drafted ≤ (1 − fall) × baseline with ≥ drafts rounds, or (1 + accepted per round) / (1 + cost × tokens per round) < 1',
  signals: [
    'inference.spec.drafts',
    'inference.spec.tokens.drafted',
    'inference.spec.tokens.accepted',
    'inference.spec.acceptance_length',
    'inference.spec.acceptance_ratio',
    'inference.requests.running',
    'inference.inter_token.latency',
    'inference.request.prompt.tokens',
  ],
  needs: [
    { grade: 'B', signals: ['inference.spec.tokens.drafted', 'inference.spec.tokens.accepted'] },
    { grade: 'C', signals: ['inference.spec.acceptance_ratio'] },
    { grade: 'C', signals: ['inference.spec.acceptance_length'] },
  ],
  enable: 'The engine tells them as soon as speculative decoding is on.',
  params: {
    fall: t.number({ description: 'Share of the acceptance that is lost.', default: 0.3, minimum: 0, maximum: 1 }),
    drafts: t.integer({ description: 'Fewest draft rounds in the window.', default: 500, minimum: 1 }),
    cost: t.number({
      description:
        'Time to draft and verify one token over the time of a plain decode step (measure it for the model).',
      default: 0.06,
      minimum: 0,
    }),
    z: t.number({ description: 'Scales below the usual.', default: 4, minimum: 0 }),
  },
  not: ['another mix of requests: workload-shift', 'a larger batch: drafting costs more there'],
  remedies: ['D3'],
  wouldChangeMyMind:
    'The answers changed (another tenant, another language), and acceptance per kind of request did not.',
  evaluate(view) {
    const p = view.params;
    const now = acceptanceOf(view, view.wf);
    if (!now) {
      return view.missing('inference.spec.tokens.drafted', 'inference.spec.tokens.accepted');
    }
    if (now.drafts !== undefined && now.drafts < p.drafts) return view.hold();
    if ((view.gauge('inference.requests.running')?.mean(view.wf)?.value ?? 1) < 0.5) return view.hold();
    const base = view.baseline('spec.acceptance', now.ratio.value, 16);
    // One plain token per round is what there is without drafting.
    const speedup =
      now.gained !== undefined && now.length !== undefined ? (1 + now.gained) / (1 + p.cost * now.length) : undefined;
    const lengths = view.histogram('inference.request.prompt.tokens')?.mean(view.ws);
    const usualLengths = lengths ? view.baseline('spec.prompts', lengths.value, 16) : undefined;
    const shifted =
      lengths && usualLengths ? Math.abs(Math.log(lengths.value / usualLengths.median)) > Math.log(1.5) : undefined;
    if (!base && speedup === undefined) return view.hold();
    const itl = view.histogram('inference.inter_token.latency')?.mean(view.wf);
    const usualItl = itl ? view.baseline('spec.itl', itl.value, 16) : undefined;
    const z = base ? (base.median - now.ratio.value) / base.scale : 0;
    return view.judge({
      all: [],
      any: [
        ...(base
          ? [
              view.atMost(
                now.ratio.signal,
                z >= p.z ? { ...now.ratio, baseline: base } : base.median,
                base.median * (1 - p.fall),
              ),
            ]
          : []),
        ...(speedup === undefined
          ? []
          : [view.atMost('inference.spec.tokens.accepted', speedup, 0.98, 'speed against plain decoding (estimated)')]),
      ],
      support: [
        itl && usualItl
          ? view.atLeast('inference.inter_token.latency', { ...itl, baseline: usualItl }, usualItl.median * 1.15)
          : undefined,
      ],
      counter: [
        view.counterEvidence('prompts changed in length', shifted || undefined, 'the mix of requests is another'),
      ],
      grade: now.direct ? 'B' : 'C',
      intensity: base ? 1 - now.ratio.value / Math.max(1e-9, base.median) : 1 - (speedup ?? 1),
      summary: `Replica ${view.entity.id}: ${now.direct ? `${percent(now.ratio.value)} of the drafted tokens are accepted${base ? `, usually ${percent(base.median)}` : ''}` : `drafts gain ${now.ratio.value.toFixed(2)}${base ? `, usually ${base.median.toFixed(2)}` : ''}`}.`,
    });
  },
});
