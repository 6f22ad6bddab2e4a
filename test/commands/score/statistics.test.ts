import { describe, expect, it } from 'vitest';
import {
  clusterBootstrap,
  doseAtShare,
  isotonic,
  quantile,
  rateInterval,
  signTest,
  wilson,
} from '../../../commands/score/statistics.ts';

describe('the intervals of the score board', () => {
  it('are Wilson’s for a share', () => {
    // Newcombe 1998, table I: 81 of 263 and 15 of 148.
    expect([wilson(81, 263).low, wilson(81, 263).high].map((x) => x.toFixed(4))).toEqual(['0.2553', '0.3662']);
    expect([wilson(15, 148).low, wilson(15, 148).high].map((x) => x.toFixed(4))).toEqual(['0.0624', '0.1605']);
    expect(wilson(0, 0)).toMatchObject({ value: Number.NaN, low: 0, high: 1 });
    expect(wilson(5, 5).high).toBe(1);
  });

  it('are those of a Poisson count for a rate, and the rule of three for none', () => {
    // Exact: 1 event 0.0253 to 5.572, 10 events 4.795 to 18.39.
    expect(rateInterval(10, 1).low).toBeCloseTo(4.795, 3);
    expect(rateInterval(10, 1).high).toBeCloseTo(18.39, 2);
    expect(rateInterval(1, 1).high).toBeCloseTo(5.572, 3);
    expect(rateInterval(1, 1).low).toBeCloseTo(0.0253, 4);
    expect(rateInterval(2000, 1).high).toBeCloseTo(2089.6, 0);
    expect(rateInterval(0, 2)).toMatchObject({ value: 0, low: 0, high: 1.5 });
    expect(rateInterval(0, 0).high).toBe(Number.POSITIVE_INFINITY);
  });

  it('resample whole seeds, since the cases of one seed are not independent', () => {
    const cases = [...Array(10).keys()].flatMap((seed) => Array.from({ length: 20 }, () => ({ seed, hit: seed < 5 })));
    const share = (some: Readonly<typeof cases>) => some.filter((c) => c.hit).length / some.length;
    const byCluster = clusterBootstrap(cases, (c) => c.seed, share);
    const byCase = clusterBootstrap(
      cases.map((c, i) => ({ ...c, seed: i })),
      (c) => c.seed,
      share,
    );
    expect(byCluster.value).toBe(0.5);
    expect(byCluster.high - byCluster.low).toBeGreaterThan(3 * (byCase.high - byCase.low));
    expect(clusterBootstrap(cases, (c) => c.seed, share)).toEqual(byCluster);
    // One seed alone says nothing about others.
    expect(clusterBootstrap(cases.slice(0, 20), (c) => c.seed, share).low).toBeNaN();
  });

  it('take the sign test of a fair coin', () => {
    expect(signTest(0, 5)).toBeCloseTo(1 / 32);
    expect(signTest(1, 5)).toBeCloseTo(6 / 32);
    expect(signTest(5, 5)).toBeCloseTo(1);
  });
});

describe('the dose at which half are found', () => {
  it('lies between the doses that were tried, on a curve that only rises', () => {
    const points = [
      { x: 0.1, hits: 2, n: 4 },
      { x: 0.2, hits: 1, n: 4 },
      { x: 0.4, hits: 4, n: 4 },
    ];
    expect(isotonic(points)).toEqual([0.375, 0.375, 1]);
    expect(doseAtShare(points, 0.5)).toBeCloseTo(0.2 * 2 ** 0.2);
    expect(doseAtShare(points, 0.3)).toBe(0.1);
    expect(doseAtShare(points.slice(0, 2), 0.9)).toBeNull();
  });
});

it('a quantile is a value that occurred', () => {
  expect(quantile([1, 2, 3, 4], 0.5)).toBe(2);
  expect(quantile([1, 2, 3, 4], 0.95)).toBe(4);
  expect(quantile([], 0.5)).toBeNaN();
});
