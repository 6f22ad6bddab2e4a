import { expect, test } from 'vitest';
import { conversion } from '../../config/units.ts';

test.each([
  ['ms', 's', 0.001],
  ['ns', 's', 1e-9],
  ['min', 's', 60],
  ['MiBy', 'By', 1_048_576],
  ['MBy', 'By', 1_000_000],
  ['%', '1', 0.01],
  ['mJ', 'J', 0.001],
  ['MHz', 'Hz', 1_000_000],
  ['GBy/s', 'By/s', 1e9],
  ['Mbit/s', 'By/s', 125_000],
  ['{request}', '{request}', 1],
])('a value in %s is one in %s times %d', (from, to, factor) => {
  expect(conversion(from, to)).toBe(factor);
});

test.each([
  ['s', 'By'],
  ['{request}', '{token}'],
  ['{block}', '1'],
  ['furlong', 's'],
])('a value in %s is none in %s', (from, to) => {
  expect(conversion(from, to)).toBeUndefined();
});
