/**
 * A clock that runs faster than the machine's, so that ten minutes of a cluster fit into less than one. It does not run
 * away from a process that gets no CPU: between two ticks at most `STEP_MS` of the machine's time count, so on a busy
 * machine everything gets slower together instead of every timeout striking.
 */
import { type Clock, systemClock, type Timer } from '../../pipeline/kit/clock.ts';

const TICK_MS = 8;
const STEP_MS = 20;

export interface FastClock extends Clock {
  /** Ends the ticking; no timer fires any more. */
  stop(): void;
}

interface Waiting extends Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** Begins at the machine's time and runs up to `speed` times as fast from there. `machine` is what it is driven by. */
export function fastClock(speed: number, machine: Clock = systemClock): FastClock {
  const startMs = Math.floor(machine.now());
  const waiting = new Set<Waiting>();
  let passed = 0;
  let tickedAt = machine.monotonic();
  let ticking: Timer | undefined;
  const soFar = () => passed + Math.min(STEP_MS, machine.monotonic() - tickedAt) * speed;
  const tick = () => {
    passed = soFar();
    tickedAt = machine.monotonic();
    ticking = machine.after(TICK_MS, tick);
    const due = [...waiting].filter((w) => w.at <= passed).sort((a, b) => a.at - b.at);
    for (const timer of due) if (waiting.delete(timer)) timer.callback();
  };
  ticking = machine.after(TICK_MS, tick);
  const clock: FastClock = {
    now: () => startMs + soFar(),
    monotonic: soFar,
    after(ms, callback) {
      const timer: Waiting = { at: soFar() + Math.max(0, ms), callback, cancel: () => void waiting.delete(timer) };
      waiting.add(timer);
      return timer;
    },
    sleep(ms, signal) {
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
    },
    stop() {
      ticking?.cancel();
      waiting.clear();
    },
  };
  return clock;
}
