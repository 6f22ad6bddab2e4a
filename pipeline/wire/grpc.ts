/** The parts of gRPC that are bytes and text: status codes, message framing, the headers' own encodings. */

/** Status codes, as in google.rpc.Code. */
export const GrpcCode = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** `RESOURCE_EXHAUSTED` of 8; `code 99` of what has no name. */
export const grpcCodeName = (code: number): string =>
  Object.entries(GrpcCode).find(([, value]) => value === code)?.[0] ?? `code ${code}`;

/** Bytes in front of a message: one flag (compressed or not) and the length. */
export const FRAME_HEADER_BYTES = 5;

/** One message with its frame header. May share the message's memory, which nobody changes. */
export function frame(message: Uint8Array, compressed: boolean): Uint8Array {
  // What came over gRPC and is passed on as it is has its header in front of it already.
  if (message.byteOffset === FRAME_HEADER_BYTES && message.buffer.byteLength === FRAME_HEADER_BYTES + message.length) {
    const whole = Buffer.from(message.buffer);
    if (whole[0] === (compressed ? 1 : 0) && whole.readUInt32BE(1) === message.length) return whole;
  }
  const framed = Buffer.allocUnsafe(FRAME_HEADER_BYTES + message.length);
  framed[0] = compressed ? 1 : 0;
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, FRAME_HEADER_BYTES);
  return framed;
}

/** Room for a message of this length, to be written, that `frame` does not copy when it is sent uncompressed. */
export function framable(length: number): Uint8Array {
  const whole = Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES + length);
  whole[0] = 0;
  whole.writeUInt32BE(length, 1);
  return whole.subarray(FRAME_HEADER_BYTES);
}

/** A text as the grpc-message header carries it: percent-encoded where it is not printable ASCII. */
export function encodeGrpcMessage(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text)) {
    out += byte >= 0x20 && byte < 0x7f && byte !== 0x25 ? String.fromCharCode(byte) : `%${HEX[byte]}`;
  }
  return out;
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).toUpperCase().padStart(2, '0'));

/** The text of a grpc-message header; what is not valid percent-encoding stays as it is. */
export function decodeGrpcMessage(header: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < header.length; i++) {
    const pair = header[i] === '%' ? header.slice(i + 1, i + 3) : '';
    if (/^[0-9a-fA-F]{2}$/.test(pair)) {
      bytes.push(Number.parseInt(pair, 16));
      i += 2;
    } else bytes.push(header.charCodeAt(i) & 0xff);
  }
  return Buffer.from(bytes).toString('utf8');
}

const TIMEOUT_UNITS: Readonly<Record<string, number>> = { n: 1e-6, u: 1e-3, m: 1, S: 1000, M: 60_000, H: 3_600_000 };

/** A grpc-timeout header in milliseconds; undefined if it is absent or not one. */
export function parseGrpcTimeout(header: string | undefined): number | undefined {
  const match = /^([0-9]{1,8})([numSMH])$/.exec(header ?? '');
  return match ? Number(match[1]) * TIMEOUT_UNITS[match[2]!]! : undefined;
}

/** Milliseconds as a grpc-timeout header: at most eight digits, in the finest unit that holds them. */
export function formatGrpcTimeout(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms));
  if (whole < 1e8) return `${whole}m`;
  return `${Math.min(99_999_999, Math.ceil(whole / 1000))}S`;
}
