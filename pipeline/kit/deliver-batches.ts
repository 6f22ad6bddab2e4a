/** Cutting batches and putting them together; items are shared, never copied. */
import { type Batch, itemCount, logsBatch, metricsBatch, tracesBatch } from '../model.ts';
import { joinOpened } from '../wire/otlp/index.ts';

/** A batch of the same signal with other items. */
function withItems(like: Batch, items: Batch['items'][number][]): Batch {
  switch (like.signal) {
    case 'metrics':
      return metricsBatch(items as (typeof like.items)[number][]);
    case 'traces':
      return tracesBatch(items as (typeof like.items)[number][]);
    case 'logs':
      return logsBatch(items as (typeof like.items)[number][]);
  }
}

/** Items `from` (included) to `to` (excluded). */
export function sliceBatch(batch: Batch, from: number, to: number): Batch {
  // All of it is itself, so that a request that only passes through is not decoded for this.
  if (from === 0 && to === itemCount(batch)) return batch;
  return withItems(batch, batch.items.slice(from, to));
}

/** One batch of all items, in order; all must be of one signal, and there must be at least one batch. */
export function joinBatches(batches: readonly Batch[]): Batch {
  const first = batches[0]!;
  if (batches.length === 1) return first;
  const opened = joinOpened(batches);
  if (opened) return opened;
  const items: Batch['items'][number][] = [];
  for (const batch of batches) for (const item of batch.items) items.push(item);
  return withItems(first, items);
}

/** The items of each shard that has some, in order. */
export function splitBatch(
  batch: Batch,
  shards: { readonly count: number; of(item: Batch['items'][number]): number },
): [shard: number, part: Batch][] {
  const parts: Batch['items'][number][][] = Array.from({ length: shards.count }, () => []);
  for (const item of batch.items) parts[shards.of(item) % shards.count]!.push(item);
  return parts.flatMap((items, shard) => (items.length > 0 ? [[shard, withItems(batch, items)]] : []));
}
