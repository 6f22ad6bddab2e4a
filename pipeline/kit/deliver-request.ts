/** One batch as a request: encoded, split where it is too large, tried until there is an outcome, and counted. */
import type { Context } from '../component.ts';
import { describeError, PermanentError, RetryableError } from '../errors.ts';
import { type Batch, itemCount } from '../model.ts';
import { sliceBatch } from './deliver-batches.ts';
import type { DeliverConfig } from './deliver-options.ts';
import { attempt, type SendResult, type StopSignals } from './deliver-retry.ts';

/** What an exporter brings. */
export interface Sender<R> {
  /**
   * Called once for what goes out together, in the order of the queue, before it is encoded. May leave items out, and
   * counts them then. `undo` takes it back where the sender will bring the same data again (a queue that is off).
   */
  prepare?(batch: Batch): { readonly batch: Batch; undo(): void };
  /**
   * Makes the request of a batch, once: a retry sends the same object again. Undefined if there is nothing to send.
   * May throw a PermanentError.
   */
  encode(batch: Batch): R | undefined | Promise<R | undefined>;
  /** Items that count as sent or lost, where the exporter has added some of its own; default all. */
  counted?(batch: Batch): number;
  /** Bytes that `maxRequestBytes` is about; a larger request is encoded again in halves. */
  bytes?(request: R): number;
  /**
   * One attempt. Rejects with a RetryableError or a PermanentError; gives up when `abort` does. The result says what the
   * other side refused of a request it took.
   */
  send(request: R, abort: AbortSignal): Promise<SendResult | undefined>;
}

export interface RequestLimits {
  /** Requests larger than this are split, and discarded where they cannot be; 0: no limit. */
  readonly maxBytes: number;
  /** The option that sets it, for messages. */
  readonly name: string;
}

export interface Requests {
  /**
   * Delivers one batch as one request, or as several where it is too large. Never rejects; `aborted` are the items that
   * were given up because of the stop. `inline`: the sender still waits and is told of a failure, so nothing is dropped.
   */
  send(batch: Batch, inline: boolean): Promise<{ error?: Error; aborted: number }>;
  /** Under way now, waits between tries included. */
  inFlight(): number;
}

export function requests<R>(
  sender: Sender<R>,
  config: DeliverConfig,
  context: Context,
  limits: RequestLimits,
  stop: StopSignals,
  random: () => number,
): Requests {
  const { clock, log, meter } = context;
  const { maxBytes } = limits;
  let failing = false;
  let inFlight = 0;
  const retries = meter.counter('exporter_retries', 'Requests that were tried again.', '{request}');
  const options = {
    retry: config.retry_on_failure,
    timeoutMs: config.timeout,
    clock,
    log,
    random,
    onAttempt(error: Error | undefined) {
      if (error) {
        context.status(error instanceof RetryableError ? 'recoverable_error' : 'permanent_error', describeError(error));
      } else if (failing) context.status('ok');
      failing = error !== undefined;
    },
  };

  async function send(batch: Batch, inline: boolean): Promise<{ error?: Error; aborted: number }> {
    const { signal } = batch;
    if (itemCount(batch) === 0) return { aborted: 0 };
    const items = sender.counted?.(batch) ?? itemCount(batch);
    const lose = (error: Error, reason: 'too_large' | 'permanent_error' | 'retries_exhausted') => {
      meter.failed(signal, items);
      if (inline) log.error('Exporting failed. Rejecting data.', { error, rejected_items: items, ...hint(error) });
      else {
        meter.dropped(signal, items, reason);
        log.error('Exporting failed. Dropping data.', { error, dropped_items: items, ...hint(error) });
      }
      return { error, aborted: 0 };
    };
    const hint = (error: Error) =>
      error instanceof RetryableError && !config.retry_on_failure.enabled
        ? { hint: 'Try enabling retry_on_failure config option to retry on retryable errors.' }
        : {};
    let request: R | undefined;
    try {
      request = await sender.encode(batch);
    } catch (error) {
      if (!(error instanceof PermanentError)) log.error('A batch cannot be encoded.', { error });
      return lose(error instanceof Error ? error : new PermanentError(String(error)), 'permanent_error');
    }
    if (request === undefined) return { aborted: 0 };
    const bytes = sender.bytes?.(request) ?? 0;
    if (maxBytes > 0 && bytes > maxBytes) {
      if (itemCount(batch) <= 1) {
        const text = `one item makes a request of ${bytes} bytes, above the limit of ${maxBytes} (\`${limits.name}\`)`;
        return lose(new PermanentError(text, { reason: 'too_large' }), 'too_large');
      }
      const middle = itemCount(batch) >> 1;
      const first = await send(sliceBatch(batch, 0, middle), inline);
      const second = await send(sliceBatch(batch, middle, itemCount(batch)), inline);
      const error = first.error ?? second.error;
      return { ...(error ? { error } : {}), aborted: first.aborted + second.aborted };
    }
    let tries = 0;
    inFlight++;
    const outcome = await attempt(
      (abort) => {
        if (tries++ > 0) retries.add(1);
        return sender.send(request, abort);
      },
      stop,
      options,
    );
    inFlight--;
    switch (outcome.kind) {
      case 'sent': {
        const rejected = Math.min(items, outcome.rejected);
        meter.sent(signal, items - rejected);
        if (rejected > 0) {
          meter.failed(signal, rejected);
          meter.dropped(signal, rejected, 'partial_success');
        }
        return { aborted: 0 };
      }
      case 'permanent':
        return lose(outcome.error, 'permanent_error');
      case 'exhausted': {
        const { message, cause, retryAfterMs, exhausted } = outcome.error;
        const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
        return lose(
          new RetryableError(message, { cause, ...wait, exhausted, reason: 'retries_exhausted' }),
          'retries_exhausted',
        );
      }
      case 'aborted':
        return { error: new RetryableError(`${context.id} stopped before the data was delivered`), aborted: items };
    }
  }

  return { send, inFlight: () => inFlight };
}
