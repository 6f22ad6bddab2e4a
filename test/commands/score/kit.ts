/** Verdicts and labels of a made-up run that starts at T, with seconds since then. */
import { type Label, readLabel } from '../../../commands/score/labels.ts';
import { judgeRun } from '../../../commands/score/outcome.ts';
import type { CaseOutcome } from '../../../commands/score/run-case.ts';
import type { Finding, Incident, RootCause } from '../../../pipeline/kit/verdict.ts';
import { findingRecord, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { aFinding, anIncident, T } from '../../kit/incident.ts';

export const said = (at: number, over: Partial<Incident> = {}) => incidentRecord(anIncident(over), T + at * 1000);
export const finding = (at: number, over: Partial<Finding> = {}) => findingRecord(aFinding(over), T + at * 1000);

/** A cause as an incident names it. */
export const cause = (
  detector: string,
  kind: 'gpu' | 'node' | 'replica',
  id: string,
  probability = 0.9,
): RootCause => ({
  detector,
  entity: { kind, id },
  probability,
  grade: 'A',
  finding: `f-${detector}`,
  path: [],
});

/** An incident headed by these causes, best first. */
export const headedBy = (...roots: RootCause[]): Partial<Incident> => ({ root: roots[0]!, roots, candidates: [] });

/** The label of a GPU that is hot from 100 s to 400 s, felt from 130 s on. */
export const hot = (over: object = {}): Label =>
  readLabel(
    {
      impactOnset: 130,
      path: ['thermal-throttle@gpu:GPU-3', 'tp-straggler@rank:r1/tp3'],
      roots: [{ id: 'thermal-throttle', entity: 'gpu:GPU-3', onset: 100, end: 400, fault: 'thermal-gpu', dose: 0.2 }],
      ...over,
    },
    'hot',
    600,
  );

export const healthy = (): Label => readLabel({ roots: [] }, 'fine', 600);

/** A judged case out of records and a label. */
export const judged = (
  name: string,
  label: Label,
  records: Parameters<typeof judgeRun>[0],
  over: Partial<CaseOutcome> = {},
): CaseOutcome => ({
  name,
  kind: label.control ?? label.roots.map((r) => r.fault).join('+'),
  group: label.roots.length === 0 ? 'control' : 'single',
  seed: 1,
  telemetry: 'full',
  nodes: 4,
  durationS: label.durationS,
  control: label.control,
  cost: { cpuS: 1, wallS: 1, peakRssMib: 100, lines: 1, series: 1000 },
  ...judgeRun(records, T, label, 'full'),
  baselines: [],
  ...over,
});
