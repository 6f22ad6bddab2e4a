import '../../../kit/seed.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { foldedLines } from '../../../../pipeline/kit/flame/folded.ts';
import { rankProfiles, rankSpeedscope } from '../../../../pipeline/kit/flame/rank-profile.ts';
import { RankStore } from '../../../../pipeline/kit/flame/rank-store.ts';
import { rankView } from '../../../../pipeline/kit/flame/ranks.ts';
import { type AnyValue, type Resource, resource } from '../../../../pipeline/model.ts';
import { span, type Told } from './spans.ts';

const rank = (tp: number, more: Record<string, AnyValue> = {}): Resource =>
  resource({ 'service.name': 'chat', 'service.instance.id': 'r0', 'inference.rank.tp': tp, ...more });
const storeOf = (spans: readonly Told[]) => {
  const store = new RankStore();
  for (const told of spans) store.add(span(told));
  return store;
};
const lines = (spans: readonly Told[]) =>
  [...foldedLines(rankView(storeOf(spans), 'service').tree)].map((line) => line.trimEnd()).sort();
const reduce = (seq: number, size = 2): Record<string, AnyValue> => ({
  'comm.id': 'tp',
  'comm.op': 'all_reduce',
  'comm.seq': seq,
  'comm.size': size,
});

describe('time lines of ranks', () => {
  test('the shortest span of a collective is transfer, what others have more is waiting', () => {
    const on = [rank(0), rank(1)];
    expect(
      lines([
        {
          id: 1,
          at: 0,
          took: 100,
          name: 'engine_step',
          resource: on[0]!,
          attributes: { 'step.decode_seqs': 1, 'step.schedule_time_ns': 5e6 },
        },
        { id: 2, at: 50, took: 20, name: 'collective', resource: on[0]!, attributes: reduce(1) },
        { id: 3, at: 62, took: 8, name: 'collective', resource: on[1]!, attributes: reduce(1) },
      ]),
    ).toEqual([
      'chat;tp0;decode;comm_pure 8000',
      'chat;tp0;decode;comm_wait 12000',
      'chat;tp0;decode;compute 75000',
      'chat;tp0;decode;host 5000',
      'chat;tp1;decode;comm_pure 8000',
      'chat;tp1;decode;compute 87000',
      'chat;tp1;decode;host 5000',
    ]);
  });

  test('a step outside of the own pipeline stage is a bubble', () => {
    const stage = (pp: number) => rank(0, { 'inference.rank.pp': pp });
    expect(
      lines([
        { id: 1, at: 0, took: 100, name: 'engine_step', resource: stage(0), attributes: { 'step.prefill_tokens': 9 } },
        { id: 2, at: 0, took: 70, name: 'pipeline_stage', resource: stage(0) },
        { id: 3, at: 70, took: 30, name: 'pipeline_stage', resource: stage(1) },
      ]),
    ).toEqual([
      'chat;pp0;tp0;prefill;bubble 30000',
      'chat;pp0;tp0;prefill;compute 70000',
      'chat;pp1;tp0;prefill;bubble 70000',
      'chat;pp1;tp0;prefill;compute 30000',
    ]);
  });

  test('pauses between bursts are not observed, gaps between steps are', () => {
    const step = (id: number, at: number): Told => ({ id, at, took: 10, name: 'engine_step', resource: rank(0) });
    expect(lines([step(1, 0), step(2, 15), step(3, 55), step(4, 5000)])).toEqual([
      'chat;tp0;compute 40000',
      'chat;tp0;host_gap 5000',
      'chat;tp0;idle 30000',
    ]);
  });

  test('clocks of hosts that are off do not make waiting of nothing', () => {
    const spans: Told[] = [];
    for (let k = 0; k < 20; k++) {
      spans.push({ id: 3 * k + 1, at: k * 10, took: 10, name: 'engine_step', resource: rank(0, { 'host.name': 'a' }) });
      spans.push({
        id: 3 * k + 2,
        at: k * 10 + 4,
        took: 2,
        name: 'collective',
        resource: rank(0, { 'host.name': 'a' }),
        attributes: reduce(k),
      });
      spans.push({
        id: 3 * k + 3,
        at: k * 10 + 4 + 777,
        took: 2,
        name: 'collective',
        resource: rank(1, { 'host.name': 'b' }),
        attributes: reduce(k),
      });
    }
    const found = rankView(storeOf(spans), 'service');
    expect([...found.shifted]).toEqual([['b', -777]]);
    expect(lines(spans)).toEqual([
      'chat;tp0;comm_pure 40000',
      'chat;tp0;compute 160000',
      'chat;tp1;comm_pure 40000',
      'chat;tp1;compute 160000',
    ]);
  });

  test('whatever hooks send: every rank adds up to the time that was observed, moment by moment', () => {
    const told = fc.record({
      at: fc.integer({ min: 0, max: 3000 }),
      took: fc.integer({ min: 0, max: 400 }),
      name: fc.constantFrom('collective', 'pipeline_stage', 'engine_step'),
      tp: fc.nat(2),
      pp: fc.nat(1),
      seq: fc.nat(8),
      op: fc.constantFrom('all_reduce', 'send', 'broadcast'),
      schedule: fc.integer({ min: -5, max: 1e9 }),
    });
    fc.assert(
      fc.property(fc.array(told, { minLength: 1, maxLength: 40 }), (all) => {
        const resources = new Map<string, Resource>();
        const spans = all.map(({ tp, pp, at, took, name, seq, op, schedule }, i) => {
          const key = `${tp} ${pp}`;
          if (!resources.has(key)) resources.set(key, rank(tp, { 'inference.rank.pp': pp }));
          const attributes = {
            'comm.id': 'x',
            'comm.op': op,
            'comm.seq': seq,
            'comm.size': 2,
            'step.schedule_time_ns': schedule,
          };
          return { id: i + 1, at, took, name, resource: resources.get(key)!, attributes };
        });
        const store = storeOf(spans);
        const sums = new Map<number, number>();
        const last = new Map<number, number>();
        const { observed, tree } = rankView(store, 'replica', (lane, from, until) => {
          expect(until).toBeGreaterThan(from);
          expect(from).toBeGreaterThanOrEqual(last.get(lane) ?? -Infinity);
          last.set(lane, until);
          sums.set(lane, (sums.get(lane) ?? 0) + until - from);
        });
        const whole = observed.get('r0')!;
        for (let lane = 0; lane < store.lanes.length; lane++) expect(sums.get(lane) ?? 0).toBe(whole);
        expect(tree.totals()[0]).toBe(whole * store.lanes.length);
      }),
    );
  });

  test('speedscope gets a profile for each rank, in order of time, everything closed', () => {
    const store = storeOf([
      { id: 1, at: 0, took: 100, name: 'engine_step', resource: rank(0), attributes: { 'step.decode_seqs': 1 } },
      { id: 2, at: 50, took: 20, name: 'collective', resource: rank(0), attributes: reduce(1) },
      { id: 3, at: 62, took: 8, name: 'collective', resource: rank(1), attributes: reduce(1) },
    ]);
    const file = JSON.parse([...rankSpeedscope(rankProfiles(store, 'replica'), 'x', 'y')].join(''));
    expect(file.profiles.map(({ name }: { name: string }) => name)).toEqual(['r0 tp0', 'r0 tp1']);
    for (const { events, endValue } of file.profiles) {
      const open: number[] = [];
      let at = 0;
      for (const event of events) {
        expect(event.at).toBeGreaterThanOrEqual(at);
        at = event.at;
        if (event.type === 'O') open.push(event.frame);
        else expect(open.pop()).toBe(event.frame);
      }
      expect(open).toEqual([]);
      expect(at).toBe(endValue);
    }
  });
});
