/** A recording, or a range of one (`FILE@FROM..TO`), as neutral signals: what `compare` and `baseline` look at. */
import { resolve as resolvePath } from 'node:path';
import { type BadLine, readRecordings } from '../pipeline/kit/recording-files.ts';
import type { Batch } from '../pipeline/model.ts';
import type { RecordingLine } from '../pipeline/wire/recording.ts';
import { type CommandIo, UsageError } from './command.ts';
import { replay } from './diagnose/replay.ts';

interface Range {
  readonly file: string;
  /** Of the line's time and the recording's first, whether the line is meant. */
  readonly holds: (timeMs: number, firstMs: number) => boolean;
}

/** `FILE@FROM..TO`; a name without that is the whole file. */
export function rangeOf(text: string): Range {
  const match = /^(.*)@([^@]*)\.\.([^@]*)$/.exec(text);
  if (!match) return { file: text, holds: () => true };
  const [from, to] = [momentOf(match[2]!, text), momentOf(match[3]!, text)];
  return {
    file: match[1]!,
    holds: (at, first) => at >= (from?.(first) ?? -Infinity) && at <= (to?.(first) ?? Infinity),
  };
}

const UNITS = { s: 1000, m: 60_000, h: 3_600_000 } as const;

function momentOf(text: string, whole: string): ((firstMs: number) => number) | undefined {
  if (text === '') return undefined;
  const offset = /^(\d+(?:\.\d+)?)([smh])$/.exec(text);
  if (offset) return (first) => first + Number(offset[1]) * UNITS[offset[2] as keyof typeof UNITS];
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new UsageError(`${whole}: ${text} is neither a time (2026-05-01T12:00:00Z) nor like 5m`);
  return () => at;
}

async function* within(lines: AsyncIterable<RecordingLine>, range: Range): AsyncGenerator<RecordingLine> {
  let first = 0;
  for await (const line of lines) {
    if (first === 0) first = line.timeMs;
    if (range.holds(line.timeMs, first)) yield line;
  }
}

/**
 * Runs a recording through normalize and correlation: what the numbers mean and whose they are is needed, a verdict is not.
 * False, with the reason said, if there is nothing in it.
 */
export async function replayRange(
  text: string,
  io: CommandIo,
  flags: { readonly config: readonly string[]; readonly set: readonly string[] },
  tap: (batch: Batch) => void,
): Promise<boolean> {
  const cwd = io.cwd ?? process.cwd();
  const range = rangeOf(text);
  const bad: BadLine[] = [];
  let skipped = 0;
  const lines = readRecordings([resolvePath(cwd, range.file)], (line) => {
    skipped++;
    if (bad.length < 5) bad.push(line);
  });
  const result = await replay(within(lines, range), {
    registry: await io.registry(),
    only: ['normalize', 'correlation'],
    configs: flags.config,
    sets: flags.set,
    env: io.env,
    cwd,
    writeLog: (line) => io.err(`${line}\n`),
    tap,
  });
  for (const line of bad) io.err(`${line.file}:${line.line}: skipped: ${line.what}\n`);
  if (skipped > bad.length) io.err(`and ${skipped - bad.length} more lines were skipped\n`);
  if (result.lines > 0) return true;
  io.err(`There is nothing in ${text} that could be used.\n`);
  return false;
}
