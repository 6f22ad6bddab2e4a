/**
 * Reads protobuf. Every read is checked against the end of the message it is in, so that no input, however cut or made
 * up, can cause more than a ProtobufError that names the byte.
 */

/** Bytes that are not the message they should be. */
export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
  readonly offset: number;
  constructor(message: string, offset: number) {
    super(`${message} (at byte ${offset})`);
    this.offset = offset;
  }
}

/** Groups are obsolete and only ever skipped; nobody nests them on purpose. */
const MAX_GROUP_DEPTH = 100;

const INTERNED_BYTES = 64;
const INTERN_SLOTS = 4096;
/** Strings seen before, by their bytes: making one anew costs more than finding it here. */
const internedText: (string | undefined)[] = new Array(INTERN_SLOTS).fill(undefined);
const internedBytes = new Uint8Array(INTERN_SLOTS * INTERNED_BYTES);
const internedLength = new Uint8Array(INTERN_SLOTS);

export class Reader {
  readonly buffer: Buffer;
  readonly view: DataView;
  at = 0;
  #lastTime = 0n;
  #lastTimeLow = 0;
  #lastTimeHigh = 0;
  #lastStart = 0n;
  #lastStartLow = 0;
  #lastStartHigh = 0;

  constructor(bytes: Uint8Array) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  fail(message: string, offset = this.at): never {
    throw new ProtobufError(message, offset);
  }

  /** Field number and wire type as one number. */
  tag(end: number): number {
    const start = this.at;
    if (start >= end) this.fail('a message ends in the middle of a field');
    const first = this.buffer[start]!;
    if (first >= 8 && first < 0x80) {
      this.at = start + 1;
      return first;
    }
    const tag = this.uint32(end);
    // A tag is at most 29 bits of field number; more bytes than five are never right.
    if (tag < 8 || this.at - start > 5) this.fail('a field has no valid number', start);
    return tag;
  }

  /** A varint of which the lower 32 bits count: uint32, bool, enum, length. */
  uint32(end: number): number {
    const { buffer } = this;
    let { at } = this;
    if (at < end) {
      const first = buffer[at]!;
      if (first < 0x80) {
        this.at = at + 1;
        return first;
      }
    }
    const start = at;
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) this.fail('a number is cut short', start);
      const byte = buffer[at++]!;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.at = at;
        return value >>> 0;
      }
    }
    this.fail('a number is longer than ten bytes', start);
  }

  /** A varint of 64 bits: a number where that is exact, else a bigint. */
  int64(end: number, signed: boolean): number | bigint {
    const { buffer } = this;
    const start = this.at;
    let at = start;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) this.fail('a number is cut short', start);
      const byte = buffer[at++]!;
      if (shift < 28) low += (byte & 0x7f) * 2 ** shift;
      else high += (byte & 0x7f) * 2 ** (shift - 28);
      if (byte < 0x80) {
        this.at = at;
        // 28 bits in `low`, up to 42 in `high`.
        if (high < 2 ** 25) return high * 2 ** 28 + low;
        const whole = (BigInt(high) << 28n) | BigInt(low);
        const value = signed ? BigInt.asIntN(64, whole) : BigInt.asUintN(64, whole);
        const number = Number(value);
        return Number.isSafeInteger(number) ? number : value;
      }
    }
    this.fail('a number is longer than ten bytes', start);
  }

  /** protobuf's sint32. */
  zigzag(end: number): number {
    const value = this.uint32(end);
    return (value >>> 1) ^ -(value & 1);
  }

  /** Moves over `bytes` bytes; gives where they began. */
  take(bytes: number, end: number): number {
    const { at } = this;
    if (at + bytes > end) this.fail(`a field of ${bytes} bytes runs past the end of its message`);
    this.at = at + bytes;
    return at;
  }

  double(end: number): number {
    return this.view.getFloat64(this.take(8, end), true);
  }

  fixed32(end: number): number {
    return this.view.getUint32(this.take(4, end), true);
  }

  fixed64(end: number): bigint {
    return this.view.getBigUint64(this.take(8, end), true);
  }

  sfixed64(end: number): bigint {
    return this.view.getBigInt64(this.take(8, end), true);
  }

  /** Nanoseconds; equal neighbours share one bigint. */
  time(end: number): bigint {
    const at = this.take(8, end);
    const low = this.view.getUint32(at, true);
    const high = this.view.getUint32(at + 4, true);
    if (low === this.#lastTimeLow && high === this.#lastTimeHigh) return this.#lastTime;
    this.#lastTimeLow = low;
    this.#lastTimeHigh = high;
    this.#lastTime = this.view.getBigUint64(at, true);
    return this.#lastTime;
  }

  /** Like `time`, with a memory of its own: start times repeat too, but differ from times. */
  startTime(end: number): bigint {
    const at = this.take(8, end);
    const low = this.view.getUint32(at, true);
    const high = this.view.getUint32(at + 4, true);
    if (low === this.#lastStartLow && high === this.#lastStartHigh) return this.#lastStart;
    this.#lastStartLow = low;
    this.#lastStartHigh = high;
    this.#lastStart = this.view.getBigUint64(at, true);
    return this.#lastStart;
  }

  /** fixed64 as a count: a number while it is exact. */
  count(end: number): number | bigint {
    return this.countAt(this.take(8, end));
  }

  countAt(at: number): number | bigint {
    const high = this.view.getUint32(at + 4, true);
    if (high >= 2 ** 21) return this.view.getBigUint64(at, true);
    return high * 2 ** 32 + this.view.getUint32(at, true);
  }

  /** A length and a move to the end of what has it; gives that end. `at` is left at the beginning. */
  enter(end: number): number {
    const start = this.at;
    const length = this.uint32(end);
    if (length > end - this.at) this.fail(`a field of ${length} bytes runs past the end of its message`, start);
    return this.at + length;
  }

  /** A string; bytes that are not UTF-8 become U+FFFD. */
  string(end: number): string {
    const stop = this.enter(end);
    const start = this.at;
    this.at = stop;
    const length = stop - start;
    const { buffer } = this;
    if (length > INTERNED_BYTES) return buffer.toString('utf8', start, stop);
    if (length === 0) return '';
    let hash = length;
    let all = 0;
    for (let i = start; i < stop; i++) {
      const byte = buffer[i]!;
      hash = (Math.imul(hash, 31) + byte) | 0;
      all |= byte;
    }
    const slot = (hash ^ (hash >>> 15)) & (INTERN_SLOTS - 1);
    const base = slot * INTERNED_BYTES;
    if (internedLength[slot] === length) {
      let i = 0;
      while (i < length && internedBytes[base + i] === buffer[start + i]) i++;
      if (i === length) return internedText[slot]!;
    }
    const text = all < 0x80 ? buffer.toString('latin1', start, stop) : buffer.toString('utf8', start, stop);
    for (let i = 0; i < length; i++) internedBytes[base + i] = buffer[start + i]!;
    internedLength[slot] = length;
    internedText[slot] = text;
    return text;
  }

  /** Bytes, copied. */
  bytes(end: number): Uint8Array {
    const stop = this.enter(end);
    const start = this.at;
    this.at = stop;
    const copy = new Uint8Array(stop - start);
    copy.set(this.buffer.subarray(start, stop));
    return copy;
  }

  /** Bytes of an id as lower-case hex; '' when absent or all zero. */
  id(size: 8 | 16, end: number): string {
    const field = this.at;
    const stop = this.enter(end);
    const start = this.at;
    this.at = stop;
    if (stop === start) return '';
    if (stop - start !== size) this.fail(`an id has ${stop - start} bytes instead of ${size}`, field);
    for (let i = start; i < stop; i++) {
      if (this.buffer[i] !== 0) return this.buffer.toString('hex', start, stop);
    }
    return '';
  }

  /** Moves over the value of a field that is of no interest. */
  skip(tag: number, end: number): void {
    switch (tag & 7) {
      case 0:
        this.#skipVarint(end);
        return;
      case 1:
        this.take(8, end);
        return;
      case 2:
        this.at = this.enter(end);
        return;
      case 5:
        this.take(4, end);
        return;
      case 3:
        this.#skipGroup(tag, end);
        return;
      default:
        this.fail(tag & 1 ? `wire type ${tag & 7} does not exist` : 'a group ends that did not begin');
    }
  }

  #skipVarint(end: number): void {
    const start = this.at;
    for (let i = 0; i < 10; i++) {
      if (start + i >= end) this.fail('a number is cut short', start);
      if (this.buffer[start + i]! < 0x80) {
        this.at = start + i + 1;
        return;
      }
    }
    this.fail('a number is longer than ten bytes', start);
  }

  #skipGroup(tag: number, end: number): void {
    const start = this.at;
    const open = [tag >>> 3];
    while (open.length > 0) {
      const inner = this.tag(end);
      if ((inner & 7) === 3) {
        if (open.length >= MAX_GROUP_DEPTH) this.fail('groups are nested too deeply', start);
        open.push(inner >>> 3);
      } else if ((inner & 7) === 4) {
        if (open.pop() !== inner >>> 3) this.fail('a group ends that did not begin');
      } else this.skip(inner, end);
    }
  }
}
