/** `enginelight demo`: a simulated cluster on loopback that breaks on schedule, and the daemon watching it live. */
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { formatIssue } from '../config/report.ts';
import { nearest } from '../config/suggest.ts';
import { systemClock } from '../pipeline/kit/clock.ts';
import { runDaemon } from '../pipeline/runtime.ts';
import { type Live, startLive } from '../simulator/live.ts';
import type { Truth, TruthRoot } from '../simulator/truth.ts';
import { type ArgSpec, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { fastClock } from './demo/fast-clock.ts';
import { type DemoFault, demoFault, demoFaultNames, demoSpec } from './demo/faults.ts';
import { createScreen, type Paint, painter, type Said, type Screen, stamp } from './demo/screen.ts';
import { demoConfig, withScreen } from './demo/watch.ts';
import { matches } from './score/labels.ts';

const SPEC = {
  usage: 'demo [--fault NAME]',
  description: `A simulated cluster (4 nodes, 16 GPUs, 4 replicas of vLLM behind a router) answers on loopback, the daemon watches
it through its real receivers, and things break: on schedule, by --fault, or by a key. What really broke
is shown beside the verdicts at the end. Needs no GPU, no network and no config.`,
  flags: {
    fault: {
      value: 'NAME',
      repeated: true,
      description: 'What breaks, instead of the schedule: a fault or a detector; repeatable. --fault list shows them.',
    },
    speed: { value: 'X', description: 'Simulated seconds per second, 1 to 40. Default 15.' },
    duration: {
      value: 'MIN',
      description: 'Simulated minutes until the end. Default: when the last scheduled fault is over.',
    },
  },
  examples: [
    'enginelight demo                          two minutes, three faults',
    'enginelight demo --fault thermal-throttle one GPU gets too hot',
    'enginelight demo --speed 1                as slow as the real thing',
  ],
} as const satisfies ArgSpec;

/** What breaks when nobody asks for anything else, and for how long. */
const SCHEDULE = ['thermal-gpu', 'max-seqs-cap', 'crash-loop'];
/** Keys of the console, in order. */
const KEYS = ['thermal-gpu', 'power-cap', 'nvlink-errors', 'noisy-host', 'max-seqs-cap', 'crash-loop', 'hang', 'surge'];
/** Simulated seconds: until the detectors know what is normal, how long a fault lasts, and the rest between two. */
const FIRST_S = 240;
const LASTS_S = 330;
const REST_S = 210;

interface Plan {
  readonly at: number;
  readonly fault: DemoFault;
}

export const demo: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags } = parsed;
  const speed = number('speed', flags.speed, 15, 1, 40);
  const minutes = number('duration', flags.duration, 0, 1, 600);
  const began = systemClock.monotonic();
  const clock = fastClock(speed);
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-demo-'));
  const socketPath = join(folder, 'hooks.sock');
  const paint = painter(io.outIsTerminal === true);
  let live: Live | undefined;
  // From the first moment on: whoever presses Ctrl-C while the cluster starts leaves nothing behind either.
  const asked = new AbortController();
  const end = () => asked.abort();
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
  try {
    const startMs = Math.floor(clock.now());
    const screen = createScreen(
      io.out,
      paint,
      io.outIsTerminal === true,
      () => startMs,
      () => (io.outIsTerminal ? (process.stdout.columns ?? 80) : Number.POSITIVE_INFINITY),
    );
    live = await startLive(demoSpec(6 * 3600), { clock, spans: { socketPath }, tickMs: 500 });
    const names = flags.fault.length > 0 ? flags.fault : SCHEDULE;
    if (names.includes('list')) {
      io.out(`${demoFaultNames(live.world).join('\n')}\n`);
      return 0;
    }
    const plan = planOf(live, names);
    const endS = minutes > 0 ? minutes * 60 : plan.at(-1)!.at + LASTS_S + 90;
    introduce(live, speed, screen, paint, io);
    return await watch(live, plan, endS, { io, screen, paint, clock, socketPath, speed, began, asked });
  } finally {
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
    await live?.stop();
    clock.stop();
    rmSync(folder, { recursive: true, force: true });
  }
};

function planOf(live: Live, names: readonly string[]): Plan[] {
  return names.map((name, i) => {
    const fault = demoFault(live.world, name, i);
    if (!fault) {
      const known = demoFaultNames(live.world);
      const near = nearest(name, known);
      throw new UsageError(
        `--fault ${name}: this cluster cannot have it${near === undefined ? '' : `; did you mean ${near}?`} --fault list shows what it can`,
      );
    }
    return { at: FIRST_S + i * (LASTS_S + REST_S), fault };
  });
}

function introduce(live: Live, speed: number, screen: Screen, paint: Paint, io: CommandIo): void {
  const { nodes, gpus, replicas, spec } = live.world;
  screen.say(
    `${paint('bold', 'enginelight demo')}: ${nodes.length} nodes, ${gpus.length} GPUs, ${replicas.length} replicas of a ${spec.deploy.model.replace('-like', '')} model (tensor parallel ${spec.deploy.tp}) on vLLM, simulated, at ${speed}x real time.`,
  );
  screen.say(
    `The daemon scrapes ${live.targets.length} endpoints on loopback and takes hook events from a socket, as it would in a real cluster.`,
  );
  screen.say(
    `It first learns what is normal; the first fault comes after ${stamp(FIRST_S)} of simulated time (${Math.round(FIRST_S / speed)} s from now).`,
  );
  if (io.outIsTerminal && process.stdin.isTTY) {
    screen.say(`Break something yourself: ${KEYS.map((kind, i) => `${i + 1} ${kind}`).join('  ')}  q quit`);
  }
  screen.say('');
}

interface Watching {
  readonly io: CommandIo;
  readonly screen: Screen;
  readonly paint: Paint;
  readonly clock: ReturnType<typeof fastClock>;
  readonly socketPath: string;
  readonly speed: number;
  readonly began: number;
  /** Aborted by whoever wants it to end. */
  readonly asked: AbortController;
}

async function watch(live: Live, plan: readonly Plan[], endS: number, to: Watching): Promise<number> {
  const { io, screen, paint, clock } = to;
  const registry = withScreen(await io.registry(), screen.see);
  const daemon = new EventEmitter();
  const stop = () => to.asked.abort();
  const text = demoConfig(live.targets, to.socketPath, registry);
  const waiting = [...plan];
  let keyed = 10;
  const inject = (fault: DemoFault) => {
    const { kind, entity, dose } = fault;
    const refused = live.inject({ kind, entity, dose, durationS: LASTS_S, shape: 'step' });
    if (refused !== null) return screen.say(refused);
    screen.say(
      `${paint('dim', `  ${stamp(live.elapsed())}`)}  ${paint('cyan', 'something breaks')}  (what it was is shown at the end)`,
    );
  };
  const keys = onKeys(io, (key) => {
    if (key === 'q' || key === '\u0003') return stop();
    const kind = KEYS[Number(key) - 1];
    const fault = kind === undefined ? undefined : demoFault(live.world, kind, keyed++);
    if (fault) inject(fault);
  });
  let timer = clock.after(0, function tick() {
    const now = live.elapsed();
    while (waiting[0] && waiting[0].at <= now) inject(waiting.shift()!.fault);
    screen.tick(now);
    if (now >= endS) stop();
    // Again and again: the daemon may not listen yet.
    if (to.asked.signal.aborted) daemon.emit('SIGTERM', 'SIGTERM');
    timer = clock.after(1000, tick);
  });
  try {
    const code = await runDaemon({
      load: () =>
        loadConfig({ configs: [`yaml:${text}`], sets: [] }, { registry, env: io.env, cwd: io.cwd ?? process.cwd() }),
      format: (issue) => formatIssue(issue),
      clock,
      version: io.version,
      process: daemon,
      writeLog: (line) => {
        screen.clear();
        io.err(`${line}\n`);
      },
      exitNow: () => {},
    });
    screen.clear();
    if (code === 0) conclude(live.truth(), live.elapsed(), to);
    return code;
  } finally {
    timer.cancel();
    keys();
  }
}

/** The truth beside what was said. */
function conclude(truth: Truth, elapsed: number, to: Watching): void {
  const { screen, paint } = to;
  screen.say(`\n${paint('bold', 'What really happened')}, and what was said (times of the simulation)`);
  if (truth.roots.length === 0) screen.say('  nothing broke');
  for (const root of truth.roots) {
    const { right, text } = verdictOn(root, screen.said);
    const missed = root.impact ? paint('red', 'missed') : paint('dim', 'silent');
    screen.say(
      `  ${stamp(root.onset)}  ${paint('bold', `${root.id} on ${root.entity}`)}  (${root.fault}, ${Math.round(root.dose * 100)} %)${root.impact ? '' : '  too little for anybody to feel'}`,
    );
    screen.say(`         ${right ? paint('green', 'right') : missed}  ${text}`);
  }
  const stray = strays(truth, screen.said);
  screen.say(
    `  ${stray === 0 ? 'No' : stray} false alarm${stray === 1 ? '' : 's'} in ${stamp(elapsed)} of ${to.screen.said.length === 0 ? 'watching' : 'simulated time'}; ${Math.round((systemClock.monotonic() - to.began) / 1000)} s of yours.`,
  );
}

const isOf = (said: Said, root: TruthRoot) => said.at >= root.onset && said.at <= root.end + 120;

/** What was said of a root: the right cause if it was ever named first, else what was said instead. */
function verdictOn(root: TruthRoot, said: readonly Said[]): { right: boolean; text: string } {
  const own = said.filter((s) => isOf(s, root));
  const label = { ...root, observable: root.observable };
  const hit = own.find(({ incident }) =>
    (incident.roots.length > 0 ? incident.roots : [incident.root]).some((r) =>
      matches(label, r.detector, r.entity.kind, r.entity.id),
    ),
  );
  const last = own.filter((s) => s.incident.id === hit?.incident.id && s.incident.state === 'open').at(-1);
  if (hit && last && last.incident.root.detector === hit.incident.root.detector) {
    return { right: true, text: `named after ${Math.round(hit.at - root.onset)} s` };
  }
  const other = own.find((s) => s.incident.state === 'open');
  if (!other) return { right: false, text: 'nothing was said' };
  const { root: head } = other.incident;
  return {
    right: false,
    text: `said ${head.detector} on ${head.entity.kind} ${head.entity.id} after ${Math.round(other.at - root.onset)} s`,
  };
}

/** Incidents of warning or worse that opened while nothing was broken. */
function strays(truth: Truth, said: readonly Said[]): number {
  const opened = new Map<string, Said>();
  for (const s of said) if (s.incident.severity !== 'info' && !opened.has(s.incident.id)) opened.set(s.incident.id, s);
  return [...opened.values()].filter((s) => !truth.roots.some((r) => isOf(s, r))).length;
}

/** Keys of a person at the terminal; returns how to stop listening. */
function onKeys(io: CommandIo, press: (key: string) => void): () => void {
  const { stdin } = process;
  if (!io.outIsTerminal || !stdin.isTTY) return () => {};
  const listen = (data: Buffer) => {
    for (const key of data.toString('utf8')) press(key);
  };
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('data', listen);
  return () => {
    stdin.off('data', listen);
    stdin.setRawMode(false);
    stdin.pause();
  };
}

function number(flag: string, text: string | undefined, fallback: number, least: number, most: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!(value >= least && value <= most)) {
    throw new UsageError(`--${flag} ${text}: a number from ${least} to ${most}`);
  }
  return value;
}
