import { t } from '../../../config/schema.ts';
import { quantile } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';

export default defineDetector({
  id: 'collective-stall',
  class: 'symptom',
  canBeRoot: true,
  family: 'communication',
  scope: 'group',
  pace: 'fast',
  meaning: 'A collective does not complete: some ranks are in it, others never came.',
  rule: 'an operation open for ≥ max(open, factor × p99) on some ranks ∧ others still before it; the missing ranks are the suspects',
  signals: [],
  needs: [{ grade: 'A', signals: ['hook.collective'] }],
  enable: 'Start the engine with the enginelight hook (collectives on); it reports operations that stay open.',
  params: {
    open: t.duration({ description: 'Time an operation must be open.', default: '5s' }),
    factor: t.number({ description: 'The same, as a multiple of the group’s own 99th percentile.', default: 20 }),
    fresh: t.duration({ description: 'A report of an open operation counts this long.', default: '30s' }),
  },
  persist: { k: 1, n: 1 },
  not: ['the first operation after a start: compilation', 'a paused engine'],
  remedies: ['T4'],
  wouldChangeMyMind: 'The operation completes, or all ranks are in it (then it is the transfer).',
  evaluate(view) {
    const p = view.params;
    const group = view.events.groups.get(view.entity.id);
    if (!group) return view.hold();
    const open = [...group.open.values()].filter((o) => view.now - o.at <= p.fresh);
    if (open.length === 0) return view.clear();
    const durations = group.complete.items.slice(-512).flatMap((o) => Array.from(o.durations));
    const usual = durations.length >= 100 ? quantile(durations, 0.99) : 0;
    const seq = Math.max(...open.map((o) => o.seq));
    const longest = Math.max(...open.map((o) => o.openMs + Math.max(0, view.now - o.at)));
    const inside = new Set(open.filter((o) => o.seq === seq).map((o) => o.rank));
    const missing: number[] = [];
    for (let r = 0; r < group.size; r++) if (!inside.has(r)) missing.push(r);
    const names = missing.map((r) => group.members[r]?.id ?? `rank ${r}`);
    return view.judge({
      all: [
        view.atLeast('hook.collective', longest, Math.max(p.open, p.factor * usual), 'milliseconds open'),
        view.fact(
          'hook.collective',
          group.complete.items.length > 0 || view.now - view.entity.firstSeen > 600_000,
          'the group has completed operations before',
        ),
      ],
      support: [
        view.fact('hook.collective', missing.length > 0 && missing.length < group.size, 'some ranks never came'),
      ],
      grade: 'A',
      discrete: true,
      severity: 'critical',
      tags: names.map((n) => `suspect:${n}`),
      intensity: longest / 1000,
      summary: `${open[0]!.op} ${seq} of group ${view.entity.id} is open for ${Math.round(longest / 1000)} s; ${names.length > 0 && names.length < group.size ? `missing: ${names.slice(0, 8).join(', ')}` : 'every rank is in it'}.`,
    });
  },
});
