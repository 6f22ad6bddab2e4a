import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { percent, seconds } from '../readings.ts';

export default defineDetector({
  id: 'cold-start',
  class: 'root',
  family: 'lifecycle',
  scope: 'replica',
  pace: 'slow',
  meaning: 'A replica takes much longer to start than it should: its capacity comes late.',
  rule: 'started (restart seen, or gone) and not serving for ≥ factor × its usual start, or ≥ limit where none is known (≥ starved × limit with I/O pressure on its node); or the phases it tells sum to that',
  signals: [
    'up',
    'process.uptime',
    'inference.engine.startup.duration',
    'inference.requests.running',
    'k8s.container.restart.count',
    'k8s.container.ready',
    'k8s.pod.status.ready',
    'system.psi.time',
  ],
  needs: [
    { grade: 'A', signals: ['event.restart'] },
    { grade: 'B', signals: ['up'] },
    { grade: 'B', signals: ['inference.engine.startup.duration'] },
  ],
  enable: 'Scrape the engine from its start on; its process start time tells how long a start took.',
  params: {
    factor: t.number({ description: 'A start over the usual one.', default: 2, minimum: 1 }),
    limit: t.duration({ description: 'A start that is too long where no other is known.', default: '10m' }),
    starved: t.number({
      description: 'The same, as a share of it, while the node’s tasks wait for I/O.',
      default: 0.15,
      minimum: 0,
      maximum: 1,
    }),
    pressure: t.number({
      description: 'I/O pressure (some) that starves a start.',
      default: 0.2,
      minimum: 0,
      maximum: 1,
    }),
  },
  persist: { k: 2, n: 3 },
  not: ['a replica that cannot be reached', 'one that dies and starts again: crash-loop', 'one that was scaled down'],
  remedies: ['L1'],
  wouldChangeMyMind: 'The process is not running at all, or starts of this model always take this long.',
  evaluate(view) {
    const p = view.params;
    const phases = view.values('inference.engine.startup.duration', 'phase').flatMap((phase) => {
      const m = view.gauge('inference.engine.startup.duration', { phase })?.last();
      return m ? [{ phase, s: m.value }] : [];
    });
    const told = phases.reduce((a, x) => a + x.s, 0);
    const uptimes = view.gauge('process.uptime')?.samples(1_800_000);
    // The first uptime after it fell is how long the process had been starting when it first answered.
    let own: number | undefined;
    for (let i = 1; uptimes && i < uptimes.v.length; i++)
      if (uptimes.v[i]! < uptimes.v[i - 1]! - 5) own = uptimes.v[i]!;
    if (own !== undefined) view.baseline('start', own);
    const known = [
      ...view.past('start', 3_600_000).v,
      ...view.peers().flatMap((e) => view.on(e).past('start', 3_600_000).v),
    ];
    const usual = known.length > 0 ? median(known) : undefined;
    const limitS = usual !== undefined ? Math.max(60, usual * p.factor) : p.limit / 1000;
    const restarted = view.events.happenings
      .since(view.now - 1_800_000, (h) => h.at)
      .filter((h) => h.entity === view.entity && /restart|crash|start/i.test(h.kind));
    const up = view.gauge('up');
    let gone: number | undefined;
    if (up?.fresh) {
      const { t: at, v } = up.samples(1_800_000);
      let i = v.length;
      while (i > 0 && v[i - 1]! < 0.5) i--;
      if (v.length - i >= 2) gone = (at[at.length - 1]! - at[i]! + up.step) / 1000;
    }
    if (gone === undefined) {
      if (phases.length > 0 && uptimes && (uptimes.v.at(-1) ?? 0) < told + 900) {
        const worst = phases.reduce((a, x) => (x.s > a.s ? x : a));
        return view.judge({
          all: [view.atLeast('inference.engine.startup.duration', told, limitS, 'seconds of start, all phases')],
          grade: 'A',
          tags: [worst.phase],
          intensity: told / limitS,
          summary: `Replica ${view.entity.id}: its start took ${seconds(told)}, of which ${worst.phase} ${percent(worst.s / Math.max(1e-9, told))}.`,
        });
      }
      if (!up && phases.length === 0) return view.missing('up', 'inference.engine.startup.duration');
      return view.clear();
    }
    const nodes = view.related('node');
    const io =
      nodes.length === 1
        ? view.on(nodes[0]!).counter('system.psi.time', { resource: 'io', kind: 'some' })?.rate(view.wf)
        : undefined;
    const starved = io !== undefined && io.value >= p.pressure;
    const starts = view.gauge('k8s.container.restart.count')?.samples(600_000).v ?? [];
    const running = restarted.length > 0 || (starts.length > 1 && starts.at(-1)! > starts[0]!);
    // A process that is started again and again is not starting slowly.
    if (restarted.length >= 3) return view.clear();
    const threshold = starved ? Math.min(limitS, (p.limit / 1000) * p.starved) : limitS;
    return view.judge({
      all: [
        view.atLeast(
          'up',
          gone,
          threshold,
          usual === undefined
            ? 'seconds without an answer'
            : `seconds without an answer; usual start ${seconds(usual)}`,
        ),
        view.fact('event.restart', running || starved, running ? 'it was started' : 'its node reads without end'),
      ],
      support: [view.atLeast('system.psi.time', io, p.pressure, 'I/O pressure of its node')],
      grade: running ? 'A' : 'C',
      tags: starved ? ['load-io'] : [],
      intensity: gone / threshold,
      summary: `Replica ${view.entity.id}: started, and not serving after ${seconds(gone)}${usual !== undefined ? ` (usually ${seconds(usual)})` : ''}${starved ? `; tasks of its node wait for I/O ${percent(io.value)} of the time` : ''}.`,
    });
  },
});
