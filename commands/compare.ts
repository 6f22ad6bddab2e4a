/** `enginelight compare`: two recordings, two sets of runs, or two time ranges of one; what got better or worse, and how sure. */
import { writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { compareSides } from '../pipeline/kit/compare/compare.ts';
import { comparisonText } from '../pipeline/kit/compare/console.ts';
import { type BadLine, readRecordings } from '../pipeline/kit/recording-files.ts';
import { createHistory, type History } from '../pipeline/kit/report-series.ts';
import type { RecordingLine } from '../pipeline/wire/recording.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused, replay } from './diagnose/replay.ts';

const SPEC = {
  usage: 'compare BEFORE AFTER',
  description: `Compares two recordings, or two time ranges of them (FILE@FROM..TO, each an ISO time or so long after the
recording's beginning: 5m, 90s). With --before and --after, each several times, runs are compared; five runs or more a side
are the units of the comparison, minutes otherwise. Differences of load are taken out. Exits with 1 if something got worse.`,
  flags: {
    ...CONFIG_FLAGS,
    before: { value: 'RECORDING', repeated: true, description: 'A run of the old state.' },
    after: { value: 'RECORDING', repeated: true, description: 'A run of the new state.' },
    format: { value: 'FORMAT', choices: ['console', 'json'], description: 'console (default) or json.' },
    output: { value: 'FILE', short: 'o', description: 'Where the result goes; standard output otherwise.' },
    strict: { description: 'Exit with 1 also when the headline metrics are not shown to be equivalent or better.' },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight compare before.jsonl.gz after.jsonl.gz',
    'enginelight compare day.jsonl.gz@0m..20m day.jsonl.gz@30m..50m --format json',
    'enginelight compare --before a1.jsonl --before a2.jsonl --after b1.jsonl --after b2.jsonl',
  ],
} as const satisfies ArgSpec;

interface Range {
  readonly file: string;
  /** Of the line's time and the recording's first, whether the line is meant. */
  readonly holds: (timeMs: number, firstMs: number) => boolean;
}

/** `FILE@FROM..TO`; a name without that is the whole file. */
function rangeOf(text: string): Range {
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

/** The neutral signals of one run, a value a minute. Undefined, with the reason said, if there is nothing in it. */
async function historyOf(
  text: string,
  io: CommandIo,
  flags: { readonly config: readonly string[]; readonly set: readonly string[] },
): Promise<History | undefined> {
  const cwd = io.cwd ?? process.cwd();
  const range = rangeOf(text);
  const registry = await io.registry();
  const history = createHistory({ full: 'grow', stepMs: 60_000, buckets: 1440 });
  const bad: BadLine[] = [];
  let skipped = 0;
  const lines = readRecordings([resolvePath(cwd, range.file)], (line) => {
    skipped++;
    if (bad.length < 5) bad.push(line);
  });
  const result = await replay(within(lines, range), {
    // What the numbers mean and whose they are is needed; a verdict is not.
    registry: { ...registry, processors: registry.processors.filter((p) => /^(normalize|correlation)$/.test(p.type)) },
    configs: flags.config,
    sets: flags.set,
    env: io.env,
    cwd,
    writeLog: (line) => io.err(`${line}\n`),
    tap: (batch) => history.add(batch),
  });
  for (const line of bad) io.err(`${line.file}:${line.line}: skipped: ${line.what}\n`);
  if (skipped > bad.length) io.err(`and ${skipped - bad.length} more lines were skipped\n`);
  if (result.lines > 0) return history;
  io.err(`There is nothing in ${text} that could be compared.\n`);
  return undefined;
}

export const compare: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  const named = flags.before.length + flags.after.length > 0;
  if (named && positionals.length > 0)
    throw new UsageError('name the runs with --before and --after, or two recordings');
  if (!named && positionals.length !== 2) throw new UsageError('name two recordings: BEFORE AFTER');
  const before = named ? flags.before : positionals.slice(0, 1);
  const after = named ? flags.after : positionals.slice(1);
  if (before.length === 0 || after.length === 0) throw new UsageError('both --before and --after are needed');
  const sides: History[][] = [];
  try {
    for (const names of [before, after]) {
      const side: History[] = [];
      for (const name of names) {
        const history = await historyOf(name, io, flags);
        if (!history) return 1;
        side.push(history);
      }
      sides.push(side);
    }
  } catch (error) {
    if (!(error instanceof ReplayRefused) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  const result = compareSides(sides[0]!, sides[1]!);
  const text = flags.format === 'json' ? `${JSON.stringify(result, undefined, 2)}\n` : comparisonText(result);
  if (flags.output === undefined) io.out(text);
  else {
    try {
      await writeFile(resolvePath(io.cwd ?? process.cwd(), flags.output), text, { mode: 0o600 });
    } catch (error) {
      io.err(`The result could not be written: ${describeError(error)}\n`);
      return 1;
    }
  }
  if (result.verdict === 'regressed') return 1;
  return flags.strict && result.verdict === 'inconclusive' ? 1 : 0;
};
