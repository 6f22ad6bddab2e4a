/** Where values come from: files, variables, overrides, merging. The Collector's semantics. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { options, type Secret, t } from '../../config/schema.ts';
import { defineExporter, type Registry } from '../../pipeline/component.ts';
import { type LoadTest, load, testRegistry } from '../kit/config.ts';

const anything = defineExporter({
  type: 'any',
  summary: 'Keeps what it is given',
  stability: 'development',
  signals: ['metrics', 'traces', 'logs'],
  config: options({
    text: t.optional(t.string({ description: 'Text.' })),
    value: t.optional(t.any({ description: 'Anything.' })),
    number: t.optional(t.integer({ description: 'Number.' })),
    on: t.optional(t.boolean({ description: 'Switch.' })),
    list: t.optional(t.list(t.string({ description: 'Text.' }), { description: 'Texts.' })),
    map: t.optional(t.map(t.string({ description: 'Text.' }), { description: 'Texts.' })),
    secret: t.optional(t.secret({ description: 'Secret.' })),
    duration: t.optional(t.duration({ description: 'Time.' })),
    size: t.optional(t.size({ description: 'Bytes.' })),
    section: t.optional(
      t.section({ depth: t.integer({ description: 'Depth.', default: 3 }) }, { description: 'Off unless written.' }),
    ),
    word: t.optional(t.choice(['loud', 'quiet'], { description: 'Word.' })),
  }),
  start: async () => ({ consume: () => {}, stop: async () => {} }),
});
const registry: Registry = { ...testRegistry, exporters: [...testRegistry.exporters, anything] };

const config = (body: string) => `receivers: { scraper: }
exporters:
  any: ${body}
service: { pipelines: { metrics: { receivers: [scraper], exporters: [any] } } }
`;

async function resolvedOf(body: string, more: LoadTest = {}): Promise<Record<string, unknown>> {
  const { result, mistakes } = await load(config(body), { registry, ...more });
  expect(mistakes).toEqual([]);
  return (result.config!.exporters.get('any') as { config: unknown }).config as Record<string, unknown>;
}

describe('expressions', () => {
  const env = {
    NAME: 'value',
    EMPTY: '',
    PORT: '4317',
    OCTAL: '0123',
    YES: 'true',
    LIST: '[a, b]',
    MAP: '{ depth: 7 }',
    INDIRECT: '${env:NAME}',
    WHICH: 'NAME',
    DOLLARS: 'a$$b',
    HOST6: '[::1]',
    QUOTED: '"x"',
    COLON: 'user: name',
  };
  test.each<[string, string, Record<string, unknown>]>([
    ['${env:NAME}', '{ text: "${env:NAME}" }', { text: 'value' }],
    ['${NAME} is ${env:NAME}', '{ text: "${NAME}" }', { text: 'value' }],
    ['inside a longer text', '{ text: "a-${env:NAME}-${NAME}-b" }', { text: 'a-value-value-b' }],
    ['a default when unset', '{ text: "${env:NOPE:-fallback}" }', { text: 'fallback' }],
    ['a default without the scheme', '{ text: "${NOPE:-fallback}" }', { text: 'fallback' }],
    ['no default when set but empty', '{ text: "x${env:EMPTY:-fallback}" }', { text: 'x' }],
    ['a default with a colon', '{ text: "${env:NOPE:-http://h:80}" }', { text: 'http://h:80' }],
    ['a number where a number is wanted', '{ number: "${env:PORT}" }', { number: 4317 }],
    ['the original text where text is wanted', '{ text: "${env:OCTAL}" }', { text: '0123' }],
    ['the original text in a map of texts', '{ map: { a: "${env:OCTAL}" } }', { map: { a: '0123' } }],
    ['the original text of a list', '{ text: "${env:LIST}" }', { text: '[a, b]' }],
    ['the original text of a map', '{ text: "${env:COLON}" }', { text: 'user: name' }],
    ['a boolean', '{ on: "${env:YES}" }', { on: true }],
    ['a text that looks like a boolean', '{ text: "${env:YES}" }', { text: 'true' }],
    ['a list', '{ list: "${env:LIST}" }', { list: ['a', 'b'] }],
    ['a map', '{ section: "${env:MAP}" }', { section: { depth: 7 } }],
    ['inline YAML', '{ section: "${yaml:depth: 9}" }', { section: { depth: 9 } }],
    ['nested', '{ text: "${env:${env:WHICH}}" }', { text: 'value' }],
    ['a value that is an expression', '{ text: "${env:INDIRECT}" }', { text: 'value' }],
    ['$$', '{ text: "a$$b" }', { text: 'a$b' }],
    ['$$ in front of a brace', '{ text: "$${env:NAME}" }', { text: '${env:NAME}' }],
    ['$$$ in front of a brace', '{ text: "$$${env:NAME}" }', { text: '$value' }],
    ['$$1 of a relabelling', '{ text: "$${1}-$$1" }', { text: '${1}-$1' }],
    ['$$ in a variable', '{ text: "${env:DOLLARS}" }', { text: 'a$b' }],
    ['a dollar sign alone', '{ text: "5$ and $x" }', { text: '5$ and $x' }],
    ['an IPv6 address', '{ text: "${env:HOST6}:4317" }', { text: '[::1]:4317' }],
    ['quotes are kept', '{ text: "${env:QUOTED}" }', { text: '"x"' }],
    ['a duration', '{ duration: "${env:PORT}ms" }', { duration: 4317 }],
    ['a size', '{ size: "${env:PORT}" }', { size: 4317 }],
    ['an unset variable is empty', '{ text: "a${env:NOPE}b" }', { text: 'ab' }],
    ['an unset variable as the whole value', '{ text: "${env:NOPE}" }', {}],
    [
      'inside values of any type',
      '{ value: { a: ["${env:PORT}", "${env:OCTAL}x"] } }',
      { value: { a: [4317, '0123x'] } },
    ],
  ])('%s', async (_name, body, expected) => {
    expect(await resolvedOf(body, { env })).toEqual(expected);
  });

  test('an unset variable is warned about, with its place', async () => {
    const { warnings, result } = await load(config('{ text: "${env:NOPE}" }'), { registry });
    expect(warnings).toEqual([
      'config.yaml:3:16: warning: exporters::any::text: Configuration references unset environment variable: NOPE is not set, so the value is empty',
    ]);
    expect(result.warnings[0]!.hint).toBe('set it, or give a default: ${env:NOPE:-value}');
  });

  test('a default or an empty variable is not warned about', async () => {
    const { warnings } = await load(config('{ text: "${env:NOPE:-x}${env:EMPTY}" }'), { registry, env });
    expect(warnings).toEqual([]);
  });
});

describe('${file:…}', () => {
  test('a file with one value gives its text without the line end', async () => {
    const value = await resolvedOf('{ secret: "${file:token}", text: "${file:token}" }', { files: { token: 'abc\n' } });
    expect((value['secret'] as Secret).reveal()).toBe('abc');
    expect(value['text']).toBe('abc');
  });
  test('a file with a map gives the map, and its own expressions are expanded', async () => {
    const files = { 'part.yaml': 'depth: ${env:D}\n' };
    expect(await resolvedOf('{ section: "${file:part.yaml}" }', { files, env: { D: '8' } })).toEqual({
      section: { depth: 8 },
    });
  });
  test('a mistake in an included file is told by its place in that file', async () => {
    const { mistakes } = await load(config('{ section: "${file:sub/part.yaml}" }'), {
      registry,
      files: { 'sub/part.yaml': '# a comment\ndpeth: 8\n' },
    });
    expect(mistakes).toEqual([
      `sub/part.yaml:2:1: error: exporters::any::section::dpeth: error reading configuration for "any": 'section' has invalid keys: dpeth; did you mean "depth"?`,
    ]);
  });
  test('a path is looked up beside the config when it is not in the working directory', async () => {
    const { result, mistakes } = await load('', {
      registry,
      configs: ['conf/main.yaml'],
      files: { 'conf/main.yaml': config('{ text: "${file:name.txt}" }'), 'conf/name.txt': 'here' },
    });
    expect(mistakes).toEqual([]);
    expect(result.config!.exporters.get('any')!.config).toEqual({ text: 'here' });
  });
  test('a file that includes itself is a mistake', async () => {
    const { mistakes } = await load(config('{ value: "${file:self.yaml}" }'), {
      registry,
      files: { 'self.yaml': 'a: ${file:self.yaml}\nb: ${file:self.yaml}\n' },
    });
    expect(mistakes.join('\n')).toContain('too many recursive expansions');
  });
  test('a missing file names the nearest one', async () => {
    const { mistakes, result } = await load(config('{ text: "${file:tokn}" }'), { registry, files: { token: 'x' } });
    expect(mistakes).toEqual([
      'config.yaml:3:16: error: exporters::any::text: unable to read the file tokn: no such file or directory',
    ]);
    expect(result.mistakes[0]!.hint).toBe('did you mean "token"?');
  });
  test('every file that was read is listed, for whoever watches them', async () => {
    const { result, cwd } = await load(config('{ text: "${file:token}" }'), { registry, files: { token: 'x' } });
    expect(result.config!.files).toEqual([join(cwd, 'config.yaml'), join(cwd, 'token')]);
  });
});

describe('several configs', () => {
  const base = config('{ text: base, list: [a, b], map: { x: "1", y: "2" } }');
  const merged = async (later: string, more: LoadTest = {}) => {
    const loaded = await load(base, {
      registry,
      files: { 'later.yaml': later },
      configs: ['config.yaml', 'later.yaml'],
      ...more,
    });
    return { ...loaded, value: loaded.result.config?.exporters.get('any')?.config as unknown };
  };
  test('maps are merged deeply; lists and single values are replaced', async () => {
    const { value } = await merged('exporters: { any: { text: later, list: [c], map: { y: "3" } } }\n');
    expect(value).toEqual({ text: 'later', list: ['c'], map: { x: '1', y: '3' } });
  });
  test('an empty map merges nothing', async () => {
    const { value, warnings } = await merged('exporters: { any: { map: {} } }\n');
    expect(value).toMatchObject({ map: { x: '1', y: '2' } });
    expect(warnings).toEqual([]);
  });
  test('an empty section wipes the earlier one, and that is warned about', async () => {
    const { value, warnings } = await merged('exporters:\n  any:\n    map:\n');
    expect(value).toEqual({ text: 'base', list: ['a', 'b'], map: {} });
    expect(warnings).toEqual([
      'later.yaml:3:5: warning: exporters::any::map: the empty section wipes what config.yaml:3 says here',
    ]);
  });
  test('an empty file changes nothing', async () => {
    const { value } = await merged('# nothing\n');
    expect(value).toMatchObject({ text: 'base' });
  });
  test('a mistake keeps the place of the file that said it last', async () => {
    const { mistakes } = await merged('exporters:\n  any:\n    number: many\n');
    expect(mistakes[0]).toContain('later.yaml:3:13: error: exporters::any::number:');
  });
  test('--set wins over every file; its value is YAML', async () => {
    const { value } = await merged('exporters: { any: { text: later } }\n', {
      sets: [
        'exporters.any.text=set',
        'exporters.any.list=[x, y]',
        'exporters::any::number=5',
        'exporters.any.map.z=0123',
      ],
    });
    expect(value).toEqual({ text: 'set', list: ['x', 'y'], number: 5, map: { x: '1', y: '2', z: '0123' } });
  });
  test('--set can hold an expression', async () => {
    const { value } = await merged('', { sets: ['exporters.any.text=${env:A}'], env: { A: 'b' } });
    expect(value).toMatchObject({ text: 'b' });
  });
  test('a mistake of --set is told by its key', async () => {
    const { mistakes } = await merged('', { sets: ['exporters.any.number=many', 'x', 'a..b=1'] });
    expect(mistakes).toEqual([
      '--set x: error: missing equal sign',
      '--set a..b: error: "a..b" is not a key: a part of it is empty',
      `--set exporters.any.number: error: exporters::any::number: error reading configuration for "any": 'number' expected type 'int', got unconvertible type 'string' ("many"): expected a whole number`,
    ]);
  });
  test('env: and yaml: configs are merged like files', async () => {
    const { value } = await merged('', {
      configs: ['file:config.yaml', 'env:MORE', 'yaml:exporters::any::text: inline'],
      env: { MORE: 'exporters: { any: { number: 3 } }' },
    });
    expect(value).toMatchObject({ text: 'inline', number: 3, list: ['a', 'b'] });
  });
});

describe('values', () => {
  test.each<[string, string, Record<string, unknown>]>([
    ['an optional section is off when left out', '{}', {}],
    ['an empty optional section is on with its defaults', '{ section: }', { section: { depth: 3 } }],
    ['enabled: false turns an optional section off', '{ section: { enabled: false, depth: 9 } }', {}],
    [
      'enabled is a key like any other in a map of the user',
      '{ map: { enabled: true } }',
      { map: { enabled: 'true' } },
    ],
    ['enabled: true is allowed in an optional section', '{ section: { enabled: true } }', { section: { depth: 3 } }],
    ['an empty body means defaults', '', {}],
    ['a text with commas is a list', '{ list: "a,b, c" }', { list: ['a', 'b', 'c'] }],
    [
      'a number beside a key of the user is text, as written',
      '{ map: { rank: 0, version: 1.10, spot: true } }',
      { map: { rank: '0', version: '1.10', spot: 'true' } },
    ],
    ['words are not case-sensitive', '{ word: LOUD }', { word: 'loud' }],
    ['null leaves the default', '{ text: null }', {}],
    [
      'anchors and merge keys',
      '{ value: { a: &a { x: 1 }, b: { <<: *a, y: 2 } } }',
      { value: { a: { x: 1 }, b: { x: 1, y: 2 } } },
    ],
    [
      'any key is safe',
      '{ map: { __proto__: a, constructor: b } }',
      Object.fromEntries([['map', JSON.parse('{"__proto__":"a","constructor":"b"}')]]),
    ],
  ])('%s', async (_name, body, expected) => {
    expect(await resolvedOf(body)).toEqual(expected);
  });

  test('a declared text refuses a bare number, because YAML may have changed it', async () => {
    const { mistakes } = await load(config('{ text: 0123 }'), { registry });
    expect(mistakes[0]).toContain(
      `'text' expected type 'string', got unconvertible type 'int' (0123): expected a text`,
    );
  });

  test('equal configs have equal fingerprints, whatever the order of their keys', async () => {
    const print = async (body: string) =>
      (await load(config(body), { registry })).result.config!.exporters.get('any')!.fingerprint;
    expect(await print('{ text: a, number: 1 }')).toBe(await print('{ number: 1, text: "a" }'));
    expect(await print('{ text: a, number: 1 }')).not.toBe(await print('{ text: a, number: 2 }'));
    expect(await print('{ secret: a }')).not.toBe(await print('{ secret: b }'));
  });
});
