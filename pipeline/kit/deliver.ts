/**
 * How an exporter gets its data to the other side: queue, batch, retry, timeout, send, in this order. The exporter brings
 * two functions, `encode` and `send`; everything between them and `consume` is here, the same for all.
 */
import { setMaxListeners } from 'node:events';
import type { Context, Stage } from '../component.ts';
import { describeError, PermanentError, RetryableError } from '../errors.ts';
import type { Batch, Signal } from '../model.ts';
import { encodeRequest } from '../wire/otlp/index.ts';
import { joinBatches, sliceBatch, splitBatch } from './deliver-batches.ts';
import { type Lane, lane, type Part, type PartsResult } from './deliver-lane.ts';
import { batchSizer, type DeliverConfig } from './deliver-options.ts';
import { attempt, type SendResult } from './deliver-retry.ts';
import { openQueues, type QueueOnDisk } from './deliver-storage.ts';

export type { SendResult } from './deliver-retry.ts';

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
  /** Bytes that `maxRequestBytes` is about; a larger request is encoded again in halves. */
  bytes?(request: R): number;
  /**
   * One attempt. Rejects with a RetryableError or a PermanentError; gives up when `abort` does. The result says what the
   * other side refused of a request it took.
   */
  send(request: R, abort: AbortSignal): Promise<SendResult | undefined>;
}

export interface DeliverExtras {
  /** Requests larger than this are split, and discarded where they cannot be; 0 or absent: no limit. */
  readonly maxRequestBytes?: number;
  /**
   * Splits every batch among `count` queues that each have one request in flight, so that items which `of` sends to the
   * same queue (a number from 0) arrive in order.
   */
  readonly shards?: { readonly count: number; of(item: Batch['items'][number]): number };
  /** In [0, 1); for tests. */
  readonly random?: () => number;
}

/** Starts the delivery; the stage's `stop` flushes until its deadline. Rejects if the queue's folder cannot be used. */
export async function deliver<R>(
  config: DeliverConfig,
  sender: Sender<R>,
  context: Context,
  extras: DeliverExtras = {},
): Promise<Stage> {
  const { clock, log, meter } = context;
  const { sending_queue: queue } = config;
  const { shards, maxRequestBytes = 0 } = extras;
  const hardStop = new AbortController();
  const noMoreWaiting = new AbortController();
  // Every request in flight listens to both.
  setMaxListeners(0, hardStop.signal, noMoreWaiting.signal);
  let failing = false;
  let stopping: Promise<void> | undefined;
  let inFlight = 0;
  const undelivered = new Map<string, number>();

  const retries = meter.counter('exporter_retries', 'Requests that were tried again.', '{request}');
  const enqueueFailed = meter.counter(
    'exporter_enqueue_failed_items',
    'Items that were refused because the sending queue had no room.',
    '{item}',
  );
  const options = {
    retry: config.retry_on_failure,
    timeoutMs: config.timeout,
    clock,
    log,
    random: extras.random ?? Math.random,
    onAttempt(error: Error | undefined) {
      if (error) {
        context.status(error instanceof RetryableError ? 'recoverable_error' : 'permanent_error', describeError(error));
      } else if (failing) context.status('ok');
      failing = error !== undefined;
    },
  };

  /** Delivers one batch as one request, or as several where it is too large. Never rejects. */
  async function sendBatch(batch: Batch, inline: boolean): Promise<{ error?: Error; aborted: number }> {
    const { signal } = batch;
    const items = batch.items.length;
    if (items === 0) return { aborted: 0 };
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
    if (maxRequestBytes > 0 && bytes > maxRequestBytes) {
      if (items <= 1) {
        const text = `one item makes a request of ${bytes} bytes, above the limit of ${maxRequestBytes} (\`max_request_size\`)`;
        return lose(new PermanentError(text, { reason: 'too_large' }), 'too_large');
      }
      const middle = items >> 1;
      const first = await sendBatch(sliceBatch(batch, 0, middle), inline);
      const second = await sendBatch(sliceBatch(batch, middle, items), inline);
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
      { waiting: noMoreWaiting.signal, sending: hardStop.signal },
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

  const noteUndelivered = (signal: Signal, items: number, kept: boolean) => {
    if (items <= 0) return;
    if (!kept) meter.dropped(signal, items, 'shutdown');
    const key = `${kept ? 'kept' : 'dropped'} ${signal}`;
    undelivered.set(key, (undelivered.get(key) ?? 0) + items);
  };

  async function sendParts(
    signal: Signal,
    disk: QueueOnDisk | undefined,
    parts: readonly Part[],
  ): Promise<PartsResult> {
    const batches: Batch[] = [];
    let inMemory = 0;
    for (const { entry, from, to } of parts) {
      const batch = entry.batch ?? (await disk?.load(entry));
      if (!batch) continue;
      if (to - from < entry.items) entry.batch = batch;
      if (!entry.record) inMemory += to - from;
      batches.push(from === 0 && to === entry.items ? batch : sliceBatch(batch, from, to));
    }
    if (batches.length === 0) return {};
    const joined = joinBatches(batches);
    const ready = sender.prepare?.(joined).batch ?? joined;
    const { error, aborted } = await sendBatch(ready, false);
    const dropped = Math.min(aborted, inMemory);
    noteUndelivered(signal, dropped, false);
    noteUndelivered(signal, aborted - dropped, true);
    return { error, keep: aborted > 0 };
  }

  const lanes = new Map<Signal, { lanes: Lane[]; disks: (QueueOnDisk | undefined)[] }>();
  const storage = queue.enabled && queue.storage ? await openQueues(queue.storage, context) : undefined;
  if (queue.enabled) {
    for (const signal of context.signals) {
      const made: Lane[] = [];
      const disks: (QueueOnDisk | undefined)[] = [];
      for (let shard = 0; shard < (shards?.count ?? 1); shard++) {
        const disk = await storage?.queue(signal, shard);
        const one = lane({
          clock,
          capacity: queue.queue_size,
          sizer: queue.sizer,
          consumers: shards ? 1 : queue.num_consumers,
          batch: queue.batch && {
            flushMs: queue.batch.flush_timeout,
            min: queue.batch.min_size,
            max: queue.batch.max_size,
            sizer: batchSizer(queue),
          },
          send: (parts) => sendParts(signal, disk, parts),
          ended: (entry, keep) => {
            if (!keep) disk?.done(entry);
          },
        });
        made.push(one);
        disks.push(disk);
      }
      lanes.set(signal, { lanes: made, disks });
      const label = { signal };
      const size = () => made.reduce((n, l) => n + l.size(), 0);
      const unit = queue.sizer === 'bytes' ? 'By' : queue.sizer === 'items' ? '{item}' : '{request}';
      meter.gauge('exporter_queue_size', 'What waits or is in flight, in units of the sizer.', size, unit, label);
      meter.gauge(
        'exporter_queue_capacity',
        'The room of the sending queue, in units of the sizer.',
        () => queue.queue_size * made.length,
        unit,
        label,
      );
    }
    for (const { lanes: made, disks } of lanes.values()) {
      disks.forEach((disk, i) => {
        for (const entry of disk?.recovered() ?? []) made[i]!.recover(entry);
      });
    }
  }
  meter.gauge(
    'exporter_in_flight_requests',
    'Requests under way, waits between tries included.',
    () => inFlight,
    '{request}',
  );

  const countBytes = queue.sizer === 'bytes' || (queue.batch !== undefined && batchSizer(queue) === 'bytes');

  async function enqueueSlowly(
    batch: Batch,
    to: Lane,
    disk: QueueOnDisk | undefined,
    reserved: boolean,
    weight: { items: number; bytes: number; payload: Uint8Array | undefined },
  ): Promise<void> {
    if (!reserved && !(await to.reserveLater(weight))) throw stopped();
    const stored = disk && weight.payload ? await disk.store(batch, weight.payload) : undefined;
    if (stored === 'full') {
      to.release(weight);
      throw full(batch, 'the queue on disk has reached its max_size');
    }
    const entry = { ...weight, batch: stored?.forget ? undefined : batch, record: stored?.record };
    if (!queue.wait_for_result) return to.put(entry);
    await new Promise<void>((resolve, reject) => {
      to.put({ ...entry, settle: (error) => (error ? reject(error) : resolve()) });
    });
  }

  const stopped = () => new RetryableError(`${context.id} is stopping`, { reason: 'shutdown' });
  const full = (batch: Batch, why = 'the sending queue is full') => {
    enqueueFailed.add(batch.items.length, { signal: batch.signal });
    log.warn('The sending queue is full, data is refused.', {
      refused_items: batch.items.length,
      queue_size: queue.queue_size,
      remedy: 'see why the other side is slow or away, or raise sending_queue.queue_size',
    });
    return new RetryableError(why, { exhausted: true });
  };

  function enqueue(batch: Batch, shard: number): Promise<void> | void {
    const of = lanes.get(batch.signal);
    const to = of?.lanes[shard];
    if (!of || !to) throw new PermanentError(`${context.id} is in no pipeline that carries ${batch.signal}`);
    const disk = of.disks[shard];
    const payload = disk || countBytes ? encodeRequest(batch, 'protobuf') : undefined;
    const weight = { items: batch.items.length, bytes: payload?.length ?? 0 };
    if (!to.fits(weight)) {
      enqueueFailed.add(weight.items, { signal: batch.signal });
      throw new PermanentError('element size too large: the batch is larger than the whole sending_queue.queue_size', {
        reason: 'too_large',
      });
    }
    const reserved = to.reserve(weight);
    if (!reserved && !queue.block_on_overflow) throw full(batch);
    if (reserved && !disk && !queue.wait_for_result) return to.put({ ...weight, batch, record: undefined });
    return enqueueSlowly(batch, to, disk, reserved, { ...weight, payload: disk ? payload : undefined });
  }

  async function inline(batch: Batch): Promise<void> {
    const ready = sender.prepare?.(batch);
    const work = sendBatch(ready?.batch ?? batch, true);
    const running = work.then(() => {});
    inlineRunning.add(running);
    try {
      const { error } = await work;
      if (!error) return;
      if (error instanceof RetryableError) ready?.undo();
      throw error;
    } finally {
      inlineRunning.delete(running);
    }
  }
  const inlineRunning = new Set<Promise<void>>();

  async function stop(deadline: AbortSignal | undefined): Promise<void> {
    const aborted = new Promise<void>((resolve) => {
      const abort = () => {
        noMoreWaiting.abort();
        hardStop.abort();
        resolve();
      };
      if (deadline?.aborted) abort();
      else deadline?.addEventListener('abort', abort, { once: true });
    });
    if (!deadline || storage) noMoreWaiting.abort();
    const all = [...lanes].flatMap(([signal, { lanes: made }]) => made.map((one) => ({ signal, one })));
    const takeRest = (onDiskOnly: boolean) => {
      for (const { signal, one } of all) {
        const rest = one.takeRest(stopped(), (entry) => !onDiskOnly || entry.record !== undefined);
        for (const { entry, items } of rest) noteUndelivered(signal, items, entry.record !== undefined);
      }
    };
    // What is on disk can wait there; what is in memory has only this chance.
    takeRest(true);
    for (const { one } of all) one.flush();
    const idle = Promise.all([...all.map(({ one }) => one.idle()), ...inlineRunning]);
    await Promise.race([idle, aborted]);
    for (const { one } of all) one.pause();
    // Sends have been told to give up; what they hold is counted as they end.
    await Promise.all([...all.map(({ one }) => one.idle()), ...inlineRunning]);
    takeRest(false);
    await storage?.close();
    for (const [key, items] of undelivered) {
      const [fate, signal] = key.split(' ');
      if (fate === 'kept') log.info('Undelivered data stays in the queue on disk.', { signal, items });
      else log.warn('Stopped before all data was delivered. Dropping data.', { signal, dropped_items: items });
    }
  }

  return {
    consume(batch) {
      if (stopping) throw stopped();
      if (batch.items.length === 0) return;
      if (!queue.enabled) return inline(batch);
      if (!shards || shards.count <= 1) return enqueue(batch, 0);
      const split = splitBatch(batch, shards);
      const waits = split.map(([shard, part]) => enqueue(part, shard));
      return Promise.all(waits).then(() => {});
    },
    stop(deadline) {
      stopping ??= stop(deadline);
      return stopping;
    },
  };
}
