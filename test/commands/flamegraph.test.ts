import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flamegraph } from '../../commands/flamegraph.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { runCommand } from '../kit/command.ts';

const registry = { receivers: [], processors: [], exporters: [], extensions: [], catalog: loadCatalog() };
const START = 1_777_636_800_000;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-flamegraph-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (...args: string[]) => runCommand(flamegraph, args, { registry, cwd: folder });

/** A request a second, with its prefill. */
function recording(name: string, seconds: number, prefillMs: (second: number) => number): string {
  const lines: string[] = [];
  const text = (value: string) => ({ stringValue: value });
  for (let s = 0; s < seconds; s++) {
    const nanos = (ms: number) => `${BigInt(START + s * 1000 + ms)}000000`;
    const of = { traceId: (s + 1).toString(16).padStart(32, '0'), kind: 1 };
    const id = (n: number) => (s * 2 + n + 1).toString(16).padStart(16, '0');
    const ms = Math.round(prefillMs(s));
    const spans = [
      { ...of, spanId: id(0), name: 'request', startTimeUnixNano: nanos(0), endTimeUnixNano: nanos(ms + 100) },
      {
        ...of,
        spanId: id(1),
        parentSpanId: id(0),
        name: 'prefill',
        startTimeUnixNano: nanos(0),
        endTimeUnixNano: nanos(ms),
      },
    ];
    const resource = { attributes: [{ key: 'service.name', value: text('chat') }] };
    lines.push(JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }));
  }
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return name;
}

describe('enginelight flamegraph', () => {
  test('prints folded stacks of a recording', async () => {
    const { code, out, err } = await run(recording('a.jsonl', 10, () => 50));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toBe('chat;spans;request 1000000\nchat;spans;request;prefill 500000\n');
    const whole = await run('a.jsonl', '--by', 'service', '--view', 'critical-path');
    expect(whole.out).toBe('chat;request 1000000\nchat;request;prefill 500000\n');
  });

  test('what is written goes by the end of the file, readable by its owner only', async () => {
    recording('b.jsonl', 10, () => 50);
    for (const [file, begins] of [
      ['b.html', '<!doctype html>'],
      ['b.svg', '<?xml'],
      ['b.json', '{"$schema":"https://www.speedscope.app/file-format-schema.json"'],
      ['b.txt', 'chat;spans;request 1000000'],
      ['b.pb.gz', '\u001f'],
    ] as const) {
      expect((await run('b.jsonl', '-o', file)).code).toBe(0);
      expect(readFileSync(join(folder, file), 'utf8').startsWith(begins)).toBe(true);
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    }
  });

  test('with --against, says what became longer per request, and draws it', async () => {
    recording('before.jsonl', 300, (s) => 50 + ((s * 7) % 5));
    recording('after.jsonl', 100, (s) => 90 + ((s * 7) % 5));
    const { code, out, err } = await run('after.jsonl', '--against', 'before.jsonl');
    expect(code).toBe(0);
    expect(err).toBe('152 ms per request before, 192 ms after (+26.3 %); most of it in request › prefill.\n');
    expect(out).toContain('chat;spans;request;prefill 52000000 92000000\n');
    expect((await run('after.jsonl', '--against', 'before.jsonl', '-o', 'd.html')).code).toBe(0);
    expect(readFileSync(join(folder, 'd.html'), 'utf8')).toContain('What changed');
  });

  test('nothing to draw, or to read, is said with what to do, and exits with 1', async () => {
    writeFileSync(join(folder, 'empty.jsonl'), '');
    const empty = await run('empty.jsonl');
    expect(empty.code).toBe(1);
    expect(empty.err).toContain('There is no span in empty.jsonl');
    expect((await run('missing.jsonl')).code).toBe(1);
    const bytes = gzipSync(
      readFileSync(
        join(
          folder,
          recording('cut.jsonl', 500, () => 50),
        ),
      ),
    );
    writeFileSync(join(folder, 'cut.jsonl.gz'), bytes.subarray(0, bytes.length / 2));
    const cut = await run('cut.jsonl.gz');
    expect(cut.code).toBe(0);
    expect(cut.err).toMatch(/the file ends early/);
    writeFileSync(
      join(folder, 'bad.jsonl'),
      `{"nonsense":1}\n[]\n${readFileSync(
        join(
          folder,
          recording('good.jsonl', 1, () => 5),
        ),
        'utf8',
      )}`,
    );
    const bad = await run('bad.jsonl');
    expect(bad.code).toBe(0);
    expect(bad.err).toMatch(/bad\.jsonl:1: skipped/);
    expect(bad.out).toContain('request');
    recording('none.jsonl', 3, () => 5);
    const token = await run('none.jsonl', '--against', 'none.jsonl', '--per', 'token');
    expect(token).toMatchObject({ code: 1, err: 'There is no token in the recording before.\n' });
  });

  test('the time lines of ranks need what hooks send', async () => {
    recording('spans.jsonl', 3, () => 5);
    const { code, err } = await run('spans.jsonl', '--view', 'ranks');
    expect(code).toBe(1);
    expect(err).toContain('no engine step, pipeline stage or collective');
  });

  test('what does not go together is refused', async () => {
    expect((await run()).code).toBe(2);
    expect((await run('a.jsonl', '--format', 'pprof')).err).toContain('--output');
    expect((await run('a.jsonl', '--against', 'a.jsonl', '--format', 'speedscope')).code).toBe(2);
    expect((await run('a.jsonl', '--per', 'token')).code).toBe(2);
  });
});
