import { describe, expect, it } from 'vitest';
import { bodies } from '../../../pipeline/kit/bodies.ts';

describe('memory for bodies', () => {
  it('is exactly as large as asked for, and used again once it was given back', () => {
    const memory = bodies();
    const first = memory.take(100_000);
    expect(first.length).toBe(100_000);
    memory.give(first);
    const second = memory.take(70_000);
    expect(second.length).toBe(70_000);
    expect(second.buffer).toBe(first.buffer);
  });

  it('is never handed out twice at a time', () => {
    const memory = bodies();
    const first = memory.take(10);
    memory.give(first);
    memory.give(first);
    expect(memory.take(10).buffer).not.toBe(memory.take(10).buffer);
  });

  it('takes the smallest that fits', () => {
    const memory = bodies();
    const large = memory.take(500_000);
    const small = memory.take(100_000);
    memory.give(large);
    memory.give(small);
    expect(memory.take(50_000).buffer).toBe(small.buffer);
    expect(memory.take(200_000).buffer).toBe(large.buffer);
  });

  it('keeps a few and lets the smallest go, and nothing that is not its own or too large', () => {
    const memory = bodies();
    const all = [1, 2, 3, 4, 5].map((n) => memory.take(n * 100_000));
    for (const one of all) memory.give(one);
    expect(memory.take(10).buffer).toBe(all[1]!.buffer);
    const foreign = Buffer.alloc(10);
    memory.give(foreign);
    const huge = memory.take(3 << 20);
    memory.give(huge);
    expect(memory.take(3 << 20).buffer).not.toBe(huge.buffer);
  });
});
