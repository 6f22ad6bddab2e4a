/**
 * Events of a torch.profiler trace (Chrome's format, as Kineto writes it) to collectives and engine steps.
 * Source: torch/csrc/profiler (names of arguments), libkineto/src/output_json.cpp (header, times in microseconds relative to
 * `baseTimeNanoseconds`), vLLM's and torch's names of annotations.
 */

import type { AnyValue, Attributes, Resource } from '../model.ts';
import { collectiveTrace, commOp, type HookSpan, hashHex, hex16 } from './hook-span.ts';

/** What stands beside the events. */
export interface Header {
  /** Nanoseconds since the epoch that times are relative to; 0n in traces of older versions, whose times are absolute. */
  base: bigint;
  rank: number | undefined;
  worldSize: number | undefined;
  backend: string;
}

export interface TraceReader {
  /** The span an event becomes, if it is one that matters. Throws a SyntaxError if it is no event. */
  read(text: Buffer): HookSpan | undefined;
  /** Steps, which need all events: the time on the device comes from another row than the time on the host. */
  steps(): HookSpan[];
  /** Collectives whose number in the communicator the trace does not tell. */
  readonly unnumbered: number;
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
};

const MOST_STEPS = 200_000;
const isObject = (v: unknown): v is Readonly<Record<string, unknown>> =>
  typeof v === 'object' && v !== null && !Array.isArray(v);
const text = (v: unknown): string => (typeof v === 'string' ? v.replace(/^"(.*)"$/, '$1').slice(0, 200) : '');
const number = (v: unknown): number | undefined => {
  const n = typeof v === 'string' && v !== '' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) ? n : undefined;
};
const whole = (v: unknown): number | undefined => {
  const n = number(v);
  return n !== undefined && Number.isSafeInteger(n) && n >= 0 ? n : undefined;
};

/** Takes in one value that stands beside the events. */
export function readBeside(header: Header, key: string, value: string): void {
  if (key === 'baseTimeNanoseconds' && /^\d{1,19}$/.test(value)) header.base = BigInt(value);
  if (key !== 'distributedInfo') return;
  let info: unknown;
  try {
    info = JSON.parse(value);
  } catch {
    return;
  }
  if (!isObject(info)) return;
  header.rank = whole(info['rank']) ?? header.rank;
  header.worldSize = whole(info['world_size']) ?? header.worldSize;
  header.backend = text(info['backend']) || header.backend;
}

/** Whether an event can matter, by its bytes: parsing all of them would cost most of the time. */
export const mayMatter = (event: Buffer): boolean =>
  event.includes('Collective name') || event.includes('ProfilerStep#') || event.includes('execute_');

interface Annotation {
  readonly start: bigint;
  readonly end: bigint;
}

export function createTraceReader(header: Header, about: (said: Attributes) => Resource): TraceReader {
  const said: Record<string, AnyValue> = {};
  if (header.rank !== undefined) said['inference.rank'] = header.rank;
  if (header.worldSize !== undefined) said['inference.world_size'] = header.worldSize;
  const resource = about(said);
  /** By name, in the order of the file. */
  const host = new Map<string, Annotation[]>();
  const device = new Map<string, Annotation[]>();
  let steps = 0;
  let unnumbered = 0;
  // Only the kernel tells how long NCCL took; for backends that run on the host, the call does.
  const onDevice = header.backend === '' || header.backend.includes('nccl') || header.backend.includes('rccl');

  const times = (event: Readonly<Record<string, unknown>>): Annotation | undefined => {
    const ts = number(event['ts']);
    const dur = number(event['dur']);
    if (ts === undefined || dur === undefined || dur < 0 || Math.abs(ts) > 9e15 || dur > 9e12) return undefined;
    // Whole microseconds first: their fractions would not survive a multiplication.
    const whole = Math.floor(ts);
    const start = header.base + BigInt(whole) * 1000n + BigInt(Math.round((ts - whole) * 1000));
    return start < 0n ? undefined : { start, end: start + BigInt(Math.round(dur * 1000)) };
  };

  const collective = (event: Readonly<Record<string, unknown>>, args: Readonly<Record<string, unknown>>) => {
    const at = times(event);
    const op = commOp(text(args['Collective name']));
    const size = whole(args['Group size']);
    if (!at || op === undefined || size === undefined) return undefined;
    const group = text(args['Process Group Name']) || text(args['Process Group Description']) || 'default';
    const seq = whole(args['Seq']);
    if (seq === undefined) unnumbered++;
    const elements = whole(args['In msg nelems']) ?? 0;
    const rank = rankIn(text(args['Process Group Ranks']), size, header);
    const attributes: Record<string, AnyValue> = {
      'comm.id': group,
      'comm.op': op,
      'comm.bytes': elements * (WIDTHS[text(args['dtype'])] ?? 0),
      'comm.size': size,
      'comm.backend': header.backend.split(/[:,]/).at(-1) || 'nccl',
      'hook.clock': onDevice ? 'device' : 'host',
    };
    if (seq !== undefined) attributes['comm.seq'] = seq;
    if (rank !== undefined) attributes['comm.rank'] = rank;
    const peer = whole(args[op === 'send' ? 'Dst Rank' : 'Src Rank']);
    if ((op === 'send' || op === 'recv') && peer !== undefined) attributes['comm.peer'] = peer;
    const traceId =
      seq === undefined ? hashHex(`${group}/${op}/${at.start}`) + hashHex(group) : collectiveTrace(group, op, seq);
    return { resource, name: 'collective', traceId, ...at, attributes };
  };

  return {
    read(bytes) {
      if (!mayMatter(bytes)) return undefined;
      const event: unknown = JSON.parse(bytes.toString('utf8'));
      if (!isObject(event) || event['ph'] !== 'X') return undefined;
      const args = isObject(event['args']) ? event['args'] : {};
      const category = event['cat'];
      if (args['Collective name'] !== undefined) {
        const wanted = onDevice ? category === 'kernel' : category === 'cpu_op';
        return wanted ? collective(event, args) : undefined;
      }
      const name = text(event['name']);
      const row = category === 'gpu_user_annotation' ? device : category === 'user_annotation' ? host : undefined;
      const at = times(event);
      if (!row || !at || steps >= MOST_STEPS || !stepOf(name)) return undefined;
      steps++;
      const list = row.get(name);
      if (list) list.push(at);
      else row.set(name, [at]);
      return undefined;
    },
    steps() {
      const spans: HookSpan[] = [];
      for (const [name, list] of host) {
        const onGpu = device.get(name);
        list.forEach((at, i) => {
          const { id, prefillTokens, decodeSeqs } = stepOf(name)!;
          const attributes: Record<string, AnyValue> = { 'hook.clock': 'host' };
          if (id !== undefined) attributes['step.id'] = id;
          if (prefillTokens !== undefined) attributes['step.prefill_tokens'] = prefillTokens;
          if (decodeSeqs !== undefined) attributes['step.decode_seqs'] = decodeSeqs;
          // The nth of a name on the device belongs to the nth on the host.
          const gpu = onGpu?.[i];
          if (gpu) attributes['step.gpu_time_ns'] = Number(gpu.end - gpu.start);
          const key = hashHex(`${header.rank ?? ''}/${name}`);
          spans.push({ resource, name: 'engine_step', traceId: key + hex16(i + 1), ...at, attributes });
        });
      }
      return spans.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
    },
    get unnumbered() {
      return unnumbered;
    },
  };
}

/** `ProfilerStep#12`, or vLLM's `execute_context_2(512)_generation_16(16)`: requests and tokens of prefill and decode. */
function stepOf(name: string) {
  const step = /^ProfilerStep#(\d{1,15})$/.exec(name);
  if (step) return { id: Number(step[1]), prefillTokens: undefined, decodeSeqs: undefined };
  const run = /^execute_context_\d+\((\d{1,9})\)_generation_(\d{1,9})\(\d+\)$/.exec(name);
  if (run) return { id: undefined, prefillTokens: Number(run[1]), decodeSeqs: Number(run[2]) };
  return undefined;
}

/** `[0, 1, 2, 3]`; long lists are written `[0, 1, ..., 63]`. */
function rankIn(ranks: string, size: number, header: Header): number | undefined {
  if (header.rank === undefined) return undefined;
  if (size === header.worldSize) return header.rank;
  if (ranks.includes('...')) return undefined;
  const at = (ranks.match(/\d+/g) ?? []).map(Number).indexOf(header.rank);
  return at < 0 ? undefined : at;
}
