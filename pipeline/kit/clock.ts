/** Time, handed in: the daemon runs on the machine's clock, tests and `diagnose` on one they move themselves. */
import { nanosFromMs, type UnixNano } from '../model.ts';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch, with fractions. Can jump. */
  now(): number;
  /** Milliseconds of a clock that never jumps; only differences mean something. */
  monotonic(): number;
  /** Calls back once, after at least `ms`. Does not keep the process alive. */
  after(ms: number, callback: () => void): Timer;
  /** Resolves after at least `ms`, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The clock's wall time as nanoseconds. */
export const nowNanos = (clock: Clock): UnixNano => nanosFromMs(clock.now());

const MAX_TIMEOUT = 2 ** 31 - 1;

function sleepOn(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(ms, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now() + wallDrift(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, ms), MAX_TIMEOUT));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  sleep: (ms, signal) => sleepOn(systemClock, ms, signal),
};

/**
 * performance.now() does not follow corrections of the wall clock, Date.now() has no fractions: take the fraction of the
 * one and the steps of the other.
 */
function wallDrift(): number {
  const drift = Date.now() - (performance.timeOrigin + performance.now());
  return Math.abs(drift) > 2 ? drift : 0;
}

/**
 * A clock that only moves when told to. `advance` runs what falls due, in order, and lets promises settle in between.
 * Used by tests and by `diagnose`.
 */
export interface ManualClock extends Clock {
  advance(ms: number): Promise<void>;
  /** Moves to an absolute time; going back moves the wall clock only. */
  setTime(ms: number): Promise<void>;
  /**
   * Moves forward to an absolute time, never back, and costs nothing but an assignment while no timer falls due. For
   * `diagnose`, which moves the clock with every line of a recording.
   */
  moveTo(ms: number): Promise<void> | undefined;
  /** Sets the wall clock, as a person does: no time passes, no timer falls due. */
  step(ms: number): void;
  /** How many timers wait. */
  pending(): number;
}

export function manualClock(startMs = 1_700_000_000_000): ManualClock {
  let wall = startMs;
  let mono = 0;
  let serial = 0;
  const timers: { at: number; serial: number; callback: () => void }[] = [];
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  const clock: ManualClock = {
    now: () => wall,
    monotonic: () => mono,
    after(ms, callback) {
      const entry = { at: mono + Math.max(0, ms), serial: serial++, callback };
      timers.push(entry);
      return {
        cancel() {
          const index = timers.indexOf(entry);
          if (index >= 0) timers.splice(index, 1);
        },
      };
    },
    sleep: (ms, signal) => sleepOn(clock, ms, signal),
    async advance(ms) {
      const end = mono + ms;
      await settle();
      for (;;) {
        let next: (typeof timers)[number] | undefined;
        for (const t of timers) {
          if (t.at <= end && (!next || t.at < next.at || (t.at === next.at && t.serial < next.serial))) next = t;
        }
        if (!next) break;
        timers.splice(timers.indexOf(next), 1);
        if (next.at > mono) {
          wall += next.at - mono;
          mono = next.at;
        }
        next.callback();
        await settle();
      }
      wall += end - mono;
      mono = end;
      await settle();
    },
    async setTime(ms) {
      if (ms > wall) await clock.advance(ms - wall);
      else wall = ms;
    },
    moveTo(ms) {
      if (ms <= wall) return undefined;
      const end = mono + (ms - wall);
      for (const timer of timers) if (timer.at <= end) return clock.advance(ms - wall);
      wall = ms;
      mono = end;
      return undefined;
    },
    step(ms) {
      wall = ms;
    },
    pending: () => timers.length,
  };
  return clock;
}
