import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { busy, gpuWords } from '../readings.ts';
import { firstFrom, valueAt } from '../rings.ts';

export default defineDetector({
  id: 'pcie-degradation',
  class: 'root',
  family: 'hardware',
  scope: 'gpu',
  pace: 'fast',
  meaning: 'The PCIe link of a GPU runs narrower or slower than it can, or repeats packets.',
  rule: 'width < max, or speed < max while the GPU is busy, for a minute; or replays ≥ replays a minute',
  signals: [
    'hw.gpu.pcie.width',
    'hw.gpu.pcie.speed',
    'hw.gpu.link.errors',
    'hw.gpu.utilization',
    'hw.gpu.sm_active',
    'hw.gpu.io',
  ],
  needs: [
    { grade: 'B', signals: ['hw.gpu.pcie.width'] },
    { grade: 'B', signals: ['hw.gpu.link.errors'] },
    { grade: 'C', signals: ['hw.gpu.io', 'hw.gpu.utilization'] },
  ],
  enable: 'Run the nvidia_gpu, amd_gpu or host receiver, or add the PCIe fields to dcgm-exporter’s field list.',
  params: {
    replays: t.number({ description: 'Replayed packets a minute that are too many.', default: 10, minimum: 0 }),
    load: t.number({
      description: 'Utilisation from which a low speed is no power saving.',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
  },
  not: ['a lower speed while idle: the link saves power'],
  remedies: ['G5'],
  wouldChangeMyMind:
    'The slot itself is narrower (its peers on the same board are, too), or the speed is full under load.',
  evaluate(view) {
    const p = view.params;
    const now = (signal: string) => {
      const channels = view.gauge(signal)?.channels ?? [];
      return channels.some((c) => c.attributes['limit_type'] === undefined)
        ? pick(signal, (limit) => limit === undefined)
        : undefined;
    };
    const pick = (signal: string, which: (limit: string | undefined) => boolean) => {
      const channels = (view.gauge(signal)?.channels ?? []).filter((c) => which(c.attributes['limit_type']));
      const ring = channels[0]?.ring;
      return ring && ring.size > 0 ? ring.v[(ring.start + ring.size - 1) & (ring.v.length - 1)] : undefined;
    };
    // An idle link saves power at its lowest speed, and between two requests it is idle: once at full speed in five minutes, it is well.
    const everFull = (full: number): boolean => {
      const channel = view.gauge('hw.gpu.pcie.speed')?.channels.find((c) => c.attributes['limit_type'] === undefined);
      if (!channel) return false;
      const { ring } = channel;
      const first = firstFrom(ring, view.now - view.ws);
      if (ring.size - first < 4) return true;
      for (let i = first; i < ring.size; i++) if (valueAt(ring, i) >= full * 0.95) return true;
      return false;
    };
    const width = now('hw.gpu.pcie.width');
    const fullWidth = pick('hw.gpu.pcie.width', (limit) => limit === 'max');
    const speed = now('hw.gpu.pcie.speed');
    const fullSpeed = pick('hw.gpu.pcie.speed', (limit) => limit === 'max');
    const util = busy(view, view.wf);
    const replays = view.counter('hw.gpu.link.errors', { link: 'pcie', 'error.type': 'replay' })?.increase(view.wf);
    const perMinute = replays ? (replays.value * 60_000) / Math.max(1, replays.windowMs) : undefined;
    const narrow = width !== undefined && fullWidth !== undefined && width < fullWidth;
    const slow =
      speed !== undefined &&
      fullSpeed !== undefined &&
      speed < fullSpeed * 0.95 &&
      (util?.value ?? 0) >= p.load &&
      !everFull(fullSpeed);
    const repeats = perMinute !== undefined && perMinute >= p.replays;
    if (width === undefined && speed === undefined && replays === undefined) {
      return view.missing('hw.gpu.pcie.width', 'hw.gpu.link.errors');
    }
    if (!narrow && !slow && !repeats) return view.clear();
    return view.judge({
      all: [
        narrow
          ? view.atMost('hw.gpu.pcie.width', width, fullWidth * 0.75, `lanes of ${fullWidth}`)
          : slow
            ? view.atMost('hw.gpu.pcie.speed', speed, fullSpeed * 0.95, `GT/s of ${fullSpeed}`)
            : view.atLeast('hw.gpu.link.errors', perMinute, p.replays, 'PCIe replays a minute'),
      ],
      grade: 'B',
      tags: [narrow ? 'width' : slow ? 'speed' : 'replays'],
      intensity: narrow ? fullWidth / width : slow ? fullSpeed / speed : (perMinute ?? 0) / p.replays,
      summary: `${gpuWords(view)}: PCIe ${narrow ? `${width} of ${fullWidth} lanes` : slow ? `${speed} of ${fullSpeed} GT/s` : `${Math.round(perMinute ?? 0)} replays a minute`}.`,
    });
  },
});
