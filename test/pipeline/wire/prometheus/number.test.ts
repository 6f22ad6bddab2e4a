import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readNumber } from '../../../../pipeline/wire/prometheus/number.ts';

const read = (text: string) => {
  const bytes = Buffer.from(`xx${text}yy`);
  return readNumber(bytes, 2, 2 + Buffer.byteLength(text));
};

describe('numbers of an exposition', () => {
  it.each([
    ['0', 0],
    ['1', 1],
    ['-1', -1],
    ['+2', 2],
    ['14245.0', 14245],
    ['0.1', 0.1],
    ['.5', 0.5],
    ['5.', 5],
    ['6.0249088e+09', 6.0249088e9],
    ['1.7781949804607377e+09', 1.7781949804607377e9],
    ['1e-7', 1e-7],
    ['1E3', 1000],
    ['123456789012345', 123456789012345],
    ['1234567890123456', 1234567890123456],
    ['9007199254740993', 9007199254740992],
    ['1e22', 1e22],
    ['1e23', 1e23],
    ['4.9e-324', 4.9e-324],
    ['1e400', Number.POSITIVE_INFINITY],
    ['1e-400', 0],
    ['NaN', Number.NaN],
    ['nan', Number.NaN],
    ['+Inf', Number.POSITIVE_INFINITY],
    ['Inf', Number.POSITIVE_INFINITY],
    ['-Inf', Number.NEGATIVE_INFINITY],
    ['+infinity', Number.POSITIVE_INFINITY],
  ])('reads %s', (text, value) => {
    expect(read(text)).toBe(value);
  });

  it('keeps the sign of zero', () => {
    expect(Object.is(read('-0'), -0)).toBe(true);
    expect(Object.is(read('-0.0'), -0)).toBe(true);
  });

  it.each([
    '',
    '+',
    '-',
    '.',
    'e5',
    '1e',
    '1e+',
    '1.2.3',
    '1,5',
    '0x10',
    '1_000',
    '1 ',
    ' 1',
    '١',
    'Infinite',
    'null',
    '--1',
    'NaN1',
  ])('refuses %j', (text) => {
    expect(read(text)).toBeUndefined();
  });

  it('rounds exactly as JavaScript does, for every spelling of a double', () => {
    const spelled = fc
      .tuple(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 0, max: 3 }))
      .map(([v, how]) =>
        how === 0 ? String(v) : how === 1 ? v.toExponential() : how === 2 ? v.toPrecision(17) : v.toPrecision(6),
      );
    fc.assert(
      fc.property(spelled, (text) => {
        expect(read(text)).toBe(Number(text));
      }),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(fc.stringMatching(/^-?\d{1,18}(\.\d{0,18})?(e-?\d{1,3})?$/), (text) => {
        expect(read(text)).toBe(Number(text));
      }),
      { numRuns: 5000 },
    );
  });
});
