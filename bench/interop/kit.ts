/** What every check needs: other people's programs as child processes, our daemon, free ports, and waiting. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url));

/** Thrown by a check whose other side is not on this machine; the message says how to get it. */
export class Skipped extends Error {
  override readonly name = 'Skipped';
}

/** A check's own world: what it starts ends with it. */
export interface Bench {
  readonly folder: string;
  /** A line of the report. */
  say(line: string): void;
  file(name: string, text: string): string;
  /** Starts a program; what it prints is kept for the message of a failure. */
  program(name: string, command: string, args: readonly string[], env?: Record<string, string>): Program;
  /** Our daemon with this config; resolves when it says that it is ready. */
  enginelight(config: string): Promise<Program>;
  /** A page for scrapers. */
  serve(page: () => string): Promise<string>;
  end(): Promise<void>;
}

export interface Program {
  readonly child: ChildProcess;
  output(): string;
  /** Ends it politely; resolves when it is gone. */
  stop(): Promise<void>;
}

export const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

/** Waits until `look` finds something; a failure says what was awaited. An error of `look` counts as "not yet". */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  seconds = 60,
): Promise<T> {
  const giveUp = Date.now() + seconds * 1000;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > giveUp) throw new Error(`waited ${seconds} s in vain for ${what}`, { cause: last });
    await sleep(100);
  }
}

/** The path of a program: an environment variable decides, then names on the PATH. */
export function find(variable: string, names: readonly string[]): string | undefined {
  const set = process.env[variable];
  if (set) return set;
  for (const name of names) {
    for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // The next one.
      }
    }
  }
  return undefined;
}

/** The first line that a program prints about its version, or ''. */
export function versionOf(command: string, args: readonly string[] = ['--version']): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).split('\n')[0] ?? '';
  } catch {
    return '';
  }
}

let nextPort = 20_000 + (process.pid % 500) * 20;

/** A port that nobody listens at, below those that systems hand out by themselves (and below 2^15: Dynamo wants that). */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = nextPort++;
    const server = createServer();
    const free = await new Promise<boolean>((done) => {
      server.once('error', () => done(false));
      server.listen(port, '127.0.0.1', () => done(true));
    });
    if (!free) continue;
    await new Promise((done) => server.close(done));
    return port;
  }
}

export function bench(say: (line: string) => void): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-interop-'));
  const programs: Program[] = [];
  const servers: Server[] = [];

  const program: Bench['program'] = (name, command, args, env = {}) => {
    const cwd = join(folder, name);
    mkdirSync(cwd, { recursive: true });
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.on('error', (error) => keep(Buffer.from(`${error.message}\n`)));
    const gone = new Promise<void>((done) => child.once('close', () => done()));
    const started: Program = {
      child,
      output: () => output,
      async stop() {
        if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
          child.kill('SIGTERM');
          const kill = setTimeout(() => child.kill('SIGKILL'), 10_000);
          await gone;
          clearTimeout(kill);
        }
      },
    };
    programs.push(started);
    return started;
  };

  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };

  return {
    folder,
    say,
    file,
    program,
    async enginelight(config) {
      const path = file(`enginelight-${programs.length}.yaml`, config);
      const daemon = program(`enginelight-${programs.length}`, process.execPath, [MAIN, '--config', path]);
      await until('enginelight to be ready', () => daemon.output().includes('Everything is ready.')).catch((error) => {
        throw new Error(`enginelight did not start:\n${daemon.output()}`, { cause: error });
      });
      return daemon;
    },
    async serve(page) {
      const server = createServer((_request, response) => {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(page());
      });
      servers.push(server);
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
      return `127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    async end() {
      for (const one of programs.reverse()) await one.stop();
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
