import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { vllmLikePage } from '../../../../bench/scrape/page.ts';
import { type LineTable, lineTable, type Part, type Scan } from '../../../../pipeline/wire/prometheus/lines.ts';
import { anyLine, readNaively } from '../../../kit/exposition-oracle.ts';

type Family = { name: string; type: string; metrics: { labels?: Record<string, string>; value?: string }[] };
const parseOther = createRequire(import.meta.url)('parse-prometheus-text-format') as (page: string) => Family[];

interface KeyedPart extends Part {
  readonly key: string;
}

/** A table that keeps every series by its name and labels. */
function reader(unwanted: (name: string) => boolean = () => false) {
  const parts = new Map<string, KeyedPart>();
  const table: LineTable<KeyedPart> = lineTable();
  let asked = 0;
  return {
    table,
    parts,
    asked: () => asked,
    scan(page: string | Buffer, format: 'text' | 'openmetrics' = 'text', limit?: number): Scan {
      return table.scan(
        Buffer.from(page),
        format,
        (name, labels) => {
          asked++;
          if (unwanted(name)) return undefined;
          const pairs: [string, string][] = [];
          for (let i = 0; i < labels.length; i += 2) pairs.push([labels[i]!, labels[i + 1]!]);
          const key = JSON.stringify([name, ...pairs]);
          let part = parts.get(key);
          if (!part) {
            part = { key, generation: -1, value: 0, tail: undefined };
            parts.set(key, part);
          }
          return part;
        },
        limit,
      );
    },
    /** What the latest scan saw. */
    seen: () =>
      [...parts.values()]
        .filter((part) => part.generation === table.generation())
        .map(({ key, value, tail }) => ({ key, value, timestampMs: tail?.timestampMs })),
  };
}

const byKey = (a: { key: string }, b: { key: string }) => (a.key < b.key ? -1 : 1);

describe('lines of a page, remembered from scrape to scrape', () => {
  it('says of any row of pages what a reader that remembers nothing says', () => {
    const page = fc.array(anyLine, { maxLength: 25 });
    fc.assert(
      fc.property(fc.array(page, { minLength: 1, maxLength: 5 }), fc.boolean(), (pages, end) => {
        const r = reader();
        for (const lines of pages) {
          const text = lines.join('\n') + (end ? '\n' : '');
          const expected = readNaively(text);
          const scan = r.scan(text);
          expect(r.seen().sort(byKey)).toEqual([...expected.samples].sort(byKey));
          expect(scan.duplicates).toBe(expected.duplicates);
          expect(scan.badLines).toBe(expected.bad.length);
          expect(scan.firstBad?.line).toBe(expected.bad[0]);
          expect(scan.samples).toBe(expected.samples.length + expected.duplicates);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('finds the same series again however the lines are shuffled, cut out and put in', () => {
    const lines = vllmLikePage({ engines: 2 })().trimEnd().split('\n');
    fc.assert(
      fc.property(fc.array(fc.shuffledSubarray(lines), { minLength: 2, maxLength: 4 }), (pages) => {
        const r = reader();
        r.scan(`${lines.join('\n')}\n`);
        const asked = r.asked();
        for (const page of pages) {
          r.scan(page.join('\n'));
          expect(r.seen().sort(byKey)).toEqual(readNaively(page.join('\n')).samples.sort(byKey));
        }
        // Nothing was taken apart twice.
        expect(r.asked()).toBe(asked);
      }),
      { numRuns: 30 },
    );
  });

  it('agrees with parse-prometheus-text-format on a plain page, sample by sample', () => {
    const page = vllmLikePage({ engines: 3, created: true })();
    const r = reader();
    r.scan(page);
    // It loses the labels of histograms, so these are left to the other reader.
    const theirs = parseOther(page)
      .filter((family) => family.type !== 'HISTOGRAM')
      .flatMap((family) =>
        family.metrics.map(({ labels = {}, value }) => ({
          key: JSON.stringify([family.name, ...Object.entries(labels).sort(([x], [y]) => (x < y ? -1 : 1))]),
          value: Number(value),
        })),
      );
    expect(theirs.length).toBeGreaterThan(80);
    const ours = new Map(r.seen().map(({ key, value }) => [key, value]));
    expect(theirs.map(({ key }) => ({ key, value: ours.get(key) }))).toEqual(theirs);
  });

  it('takes series apart once: a second scrape asks for nothing', () => {
    const next = vllmLikePage({ engines: 2 });
    const r = reader();
    r.scan(next());
    const asked = r.asked();
    const scan = r.scan(next());
    expect(r.asked()).toBe(asked);
    expect(scan).toMatchObject({ added: 0, badLines: 0, commentsChanged: false });
  });

  it('keeps the first of two samples of a series, also when labels stand in another order', () => {
    const r = reader();
    const scan = r.scan('a{x="1",y="2"} 1\na{y="2",x="1"} 2\na{x="1",y="2"} 3\n');
    expect(scan).toMatchObject({ samples: 3, duplicates: 2, badLines: 0 });
    expect(r.seen()).toEqual([{ key: '["a",["x","1"],["y","2"]]', value: 1, timestampMs: undefined }]);
  });

  it('names the first bad line with its number and its text', () => {
    const r = reader();
    for (let i = 0; i < 3; i++) {
      const scan = r.scan(`a 1\n\n# TYPE a gauge\nb{x="1" 2\nc ${'9'.repeat(400)}x\nd 4\n`);
      expect(scan).toMatchObject({ samples: 2, badLines: 2 });
      expect(scan.firstBad).toEqual({ line: 4, text: 'b{x="1" 2', wrong: '"," or "}" expected between labels' });
    }
    expect(r.scan(`c ${'9'.repeat(400)}x\n`).firstBad?.text).toHaveLength(121);
  });

  it('is not misled by a remembered line that is the beginning of another', () => {
    const r = reader();
    r.scan('foo 1\nfoo_bar 2\n');
    r.scan('foo_bar 3\nfoo {a="b"} 4\n');
    expect(r.seen().sort(byKey)).toEqual([
      { key: '["foo",["a","b"]]', value: 4, timestampMs: undefined },
      { key: '["foo_bar"]', value: 3, timestampMs: undefined },
    ]);
    r.scan('foo{a="b\nfoo 1');
    r.scan('foo{a="bc"} 5\nfoo 12\n# HELP foo x');
    expect(r.seen().sort(byKey)).toEqual([
      { key: '["foo",["a","bc"]]', value: 5, timestampMs: undefined },
      { key: '["foo"]', value: 12, timestampMs: undefined },
    ]);
    expect(r.scan('foo 1\n# HELP foo xyz\nbar 2\n').badLines).toBe(0);
  });

  it('reads bytes that are not UTF-8 as bad lines and goes on', () => {
    const r = reader();
    const page = Buffer.concat([
      Buffer.from('a 1\nb{x="'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"} 2\nc{x="\0"} 3\nd 4\n'),
    ]);
    for (let i = 0; i < 3; i++) {
      const scan = r.scan(page);
      expect(scan).toMatchObject({ samples: 2, badLines: 2 });
      expect(scan.firstBad).toMatchObject({ line: 2, wrong: 'not valid UTF-8 text' });
    }
    expect(r.table.size()).toBe(2);
  });

  it('knows when comments changed, and only then', () => {
    const r = reader();
    const changed = (page: string) => r.scan(page).commentsChanged;
    const first = '# HELP a x\n# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n';
    expect(changed(first)).toBe(true);
    expect(changed(first)).toBe(false);
    expect(changed('# TYPE b gauge\nb 1\n# HELP a x\n# TYPE a gauge\na 1\n')).toBe(false);
    const other = first.replace('a gauge', 'a counter');
    expect(changed(other)).toBe(true);
    expect(changed(other)).toBe(false);
    // Back to what is known, and as many.
    expect(changed(first)).toBe(true);
    expect(changed(first)).toBe(false);
    expect(changed('# TYPE a gauge\na 1\n')).toBe(true);
    expect(changed('# TYPE a gauge\na 1\n# generated at 12:01\n')).toBe(false);
  });

  it('takes timestamps as milliseconds in the text format and as seconds in OpenMetrics', () => {
    const r = reader();
    r.scan('a 1 1700000000123\n');
    expect(r.seen()[0]?.timestampMs).toBe(1700000000123);
    r.scan('a 1 1700000000.123\n# EOF\n', 'openmetrics');
    expect(r.seen()[0]?.timestampMs).toBeCloseTo(1700000000123, 3);
    // Some write milliseconds there too.
    r.scan('a 1 1700000000123\n# EOF\n', 'openmetrics');
    expect(r.seen()[0]?.timestampMs).toBe(1700000000123);
    r.scan('a 1\n');
    expect(r.seen()[0]?.timestampMs).toBeUndefined();
  });

  it('reads exemplars, with and without a time, and says what is wrong with them', () => {
    const r = reader();
    const scan = r.scan(
      'a_total 1 # {trace_id="abc",x="} #"} 0.5 1700000000.5\nb_total 2 3 # {} 7\n# EOF\n',
      'openmetrics',
    );
    expect(scan).toMatchObject({ samples: 2, badLines: 0, tails: 2 });
    const [a, b] = [...r.parts.values()];
    expect(a?.tail?.exemplar).toMatchObject({
      labels: ['trace_id', 'abc', 'x', '} #'],
      value: 0.5,
      timestampMs: 1700000000500,
    });
    expect(b?.tail).toMatchObject({ timestampMs: 3000, exemplar: { labels: [], value: 7, timestampMs: undefined } });
    for (const [text, wrong] of [
      ['a 1 # x', 'text after the value'],
      ['a 1 # {x="y"}', 'the value of the exemplar is not a number'],
      ['a 1 # {x="y"} z', 'the value of the exemplar is not a number'],
      ['a 1 # {x="y"} 1 z', 'the timestamp of the exemplar is not a number'],
      ['a 1 # {x="y"} 1 2 3', 'text after the exemplar'],
      ['a 1 # {x=} 1', 'in the exemplar: the value of label "x" is not quoted'],
      ['a 1 Inf', 'the timestamp is not a number'],
    ] as const) {
      expect(r.scan(`${text}\n`, 'openmetrics').firstBad, text).toMatchObject({ wrong });
    }
  });

  it('ends at # EOF in OpenMetrics; what follows, or none at all, is one bad line', () => {
    const r = reader();
    expect(r.scan('a 1\n# EOF\n', 'openmetrics')).toMatchObject({ samples: 1, badLines: 0 });
    const scan = r.scan('a 1\n# EOF\n\nb 2\nc 3\n', 'openmetrics');
    expect(scan).toMatchObject({ samples: 1, badLines: 1, firstBad: { wrong: 'text after # EOF' } });
    expect(r.scan('a 1\nb 2\n', 'openmetrics')).toMatchObject({
      samples: 2,
      badLines: 1,
      firstBad: { wrong: 'the page does not end with # EOF: it may be cut off' },
    });
    expect(r.scan('a 1\n# EOF\nb 2\n', 'text')).toMatchObject({ samples: 2, badLines: 0 });
  });

  it('does not keep what is not wanted, and counts it', () => {
    const r = reader((name) => name === 'b');
    for (let i = 0; i < 2; i++) expect(r.scan('a 1\nb 2\nb{x="1"} 3\n')).toMatchObject({ samples: 3, dropped: 2 });
    expect(r.asked()).toBe(3);
  });

  it('stops taking series apart beyond a limit, but still counts samples', () => {
    const r = reader();
    const page = Array.from({ length: 100 }, (_, i) => `a{i="${i}"} 1`).join('\n');
    const scan = r.scan(page, 'text', 10);
    expect(scan).toMatchObject({ limited: true, samples: 100 });
    expect(r.parts.size).toBe(11);
    expect(r.scan(page, 'text', 100)).toMatchObject({ limited: false, samples: 100 });
  });

  it('forgets lines that are gone, and its memory with them', () => {
    const r = reader();
    for (let i = 0; i < 200; i++) {
      r.scan(Array.from({ length: 50 }, (_, j) => `a{i="${i}-${j}"} 1`).join('\n'));
      r.table.evict(r.table.generation() - 2);
      expect(r.table.size()).toBeLessThanOrEqual(150);
    }
    r.scan('a{i="199-7"} 5\n');
    expect(r.seen()).toEqual([{ key: '["a",["i","199-7"]]', value: 5, timestampMs: undefined }]);
  });

  it('goes on after a scan that was broken off', () => {
    const r = reader();
    r.scan('# TYPE a gauge\na 1\nb 2\n');
    expect(() =>
      r.table.scan(Buffer.from('# TYPE a counter\nb 3\nc 4\n'), 'text', () => {
        throw new Error('limit');
      }),
    ).toThrow('limit');
    const scan = r.scan('# TYPE a counter\na 5\nb 6\n');
    expect(scan.commentsChanged).toBe(true);
    expect(r.seen().map((s) => s.value)).toEqual([5, 6]);
  });
});
