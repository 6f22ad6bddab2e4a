/** Writes a case to disk: `case.jsonl[.gz]`, compressed while it is simulated. */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { simulateCase } from './simulate.ts';
import type { Spec } from './spec.ts';
import type { Truth } from './truth.ts';

/** Simulates and writes; a name that ends in .gz is compressed. Resolves with the truth when everything is on disk. */
export async function writeCase(
  spec: Spec,
  path: string,
  options: { control?: string | null } = {},
): Promise<{ truth: Truth; bytes: number; lines: number }> {
  const sim = simulateCase(spec, options);
  const file = createWriteStream(path);
  const gzip = path.endsWith('.gz') ? createGzip({ level: 6, memLevel: 9 }) : null;
  if (gzip) gzip.pipe(file);
  const sink = gzip ?? file;
  let lines = 0;
  let buffer: string[] = [];
  let size = 0;
  const flush = async () => {
    if (buffer.length === 0) return;
    buffer.push('');
    if (!sink.write(buffer.join('\n'))) await once(sink, 'drain');
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
  await finished(file);
  return { truth: sim.truth(), bytes: file.bytesWritten, lines };
}
