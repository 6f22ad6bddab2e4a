import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import type { Bounded, Step } from '../events.ts';
import { busy, percent } from '../readings.ts';

export default defineDetector({
  id: 'host-bound',
  class: 'root',
  family: 'phase',
  scope: 'replica',
  pace: 'slow',
  meaning: 'The GPU waits for the CPU: scheduling, launching, detokenising, or a throttled container.',
  rule: 'gap share between steps while running ≥ gap ∧ ≥ factor × baseline; without steps: GPU activity < activity of its usual ∧ (CPU throttled ≥ throttled, or an engine thread ≥ core, or CPU pressure ≥ pressure)',
  signals: [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.inter_token.latency',
    'inference.step.tokens',
    'process.cpu.time',
    'container.cpu.throttled.periods',
    'container.cpu.periods',
    'container.cpu.throttled.time',
    'container.cpu.time',
    'hw.gpu.utilization',
    'hw.gpu.sm_active',
    'container.psi.time',
    'system.psi.time',
  ],
  needs: [
    { grade: 'A', signals: ['hook.engine_step', 'inference.requests.running'] },
    { grade: 'B', signals: ['hw.gpu.utilization', 'inference.requests.running'] },
  ],
  enable:
    'The hook’s engine steps show the gaps; otherwise a GPU activity signal and a CPU signal (host receiver, cAdvisor, process_cpu_seconds) are needed.',
  params: {
    gap: t.number({
      description: 'Share of step time in which the GPU waits for the host.',
      default: 0.2,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({ description: 'The same, over its usual.', default: 1.4, minimum: 1 }),
    unknown: t.number({
      description: 'The gap share that is too much where nothing usual is known.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
    activity: t.number({
      description: 'GPU activity below which it may be waiting, where steps are not told.',
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
    throttled: t.number({ description: 'Share of CPU periods throttled.', default: 0.05, minimum: 0, maximum: 1 }),
    core: t.number({
      description: 'Busy share of one core by the engine’s busiest thread (or process).',
      default: 0.95,
      minimum: 0,
    }),
    pressure: t.number({
      description: 'CPU pressure (some) of the container or node.',
      default: 0.2,
      minimum: 0,
      maximum: 1,
    }),
    running: t.integer({ description: 'Fewest running requests for the whole window.', default: 4, minimum: 1 }),
  },
  not: [
    'an idle engine',
    'a pipeline bubble',
    'waiting for a straggler: the GPU spins and looks busy',
    'a noisy neighbour: then that is the root',
  ],
  remedies: ['H1', 'H2'],
  wouldChangeMyMind: 'The gaps end when data arrives from another rank or stage, not when this host launches.',
  evaluate(view) {
    const p = view.params;
    const running = view.gauge('inference.requests.running')?.min(view.wf);
    const gaps = gapShare(view.events.steps(view.entity), view.now);
    const throttled = throttledShare(view);
    const nodes = view.related('node');
    const container = view.counter('container.psi.time', { resource: 'cpu', kind: 'some' })?.rate(view.wf);
    const pressure =
      container ??
      (nodes.length === 1
        ? view.on(nodes[0]!).counter('system.psi.time', { resource: 'cpu', kind: 'some' })?.rate(view.wf)
        : undefined);
    const core = view.counter('process.cpu.time')?.rate(view.wf);
    const usualCore = core ? view.baseline('cores', core.value) : undefined;
    const cpu = [
      view.atLeast('container.cpu.throttled.periods', throttled, p.throttled, 'share of periods throttled'),
      view.atLeast(container ? 'container.psi.time' : 'system.psi.time', pressure, p.pressure),
      // A busy process is normal; one that needs more than it used to, up to a whole core, is not.
      view.atLeast(
        'process.cpu.time',
        core,
        usualCore ? Math.max(p.core, usualCore.median * 1.25) : Number.POSITIVE_INFINITY,
        'cores used by the engine process',
      ),
    ];
    if (gaps) {
      const gap = gaps.share;
      // Some gap is normal (synchronous scheduling, small models): what counts is more than usual, or more than the peers.
      const base = view.baseline('hostgap', gap);
      const peer = view.peer('hostgap', (v) => gapShare(v.events.steps(v.entity), v.now)?.share);
      const usual = base?.median ?? peer?.median;
      // What the container is denied explains a smaller rise.
      const factor = throttled !== undefined && throttled >= p.throttled ? 1 + (p.factor - 1) / 2 : p.factor;
      const threshold =
        usual === undefined ? p.unknown : Math.max(p.gap, usual * factor, base ? base.median + 4 * base.scale : 0);
      return view.judge({
        all: [
          view.atLeast('hook.engine_step', gap, threshold, `share of ${gaps.steps} step periods without GPU work`),
          ...(running ? [view.atLeast('inference.requests.running', running, 1)] : []),
        ],
        support: cpu,
        // The gaps are measured; that the host makes them is only sure where its CPU is seen to be short.
        grade: usual === undefined ? 'C' : cpu.some((c) => c.known && c.holds) ? 'A' : 'B',
        tags: throttled !== undefined && throttled >= p.throttled ? ['quota'] : [],
        intensity: gap,
        summary: `Replica ${view.entity.id}: the GPU waits for the host ${percent(gap)} of the time between steps${usual !== undefined ? ` (usually ${percent(usual)})` : ''}${throttled !== undefined && throttled >= p.throttled ? `; its container is throttled in ${percent(throttled)} of CPU periods` : ''}.`,
      });
    }
    const gpus = view.related('gpu').filter((g) => view.topology.related(g, 'replica').length === 1);
    const activity = gpus.flatMap((g) => busy(view.on(g), view.wf)?.value ?? []);
    if (activity.length === 0) return view.missing('hw.gpu.utilization', 'hook.engine_step');
    if (!running) return view.hold();
    const mean = activity.reduce((a, b) => a + b, 0) / activity.length;
    const base = view.baseline('activity', mean);
    const itl = view.histogram('inference.inter_token.latency')?.mean(view.wf);
    const usual = itl ? view.baseline('itl', itl.value) : undefined;
    return view.judge({
      all: [
        view.atMost(
          'hw.gpu.utilization',
          mean,
          base ? Math.min(p.activity, base.median * 0.92) : p.activity,
          'activity of its GPUs',
        ),
        view.atLeast('inference.requests.running', running, p.running),
      ],
      any: cpu,
      support: [
        itl && usual
          ? view.atLeast('inference.inter_token.latency', { ...itl, baseline: usual }, usual.median * 1.15)
          : undefined,
      ],
      grade: 'B',
      tags: throttled !== undefined && throttled >= p.throttled ? ['quota'] : [],
      intensity: 1 - mean,
      summary: `Replica ${view.entity.id}: its GPUs are only ${percent(mean)} active with ${Math.round(running.value)} or more running, and its CPU is short${throttled !== undefined && throttled >= p.throttled ? ` (throttled in ${percent(throttled)} of periods)` : ''}.`,
    });
  },
});

/** Share of the time between steps in which the GPU has nothing to do; undefined below twenty steps in 90 s. */
function gapShare(list: Bounded<Step> | undefined, now: number): { share: number; steps: number } | undefined {
  const steps = list?.since(now - 90_000, (s) => s.end) ?? [];
  // One rank’s steps: all ranks tell the same schedule.
  const rank = steps[0]?.rank;
  const own = steps.filter((s) => s.rank === rank && s.gpuMs !== undefined);
  let wall = 0;
  let gpu = 0;
  for (let i = 1; i < own.length; i++) {
    const period = own[i]!.start - own[i - 1]!.start;
    // Steps come in sampled bursts; a long distance is a pause of the sampling (or of the load).
    if (period <= 0 || period > 5 * Math.max(20, own[i - 1]!.end - own[i - 1]!.start)) continue;
    wall += period;
    gpu += Math.min(period, own[i - 1]!.gpuMs!);
  }
  return wall > 0 && own.length >= 20 ? { share: 1 - gpu / wall, steps: own.length } : undefined;
}

/** Share of CPU periods (or of time) in which the replica’s container was throttled. */
function throttledShare(view: {
  counter(signal: string): { increase(w: number): { value: number; windowMs: number } | undefined } | undefined;
  wf: number;
}): number | undefined {
  const periods = view.counter('container.cpu.periods')?.increase(view.wf);
  const held = view.counter('container.cpu.throttled.periods')?.increase(view.wf);
  if (periods && held && periods.value > 0) return Math.min(1, held.value / periods.value);
  const time = view.counter('container.cpu.throttled.time')?.increase(view.wf);
  return time ? Math.min(1, (time.value * 1000) / time.windowMs) : undefined;
}
