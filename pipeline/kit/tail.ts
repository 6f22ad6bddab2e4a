/**
 * Lines of files that somebody else writes, as they come: plain or gzip, over renames, truncation and restarts. Read-only.
 * A place in a file only moves on when its lines were taken, so whoever cannot take them now gets them again: the file is the
 * queue.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { describeError, RetryableError } from '../errors.ts';
import { findFiles } from './find-files.ts';
import { type GunzipFeed, gunzipFeed } from './gunzip.ts';
import type { Logger } from './log.ts';
import type { StateFile } from './state-file.ts';
import { forgetPlaces, type Place, readPlaces, samePlace } from './tail-places.ts';

export interface TailOptions {
  readonly include: readonly string[];
  /** Where reading begins in files that are there at the start and that no checkpoint knows; later ones are read whole. */
  readonly startAt: 'beginning' | 'end';
  readonly maxLineBytes: number;
  readonly maxFiles: number;
  readonly state: StateFile | undefined;
  readonly log: Logger;
  now(): number;
  /**
   * Gets whole lines without their end, in order. Rejects with a RetryableError to get them again later; with anything else
   * they are lost, and `lost` hears of it.
   */
  take(lines: readonly string[], file: string): Promise<void>;
  lost(lines: number, why: string, file: string): void;
}

export interface Tail {
  /** Looks for files and reads what is new, a few megabytes per file at most. One call at a time. */
  poll(): Promise<void>;
  readonly files: number;
  /** Bytes (as they are on the disk) that were there at the last look and are not read yet. */
  readonly behind: number;
  close(): Promise<void>;
}

interface Open {
  path: string;
  readonly identity: string;
  readonly handle: FileHandle;
  readonly feed: GunzipFeed | undefined;
  place: Place;
  /** Bytes of the file that were read, and of what came out of them, not taken yet. */
  readAt: number;
  held: Buffer;
  /** Of what comes out first, so many bytes were taken before the restart. */
  discard: number;
  changed: bigint;
  size: number;
  /** Looks in a row that found it under no name, and nothing new in it. */
  quiet: number;
  broken: boolean;
}

const HEAD = 256;
const CHUNK = 64 * 1024;
const GZIP_CHUNK = 16 * 1024;
const PER_POLL = 4 << 20;
/** A writer that was told to reopen its file may still finish a line in the old one. */
const QUIET_LOOKS = 3;
const NEWLINE = 0x0a;

export async function createTail(options: TailOptions): Promise<Tail> {
  const { log, state, maxLineBytes } = options;
  const files = new Map<string, Open>();
  const remembered = readPlaces(await state?.read());
  let first = true;
  let dirty = false;
  let full = false;
  const buffer = Buffer.allocUnsafe(CHUNK);

  async function start(path: string): Promise<void> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch (error) {
      log.debug('A file cannot be opened.', { file: path, error: describeError(error) });
      return;
    }
    const stats = await handle.stat({ bigint: true });
    const identity = `${stats.dev}:${stats.ino}`;
    if (files.has(identity)) return handle.close();
    const head = await readHead(handle, HEAD);
    const size = Number(stats.size);
    const known = remembered.get(identity);
    const place: Place = { head: head.toString('base64'), taken: 0, skip: false, seen: options.now() };
    const gzip = head[0] === 0x1f && head[1] === 0x8b;
    let readAt = 0;
    let discard = 0;
    if (known && samePlace(known, head)) {
      place.taken = known.taken;
      place.skip = known.skip;
      if (gzip) discard = known.taken;
      // Shorter than what was read of it: it was emptied while nobody looked.
      else if (known.taken > size) place.taken = 0;
      else readAt = known.taken;
    } else if (first && options.startAt === 'end') {
      if (gzip) discard = Number.POSITIVE_INFINITY;
      else {
        readAt = size;
        place.taken = size;
        // What comes next may be the rest of a line.
        place.skip = size > 0 && !(await endsLine(handle, size));
      }
    }
    files.set(identity, {
      path,
      identity,
      handle,
      feed: gzip ? gunzipFeed() : undefined,
      place,
      readAt,
      held: Buffer.alloc(0),
      discard,
      changed: 0n,
      size,
      quiet: 0,
      broken: false,
    });
    dirty = true;
  }

  async function end(file: Open): Promise<void> {
    files.delete(file.identity);
    file.feed?.close();
    await file.handle.close().catch(() => {});
  }

  /** Takes whole lines off what is held; `last` also takes what has no line end and never will. False: not now. */
  async function give(file: Open, last: boolean): Promise<boolean> {
    const { place } = file;
    let at = 0;
    const lines: string[] = [];
    const { held } = file;
    for (;;) {
      // An emptied file that its writer goes on with at the old place begins with a hole.
      if (!place.skip) while (held[at] === 0) at++;
      const stop = held.indexOf(NEWLINE, at);
      if (stop < 0) break;
      if (place.skip) place.skip = false;
      else if (stop - at > maxLineBytes) options.lost(1, `longer than ${maxLineBytes} bytes`, file.path);
      else push(lines, held.toString('utf8', at, stop));
      at = stop + 1;
    }
    if (last && at < held.length) {
      if (!place.skip) push(lines, held.toString('utf8', at));
      place.skip = false;
      at = held.length;
    } else if (held.length - at > maxLineBytes) {
      if (!place.skip) options.lost(1, `longer than ${maxLineBytes} bytes`, file.path);
      place.skip = true;
      at = held.length;
    }
    if (lines.length > 0) {
      try {
        await options.take(lines, file.path);
      } catch (error) {
        if (error instanceof RetryableError) return false;
        options.lost(lines.length, describeError(error), file.path);
      }
    }
    if (at > 0) {
      file.held = Buffer.from(held.subarray(at));
      place.taken += at;
      dirty = true;
    }
    return true;
  }

  /** From the beginning again: it was emptied, or another file was written into it. */
  async function again(file: Open, why: string): Promise<void> {
    log.info('A file begins anew.', { file: file.path, because: why });
    await give(file, true);
    await end(file);
    remembered.delete(file.identity);
    await start(file.path);
  }

  async function read(file: Open): Promise<void> {
    if (file.broken) return;
    let budget = PER_POLL;
    // What could not be given last time comes first.
    if (!(await give(file, false))) return;
    while (budget > 0) {
      const { bytesRead } = await file.handle.read(buffer, 0, file.feed ? GZIP_CHUNK : CHUNK, file.readAt);
      if (bytesRead === 0) return;
      file.readAt += bytesRead;
      budget -= bytesRead;
      file.quiet = 0;
      let more: Buffer = Buffer.from(buffer.subarray(0, bytesRead));
      if (file.feed) {
        try {
          more = Buffer.concat(await file.feed.push(more));
        } catch (error) {
          file.broken = true;
          options.lost(1, `no gzip from byte ${file.readAt - bytesRead} on: ${describeError(error)}`, file.path);
          return;
        }
        budget -= more.length;
      }
      if (file.discard > 0) {
        const part = Math.min(file.discard, more.length);
        if (file.discard === Number.POSITIVE_INFINITY) {
          file.place.taken += part;
          if (file.readAt >= file.size) {
            file.discard = 0;
            file.place.skip = more[part - 1] !== NEWLINE && part > 0;
          }
        } else file.discard -= part;
        more = more.subarray(part);
      }
      if (more.length === 0) continue;
      file.held = file.held.length === 0 ? more : Buffer.concat([file.held, more]);
      if (!(await give(file, false))) return;
    }
  }

  async function look(file: Open): Promise<void> {
    const stats = await file.handle.stat({ bigint: true });
    const size = Number(stats.size);
    if (size < file.readAt) return again(file, 'it is shorter than what was read of it');
    if (stats.mtimeNs !== file.changed) {
      const known = Buffer.from(file.place.head, 'base64');
      const head = await readHead(file.handle, HEAD);
      if (!head.subarray(0, known.length).equals(known)) return again(file, 'it begins differently');
      // It was empty, so what it is could not be seen yet.
      if (known.length < 2 && head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b && !file.feed) {
        return again(file, 'it turned out to be gzip');
      }
      if (head.length > known.length) file.place.head = head.toString('base64');
      file.changed = stats.mtimeNs;
    }
    file.size = size;
  }

  async function save(): Promise<void> {
    if (!state || !dirty) return;
    for (const file of files.values()) {
      file.place.seen = options.now();
      remembered.set(file.identity, file.place);
    }
    forgetPlaces(remembered, options.now());
    const written = await state.write({ version: 1, files: Object.fromEntries(remembered) });
    if (written) dirty = false;
  }

  return {
    async poll() {
      const found = await findFiles(options.include, options.maxFiles + 1);
      if (found.length > options.maxFiles !== full) {
        full = !full;
        if (full) log.warn('More files match than are read.', { files: found.length, limit: options.maxFiles });
      }
      const there = new Map(found.map((f) => [f.identity, f]));
      for (const f of found) if (!files.has(f.identity) && files.size < options.maxFiles) await start(f.path);
      first = false;
      for (const file of [...files.values()]) {
        try {
          const named = there.get(file.identity);
          if (named) file.path = named.path;
          await look(file);
          const now = files.get(file.identity);
          if (!now) continue;
          await read(now);
          if (named) now.quiet = 0;
          else if (now.readAt >= now.size && ++now.quiet >= QUIET_LOOKS && (await give(now, true))) await end(now);
        } catch (error) {
          log.warn('A file cannot be read.', { file: file.path, error: describeError(error) });
          await end(file);
        }
      }
      await save();
    },
    get files() {
      return files.size;
    },
    get behind() {
      let n = 0;
      for (const file of files.values()) n += Math.max(0, file.size - file.readAt) + file.held.length;
      return n;
    },
    async close() {
      await save();
      for (const file of [...files.values()]) await end(file);
    },
  };
}

function push(lines: string[], text: string): void {
  const line = text.endsWith('\r') ? text.slice(0, -1) : text;
  if (line !== '') lines.push(line);
}

async function readHead(handle: FileHandle, length: number): Promise<Buffer> {
  const head = Buffer.alloc(length);
  const { bytesRead } = await handle.read(head, 0, length, 0);
  return head.subarray(0, bytesRead);
}

async function endsLine(handle: FileHandle, size: number): Promise<boolean> {
  const one = Buffer.alloc(1);
  await handle.read(one, 0, 1, size - 1);
  return one[0] === NEWLINE;
}
