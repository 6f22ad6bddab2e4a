/** `enginelight check`: what answers at some addresses, what is wrong there now, and what cannot be seen with what they show. */
import { parseDuration } from '../config/schema.ts';
import { builtInSignals, type SignalInfo } from '../config/signals.ts';
import { describeError } from '../pipeline/errors.ts';
import { systemClock } from '../pipeline/kit/clock.ts';
import { reportText } from '../pipeline/kit/report-console.ts';
import { parseCommandLine } from './args.ts';
import { type Watched, type WatchedTarget, watch } from './check/watch.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';

const SEVERITIES = ['info', 'warning', 'critical'] as const;

const SPEC = {
  usage: 'check URL…',
  description: `Reads metrics at the addresses for a while (only GET, only of paths that metrics are at), and says what each of them is,
what is wrong now, and which detectors and alert rules are blind with what they show, and how to enable them. Ends early when it has a
verdict. Give all engines of a service and their GPU and host exporters together: peers and hardware make the verdict better.
Exit code 1: an address does not answer, or --fail-on was reached.`,
  flags: {
    for: { value: 'DURATION', description: 'How long to watch; 60s by default.' },
    interval: { value: 'DURATION', description: 'How often to read; 2s by default.' },
    json: { description: 'Prints { targets, blind_rules, report } as JSON.' },
    'fail-on': {
      value: 'SEVERITY',
      choices: SEVERITIES,
      description: 'Exit with 1 if there is a finding or incident of this severity or worse.',
    },
  },
  positional: 'URL…',
  examples: [
    'enginelight check http://10.0.0.7:8000',
    'enginelight check http://10.0.0.7:8000 http://10.0.0.8:8000 http://10.0.0.7:9400 --for 2m',
  ],
} as const;

export const check: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name at least one address, such as http://127.0.0.1:8000');
  const urls = [...new Set(positionals.map(checkedUrl))];
  const signals = builtInSignals();
  let watched: Watched;
  // The clock's timers do not keep a process alive.
  const alive = setInterval(() => {}, 60_000);
  try {
    watched = await watch({
      registry: await io.registry(),
      urls,
      forMs: duration(flags.for, '60s', 'for', 1000),
      intervalMs: duration(flags.interval, '2s', 'interval', 100),
      clock: systemClock,
      signals,
      env: io.env,
      cwd: io.cwd ?? process.cwd(),
      writeLog: (line) => io.err(`${line}\n`),
    });
  } catch (error) {
    if (error instanceof UsageError) throw error;
    io.err(`enginelight: ${describeError(error)}\n`);
    return 1;
  } finally {
    clearInterval(alive);
  }
  if (flags.json) io.out(`${JSON.stringify(jsonOf(watched, signals), undefined, 2)}\n`);
  else io.out(textOf(watched, signals, io));
  const limit = flags['fail-on'] as (typeof SEVERITIES)[number] | undefined;
  const bad =
    limit !== undefined &&
    watched.worst !== undefined &&
    SEVERITIES.indexOf(watched.worst) >= SEVERITIES.indexOf(limit);
  return bad || watched.targets.some((t) => !t.answers) ? 1 : 0;
};

function duration(text: string | undefined, otherwise: string, flag: string, least: number): number {
  const ms = parseDuration(text ?? otherwise);
  if (ms === undefined || ms < least || ms > 3_600_000)
    throw new UsageError(`--${flag} ${text}: write a duration from ${least / 1000}s to 1h`);
  return ms;
}

/** Also takes `host:8000`, as people type it. */
function checkedUrl(text: string): string {
  const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url))
    throw new UsageError(`"${text}" is no address; write it as http://HOST:PORT`);
  return url;
}

const ENGINE_GROUPS = new Set(['Requests', 'Latency', 'Tokens', 'Scheduler step', 'KV cache']);

/** The core signals of an engine that one does not give. */
function lacking(target: WatchedTarget, signals: ReadonlyMap<string, SignalInfo>): string[] {
  if (target.is?.engine === undefined) return [];
  const has = new Set(target.signals);
  return [...signals.values()]
    .filter((s) => s.tier === 'core' && ENGINE_GROUPS.has(s.group) && !has.has(s.name))
    .map((s) => s.name);
}

const counted = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

function titleOf({ is, names }: WatchedTarget): string {
  const what = is?.sources.map((s) => s.title).join(' + ');
  if (!what) return `metrics that enginelight does not know (${names} names)`;
  return [what, is?.variant, is?.version && `version ${is.version}`].filter(Boolean).join(', ');
}

function jsonOf(watched: Watched, signals: ReadonlyMap<string, SignalInfo>): object {
  return {
    targets: watched.targets.map((t) => ({
      url: t.url,
      answers: t.answers,
      engine: t.is?.engine ?? null,
      sources: t.is?.sources.map((s) => s.name) ?? [],
      version: t.is?.version ?? null,
      scrapes: t.scrapes,
      signals: t.signals,
      missing_core_signals: lacking(t, signals),
    })),
    blind_rules: watched.blindRules,
    report: watched.report,
  };
}

function textOf(watched: Watched, signals: ReadonlyMap<string, SignalInfo>, io: CommandIo): string {
  const out: string[] = [];
  for (const target of watched.targets) {
    if (!target.answers) {
      out.push(`${target.url}: does not answer with metrics (${counted(target.scrapes, 'try', 'tries')})`);
      continue;
    }
    out.push(
      `${target.url}: ${titleOf(target)}; ${counted(target.signals.length, 'signal')} in ${counted(target.scrapes, 'read')}`,
    );
    const missing = lacking(target, signals);
    if (missing.length > 0) out.push(`  core signals that it does not show: ${missing.join(', ')}`);
  }
  out.push('');
  if (watched.targets.some((t) => t.answers)) {
    const colour = io.outIsTerminal === true && !io.env['NO_COLOR'] && io.env['TERM'] !== 'dumb';
    const width = Math.min(140, Math.max(60, Number(io.env['COLUMNS'] ?? 0) || 100));
    out.push(reportText(watched.report, { colour, width }));
    if (watched.blindRules.length > 0) {
      out.push('Alert rules that can never fire with this (signals they miss)');
      for (const { rule, missing } of watched.blindRules) out.push(`  ${rule}: ${missing}`);
      out.push('');
    }
  }
  return `${out.join('\n').trimEnd()}\n`;
}
