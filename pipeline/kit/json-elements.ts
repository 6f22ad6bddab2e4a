/**
 * The elements of one long list in a JSON file, one at a time, and what stands beside the list: traces of profilers have
 * gigabytes of events in a single object. Plain or gzip; memory is that of one element.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { constants, createGunzip } from 'node:zlib';

export interface JsonElementsOptions {
  /** The key of the list, at the top of the file. */
  readonly list: string;
  /** Bytes of an element, or of a value beside the list, that are kept at most; larger ones are passed over. */
  readonly maxElementBytes: number;
  /** Bytes of the (decompressed) text that are read at most. */
  readonly maxBytes: number;
  /** Gets each element of the list, as text. May take its time. */
  element(text: Buffer): Promise<void> | void;
  /** Gets each other value at the top, as text. */
  beside?(key: string, text: string): void;
}

export interface JsonElementsRead {
  readonly elements: number;
  /** Elements that were too large. */
  readonly skipped: number;
  /** The text ended before the file's object did. */
  readonly cut: boolean;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Reads the file. Rejects with the system's error, or if the text is no JSON object. */
export async function readJsonElements(path: string, options: JsonElementsOptions): Promise<JsonElementsRead> {
  const { maxElementBytes } = options;
  let depth = 0;
  let inText = false;
  let escaped = false;
  /** A text at the top that may turn out to be a key, and the key whose value comes. */
  let key = '';
  let expectValue = false;
  let inList = false;
  /** Where what is kept begins, in `held`; −1: nothing is kept. */
  let kept: Buffer[] = [];
  let keptBytes = 0;
  let keeping: 'element' | 'value' | 'key' | undefined;
  let elements = 0;
  let skipped = 0;
  let ended = false;
  let total = 0;

  const keep = (bytes: Buffer): void => {
    keptBytes += bytes.length;
    if (keptBytes <= maxElementBytes) kept.push(Buffer.from(bytes));
    else kept = [];
  };
  const finish = (): Buffer | undefined => {
    const whole = keptBytes <= maxElementBytes ? Buffer.concat(kept) : undefined;
    kept = [];
    keptBytes = 0;
    keeping = undefined;
    return whole;
  };

  async function consume(chunk: Buffer): Promise<void> {
    let from = 0;
    const endElement = async (at: number) => {
      keep(chunk.subarray(from, at + 1));
      const text = finish();
      elements++;
      if (text) await options.element(text);
      else skipped++;
    };
    const endValue = (at: number) => {
      keep(chunk.subarray(from, at));
      const text = finish();
      if (text && key !== '') options.beside?.(key, text.toString('utf8').trim());
      key = '';
      expectValue = false;
    };
    for (let i = 0; i < chunk.length && !ended; i++) {
      const c = chunk[i]!;
      if (inText) {
        if (escaped) escaped = false;
        else if (c === BACKSLASH) escaped = true;
        else if (c === QUOTE) {
          inText = false;
          if (keeping === 'key') {
            keep(chunk.subarray(from, i));
            key = finish()?.toString('utf8') ?? '';
          }
        }
        continue;
      }
      if (c === QUOTE) {
        inText = true;
        if (depth === 1 && !expectValue) {
          keeping = 'key';
          from = i + 1;
        }
      } else if (c === 0x3a && depth === 1 && !expectValue) {
        expectValue = true;
        keeping = 'value';
        from = i + 1;
      } else if (c === 0x7b || c === 0x5b) {
        depth++;
        if (depth === 1 && c !== 0x7b) throw new Error('it is no JSON object');
        if (depth === 2 && expectValue && c === 0x5b && key === options.list) {
          inList = true;
          finish();
        } else if (depth === 3 && inList) {
          keeping = 'element';
          from = i;
        }
      } else if (c === 0x7d || c === 0x5d) {
        depth--;
        if (depth < 0) throw new Error('it is no JSON object');
        if (depth === 2 && inList && keeping === 'element') await endElement(i);
        else if (depth === 1 && inList) {
          inList = false;
          key = '';
        } else if (depth === 0) {
          if (keeping === 'value') endValue(i);
          ended = true;
        }
      } else if (c === 0x2c && depth === 1) {
        if (keeping === 'value') endValue(i);
        key = '';
        expectValue = false;
      } else if (depth === 0 && c > 0x20 && c !== 0xef && c !== 0xbb && c !== 0xbf) {
        throw new Error('it is no JSON object');
      }
    }
    if (keeping !== undefined && !ended) keep(chunk.subarray(Math.min(from, chunk.length)));
  }

  const handle = await open(path, 'r');
  const magic = Buffer.alloc(2);
  await handle.read(magic, 0, 2, 0);
  await handle.close();
  const file = createReadStream(path, { highWaterMark: 256 * 1024 });
  const gzip = magic[0] === 0x1f && magic[1] === 0x8b;
  const unzip = gzip ? createGunzip({ finishFlush: constants.Z_SYNC_FLUSH, chunkSize: 256 * 1024 }) : undefined;
  if (unzip) file.on('error', (error) => unzip.destroy(error));
  const source = unzip ? file.pipe(unzip) : file;
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      total += chunk.length;
      if (total > options.maxBytes) throw new Error(`it has more than ${options.maxBytes} bytes of text`);
      await consume(chunk);
      if (ended) break;
    }
  } finally {
    file.destroy();
    unzip?.destroy();
  }
  if (elements === 0 && depth === 0 && !ended) throw new Error('it is no JSON object');
  return { elements, skipped, cut: !ended };
}
