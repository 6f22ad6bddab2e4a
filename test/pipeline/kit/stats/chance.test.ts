import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  benjaminiHochberg,
  binomialTail,
  chiSquareTail,
  evenness,
  holm,
  hypergeometricTail,
  logGamma,
  nullMax,
  twoProportions,
} from '../../../../pipeline/kit/stats/chance.ts';

describe('tail probabilities', () => {
  it('sums a binomial like a direct sum does', () => {
    expect(binomialTail(10, 0.5, 8)).toBeCloseTo(56 / 1024, 10);
    expect(binomialTail(4, 0.25, 0)).toBe(1);
    expect(binomialTail(4, 0.25, 5)).toBe(0);
    expect(binomialTail(1000, 0.25, 500)).toBeLessThan(1e-60);
  });
  it('agrees with a table of chi-square', () => {
    expect(chiSquareTail(3.841459, 1)).toBeCloseTo(0.05, 5);
    expect(chiSquareTail(18.30704, 10)).toBeCloseTo(0.05, 5);
    expect(chiSquareTail(0, 3)).toBe(1);
    expect(chiSquareTail(200, 3)).toBeLessThan(1e-40);
  });
  it('computes gamma', () => {
    expect(Math.exp(logGamma(6))).toBeCloseTo(120, 6);
  });
  it('counts draws without replacement', () => {
    // 5 marked of 10, 5 drawn: all five marked in 1 of 252 draws.
    expect(hypergeometricTail(10, 5, 5, 5)).toBeCloseTo(1 / 252, 10);
    expect(hypergeometricTail(10, 5, 5, 0)).toBeCloseTo(1, 10);
  });
  it('gives tails that fall with k and stay in 0..1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.double({ min: 0.01, max: 0.99, noNaN: true }), (n, p) => {
        let previous = 1;
        for (let k = 0; k <= n; k += Math.max(1, Math.floor(n / 7))) {
          const tail = binomialTail(n, p, k);
          expect(tail).toBeGreaterThanOrEqual(0);
          expect(tail).toBeLessThanOrEqual(previous + 1e-9);
          previous = tail;
        }
      }),
    );
  });
  it('calls equal counts even and skewed counts uneven', () => {
    expect(evenness([100, 101, 99, 100])).toBeGreaterThan(0.9);
    expect(evenness([400, 10, 10, 10])).toBeLessThan(1e-6);
    expect(evenness([200, 100], [2, 1])).toBeCloseTo(1, 6);
    expect(evenness([7])).toBe(1);
  });
  it('compares proportions', () => {
    expect(twoProportions(10, 100, 10, 100)).toBeCloseTo(1, 6);
    expect(twoProportions(10, 1000, 100, 1000)).toBeLessThan(1e-6);
  });
});

describe('unevenness by chance', () => {
  it('is close to the simulated 99th percentile where it may be trusted', () => {
    let s = 12345;
    const random = () => {
      s = (Math.imul(s, 1103515245) + 12345) & 0x7fffffff;
      return s / 0x7fffffff;
    };
    for (const [n, bins] of [
      [128, 8],
      [512, 16],
    ] as const) {
      const ratios: number[] = [];
      for (let trial = 0; trial < 1500; trial++) {
        const counts = new Array(bins).fill(0);
        for (let i = 0; i < n; i++) counts[Math.floor(random() * bins)]++;
        ratios.push(Math.max(...counts) / (n / bins));
      }
      ratios.sort((a, b) => a - b);
      expect(Math.abs(nullMax(n, bins) - ratios[Math.floor(0.99 * ratios.length)]!)).toBeLessThan(0.15);
    }
  });
  it('never calls anything uneven when there is nothing to divide', () => {
    expect(nullMax(0, 8)).toBe(Number.POSITIVE_INFINITY);
    expect(nullMax(100, 1)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('many looks', () => {
  it('adjusts as Holm and Benjamini–Hochberg do', () => {
    expect(holm([0.01, 0.04, 0.03])).toEqual([0.03, 0.06, 0.06]);
    expect(benjaminiHochberg([0.01, 0.04, 0.03]).map((q) => Number(q.toFixed(6)))).toEqual([0.03, 0.04, 0.04]);
  });
  it('never lowers a p-value and keeps their order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 }), (ps) => {
        for (const adjust of [holm, benjaminiHochberg]) {
          const out = adjust(ps);
          out.forEach((q, i) => {
            expect(q).toBeGreaterThanOrEqual(ps[i]! - 1e-12);
            for (const [j, r] of out.entries()) if (ps[i]! < ps[j]!) expect(q).toBeLessThanOrEqual(r + 1e-12);
          });
        }
      }),
    );
  });
});
