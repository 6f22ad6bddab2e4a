import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { distance, nearest } from '../../config/suggest.ts';

describe('nearest', () => {
  test.each<[string, string[], string | undefined]>([
    ['endpiont', ['endpoint', 'timeout'], 'endpoint'],
    ['Endpoint', ['endpoint'], 'endpoint'],
    ['sending-queue', ['sending_queue'], 'sending_queue'],
    ['queuesize', ['queue_size'], 'queue_size'],
    ['interval', ['collection_interval', 'timeout'], 'collection_interval'],
    ['target', ['targets', 'timeout'], 'targets'],
    ['tls', ['ttl', 'tls_config'], 'tls_config'],
    ['x', ['targets'], undefined],
    ['completely_different', ['endpoint'], undefined],
    ['', ['a'], undefined],
    ['a'.repeat(100_000), ['aaa'], undefined],
  ])('%s of %j', (wrong, valid, expected) => {
    expect(nearest(wrong, valid)).toBe(expected);
  });
});

describe('distance', () => {
  test('counts inserts, deletes, replacements and swaps of neighbours', () => {
    expect(distance('http', 'htttp')).toBe(1);
    expect(distance('http', 'htpt')).toBe(1);
    expect(distance('http', 'http')).toBe(0);
    expect(distance('', 'abc')).toBe(3);
  });

  test('is symmetric, and never more than the longer length', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 }), (a, b) => {
        expect(distance(a, b)).toBe(distance(b, a));
        expect(distance(a, b)).toBeLessThanOrEqual(Math.max(a.toLowerCase().length, b.toLowerCase().length));
      }),
    );
  });
});
