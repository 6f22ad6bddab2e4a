/**
 * Where the frames of a zstd stream begin and end (RFC 8878 §3.1). Node's decoder stops at the end of the first frame,
 * and some versions take a stream that is cut short for a whole one, so the structure is checked before it is decoded.
 */

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** RFC 9659: a sender of `Content-Encoding: zstd` must not ask the receiver for a larger window. */
const MAX_WINDOW = 8 * 2 ** 20;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;

/** The byte ranges of the frames with data; a text that says what is wrong if they are not whole. */
export function zstdFrames(input: Uint8Array): readonly (readonly [start: number, end: number])[] | string {
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  const frames: [number, number][] = [];
  let at = 0;
  if (input.length === 0) return 'there is no frame';
  while (at < input.length) {
    const start = at;
    if (at + 8 > input.length) return `the frame at byte ${start} is cut short`;
    const magic = view.getUint32(at, true);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) {
      at += 8 + view.getUint32(at + 4, true);
      if (at > input.length) return `the frame at byte ${start} is cut short`;
      continue;
    }
    if (magic !== MAGIC) return `there is no frame at byte ${start}`;
    const descriptor = input[at + 4]!;
    const single = (descriptor & 0x20) !== 0;
    const sizeFlag = descriptor >> 6;
    const sizeBytes = sizeFlag === 0 && single ? 1 : CONTENT_SIZE_BYTES[sizeFlag as 0 | 1 | 2 | 3];
    at += 5;
    let window = 0;
    if (!single) {
      const byte = input[at++]!;
      const base = 2 ** (10 + (byte >> 3));
      window = base + (base / 8) * (byte & 7);
    }
    at += DICTIONARY_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3];
    if (at + sizeBytes > input.length) return `the frame at byte ${start} is cut short`;
    if (single) {
      for (let i = sizeBytes - 1; i >= 0; i--) window = window * 256 + input[at + i]!;
      if (sizeBytes === 2) window += 256;
    }
    if (window > MAX_WINDOW)
      return `the frame at byte ${start} asks for a window of ${window} bytes, above ${MAX_WINDOW}`;
    at += sizeBytes;
    for (let last = false; !last; ) {
      if (at + 3 > input.length) return `the frame at byte ${start} is cut short`;
      const header = input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16);
      last = (header & 1) === 1;
      const type = (header >> 1) & 3;
      if (type === 3) return `the block at byte ${at} is of an unknown type`;
      at += 3 + (type === 1 ? 1 : header >>> 3);
    }
    if (descriptor & 4) at += 4;
    if (at > input.length) return `the frame at byte ${start} is cut short`;
    frames.push([start, at]);
  }
  return frames;
}
