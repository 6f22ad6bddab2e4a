/** Decides, check by check, whether there is memory left to take data. */
import type { Clock } from '../../pipeline/kit/clock.ts';

export interface Limits {
  /** Bytes; from here on data is refused. */
  readonly soft: number;
  /** Bytes; from here on garbage is collected as well. */
  readonly hard: number;
  /** Least milliseconds between two forced collections, below and above the hard limit. */
  readonly gcEverySoftMs: number;
  readonly gcEveryHardMs: number;
}

export interface Limiter {
  readonly refusing: boolean;
  /** Bytes in use at the last check. */
  readonly used: number;
  /** Measures and decides. */
  check(): void;
}

export interface LimiterOptions {
  readonly limits: Limits;
  readonly clock: Clock;
  /** Bytes in use now. */
  readonly measure: () => number;
  /** Collects garbage at once; undefined where node does not offer it. */
  readonly collect: (() => void) | undefined;
  /** Called when refusing starts or ends, with the bytes in use. */
  readonly onChange: (refusing: boolean, used: number) => void;
}

/** The longest wait between forced collections that did not help. */
const MAX_BACKOFF_MS = 30_000;

export function createLimiter(options: LimiterOptions): Limiter {
  const { limits, clock, measure, collect, onChange } = options;
  let refusing = false;
  let used = measure();
  let collectedAt = Number.NEGATIVE_INFINITY;
  let backoff = 0;

  /** Forces a collection unless the last one was a short while ago; one that frees nothing makes the next wait longer. */
  function collectGarbage(): void {
    const every = Math.max(used >= limits.hard ? limits.gcEveryHardMs : limits.gcEverySoftMs, backoff);
    const now = clock.monotonic();
    if (!collect || now - collectedAt < every) return;
    collect();
    collectedAt = now;
    used = measure();
    backoff = used < limits.soft ? 0 : Math.min(MAX_BACKOFF_MS, Math.max(1_000, backoff * 2));
  }

  const limiter: Limiter = {
    get refusing() {
      return refusing;
    },
    get used() {
      return used;
    },
    check() {
      used = measure();
      if (used >= limits.soft) collectGarbage();
      const now = used >= limits.soft;
      if (now === refusing) return;
      refusing = now;
      onChange(refusing, used);
    },
  };
  return limiter;
}
