import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  covered,
  criticalPath,
  exposure,
  type PathNode,
  splitGap,
  union,
} from '../../../../pipeline/kit/stats/intervals.ts';

const interval = fc
  .tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 300 }))
  .map(([start, length]) => ({ start, end: start + length }));
const intervals = fc.array(interval, { maxLength: 25 });

describe('exposed communication', () => {
  it('divides a window into four parts that add up to it', () => {
    fc.assert(
      fc.property(intervals, intervals, (compute, comm) => {
        const e = exposure(compute, comm, { start: 100, end: 900 });
        expect(e.compute + e.overlap + e.exposed + e.idle).toBe(800);
        for (const part of Object.values(e)) expect(part).toBeGreaterThanOrEqual(0);
      }),
    );
  });
  it('merges overlaps once', () => {
    expect(
      union([
        { start: 5, end: 9 },
        { start: 1, end: 6 },
        { start: 20, end: 20 },
      ]),
    ).toEqual([{ start: 1, end: 9 }]);
    expect(
      covered([
        { start: 0, end: 10 },
        { start: 5, end: 15 },
      ]),
    ).toBe(15);
  });
});

describe('a pipeline gap', () => {
  it('divides into parts that add up to it', () => {
    fc.assert(
      fc.property(
        interval,
        fc.integer({ min: -100, max: 1500 }),
        fc.integer({ min: -100, max: 1500 }),
        intervals,
        (gap, u, r, busy) => {
          const parts = splitGap(gap, u, r, busy);
          const sum = parts.imbalance + parts.fill + parts.comm + parts.host;
          expect(sum).toBe(gap.end - gap.start);
          for (const part of Object.values(parts)) expect(part).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
  it('is imbalance when the stage before was busy, fill when it was idle', () => {
    const gap = { start: 0, end: 100 };
    expect(splitGap(gap, 60, 80, [{ start: -50, end: 60 }])).toEqual({ imbalance: 60, fill: 0, comm: 20, host: 20 });
    expect(splitGap(gap, 60, 80, [])).toEqual({ imbalance: 0, fill: 60, comm: 20, host: 20 });
  });
});

describe('the critical path', () => {
  const tree: fc.Arbitrary<PathNode> = fc.letrec<{ node: PathNode }>((tie) => ({
    node: fc
      .record({
        start: fc.integer({ min: 0, max: 1000 }),
        length: fc.integer({ min: 0, max: 500 }),
        children: fc.oneof({ maxDepth: 3 }, fc.constant([]), fc.array(tie('node'), { maxLength: 4 })),
      })
      .map(({ start, length, children }) => ({ name: 'n', start, end: start + length, children })),
  })).node;
  it('charges every moment of the root once', () => {
    fc.assert(
      fc.property(tree, (root) => {
        const charges = criticalPath(root);
        expect(charges.reduce((sum, c) => sum + c.end - c.start, 0)).toBe(root.end - root.start);
        for (let i = 1; i < charges.length; i++) expect(charges[i]!.start).toBe(charges[i - 1]!.end);
      }),
    );
  });
  it('follows the child that ends last', () => {
    const queue = { name: 'queue', start: 0, end: 40, children: [] };
    const prefill = { name: 'prefill', start: 35, end: 90, children: [] };
    const short = { name: 'short', start: 36, end: 50, children: [] };
    const path = criticalPath({ name: 'request', start: 0, end: 100, children: [queue, prefill, short] });
    expect(path.map((c) => [c.node.name, c.start, c.end])).toEqual([
      ['queue', 0, 35],
      ['prefill', 35, 90],
      ['request', 90, 100],
    ]);
  });
});
