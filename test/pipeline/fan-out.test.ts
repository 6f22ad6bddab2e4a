import { describe, expect, it } from 'vitest';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { type Branch, fanOut } from '../../pipeline/fan-out.ts';
import type { Batch } from '../../pipeline/model.ts';
import { points } from '../kit/parts.ts';

type Behaviour = 'takes' | 'takes later' | Error;

function branches(...behaviours: Behaviour[]) {
  const got: [number, Batch][] = [];
  const lost: [number, string, number, string][] = [];
  const made = behaviours.map(
    (behaviour, i): Branch => ({
      name: `exporter "${i}"`,
      consumer: {
        consume(batch) {
          if (behaviour === 'takes') return void got.push([i, batch]);
          if (behaviour === 'takes later') return Promise.resolve().then(() => void got.push([i, batch]));
          throw behaviour;
        },
      },
      lost: (signal, items, reason) => void lost.push([i, signal, items, reason]),
    }),
  );
  return { consumer: fanOut(made), got, lost };
}

const full = (retryAfterMs?: number) =>
  new RetryableError('the sending queue is full', {
    exhausted: true,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });

describe('a fan-out', () => {
  it('gives every branch the same batch and returns nothing while all of them do', () => {
    const { consumer, got, lost } = branches('takes', 'takes');
    const batch = points(3);
    expect(consumer.consume(batch)).toBeUndefined();
    expect(got).toEqual([
      [0, batch],
      [1, batch],
    ]);
    expect(got.every(([, b]) => b === batch)).toBe(true);
    expect(lost).toEqual([]);
  });

  it('of one branch is that branch', () => {
    const { consumer } = branches('takes');
    const only = { name: 'x', consumer, lost: () => {} };
    expect(fanOut([only])).toBe(consumer);
  });

  it('accepts what one branch refuses, gives it to the branches after that one, and counts it as lost there', () => {
    const { consumer, got, lost } = branches(full(), 'takes');
    expect(consumer.consume(points(4))).toBeUndefined();
    expect(got).toHaveLength(1);
    expect(lost).toEqual([[0, 'metrics', 4, 'queue_full']]);
  });

  it('counts only the items that a branch says it rejected', () => {
    const { consumer, lost } = branches('takes', new PermanentError('one is too old', { rejected: 1 }));
    consumer.consume(points(4));
    expect(lost).toEqual([[1, 'metrics', 1, 'permanent_error']]);
  });

  it('counts under the reason that the refusal gives', () => {
    const { consumer, lost } = branches('takes', new RetryableError('too much memory', { reason: 'memory' }));
    consumer.consume(points(1));
    expect(lost[0]?.[3]).toBe('memory');
  });

  it('waits for branches that answer later, whatever the others did', async () => {
    const { consumer, got, lost } = branches('takes later', new PermanentError('no'), 'takes');
    const waiting = consumer.consume(points(2));
    expect(waiting).toBeInstanceOf(Promise);
    await waiting;
    expect(got.map(([i]) => i).sort()).toEqual([0, 2]);
    expect(lost).toEqual([[1, 'metrics', 2, 'permanent_error']]);
  });

  it('refuses as retryable when all refuse and any of them is retryable, and counts nothing as lost', () => {
    const { consumer, lost } = branches(new PermanentError('bad data'), full(3000), full(9000));
    let error: unknown;
    try {
      consumer.consume(points(2));
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(RetryableError);
    expect(error).toMatchObject({ retryAfterMs: 9000, exhausted: true, reason: 'queue_full' });
    expect(String(error)).toContain('exporter "0": bad data; exporter "1": the sending queue is full');
    expect(lost).toEqual([]);
  });

  it('refuses for good when all refuse for good', () => {
    const { consumer, lost } = branches(new PermanentError('bad'), new PermanentError('worse'));
    expect(() => consumer.consume(points(1))).toThrow(PermanentError);
    expect(lost).toEqual([]);
  });
});
