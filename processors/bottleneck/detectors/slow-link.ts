import { t } from '../../../config/schema.ts';
import { median } from '../../../pipeline/kit/stats/robust.ts';
import { type AtSize, busBandwidth, timesAtSizes } from '../comm.ts';
import { defineDetector } from '../detector.ts';
import type { Group, Transfer } from '../events.ts';
import type { View } from '../view.ts';

interface Compared {
  /** Rate over the reference at equal size: below 1 it is slower. */
  readonly ratio: number;
  readonly n: number;
  readonly by: 'its own past' | 'links of its class';
  readonly rate: number;
}

/** How fast a group moves data now against a reference, weighted over size classes. */
function compareGroup(
  // biome-ignore lint/suspicious/noExplicitAny: the parameters are not used here
  view: View<any>,
  group: Group,
  windowMs: number,
): Compared | undefined {
  const now = timesAtSizes(group, view.now, windowMs);
  if (now.length === 0) return undefined;
  const others = view.once(`slowlink|classes|${group.size}|${windowMs}`, () => {
    const out: { group: Group; classes: Map<string, AtSize> }[] = [];
    for (const g of view.events.groups.values())
      if (g.size === group.size)
        out.push({ group: g, classes: new Map(timesAtSizes(g, view.now, windowMs).map((c) => [c.key, c])) });
    return out;
  });
  let own = 0;
  let ownN = 0;
  let peers = 0;
  let peersN = 0;
  for (const c of now) {
    const base = view.baseline(`slowlink.${c.key}`, c.ms, 8);
    if (base && c.ms > 0) {
      own += c.n * Math.log(base.median / c.ms);
      ownN += c.n;
    }
    const same = others.flatMap((o) => {
      const x = o.group === group ? undefined : o.classes.get(c.key);
      return x ? [x.ms] : [];
    });
    if (same.length >= 2 && c.ms > 0) {
      peers += c.n * Math.log(median(same) / c.ms);
      peersN += c.n;
    }
  }
  const big = now.reduce((a, c) => (c.bytes * c.n > a.bytes * a.n ? c : a));
  const rate = busBandwidth(big.op, big.bytes, big.ms, group.size);
  // Its own past knows this machine; the peers only its class.
  if (ownN >= 30) return { ratio: Math.exp(own / ownN), n: ownN, by: 'its own past', rate };
  if (peersN >= 30) return { ratio: Math.exp(peers / peersN), n: peersN, by: 'links of its class', rate };
  return undefined;
}

const wireRate = (list: readonly Transfer[]): number | undefined => {
  const rates = list
    .filter((x) => !x.failed && x.end > x.start && x.bytes > 1e6)
    .map((x) => (x.bytes * 1000) / (x.end - x.start));
  return rates.length >= 10 ? median(rates) : undefined;
};

export default defineDetector({
  id: 'slow-link',
  class: 'root',
  family: 'communication',
  scope: ['group', 'pair'],
  pace: 'fast',
  meaning: 'One path between ranks or replicas is slower than its class.',
  rule: 'transfer rate at equal operation and size ≤ ratio × its own past (or the median of links of its class) over ≥ operations; for KV pairs the same with their wire rate',
  signals: [],
  needs: [
    { grade: 'A', signals: ['hook.collective'] },
    { grade: 'A', signals: ['hook.kv_transfer'] },
  ],
  enable: 'The hook’s collectives or KV transfers.',
  params: {
    // Measured: at equal size class the median of healthy groups stays within a few percent of its past, so that a third less
    // can be told; the 0.6 of the literature is for bandwidths averaged over sizes.
    ratio: t.number({ description: 'Rate over its reference.', default: 0.7, minimum: 0, maximum: 1 }),
    pair_ratio: t.number({
      description: 'The same for KV transfers, which share NICs with each other.',
      default: 0.6,
      minimum: 0,
      maximum: 1,
    }),
    operations: t.integer({ description: 'Fewest operations that can be compared.', default: 30, minimum: 8 }),
  },
  persist: { k: 3, n: 4 },
  not: [
    'a late rank: it lengthens the others’ operations, not the shortest one',
    'more bytes: sizes are compared with equal sizes',
    'three or more unrelated slow paths: network-congestion',
  ],
  remedies: ['N1'],
  wouldChangeMyMind:
    'Only some ranks’ durations rose (then somebody is late), or all links of the class slowed together.',
  evaluate(view) {
    const p = view.params;
    if (view.entity.kind === 'group') {
      const group = view.events.groups.get(view.entity.id);
      if (!group) return view.hold();
      const c = compareGroup(view, group, 45_000) ?? compareGroup(view, group, 120_000);
      if (!c || c.n < p.operations) return view.hold();
      return view.judge({
        all: [view.atMost('hook.collective', c.ratio, p.ratio, `rate over ${c.by}, equal sizes (${c.n} operations)`)],
        grade: 'A',
        tags: [c.by === 'its own past' ? 'vs-past' : 'vs-peers'],
        intensity: 1 - c.ratio,
        summary: `Group ${view.entity.id}: data moves at ${Math.round(c.ratio * 100)} % of the rate of ${c.by} (${(c.rate / 1e9).toFixed(1)} GB/s), on all ranks alike.`,
      });
    }
    const list = view.events.transfers(view.entity)?.since(view.now - 120_000, (x) => x.end) ?? [];
    const rate = wireRate(list);
    if (rate === undefined) return view.hold();
    const base = view.baseline('slowlink.pair', rate, 12);
    const rates = view.once('slowlink|pairs', () => {
      const out = new Map<string, number>();
      for (const e of view.topology.all('pair')) {
        const r = wireRate(view.events.transfers(e)?.since(view.now - 120_000, (x) => x.end) ?? []);
        if (r !== undefined) out.set(e.key, r);
      }
      return out;
    });
    const others = view.peers().flatMap((e) => rates.get(e.key) ?? []);
    const reference = base?.median ?? (others.length >= 2 ? median(others) : undefined);
    if (reference === undefined) return view.hold();
    const ratio = rate / reference;
    const ends = (name: string) => view.entity.attributes[name];
    const slowAt = (name: 'source' | 'destination') => {
      const same = view.peers().filter((e) => e.attributes[name] === ends(name) && rates.has(e.key));
      return same.length > 0 && same.every((e) => rates.get(e.key)! <= reference * p.pair_ratio);
    };
    const slow = others.filter((r) => r <= reference * p.pair_ratio).length;
    const everywhere = others.length >= 2 && slow === others.length;
    const where = everywhere ? 'all' : slowAt('source') ? 'source' : slowAt('destination') ? 'destination' : 'path';
    return view.judge({
      all: [
        view.atMost('hook.kv_transfer', ratio, p.pair_ratio, `wire rate over its reference (${list.length} transfers)`),
      ],
      counter: [
        view.counterEvidence(
          'every pair is slow',
          everywhere || undefined,
          `${slow} of ${others.length} others as well`,
        ),
      ],
      grade: 'A',
      tags: [where],
      intensity: 1 - ratio,
      summary: `${view.entity.id}: KV moves at ${(rate / 1e9).toFixed(1)} GB/s, ${Math.round(ratio * 100)} % of ${base ? 'its own past' : 'the other pairs'}${where === 'source' || where === 'destination' ? `; so do all pairs with the same ${where}` : ''}.`,
    });
  },
});
