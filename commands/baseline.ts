/** `enginelight baseline`: from a load sweep the knee, the load within the SLO, what runs out first; and a file to compare with. */
import { writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { parseDuration } from '../config/schema.ts';
import { describeError } from '../pipeline/errors.ts';
import { baselineOf } from '../pipeline/kit/baseline/baseline.ts';
import { baselineText } from '../pipeline/kit/baseline/console.ts';
import { createLoadWatch, type Objectives, type WatchedService } from '../pipeline/kit/baseline/watch.ts';
import { systemClock } from '../pipeline/kit/clock.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { ReplayRefused } from './diagnose/replay.ts';
import { replayRange } from './replay-range.ts';

const SPEC = {
  usage: 'baseline RECORDING…',
  description: `Says what a service carries, from a load sweep: recordings of traffic, or results of guidellm, AIPerf,
vllm bench serve or SGLang (docs/recordings.md). Finds the knee with an interval, the largest load within the objectives, and
what runs out first. At least six load levels are needed. The file it writes is what compare and the bottleneck processor use.`,
  flags: {
    ...CONFIG_FLAGS,
    slo: {
      value: 'NAME=TIME',
      repeated: true,
      description: 'An objective: ttft=2s, itl=60ms, e2e=30s. Those of the config’s bottleneck processor otherwise.',
    },
    objective: { value: 'SHARE', description: 'Share of requests that must be within each objective. Default 0.99.' },
    format: { value: 'FORMAT', choices: ['console', 'json'], description: 'console (default) or json.' },
    output: { value: 'FILE', short: 'o', description: 'Where the baseline is kept, as JSON.' },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight baseline sweep.jsonl.gz --slo ttft=2s --slo itl=60ms --output baseline.json',
    'enginelight baseline benchmarks.json',
    'enginelight baseline c1.jsonl c8.jsonl c32.jsonl c128.jsonl',
  ],
} as const satisfies ArgSpec;

const NAMES = ['ttft', 'itl', 'e2e'] as const;

function objectivesOf(given: readonly string[]): Objectives {
  const out: Record<string, number> = {};
  for (const text of given) {
    const [name, time] = text.split('=', 2);
    const ms = time === undefined ? undefined : parseDuration(time);
    if (!NAMES.some((n) => n === name) || ms === undefined || ms <= 0) {
      throw new UsageError(`--slo ${text}: it is ${NAMES.join(', ')} and a time, as in ttft=2s`);
    }
    out[name!] = ms / 1000;
  }
  return out;
}

/** The objectives of the first bottleneck processor of a config. */
async function configured(
  io: CommandIo,
  flags: { readonly config: readonly string[]; readonly set: readonly string[] },
): Promise<{ objectives: Objectives; share?: number }> {
  if (flags.config.length === 0) return { objectives: {} };
  const registry = await io.registry();
  const loaded = await loadConfig(
    { configs: flags.config, sets: flags.set },
    { registry, env: io.env, cwd: io.cwd ?? process.cwd() },
  );
  // What is wrong with it is said by the replay.
  if (!loaded.ok) return { objectives: {} };
  const found = [...loaded.config.processors].find(([id]) => id.split('/')[0] === 'bottleneck')?.[1];
  const slo = (found?.config as { slo?: Record<string, number | undefined> } | undefined)?.slo;
  const objectives: Record<string, number> = {};
  for (const name of NAMES) if (slo?.[name] !== undefined) objectives[name] = slo[name] / 1000;
  return { objectives, ...(slo?.['objective'] !== undefined && { share: slo['objective'] }) };
}

/** The same service in several recordings is one sweep. */
function together(services: readonly WatchedService[]): WatchedService[] {
  const known = new Map<string, WatchedService>();
  for (const s of services) {
    const other = known.get(s.service);
    known.set(
      s.service,
      other ? { ...s, replicas: Math.max(s.replicas, other.replicas), windows: [...other.windows, ...s.windows] } : s,
    );
  }
  return [...known.values()];
}

export const baseline: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name at least one recording of a load sweep');
  const asked = objectivesOf(flags.slo);
  const share = flags.objective === undefined ? undefined : Number(flags.objective);
  if (share !== undefined && !(share > 0 && share <= 1)) throw new UsageError('--objective is a share, such as 0.99');
  const watches: ReturnType<typeof createLoadWatch>[] = [];
  let fromConfig: Awaited<ReturnType<typeof configured>>;
  try {
    fromConfig = await configured(io, flags);
    const objectives = Object.keys(asked).length > 0 ? asked : fromConfig.objectives;
    for (const name of positionals) {
      const watch = createLoadWatch(objectives);
      if (!(await replayRange(name, io, flags, (batch) => watch.add(batch)))) return 1;
      watches.push(watch);
    }
  } catch (error) {
    if (!(error instanceof ReplayRefused) && (error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  const objectives = Object.keys(asked).length > 0 ? asked : fromConfig.objectives;
  const result = baselineOf(
    together(watches.flatMap((w) => w.services())),
    { objectives, share: share ?? fromConfig.share ?? 0.99 },
    systemClock.now(),
  );
  const json = `${JSON.stringify(result, undefined, 2)}\n`;
  io.out(flags.format === 'json' ? json : baselineText(result));
  if (result.services.length === 0) return 1;
  if (flags.output !== undefined) {
    try {
      await writeFile(resolvePath(io.cwd ?? process.cwd(), flags.output), json, { mode: 0o600 });
    } catch (error) {
      io.err(`The baseline could not be written: ${describeError(error)}\n`);
      return 1;
    }
  }
  return 0;
};
