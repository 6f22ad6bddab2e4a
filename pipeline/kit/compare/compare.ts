/** Two histories of neutral signals against each other: per service, then per replica, at the same load. */
import type { History, Line } from '../report-series.ts';
import { benjaminiHochberg, holm } from '../stats/chance.ts';
import { median, quantile, theilSen } from '../stats/robust.ts';
import { blocksNeeded, FEWEST_BLOCKS, judgeShift, type Shift, type ShiftVerdict, shiftOf } from '../stats/shift.ts';
import { type ComparedCapacity, compareCapacities } from './capacity.ts';
import { type LoadedSide, renamed, servicesOf } from './sides.ts';

/** What is judged: the signal, which way is worse, and the relative difference that does not matter. */
export interface JudgedSignal {
  readonly signal: string;
  readonly worse: 'up' | 'down';
  readonly band: number;
  /** The few that decide; the others explain. */
  readonly headline: boolean;
}

export const JUDGED: readonly JudgedSignal[] = [
  { signal: 'gen_ai.server.time_to_first_token', worse: 'up', band: 0.03, headline: true },
  { signal: 'inference.inter_token.latency', worse: 'up', band: 0.03, headline: true },
  { signal: 'gen_ai.server.request.duration', worse: 'up', band: 0.03, headline: true },
  { signal: 'inference.tokens.generated', worse: 'down', band: 0.03, headline: true },
  { signal: 'gen_ai.server.time_per_output_token', worse: 'up', band: 0.03, headline: false },
  { signal: 'inference.request.queue.duration', worse: 'up', band: 0.1, headline: false },
  { signal: 'inference.request.prefill.duration', worse: 'up', band: 0.05, headline: false },
  { signal: 'inference.request.decode.duration', worse: 'up', band: 0.05, headline: false },
  { signal: 'inference.kv.usage', worse: 'up', band: 0.1, headline: false },
];
/** What load is: requests that came to their end, a second. */
const LOAD = 'inference.requests.finished';

/** One side: the histories of its runs. */
export type Side = readonly History[];

export interface ComparedMetric {
  readonly signal: string;
  readonly unit: string;
  readonly service: string;
  /** Absent for the whole service. */
  readonly replica?: string;
  readonly headline: boolean;
  /** The relative difference that does not matter. */
  readonly band: number;
  readonly blocks: readonly [before: number, after: number];
  readonly verdict: ShiftVerdict;
  /** Absent when there are too few blocks. */
  readonly shift?: Shift;
  /** p after the correction for many comparisons. */
  readonly p?: number;
  /** By how much a 1 % higher load raises it, percent; absent when load was not accounted for. */
  readonly load_elasticity?: number;
  /** About so many blocks a side decide it. */
  readonly need?: number;
  readonly note?: string;
}

export interface Comparison {
  readonly schema: 'enginelight.compare/v1';
  readonly unit_of_analysis: 'run' | 'minute';
  readonly verdict: ShiftVerdict;
  readonly load: readonly {
    readonly service: string;
    readonly before: number;
    readonly after: number;
    readonly overlap: boolean;
  }[];
  readonly metrics: readonly ComparedMetric[];
  /** What the sides carry, where their load tells. */
  readonly capacity: readonly ComparedCapacity[];
  /** Differences that the same side showed against itself; such a metric is not decided. */
  readonly aa_failures: readonly { readonly signal: string; readonly service: string; readonly replica?: string }[];
}

interface Blocks {
  readonly values: readonly number[];
  /** Load of the same blocks; NaN where unknown. */
  readonly load: readonly number[];
}

const key = (line: Line) => ({ service: line.ids.service ?? 'unknown_service', replica: line.ids.replica });

/** One value per minute of all lines that pass: rates are added up, levels and means averaged. */
function minutes(history: History, signal: string, pass: (line: Line) => boolean): number[] {
  const lines = history.lines(signal).filter(pass);
  const { count } = history.span();
  const out = new Array<number>(count).fill(Number.NaN);
  const rows = lines.map((line) => ({ values: line.values(), rate: line.kind === 'rate' }));
  for (let i = 0; i < count; i++) {
    let total = 0;
    let seen = 0;
    for (const row of rows) {
      const v = row.values[i];
      if (v === undefined || Number.isNaN(v)) continue;
      total += v;
      seen++;
    }
    if (seen > 0) out[i] = rows[0]!.rate ? total : total / seen;
  }
  // The first and the last minute are not whole.
  return count > 4 ? out.slice(1, -1) : out;
}

function blocksOf(side: Side, signal: string, service: string, replica: string | undefined, byRun: boolean): Blocks {
  const of = (line: Line) => key(line).service === service && (replica === undefined || key(line).replica === replica);
  const values: number[] = [];
  const load: number[] = [];
  for (const history of side) {
    const v = minutes(history, signal, of);
    const l = minutes(history, LOAD, of);
    if (byRun) {
      values.push(median(v.filter((x) => x > 0)));
      load.push(median(l.filter((x) => x > 0)));
    } else {
      values.push(...v);
      load.push(...v.map((_, i) => l[i] ?? Number.NaN));
    }
  }
  const good = values.map((v) => v > 0);
  return { values: values.filter((_, i) => good[i]), load: load.filter((_, i) => good[i]) };
}

/** Both sides as if at the same load: the slope is learned within the sides, so that a difference between them stays. */
function atSameLoad(before: Blocks, after: Blocks): { before: number[]; after: number[]; elasticity?: number } {
  const logs = (xs: readonly number[]) => xs.map(Math.log);
  const sides = [before, after].map((s) => ({ y: logs(s.values), x: logs(s.load) }));
  const plain = { before: [...before.values], after: [...after.values] };
  if (sides.some((s) => s.x.some((x) => !Number.isFinite(x)) || s.x.length < FEWEST_BLOCKS)) return plain;
  const centred = sides.map((s) => ({
    x: s.x.map((x) => x - median(s.x)),
    y: s.y.map((y) => y - median(s.y)),
  }));
  const x = centred.flatMap((s) => s.x);
  // A load that hardly moved teaches nothing about load.
  if (quantile(x, 0.9) - quantile(x, 0.1) < 0.05) return plain;
  const slope = theilSen(
    x,
    centred.flatMap((s) => s.y),
  );
  if (!Number.isFinite(slope)) return plain;
  const common = (median(sides[0]!.x) + median(sides[1]!.x)) / 2;
  const adjusted = sides.map((s) => s.y.map((y, i) => Math.exp(y - slope * (s.x[i]! - common))));
  return { before: adjusted[0]!, after: adjusted[1]!, elasticity: slope };
}

/** How far, relatively, a ratio is from where the band decides; never nothing, as no number of blocks resolves that. */
const distanceToBand = (ratio: number, band: number): number =>
  Math.max(0.01, Math.expm1(Math.abs(Math.abs(Math.log(ratio)) - Math.log1p(band))));

/**
 * Compares two sides. Runs are the blocks when both sides have five or more, minutes otherwise. One service a side is the same
 * service, whatever it is called.
 */
export function compareLoaded(before: LoadedSide, after: LoadedSide, judged = JUDGED): Comparison {
  const signals = judged.map((j) => j.signal);
  const [b, a] = [[...servicesOf(before, signals)], [...servicesOf(after, signals)]];
  if (b.length === 1 && a.length === 1 && b[0] !== a[0]) {
    const both = `${b[0]} → ${a[0]}`;
    return compareLoaded(renamed(before, both), renamed(after, both), judged);
  }
  const result = compareSides(before.histories, after.histories, judged);
  return { ...result, capacity: compareCapacities(before.carried, after.carried) };
}

/** The same without what the sides carry. */
export function compareSides(before: Side, after: Side, judged: readonly JudgedSignal[] = JUDGED): Comparison {
  const byRun = before.length >= FEWEST_BLOCKS && after.length >= FEWEST_BLOCKS;
  const places = new Map<string, Set<string>>();
  for (const history of [...before, ...after]) {
    for (const { signal } of judged) {
      for (const line of history.lines(signal)) {
        const { service, replica } = key(line);
        const replicas = places.get(service) ?? new Set();
        if (replica !== undefined) replicas.add(replica);
        places.set(service, replicas);
      }
    }
  }
  const load = [...places.keys()].map((service) => {
    const [b, a] = [before, after].map((s) => blocksOf(s, LOAD, service, undefined, byRun).values);
    const overlap =
      b!.length === 0 ||
      a!.length === 0 ||
      (quantile(a!, 0.1) <= quantile(b!, 0.9) * 1.05 && quantile(b!, 0.1) <= quantile(a!, 0.9) * 1.05);
    return { service, before: median(b!), after: median(a!), overlap };
  });
  const aa: Comparison['aa_failures'][number][] = [];
  const rows: (ComparedMetric & { readonly judged: JudgedSignal })[] = [];
  for (const [service, replicas] of places) {
    const overlap = load.find((l) => l.service === service)!.overlap;
    for (const replica of [undefined, ...[...replicas].sort()]) {
      for (const what of judged) {
        const b = blocksOf(before, what.signal, service, replica, byRun);
        const a = blocksOf(after, what.signal, service, replica, byRun);
        if (b.values.length === 0 && a.values.length === 0) continue;
        const unit = [...before, ...after].flatMap((h) => h.lines(what.signal))[0]?.metric.unit ?? '';
        const who = { signal: what.signal, service, ...(replica !== undefined && { replica }) };
        const same = atSameLoad(b, a);
        const shift = shiftOf(same.before, same.after, !byRun);
        const base = {
          ...who,
          unit,
          headline: what.headline && replica === undefined,
          band: what.band,
          blocks: [b.values.length, a.values.length] as const,
          judged: what,
        };
        if (!shift) {
          const note =
            b.values.length === 0 || a.values.length === 0
              ? `nothing of it ${b.values.length === 0 ? 'before' : 'after'}`
              : `fewer than ${FEWEST_BLOCKS} ${byRun ? 'runs' : 'minutes'} on a side`;
          rows.push({ ...base, verdict: 'inconclusive', need: FEWEST_BLOCKS, note });
          continue;
        }
        const self = [same.before, same.after].map((xs) =>
          shiftOf(
            xs.filter((_, i) => i % 2 === 0),
            xs.filter((_, i) => i % 2 === 1),
            false,
          ),
        );
        const failed = self.some((s) => s && ['regressed', 'improved'].includes(judgeShift(s, what.band, 'up')));
        if (failed) aa.push(who);
        const note = failed
          ? 'this side differs from itself: not steady enough to be compared'
          : overlap
            ? undefined
            : 'the loads of the two sides do not overlap';
        rows.push({
          ...base,
          verdict: 'inconclusive',
          shift,
          ...(same.elasticity !== undefined && { load_elasticity: same.elasticity }),
          ...(note !== undefined && { note }),
        });
      }
    }
  }
  const corrected = new Map<object, number>();
  const correct = (some: typeof rows, how: (ps: readonly number[]) => number[]) => {
    const withShift = some.filter((r) => r.shift);
    const ps = how(withShift.map((r) => r.shift!.p));
    for (const [i, row] of withShift.entries()) corrected.set(row, ps[i]!);
  };
  correct(
    rows.filter((r) => r.headline),
    holm,
  );
  correct(
    rows.filter((r) => !r.headline),
    benjaminiHochberg,
  );
  const metrics = rows.map((row): ComparedMetric => {
    const { judged: what, ...rest } = row;
    const p = corrected.get(row);
    if (!row.shift || p === undefined) return rest;
    const verdict = row.note ? 'inconclusive' : judgeShift(row.shift, what.band, what.worse, p);
    const need = Math.max(
      Math.min(...row.blocks) + 1,
      blocksNeeded(row.shift.cv, distanceToBand(row.shift.ratio, what.band)),
    );
    return { ...rest, verdict, p, ...(verdict === 'inconclusive' && !row.note && { need }) };
  });
  const headlines = metrics.filter((m) => m.headline);
  const any = (verdict: ShiftVerdict) => headlines.some((m) => m.verdict === verdict);
  const verdict: ShiftVerdict = any('regressed')
    ? 'regressed'
    : any('improved')
      ? 'improved'
      : headlines.length > 0 && headlines.every((m) => m.verdict === 'equivalent')
        ? 'equivalent'
        : 'inconclusive';
  return {
    schema: 'enginelight.compare/v1',
    unit_of_analysis: byRun ? 'run' : 'minute',
    verdict,
    load,
    metrics,
    capacity: [],
    aa_failures: aa,
  };
}
