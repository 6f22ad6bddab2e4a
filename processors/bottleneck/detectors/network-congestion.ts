import { t } from '../../../config/schema.ts';
import type { Entity } from '../../../pipeline/kit/topology.ts';
import { defineDetector } from '../detector.ts';
import type { View } from '../view.ts';

const LOCAL = /^(symbol|link_downed|link_recovery|link_integrity|buffer_overrun)$/;
const SIGNS = /wait|cnp|ecn|pause|discard|out_of_buffer/;

/** Signs of congestion per second, all kinds together, that a port shows. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function signs(view: View<any>, windowMs: number): number | undefined {
  let total: number | undefined;
  for (const kind of view.values('hw.network.congestion', 'kind')) {
    if (!SIGNS.test(kind)) continue;
    const rate = view.counter('hw.network.congestion', { kind })?.rate(windowMs);
    if (rate) total = (total ?? 0) + rate.value;
  }
  return total;
}

/** The rail of a port: the name of its device, which is the same on every node of a fleet. */
const railOf = (nic: Entity): string => String(nic.id.slice(nic.id.lastIndexOf('/') + 1));

export default defineDetector({
  id: 'network-congestion',
  class: 'root',
  family: 'hardware',
  scope: 'nic',
  pace: 'slow',
  meaning:
    'The fabric is congested: several ports of a rail wait to send or are told to slow down, without errors of their own.',
  rule: 'signs of congestion (waits to send, CNP, ECN marks, pauses) ≥ factor × baseline at ≥ z scales on ≥ ports ports (all, in a smaller rail; at least two) of the same rail ∧ no local errors on this one',
  signals: ['hw.network.congestion', 'hw.errors', 'hw.network.io'],
  needs: [{ grade: 'B', signals: ['hw.network.congestion'] }],
  enable: 'The host receiver, or node_exporter with the infiniband (or ethtool) collector.',
  params: {
    factor: t.number({ description: 'Signs of congestion over their usual.', default: 3, minimum: 1 }),
    z: t.number({ description: 'Scales above the usual.', default: 4, minimum: 0 }),
    ports: t.integer({ description: 'Ports of a rail that must show it.', default: 3, minimum: 2 }),
    floor: t.number({ description: 'Fewest signs per second to speak of.', default: 100, minimum: 0 }),
  },
  persist: { k: 3, n: 5 },
  not: ['one port alone, or one with errors: nic-degradation', 'more traffic of the service itself'],
  remedies: ['N3'],
  wouldChangeMyMind: 'Only one port shows it, or the service itself sends more than usual.',
  evaluate(view) {
    const p = view.params;
    const own = signs(view, view.wf);
    if (own === undefined) return view.missing('hw.network.congestion');
    const hot = (v: typeof view): number | undefined => {
      const rate = signs(v, v.wf);
      if (rate === undefined) return undefined;
      const base = v.baseline('congestion', rate, 16);
      if (!base) return undefined;
      const z = (rate - base.median) / Math.max(base.scale, 1e-9);
      return z >= p.z && rate >= p.floor ? rate / Math.max(base.median, p.floor / p.factor) : 1;
    };
    const mine = hot(view);
    if (mine === undefined) return view.hold();
    const rail = railOf(view.entity);
    const states = view.topology
      .all('nic')
      .filter((e) => e !== view.entity && railOf(e) === rail)
      .flatMap((e) => hot(view.on(e)) ?? []);
    const congested = (mine >= p.factor ? 1 : 0) + states.filter((x) => x >= p.factor).length;
    const needed = Math.max(2, Math.min(p.ports, states.length + 1));
    let errors = 0;
    for (const type of view.values('hw.errors', 'error.type')) {
      if (LOCAL.test(type)) errors += view.counter('hw.errors', { 'error.type': type })?.increase(view.wf)?.value ?? 0;
    }
    const sent = view.counter('hw.network.io')?.rate(view.wf);
    const usualSent = sent ? view.baseline('congestion.io', sent.value, 16) : undefined;
    const busier = sent && usualSent ? sent.value > usualSent.median * 1.5 && usualSent.median > 0 : undefined;
    return view.judge({
      all: [
        view.atLeast('hw.network.congestion', mine, p.factor, 'signs of congestion per second over their usual'),
        view.atLeast('hw.network.congestion', congested, needed, `ports of rail ${rail} that show it`),
        view.atMost('hw.errors', errors, 0.5, 'errors of this port itself'),
      ],
      counter: [view.counterEvidence('this port moves more of its own', busier, 'bytes above their usual')],
      grade: 'B',
      tags: [`rail:${rail}`],
      intensity: mine,
      summary: `NIC ${view.entity.id}${view.name.node ? ` on ${view.name.node}` : ''}: ${congested} ports of rail ${rail} show ${mine.toFixed(1)} times their usual signs of congestion (${Math.round(own)} a second here), without errors of their own.`,
    });
  },
});
