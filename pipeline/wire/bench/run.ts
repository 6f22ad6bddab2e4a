/** What load generators measured, in one form, whoever wrote it. */

/** One request as its client saw it. */
export interface BenchRequest {
  readonly id: string;
  /** When it was sent, milliseconds since the epoch; undefined where the file does not say. */
  readonly startMs: number | undefined;
  /** From sent to the last token, milliseconds. */
  readonly tookMs: number;
  readonly ttftMs: number | undefined;
  /** Gaps between outputs, milliseconds; undefined where only their mean is known. */
  readonly gapsMs: readonly number[] | undefined;
  /** Mean of the gaps, milliseconds. */
  readonly gapMs: number | undefined;
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  /** Why it failed; undefined if it did not. */
  readonly error: string | undefined;
  /** It was under way when the run was over: it is load, and what it gave until then counts, but it has not ended. */
  readonly unfinished?: boolean;
}

/** Sums over a run, for files that name no single requests or only some. Means are in milliseconds. */
export interface BenchTotals {
  readonly completed: number;
  readonly failed: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly ttftMs: number | undefined;
  readonly gapMs: number | undefined;
  /** Mean time per output token after the first, of the requests. */
  readonly tpotMs: number | undefined;
  readonly tookMs: number | undefined;
  /** Mean number of requests under way. */
  readonly concurrency: number | undefined;
}

/** A time of one load: a benchmark, or one level of a sweep. */
export interface BenchRun {
  readonly tool: string;
  /** Empty if the file does not say. */
  readonly model: string;
  /** How the load was made: `concurrent@8`, `rate 4/s`. */
  readonly load: string;
  /** What is measured of it, milliseconds since the epoch. */
  readonly startMs: number;
  readonly endMs: number;
  readonly requests: readonly BenchRequest[];
  /** Present where `requests` are not all of them. */
  readonly totals: BenchTotals | undefined;
}

export type Json = Readonly<Record<string, unknown>>;
export const isObject = (v: unknown): v is Json => typeof v === 'object' && v !== null && !Array.isArray(v);
export const objectOf = (v: unknown): Json => (isObject(v) ? v : {});
export const listOf = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
export const textOf = (v: unknown, most = 200): string =>
  typeof v === 'string' || typeof v === 'number' ? String(v).slice(0, most) : '';

/** A number that is not negative; generators write null, NaN and −1 for "not known". */
export const numberOf = (v: unknown): number | undefined =>
  typeof v === 'number' && Number.isFinite(v) && v >= 0 ? v : undefined;

export const sumOf = (values: readonly unknown[]): number => {
  let total = 0;
  for (const v of values) total += numberOf(v) ?? 0;
  return total;
};
