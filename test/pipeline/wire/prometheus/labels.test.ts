import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readIdentity } from '../../../../pipeline/wire/prometheus/labels.ts';

describe('name and labels of a line', () => {
  it.each([
    ['up', 'up', []],
    ['  up  ', 'up', []],
    ['vllm:num_requests{}', 'vllm:num_requests', []],
    ['a{b="c"}', 'a', ['b', 'c']],
    ['a{b="c",}', 'a', ['b', 'c']],
    ['a { b = "c" , d = "e" }', 'a', ['b', 'c', 'd', 'e']],
    ['a{d="e",b="c"}', 'a', ['b', 'c', 'd', 'e']],
    ['a{b=""}', 'a', []],
    ['a{b="",c="1"}', 'a', ['c', '1']],
    ['a{b="x\\"y\\\\z\\nw"}', 'a', ['b', 'x"y\\z\nw']],
    ['a{b="\\t"}', 'a', ['b', '\\t']],
    ['a{b="}"}', 'a', ['b', '}']],
    ['a{b="{,=}"}', 'a', ['b', '{,=}']],
    ['a{b="größe €"}', 'a', ['b', 'größe €']],
    ['{"my.metric"}', 'my.metric', []],
    ['{"my.metric","http.route"="/x",a="b"}', 'my.metric', ['a', 'b', 'http.route', '/x']],
    ['{a="b","my.metric"}', 'my.metric', ['a', 'b']],
    ['a{"b c"="d"}', 'a', ['b c', 'd']],
  ])('reads %s', (text, name, labels) => {
    expect(readIdentity(text)).toEqual({ name, labels });
  });

  it.each([
    ['1up', 'invalid metric name'],
    ['my.metric', 'invalid metric name'],
    ['a-b{c="d"}', 'invalid metric name'],
    ['{a="b"}', 'no metric name'],
    ['{"x","y"}', 'two metric names'],
    ['a{"x"}', '"=" expected after "x"'],
    ['a{b="c"', 'braces that are never closed'],
    ['a{b="c', 'a quote that is never closed'],
    ['a{b="c\\"}', 'a quote that is never closed'],
    ['a{b=c}', 'the value of label "b" is not quoted'],
    ['a{b}', '"=" expected after label name "b"'],
    ['a{1b="c"}', 'invalid label name'],
    ['a{b.c="d"}', '"=" expected after label name "b"'],
    ['a{b="c" d="e"}', '"," or "}" expected between labels'],
    ['a{b="c",b="d"}', 'label name "b" is not unique'],
    ['a{b="c",d="e",b="c"}', 'label name "b" is not unique'],
    ['a{,}', 'invalid label name'],
    ['a{__name__="b"}', 'a label "__name__"'],
    ['a{b="c"}x', 'text after the closing brace'],
    ['', 'invalid metric name'],
  ])('says what is wrong with %s', (text, wrong) => {
    expect(readIdentity(text)).toEqual({ wrong });
  });

  it('reads back any labels that are written as the format says, whatever their order', () => {
    const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,10}$/).filter((n) => n !== '__name__');
    const labels = fc.uniqueArray(fc.tuple(name, fc.string({ unit: 'grapheme', minLength: 1 })), {
      selector: ([n]) => n,
      maxLength: 6,
    });
    const quote = (s: string) => `"${s.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n')}"`;
    fc.assert(
      fc.property(labels, (pairs) => {
        const text = `m{${pairs.map(([n, v]) => `${n}=${quote(v)}`).join(',')}}`;
        const sorted = [...pairs].sort(([a], [b]) => (a < b ? -1 : 1)).flat();
        expect(readIdentity(text)).toEqual({ name: 'm', labels: sorted });
      }),
      { numRuns: 2000 },
    );
  });
});
