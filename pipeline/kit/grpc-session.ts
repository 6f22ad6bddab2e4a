/** How long connections of a gRPC server live. */
import http2, { type ServerHttp2Session } from 'node:http2';
import type { Clock, Timer } from './clock.ts';

const IDLE_PING_INTERVAL_MS = 7_200_000;

/** How long connections live; all in milliseconds, 0 = no limit. */
export interface GrpcKeepalive {
  /** A connection without calls is closed after this; default 5 min. */
  readonly maxConnectionIdleMs: number;
  /** A connection is closed after this, its calls may finish. */
  readonly maxConnectionAgeMs: number;
  /** How long the calls of a connection that is too old may take. */
  readonly maxConnectionAgeGraceMs: number;
  /** A connection without calls is asked this often whether it is still there; default 30 s. */
  readonly timeMs: number;
  /** A ping that is not answered within this ends the connection; default 20 s. */
  readonly timeoutMs: number;
  /** A client that pings more often than this, three times between two calls, is sent away; default 5 min, as in Go. */
  readonly minPingIntervalMs: number;
  /** Whether that interval also holds while there is no call; else it is two hours then. */
  readonly permitPingsWithoutCalls: boolean;
}

/** What holds where nothing else is said. */
export const KEEPALIVE: GrpcKeepalive = {
  maxConnectionIdleMs: 300_000,
  maxConnectionAgeMs: 0,
  maxConnectionAgeGraceMs: 0,
  timeMs: 30_000,
  timeoutMs: 20_000,
  minPingIntervalMs: 300_000,
  permitPingsWithoutCalls: false,
};

/** Ends connections that are idle, too old, silent or that ping too often. */
export function watchSession(
  session: ServerHttp2Session,
  keepalive: GrpcKeepalive,
  clock: Clock,
  gone: () => void,
): void {
  const { maxConnectionIdleMs, maxConnectionAgeMs, maxConnectionAgeGraceMs, timeMs, timeoutMs } = keepalive;
  const timers: Record<'idle' | 'age' | 'ping', Timer | undefined> = {
    idle: undefined,
    age: undefined,
    ping: undefined,
  };
  let streams = 0;
  const start = (name: keyof typeof timers, ms: number, run: () => void) => {
    timers[name]?.cancel();
    timers[name] = ms > 0 ? clock.after(ms, run) : undefined;
  };
  const idle = () => start('idle', maxConnectionIdleMs, () => session.close());
  idle();
  session.on('stream', (stream) => {
    streams++;
    timers.idle?.cancel();
    stream.once('close', () => {
      streams--;
      if (streams === 0) idle();
    });
  });
  start('age', maxConnectionAgeMs, () => {
    session.close();
    start('age', maxConnectionAgeGraceMs, () => session.destroy());
  });
  // Also the only way to notice, on some versions of Node, that a connection ended in the middle of a broken frame.
  const ping = () =>
    start('ping', timeMs, () => {
      if (session.destroyed || session.closed) return;
      if (streams > 0) return ping();
      session.ping((error) => {
        if (!error) ping();
      });
      start('ping', timeoutMs, () => session.destroy());
    });
  ping();
  let lastPing = Number.NEGATIVE_INFINITY;
  let strikes = 0;
  session.on('ping', () => {
    const now = clock.monotonic();
    const { minPingIntervalMs, permitPingsWithoutCalls } = keepalive;
    const interval =
      streams > 0 || permitPingsWithoutCalls || minPingIntervalMs === 0 ? minPingIntervalMs : IDLE_PING_INTERVAL_MS;
    if (now - lastPing < interval && ++strikes > 2) {
      session.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from('too_many_pings'));
      session.destroy();
    }
    lastPing = now;
  });
  session.on('stream', () => {
    strikes = 0;
  });
  session.once('close', () => {
    for (const timer of Object.values(timers)) timer?.cancel();
    gone();
  });
}
