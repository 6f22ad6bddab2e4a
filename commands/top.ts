/** `enginelight top`: who serves how, which GPU does what, and what is wrong, live in a terminal. */
import { describeError } from '../pipeline/errors.ts';
import { systemClock } from '../pipeline/kit/clock.ts';
import { type ArgSpec, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { LIVE_URL, LiveError, type LiveSource, liveClient } from './live-client.ts';
import { embedded } from './top/embedded.ts';
import { plainText } from './top/render.ts';
import { createScreen, keysOf } from './top/screen.ts';
import { painter } from './top/text.ts';

const SPEC = {
  usage: 'top [--daemon URL] [URL…]',
  description: `Shows replicas, GPUs and incidents live: of a running daemon with the \`live\` exporter, or of the engines at the given
addresses, without a daemon. Into a pipe it writes what is now, once, as plain text.`,
  flags: {
    daemon: { value: 'URL', description: `Where the daemon's live exporter listens. Default ${LIVE_URL}.` },
    token: { value: 'NAME', description: 'Environment variable with its bearer token.' },
    interval: { value: 'S', description: 'Seconds between two looks, 0.5 to 60. Default 1.' },
    once: { description: 'Writes what is now and ends, also in a terminal.' },
    json: { description: 'Writes what is now as JSON (enginelight.live/v1) and ends.' },
  },
  positional: 'URL…',
  examples: [
    'enginelight top                             the daemon on this machine',
    'enginelight top --daemon http://10.0.0.7:13134',
    'enginelight top http://10.0.0.7:8000        the engine at this address, without a daemon',
    'enginelight top | cat                       once, as text',
  ],
} as const satisfies ArgSpec;

/** How long an own pipeline may take until it has seen something, when only one look is asked for. */
const FIRST_LOOK_MS = 10_000;

export const top: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length > 0 && (flags.daemon !== undefined || flags.token !== undefined)) {
    throw new UsageError('give either addresses of engines or --daemon');
  }
  const everyMs = 1000 * seconds(flags.interval);
  const colour = io.outIsTerminal === true && !io.env['NO_COLOR'] && io.env['TERM'] !== 'dumb';
  const isLive =
    io.outIsTerminal === true && process.stdin.isTTY && !flags.once && !flags.json && io.env['TERM'] !== 'dumb';
  const own = positionals.length > 0 ? await embedded(positionals.map(address), io) : undefined;
  const daemon = flags.daemon ?? LIVE_URL;
  const client = own
    ? undefined
    : liveClient(daemon, flags.token === undefined ? undefined : (io.env[flags.token] ?? ''));
  const source: LiveSource = own ?? client!;
  const why = (error: unknown): string => {
    if (error instanceof LiveError && error.status === 401)
      return `${daemon} wants credentials: --token NAME, or http://user:password@…`;
    if (error instanceof LiveError) return `${daemon}: ${error.message}`;
    return `No daemon answers at ${daemon}: ${describeError(error)}. Is \`live: {}\` among its exporters? Or watch engines directly: enginelight top http://HOST:PORT`;
  };
  try {
    if (isLive) {
      await watch(source, everyMs, colour, io, why, own?.complaint);
      return 0;
    }
    let state = await source.state();
    const until = systemClock.monotonic() + FIRST_LOOK_MS;
    while (own && state.replicas.length === 0 && systemClock.monotonic() < until) {
      await systemClock.sleep(250);
      state = await source.state();
    }
    const width = Number(io.env['COLUMNS'] ?? 0) || (io.outIsTerminal ? (process.stdout.columns ?? 80) : 160);
    io.out(flags.json ? `${JSON.stringify(state)}\n` : plainText(state, Math.max(40, width), painter(colour)));
    return 0;
  } catch (error) {
    io.err(`enginelight: ${why(error)}\n`);
    return 1;
  } finally {
    client?.close();
    await own?.stop();
  }
};

async function watch(
  source: LiveSource,
  everyMs: number,
  colour: boolean,
  io: CommandIo,
  why: (error: unknown) => string,
  complaint: (() => string | undefined) | undefined,
): Promise<void> {
  const { stdin, stdout } = process;
  const size = () => ({ columns: stdout.columns ?? 80, rows: stdout.rows ?? 24 });
  const screen = createScreen(io.out, source, size, painter(colour), colour);
  const over = new AbortController();
  const end = () => over.abort();
  const type = async (data: Buffer) => {
    for (const key of keysOf(data.toString('utf8'))) if (!(await screen.press(key))) end();
  };
  // Another screen, which leaves what was there before as it was; no cursor.
  io.out('\x1b[?1049h\x1b[?25l\x1b[2J');
  stdin.setRawMode(true);
  stdin.resume();
  stdin.on('data', type);
  stdout.on('resize', screen.redraw);
  process.on('SIGTERM', end);
  process.on('SIGHUP', end);
  stdout.on('close', end);
  try {
    while (!over.signal.aborted) {
      try {
        const state = await source.state();
        await screen.show(state, state.replicas.length === 0 ? complaint?.() : undefined);
      } catch (error) {
        await screen.show(undefined, why(error));
      }
      await systemClock.sleep(everyMs, over.signal);
    }
  } finally {
    stdin.off('data', type);
    stdout.off('resize', screen.redraw);
    process.off('SIGTERM', end);
    process.off('SIGHUP', end);
    stdout.off('close', end);
    stdin.setRawMode(false);
    stdin.pause();
    io.out('\x1b[0m\x1b[?25h\x1b[?1049l');
  }
}

function seconds(text: string | undefined): number {
  if (text === undefined) return 1;
  const value = Number(text);
  if (!(value >= 0.5 && value <= 60)) throw new UsageError(`--interval ${text}: seconds from 0.5 to 60`);
  return value;
}

/** Also takes `host:8000`, as people type it. */
function address(text: string): string {
  const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new UsageError(`"${text}" is not an address of an engine; write it as http://HOST:PORT`);
  }
  return url;
}
