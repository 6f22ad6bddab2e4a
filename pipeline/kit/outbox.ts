/** Records that a processor makes by itself, between its rounds and whoever is behind it: kept while that refuses, within a limit. */
import type { Consumer, Context } from '../component.ts';
import { RetryableError } from '../errors.ts';
import { type LogRecord, logsBatch } from '../model.ts';

const LIMIT = 5000;

export interface Outbox {
  /** Beyond 5,000 records the oldest are dropped, and counted. */
  push(record: LogRecord): void;
  /** Hands everything on. Never rejects: what may be tried again waits for the next time, the rest is dropped and counted. */
  deliver(): Promise<void>;
}

/** `what` begins the message of a failure, such as "Alerts". */
export function outbox(next: Consumer, what: string, { log, meter }: Pick<Context, 'log' | 'meter'>): Outbox {
  let waiting: LogRecord[] = [];
  const trim = () => {
    if (waiting.length <= LIMIT) return;
    const records = waiting.length - LIMIT;
    meter.dropped('logs', records, 'queue_full');
    log.warn(`${what} could not be handed on for too long; the oldest are dropped.`, { records });
    waiting = waiting.slice(-LIMIT);
  };
  return {
    push(record) {
      waiting.push(record);
      // Not at each record: cutting copies the list.
      if (waiting.length >= 2 * LIMIT) trim();
    },
    async deliver() {
      trim();
      if (waiting.length === 0) return;
      const sending = waiting;
      waiting = [];
      try {
        await next.consume(logsBatch(sending));
      } catch (error) {
        if (error instanceof RetryableError) waiting = [...sending, ...waiting];
        else {
          meter.dropped('logs', sending.length, 'permanent_error');
          log.warn(`${what} could not be handed on.`, { records: sending.length, error });
        }
      }
    },
  };
}
