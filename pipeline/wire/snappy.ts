/** Snappy's block format, both directions: what Prometheus remote write and some OTLP senders use. */

/** Bytes that are not Snappy, or that would grow beyond what was allowed (`tooLarge`). */
export class SnappyError extends Error {
  override readonly name = 'SnappyError';
  readonly tooLarge: boolean;
  constructor(message: string, tooLarge = false) {
    super(message);
    this.tooLarge = tooLarge;
  }
}

/** No encoder makes more of a byte than this (a 3-byte copy writes 64), so a larger promise is a lie. */
const MAX_RATIO = 22;

/** Decodes one block; throws a SnappyError if it is malformed or longer than `maxBytes` when decoded. */
export function snappyDecompress(input: Uint8Array, maxBytes: number): Uint8Array {
  const end = input.length;
  let at = 0;
  let declared = 0;
  for (let shift = 0; ; shift += 7) {
    if (at >= end || shift > 28) throw new SnappyError('the snappy header is cut short or too long');
    const byte = input[at++]!;
    declared += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  if (declared > maxBytes)
    throw new SnappyError(`the decoded size ${declared} is above the limit of ${maxBytes}`, true);
  // The header is the sender's word: nothing is allocated that the rest of the input could not fill.
  if (declared > (end - at) * MAX_RATIO) {
    throw new SnappyError(`the snappy header promises ${declared} bytes, which ${end - at} bytes cannot hold`);
  }
  const output = Buffer.allocUnsafe(declared);
  let to = 0;
  while (at < end) {
    const tag = input[at++]!;
    if ((tag & 3) === 0) {
      let length = tag >> 2;
      if (length >= 60) {
        const extra = length - 59;
        if (at + extra > end) throw new SnappyError(`a snappy literal at byte ${at} is cut short`);
        length = 0;
        for (let i = 0; i < extra; i++) length += input[at + i]! * 2 ** (8 * i);
        at += extra;
      }
      length++;
      if (at + length > end || to + length > declared) {
        throw new SnappyError(`a snappy literal at byte ${at} does not fit`);
      }
      output.set(input.subarray(at, at + length), to);
      at += length;
      to += length;
      continue;
    }
    const kind = tag & 3;
    const extra = kind === 3 ? 4 : kind;
    if (at + extra > end) throw new SnappyError(`a snappy copy at byte ${at} is cut short`);
    let length = (tag >> 2) + 1;
    let offset: number;
    if (kind === 1) {
      length = ((tag >> 2) & 7) + 4;
      offset = ((tag >> 5) << 8) | input[at]!;
    } else if (kind === 2) offset = input[at]! | (input[at + 1]! << 8);
    else offset = (input[at]! | (input[at + 1]! << 8) | (input[at + 2]! << 16) | (input[at + 3]! << 24)) >>> 0;
    at += extra;
    if (offset === 0 || offset > to || to + length > declared) {
      throw new SnappyError(`a snappy copy at byte ${at} points outside the data`);
    }
    if (offset >= length) output.copyWithin(to, to - offset, to - offset + length);
    // A copy may overlap what it is writing: that is how runs are said.
    else for (let i = 0; i < length; i++) output[to + i] = output[to + i - offset]!;
    to += length;
  }
  if (to !== declared) throw new SnappyError(`the snappy header promises ${declared} bytes, the data holds ${to}`);
  return output;
}

const BLOCK = 65_536;
const HASH_BITS = 14;
const table = new Uint16Array(1 << HASH_BITS);

/** Encodes as one block stream. */
export function snappyCompress(input: Uint8Array): Uint8Array {
  const output = Buffer.allocUnsafe(32 + input.length + Math.ceil(input.length / 6));
  let to = 0;
  let length = input.length;
  while (length >= 0x80) {
    output[to++] = (length & 0x7f) | 0x80;
    length = Math.floor(length / 128);
  }
  output[to++] = length;
  const view = Buffer.from(input.buffer, input.byteOffset, input.length);
  for (let start = 0; start < input.length; start += BLOCK) {
    to = compressBlock(view, start, Math.min(start + BLOCK, input.length), output, to);
  }
  return output.subarray(0, to);
}

function compressBlock(input: Buffer, start: number, end: number, output: Buffer, at: number): number {
  table.fill(0);
  let to = at;
  let literal = start;
  let position = start + 1;
  // The last bytes are always a literal: reading four at a time must not leave the block.
  const last = end - 15;
  let misses = 32;
  while (position < last) {
    const word = input.readUInt32LE(position);
    const slot = Math.imul(word, 0x1e35a7bd) >>> (32 - HASH_BITS);
    const candidate = start + table[slot]!;
    table[slot] = position - start;
    if (candidate >= position || input.readUInt32LE(candidate) !== word) {
      // The longer nothing repeats, the bigger the steps: incompressible data costs little.
      position += misses++ >> 5;
      continue;
    }
    misses = 32;
    to = literalRun(input, literal, position, output, to);
    let matched = 4;
    while (position + matched < end && input[candidate + matched] === input[position + matched]) matched++;
    to = copyRun(position - candidate, matched, output, to);
    position += matched;
    literal = position;
    if (position < last)
      table[Math.imul(input.readUInt32LE(position - 1), 0x1e35a7bd) >>> (32 - HASH_BITS)] = position - 1 - start;
  }
  return literalRun(input, literal, end, output, to);
}

function literalRun(input: Buffer, from: number, end: number, output: Buffer, at: number): number {
  let to = at;
  const length = end - from;
  if (length === 0) return to;
  const n = length - 1;
  if (n < 60) output[to++] = n << 2;
  else if (n < 256) {
    output[to++] = 60 << 2;
    output[to++] = n;
  } else {
    output[to++] = 61 << 2;
    output[to++] = n & 0xff;
    output[to++] = n >> 8;
  }
  output.set(input.subarray(from, end), to);
  return to + length;
}

function copyRun(offset: number, length: number, output: Buffer, at: number): number {
  let to = at;
  let left = length;
  while (left > 0) {
    // A rest of 1..3 bytes could not be said as a short copy, so long runs leave at least four.
    const n = left > 64 ? (left < 68 ? 60 : 64) : left;
    if (n >= 4 && n < 12 && offset < 2048) {
      output[to++] = 1 | ((n - 4) << 2) | ((offset >> 8) << 5);
      output[to++] = offset & 0xff;
    } else {
      output[to++] = 2 | ((n - 1) << 2);
      output[to++] = offset & 0xff;
      output[to++] = offset >> 8;
    }
    left -= n;
  }
  return to;
}
