/**
 * Cases on several cores: every worker thread runs this same program with the same command, and takes one case after the
 * other. The results come back in the order in which cases finish.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { describeError } from '../../pipeline/errors.ts';
import type { CaseSpec } from '../../simulator/cases.ts';
import type { Ablation } from './ablation.ts';
import { type CaseOutcome, type CaseRequest, runCase } from './run-case.ts';

export interface Job {
  readonly spec: CaseSpec;
  readonly ablations: readonly Ablation[];
}

interface Result {
  readonly outcomes?: readonly CaseOutcome[];
  readonly error?: string;
  readonly log?: string;
}

/** Says in the data of a worker thread that it is one of ours. */
const MARK = 'enginelight-score';

export const isScoreWorker = (): boolean => !isMainThread && (workerData as unknown) === MARK;

/** The life of a worker: cases come as messages, outcomes go back, until the port is closed. */
export function serveCases(request: Omit<CaseRequest, 'log'>): Promise<void> {
  const port = parentPort!;
  const log = (text: string) => port.postMessage({ log: text } satisfies Result);
  return new Promise((resolve) => {
    port.on('close', resolve);
    port.on('message', (job: Job) => {
      runCase(job.spec, job.ablations, { ...request, log }).then(
        (outcomes) => port.postMessage({ outcomes } satisfies Result),
        (error) => port.postMessage({ error: `${job.spec.name}: ${describeError(error)}` } satisfies Result),
      );
    });
    port.postMessage({} satisfies Result);
  });
}

export interface Pool {
  /** The program's own file and the arguments that make it a worker. */
  readonly program: string;
  readonly args: readonly string[];
  readonly workers: number;
}

/** Runs all jobs; calls back for each that is done. Resolves with those that failed, as sentences. */
export async function runJobs(
  jobs: readonly Job[],
  pool: Pool,
  done: (outcomes: readonly CaseOutcome[]) => void,
  log: (line: string) => void,
): Promise<string[]> {
  const failed: string[] = [];
  let next = 0;
  const one = () =>
    new Promise<void>((resolve) => {
      const worker = new Worker(pool.program, { argv: [...pool.args], workerData: MARK });
      let busy: Job | undefined;
      let replaced = false;
      worker.on('message', (result: Result) => {
        if (result.log !== undefined) return log(result.log);
        if (result.outcomes) done(result.outcomes);
        if (result.error !== undefined) failed.push(result.error);
        busy = jobs[next++];
        if (busy) worker.postMessage(busy);
        else void worker.terminate();
      });
      worker.on('error', (error) => {
        failed.push(`${busy?.spec.name ?? 'worker'}: ${describeError(error)}`);
        // Its other cases are not lost with it.
        replaced = next < jobs.length;
        if (replaced) void one().then(resolve);
      });
      worker.on('exit', () => {
        if (!replaced) resolve();
      });
    });
  await Promise.all(Array.from({ length: Math.min(pool.workers, jobs.length) }, one));
  return failed;
}
