import '../../../kit/seed.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffFlames, diffLines } from '../../../../pipeline/kit/flame/diff.ts';
import { drawFlame } from '../../../../pipeline/kit/flame/draw.ts';
import { diffPage, diffVerdict, flamePage, flameSvgFile } from '../../../../pipeline/kit/flame/page.ts';
import { type Per, sideOf, unitsIn } from '../../../../pipeline/kit/flame/side.ts';
import { storeOf, type Told } from './spans.ts';

/** Twenty minutes of requests, one every `every` seconds; durations vary by a tenth. */
function traffic(seed: number, every: number, prefill: number, decode: number, tokens = 10): Told[] {
  const spans: Told[] = [];
  let state = seed;
  const about = (ms: number) => {
    // Mulberry32: neighbouring seeds have nothing to do with one another.
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ms * (0.9 + (0.2 * ((t ^ (t >>> 14)) >>> 0)) / 2 ** 32);
  };
  for (let at = 0, id = 1; at < 1_200_000; at += every * 1000, id += 3) {
    const [p, d] = [about(prefill), about(decode)];
    const attributes = { 'gen_ai.usage.output_tokens': tokens };
    spans.push({ id, trace: id, at, took: p + d + 5, name: 'request', attributes });
    spans.push({ id: id + 1, trace: id, parent: id, at: at + 5, took: p, name: 'prefill' });
    spans.push({ id: id + 2, trace: id, parent: id, at: at + 5 + p, took: d, name: 'decode' });
  }
  return spans;
}

const diff = (before: Told[], after: Told[], per: Per = 'request') => {
  const options = { view: 'resource', by: 'service', only: 'requests' } as const;
  return diffFlames(sideOf(storeOf(before), options, per), sideOf(storeOf(after), options, per), per);
};
const changed = (d: ReturnType<typeof diff>) =>
  d.changes.flatMap((change, node) => (change.changed ? [d.tree.stack(node).join(';')] : []));

describe('differential flame graphs', () => {
  test('three times the traffic alone is no change; a slower prefill is, with its interval', () => {
    expect(changed(diff(traffic(1, 6, 100, 400), traffic(2, 2, 100, 400)))).toEqual([]);
    const d = diff(traffic(1, 6, 100, 400), traffic(2, 2, 150, 400));
    expect(changed(d)).toEqual(['chat', 'chat;request', 'chat;request;prefill']);
    const change = d.changes[d.tree.at(['chat', 'request', 'prefill'])]!;
    expect(change.before / 1e6).toBeCloseTo(100, -1);
    expect((change.after - change.before) / 1e6).toBeCloseTo(50, -1);
    expect(change.low! / 1e6).toBeGreaterThan(45);
    expect(change.high! / 1e6).toBeLessThan(55);
    expect(diffVerdict(d)).toMatch(
      /^50\d ms per request before, 55\d ms after \(\+\d+\.\d %\); most of it in request › prefill$/,
    );
  });

  test('twice the answer is twice the decode per request, and nothing per token', () => {
    const [before, after] = [traffic(1, 6, 1, 400, 10), traffic(2, 6, 1, 800, 20)];
    expect(changed(diff(before, after))).toContain('chat;request;decode');
    expect(changed(diff(before, after, 'token'))).not.toContain('chat;request;decode');
  });

  test('nothing changes in comparisons of the same traffic, or hardly ever', () => {
    // Of 400 such comparisons 18 find something.
    let wrong = 0;
    for (let seed = 1; seed <= 100; seed++)
      if (changed(diff(traffic(seed, 10, 100, 400), traffic(seed + 1000, 10, 100, 400))).length > 0) wrong++;
    expect(wrong).toBeLessThanOrEqual(7);
  });

  test('too little to say so is said, and everything is muted', () => {
    const few = traffic(1, 6, 100, 400).slice(0, 9);
    const d = diff(few, traffic(2, 6, 300, 400));
    expect(changed(d)).toEqual([]);
    expect(diffVerdict(d)).toMatch(/nothing can be called a change: a side has fewer than 5 blocks/);
  });

  test('stacks of both sides are there, each with both values', () => {
    const d = diff(traffic(1, 6, 100, 400), [
      ...traffic(2, 6, 100, 400).filter(({ name }) => name !== 'prefill'),
      ...traffic(3, 6, 100, 400).map((s) => ({ ...s, id: s.id + 10_000, trace: s.id + 10_000, name: 'new' })),
    ] as Told[]);
    const lines = [...diffLines(d)].join('');
    expect(lines).toMatch(/^chat;request;prefill \d+ 0$/m);
    expect(lines).toMatch(/^chat;new 0 \d+$/m);
  });

  test('values per unit add up to the totals per unit on both sides', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 5, max: 60 }), (seed, every) => {
        const d = diff(traffic(seed, every, 50, 100), traffic(seed + 1, every, 80, 90));
        const sums = [0, 0];
        for (let i = 1; i < d.tree.size; i++) {
          sums[0]! += d.selfBefore[i]!;
          sums[1]! += d.tree.self[i]!;
        }
        expect(sums[0]).toBeCloseTo(d.changes[0]!.before, 0);
        expect(sums[1]).toBeCloseTo(d.changes[0]!.after, 0);
      }),
      { numRuns: 10 },
    );
  });

  test('what times can be divided by is seen from the spans', () => {
    expect(unitsIn(storeOf(traffic(1, 60, 1, 1)))).toEqual({ requests: true, tokens: true });
    expect(unitsIn(storeOf([{ id: 1, at: 0, took: 1, name: 'engine_step' }]))).toEqual({
      requests: false,
      tokens: false,
    });
  });
});

describe('flame graphs as pages', () => {
  const evil = '</title><script>alert(1)</script>"\'&]]>';
  const store = () =>
    storeOf([
      { id: 1, at: 0, took: 100, name: evil },
      { id: 2, parent: 1, at: 10, took: 50, name: 'prefill' },
    ]);

  test('need nothing else and let no markup of names through', () => {
    const drawn = drawFlame(store(), { view: 'resource', by: 'service' });
    const page = flamePage(drawn, { of: evil, version: '1' });
    const svg = flameSvgFile(drawn, { of: evil, version: '1' });
    for (const text of [page, svg]) {
      expect(text).not.toMatch(/<script>alert|src=|href=|url\(|@import/);
      expect(text).toContain('&lt;script&gt;');
      // One script, ours.
      expect(text.match(/<script/g)).toHaveLength(1);
      expect(text.split(']]>').length).toBeLessThanOrEqual(7);
    }
    expect(page).toContain("default-src 'none'");
  });

  test('widths of a level never exceed the one above, and say time and share', () => {
    const page = flamePage(drawFlame(store(), { view: 'resource', by: 'service' }), { of: 'x', version: '1' });
    expect(page).toMatch(/data-x="0\.00000000" data-w="0\.500000000" data-d="3" data-n="prefill"/);
    expect(page).toContain('50.0 ms, 50.0 %; itself 50.0 ms');
  });

  test('a differential page shows both sides, what changed in a table, and mutes the rest', () => {
    const d = diff(traffic(1, 6, 100, 400), traffic(2, 6, 200, 400));
    const page = diffPage(d, ['a note'], { of: 'a → b', version: '1' });
    expect(page).toMatch(/<g class="more3"[^>]*data-n="prefill"/);
    expect(page).toMatch(/<g class="same"[^>]*data-n="decode"/);
    expect(page).toContain('id="before"');
    expect(page).toMatch(/chat › request › prefill<\/td>/);
    expect(page).toContain('a note');
  });
});
