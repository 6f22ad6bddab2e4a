/** Writes a case to disk: `case.jsonl[.gz]`, compressed while it is simulated. */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { createGzip, type ZlibOptions } from 'node:zlib';
import { simulateCase } from './simulate.ts';
import type { Spec } from './spec.ts';
import type { Truth } from './truth.ts';

/** Bytes that the simulation may be ahead of compression, which runs on another thread and needs a turn of this one now and then. */
const AHEAD = 16 << 20;

/** Simulates and writes; a name that ends in .gz is compressed. Resolves with the truth when everything is on disk. */
export async function writeCase(
  spec: Spec,
  path: string,
  options: { control?: string | null } = {},
): Promise<{ truth: Truth; bytes: number; lines: number }> {
  const sim = simulateCase(spec, options);
  const file = createWriteStream(path);
  const gzip = path.endsWith('.gz')
    ? createGzip({ level: 6, memLevel: 9, chunkSize: 1 << 20, writableHighWaterMark: AHEAD } as ZlibOptions)
    : null;
  if (gzip) gzip.pipe(file);
  const sink = gzip ?? file;
  let lines = 0;
  let buffer: string[] = [];
  let size = 0;
  const flush = async () => {
    if (buffer.length === 0) return;
    buffer.push('');
    if (sink.write(buffer.join('\n'))) await new Promise(setImmediate);
    else await once(sink, 'drain');
    buffer = [];
    size = 0;
  };
  for (const line of sim.lines) {
    lines++;
    buffer.push(line);
    size += line.length;
    if (size > 1 << 20) await flush();
  }
  await flush();
  sink.end();
  const written = finished(file);
  // The world without its faults is simulated while the rest is compressed.
  const truth = sim.truth();
  await written;
  return { truth, bytes: file.bytesWritten, lines };
}
