/**
 * Keeps what waits long small: batches that stand far back in a queue are held as compressed OTLP, about a tenth of the
 * memory of their items, so that a backend that is away for minutes does not fill ours.
 */
import type { Batch, Signal } from '../model.ts';
import { compress, decompress } from '../wire/compression.ts';
import { createInterner, decodeRequest, encodeRequest } from '../wire/otlp/index.ts';
import type { Entry } from './deliver-lane.ts';

/** Entries at the head of a queue that stay as they are: a queue that keeps up pays nothing. */
const HOT = 32;

export interface Pack {
  /** Packs an entry that was just queued as the `position`-th; in the background. */
  later(entry: Entry, position: number): void;
  /** The batch of a packed entry. */
  unpack(packed: Uint8Array): Promise<Batch>;
}

export function pack(signal: Signal): Pack {
  const interner = createInterner();
  return {
    later(entry, position) {
      const { batch } = entry;
      if (position <= HOT || !batch) return;
      compress(encodeRequest(batch, 'protobuf'), 'gzip').then(
        (bytes) => {
          entry.packed = bytes;
          entry.batch = undefined;
        },
        // It stays as it is, only larger.
        () => {},
      );
    },
    unpack: async (packed) =>
      decodeRequest(signal, await decompress(packed, 'gzip', 2 ** 31), 'protobuf', { interner }),
  };
}
