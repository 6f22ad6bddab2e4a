/** One state, encoded once a round, for everybody who watches it (server-sent events). */
import type { Clock } from '../../pipeline/kit/clock.ts';
import type { BodyWriter } from '../../pipeline/kit/http-server.ts';

export interface Stream {
  /** Watchers now. */
  watchers(): number;
  /** Writes a frame per round until the client or the server goes. A slow client gets fewer frames, never a queue of them. */
  follow(writer: BodyWriter): Promise<void>;
}

/** `make` gives the JSON of a state; it is asked only while somebody watches. */
export function createStream(make: () => string, clock: Clock, intervalMs: number): Stream {
  let frame = { at: Number.NEGATIVE_INFINITY, text: '' };
  let watching = 0;
  const current = () => {
    const now = clock.monotonic();
    // All who ask within a round see the same frame.
    if (now - frame.at >= intervalMs * 0.9) frame = { at: now, text: `event: state\ndata: ${make()}\n\n` };
    return frame;
  };
  return {
    watchers: () => watching,
    async follow({ write, signal }) {
      watching++;
      try {
        await write(`retry: ${Math.max(1000, intervalMs)}\n\n`);
        let last: typeof frame | undefined;
        while (!signal.aborted) {
          const next = current();
          if (next !== last) await write(next.text);
          last = next;
          await clock.sleep(intervalMs, signal);
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        watching--;
      }
    },
  };
}
