import { t } from '../../../config/schema.ts';
import { splitPoint } from '../../../pipeline/kit/stats/change.ts';
import { median, normalCdf } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';

const CHANGE = /deploy|config|driver|rollout|version|image|scale/i;
const BLOCK_MS = 60_000;

interface Blocks {
  readonly t: number[];
  readonly y: number[];
  readonly x: number[];
}

/** One value per minute: medians of what was seen within it. */
function blocks(slow: { t: readonly number[]; v: readonly number[] }, load: { v: readonly number[] }): Blocks {
  const out: Blocks = { t: [], y: [], x: [] };
  const n = Math.min(slow.v.length, load.v.length);
  let from = 0;
  for (let i = 1; i <= n; i++) {
    if (i < n && slow.t[i]! - slow.t[from]! < BLOCK_MS) continue;
    out.t.push(slow.t[from]!);
    out.y.push(median(slow.v.slice(from, i)));
    out.x.push(median(load.v.slice(from, i)));
    from = i;
  }
  return out;
}

/** Chance that two sets of values come from one place (rank sum, normal approximation). */
export function rankSum(a: readonly number[], b: readonly number[]): number {
  if (a.length === 0 || b.length === 0) return 1;
  let u = 0;
  for (const x of a) for (const y of b) u += x > y ? 1 : x === y ? 0.5 : 0;
  const mean = (a.length * b.length) / 2;
  const sd = Math.sqrt((a.length * b.length * (a.length + b.length + 1)) / 12);
  return 2 * (1 - normalCdf(Math.abs(u - mean) / sd));
}

export default defineDetector({
  id: 'regression',
  class: 'context',
  family: 'lifecycle',
  scope: 'service',
  pace: 'slow',
  meaning: 'The service became slower for good at the same load, usually with a change.',
  rule: 'mean ITL (or TTFT) per minute, load taken out: two levels with rank-sum p ≤ p, ≥ effect apart, ≥ blocks minutes on each side, at comparable load ∧ a deploy, config or driver change within near of the split',
  signals: [
    'inference.inter_token.latency',
    'gen_ai.server.time_to_first_token',
    'inference.requests.running',
    'inference.tokens.prompt',
  ],
  needs: [
    { grade: 'B', signals: ['inference.inter_token.latency', 'inference.requests.running', 'event.change'] },
    { grade: 'C', signals: ['inference.inter_token.latency', 'inference.requests.running'] },
  ],
  enable:
    'Tell changes (events receiver, Kubernetes watch, or an `inference.change` log record); `enginelight compare` judges two recordings.',
  params: {
    effect: t.number({ description: 'Least change of the mean.', default: 0.05, minimum: 0 }),
    p: t.number({ description: 'Largest chance of such levels without a change.', default: 1e-3 }),
    blocks: t.integer({ description: 'Fewest minutes on each side.', default: 10, minimum: 4 }),
    near: t.duration({ description: 'How near a change must lie to be a candidate cause.', default: '10m' }),
    load: t.number({
      description: 'Change of load beyond which the sides cannot be compared.',
      default: 1.5,
      minimum: 1,
    }),
  },
  persist: { k: 3, n: 4 },
  not: [
    'more load',
    'a fault of one part: then the others did not slow down',
    'a change that only came at the same time: the canary tells',
  ],
  remedies: ['L3'],
  wouldChangeMyMind: 'A replica without the change became slower as well, or the load was another.',
  evaluate(view) {
    const p = view.params;
    const engines = view.pooled('replica', (e) => e.attributes['role'] !== 'prefill');
    const itl = engines.histogram('inference.inter_token.latency')?.mean(view.wf);
    const ttft = engines.histogram('gen_ai.server.time_to_first_token')?.mean(view.wf);
    const running = engines.gauge('inference.requests.running')?.mean(view.wf);
    const slow = itl ?? ttft;
    if (!slow || !running) return view.missing('inference.inter_token.latency', 'inference.requests.running');
    const name = itl ? 'regression.itl' : 'regression.ttft';
    view.baseline(name, slow.value);
    view.baseline('regression.running', running.value);
    const b = blocks(view.past(name, 3_600_000), view.past('regression.running', 3_600_000));
    const split = b.y.length >= 2 * p.blocks ? splitPoint(b.y) : undefined;
    if (!split) return view.hold();
    const { index } = split;
    if (index < p.blocks || b.y.length - index < p.blocks) return view.clear();
    const at = b.t[index]!;
    // Load explains part of it: the slope is learned before the split only.
    const slope = slopeOf(b.x.slice(0, index), b.y.slice(0, index));
    const reference = median(b.x.slice(0, index));
    const level = b.y.map((y, i) => y - slope * (b.x[i]! - reference));
    const before = median(level.slice(0, index));
    const after = median(level.slice(index));
    const effect = before > 0 ? after / before - 1 : 0;
    const chance = rankSum(level.slice(0, index), level.slice(index));
    const loads = median(b.x.slice(index)) / Math.max(1e-9, reference);
    const changes = view.events.happenings
      .since(at - p.near, (h) => h.at)
      .filter((h) => h.at <= at + p.near && CHANGE.test(h.kind));
    const change = changes.sort((x, y) => Math.abs(x.at - at) - Math.abs(y.at - at))[0];
    const what = change
      ? `${change.kind}${change.attributes['change'] !== undefined ? ` (${change.attributes['change']})` : ''}`
      : undefined;
    return view.judge({
      all: [
        view.atLeast(slow.signal, { ...slow, value: effect, how: 'change of the mean at the same load' }, p.effect),
        view.atMost(slow.signal, chance, p.p, `chance (${index} and ${b.y.length - index} minutes)`),
        view.atMost(
          'inference.requests.running',
          Math.max(loads, 1 / Math.max(1e-9, loads)),
          p.load,
          'load over that before',
        ),
        // Without a change it is one more picture of whatever slows the service down, and explains nothing.
        view.fact(
          'event.change',
          change !== undefined,
          change ? `${what} near the split` : 'no change is known near the split',
        ),
      ],
      grade: 'B',
      tags: change ? [change.kind] : [],
      intensity: effect,
      summary: `Service ${view.entity.id}: since ${new Date(at).toISOString()} ${itl ? 'a token takes' : 'the first token takes'} ${seconds(after)}, before ${seconds(before)} (${percent(effect)} more at the same load)${what ? `; near it: ${what}` : ''}.`,
    });
  },
});

/** Median slope of neighbours in load; 0 where the load hardly moved. */
function slopeOf(x: readonly number[], y: readonly number[]): number {
  const slopes: number[] = [];
  const spread = Math.max(...x) - Math.min(...x);
  for (let i = 0; i < x.length; i++)
    for (let j = i + 1; j < x.length; j++) {
      const d = x[j]! - x[i]!;
      if (Math.abs(d) > 0.2 * spread) slopes.push((y[j]! - y[i]!) / d);
    }
  return slopes.length >= 10 ? Math.max(0, median(slopes)) : 0;
}
