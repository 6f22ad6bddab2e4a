/**
 * One batch to several consumers, each on its own: a branch that refuses neither blocks the others nor makes the sender
 * repeat to them what they already took (docs/decisions/fan-out.md).
 */
import type { Consumer, DropReason } from './component.ts';
import { describeError, PermanentError, RetryableError, reasonOf } from './errors.ts';
import { type Batch, itemCount, type Signal } from './model.ts';

export interface Branch {
  /** For messages: `exporter "otlp_http"`. */
  readonly name: string;
  readonly consumer: Consumer;
  /** Counts items that this branch refused while another one took them: nobody will try again. */
  lost(signal: Signal, items: number, reason: DropReason): void;
}

/**
 * A consumer that gives every batch to all branches. It accepts if at least one branch does; what the others refused is
 * lost for them and counted. It rejects only if all refuse: with a retryable error if any of them was, so that the sender
 * can try again without duplicating anything.
 */
export function fanOut(branches: readonly Branch[]): Consumer {
  const only = branches[0];
  if (only && branches.length === 1) return only.consumer;

  const settle = (batch: Batch, failures: readonly { branch: Branch; error: unknown }[]) => {
    if (failures.length === 0) return;
    if (failures.length === branches.length) throw joined(failures);
    for (const { branch, error } of failures) {
      const rejected = error instanceof PermanentError ? error.rejected : undefined;
      branch.lost(batch.signal, rejected ?? itemCount(batch), reasonOf(error));
    }
  };

  return {
    consume(batch) {
      let failures: { branch: Branch; error: unknown }[] | undefined;
      let pending: Promise<void>[] | undefined;
      const failed = (branch: Branch, error: unknown) => {
        failures ??= [];
        failures.push({ branch, error });
      };
      for (const branch of branches) {
        try {
          const result = branch.consumer.consume(batch);
          if (result) {
            pending ??= [];
            pending.push(result.catch((error: unknown) => failed(branch, error)));
          }
        } catch (error) {
          failed(branch, error);
        }
      }
      if (pending) return Promise.all(pending).then(() => settle(batch, failures ?? []));
      if (failures) settle(batch, failures);
    },
  };
}

function joined(failures: readonly { branch: Branch; error: unknown }[]): Error {
  const message = failures.map(({ branch, error }) => `${branch.name}: ${describeError(error)}`).join('; ');
  const retryable = failures.map(({ error }) => error).filter((error) => error instanceof RetryableError);
  const first = retryable[0];
  if (!first) return new PermanentError(message, { cause: failures[0]?.error });
  const waits = retryable.map((error) => error.retryAfterMs).filter((ms) => ms !== undefined);
  return new RetryableError(message, {
    cause: first,
    reason: first.reason,
    exhausted: retryable.some((error) => error.exhausted),
    ...(waits.length > 0 ? { retryAfterMs: Math.max(...waits) } : {}),
  });
}
