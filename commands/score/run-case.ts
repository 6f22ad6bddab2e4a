/** Runs one case: simulated or read, through the daemon's own pipeline, judged against its label. */
import { readFileSync } from 'node:fs';
import type { Registry } from '../../pipeline/component.ts';
import { type RecordingLine, readRecordingLine } from '../../pipeline/wire/recording.ts';
import type { CaseSpec } from '../../simulator/cases.ts';
import { simulateCase } from '../../simulator/simulate.ts';
import { replay } from '../diagnose/replay.ts';
import { type Ablation, keeps } from './ablation.ts';
import { type BaselineOutcome, baselines } from './baselines.ts';
import { type Label, readLabel } from './labels.ts';
import { judgeRun, type Verdicts } from './outcome.ts';

export interface CaseOutcome extends Verdicts {
  readonly name: string;
  /** Fault, control, or what the label says. */
  readonly kind: string;
  readonly group: string;
  readonly seed: number;
  readonly telemetry: string;
  readonly nodes: number;
  readonly durationS: number;
  readonly control: string | null;
  readonly cost: {
    readonly cpuS: number;
    readonly wallS: number;
    readonly peakRssMib: number;
    readonly lines: number;
    /** Different series that came out of the processors. */
    readonly series: number;
  };
  readonly baselines: readonly BaselineOutcome[];
}

export interface CaseRequest {
  readonly registry: Registry;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly configs: readonly string[];
  readonly sets: readonly string[];
  readonly log: (line: string) => void;
}

/** Simulates a case and judges the verdicts once per tier of telemetry; the first is the full one. */
export async function runCase(
  spec: CaseSpec,
  ablations: readonly Ablation[],
  request: CaseRequest,
): Promise<CaseOutcome[]> {
  const sim = simulateCase(spec, { control: spec.control });
  const startMs = Date.parse(spec.start);
  // All lines first: what the verdicts cost must not contain what the simulation costs.
  const lines = [...sim.lines];
  const first = await measure(parsed(lines, keeps(ablations[0] ?? 'full', spec.seed)), startMs, request);
  const truth = sim.truth();
  const label = readLabel(truth, spec.name, spec.durationS);
  const outcome = (run: Measured, telemetry: Ablation): CaseOutcome => ({
    name: spec.name,
    kind: spec.control ?? truth.roots.map((r) => r.fault).join('+'),
    group: spec.group,
    seed: spec.seed,
    telemetry,
    nodes: spec.cluster.nodes,
    durationS: spec.durationS,
    control: label.control,
    cost: run.cost,
    ...judgeRun(run.records, startMs, label, telemetry),
    baselines: telemetry === 'full' ? run.baselines(label) : [],
  });
  const out = [outcome(first, ablations[0] ?? 'full')];
  for (const ablation of ablations.slice(1)) {
    const run = await measure(parsed(lines, keeps(ablation, spec.seed)), startMs, request);
    out.push(outcome(run, ablation));
  }
  return out;
}

/** Judges one recording of a user's, with the label that lies beside it. */
export async function runRecording(
  name: string,
  lines: AsyncIterable<RecordingLine>,
  label: unknown,
  request: CaseRequest,
): Promise<CaseOutcome> {
  // A label that cannot be used is refused before an hour of telemetry is read.
  readLabel(label, name, 0);
  const run = await measure(lines, 0, request);
  const durationS = (run.endMs - run.startMs) / 1000;
  const truth = readLabel(label, name, durationS);
  const faults = [...new Set(truth.roots.map((r) => r.fault))];
  return {
    name,
    kind: truth.control ?? faults.join('+'),
    group: truth.roots.length === 0 ? 'control' : truth.roots.length === 1 ? 'single' : 'double',
    seed: truth.seed,
    telemetry: 'full',
    nodes: run.nodes,
    durationS,
    control: truth.roots.length === 0 ? truth.control : null,
    cost: run.cost,
    ...judgeRun(run.records, run.startMs, truth, 'full'),
    baselines: run.baselines(truth),
  };
}

interface Measured {
  readonly records: Awaited<ReturnType<typeof replay>>['records'];
  readonly startMs: number;
  readonly endMs: number;
  readonly nodes: number;
  readonly cost: CaseOutcome['cost'];
  baselines(label: Label): BaselineOutcome[];
}

async function measure(
  lines: AsyncIterable<RecordingLine> | Iterable<RecordingLine>,
  startMs: number,
  request: CaseRequest,
): Promise<Measured> {
  const naive = baselines();
  const cpu = threadCpuS();
  const result = await replay(lines, {
    registry: request.registry,
    configs: request.configs,
    sets: request.sets,
    env: request.env,
    cwd: request.cwd,
    writeLog: request.log,
    tap: (batch) => naive.see(batch),
  });
  if (result.skipped > 0) {
    request.log(`${result.skipped} lines could not be used, the first: ${result.badLines[0]?.what ?? ''}`);
  }
  const start = startMs || result.startMs;
  return {
    records: result.records,
    startMs: start,
    endMs: result.endMs,
    nodes: Math.max(1, naive.nodes()),
    cost: {
      cpuS: cpu === undefined ? result.cpuSeconds : threadCpuS()! - cpu,
      wallS: result.wallSeconds,
      peakRssMib: result.peakRssMib,
      lines: result.lines,
      series: naive.series(),
    },
    baselines: (label) => naive.judge(label, start),
  };
}

/** CPU seconds of this thread alone (others simulate meanwhile); undefined where the system does not say. */
function threadCpuS(): number | undefined {
  try {
    const ns = Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[0]);
    return ns > 0 ? ns / 1e9 : undefined;
  } catch {
    return undefined;
  }
}

function* parsed(lines: Iterable<string>, keep: (line: string) => boolean): Generator<RecordingLine> {
  for (const line of lines) {
    if (keep(line)) yield readRecordingLine(line);
  }
}
