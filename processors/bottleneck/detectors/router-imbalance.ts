import { t } from '../../../config/schema.ts';
import { evenness, nullMax } from '../../../pipeline/kit/stats/chance.ts';
import { cohortKey, type Entity } from '../../../pipeline/kit/topology.ts';
import { defineDetector } from '../detector.ts';
import { arrivals, percent, waitingTime } from '../readings.ts';
import type { View } from '../view.ts';

interface Load {
  readonly entity: Entity;
  readonly arrived: number;
  readonly work: number;
  readonly wait: number;
  readonly waiting: number;
  readonly usage: number;
  readonly running: number;
}

// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function loadOf(view: View<any>, windowMs: number): Load | undefined {
  const rate = arrivals(view, windowMs);
  const running = view.gauge('inference.requests.running')?.mean(windowMs);
  if (!rate || !running) return undefined;
  const prompt = view.counter('inference.tokens.prompt')?.rate(windowMs)?.value ?? 0;
  const generated = view.counter('inference.tokens.generated')?.rate(windowMs)?.value ?? 0;
  return {
    entity: view.entity,
    arrived: (rate.value * windowMs) / 1000,
    work: prompt + generated,
    wait: waitingTime(view, windowMs)?.value ?? 0,
    waiting: view.gauge('inference.requests.waiting')?.mean(windowMs)?.value ?? 0,
    usage: view.gauge('inference.kv.usage')?.mean(windowMs)?.value ?? 0,
    running: running.value,
  };
}

/** How unequal the replicas’ requests are at one moment (busiest over mean, averaged over the newest moments), and who is busiest. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function spreadOf(view: View<any>, members: readonly Entity[], windowMs: number): Spread | undefined {
  const rows: number[][] = [];
  for (const e of members) {
    const v = view.on(e);
    const running = v.gauge('inference.requests.running')?.samples(windowMs).v;
    const waiting = v.gauge('inference.requests.waiting')?.samples(windowMs).v;
    if (!running || running.length < 4) return undefined;
    rows.push(running.map((r, i) => r + (waiting && waiting.length === running.length ? waiting[i]! : 0)));
  }
  // Scrapes of one interval go round the replicas within it, so the newest of each belong together, and so on backwards.
  const n = Math.min(...rows.map((r) => r.length));
  const tops = new Map<number, number>();
  let sum = 0;
  let counted = 0;
  for (let k = 1; k <= n; k++) {
    const loads = rows.map((r) => r[r.length - k]!);
    const mean = loads.reduce((a, b) => a + b, 0) / loads.length;
    if (mean < 2) continue;
    const top = Math.max(...loads);
    const who = loads.indexOf(top);
    tops.set(who, (tops.get(who) ?? 0) + 1);
    sum += top / mean;
    counted++;
  }
  return counted >= 4 ? { spread: sum / counted, same: Math.max(...tops.values()) / counted, n: counted } : undefined;
}

interface Spread {
  readonly spread: number;
  /** Share of the moments with the same replica busiest. */
  readonly same: number;
  readonly n: number;
}

export default defineDetector({
  id: 'router-imbalance',
  class: 'root',
  family: 'disaggregation',
  scope: ['pool', 'service'],
  pace: 'slow',
  meaning: 'Requests are sent unevenly: some replicas queue while others have room.',
  rule: 'arrivals per replica uneven (χ² p < p) ∧ work max/mean ≥ max(ratio, chance) ∧ harm: the busiest waits or runs ≥ harm × the median while another has an empty queue and KV < idle_kv; or herding: busiest / mean at one moment ≥ usual + spread while no replica is busiest in ≥ rotating of them',
  signals: [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.requests.finished',
    'inference.requests.started',
    'inference.requests.aborted',
    'inference.tokens.prompt',
    'inference.tokens.generated',
    'inference.kv.usage',
  ],
  needs: [{ grade: 'B', signals: ['inference.requests.running', 'inference.requests.finished'] }],
  enable: 'Scrape every replica of the pool directly.',
  params: {
    window: t.duration({ description: 'Window of the counts.', default: '2m' }),
    p: t.number({ description: 'Chance of such arrivals under an even router.', default: 1e-3 }),
    ratio: t.number({ description: 'Arrivals or work of the busiest over the mean.', default: 1.3, minimum: 1 }),
    harm: t.number({
      description: 'Queue of the busiest over the median replica’s.',
      default: 2.5,
      minimum: 1,
    }),
    spread: t.number({
      description: 'Rise of busiest over mean at one moment that is herding.',
      default: 0.25,
      minimum: 0,
    }),
    rotating: t.number({
      description: 'Share of moments with the same busiest replica above which it is not herding.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
    uneven: t.number({
      description: 'Arrivals of the busiest over the mean that, beyond chance, speak for herding too.',
      default: 1.15,
      minimum: 1,
    }),
    batch: t.number({
      description: 'The same for what runs at once, which grows less than a queue.',
      default: 1.6,
      minimum: 1,
    }),
    idle_kv: t.number({
      description: 'KV usage below which another replica had room.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: ['equal arrivals with unequal backlog: a slow replica', 'prefix affinity without harm'],
  remedies: ['R1', 'R2'],
  wouldChangeMyMind: 'Arrivals per replica are even (then the busiest is slow), or the busiest does not wait.',
  evaluate(view) {
    const p = view.params;
    // Its pools are judged one by one; a pool that only a router knows of has no replicas, and is judged as the service.
    const pools = view.entity.kind === 'service' ? view.related('pool') : [];
    if (pools.some((pool) => view.topology.related(pool, 'replica').length > 0)) return view.hold();
    const cohorts = new Map<string, Load[]>();
    for (const e of view.related('replica')) {
      const load = loadOf(view.on(e), p.window);
      if (!load) continue;
      const key = cohortKey(view.topology, e);
      const list = cohorts.get(key);
      if (list) list.push(load);
      else cohorts.set(key, [load]);
    }
    let worst: { loads: Load[]; skew: number } | undefined;
    for (const loads of cohorts.values()) {
      if (loads.length < 2) continue;
      const mean = loads.reduce((s, l) => s + l.arrived, 0) / loads.length;
      if (mean <= 0) continue;
      const skew = Math.max(...loads.map((l) => l.arrived)) / mean;
      if (!worst || skew > worst.skew) worst = { loads, skew };
    }
    if (!worst) return view.hold();
    const { loads } = worst;
    const total = loads.reduce((s, l) => s + l.arrived, 0);
    // Herding: all go where it was empty a moment ago. Nobody is busiest for long, and the counts come out even.
    const now = spreadOf(
      view,
      loads.map((l) => l.entity),
      p.window,
    );
    const usual = now ? view.baseline('router.spread', now.spread, 8) : undefined;
    const shares = loads.map((l) => l.arrived);
    const uneven = evenness(shares) < p.p && Math.max(...shares) / (total / loads.length) >= p.uneven;
    if (now && usual && (now.same < p.rotating || uneven)) {
      const queued = Math.max(...loads.map((l) => l.waiting));
      const limit = Math.max(usual.median + p.spread, usual.median + 4 * usual.scale);
      if (now.spread >= 0.9 * limit && queued >= 1) {
        return view.judge({
          all: [
            view.atLeast('inference.requests.running', now.spread, limit, 'busiest / mean at one moment'),
            ...(uneven
              ? [view.fact('inference.requests.finished', true, 'arrivals per replica are uneven beyond chance')]
              : [
                  view.atMost(
                    'inference.requests.running',
                    now.same,
                    p.rotating,
                    'share of moments with the same busiest',
                  ),
                ]),
            view.atLeast('inference.requests.waiting', queued, 1, 'waiting at the busiest'),
          ],
          support: [view.atLeast('inference.requests.running', now.spread, usual.median + 2 * p.spread)],
          grade: 'B',
          tags: ['herding'],
          intensity: now.spread,
          summary: `${view.entity.kind} ${view.entity.id}: requests are sent where they pile up: at a moment the busiest of ${loads.length} has ${now.spread.toFixed(1)} times the mean, usually ${usual.median.toFixed(1)}${uneven ? '' : ', and it is seldom the same'}.`,
        });
      }
    }
    if (total < 8 * loads.length) return view.hold();
    const top = loads.reduce((a, l) => (l.arrived > a.arrived ? l : a));
    const mean = total / loads.length;
    const work = loads.reduce((s, l) => s + l.work, 0) / loads.length;
    const sortedBy = (f: (l: Load) => number) => loads.map(f).sort((a, b) => a - b);
    const middle = (v: number[]) => v[v.length >> 1]!;
    const queueHarm = top.waiting >= 2 ? top.wait / Math.max(0.02, middle(sortedBy((l) => l.wait))) : 0;
    const batchHarm = top.running / Math.max(1, middle(sortedBy((l) => l.running)));
    const idle = loads.some((l) => l !== top && l.waiting < 1 && l.usage < p.idle_kv);
    const chance = evenness(loads.map((l) => l.arrived));
    const threshold = Math.max(p.ratio, nullMax(total, loads.length));
    return view.judge({
      all: [
        view.atLeast('inference.requests.finished', top.arrived / mean, threshold, 'arrivals of the busiest / mean'),
        view.atMost('inference.requests.finished', chance, p.p, 'chance of such arrivals'),
        view.atLeast(
          'inference.requests.waiting',
          Math.max(queueHarm, batchHarm * (p.harm / p.batch)),
          p.harm,
          'queue of the busiest / median',
        ),
        view.fact('inference.kv.usage', idle, 'another replica has an empty queue and room'),
      ],
      support: [
        work > 0
          ? view.atLeast('inference.tokens.prompt', top.work / work, p.ratio, 'work of the busiest / mean')
          : undefined,
      ],
      grade: 'B',
      tags: [`hot:${top.entity.id}`],
      intensity: top.arrived / mean,
      summary: `${view.entity.kind} ${view.entity.id}: replica ${top.entity.id} gets ${percent(top.arrived / total)} of the requests of ${loads.length} replicas and queues (${Math.round(top.waiting)} waiting) while others have room.`,
    });
  },
});
