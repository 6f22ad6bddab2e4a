import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';
import { percent } from '../readings.ts';

export default defineDetector({
  id: 'noisy-neighbour-host',
  class: 'root',
  family: 'hardware',
  scope: 'node',
  pace: 'slow',
  meaning: 'Something else on the machine takes CPU, memory bandwidth or disk from the engines.',
  rule: 'steal ≥ steal; or node CPU ≥ cpu while the engines use less than own of it; or pressure (cpu, io) ≥ pressure and ≥ factor × its usual',
  signals: ['system.cpu.time', 'system.psi.time', 'container.cpu.time', 'process.cpu.time'],
  needs: [
    { grade: 'B', signals: ['system.psi.time', 'system.cpu.time'] },
    { grade: 'C', signals: ['system.cpu.time'] },
  ],
  enable: 'Run the host receiver on the node, or scrape node_exporter.',
  params: {
    steal: t.number({
      description: 'Share of CPU time taken by the hypervisor.',
      default: 0.05,
      minimum: 0,
      maximum: 1,
    }),
    cpu: t.number({
      description: 'Share of the node’s CPU in use that is full.',
      default: 0.9,
      minimum: 0,
      maximum: 1,
    }),
    own: t.number({
      description: 'Share of that use by the engines below which it is somebody else’s.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
    pressure: t.number({
      description: 'Share of time tasks wait (PSI some) that is too much.',
      default: 0.2,
      minimum: 0,
      maximum: 1,
    }),
    factor: t.number({ description: 'Pressure over its usual.', default: 2, minimum: 1 }),
  },
  not: ['an engine’s own CPU quota: host-bound', 'pressure that the engines cause themselves'],
  remedies: ['H2'],
  wouldChangeMyMind: 'The engines’ own containers use the CPU that is missing.',
  evaluate(view) {
    const p = view.params;
    let total = 0;
    let idle = 0;
    let steal = 0;
    for (const mode of view.values('system.cpu.time', 'cpu.mode')) {
      const rate = view.counter('system.cpu.time', { 'cpu.mode': mode })?.rate(view.wf)?.value;
      if (rate === undefined) continue;
      total += rate;
      if (mode === 'idle' || mode === 'iowait') idle += rate;
      if (mode === 'steal') steal += rate;
    }
    if (total <= 0) return view.missing('system.cpu.time');
    const used = 1 - idle / total;
    const stolen = steal / total;
    const engines = view
      .related('replica')
      .map((e) => view.on(e))
      .map(
        (v) =>
          v.counter('container.cpu.time')?.rate(view.wf)?.value ?? v.counter('process.cpu.time')?.rate(view.wf)?.value,
      );
    const known = engines.filter((v): v is number => v !== undefined);
    const own = known.length > 0 ? known.reduce((a, b) => a + b, 0) / Math.max(1e-9, used * total) : undefined;
    const waits = (['cpu', 'io'] as const).map((resource) => {
      const rate = view.counter('system.psi.time', { resource, kind: 'some' })?.rate(view.wf);
      const usual = rate ? view.baseline(`psi.${resource}`, rate.value, 10) : undefined;
      const high = rate !== undefined && rate.value >= Math.max(p.pressure, (usual?.median ?? 0) * p.factor);
      return { resource, rate, usual, high };
    });
    const pressed = waits.find((w) => w.high);
    const foreign = used >= p.cpu && own !== undefined && own < p.own;
    // Where nobody says whose CPU it is, a full machine under pressure is taken for crowded, at the lowest grade.
    const crowded = used >= p.cpu && own === undefined && pressed !== undefined;
    const ownFault = own !== undefined && own >= p.own;
    if (stolen < p.steal && !foreign && !crowded && !(pressed && !ownFault)) return view.clear();
    const first =
      stolen >= p.steal
        ? view.atLeast('system.cpu.time', stolen, p.steal, 'share of CPU time stolen')
        : foreign || crowded
          ? view.atLeast('system.cpu.time', used, p.cpu, 'share of the node’s CPU in use')
          : view.atLeast('system.psi.time', pressed?.rate, p.pressure, `waiting for ${pressed?.resource}`);
    return view.judge({
      all: [first],
      support: [
        pressed
          ? view.atLeast('system.psi.time', pressed.rate, p.pressure, `waiting for ${pressed.resource}`)
          : undefined,
        own === undefined
          ? undefined
          : view.atMost('container.cpu.time', own, p.own, 'the engines’ share of the CPU in use'),
      ],
      counter: [
        view.counterEvidence(
          'the engines use the CPU themselves',
          own === undefined ? undefined : own >= p.own,
          percent(own ?? 0),
        ),
      ],
      grade: stolen >= p.steal || own !== undefined ? 'B' : 'C',
      tags: [stolen >= p.steal ? 'steal' : pressed ? pressed.resource : 'cpu'],
      intensity: Math.max(stolen / p.steal, (pressed?.rate?.value ?? 0) / p.pressure, foreign ? used / p.cpu : 0),
      summary: `Node ${view.entity.id}: ${stolen >= p.steal ? `the hypervisor takes ${percent(stolen)} of its CPU time` : `CPU ${percent(used)} in use${own === undefined ? '' : `, the engines ${percent(own)} of that`}${pressed ? `; tasks wait for ${pressed.resource} ${percent(pressed.rate?.value ?? 0)} of the time` : ''}`}.`,
    });
  },
});
