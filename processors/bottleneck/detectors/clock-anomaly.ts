import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import {
  BRAKE,
  busy,
  clockLoss,
  clockStandsStill,
  gpuWords,
  MHz,
  POWER,
  percent,
  THERMAL,
  throttled,
} from '../readings.ts';

export default defineDetector({
  id: 'clock-anomaly',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'A GPU’s core or memory clock is low without a thermal or power reason.',
  rule: 'share of the core or memory clock lost ≥ clock_loss while utilisation ≥ load ∧ no thermal reason ≥ thermal_share ∧ no power reason ≥ power_share',
  signals: ['hw.gpu.throttle', 'hw.gpu.clock', 'hw.gpu.utilization', 'hw.gpu.sm_active', 'hw.temperature'],
  needs: [
    { grade: 'B', signals: ['hw.gpu.clock', 'hw.gpu.throttle'] },
    { grade: 'C', signals: ['hw.gpu.clock'] },
  ],
  enable: 'Run the nvidia_gpu or amd_gpu receiver, or scrape dcgm-exporter.',
  params: {
    clock_loss: t.number({
      description: 'Share of the clock that must be lost.',
      default: 0.08,
      minimum: 0,
      maximum: 1,
    }),
    load: t.number({
      description: 'Utilisation from which the clock means something.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    thermal_share: t.number({
      description: 'A thermal reason above this share of time is another detector’s case.',
      default: 0.03,
    }),
    power_share: t.number({
      description: 'A power reason above this share of time is another detector’s case.',
      default: 0.3,
    }),
    hot: t.number({
      description: 'Temperature in °C from which heat is suspected instead, where no reasons are told.',
      default: 84,
    }),
  },
  not: ['an idle GPU', 'throttling with a reason', 'another model of GPU'],
  remedies: ['G3', 'T1'],
  wouldChangeMyMind: 'A throttle reason appears, or the cohort is of another model of GPU.',
  evaluate(view) {
    const p = view.params;
    const util = busy(view, view.wf);
    if (util && util.value < p.load * 0.5) return view.clear();
    // A window that is idle in part (a start, a drain) mixes the idle clock with the other: nothing can be said of it.
    const least = view.gauge('hw.gpu.utilization')?.min(view.wf) ?? view.gauge('hw.gpu.sm_active')?.min(view.wf);
    if (least && least.value < p.load * 0.5) return view.hold();
    const core = clockLoss(view, view.wf);
    // A memory clock has a few steps and keeps to one of them: a short window says as much.
    const memory = clockLoss(view, 30_000, 'memory') ?? clockLoss(view, view.wf, 'memory');
    if (!core && !memory) return view.hold();
    const worst = memory && (!core || memory.loss.value > core.loss.value) ? memory : core!;
    const domain = worst === memory ? 'memory' : 'core';
    const thermal = throttled(view, THERMAL, view.wf)?.share;
    const power = throttled(view, POWER, view.wf)?.share;
    const brake = throttled(view, BRAKE, view.wf)?.share;
    const told = view.has('hw.gpu.throttle');
    const temperature = view.gauge('hw.temperature')?.mean(view.wf);
    const still = domain === 'core' ? clockStandsStill(view) : undefined;
    const reasons = [
      ...(thermal ? [view.atMost('hw.gpu.throttle', thermal, p.thermal_share)] : []),
      // The memory clock does not follow the power limit: a power reason says nothing about it.
      ...(power && domain === 'core' ? [view.atMost('hw.gpu.throttle', power, p.power_share)] : []),
      ...(brake ? [view.atMost('hw.gpu.throttle', brake, 0.02)] : []),
    ];
    return view.judge({
      all: [
        view.atLeast('hw.gpu.clock', worst.loss, p.clock_loss, `${domain}, against ${worst.by}`),
        ...(util ? [view.atLeast('hw.gpu.utilization', util, p.load)] : []),
        ...reasons,
      ],
      support: [
        still === undefined ? undefined : view.fact('hw.gpu.clock', still, 'the clock stands still'),
        view.fact('hw.gpu.clock', domain === 'memory', 'work does not move the memory clock'),
      ],
      counter: [
        view.counterEvidence(
          'the clock follows the work, as under a power limit, and no reasons are told',
          !told && domain === 'core' && still !== undefined ? !still : undefined,
          still ? 'it stands still' : 'it moves',
        ),
        view.counterEvidence(
          'the GPU is hot and tells no reasons',
          !told && temperature ? temperature.value >= p.hot : undefined,
          `${Math.round(temperature?.value ?? 0)} °C`,
        ),
      ],
      grade: told ? 'B' : 'C',
      tags: [domain],
      intensity: worst.loss.value,
      summary: `${gpuWords(view)}: ${domain} clock ${MHz(worst.hertz)} of ${MHz(worst.reference)} (${percent(worst.loss.value)} lost) ${told ? 'without a thermal or power reason' : 'and no reasons are told'}.`,
    });
  },
});
