import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attribute, stragglerShare } from '../../../../pipeline/kit/stats/collectives.ts';

/** Operations in which each rank arrives at random, `late` being later by `delay`; durations end together. */
function world(seed: number, size: number, ops: number, late: number, delay: number): number[][] {
  let s = seed >>> 0;
  const random = () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return s / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Array.from({ length: ops }, () => {
    const arrivals = Array.from({ length: size }, (_, r) => 500 * (1 + 0.02 * normal()) * (r === late ? 1 + delay : 1));
    const end = Math.max(...arrivals) + 30;
    return arrivals.map((a) => end - a);
  });
}

describe('straggler attribution', () => {
  it('names the late rank, which has the shortest collectives, from a 5 % delay on', () => {
    for (const size of [4, 8]) {
      for (const delay of [0.1, 0.3]) {
        const result = attribute(world(size * 100 + delay * 10, size, 300, 2, delay), size, 300 * 550);
        expect(result).toMatchObject({ verdict: 'straggler', rank: 2 });
      }
    }
  });
  it('never names a rank when all are alike', () => {
    for (let seed = 1; seed <= 60; seed++) {
      expect(attribute(world(seed, 8, 300, 0, 0), 8, 300 * 550).verdict).not.toBe('straggler');
    }
  });
  it('does not depend on the order of ranks', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 0, max: 3 }), (seed, late) => {
        const ops = world(seed, 4, 220, late, 0.15);
        const a = attribute(ops, 4, 1e6);
        const b = attribute(
          ops.map((d) => [...d].reverse()),
          4,
          1e6,
        );
        expect(b.rank).toBe(3 - a.rank);
        expect(b.share).toBe(a.share);
        expect(b.pureShare).toBeCloseTo(a.pureShare, 9);
      }),
    );
  });
  it('saves more the later the rank is', () => {
    let previous = -1;
    for (const delay of [0.05, 0.1, 0.2, 0.4]) {
      const { saving } = attribute(world(9, 4, 300, 1, delay), 4, 300 * 550);
      expect(saving).toBeGreaterThan(previous);
      previous = saving;
    }
  });
  it('calls a group whose operations are long for everybody transfer, not waiting', () => {
    const ops = world(5, 4, 300, 0, 0).map((d) => d.map((x) => x + 2000));
    const result = attribute(ops, 4, 300 * 2600);
    expect(result.verdict).toBe('transfer');
    expect(result.pureShare).toBeGreaterThan(0.9);
  });
  it('is insufficient with few operations, and drops incomplete ones', () => {
    const ops = world(5, 4, 300, 0, 0.3);
    expect(attribute(ops.slice(0, 100), 4, 1e6).verdict).toBe('insufficient');
    expect(
      attribute(
        ops.map((d) => d.slice(0, 3)),
        4,
        1e6,
      ).ops,
    ).toBe(0);
    expect(attribute([], 4, 1).verdict).toBe('insufficient');
  });
  it('asks for a larger share in small groups', () => {
    expect(stragglerShare(2)).toBe(0.85);
    expect(stragglerShare(4)).toBeCloseTo(0.7);
    expect(stragglerShare(16)).toBe(0.5);
  });
});
