/**
 * Writes protobuf from back to front, so that the length of every message is known when it is written. Fields must
 * therefore be written in reverse: the last first, each value before its tag.
 */

const INITIAL_BYTES = 64 * 1024;
/** A larger buffer is given back after use, so that one huge request does not hold its memory for ever. */
const KEEP_BYTES = 8 * 2 ** 20;

export class BackwardWriter {
  #size = INITIAL_BYTES;
  buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  view: DataView = viewOf(this.buffer);
  /** Where the first byte of what was written is. */
  at = INITIAL_BYTES;

  /** Makes room for `bytes` more bytes in front of what was written. Every other method but `copy` and `text` expects it. */
  room(bytes: number): void {
    if (this.at < bytes) this.#grow(bytes);
  }

  #grow(bytes: number): void {
    const used = this.#size - this.at;
    let size = this.#size * 2;
    while (size < used + bytes) size *= 2;
    const bigger = Buffer.allocUnsafeSlow(size);
    bigger.set(this.buffer.subarray(this.at), size - used);
    this.buffer = bigger;
    this.view = viewOf(bigger);
    this.#size = size;
    this.at = size - used;
  }

  /** Bytes written so far; the difference of two is a length. */
  get length(): number {
    return this.#size - this.at;
  }

  /** What was written, copied; the writer is empty afterwards. */
  take(): Uint8Array {
    const result = Buffer.allocUnsafeSlow(this.#size - this.at);
    result.set(this.buffer.subarray(this.at));
    if (this.#size > KEEP_BYTES) {
      this.buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
      this.view = viewOf(this.buffer);
      this.#size = INITIAL_BYTES;
    }
    this.at = this.#size;
    return result;
  }

  /** Like `take`, for small pieces that are kept: many of them share one allocation. */
  takeSmall(): Uint8Array {
    const result = Buffer.from(this.buffer.subarray(this.at));
    this.at = this.#size;
    return result;
  }

  /** Forgets what was written; after an error in the middle. */
  reset(): void {
    this.at = this.#size;
  }

  byte(value: number): void {
    this.buffer[--this.at] = value;
  }

  /** An unsigned integer up to 2^53 as varint; also a tag. */
  varint(value: number): void {
    if (value < 0x80) {
      this.buffer[--this.at] = value;
      return;
    }
    let size = 1;
    for (let v = value; v >= 0x80; v = Math.floor(v / 128)) size++;
    let to = this.at - size;
    this.at = to;
    let left = value;
    while (left >= 0x80) {
      this.buffer[to++] = (left % 128) | 0x80;
      left = Math.floor(left / 128);
    }
    this.buffer[to] = left;
  }

  /** A 64-bit integer as varint; negative ones take ten bytes. */
  varint64(value: bigint): void {
    let left = BigInt.asUintN(64, value);
    let size = 1;
    for (let v = left >> 7n; v > 0n; v >>= 7n) size++;
    let to = this.at - size;
    this.at = to;
    for (; left >= 0x80n; left >>= 7n) this.buffer[to++] = Number(left & 0x7fn) | 0x80;
    this.buffer[to] = Number(left);
  }

  /** A whole number in JavaScript's exact range as int64 varint. */
  int(value: number): void {
    if (value >= 0) this.varint(value);
    else this.varint64(BigInt(value));
  }

  /** A 32-bit integer in zigzag, protobuf's sint32. */
  zigzag(value: number): void {
    this.varint(((value << 1) ^ (value >> 31)) >>> 0);
  }

  fixed64(value: bigint): void {
    this.at -= 8;
    this.view.setBigUint64(this.at, value, true);
  }

  /** An unsigned integer up to 2^53 in eight bytes. */
  fixed64Number(value: number): void {
    this.at -= 8;
    this.view.setUint32(this.at, value >>> 0, true);
    this.view.setUint32(this.at + 4, value < 0x1_0000_0000 ? 0 : Math.floor(value / 0x1_0000_0000), true);
  }

  fixed32(value: number): void {
    this.at -= 4;
    this.view.setUint32(this.at, value, true);
  }

  double(value: number): void {
    this.at -= 8;
    this.view.setFloat64(this.at, value, true);
  }

  /** Bytes as they are, without a length. Makes its own room. */
  copy(bytes: Uint8Array): void {
    if (this.at < bytes.length + 16) this.#grow(bytes.length + 16);
    this.at -= bytes.length;
    this.buffer.set(bytes, this.at);
  }

  /** A string with its length in front. Makes its own room, for a tag too. */
  text(value: string): void {
    const { length } = value;
    if (this.at < length * 3 + 16) this.#grow(length * 3 + 16);
    if (length <= 64) {
      // Short ASCII, nearly everything, is cheaper to write here than to hand to the runtime.
      const { buffer } = this;
      let to = this.at;
      let i = length;
      while (i > 0) {
        const code = value.charCodeAt(--i);
        if (code >= 0x80) break;
        buffer[--to] = code;
      }
      if (this.at - to === length) {
        this.at = to;
        this.varint(length);
        return;
      }
    }
    const bytes = Buffer.byteLength(value);
    this.at -= bytes;
    this.buffer.write(value, this.at, bytes, 'utf8');
    this.varint(bytes);
  }
}

const viewOf = (buffer: Buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
