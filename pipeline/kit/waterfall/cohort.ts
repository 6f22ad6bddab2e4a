/**
 * Why the slow requests are slow: the waterfall of the slowest minus that of the usual ones, part by part (detectors C3). The
 * parts' differences and the remainder's add up to the gap. Usual requests are weighted so that their prompts are as long as the
 * slow ones': a long prompt is no fault.
 */
import { quantile } from '../stats/robust.ts';
import type { Request } from './collect.ts';
import { PARTS, type Part } from './parts.ts';

export const ROWS = [...PARTS, 'remainder'] as const;
export type Row = Part | 'remainder';

export interface RowOf {
  readonly part: Row;
  /** Mean milliseconds of the usual and of the slow. */
  readonly usual: number;
  readonly slow: number;
  readonly difference: number;
  /** 95 % interval of the difference. */
  readonly low: number;
  readonly high: number;
}

export interface Cohorts {
  readonly requests: number;
  /** The slow are from this on, seconds of TTFT in milliseconds; and which share of all that is. */
  readonly from: number;
  readonly slow: number;
  readonly usual: number;
  /** Mean TTFT, milliseconds. */
  readonly slowTtft: number;
  readonly usualTtft: number;
  /** Median and tail of all. */
  readonly p50: number;
  readonly p95: number;
  /** Usual requests were weighted by the length of their prompts. */
  readonly matched: boolean;
  /** The parts with time in them and the remainder, the largest difference first. */
  readonly rows: readonly RowOf[];
}

export const FEWEST = 20;
const RESAMPLES = 1000;
const ms = (request: Request, row: Row): number =>
  row === 'remainder' ? request.remainder : (request.parts[row] ?? 0);

/** `tail` is the quantile from which requests are slow. Undefined if there are too few. */
export function cohortsOf(requests: readonly Request[], tail = 0.95): Cohorts | undefined {
  if (requests.length < FEWEST) return undefined;
  const ttfts = requests.map((request) => request.ttft);
  const from = quantile(ttfts, tail);
  const slow = requests.filter((request) => request.ttft >= from);
  const { usual, weights, matched } = usualFor(slow, requests);
  const rows: RowOf[] = [];
  const draws = draw(slow.length, usual, weights);
  for (const part of ROWS) {
    const a = usual.map((request) => ms(request, part));
    const b = slow.map((request) => ms(request, part));
    if (part !== 'remainder' && a.every((x) => x === 0) && b.every((x) => x === 0)) continue;
    const [before, after] = [weighted(a, weights), weighted(b)];
    const differences = draws.map(([s, u]) => meanAt(b, s) - meanAt(a, u)).sort((x, y) => x - y);
    rows.push({
      part,
      usual: before,
      slow: after,
      difference: after - before,
      low: differences[Math.floor(0.025 * RESAMPLES)]!,
      high: differences[Math.ceil(0.975 * RESAMPLES) - 1]!,
    });
  }
  rows.sort((a, b) => b.difference - a.difference);
  return {
    requests: requests.length,
    from,
    slow: slow.length,
    usual: usual.length,
    slowTtft: weighted(slow.map(({ ttft }) => ttft)),
    usualTtft: weighted(
      usual.map(({ ttft }) => ttft),
      weights,
    ),
    p50: quantile(ttfts, 0.5),
    p95: quantile(ttfts, 0.95),
    matched,
    rows,
  };
}

/** Doubling prompt lengths; -1 where nobody says. */
const bucket = ({ promptTokens }: Request) =>
  promptTokens === undefined ? -1 : Math.floor(Math.log2(Math.max(1, promptTokens)));

/** Of fewer requests with about the same prompt length nobody can say what is usual. */
const FEWEST_ALIKE = 8;

const middle = (requests: readonly Request[]): Request[] => {
  const ttfts = requests.map(({ ttft }) => ttft);
  const [low, high] = [quantile(ttfts, 0.25), quantile(ttfts, 0.75)];
  return requests.filter(({ ttft }) => ttft >= low && ttft <= high);
};

/** The middle half of each prompt length, weighted as the slow ones have it; of all, where lengths are not told or hardly alike. */
function usualFor(slow: readonly Request[], requests: readonly Request[]) {
  const by = new Map<number, Request[]>();
  for (const request of requests) {
    const list = by.get(bucket(request));
    if (list) list.push(request);
    else by.set(bucket(request), [request]);
  }
  const wanted = new Map<number, number>();
  for (const request of slow) wanted.set(bucket(request), (wanted.get(bucket(request)) ?? 0) + 1);
  let covered = 0;
  for (const [key, n] of wanted) if (by.get(key)!.length >= FEWEST_ALIKE) covered += n;
  const usual: Request[] = [];
  const weights: number[] = [];
  if (wanted.has(-1) || covered < 0.8 * slow.length) {
    usual.push(...middle(requests));
    return { usual, weights: usual.map(() => 1), matched: false };
  }
  for (const [key, n] of wanted) {
    if (by.get(key)!.length < FEWEST_ALIKE) continue;
    const alike = middle(by.get(key)!);
    usual.push(...alike);
    for (let i = 0; i < alike.length; i++) weights.push(n / alike.length);
  }
  return { usual, weights, matched: true };
}

function weighted(values: readonly number[], weights?: readonly number[]): number {
  let sum = 0;
  let all = 0;
  values.forEach((value, i) => {
    const weight = weights?.[i] ?? 1;
    sum += weight * value;
    all += weight;
  });
  return all > 0 ? sum / all : 0;
}

const meanAt = (values: readonly number[], at: Int32Array): number => {
  let sum = 0;
  for (const i of at) sum += values[i]!;
  return sum / at.length;
};

/** Requests drawn with replacement, the usual ones by their weights; the same every time. */
function draw(slow: number, usual: readonly Request[], weights: readonly number[]): [Int32Array, Int32Array][] {
  let state = 0x2545f491;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const upTo: number[] = [];
  let all = 0;
  for (const weight of weights) {
    all += weight;
    upTo.push(all);
  }
  const pick = (): number => {
    const at = next() * all;
    let [low, high] = [0, upTo.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (upTo[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  // Beyond some thousands an interval only gets narrower than anybody reads.
  const most = (n: number) => Math.min(n, 2000);
  return Array.from({ length: RESAMPLES }, () => [
    Int32Array.from({ length: most(slow) }, () => Math.floor(next() * slow)),
    Int32Array.from({ length: most(usual.length) }, pick),
  ]);
}
