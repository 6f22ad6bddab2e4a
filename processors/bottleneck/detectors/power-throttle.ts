import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import {
  againstMates,
  BRAKE,
  busy,
  clockLoss,
  clockLossAtTimes,
  clockStandsStill,
  gpuWords,
  MHz,
  POWER,
  percent,
  THERMAL,
  throttled,
} from '../readings.ts';

export default defineDetector({
  id: 'power-throttle',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'A GPU lowers its clock because it may not draw more power.',
  rule: 'power brake at all; or power limit < limit_ratio × default, or power reason ≥ share of time, each with clock lost ≥ clock_loss while utilisation ≥ load',
  signals: [
    'hw.gpu.throttle',
    'hw.gpu.clock',
    'hw.gpu.utilization',
    'hw.gpu.sm_active',
    'hw.power',
    'hw.power.limit',
    'hw.power.limit.default',
    'hw.temperature',
  ],
  needs: [
    { grade: 'B', signals: ['hw.gpu.throttle', 'hw.gpu.clock'] },
    { grade: 'C', signals: ['hw.power', 'hw.gpu.clock'] },
  ],
  enable:
    'Run the nvidia_gpu or amd_gpu receiver, or add the clock-event and violation fields to dcgm-exporter’s field list.',
  params: {
    brake: t.number({
      description: 'Share of time with the hardware power brake that is too much.',
      default: 0.02,
      minimum: 0,
      maximum: 1,
    }),
    share: t.number({
      description: 'Least share of time with a power reason, beside a lost clock.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    clock_loss: t.number({
      description: 'Share of the clock that must be lost.',
      default: 0.06,
      minimum: 0,
      maximum: 1,
    }),
    limit_ratio: t.number({
      description: 'Power limit over its default at which the limit counts as lowered.',
      default: 0.95,
      minimum: 0,
      maximum: 1,
    }),
    lowered_share: t.number({
      description: 'Share of five minutes with a lowered limit from which it counts although it is back at times.',
      default: 0.12,
      minimum: 0,
      maximum: 1,
    }),
    load: t.number({
      description: 'Utilisation from which the clock means something.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    power_ratio: t.number({
      description: 'Power over the peers’ at which it counts as capped where no reasons are told.',
      default: 0.85,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: ['the power reason alone: normal for a GPU that works at its TDP', 'a thermal reason'],
  remedies: ['G2', 'T1'],
  wouldChangeMyMind: 'The limit is the default and the peers have the same clock at the same load.',
  evaluate(view) {
    const p = view.params;
    const util = busy(view, view.wf);
    const where = gpuWords(view);
    const loss = clockLoss(view, 30_000) ?? clockLoss(view, view.wf);
    const slow = loss ? `core clock ${MHz(loss.hertz)} of ${MHz(loss.reference)}` : 'core clock unknown';
    const brake = throttled(view, BRAKE, view.wf)?.share;
    if (brake && brake.value >= p.brake) {
      return view.judge({
        all: [view.atLeast('hw.gpu.throttle', brake, p.brake)],
        support: [loss ? view.atLeast('hw.gpu.clock', loss.loss, p.clock_loss) : undefined],
        grade: 'B',
        tags: ['brake'],
        severity: 'critical',
        intensity: brake.value,
        summary: `${where}: hardware power brake ${percent(brake.value)} of the time, ${slow}.`,
      });
    }
    if (util && util.value < p.load * 0.5) return view.clear();
    if (!loss) return view.hold();
    const under = util ? [view.atLeast('hw.gpu.utilization', util, p.load)] : [];
    const power = throttled(view, POWER, view.wf)?.share;
    const thermal = throttled(view, THERMAL, view.wf)?.share;
    const limit = view.gauge('hw.power.limit')?.last();
    const told = view.gauge('hw.power.limit.default')?.last()?.value;
    // Where the default is not told, the limit of its peers stands for it.
    const normal = told ?? view.peer('power.limit', (v) => v.gauge('hw.power.limit')?.last()?.value)?.median;
    const lowered =
      limit && normal !== undefined && normal > 0
        ? view.atMost(
            'hw.power.limit',
            limit.value / normal,
            p.limit_ratio,
            told === undefined ? 'limit / peers' : 'limit / default',
          )
        : undefined;
    const usual = limit && normal !== undefined && normal > 0 ? p.limit_ratio * normal : 0;
    // A limit that is lowered now and then shows in some samples of the limit, and in the slow end of the clock.
    const atTimes =
      usual > 0 && !lowered?.holds
        ? view.gauge('hw.power.limit')?.share(view.ws, (v) => v <= usual, 'share of samples with a lowered limit')
        : undefined;
    const lossAtTimes = atTimes && atTimes.value > 0 ? clockLossAtTimes(view, view.ws) : undefined;
    const intermittent =
      atTimes && lossAtTimes && lossAtTimes.value > loss.loss.value
        ? { share: view.atLeast('hw.power.limit', atTimes, p.lowered_share), loss: lossAtTimes }
        : undefined;
    const lost = intermittent?.share.holds
      ? view.atLeast('hw.gpu.clock', intermittent.loss, p.clock_loss, 'against its group')
      : view.atLeast('hw.gpu.clock', loss.loss, p.clock_loss, `against ${loss.by}`);
    const counter = [
      view.counterEvidence(
        'a thermal reason',
        thermal ? thermal.value >= 0.05 : undefined,
        `${percent(thermal?.value ?? 0)} of the time`,
      ),
    ];
    const watts = view.gauge('hw.power')?.mean(view.wf);
    const drawn = watts ? ` drawing ${Math.round(watts.value)} W` : '';
    if (power || lowered) {
      return view.judge({
        all: [lost, ...under],
        any: [
          ...(power ? [view.atLeast('hw.gpu.throttle', power, p.share)] : []),
          ...(lowered ? [lowered] : []),
          ...(intermittent ? [intermittent.share] : []),
        ],
        counter,
        grade: 'B',
        tags: lowered?.holds || intermittent?.share.holds ? ['limit-lowered'] : [],
        intensity: Math.max(loss.loss.value, intermittent?.loss.value ?? 0),
        sizes:
          lowered?.holds && normal !== undefined
            ? { G2: { size: `back to ${Math.round(normal)} W from ${Math.round(limit!.value)} W` } }
            : {},
        summary: `${where}: ${slow}${drawn}, held down by its power limit${lowered?.holds ? ` (${Math.round(limit!.value)} of ${Math.round(normal!)} W)` : ''}${intermittent?.share.holds ? `, lowered ${percent(atTimes!.value)} of the time, then ${percent(intermittent.loss.value)} slower than its group` : ''}.`,
      });
    }
    if (view.has('hw.gpu.throttle') || !watts) return view.clear();
    const share = againstMates(view, (v) => v.gauge('hw.power')?.mean(view.wf)?.value);
    if (share === undefined) return view.hold();
    const still = clockStandsStill(view);
    const temperature = view.gauge('hw.temperature')?.mean(view.wf);
    return view.judge({
      all: [lost, view.atMost('hw.power', share, p.power_ratio, 'power / its group'), ...under],
      counter: [
        ...counter,
        view.counterEvidence('the clock stands still, as if locked', still, 'a power limit lets it follow the work'),
        view.counterEvidence(
          'the GPU is hot',
          temperature ? temperature.value >= 84 : undefined,
          `${Math.round(temperature?.value ?? 0)} °C`,
        ),
      ],
      grade: 'C',
      intensity: loss.loss.value,
      summary: `${where}: ${slow}${drawn} where the others of its group draw ${Math.round(watts.value / share)} W.`,
    });
  },
});
