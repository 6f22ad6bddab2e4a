import { mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { manualClock, systemClock } from '../../../pipeline/kit/clock.ts';
import type { StorageConfig } from '../../../pipeline/kit/deliver-options.ts';
import { openSpool, type Spool, type SpoolRecord } from '../../../pipeline/kit/deliver-spool.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'enginelight-spool-'));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(directory, { recursive: true, force: true });
});

const storage = (over: Partial<StorageConfig> = {}): StorageConfig => ({
  directory,
  max_size: 8 << 20,
  fsync: 'never',
  fsync_interval: 1000,
  ...over,
});

async function spool(over: Partial<StorageConfig> = {}, clock = systemClock) {
  const log = memoryLogger();
  let corrupt = 0;
  const opened = await openSpool({ directory, storage: storage(over), clock, log, onCorrupt: () => corrupt++ });
  return { ...opened, log: log.records, corrupt: () => corrupt };
}

const text = (n: number, length = 100) => Buffer.from(`record ${n} `.padEnd(length, '.'));
const put = async (to: Spool, n: number, length?: number) => (await to.append(text(n, length), n)) as SpoolRecord;
const recoveredTexts = async (from: Spool) =>
  Promise.all(
    from.recovered.map(async (r) =>
      Buffer.from(await from.read(r))
        .toString()
        .trim()
        .replace(/\.+$/, '')
        .trim(),
    ),
  );
const segments = async () => (await readdir(directory)).filter((n) => n.endsWith('.queue')).sort();

describe('the queue on disk', () => {
  it('gives back what it was given, also after a restart, in order', async () => {
    const one = await spool();
    const records = [await put(one, 1), await put(one, 2), await put(one, 3)];
    expect(Buffer.from(await one.read(records[1]!))).toEqual(text(2));
    await one.close();
    const two = await spool();
    expect(two.recovered.map((r) => r.items)).toEqual([1, 2, 3]);
    expect(await recoveredTexts(two)).toEqual(['record 1', 'record 2', 'record 3']);
    await two.close();
  });

  it('does not bring back what was done', async () => {
    const one = await spool();
    const records = [await put(one, 1), await put(one, 2), await put(one, 3)];
    one.done(records[1]!);
    await one.close();
    const two = await spool();
    expect(await recoveredTexts(two)).toEqual(['record 1', 'record 3']);
    await two.close();
  });

  it('leaves no file behind once all is done', async () => {
    const one = await spool();
    const record = await put(one, 1);
    one.done(record);
    await one.close();
    expect(await readdir(directory)).toEqual([]);
  });

  it('survives a crash: nothing was closed, all is found', async () => {
    const one = await spool();
    for (let i = 1; i <= 5; i++) await put(one, i);
    const two = await spool();
    expect(two.recovered.length).toBe(5);
    await two.close();
    await one.close();
  });

  it('writes down what is done within a second, so that a crash repeats little', async () => {
    const clock = manualClock();
    const one = await spool({}, clock);
    const records = [await put(one, 1), await put(one, 2)];
    one.done(records[0]!);
    await clock.advance(1000);
    await vi.waitFor(async () => expect((await readFile(join(directory, '00000001.queue.done'))).length).toBe(4));
    const two = await spool();
    expect(await recoveredTexts(two)).toEqual(['record 2']);
    await two.close();
    await one.close();
  });

  it('keeps the order of appends that overlap', async () => {
    const one = await spool();
    await Promise.all([1, 2, 3, 4, 5].map((n) => put(one, n, 50_000 * (6 - n))));
    await one.close();
    const two = await spool();
    expect(two.recovered.map((r) => r.items)).toEqual([1, 2, 3, 4, 5]);
    await two.close();
  });

  it('deletes a segment when its last record is done, and never takes more than max_size', async () => {
    const one = await spool({ max_size: 1 << 20 });
    const records: SpoolRecord[] = [];
    let refused = 0;
    for (let i = 0; i < 30; i++) {
      const record = await one.append(text(i, 60_000), 1);
      if (record === 'full') refused++;
      else records.push(record);
    }
    expect(refused).toBeGreaterThan(5);
    expect(one.bytes()).toBeLessThanOrEqual(1 << 20);
    let onDisk = 0;
    for (const name of await segments()) onDisk += (await stat(join(directory, name))).size;
    expect(onDisk).toBe(one.bytes());
    for (const record of records.slice(0, 8)) one.done(record);
    await one.close();
    const two = await spool({ max_size: 1 << 20 });
    expect(two.recovered.length).toBe(records.length - 8);
    expect(two.bytes()).toBeLessThan(onDisk);
    expect(await two.append(text(1), 1)).not.toBe('full');
    await two.close();
  });

  it('has room again once everything is done, without a restart', async () => {
    const one = await spool({ max_size: 1 << 20 });
    const records: SpoolRecord[] = [];
    for (let record = await one.append(text(1, 90_000), 1); record !== 'full'; ) {
      records.push(record);
      record = await one.append(text(1, 90_000), 1);
    }
    for (const record of records) one.done(record);
    await vi.waitFor(async () => expect(await one.append(text(1, 90_000), 1)).not.toBe('full'), { timeout: 5000 });
    await one.close();
  });
});

describe('a damaged queue on disk', () => {
  const filled = async (count = 5) => {
    const one = await spool();
    for (let i = 1; i <= count; i++) await put(one, i);
    await one.close();
    return join(directory, '00000001.queue');
  };
  const records = 8 + 116;

  it('skips a record with a flipped bit, counts and names it, and keeps the others', async () => {
    const path = await filled();
    const bytes = await readFile(path);
    bytes[records + 60]! ^= 1;
    await writeFile(path, bytes);
    const two = await spool();
    expect(await recoveredTexts(two)).toEqual(['record 1', 'record 3', 'record 4', 'record 5']);
    expect(two.corrupt()).toBe(1);
    expect(two.log).toMatchObject([{ level: 'error', fields: { file: path, from: records, to: records + 116 } }]);
    await two.close();
  });

  it('skips a record whose length was overwritten', async () => {
    const path = await filled();
    const bytes = await readFile(path);
    bytes.writeUInt32LE(0xffff_fff0, records + 4);
    await writeFile(path, bytes);
    const two = await spool();
    expect(await recoveredTexts(two)).toEqual(['record 1', 'record 3', 'record 4', 'record 5']);
    await two.close();
  });

  it.each([1, 3, 15, 16, 17, 100, 115])('keeps everything before an end that is cut short by %i bytes', async (cut) => {
    const path = await filled();
    await truncate(path, 8 + 5 * 116 - cut);
    const two = await spool();
    expect(two.recovered.map((r) => r.items)).toEqual([1, 2, 3, 4]);
    expect(two.corrupt()).toBe(1);
    await two.close();
  });

  it('finds the records of a file whose head is gone', async () => {
    const path = await filled();
    const bytes = await readFile(path);
    await writeFile(path, Buffer.concat([Buffer.from('garbage!!garbage'), bytes.subarray(8)]));
    const two = await spool();
    expect(two.recovered.length).toBe(5);
    expect(two.corrupt()).toBe(1);
    await two.close();
  });

  it('survives any single flipped byte anywhere: at most one record is lost, none is wrong', async () => {
    const path = await filled(4);
    const good = await readFile(path);
    for (let at = 0; at < good.length; at += 7) {
      const bytes = Buffer.from(good);
      bytes[at]! ^= 0x5a;
      await writeFile(path, bytes);
      const two = await spool();
      expect(two.recovered.length).toBeGreaterThanOrEqual(3);
      for (const r of two.recovered) expect(Buffer.from(await two.read(r))).toEqual(text(r.items));
      expect(two.corrupt()).toBe(1);
    }
  });

  it('ignores a file of noise and an empty file', async () => {
    await writeFile(join(directory, '00000007.queue'), Buffer.alloc(5000, 0xe1));
    await writeFile(join(directory, '00000008.queue'), '');
    const two = await spool();
    expect(two.recovered).toEqual([]);
    expect(two.corrupt()).toBe(1);
    await put(two, 1);
    expect(await segments()).toContain('00000009.queue');
    await two.close();
  });

  it('rejects a read of what was damaged while running, naming file and place', async () => {
    const one = await spool();
    const record = await put(one, 1);
    const path = join(directory, '00000001.queue');
    const bytes = await readFile(path);
    bytes[40]! ^= 1;
    await writeFile(path, bytes);
    await expect(one.read(record)).rejects.toThrow(`the record at byte 8 of ${path} is damaged`);
    await one.close();
  });
});

describe('a disk that takes no more', () => {
  it('leaves no half record behind, and goes on when there is room', async () => {
    const one = await spool();
    await put(one, 1);
    const handle = await open(join(directory, 'probe'), 'w');
    const prototype = Object.getPrototypeOf(handle) as {
      write: (...args: unknown[]) => Promise<{ bytesWritten: number }>;
    };
    await handle.close();
    const real = prototype.write;
    let calls = 0;
    vi.spyOn(prototype, 'write').mockImplementation(function (this: unknown, ...args) {
      // As a full disk does it: first a part, then nothing.
      if (++calls === 1) return real.call(this, args[0], args[1], 20, args[3]);
      return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }));
    });
    await expect(put(one, 2)).rejects.toThrow('ENOSPC');
    vi.restoreAllMocks();
    await put(one, 3);
    await one.close();
    const two = await spool();
    expect(two.recovered.map((r) => r.items)).toEqual([1, 3]);
    expect(two.corrupt()).toBe(0);
    await two.close();
  });
});
