/** The simulated cluster against real time: 8 replicas on 32 GPUs for 20 minutes, as a recording, and as a case with its truth. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { simulateCase } from '../../simulator/simulate.ts';
import { injection, makeSpec, type Spec } from '../../simulator/spec.ts';
import { writeCase } from '../../simulator/write.ts';

export interface SimulatorRow {
  readonly what: string;
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly simulatedSeconds: number;
  readonly mib: number;
}

const spec = (): Spec =>
  makeSpec({
    seed: 4711,
    load: { rps: [[0, 30]] },
    inject: [injection({ kind: 'thermal-gpu', entity: 'node2/gpu5', at: 480, durationS: 600, dose: 0.3 })],
  });

async function measured(what: string, run: () => number | Promise<number>): Promise<SimulatorRow> {
  const cpu = process.cpuUsage();
  const begin = performance.now();
  const bytes = await run();
  const { user, system } = process.cpuUsage(cpu);
  return {
    what,
    cpuSeconds: (user + system) / 1e6,
    wallSeconds: (performance.now() - begin) / 1000,
    simulatedSeconds: spec().durationS,
    mib: bytes / 1048576,
  };
}

/** Each in its own turn; the first of a process compiles for the others, as the first case of a score run does. */
export async function benchSimulator(): Promise<SimulatorRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-bench-'));
  const record = () => {
    let bytes = 0;
    for (const line of simulateCase(spec()).lines) bytes += line.length + 1;
    return bytes;
  };
  const write = async () => (await writeCase(spec(), join(folder, 'case.jsonl.gz'))).bytes;
  try {
    return [
      await measured('recording, first in its process', record),
      await measured('recording', record),
      await measured('case: recording, gzip, and its twin without the fault', write),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function tableOf(rows: readonly SimulatorRow[]): string {
  const head = `  ${'20 minutes of 8 replicas, 32 GPUs'.padEnd(56)}${'cpu s'.padStart(8)}${'wall s'.padStart(8)}${'x real time per core'.padStart(22)}${'MiB'.padStart(8)}`;
  const lines = rows.map(
    (r) =>
      `  ${r.what.padEnd(56)}${r.cpuSeconds.toFixed(1).padStart(8)}${r.wallSeconds.toFixed(1).padStart(8)}${(r.simulatedSeconds / r.cpuSeconds).toFixed(0).padStart(22)}${r.mib.toFixed(1).padStart(8)}`,
  );
  return [head, ...lines].join('\n');
}
