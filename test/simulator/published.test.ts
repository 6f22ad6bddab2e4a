/**
 * The world against what others have measured on real machines. Sources and what is compared are in docs/simulator.md; the
 * numbers here are theirs.
 */
import { describe, expect, it } from 'vitest';
import { plant } from '../../simulator/faults/index.ts';
import { SKUS } from '../../simulator/hardware.ts';
import { injection, makeSpec, type SpecOverrides } from '../../simulator/spec.ts';
import type { World } from '../../simulator/world/types.ts';
import { advance, createWorld } from '../../simulator/world/world.ts';

const one = (over: SpecOverrides): World =>
  createWorld(
    makeSpec({
      seed: 2,
      durationS: 300,
      warmupS: 0,
      ...over,
      cluster: { nodes: 1, gpusPerNode: 1, ...over.cluster },
      deploy: { replicas: 1, tp: 1, model: '8b-like', frontend: 'none', router: 'random', ...over.deploy },
      load: { mix: 'batch', process: 'poisson', ...over.load },
    } as SpecOverrides),
  );

/** Mean seconds between tokens, at a batch held between `lo` and `hi`. */
function itlAtBatch(over: SpecOverrides, lo: number, hi: number): { itl: number; tokensPerS: number } {
  const w = one(over);
  let sum = 0;
  let tokens = 0;
  let time = 0;
  w.listeners.step = (_rep, info) => {
    if (info.prefillTokens > 0 || info.decodeSeqs < lo || info.decodeSeqs > hi) return;
    sum += info.end - info.start;
    tokens += info.decodeSeqs;
    time++;
  };
  advance(w, 300);
  expect(time).toBeGreaterThan(100);
  return { itl: sum / time, tokensPerS: tokens / sum };
}

describe('an 8B model in bf16', () => {
  it('takes 6.8 ms per token alone on an H100 (public vLLM page of Qwen3-8B, 950 tokens), within 15 %', () => {
    const { itl } = itlAtBatch({ cluster: { sku: 'H100-like' }, load: { rps: [[0, 0.08]] } }, 1, 1);
    expect(Math.abs(itl / 0.00683 - 1)).toBeLessThan(0.15);
  });

  it('uses 77 % of an A100 memory bandwidth alone, and gains 6.6 times the tokens from 8 at once, within 15 %', () => {
    const sku = SKUS['A100-like']!;
    const alone = itlAtBatch({ cluster: { sku: 'A100-like' }, load: { rps: [[0, 0.05]] } }, 1, 1);
    const share = (8.03e9 * 2) / alone.itl / sku.bandwidth;
    expect(Math.abs(share / 0.77 - 1)).toBeLessThan(0.15);
    const eight = itlAtBatch({ cluster: { sku: 'A100-like' }, load: { rps: [[0, 0.95]] } }, 8, 8);
    expect(Math.abs(eight.tokensPerS / alone.tokensPerS / 6.6 - 1)).toBeLessThan(0.15);
  });
});

it('an H100 serves about twice as fast as an A100', () => {
  const speed = (sku: string) => {
    const w = one({
      cluster: { sku, nodes: 1, gpusPerNode: 4 },
      deploy: { tp: 4, model: '70b-like' },
      load: { rps: [[0, 40]], mix: 'chat+rag', clientRetry: { timeoutS: 1e4, max: 0 } },
      durationS: 200,
    });
    advance(w, 80);
    const before = w.totals.completed;
    advance(w, 200);
    return (w.totals.completed - before) / 120;
  };
  const ratio = speed('H100-like') / speed('A100-like');
  expect(ratio).toBeGreaterThan(1.7);
  expect(ratio).toBeLessThan(3.2);
});

it('a starved CPU makes the time to first token 1.36 to 5.4 times longer, and the token gap at most double', () => {
  const ttft = (dose: number) => {
    const w = createWorld(
      makeSpec({
        seed: 3,
        durationS: 200,
        warmupS: 30,
        cluster: { nodes: 1, gpusPerNode: 4 },
        deploy: { replicas: 1, tp: 4, frontend: 'none', router: 'random', asyncScheduling: false },
        load: { rps: [[0, 5]], mix: 'chat' },
        inject: dose > 0 ? [injection({ kind: 'cpu-quota', entity: 'r0', at: 1, durationS: 999, dose })] : [],
      } as SpecOverrides),
    );
    plant(w);
    advance(w, 200);
    const c = w.replicas[0]!.scheds[0]!.counters;
    return [c.ttft.sum / c.ttft.count, c.itl.sum / c.itl.count] as const;
  };
  const [healthy, gap] = ttft(0);
  const [starved, slow] = ttft(0.6);
  expect(starved / healthy).toBeGreaterThan(1.36);
  expect(starved / healthy).toBeLessThan(5.4);
  expect(slow / gap).toBeGreaterThan(1.2);
  expect(slow / gap).toBeLessThan(2.6);
});
