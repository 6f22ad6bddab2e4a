/**
 * What naive methods would have said to the same signals: the rows of the table that show whether reasoning is worth its
 * trouble. They are given what they usually are: the methods that rank after a trigger get the users' latency as trigger,
 * a clean window before it, and never their own symptom as an answer.
 */
import type { Batch } from '../../pipeline/model.ts';
import type { Label } from './labels.ts';
import { matches } from './labels.ts';
import { BIN_S, NAIVE_ROWS, naiveSignals, type Track } from './naive-signals.ts';
import { type Alarm, type Answer, gradeRoot, type RootOutcome } from './outcome.ts';
import { quantile } from './statistics.ts';

export interface BaselineOutcome {
  readonly name: string;
  readonly roots: readonly RootOutcome[];
  readonly alarms: readonly Pick<Alarm, 'at' | 'when' | 'right' | 'root'>[];
}

export interface Baselines {
  see(batch: Batch): void;
  nodes(): number;
  /** Different series that were seen. */
  series(): number;
  judge(label: Label, startMs: number): BaselineOutcome[];
}

/** What a method says at one moment: causes, best first. */
interface Claim {
  readonly at: number;
  readonly answers: readonly Answer[];
}

/** Bins: what lies before a trigger that is compared with (7 to 1 minutes), and the window that is looked at. */
const BASE_FROM = 28;
const BASE_TO = 4;
const LOOK_AHEAD = 8;
const QUIET = 40;
const ODD = 5;

/** Collects during a run; judges when it is over. */
export function baselines(): Baselines {
  const signals = naiveSignals();
  return {
    see: signals.see,
    nodes: signals.nodes,
    series: signals.series,
    judge(label, startMs) {
      const bins = Math.max(1, Math.ceil(label.durationS / BIN_S));
      const tracks = signals.tracks(startMs, bins);
      const triggers = triggersOf(tracks, bins);
      const after = (name: string, order: (odd: readonly Odd[]) => readonly Odd[]) =>
        grade(
          name,
          label,
          triggers.map((b) => ({ at: (b + 1) * BIN_S, answers: answersOf(order(oddities(tracks, b))) })),
        );
      return [
        grade('static thresholds', label, thresholds(tracks)),
        grade('first-match tree', label, firstMatch(tracks, label.durationS), true),
        after('earliest onset', (odd) => [...odd].sort((a, b) => a.onset - b.onset || b.z - a.z)),
        after('largest z', (odd) => [...odd].sort((a, b) => b.z - a.z)),
        after('explained count', (odd) => byExplained(odd)),
        grade(
          'N-sigma, BARO-like',
          label,
          triggers.map((b) => ({ at: (b + 1) * BIN_S, answers: answersOf(byInterquartile(tracks, b)) })),
        ),
      ];
    },
  };
}

/** A method's claims against the label, with the same rules as the product's incidents. */
function grade(name: string, label: Label, claims: readonly Claim[], wholeRun = false): BaselineOutcome {
  const roots = label.roots.map((root): RootOutcome => {
    const inTime = claims.filter((c) => wholeRun || (c.at >= root.onset - BIN_S && c.at <= root.end + 120));
    const answers = inTime.flatMap((c) => c.answers);
    const right = inTime.find((c) => {
      const first = c.answers[0];
      return first && matches(root, first.detector, first.kind, first.id);
    });
    return {
      ...gradeRoot(label, root, answers, 'full'),
      namedAt: wholeRun || !right ? null : right.at,
      alarmAt: inTime[0]?.at ?? null,
      pathGrounded: false,
    };
  });
  return {
    name,
    roots,
    alarms: claims.flatMap((c) => {
      const first = c.answers[0];
      if (!first) return [];
      const early = !wholeRun && label.roots.every((r) => c.at < r.onset - BIN_S);
      return [
        {
          at: c.at,
          root: `${first.detector}@${first.kind}:${first.id}`,
          when: label.roots.length === 0 ? 'healthy' : early ? 'early' : 'during',
          right: label.roots.some(
            (r) => (wholeRun || c.at >= r.onset - BIN_S) && matches(r, first.detector, first.kind, first.id),
          ),
        } as const,
      ];
    }),
  };
}

const answerOf = (t: Track): Answer => ({ detector: t.row.blames, kind: t.entity.kind, id: t.entity.id });

const beyond = (t: Track, v: number): boolean => t.row.limit !== undefined && (v - t.row.limit) * t.row.sense > 0;

/** Fixed thresholds with the usual `for: 1m`; every entity that is beyond one is an alarm, the most exceeded first. */
function thresholds(tracks: readonly Track[]): Claim[] {
  const claims: (Claim & { excess: number })[] = [];
  for (const t of tracks) {
    let run = 0;
    for (let b = 0; b < t.values.length; b++) {
      run = beyond(t, t.values[b]!) ? run + 1 : 0;
      if (run !== 4) continue;
      const v = t.values[b]!;
      const limit = t.row.limit!;
      const excess = t.row.sense > 0 ? v / Math.max(limit, 1e-3) : limit / Math.max(v, 1e-3);
      claims.push({ at: (b + 1) * BIN_S, answers: [answerOf(t)], excess });
    }
  }
  return claims.sort((a, b) => b.excess - a.excess);
}

/** One verdict for the whole run: the first branch of a fixed tree whose 95th percentile is beyond its threshold. */
const TREE = [
  'inference.kv.usage',
  'inference.requests.waiting',
  'inference.prefix_cache.hits',
  'inference.preemptions',
  'hw.errors',
  'hw.temperature',
  'hw.gpu.throttle',
  'hw.gpu.link.errors',
  'hw.gpu.utilization',
];

function firstMatch(tracks: readonly Track[], durationS: number): Claim[] {
  for (const signal of TREE) {
    const hits = tracks
      .filter((t) => t.row.signal === signal && t.row.limit !== undefined)
      .map((t) => {
        const sorted = [...t.values].filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
        return { t, v: quantile(sorted, t.row.sense > 0 ? 0.95 : 0.05) };
      })
      .filter(({ t, v }) => beyond(t, v))
      .sort((a, b) => (b.v - a.v) * a.t.row.sense);
    if (hits[0]) return [{ at: durationS, answers: hits.map((h) => answerOf(h.t)) }];
  }
  return [];
}

/** Bins at which what users feel has been odd for three bins: latency of the service, or a target that is gone. */
function triggersOf(tracks: readonly Track[], bins: number): number[] {
  const slis = [...new Set(NAIVE_ROWS.filter((r) => r.sli))].map((row) => {
    const own = tracks.filter((t) => t.row === row);
    const values = new Float64Array(bins).fill(Number.NaN);
    for (let b = 0; b < bins; b++) {
      const known = own.map((t) => t.values[b]!).filter((v) => !Number.isNaN(v));
      if (known.length > 0) values[b] = known.reduce((a, v) => a + v, 0) / known.length;
    }
    return { row, values };
  });
  const up = tracks.filter((t) => t.row.signal === 'up');
  const out: number[] = [];
  let run = 0;
  for (let b = BASE_TO + 8; b < bins; b++) {
    const odd = slis.some((s) => (deviation(s.values, b, b, s.row.floor)?.z ?? 0) * s.row.sense >= ODD);
    run = odd || up.some((t) => t.values[b] === 0) ? run + 1 : 0;
    if (run >= 3 && b - (out.at(-1) ?? -QUIET) >= QUIET) out.push(b);
  }
  return out;
}

interface Odd {
  readonly track: Track;
  readonly z: number;
  readonly onset: number;
}

/** Robust z of bin `b` against the time before bin `anchor`; undefined without enough of it. */
function deviation(
  values: Float64Array,
  b: number,
  anchor: number,
  floor: number,
): { z: number; iqr: number; median: number } | undefined {
  const base = values.slice(Math.max(0, anchor - BASE_FROM), anchor - BASE_TO).filter((v) => !Number.isNaN(v));
  const v = values[b]!;
  if (base.length < 6 || Number.isNaN(v)) return undefined;
  const sorted = [...base].sort((a, c) => a - c);
  const median = quantile(sorted, 0.5);
  const spread = quantile(
    sorted.map((x) => Math.abs(x - median)).sort((a, c) => a - c),
    0.5,
  );
  const scale = Math.max(1.4826 * spread, 0.05 * Math.abs(median), floor);
  return { z: (v - median) / scale, iqr: quantile(sorted, 0.75) - quantile(sorted, 0.25), median };
}

/** Every cause's signal that is odd around a trigger, with when it began and how odd it got. */
function oddities(tracks: readonly Track[], trigger: number): Odd[] {
  const out: Odd[] = [];
  for (const track of tracks) {
    if (track.row.sli) continue;
    let z = 0;
    let onset = -1;
    for (let b = Math.max(0, trigger - BASE_TO - 4); b < Math.min(track.values.length, trigger + LOOK_AHEAD); b++) {
      const d = deviation(track.values, b, trigger - BASE_TO, track.row.floor);
      if (!d) continue;
      const worse = d.z * track.row.sense;
      if (worse >= ODD && onset < 0) onset = b;
      z = Math.max(z, worse);
    }
    if (onset >= 0) out.push({ track, z, onset });
  }
  return out;
}

const related = (a: Track, b: Track): boolean =>
  (a.entity.replica !== '' && a.entity.replica === b.entity.replica) ||
  (a.entity.node !== '' && a.entity.node === b.entity.node);

/** Most other oddities on the same replica or node that began no earlier. */
function byExplained(odd: readonly Odd[]): Odd[] {
  const count = new Map(
    odd.map((o) => [o, odd.filter((x) => x !== o && x.onset >= o.onset && related(x.track, o.track)).length]),
  );
  return [...odd].sort((a, b) => count.get(b)! - count.get(a)! || b.z - a.z);
}

/** Largest distance from the median in interquartile ranges after the trigger, whichever way. */
function byInterquartile(tracks: readonly Track[], trigger: number): Odd[] {
  const out: Odd[] = [];
  for (const track of tracks) {
    if (track.row.sli) continue;
    let score = 0;
    for (let b = trigger; b < Math.min(track.values.length, trigger + LOOK_AHEAD); b++) {
      const d = deviation(track.values, b, trigger, track.row.floor);
      if (d)
        score = Math.max(
          score,
          Math.abs(track.values[b]! - d.median) / Math.max(d.iqr, 1e-3 * Math.abs(d.median), 1e-9),
        );
    }
    if (score >= 3) out.push({ track, z: score, onset: trigger });
  }
  return out.sort((a, b) => b.z - a.z);
}

const answersOf = (odd: readonly Odd[]): Answer[] => odd.slice(0, 10).map((o) => answerOf(o.track));
