/** Spans of `interfaces.md` §4, made by whoever reads of such events somewhere: hooks, files of engines and libraries. */
import { type Attributes, type Resource, type Scope, type Span, scope, type UnixNano } from '../model.ts';
import { VERSION } from './version.ts';

/** The operations that `comm.op` knows. */
export const COMM_OPS: ReadonlySet<string> = new Set([
  'all_reduce',
  'all_gather',
  'reduce_scatter',
  'all_to_all',
  'broadcast',
  'reduce',
  'gather',
  'scatter',
  'send',
  'recv',
  'barrier',
]);

/** How libraries write the same operations, without case, underscores and blanks; the longest name that fits counts. */
const SPELLINGS: readonly (readonly [string, string])[] = [
  ['allreducebarrier', 'barrier'],
  ['reducescatter', 'reduce_scatter'],
  ['allgather', 'all_gather'],
  ['allreduce', 'all_reduce'],
  ['alltoall', 'all_to_all'],
  ['broadcast', 'broadcast'],
  ['barrier', 'barrier'],
  ['scatter', 'scatter'],
  ['gather', 'gather'],
  ['reduce', 'reduce'],
  ['send', 'send'],
  ['recv', 'recv'],
];

/** `AllReduce`, `_all_gather_base`, `nccl:reduce_scatter_tensor_coalesced` as `comm.op`; undefined if it is none. */
export function commOp(name: string): string | undefined {
  const plain = name
    .toLowerCase()
    .replace(/^[a-z0-9]+:/, '')
    .replace(/[^a-z0-9]/g, '');
  for (const [spelling, op] of SPELLINGS) if (plain.startsWith(spelling)) return op;
  return undefined;
}

const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** The low 32 bits as eight hex digits. */
export const hex8 = (n: number): string => {
  const w = n >>> 0;
  return HEX[w >>> 24]! + HEX[(w >>> 16) & 255]! + HEX[(w >>> 8) & 255]! + HEX[w & 255]!;
};

/** A whole number below 2^53 as sixteen hex digits. */
export const hex16 = (n: number): string => hex8(n / 4294967296) + hex8(n);

/** 64 bits of a text, FNV-1a over two halves; only has to be the same on every rank and rarely the same for two texts. */
export function hashHex(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b ^ c ^ (a >>> 16), 0x85ebca6b);
  }
  // Never all zeros, which would be no id.
  return hex8(a | 1) + hex8(b);
}

/** One trace per operation: its spans on every rank show side by side in a trace viewer. */
export const collectiveTrace = (group: string, op: string, seq: number): string =>
  hashHex(`${group}/${op}`) + hex16(seq);

export interface HookSpan {
  readonly resource: Resource;
  readonly name: string;
  readonly traceId: string;
  readonly start: UnixNano;
  readonly end: UnixNano;
  readonly attributes: Attributes;
  readonly spanId?: string;
  readonly parentSpanId?: string;
  /** Why it failed. */
  readonly error?: string | undefined;
}

const UNSET = Object.freeze({ code: 0, message: '' });
const NOTHING: readonly never[] = Object.freeze([]);

/** Makes spans in the name of a receiver; `seed` tells its span ids from those of other daemons. */
export function hookSpans(receiver: string, seed: string): (span: HookSpan) => Span {
  const by: Scope = scope(`enginelight/receivers/${receiver}`, VERSION);
  const begin = hashHex(seed).slice(0, 8);
  let serial = 0;
  return (span) => {
    serial = serial >= 0xffffffff ? 1 : serial + 1;
    return {
      resource: span.resource,
      scope: by,
      traceId: span.traceId,
      spanId: span.spanId || begin + hex8(serial),
      parentSpanId: span.parentSpanId ?? '',
      traceState: '',
      flags: 0,
      name: span.name,
      kind: 1,
      startTime: span.start,
      endTime: span.end < span.start ? span.start : span.end,
      attributes: span.attributes,
      droppedAttributesCount: 0,
      events: NOTHING,
      droppedEventsCount: 0,
      links: NOTHING,
      droppedLinksCount: 0,
      status: span.error === undefined ? UNSET : { code: 2, message: span.error },
    };
  };
}
