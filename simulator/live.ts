/**
 * The world in real time: every target answers on a loopback port, hooks are posted to a socket, and faults can be
 * triggered while it runs. The world is moved by the clock that is handed in, at 1x or faster.
 */
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hookEmitter } from './emit/hooks.ts';
import { type Target, targetsOf } from './emit/record.ts';
import { requestEmitter } from './emit/requests.ts';
import { checkInjections, faultKind, type Planted, plant, trigger } from './faults/index.ts';
import { findVictim } from './faults/victims.ts';
import { installProbes } from './probe.ts';
import { ImpossibleSpec, prepared, twinOf } from './simulate.ts';
import { checkSpec, type Injection, injection, type Spec } from './spec.ts';
import { judge, type Truth } from './truth.ts';
import type { World } from './world/types.ts';
import { advance, createWorld } from './world/world.ts';

/** The part of a clock that the live world needs. */
export interface LiveClock {
  /** Milliseconds since the epoch. */
  now(): number;
  after(ms: number, callback: () => void): { cancel(): void };
}

export interface LiveOptions {
  readonly clock: LiveClock;
  /** Simulated seconds per second (default 1). */
  readonly speed?: number;
  /** Where hook and request spans go: a Unix socket (or host and port) that takes OTLP/JSON by POST; none = nowhere. */
  readonly spans?: { readonly socketPath: string; readonly path?: string } | { readonly url: string };
  /** Called with every span line as well (or instead). */
  readonly onSpans?: (line: string) => void;
  /** Milliseconds between two moves of the world (default 100). */
  readonly tickMs?: number;
}

export interface LiveTarget {
  readonly name: string;
  readonly url: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly everyS: number;
}

export interface Live {
  readonly world: World;
  readonly targets: readonly LiveTarget[];
  /** Simulated second now. */
  elapsed(): number;
  /** Starts a fault now; returns a sentence when it cannot happen. */
  inject(part: Partial<Injection> & { kind: string; entity: string }): string | null;
  /** Judges what happened so far. */
  truth(): Truth;
  /** Spans that could not be delivered. */
  undelivered(): number;
  stop(): Promise<void>;
}

/** Starts it; resolves when every port answers. Throws ImpossibleSpec. */
export async function startLive(given: Spec, options: LiveOptions): Promise<Live> {
  const { clock } = options;
  const speed = options.speed ?? 1;
  const start = Math.floor(clock.now());
  const spec: Spec = { ...prepared(given), start: new Date(start).toISOString() };
  const mistakes = checkSpec(spec);
  if (!(speed > 0)) mistakes.push(`speed is ${speed}; it must be above 0.`);
  if (mistakes.length > 0) throw new ImpossibleSpec(mistakes);
  const world = createWorld(spec);
  const wrong = checkInjections(world);
  if (wrong.length > 0) throw new ImpossibleSpec(wrong);
  const planted: Planted[] = plant(world);
  const probes = installProbes(world);

  let failed = 0;
  const outbox: string[] = [];
  const post = poster(options.spans, () => failed++);
  const put = (line: string) => {
    if (world.now < 0) return;
    options.onSpans?.(line);
    if (options.spans && outbox.length < 10_000) outbox.push(line);
  };
  const hooks = hookEmitter(world, start, put);
  const requests = requestEmitter(world, start, put);
  world.listeners.detail = (rep) => hooks.detail(rep);
  world.listeners.step = (rep, info) => hooks.step(rep, info);
  world.listeners.transfer = (r, info) => hooks.transfer(r, info);
  world.listeners.finished = (r, outcome) => requests.finished(r, outcome);
  const tick = world.listeners.tick;
  world.listeners.tick = (w) => {
    tick?.(w);
    hooks.tick();
  };
  advance(world, 0);

  const elapsed = () => ((clock.now() - start) / 1000) * speed;
  let stopped = false;
  let timer: { cancel(): void } | undefined;
  const move = () => {
    if (stopped) return;
    advance(world, Math.min(spec.durationS, elapsed()));
    if (outbox.length > 0) post(outbox.splice(0));
    timer = clock.after(options.tickMs ?? 100, move);
  };

  const servers: Server[] = [];
  const targets: LiveTarget[] = [];
  for (const target of targetsOf(world, start, false)) {
    const server = await serve(world, target, clock, speed);
    servers.push(server);
    const { port } = server.address() as AddressInfo;
    targets.push({
      name: target.name,
      url: `http://127.0.0.1:${port}/metrics`,
      labels: target.labels,
      everyS: target.everyS,
    });
  }
  move();

  return {
    world,
    targets,
    elapsed,
    inject(part) {
      const wanted = injection({ at: world.now, durationS: 600, ...part });
      const fault = faultKind(wanted.kind);
      if (!fault) return `There is no fault "${wanted.kind}".`;
      const victim = findVictim(world, wanted.entity);
      if (typeof victim === 'string') return victim;
      if (!fault.victims.includes(victim.kind))
        return `${wanted.kind} happens to a ${fault.victims.join(' or ')}, and "${wanted.entity}" is a ${victim.kind}.`;
      const why = fault.impossible?.(spec);
      if (why) return `${wanted.kind} cannot happen here: ${why}.`;
      if (!(wanted.dose > 0 && wanted.dose < 1)) return `The dose is ${wanted.dose}; it must be above 0 and below 1.`;
      planted.push(trigger(world, wanted));
      return null;
    },
    truth() {
      const until = world.now;
      const twin = createWorld(twinOf(spec));
      const twinProbes = installProbes(twin);
      advance(twin, until);
      return judge(world, planted, probes, twinProbes, null);
    },
    undelivered: () => failed,
    async stop() {
      if (stopped) return;
      stopped = true;
      timer?.cancel();
      await Promise.all(
        servers.map(
          (s) =>
            new Promise<void>((resolve) => {
              s.close(() => resolve());
              s.closeAllConnections();
            }),
        ),
      );
    },
  };
}

async function serve(world: World, target: Target, clock: LiveClock, speed: number): Promise<Server> {
  const server = createServer((req, res) => {
    if (req.method !== 'GET' || (req.url ?? '').split('?')[0] !== '/metrics') {
      res.writeHead(req.method === 'GET' ? 404 : 405).end();
      return;
    }
    const { seconds, error } = world.unreachable.has(target.name)
      ? { seconds: 0, error: 'timeout' as const }
      : target.answer();
    // A port cannot refuse while it listens: a dead process is a connection that breaks.
    if (error === 'refused' || error === 'reset') {
      req.socket.destroy();
      return;
    }
    if (error === 'timeout') return;
    clock.after((seconds * 1000) / speed, () => {
      if (res.destroyed) return;
      res.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(target.page.text());
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return server;
}

/** Posts lines one request each, one after the other per batch; failures are counted, never thrown. */
function poster(to: LiveOptions['spans'], onFailure: () => void): (lines: string[]) => void {
  if (!to) return () => {};
  const target = 'url' in to ? new URL(to.url) : null;
  return (lines) => {
    for (const line of lines) {
      const req = request(
        {
          method: 'POST',
          ...(target
            ? { host: target.hostname, port: target.port, path: target.pathname }
            : {
                socketPath: (to as { socketPath: string }).socketPath,
                path: (to as { path?: string }).path ?? '/v1/traces',
              }),
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(line) },
          timeout: 2000,
        },
        (res) => {
          if ((res.statusCode ?? 500) >= 400) onFailure();
          res.resume();
        },
      );
      req.on('error', onFailure);
      req.on('timeout', () => req.destroy());
      req.end(line);
    }
  };
}
