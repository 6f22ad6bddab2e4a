import { t } from '../../../config/schema.ts';
import { attribute, stragglerShare } from '../../../pipeline/kit/stats/collectives.ts';
import { defineDetector } from '../detector.ts';
import type { Group } from '../events.ts';
import { percent } from '../readings.ts';

/** The shortest of these windows that holds enough operations is judged: a fault should not wait for its past to leave. */
const WINDOWS = [20_000, 40_000, 90_000, 180_000];

interface Judged {
  readonly group: Group;
  readonly ops: number;
  readonly rank: number;
  readonly share: number;
  readonly p: number;
  readonly saving: number;
  readonly pureShare: number;
  readonly windowMs: number;
}

/** Attribution over the newest operations of a group, in the shortest sufficient window. */
export function judgeGroup(group: Group, now: number, least: number): Judged | undefined {
  for (const windowMs of WINDOWS) {
    const ops = group.complete.since(now - windowMs, (o) => o.at).filter((o) => o.op !== 'barrier');
    if (ops.length < least) continue;
    // Operations come in sampled bursts: only the time between neighbours counts, not the pauses between bursts.
    const gaps: number[] = [];
    for (let i = 1; i < ops.length; i++) gaps.push(Math.max(0, ops[i]!.at - ops[i - 1]!.at));
    const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
    const total = gaps.reduce((sum, g) => sum + Math.min(g, 20 * usual), 0);
    // At least two bursts, so that one pause of one rank is not a habit.
    const bursts = 1 + gaps.filter((g) => g > Math.max(1000, 20 * usual)).length;
    if (bursts < 2 && windowMs < 90_000) continue;
    const a = attribute(
      ops.map((o) => o.durations),
      group.size,
      total,
      { minimumOps: least },
    );
    return { group, windowMs, ...a };
  }
  return undefined;
}

export default defineDetector({
  id: 'tp-straggler',
  class: 'symptom',
  canBeRoot: true,
  family: 'communication',
  scope: 'rank',
  pace: 'fast',
  meaning: 'One rank arrives last at its group’s collectives, and all others wait for it.',
  rule: 'share of last arrivals (shortest duration) ≥ max(.5, min(.85, 2.8/R)) ∧ binomial p < p ∧ what-if saving / time ≥ saving, over ≥ ops operations',
  signals: [],
  needs: [{ grade: 'A', signals: ['hook.collective'] }],
  enable:
    'Start the engine with the enginelight hook (collectives on), or feed NCCL Inspector or flight-recorder dumps. Under CUDA graphs NCCL reports intra-node operations only with kernel events on.',
  params: {
    ops: t.integer({ description: 'Fewest operations of a group that all ranks reported.', default: 64, minimum: 16 }),
    saving: t.number({
      description: 'Least share of time that would be saved if the rank were as fast as the next.',
      default: 0.03,
      minimum: 0,
    }),
    p: t.number({ description: 'Largest chance of such a share among equal ranks.', default: 1e-6 }),
  },
  persist: { k: 2, n: 3 },
  not: [
    'the rank with the longest collectives: it is a victim',
    'a rotating last arriver: host jitter',
    'a hot expert: more tokens on that rank',
  ],
  remedies: ['T1'],
  wouldChangeMyMind:
    'The last arriver rotates, or the shortest duration rises on all ranks together (then it is the link).',
  evaluate(view) {
    const p = view.params;
    const replica = view.the('replica');
    if (!replica) return view.hold();
    let best: Judged | undefined;
    for (const group of view.events.groupsOf(replica)) {
      if (!group.members.includes(view.entity)) continue;
      const judged = view.once(`straggler|${group.entity.key}`, () => judgeGroup(group, view.now, p.ops) ?? null);
      if (!judged || group.members[judged.rank] !== view.entity) continue;
      if (!best || judged.saving > best.saving) best = judged;
    }
    if (!best) {
      const any = view.events
        .groupsOf(replica)
        .some((g) => g.members.includes(view.entity) && view.now - g.last < 120_000);
      return any ? view.clear() : view.hold();
    }
    const needed = stragglerShare(best.group.size);
    const gpu = view.related('gpu')[0];
    return view.judge({
      all: [
        view.atLeast(
          'hook.collective',
          best.saving,
          p.saving,
          `time saved if it were as fast as the next (${best.ops} operations)`,
        ),
        view.atLeast('hook.collective', best.share, needed, 'share of last arrivals'),
        view.atMost('hook.collective', best.p, p.p, 'chance'),
      ],
      support: [
        view.atMost('hook.collective', best.pureShare, 0.6, 'transfer / (transfer + waiting)'),
        view.atLeast('hook.collective', best.share, 0.9, 'nearly always the same rank'),
      ],
      grade: 'A',
      intensity: best.saving,
      summary: `Rank ${view.entity.id}${gpu ? ` (GPU ${gpu.id})` : ''} arrives last in ${percent(best.share)} of ${best.ops} collectives; the others wait ${percent(best.saving)} of the time for it.`,
    });
  },
});
