/**
 * Runs something again and again: spread over the interval by a hash, on a grid of wall time, never twice at once, and
 * less often where it costs the other side too much.
 */
import { describeError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';

export interface Tick {
  /** Wall time of the run, milliseconds: the grid's, where the run is nearly on it, so that times are evenly spaced. */
  readonly time: number;
  /** Aborts when the loop is stopped and the deadline has passed. */
  readonly signal: AbortSignal;
}

export interface EveryOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
  /** Where in the interval it runs: equal keys run together, others are spread. */
  readonly key: string;
  /**
   * The share of the time that a run may take of whoever pays for it; the interval grows to keep to it (0.001: a run of
   * 8 ms every 8 s). 0 or absent: the interval stays.
   */
  readonly maxLoad?: number;
  /** Called when the interval becomes another, with the new one and the cost that it follows from, milliseconds. */
  readonly onInterval?: (intervalMs: number, costMs: number) => void;
  /**
   * One run. Resolves with what it cost, in milliseconds, or with undefined if that says nothing (it failed). What it
   * throws is logged; the loop goes on.
   */
  readonly run: (tick: Tick) => Promise<number | undefined> | number | undefined;
}

export interface Every {
  /** The interval as it is now. */
  intervalMs(): number;
  /** Runs that were skipped because the one before was not over. */
  skipped(): number;
  /** No further run; resolves when the one in flight is over, which `deadline` aborts. */
  stop(deadline?: AbortSignal): Promise<void>;
}

/** Costs that the interval follows: the median of these. */
const REMEMBERED = 5;
const ENOUGH = 3;
const TOLERANCE_MS = 2;

/** Starts the loop. */
export function runEvery(options: EveryOptions): Every {
  const { clock, log, intervalMs: base, maxLoad = 0, run } = options;
  const phase = hash(options.key) % Math.max(1, Math.floor(base));
  const costs: number[] = [];
  const abort = new AbortController();
  let interval = base;
  let skipped = 0;
  let stopped = false;
  let timer = { cancel() {} };
  let running: Promise<void> = Promise.resolve();

  /** The first time on the grid after `after`. */
  const onGrid = (after: number): number => Math.floor((after - phase) / base) * base + phase + base;

  const wait = (at: number) => {
    timer = clock.after(at - clock.now(), () => {
      running = fire(at);
    });
  };

  const fire = async (at: number): Promise<void> => {
    const now = clock.now();
    const tolerance = Math.max(TOLERANCE_MS, base / 100);
    const time = Math.abs(now - at) <= tolerance ? at : now;
    try {
      const cost = await run({ time, signal: abort.signal });
      if (cost !== undefined && maxLoad > 0) follow(cost);
    } catch (error) {
      log.error('A run failed unexpectedly.', {
        error,
        stack: error instanceof Error ? error.stack : describeError(error),
      });
    }
    if (stopped) return;
    const over = clock.now();
    let next = at + interval;
    if (next <= over) {
      skipped += Math.floor((over - at) / interval);
      next = onGrid(over);
    }
    // The wall clock was set back.
    if (next - over > 2 * interval) next = onGrid(over);
    wait(next);
  };

  const follow = (cost: number) => {
    costs.push(cost);
    if (costs.length > REMEMBERED) costs.shift();
    // The first run may include what only a first run pays.
    if (costs.length < ENOUGH) return;
    const typical = [...costs].sort((x, y) => x - y)[(costs.length - 1) >> 1]!;
    const wanted = Math.max(base, Math.ceil(typical / maxLoad));
    // Small changes would only make the spacing uneven.
    if (wanted !== interval && (wanted === base || Math.abs(wanted - interval) > 0.1 * interval)) {
      interval = wanted;
      options.onInterval?.(interval, typical);
    }
  };

  wait(onGrid(clock.now() - 1));
  return {
    intervalMs: () => interval,
    skipped: () => skipped,
    async stop(deadline) {
      stopped = true;
      timer.cancel();
      const giveUp = () => abort.abort();
      if (deadline?.aborted) giveUp();
      deadline?.addEventListener('abort', giveUp, { once: true });
      await running;
      deadline?.removeEventListener('abort', giveUp);
    },
  };
}

/** FNV-1a, finished with a mixer so that neighbours are spread. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}
