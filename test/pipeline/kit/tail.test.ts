import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RetryableError } from '../../../pipeline/errors.ts';
import { findFiles } from '../../../pipeline/kit/find-files.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { openStateFile } from '../../../pipeline/kit/state-file.ts';
import { createTail, type Tail, type TailOptions } from '../../../pipeline/kit/tail.ts';

let dir: string;
const tails: Tail[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-tail-'));
});
afterEach(async () => {
  for (const tail of tails.splice(0)) await tail.close();
  rmSync(dir, { recursive: true, force: true });
});

async function tailOf(given: Partial<TailOptions> = {}) {
  const lines: string[] = [];
  const lost: string[] = [];
  let failure: Error | undefined;
  const tail = await createTail({
    include: [join(dir, '*.log')],
    startAt: 'beginning',
    maxLineBytes: 1000,
    maxFiles: 16,
    state: undefined,
    log: memoryLogger(),
    now: () => 1000,
    async take(more) {
      if (failure) throw failure;
      lines.push(...more);
    },
    lost: (n, why) => void lost.push(`${n} ${why}`),
    ...given,
  });
  tails.push(tail);
  return {
    tail,
    lines,
    lost,
    failWith: (error: Error | undefined) => {
      failure = error;
    },
  };
}

const path = (name: string) => join(dir, name);

describe('lines', () => {
  test('a line is taken when its end is there, not before', async () => {
    writeFileSync(path('a.log'), 'one\ntw');
    const { tail, lines } = await tailOf();
    await tail.poll();
    expect(lines).toEqual(['one']);
    appendFileSync(path('a.log'), 'o\r\n\nthree\n');
    await tail.poll();
    expect(lines).toEqual(['one', 'two', 'three']);
  });

  test('from the end on: what was there is passed over, and so is the rest of a line that was half there', async () => {
    writeFileSync(path('a.log'), 'old\nhalf');
    const { tail, lines } = await tailOf({ startAt: 'end' });
    await tail.poll();
    appendFileSync(path('a.log'), ' of a line\nnew\n');
    writeFileSync(path('later.log'), 'first of another\n');
    await tail.poll();
    expect(lines).toEqual(['new', 'first of another']);
  });

  test('a line beyond the limit is left out, counted once, and held in memory at no time', async () => {
    const { tail, lines, lost } = await tailOf();
    writeFileSync(path('a.log'), `${'x'.repeat(500_000)}`);
    await tail.poll();
    appendFileSync(path('a.log'), `${'x'.repeat(500_000)}\nafter\n`);
    await tail.poll();
    expect(lines).toEqual(['after']);
    expect(lost).toEqual(['1 longer than 1000 bytes']);
    expect(tail.behind).toBe(0);
  });

  test('bytes that are no text, and holes, neither stop it nor reach further than their line', async () => {
    writeFileSync(
      path('a.log'),
      Buffer.concat([Buffer.from([0xff, 0xfe, 0x0a]), Buffer.alloc(5000), Buffer.from('good\n')]),
    );
    const { tail, lines } = await tailOf();
    await tail.poll();
    expect(lines).toEqual(['\ufffd\ufffd', 'good']);
  });
});

describe('rotation', () => {
  test('a renamed file is read to its end, a line that is finished after the renaming too, then the new one', async () => {
    writeFileSync(path('a.log'), 'one\ntw');
    const { tail, lines } = await tailOf();
    await tail.poll();
    renameSync(path('a.log'), path('a.log.1'));
    writeFileSync(path('a.log'), 'three\n');
    await tail.poll();
    appendFileSync(path('a.log.1'), 'o\nlast without end');
    for (let i = 0; i < 5; i++) await tail.poll();
    expect(lines).toEqual(['one', 'three', 'two', 'last without end']);
    expect(tail.files).toBe(1);
  });

  test('a file that the pattern still matches after the renaming is not read twice', async () => {
    writeFileSync(path('a.log'), 'one\n');
    const { tail, lines } = await tailOf();
    await tail.poll();
    renameSync(path('a.log'), path('b.log'));
    writeFileSync(path('a.log'), 'two\n');
    await tail.poll();
    await tail.poll();
    expect(lines).toEqual(['one', 'two']);
  });

  test('an emptied file begins anew, in the middle of a line too', async () => {
    writeFileSync(path('a.log'), 'one\ntwo\nhalf');
    const { tail, lines } = await tailOf();
    await tail.poll();
    truncateSync(path('a.log'), 0);
    appendFileSync(path('a.log'), 'new\n');
    await tail.poll();
    expect(lines).toEqual(['one', 'two', 'half', 'new']);
  });

  test('an emptied file that has grown beyond its old length is recognised by how it begins', async () => {
    writeFileSync(path('a.log'), 'one\n');
    const { tail, lines } = await tailOf();
    await tail.poll();
    writeFileSync(path('a.log'), 'another beginning\nand more\n');
    await tail.poll();
    expect(lines).toEqual(['one', 'another beginning', 'and more']);
  });

  test('a deleted file is closed', async () => {
    writeFileSync(path('a.log'), 'one\n');
    const { tail, lines } = await tailOf();
    await tail.poll();
    unlinkSync(path('a.log'));
    for (let i = 0; i < 5; i++) await tail.poll();
    expect(lines).toEqual(['one']);
    expect(tail.files).toBe(0);
  });
});

describe('who takes the lines', () => {
  test('says "later": the same lines come again, none is lost, and the file is the queue', async () => {
    writeFileSync(path('a.log'), 'one\ntwo\n');
    const { tail, lines, failWith } = await tailOf();
    failWith(new RetryableError('full'));
    await tail.poll();
    appendFileSync(path('a.log'), 'three\n'.repeat(100_000));
    await tail.poll();
    expect(tail.behind).toBeGreaterThan(500_000);
    failWith(undefined);
    await tail.poll();
    expect(lines.length).toBe(100_002);
  });

  test('refuses them for good: they are counted, the next ones come', async () => {
    writeFileSync(path('a.log'), 'one\ntwo\n');
    const { tail, lines, lost, failWith } = await tailOf();
    failWith(new Error('no use'));
    await tail.poll();
    failWith(undefined);
    appendFileSync(path('a.log'), 'three\n');
    await tail.poll();
    expect(lines).toEqual(['three']);
    expect(lost).toEqual(['2 no use']);
  });
});

describe('checkpoint', () => {
  const state = () => openStateFile(path('state'), 'x', memoryLogger());

  test('after a restart it goes on where it was, also when the file was renamed meanwhile', async () => {
    writeFileSync(path('a.log'), 'one\ntw');
    const before = await tailOf({ state: await state() });
    await before.tail.poll();
    await before.tail.close();
    appendFileSync(path('a.log'), 'o\n');
    renameSync(path('a.log'), path('renamed.log'));
    const { tail, lines } = await tailOf({ state: await state(), startAt: 'end' });
    await tail.poll();
    expect(lines).toEqual(['two']);
  });

  test('a file that was emptied while nobody looked begins anew', async () => {
    writeFileSync(path('a.log'), 'one\ntwo\n');
    const before = await tailOf({ state: await state() });
    await before.tail.poll();
    await before.tail.close();
    writeFileSync(path('a.log'), 'one\n');
    const { tail, lines } = await tailOf({ state: await state() });
    await tail.poll();
    expect(lines).toEqual(['one']);
  });

  test('a checkpoint that is damaged costs the places, not the start', async () => {
    const file = await state();
    writeFileSync(file.path, '{"files":{"1:2":{"head":7},"x":null}, ');
    writeFileSync(path('a.log'), 'one\n');
    const { tail, lines } = await tailOf({ state: await state() });
    await tail.poll();
    expect(lines).toEqual(['one']);
  });
});

describe('gzip', () => {
  test('members are read as they are appended, and after a restart only what is new', async () => {
    const state = () => openStateFile(path('state'), 'x', memoryLogger());
    writeFileSync(path('a.log'), gzipSync('one\ntw'));
    const before = await tailOf({ state: await state() });
    await before.tail.poll();
    appendFileSync(path('a.log'), gzipSync('o\nthree\n'));
    await before.tail.poll();
    expect(before.lines).toEqual(['one', 'two', 'three']);
    await before.tail.close();
    appendFileSync(path('a.log'), gzipSync('four\n'));
    const { tail, lines } = await tailOf({ state: await state() });
    await tail.poll();
    expect(lines).toEqual(['four']);
  });

  test('from the end on works for it too', async () => {
    writeFileSync(path('a.log'), gzipSync('old\n'));
    const { tail, lines } = await tailOf({ startAt: 'end' });
    await tail.poll();
    appendFileSync(path('a.log'), gzipSync('new\n'));
    await tail.poll();
    expect(lines).toEqual(['new']);
  });

  test('a member that is cut off gives its lines, one that is damaged is said and left', async () => {
    const whole = gzipSync(`${Array.from({ length: 20_000 }, (_, i) => `line ${i * 7919}`).join('\n')}\n`);
    writeFileSync(path('a.log'), whole.subarray(0, whole.length / 2));
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 1000, 1100);
    writeFileSync(path('b.log'), damaged);
    const { tail, lines, lost } = await tailOf();
    await tail.poll();
    await tail.poll();
    expect(lines.length).toBeGreaterThan(1000);
    expect(lost.length).toBe(1);
    expect(lost[0]).toContain('no gzip');
  });

  test('one that would become a gigabyte is a line that is too long, not a gigabyte of memory', async () => {
    writeFileSync(path('a.log'), Buffer.concat([gzipSync(Buffer.alloc(64 << 20, 0x61)), gzipSync('\nafter\n')]));
    const { tail, lines, lost } = await tailOf();
    for (let i = 0; i < 40 && lines.length === 0; i++) await tail.poll();
    expect(lines).toEqual(['after']);
    expect(lost).toEqual(['1 longer than 1000 bytes']);
  });
});

describe('patterns', () => {
  test('stars match within one part of a path; folders, hidden files and more than the limit are left out', async () => {
    writeFileSync(path('a.log'), '');
    writeFileSync(path('ab.log'), '');
    writeFileSync(path('.hidden.log'), '');
    const names = async (pattern: string, most = 10) =>
      (await findFiles([path(pattern)], most)).map((f) => f.path.slice(dir.length + 1));
    expect(await names('*.log')).toEqual(['a.log', 'ab.log']);
    expect(await names('a?.log')).toEqual(['ab.log']);
    expect(await names('a*b*.l*g')).toEqual(['ab.log']);
    expect(await names('a.log')).toEqual(['a.log']);
    expect(await names('*.log', 1)).toEqual(['a.log']);
    expect(await names('nothing/*.log')).toEqual([]);
    expect((await findFiles([`${dir.replace(/[^/]+$/, '*')}/a.log`], 1000)).some((f) => f.path === path('a.log'))).toBe(
      true,
    );
  });
});
