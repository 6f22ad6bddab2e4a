/**
 * One life of the daemon: start, reload on SIGHUP, stop on SIGTERM or SIGINT within a deadline. A config that has mistakes
 * or cannot be started never takes down one that runs.
 */
import { setMaxListeners } from 'node:events';
import { Secret } from '../config/schema.ts';
import type { Issue, LoadResult, ResolvedConfig } from '../config/types.ts';
import { describeError } from './errors.ts';
import { createGraph, type Graph } from './graph.ts';
import type { Clock } from './kit/clock.ts';
import { createLogger, type LogFields, type Logger } from './kit/log.ts';
import { createTelemetry, type Telemetry } from './telemetry.ts';
import { METRICS } from './telemetry-metrics.ts';
import { watchProcess } from './telemetry-process.ts';
import { type Readers, startReaders, type TelemetryConfig } from './telemetry-readers.ts';

/** What the runtime needs of Node's `process`; tests hand in an event emitter. */
export interface ProcessEvents {
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
}

export interface RuntimeOptions {
  /** Reads the config; called at the start and on every SIGHUP. */
  readonly load: () => Promise<LoadResult>;
  /** How a mistake or warning of the config is written: `file:line:col: …`. */
  readonly format: (issue: Issue) => string;
  readonly clock: Clock;
  readonly version: string;
  readonly process: ProcessEvents;
  /** Ends the process at once; for a second SIGTERM. */
  readonly exitNow: (code: number) => void;
  /** Writes a line of the log. */
  readonly writeLog: (line: string) => void;
  /** Called once everything runs. */
  readonly onReady?: (running: { readonly graph: Graph; readonly pages: readonly string[] }) => void;
}

/** Mistakes of a config that a reload writes into the log. */
const MAX_LOGGED = 50;

/** How long the last push of the own metrics may take. */
const LAST_PUSH_MS = 2000;

/** Runs until a signal; resolves with the exit code: 0 after an orderly stop, 1 if the start failed. */
export async function runDaemon(options: RuntimeOptions): Promise<number> {
  const log = switchableLogger(options);
  const telemetry = createTelemetry();
  const cancelStart = new AbortController();
  let askToStop: (signal: string) => void = () => {};
  const stopAsked = new Promise<string>((resolve) => {
    askToStop = resolve;
  });
  let stopping = false;
  // A reload that is asked for during the start waits for its end.
  let startIsOver: () => void = () => {};
  let reloads = new Promise<void>((resolve) => {
    startIsOver = resolve;
  });
  let reloadsWaiting = 0;
  let life: Life | undefined;

  // Handlers come first: a signal during the start must not kill the process half way.
  const onStop = (name: string) => {
    if (stopping) {
      log.error(`A second ${name}: exiting at once; what was queued in memory is lost.`);
      log.flush();
      options.exitNow(1);
      return;
    }
    stopping = true;
    cancelStart.abort();
    askToStop(name);
  };
  const onHangup = () => {
    if (stopping || reloadsWaiting >= 2) return;
    reloadsWaiting++;
    reloads = reloads.then(async () => {
      if (life && !stopping) await reload(life, cancelStart.signal);
      reloadsWaiting--;
    });
  };
  const onBug = (error: unknown) => {
    telemetry.cell(METRICS.componentErrors, { kind: 'process', component: 'process' }).value++;
    log.error('An exception reached the process; this is a bug. The daemon goes on.', {
      error,
      ...(error instanceof Error ? { stack: error.stack } : {}),
    });
  };
  const listeners: [string, (value: unknown) => void][] = [
    ['SIGTERM', () => onStop('SIGTERM')],
    ['SIGINT', () => onStop('SIGINT')],
    ['SIGHUP', onHangup],
    ['uncaughtException', onBug],
    ['unhandledRejection', onBug],
  ];
  for (const [event, listener] of listeners) options.process.on(event, listener);
  // Timers of the clock and idle sockets do not keep the process; until it is told to stop, this does.
  const keepAlive = setInterval(() => {}, 2 ** 30);

  try {
    const first = await options.load();
    if (!first.ok) {
      for (const issue of [...first.mistakes, ...first.warnings]) options.writeLog(options.format(issue));
      return 1;
    }
    const { config } = first;
    log.use(config.service.telemetry.logs);
    for (const issue of first.warnings) log.warn(...asRecord(issue, options));
    log.info(`Starting enginelight ${options.version}.`);
    life = await begin(config, { options, log, telemetry });
    if (stopping) return await end(life, await stopAsked);
    try {
      await life.graph.turnInto(config, { cancel: cancelStart.signal });
    } catch (error) {
      if (stopping) return await end(life, await stopAsked);
      log.error('Cannot start.', { error: describeError(error) });
      await end(life);
      return 1;
    }
    for (const url of life.readers.pages) log.info('The own metrics are served.', { url });
    log.info('Everything is ready. Begin running and processing data.');
    startIsOver();
    options.onReady?.({ graph: life.graph, pages: life.readers.pages });
    const name = await stopAsked;
    await reloads;
    return await end(life, name);
  } finally {
    clearInterval(keepAlive);
    for (const [event, listener] of listeners) options.process.off(event, listener);
    log.flush();
  }
}

interface Life extends Needs {
  readonly graph: Graph;
  readonly endProcessWatch: () => void;
  config: ResolvedConfig;
  readers: Readers;
  readonly reloadOk: { value: number };
}

interface Needs {
  readonly options: RuntimeOptions;
  readonly log: SwitchableLogger;
  readonly telemetry: Telemetry;
}

async function begin(config: ResolvedConfig, needs: Needs): Promise<Life> {
  const { options, log, telemetry } = needs;
  const { clock, version } = options;
  const reloadOk = { value: 1 };
  for (const outcome of ['success', 'invalid', 'failed']) telemetry.cell(METRICS.configReloads, { outcome });
  telemetry.observe(METRICS.configReloadOk, {}, () => reloadOk.value);
  const life: Life = {
    ...needs,
    config,
    reloadOk,
    endProcessWatch: watchProcess(telemetry, clock),
    readers: await startReaders(config.service.telemetry, { telemetry, clock, log, version }),
    graph: createGraph({
      telemetry,
      clock,
      log,
      stacks: !config.service.telemetry.logs.disable_stacktrace,
      detailed: () => life.config.service.telemetry.metrics.level === 'detailed',
    }),
  };
  return life;
}

/** Stops everything within the deadline and says what was lost; resolves with the exit code. */
async function end(life: Life, signal?: string): Promise<number> {
  const { options, log, telemetry, graph } = life;
  const { clock } = options;
  if (signal !== undefined) log.info('Stopping.', { signal });
  const before = dropsByKey(telemetry);
  const { deadline, done } = deadlineIn(clock, life.config.service.shutdownTimeoutMs);
  await graph.stop(deadline);
  done();
  let lost = 0;
  for (const [key, drop] of dropsByKey(telemetry)) {
    const items = drop.items - (before.get(key)?.items ?? 0);
    if (items <= 0) continue;
    lost += items;
    const { where, signal: of, reason } = drop;
    log.warn('Items were lost while stopping.', { where, signal: of, reason, dropped_items: items });
  }
  await life.readers.stop(LAST_PUSH_MS);
  life.endProcessWatch();
  log.info('Stopped.', { dropped_items: lost });
  return 0;
}

async function reload(life: Life, cancel: AbortSignal): Promise<void> {
  const { options, log, telemetry, graph } = life;
  const { clock, version } = options;
  const outcome = (name: 'success' | 'invalid' | 'failed') => {
    telemetry.cell(METRICS.configReloads, { outcome: name }).value++;
    life.reloadOk.value = name === 'success' ? 1 : 0;
  };
  log.info('Reading the config again.');
  let result: LoadResult;
  try {
    result = await options.load();
  } catch (error) {
    log.error('The new config could not be read; the old one runs on.', { error });
    return outcome('invalid');
  }
  if (!result.ok) {
    log.error('The new config has mistakes; the old one runs on.', { mistakes: result.mistakes.length });
    for (const issue of result.mistakes.slice(0, MAX_LOGGED)) log.error(...asRecord(issue, options));
    return outcome('invalid');
  }
  const { config } = result;
  for (const issue of result.warnings) log.warn(...asRecord(issue, options));
  const { deadline, done } = deadlineIn(clock, life.config.service.shutdownTimeoutMs);
  try {
    const changes = await graph.turnInto(config, { deadline, cancel });
    const own = config.service.telemetry;
    const sameReaders = textOf(own) === textOf(life.config.service.telemetry);
    life.config = config;
    log.use(own.logs);
    if (!sameReaders) {
      await life.readers.stop(LAST_PUSH_MS);
      life.readers = await startReaders(own, { telemetry, clock, log, version });
    }
    outcome('success');
    log.info('The new config runs.', {
      stopped: changes.stopped.join(', ') || 'nothing',
      started: changes.started.join(', ') || 'nothing',
      kept: changes.kept.length,
    });
  } catch (error) {
    if (cancel.aborted) return outcome('failed');
    log.error('The new config could not be started; going back to the old one.', { error: describeError(error) });
    await graph.turnInto(life.config, { deadline, tolerant: true });
    outcome('failed');
    log.info('The old config runs again.');
  } finally {
    done();
  }
}

/** A mistake of the config as a record of the log: its line is the message, its hint a field. */
function asRecord({ hint, ...issue }: Issue, { format }: RuntimeOptions): [string, LogFields] {
  return [format(issue), { hint }];
}

/** For comparing: JSON shows a secret as redacted, whatever it is. */
function textOf(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, shown) {
    const original = this[key];
    return original instanceof Secret ? original.reveal() : shown;
  });
}

function dropsByKey(telemetry: Telemetry) {
  return new Map(telemetry.drops().map((drop) => [`${drop.where}|${drop.signal}|${drop.reason}`, drop]));
}

function deadlineIn(clock: Clock, ms: number): { deadline: AbortSignal; done: () => void } {
  const controller = new AbortController();
  // Every component that stops listens to it; many of them are no leak.
  setMaxListeners(0, controller.signal);
  const timer = clock.after(ms, () => controller.abort());
  return { deadline: controller.signal, done: () => timer.cancel() };
}

interface SwitchableLogger extends Logger {
  /** Writes as this config says from now on, through every logger that was made from this one. */
  use(config: TelemetryConfig['logs']): void;
  flush(): void;
}

/** A logger whose level and encoding can change while others hold on to it. */
function switchableLogger({ clock, writeLog }: RuntimeOptions): SwitchableLogger {
  let root = createLogger({ clock, write: writeLog });
  let initial: LogFields = {};
  const make = (own: LogFields): Logger => ({
    debug: (message, fields) => root.debug(message, { ...initial, ...own, ...fields }),
    info: (message, fields) => root.info(message, { ...initial, ...own, ...fields }),
    warn: (message, fields) => root.warn(message, { ...initial, ...own, ...fields }),
    error: (message, fields) => root.error(message, { ...initial, ...own, ...fields }),
    with: (fields) => make({ ...own, ...fields }),
  });
  return {
    ...make({}),
    use({ level, encoding, sampling, initial_fields }) {
      root.flush();
      initial = initial_fields;
      root = createLogger({
        clock,
        level: level.toLowerCase() as 'info',
        encoding,
        write: writeLog,
        burst: sampling.enabled ? sampling.initial : 0,
        windowMs: sampling.tick,
      });
    },
    flush: () => root.flush(),
  };
}
