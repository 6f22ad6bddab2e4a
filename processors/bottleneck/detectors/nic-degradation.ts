import { t } from '../../../config/schema.ts';
import { defineDetector } from '../detector.ts';

/** Errors of this port itself, not of the path behind it: one of them is one too many. */
const LINK = /^(symbol|link_downed|link_recovery|link_integrity|buffer_overrun)$/;
/** Packets that came broken or out of turn: some do on any port with traffic. */
const PACKET = /^(receive|packet_sequence|out_of_sequence)$/;

export default defineDetector({
  id: 'nic-degradation',
  class: 'root',
  family: 'hardware',
  scope: 'nic',
  pace: 'slow',
  meaning: 'A network or RDMA port is down, below its rate, or counts link errors.',
  rule: 'link down, or rate < its peers’, or symbol, link-down, or recovery errors grew by ≥ errors in a minute, or broken and misordered packets are ≥ share of all; ∧ ≥ over × the other ports’',
  signals: [
    'hw.errors',
    'hw.network.up',
    'hw.network.bandwidth.limit',
    'hw.network.link.changes',
    'hw.network.io',
    'hw.network.packets',
  ],
  needs: [
    { grade: 'B', signals: ['hw.errors'] },
    { grade: 'B', signals: ['hw.network.bandwidth.limit'] },
    { grade: 'C', signals: ['hw.network.up'] },
  ],
  enable: 'Run the host receiver, or scrape node_exporter with the infiniband and netclass collectors.',
  params: {
    errors: t.number({ description: 'Errors a minute from which the port is degraded.', default: 1, minimum: 0 }),
    share: t.number({
      description: 'Share of all packets that came broken or out of turn.',
      default: 1e-4,
      minimum: 0,
      maximum: 1,
    }),
    over: t.number({
      description: 'Times the median of the other ports that its errors must be.',
      default: 5,
      minimum: 1,
    }),
    rate: t.number({
      description: 'Line rate over its peers’ below which it trained down.',
      default: 0.75,
      minimum: 0,
      maximum: 1,
    }),
  },
  persist: { k: 3, n: 6 },
  not: ['congestion: waits and marks on many ports without local errors', 'a port that nobody uses'],
  remedies: ['N1'],
  wouldChangeMyMind: 'The errors stop, or every port of the rail shows them.',
  evaluate(view) {
    const p = view.params;
    let grown: { type: string; perMinute: number } | undefined;
    let read = false;
    const errorsOf = (v: typeof view, type: string): number | undefined => {
      const increase = v.counter('hw.errors', { 'error.type': type })?.increase(v.wf);
      return increase && (increase.value * 60_000) / Math.max(1, increase.windowMs);
    };
    const packets = view.counter('hw.network.packets')?.rate(view.wf);
    for (const type of view.values('hw.errors', 'error.type')) {
      if (!LINK.test(type) && !PACKET.test(type)) continue;
      const perMinute = errorsOf(view, type);
      if (perMinute === undefined) continue;
      read = true;
      // Where packets are not counted, one a second.
      if (PACKET.test(type) && perMinute < (packets ? p.share * packets.value * 60 : 60)) continue;
      // What other ports count as well is traffic or the fabric, not this port.
      const others = view
        .peers()
        .flatMap((e) => errorsOf(view.on(e), type) ?? [])
        .sort((a, b) => a - b);
      const usual = others.length >= 2 ? others[others.length >> 1]! : 0;
      if (perMinute < p.over * usual) continue;
      if (!grown || perMinute > grown.perMinute) grown = { type, perMinute };
    }
    const up = view.gauge('hw.network.up')?.last();
    const rate = view.gauge('hw.network.bandwidth.limit')?.last();
    const peer = rate ? view.peer('nic.rate', (v) => v.gauge('hw.network.bandwidth.limit')?.last()?.value) : undefined;
    const down =
      up !== undefined &&
      up.value === 0 &&
      (view.counter('hw.network.link.changes')?.increase(3_600_000)?.value ?? 1) > 0;
    const slow = rate !== undefined && peer !== undefined && peer.median > 0 && rate.value < peer.median * p.rate;
    const errors = grown !== undefined && grown.perMinute >= p.errors;
    if (!read && rate === undefined && up === undefined) return view.missing('hw.errors', 'hw.network.bandwidth.limit');
    if (!errors && !slow && !down) return view.clear();
    return view.judge({
      all: [
        errors
          ? view.atLeast(
              'hw.errors',
              grown?.perMinute,
              Math.max(p.errors, 1e-9),
              `${grown?.type.replaceAll('_', ' ')} errors a minute`,
            )
          : slow
            ? view.atMost(
                'hw.network.bandwidth.limit',
                (rate?.value ?? 0) / (peer?.median ?? 1),
                p.rate,
                'rate over its peers',
              )
            : view.fact('hw.network.up', true, 'the link is down'),
      ],
      support: [slow && errors ? view.fact('hw.network.bandwidth.limit', true, 'below its peers’ rate') : undefined],
      grade: 'B',
      tags: [errors ? 'errors' : slow ? 'rate' : 'down'],
      intensity: errors ? Math.log10(1 + (grown?.perMinute ?? 0)) : 2,
      summary: `NIC ${view.entity.id}${view.name.node ? ` on ${view.name.node}` : ''}: ${errors ? `${Math.round(grown?.perMinute ?? 0)} ${grown?.type.replaceAll('_', ' ')} errors a minute` : slow ? `line rate ${((rate?.value ?? 0) / (peer?.median ?? 1)).toFixed(2)} of its peers’` : 'link down'}.`,
    });
  },
});
