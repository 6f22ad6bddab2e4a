import { t } from '../../../config/schema.ts';
import { chiSquareTail } from '../../../pipeline/kit/stats/chance.ts';
import { defineDetector } from '../detector.ts';
import type { Distribution } from '../measure.ts';
import { derived } from '../readings.ts';
import type { View } from '../view.ts';

/** Lengths are kept as shares of these classes (tokens), so that the past costs a few numbers. */
const EDGES = [100, 400, 1500, 5000, 15_000];
const SIGNALS = [
  ['inference.request.prompt.tokens', 'prompts'],
  ['inference.request.output.tokens', 'answers'],
] as const;

/** Shares by length class, or undefined if the histogram has no buckets. */
function classes(d: Distribution): number[] | undefined {
  if (d.counts.length === 0 || d.bounds.length === 0) return undefined;
  const out = new Array<number>(EDGES.length + 1).fill(0);
  for (let i = 0; i < d.counts.length; i++) {
    const top = i < d.bounds.length ? d.bounds[i]! : Number.POSITIVE_INFINITY;
    let c = EDGES.findIndex((edge) => top <= edge * 1.0001);
    if (c < 0) c = EDGES.length;
    out[c]! += d.counts[i]! / d.n;
  }
  return out;
}

/** Jensen–Shannon divergence in bits. */
export function jensenShannon(a: readonly number[], b: readonly number[]): number {
  let js = 0;
  for (let i = 0; i < a.length; i++) {
    const m = (a[i]! + b[i]!) / 2;
    if (a[i]! > 0) js += (a[i]! / 2) * Math.log2(a[i]! / m);
    if (b[i]! > 0) js += (b[i]! / 2) * Math.log2(b[i]! / m);
  }
  return js;
}

interface Shift {
  readonly what: string;
  readonly ratio: number;
  readonly mean: number;
  readonly usual: number;
  readonly condition: ReturnType<View<unknown>['atLeast']>;
}

export default defineDetector({
  id: 'workload-shift',
  class: 'context',
  family: 'queueing',
  scope: 'service',
  pace: 'slow',
  meaning: 'Requests are of another kind than usual: longer or shorter prompts or answers.',
  rule: 'mean prompt or answer length × or ÷ ≥ factor at ≥ z scales, or Jensen–Shannon divergence of the length classes ≥ divergence bits ∧ χ² p < p; over the shortest window with ≥ requests',
  signals: ['inference.request.prompt.tokens', 'inference.request.output.tokens'],
  needs: [
    { grade: 'B', signals: ['inference.request.prompt.tokens'] },
    { grade: 'B', signals: ['inference.request.output.tokens'] },
  ],
  enable:
    'Scrape the engines’ own length histograms (vLLM, SGLang with --collect-tokens-histogram, Dynamo’s frontend).',
  params: {
    factor: t.number({ description: 'Mean length over its usual, or the other way round.', default: 1.15, minimum: 1 }),
    z: t.number({ description: 'Scales from the usual.', default: 5, minimum: 0 }),
    divergence: t.number({ description: 'Jensen–Shannon divergence, bits.', default: 0.1, minimum: 0 }),
    p: t.number({ description: 'Largest chance of such classes without a change.', default: 1e-3 }),
    requests: t.integer({ description: 'Fewest finished requests in the window.', default: 200, minimum: 20 }),
  },
  not: ['other bucket bounds after an upgrade', 'more of the same: offered-load-surge'],
  remedies: ['Q2', 'P1'],
  wouldChangeMyMind: 'The bucket bounds changed, or only few requests were long.',
  evaluate(view) {
    const p = view.params;
    const engines = view.pooled('replica', (e) => e.attributes['role'] !== 'prefill');
    const shifts: Shift[] = [];
    let told = false;
    for (const [signal, what] of SIGNALS) {
      const h =
        engines.histogram(signal) ??
        view.pooled('router').histogram(signal) ??
        view.pooled('frontend').histogram(signal);
      if (!h) continue;
      told = true;
      const windowMs = [view.wf, 2 * view.wf, view.ws].find((w) => (h.over(w)?.n ?? 0) >= p.requests);
      if (windowMs === undefined) continue;
      const d = h.over(windowMs)!;
      const mean = h.mean(windowMs, p.requests);
      if (!mean) continue;
      const base = view.baseline(`shift.${what}`, mean.value, 16);
      const now = classes(d);
      const past = now?.map((share, i) => view.baseline(`shift.${what}.${i}`, share, 16)?.median);
      if (base) {
        const ratio = Math.max(mean.value / base.median, base.median / Math.max(1e-9, mean.value));
        const z = Math.abs(mean.value - base.median) / base.scale;
        shifts.push({
          what,
          ratio,
          mean: mean.value,
          usual: base.median,
          condition: view.atLeast(
            signal,
            {
              ...derived(signal, `mean length of ${what}, × or ÷ its usual`, z >= p.z ? ratio : 1, [mean], mean.of),
              baseline: base,
            },
            p.factor,
          ),
        });
      }
      if (base && now && past?.every((x) => x !== undefined)) {
        const total = (past as number[]).reduce((a, b) => a + b, 0);
        const shares = (past as number[]).map((x) => x / Math.max(1e-9, total));
        const js = jensenShannon(now, shares);
        let chi = 0;
        let df = -1;
        for (let i = 0; i < now.length; i++) {
          const expected = Math.max(shares[i]!, 0.002) * d.n;
          chi += (now[i]! * d.n - expected) ** 2 / expected;
          df++;
        }
        const chance = chiSquareTail(chi, Math.max(1, df));
        shifts.push({
          what,
          ratio: mean.value / base.median,
          mean: mean.value,
          usual: base.median,
          condition: view.atLeast(
            signal,
            chance < p.p ? js : 0,
            p.divergence,
            `divergence of the length classes of ${what} from their usual, bits`,
          ),
        });
      }
    }
    if (!told) return view.missing('inference.request.prompt.tokens', 'inference.request.output.tokens');
    if (shifts.length === 0) return view.hold();
    const best = shifts.reduce((a, s) => (s.condition.margin > a.condition.margin ? s : a));
    return view.judge({
      all: [],
      any: shifts.map((s) => s.condition),
      support: shifts.filter((s) => s !== best && s.condition.holds).map((s) => s.condition),
      counter: [
        // What finishes while much is stuck or lost is short: that is what a fault leaves, not what users asked for.
        view.counterEvidence(
          'requests became shorter, which costs less',
          shifts.every((s) => !s.condition.holds || s.mean < s.usual),
          `${Math.round(best.mean)} of ${Math.round(best.usual)} tokens`,
        ),
      ],
      grade: 'B',
      tags: [best.what, best.mean >= best.usual ? 'longer' : 'shorter'],
      intensity: Math.abs(Math.log(Math.max(1e-9, best.mean / best.usual))),
      summary: `Service ${view.entity.id}: ${best.what} are ${Math.round(best.mean)} tokens long on average, usually ${Math.round(best.usual)}.`,
    });
  },
});
