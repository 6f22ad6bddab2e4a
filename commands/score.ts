/** `enginelight score`: what the verdicts are worth, on simulated cases or on a person's own labelled recordings. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { readRecordings } from '../pipeline/kit/recording-files.ts';
import { CONTROLS, caseSpecs, SEEDS, type Tier } from '../simulator/cases.ts';
import { FAULTS } from '../simulator/faults/index.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused } from './diagnose/replay.ts';
import { ABLATIONS, type Ablation } from './score/ablation.ts';
import { compareRuns, readRun, type StoredRun } from './score/compare.ts';
import { BadLabel } from './score/labels.ts';
import { type CaseOutcome, type CaseRequest, runCase, runRecording } from './score/run-case.ts';
import { board } from './score/table.ts';
import { isScoreWorker, type Job, runJobs, serveCases } from './score/workers.ts';

const SPEC = {
  usage: 'score [--tier train|dev] [--sample N] [RECORDING…]',
  description: `Runs diagnose over cases whose cause is known and says how often it is right, how fast, how sure, and how often
it cries wolf, beside naive methods on the same signals. Without recordings the cases are simulated; a
recording NAME.jsonl[.gz|.zst] needs its label NAME.truth.json beside it (docs/score.md).`,
  flags: {
    tier: {
      value: 'TIER',
      choices: ['train', 'dev'],
      description: 'Which seeds: train is 1-199, dev 200-399. Default train.',
    },
    sample: { value: 'N', description: 'Only N cases, spread evenly over all kinds.' },
    kind: {
      value: 'KIND',
      repeated: true,
      description: 'Only this fault, control, or double, confounded; repeatable.',
    },
    seed: { value: 'SEED', repeated: true, description: 'Only this seed; repeatable.' },
    ablate: {
      value: 'N',
      description:
        'Repeat the first N cases with less telemetry: without hooks, without GPUs, metrics only, 30 % of scrapes lost.',
    },
    workers: { value: 'N', description: 'Cases at the same time. Default: one per core; 0 runs them in this thread.' },
    save: { value: 'FILE', description: 'Keeps the run here. Default .score/TIER.json.' },
    against: { value: 'FILE', description: 'A kept run to compare with. Default: the last one.' },
    check: { description: 'Exit with 1 when the run is worse than the one it is compared with, beyond noise.' },
    json: { description: 'Prints the outcomes as JSON instead of tables.' },
    ...CONFIG_FLAGS,
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight score --tier train --sample 50        a quick look',
    'enginelight score --kind thermal-gpu --kind hang  two kinds only',
    'enginelight score incidents/*.jsonl.gz            your own labelled recordings',
  ],
} as const satisfies ArgSpec;

export const score: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  const cwd = io.cwd ?? process.cwd();
  const request: CaseRequest = {
    registry: await io.registry(),
    env: io.env,
    cwd,
    configs: flags.config,
    sets: flags.set,
    log: (line) => io.err(`${line}\n`),
  };
  if (isScoreWorker()) {
    await serveCases(request);
    return 0;
  }
  const tier = (flags.tier ?? 'train') as Tier;
  const saved = resolve(cwd, flags.save ?? `.score/${positionals.length > 0 ? 'recordings' : tier}.json`);
  const before = earlier(
    flags.against === undefined ? saved : resolve(cwd, flags.against),
    flags.against !== undefined,
  );
  const outcomes: CaseOutcome[] = [];
  let failed: string[] = [];
  let title: string;
  try {
    if (positionals.length > 0) {
      title = `enginelight score: ${positionals.length} labelled recordings`;
      failed = await runRecordings(positionals, request, outcomes, io);
    } else {
      const jobs = jobsOf(tier, flags);
      title = `enginelight score: tier ${tier} (seeds ${SEEDS[tier].join('-')}), ${jobs.length} cases`;
      failed = await runSimulated(
        jobs,
        count('workers', flags.workers) ?? availableParallelism(),
        args,
        request,
        outcomes,
        io,
      );
    }
  } catch (error) {
    if (!(error instanceof ReplayRefused)) throw error;
    io.err(`${error.message}\n`);
    return 1;
  }
  outcomes.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const comparison = before ? compareRuns(outcomes, before.outcomes) : undefined;
  const run: StoredRun = { schema: 'enginelight.score/v1', title, outcomes };
  mkdirSync(dirname(saved), { recursive: true });
  writeFileSync(saved, `${JSON.stringify(run)}\n`);
  io.out(flags.json ? `${JSON.stringify(run)}\n` : board(outcomes, title, comparison));
  for (const sentence of failed) io.err(`not judged: ${sentence}\n`);
  if (failed.length > 0) return 1;
  return flags.check && comparison && comparison.drops.length > 0 ? 1 : 0;
};

type Flags = NonNullable<ReturnType<typeof parseCommandLine<(typeof SPEC)['flags']>>>['flags'];

function jobsOf(tier: Tier, flags: Flags): Job[] {
  const known = [...FAULTS.filter((f) => !f.benign).map((f) => f.kind), ...CONTROLS, 'double', 'confounded'];
  for (const kind of flags.kind) {
    if (!known.includes(kind)) throw new UsageError(`--kind ${kind}: there are ${known.join(', ')}`);
  }
  const [from, to] = SEEDS[tier];
  const seeds = flags.seed.map((text) => {
    const seed = count('seed', text)!;
    if (seed < from || seed > to) throw new UsageError(`--seed ${seed}: tier ${tier} has the seeds ${from} to ${to}`);
    return seed;
  });
  const sample = count('sample', flags.sample);
  const specs = caseSpecs({
    tier,
    ...(flags.kind.length > 0 ? { kinds: flags.kind } : {}),
    ...(seeds.length > 0 ? { seeds } : {}),
    ...(sample === undefined ? {} : { limit: sample }),
  });
  if (specs.length === 0) throw new UsageError('no case is left; take away a --kind or --seed');
  const ablated = count('ablate', flags.ablate) ?? 0;
  return specs.map((spec, i) => ({ spec, ablations: i < ablated ? [...ABLATIONS] : (['full'] satisfies Ablation[]) }));
}

async function runSimulated(
  jobs: readonly Job[],
  workers: number,
  args: readonly string[],
  request: CaseRequest,
  outcomes: CaseOutcome[],
  io: CommandIo,
): Promise<string[]> {
  let cases = 0;
  const done = (some: readonly CaseOutcome[]) => {
    cases++;
    outcomes.push(...some);
    if (io.errIsTerminal) io.err(`\r${cases} of ${jobs.length} cases${cases === jobs.length ? '\n' : ' '}`);
  };
  if (workers > 0) {
    return runJobs(jobs, { program: process.argv[1]!, args: ['score', ...args], workers }, done, request.log);
  }
  const failed: string[] = [];
  for (const { spec, ablations } of jobs) {
    try {
      done(await runCase(spec, ablations, request));
    } catch (error) {
      if (error instanceof ReplayRefused) throw error;
      failed.push(`${spec.name}: ${describeError(error)}`);
    }
  }
  return failed;
}

async function runRecordings(
  files: readonly string[],
  request: CaseRequest,
  outcomes: CaseOutcome[],
  io: CommandIo,
): Promise<string[]> {
  const failed: string[] = [];
  for (const file of files) {
    const path = resolve(request.cwd, file);
    const beside = `${path.replace(/\.jsonl?(\.gz|\.zst)?$/, '')}.truth.json`;
    try {
      if (!existsSync(beside)) throw new BadLabel(`there is no label ${beside}`);
      const label: unknown = JSON.parse(readFileSync(beside, 'utf8'));
      const lines = readRecordings([path], (line) => io.err(`${file}:${line.line}: ${line.what}\n`));
      outcomes.push(await runRecording(file, lines, label, request));
    } catch (error) {
      if (error instanceof ReplayRefused) throw error;
      failed.push(`${file}: ${describeError(error)}`);
    }
  }
  return failed;
}

/** The run to compare with; none when there is no last one. */
function earlier(path: string, asked: boolean): StoredRun | undefined {
  if (!existsSync(path)) {
    if (asked) throw new UsageError(`--against ${path}: there is no such file`);
    return undefined;
  }
  try {
    return readRun(readFileSync(path, 'utf8'), path);
  } catch (error) {
    if (asked) throw new UsageError(describeError(error));
    return undefined;
  }
}

function count(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new UsageError(`--${flag} ${text}: a whole number, 0 or more`);
  return value;
}
