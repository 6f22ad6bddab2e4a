/**
 * Requests from spans that `normalize` and `correlation` have been over: who they are of, under neutral names, with the request
 * each belongs to. Clocks of hosts are aligned over all requests before a request is taken apart.
 */

import { type AnyValue, Double, msFromNanos, type Span } from '../../model.ts';
import { createShifts, type Shifts } from '../flame/shifts.ts';
import { type Leg, type Told, type Waterfall, waterfallOf } from './parts.ts';

export interface Request extends Waterfall {
  readonly key: string;
  readonly service: string;
  /** Milliseconds since the epoch. */
  readonly start: number;
  readonly replica: string;
  readonly promptTokens: number | undefined;
}

/** What is kept of a span: the spans of a hundred thousand requests would be a gigabyte. */
interface Piece extends Leg {
  readonly kind: 'front' | 'route' | 'transfer' | 'leg';
  readonly service: string;
  /** As a frontend may know it of its engines, milliseconds. */
  readonly transfer: number | undefined;
  readonly promptTokens: number | undefined;
}

/** What is beyond is left out, and counted: a person looks at a picture of all of them, not at each. */
const MOST = 200_000;
const MOST_PIECES = 64;

export interface RequestsOf {
  add(span: Span): void;
  /** Takes all requests apart; call it once. */
  finish(): {
    readonly requests: readonly Request[];
    /** Requests that do not say when their first token was, or were too many. */
    readonly without: number;
    readonly dropped: number;
    /** Hosts whose clocks were moved, milliseconds, against the host that sent to them. */
    readonly shifted: ReadonlyMap<string, number>;
  };
}

const num = (v: AnyValue | undefined): number | undefined => {
  const n = v instanceof Double ? v.value : typeof v === 'bigint' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) && n >= 0 ? n : undefined;
};
const ms = (v: AnyValue | undefined): number | undefined => {
  const s = num(v);
  return s === undefined ? undefined : s * 1000;
};
const text = (v: AnyValue | undefined): string => (typeof v === 'string' ? v : '');

export function collectRequests(): RequestsOf {
  const requests: { key: string; readonly pieces: Piece[] }[] = [];
  /** By key; a request is named after its trace until one of its spans tells its id, and has both then. */
  const named = new Map<string, { key: string; readonly pieces: Piece[] }>();
  let dropped = 0;
  const roleOf = (span: Span) =>
    text(span.resource.attributes['inference.role']) || text(span.attributes['inference.role']);
  const kindOf = (span: Span): Piece['kind'] | undefined => {
    if (span.name === 'kv_transfer') return 'transfer';
    const stage = span.attributes['inference.stage'];
    const role = roleOf(span);
    const isFront = role === 'router' || role === 'frontend';
    if (stage === 'request') return isFront ? 'front' : 'leg';
    return stage === 'route' ? 'route' : undefined;
  };
  return {
    add(span) {
      const key = text(span.attributes['inference.request.key']);
      const kind = kindOf(span);
      if (key === '' || kind === undefined || span.startTime === 0n) return;
      let request = named.get(key) ?? named.get(span.traceId);
      if (!request) {
        if (requests.length >= MOST) {
          dropped++;
          return;
        }
        request = { key, pieces: [] };
        requests.push(request);
      } else if (request.key !== key && request.key !== span.traceId && !named.has(key)) {
        // A trace has many requests where an agent asks more than once: this is the next one.
        request = { key, pieces: [] };
        requests.push(request);
      }
      if (key !== span.traceId) request.key = key;
      named.set(key, request);
      const { pieces } = request;
      if (pieces.length >= MOST_PIECES) return;
      const about = span.resource.attributes;
      const a = span.attributes;
      const start = msFromNanos(span.startTime);
      pieces.push({
        kind,
        service: text(about['service.name']) || 'unknown service',
        host: text(about['host.name']) || text(about['service.instance.id']),
        role: roleOf(span),
        replica: text(about['service.instance.id']),
        start,
        end: Math.max(start, msFromNanos(span.endTime)),
        ttft: ms(a['gen_ai.server.time_to_first_token']),
        queue: ms(a['inference.request.queue.duration']),
        prefill: ms(a['inference.request.prefill.duration']),
        transfer: ms(a['inference.request.transfer.duration']),
        outputTokens: num(a['gen_ai.usage.output_tokens']),
        promptTokens: num(a['gen_ai.usage.input_tokens']),
      });
    },
    finish() {
      const shifts = createShifts();
      for (const { pieces } of requests) compareClocks(pieces, shifts);
      const moves = shifts.settle();
      const shifted = new Map<string, number>();
      const out: Request[] = [];
      let without = 0;
      for (const { key, pieces } of requests) {
        const moved = align(pieces, moves, shifted);
        const request = takeApart(key, moved);
        if (request) out.push(request);
        else without++;
      }
      return { requests: out, without, dropped, shifted };
    },
  };
}

const frontOf = (pieces: readonly Piece[]) => {
  let front: Piece | undefined;
  for (const piece of pieces) if (piece.kind === 'front' && (!front || piece.start < front.start)) front = piece;
  return front;
};

/** An engine's share lies inside the frontend's, behind the routing, and its first token is not later than the one that came out. */
function compareClocks(pieces: readonly Piece[], shifts: Shifts): void {
  const front = frontOf(pieces);
  if (!front) return;
  let entry = front.start;
  for (const { kind, host, end } of pieces) if (kind === 'route' && host === front.host) entry = Math.max(entry, end);
  const first = front.ttft;
  for (const { kind, host, start, end, ttft: own } of pieces) {
    if (kind !== 'leg' || host === front.host) continue;
    const inside = front.end - end;
    const most =
      first === undefined || own === undefined ? inside : Math.min(inside, front.start + first - start - own);
    shifts.add(front.host, host, entry - start, most);
  }
}

function align(pieces: readonly Piece[], moves: ReadonlyMap<string, number>, shifted: Map<string, number>): Piece[] {
  const front = frontOf(pieces);
  if (!front) return [...pieces];
  return pieces.map((piece) => {
    const by = moves.get(`${front.host}\n${piece.host}`) ?? 0;
    if (by === 0 || piece.host === front.host) return piece;
    shifted.set(piece.host, by);
    return { ...piece, start: piece.start + by, end: piece.end + by };
  });
}

function takeApart(key: string, pieces: readonly Piece[]): Request | undefined {
  const front = frontOf(pieces);
  const entered = Math.min(...pieces.filter(({ kind }) => kind === 'leg').map(({ start }) => start));
  const hull = (kind: Piece['kind']) => {
    const all = pieces.filter(
      (piece) =>
        piece.kind === kind ||
        // A gateway's own steps before it sends the request on.
        (kind === 'route' && piece.kind === 'front' && piece !== front && piece.end <= entered),
    );
    if (all.length === 0) return undefined;
    return { start: Math.min(...all.map((p) => p.start)), end: Math.max(...all.map((p) => p.end)) };
  };
  const legs = pieces.filter((piece) => piece.kind === 'leg');
  const durations: { queue?: number; prefill?: number; transfer?: number } = {};
  for (const part of ['queue', 'prefill', 'transfer'] as const) {
    const took = front?.[part];
    if (took !== undefined) durations[part] = took;
  }
  const told: Told = {
    front: front && { start: front.start, end: front.end, ttft: front.ttft },
    route: hull('route'),
    transfer: hull('transfer'),
    durations,
    legs,
  };
  const waterfall = waterfallOf(told);
  if (!waterfall) return undefined;
  return {
    ...waterfall,
    key,
    service: (front ?? pieces[0]!).service,
    start: Math.min(...pieces.map((piece) => piece.start)),
    replica: legs.at(-1)?.replica ?? '',
    promptTokens: pieces.find((piece) => piece.promptTokens !== undefined)?.promptTokens,
  };
}
