/**
 * Reads the lines of recording files: plain, gzip and zstd (where Node has it), one after the other or several merged by
 * time. A file that ends in the middle of its compression gives all lines before the cut. What a file is is seen by its
 * contents: others' files (`recording-others.ts`) are read as recordings.
 */
import { createReadStream, type ReadStream } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { Readable, type Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { describeError } from '../errors.ts';
import { jsonObject, type RecordingLine, readRecordingObject } from '../wire/recording.ts';
import { zstdFrames } from '../wire/zstd-frames.ts';
import { documentLines, foreignLines, kindOf, kinetoLines } from './recording-others.ts';

/** Lines that could not be used. */
export interface BadLine {
  readonly file: string;
  readonly line: number;
  readonly what: string;
}

/** The lines of recording files, merged by time. Lines that cannot be read are given to `bad`. */
export async function* readRecordings(
  files: readonly string[],
  bad: (line: BadLine) => void,
): AsyncGenerator<RecordingLine> {
  const open = files.map((file) => parsed(file, bad));
  if (open.length === 1) {
    yield* open[0]!;
    return;
  }
  const heads = await Promise.all(open.map((lines) => lines.next()));
  for (;;) {
    let first = -1;
    for (let i = 0; i < heads.length; i++) {
      const head = heads[i]!;
      if (head.done) continue;
      if (first < 0 || head.value.timeMs < (heads[first]!.value as RecordingLine).timeMs) first = i;
    }
    if (first < 0) return;
    yield heads[first]!.value as RecordingLine;
    heads[first] = await open[first]!.next();
  }
}

async function* parsed(file: string, bad: (line: BadLine) => void): AsyncGenerator<RecordingLine> {
  const complain: Complaint = (f, line, what) => bad({ file: f, line, what });
  const chunks = chunksOf(file)[Symbol.asyncIterator]();
  const begun = await beginning(chunks, (error) => complain(file, 1, ended(error)));
  const kind = kindOf(begun.head);
  if (kind === 'kineto') {
    await chunks.return?.(undefined);
    yield* whole(file, bad, () => kinetoLines(file));
    return;
  }
  const all = followedBy(begun.chunks, begun.failed ? undefined : chunks);
  if (kind === 'document' || kind === 'pickle') {
    yield* whole(file, bad, async () => documentLines(file, await collected(all), kind));
    return;
  }
  if (kind === 'binary') {
    complain(file, 1, 'it is no text and no pickle: neither a recording nor anything that is read as one');
    await chunks.return?.(undefined);
    return;
  }
  const foreign = foreignLines(file);
  const stray = strayLines((number, what) => bad({ file, line: number, what }));
  for await (const raw of linesOf(file, all, complain)) {
    let line: RecordingLine | undefined;
    try {
      const object = jsonObject(raw.text);
      line = readRecordingObject(object) ?? foreign.take(object, raw.text);
    } catch (error) {
      bad({ file, line: raw.number, what: describeError(error) });
      continue;
    }
    if (line) yield* stray.next(line, raw.number);
  }
  yield* stray.end();
  yield* whole(file, bad, () => foreign.finish());
}

/** Farther ahead than this is a line whose clock was wrong, unless those behind it are there too. */
const FAR_MS = 86_400_000;

/**
 * Leaves out single lines that lie far ahead of their neighbours: who plays a recording would wait for them, and all that follows
 * would lie in the past. A line that is far ahead is held until the next tells.
 */
function strayLines(bad: (line: number, what: string) => void) {
  let last = 0;
  let held: { readonly line: RecordingLine; readonly number: number } | undefined;
  return {
    *next(line: RecordingLine, number: number): Generator<RecordingLine> {
      const at = line.timeMs;
      if (held) {
        const { line: before, number: its } = held;
        held = undefined;
        if (at > 0 && at < before.timeMs - FAR_MS) {
          const days = Math.round((before.timeMs - Math.max(last, at)) / FAR_MS);
          bad(its, `its time lies ${days} days ahead of the lines around it`);
        } else {
          last = before.timeMs;
          yield before;
        }
      }
      // The first line is far ahead if the second says so.
      if (at > 0 && (last === 0 || at > last + FAR_MS)) {
        held = { line, number };
        return;
      }
      if (at > 0) last = Math.max(last, at);
      yield line;
    },
    *end(): Generator<RecordingLine> {
      if (held) yield held.line;
    },
  };
}

/** Lines of a file that is only understood as a whole. */
async function* whole(
  file: string,
  bad: (line: BadLine) => void,
  read: () => Promise<readonly RecordingLine[]>,
): AsyncGenerator<RecordingLine> {
  let lines: readonly RecordingLine[];
  try {
    lines = await read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw error;
    bad({ file, line: 1, what: describeError(error) });
    return;
  }
  yield* lines;
}

/** So much of a file tells what it is, bytes. */
const HEAD = 64 * 1024;
type Chunks = AsyncIterator<Buffer>;

async function beginning(chunks: Chunks, failed: (error: unknown) => void) {
  const begun: Buffer[] = [];
  let length = 0;
  while (length < HEAD) {
    let next: IteratorResult<Buffer>;
    try {
      next = await chunks.next();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).syscall !== undefined) throw error;
      failed(error);
      return { head: Buffer.concat(begun), chunks: begun, failed: true };
    }
    if (next.done) break;
    begun.push(next.value);
    length += next.value.length;
  }
  return { head: Buffer.concat(begun).subarray(0, HEAD), chunks: begun, failed: false };
}

async function* followedBy(begun: readonly Buffer[], rest: Chunks | undefined): AsyncGenerator<Buffer> {
  yield* begun;
  while (rest) {
    const next = await rest.next();
    if (next.done) return;
    yield next.value;
  }
}

/** A larger file that must be read as a whole is refused: it would be one text, and those end at half a gigabyte. */
const MAX_DOCUMENT = 400 * 1024 * 1024;

async function collected(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > MAX_DOCUMENT) throw new Error(`it has more than ${MAX_DOCUMENT} bytes`);
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}

const ended = (error: unknown) => `the file ends early: ${describeError(error)}; what came before was used`;

interface RawLine {
  readonly file: string;
  /** Counted from 1. */
  readonly number: number;
  readonly text: string;
}

/** Something about a file that the reader of the result should know. */
type Complaint = (file: string, line: number, what: string) => void;

/** A line that is longer is skipped: a scrape of a very large engine is a hundredth of this. */
const MAX_LINE = 256 * 1024 * 1024;

/** The contents of a file, decompressed. Rejects if it cannot be opened, or ends in the middle of its compression. */
async function* chunksOf(file: string): AsyncGenerator<Buffer> {
  const kind = await compressionOf(file);
  const source = createReadStream(file, { highWaterMark: 64 * 1024 });
  yield* kind === 'none'
    ? source
    : kind === 'zstd'
      ? zstdPieces(file, source)
      : decompressed(source, decompressor(kind));
}

/** Every line that is not empty. */
async function* linesOf(file: string, chunks: AsyncIterable<Buffer>, complain: Complaint): AsyncGenerator<RawLine> {
  let rest: Buffer[] = [];
  let restLength = 0;
  let number = 0;
  let skipping = false;
  try {
    for await (const chunk of chunks) {
      let from = 0;
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
        number++;
        const piece = chunk.subarray(from, at);
        from = at + 1;
        const whole = restLength > 0 ? Buffer.concat([...rest, piece]) : piece;
        rest = [];
        restLength = 0;
        if (skipping) skipping = false;
        else if (whole.length > 0) {
          const text = whole.toString('utf8').trim();
          if (text !== '') yield { file, number, text };
        }
      }
      if (from < chunk.length && !skipping) {
        rest.push(chunk.subarray(from));
        restLength += chunk.length - from;
        if (restLength > MAX_LINE) {
          complain(file, number + 1, `the line is longer than ${MAX_LINE} bytes`);
          rest = [];
          restLength = 0;
          skipping = true;
        }
      }
    }
  } catch (error) {
    complain(file, number + 1, ended(error));
    // What was decompressed of the last line is half a line.
    return;
  }
  if (restLength > 0) {
    const text = Buffer.concat(rest).toString('utf8').trim();
    if (text !== '') yield { file, number: number + 1, text };
  }
}

/**
 * What a transform makes of a source, in order. A stream that fails forgets what it had made but nobody had read yet, which is
 * the end of every file that was cut off; so each piece of input is worked off, and given on, before the next is read.
 */
async function* decompressed(source: AsyncIterable<Buffer>, transform: Transform): AsyncGenerator<Buffer> {
  let made: Buffer[] = [];
  let failure: Error | undefined;
  transform.on('data', (chunk: Buffer) => made.push(chunk));
  transform.on('error', (error) => {
    failure ??= error;
  });
  const closed = new Promise<void>((done) => transform.once('close', done));
  // What fails closes, and then calls nobody back.
  const worked = (begin: (done: () => void) => void) =>
    Promise.race([closed, new Promise<void>((done) => begin(() => done()))]);
  const take = () => {
    const taken = made;
    made = [];
    return taken;
  };
  try {
    for await (const piece of source) {
      await worked((done) => transform.write(piece, done));
      yield* take();
      if (failure) throw failure;
    }
    await worked(() => transform.end());
    yield* take();
    if (failure) throw failure;
  } finally {
    transform.destroy();
  }
}

/** A file larger than this is decoded as it comes, of which Node reads the first frame only. */
const MAX_WHOLE = 512 * 1024 * 1024;

/** Node's decoder stops behind the first frame, and what is appended to, as a recorder does, has many: one after the other. */
async function* zstdPieces(file: string, source: ReadStream): AsyncGenerator<Buffer> {
  const { size } = await stat(file);
  const bytes = size <= MAX_WHOLE ? await readFile(file) : undefined;
  const frames = bytes ? zstdFrames(bytes) : 'too large';
  if (!bytes || typeof frames === 'string') {
    yield* decompressed(source, decompressor('zstd'));
    return;
  }
  source.destroy();
  for (const [start, end] of frames) {
    const frame = bytes.subarray(start, end);
    yield* decompressed(Readable.from([frame]), decompressor('zstd'));
  }
}

type Compression = 'none' | 'gzip' | 'zstd';

/** By the first bytes, not by the name. */
async function compressionOf(file: string): Promise<Compression> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    if (bytesRead >= 2 && buffer[0] === 0x1f && buffer[1] === 0x8b) return 'gzip';
    if (bytesRead === 4 && buffer.readUInt32LE(0) === 0xfd2fb528) return 'zstd';
    return 'none';
  } finally {
    await handle.close();
  }
}

function decompressor(kind: 'gzip' | 'zstd'): Transform {
  if (kind === 'gzip') return zlib.createGunzip();
  const make = (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress;
  if (!make) throw new Error(`this Node (${process.version}) cannot read zstd; use Node 22.15 or newer, or gzip`);
  return make();
}
