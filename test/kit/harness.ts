/** What a component test needs: a context on a clock that the test moves, and a sink that freezes what it gets. */
import { loadCatalog } from '../../config/catalog.ts';
import type { Consumer, Context, DropReason } from '../../pipeline/component.ts';
import { type ManualClock, manualClock } from '../../pipeline/kit/clock.ts';
import { type Logger, type LogRecordOut, memoryLogger } from '../../pipeline/kit/log.ts';
import { type Batch, type LogRecord, type Point, SIGNALS, type Signal, type Span } from '../../pipeline/model.ts';

export interface TestMeter {
  readonly counters: Map<string, number>;
  readonly gauges: Map<string, () => number | undefined>;
  readonly drops: { signal: Signal; items: number; reason: DropReason }[];
  sent: number;
  failed: number;
}

export interface TestContext extends Context {
  readonly log: Logger & { readonly records: LogRecordOut[] };
  readonly measured: TestMeter;
  readonly statuses: { status: string; message: string }[];
}

/** A context with a manual clock (or the one given), a log that is kept, and counters that can be read. */
export function testContext(
  options: Partial<Pick<Context, 'id' | 'kind' | 'clock' | 'signals' | 'catalog'>> = {},
): TestContext {
  const log = memoryLogger();
  const measured: TestMeter = { counters: new Map(), gauges: new Map(), drops: [], sent: 0, failed: 0 };
  const statuses: { status: string; message: string }[] = [];
  return {
    id: options.id ?? 'test',
    kind: options.kind ?? 'receiver',
    clock: options.clock ?? manualClock(),
    signals: options.signals ?? new Set(SIGNALS),
    catalog: options.catalog ?? loadCatalog(),
    log: log as TestContext['log'],
    measured,
    statuses,
    status: (status, message = '') => void statuses.push({ status, message }),
    meter: {
      counter: (name) => ({
        add(n, labels) {
          const key = labels
            ? `${name}{${Object.entries(labels)
                .map(([k, v]) => `${k}=${v}`)
                .join(',')}}`
            : name;
          measured.counters.set(key, (measured.counters.get(key) ?? 0) + n);
        },
      }),
      gauge: (name, _description, read) => void measured.gauges.set(name, read),
      dropped: (signal, items, reason) => void measured.drops.push({ signal, items, reason }),
      sent(_signal, items) {
        measured.sent += items;
      },
      failed(_signal, items) {
        measured.failed += items;
      },
    },
  };
}

export type { ManualClock };

/** Freezes plain data all the way down, so that changing a batch after it was handed on throws. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const key of Reflect.ownKeys(value)) deepFreeze((value as Record<PropertyKey, unknown>)[key as string]);
  return value;
}

export interface Sink extends Consumer {
  readonly batches: Batch[];
  points(): Point[];
  spans(): Span[];
  logs(): LogRecord[];
  /** Makes the next calls of `consume` throw this; undefined accepts again. */
  failWith(error: Error | undefined): void;
}

/** Keeps what it is given, frozen. */
export function sink(): Sink {
  const batches: Batch[] = [];
  let failure: Error | undefined;
  const of = <T>(signal: Signal) =>
    batches.filter((b) => b.signal === signal).flatMap((b) => b.items as readonly unknown[] as T[]);
  return {
    batches,
    consume(batch) {
      deepFreeze(batch);
      if (failure) throw failure;
      batches.push(batch);
    },
    points: () => of<Point>('metrics'),
    spans: () => of<Span>('traces'),
    logs: () => of<LogRecord>('logs'),
    failWith(error) {
      failure = error;
    },
  };
}
