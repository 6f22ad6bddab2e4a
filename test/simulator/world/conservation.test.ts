import { describe, expect, it } from 'vitest';
import { plant } from '../../../simulator/faults/index.ts';
import { simulateCase } from '../../../simulator/simulate.ts';
import { injection } from '../../../simulator/spec.ts';
import type { Histogram } from '../../../simulator/world/histogram.ts';
import type { World } from '../../../simulator/world/types.ts';
import { advance, createWorld } from '../../../simulator/world/world.ts';
import { heldBlocks, inFlightBlocks, SHAPES, small } from '../kit.ts';

function histograms(w: World): Histogram[] {
  const out: Histogram[] = [];
  for (const rep of w.replicas)
    for (const s of rep.scheds)
      for (const v of Object.values(s.counters)) if (typeof v === 'object' && 'bounds' in v) out.push(v as Histogram);
  for (const v of Object.values(w.frontend))
    if (typeof v === 'object' && v !== null && 'bounds' in v) out.push(v as Histogram);
  return out;
}

describe.each(Object.entries(SHAPES))('a world: %s', (_name, shape) => {
  it('loses and invents no request', () => {
    const w = createWorld(small(shape));
    for (let t = -20; t <= 120; t += 4) {
      advance(w, t);
      const x = w.totals;
      expect(x.arrived).toBe(x.completed + x.aborted + x.failed + x.inSystem);
    }
    expect(w.totals.completed).toBeGreaterThan(50);
  });

  it('gives every block to somebody and takes it back', () => {
    const w = createWorld(small(shape));
    const split = w.spec.deploy.pd !== undefined;
    for (let t = -20; t <= 120; t += 0.7) {
      advance(w, t);
      for (const rep of w.replicas)
        for (const s of rep.scheds) {
          let idle = 0;
          for (let n = s.kv.lru.next!; n !== s.kv.lru; n = n.next!) idle += n.blocks;
          expect(idle).toBe(s.kv.idle);
          expect(s.kv.used).toBeGreaterThanOrEqual(0);
          expect(s.kv.used + s.kv.idle).toBeLessThanOrEqual(s.kv.total);
          // What is on the wire of a split service belongs to requests that are in no queue.
          if (!split || s.inTransfer === 0) expect(s.kv.used).toBe(heldBlocks(w, s) + inFlightBlocks(s));
        }
    }
  });

  it('keeps its histograms consistent, and its counters growing', () => {
    const w = createWorld(small(shape));
    let before = new Map<Histogram, number>();
    for (let t = 0; t <= 120; t += 30) {
      advance(w, t);
      const now = new Map<Histogram, number>();
      for (const h of histograms(w)) {
        const total = h.counts.reduce((a, b) => a + b, 0);
        expect(total).toBe(h.count);
        expect(h.counts.every((c) => c >= 0)).toBe(true);
        expect(h.count).toBeGreaterThanOrEqual(before.get(h) ?? 0);
        // The sum lies between what the buckets allow.
        let least = 0;
        for (let i = 1; i < h.counts.length; i++) least += h.counts[i]! * h.bounds[i - 1]!;
        expect(h.sum).toBeGreaterThanOrEqual(least - 1e-6 * Math.max(1, least));
        now.set(h, h.count);
      }
      before = now;
    }
  });

  it('counts the tokens that its requests got', () => {
    const w = createWorld(small(shape));
    let output = 0;
    let prompts = 0;
    w.listeners.finished = (r, outcome) => {
      if (outcome !== 'ok') return;
      output += r.outputTokens;
      prompts++;
    };
    advance(w, 120);
    let generated = 0;
    let finished = 0;
    for (const rep of w.replicas)
      for (const s of rep.scheds) {
        generated += s.counters.generatedTokens;
        if (rep.role !== 'prefill') finished += s.counters.finishedStop + s.counters.finishedLength;
      }
    expect(finished).toBe(prompts);
    expect(generated).toBeGreaterThanOrEqual(output);
  });
});

it('is drained completely when the load ends', () => {
  const w = createWorld(
    small({
      load: {
        rps: [
          [0, 10],
          [60, 10],
          [60.001, 0],
        ],
      },
      durationS: 240,
    }),
  );
  advance(w, 240);
  expect(w.totals.inSystem).toBe(0);
  for (const rep of w.replicas)
    for (const s of rep.scheds) {
      expect(s.kv.used).toBe(0);
      expect(s.running.n).toBe(0);
      expect(s.groups.every((g) => g.nDecode === 0 && g.ctx === 0 && g.phase.every((p) => p === 0))).toBe(true);
    }
});

it("obeys Little's law: requests in the system are arrival rate times time in the system", () => {
  const w = createWorld(small({ load: { rps: [[0, 9]], process: 'poisson' }, durationS: 900, warmupS: 60 }));
  advance(w, 0);
  let area = 0;
  let time = 0;
  let n = 0;
  w.listeners.finished = (r) => {
    time += r.finished - r.arrival;
    n++;
  };
  for (let t = 0; t < 900; t += 0.25) {
    advance(w, t);
    area += w.totals.inSystem * 0.25;
  }
  const mean = area / 900;
  expect(mean).toBeGreaterThan(5);
  expect(Math.abs(mean / ((n / 900) * (time / n)) - 1)).toBeLessThan(0.03);
});

it("obeys Little's law in the engine's queue too", () => {
  const w = createWorld(
    small({ deploy: { maxSeqs: 8 }, load: { rps: [[0, 2.5]], process: 'gamma', cv: 2 }, durationS: 600 }),
  );
  advance(w, 0);
  let area = 0;
  const s = w.replicas[0]!.scheds[0]!;
  const before = { sum: s.counters.queue.sum, count: s.counters.queue.count };
  for (let t = 0; t < 600; t += 0.1) {
    advance(w, t);
    area += (s.waiting.length - s.waitingHead - s.waitingDead) * 0.1;
  }
  const waited = s.counters.queue.sum - before.sum;
  expect(waited).toBeGreaterThan(20);
  expect(Math.abs(area / waited - 1)).toBeLessThan(0.1);
});

it('survives a crash: everything the replica held is gone, and nobody waits for ever', () => {
  const spec = small({
    durationS: 240,
    inject: [injection({ kind: 'oom-crash', entity: 'r0', at: 40, durationS: 60, dose: 0.6 })],
  });
  const w = createWorld(spec);
  plant(w);
  advance(w, 41);
  const rep = w.replicas[0]!;
  expect(rep.state).toBe('down');
  expect(rep.scheds[0]!.kv.used).toBe(0);
  expect(w.totals.failed).toBeGreaterThan(0);
  advance(w, 240);
  expect(rep.state).toBe('ready');
  expect(rep.scheds[0]!.counters.generatedTokens).toBeGreaterThan(0);
  const x = w.totals;
  expect(x.arrived).toBe(x.completed + x.aborted + x.failed + x.inSystem);
});

it('measures requests whose blocks were given up before they came for them like all others', () => {
  const sim = simulateCase(
    small({
      cluster: { nodes: 4, gpusPerNode: 4 },
      deploy: {
        pd: { prefill: 2, decode: 2 },
        tp: 4,
        leaseS: 10,
        engine: 'dynamo',
        version: '1.1',
        frontend: 'dynamo',
      },
      load: { rps: [[0, 6]], mix: 'rag' },
      durationS: 90,
      inject: [injection({ kind: 'kv-leak', entity: 'pool:prefill', at: 5, durationS: 80, dose: 0.6 })],
    }),
  );
  const lines = [...sim.lines];
  const expired = sim.world.replicas.flatMap((r) => r.scheds).map((s) => s.counters.transferExpired);
  expect(Math.max(...expired)).toBeGreaterThan(0);
  expect(lines.filter((line) => line.includes('NaN'))).toEqual([]);
});
