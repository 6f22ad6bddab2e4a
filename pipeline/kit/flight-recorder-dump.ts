/**
 * A dump of PyTorch's flight recorder: what each process group of one rank has queued, begun and finished. A pickle of
 * plain dicts and lists (`TORCH_NCCL_DEBUG_INFO_TEMP_FILE`), or the same as JSON (`_dump_nccl_trace_json`).
 * Source: torch/csrc/distributed/c10d/FlightRecorder, dump version 2.x.
 */

import { type Pickled, readPickle } from '../wire/pickle.ts';
import { commOp } from './hook-span.ts';

export interface Dump {
  readonly version: string;
  /** By name: what the group is for, and its global ranks in order. */
  readonly groups: ReadonlyMap<string, { readonly description: string; readonly ranks: readonly number[] }>;
  readonly entries: readonly Entry[];
  /** Entries that say too little to be used. */
  readonly bad: number;
}

export interface Entry {
  readonly group: string;
  readonly op: string;
  readonly backend: string;
  readonly seq: number;
  readonly peer: number | undefined;
  readonly bytes: number;
  readonly state: 'scheduled' | 'started' | 'completed';
  /** Nanoseconds since the epoch; undefined where the recorder does not know. */
  readonly created: bigint;
  readonly started: bigint | undefined;
  readonly completed: bigint | undefined;
  /** Time on the device, milliseconds; only with `TORCH_NCCL_ENABLE_TIMING`. */
  readonly durationMs: number | undefined;
  readonly timeoutMs: number | undefined;
}

/** Bytes of an element, by the names of c10::ScalarType. */
const WIDTHS: Readonly<Record<string, number>> = {
  Byte: 1,
  Char: 1,
  Bool: 1,
  Short: 2,
  Half: 2,
  BFloat16: 2,
  Int: 4,
  Float: 4,
  Long: 8,
  Double: 8,
  ComplexFloat: 8,
  ComplexDouble: 16,
  UInt16: 2,
  UInt32: 4,
  UInt64: 8,
};

type Get = (key: string) => unknown;
const isPlain = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** A dict of a pickle or an object of JSON, as a function of its keys. */
function reader(value: unknown): Get | undefined {
  if (value instanceof Map) return (key) => value.get(key as Pickled);
  if (value instanceof Uint8Array) return undefined;
  return isPlain(value) ? (key) => (Object.hasOwn(value, key) ? value[key] : undefined) : undefined;
}

function* entriesOf(value: unknown): Iterable<readonly [string, unknown]> {
  if (value instanceof Map) for (const [key, v] of value) yield [String(key), v];
  else if (isPlain(value)) yield* Object.entries(value);
}

const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
const text = (v: unknown): string => (typeof v === 'string' ? v.slice(0, 200) : '');

/** Whole numbers; JSON dumps have some of them as text. */
function whole(v: unknown): number | undefined {
  const n = typeof v === 'string' && /^-?\d{1,19}$/.test(v) ? Number(v) : typeof v === 'bigint' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) ? Math.trunc(n) : undefined;
}

function nanos(v: unknown): bigint | undefined {
  if (typeof v === 'bigint') return v > 0n ? v : undefined;
  if (typeof v === 'string' && /^\d{1,19}$/.test(v)) return BigInt(v);
  return typeof v === 'number' && Number.isFinite(v) && v > 0 ? BigInt(Math.trunc(v)) : undefined;
}

/** Reads a dump. Throws a PickleError, a SyntaxError, or an Error that says what it is instead. */
export function readDump(bytes: Uint8Array): Dump {
  let first = 0;
  while (first < bytes.length && bytes[first]! <= 0x20) first++;
  const raw: unknown = bytes[first] === 0x7b ? JSON.parse(exactIntegers(bytes)) : readPickle(bytes);
  const top = reader(raw);
  if (!top || (top('entries') === undefined && top('pg_config') === undefined && top('pg_status') === undefined)) {
    throw new Error('it is no dump of the flight recorder');
  }
  const groups = new Map<string, { description: string; ranks: number[] }>();
  for (const [name, value] of entriesOf(top('pg_config'))) {
    if (groups.size >= 10_000) break;
    const config = reader(value);
    const ranks = config?.('ranks');
    groups.set(name.slice(0, 200), {
      description: text(config?.('desc')),
      ranks: (typeof ranks === 'string' ? (ranks.match(/\d+/g) ?? []) : list(ranks))
        .map((r) => whole(r))
        .filter((r) => r !== undefined),
    });
  }
  const entries: Entry[] = [];
  let bad = 0;
  for (const value of list(top('entries'))) {
    const entry = readEntry(value);
    if (entry) entries.push(entry);
    else bad++;
  }
  return { version: text(top('version')), groups, entries, bad };
}

/** JSON whose nanoseconds are beyond 2^53: they become text. */
const exactIntegers = (bytes: Uint8Array): string =>
  new TextDecoder().decode(bytes).replace(/("time_[a-z_]+_ns"\s*:\s*)(\d{16,19})(?=\s*[,}])/g, '$1"$2"');

function readEntry(value: unknown): Entry | undefined {
  const get = reader(value);
  if (!get) return undefined;
  const name = text(get('profiling_name'));
  const point = get('is_p2p') === true || get('is_p2p') === 'true';
  const seq = whole(get(point ? 'p2p_seq_id' : 'collective_seq_id')) ?? whole(get('seq_id'));
  const group = get('process_group');
  const state = get('state');
  const created = nanos(get('time_created_ns'));
  const op = commOp(name);
  if (op === undefined || seq === undefined || created === undefined) return undefined;
  if (state !== 'scheduled' && state !== 'started' && state !== 'completed') return undefined;
  // `nccl:send 0->1` and `nccl:recv 1<-0`: the other one is behind the arrow.
  const peer = /(?:->|<-)\s*(\d+)/.exec(name)?.[1];
  const ms = get('duration_ms');
  const durationMs = typeof ms === 'string' && ms !== '' ? Number(ms) : ms;
  return {
    group: Array.isArray(group) ? text(group[0]) : text(group) || String(whole(get('pg_id')) ?? ''),
    op,
    backend: /^([a-z0-9]+):/.exec(name)?.[1] ?? 'nccl',
    seq,
    peer: peer === undefined ? undefined : Number(peer),
    bytes: bytesOf(get('input_sizes'), get('input_dtypes')),
    state,
    created,
    started: nanos(get('time_discovered_started_ns')),
    completed: nanos(get('time_discovered_completed_ns')),
    durationMs:
      typeof durationMs === 'number' && Number.isFinite(durationMs) && durationMs >= 0 ? durationMs : undefined,
    timeoutMs: whole(get('timeout_ms')),
  };
}

function bytesOf(sizes: unknown, types: unknown): number {
  const widths = list(types).map((type) => WIDTHS[text(type)] ?? (/Float8/.test(text(type)) ? 1 : 0));
  let bytes = 0;
  list(sizes).forEach((shape, i) => {
    let elements = 1;
    for (const n of list(shape)) elements *= whole(n) ?? 0;
    bytes += elements * (widths[i] ?? 0);
  });
  return Number.isSafeInteger(bytes) ? bytes : 0;
}
