/**
 * One first-in-first-out queue and the requests made of it: what waits is put together or cut to the wanted size, and at
 * most `consumers` requests are in flight.
 */
import type { Batch } from '../model.ts';
import type { Clock, Timer } from './clock.ts';
import type { SpoolRecord } from './deliver-spool.ts';

/** What was accepted in one `consume`. */
export interface Entry {
  readonly items: number;
  /** OTLP bytes; 0 where nothing counts them. */
  readonly bytes: number;
  /** Absent while it is only on disk, or packed. */
  batch: Batch | undefined;
  /** Compressed OTLP, see deliver-pack. */
  packed?: Uint8Array;
  /** Set when the first part of it goes into a request. */
  started?: boolean;
  readonly record: SpoolRecord | undefined;
  /** Told once all of it was delivered (undefined) or some of it lost. */
  readonly settle?: (error: Error | undefined) => void;
}

/** What an entry counts in each sizer. */
export type Weight = Pick<Entry, 'items' | 'bytes'>;

interface Waiting {
  readonly entry: Entry;
  readonly since: number;
  taken: number;
  openParts: number;
  error: Error | undefined;
  keep: boolean;
}

/** A run of an entry's items that goes into one request. */
export interface Part {
  readonly entry: Entry;
  readonly from: number;
  readonly to: number;
}

/** How a request ended: `keep` leaves what is on disk there for the next start. */
export interface PartsResult {
  readonly error?: Error | undefined;
  readonly keep?: boolean;
}

export interface LaneOptions {
  readonly clock: Clock;
  readonly capacity: number;
  readonly sizer: 'requests' | 'items' | 'bytes';
  readonly consumers: number;
  readonly batch:
    | { readonly flushMs: number; readonly min: number; readonly max: number; readonly sizer: 'items' | 'bytes' }
    | undefined;
  /** Delivers the parts as one request. Never rejects. */
  send(parts: readonly Part[]): Promise<PartsResult>;
  /** All parts of an entry have ended. */
  ended(entry: Entry, keep: boolean): void;
}

export interface Lane {
  /** What is accepted and not yet ended, in units of the sizer. */
  size(): number;
  /** Entries that wait to be put into a request. */
  waiting(): number;
  /** Takes room for an entry, at once or not at all. One that is larger than the whole queue never gets any. */
  reserve(entry: Weight): boolean;
  /** Resolves (true) once room was taken, in order of asking; false when the lane flushes first. */
  reserveLater(entry: Weight): Promise<boolean>;
  /** Whether it could ever have room. */
  fits(entry: Weight): boolean;
  /** Appends an entry for which room was taken. */
  put(entry: Entry): void;
  /** Gives room back that was taken for nothing. */
  release(entry: Weight): void;
  /** Appends what a former run left, whatever the room. */
  recover(entry: Entry): void;
  /** Waits for nothing any more: what is queued is sent at once, whoever waits for room is turned away. */
  flush(): void;
  /** Resolves once nothing is queued or in flight. */
  idle(): Promise<void>;
  /** Takes out what has not been put into a request yet; who waits for its result gets the error. */
  takeRest(error: Error, which: (entry: Entry) => boolean): { readonly entry: Entry; readonly items: number }[];
  /** Starts no further request. */
  pause(): void;
}

export function lane(options: LaneOptions): Lane {
  const { clock, batch, consumers, capacity } = options;
  const sizeOf = (e: Weight) => (options.sizer === 'requests' ? 1 : options.sizer === 'items' ? e.items : e.bytes);
  let queue: Waiting[] = [];
  let head = 0;
  let size = 0;
  let reserved = 0;
  let queued = 0;
  let inFlight = 0;
  let flushing = false;
  let paused = false;
  let timer: Timer | undefined;
  let waiters: { entry: Weight; go: (room: boolean) => void }[] = [];
  let idlers: (() => void)[] = [];

  /** The rest of a waiting entry, in units of the batch's sizer. */
  const measure = (w: Waiting) => {
    const rest = w.entry.items - w.taken;
    return batch?.sizer === 'bytes' ? Math.ceil((w.entry.bytes * rest) / Math.max(1, w.entry.items)) : rest;
  };
  const hasRoom = (e: Weight) => size + sizeOf(e) <= capacity;

  const part = (w: Waiting, items: number): Part => {
    const from = w.taken;
    w.entry.started = true;
    queued -= measure(w);
    w.taken += items;
    if (w.taken >= w.entry.items) {
      queue[head++] = undefined as unknown as Waiting;
      if (head > 1024 && head * 2 > queue.length) {
        queue = queue.slice(head);
        head = 0;
      }
    } else queued += measure(w);
    w.openParts++;
    return { entry: w.entry, from, to: w.taken };
  };

  const next = (): { parts: Part[]; of: Waiting[] } | undefined => {
    const first = queue[head];
    if (!first || paused) return undefined;
    if (!batch) return { parts: [part(first, first.entry.items)], of: [first] };
    if (queued < batch.min && !flushing) {
      const dueIn = first.since + batch.flushMs - clock.monotonic();
      if (dueIn > 0) {
        timer ??= clock.after(dueIn, () => {
          timer = undefined;
          pump();
        });
        return undefined;
      }
    }
    timer?.cancel();
    timer = undefined;
    const parts: Part[] = [];
    const of: Waiting[] = [];
    let filled = 0;
    for (let w = queue[head]; w; w = queue[head]) {
      const rest = w.entry.items - w.taken;
      const weight = measure(w);
      let take = rest;
      if (batch.max > 0 && filled + weight > batch.max) {
        take = Math.floor(((batch.max - filled) / weight) * rest);
        if (take < 1) {
          if (parts.length > 0) break;
          take = 1;
        }
      }
      parts.push(part(w, take));
      of.push(w);
      filled += take === rest ? weight : Math.ceil((weight * take) / rest);
      if (batch.max > 0 ? filled >= batch.max || take < rest : filled >= batch.min) break;
    }
    return { parts, of };
  };

  const end = (w: Waiting, result: PartsResult) => {
    w.openParts--;
    w.error ??= result.error;
    w.keep ||= result.keep ?? false;
    if (w.openParts > 0 || w.taken < w.entry.items) return;
    size -= sizeOf(w.entry);
    options.ended(w.entry, w.keep);
    w.entry.settle?.(w.error);
  };

  const reserve = (e: Weight) => {
    if (!hasRoom(e)) return false;
    size += sizeOf(e);
    reserved++;
    return true;
  };
  const admit = () => {
    while (waiters.length > 0 && reserve(waiters[0]!.entry)) waiters.shift()!.go(true);
  };
  const append = (entry: Entry) => {
    const w = { entry, since: clock.monotonic(), taken: 0, openParts: 0, error: undefined, keep: false };
    queue.push(w);
    queued += measure(w);
    pump();
  };

  const pump = () => {
    while (inFlight < consumers) {
      const request = next();
      if (!request) break;
      inFlight++;
      const ended = (result: PartsResult) => {
        inFlight--;
        for (const w of request.of) end(w, result);
        admit();
        pump();
      };
      options.send(request.parts).then(ended, (error: Error) => ended({ error }));
    }
    if (inFlight === 0 && reserved === 0 && (head >= queue.length || paused)) {
      const done = idlers;
      idlers = [];
      for (const go of done) go();
    }
  };

  return {
    size: () => size,
    waiting: () => queue.length - head,
    reserve: (e) => waiters.length === 0 && reserve(e),
    reserveLater: (entry) =>
      new Promise((go) => {
        if (flushing) go(false);
        else if (waiters.length === 0 && reserve(entry)) go(true);
        else waiters.push({ entry, go });
      }),
    fits: (e) => sizeOf(e) <= capacity,
    put(entry) {
      reserved--;
      append(entry);
    },
    release(e) {
      reserved--;
      size -= sizeOf(e);
      admit();
      pump();
    },
    recover(entry) {
      size += sizeOf(entry);
      append(entry);
    },
    flush() {
      flushing = true;
      const turned = waiters;
      waiters = [];
      for (const { go } of turned) go(false);
      pump();
    },
    idle: () =>
      new Promise((resolve) => {
        idlers.push(resolve);
        pump();
      }),
    takeRest(error, which) {
      const rest: { entry: Entry; items: number }[] = [];
      const left: Waiting[] = [];
      for (const w of queue.slice(head)) {
        if (!which(w.entry)) {
          left.push(w);
          continue;
        }
        rest.push({ entry: w.entry, items: w.entry.items - w.taken });
        queued -= measure(w);
        w.taken = w.entry.items;
        w.error ??= error;
        w.keep = true;
        if (w.openParts > 0) continue;
        size -= sizeOf(w.entry);
        w.entry.settle?.(error);
      }
      queue = left;
      head = 0;
      return rest;
    },
    pause() {
      paused = true;
      timer?.cancel();
      timer = undefined;
      pump();
    },
  };
}
