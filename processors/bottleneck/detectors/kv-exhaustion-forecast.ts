import { t } from '../../../config/schema.ts';
import { slopeQuantiles } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'kv-exhaustion-forecast',
  // It announces, and is never why: as context it headed incidents that longer prompts or lost capacity had caused.
  class: 'symptom',
  family: 'memory',
  scope: 'replica',
  pace: 'slow',
  meaning: 'KV usage rises so steadily that the cache will be full soon.',
  rule: 'usage ≥ usage ∧ Mann–Kendall p < p over five minutes ∧ slope ≥ slope per minute ∧ the optimistic quarter of Theil–Sen slopes reaches full before horizon',
  signals: ['inference.kv.usage', 'inference.requests.running'],
  needs: [{ grade: 'C', signals: ['inference.kv.usage'] }],
  enable: 'Scrape the engine at least every 15 s: sixteen samples in five minutes are needed.',
  params: {
    usage: t.number({ description: 'Usage below which nothing is foretold.', default: 0.5, minimum: 0, maximum: 1 }),
    full: t.number({ description: 'Usage that counts as full.', default: 0.97, minimum: 0, maximum: 1 }),
    slope: t.number({ description: 'Least rise per minute.', default: 0.005, minimum: 0 }),
    p: t.number({ description: 'Largest chance of such a trend in a flat series.', default: 0.01 }),
    horizon: t.duration({ description: 'Only a wall nearer than this is worth a word.', default: '15m' }),
    samples: t.integer({ description: 'Fewest samples in five minutes.', default: 16, minimum: 8 }),
  },
  not: ['the daily rise that ends where it always does', 'a warm-up after a start', 'a cache that is already full'],
  remedies: ['M1', 'Q2'],
  wouldChangeMyMind: 'The rise stops, or the same hour of other days shows it and where it ends.',
  evaluate(view) {
    const p = view.params;
    const usage = view.gauge('inference.kv.usage');
    if (!usage) return view.missing('inference.kv.usage');
    const now = usage.mean(view.wf);
    const trend = usage.trend(view.ws);
    if (!now || !trend || trend.n < p.samples) return view.hold();
    if (now.value >= p.full || now.value < p.usage * 0.8) return view.clear();
    // A rise that only follows a rise of what runs ends with it: the usual level of usage at this time is not known here.
    const { t: at, v } = usage.samples(view.ws);
    const stride = Math.ceil(at.length / 80);
    const x = at.filter((_, i) => i % stride === 0).map((ms) => (ms - at[0]!) / 60_000);
    const y = v.filter((_, i) => i % stride === 0);
    const [middle, steep] = slopeQuantiles(x, y, [0.5, 0.75]) as [number, number];
    const early = steep > 0 ? (p.full - now.value) / steep : Number.POSITIVE_INFINITY;
    const likely = middle > 0 ? (p.full - now.value) / middle : Number.POSITIVE_INFINITY;
    const minutes = (m: number) => (m < 60 ? `${m.toFixed(1)} min` : 'more than an hour');
    return view.judge({
      all: [
        view.atMost('inference.kv.usage', early, p.horizon / 60_000, 'minutes until full (early quarter)'),
        view.atLeast('inference.kv.usage', now, p.usage),
        view.atLeast('inference.kv.usage', middle, p.slope, 'rise per minute'),
        view.atMost('inference.kv.usage', trend.p, p.p, 'chance of this trend in a flat series'),
      ],
      grade: 'C',
      intensity: middle,
      summary: `Replica ${view.entity.id}: KV usage is ${percent(now.value)} and rises ${(middle * 100).toFixed(1)} % a minute: full in about ${minutes(likely)}.`,
    });
  },
});
