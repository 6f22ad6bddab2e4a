/** From judged cases to the numbers of the score board. */
import type { Severity } from '../../pipeline/kit/verdict.ts';
import type { RootOutcome } from './outcome.ts';
import type { CaseOutcome } from './run-case.ts';
import { clusterBootstrap, doseAtShare, type Interval, quantile, rateInterval, wilson } from './statistics.ts';

/** What one method achieved; the product and every naive baseline get the same. */
export interface Scores {
  readonly name: string;
  /** Roots that users felt and the telemetry shows. */
  readonly counted: number;
  readonly top1: Interval;
  readonly top3: Interval;
  /** Right kind of cause first, pinned on a wrong sibling counts half. */
  readonly halfCredit: number;
  readonly macroF1: number;
  /** Of alarms of warning or worse: those that name a true cause. */
  readonly precision: Interval;
  /** Alarms of warning or worse per healthy node-day. */
  readonly falseAlarms: Interval;
  /** Seconds from impact to the right cause being named. */
  readonly latencyP50: number;
  readonly latencyP95: number;
}

export interface Measures extends Scores {
  readonly cases: number;
  readonly roots: number;
  readonly top1ByCluster: Interval;
  readonly worst: { readonly kind: string; readonly recall: number; readonly n: number } | undefined;
  readonly pathGrounded: Interval;
  readonly fromInjectionP50: number;
  readonly fromInjectionP95: number;
  readonly alarmP50: number;
  readonly healthyNodeDays: number;
  readonly falseBySeverity: Readonly<Record<Severity, number>>;
  /** Faults that nobody felt or nothing shows: alarms of warning or worse with a wrong cause, per such fault. */
  readonly silentRoots: number;
  readonly silentWrong: number;
  readonly alarmsPerFault: number;
  readonly findingsPerIncident: number;
  readonly symptomsAttached: Interval;
  readonly answered: number;
  readonly ece: number;
  readonly brier: number;
  readonly wrongAndConfident: Interval;
  readonly cpuPerCaseS: number;
  readonly speedup: number;
  readonly peakRssMib: number;
  /** CPU seconds per simulated hour and 1,000 series. */
  readonly cpuPerHourAnd1kSeries: number;
}

export interface KindCard {
  readonly fault: string;
  readonly injected: number;
  readonly counted: number;
  readonly top1: number;
  readonly top3: number;
  readonly kindOnly: number;
  readonly dose50: number | null;
  readonly dose90: number | null;
  readonly latencyP50: number;
  readonly byDose: readonly { readonly dose: number; readonly hits: number; readonly n: number }[];
  /** What stood first where the right cause did not, by frequency; `nothing` when nothing was said. */
  readonly instead: readonly (readonly [string, number])[];
}

export const found = (r: RootOutcome, k: number): boolean => r.rank !== null && r.rank <= r.together + k - 1;

const hit = (r: RootOutcome): boolean => found(r, 1);

/** The measures of all cases that ran on the full telemetry. */
export function measure(all: readonly CaseOutcome[]): Measures {
  const cases = all.filter((c) => c.telemetry === 'full');
  const roots = cases.flatMap((c) => c.roots);
  const counted = roots.filter((r) => r.counted);
  const alarms = cases.flatMap((c) => c.alarms);
  const warnings = alarms.filter((a) => a.severity !== 'info');
  const during = alarms.filter((a) => a.when === 'during' && a.answered && a.severity !== 'info');
  const confident = during.filter((a) => a.probability >= 0.8);
  const silent = cases.filter((c) => c.roots.length > 0 && c.roots.every((r) => !r.counted));
  const faulty = cases.filter((c) => c.roots.some((r) => r.counted));
  const simulatedS = sum(cases.map((c) => c.durationS));
  const cpu = sum(cases.map((c) => c.cost.cpuS));
  const sorted = (values: readonly (number | null)[]) =>
    values.filter((v): v is number => v !== null).sort((a, b) => a - b);
  const sinceInjection = sorted(counted.map((r) => (hit(r) && r.namedAt !== null ? r.namedAt - r.onset : null)));
  const fault = kindCards(cases).filter((k) => k.counted >= 3);
  const worst = [...fault].sort((a, b) => a.top1 / a.counted - b.top1 / b.counted)[0];
  return {
    ...scores('enginelight', cases, (c) => ({ roots: c.roots, alarms: c.alarms.filter((a) => a.severity !== 'info') })),
    cases: cases.length,
    roots: roots.length,
    top1ByCluster: clusterBootstrap(
      cases,
      (c) => c.seed,
      (sample) =>
        share(
          sample.flatMap((c) => c.roots).filter((r) => r.counted),
          hit,
        ),
    ),
    worst: worst ? { kind: worst.fault, recall: worst.top1 / worst.counted, n: worst.counted } : undefined,
    pathGrounded: wilson(counted.filter((r) => hit(r) && r.pathGrounded).length, counted.length),
    fromInjectionP50: quantile(sinceInjection, 0.5),
    fromInjectionP95: quantile(sinceInjection, 0.95),
    alarmP50: quantile(
      sorted(counted.map((r) => (r.alarmAt === null ? null : r.alarmAt - (r.impactOnset ?? r.onset)))),
      0.5,
    ),
    healthyNodeDays: healthyNodeDays(cases),
    falseBySeverity: {
      info: alarms.filter((a) => a.when !== 'during' && a.severity === 'info').length,
      warning: alarms.filter((a) => a.when !== 'during' && a.severity === 'warning').length,
      critical: alarms.filter((a) => a.when !== 'during' && a.severity === 'critical').length,
    },
    silentRoots: silent.length,
    silentWrong: sum(
      silent.map((c) => c.alarms.filter((a) => a.when === 'during' && a.severity !== 'info' && !a.right).length),
    ),
    alarmsPerFault: ratio(
      sum(faulty.map((c) => c.alarms.filter((a) => a.when === 'during' && a.severity !== 'info').length)),
      faulty.length,
    ),
    findingsPerIncident: ratio(sum(cases.map((c) => c.findings)), warnings.length),
    symptomsAttached: wilson(sum(cases.map((c) => c.symptoms.attached)), sum(cases.map((c) => c.symptoms.all))),
    answered: ratio(counted.filter((r) => r.first !== null).length, counted.length),
    ece: expectedCalibrationError(during),
    brier: ratio(sum(during.map((a) => (a.probability - (a.right ? 1 : 0)) ** 2)), during.length),
    wrongAndConfident: wilson(confident.filter((a) => !a.right).length, during.length),
    cpuPerCaseS: ratio(cpu, cases.length),
    speedup: ratio(simulatedS, cpu),
    peakRssMib: Math.max(0, ...cases.map((c) => c.cost.peakRssMib)),
    cpuPerHourAnd1kSeries: ratio(
      sum(cases.map((c) => c.cost.cpuS / ((c.durationS / 3600) * (c.cost.series / 1000)))),
      cases.length,
    ),
  };
}

/** The same measures for every naive baseline, in the order in which they were run. */
export function measureBaselines(all: readonly CaseOutcome[]): Scores[] {
  const cases = all.filter((c) => c.telemetry === 'full');
  const names = [...new Set(cases.flatMap((c) => c.baselines.map((b) => b.name)))];
  return names.map((name) =>
    scores(name, cases, (c) => c.baselines.find((b) => b.name === name) ?? { roots: [], alarms: [] }),
  );
}

interface Judged {
  readonly roots: readonly RootOutcome[];
  readonly alarms: readonly { readonly when: string; readonly right: boolean; readonly root: string }[];
}

function scores(name: string, cases: readonly CaseOutcome[], of: (c: CaseOutcome) => Judged): Scores {
  const judged = cases.map(of);
  const counted = judged.flatMap((j) => j.roots).filter((r) => r.counted);
  const alarms = judged.flatMap((j) => j.alarms);
  const top1 = counted.filter(hit).length;
  const kinds = counted.filter((r) => !hit(r) && r.kindRank !== null && r.kindRank <= r.together).length;
  const latencies = counted
    .filter((r) => hit(r) && r.namedAt !== null)
    .map((r) => r.namedAt! - (r.impactOnset ?? r.onset))
    .sort((a, b) => a - b);
  return {
    name,
    counted: counted.length,
    top1: wilson(top1, counted.length),
    top3: wilson(counted.filter((r) => found(r, 3)).length, counted.length),
    halfCredit: ratio(top1 + kinds / 2, counted.length),
    macroF1: macroF1(counted, alarms),
    precision: wilson(alarms.filter((a) => a.right).length, alarms.length),
    falseAlarms: rateInterval(alarms.filter((a) => a.when !== 'during').length, healthyNodeDays(cases)),
    latencyP50: quantile(latencies, 0.5),
    latencyP95: quantile(latencies, 0.95),
  };
}

/** Node-days in which nothing was broken: controls, and the time before the first fault of every other case. */
export const healthyNodeDays = (cases: readonly CaseOutcome[]): number =>
  sum(
    cases.map((c) => {
      const healthyS = c.roots.length === 0 ? c.durationS : Math.min(...c.roots.map((r) => r.onset));
      return (c.nodes * healthyS) / 86_400;
    }),
  );

/** Mean F1 over the causes that occurred: recall of each, and how often its name was right when it was said. */
function macroF1(counted: readonly RootOutcome[], alarms: Judged['alarms']): number {
  const ids = [...new Set(counted.map((r) => r.id))];
  return ratio(
    sum(
      ids.map((id) => {
        const own = counted.filter((r) => r.id === id);
        const recall = ratio(own.filter(hit).length, own.length);
        const said = alarms.filter((a) => a.root.startsWith(`${id}@`));
        const precision =
          said.length === 0 ? (recall > 0 ? 1 : 0) : ratio(said.filter((a) => a.right).length, said.length);
        return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
      }),
    ),
    ids.length,
  );
}

/** Mean gap between what was promised and what came, over ten bins of probability. */
function expectedCalibrationError(
  alarms: readonly { readonly probability: number; readonly right: boolean }[],
): number {
  let error = 0;
  for (let bin = 0; bin < 10; bin++) {
    const inside = alarms.filter((a) => Math.min(9, Math.floor(a.probability * 10)) === bin);
    error += Math.abs(sum(inside.map((a) => a.probability)) - inside.filter((a) => a.right).length);
  }
  return ratio(error, alarms.length);
}

/** One row per kind of fault. */
export function kindCards(all: readonly CaseOutcome[]): KindCard[] {
  const byFault = new Map<string, RootOutcome[]>();
  for (const c of all) {
    if (c.telemetry !== 'full') continue;
    for (const r of c.roots) {
      const rows = byFault.get(r.fault);
      if (rows) rows.push(r);
      else byFault.set(r.fault, [r]);
    }
  }
  return [...byFault]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([fault, rows]): KindCard => {
      const counted = rows.filter((r) => r.counted);
      const byDose = [...new Set(rows.map((r) => r.dose))]
        .sort((a, b) => a - b)
        .map((dose) => {
          const here = rows.filter((r) => r.dose === dose);
          return { dose, hits: here.filter(hit).length, n: here.length };
        });
      const curve = byDose.filter((p) => p.dose > 0).map((p) => ({ x: p.dose, hits: p.hits, n: p.n }));
      const instead = new Map<string, number>();
      for (const r of counted) {
        if (hit(r)) continue;
        const said = r.first ?? 'nothing';
        instead.set(said, (instead.get(said) ?? 0) + 1);
      }
      const latencies = counted
        .filter((r) => hit(r) && r.namedAt !== null)
        .map((r) => r.namedAt! - (r.impactOnset ?? r.onset))
        .sort((a, b) => a - b);
      return {
        fault,
        injected: rows.length,
        counted: counted.length,
        top1: counted.filter(hit).length,
        top3: counted.filter((r) => found(r, 3)).length,
        kindOnly: counted.filter((r) => !hit(r) && r.kindRank !== null && r.kindRank <= r.together).length,
        dose50: doseAtShare(curve, 0.5),
        dose90: doseAtShare(curve, 0.9),
        latencyP50: quantile(latencies, 0.5),
        byDose,
        instead: [...instead].sort((a, b) => b[1] - a[1]),
      };
    });
}

export interface AblationRow {
  readonly telemetry: string;
  /** Roots that this telemetry can show. */
  readonly observable: number;
  readonly coverage: number;
  readonly accuracyOnAnswered: Interval;
  readonly wrongAndConfident: number;
}

/** Accuracy on what was answered against how much was answered, per tier of telemetry, over the cases that had them all. */
export function ablationRows(all: readonly CaseOutcome[]): AblationRow[] {
  const tiers = [...new Set(all.map((c) => c.telemetry))];
  if (tiers.length < 2) return [];
  const complete = new Set(all.filter((c) => c.telemetry !== 'full').map((c) => c.name));
  return tiers.map((telemetry) => {
    const cases = all.filter((c) => c.telemetry === telemetry && complete.has(c.name));
    const felt = cases.flatMap((c) => c.roots).filter((r) => r.impact);
    const answeredCases = cases.filter((c) => c.roots.some((r) => r.impact));
    const answers = answeredCases.flatMap((c) => c.alarms.filter((a) => a.when === 'during' && a.answered));
    const answered = answeredCases.filter((c) => c.alarms.some((a) => a.when === 'during' && a.answered));
    const rootsAnswered = answered.flatMap((c) => c.roots).filter((r) => r.impact);
    return {
      telemetry,
      observable: felt.filter((r) => r.counted).length,
      coverage: ratio(rootsAnswered.length, felt.length),
      accuracyOnAnswered: wilson(rootsAnswered.filter(hit).length, rootsAnswered.length),
      wrongAndConfident: answers.filter((a) => a.probability >= 0.8 && !a.right).length,
    };
  });
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const ratio = (a: number, b: number): number => (b === 0 ? Number.NaN : a / b);
const share = <T>(items: readonly T[], is: (item: T) => boolean): number =>
  ratio(items.filter(is).length, items.length);
