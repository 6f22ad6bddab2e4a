/** What may stand behind a value: a timestamp, an exemplar. */
import { isUtf8 } from 'node:buffer';
import { type Labels, readLabelSet } from './labels.ts';
import { readNumber } from './number.ts';

export interface Tail {
  /** Milliseconds since the epoch; undefined without a timestamp. */
  readonly timestampMs: number | undefined;
  readonly exemplar: LineExemplar | undefined;
}

export interface LineExemplar {
  /** Its text on the line; equal text is the same exemplar. */
  readonly text: string;
  readonly labels: Labels;
  readonly value: number;
  readonly timestampMs: number | undefined;
}

/** Seconds in OpenMetrics; a number that would be beyond the year 5000 was written in milliseconds after all. */
const SECONDS_END = 1e11;

/** Reads timestamp and exemplar behind a value; a string says what is wrong. */
export function readTail(body: Buffer, at: number, lineEnd: number, openMetrics: boolean): Tail | undefined | string {
  const raw = body.subarray(at, lineEnd);
  if (!isUtf8(raw)) return 'not valid UTF-8';
  const text = raw.toString('utf8').trim();
  if (text === '') return undefined;
  const mark = text.indexOf('#');
  const before = (mark < 0 ? text : text.slice(0, mark)).trim();
  let timestampMs: number | undefined;
  if (before !== '') {
    timestampMs = readTimestamp(before, openMetrics);
    if (timestampMs === undefined) return 'the timestamp is not a number';
  }
  if (mark < 0) return { timestampMs, exemplar: undefined };
  const exemplarText = text.slice(mark + 1).trim();
  if (!exemplarText.startsWith('{')) return 'text after the value';
  const set = readLabelSet(exemplarText, 0, false, (s) => s);
  if ('wrong' in set) return `in the exemplar: ${set.wrong}`;
  const words = exemplarText
    .slice(set.end)
    .trim()
    .split(/[ \t]+/);
  const value = readText(words[0] ?? '');
  if (value === undefined) return 'the value of the exemplar is not a number';
  let exemplarMs: number | undefined;
  if (words[1] !== undefined) {
    exemplarMs = readTimestamp(words[1], openMetrics);
    if (exemplarMs === undefined) return 'the timestamp of the exemplar is not a number';
  }
  if (words.length > 2) return 'text after the exemplar';
  return { timestampMs, exemplar: { text: exemplarText, labels: set.labels, value, timestampMs: exemplarMs } };
}

const readText = (text: string): number | undefined => {
  const bytes = Buffer.from(text, 'latin1');
  return readNumber(bytes, 0, bytes.length);
};

function readTimestamp(text: string, openMetrics: boolean): number | undefined {
  const value = readText(text);
  if (value === undefined || !Number.isFinite(value)) return undefined;
  return openMetrics && Math.abs(value) < SECONDS_END ? value * 1000 : value;
}
