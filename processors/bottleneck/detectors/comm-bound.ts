import { t } from '../../../config/schema.ts';
import { commShare } from '../comm.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'comm-bound',
  class: 'symptom',
  canBeRoot: true,
  family: 'communication',
  scope: 'replica',
  pace: 'fast',
  meaning: 'Moving data between the ranks of a replica takes too much of its time; nobody is late.',
  rule: 'transfer time of collectives (shortest durations) / time ≥ max(share, factor × baseline) ∧ Σ shortest / Σ longest ≥ transfer',
  signals: ['inference.comm.duration', 'inference.comm.bus_bandwidth', 'inference.inter_token.latency'],
  needs: [
    { grade: 'A', signals: ['hook.collective'] },
    { grade: 'B', signals: ['inference.comm.bus_bandwidth'] },
  ],
  enable:
    'Start the engine with the enginelight hook (collectives on), or feed NCCL Inspector dumps. Under CUDA graphs NCCL reports intra-node operations only with kernel events on.',
  params: {
    share: t.number({ description: 'Share of time in transfers.', default: 0.25, minimum: 0, maximum: 1 }),
    factor: t.number({ description: 'The same, over its usual.', default: 1.5, minimum: 1 }),
    transfer: t.number({
      description: 'Shortest over longest durations below which somebody is late.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
  },
  persist: { k: 3, n: 5 },
  not: [
    'waiting for a straggler inside the operations',
    'a model that always communicates this much',
    'low link utilisation does not exonerate: small messages are bound by latency',
  ],
  remedies: ['T2', 'T3'],
  wouldChangeMyMind: 'The shortest duration of each operation is at its usual (then the ranks wait for somebody).',
  evaluate(view) {
    const p = view.params;
    const groups = view.events.groupsOf(view.entity);
    if (groups.length === 0) return view.missing('hook.collective');
    let worst: { share: NonNullable<ReturnType<typeof commShare>>; base: number; id: string } | undefined;
    let known = false;
    for (const group of groups) {
      const share = commShare(group, view.now, 90_000);
      if (!share) continue;
      known = true;
      const base = view.on(group.entity).baseline('comm.share', share.pure, 12)?.median;
      const reference =
        base ??
        view.on(group.entity).peer('comm.share.peer', (v) => {
          const other = v.events.groups.get(v.entity.id);
          return other && other.size === group.size ? commShare(other, v.now, 90_000)?.pure : undefined;
        })?.median;
      if (reference === undefined) continue;
      if (!worst || share.pure / reference > worst.share.pure / worst.base)
        worst = { share, base: reference, id: group.entity.id };
    }
    if (!worst) return known ? view.hold() : view.clear();
    const { share, base } = worst;
    const itl = view.histogram('inference.inter_token.latency')?.mean(view.wf);
    const usual = itl ? view.baseline('comm.itl', itl.value, 16) : undefined;
    return view.judge({
      all: [
        view.atLeast(
          'hook.collective',
          share.pure,
          Math.max(p.share, base * p.factor),
          `share of time in transfers of ${worst.id} (${share.ops} operations)`,
        ),
        view.atLeast('hook.collective', share.transfer, p.transfer, 'shortest / longest durations'),
      ],
      support: [
        itl && usual
          ? view.atLeast('inference.inter_token.latency', { ...itl, baseline: usual }, usual.median * 1.15)
          : undefined,
      ],
      grade: 'A',
      intensity: share.pure,
      summary: `Replica ${view.entity.id}: collectives take ${percent(share.pure)} of the time, usually ${percent(base)}, and no rank is late.`,
    });
  },
});
