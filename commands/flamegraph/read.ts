/** The spans of recordings, as flame graphs want them. */
import { resolve as resolvePath } from 'node:path';
import { RankStore } from '../../pipeline/kit/flame/rank-store.ts';
import { SpanStore } from '../../pipeline/kit/flame/store.ts';
import { type BadLine, readRecordings } from '../../pipeline/kit/recording-files.ts';
import type { Span } from '../../pipeline/model.ts';
import type { CommandIo } from '../command.ts';

/** Undefined, with the reason said, if there is no span in them. Rejects if a file cannot be opened. */
export async function readSpans(files: readonly string[], io: CommandIo): Promise<SpanStore | undefined> {
  const store = new SpanStore((await io.registry()).catalog);
  await eachSpan(files, io, (span) => store.add(span));
  if (store.size > 0) return store;
  io.err(
    `There is no span in ${files.join(', ')}. Spans come from engines' tracing (receiver otlp) and from hooks; ` +
      'docs/flamegraphs.md says how to turn them on.\n',
  );
  return undefined;
}

/** Like `readSpans`, of what hooks and profilers tell of ranks. */
export async function readRanks(files: readonly string[], io: CommandIo): Promise<RankStore | undefined> {
  const store = new RankStore();
  await eachSpan(files, io, (span) => store.add(span));
  if (store.size > 0) return store;
  io.err(
    `There is nothing of ranks in ${files.join(', ')}: no engine step, pipeline stage or collective. Hooks and profilers tell of them.\n`,
  );
  return undefined;
}

async function eachSpan(files: readonly string[], io: CommandIo, add: (span: Span) => void): Promise<void> {
  const cwd = io.cwd ?? process.cwd();
  const bad: BadLine[] = [];
  let skipped = 0;
  const lines = readRecordings(
    files.map((file) => resolvePath(cwd, file)),
    (line) => {
      skipped++;
      if (bad.length < 5) bad.push(line);
    },
  );
  for await (const line of lines) {
    if (line.kind !== 'batch') continue;
    for (const batch of line.batches) if (batch.signal === 'traces') for (const span of batch.items) add(span);
  }
  for (const line of bad) io.err(`${line.file}:${line.line}: skipped: ${line.what}\n`);
  if (skipped > bad.length) io.err(`and ${skipped - bad.length} more lines were skipped\n`);
}
