import { describe, expect, it } from 'vitest';
import { cleanId, createTopology, rankName, type Topology, WEAK } from '../../../pipeline/kit/topology.ts';
import { applyTopology, publisher } from '../../../pipeline/kit/topology-records.ts';
import { type AnyValue, KeyValues, type LogRecord } from '../../../pipeline/model.ts';

const attributes = (o: Record<string, AnyValue>) => Object.assign(Object.create(null), o) as Record<string, AnyValue>;
const see = (t: Topology, o: Record<string, AnyValue>, at = 0, serving = false) =>
  t.observe(attributes(o), undefined, at, serving);

const rank = (replica: string, tp: number, gpu: string, node = 'n1') => ({
  'service.name': 'chat',
  'service.instance.id': replica,
  'inference.engine': 'vllm',
  'inference.rank.tp': tp,
  'host.name': node,
  'hw.id': gpu,
});

describe('the topology', () => {
  it('knows which replica, service and node a GPU carries, from what a hook says about itself', () => {
    const t = createTopology();
    see(t, rank('r0', 1, 'GPU-a'));
    const gpu = t.get('gpu', 'GPU-a')!;
    expect(t.related(gpu, 'rank').map((r) => r.entity.id)).toEqual(['r0/tp1']);
    expect(t.related(gpu, 'replica')).toEqual([{ entity: t.get('replica', 'r0'), confidence: 1 }]);
    expect(t.related(gpu, 'service').map((r) => r.entity.id)).toEqual(['chat']);
    expect(t.nodes(t.get('replica', 'r0')!).map((n) => n.id)).toEqual(['n1']);
  });

  it('does not ask for ever for the node of a rank and its group that have none', () => {
    const t = createTopology();
    const group = t.entity('group', 'r0/0', 0)!;
    const ranks = ['r0/rank0', 'r0/rank1'].map((id) => t.entity('rank', id, 0)!);
    for (const r of ranks) t.link(r, group, 'part', 'comm.id', 1, 0);
    expect(t.nodes(group)).toEqual([]);
    expect(t.nodes(ranks[0]!)).toEqual([]);
    expect(t.related(group, 'node')).toEqual([]);
    see(t, { 'service.name': 'chat', 'service.instance.id': 'r0', 'host.name': 'n1', 'inference.engine': 'vllm' });
    t.link(ranks[1]!, t.get('node', 'n1')!, 'at', 'host.name', 1, 0);
    expect(t.nodes(ranks[0]!).map((n) => n.id)).toEqual(['n1']);
  });

  it('makes no link between a GPU and a replica that only share a node, and offers the candidates as weak', () => {
    const t = createTopology();
    see(t, { 'service.name': 'chat', 'service.instance.id': 'r0', 'inference.engine': 'vllm', 'host.name': 'n1' });
    see(t, { 'service.name': 'chat', 'service.instance.id': 'r1', 'inference.engine': 'vllm', 'host.name': 'n1' });
    see(t, { 'host.name': 'n1', 'hw.id': 'GPU-a' });
    const gpu = t.get('gpu', 'GPU-a')!;
    expect(gpu.up).toEqual([]);
    const related = t.related(gpu, 'replica');
    expect(related.map((r) => r.entity.id).sort()).toEqual(['r0', 'r1']);
    for (const r of related) expect(r.confidence).toBeLessThan(WEAK);
  });

  it('does not take an exporter for a replica because it has an instance id', () => {
    const t = createTopology();
    see(t, { 'service.name': 'dcgm', 'service.instance.id': '10.0.0.1:9400', 'host.name': 'n1', 'hw.id': 'GPU-a' });
    expect(t.all('replica')).toEqual([]);
    expect(t.all('service')).toEqual([]);
  });

  it('keeps when a GPU moved from one rank to another', () => {
    const t = createTopology();
    see(t, rank('r0', 0, 'GPU-a'), 1000);
    see(t, rank('r0', 0, 'GPU-b'), 100_000);
    const carriers = t.get('rank', 'r0/tp0')!.down;
    expect(carriers.map((l) => [l.from.id, l.since, l.until])).toEqual([
      ['GPU-a', 1000, 100_000],
      ['GPU-b', 100_000, Number.POSITIVE_INFINITY],
    ]);
    expect(t.related(t.get('gpu', 'GPU-a')!, 'rank')).toEqual([]);
  });

  it('says a link is disputed and weak while two sources contradict each other', () => {
    const t = createTopology();
    for (let at = 0; at < 60_000; at += 5000) {
      see(t, { 'host.name': 'n1', 'hw.id': 'GPU-a' }, at);
      see(t, { 'host.name': 'n2', 'hw.id': 'GPU-a' }, at + 1);
    }
    const [link] = t.get('gpu', 'GPU-a')!.at;
    expect(link).toMatchObject({ disputed: true });
    expect(link!.confidence).toBeLessThan(WEAK);
    expect(t.disputes).toBeGreaterThan(0);
    // It is neither moved to and fro nor kept twice; and believed again when nobody says otherwise any more.
    expect(t.get('gpu', 'GPU-a')!.at).toHaveLength(1);
    see(t, { 'host.name': 'n1', 'hw.id': 'GPU-a' }, 100_000);
    expect(link).toMatchObject({ disputed: false, confidence: 1 });
  });

  it('is published as disputed, also to who believed it before', () => {
    const t = createTopology();
    const copy = createTopology();
    const publish = publisher(t);
    const apply = (at: number) => publish.changes(at).forEach((r) => void applyTopology(copy, r, at));
    see(t, { 'host.name': 'n1', 'hw.id': 'GPU-a' }, 0);
    apply(0);
    see(t, { 'host.name': 'n2', 'hw.id': 'GPU-a' }, 10_000);
    apply(10_000);
    expect(copy.get('gpu', 'GPU-a')!.at[0]!.confidence).toBeLessThan(WEAK);
    see(t, { 'host.name': 'n1', 'hw.id': 'GPU-a' }, 60_000);
    apply(60_000);
    expect(copy.get('gpu', 'GPU-a')!.at[0]!.confidence).toBe(1);
  });

  it('names a rank the same whether or not unused dimensions are stated', () => {
    const name = (o: Record<string, AnyValue>) => rankName((n) => o[`inference.rank${n.slice(14)}`]);
    expect(name({ 'inference.rank.tp': 1 })).toBe('tp1');
    expect(name({ 'inference.rank.tp': 1, 'inference.rank.pp': 0, 'inference.rank.dp': 0 })).toBe('tp1');
    expect(name({ 'inference.rank.tp': 0, 'inference.rank.pp': 0 })).toBe('tp0');
    expect(name({ 'inference.rank.tp': 0, 'inference.rank.pp': 2 })).toBe('pp2');
    expect(name({ 'inference.rank.tp': 3, 'inference.rank.pp': 2 })).toBe('pp2/tp3');
    expect(name({ 'inference.rank.pp': '0' })).toBe('pp0');
    expect(name({ 'inference.rank': 5 })).toBe('rank5');
    expect(name({})).toBe('');
  });

  it('compares only within service, pool, role and model', () => {
    const t = createTopology();
    const at = (id: string, role: string) =>
      see(t, {
        'service.name': 'chat',
        'service.instance.id': id,
        'inference.engine': 'vllm',
        'inference.role': role,
      });
    for (const id of ['p0', 'p1']) at(id, 'prefill');
    for (const id of ['d0', 'd1', 'd2']) at(id, 'decode');
    expect(t.peers(t.get('replica', 'd0')!).map((e) => e.id)).toEqual(['d1', 'd2']);
  });

  it('forgets what was not seen, and stays within its limits whatever the labels', () => {
    const t = createTopology({ entities: 100, links: 100 });
    for (let i = 0; i < 1000; i++) {
      see(t, rank(`r${i}\u001b[31m${'x'.repeat(5000)}`, 0, `GPU-${i}`), i);
    }
    expect(t.entities.size).toBe(100);
    expect(t.refused).toBeGreaterThan(0);
    for (const e of t.entities.values()) expect(e.id.length).toBeLessThanOrEqual(220);
    t.expire(10_000, 10_000);
    expect(t.entities.size).toBe(0);
    see(t, rank('r0', 0, 'GPU-a'), 10_001);
    expect(t.related(t.get('gpu', 'GPU-a')!, 'replica')).toHaveLength(1);
  });

  it('keeps ids apart that differ only behind the limit', () => {
    expect(cleanId(`${'a'.repeat(300)}1`)).not.toBe(cleanId(`${'a'.repeat(300)}2`));
    expect(cleanId('a\u0000b')).not.toContain('\u0000');
  });
});

describe('topology records', () => {
  it('rebuild the same topology elsewhere, from a snapshot or from the changes', () => {
    const t = createTopology();
    const publish = publisher(t);
    const copy = createTopology();
    const apply = (records: LogRecord[]) => {
      for (const r of records) expect(applyTopology(copy, r, 5000)).toBe(true);
    };
    see(t, rank('r0', 0, 'GPU-a'), 1000);
    apply(publish.changes(1000));
    expect(publish.changes(1001)).toEqual([]);
    see(t, rank('r0', 1, 'GPU-b'), 2000);
    const delta = publish.changes(2000);
    expect((delta[0]!.body as KeyValues[]).map((b) => (b as KeyValues).entries['id'])).toEqual(
      ['GPU-b', 'r0/tp1'].slice().reverse(),
    );
    apply(delta);
    const late = createTopology();
    for (const r of publish.snapshot(3000)) applyTopology(late, r, 3000);
    for (const other of [copy, late]) {
      expect([...other.entities.keys()].sort()).toEqual([...t.entities.keys()].sort());
      const gpu = other.get('gpu', 'GPU-b')!;
      expect(other.related(gpu, 'replica').map((r) => r.entity.id)).toEqual(['r0']);
    }
  });

  it('skip what is malformed', () => {
    const copy = createTopology();
    const record = publisher(
      (() => {
        const t = createTopology();
        see(t, rank('r0', 0, 'GPU-a'));
        return t;
      })(),
    ).snapshot(1)[0]!;
    const bad = { ...record, body: [null, 5, new KeyValues(attributes({ kind: 'planet', id: 'x' })), 'x'] as AnyValue };
    expect(applyTopology(copy, bad, 1)).toBe(true);
    expect(applyTopology(copy, { ...record, body: 'text' }, 1)).toBe(true);
    expect(applyTopology(copy, { ...record, eventName: 'other' }, 1)).toBe(false);
    expect(copy.entities.size).toBe(0);
  });
});
