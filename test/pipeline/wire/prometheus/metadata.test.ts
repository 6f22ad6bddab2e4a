import { describe, expect, it } from 'vitest';
import { formatOf } from '../../../../pipeline/wire/prometheus/format.ts';
import { readMetadata, roleOf, ucumOf } from '../../../../pipeline/wire/prometheus/metadata.ts';

describe('the format of an answer', () => {
  const format = (contentType: string | undefined, body: string) => formatOf(contentType, Buffer.from(body));

  it.each([
    ['text/plain; version=0.0.4; charset=utf-8', 'a 1\n', 'text'],
    ['text/plain; version=1.0.0; escaping=allow-utf-8', 'a 1\n', 'text'],
    ['application/openmetrics-text; version=1.0.0; charset=utf-8', 'a 1\n# EOF\n', 'openmetrics'],
    ['application/openmetrics-text', 'a 1\n', 'openmetrics'],
    ['text/plain', 'a 1\n', 'text'],
    ['text/plain', 'a 1\n# EOF\n', 'openmetrics'],
    ['text/plain', 'a 1\n# EOF', 'openmetrics'],
    ['text/html', 'a 1\n', 'text'],
    ['application/json', 'a 1\n', 'text'],
    ['', 'a 1\n', 'text'],
    [undefined, 'a 1\n', 'text'],
    [undefined, '', 'text'],
    [undefined, '{"my.metric"} 1\n', 'text'],
    [undefined, '{"my.metric",a="b"} 1\n', 'text'],
    [undefined, '# a comment # EOF\n', 'text'],
  ])('of %j with %j is %s', (contentType, body, expected) => {
    expect(format(contentType, body)).toBe(expected);
  });

  it.each([
    ['text/html', '<!doctype html><html></html>', 'HTML'],
    [undefined, '\n  <html>', 'HTML'],
    ['application/json', '[{"iter": 1}]', 'JSON'],
    [undefined, '{"error": "not found"}\n', 'JSON'],
    ['text/plain', '[]', 'JSON'],
    ['application/vnd.google.protobuf', 'x', 'protobuf'],
  ])('of %j with %j is none, and the answer says why', (contentType, body, word) => {
    expect(format(contentType, body)).toEqual({ wrong: expect.stringContaining(word) });
  });
});

describe('metadata', () => {
  const read = (text: string) => readMetadata(Buffer.from(text));

  it('is read from TYPE, HELP and UNIT lines, in any order and place', () => {
    const { families, bad } = read(
      [
        '# HELP a All the \\\\ things\\nand more.',
        'a 1',
        '# TYPE a counter',
        '#  TYPE\tb_seconds   gauge',
        '# UNIT b_seconds seconds',
        '# TYPE "my.metric" histogram',
        '# HELP c',
        '# a comment about TYPE x gauge',
        '#TYPE d gauge',
        '# TYPE e untyped',
        '# EOF',
      ].join('\n'),
    );
    expect(bad).toEqual([]);
    expect(Object.fromEntries(families)).toEqual({
      a: { type: 'counter', help: 'All the \\ things\nand more.', unit: '' },
      b_seconds: { type: 'gauge', help: '', unit: 'seconds' },
      'my.metric': { type: 'histogram', help: '', unit: '' },
      c: { type: 'unknown', help: '', unit: '' },
      e: { type: 'unknown', help: '', unit: '' },
    });
  });

  it('keeps the first type of a family; a repeated one is fine, another one is a bad line', () => {
    const { families, bad } = read(
      '# TYPE a gauge\na 1\n# TYPE a gauge\na{b="c"} 1\n# TYPE a counter\n# TYPE b thing\n',
    );
    expect(families.get('a')?.type).toBe('gauge');
    expect(bad).toEqual([
      { line: 5, text: '# TYPE a counter', wrong: 'a second type for a, which is a gauge' },
      { line: 6, text: '# TYPE b thing', wrong: 'unknown metric type "thing"' },
    ]);
  });

  const families = new Map(
    Object.entries({
      c: 'counter',
      c2_total: 'counter',
      h: 'histogram',
      s: 'summary',
      g: 'gauge',
      i: 'info',
    } as const).map(([name, type]) => [name, { type, help: '', unit: '' }] as const),
  );
  it.each([
    ['c_total', [], 'number', 'c'],
    ['c', [], 'number', 'c'],
    ['c_created', [], 'created', 'c'],
    ['c2_total', [], 'number', 'c2_total'],
    ['h_bucket', ['le'], 'bucket', 'h'],
    ['h_bucket', [], 'number', 'h_bucket'],
    ['h_sum', [], 'sum', 'h'],
    ['h_count', [], 'count', 'h'],
    ['h_created', [], 'created', 'h'],
    ['h', [], 'number', 'h'],
    ['s', ['quantile'], 'quantile', 's'],
    ['s', [], 'number', 's'],
    ['s_sum', [], 'sum', 's'],
    ['g_sum', [], 'number', 'g_sum'],
    ['g_total', [], 'number', 'g_total'],
    ['i_info', [], 'number', 'i'],
    ['unheard_of', [], 'number', 'unheard_of'],
  ])('%s with %j is the %s of %s', (name, labels, kind, family) => {
    expect(roleOf(name, (l) => (labels as string[]).includes(l), families)).toEqual({ kind, family });
  });

  it('writes known units as UCUM and leaves others alone', () => {
    expect([ucumOf('seconds'), ucumOf('bytes'), ucumOf('ratio'), ucumOf('tokens'), ucumOf('constructor')]).toEqual([
      's',
      'By',
      '1',
      'tokens',
      'constructor',
    ]);
  });
});
