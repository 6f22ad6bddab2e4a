import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { configFile } from '../../config/config-files.ts';
import { readPlainYaml } from '../../config/plain-yaml.ts';

const files = [
  configFile('signals.yaml'),
  ...readdirSync(configFile('catalog')).map((f) => join(configFile('catalog'), f)),
];

describe('the plain YAML reader', () => {
  test.each(files)('reads %s as the general parser does', (file) => {
    const text = readFileSync(file, 'utf8');
    expect(readPlainYaml(text)).toEqual(parse(text));
  });

  test.each([
    ['nothing', '# only a comment\n'],
    ['a map of scalars', 'a: 1\nb: text with spaces\nc: null\nd: true\ne: 1.5e3\nf: ~\ng: -7\nh: .5\n'],
    ['a colon inside a plain text', 'a: vllm:x\nb: [vllm:x 0.1..2, c:d]\n'],
    ['quotes', "a: 'it''s'\nb: ['x, y', '']\n'k:1': { 'q r': 2 }\n"],
    ['nested maps and lists', 'a:\n  b:\n    - { c: [1, 2], d: {} }\n    - e\n  f: []\ng: 2\n'],
    ['a list at the indent of its key', 'a:\n- b\n- c\n'],
    ['maps that begin on the dash', 'a:\n  - b: 1\n    c:\n      d: 2\n  - e: 3\n'],
    ['comments behind values', 'a: b # c\nd: [1] # e\nf: # g\n  h: 1\n'],
    ['keys that look like numbers', 'a: { 0: x, 10: y }\n'],
    ['versions, which are text', 'a: [0.5.6, 1.2.3..4]\n'],
  ])('reads %s as the general parser does', (_name, text) => {
    expect(readPlainYaml(text)).toEqual(parse(text));
  });

  test.each([
    ['anchors', 'a: &x 1\nb: *x\n'],
    ['block texts', 'a: |\n  text\n'],
    ['double quotes', 'a: "x"\n'],
    ['tags', 'a: !!str 1\n'],
    ['duplicate keys', 'a: 1\na: 2\n'],
    ['a flow map without a value', 'a: { b, c: 1 }\n'],
    ['a flow list that is not closed', 'a: [1, 2\n'],
    ['text after a value', 'a: [1] 2\n'],
    ['a key that would change prototypes', '__proto__: { a: 1 }\n'],
    ['an indent that nobody opened', 'a: 1\n  b: 2\n'],
    ['a list after a map', 'a: 1\n- b\n'],
    ['hexadecimal numbers', 'a: 0x10\n'],
  ])('leaves %s to the general parser', (_name, text) => {
    expect(() => readPlainYaml(text)).toThrow();
  });
});
