import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { fileExporter } from '../../../exporters/file/index.ts';
import { backupName } from '../../../exporters/file/rotation.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { type Batch, logsBatch, type MetricsBatch, metricsBatch, resource } from '../../../pipeline/model.ts';
import { decompress, HAS_ZSTD } from '../../../pipeline/wire/compression.ts';
import { decodeRequest } from '../../../pipeline/wire/otlp/index.ts';
import { testContext } from '../../kit/harness.ts';
import { points } from '../../kit/parts.ts';

let folder: string;
const stages: Stage[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'enginelight-file-'));
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const stage of stages.splice(0)) await stage.stop();
  await rm(folder, { recursive: true, force: true });
});

const NOON = Date.parse('2026-05-01T12:00:00Z');
async function start(config: Record<string, unknown> = {}) {
  const clock = manualClock(NOON);
  const context = testContext({ id: 'file', kind: 'exporter', clock });
  const path = join(folder, 'out.jsonl');
  const given = { path, ...config };
  expect(fileExporter.validate!(resolve(fileExporter.config, given))).toEqual([]);
  const stage = await fileExporter.start(resolve(fileExporter.config, given), context);
  stages.push(stage);
  return { stage, clock, context, path: String(given.path), measured: context.measured, log: context.log.records };
}
const names = async () => (await readdir(folder)).sort();
const itemsIn = (text: string) =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => decodeRequest('metrics', Buffer.from(line), 'json').items.length);

describe('the file exporter', () => {
  it('writes one OTLP request per line, which reads back as what was sent', async () => {
    const { stage, path, measured } = await start();
    stage.consume(points(3));
    stage.consume(points(2));
    await stage.stop();
    const lines = (await readFile(path, 'utf8')).split('\n');
    expect(lines.length).toBe(3);
    expect(Object.keys(JSON.parse(lines[0]!))).toEqual(['resourceMetrics']);
    expect(decodeRequest('metrics', Buffer.from(lines[0]!), 'json').items).toEqual(points(3).items);
    expect(itemsIn(lines.join('\n'))).toEqual([3, 2]);
    expect(measured.sent).toBe(5);
  });

  it('writes protobuf behind its length', async () => {
    const { stage, path } = await start({ format: 'proto' });
    stage.consume(points(3));
    stage.consume(points(1));
    await stage.stop();
    const bytes = await readFile(path);
    const found: number[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = bytes.readUInt32BE(at);
      found.push(decodeRequest('metrics', bytes.subarray(at + 4, at + 4 + length), 'protobuf').items.length);
      at += 4 + length;
    }
    expect(found).toEqual([3, 1]);
  });

  it('waits for flush_interval, then writes; with 0 it writes at once', async () => {
    const slow = await start();
    slow.stage.consume(points(1));
    await slow.clock.advance(999);
    expect((await stat(slow.path)).size).toBe(0);
    await slow.clock.advance(1);
    await vi.waitFor(async () => expect((await stat(slow.path)).size).toBeGreaterThan(0));
    const eager = await start({ flush_interval: 0, path: join(folder, 'eager') });
    eager.stage.consume(points(1));
    await vi.waitFor(async () => expect((await stat(eager.path)).size).toBeGreaterThan(0));
  });

  it('appends to what is there, or empties it with append: false', async () => {
    for (const [append, expected] of [
      [true, [1]],
      [true, [1, 1]],
      [false, [1]],
    ] as const) {
      const { stage, path } = await start({ append });
      stage.consume(points(1));
      await stage.stop();
      expect(itemsIn(await readFile(path, 'utf8'))).toEqual(expected);
    }
  });

  it('begins on a new line after a run that ended in the middle of one', async () => {
    await writeFile(join(folder, 'out.jsonl'), '{"resourceMetrics":[{"reso');
    const { stage, path } = await start();
    stage.consume(points(2));
    await stage.stop();
    const lines = (await readFile(path, 'utf8')).split('\n');
    expect(lines[0]).toBe('{"resourceMetrics":[{"reso');
    expect(itemsIn(lines[1]!)).toEqual([2]);
  });

  it('compresses so that gunzip reads the whole file, and after a crash all but the end', async () => {
    const { stage, path, clock } = await start({ compression: 'gzip', path: join(folder, 'out.jsonl.gz') });
    for (let i = 0; i < 3; i++) {
      stage.consume(points(4));
      await clock.advance(1000);
    }
    await stage.stop();
    expect(itemsIn(gunzipSync(await readFile(path)).toString())).toEqual([4, 4, 4]);
    // Another run does not write behind what may be cut short.
    const next = await start({ compression: 'gzip', path: join(folder, 'out.jsonl.gz') });
    next.stage.consume(points(1));
    await next.stage.stop();
    expect(await names()).toEqual(['out-2026-05-01T12-00-00.000.jsonl.gz', 'out.jsonl.gz']);
    expect(itemsIn(gunzipSync(await readFile(path)).toString())).toEqual([1]);
  });

  it.runIf(HAS_ZSTD)('compresses with zstd where Node has it, readable as a whole', async () => {
    const { stage, path, clock } = await start({ compression: 'zstd', path: join(folder, 'out.jsonl.zst') });
    for (let i = 0; i < 3; i++) {
      stage.consume(points(4));
      await clock.advance(1000);
    }
    await stage.stop();
    expect(itemsIn(Buffer.from(await decompress(await readFile(path), 'zstd', 1 << 20)).toString())).toEqual([4, 4, 4]);
  });

  it('makes missing folders and gives new files the wanted permissions', async () => {
    const { path } = await start({ path: join(folder, 'a', 'b', 'out'), permissions: '0600' });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('does not start where it cannot write, and names path and option', async () => {
    await mkdir(join(folder, 'out.jsonl'));
    await expect(start()).rejects.toThrow(`${folder}/out.jsonl (exporters::file::path) cannot be opened: EISDIR`);
  });

  it('lets callers wait while the disk is behind, and loses nothing', async () => {
    const { stage, path } = await start();
    const big = points(40_000);
    const waits: unknown[] = [];
    for (let i = 0; i < 8; i++) waits.push(stage.consume(big));
    expect(waits.some((w) => w instanceof Promise)).toBe(true);
    await Promise.all(waits);
    await stage.stop();
    expect(itemsIn(await readFile(path, 'utf8'))).toEqual(Array(8).fill(40_000));
  });

  it('refuses what comes after the stop; stopping twice is harmless', async () => {
    const { stage, path, clock } = await start();
    await stage.stop();
    await stage.stop();
    expect(() => stage.consume(points(1))).toThrow('is stopping');
    expect((await stat(path)).size).toBe(0);
    expect(clock.pending()).toBe(0);
  });
});

describe('rotation', () => {
  it('begins a new file before the old one gets too large', async () => {
    const { stage, clock, path } = await start({ rotation: { max_megabytes: 1 } });
    const big = points(10_000);
    for (let i = 0; i < 4; i++) {
      stage.consume(big);
      await clock.advance(1000);
    }
    await stage.stop();
    const all = await names();
    expect(all.length).toBeGreaterThan(1);
    const counts: number[] = [];
    for (const name of all) {
      expect((await stat(join(folder, name))).size).toBeLessThanOrEqual(1 << 20);
      counts.push(...itemsIn(await readFile(join(folder, name), 'utf8')));
    }
    expect(counts).toEqual([10_000, 10_000, 10_000, 10_000]);
    expect(all.at(-1)).toBe('out.jsonl');
    expect((await stat(path)).size).toBeGreaterThan(0);
  });

  it('begins a new file when the old one is old enough', async () => {
    const { stage, clock } = await start({ rotation: { interval: '1h' } });
    for (const minutes of [0, 59, 2]) {
      await clock.advance(minutes * 60_000);
      stage.consume(points(1));
      await clock.advance(1000);
      await vi.waitFor(async () => expect((await stat(join(folder, 'out.jsonl'))).size).toBeGreaterThan(0));
    }
    await stage.stop();
    const all = await names();
    expect(all.length).toBe(2);
    expect(all[0]).toMatch(/^out-2026-05-01T13-01-0\d\.000\.jsonl$/);
    expect(itemsIn(await readFile(join(folder, all[0]!), 'utf8'))).toEqual([1, 1]);
  });

  it('keeps max_backups files and those of max_days, and no stranger is touched', async () => {
    const others = ['out-notes.jsonl', 'other-2020-01-01T00-00-00.000.jsonl', 'out-2020-01-01T00-00-00.000.txt'];
    const old = ['2026-04-01', '2026-04-29', '2026-04-30'].map((day) => `out-${day}T00-00-00.000.jsonl`);
    for (const name of [...others, ...old]) await writeFile(join(folder, name), 'x');
    const { stage, clock } = await start({ rotation: { max_days: 7, max_backups: 2, interval: '1m' } });
    stage.consume(points(1));
    await clock.advance(61_000);
    stage.consume(points(1));
    await stage.stop();
    const left = await names();
    expect(left.filter((n) => /^out-.*\.jsonl$/.test(n) && n !== 'out-notes.jsonl').length).toBe(2);
    expect(left).toContain('out-2026-04-30T00-00-00.000.jsonl');
    expect(left).not.toContain('out-2026-04-01T00-00-00.000.jsonl');
    for (const name of others) expect(left).toContain(name);
  });

  it('names old files by UTC or local time, with both endings kept', () => {
    expect(backupName('/d/a.jsonl.gz', NOON + 7, false)).toBe('/d/a-2026-05-01T12-00-00.007.jsonl.gz');
    expect(backupName('plain', NOON, false)).toBe('plain-2026-05-01T12-00-00.000');
    expect(backupName('a.b.txt', NOON, true)).toMatch(/^a\.b-2026-0[45]-\d\dT\d\d-\d\d-00\.000\.txt$/);
  });
});

describe('a file that somebody else touches', () => {
  it('is begun anew when it was moved or deleted', async () => {
    const { stage, clock, path } = await start();
    const put = async () => {
      stage.consume(points(1));
      await clock.advance(1000);
      await vi.waitFor(async () => expect((await stat(path)).size).toBeGreaterThan(0));
    };
    await put();
    await rename(path, join(folder, 'moved'));
    await put();
    await unlink(path);
    await put();
    expect(itemsIn(await readFile(path, 'utf8'))).toEqual([1]);
    expect(itemsIn(await readFile(join(folder, 'moved'), 'utf8'))).toEqual([1]);
  });
});

// /dev/full answers every write with ENOSPC, as a full disk does.
describe.runIf(process.platform === 'linux')('a full disk', () => {
  it('costs what it does not take, is counted and said once, and data flows again when there is room', async () => {
    const path = join(folder, 'out.jsonl');
    await symlink('/dev/full', path);
    const { stage, clock, measured, log, context } = await start();
    for (let i = 0; i < 3; i++) {
      stage.consume(points(2));
      await clock.advance(1000);
      await vi.waitFor(() => expect(measured.drops.length).toBe(i + 1));
    }
    expect(measured.drops[0]).toEqual({ signal: 'metrics', items: 2, reason: 'disk' });
    expect(measured.counters.get('exporter_file_errors')).toBe(3);
    const errors = log.filter((r) => r.level === 'error');
    expect(errors.length).toBe(1);
    expect(errors[0]!.fields).toMatchObject({ path, error: expect.objectContaining({ code: 'ENOSPC' }) });
    expect(context.statuses.at(-1)?.status).toBe('recoverable_error');

    await unlink(path);
    stage.consume(points(5));
    await clock.advance(1000);
    await vi.waitFor(async () => expect(itemsIn(await readFile(path, 'utf8'))).toEqual([5]));
    await vi.waitFor(() => expect(context.statuses.at(-1)?.status).toBe('ok'));
  });

  it('leaves no half line behind', async () => {
    const { stage, clock, path, measured } = await start();
    stage.consume(points(1));
    await clock.advance(1000);
    await vi.waitFor(() => expect(measured.sent).toBe(1));
    const { open } = await import('node:fs/promises');
    const probe = await open(join(folder, 'probe'), 'w');
    const prototype = Object.getPrototypeOf(probe) as { write: (...args: unknown[]) => Promise<unknown> };
    await probe.close();
    const real = prototype.write;
    let calls = 0;
    vi.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...args) {
      if (++calls === 1) return real.call(this, args[0], args[1], 30);
      return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));
    });
    stage.consume(points(7));
    await clock.advance(1000);
    await vi.waitFor(() => expect(measured.drops.length).toBe(1));
    vi.restoreAllMocks();
    stage.consume(points(2));
    await stage.stop();
    expect(itemsIn(await readFile(path, 'utf8'))).toEqual([1, 2]);
  });
});

describe('one file per resource', () => {
  const of = (tenant: string | undefined, n: number): Batch =>
    metricsBatch(
      points(n).items.map((p) => ({
        ...p,
        series: { ...p.series, resource: resource(tenant === undefined ? {} : { tenant }) },
      })) as MetricsBatch['items'],
    );
  const config = (over = {}) => ({
    path: join(folder, '*', 'out.jsonl'),
    group_by: { resource_attribute: 'tenant', ...over },
  });

  it('splits batches by the value of an attribute', async () => {
    const { stage } = await start(config());
    await stage.consume(metricsBatch([...of('a', 2).items, ...of('b', 1).items, ...of('a', 1).items] as never));
    await stage.consume(of(undefined, 4));
    await stage.consume(logsBatch([]));
    await stage.stop();
    expect(await names()).toEqual(['MISSING', 'a', 'b']);
    expect(itemsIn(await readFile(join(folder, 'a', 'out.jsonl'), 'utf8'))).toEqual([3]);
  });

  it('never leaves the folder, whatever the value', async () => {
    const { stage } = await start(config());
    for (const value of ['../../etc', '..', '.', '/abs', '.hidden', 'a/b', '', 'ü\u0000', '$&']) {
      await stage.consume(of(value, 1));
    }
    await stage.stop();
    expect(await names()).toEqual(['MISSING', '__', '__.._etc', '_abs', '_hidden', 'a_b']);
    for (const name of await names()) expect(name).toMatch(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/);
    expect((await readdir(join(folder, '..'))).includes('etc')).toBe(false);
  });

  it('holds at most max_open_files open and loses nothing by that', async () => {
    const { stage } = await start(config({ max_open_files: 2 }));
    for (let i = 0; i < 12; i++) await stage.consume(of(`t${i % 4}`, 1));
    await stage.stop();
    await vi.waitFor(async () => {
      for (let i = 0; i < 4; i++) {
        expect(itemsIn(await readFile(join(folder, `t${i}`, 'out.jsonl'), 'utf8'))).toEqual([1, 1, 1]);
      }
    });
  });

  it('costs only its own data when one file cannot be opened', async () => {
    await appendFile(join(folder, 'bad'), 'a file, not a folder');
    const { stage, measured, log } = await start(config());
    await stage.consume(of('bad', 3));
    await stage.consume(of('good', 1));
    await stage.stop();
    expect(measured.drops).toEqual([{ signal: 'metrics', items: 3, reason: 'disk' }]);
    expect(log.find((r) => r.level === 'error')?.fields['path']).toBe(join(folder, 'bad', 'out.jsonl'));
    expect(await names()).toContain('good');
  });
});

describe('mistakes in the options', () => {
  it.each([
    [{ path: '/x/*' }, 'a * in the path needs group_by'],
    [{ path: '/x', group_by: {} }, 'path must contain exactly one *'],
    [{ path: '/*/*', group_by: {} }, 'path must contain exactly one *'],
  ])('%j', (config, message) => {
    expect(fileExporter.validate!(resolve(fileExporter.config, config))[0]?.message).toContain(message);
  });
});
