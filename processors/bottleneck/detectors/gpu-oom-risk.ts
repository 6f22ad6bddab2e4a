import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'gpu-oom-risk',
  class: 'root',
  family: 'memory',
  scope: ['gpu', 'replica'],
  pace: 'slow',
  meaning: 'Memory ran out, or is about to.',
  rule: 'an OOM event or kill: critical; else GPU memory grows (Mann–Kendall p < .01 over ten minutes) and is full within eta; or container memory ≥ full of its limit',
  signals: [
    'hw.gpu.memory.usage',
    'hw.gpu.memory.limit',
    'container.memory.oom_kills',
    'container.memory.working_set',
    'container.memory.limit',
    'system.memory.oom_kills',
    'process.uptime',
  ],
  needs: [
    { grade: 'A', signals: ['event.oom'] },
    { grade: 'B', signals: ['hw.gpu.memory.usage', 'hw.gpu.memory.limit'] },
    { grade: 'B', signals: ['container.memory.oom_kills'] },
    { grade: 'C', signals: ['system.memory.oom_kills'] },
  ],
  enable: 'Run the nvidia_gpu or amd_gpu receiver and the host receiver, or scrape dcgm-exporter and cAdvisor.',
  params: {
    eta: t.duration({ description: 'Memory that is full within this time is a risk.', default: '15m' }),
    least: t.number({
      description: 'Share in use below which growth is no risk yet.',
      default: 0.8,
      minimum: 0,
      maximum: 1,
    }),
    full: t.number({ description: 'Share of the container’s memory limit.', default: 0.95, minimum: 0, maximum: 1 }),
    hold: t.duration({ description: 'How long an event keeps the finding up.', default: '5m' }),
  },
  persist: { k: 2, n: 4 },
  not: ['high and constant GPU memory: engines reserve it up front', 'growth while graphs are captured at the start'],
  remedies: ['M5'],
  wouldChangeMyMind: 'The memory stops growing below its limit.',
  evaluate(view) {
    const p = view.params;
    const event = view.happened(/oom/i, p.hold);
    const killed =
      view.counter('container.memory.oom_kills')?.increase(p.hold) ??
      (view.entity.kind === 'replica' &&
      view.related('node').length === 1 &&
      restarted(view.gauge('process.uptime')?.last()?.value, p.hold)
        ? view.on(view.related('node')[0]!).counter('system.memory.oom_kills')?.increase(p.hold)
        : undefined);
    if (event || (killed?.value ?? 0) >= 1) {
      return view.judge({
        all: [
          event ? view.fact('event.oom', true, 'out of memory') : view.atLeast('container.memory.oom_kills', killed, 1),
        ],
        grade: event ? 'A' : 'B',
        discrete: true,
        severity: 'critical',
        tags: ['happened'],
        intensity: 3,
        summary: `${view.entity.kind === 'gpu' ? 'GPU' : 'Replica'} ${view.entity.id}: out of memory.`,
      });
    }
    if (view.entity.kind === 'gpu') {
      const usage = view.gauge('hw.gpu.memory.usage');
      const now = usage?.last()?.value;
      const limit = view.gauge('hw.gpu.memory.limit')?.last()?.value;
      const trend = usage?.trend(600_000);
      if (!usage || now === undefined) return view.missing('hw.gpu.memory.usage');
      if (limit === undefined || limit <= 0) return view.missing('hw.gpu.memory.limit');
      if (!trend || trend.n < 16) return view.hold();
      const etaMs = trend.perSecond > 0 ? ((limit - now) / trend.perSecond) * 1000 : Number.POSITIVE_INFINITY;
      if (trend.p >= 0.01 || now / limit < p.least || etaMs > p.eta) return view.clear();
      return view.judge({
        all: [
          view.atMost('hw.gpu.memory.usage', etaMs / 1000, p.eta / 1000, 'seconds until it is full'),
          view.atLeast('hw.gpu.memory.usage', now / limit, p.least, 'share in use'),
        ],
        grade: 'B',
        tags: ['growth'],
        intensity: p.eta / Math.max(1000, etaMs),
        summary: `GPU ${view.entity.id}: memory ${percent(now / limit)} in use and full in about ${Math.round(etaMs / 60_000)} min.`,
      });
    }
    const limit = view.gauge('container.memory.limit')?.last()?.value;
    const used = view.gauge('container.memory.working_set')?.last()?.value;
    if (limit === undefined || used === undefined || limit <= 0) return view.clear();
    if (used / limit < p.full) return view.clear();
    return view.judge({
      all: [view.atLeast('container.memory.working_set', used / limit, p.full, 'share of the limit')],
      grade: 'B',
      tags: ['container'],
      intensity: used / limit,
      summary: `Replica ${view.entity.id}: its container uses ${percent(used / limit)} of its memory limit.`,
    });
  },
});

/** A kill counted on the node is this replica's only if it has just started again. */
const restarted = (uptime: number | undefined, holdMs: number) => uptime !== undefined && uptime * 1000 < holdMs;
