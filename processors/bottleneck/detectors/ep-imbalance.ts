import { t } from '../../../config/schema.ts';
import { attribute, stragglerShare } from '../../../pipeline/kit/stats/collectives.ts';
import { defineDetector } from '../detector.ts';
import type { Group } from '../events.ts';
import { clockLoss, percent } from '../readings.ts';

interface Hot {
  readonly rank: number;
  readonly share: number;
  readonly p: number;
  readonly saving: number;
  readonly ops: number;
}

/** Who comes last at the expert exchanges of a group, over the last minute and a half. */
function lastAtExchange(group: Group, now: number, least: number): Hot | undefined {
  const ops = group.complete.since(now - 90_000, (o) => o.at).filter((o) => o.op === 'all_to_all');
  if (ops.length < least) return undefined;
  const gaps: number[] = [];
  for (let i = 1; i < ops.length; i++) gaps.push(Math.max(0, ops[i]!.at - ops[i - 1]!.at));
  const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
  const total = gaps.reduce((sum, g) => sum + Math.min(g, 20 * usual), 0);
  return attribute(
    ops.map((o) => o.durations),
    group.size,
    total,
    { minimumOps: least },
  );
}

export default defineDetector({
  id: 'ep-imbalance',
  class: 'root',
  family: 'communication',
  scope: ['group', 'replica'],
  pace: 'slow',
  meaning: 'Some experts get most of the tokens: the rank that holds them works longest and the others wait.',
  rule: 'balancedness ≤ (1 − fall) × baseline; or the same rank last at ≥ share of the all-to-all exchanges (chance < p) saving ≥ saving of the time, while its GPU keeps its clock',
  signals: [
    'inference.moe.balance',
    'inference.requests.running',
    'hw.gpu.clock',
    'hw.gpu.utilization',
    'hw.gpu.sm_active',
  ],
  needs: [
    { grade: 'B', signals: ['inference.moe.balance'] },
    { grade: 'C', signals: ['hook.collective'] },
  ],
  enable:
    'SGLang’s expert balancedness (--enable-expert-distribution-metrics); without it the hook’s all-to-all exchanges, as a proxy.',
  params: {
    fall: t.number({ description: 'Share of the balancedness that is lost.', default: 0.15, minimum: 0, maximum: 1 }),
    saving: t.number({ description: 'Share of time the others wait for the hot rank.', default: 0.05, minimum: 0 }),
    p: t.number({ description: 'Largest chance of such a share among equal ranks.', default: 1e-6 }),
    operations: t.integer({ description: 'Fewest exchanges.', default: 64, minimum: 16 }),
    clock: t.number({
      description: 'Clock loss of the late rank’s GPU from which it is the GPU instead.',
      default: 0.03,
      minimum: 0,
      maximum: 1,
    }),
  },
  persist: { k: 3, n: 5 },
  not: [
    'a rotating hot rank: chance at few tokens',
    'a slow GPU at equal tokens',
    'a small batch: experts are uneven by chance',
  ],
  remedies: ['T6'],
  wouldChangeMyMind: 'The late rank gets no more tokens than the others.',
  evaluate(view) {
    const p = view.params;
    if (view.entity.kind === 'replica') {
      const decode = view.histogram('inference.moe.balance')?.mean(view.wf, 5);
      if (!decode) {
        if (view.has('inference.moe.balance')) return view.hold();
        const experts = view.events.groupsOf(view.entity).some((g) => g.complete.items.at(-1)?.op === 'all_to_all');
        return experts ? view.hold() : view.missing('inference.moe.balance');
      }
      const base = view.baseline('ep.balance', decode.value, 16);
      if (!base || base.median <= 0) return view.hold();
      // Few tokens are spread unevenly by chance; a change at an unchanged batch is not chance.
      const running = view.gauge('inference.requests.running')?.mean(view.wf);
      const usualRunning = running ? view.baseline('ep.running', running.value, 16) : undefined;
      const fewer = running && usualRunning ? running.value < usualRunning.median * 0.6 : false;
      return view.judge({
        all: [
          view.atMost(
            'inference.moe.balance',
            { ...decode, baseline: base },
            Math.min(base.median * (1 - p.fall), base.median - 4 * base.scale),
          ),
        ],
        counter: [
          view.counterEvidence('the batch shrank', fewer || undefined, `${Math.round(running?.value ?? 0)} running`),
        ],
        grade: 'B',
        intensity: 1 - decode.value / base.median,
        summary: `Replica ${view.entity.id}: experts are ${percent(decode.value)} balanced, usually ${percent(base.median)}.`,
      });
    }
    const group = view.events.groups.get(view.entity.id);
    if (!group) return view.hold();
    const hot = lastAtExchange(group, view.now, p.operations);
    if (!hot) return view.hold();
    const rank = group.members[hot.rank];
    const gpu = rank ? view.on(rank).related('gpu')[0] : undefined;
    const loss = gpu ? clockLoss(view.on(gpu), view.wf) : undefined;
    return view.judge({
      all: [
        view.atLeast(
          'hook.collective',
          hot.saving,
          p.saving,
          `time the others wait for the last (${hot.ops} exchanges)`,
        ),
        view.atLeast(
          'hook.collective',
          hot.share,
          stragglerShare(group.size),
          `share of exchanges with rank ${hot.rank} last`,
        ),
        view.atMost('hook.collective', hot.p, p.p, 'chance'),
        ...(loss ? [view.atMost('hw.gpu.clock', loss.loss, p.clock, 'clock loss of its GPU')] : []),
      ],
      counter: [
        view.counterEvidence(
          'its GPU is slow',
          loss ? loss.loss.value > p.clock : undefined,
          `clock loss ${percent(loss?.loss.value ?? 0)}`,
        ),
      ],
      grade: 'C',
      tags: [`hot:${rank?.id ?? hot.rank}`],
      intensity: hot.saving,
      summary: `Group ${view.entity.id}: rank ${rank?.id ?? hot.rank} comes last at ${percent(hot.share)} of the expert exchanges, and the others wait ${percent(hot.saving)} of the time; its GPU keeps its clock.`,
    });
  },
});
