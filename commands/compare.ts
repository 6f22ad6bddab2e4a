/** `enginelight compare`: two recordings, two sets of runs, or two time ranges of one; what got better or worse, and how sure. */
import { writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { compareSides } from '../pipeline/kit/compare/compare.ts';
import { comparisonText } from '../pipeline/kit/compare/console.ts';
import { createHistory, type History } from '../pipeline/kit/report-series.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused } from './diagnose/replay.ts';
import { replayRange } from './replay-range.ts';

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

/** The neutral signals of one run, a value a minute. Undefined, with the reason said, if there is nothing in it. */
async function historyOf(
  text: string,
  io: CommandIo,
  flags: { readonly config: readonly string[]; readonly set: readonly string[] },
): Promise<History | undefined> {
  const history = createHistory({ full: 'grow', stepMs: 60_000, buckets: 1440 });
  return (await replayRange(text, io, flags, (batch) => history.add(batch))) ? history : undefined;
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
