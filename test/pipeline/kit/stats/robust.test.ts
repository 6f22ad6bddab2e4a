import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  autocorrelation,
  kendallTau,
  location,
  mannKendall,
  median,
  normalCdf,
  quantile,
  slopeQuantiles,
  theilSen,
} from '../../../../pipeline/kit/stats/robust.ts';

const finite = fc.double({ min: -1e6, max: 1e6, noNaN: true });

/** A small seeded generator, so that statistical tests say the same every time. */
function rng(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = s;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const normal = (random: () => number) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

describe('order statistics', () => {
  it('gives a median that permuting cannot change and that lies within the values', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 40 }), (xs) => {
        const m = median(xs);
        expect(median([...xs].reverse())).toBe(m);
        expect(m).toBeGreaterThanOrEqual(Math.min(...xs));
        expect(m).toBeLessThanOrEqual(Math.max(...xs));
      }),
    );
  });
  it('gives quantiles that rise with p', () => {
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 30 }), (xs) => {
        expect(quantile(xs, 0.9)).toBeGreaterThanOrEqual(quantile(xs, 0.1));
        expect(quantile(xs, 0) === Math.min(...xs)).toBe(true);
        expect(quantile(xs, 1) === Math.max(...xs)).toBe(true);
      }),
    );
  });
  it('never calls a constant series exactly certain', () => {
    expect(location([5, 5, 5, 5]).scale).toBeCloseTo(0.1, 12);
    expect(location([0, 0, 0], 0.5).scale).toBe(0.5);
  });
  it('is not moved by one wild sample', () => {
    expect(location([1, 1.01, 0.99, 1, 1e9]).median).toBe(1);
  });
});

describe('trends', () => {
  it('finds the slope of a line through any noise on less than a third of its points', () => {
    const x = Array.from({ length: 21 }, (_, i) => i);
    const y = x.map((v) => 3 * v + (v % 4 === 0 ? 1000 : 0));
    expect(theilSen(x, y)).toBeCloseTo(3, 6);
  });
  it('is equivariant to scaling and adding a line', () => {
    fc.assert(
      fc.property(
        fc.array(finite, { minLength: 3, maxLength: 20 }),
        fc.double({ min: -5, max: 5, noNaN: true }),
        (ys, b) => {
          const x = ys.map((_, i) => i);
          const tilted = ys.map((y, i) => y + b * i);
          expect(theilSen(x, tilted)).toBeCloseTo(theilSen(x, ys) + b, 3);
        },
      ),
    );
  });
  it('orders slope quantiles', () => {
    const x = Array.from({ length: 30 }, (_, i) => i);
    const y = x.map((v) => v + Math.sin(v * 7));
    const [a, b, c] = slopeQuantiles(x, y, [0.25, 0.5, 0.75]);
    expect(a!).toBeLessThanOrEqual(b!);
    expect(b!).toBeLessThanOrEqual(c!);
  });
  it('sees a trend and says which way', () => {
    const up = Array.from({ length: 30 }, (_, i) => i + 3 * Math.sin(i * 1.7));
    expect(mannKendall(up)).toMatchObject({ direction: 1 });
    expect(mannKendall(up).p).toBeLessThan(0.001);
    expect(mannKendall(up.map((v) => -v)).direction).toBe(-1);
  });
  it('fires on less than 2 % of flat independent series at p < .01, and stays usable under autocorrelation', () => {
    const random = rng(7);
    let flat = 0;
    let correlated = 0;
    for (let trial = 0; trial < 400; trial++) {
      const e = Array.from({ length: 24 }, () => normal(random));
      if (mannKendall(e).p < 0.01) flat++;
      let previous = 0;
      const ar = e.map((v) => {
        previous = 0.5 * previous + v;
        return previous;
      });
      if (mannKendall(ar).p < 0.01) correlated++;
    }
    expect(flat / 400).toBeLessThan(0.02);
    expect(correlated / 400).toBeLessThan(0.06);
  });
  it('measures agreement of two orders', () => {
    expect(kendallTau([1, 2, 3, 4], [10, 20, 30, 40])).toBe(1);
    expect(kendallTau([1, 2, 3, 4], [4, 3, 2, 1])).toBe(-1);
    expect(kendallTau([1, 1, 1], [1, 2, 3])).toBe(0);
  });
  it('knows autocorrelation from noise', () => {
    const random = rng(3);
    expect(Math.abs(autocorrelation(Array.from({ length: 500 }, () => normal(random))))).toBeLessThan(0.12);
    expect(autocorrelation(Array.from({ length: 100 }, (_, i) => i))).toBeGreaterThan(0.9);
  });
  it('matches the normal table', () => {
    expect(normalCdf(1.959964)).toBeCloseTo(0.975, 5);
    expect(normalCdf(-3)).toBeCloseTo(0.00135, 5);
  });
});
