import { t } from '../../../config/schema.ts';
import { quantile } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import type { RequestRun } from '../events.ts';
import type { Distribution } from '../measure.ts';
import { percent, seconds } from '../readings.ts';
import type { View } from '../view.ts';

interface Blocking {
  /** Share of the victims' waiting during which a much larger prompt was being processed. */
  readonly share: number;
  readonly victims: number;
  readonly wait: number;
  readonly largest: number;
}

/** From finished requests: who waited while a prompt many times the usual size was processed. */
export function blocking(runs: readonly RequestRun[], large: number): Blocking | undefined {
  const known = runs.filter((r) => r.queueMs !== undefined && r.promptTokens !== undefined);
  if (known.length < 20) return undefined;
  const computed = (r: RequestRun) => r.promptTokens! - (r.cachedTokens ?? 0);
  const usual = quantile(known.map(computed), 0.5);
  const big = known.filter((r) => computed(r) >= Math.max(4000, usual * large) && r.prefillMs !== undefined);
  if (big.length === 0) return { share: 0, victims: 0, wait: 0, largest: 0 };
  const spans = big.map((r) => {
    const from = r.end - r.e2eMs + r.queueMs!;
    return [from, from + r.prefillMs!] as const;
  });
  const victims = known.filter((r) => !big.includes(r) && r.queueMs! > 0);
  let queued = 0;
  let blocked = 0;
  for (const r of victims) {
    const from = r.end - r.e2eMs;
    const to = from + r.queueMs!;
    queued += r.queueMs!;
    let covered = 0;
    for (const [a, b] of spans) covered += Math.max(0, Math.min(to, b) - Math.max(from, a));
    blocked += Math.min(r.queueMs!, covered);
  }
  return {
    share: queued > 0 ? blocked / queued : 0,
    victims: victims.length,
    wait:
      victims.length > 0
        ? quantile(
            victims.map((r) => r.queueMs!),
            0.95,
          ) / 1000
        : 0,
    largest: Math.max(...big.map(computed)),
  };
}

/** Share of observations in buckets that lie wholly above a value. */
function shareBeyond(d: Distribution, value: number): { share: number; n: number } | undefined {
  if (d.counts.length === 0) return undefined;
  let beyond = 0;
  for (let i = 0; i < d.counts.length; i++) {
    const bottom = i === 0 ? 0 : d.bounds[i - 1]!;
    if (bottom >= value) beyond += d.counts[i]!;
  }
  return { share: beyond / d.n, n: beyond };
}

// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
const requestsOf = (view: View<any>): RequestRun[] => {
  const replicas = view.entity.kind === 'replica' ? [view.entity] : view.related('replica');
  return replicas.flatMap((e) => view.events.requests(e)?.since(view.now - view.ws, (r) => r.end) ?? []);
};

export default defineDetector({
  id: 'head-of-line-blocking',
  class: 'root',
  family: 'queueing',
  scope: ['replica', 'service'],
  pace: 'slow',
  meaning: 'Now and then a very long prompt holds up the short ones behind it, while there is capacity on average.',
  rule: 'with request spans: share of the others’ waiting that falls into the prefill of a prompt ≥ large × the median ≥ share ∧ their p95 wait ≥ wait; without: prompts ≥ long tokens present beyond usual, but rarer than rare ∧ share of TTFT above far × its usual mean ≥ tail and ≥ factor × usual ∧ KV usage < usage',
  signals: [
    'inference.request.prompt.tokens',
    'gen_ai.server.time_to_first_token',
    'inference.requests.waiting',
    'inference.requests.running',
    'inference.kv.usage',
    'inference.requests.finished',
  ],
  needs: [
    { grade: 'A', signals: ['span.request'] },
    { grade: 'C', signals: ['inference.request.prompt.tokens', 'gen_ai.server.time_to_first_token'] },
  ],
  enable: 'Request spans with queue and prefill times (the engine’s tracing), or at least its prompt-length histogram.',
  params: {
    share: t.number({
      description: 'Share of the waiting behind one large prompt.',
      default: 0.4,
      minimum: 0,
      maximum: 1,
    }),
    wait: t.duration({
      description: 'Waits (95th percentile) below this harm nobody (half the TTFT objective where there is one).',
      default: '500ms',
    }),
    large: t.number({ description: 'A large prompt over the median.', default: 8, minimum: 2 }),
    long: t.integer({
      description: 'Tokens from which a prompt is long, where only lengths are told.',
      default: 8000,
      minimum: 1000,
    }),
    rare: t.number({
      description: 'Share of long prompts above which they are the workload itself.',
      default: 0.1,
      minimum: 0,
      maximum: 1,
    }),
    far: t.number({ description: 'TTFT over its usual mean that a blocked request has.', default: 5, minimum: 1 }),
    tail: t.number({ description: 'Share of such TTFT.', default: 0.02, minimum: 0, maximum: 1 }),
    factor: t.number({
      description: 'Long prompts, and late first tokens, over their usual shares.',
      default: 3,
      minimum: 1,
    }),
    usage: t.number({
      description: 'KV usage above which everybody waits for room.',
      default: 0.9,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: [
    'a saturated replica: everybody waits in proportion',
    'long prompts without short ones behind them',
    'a mix that became longer as a whole',
  ],
  remedies: ['Q4'],
  wouldChangeMyMind: 'Short prompts wait as long when no long one is being processed.',
  evaluate(view) {
    const p = view.params;
    const pooled =
      view.entity.kind === 'service' ? view.pooled('replica', (e) => e.attributes['role'] !== 'decode') : view;
    const usage =
      pooled.gauge('inference.kv.usage')?.quantile(view.ws, 0.9) ??
      pooled.gauge('inference.kv.usage')?.quantile(view.wf, 0.9);
    const slo = view.slo()?.ttft;
    const wait = slo !== undefined ? slo / 2 : p.wait / 1000;
    const seen = view.entity.kind === 'replica' ? blocking(requestsOf(view), p.large) : undefined;
    if (seen && seen.victims >= 20) {
      return view.judge({
        all: [
          view.atLeast(
            'span.request',
            seen.share,
            p.share,
            `share of the waiting of ${seen.victims} requests behind one large prompt`,
          ),
          view.atLeast('span.request', seen.wait, wait, 'p95 of their wait (s)'),
        ],
        counter: [
          view.counterEvidence(
            'the KV cache is full',
            usage ? usage.value >= p.usage : undefined,
            `${percent(usage?.value ?? 0)} full`,
          ),
        ],
        grade: 'A',
        intensity: seen.wait,
        summary: `Replica ${view.entity.id}: ${percent(seen.share)} of the waiting falls into the prefill of prompts of up to ${seen.largest} tokens; p95 wait ${seconds(seen.wait)}.`,
      });
    }
    const prompts = pooled.histogram('inference.request.prompt.tokens')?.over(view.ws, 50);
    const ttft = pooled.histogram('gen_ai.server.time_to_first_token');
    const mean = ttft?.mean(view.ws, 50);
    if (!pooled.has('inference.request.prompt.tokens') || !ttft)
      return view.missing('inference.request.prompt.tokens', 'gen_ai.server.time_to_first_token');
    if (!prompts || !mean) return view.hold();
    const long = shareBeyond(prompts, p.long);
    if (!long) return view.missing('inference.request.prompt.tokens');
    const usualLong = view.baseline('hol.long', long.share, 12);
    const usualMean = view.baseline('hol.ttft', mean.value, 12);
    if (!usualLong || !usualMean) return view.hold();
    const late = ttft.above(view.ws, usualMean.median * p.far, 50);
    const usualLate = late ? view.baseline('hol.late', late.value, 12) : undefined;
    if (!late || !usualLate) return view.hold();
    const running = pooled.gauge('inference.requests.running')?.mean(view.ws);
    const usualRunning = running ? view.baseline('hol.running', running.value, 12) : undefined;
    return view.judge({
      all: [
        view.atLeast(
          'gen_ai.server.time_to_first_token',
          { ...late, baseline: usualLate },
          Math.max(p.tail, usualLate.median * p.factor),
        ),
        view.atLeast(
          'inference.request.prompt.tokens',
          long.n >= 2 ? long.share : 0,
          Math.max(0.001, usualLong.median * p.factor),
          `share of prompts above ${p.long} tokens`,
        ),
        view.atMost('inference.request.prompt.tokens', long.share, p.rare, 'long prompts are rare'),
        ...(usage ? [view.atMost('inference.kv.usage', usage, p.usage)] : []),
      ],
      counter: [
        view.counterEvidence(
          'much more runs than usual',
          running && usualRunning ? running.value > usualRunning.median * 2 : undefined,
          `${Math.round(running?.value ?? 0)} running, usually ${Math.round(usualRunning?.median ?? 0)}`,
        ),
      ],
      grade: 'C',
      intensity: late.value,
      summary: `${view.entity.kind === 'service' ? 'Service' : 'Replica'} ${view.entity.id}: ${percent(late.value)} of first tokens come more than ${p.far} times later than usual since prompts above ${p.long} tokens (${(long.share * 100).toFixed(1)} %) appeared; the KV cache has room.`,
    });
  },
});
