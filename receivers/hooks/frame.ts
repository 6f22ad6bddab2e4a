/**
 * The frame that hooks send: a JSON header that says everything once, then rows of 64-bit integers, one an event. Cheap
 * to make where it costs an engine (a flat list of integers becomes bytes in one call), and cheap to read here.
 *
 *   0   "ELH1"
 *   4   length of the header in bytes, uint32, little-endian
 *   8   the header, UTF-8, padded with spaces to a multiple of 8 bytes
 *   …   per block of the header: `count` rows of `COLUMNS[kind]` int64, little-endian
 *
 * Times are nanoseconds of the sender's monotonic clock; `clock` in the header is what to add to get Unix time, `now` is
 * when the frame was made (both, and the times of `spans`, as text: they are beyond 2^53). −1 is "absent" in every column
 * but times.
 */
import type { AnyValue } from '../../pipeline/model.ts';

/** The columns of a row, per kind of event. `…` names an index into the header's `strings` or `ops`. */
export const COLUMNS = {
  collective: ['start', 'end', 'op', 'seq', 'bytes'],
  pipeline_stage: ['start', 'end', 'index', 'count', 'microbatch', 'step', 'tokens'],
  engine_step: ['start', 'end', 'step', 'prefill_tokens', 'decode_seqs', 'gpu_ns', 'schedule_ns', 'graph'],
  kv_transfer: ['start', 'end', 'request', 'source', 'destination', 'bytes', 'blocks', 'transport', 'wait_ns', 'error'],
} as const;

export type RowKind = keyof typeof COLUMNS;
export const ROW_KINDS = Object.keys(COLUMNS) as readonly RowKind[];

/** What rows of `collective` point at: everything about an operation but its time, number and size. */
export interface OpEntry {
  readonly op: string;
  /** Index into `groups`. */
  readonly group: number;
  readonly peer?: number;
  /** Where start and end were taken: on the device, or on the host around the call. */
  readonly clock: 'device' | 'host';
  /** It has not ended: `end` is the time of the report. */
  readonly open?: true;
}

export interface GroupEntry {
  readonly id: string;
  readonly size: number;
  readonly rank: number;
  readonly backend: string;
}

/** A span that is too rare, or too different from its like, for rows. */
export interface SpanEntry {
  readonly kind: string;
  readonly name: string;
  readonly start: number;
  readonly end: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly error: string | undefined;
  readonly attributes: Readonly<Record<string, AnyValue>>;
}

export interface Block {
  readonly kind: RowKind;
  readonly count: number;
  /** `count` × columns numbers, row by row; times are relative to `Frame.epoch`. */
  readonly values: Float64Array;
}

export interface Frame {
  /** One per process; lower-case hex, up to 16 characters. */
  readonly sender: string;
  readonly pid: number;
  readonly version: string;
  /** The resource as it was sent: the key of everything that is kept per sender. */
  readonly resourceText: string;
  readonly resource: Readonly<Record<string, string | number | boolean>>;
  /** Unix nanoseconds that times of this frame are relative to. */
  readonly epoch: bigint;
  readonly strings: readonly string[];
  readonly groups: readonly GroupEntry[];
  readonly ops: readonly OpEntry[];
  readonly spans: readonly SpanEntry[];
  /** Entries of `spans` that were none. */
  readonly badSpans: number;
  readonly blocks: readonly Block[];
  /** Events that the hooks lost since their last frame, per kind: the ring was full. */
  readonly lost: Readonly<Record<string, number>>;
  /** Operations that ran, sampled or not, since the last frame. */
  readonly seen: number;
}

/** The bytes are not a frame; the message says where it went wrong. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

export interface FrameLimits {
  readonly events: number;
  readonly entries: number;
  readonly textLength: number;
}

export const FRAME_LIMITS: FrameLimits = { events: 65_536, entries: 8192, textLength: 512 };

const MAGIC = 0x31484c45;

/** Reads a frame. Throws a FrameError if it is none; single entries that are wrong are left out and counted. */
export function readFrame(given: Uint8Array, limits: FrameLimits = FRAME_LIMITS): Frame {
  // Rows are read as 32-bit words, which have to be aligned; a body that came in one chunk may not be.
  const bytes = given.byteOffset % 8 === 0 ? given : new Uint8Array(given);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || view.getUint32(0, true) !== MAGIC) throw new FrameError('it does not begin with "ELH1"');
  const headerLength = view.getUint32(4, true);
  const rowsAt = 8 + headerLength;
  if (rowsAt > bytes.length) throw new FrameError(`its header of ${headerLength} bytes does not end`);
  if (rowsAt % 8 !== 0) throw new FrameError(`its header of ${headerLength} bytes is not padded to 8`);
  const header = parseHeader(bytes.subarray(8, rowsAt));
  const { entries, textLength } = limits;
  const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, textLength) : '');

  const blocks: Block[] = [];
  const announced = list(header['blocks'], 64, 'blocks').map((raw) => {
    const kind = isObject(raw) ? raw['kind'] : undefined;
    const count = isObject(raw) ? raw['count'] : undefined;
    if (typeof kind !== 'string' || !Object.hasOwn(COLUMNS, kind)) {
      throw new FrameError(`a block has the unknown kind ${JSON.stringify(kind)}`);
    }
    if (!Number.isSafeInteger(count) || (count as number) < 0) throw new FrameError('a block has no count');
    return { kind: kind as RowKind, count: count as number };
  });
  const events = announced.reduce((n, b) => n + b.count, 0);
  if (events > limits.events) throw new FrameError(`it has ${events} events, more than ${limits.events}`);
  const expected = announced.reduce((n, b) => n + b.count * COLUMNS[b.kind].length * 8, 0);
  if (bytes.length - rowsAt !== expected) {
    throw new FrameError(`it has ${bytes.length - rowsAt} bytes of rows where its header announces ${expected}`);
  }

  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + rowsAt, expected / 4);
  const clock = nanos(header, 'clock');
  // Times are kept as numbers relative to when the frame was made: exact, and no bigint per value.
  const now = nanos(header, 'now');
  const low = Number(now & 0xffffffffn);
  const high = Number(now >> 32n);
  const epoch = clock + now;
  if (epoch <= 0n || epoch >= 1n << 63n) throw new FrameError('"clock" and "now" together are no time');
  let at = 0;
  for (const { kind, count } of announced) {
    const width = COLUMNS[kind].length;
    const values = new Float64Array(count * width);
    for (let i = 0; i < values.length; i += width) {
      for (let c = 0; c < 2; c++, at += 2) {
        values[i + c] = ((words[at + 1]! | 0) - high) * 4294967296 + (words[at]! - low);
      }
      for (let c = 2; c < width; c++, at += 2) {
        values[i + c] = (words[at + 1]! | 0) * 4294967296 + words[at]!;
      }
    }
    blocks.push({ kind, count, values });
  }
  const read = readSpans(list(header['spans'] ?? [], entries, 'spans'), now, text);
  return {
    sender: /^[0-9a-f]{1,16}$/.test(String(header['sender'])) ? String(header['sender']) : '0',
    pid: count(header['pid']),
    version: text(header['version']),
    ...readResource(header['resource'], text),
    epoch,
    strings: list(header['strings'] ?? [], entries, 'strings').map(text),
    groups: list(header['groups'] ?? [], entries, 'groups').map((raw) => {
      const g = isObject(raw) ? raw : {};
      return { id: text(g['id']), size: count(g['size']), rank: count(g['rank']), backend: text(g['backend']) };
    }),
    ops: list(header['ops'] ?? [], entries, 'ops').map((raw) => {
      const o = isObject(raw) ? raw : {};
      return {
        op: text(o['op']),
        group: count(o['group']),
        clock: o['clock'] === 'device' ? 'device' : 'host',
        ...(Number.isSafeInteger(o['peer']) && (o['peer'] as number) >= 0 ? { peer: o['peer'] as number } : {}),
        ...(o['open'] === true ? { open: true as const } : {}),
      };
    }),
    spans: read.spans,
    badSpans: read.bad,
    blocks,
    lost: readCounts(header['lost']),
    seen: count(header['seen']),
  };
}

type Json = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const count = (value: unknown): number =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0;

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseHeader(bytes: Uint8Array): Json {
  let parsed: unknown;
  try {
    parsed = JSON.parse(utf8.decode(bytes));
  } catch {
    throw new FrameError('its header is not JSON');
  }
  if (!isObject(parsed)) throw new FrameError('its header is not a JSON object');
  return parsed;
}

function list(value: unknown, most: number, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new FrameError(`"${name}" is not a list`);
  if (value.length > most) throw new FrameError(`"${name}" has ${value.length} entries, more than ${most}`);
  return value;
}

function nanos(header: Json, key: string): bigint {
  const value = header[key];
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value)) {
    throw new FrameError(`"${key}" is not a number of nanoseconds in a string`);
  }
  return BigInt(value);
}

const RESOURCE_ATTRIBUTES = 64;

function readResource(raw: unknown, text: (value: unknown) => string): Pick<Frame, 'resource' | 'resourceText'> {
  const resource: Record<string, string | number | boolean> = Object.create(null);
  let left = RESOURCE_ATTRIBUTES;
  for (const [key, value] of Object.entries(isObject(raw) ? raw : {})) {
    if (left-- <= 0) break;
    if (typeof value === 'string') resource[key.slice(0, 128)] = text(value);
    else if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) {
      resource[key.slice(0, 128)] = value;
    }
  }
  return { resource, resourceText: JSON.stringify(resource) };
}

function readCounts(raw: unknown): Record<string, number> {
  const counts: Record<string, number> = Object.create(null);
  for (const [key, value] of Object.entries(isObject(raw) ? raw : {}).slice(0, 16)) {
    if (/^[a-z_]{1,32}$/.test(key)) counts[key] = count(value);
  }
  return counts;
}

const SPAN_ATTRIBUTES = 64;

function readSpans(raws: readonly unknown[], now: bigint, text: (value: unknown) => string) {
  const spans: SpanEntry[] = [];
  for (const raw of raws) {
    if (!isObject(raw)) continue;
    const { name } = raw;
    const start = relative(raw['start'], now);
    const end = relative(raw['end'], now);
    if (start === undefined || end === undefined || typeof name !== 'string' || name === '') continue;
    const attributes: Record<string, AnyValue> = Object.create(null);
    let left = SPAN_ATTRIBUTES;
    for (const [key, value] of Object.entries(isObject(raw['attributes']) ? raw['attributes'] : {})) {
      if (left-- <= 0) break;
      if (typeof value === 'string') attributes[key.slice(0, 128)] = text(value);
      else if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) {
        attributes[key.slice(0, 128)] = value;
      }
    }
    spans.push({
      kind: text(raw['kind']) || 'request',
      name: text(name),
      start,
      end,
      traceId: hex(raw['trace_id'], 32),
      spanId: hex(raw['span_id'], 16),
      parentSpanId: hex(raw['parent_span_id'], 16),
      error: typeof raw['error'] === 'string' ? text(raw['error']) : undefined,
      attributes,
    });
  }
  return { spans, bad: raws.length - spans.length };
}

/** A time in text, as the header's own, relative to when the frame was made; undefined if it is none. */
function relative(value: unknown, now: bigint): number | undefined {
  if (typeof value !== 'string' || !/^-?\d{1,19}$/.test(value)) return undefined;
  return Number(BigInt(value) - now);
}

const hex = (value: unknown, length: number): string =>
  typeof value === 'string' && value.length === length && /^[0-9a-f]+$/.test(value) && !/^0+$/.test(value) ? value : '';
