/** `enginelight compare`: two recordings, two sets of runs, or two time ranges of one; what got better or worse, and how sure. */
import { open, writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import type { Baseline } from '../pipeline/kit/baseline/baseline.ts';
import { looksLikeBaseline, readBaseline } from '../pipeline/kit/baseline/file.ts';
import { createLoadWatch, type LoadWatch } from '../pipeline/kit/baseline/watch.ts';
import { type Comparison, compareLoaded } from '../pipeline/kit/compare/compare.ts';
import { comparisonText } from '../pipeline/kit/compare/console.ts';
import { comparisonHtml } from '../pipeline/kit/compare/html.ts';
import { carriedBy, type LoadedSide, sideOfBaseline } from '../pipeline/kit/compare/sides.ts';
import { createHistory, type History } from '../pipeline/kit/report-series.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused } from './diagnose/replay.ts';
import { replayRange } from './replay-range.ts';

const SPEC = {
  usage: 'compare BEFORE AFTER',
  description: `Compares two recordings, or two time ranges of them (FILE@FROM..TO, each an ISO time or so long after the
recording's beginning: 5m, 90s). With --before and --after, each several times, runs are compared; five runs or more a side
are the units of the comparison, minutes otherwise. A baseline that was kept can be a side. Differences of load are taken out. Exits with 1 if something got worse.`,
  flags: {
    ...CONFIG_FLAGS,
    before: { value: 'RECORDING', repeated: true, description: 'A run of the old state.' },
    after: { value: 'RECORDING', repeated: true, description: 'A run of the new state.' },
    format: { value: 'FORMAT', choices: ['console', 'json', 'html'], description: 'console (default), json or html.' },
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

type Flags = { readonly config: readonly string[]; readonly set: readonly string[] };

/** One side: its runs, or a baseline that was kept. Undefined, with the reason said, if there is nothing in one of them. */
async function sideOf(names: readonly string[], io: CommandIo, flags: Flags): Promise<LoadedSide | undefined> {
  const only = names.length === 1 ? await baselineIn(resolvePath(io.cwd ?? process.cwd(), names[0]!)) : undefined;
  if (only) return sideOfBaseline(only);
  const histories: History[] = [];
  const watches: LoadWatch[] = [];
  for (const name of names) {
    const history = createHistory({ full: 'grow', stepMs: 60_000, buckets: 1440 });
    const watch = createLoadWatch({});
    const some = await replayRange(name, io, flags, (batch) => {
      history.add(batch);
      watch.add(batch);
    });
    if (!some) return undefined;
    histories.push(history);
    watches.push(watch);
  }
  return { histories, carried: carriedBy(watches) };
}

/** The baseline in a file, if it begins as one does. */
async function baselineIn(path: string): Promise<Baseline | undefined> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return undefined;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(256), 0, 256, 0);
    if (!looksLikeBaseline(buffer.toString('utf8', 0, bytesRead))) return undefined;
  } finally {
    await file.close();
  }
  return readBaseline(path);
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
  let result: Comparison;
  try {
    const old = await sideOf(before, io, flags);
    const now = old && (await sideOf(after, io, flags));
    if (!now) return 1;
    result = compareLoaded(old, now);
  } catch (error) {
    const known = error instanceof ReplayRefused || (error as NodeJS.ErrnoException).code !== undefined;
    if (!known && !/baseline/.test(describeError(error))) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  const text =
    flags.format === 'json'
      ? `${JSON.stringify(result, undefined, 2)}\n`
      : flags.format === 'html'
        ? comparisonHtml(result, { before: before.join(', '), after: after.join(', '), version: io.version })
        : comparisonText(result);
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
