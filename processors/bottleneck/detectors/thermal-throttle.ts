import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { BRAKE, busy, clock, clockLoss, gpuWords, MHz, POWER, percent, THERMAL, throttled } from '../readings.ts';

export default defineDetector({
  id: 'thermal-throttle',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'A GPU lowers its clock because it is too hot.',
  rule: 'share of time with a thermal reason ≥ share ∧ clock ≤ clock_ratio × reference while utilisation ≥ load; without reasons: temperature ≥ hot (or peers + hotter) ∧ clock ≤ proxy_ratio × reference',
  signals: ['hw.gpu.throttle', 'hw.gpu.clock', 'hw.gpu.utilization', 'hw.gpu.sm_active', 'hw.temperature', 'hw.power'],
  needs: [
    { grade: 'B', signals: ['hw.gpu.throttle', 'hw.gpu.clock'] },
    { grade: 'C', signals: ['hw.temperature', 'hw.gpu.clock'] },
  ],
  enable:
    'Run the nvidia_gpu or amd_gpu receiver, or add the clock-event and violation fields to dcgm-exporter’s field list.',
  params: {
    share: t.number({
      description: 'Least share of time with a thermal reason.',
      default: 0.05,
      minimum: 0,
      maximum: 1,
    }),
    clock_ratio: t.number({
      description: 'Clock over its reference at which it counts as lost.',
      default: 0.95,
      minimum: 0,
      maximum: 1,
    }),
    load: t.number({
      description: 'Utilisation from which the clock means something.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    hot: t.number({ description: 'Temperature in °C that counts as hot where no reasons are told.', default: 84 }),
    hotter: t.number({
      description: 'Kelvin above the peers that count as hot where no reasons are told.',
      default: 10,
    }),
    proxy_ratio: t.number({
      description: 'The stricter clock ratio where no reasons are told.',
      default: 0.93,
      minimum: 0,
      maximum: 1,
    }),
    critical_ratio: t.number({
      description: 'Clock ratio below which it is critical whatever the impact.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: ['the idle reason', 'a power cap: the clock is low, the temperature is not', 'a hot GPU that keeps its clock'],
  remedies: ['G1', 'T1'],
  wouldChangeMyMind: 'The clock stays low after the GPU has cooled, or its peers at the same load have the same clock.',
  evaluate(view) {
    const p = view.params;
    const util = busy(view, view.wf);
    if (util && util.value < p.load * 0.5) return view.clear();
    const loss = clockLoss(view, 30_000) ?? clockLoss(view, view.wf);
    const thermal = throttled(view, THERMAL, view.wf);
    const temperature = view.gauge('hw.temperature')?.mean(view.wf);
    const under = util ? [view.atLeast('hw.gpu.utilization', util, p.load)] : [];
    const where = gpuWords(view);
    const slow = loss ? `core clock ${MHz(loss.hertz)} of ${MHz(loss.reference)}` : 'core clock unknown';
    const severity = loss && loss.ratio.value <= p.critical_ratio ? ('critical' as const) : undefined;
    const power = throttled(view, POWER, view.wf)?.share;
    const neighbours = view.once(`hot|${view.name.node}`, () => {
      const here = view.related('node').flatMap((n) => view.topology.related(n, 'gpu').map((r) => r.entity));
      const hot = here.filter((g) => (throttled(view.on(g), THERMAL, view.wf)?.share?.value ?? 0) >= p.share);
      return { hot: hot.length, all: here.length };
    });
    const tags = neighbours.all >= 4 && neighbours.hot / neighbours.all >= 0.5 ? ['node-cooling'] : [];
    const peerTemperature = temperature
      ? view.peer('temperature', (v) => v.gauge('hw.temperature')?.mean(view.wf)?.value)?.median
      : undefined;
    const hot = temperature
      ? view.atLeast(
          'hw.temperature',
          temperature,
          Math.min(p.hot, (peerTemperature ?? Number.POSITIVE_INFINITY) + p.hotter),
        )
      : undefined;
    if (thermal?.share) {
      // Held down at times but fast on average is no loss; without a reference a large share must speak for itself.
      const clockCondition = loss
        ? view.atMost('hw.gpu.clock', loss.ratio, p.clock_ratio, `of ${loss.by}`)
        : view.atLeast('hw.gpu.throttle', thermal.share, Math.max(0.3, p.share), 'no reference clock');
      return view.judge({
        all: [view.atLeast('hw.gpu.throttle', thermal.share, p.share), clockCondition, ...under],
        support: [hot],
        counter: [
          view.counterEvidence(
            'a power reason dominates and the GPU is not hot',
            power && hot?.known ? power.value > thermal.share.value * 2 && !hot.holds : undefined,
            `power ${percent(power?.value ?? 0)}, thermal ${percent(thermal.share.value)}`,
          ),
        ],
        grade: loss ? 'B' : 'C',
        severity,
        tags,
        intensity: loss ? Math.max(0, 1 - loss.ratio.value) : thermal.share.value,
        summary: `${where}: ${slow}, held down for thermal reasons ${percent(thermal.share.value)} of the time${temperature ? ` at ${Math.round(temperature.value)} °C` : ''}.`,
      });
    }
    if (thermal && !thermal.share && !clock(view, 'core', view.wf)) return view.missing('hw.gpu.clock');
    // No thermal reason is told: only heat and a lost clock together say something, and only a little.
    if (!temperature || !loss) return view.hold();
    const braked = throttled(view, BRAKE, view.wf)?.share;
    return view.judge({
      all: [
        view.atMost('hw.gpu.clock', loss.ratio, p.proxy_ratio, `of ${loss.by}`),
        hot ?? view.atLeast('hw.temperature', temperature, p.hot),
        ...under,
      ],
      counter: [
        view.counterEvidence(
          'power brake',
          braked ? braked.value > 0.05 : undefined,
          `${percent(braked?.value ?? 0)} of the time`,
        ),
      ],
      grade: 'C',
      severity,
      tags,
      intensity: Math.max(0, 1 - loss.ratio.value),
      summary: `${where}: ${slow} at ${Math.round(temperature.value)} °C; the GPU tells no throttle reasons.`,
    });
  },
});
