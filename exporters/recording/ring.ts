/**
 * A ring of files on disk: what is new is appended to the youngest, the oldest is deleted when all are too large or too old.
 * A piece is a whole compressed member, so every file can be read at any moment, and files that are put one after the other
 * are one file. A disk that is full takes the ring's oldest files first.
 */
import { chmod, open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type KeptFolder, stamp } from '../../pipeline/kit/kept-files.ts';

export interface RingOptions {
  readonly folder: KeptFolder;
  /** `.jsonl`, `.jsonl.gz`, `.jsonl.zst`. */
  readonly ending: string;
  /** A file is finished when it covers this much, milliseconds. */
  readonly segmentMs: number;
  /** Nothing younger is deleted for its age. */
  readonly keepMs: number;
  /** All files together are not larger, bytes. */
  readonly maxBytes: number;
  /** Appends to a file, all or nothing; rejects with the system's error. For tests of a disk that is full. */
  readonly append?: typeof appendWhole;
}

export interface Segment {
  readonly name: string;
  readonly startMs: number;
  /** Written by a process before this one. */
  readonly former: boolean;
  bytes: number;
}

export interface Ring {
  /** Rejects with the system's error if even an empty ring has no room. */
  append(piece: Uint8Array, nowMs: number): Promise<void>;
  /** Oldest first; the last is still written to. */
  readonly segments: readonly Segment[];
  bytes(): number;
  /** Files that went before they were `keepMs` old, since the start. */
  cutShort(): number;
}

export const RING_FILE = /^ring_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-\d{3}\.jsonl(\.gz|\.zst)?$/;

const startOf = (name: string): number => {
  const [, y, mo, d, h, mi, s] = RING_FILE.exec(name)!;
  return Date.UTC(Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s));
};

/** Appends, and takes half a piece back when the disk did not take all of it. */
export async function appendWhole(path: string, piece: Uint8Array): Promise<void> {
  const handle = await open(path, 'a', 0o600);
  try {
    const { size } = await handle.stat();
    try {
      await handle.appendFile(piece);
    } catch (error) {
      await handle.truncate(size).catch(() => {});
      throw error;
    }
  } finally {
    await handle.close();
  }
  await chmod(path, 0o600);
}

/** What the system says when there is no room: disk, quota, file size. */
export const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EFBIG'].includes((error as NodeJS.ErrnoException)?.code ?? '');

/** The ring of a folder, with what a former process left there. */
export async function openRing(options: RingOptions): Promise<Ring> {
  const { folder, ending, segmentMs, keepMs, maxBytes, append = appendWhole } = options;
  const found = (await folder.list(RING_FILE)).sort((a, b) => a.changedMs - b.changedMs || (a.name < b.name ? -1 : 1));
  const segments: Segment[] = found.map((f) => ({
    name: f.name,
    startMs: startOf(f.name),
    former: true,
    bytes: f.bytes,
  }));
  // A file of a former process may end in half a piece, behind which nothing could be read: it is not gone on with.
  let current: Segment | undefined;
  let early = 0;
  const bytes = () => segments.reduce((sum, s) => sum + s.bytes, 0);

  const dropOldest = async () => {
    const oldest = segments.shift()!;
    await folder.remove(oldest.name);
  };

  const prune = async (nowMs: number, room: number) => {
    // What lies in the future is from before the clock was set back, and as old as its place says.
    while (segments.length > 1) {
      const next = segments[1]!.startMs;
      const old = next <= nowMs - keepMs || (segments[0]!.startMs > nowMs + keepMs && segments[0] !== current);
      const large = bytes() + room > maxBytes;
      if (!old && !large) return;
      if (!old) early++;
      await dropOldest();
    }
  };

  const begin = async (nowMs: number): Promise<Segment> => {
    for (let n = 0; ; n = (n + 1) % 1000) {
      const name = `ring_${stamp(nowMs)}-${String(n).padStart(3, '0')}${ending}`;
      const taken = await stat(join(folder.path, name)).then(
        () => true,
        () => false,
      );
      if (taken && n < 999) continue;
      const made: Segment = { name, startMs: Math.floor(nowMs / 1000) * 1000, former: false, bytes: 0 };
      segments.push(made);
      return made;
    }
  };

  return {
    segments,
    bytes,
    cutShort: () => early,
    async append(piece, nowMs) {
      const age = current ? nowMs - current.startMs : 0;
      // Sixteen files at least, so that the oldest that goes is a small part of what is kept.
      const full = current !== undefined && current.bytes > 0 && current.bytes + piece.length > maxBytes / 16;
      if (!current || age >= segmentMs || age < -segmentMs || full) current = await begin(nowMs);
      await prune(nowMs, piece.length);
      for (;;) {
        try {
          await append(join(folder.path, current.name), piece);
          current.bytes += piece.length;
          return;
        } catch (error) {
          if (!isFull(error) || segments.length < 2) throw error;
          early++;
          await dropOldest();
        }
      }
    },
  };
}

/** The bytes of a file of the ring; empty if it went meanwhile. */
export const readSegment = (folder: KeptFolder, segment: Segment): Promise<Uint8Array> =>
  readFile(join(folder.path, segment.name)).catch((error) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array();
    throw error;
  });
