import { describe, expect, it } from 'vitest';
import { cusumStep, newCusum, onset, prewhiten, splitPoint } from '../../../../pipeline/kit/stats/change.ts';
import { judgePeer, relativeToOthers } from '../../../../pipeline/kit/stats/peers.ts';
import { autocorrelation } from '../../../../pipeline/kit/stats/robust.ts';

function normals(seed: number): () => number {
  let s = seed >>> 0;
  const random = () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return (s + 0.5) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
}

describe('change', () => {
  it('is found by CUSUM within 15 samples of a shift by two deviations, and not in a thousand flat ones', () => {
    const next = normals(4);
    const state = newCusum();
    let fired = 0;
    for (let i = 0; i < 1000; i++) if (cusumStep(state, next()) !== 0) fired++;
    expect(fired).toBe(0);
    let steps = 0;
    while (cusumStep(state, next() + 2) === 0 && steps < 100) steps++;
    expect(steps).toBeLessThan(18);
  });
  it('loses its autocorrelation when whitened', () => {
    const next = normals(5);
    let x = 0;
    const ar = Array.from({ length: 400 }, () => {
      x = 0.8 * x + next();
      return x;
    });
    expect(autocorrelation(ar)).toBeGreaterThan(0.6);
    expect(Math.abs(autocorrelation(prewhiten(ar)))).toBeLessThan(0.15);
  });
  it('began between the last good and the first bad sample', () => {
    const t = [0, 5, 10, 15, 20, 25];
    expect(onset(t, [1, 1, 1, 9, 9, 9], 5)).toEqual({ after: 10, by: 15 });
    expect(onset(t, [1, 9, 1, 9, 9, 9], 5)).toEqual({ after: 0, by: 5 });
    expect(onset(t, [9, 9, 9, 9, 1, 1], 5)).toBeUndefined();
    expect(onset(t, [9, 9, 9, 2, 2, 2], 5, false)).toEqual({ after: 10, by: 15 });
    expect(onset([], [], 1)).toBeUndefined();
  });
  it('splits a step where it is', () => {
    expect(splitPoint([1, 1.1, 0.9, 1, 5, 5.1, 4.9, 5])).toMatchObject({ index: 4 });
    expect(splitPoint([1, 2, 3])).toBeUndefined();
  });
});

describe('peers', () => {
  it('compares each with the others, not with itself', () => {
    expect(Array.from(relativeToOthers([1, 1, 1, 2]))).toEqual([0, 0, 0, 1]);
    expect(Number.isNaN(relativeToOthers([3])[0]!)).toBe(true);
  });
  it('never sees four of six windows alarm by chance among eight members, and finds one that is 15 % slow', () => {
    const next = normals(11);
    const bias = Array.from({ length: 8 }, () => 1 + 0.01 * next());
    const histories: number[][] = Array.from({ length: 8 }, () => []);
    const recent: boolean[][] = Array.from({ length: 8 }, () => []);
    const lasting = (i: number) => recent[i]!.slice(-6).filter(Boolean).length >= 4;
    let alarms = 0;
    let found = 0;
    for (let window = 0; window < 620; window++) {
      const slow = window >= 420 ? 1.15 : 1;
      const x = bias.map((b, i) => b * (1 + 0.02 * next()) * (i === 3 ? slow : 1));
      const r = relativeToOthers(x);
      if (window >= 120) {
        for (let i = 0; i < 8; i++) {
          const verdict = judgePeer(
            i,
            r,
            histories.map((h) => h.slice(-120)),
          );
          recent[i]!.push(verdict?.acute === true);
          if (lasting(i) && (window < 420 || i !== 3)) alarms++;
          if (lasting(i) && window >= 426 && i === 3) found++;
        }
      }
      if (window < 420) r.forEach((v, i) => void histories[i]!.push(v));
    }
    expect(alarms).toBe(0);
    expect(found / 194).toBeGreaterThan(0.98);
  });
  it('calls a member that was always 20 % slow chronic, not acute', () => {
    const next = normals(12);
    const histories: number[][] = Array.from({ length: 4 }, () => []);
    for (let window = 0; window < 60; window++) {
      const r = relativeToOthers([1.2, 1, 1, 1].map((b) => b * (1 + 0.01 * next())));
      r.forEach((v, i) => void histories[i]!.push(v));
    }
    const now = relativeToOthers([1.2, 1, 1, 1]);
    expect(judgePeer(0, now, histories)).toMatchObject({ acute: false, chronic: true });
    expect(judgePeer(1, now, histories)).toMatchObject({ acute: false, chronic: false });
  });
});
