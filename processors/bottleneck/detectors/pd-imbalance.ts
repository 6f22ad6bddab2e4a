import { t } from '../../../config/schema.ts';
import type { Entity } from '../../../pipeline/kit/topology.ts';
import { defineDetector } from '../detector.ts';
import { arrivals, percent, seconds, waitingTime } from '../readings.ts';

export default defineDetector({
  id: 'pd-imbalance',
  class: 'root',
  family: 'disaggregation',
  scope: 'service',
  pace: 'slow',
  meaning: 'In a split service one side is too small for the traffic while the other has room.',
  rule: 'U_prefill = wait for prefill / TTFT budget, U_decode = max(KV usage / .9, ITL / objective, share of time with ≥ 1 waiting for room): one ≥ high ∧ the other ≤ low, on most replicas of the side, for five minutes',
  signals: [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.requests.finished',
    'inference.requests.started',
    'inference.requests.aborted',
    'inference.kv.usage',
    'inference.inter_token.latency',
    'gen_ai.server.time_to_first_token',
    'inference.pd.queue',
    'inference.request.prompt.tokens',
    'inference.request.output.tokens',
    'inference.request.queue.duration',
    'up',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.waiting', 'inference.kv.usage'] }],
  enable: 'Scrape the prefill and the decode replicas, and let them say their role (`inference.role`).',
  params: {
    high: t.number({ description: 'Utilisation from which a side starves.', default: 1, minimum: 0 }),
    low: t.number({ description: 'Utilisation up to which the other side has room.', default: 0.5, minimum: 0 }),
    budget: t.duration({
      description: 'Wait for prefill that is acceptable where no TTFT objective is set.',
      default: '1s',
    }),
    sick: t.number({
      description: 'Least share of a side’s replicas that must be affected: one sick replica is not a ratio.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
  },
  persist: { k: 12, n: 16 },
  not: [
    'the ratio of running counts: prefill runs few and decode many, always',
    'one sick replica of a side',
    'a slow hand-off between them',
  ],
  remedies: ['R3'],
  wouldChangeMyMind: 'Both sides are busy (then it is the load), or only one replica of the side is.',
  evaluate(view) {
    const p = view.params;
    const all = view.related('replica');
    const of = (role: string): Entity[] => all.filter((e) => e.attributes['role'] === role);
    const prefill = of('prefill');
    const decode = of('decode');
    if (prefill.length === 0 || decode.length === 0) return view.clear();
    const slo = view.slo();
    const budget = slo?.ttft !== undefined ? slo.ttft / 2 : p.budget / 1000;
    const window = 2 * view.wf;
    const alive = (e: Entity) => view.on(e).gauge('inference.requests.running')?.fresh === true;
    const waits = prefill.filter(alive).flatMap((e) => {
      const v = view.on(e);
      const w = waitingTime(v, window);
      const bootstrap = v.gauge('inference.pd.queue', { queue: 'bootstrap' })?.mean(window)?.value ?? 0;
      const rate = arrivals(v, window)?.value ?? 0;
      return w ? [w.value + (rate > 1e-3 ? bootstrap / rate : 0)] : [];
    });
    const fills = decode.filter(alive).flatMap((e) => {
      const v = view.on(e);
      const kv = v.gauge('inference.kv.usage')?.mean(window);
      if (!kv) return [];
      const itl = slo?.itl !== undefined ? v.histogram('inference.inter_token.latency')?.mean(window) : undefined;
      const queue = v
        .gauge('inference.pd.queue', { queue: 'prealloc' })
        ?.share(window, (x) => x >= 1, 'share of samples');
      // Waiting at a decode replica that has room is waiting for the hand-off, which is not its capacity.
      const waiting =
        kv.value >= 0.8
          ? v.gauge('inference.requests.waiting')?.share(window, (x) => x >= 2, 'share of samples')
          : undefined;
      return [
        Math.max(
          kv.value / 0.9,
          itl ? itl.value / slo!.itl! : 0,
          kv.value >= 0.7 ? (queue?.value ?? 0) : 0,
          waiting?.value ?? 0,
        ),
      ];
    });
    if (waits.length === 0 || fills.length === 0)
      return view.missing('inference.requests.waiting', 'inference.kv.usage');
    const mean = (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length;
    const up = mean(waits) / budget;
    const ud = mean(fills);
    const lackP = up >= ud;
    const starved = lackP ? waits.map((w) => w / budget) : fills;
    const affected = starved.filter((u) => u >= p.high * 0.8).length / starved.length;
    const service = view.pooled('replica', (e) => e.attributes['role'] === 'decode');
    const prompts = view
      .pooled('replica', (e) => e.attributes['role'] === 'prefill')
      .histogram('inference.request.prompt.tokens')
      ?.mean(view.ws, 10);
    const answers = service.histogram('inference.request.output.tokens')?.mean(view.ws, 10);
    const missing = all.filter((e) => !alive(e)).map((e) => e.id);
    return view.judge({
      all: [
        view.atLeast(
          lackP ? 'inference.requests.waiting' : 'inference.kv.usage',
          lackP ? up : ud,
          p.high,
          lackP ? `wait for prefill / budget of ${seconds(budget)}` : 'utilisation of decode',
        ),
        view.atMost(
          lackP ? 'inference.kv.usage' : 'inference.requests.waiting',
          lackP ? ud : up,
          p.low,
          `utilisation of ${lackP ? 'decode' : 'prefill'}`,
        ),
        view.atLeast('inference.requests.waiting', affected, p.sick, 'share of the side’s replicas affected'),
      ],
      counter: [
        view.counterEvidence(
          'a replica is gone, and the others do its work',
          missing.length > 0,
          missing.length > 0 ? `${missing.slice(0, 3).join(', ')} silent` : 'all are heard',
        ),
      ],
      grade: 'B',
      tags: [lackP ? 'prefill-short' : 'decode-short'],
      intensity: Math.max(up, ud),
      sizes: {
        R3: {
          size: `more ${lackP ? 'prefill' : 'decode'} (now ${prefill.filter(alive).length} : ${decode.filter(alive).length}${prompts && answers ? `, for ${Math.round(prompts.value)} prompt and ${Math.round(answers.value)} output tokens per request` : ''})`,
        },
      },
      summary: `Service ${view.entity.id}: ${lackP ? `requests wait ${seconds(mean(waits))} for prefill while decode is ${percent(Math.min(1, ud))} utilised` : `decode is ${percent(Math.min(1, ud))} utilised while prefill waits only ${seconds(mean(waits))}`} (${prefill.filter(alive).length} prefill, ${decode.filter(alive).length} decode replicas).`,
    });
  },
});
