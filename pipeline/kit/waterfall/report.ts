/** Waterfalls of a recording, as data (`enginelight.waterfall/v1`). Seconds; what cannot be said is null or absent. */

import { cohortsOf, type Row } from './cohort.ts';
import type { Request, RequestsOf } from './collect.ts';
import type { MeanWaterfall } from './metrics.ts';
import { PARTS } from './parts.ts';

export interface WaterfallRequest {
  readonly key: string;
  readonly service: string;
  readonly replica: string;
  readonly start: string;
  readonly ttft: number;
  /** By part, in the order they happen; with the remainder they add up to `ttft`. */
  readonly parts: Readonly<Record<string, number>>;
  readonly remainder: number;
  readonly transfer_estimated: boolean;
  /** Not more than a tenth of it is unexplained. */
  readonly trusted: boolean;
}

export interface WaterfallCohorts {
  readonly service: string;
  readonly requests: number;
  readonly trusted: number;
  readonly ttft: { readonly p50: number; readonly p95: number };
  readonly slow: { readonly requests: number; readonly from: number; readonly ttft: number };
  readonly usual: { readonly requests: number; readonly ttft: number };
  readonly matched_on_prompt_length: boolean;
  readonly rows: readonly {
    readonly part: Row;
    readonly usual: number;
    readonly slow: number;
    readonly difference: number;
    readonly interval: readonly [number, number];
  }[];
}

export interface WaterfallReport {
  readonly schema: 'enginelight.waterfall/v1';
  readonly requests: number;
  /** Requests whose spans do not say when the first token was. */
  readonly without_first_token: number;
  readonly clocks_moved_ms: Readonly<Record<string, number>>;
  readonly cohorts: readonly WaterfallCohorts[];
  /** The slowest first. */
  readonly slowest: readonly WaterfallRequest[];
  /** One that was asked for. */
  readonly request?: WaterfallRequest;
  /** From histograms, for services without spans. */
  readonly means: readonly {
    readonly service: string;
    readonly requests: number;
    readonly ttft: number;
    readonly parts: Readonly<Record<string, number>>;
    readonly remainder: number;
  }[];
  readonly notes: readonly string[];
}

export interface WaterfallAsk {
  /** How many of the slowest are listed. */
  readonly slowest: number;
  /** Whose id has this in it. */
  readonly request: string | undefined;
  /** The quantile from which requests are slow. */
  readonly tail: number;
}

const seconds = (ms: number) => Math.round(ms * 1e3) / 1e6;

export function waterfallReport(
  found: ReturnType<RequestsOf['finish']>,
  means: readonly MeanWaterfall[],
  ask: WaterfallAsk,
): WaterfallReport {
  const { requests, without, dropped, shifted } = found;
  const services = new Map<string, Request[]>();
  for (const request of requests) {
    const list = services.get(request.service);
    if (list) list.push(request);
    else services.set(request.service, [request]);
  }
  const notes: string[] = [];
  const cohorts: WaterfallCohorts[] = [];
  for (const [service, list] of services) {
    const trusted = list.filter((request) => request.trusted).length;
    const cohort = cohortsOf(list, ask.tail);
    if (!cohort) {
      notes.push(`${service}: ${list.length} requests are too few to set the slow ones against the usual ones.`);
      continue;
    }
    if (trusted < 0.5 * list.length)
      notes.push(
        `${service}: of ${list.length - trusted} of ${list.length} requests more than a tenth is unexplained; spans are missing, or clocks disagree.`,
      );
    cohorts.push({
      service,
      requests: list.length,
      trusted,
      ttft: { p50: seconds(cohort.p50), p95: seconds(cohort.p95) },
      slow: { requests: cohort.slow, from: seconds(cohort.from), ttft: seconds(cohort.slowTtft) },
      usual: { requests: cohort.usual, ttft: seconds(cohort.usualTtft) },
      matched_on_prompt_length: cohort.matched,
      rows: cohort.rows.map((row) => ({
        part: row.part,
        usual: seconds(row.usual),
        slow: seconds(row.slow),
        difference: seconds(row.difference),
        interval: [seconds(row.low), seconds(row.high)],
      })),
    });
  }
  if (dropped > 0) notes.push(`There are more requests than are kept; ${dropped} spans were left out.`);
  const estimated = requests.filter((request) => request.transferEstimated).length;
  if (estimated > 0)
    notes.push(
      `Of ${estimated} requests nobody timed the KV transfer: what of it lies between the engines' shares is shown, the rest is in the decode queue. Hooks time it.`,
    );
  const asked = ask.request === undefined ? undefined : requests.find(({ key }) => key.includes(ask.request!));
  const bySpans = new Set(services.keys());
  return {
    schema: 'enginelight.waterfall/v1',
    requests: requests.length,
    without_first_token: without,
    clocks_moved_ms: Object.fromEntries([...shifted].map(([host, ms]) => [host, Math.round(ms * 100) / 100])),
    cohorts: cohorts.sort((a, b) => b.requests - a.requests),
    slowest: [...requests]
      .sort((a, b) => b.ttft - a.ttft)
      .slice(0, ask.slowest)
      .map(shown),
    ...(asked && { request: shown(asked) }),
    means: means
      .filter(({ service }) => !bySpans.has(service))
      .map(({ service, requests: n, ttft, rows, remainder }) => ({
        service,
        requests: n,
        ttft: seconds(ttft),
        parts: Object.fromEntries(rows.map(({ part, mean }) => [part, seconds(mean)])),
        remainder: seconds(remainder),
      })),
    notes,
  };
}

const shown = (request: Request): WaterfallRequest => ({
  key: request.key.slice(0, 200),
  service: request.service.slice(0, 200),
  replica: request.replica.slice(0, 200),
  start: new Date(request.start).toISOString(),
  ttft: seconds(request.ttft),
  parts: Object.fromEntries(
    PARTS.flatMap((part) => (request.parts[part] === undefined ? [] : [[part, seconds(request.parts[part])]])),
  ),
  remainder: seconds(request.remainder),
  transfer_estimated: request.transferEstimated,
  trusted: request.trusted,
});
