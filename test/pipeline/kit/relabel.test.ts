import { describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { anchored, checkRelabel, type RelabelRule, relabel, relabelRule } from '../../../pipeline/kit/relabel.ts';

const rule = (r: Record<string, unknown>): RelabelRule => resolve(relabelRule, r);
function apply(
  labels: Record<string, string>,
  ...rules: Record<string, unknown>[]
): Record<string, string> | undefined {
  const map = new Map(Object.entries(labels));
  return relabel(rules.map(rule))!(map) ? Object.fromEntries(map) : undefined;
}

// The cases are those of Prometheus' own documentation and of its tests, written anew.
describe('relabelling', () => {
  const labels = { a: 'foo', b: 'bar', c: 'baz' };
  it.each<[string, Record<string, unknown>, Record<string, string> | undefined]>([
    [
      'replace with groups',
      { source_labels: ['a'], target_label: 'd', regex: 'f(.*)', replacement: 'ch${1}-ch${1}' },
      { ...labels, d: 'choo-choo' },
    ],
    [
      'replace joined labels',
      { source_labels: ['a', 'b'], target_label: 'a', regex: 'f(.*);(.*)r', replacement: 'b${1}${2}m' },
      { ...labels, a: 'boobam' },
    ],
    [
      'replace only where the whole matches',
      { source_labels: ['a'], target_label: 'd', regex: 'o', replacement: 'x' },
      labels,
    ],
    ['replace by default copies', { source_labels: ['a'], target_label: 'd' }, { ...labels, d: 'foo' }],
    [
      'replace with nothing removes',
      { source_labels: ['a'], target_label: 'b', regex: 'f.*', replacement: '' },
      { a: 'foo', c: 'baz' },
    ],
    [
      'replace into a label named by a group',
      { source_labels: ['a'], target_label: 'x_${1}', regex: '(.*)', replacement: 'y' },
      { ...labels, x_foo: 'y' },
    ],
    [
      'a group that is not there is empty',
      { source_labels: ['a'], target_label: 'd', regex: 'foo(x)?', replacement: '[$1][$2]' },
      { ...labels, d: '[][]' },
    ],
    [
      'names of groups are as long as can be',
      { source_labels: ['a'], target_label: 'd', regex: '(f)(.*)', replacement: '$1x$$' },
      { ...labels, d: '$' },
    ],
    [
      'named groups',
      { source_labels: ['a'], target_label: 'd', regex: '(?P<rest>.*)', replacement: '${rest}!' },
      { ...labels, d: 'foo!' },
    ],
    ['keep', { source_labels: ['a'], regex: 'f.*', action: 'keep' }, labels],
    ['keep drops others', { source_labels: ['a'], regex: 'x.*', action: 'keep' }, undefined],
    ['drop', { source_labels: ['a', 'b'], separator: '-', regex: 'foo-bar', action: 'drop' }, undefined],
    ['drop keeps others', { source_labels: ['a'], regex: 'fo', action: 'drop' }, labels],
    ['a missing label is empty', { source_labels: ['nope'], regex: '', action: 'drop' }, undefined],
    ['keepequal', { source_labels: ['a'], target_label: 'b', action: 'keepequal' }, undefined],
    ['dropequal', { source_labels: ['a'], target_label: 'b', action: 'dropequal' }, labels],
    ['hashmod', { source_labels: ['c'], target_label: 'd', action: 'hashmod', modulus: 1000 }, { ...labels, d: '976' }],
    ['labelmap', { regex: '([ab])', replacement: 'x_$1', action: 'labelmap' }, { ...labels, x_a: 'foo', x_b: 'bar' }],
    ['labeldrop', { regex: '[ab]', action: 'labeldrop' }, { c: 'baz' }],
    ['labelkeep', { regex: '[ab]', action: 'labelkeep' }, { a: 'foo', b: 'bar' }],
    ['lowercase', { source_labels: ['d'], target_label: 'a', action: 'lowercase' }, { b: 'bar', c: 'baz' }],
    ['uppercase', { source_labels: ['a'], target_label: 'a', action: 'uppercase' }, { ...labels, a: 'FOO' }],
    ['a number as regex', { source_labels: ['a'], regex: 8000, action: 'keep' }, undefined],
  ])('%s', (_, r, expected) => {
    expect(apply(labels, r)).toEqual(expected);
  });

  it('rules follow one another, and what is dropped is not looked at further', () => {
    expect(
      apply(
        { __address__: '10.0.0.1:80', __meta_port: '9400' },
        {
          source_labels: ['__address__', '__meta_port'],
          regex: '([^:]+)(?::\\d+)?;(\\d+)',
          replacement: '$1:$2',
          target_label: '__address__',
        },
        { source_labels: ['__address__'], regex: '10\\..*', action: 'keep' },
      ),
    ).toEqual({ __address__: '10.0.0.1:9400', __meta_port: '9400' });
  });

  it('understands what RE2 spells otherwise', () => {
    expect(anchored('(?i)abc').test('ABC')).toBe(true);
    expect(anchored('[[:alpha:]_]+').test('ab_c')).toBe(true);
    expect(anchored('\\pL+').test('größe')).toBe(true);
    expect(anchored('a.b').test('a\nb')).toBe(true);
    expect(anchored('a|bc').test('abc')).toBe(false);
  });

  it('names every mistake in rules', () => {
    const mistakes = checkRelabel(
      [rule({ regex: '(' }), rule({ action: 'hashmod', target_label: 'a' }), rule({ source_labels: ['a'] })],
      ['relabel_configs'],
    );
    expect(mistakes.map((m) => `${m.path.join('.')}: ${m.message}`)).toEqual([
      expect.stringMatching(/^relabel_configs\.0\.regex: not a regular expression/),
      'relabel_configs.0.action: relabel action "replace" requires \'target_label\' value',
      'relabel_configs.1.action: relabel configuration for hashmod requires non-zero modulus',
      'relabel_configs.2.action: relabel action "replace" requires \'target_label\' value',
    ]);
  });
});
