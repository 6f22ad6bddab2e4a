/** `enginelight diagnose`: recordings through the daemon's pipeline on a virtual clock; the verdict, with its proof. */
import { writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { type BadLine, readRecordings } from '../pipeline/kit/recording-files.ts';
import { type Report, reportBuilder } from '../pipeline/kit/report.ts';
import { reportText } from '../pipeline/kit/report-console.ts';
import { reportHtml } from '../pipeline/kit/report-html.ts';
import { createHistory } from '../pipeline/kit/report-series.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused, replay } from './diagnose/replay.ts';

const SEVERITIES = ['info', 'warning', 'critical'] as const;
const FORMATS = ['console', 'json', 'html'] as const;

const SPEC = {
  usage: 'diagnose RECORDING…',
  description: `Replays recordings (JSON Lines, plain, .gz or .zst; also files of the Collector's file exporter) through the same
pipeline as the daemon's, as fast as the CPU allows, and says what was wrong, since when, why, and what to do. Needs no
config; with one, the processors of its pipeline are used. A line that cannot be read is named and skipped.`,
  flags: {
    ...CONFIG_FLAGS,
    format: {
      value: 'FORMAT',
      choices: FORMATS,
      description: 'console (default), json (enginelight.report/v1) or html (one file, nothing else needed).',
    },
    output: { value: 'FILE', short: 'o', description: 'Where the report goes; standard output otherwise.' },
    'fail-on': {
      value: 'SEVERITY',
      choices: SEVERITIES,
      description: 'Exit with 1 if there is a finding or incident of this severity or worse.',
    },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight diagnose incident.jsonl.gz',
    'enginelight diagnose incident.jsonl.gz --format html --output incident.html',
    'enginelight diagnose router.jsonl engines.jsonl --format json --output report.json',
  ],
} as const satisfies ArgSpec;

export const diagnose: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name at least one recording');
  const cwd = io.cwd ?? process.cwd();
  const files = positionals.map((file) => resolvePath(cwd, file));
  const bad: BadLine[] = [];
  let skipped = 0;
  const builder = reportBuilder();
  const history = flags.format === 'html' ? createHistory({ full: 'grow' }) : undefined;
  let report: Report;
  try {
    const lines = readRecordings(files, (line) => {
      skipped++;
      if (bad.length < 20) bad.push(line);
    });
    const result = await replay(
      lines,
      {
        registry: await io.registry(),
        configs: flags.config,
        sets: flags.set,
        env: io.env,
        cwd,
        writeLog: (line) => io.err(`${line}\n`),
        tap(batch) {
          builder.add(batch);
          history?.add(batch);
        },
      },
      bad,
    );
    for (const line of bad) io.err(`${line.file || 'recording'}:${line.line}: skipped: ${line.what}\n`);
    const more = skipped + result.skipped - bad.length;
    if (more > 0) io.err(`and ${more} more lines were skipped\n`);
    if (result.lines === 0) {
      io.err(`There is nothing in ${positionals.join(', ')} that could be replayed.\n`);
      return 1;
    }
    report = builder.build({
      lines: result.lines + skipped,
      skipped: skipped + result.skipped,
      cost: {
        cpu_s: round(result.cpuSeconds),
        wall_s: round(result.wallSeconds),
        speedup: Math.round((result.endMs - result.startMs) / 1000 / Math.max(1e-3, result.wallSeconds)),
        peak_rss_mib: Math.round(result.peakRssMib),
      },
    });
  } catch (error) {
    if (!(error instanceof ReplayRefused) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  const text =
    flags.format === 'json'
      ? `${JSON.stringify(report, undefined, 2)}\n`
      : flags.format === 'html'
        ? reportHtml(report, { version: io.version, ...(history && { history }) })
        : reportText(report, consoleOptions(io, flags.output));
  if (flags.output === undefined) io.out(text);
  else {
    try {
      await writeFile(resolvePath(cwd, flags.output), text, { mode: 0o600 });
    } catch (error) {
      io.err(`The report could not be written: ${describeError(error)}\n`);
      return 1;
    }
  }
  const limit = flags['fail-on'];
  const worst = builder.worst();
  if (limit === undefined || worst === undefined) return 0;
  return SEVERITIES.indexOf(worst) >= SEVERITIES.indexOf(limit as (typeof SEVERITIES)[number]) ? 1 : 0;
};

const round = (n: number) => Math.round(n * 1000) / 1000;

const consoleOptions = (io: CommandIo, output: string | undefined) => ({
  colour: output === undefined && io.outIsTerminal === true && !io.env['NO_COLOR'] && io.env['TERM'] !== 'dumb',
  width: Math.min(140, Math.max(60, Number(io.env['COLUMNS'] ?? 0) || (process.stdout.columns ?? 100))),
});
