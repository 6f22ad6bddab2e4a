import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import type { Step } from '../events.ts';
import { derived, overUsual, percent, seconds } from '../readings.ts';

interface Fit {
  /** Share of step time that prefill tokens cost while others decode. */
  readonly share: number;
  readonly perToken: number;
  readonly steps: number;
}

/** Least squares of step time on decode sequences and prefill tokens; undefined where they do not tell. */
export function fitSteps(steps: readonly Step[]): Fit | undefined {
  const rows = steps.flatMap((s) => {
    const ms = s.gpuMs ?? s.end - s.start;
    return ms > 0 && s.prefillTokens + s.decodeSeqs > 0 ? [{ x: s.decodeSeqs, y: s.prefillTokens, ms }] : [];
  });
  const n = rows.length;
  if (n < 40) return undefined;
  const mean = (f: (r: (typeof rows)[number]) => number) => rows.reduce((a, r) => a + f(r), 0) / n;
  const mx = mean((r) => r.x);
  const my = mean((r) => r.y);
  const mt = mean((r) => r.ms);
  let xx = 0;
  let yy = 0;
  let xy = 0;
  let xt = 0;
  let yt = 0;
  for (const r of rows) {
    xx += (r.x - mx) ** 2;
    yy += (r.y - my) ** 2;
    xy += (r.x - mx) * (r.y - my);
    xt += (r.x - mx) * (r.ms - mt);
    yt += (r.y - my) * (r.ms - mt);
  }
  const det = xx * yy - xy * xy;
  const perToken = det > 1e-9 * Math.max(1e-9, xx * yy) ? (xx * yt - xy * xt) / det : yy > 0 ? yt / yy : 0;
  if (!(perToken > 0)) return { share: 0, perToken: 0, steps: n };
  let interference = 0;
  let total = 0;
  for (const r of rows) {
    total += r.ms;
    if (r.x > 0) interference += Math.min(r.ms, perToken * r.y);
  }
  return { share: interference / total, perToken, steps: n };
}

export default defineDetector({
  id: 'prefill-decode-interference',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Prompt chunks in the batch hold up everybody who is decoding.',
  rule: 'step time = a + b·decode + c·prefill tokens: Σ c·prefill over steps with decodes / Σ time ≥ share ∧ share of ITL above three times its mean ≥ tail, both above usual; without steps: R² of ITL on computed prompt tokens/s ≥ r2 over ≥ windows',
  signals: [
    'inference.inter_token.latency',
    'inference.tokens.prompt',
    'inference.tokens.prompt.cached',
    'inference.tokens.prompt.computed',
    'inference.prefix_cache.hits',
    'inference.step.tokens',
    'inference.requests.running',
    'gen_ai.server.time_to_first_token',
  ],
  needs: [
    { grade: 'A', signals: ['hook.engine_step', 'inference.inter_token.latency'] },
    { grade: 'C', signals: ['inference.inter_token.latency', 'inference.tokens.prompt'] },
  ],
  enable: 'The hook’s engine steps tell prefill tokens and time of every step.',
  params: {
    share: t.number({
      description: 'Share of step time that prefill costs the decoders.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    tail: t.number({
      description: 'Share of inter-token times above three times their mean.',
      default: 0.02,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({
      description: 'Mean ITL over its usual where the tail cannot be read.',
      default: 1.2,
      minimum: 1,
    }),
    rise: t.number({ description: 'Share above its usual, absolutely.', default: 0.1, minimum: 0, maximum: 1 }),
    r2: t.number({ description: 'Explained share of ITL by the prefill rate.', default: 0.5, minimum: 0, maximum: 1 }),
    windows: t.integer({ description: 'Fewest windows for it.', default: 20, minimum: 8 }),
  },
  not: ['pauses of the host: they do not follow prefill', 'more decoding: then the batch explains it'],
  remedies: ['P3'],
  wouldChangeMyMind: 'Steps without prompt tokens are as long.',
  evaluate(view) {
    const p = view.params;
    const itl = view.histogram('inference.inter_token.latency');
    const mean = itl?.mean(view.wf);
    if (!itl || !mean) return view.missing('inference.inter_token.latency');
    const base = view.baseline('interference.itl', mean.value, 16);
    const over = itl.above(view.wf, 3 * mean.value);
    const usualOver = over ? view.baseline('interference.tail', over.value, 16) : undefined;
    const slower = base
      ? view.atLeast(
          'inference.inter_token.latency',
          { ...mean, baseline: base },
          Math.max(base.median * overUsual(p.factor, base), base.median + 4 * base.scale),
        )
      : undefined;
    const tail =
      over && usualOver
        ? view.atLeast(
            'inference.inter_token.latency',
            { ...over, baseline: usualOver },
            Math.max(p.tail, usualOver.median * 2),
            'above three times the mean',
          )
        : undefined;
    const harm = [slower, tail].filter((c) => c !== undefined);
    if (harm.length === 0) return view.hold();
    const fit = fitSteps(view.events.steps(view.entity)?.since(view.now - 120_000, (s) => s.end) ?? []);
    if (fit) {
      const usual = view.baseline('interference.share', fit.share, 16);
      // How much prefill costs here at any time is not known yet: only a clear case counts.
      const unknown = usual ? [] : harm;
      return view.judge({
        all: [
          view.atLeast(
            'hook.engine_step',
            fit.share,
            usual ? Math.max(p.share, usual.median + p.rise) : p.share,
            `share of ${fit.steps} steps’ time that prefill costs decoders`,
          ),
          ...unknown,
        ],
        any: harm,
        support: harm.length > 1 && harm.every((c) => c.holds) ? [harm[1]] : [],
        grade: usual ? 'A' : 'C',
        intensity: fit.share,
        summary: `Replica ${view.entity.id}: prompt chunks take ${percent(fit.share)} of step time from requests that decode${usual ? ` (usually ${percent(usual.median)})` : ''}; a token takes ${seconds(mean.value)}.`,
      });
    }
    const prompt =
      view.counter('inference.tokens.prompt.computed')?.rate(view.wf) ??
      view.counter('inference.tokens.prompt')?.rate(view.wf);
    if (!prompt) return view.missing('hook.engine_step', 'inference.tokens.prompt');
    view.baseline('interference.prompt', prompt.value, 16);
    const x = view.past('interference.prompt', 1_200_000).v;
    const y = view.past('interference.itl', 1_200_000).v;
    const n = Math.min(x.length, y.length);
    if (n < p.windows) return view.hold();
    const r = correlation(x.slice(-n), y.slice(-n));
    return view.judge({
      all: [
        view.atLeast(
          'inference.inter_token.latency',
          derived(
            'inference.inter_token.latency',
            `R² on prompt tokens/s over ${n} windows`,
            r > 0 ? r * r : 0,
            [mean],
            mean.of,
          ),
          p.r2,
        ),
        // With an even prefill rate nothing can follow it, and what does is chance: 20 windows need |r| ≥ 0.7 for p < .001.
        view.atLeast('inference.tokens.prompt', spread(x.slice(-n)), 0.15, 'relative spread of the prefill rate'),
      ],
      any: harm,
      grade: 'C',
      intensity: mean.value,
      summary: `Replica ${view.entity.id}: the time per token (${seconds(mean.value)}) follows the rate of prompt tokens (R² ${(r * r).toFixed(2)}).`,
    });
  },
});

function correlation(x: readonly number[], y: readonly number[]): number {
  const n = x.length;
  const mx = x.reduce((a, b) => a + b, 0) / n;
  const my = y.reduce((a, b) => a + b, 0) / n;
  let xx = 0;
  let yy = 0;
  let xy = 0;
  for (let i = 0; i < n; i++) {
    xx += (x[i]! - mx) ** 2;
    yy += (y[i]! - my) ** 2;
    xy += (x[i]! - mx) * (y[i]! - my);
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0;
}

function spread(x: readonly number[]): number {
  const m = x.reduce((a, b) => a + b, 0) / x.length;
  return m > 0 ? Math.sqrt(x.reduce((a, b) => a + (b - m) ** 2, 0) / x.length) / m : 0;
}
