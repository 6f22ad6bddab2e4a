/**
 * The lines of one target's exposition, remembered from scrape to scrape. Line i of this page nearly always has the same
 * text in front of its value as line i of the last one, so recognising it is comparing bytes; a line that moved is found
 * by hash; only a line never seen before is taken apart.
 */
import { randomInt } from 'node:crypto';
import type { Format } from './format.ts';
import { type Identity, type Labels, readIdentity } from './labels.ts';
import { describesFamily, endOfIdentity, equal, excerpt, hashOf, isEof, isText } from './line-bytes.ts';
import { readNumber } from './number.ts';
import { readTail, type Tail } from './tail.ts';

export type { LineExemplar, Tail } from './tail.ts';

/** One series as its line shows it. Whoever keeps series extends this; the scan fills these fields. */
export interface Part {
  /** The scan that saw it last. */
  generation: number;
  value: number;
  /** What stood behind the value, where something did. */
  tail: Tail | undefined;
}

export interface BadLine {
  readonly line: number;
  readonly text: string;
  readonly wrong: string;
}

/** A line of a series that an earlier line of its page had given. */
export type DuplicateLine = Omit<BadLine, 'wrong'>;

export interface Scan {
  /** Samples that could be read, dropped and duplicate ones included. */
  samples: number;
  /** Of these: not wanted (`part` gave undefined). */
  dropped: number;
  /** Of these: a series that an earlier line of the page had already given. */
  duplicates: number;
  firstDuplicate: DuplicateLine | undefined;
  /** Series that the scan before did not see. */
  added: number;
  badLines: number;
  firstBad: BadLine | undefined;
  /** Samples with a timestamp or an exemplar. */
  tails: number;
  /** TYPE, HELP and UNIT lines are not the same set as in the scan before. */
  commentsChanged: boolean;
  /** `limit` was reached: the rest of the page was only counted. */
  limited: boolean;
}

export interface LineTable<P extends Part> {
  /**
   * Reads a page. `part` is asked once for each new line: the series it belongs to (the same object for the same series),
   * or undefined for a series that is not wanted. What it throws ends the scan. `limit`: series to take at most.
   */
  scan(body: Buffer, format: Format, part: (name: string, labels: Labels) => P | undefined, limit?: number): Scan;
  /** The number that `Part.generation` of everything seen by the latest scan has. */
  generation(): number;
  /** Counts a scrape that brought no page, so that what it did not show is known as missing. */
  skip(): number;
  /** Forgets lines not seen since the given generation. */
  evict(before: number): void;
  /** Makes every line be asked for anew. */
  clear(): void;
  /** How many lines are remembered. */
  size(): number;
}

const SAMPLE = 0;
const DROPPED = 1;
const COMMENT = 2;
const BAD = 3;

interface Entry<P> {
  /** Where its bytes are in the arena: up to and with the closing brace, or the space behind a bare name. */
  start: number;
  length: number;
  hash: number;
  kind: number;
  part: P | undefined;
  /** The scan that saw it last, and its place on that page. */
  seen: number;
  at: number;
  next: Entry<P> | undefined;
}

/** More lines with one hash than this are somebody's intent. */
const MAX_CHAIN = 64;

export function lineTable<P extends Part>(intern: (s: string) => string = (s) => s): LineTable<P> {
  /** What is wrong with lines of kind BAD. */
  const wrongs = new WeakMap<Entry<P>, string>();
  let arena = new Uint8Array(4096);
  let words = new DataView(arena.buffer);
  let used = 0;
  let dead = 0;
  let entries = new Map<number, Entry<P>>();
  let count = 0;
  let previous: (Entry<P> | undefined)[] = [];
  let current: (Entry<P> | undefined)[] = [];
  let previousLength = 0;
  let commentsBefore = -1;
  let formatBefore: Format | undefined;
  /** Outlives a scan that was broken off. */
  let newComments = false;
  let generation = 1;
  /** The generation that `previous` is of. */
  let scanned = 0;
  // Not guessable from outside, so that nobody can send a page of colliding lines.
  const seed = randomInt(0x7fffffff);

  const find = (hash: number, view: DataView, p: number, length: number): Entry<P> | undefined => {
    let entry = entries.get(hash);
    while (entry && !(entry.length === length && equal(words, entry.start, length, view, p))) entry = entry.next;
    return entry;
  };

  const add = (hash: number, body: Buffer, p: number, length: number, kind: number, part: P | undefined): Entry<P> => {
    if (used + length > arena.length) {
      const larger = new Uint8Array(Math.max(Math.ceil(arena.length * 1.25), used + length));
      larger.set(arena.subarray(0, used));
      arena = larger;
      words = new DataView(arena.buffer);
    }
    arena.set(body.subarray(p, p + length), used);
    const entry: Entry<P> = {
      start: used,
      length,
      hash,
      kind,
      part,
      seen: 0,
      at: 0,
      next: entries.get(hash),
    };
    used += length;
    count++;
    entries.set(hash, entry);
    return entry;
  };

  const chain = (hash: number): number => {
    let n = 0;
    for (let e = entries.get(hash); e; e = e.next) n++;
    return n;
  };

  const scan: LineTable<P>['scan'] = (body, format, makePart, limit = Number.POSITIVE_INFINITY) => {
    const generationBefore = scanned;
    generation++;
    scanned = generation;
    const result: Scan = {
      samples: 0,
      dropped: 0,
      duplicates: 0,
      firstDuplicate: undefined,
      added: 0,
      badLines: 0,
      firstBad: undefined,
      tails: 0,
      commentsChanged: false,
      limited: false,
    };
    const end = body.length;
    const view = new DataView(body.buffer, body.byteOffset, end);
    const openMetrics = format === 'openmetrics';
    let comments = 0;
    let line = 0;
    let kept = 0;
    let p = 0;
    let i = 0;
    let k = 0;
    // A bare name followed by labels behind a space looks like a line of that name alone until its value is read.
    let takeApart = false;
    let ended = false;

    const bad = (at: number, lineEnd: number, wrong: string) => {
      result.badLines++;
      result.firstBad ??= { line, text: excerpt(body, at, lineEnd), wrong };
    };

    const countComment = (entry: Entry<P>) => {
      comments++;
      // As many as before, and each of them there before: the same set.
      if (entry.seen !== generationBefore) newComments = true;
    };

    while (p < end) {
      line++;
      let entry = takeApart || i >= previousLength ? undefined : previous[i];
      takeApart = false;
      if (entry !== undefined && equal(words, entry.start, entry.length, view, p)) {
        i++;
        if (entry.kind === COMMENT) {
          p += entry.length;
          if (entry.seen !== generation) countComment(entry);
          entry.seen = generation;
          entry.at = k;
          current[k++] = entry;
          continue;
        }
      } else {
        entry = undefined;
      }

      let lineEnd = -1;
      if (entry === undefined) {
        // Blank lines and comments that say nothing about a family come and go without a trace.
        lineEnd = body.indexOf(0x0a, p);
        if (lineEnd < 0) lineEnd = end;
        let start = p;
        while (start < lineEnd && body[start]! <= 0x20) start++;
        if (start === lineEnd) {
          p = lineEnd + 1;
          continue;
        }
        if (body[start] === 0x23) {
          if (openMetrics && isEof(body, start, lineEnd)) {
            ended = true;
            for (p = lineEnd + 1; p < end && body[p]! <= 0x20; p++);
            if (p < end) {
              line++;
              bad(p, end, 'text after # EOF');
            }
            break;
          }
          if (describesFamily(body, start, lineEnd)) {
            const length = Math.min(lineEnd + 1, end) - p;
            const hash = hashOf(view, p, p + length, seed);
            entry = find(hash, view, p, length);
            if (entry) {
              if (entry.seen === generationBefore) i = entry.at + 1;
            } else {
              newComments = true;
              if (chain(hash) < MAX_CHAIN && isText(body, p, p + length))
                entry = add(hash, body, p, length, COMMENT, undefined);
            }
            if (entry) {
              if (entry.seen !== generation) countComment(entry);
              entry.seen = generation;
              // Without its line break it would also be the beginning of longer lines.
              if (lineEnd < end) {
                entry.at = k;
                current[k++] = entry;
              }
            }
          }
          p = lineEnd + 1;
          continue;
        }
        if (result.limited) {
          result.samples++;
          p = lineEnd + 1;
          continue;
        }
        const identityEnd = endOfIdentity(body, start, lineEnd);
        const hash = hashOf(view, p, identityEnd, seed);
        entry = find(hash, view, p, identityEnd - p);
        if (entry) {
          if (entry.seen === generationBefore) i = entry.at + 1;
        } else {
          if (!isText(body, start, identityEnd)) {
            bad(p, lineEnd, 'not valid UTF-8 text');
            p = lineEnd + 1;
            continue;
          }
          const identity: Identity = readIdentity(body.toString('utf8', start, identityEnd), intern);
          if (chain(hash) >= MAX_CHAIN) {
            bad(p, lineEnd, 'too many lines with one hash');
            p = lineEnd + 1;
            continue;
          }
          if ('wrong' in identity) {
            entry = add(hash, body, p, identityEnd - p, BAD, undefined);
            wrongs.set(entry, identity.wrong);
          } else {
            const part = makePart(identity.name, identity.labels);
            entry = add(hash, body, p, identityEnd - p, part ? SAMPLE : DROPPED, part);
          }
        }
      }

      if (entry.kind === BAD) {
        // Only found by hash: what is wrong may be the beginning of what is right.
        bad(p, lineEnd, wrongs.get(entry) ?? '');
        entry.seen = generation;
        p = lineEnd + 1;
        continue;
      }

      let q = p + entry.length;
      while (q < end && (body[q] === 0x20 || body[q] === 0x09)) q++;
      const valueStart = q;
      while (q < end && body[q]! > 0x20) q++;
      const value = readNumber(body, valueStart, q);
      let tail: Tail | undefined;
      if (value === undefined || (q < end && body[q] !== 0x0a)) {
        if (value === undefined && lineEnd < 0 && body[valueStart] === 0x7b) {
          takeApart = true;
          line--;
          continue;
        }
        lineEnd = body.indexOf(0x0a, valueStart);
        if (lineEnd < 0) lineEnd = end;
        if (value === undefined) {
          bad(p, lineEnd, valueStart === q ? 'no value' : 'the value is not a number');
          p = lineEnd + 1;
          continue;
        }
        const rest = readTail(body, q, lineEnd, openMetrics);
        if (typeof rest === 'string') {
          bad(p, lineEnd, rest);
          p = lineEnd + 1;
          continue;
        }
        if (rest) {
          tail = rest;
          result.tails++;
        }
        q = lineEnd;
      }
      entry.seen = generation;
      entry.at = k;
      current[k++] = entry;
      result.samples++;
      const part = entry.part;
      if (part === undefined) result.dropped++;
      else if (part.generation === generation) {
        result.duplicates++;
        result.firstDuplicate ??= { line, text: excerpt(body, p, q) };
      } else {
        if (part.generation !== generation - 1) result.added++;
        part.generation = generation;
        part.value = value;
        if (tail !== undefined || part.tail !== undefined) part.tail = tail;
        if (++kept > limit) result.limited = true;
      }
      p = q + 1;
    }

    // What came is used, as with any other bad line; that something may be missing is said.
    if (openMetrics && !ended && !result.limited) bad(end, end, 'the page does not end with # EOF: it may be cut off');

    [previous, current] = [current, previous];
    for (let j = k; j < previous.length && previous[j] !== undefined; j++) previous[j] = undefined;
    previousLength = k;
    result.commentsChanged = newComments || comments !== commentsBefore || format !== formatBefore;
    newComments = false;
    commentsBefore = comments;
    formatBefore = format;
    return result;
  };

  const clear = () => {
    entries = new Map();
    previous = [];
    current = [];
    previousLength = 0;
    commentsBefore = -1;
    used = dead = count = 0;
  };

  return {
    scan,
    generation: () => generation,
    skip: () => ++generation,
    clear,
    size: () => count,
    evict(before) {
      for (const [hash, first] of entries) {
        let kept: Entry<P> | undefined;
        for (let e: Entry<P> | undefined = first; e; ) {
          const next: Entry<P> | undefined = e.next;
          if (e.seen >= before) {
            e.next = kept;
            kept = e;
          } else {
            dead += e.length;
            count--;
          }
          e = next;
        }
        if (!kept) entries.delete(hash);
        else if (kept !== first) entries.set(hash, kept);
      }
      // The order arrays may hold entries that are gone; the scan that made them saw those, so they are behind its end.
      for (const order of [previous, current]) {
        for (let j = 0; j < order.length; j++) if (order[j] && order[j]!.seen < before) order[j] = undefined;
      }
      if (dead > 4096 && dead * 2 > used) {
        const packed = new Uint8Array(Math.max(4096, (used - dead) * 2));
        let to = 0;
        for (const e of entries.values()) {
          for (let entry: Entry<P> | undefined = e; entry; entry = entry.next) {
            packed.set(arena.subarray(entry.start, entry.start + entry.length), to);
            entry.start = to;
            to += entry.length;
          }
        }
        arena = packed;
        words = new DataView(arena.buffer);
        used = to;
        dead = 0;
      }
    },
  };
}
