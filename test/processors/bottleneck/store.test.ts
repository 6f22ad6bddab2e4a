import { describe, expect, it } from 'vitest';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import {
  type AnyValue,
  gauge,
  type Metric,
  NO_ATTRIBUTES,
  NO_RECORDED_VALUE,
  nanosFromMs,
  type Point,
  resource,
  type Series,
  scope,
  sum,
} from '../../../pipeline/model.ts';
import { readCounter, readGauge, readHistogram } from '../../../processors/bottleneck/measure.ts';
import { createStore } from '../../../processors/bottleneck/store.ts';
import { pickChannels } from '../../../processors/bottleneck/view.ts';
import { attributes } from './scenario.ts';

const SCOPE = scope('t');
const NAME = { kind: 'replica' as const, id: 'r0' };
const T0 = 1_700_000_000_000;
const replica = (more: Record<string, AnyValue> = {}) =>
  resource(attributes({ 'service.instance.id': 'r0', 'inference.engine': 'vllm', ...more }));
const series = (metric: Metric, of = replica(), at: Record<string, AnyValue> = {}): Series => ({
  resource: of,
  scope: SCOPE,
  metric,
  attributes: Object.keys(at).length > 0 ? attributes(at) : NO_ATTRIBUTES,
});
const at = (s: Series, ms: number, value: number | bigint, flags = 0): Point => ({
  series: s,
  time: nanosFromMs(ms),
  startTime: 0n,
  flags,
  value,
});

function store(...wanted: string[]) {
  const topology = createTopology();
  const s = createStore(topology, new Set(wanted));
  return {
    s,
    topology,
    channels: (signal: string, where?: Record<string, string>) =>
      pickChannels(s.of(topology.get('replica', 'r0')!)?.signals.get(signal), signal, where),
  };
}

describe('the window store', () => {
  it('keeps only what some detector wants, and knows what it saw', () => {
    const { s, topology } = store('inference.kv.usage');
    s.ingest([at(series(gauge('inference.kv.usage', '1')), T0, 0.5), at(series(gauge('other', '1')), T0, 1)], T0);
    expect(s.channels).toBe(1);
    expect([...s.seen]).toEqual(['inference.kv.usage', 'other']);
    expect(topology.all('replica')).toHaveLength(1);
  });

  it('answers for a window only when it is covered', () => {
    const { s, channels } = store('inference.kv.usage');
    const usage = series(gauge('inference.kv.usage', '1'));
    const present = { now: T0 };
    for (let i = 0; i < 6; i++) {
      present.now = T0 + i * 5000;
      s.ingest([at(usage, present.now, 0.5)], present.now);
    }
    const read = () => readGauge(channels('inference.kv.usage'), present, 'inference.kv.usage', () => NAME, 'max');
    expect(read().mean(60_000)).toBeUndefined();
    for (let i = 6; i < 14; i++) {
      present.now = T0 + i * 5000;
      s.ingest([at(usage, present.now, i < 10 ? 0.5 : 0.9)], present.now);
    }
    const r = read();
    expect(r.mean(60_000)!.value).toBeCloseTo((9 * 0.5 + 4 * 0.9) / 13, 6);
    expect(r.max(60_000)!.value).toBe(0.9);
    expect(r.share(60_000, (v) => v > 0.8, 'x')!.value).toBeCloseTo(4 / 13, 6);
    expect(r.identical()).toBe(4);
    expect(r.fresh).toBe(true);
    present.now += 30_000;
    expect(r.fresh).toBe(false);
    expect(r.last()).toBeUndefined();
  });

  it('widens windows for slow sampling instead of guessing', () => {
    const { s, channels } = store('inference.kv.usage');
    const usage = series(gauge('inference.kv.usage', '1'));
    const present = { now: T0 };
    for (let i = 0; i < 20; i++) {
      present.now = T0 + i * 15_000;
      s.ingest([at(usage, present.now, i)], present.now);
    }
    const m = readGauge(channels('inference.kv.usage'), present, 'x', () => NAME, 'max').mean(60_000)!;
    expect(m.windowMs).toBe(120_000);
    expect(m.n).toBe(9);
  });

  it('adds counters over restarts, and counts the restart as a defect', () => {
    const { s, channels } = store('inference.preemptions');
    const c = series(sum('inference.preemptions', '1'));
    const present = { now: T0 };
    let v = 100;
    for (let i = 0; i <= 12; i++) {
      v = i === 7 ? 3 : v + 10;
      present.now = T0 + i * 5000;
      s.ingest([at(c, present.now, BigInt(v))], present.now);
    }
    const m = readCounter(channels('inference.preemptions'), present, 'x', () => NAME).increase(60_000)!;
    expect(m.value).toBe(6 * 10 + 3 + 5 * 10);
    expect(m.defects).toBe(1);
    expect(channels('inference.preemptions')[0]!.resets).toHaveLength(1);
  });

  it('says for how long a counter stood still', () => {
    const { s, channels } = store('inference.tokens.generated');
    const c = series(sum('inference.tokens.generated', '1'));
    const present = { now: T0 };
    for (let i = 0; i < 20; i++) {
      present.now = T0 + i * 5000;
      s.ingest([at(c, present.now, Math.min(i, 12))], present.now);
    }
    expect(readCounter(channels('inference.tokens.generated'), present, 'x', () => NAME).idleFor()).toBe(35_000);
  });

  it('turns deltas into the counter they come from', () => {
    const { s, channels } = store('inference.preemptions');
    const c = series({ ...sum('inference.preemptions', '1'), temporality: 1 });
    const present = { now: T0 };
    for (let i = 0; i <= 13; i++) {
      present.now = T0 + i * 5000;
      s.ingest([at(c, present.now, 2)], present.now);
    }
    expect(readCounter(channels('inference.preemptions'), present, 'x', () => NAME).increase(60_000)!.value).toBe(24);
  });

  it('gives means of histograms from sums and counts, and exact shares at bucket bounds', () => {
    const { s, channels } = store('gen_ai.server.time_to_first_token');
    const h = series({ ...sum('gen_ai.server.time_to_first_token', 's'), type: 'histogram', monotonic: false });
    const bounds = Float64Array.from([0.1, 0.5, 1]);
    const present = { now: T0 };
    for (let i = 0; i <= 12; i++) {
      present.now = T0 + i * 5000;
      s.ingest(
        [
          {
            series: h,
            time: nanosFromMs(present.now),
            startTime: 0n,
            flags: 0,
            count: 10 * i,
            sum: 3 * i,
            bounds,
            bucketCounts: Float64Array.from([5 * i, 3 * i, 1 * i, 1 * i]),
          },
        ],
        present.now,
      );
    }
    const r = readHistogram(channels('gen_ai.server.time_to_first_token'), present, 'x', () => NAME);
    expect(r.mean(60_000)!.value).toBeCloseTo(0.3, 9);
    expect(r.above(60_000, 0.4)).toMatchObject({ value: 0.2, bound: 0.5, above: 24 });
    expect(r.above(60_000, 2)).toBeUndefined();
    expect(r.quantile(60_000, 0.5)).toMatchObject({ lo: 0, hi: 0.1 });
    expect(r.quantile(60_000, 0.99)).toBeUndefined();
  });

  it('never mixes buckets over a restart or a change of bounds', () => {
    const { s, channels } = store('gen_ai.server.time_to_first_token');
    const h = series({ ...sum('gen_ai.server.time_to_first_token', 's'), type: 'histogram', monotonic: false });
    const present = { now: T0 };
    const put = (i: number, count: number, bounds: number[]) => {
      present.now = T0 + i * 5000;
      s.ingest(
        [
          {
            series: h,
            time: nanosFromMs(present.now),
            startTime: 0n,
            flags: 0,
            count,
            sum: count * 0.2,
            bounds: Float64Array.from(bounds),
            bucketCounts: Float64Array.from([...bounds.map(() => 0), count]),
          },
        ],
        present.now,
      );
    };
    for (let i = 0; i < 6; i++) put(i, 100 * i, [1, 2]);
    for (let i = 6; i < 12; i++) put(i, 10 * (i - 5), [1, 2]);
    const r = readHistogram(channels('gen_ai.server.time_to_first_token'), present, 'x', () => NAME);
    const d = r.over(60_000)!;
    expect(d.n).toBe(500 + 50);
    expect(d.resets).toBe(1);
    put(12, 70, [1, 2, 5]);
    expect(r.over(60_000)).toBeUndefined();
  });

  it('takes the total rather than total and parts, and the device tier rather than all tiers', () => {
    const { s, channels } = store('inference.requests.waiting', 'inference.kv.usage');
    const waiting = gauge('inference.requests.waiting', '1');
    const usage = gauge('inference.kv.usage', '1');
    s.ingest(
      [
        at(series(waiting), T0, 5),
        at(series(waiting, replica(), { reason: 'capacity' }), T0, 3),
        at(series(waiting, replica(), { reason: 'deferred' }), T0, 2),
        at(series(usage, replica(), { tier: 'gpu' }), T0, 0.5),
        at(series(usage, replica(), { tier: 'host' }), T0, 0.99),
      ],
      T0,
    );
    expect(channels('inference.requests.waiting')).toHaveLength(1);
    expect(channels('inference.requests.waiting', { reason: 'capacity' })).toHaveLength(1);
    expect(channels('inference.kv.usage').map((c) => c.attributes['tier'])).toEqual(['gpu']);
  });

  it('adds the ranks of one replica and takes the fullest of their caches', () => {
    const { s, channels } = store('inference.requests.running', 'inference.kv.usage');
    const present = { now: T0 };
    const ranks = [0, 1].map((dp) => replica({ 'inference.rank.dp': dp }));
    const running = ranks.map((r) => series(gauge('inference.requests.running', '1'), r));
    const usage = ranks.map((r) => series(gauge('inference.kv.usage', '1'), r));
    for (let i = 0; i < 14; i++) {
      present.now = T0 + i * 5000;
      s.ingest(
        [
          at(running[0]!, present.now, 50),
          at(running[1]!, present.now, 2),
          at(usage[0]!, present.now, 0.9),
          at(usage[1]!, present.now, 0.1),
        ],
        present.now,
      );
    }
    const read = (signal: string, combine: 'sum' | 'max') =>
      readGauge(channels(signal), present, signal, () => NAME, combine).mean(60_000)!.value;
    expect(read('inference.requests.running', 'sum')).toBe(52);
    expect(read('inference.kv.usage', 'max')).toBeCloseTo(0.9, 9);
  });

  it('lets one of two sources of the same series win, and counts the other', () => {
    const { s, channels } = store('inference.kv.usage');
    const a = series(gauge('inference.kv.usage', '1'));
    const b = series(gauge('inference.kv.usage', '1'), replica({ 'server.port': 1 }));
    for (let i = 0; i < 10; i++) s.ingest([at(a, T0 + i * 5000, 0.5), at(b, T0 + i * 5000 + 1, 0.7)], T0 + i * 5000);
    const [channel] = channels('inference.kv.usage');
    expect(channels('inference.kv.usage')).toHaveLength(1);
    expect(channel!.duplicates).toBeGreaterThan(5);
    expect(channel!.ring.v[channel!.ring.start + 5]).toBe(0.7);
  });

  it('survives NaN, end markers, time that stands still or goes back, and clocks that are hours off', () => {
    const { s, channels } = store('inference.kv.usage');
    const u = series(gauge('inference.kv.usage', '1'));
    s.ingest([at(u, T0, Number.NaN), at(u, T0, Number.POSITIVE_INFINITY)], T0);
    expect(s.notNumbers).toBe(2);
    s.ingest([at(u, T0, 0.1), at(u, T0, 0.2), at(u, T0 - 500, 0.3)], T0);
    const [c] = channels('inference.kv.usage');
    expect(c!.ring.size).toBe(1);
    expect(c!.ring.late).toBe(2);
    s.ingest([at(u, T0 + 5000, 0, NO_RECORDED_VALUE)], T0 + 5000);
    expect(readGauge([c!], { now: T0 + 5000 }, 'x', () => NAME, 'max').fresh).toBe(false);
    const skewed = series(gauge('inference.kv.usage', '1'), replica({ 'service.instance.id': 'r9' }));
    for (let i = 0; i < 30; i++) s.ingest([at(skewed, T0 + i * 5000 - 7_200_000, 0.5)], T0 + i * 5000);
    const state = [...s.states.values()].find((e) => e.entity.id === 'r9')!;
    expect(Math.abs(state.last - (T0 + 29 * 5000))).toBeLessThan(10_000);
  });

  it('stays within its limits whatever the cardinality', () => {
    const topology = createTopology({ entities: 50, links: 100 });
    const s = createStore(topology, new Set(['inference.kv.usage']), { channels: 20, entities: 10 });
    for (let i = 0; i < 500; i++) {
      s.ingest([at(series(gauge('inference.kv.usage', '1'), replica({ 'service.instance.id': `r${i}` })), T0, 1)], T0);
    }
    expect(s.states.size).toBeLessThanOrEqual(10);
    expect(s.channels).toBeLessThanOrEqual(20);
    expect(s.refused + topology.refused).toBeGreaterThan(400);
  });

  it('forgets entities that went silent and takes them in again when they return', () => {
    const { s, topology } = store('inference.kv.usage');
    const u = series(gauge('inference.kv.usage', '1'));
    s.ingest([at(u, T0, 0.5)], T0);
    s.expire(T0 + 1);
    expect(s.states.size).toBe(0);
    s.ingest([at(u, T0 + 5000, 0.6)], T0 + 5000);
    expect(s.of(topology.get('replica', 'r0')!)!.signals.get('inference.kv.usage')![0]!.ring.size).toBe(1);
  });

  it('merges what comes faster than half a second, so that a window keeps its length', () => {
    const { s, channels } = store('inference.kv.usage');
    const u = series(gauge('inference.kv.usage', '1'));
    for (let i = 0; i < 6000; i++) s.ingest([at(u, T0 + i * 50, 0.5)], T0 + i * 50);
    const [c] = channels('inference.kv.usage');
    expect(c!.ring.size).toBeLessThanOrEqual(512);
    const oldest = c!.ring.t[c!.ring.start]!;
    expect(T0 + 6000 * 50 - oldest).toBeGreaterThan(240_000);
  });
});
