/** How far files were read, over restarts: by device and inode, checked by how the file begins. */

export interface Place {
  /** The first bytes, base64: another file that got the same inode begins differently. */
  head: string;
  /** Bytes of its (decompressed) text whose lines were taken. */
  taken: number;
  /** The next line end only ends a line that was too long. */
  skip: boolean;
  /** When it was last there, milliseconds. */
  seen: number;
}

const MOST = 10_000;
const FORGET_MS = 7 * 86_400_000;

/** What a checkpoint file says; what is not readable in it is not there. */
export function readPlaces(saved: unknown): Map<string, Place> {
  const places = new Map<string, Place>();
  const files = (saved as { files?: unknown } | undefined)?.files;
  if (typeof files !== 'object' || files === null) return places;
  for (const [identity, raw] of Object.entries(files as Record<string, unknown>).slice(0, MOST)) {
    if (typeof raw !== 'object' || raw === null) continue;
    const { head, taken, skip, seen } = raw as Record<string, unknown>;
    if (typeof head !== 'string' || !Number.isSafeInteger(taken) || (taken as number) < 0) continue;
    places.set(identity, {
      head,
      taken: taken as number,
      skip: skip === true,
      seen: typeof seen === 'number' ? seen : 0,
    });
  }
  return places;
}

/** Whether a file that begins like this is the one that was read. */
export function samePlace(place: Place, head: Uint8Array): boolean {
  const known = Buffer.from(place.head, 'base64');
  return head.length >= known.length && known.equals(head.subarray(0, known.length));
}

/** Files that are gone for a week are forgotten, and the oldest beyond the limit. */
export function forgetPlaces(places: Map<string, Place>, now: number): void {
  for (const [identity, place] of places) if (now - place.seen > FORGET_MS) places.delete(identity);
  if (places.size <= MOST) return;
  const oldest = [...places].sort((a, b) => a[1].seen - b[1].seen);
  for (const [identity] of oldest.slice(0, places.size - MOST)) places.delete(identity);
}
