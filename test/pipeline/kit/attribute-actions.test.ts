import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type Action, actionMistakes, attributeActions } from '../../../pipeline/kit/attribute-actions.ts';
import { type Attributes, Double, KeyValues } from '../../../pipeline/model.ts';
import { deepFreeze } from '../../kit/harness.ts';

const act = (actions: readonly Action[], attributes: Attributes) =>
  ({ ...attributeActions(actions)(deepFreeze({ ...attributes })) }) as Attributes;
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

describe('an action', () => {
  test.each<[string, Action, Attributes, Attributes]>([
    ['insert adds what is missing', { action: 'insert', key: 'a', value: 1 }, { b: 2 }, { a: 1, b: 2 }],
    ['insert leaves what is there', { action: 'insert', key: 'a', value: 1 }, { a: 5 }, { a: 5 }],
    ['update changes what is there', { action: 'update', key: 'a', value: 1 }, { a: 5 }, { a: 1 }],
    ['update adds nothing', { action: 'update', key: 'a', value: 1 }, {}, {}],
    ['upsert does both', { action: 'upsert', key: 'a', value: true }, { a: 5 }, { a: true }],
    [
      'insert copies another attribute',
      { action: 'insert', key: 'a', from_attribute: 'b' },
      { b: 'x' },
      { a: 'x', b: 'x' },
    ],
    [
      'insert of an attribute that is not there does nothing',
      { action: 'insert', key: 'a', from_attribute: 'b' },
      {},
      {},
    ],
    ['delete removes', { action: 'delete', key: 'a' }, { a: 1, b: 2 }, { b: 2 }],
    [
      'delete by pattern removes all that match',
      { action: 'delete', pattern: '^x\\.' },
      { 'x.a': 1, 'x.b': 2, y: 3 },
      { y: 3 },
    ],
    [
      'delete takes a key and a pattern',
      { action: 'delete', key: 'y', pattern: '^x' },
      { x1: 1, y: 2, z: 3 },
      { z: 3 },
    ],
    ['hash hides a text', { action: 'hash', key: 'a' }, { a: 'secret' }, { a: sha256('secret') }],
    [
      'hash by pattern',
      { action: 'hash', pattern: 'user' },
      { 'user.id': 'x', b: 1 },
      { 'user.id': sha256('x'), b: 1 },
    ],
    [
      'extract makes attributes of named groups, over what is there',
      { action: 'extract', key: 'url', pattern: '^(?P<scheme>.*)://(?P<host>[^/]*)' },
      { url: 'http://h/p', host: 'old' },
      { url: 'http://h/p', scheme: 'http', host: 'h' },
    ],
    [
      'extract does nothing where nothing matches',
      { action: 'extract', key: 'a', pattern: '(?<x>z+)' },
      { a: 'b' },
      { a: 'b' },
    ],
    ['convert to int', { action: 'convert', key: 'a', converted_type: 'int' }, { a: '42' }, { a: 42 }],
    ['convert to int cuts off', { action: 'convert', key: 'a', converted_type: 'int' }, { a: 2.9 }, { a: 2 }],
    [
      'convert to int of what is none',
      { action: 'convert', key: 'a', converted_type: 'int' },
      { a: '4.2' },
      { a: '4.2' },
    ],
    [
      'convert keeps 64 bits',
      { action: 'convert', key: 'a', converted_type: 'int' },
      { a: '9007199254740993' },
      { a: 9007199254740993n },
    ],
    ['convert to double', { action: 'convert', key: 'a', converted_type: 'double' }, { a: '2.5' }, { a: 2.5 }],
    [
      'convert to double keeps the type of whole numbers',
      { action: 'convert', key: 'a', converted_type: 'double' },
      { a: 2 },
      { a: new Double(2) },
    ],
    ['convert to string', { action: 'convert', key: 'a', converted_type: 'string' }, { a: true }, { a: 'true' }],
    ['convert of nothing', { action: 'convert', key: 'a', converted_type: 'string' }, {}, {}],
  ])('%s', (_name, action, before, after) => {
    expect(act([action], before)).toEqual(after);
  });

  test('values may be lists and maps', () => {
    expect(act([{ action: 'insert', key: 'a', value: { b: [1, 'c'] } }], {})).toEqual({
      a: new KeyValues({ b: [1, 'c'] }),
    });
  });

  test('numbers are hashed as the Collector does: eight bytes, little-endian', () => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(5n);
    expect(act([{ action: 'hash', key: 'a' }], { a: 5 })).toEqual({ a: sha256(bytes) });
    bytes.writeDoubleLE(1.5);
    expect(act([{ action: 'hash', key: 'a' }], { a: 1.5 })).toEqual({ a: sha256(bytes) });
  });

  test('follows the one before', () => {
    const actions: Action[] = [
      { action: 'insert', key: 'a', value: '7' },
      { action: 'convert', key: 'a', converted_type: 'int' },
      { action: 'insert', key: 'b', from_attribute: 'a' },
      { action: 'delete', key: 'a' },
    ];
    expect(act(actions, {})).toEqual({ b: 7 });
  });

  test('that changes nothing gives the same object back', () => {
    const before = Object.freeze({ a: 1 });
    expect(attributeActions([{ action: 'delete', key: 'b' }])(before)).toBe(before);
  });

  test('any key is safe', () => {
    const out = attributeActions([{ action: 'insert', key: '__proto__', value: 'x' }])({});
    expect(Object.keys(out)).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });
});

test.each<[Action, string]>([
  [{ action: 'insert', value: 1 }, 'the action needs a "key"'],
  [{ action: 'delete' }, 'the action needs a "key" or a "pattern"'],
  [{ action: 'insert', key: 'a' }, '"insert" needs a "value" or "from_attribute"'],
  [{ action: 'insert', key: 'a', value: 1, from_attribute: 'b' }, 'only one of "value" and "from_attribute"'],
  [{ action: 'delete', key: 'a', value: 1 }, '"delete" uses neither'],
  [{ action: 'extract', key: 'a' }, '"extract" needs a "pattern"'],
  [{ action: 'extract', key: 'a', pattern: '(x)' }, 'names no groups'],
  [{ action: 'hash', pattern: '(' }, 'is not a regular expression'],
  [{ action: 'update', key: 'a', value: 1, pattern: 'x' }, '"update" does not use a "pattern"'],
  [{ action: 'convert', key: 'a' }, '"convert" needs a "converted_type"'],
])('%j is a mistake', (action, message) => {
  const [first, ...others] = actionMistakes([action], ['actions']);
  expect(first?.message).toContain(message);
  expect(first?.path.slice(0, 2)).toEqual(['actions', 0]);
  expect(others).toEqual([]);
});
