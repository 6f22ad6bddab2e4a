/** Protobuf by hand, for messages that no encoder would write. */

const varint = (value: number | bigint): number[] => {
  const out: number[] = [];
  let left = BigInt.asUintN(64, BigInt(value));
  for (; left >= 0x80n; left >>= 7n) out.push(Number(left & 0x7fn) | 0x80);
  out.push(Number(left));
  return out;
};
const tag = (field: number, type: number) => varint(field * 8 + type);

export const uint = (field: number, value: number | bigint): Buffer =>
  Buffer.from([...tag(field, 0), ...varint(value)]);
export const message = (field: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([...tag(field, 2), ...varint(body.length)]), body]);
};
export const str = (field: number, text: string): Buffer => message(field, Buffer.from(text));
export const fixed64 = (field: number, value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
  return Buffer.concat([Buffer.from(tag(field, 1)), bytes]);
};
export const double = (field: number, value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([Buffer.from(tag(field, 1)), bytes]);
};
export const fixed32 = (field: number, value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return Buffer.concat([Buffer.from(tag(field, 5)), bytes]);
};
export const group = (field: number, ...parts: Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from(tag(field, 3)), ...parts, Buffer.from(tag(field, 4))]);
export const raw = (hex: string): Buffer => Buffer.from(hex.replace(/\s/g, ''), 'hex');
