/**
 * How an exporter gets its data to the other side: queue, batch, retry, timeout, send, in this order. The exporter brings
 * two functions, `encode` and `send`; everything between them and `consume` is here, the same for all.
 */
import { setMaxListeners } from 'node:events';
import type { Context, Stage } from '../component.ts';
import { PermanentError, RetryableError } from '../errors.ts';
import { type Batch, itemCount, type Signal } from '../model.ts';
import { encodeRequest } from '../wire/otlp/index.ts';
import { joinBatches, sliceBatch, splitBatch } from './deliver-batches.ts';
import { type Entry, type Lane, lane, type Part, type PartsResult } from './deliver-lane.ts';
import { batchSizer, type DeliverConfig } from './deliver-options.ts';
import { pack } from './deliver-pack.ts';
import { requests, type Sender } from './deliver-request.ts';
import { openQueues, type QueueOnDisk } from './deliver-storage.ts';

export type { Sender } from './deliver-request.ts';
export type { SendResult } from './deliver-retry.ts';

export interface DeliverExtras {
  /** Requests larger than this are split, and discarded where they cannot be; 0 or absent: no limit. */
  readonly maxRequestBytes?: number;
  /** The option that sets it, for messages; default `max_request_size`. */
  readonly maxRequestOption?: string;
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
  const { shards } = extras;
  const hardStop = new AbortController();
  const noMoreWaiting = new AbortController();
  // Every request in flight listens to both.
  setMaxListeners(0, hardStop.signal, noMoreWaiting.signal);
  let stopping: Promise<void> | undefined;
  const undelivered = new Map<string, number>();
  const out = requests(
    sender,
    config,
    context,
    { maxBytes: extras.maxRequestBytes ?? 0, name: extras.maxRequestOption ?? 'max_request_size' },
    { waiting: noMoreWaiting.signal, sending: hardStop.signal },
    extras.random ?? Math.random,
  );

  const enqueueFailed = meter.counter(
    'exporter_enqueue_failed_items',
    'Items that were refused because the sending queue had no room.',
    '{item}',
  );
  const noteUndelivered = (signal: Signal, items: number, kept: boolean) => {
    if (items <= 0) return;
    if (!kept) meter.dropped(signal, items, 'shutdown');
    const key = `${kept ? 'kept' : 'dropped'} ${signal}`;
    undelivered.set(key, (undelivered.get(key) ?? 0) + items);
  };

  const unpacked = async (signal: Signal, packed: Uint8Array, items: number) => {
    try {
      return await packs.get(signal)?.unpack(packed);
    } catch (error) {
      meter.dropped(signal, items, 'memory');
      log.error('A waiting batch cannot be read back. Dropping data.', { error, dropped_items: items });
      return undefined;
    }
  };

  async function sendParts(
    signal: Signal,
    disk: QueueOnDisk | undefined,
    parts: readonly Part[],
  ): Promise<PartsResult> {
    const batches: Batch[] = [];
    let inMemory = 0;
    for (const { entry, from, to } of parts) {
      const batch =
        entry.batch ?? (entry.packed ? await unpacked(signal, entry.packed, to - from) : await disk?.load(entry));
      if (!batch) continue;
      if (to - from < entry.items) entry.batch = batch;
      if (!entry.record) inMemory += to - from;
      batches.push(from === 0 && to === entry.items ? batch : sliceBatch(batch, from, to));
    }
    if (batches.length === 0) return {};
    const joined = joinBatches(batches);
    const ready = sender.prepare?.(joined).batch ?? joined;
    const { error, aborted } = await out.send(ready, false);
    const dropped = Math.min(aborted, inMemory);
    noteUndelivered(signal, dropped, false);
    noteUndelivered(signal, aborted - dropped, true);
    return { error, keep: aborted > 0 };
  }

  const packs = new Map([...context.signals].map((signal) => [signal, pack(signal)]));
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
    () => out.inFlight(),
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
    enqueueFailed.add(itemCount(batch), { signal: batch.signal });
    log.warn('The sending queue is full, data is refused.', {
      refused_items: itemCount(batch),
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
    const weight = { items: itemCount(batch), bytes: payload?.length ?? 0 };
    if (!to.fits(weight)) {
      enqueueFailed.add(weight.items, { signal: batch.signal });
      throw new PermanentError('element size too large: the batch is larger than the whole sending_queue.queue_size', {
        reason: 'too_large',
      });
    }
    const reserved = to.reserve(weight);
    if (!reserved && !queue.block_on_overflow) throw full(batch);
    if (reserved && !disk && !queue.wait_for_result) {
      const entry: Entry = { ...weight, batch, record: undefined };
      to.put(entry);
      packs.get(batch.signal)?.later(entry, to.waiting());
      return;
    }
    return enqueueSlowly(batch, to, disk, reserved, { ...weight, payload: disk ? payload : undefined });
  }

  async function inline(batch: Batch): Promise<void> {
    const ready = sender.prepare?.(batch);
    const work = out.send(ready?.batch ?? batch, true);
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
      if (itemCount(batch) === 0) return;
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
