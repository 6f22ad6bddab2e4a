import { describe, expect, test } from 'vitest';
import { feasibleLoad, fitKnee, kneeOf, neverRising } from '../../../../pipeline/kit/stats/knee.ts';

/** Deterministic normal noise. */
function noise(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

const SWEEP = [1, 2, 4, 8, 16, 24, 32, 40, 48, 64, 80, 96];
/** Deployments whose knee is at 40 requests at once. */
const CURVES = {
  'no queue, then none more': (x: number) => 50 * Math.min(x, 40),
  'a batch that makes every request slower, then no more seats': (x: number) =>
    (1000 * Math.min(x, 40)) / (10 + 0.1 * Math.min(x, 40)),
  'less behind it than at it': (x: number) => (x < 40 ? 50 * x : 2000 - 5 * (x - 40)),
};

describe('the knee of a load sweep', () => {
  test.each(Object.entries(CURVES))('is found within 15 percent: %s', (_, curve) => {
    const next = noise(5);
    let near = 0;
    let held = 0;
    const n = 12;
    for (let i = 0; i < n; i++) {
      const levels = SWEEP.map((load) => ({ load, output: curve(load) * Math.exp(0.03 * next()), windows: 5 }));
      const got = kneeOf(levels);
      if (!got.found) continue;
      if (Math.abs(got.knee.load.value / 40 - 1) <= 0.15) near++;
      if (got.knee.load.low <= 40 && got.knee.load.high >= 40) held++;
      expect(Math.abs(got.knee.capacity.value / curve(60) - 1)).toBeLessThan(0.15);
    }
    expect(near).toBe(n);
    expect(held).toBeGreaterThanOrEqual(n * 0.8);
  });

  test('is not invented where output follows load as far as it went, nor where too little was seen', () => {
    const straight = SWEEP.map((load) => ({ load, output: 50 * load, windows: 3 }));
    expect(kneeOf(straight)).toMatchObject({ found: false, seen: 96 });
    const next = noise(9);
    for (let i = 0; i < 20; i++) {
      const levels = SWEEP.map((load) => ({ load, output: 50 * load * Math.exp(0.05 * next()), windows: 3 }));
      expect(kneeOf(levels).found).toBe(false);
    }
    expect(kneeOf(straight.slice(0, 5))).toMatchObject({ found: false, why: expect.stringContaining('6 are needed') });
    const low = [1, 2, 3, 4, 5, 6, 100, 200].map((load) => ({ load, output: load, windows: 1 }));
    expect(kneeOf(low)).toMatchObject({ found: false, why: expect.stringContaining('more than half') });
    expect(kneeOf([])).toMatchObject({ found: false });
    expect(fitKnee(straight.map((l) => ({ ...l, output: 0 })))).toBeUndefined();
  });

  test('reaches from one level to the next where nothing between them was seen', () => {
    const coarse = [1, 2, 4, 8, 12, 16, 24].map((load) => ({
      load,
      output: [95, 179, 296, 421, 423, 420, 413][[1, 2, 4, 8, 12, 16, 24].indexOf(load)]!,
      windows: 3,
    }));
    const got = kneeOf(coarse);
    expect(got.found && [got.knee.load.low, got.knee.load.high]).toEqual([4, 8]);
  });

  test('has the same interval whenever it is asked', () => {
    const next = noise(1);
    const levels = SWEEP.map((load) => ({ load, output: Math.min(load, 30) * Math.exp(0.05 * next()), windows: 2 }));
    expect(kneeOf(levels)).toEqual(kneeOf(levels));
  });
});

describe('the largest load within an objective', () => {
  test('lies between the last level that holds and the first that does not', () => {
    const levels = [
      { load: 10, good: 100, all: 100 },
      { load: 20, good: 199, all: 200 },
      { load: 40, good: 90, all: 100 },
    ];
    const got = feasibleLoad(levels, 0.99)!;
    expect(got.open).toBe(false);
    expect(got.load).toBeGreaterThan(20);
    expect(got.load).toBeLessThan(23);
    expect(feasibleLoad(levels, 0.5)).toEqual({ load: 40, open: true });
    expect(feasibleLoad([{ load: 1, good: 1, all: 10 }], 0.99)).toBeUndefined();
    expect(feasibleLoad([], 0.99)).toBeUndefined();
  });

  test('shares that rise with the load are noise and pooled', () => {
    expect(neverRising([1, 0.98, 1, 0.5], [1, 1, 1, 1])).toEqual([1, 0.99, 0.99, 0.5]);
  });
});
