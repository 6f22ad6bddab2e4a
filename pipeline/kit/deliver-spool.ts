/**
 * A queue's memory on disk: records appended to segment files, each with its length and CRC-32, and next to each segment
 * a list of the records that are done. A segment whose records are all done is deleted, so the folder holds what is still
 * to be delivered. After a crash everything whole is found again; what is damaged is skipped, counted and named.
 *
 * Segment: `ELQUEUE1`, then records. Record: mark (4 bytes), payload length, item count, CRC-32 of those two and the
 * payload (u32 little-endian each), payload. Done list: the byte offsets of records, u32 little-endian each.
 */
import { type FileHandle, mkdir, open, readdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { describeError } from '../errors.ts';
import type { Clock, Timer } from './clock.ts';
import type { StorageConfig } from './deliver-options.ts';
import type { Logger } from './log.ts';

const MAGIC = Buffer.from('ELQUEUE1');
const MARK = Buffer.from([0xe1, 0x6e, 0x71, 0x1f]);
const HEADER = 16;
const SEGMENT_BYTES = 16 << 20;

/** Where a record is. */
export interface SpoolRecord {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
  readonly items: number;
}

interface Segment {
  readonly path: string;
  bytes: number;
  /** Records that are not done. */
  open: number;
  /** No more records are appended. */
  sealed: boolean;
  done: number[];
}

export interface Spool {
  /**
   * Appends a record; resolves when it is as safe as `fsync` asks. Resolves to 'full' when `max_size` is reached; rejects
   * with the system's error when the disk does not take it. Calls may overlap; their order is kept.
   */
  append(payload: Uint8Array, items: number): Promise<SpoolRecord | 'full'>;
  /** The payload; rejects with an error that names the file when it is damaged or gone. */
  read(record: SpoolRecord): Promise<Uint8Array>;
  /** The record was delivered or given up; it will not come back after a restart. */
  done(record: SpoolRecord): void;
  /** What a former run left, oldest first. */
  readonly recovered: readonly SpoolRecord[];
  bytes(): number;
  /** Writes down what is done and closes the files. */
  close(): Promise<void>;
}

export interface SpoolOptions {
  readonly directory: string;
  readonly storage: StorageConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told about each stretch of a file that cannot be read. */
  readonly onCorrupt: () => void;
}

/** Opens (or makes) the queue of one folder and finds what a former run left in it. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { directory, storage, clock, log, onCorrupt } = options;
  await mkdir(directory, { recursive: true });
  const segmentBytes = Math.min(SEGMENT_BYTES, Math.max(64 << 10, Math.floor(storage.max_size / 8)));
  const segments = new Set<Segment>();
  const recovered: SpoolRecord[] = [];
  let serial = 0;

  const corrupt = (path: string, message: string, fields: Record<string, unknown> = {}) => {
    onCorrupt();
    log.error(`Part of the queue on disk is damaged and was skipped: ${message}.`, { file: path, ...fields });
  };

  const remove = async (segment: Segment) => {
    segments.delete(segment);
    for (const path of [segment.path, `${segment.path}.done`]) {
      await unlink(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') log.warn('A finished file of the queue cannot be deleted.', { file: path, error });
      });
    }
  };

  for (const name of (await readdir(directory)).sort()) {
    const match = /^(\d{8})\.queue$/.exec(name);
    if (!match) continue;
    serial = Math.max(serial, Number(match[1]));
    const path = join(directory, name);
    try {
      const bytes = await readFile(path);
      const done = await readFile(`${path}.done`).catch(() => Buffer.alloc(0));
      const gone = new Set<number>();
      for (let at = 0; at + 4 <= done.length; at += 4) gone.add(done.readUInt32LE(at));
      const segment: Segment = { path, bytes: bytes.length, open: 0, sealed: true, done: [] };
      for (const record of scan(bytes, segment, corrupt)) {
        if (gone.has(record.offset)) continue;
        recovered.push(record);
        segment.open++;
      }
      segments.add(segment);
      if (segment.open === 0) await remove(segment);
    } catch (error) {
      corrupt(path, 'a file cannot be read', { error });
    }
  }

  let active: { segment: Segment; handle: FileHandle } | undefined;
  let tail: Promise<unknown> = Promise.resolve();
  let timer: Timer | undefined;
  let unsynced = false;
  let closed = false;

  /** Runs one after the other. */
  const serially = <T>(work: () => Promise<T>): Promise<T> => {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  };

  const total = () => {
    let bytes = 0;
    for (const s of segments) bytes += s.bytes;
    return bytes;
  };

  const seal = async () => {
    if (!active) return;
    const { segment, handle } = active;
    active = undefined;
    segment.sealed = true;
    if (storage.fsync !== 'never') await handle.datasync().catch(() => {});
    await handle.close();
    if (segment.open === 0) await remove(segment);
  };

  const sync = () =>
    serially(async () => {
      await writeDone();
      if (unsynced && active) {
        unsynced = false;
        await active.handle.datasync();
      }
    }).catch((error) => log.warn('The queue on disk cannot be synced.', { error }));

  /** Losing the end of a done list only means that something is sent twice. */
  const writeDone = async () => {
    for (const segment of [...segments]) {
      if (segment.sealed && segment.open === 0) {
        await remove(segment);
        continue;
      }
      if (segment.done.length === 0) continue;
      const bytes = Buffer.from(new Uint32Array(segment.done).buffer);
      segment.done = [];
      await writeFile(`${segment.path}.done`, bytes, { flag: 'a' });
    }
  };

  const later = () => {
    if (closed) return;
    timer ??= clock.after(storage.fsync === 'interval' ? storage.fsync_interval : 1000, () => {
      timer = undefined;
      void sync();
    });
  };

  const write = async (payload: Uint8Array, items: number): Promise<SpoolRecord | 'full'> => {
    const need = HEADER + payload.length;
    if (total() + need + MAGIC.length > storage.max_size) {
      // Room may hide in an active segment whose records are all done.
      if (active && active.segment.open === 0) await seal();
      if (total() + need + MAGIC.length > storage.max_size) return 'full';
    }
    if (
      active &&
      active.segment.bytes + need > segmentBytes &&
      active.segment.open + active.segment.bytes > MAGIC.length
    ) {
      await seal();
    }
    if (!active) {
      const path = join(directory, `${String(++serial).padStart(8, '0')}.queue`);
      const handle = await open(path, 'wx');
      const segment: Segment = { path, bytes: 0, open: 0, sealed: false, done: [] };
      active = { segment, handle };
      segments.add(segment);
      await put(active, MAGIC);
    }
    const { segment } = active;
    const record = Buffer.allocUnsafe(need);
    MARK.copy(record);
    record.writeUInt32LE(payload.length, 4);
    record.writeUInt32LE(items, 8);
    record.writeUInt32LE(checksum(record.subarray(4, 12), payload), 12);
    record.set(payload, HEADER);
    const offset = segment.bytes;
    await put(active, record);
    segment.open++;
    return { segment, offset, length: payload.length, items };
  };

  /** Writes all of it or none of it. */
  const put = async (to: NonNullable<typeof active>, bytes: Buffer) => {
    const { segment, handle } = to;
    try {
      for (let at = 0; at < bytes.length; ) {
        at += (await handle.write(bytes, at, bytes.length - at, segment.bytes + at)).bytesWritten;
      }
      if (storage.fsync === 'always') await handle.datasync();
      segment.bytes += bytes.length;
    } catch (error) {
      // What was half written must not look like damage later; if it cannot be cut off, the file gets no more records.
      await handle.truncate(segment.bytes).catch(() => {});
      await seal().catch(() => {});
      throw error;
    }
  };

  return {
    recovered,
    bytes: total,
    append: (payload, items) =>
      serially(async () => {
        const record = await write(payload, items);
        if (record !== 'full' && storage.fsync === 'interval') {
          unsynced = true;
          later();
        }
        return record;
      }),
    async read({ segment, offset, length }) {
      const handle = await open(segment.path, 'r');
      try {
        const bytes = Buffer.allocUnsafe(HEADER + length);
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, offset);
        const payload = bytes.subarray(HEADER);
        if (bytesRead !== bytes.length || bytes.readUInt32LE(12) !== checksum(bytes.subarray(4, 12), payload)) {
          throw new Error(`the record at byte ${offset} of ${segment.path} is damaged`);
        }
        return payload;
      } finally {
        await handle.close();
      }
    },
    done({ segment, offset }) {
      segment.open--;
      segment.done.push(offset);
      later();
    },
    close: () =>
      serially(async () => {
        if (closed) return;
        closed = true;
        timer?.cancel();
        await seal();
        await writeDone();
      }).catch((error) => log.warn('The queue on disk cannot be closed cleanly.', { error: describeError(error) })),
  };
}

function checksum(head: Uint8Array, payload: Uint8Array): number {
  return crc32(payload, crc32(head));
}

/** Finds the whole records of a segment; behind damage it looks for the next mark. */
function scan(
  bytes: Buffer,
  segment: Segment,
  corrupt: (path: string, message: string, fields?: Record<string, unknown>) => void,
): SpoolRecord[] {
  const records: SpoolRecord[] = [];
  let at = MAGIC.length;
  let badSince = -1;
  // The daemon ended while it made the file: nothing was in it yet.
  if (bytes.length < MAGIC.length && MAGIC.subarray(0, bytes.length).equals(bytes)) return records;
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    badSince = 0;
    at = 0;
  }
  while (at < bytes.length) {
    const length = at + HEADER <= bytes.length && bytes.indexOf(MARK, at) === at ? bytes.readUInt32LE(at + 4) : -1;
    const end = at + HEADER + length;
    if (
      length >= 0 &&
      end <= bytes.length &&
      bytes.readUInt32LE(at + 12) === checksum(bytes.subarray(at + 4, at + 12), bytes.subarray(at + HEADER, end))
    ) {
      if (badSince >= 0) corrupt(segment.path, 'a stretch is not what was written', { from: badSince, to: at });
      badSince = -1;
      records.push({ segment, offset: at, length, items: bytes.readUInt32LE(at + 8) });
      at = end;
      continue;
    }
    if (badSince < 0) badSince = at;
    const next = bytes.indexOf(MARK, at + 1);
    if (next < 0) break;
    at = next;
  }
  if (badSince >= 0)
    corrupt(segment.path, 'the rest of a file is cut short or damaged', { from: badSince, to: bytes.length });
  return records;
}
