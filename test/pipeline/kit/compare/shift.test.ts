import { describe, expect, it } from 'vitest';
import { blocksNeeded, judgeShift, shiftOf } from '../../../../pipeline/kit/stats/shift.ts';

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
const runs = (n: number, mean: number, cv: number, next: () => number) =>
  Array.from({ length: n }, () => mean * Math.exp(cv * next()));

describe('the shift between two sides', () => {
  it('is called a regression in at most one of a hundred comparisons of the same with itself, whatever the noise', () => {
    const next = noise(1);
    for (const cv of [0.01, 0.03, 0.1, 0.3]) {
      let wrong = 0;
      for (let i = 0; i < 1000; i++) {
        const s = shiftOf(runs(10, 1, cv, next), runs(10, 1, cv, next), false)!;
        if (judgeShift(s, 0.03, 'up') === 'regressed') wrong++;
      }
      expect(wrong).toBeLessThanOrEqual(10);
    }
  });

  it('finds ten percent with ten runs that differ by up to four percent', () => {
    const next = noise(2);
    let found = 0;
    for (let i = 0; i < 500; i++) {
      const s = shiftOf(runs(10, 1, 0.04, next), runs(10, 1.1, 0.04, next), false)!;
      if (judgeShift(s, 0.03, 'up') === 'regressed') found++;
    }
    expect(found).toBeGreaterThanOrEqual(475);
  });

  it('holds the truth in its interval 95 times of 100', () => {
    const next = noise(3);
    let held = 0;
    for (let i = 0; i < 1000; i++) {
      const s = shiftOf(runs(12, 2, 0.1, next), runs(12, 2.5, 0.1, next), false)!;
      if (s.low <= 1.25 && 1.25 <= s.high) held++;
    }
    expect(held).toBeGreaterThanOrEqual(925);
    expect(held).toBeLessThanOrEqual(985);
  });

  it('says equivalent only where the interval lies inside the band, and otherwise how many blocks are needed', () => {
    const next = noise(4);
    const same = shiftOf(runs(30, 1, 0.01, next), runs(30, 1, 0.01, next), false)!;
    expect(judgeShift(same, 0.03, 'up')).toBe('equivalent');
    const loud = shiftOf(runs(6, 1, 0.3, next), runs(6, 1, 0.3, next), false)!;
    expect(judgeShift(loud, 0.03, 'up')).toBe('inconclusive');
    expect(blocksNeeded(0.3, 0.05)).toBeGreaterThan(400);
    expect(shiftOf([1, 1, 1, 1], [1, 1, 1, 1, 1], false)).toBeUndefined();
  });

  it('is wider where neighbouring minutes resemble each other', () => {
    const next = noise(5);
    const walk = (n: number) => {
      let x = 0;
      return Array.from({ length: n }, () => {
        x = 0.8 * x + 0.1 * next();
        return Math.exp(x);
      });
    };
    const [a, b] = [walk(30), walk(30)];
    const plain = shiftOf(a, b, false)!;
    const wide = shiftOf(a, b, true)!;
    expect(wide.high / wide.low).toBeGreaterThan(plain.high / plain.low);
  });

  it('takes minutes that resemble each other for no change either', () => {
    const next = noise(6);
    const walk = (phi: number) => {
      let x = next();
      return Array.from({ length: 20 }, () => {
        x = phi * x + Math.sqrt(1 - phi * phi) * next();
        return Math.exp(0.05 * x);
      });
    };
    for (const phi of [0.3, 0.6]) {
      let wrong = 0;
      for (let i = 0; i < 600; i++) {
        if (judgeShift(shiftOf(walk(phi), walk(phi), true)!, 0.03, 'up') === 'regressed') wrong++;
      }
      expect(wrong).toBeLessThanOrEqual(8);
    }
  });

  it('calls no difference one that is certain but does not matter', () => {
    const next = noise(7);
    const s = shiftOf(runs(30, 1, 0.005, next), runs(30, 1.02, 0.005, next), false)!;
    expect(s.low).toBeGreaterThan(1);
    expect(judgeShift(s, 0.03, 'up')).toBe('equivalent');
  });

  it('calls fewer tokens a regression where down is worse', () => {
    const s = shiftOf([10, 10.1, 9.9, 10, 10.05, 9.95], [8, 8.1, 7.9, 8, 8.05, 7.95], false)!;
    expect(judgeShift(s, 0.03, 'down')).toBe('regressed');
    expect(judgeShift(s, 0.03, 'up')).toBe('improved');
  });
});
