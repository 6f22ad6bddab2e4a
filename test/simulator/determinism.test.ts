import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { generateCase } from '../../simulator/cases.ts';
import { installProbes } from '../../simulator/probe.ts';
import { random, zipf } from '../../simulator/random.ts';
import { simulateCase, worldOf } from '../../simulator/simulate.ts';
import { injection, type Spec } from '../../simulator/spec.ts';
import { advance } from '../../simulator/world/world.ts';
import { SHAPES, small } from './kit.ts';

function digest(spec: Spec): string {
  const hash = createHash('sha256');
  for (const line of simulateCase(spec).lines) hash.update(line).update('\n');
  return hash.digest('hex');
}

describe('the same seed', () => {
  it.each(Object.entries(SHAPES))('gives the same recording, byte for byte: %s', (_name, shape) => {
    const spec = small({ ...shape, durationS: 60 });
    expect(digest(spec)).toBe(digest(spec));
    expect(digest({ ...spec, seed: 12 })).not.toBe(digest(spec));
  });

  it('gives the same case', () => {
    expect(generateCase(4711, { fault: 'thermal-gpu' })).toEqual(generateCase(4711, { fault: 'thermal-gpu' }));
    expect(generateCase(4711)).not.toEqual(generateCase(4712));
  });
});

describe('the twin', () => {
  const twinned = (inject: Spec['inject'], over = {}) => {
    const spec = small({ ...over, inject: inject as never });
    const one = worldOf(spec).world;
    const other = worldOf({ ...spec, inject: [] }).world;
    return [one, installProbes(one), other, installProbes(other)] as const;
  };

  it('is equal to the case until the fault begins, and differs afterwards', () => {
    const [a, pa, b, pb] = twinned([
      injection({ kind: 'thermal-gpu', entity: 'node0/gpu1', at: 60, durationS: 60, dose: 0.3 }),
    ]);
    advance(a, 60);
    advance(b, 60);
    expect(a.totals).toEqual(b.totals);
    expect(pa).toEqual(pb);
    advance(a, 120);
    advance(b, 120);
    expect(pa).not.toEqual(pb);
    // The requests are the same ones; only how they are served differs.
    expect(a.totals.arrived).toBe(b.totals.arrived);
  });

  it('is not changed by being recorded', () => {
    const spec = small({ durationS: 90 });
    const watched = simulateCase(spec);
    for (const _ of watched.lines);
    const alone = worldOf(spec).world;
    advance(alone, 90);
    expect(watched.world.totals).toEqual(alone.totals);
  });

  it('without a fault shows no impact and nothing to observe', () => {
    const truth = simulateCase(small({ durationS: 90 }), { record: false }).truth();
    expect(truth.roots).toEqual([]);
    expect(truth.impact).toBe(false);
    expect(truth.control).toBe('steady');
  });
});

describe('random numbers', () => {
  it('have the moments that they should have', () => {
    const r = random(5, 'moments');
    const n = 200_000;
    const mean = (draw: () => number) => {
      let sum = 0;
      let square = 0;
      for (let i = 0; i < n; i++) {
        const x = draw();
        sum += x;
        square += x * x;
      }
      return [sum / n, square / n - (sum / n) ** 2] as const;
    };
    const [u, uv] = mean(() => r.next());
    expect(u).toBeCloseTo(0.5, 2);
    expect(uv).toBeCloseTo(1 / 12, 2);
    const [z, zv] = mean(() => r.normal());
    expect(z).toBeCloseTo(0, 1.5);
    expect(zv).toBeCloseTo(1, 1);
    const [e, ev] = mean(() => r.exponential());
    expect(e).toBeCloseTo(1, 1);
    expect(ev).toBeCloseTo(1, 1);
    for (const shape of [0.2, 0.6, 1, 4]) {
      const [g, gv] = mean(() => r.gamma(shape));
      expect(Math.abs(g - 1)).toBeLessThan(0.03);
      expect(Math.abs(gv * shape - 1)).toBeLessThan(0.06);
    }
    const pick = zipf(5, 1);
    const counts = [0, 0, 0, 0, 0];
    for (let i = 0; i < n; i++) counts[pick(r)]!++;
    const total = 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5;
    for (const [i, c] of counts.entries()) expect(Math.abs(c / n - 1 / (i + 1) / total)).toBeLessThan(0.01);
  });

  it('of one name do not depend on what another name draws', () => {
    const one = random(9, 'a');
    const before = [one.next(), one.next()];
    const other = random(9, 'b');
    for (let i = 0; i < 100; i++) other.next();
    const again = random(9, 'a');
    expect([again.next(), again.next()]).toEqual(before);
  });
});
