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
  rule: 'share of time with a thermal reason ≥ share ∧ share of the clock lost ≥ clock_loss while utilisation ≥ load; without reasons: temperature ≥ hot (or peers + hotter) ∧ clock lost ≥ proxy_loss',
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
    clock_loss: t.number({
      description: 'Share of the clock that must be lost.',
      default: 0.04,
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
    proxy_loss: t.number({
      description: 'The stricter share where no reasons are told.',
      default: 0.06,
      minimum: 0,
      maximum: 1,
    }),
    critical_loss: t.number({
      description: 'Share of the clock lost that is critical whatever the impact.',
      default: 0.4,
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
    const severity = loss && loss.loss.value >= p.critical_loss ? ('critical' as const) : undefined;
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
        ? view.atLeast('hw.gpu.clock', loss.loss, p.clock_loss, `against ${loss.by}`)
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
        intensity: loss ? loss.loss.value : thermal.share.value,
        summary: `${where}: ${slow}, held down for thermal reasons ${percent(thermal.share.value)} of the time${temperature ? ` at ${Math.round(temperature.value)} °C` : ''}.`,
      });
    }
    if (thermal && !thermal.share && !clock(view, 'core', view.wf)) return view.missing('hw.gpu.clock');
    // No thermal reason is told: only heat and a lost clock together say something, and only a little.
    if (!temperature || !loss) return view.hold();
    const braked = throttled(view, BRAKE, view.wf)?.share;
    return view.judge({
      all: [
        view.atLeast('hw.gpu.clock', loss.loss, p.proxy_loss, `against ${loss.by}`),
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
      intensity: loss.loss.value,
      summary: `${where}: ${slow} at ${Math.round(temperature.value)} °C; the GPU tells no throttle reasons.`,
    });
  },
});
