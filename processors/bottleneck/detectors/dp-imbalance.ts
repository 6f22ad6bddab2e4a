import { t } from '../../../config/schema.ts';
import { nullMax } from '../../../pipeline/kit/stats/chance.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

const RANK = 'inference.rank.dp';

export default defineDetector({
  id: 'dp-imbalance',
  class: 'root',
  family: 'communication',
  scope: 'replica',
  pace: 'slow',
  meaning: 'Data-parallel ranks that run in lock-step have unequal work: the lesser ones run dummy steps.',
  rule: 'max / mean of running requests (or tokens) per DP rank ≥ max(ratio, chance) ∧ idle share (1 − mean/max) ≥ idle',
  signals: [
    'inference.requests.running',
    'inference.requests.finished',
    'inference.tokens.generated',
    'inference.step.tokens',
    'inference.requests.waiting',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.running'] }],
  enable:
    'The engine’s own metrics with one series per data-parallel rank (vLLM’s `engine`, SGLang’s `dp_rank` label).',
  params: {
    ratio: t.number({ description: 'Work of the busiest rank over the mean.', default: 1.25, minimum: 1 }),
    idle: t.number({
      description: 'Share of steps’ work that is missing on the others.',
      default: 0.15,
      minimum: 0,
      maximum: 1,
    }),
    requests: t.number({
      description: 'Fewest running requests per rank (mean) to tell it from chance.',
      default: 4,
      minimum: 1,
    }),
  },
  not: ['chance at few requests', 'ranks that are replicas of their own: router-imbalance'],
  remedies: ['R1', 'T6'],
  wouldChangeMyMind: 'The busiest rank changes from minute to minute.',
  evaluate(view) {
    const p = view.params;
    const ranks = view.values('inference.requests.running', RANK);
    if (ranks.length < 2) return view.hold();
    const read = (rank: string) => view.gauge('inference.requests.running', { [RANK]: rank });
    const running = ranks.flatMap((rank) => {
      const m = read(rank)?.mean(view.ws) ?? read(rank)?.mean(view.wf);
      const waiting = view.gauge('inference.requests.waiting', { [RANK]: rank })?.mean(view.wf)?.value ?? 0;
      return m ? [{ rank, value: m.value, waiting, m }] : [];
    });
    if (running.length < 2) return view.hold();
    const total = running.reduce((a, r) => a + r.value, 0);
    const mean = total / running.length;
    if (mean < 0.5) return view.hold();
    const top = running.reduce((a, r) => (r.value > a.value ? r : a));
    // What is even by chance is a matter of how many requests were placed in the window, not of those that run at once.
    const placed = ranks.flatMap(
      (rank) => view.counter('inference.requests.finished', { [RANK]: rank })?.increase(view.ws)?.value ?? [],
    );
    const done = placed.reduce((a, b) => a + b, 0);
    const n = Math.max(total, placed.length === ranks.length ? done : 0);
    if (n < p.requests * running.length) return view.hold();
    const share = done > 0 && placed.length === ranks.length ? Math.max(...placed) / (done / placed.length) : undefined;
    const others = running.filter((r) => r !== top);
    const room = others.some((r) => r.waiting < 1);
    return view.judge({
      all: [
        view.atLeast(
          'inference.requests.running',
          { ...top.m, value: top.value / mean, how: `running on rank ${top.rank} / mean of ${running.length}` },
          Math.max(p.ratio, nullMax(n, running.length)),
        ),
        view.atLeast(
          'inference.requests.running',
          1 - mean / Math.max(1e-9, top.value),
          p.idle,
          'work missing on the others',
        ),
        view.fact('inference.requests.waiting', room, 'another rank has no queue'),
      ],
      support: [
        share === undefined
          ? undefined
          : view.atLeast('inference.requests.finished', share, p.ratio, 'requests of the busiest rank / mean'),
      ],
      grade: 'B',
      tags: [`hot:dp${top.rank}`],
      intensity: top.value / mean,
      summary: `Replica ${view.entity.id}: data-parallel rank ${top.rank} runs ${percent(top.value / total)} of the requests of ${running.length} ranks; the others step along with little to do.`,
    });
  },
});
