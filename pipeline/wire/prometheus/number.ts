/** Numbers as expositions write them, read straight from bytes. */

const POWERS = Float64Array.from({ length: 23 }, (_, i) => 10 ** i);
const SPECIAL = /^([+-]?)(?:(inf|infinity)|nan)$/i;

/**
 * The value of `bytes[start, end)`: a decimal, `NaN`, `+Inf`, `-Inf` in any case; undefined if it is none of these.
 * Correctly rounded: up to 15 digits and powers of ten up to 22 are exact in doubles (Clinger), the rest is left to
 * `Number`.
 */
export function readNumber(bytes: Uint8Array, start: number, end: number): number | undefined {
  let p = start;
  const sign = bytes[p];
  if (sign === 0x2d || sign === 0x2b) p++;
  let mantissa = 0;
  const whole = p;
  while (p < end) {
    const digit = bytes[p]! - 0x30;
    if (digit < 0 || digit > 9) break;
    mantissa = mantissa * 10 + digit;
    p++;
  }
  let digits = p - whole;
  let scale = 0;
  if (p < end && bytes[p] === 0x2e) {
    const fraction = ++p;
    while (p < end) {
      const digit = bytes[p]! - 0x30;
      if (digit < 0 || digit > 9) break;
      mantissa = mantissa * 10 + digit;
      p++;
    }
    scale = p - fraction;
    digits += scale;
  }
  if (digits === 0) return special(bytes, start, end);
  let exponent = 0;
  if (p < end && (bytes[p]! | 0x20) === 0x65) {
    const expSign = bytes[++p];
    if (expSign === 0x2d || expSign === 0x2b) p++;
    const first = p;
    while (p < end) {
      const digit = bytes[p]! - 0x30;
      if (digit < 0 || digit > 9) break;
      if (exponent < 10_000) exponent = exponent * 10 + digit;
      p++;
    }
    if (p === first) return undefined;
    if (expSign === 0x2d) exponent = -exponent;
  }
  if (p !== end) return undefined;
  const power = exponent - scale;
  if (digits > 15 || power > 22 || power < -22) return Number(latin1(bytes, start, end));
  const value = power < 0 ? mantissa / POWERS[-power]! : mantissa * POWERS[power]!;
  return sign === 0x2d ? -value : value;
}

function special(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start > 9) return undefined;
  const match = SPECIAL.exec(latin1(bytes, start, end));
  if (!match) return undefined;
  if (!match[2]) return Number.NaN;
  return match[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

const latin1 = (bytes: Uint8Array, start: number, end: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
