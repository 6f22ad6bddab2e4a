/**
 * The edges of the graph. Everything that crosses from one component to the next goes through an inlet (in front of a
 * processor or exporter) and an outlet (behind a receiver or processor): they count, they turn bugs into errors, they hold
 * data back while a component restarts, and they can be pointed elsewhere while everything runs.
 */
import type { ComponentKind, Consumer } from './component.ts';
import { describeError, PermanentError, RetryableError } from './errors.ts';
import type { Clock } from './kit/clock.ts';
import type { Logger } from './kit/log.ts';
import { type Batch, itemCount, type Signal } from './model.ts';
import type { Cell, Telemetry } from './telemetry.ts';
import { METRICS, type MetricInfo } from './telemetry-metrics.ts';

/** Batches that may wait in front of a component that restarts, and for how long; more are refused as retryable. */
const MAX_HELD = 100;
const MAX_HOLD_MS = 5000;

/** Which component an edge belongs to. */
export interface Owner {
  readonly kind: ComponentKind;
  readonly id: string;
  /** Processors only: they are one instance per pipeline. */
  readonly pipeline?: string;
}

export interface EdgeNeeds {
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly log: Logger;
  /** Whether records about bugs carry the stack. */
  readonly stacks: boolean;
}

/** The way into a processor or exporter. Closed until `open`: data waits a short while, then is refused. */
export interface Inlet extends Consumer {
  open(stage: Consumer): void;
  close(): void;
  /** Refuses everything from now on, as retryable. */
  refuse(why: string): void;
}

/** The way out of a receiver or processor. */
export interface Outlet extends Consumer {
  /** Where each signal goes from now on. */
  point(table: Readonly<Partial<Record<Signal, Consumer>>>): void;
}

export const ownerLabels = ({ id, pipeline }: Owner): Record<string, string> =>
  pipeline === undefined ? { component: id } : { component: id, pipeline };

/** One cell per signal, made when the first item comes. */
function signalCells(telemetry: Telemetry, metric: MetricInfo, owner: Owner): (signal: Signal) => Cell {
  const cells: Partial<Record<Signal, Cell>> = {};
  return (signal) => {
    let cell = cells[signal];
    if (!cell) {
      cell = telemetry.cell(metric, { ...ownerLabels(owner), signal });
      cells[signal] = cell;
    }
    return cell;
  };
}

/**
 * Turns whatever a component threw into one of the two errors that may cross an edge. Anything else is a bug of the
 * component: it is logged with its stack, counted, and permanent, because the same data would meet the same bug.
 */
export function errorConverter(owner: Owner, { telemetry, log, stacks }: EdgeNeeds): (error: unknown) => Error {
  const { kind, id } = owner;
  const where = `${kind} "${id}"`;
  return (error) => {
    if (error instanceof PermanentError || error instanceof RetryableError) return error;
    // A plug-in may bring its own copy of the two classes.
    if (error instanceof Error && error.name === 'RetryableError') {
      return new RetryableError(error.message, { cause: error });
    }
    if (error instanceof Error && error.name === 'PermanentError') {
      return new PermanentError(error.message, { cause: error });
    }
    telemetry.cell(METRICS.componentErrors, { kind, ...ownerLabels(owner) }).value++;
    log.error('A component failed in a way it should not; this is a bug.', {
      error,
      ...(stacks && error instanceof Error ? { stack: error.stack } : {}),
    });
    return new PermanentError(`internal error of ${where}: ${describeError(error)}`, { cause: error });
  };
}

// Time spent in edges below the one that is being measured, so that each component is charged for its own only.
let nestedMs = 0;

/** Wraps a stage so that the synchronous time inside it, without what follows, is added to a cell. */
export function timed(stage: Consumer, cell: Cell, clock: Clock): Consumer {
  return {
    consume(batch) {
      const outer = nestedMs;
      nestedMs = 0;
      const start = clock.monotonic();
      try {
        return stage.consume(batch);
      } finally {
        const took = clock.monotonic() - start;
        cell.value += (took - nestedMs) / 1000;
        nestedMs = outer + took;
      }
    },
  };
}

/** The way into `owner`, counting what it takes and, for a processor, what it refuses. */
export function inlet(owner: Owner, needs: EdgeNeeds): Inlet {
  const { telemetry, clock } = needs;
  const isProcessor = owner.kind === 'processor';
  const taken = signalCells(telemetry, isProcessor ? METRICS.processorIncoming : METRICS.exporterIncoming, owner);
  const refused = isProcessor ? signalCells(telemetry, METRICS.processorRefused, owner) : undefined;
  const known = errorConverter(owner, needs);
  let stage: Consumer | undefined;
  let refusal: string | undefined;
  const held = new Set<() => void>();

  const rejected = (batch: Batch, error: unknown): Error => {
    if (refused) refused(batch.signal).value += itemCount(batch);
    return known(error);
  };
  const wakeUp = () => {
    for (const wake of [...held]) wake();
  };

  const give = (to: Consumer, batch: Batch): Promise<void> | void => {
    const items = itemCount(batch);
    let result: Promise<void> | void;
    try {
      result = to.consume(batch);
    } catch (error) {
      throw rejected(batch, error);
    }
    if (!result) {
      taken(batch.signal).value += items;
      return;
    }
    return result.then(
      () => {
        taken(batch.signal).value += items;
      },
      (error: unknown) => {
        throw rejected(batch, error);
      },
    );
  };

  const hold = async (batch: Batch): Promise<void> => {
    if (refusal !== undefined || held.size >= MAX_HELD) {
      throw rejected(batch, new RetryableError(refusal ?? `${owner.kind} "${owner.id}" is restarting`));
    }
    await new Promise<void>((resolve) => {
      const wake = () => {
        timer.cancel();
        held.delete(wake);
        resolve();
      };
      const timer = clock.after(MAX_HOLD_MS, wake);
      held.add(wake);
    });
    if (!stage) throw rejected(batch, new RetryableError(refusal ?? `${owner.kind} "${owner.id}" is restarting`));
    return give(stage, batch);
  };

  return {
    consume: (batch) => (stage ? give(stage, batch) : hold(batch)),
    open(next) {
      stage = next;
      refusal = undefined;
      wakeUp();
    },
    close() {
      stage = undefined;
    },
    refuse(why) {
      stage = undefined;
      refusal = why;
      wakeUp();
    },
  };
}

/** The way out of `owner`, counting what those behind it took and, for a receiver, what they refused. */
export function outlet(owner: Owner, needs: EdgeNeeds): Outlet {
  const { telemetry } = needs;
  const isReceiver = owner.kind === 'receiver';
  const taken = signalCells(telemetry, isReceiver ? METRICS.receiverAccepted : METRICS.processorOutgoing, owner);
  const refused = isReceiver ? signalCells(telemetry, METRICS.receiverRefused, owner) : undefined;
  let table: Readonly<Partial<Record<Signal, Consumer>>> = {};

  const rejected = (batch: Batch, error: unknown) => {
    if (refused) refused(batch.signal).value += itemCount(batch);
    return error;
  };

  return {
    consume(batch) {
      const { signal } = batch;
      const items = itemCount(batch);
      if (items === 0) return;
      let result: Promise<void> | void;
      try {
        const next = table[signal];
        if (!next) throw new PermanentError(`${owner.kind} "${owner.id}" is in no pipeline that carries ${signal}`);
        result = next.consume(batch);
      } catch (error) {
        throw rejected(batch, error);
      }
      if (!result) {
        taken(signal).value += items;
        return;
      }
      return result.then(
        () => {
          taken(signal).value += items;
        },
        (error: unknown) => {
          throw rejected(batch, error);
        },
      );
    },
    point(to) {
      table = to;
    },
  };
}
