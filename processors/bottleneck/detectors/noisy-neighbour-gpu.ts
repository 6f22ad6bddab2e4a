import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import { defineDetector } from '../detector.ts';
import { againstMates, busy, gpuWords, mates, percent } from '../readings.ts';
import type { View } from '../view.ts';

const GIB = 1024 ** 3;

/** Bytes in use on the device over the last minute, and whether they still rise. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function memory(view: View<any>): { value: number; rising: boolean } | undefined {
  const reading = view.gauge('hw.gpu.memory.usage');
  const samples = reading?.samples(view.wf).v;
  if (!samples || samples.length < 3) return undefined;
  const value = median(samples);
  // A leak grows within the minute; somebody else's process allocates at once and stays.
  return { value, rising: samples.at(-1)! - samples[samples.length >> 1]! > 0.05 * GIB };
}

/** How much more of something others than the engine have than usual; undefined while the usual is not known. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function newly(view: View<any>, name: string, signal: string): number | undefined {
  const now = view.gauge(signal)?.mean(view.wf)?.value;
  if (now === undefined) return undefined;
  const usual = view.baseline(name, now, 16);
  return usual && now - usual.median;
}

export default defineDetector({
  id: 'noisy-neighbour-gpu',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'slow',
  meaning: 'Another process computes on an engine’s GPU, or holds memory there.',
  rule: 'processes that are not the engine’s hold ≥ memory more than usual, or run ≥ activity more of the time; without a list of processes: device memory ≥ memory above its usual, at once and not on the other GPUs of the replica, while the engine did not restart ∧ activity (DRAM, SM, tensor) above its usual against the other GPUs; or GPU active ≥ active while the engine runs nothing',
  signals: [
    'hw.gpu.foreign.processes',
    'hw.gpu.foreign.memory.usage',
    'hw.gpu.foreign.utilization',
    'hw.gpu.memory.usage',
    'hw.gpu.dram_active',
    'hw.gpu.sm_active',
    'hw.gpu.tensor_active',
    'hw.gpu.utilization',
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.requests.finished',
    'inference.tokens.prompt',
    'inference.tokens.generated',
    'process.uptime',
  ],
  needs: [
    { grade: 'A', signals: ['hw.gpu.foreign.processes'] },
    { grade: 'B', signals: ['hw.gpu.memory.usage', 'hw.gpu.dram_active'] },
    { grade: 'C', signals: ['hw.gpu.utilization', 'inference.requests.running'] },
  ],
  enable:
    'The GPU receivers, which know whose a process on a GPU is; or device memory and DRAM activity of every GPU (dcgm-exporter’s profiling fields or the GPU receivers).',
  params: {
    memory: t.size({ description: 'Foreign memory from which somebody else is there.', default: '1GiB' }),
    activity: t.number({
      description: 'Rise of DRAM, SM or tensor activity against the other GPUs of the replica (or its own past).',
      default: 0.05,
      minimum: 0,
    }),
    active: t.number({
      description: 'Activity with nothing running that is somebody else’s.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: [
    'a memory leak: it grows, a process allocates at once',
    'an engine that restarted with other settings',
    'co-tenants on purpose (MIG, MPS)',
    'a group that spins in a collective: then its engine has requests',
  ],
  remedies: ['G6'],
  wouldChangeMyMind: 'The process list of the GPU shows only the engine.',
  evaluate(view) {
    const p = view.params;
    const strangers = view.gauge('hw.gpu.foreign.processes')?.max(view.wf);
    const taken = newly(view, 'tenant.foreign.memory', 'hw.gpu.foreign.memory.usage');
    const ran = newly(view, 'tenant.foreign.use', 'hw.gpu.foreign.utilization');
    if (strangers && strangers.value > 0 && ((taken ?? 0) >= p.memory || (ran ?? 0) >= p.activity)) {
      return view.judge({
        all: [
          view.atLeast('hw.gpu.foreign.processes', strangers, 1, 'processes that are not the engine’s'),
          (taken ?? 0) >= p.memory
            ? view.atLeast('hw.gpu.foreign.memory.usage', taken, p.memory, 'bytes more than usual')
            : view.atLeast('hw.gpu.foreign.utilization', ran, p.activity, 'of the time more than usual'),
        ],
        support: [view.atLeast('hw.gpu.foreign.utilization', ran, p.activity, 'of the time more than usual')],
        grade: 'A',
        intensity: Math.max(0.01, ran ?? 0),
        summary: `${gpuWords(view)}: processes that are not the engine’s (${strangers.value}) hold ${((taken ?? 0) / GIB).toFixed(1)} GiB more than usual and run ${percent(ran ?? 0)} of the time more.`,
      });
    }
    const replica = view.the('replica');
    const engine = replica ? view.on(replica) : undefined;
    const now = memory(view);
    const dram = againstMates(view, (v) => v.gauge('hw.gpu.dram_active')?.mean(view.wf)?.value);
    const own = view.gauge('hw.gpu.dram_active')?.mean(view.wf);
    const used = now ? view.baseline('tenant.memory', now.value, 16) : undefined;
    const usualRatio = dram === undefined ? undefined : view.baseline('tenant.dram', dram, 16);
    const usualOwn = own ? view.baseline('tenant.own', own.value, 16) : undefined;
    const running = engine?.gauge('inference.requests.running')?.max(view.wf);
    const waiting = engine?.gauge('inference.requests.waiting')?.max(view.wf);
    const activity = busy(view, view.wf);
    // Gauges can miss short requests; the counters do not.
    const work = ['inference.tokens.prompt', 'inference.tokens.generated', 'inference.requests.finished'].flatMap(
      (signal) => engine?.counter(signal)?.increase(2 * view.wf)?.value ?? [],
    );
    const still = work.length >= 2 && work.every((n) => n === 0);
    const idle = still && running !== undefined && running.value === 0 && (waiting?.value ?? 0) === 0;
    if (!now && !(activity && running)) return view.missing('hw.gpu.memory.usage', 'hw.gpu.dram_active');
    if (idle && activity && activity.value >= p.active) {
      return view.judge({
        all: [
          view.atLeast('hw.gpu.utilization', activity, p.active),
          view.fact('inference.requests.running', true, 'the engine runs nothing'),
        ],
        grade: 'C',
        tags: ['idle-engine'],
        intensity: activity.value,
        summary: `${gpuWords(view)}: ${percent(activity.value)} active while its engine runs nothing.`,
      });
    }
    if (!now || !used) return view.hold();
    const uptime = engine?.gauge('process.uptime')?.last()?.value;
    if (view.happened(/restart|crash|oom/, 600_000) || (uptime !== undefined && uptime < 600)) return view.hold();
    const others = mates(view).flatMap((e) => {
      const v = view.on(e);
      const m = memory(v);
      const base = m ? v.baseline('tenant.memory', m.value, 16) : undefined;
      return m && base ? [m.value - base.median] : [];
    });
    const alone = others.length === 0 || median(others) < p.memory / 2;
    const grown = now.value - used.median;
    const rise =
      dram !== undefined && usualRatio
        ? dram - usualRatio.median
        : own && usualOwn
          ? own.value - usualOwn.median
          : undefined;
    return view.judge({
      all: [
        view.atLeast('hw.gpu.memory.usage', grown, p.memory, 'bytes above its usual'),
        view.fact('hw.gpu.memory.usage', !now.rising && alone, 'taken at once, on this GPU only'),
      ],
      support: [view.atLeast('hw.gpu.dram_active', rise, p.activity, 'DRAM activity above its usual')],
      grade: rise !== undefined && rise >= p.activity ? 'B' : 'C',
      intensity: Math.max(0.01, rise ?? 0),
      summary: `${gpuWords(view)}: ${(grown / GIB).toFixed(1)} GiB more are in use than usual${rise !== undefined && rise >= p.activity ? ', and its memory is busier than its work explains' : ''}; the engine did not restart.`,
    });
  },
});
