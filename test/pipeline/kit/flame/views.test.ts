import '../../../kit/seed.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drawFlame } from '../../../../pipeline/kit/flame/draw.ts';
import { foldedLines } from '../../../../pipeline/kit/flame/folded.ts';
import type { FlameTree } from '../../../../pipeline/kit/flame/tree.ts';
import { resource } from '../../../../pipeline/model.ts';
import { storeOf, type Told } from './spans.ts';

const folded = (tree: FlameTree) => [...foldedLines(tree)].map((line) => line.trimEnd()).sort();
const draw = (spans: readonly Told[], view: 'resource' | 'critical-path' = 'resource') =>
  drawFlame(storeOf(spans), { view, by: 'service' });

/** Any spans at all: parents that are missing, circles, negative durations, children that stick out. */
const anySpans = fc.array(
  fc.record({
    id: fc.integer({ min: 1, max: 30 }),
    parent: fc.option(fc.integer({ min: 1, max: 35 }), { nil: undefined }),
    at: fc.integer({ min: 0, max: 1000 }),
    took: fc.integer({ min: -50, max: 1000 }),
    name: fc.constantFrom('a', 'b', 'c;d', 'Req 0a1b2c3d', ''),
  }),
  { minLength: 1, maxLength: 40 },
) as fc.Arbitrary<Told[]>;

/** A tree whose children lie inside their parents, one after the other. */
const proper = fc
  .array(fc.tuple(fc.nat(), fc.double({ min: 0, max: 1, noNaN: true })), { minLength: 1, maxLength: 40 })
  .map((draws) => {
    const spans: Told[] = [{ id: 1, at: 0, took: 1000 }];
    const free = [{ from: 0, until: 1000 }];
    for (const [pick, share] of draws) {
      const p = pick % spans.length;
      const room = free[p]!;
      const took = Math.floor((room.until - room.from) * share);
      spans.push({ id: spans.length + 1, parent: p + 1, at: room.from, took });
      free.push({ from: room.from, until: room.from + took });
      room.from += took;
    }
    return spans;
  });

describe('flame graphs', () => {
  test('own times of a proper tree add up to the duration of its root, in both views', () => {
    fc.assert(
      fc.property(proper, (spans) => {
        for (const view of ['resource', 'critical-path'] as const) {
          const { tree } = draw(spans, view);
          expect(tree.totals()[0]).toBe(1e9);
        }
      }),
    );
  });

  test('whatever the spans: the critical path adds up to the durations of the roots exactly', () => {
    fc.assert(
      fc.property(anySpans, (spans) => {
        const store = storeOf(spans);
        let roots = 0;
        const byRoot = new Map<number, number>();
        const { tree } = drawFlame(store, { view: 'critical-path', by: 'role' }, (forest) => {
          for (const i of forest.order) if (forest.parent[i]! < 0) roots += store.duration[i]!;
          return (_node, nanos, root) => byRoot.set(root, (byRoot.get(root) ?? 0) + nanos);
        });
        expect(tree.totals()[0]).toBe(roots);
        for (const [root, nanos] of byRoot) expect(nanos).toBe(store.duration[root]!);
      }),
    );
  });

  test('whatever the spans: no own time is negative, and the folded lines add up to the whole', () => {
    fc.assert(
      fc.property(anySpans, (spans) => {
        const { tree } = draw(spans);
        for (const own of tree.self) expect(own).toBeGreaterThanOrEqual(0);
        const lines = folded(tree);
        const sum = lines.reduce((n, line) => n + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
        expect(Math.abs(sum - tree.totals()[0]! / 1000)).toBeLessThanOrEqual(1);
        for (const line of lines) expect(line).toMatch(/^[^;]+(;[^;]+)* \d+$/);
      }),
    );
  });

  test('children that ran side by side are taken from their parent once', () => {
    const { tree } = draw([
      { id: 1, at: 0, took: 100, name: 'request' },
      { id: 2, parent: 1, at: 10, took: 50, name: 'left' },
      { id: 3, parent: 1, at: 20, took: 60, name: 'right' },
    ]);
    expect(folded(tree)).toEqual(['chat;request 30000', 'chat;request;left 50000', 'chat;request;right 60000']);
    const path = draw(
      [
        { id: 1, at: 0, took: 100, name: 'request' },
        { id: 2, parent: 1, at: 10, took: 50, name: 'left' },
        { id: 3, parent: 1, at: 20, took: 60, name: 'right' },
      ],
      'critical-path',
    );
    expect(folded(path.tree)).toEqual(['chat;request 30000', 'chat;request;left 10000', 'chat;request;right 60000']);
  });

  test('ids are taken out of names, so that the same work of many requests is one frame', () => {
    const { tree } = draw(
      ['Req 0a1b2c3d', 'Req ffff0000', 'thread pid:4711', 'thread pid:4712'].map((name, i) => ({
        id: i + 1,
        trace: i + 1,
        at: i,
        took: 1,
        name,
      })),
    );
    expect(folded(tree)).toEqual(['chat;Req # 2000', 'chat;thread pid:# 2000']);
  });

  test('what an engine tells in attributes of its only span becomes frames under it', () => {
    const { tree } = draw([
      {
        id: 1,
        at: 0,
        took: 1000,
        name: 'llm_request',
        attributes: {
          'gen_ai.latency.time_in_queue': 0.2,
          'gen_ai.latency.time_in_model_prefill': 0.1,
          'gen_ai.latency.time_in_model_decode': 0.65,
        },
      },
    ]);
    expect(folded(tree)).toEqual([
      'chat;llm_request 50000',
      'chat;llm_request;decode 650000',
      'chat;llm_request;prefill 100000',
      'chat;llm_request;queue 200000',
    ]);
  });

  test('steps, stages and collectives of a rank lie inside one another though no parent is named', () => {
    const { tree } = draw([
      { id: 1, at: 0, took: 100, name: 'engine_step', attributes: { 'step.decode_seqs': 4 } },
      { id: 2, at: 20, took: 30, name: 'collective', attributes: { 'comm.op': 'all_reduce' } },
      { id: 3, at: 110, took: 5, name: 'collective', attributes: { 'comm.op': 'all_reduce' } },
    ]);
    expect(folded(tree)).toEqual([
      'chat;collective all_reduce 5000',
      'chat;engine_step decode 70000',
      'chat;engine_step decode;collective all_reduce 30000',
    ]);
  });

  test('the clock of another host is moved so that its spans lie inside their parents, and it is said', () => {
    const on = (host: string) => resource({ 'service.name': 'chat', 'host.name': host });
    const spans: Told[] = [];
    for (let k = 0; k < 20; k++) {
      const id = k * 2 + 1;
      spans.push({ id, trace: id, at: k * 1000, took: 100, name: 'request', resource: on('a') });
      // 300 ms ahead.
      spans.push({ id: id + 1, trace: id, parent: id, at: k * 1000 + 310, took: 80, name: 'work', resource: on('b') });
    }
    const { tree, notes } = draw(spans, 'critical-path');
    expect(folded(tree)).toEqual(['chat;request 400000', 'chat;request;work 1600000']);
    expect(notes.join()).toMatch(/^Clocks moved .*: b by -290.0 ms\.$/);
  });

  test('circles, missing parents, negative durations and doubles are put right, counted and said', () => {
    const { tree, notes } = draw([
      { id: 1, parent: 2, at: 0, took: 10, name: 'a' },
      { id: 2, parent: 1, at: 1, took: 5, name: 'b' },
      { id: 3, parent: 99, at: 0, took: 7, name: 'orphan' },
      { id: 4, at: 0, took: -7, name: 'negative' },
      { id: 5, at: 0, took: 3, name: 'twice' },
      { id: 5, at: 0, took: 3, name: 'twice' },
      { id: 6, parent: 6, at: 0, took: 2, name: 'itself' },
    ]);
    expect(folded(tree)).toEqual([
      'chat;a 5000',
      'chat;a;b 5000',
      'chat;itself 2000',
      'chat;orphan 7000',
      'chat;twice 3000',
    ]);
    expect(notes).toEqual([
      '1 span ends before the beginning and count as 0.',
      '1 span was there twice and counted once.',
      '1 span names a parent that is not there; each is a root.',
      '1 circle of parents cut at the earliest span.',
    ]);
  });

  test('a chain of 100,000 spans is drawn, its deep end in one frame', () => {
    const spans: Told[] = [];
    for (let i = 1; i <= 100_000; i++) {
      spans.push({ id: i, ...(i > 1 ? { parent: i - 1 } : {}), at: i / 1000, took: 300 - i / 1000, name: 'down' });
    }
    for (const view of ['resource', 'critical-path'] as const) {
      const { tree } = draw(spans, view);
      expect(tree.size).toBeLessThan(300);
      expect(tree.totals()[0]).toBe(300e6 - 1000);
      expect(folded(tree).filter((line) => /;\(deeper\) \d+$/.test(line))).toHaveLength(1);
    }
  });

  test('names of any length and with anything in them make one safe line each', () => {
    const { tree } = draw([
      { id: 1, at: 0, took: 1, name: `x${'y'.repeat(1e6)}` },
      { id: 2, at: 0, took: 1, name: 'a\nb;c\u202e\u0000 9' },
      { id: 3, at: 0, took: 1, name: '__proto__' },
      { id: 4, at: 0, took: 1, name: '\ud800' },
    ]);
    const lines = folded(tree);
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(line).toMatch(/^chat;[^;\n]{1,120} 1000$/u);
  });
});
