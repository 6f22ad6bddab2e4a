/** `enginelight waterfall`: what the time to first token is made of, of the slow requests and the usual ones. */
import { writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { type BadLine, readRecordings } from '../pipeline/kit/recording-files.ts';
import { collectRequests } from '../pipeline/kit/waterfall/collect.ts';
import { waterfallText } from '../pipeline/kit/waterfall/console.ts';
import { collectMeans } from '../pipeline/kit/waterfall/metrics.ts';
import { waterfallPage } from '../pipeline/kit/waterfall/page.ts';
import { type WaterfallReport, waterfallReport } from '../pipeline/kit/waterfall/report.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused, replay } from './diagnose/replay.ts';

const SPEC = {
  usage: 'waterfall RECORDING…',
  description: `Takes the time to first token apart: router, queue, prefill, KV transfer, decode queue, first step, and what nobody
explains; of single requests, and of the slow ones against the usual ones. From spans; from histograms where there are none.`,
  flags: {
    ...CONFIG_FLAGS,
    request: { value: 'ID', description: 'Shows the request whose id has this in it, instead of the slowest.' },
    slowest: { value: 'N', description: 'How many of the slowest requests are shown (default 3, at most 1000).' },
    tail: { value: 'SHARE', description: 'From which share on requests are slow (default 0.95).' },
    format: { value: 'FORMAT', choices: ['console', 'json', 'html'], description: 'console (default), json or html.' },
    output: { value: 'FILE', short: 'o', description: 'Where the result goes; standard output otherwise.' },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight waterfall hour.jsonl.gz',
    'enginelight waterfall hour.jsonl.gz --request chatcmpl-5f2c --format html --output request.html',
  ],
} as const satisfies ArgSpec;

function numberOf(text: string | undefined, flag: string, otherwise: number, low: number, high: number): number {
  if (text === undefined) return otherwise;
  const n = Number(text);
  if (text.trim() === '' || !(n >= low && n <= high))
    throw new UsageError(`--${flag} is a number from ${low} to ${high}`);
  return n;
}

export const waterfall: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name a recording');
  const ask = {
    request: flags.request,
    slowest: Math.round(numberOf(flags.slowest, 'slowest', 3, 0, 1000)),
    tail: numberOf(flags.tail, 'tail', 0.95, 0.5, 0.999),
  };
  const requests = collectRequests();
  const means = collectMeans();
  try {
    if (!(await collect(positionals, flags, io, requests, means))) return 1;
  } catch (error) {
    if (!(error instanceof ReplayRefused) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  const report = waterfallReport(requests.finish(), means.finish(), ask);
  if (report.requests === 0 && report.means.length === 0) {
    io.err(
      `Nothing in ${positionals.join(', ')} says how long first tokens took: neither request spans nor a histogram of it.\n`,
    );
    return 1;
  }
  if (ask.request !== undefined && !report.request) {
    io.err(`There is no request whose id has ${ask.request} in it.\n`);
    return 1;
  }
  return put(report, flags.format, flags.output, positionals.join(', '), io);
};

async function collect(
  files: readonly string[],
  flags: { readonly config: readonly string[]; readonly set: readonly string[] },
  io: CommandIo,
  requests: ReturnType<typeof collectRequests>,
  means: ReturnType<typeof collectMeans>,
): Promise<boolean> {
  const cwd = io.cwd ?? process.cwd();
  const registry = await io.registry();
  const bad: BadLine[] = [];
  let skipped = 0;
  const lines = readRecordings(
    files.map((file) => resolvePath(cwd, file)),
    (line) => {
      skipped++;
      if (bad.length < 5) bad.push(line);
    },
  );
  const result = await replay(lines, {
    // Neutral names and which request a span is of are needed; a verdict is not.
    registry: { ...registry, processors: registry.processors.filter((p) => /^(normalize|correlation)$/.test(p.type)) },
    configs: flags.config,
    sets: flags.set,
    env: io.env,
    cwd,
    writeLog: (line) => io.err(`${line}\n`),
    tap(batch) {
      if (batch.signal === 'traces') for (const span of batch.items) requests.add(span);
      else means.add(batch);
    },
  });
  for (const line of bad) io.err(`${line.file}:${line.line}: skipped: ${line.what}\n`);
  if (skipped > bad.length) io.err(`and ${skipped - bad.length} more lines were skipped\n`);
  if (result.lines > 0) return true;
  io.err(`There is nothing in ${files.join(', ')} that could be read.\n`);
  return false;
}

async function put(
  report: WaterfallReport,
  format: string | undefined,
  output: string | undefined,
  of: string,
  io: CommandIo,
): Promise<number> {
  const html = format === 'html' || (format === undefined && /\.html?$/i.test(output ?? ''));
  const json = format === 'json' || (format === undefined && /\.json$/i.test(output ?? ''));
  const text = html
    ? waterfallPage(report, { of, version: io.version })
    : json
      ? `${JSON.stringify(report, undefined, 2)}\n`
      : waterfallText(report);
  if (output === undefined) {
    io.out(text);
    return 0;
  }
  try {
    await writeFile(resolvePath(io.cwd ?? process.cwd(), output), text, { mode: 0o600 });
    return 0;
  } catch (error) {
    io.err(`The result could not be written: ${describeError(error)}\n`);
    return 1;
  }
}
