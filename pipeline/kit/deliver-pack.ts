/**
 * Keeps what waits long small: batches that stand far back in a queue are held as compressed OTLP, about a tenth of the
 * memory of their items, so that a backend that is away for minutes does not fill ours.
 */
import type { Batch, Signal } from '../model.ts';
import { compress, decompress } from '../wire/compression.ts';
import { createInterner, encodeRequest, openRequest } from '../wire/otlp/index.ts';
import type { Entry } from './deliver-lane.ts';

/** Entries at the head of a queue that stay as they are: a queue that keeps up pays nothing. */
const HOT = 32;

export interface Pack {
  /** Packs an entry that was just queued as the `position`-th, when its turn comes and it still waits. */
  later(entry: Entry, position: number): void;
  /** The batch of a packed entry. */
  unpack(packed: Uint8Array): Promise<Batch>;
}

export function pack(signal: Signal): Pack {
  const interner = createInterner();
  let turn: Promise<void> = Promise.resolve();

  // One after the other: the encoded bytes of many at once would be larger than what they replace.
  const packOne = async (entry: Entry) => {
    const { batch } = entry;
    if (entry.started || !batch) return;
    try {
      const bytes = await compress(encodeRequest(batch, 'protobuf'), 'gzip');
      if (entry.started) return;
      entry.packed = bytes;
      entry.batch = undefined;
    } catch {
      // It stays as it is, only larger; an error that lies in the data shows when it is sent.
    }
  };

  return {
    later(entry, position) {
      if (position > HOT) turn = turn.then(() => packOne(entry));
    },
    unpack: async (packed) => openRequest(signal, await decompress(packed, 'gzip', 2 ** 31), { interner }),
  };
}
