import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import type { Entity } from '../../../pipeline/kit/topology.ts';
import { timesAtSizes } from '../comm.ts';
import { defineDetector } from '../detector.ts';
import type { View } from '../view.ts';

const FAST = /nvlink|xgmi/i;
const SLOW_TRANSPORT = /tcp|shm|socket|pcie|cuda_copy/i;

/** Bytes per second over a link class of a GPU: counters by their rate, gauges as they are. */
// biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
function linkRate(view: View<any>, match: RegExp, windowMs: number): number | undefined {
  let total: number | undefined;
  for (const link of view.values('hw.gpu.io', 'link')) {
    if (!match.test(link)) continue;
    const reading = view.counter('hw.gpu.io', { link });
    const value =
      reading?.channels[0]?.kind === 'counter'
        ? reading.rate(windowMs)?.value
        : view.gauge('hw.gpu.io', { link })?.mean(windowMs)?.value;
    if (value !== undefined) total = (total ?? 0) + value;
  }
  return total;
}

export default defineDetector({
  id: 'comm-transport-fallback',
  class: 'root',
  family: 'communication',
  scope: ['group', 'replica', 'pair'],
  pace: 'slow',
  meaning: 'Communication fell back to a slower transport: shared memory, PCIe or TCP instead of NVLink or RDMA.',
  rule: 'NVLink/XGMI bytes of the group’s GPUs ≤ silent × their usual while the engine runs ∧ (transfer rate at equal size ≤ ratio × its past, or PCIe bytes ≥ pcie × their usual, or ITL ≥ slower × usual); for pairs: another transport than usual ∧ wire rate ≤ ratio × its past',
  signals: ['hw.gpu.io', 'inference.requests.running', 'inference.tokens.generated', 'inference.inter_token.latency'],
  needs: [
    { grade: 'A', signals: ['hook.collective', 'hw.gpu.io'] },
    { grade: 'A', signals: ['hook.kv_transfer'] },
    { grade: 'B', signals: ['hw.gpu.io'] },
  ],
  enable:
    'NVLink and PCIe byte counters (dcgm-exporter’s profiling fields, or the nvidia_gpu receiver); the hook’s collectives corroborate.',
  params: {
    silent: t.number({ description: 'NVLink bytes over their usual.', default: 0.1, minimum: 0, maximum: 1 }),
    other: t.number({
      description: 'Rate of a group’s transfers over its past that no degraded link explains, whatever the links tell.',
      default: 0.2,
      minimum: 0,
      maximum: 1,
    }),
    ratio: t.number({
      description: 'Transfer rate over its past at equal size.',
      default: 0.5,
      minimum: 0,
      maximum: 1,
    }),
    pcie: t.number({ description: 'PCIe bytes over their usual.', default: 2, minimum: 1 }),
    slower: t.number({ description: 'ITL over its usual.', default: 1.15, minimum: 1 }),
    running: t.number({ description: 'Fewest requests running.', default: 1, minimum: 0 }),
  },
  persist: { k: 3, n: 5 },
  not: ['a GPU without NVLink', 'an idle engine: its links are silent too', 'a degraded link: it is slow, not silent'],
  remedies: ['N2'],
  wouldChangeMyMind: 'The links carry bytes at their usual rate, or the engine computes nothing.',
  evaluate(view) {
    const p = view.params;
    if (view.entity.kind === 'pair') {
      const list = (view.events.transfers(view.entity)?.since(view.now - 90_000, (x) => x.end) ?? []).filter(
        (x) => x.transport !== '' && !x.failed && x.end > x.start && x.bytes > 0,
      );
      if (list.length < 8) return view.hold();
      const slow = list.filter((x) => SLOW_TRANSPORT.test(x.transport)).length / list.length;
      const rate = median(list.map((x) => (x.bytes * 1000) / (x.end - x.start)));
      const usual = view.baseline('transport.slow', slow, 8);
      const usualRate = view.baseline('transport.rate', rate, 8);
      if (!usual || !usualRate) return view.hold();
      return view.judge({
        all: [
          view.atMost('hook.kv_transfer', rate / usualRate.median, p.ratio, 'wire rate over its past'),
          view.atLeast(
            'hook.kv_transfer',
            slow - usual.median,
            0.5,
            'share of transfers over a slower transport than usual',
          ),
        ],
        grade: 'A',
        tags: [list.at(-1)!.transport],
        intensity: 1 - rate / usualRate.median,
        summary: `${view.entity.id}: KV is sent by ${list.at(-1)!.transport}, which it usually is not, at ${(rate / 1e9).toFixed(2)} GB/s.`,
      });
    }
    const replica = view.entity.kind === 'replica' ? view.entity : view.the('replica');
    if (!replica) return view.hold();
    const groups = view.events.groupsOf(replica);
    const group = view.entity.kind === 'group' ? view.events.groups.get(view.entity.id) : undefined;
    // With collectives the group is judged; without, the replica.
    if (view.entity.kind === 'replica' && groups.length > 0) return view.hold();
    const ranks = group ? group.members.filter((m): m is Entity => m !== undefined) : [];
    const gpus = (ranks.length > 0 ? ranks.flatMap((r) => view.on(r).related('gpu')) : view.related('gpu')).filter(
      (g) => view.topology.related(g, 'replica').length === 1,
    );
    if (gpus.length < 2) return view.hold();
    let log = 0;
    let n = 0;
    for (const c of group ? timesAtSizes(group, view.now, 90_000) : []) {
      const base = view.baseline(`transport.${c.key}`, c.ms, 8);
      if (!base || c.ms <= 0) continue;
      log += c.n * Math.log(base.median / c.ms);
      n += c.n;
    }
    const ratio = n >= 30 ? Math.exp(log / n) : undefined;
    // A degraded link loses some of its rate. Four fifths lost on all ranks at once is another way between them.
    if (group && ratio !== undefined && ratio <= p.other) {
      return view.judge({
        all: [
          view.atMost('hook.collective', ratio, p.other, `transfer rate over its past, equal sizes, ${n} operations`),
        ],
        grade: 'B',
        tags: ['rate'],
        intensity: 1 - ratio,
        summary: `Group ${view.entity.id}: collectives run at ${Math.round(ratio * 100)} % of their usual rate on all ranks alike: they take another way than usual.`,
      });
    }
    const rates = gpus.flatMap((g) => linkRate(view.on(g), FAST, view.wf) ?? []);
    if (rates.length === 0) return view.missing('hw.gpu.io');
    const engine = view.on(replica);
    const running = engine.gauge('inference.requests.running')?.mean(view.wf);
    if (running && running.value < p.running) return view.hold();
    const tokens = engine.counter('inference.tokens.generated')?.rate(view.wf)?.value;
    if (tokens !== undefined && tokens <= 0) return view.hold();
    const nvlink = rates.reduce((a, b) => a + b, 0) / rates.length;
    const usual = view.baseline('transport.nvlink', nvlink, 16);
    if (!usual || usual.median <= 0) return view.hold();
    const pcieRates = gpus.flatMap((g) => linkRate(view.on(g), /pcie/i, view.wf) ?? []);
    const pcie = pcieRates.length > 0 ? pcieRates.reduce((a, b) => a + b, 0) / pcieRates.length : undefined;
    const usualPcie = pcie === undefined ? undefined : view.baseline('transport.pcie', pcie, 16);
    const itl = engine.histogram('inference.inter_token.latency')?.mean(view.wf);
    const usualItl = itl ? view.baseline('transport.itl', itl.value, 16) : undefined;
    const left = nvlink / usual.median;
    return view.judge({
      all: [view.atMost('hw.gpu.io', left, p.silent, 'NVLink bytes over their usual')],
      any: [
        view.atMost('hook.collective', ratio, p.ratio, 'transfer rate over its past, equal sizes'),
        view.atLeast(
          'hw.gpu.io',
          pcie !== undefined && usualPcie && usualPcie.median > 0 ? pcie / usualPcie.median : undefined,
          p.pcie,
          'PCIe bytes over their usual',
        ),
        view.atLeast(
          'inference.inter_token.latency',
          itl && usualItl ? itl.value / usualItl.median : undefined,
          p.slower,
          'ITL over its usual',
        ),
      ],
      grade: ratio !== undefined ? 'A' : 'B',
      tags: ['nvlink-silent'],
      intensity: 1 - left,
      summary: `${view.entity.kind === 'group' ? 'Group' : 'Replica'} ${view.entity.id}: its NVLinks carry ${Math.round(left * 100)} % of their usual bytes while it generates tokens${ratio !== undefined ? `, and collectives run at ${Math.round(ratio * 100)} % of their usual rate` : ''}.`,
    });
  },
});
