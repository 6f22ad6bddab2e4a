/**
 * The time to first token of one request, taken apart (detectors C3). Parts are intervals on one line, clocks of other hosts
 * moved first; where several cover a moment, the one nearest to the work has it. So they never overlap, and with the remainder
 * that nobody explains they add up to the time to first token exactly.
 */

/** In the order they happen. */
export const PARTS = [
  'router_queue',
  'route',
  'dispatch',
  'prefill_frontend',
  'queue',
  'prefill',
  'transfer',
  'decode_frontend',
  'decode_queue',
  'first_step',
  'egress',
] as const;
export type Part = (typeof PARTS)[number];

export const PART_NAMES: Readonly<Record<Part, string>> = {
  router_queue: 'router queue',
  route: 'routing',
  dispatch: 'way to the engine',
  prefill_frontend: 'engine front end',
  queue: 'queue',
  prefill: 'prefill',
  transfer: 'KV transfer',
  decode_frontend: 'decode front end',
  decode_queue: 'decode queue',
  first_step: 'first decode step',
  egress: 'way back',
};

/** What has a moment that several cover: the work first, then what waits for it, then ways. */
const PRIORITY: readonly Part[] = [
  'prefill',
  'first_step',
  'transfer',
  'queue',
  'decode_queue',
  'route',
  'prefill_frontend',
  'decode_frontend',
  'router_queue',
  'dispatch',
  'egress',
];

/** An engine's share in a request, milliseconds. */
export interface Leg {
  readonly role: string;
  readonly replica: string;
  readonly host: string;
  readonly start: number;
  readonly end: number;
  /** From its start to its own first token. */
  readonly ttft: number | undefined;
  readonly queue: number | undefined;
  readonly prefill: number | undefined;
  readonly outputTokens: number | undefined;
}

export interface Told {
  /** The gateway's or frontend's span. */
  readonly front: { readonly start: number; readonly end: number; readonly ttft: number | undefined } | undefined;
  readonly route: { readonly start: number; readonly end: number } | undefined;
  readonly transfer: { readonly start: number; readonly end: number } | undefined;
  /** Parts that a frontend knows as durations only. */
  readonly durations: Partial<Record<'queue' | 'prefill' | 'transfer', number>>;
  readonly legs: readonly Leg[];
}

export interface Waterfall {
  /** Milliseconds. */
  readonly ttft: number;
  readonly parts: Readonly<Partial<Record<Part, number>>>;
  readonly remainder: number;
  /** The prefill's end to the decode's begin, which nobody timed. */
  readonly transferEstimated: boolean;
  /** More than a tenth is unexplained. */
  readonly trusted: boolean;
}

interface Interval {
  readonly part: Part;
  readonly start: number;
  readonly end: number;
}

/** The legs in the order they ran: the one that only filled the KV cache, and the one that answered. */
export function legsOf(legs: readonly Leg[]): { prefill: Leg | undefined; answer: Leg | undefined } {
  const sorted = [...legs].sort((x, y) => x.start - y.start);
  if (sorted.length < 2) return { prefill: undefined, answer: sorted[0] };
  const answer = sorted.findLast((leg) => leg.role === 'decode') ?? sorted.at(-1)!;
  const prefill =
    sorted.find((leg) => leg !== answer && leg.role === 'prefill') ??
    // Without roles: one that was asked for a single token, and ended before the other did.
    sorted.find((leg) => leg !== answer && (leg.outputTokens ?? 0) <= 1 && leg.end <= answer.end);
  return { prefill, answer };
}

/** Undefined if nobody says when the first token was. */
export function waterfallOf(told: Told): Waterfall | undefined {
  const { front, route } = told;
  const { prefill, answer } = legsOf(told.legs);
  const engineFirst = answer?.ttft === undefined ? undefined : answer.start + answer.ttft;
  const begin = front?.start ?? Math.min(prefill?.start ?? Infinity, answer?.start ?? Infinity);
  const first = front?.ttft === undefined ? engineFirst : front.start + front.ttft;
  if (first === undefined || !Number.isFinite(begin) || first <= begin) return undefined;

  const found: Interval[] = [];
  const put = (part: Part, start: number, end: number) => {
    if (end > start) found.push({ part, start, end });
  };
  const entry = prefill ?? answer;
  if (front && route) {
    put('router_queue', front.start, route.start);
    put('route', route.start, route.end);
    if (entry) put('dispatch', route.end, entry.start);
  } else if (front && entry) put('dispatch', front.start, entry.start);
  let transferEstimated = false;
  if (prefill && answer) {
    const done = place(prefill, put, ['prefill_frontend', 'queue', 'prefill']);
    place(answer, put, ['decode_frontend', 'decode_queue', 'first_step']);
    if (told.transfer) put('transfer', told.transfer.start, told.transfer.end);
    else if (done !== undefined) {
      // Nobody timed it: what lies between the engines, and what the second one says it waited.
      transferEstimated = true;
      put('transfer', done, answer.start);
    }
  } else if (answer) place(answer, put, ['prefill_frontend', 'queue', 'prefill']);
  else inOrder(told, put);
  if (front?.ttft !== undefined && engineFirst !== undefined) put('egress', engineFirst, first);
  const parts = share(found, begin, first);
  let explained = 0;
  for (const part of PARTS) explained += parts[part] ?? 0;
  const ttft = first - begin;
  const remainder = Math.max(0, ttft - explained);
  return { ttft, parts, remainder, transferEstimated, trusted: remainder <= 0.1 * ttft };
}

/** Puts a leg's phases where they must have been: they end with its first token. Gives that, if it is known. */
function place(leg: Leg, put: (part: Part, start: number, end: number) => void, names: readonly [Part, Part, Part]) {
  const queue = leg.queue ?? 0;
  const prefill = leg.prefill ?? 0;
  if (leg.ttft === undefined) {
    put(names[1], leg.start, leg.start + queue);
    put(names[2], leg.start + queue, leg.start + queue + prefill);
    return queue + prefill > 0 ? leg.start + queue + prefill : undefined;
  }
  const first = leg.start + leg.ttft;
  if (leg.prefill === undefined) {
    // SGLang's request span tells the queue only: what is left until the first token is the work.
    put(names[1], leg.start, Math.min(first, leg.start + queue));
    if (leg.queue !== undefined) put(names[2], leg.start + queue, first);
    return first;
  }
  put(names[2], Math.max(leg.start, first - prefill), first);
  put(names[1], Math.max(leg.start, first - prefill - queue), Math.max(leg.start, first - prefill));
  put(names[0], leg.start, Math.max(leg.start, first - prefill - queue));
  return first;
}

/** What only the frontend tells, one after the other. */
function inOrder({ front, durations }: Told, put: (part: Part, start: number, end: number) => void): void {
  if (!front) return;
  const ttft = front.ttft ?? 0;
  const took = (['queue', 'prefill', 'transfer'] as const).map((part) => [part, durations[part] ?? 0] as const);
  let at = front.start + Math.max(0, ttft - took.reduce((sum, [, ms]) => sum + ms, 0));
  for (const [part, ms] of took) {
    put(part, at, at + ms);
    at += ms;
  }
}

/** Divides [begin, end] among intervals, by priority. */
function share(intervals: readonly Interval[], begin: number, end: number): Partial<Record<Part, number>> {
  const parts: Partial<Record<Part, number>> = {};
  const cuts = new Set<number>([begin, end]);
  for (const { start, end: until } of intervals)
    for (const at of [start, until]) if (at > begin && at < end) cuts.add(at);
  const points = [...cuts].sort((a, b) => a - b);
  for (let i = 1; i < points.length; i++) {
    const [from, until] = [points[i - 1]!, points[i]!];
    const covering = intervals.filter((interval) => interval.start <= from && interval.end >= until);
    const part = PRIORITY.find((name) => covering.some((interval) => interval.part === name));
    if (part) parts[part] = (parts[part] ?? 0) + (until - from);
  }
  return parts;
}
