/** Moves every time in a batch. */
import type { Batch, UnixNano } from '../../pipeline/model.ts';

/** A batch in which everything happened `offset` nanoseconds later. Times that are not set stay so. */
export function shift(batch: Batch, offset: bigint): Batch {
  const moved = (time: UnixNano) => (time === 0n ? 0n : time + offset);
  switch (batch.signal) {
    case 'metrics':
      return {
        signal: 'metrics',
        items: batch.items.map((point) => ({ ...point, time: moved(point.time), startTime: moved(point.startTime) })),
      };
    case 'traces':
      return {
        signal: 'traces',
        items: batch.items.map((span) => ({
          ...span,
          startTime: moved(span.startTime),
          endTime: moved(span.endTime),
          events: span.events.map((event) => ({ ...event, time: moved(event.time) })),
        })),
      };
    case 'logs':
      return {
        signal: 'logs',
        items: batch.items.map((entry) => ({
          ...entry,
          time: moved(entry.time),
          observedTime: moved(entry.observedTime),
        })),
      };
  }
}
