/**
 * Memory for the bodies of scrapes, used again and again: a page is read as soon as it is there, and a few hundred
 * kilobytes thrown away per scrape are what makes V8 collect garbage most often.
 */

/** Pages that are being read at one time are few; more than these, and larger ones, are left to the garbage collector. */
const KEPT = 4;
const MAX_BYTES = 2 << 20;
const STEP = 64 << 10;

export interface Bodies {
  /** Memory of exactly this size, with anything in it. */
  take(bytes: number): Buffer;
  /** Gives back what `take` gave, once nothing looks at it any more; anything else is ignored. */
  give(body: Buffer): void;
}

export function bodies(): Bodies {
  const free: ArrayBuffer[] = [];
  const taken = new WeakSet<ArrayBufferLike>();
  return {
    take(bytes) {
      if (bytes > MAX_BYTES) return Buffer.allocUnsafeSlow(bytes);
      let best = -1;
      for (const [i, one] of free.entries()) {
        if (one.byteLength >= bytes && (best < 0 || one.byteLength < free[best]!.byteLength)) best = i;
      }
      const memory = best < 0 ? new ArrayBuffer(Math.ceil(bytes / STEP) * STEP) : free.splice(best, 1)[0]!;
      taken.add(memory);
      return Buffer.from(memory, 0, bytes);
    },
    give({ buffer }) {
      if (!taken.delete(buffer)) return;
      free.push(buffer as ArrayBuffer);
      if (free.length <= KEPT) return;
      // The smallest fits the fewest.
      free.sort((a, b) => b.byteLength - a.byteLength).pop();
    },
  };
}
