/**
 * One file that records are appended to. They are gathered for a moment and written in whole pieces: a piece that the disk
 * does not take leaves no trace in the file, is counted and given up, and the next one is tried again.
 */
import { constants, type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock, Timer } from '../../pipeline/kit/clock.ts';
import type { Logger } from '../../pipeline/kit/log.ts';
import type { Signal } from '../../pipeline/model.ts';
import { compress } from '../../pipeline/wire/compression.ts';
import { moveAside, prune, type RotationConfig } from './rotation.ts';

export interface WriterOptions {
  readonly path: string;
  /** False empties the file when it is opened. */
  readonly append: boolean;
  /** Whether a record ends with a line break, so that half a line of a former run can be told. */
  readonly lines: boolean;
  readonly compression: 'none' | 'gzip' | 'zstd';
  readonly fsync: 'never' | 'rotate' | 'flush';
  readonly flushMs: number;
  /** Undefined: the file grows without end. */
  readonly rotation: RotationConfig | undefined;
  readonly mode: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the disk did not take. */
  readonly lost: (signal: Signal, items: number) => void;
  readonly kept: (signal: Signal, items: number) => void;
  readonly failed: (error: Error | undefined) => void;
}

export interface Writer {
  /** Appends a record. Returns a promise when so much waits that the caller should, too. */
  write(record: Uint8Array, signal: Signal, items: number): Promise<void> | undefined;
  /** Writes what waits, closes the file. Gives up, counting, when the deadline aborts. */
  close(deadline?: AbortSignal): Promise<void>;
}

/** A piece is written when it is this large, or after `flush_interval`. */
const PIECE = 256 << 10;
/** The caller waits while this much waits for the disk. */
const PATIENCE = 8 << 20;

interface Piece {
  records: Uint8Array[];
  bytes: number;
  items: Map<Signal, number>;
}
const newPiece = (): Piece => ({ records: [], bytes: 0, items: new Map() });

/** Opens the file (making its folder); rejects with the system's error if that cannot be done. */
export async function openWriter(options: WriterOptions): Promise<Writer> {
  const { path, clock, log, rotation, compression } = options;
  let handle: FileHandle | undefined;
  let inode = 0;
  let regular = true;
  let size = 0;
  let begun = clock.now();
  let piece = newPiece();
  let waiting = 0;
  let timer: Timer | undefined;
  let tail: Promise<void> = Promise.resolve();
  let failing = false;
  let closed: Promise<void> | undefined;
  let givenUp = false;

  const openFile = async (append: boolean) => {
    await mkdir(dirname(path), { recursive: true });
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | (append ? 0 : constants.O_TRUNC);
    const opened = await open(path, flags, options.mode);
    const s = await opened.stat();
    handle = opened;
    inode = s.ino;
    regular = s.isFile();
    size = s.size;
    begun = size > 0 ? s.birthtimeMs || s.mtimeMs : clock.now();
  };

  const closeFile = async () => {
    const closing = handle;
    handle = undefined;
    if (!closing) return;
    if (options.fsync !== 'never' && regular) await closing.sync().catch(() => {});
    await closing.close().catch(() => {});
  };

  const rotate = async () => {
    await closeFile();
    const moved = await moveAside(path, clock.now(), rotation?.localtime ?? false);
    log.debug('Began a new file.', { path, before: moved });
    await openFile(true);
    if (!rotation) return;
    await prune(path, rotation, clock.now(), (file, error) =>
      log.warn('An old file cannot be deleted.', { file, error }),
    ).catch((error) => log.warn('Old files cannot be listed.', { path, error }));
  };

  const due = (more: number) =>
    rotation !== undefined &&
    regular &&
    size > 0 &&
    ((rotation.maxBytes > 0 && size + more > rotation.maxBytes) ||
      (rotation.maxAgeMs > 0 && clock.now() - begun >= rotation.maxAgeMs));

  /** Somebody may have moved or deleted the file: then a new one is begun under the name. */
  const reopenIfMoved = async () => {
    if (handle) {
      const there = await stat(path).catch(() => undefined);
      if (there?.ino === inode) {
        size = there.size;
        return;
      }
      await closeFile();
    }
    await openFile(true);
  };

  const put = async (bytes: Uint8Array) => {
    await reopenIfMoved();
    if (due(bytes.length)) await rotate();
    const to = handle;
    if (!to) throw new Error('the file is not open');
    try {
      for (let at = 0; at < bytes.length; ) {
        at += (await to.write(bytes, at, bytes.length - at)).bytesWritten;
      }
      if (options.fsync === 'flush' && regular) await to.datasync();
      size += bytes.length;
    } catch (error) {
      // Half a record would spoil the next one.
      if (regular) await to.truncate(size).catch(() => {});
      throw error;
    }
  };

  const lose = (lost: Piece) => {
    for (const [signal, items] of lost.items) options.lost(signal, items);
  };

  const flush = (): Promise<void> => {
    timer?.cancel();
    timer = undefined;
    if (piece.records.length === 0) return tail;
    const full = piece;
    piece = newPiece();
    tail = tail.then(async () => {
      try {
        if (givenUp) return lose(full);
        const joined = full.records.length === 1 ? full.records[0]! : Buffer.concat(full.records);
        await put(
          compression === 'none' ? joined : await compress(joined, compression, compression === 'gzip' ? 6 : 3),
        );
        for (const [signal, items] of full.items) options.kept(signal, items);
        if (failing) {
          failing = false;
          log.info('The file takes data again.', { path });
          options.failed(undefined);
        }
      } catch (error) {
        lose(full);
        if (!failing) {
          failing = true;
          log.error('The file does not take data, it is dropped until the file does. Make room or fix the disk.', {
            path,
            error,
          });
          options.failed(error as Error);
        }
      } finally {
        waiting -= full.bytes;
      }
    });
    return tail;
  };

  await openFile(options.append);
  if (regular && size > 0) {
    // What a former run left may end in the middle of a record; a compressed file cannot be mended, so it is put aside.
    if (compression !== 'none') await rotate();
    else if (options.lines && (await lastByte(path, size)) !== 0x0a) await put(Buffer.from('\n'));
  }

  return {
    write(record, signal, items) {
      piece.records.push(record);
      piece.bytes += record.length;
      piece.items.set(signal, (piece.items.get(signal) ?? 0) + items);
      waiting += record.length;
      if (piece.bytes >= PIECE || options.flushMs <= 0) void flush();
      else timer ??= clock.after(options.flushMs, flush);
      return waiting > PATIENCE ? flush() : undefined;
    },
    close(deadline) {
      closed ??= (async () => {
        const flushed = flush().then(closeFile);
        const aborted = new Promise<void>((resolve) => {
          if (deadline?.aborted) resolve();
          else deadline?.addEventListener('abort', () => resolve(), { once: true });
        }).then(() => {
          givenUp = true;
        });
        await (deadline ? Promise.race([flushed, aborted]) : flushed);
      })();
      return closed;
    },
  };
}

async function lastByte(path: string, size: number): Promise<number> {
  const handle = await open(path, 'r');
  try {
    const one = Buffer.alloc(1);
    await handle.read(one, 0, 1, size - 1);
    return one[0]!;
  } finally {
    await handle.close();
  }
}
