import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PickleError, readPickle } from '../../../pipeline/wire/pickle.ts';

const fixture = (name: string): Record<string, string> =>
  JSON.parse(readFileSync(new URL(`../../fixtures/pickle/${name}.json`, import.meta.url), 'utf8'));
const python = fixture('python');
const evil = fixture('evil');
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
const ascii = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'));

const PLAIN = [
  ...[0, -1, 255, 256, 65535, 65536, -(2 ** 31), 2 ** 31],
  9007199254740992n,
  -9223372036854775808n,
  2n ** 80n,
  ...[1.5, -0, Number.POSITIVE_INFINITY, true, false, null, '', 'ä€😀', 'x'.repeat(300)],
];
const CONTAINERS = [
  ...[[], [], new Map(), [1, [2, [3]]], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4]],
  ...[new Map([['a', new Map([['b', [1]]])]]), new Map([[1, 2]])],
];
const BYTES = [new Uint8Array(), new Uint8Array([0, 255])];

describe('what Python writes', () => {
  test.each([0, 1, 2])('protocol %i', (protocol) => {
    expect(readPickle(bytes(python[`values${protocol}`]!))).toEqual([...PLAIN, ...CONTAINERS]);
  });
  test.each([3, 4, 5])('protocol %i', (protocol) => {
    expect(readPickle(bytes(python[`values${protocol}`]!))).toEqual([...PLAIN, ...BYTES, ...CONTAINERS, [], []]);
  });
});

describe('what wants more than to be data is refused by name, and nothing runs', () => {
  test.each(Object.keys(evil))('%s', (name) => {
    expect(() => readPickle(bytes(evil[name]!))).toThrow(PickleError);
    expect(existsSync('/tmp/enginelight-pickle-ran')).toBe(false);
  });
  test('the message names it', () => {
    expect(() => readPickle(bytes(evil['reduce2']!))).toThrow('"posix.system", which is refused');
  });
});

describe('the functions of torch that only say what a list is of', () => {
  test('give the list', () => {
    const torch = ascii('\x80\x02ctorch.jit._pickle\nbuild_intlist\nq\x00](K\x01K\x02e\x85R.');
    expect(readPickle(torch)).toEqual([1, 2]);
    // As torch's own writer in C++ has it: marks around the list and the arguments, 64-bit integers in eight bytes.
    const exact =
      '\x80\x02ctorch.jit._pickle\nbuild_intlist\nq\x00(](K\x01\x8a\x08\xcf\x53\x66\x98\x94\xa5\xef\x17etR.';
    expect(readPickle(ascii(exact))).toEqual([1, 1724779239936775119n]);
    expect(() => readPickle(ascii('\x80\x02ctorch.jit._pickle\nrebuild\n.'))).toThrow('refused');
    expect(() => readPickle(ascii('\x80\x02ctorch.jit._pickle\nbuild_intlist\n.'))).toThrow('as a value');
  });
  test('an ordered dict is a dict', () => {
    expect(readPickle(ascii('\x80\x02ccollections\nOrderedDict\n)R(K\x01K\x02u.'))).toEqual(new Map([[1, 2]]));
  });
});

describe('limits', () => {
  test('depth', () => {
    const deep = (n: number) => ascii(`\x80\x02${']'.repeat(n)}${'a'.repeat(n - 1)}.`);
    expect(() => readPickle(deep(60))).not.toThrow();
    expect(() => readPickle(deep(10_000))).toThrow('deep');
  });
  test('a list that holds itself', () => {
    expect(() => readPickle(ascii('\x80\x02]q\x00h\x00a.'))).toThrow('holds itself');
  });
  test('values', () => {
    const many = ascii(`\x80\x02](${'N'.repeat(1000)}e.`);
    expect(() => readPickle(many, { values: 100, depth: 10 })).toThrow('more than 100 values');
  });
  test('lengths that the bytes do not have', () => {
    expect(() => readPickle(ascii('\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.'))).toThrow('too early');
    expect(() => readPickle(ascii('\x80\x02X\xff\xff\xff\xff.'))).toThrow('too early');
    expect(() => readPickle(ascii('\x80\x02T\xff\xff\xff\xff.'))).toThrow('too early');
    expect(() => readPickle(new Uint8Array())).toThrow('too early');
  });
  test('keys of objects are only keys', () => {
    const read = readPickle(ascii('\x80\x02}(X\x09\x00\x00\x00__proto__K\x01u.'));
    expect(read).toEqual(new Map([['__proto__', 1]]));
    expect(({} as Record<string, unknown>)['K']).toBeUndefined();
  });
});

test('whatever the bytes, it reads them or refuses them', () => {
  const seeds = [...Object.values(python), ...Object.values(evil)].map(bytes);
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(4000), fc.nat(255)), { maxLength: 8 }),
      fc.nat(4000),
      (seed, changes, cut) => {
        const mutated = seed.slice(0, cut % 3 === 0 ? cut % seed.length : seed.length);
        for (const [at, value] of changes) if (mutated.length > 0) mutated[at % mutated.length] = value;
        try {
          readPickle(mutated, { values: 100_000, depth: 64 });
        } catch (error) {
          expect(error).toBeInstanceOf(PickleError);
        }
      },
    ),
    { numRuns: Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 500), seed: 4 },
  );
});
