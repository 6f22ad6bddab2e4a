/** Ids of spans as numbers, so that a million of them fit into flat arrays. */

/** Eight hex digits from `at` as 32 bits; what is no hex digit counts as something, always the same. */
export function hex32(text: string, at: number): number {
  let out = 0;
  for (let i = at; i < at + 8; i++) {
    const c = text.charCodeAt(i);
    // NaN behind the end becomes 0.
    out = (out << 4) | ((c & 15) + (c > 57 ? 9 : 0));
  }
  return out >>> 0;
}

/** Mixes 32 bits, after Murmur3's finalizer. */
export function mix(n: number): number {
  let h = n | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
