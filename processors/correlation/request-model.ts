/**
 * What is known of one request from all spans about it, whoever sent them: route, queue, prefill, transfer and decode. Where
 * several tell of the same part, the one nearest to it is believed.
 */
import type { Subject } from '../../pipeline/kit/topology.ts';
import { type AnyValue, Double, msFromNanos, type Span } from '../../pipeline/model.ts';

/** How near a source is to what it tells: parts an engine was busy with, a proxy that waited for it. */
const PART = 2;
const WAITED = 1;

/** A part of a request, milliseconds. */
interface Part {
  near: number;
  /** Sum of durations; for what is told as a whole, that. */
  ms: number;
  start: number;
  end: number;
}

/** One engine's share in a request. */
interface Leg {
  readonly role: string;
  readonly start: number;
  readonly end: number;
  readonly replica: string;
  readonly queueMs: number | undefined;
  readonly prefillMs: number | undefined;
  readonly decodeMs: number | undefined;
  readonly outputTokens: number | undefined;
}

export interface RequestModel {
  spans: number;
  /** Where it came from first: the gateway's or frontend's span, if there is one. */
  front: { start: number; end: number; id: string; error: boolean } | undefined;
  readonly legs: Leg[];
  readonly parts: Map<string, Part>;
  readonly facts: Map<string, AnyValue>;
}

export const newModel = (): RequestModel => ({
  spans: 0,
  front: undefined,
  legs: [],
  parts: new Map(),
  facts: new Map(),
});

const MOST_LEGS = 16;

const num = (v: AnyValue | undefined): number | undefined => {
  const n = v instanceof Double ? v.value : typeof v === 'bigint' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) ? n : undefined;
};
const ms = (v: AnyValue | undefined): number | undefined => {
  const s = num(v);
  return s === undefined ? undefined : s * 1000;
};
const text = (v: AnyValue | undefined): string => (typeof v === 'string' ? v : '');

/** Facts that are taken over as they are, from whoever tells them first. */
const FACTS = [
  'gen_ai.request.model',
  'gen_ai.usage.input_tokens',
  'gen_ai.usage.cache_read.input_tokens',
  'inference.request.prefill.worker',
  'inference.request.decode.worker',
];

/** Parts that spans of a stage are about. */
const PARTS: Readonly<Record<string, string>> = {
  route: 'route',
  queue: 'queue',
  prefill: 'prefill',
  kv_transfer: 'transfer',
  decode: 'decode',
};

function part(model: RequestModel, name: string, near: number, start: number, end: number, took = end - start): void {
  const before = model.parts.get(name);
  if (before && before.near > near) return;
  if (!before || before.near < near) model.parts.set(name, { near, ms: took, start, end });
  else {
    before.start = Math.min(before.start, start);
    before.end = Math.max(before.end, end);
    // A router's steps lie within one another; an engine's follow one another.
    before.ms = name === 'route' ? before.end - before.start : before.ms + took;
  }
}

/** Takes in what is known under another name. */
export function mergeModels(into: RequestModel, from: RequestModel): void {
  into.spans += from.spans;
  if (from.front && (!into.front || from.front.start < into.front.start)) into.front = from.front;
  into.legs.push(...from.legs.slice(0, MOST_LEGS - into.legs.length));
  for (const [name, p] of from.parts) part(into, name, p.near, p.start, p.end, p.ms);
  for (const [name, value] of from.facts) if (!into.facts.has(name)) into.facts.set(name, value);
}

/** Whether a span is the frontend's or router's, not an engine's own. */
const isFront = (span: Span): boolean => {
  const role = text(span.resource.attributes['inference.role']) || text(span.attributes['inference.role']);
  return role === 'router' || role === 'frontend' || span.attributes['inference.request.prefill.worker'] !== undefined;
};

/**
 * Whether a span with another id is of another request, though its trace is the same: an agent's trace has many. A request
 * passes one frontend and has one leg that answers; a leg that gave one token only filled the cache.
 */
export function isAnother(model: RequestModel, span: Span): boolean {
  if (span.attributes['inference.stage'] !== 'request') return false;
  if (isFront(span)) return model.front !== undefined;
  const answers = (tokens: number | undefined) => (tokens ?? 0) > 1;
  return (
    answers(num(span.attributes['gen_ai.usage.output_tokens'])) && model.legs.some((leg) => answers(leg.outputTokens))
  );
}

/** Takes in one span. */
export function addSpan(model: RequestModel, span: Span, subject: Subject): void {
  const a = span.attributes;
  const start = msFromNanos(span.startTime);
  const end = msFromNanos(span.endTime);
  const role = text(span.resource.attributes['inference.role']) || text(a['inference.role']);
  const stage = text(a['inference.stage']);
  model.spans++;
  for (const name of FACTS) {
    const value = a[name];
    if (value !== undefined && !model.facts.has(name)) model.facts.set(name, value);
  }
  if (span.name === 'kv_transfer') {
    part(model, 'transfer', PART, start, end);
    return;
  }
  const serves = role !== 'router' && role !== 'frontend';
  if (stage !== 'request') {
    const name = PARTS[stage];
    // A proxy that waits for an engine's answer also waits for its queue.
    if (name) part(model, name, serves || name === 'route' ? PART : WAITED, start, end);
    return;
  }
  const front = isFront(span);
  if (front) {
    if (!model.front || start < model.front.start || end > model.front.end) {
      model.front = { start, end, id: subject.instance?.id ?? '', error: span.status.code === 2 };
    }
    // What a frontend knows of its engines, where they tell nothing themselves.
    for (const name of ['queue', 'prefill', 'decode', 'transfer']) {
      const took = ms(a[`inference.request.${name}.duration`]);
      if (took !== undefined) part(model, name, WAITED, start, end, took);
    }
  } else if (model.legs.length < MOST_LEGS) {
    model.legs.push({
      role,
      start,
      end,
      replica: subject.instance?.id ?? '',
      queueMs: ms(a['inference.request.queue.duration']),
      prefillMs: ms(a['inference.request.prefill.duration']),
      decodeMs: ms(a['inference.request.decode.duration']),
      outputTokens: num(a['gen_ai.usage.output_tokens']),
    });
  }
  for (const name of ['gen_ai.server.time_to_first_token', 'gen_ai.usage.output_tokens']) {
    const value = num(a[name]);
    // The frontend's counts most; of the legs, the last one answered.
    if (value !== undefined && (front || !model.front)) model.facts.set(name, a[name]!);
  }
}

export interface Summary {
  readonly start: number;
  readonly end: number;
  readonly error: boolean;
  readonly attributes: Record<string, AnyValue>;
  /** Replicas of the hand-off, if there was one. */
  readonly pair: readonly [string, string] | undefined;
}

/** The legs in the order they ran: which one only filled the KV cache, and which one answered. */
function roles(legs: readonly Leg[]): { prefill: Leg | undefined; decode: Leg | undefined } {
  const sorted = [...legs].sort((x, y) => x.start - y.start);
  if (sorted.length < 2) {
    const [only] = sorted;
    return only?.role === 'prefill' ? { prefill: only, decode: undefined } : { prefill: undefined, decode: only };
  }
  const decode = sorted.findLast((leg) => leg.role === 'decode') ?? sorted.at(-1)!;
  const prefill =
    sorted.find((leg) => leg !== decode && leg.role === 'prefill') ??
    // Without roles: one that was asked for a single token, and ended before the other did.
    sorted.find((leg) => leg !== decode && (leg.outputTokens ?? 0) <= 1 && leg.end <= decode.end);
  return { prefill, decode };
}

/** What the spans so far add up to. */
export function summary(model: RequestModel): Summary | undefined {
  const { front, legs } = model;
  const { prefill, decode } = roles(legs);
  const all = [...legs, ...(front ? [front] : []), ...model.parts.values()];
  if (all.length === 0) return undefined;
  const start = front?.start ?? Math.min(...all.map((l) => l.start));
  const end = front?.end ?? Math.max(...all.map((l) => l.end));
  const attributes: Record<string, AnyValue> = {};
  const put = (name: string, milliseconds: number | undefined) => {
    if (milliseconds !== undefined) attributes[`inference.request.${name}.duration`] = milliseconds / 1000;
  };
  const told = (name: string) => model.parts.get(name)?.ms;
  const handed = prefill !== undefined && decode !== undefined;
  put('route', told('route'));
  put('queue', (handed ? prefill.queueMs : decode?.queueMs) ?? told('queue'));
  put('prefill', (handed ? prefill.prefillMs : decode?.prefillMs) ?? told('prefill'));
  put('decode', decode?.decodeMs ?? told('decode'));
  let transfer = told('transfer');
  if (transfer === undefined && handed) {
    // Nobody timed it: from the end of the one engine's work to the beginning of the other's.
    transfer = Math.max(0, decode.start + (decode.queueMs ?? 0) - prefill.end);
    attributes['inference.request.transfer.estimated'] = true;
  }
  put('transfer', transfer);
  for (const [name, value] of model.facts) attributes[name] = value;
  attributes['gen_ai.server.request.duration'] = (end - start) / 1000;
  if (front?.id) attributes['inference.request.router'] = front.id;
  if (prefill?.replica) attributes['inference.request.prefill.replica'] = prefill.replica;
  if (decode?.replica) attributes['inference.request.decode.replica'] = decode.replica;
  attributes['inference.request.spans'] = model.spans;
  const pair = handed && prefill.replica && decode.replica && prefill.replica !== decode.replica;
  return {
    start,
    end,
    error: front?.error ?? false,
    attributes,
    pair: pair ? [prefill.replica, decode.replica] : undefined,
  };
}
