/** One request, tried until it is delivered, refused for good, too old, or the daemon stops. */
import { PermanentError, RetryableError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { RetryConfig } from './deliver-options.ts';
import type { Logger } from './log.ts';

/** What the other side said to a request that it took. */
export interface SendResult {
  /** Items that it refused all the same (OTLP's partial success). */
  readonly rejected?: number;
}

export type Outcome =
  | { readonly kind: 'sent'; readonly rejected: number }
  /** Refused for good. */
  | { readonly kind: 'permanent'; readonly error: PermanentError }
  /** It may have worked later, but the time for it is over (or retrying is off). */
  | { readonly kind: 'exhausted'; readonly error: RetryableError }
  /** Given up because the daemon stops; nobody knows whether an attempt in flight arrived. */
  | { readonly kind: 'aborted' };

export interface AttemptOptions {
  readonly retry: RetryConfig;
  /** Per attempt, milliseconds; 0 is no limit. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  /** In [0, 1); varies the waits. */
  readonly random: () => number;
  /** Told after each attempt, for the component's status. */
  readonly onAttempt?: (error: Error | undefined) => void;
}

export interface StopSignals {
  /** Aborts: an attempt may finish, but no further one is waited for. */
  readonly waiting: AbortSignal;
  /** Aborts: the attempt in flight ends, too. */
  readonly sending: AbortSignal;
}

/** The other side cannot hold us off for longer than this, even if we try forever. */
const LONGEST_THROTTLE_MS = 3_600_000;

/**
 * Runs `send` until there is an outcome; never rejects. `send` must give up when its signal aborts; a `send` that does
 * not is abandoned.
 */
export async function attempt(
  send: (abort: AbortSignal) => Promise<SendResult | undefined>,
  stop: StopSignals,
  options: AttemptOptions,
): Promise<Outcome> {
  const { retry, clock, log, random, onAttempt } = options;
  const startedAt = clock.monotonic();
  let backoffMs = retry.initial_interval;
  for (;;) {
    if (stop.sending.aborted) return { kind: 'aborted' };
    let failure: RetryableError;
    try {
      const result = await once(send, stop.sending, options);
      onAttempt?.(undefined);
      return { kind: 'sent', rejected: result?.rejected ?? 0 };
    } catch (error) {
      if (stop.sending.aborted) return { kind: 'aborted' };
      onAttempt?.(error as Error);
      if (!(error instanceof RetryableError)) {
        return { kind: 'permanent', error: error instanceof PermanentError ? error : unexpected(error, log) };
      }
      failure = error;
    }
    if (!retry.enabled) return { kind: 'exhausted', error: failure };
    if (stop.waiting.aborted) return { kind: 'aborted' };

    const spread = retry.randomization_factor * (2 * random() - 1);
    let delayMs = Math.min(backoffMs, retry.max_interval) * (1 + spread);
    const remainingMs =
      retry.max_elapsed_time > 0 ? retry.max_elapsed_time - (clock.monotonic() - startedAt) : Number.POSITIVE_INFINITY;
    if (delayMs > remainingMs || remainingMs <= 0) return { kind: 'exhausted', error: failure };
    // Asked to wait for longer than we may, we wait as long as we may and try a last time.
    delayMs = Math.max(delayMs, Math.min(failure.retryAfterMs ?? 0, remainingMs, LONGEST_THROTTLE_MS));
    log.warn('Exporting failed. Will retry the request after interval.', {
      error: failure,
      interval: `${Math.round(delayMs)}ms`,
    });
    await clock.sleep(delayMs, stop.waiting);
    if (stop.waiting.aborted) return { kind: 'aborted' };
    backoffMs = Math.min(backoffMs * retry.multiplier, retry.max_interval);
  }
}

function once(
  send: (abort: AbortSignal) => Promise<SendResult | undefined>,
  stop: AbortSignal,
  { timeoutMs, clock }: AttemptOptions,
): Promise<SendResult | undefined> {
  return new Promise((resolve, reject) => {
    const controller = new AbortController();
    const end = (error: RetryableError) => {
      controller.abort(error);
      reject(error);
    };
    const onStop = () => end(new RetryableError('the daemon stops'));
    const timer =
      timeoutMs > 0
        ? clock.after(timeoutMs, () => end(new RetryableError(`no answer within ${timeoutMs} ms (\`timeout\`)`)))
        : undefined;
    stop.addEventListener('abort', onStop, { once: true });
    send(controller.signal)
      .then(resolve, reject)
      .finally(() => {
        timer?.cancel();
        stop.removeEventListener('abort', onStop);
      });
  });
}

function unexpected(error: unknown, log: Logger): PermanentError {
  log.error('A bug in this exporter stopped a request; please report it.', {
    error,
    stack: error instanceof Error ? error.stack : undefined,
  });
  return new PermanentError('unexpected failure', { cause: error });
}
