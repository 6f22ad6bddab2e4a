import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bucketQuantile, exceeds, increase, shareAbove } from '../../../../pipeline/kit/stats/counters.ts';

describe('the increase of a counter', () => {
  it('is whole when the counts are, over restarts and gaps', () => {
    const t = [0, 5, 10, 60, 65];
    expect(increase(t, [10, 15, 3, 8, 8], 12)).toEqual({ total: 13, span: 65, resets: 1, gaps: 1, n: 5 });
  });
  it('adds up when a window is split at any sample', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 2, maxLength: 30 }), fc.nat(29), (values, cut) => {
        const t = values.map((_, i) => i * 5);
        const k = cut % values.length;
        const whole = increase(t, values, 12);
        const parts = increase(t, values, 12, 0, k + 1).total + increase(t, values, 12, k).total;
        expect(parts).toBe(whole.total);
      }),
    );
  });
  it('is never negative and is the plain difference without a reset', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100), { minLength: 1, maxLength: 30 }), (steps) => {
        let v = 0;
        const values = steps.map((s) => {
          v += s;
          return v;
        });
        const r = increase(
          values.map((_, i) => i),
          values,
          3,
        );
        expect(r.total).toBe(values.at(-1)! - values[0]!);
        expect(r.resets).toBe(0);
      }),
    );
  });
});

describe('quantiles of buckets', () => {
  const bounds = [0.01, 0.025, 0.05, 0.1];
  it('are intervals that contain the truth', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.0001, max: 0.3, noNaN: true }), { minLength: 20, maxLength: 200 }),
        fc.double({ min: 0.05, max: 0.95, noNaN: true }),
        (xs, p) => {
          const counts = new Array(bounds.length + 1).fill(0);
          for (const x of xs)
            counts[bounds.findIndex((b) => x <= b) < 0 ? bounds.length : bounds.findIndex((b) => x <= b)]++;
          const q = bucketQuantile(bounds, counts, p, 20)!;
          const s = [...xs].sort((a, b) => a - b);
          const truth = s[Math.max(0, Math.ceil(p * s.length) - 1)]!;
          expect(truth).toBeGreaterThanOrEqual(q.lo);
          expect(truth).toBeLessThanOrEqual(q.hi);
          expect(q.mid).toBeGreaterThanOrEqual(q.lo);
          expect(q.mid).toBeLessThanOrEqual(q.hi);
        },
      ),
    );
  });
  it('are not given for fewer observations than they need', () => {
    expect(bucketQuantile(bounds, [10, 0, 0, 0, 0], 0.5)).toBeUndefined();
    expect(bucketQuantile(bounds, [0, 399, 0, 0, 0], 0.99)).toBeUndefined();
    expect(bucketQuantile(bounds, [0, 400, 0, 0, 0], 0.99)).toMatchObject({ lo: 0.01, hi: 0.025 });
  });
  it('say unknown above the last bound and inside the bucket of the threshold', () => {
    const over = bucketQuantile(bounds, [0, 0, 0, 0, 50], 0.5);
    expect(over).toMatchObject({ lo: 0.1, hi: Number.POSITIVE_INFINITY });
    expect(exceeds(over, 0.09)).toBe('yes');
    expect(exceeds(over, 0.5)).toBe('unknown');
    expect(exceeds(bucketQuantile(bounds, [0, 50, 0, 0, 0], 0.5), 0.02)).toBe('unknown');
    expect(exceeds(bucketQuantile(bounds, [50, 0, 0, 0, 0], 0.5), 0.02)).toBe('no');
    expect(exceeds(undefined, 1)).toBe('unknown');
  });
});

describe('the share above a threshold', () => {
  it('is exact at the bound that it names', () => {
    const bounds = [0.1, 0.5, 1, 2];
    expect(shareAbove(bounds, [5, 5, 5, 5, 5], 0.7)).toEqual({ share: 0.4, bound: 1, above: 10, n: 25 });
    expect(shareAbove(bounds, [5, 5, 5, 5, 5], 1)).toMatchObject({ bound: 1 });
  });
  it('is not known beyond the last bound or without observations', () => {
    expect(shareAbove([1, 2], [1, 1, 1], 3)).toBeUndefined();
    expect(shareAbove([1, 2], [0, 0, 0], 1)).toBeUndefined();
  });
});
