/**
 * Real jobs with real hooks: a torch.distributed Gloo job and an MPI job of several processes, each with and without the
 * shim, paired, at 100 % and at the default sampling, while a real receiver takes what they send. Prints the slowdown with
 * its confidence interval, and what arrived.
 *
 * `npm run hooks`. PYTHON names an interpreter that has torch and mpi4py (Debian: python3-torch, python3-mpi4py, openmpi-bin);
 * what is missing is said, and left out. SECONDS per job, RANKS processes.
 */
import { fork, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolve } from '../../config/schema.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import { hooksReceiver } from '../../receivers/hooks/index.ts';

const PYTHON = process.env['PYTHON'] ?? 'python3';
const SECONDS = process.env['SECONDS'] ?? '30';
const RANKS = process.env['RANKS'] ?? '2';
const SCRIPT = join(process.cwd(), 'bench/hooks/overhead.py');

const say = (text: string) => process.stdout.write(`${text}\n`);

/** The receiver, in a process of its own, so that the jobs can be waited for here. */
async function receive(path: string, collective: string): Promise<void> {
  let arrived = 0;
  const nothing = () => {};
  await hooksReceiver.start(
    resolve(hooksReceiver.config, { socket: { path }, events: { collective: JSON.parse(collective) } }),
    {
      consume(batch) {
        arrived += batch.items.length;
      },
    },
    {
      id: 'hooks',
      kind: 'receiver',
      log: createLogger({ clock: systemClock, level: 'warn' }),
      clock: systemClock,
      catalog: { sources: [] } as never,
      signals: new Set(['traces']),
      meter: { counter: () => ({ add: nothing }), gauge: nothing, dropped: nothing, sent: nothing, failed: nothing },
      status: nothing,
    },
  );
  process.send?.('ready');
  process.on('message', () => process.send?.(arrived, () => process.exit(0)));
}

async function job(name: string, command: string, args: readonly string[], collective: object): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'hooks-jobs-'));
  const path = join(folder, 'h.sock');
  const receiver = fork(process.argv[1]!, ['receiver', path, JSON.stringify(collective)]);
  const told = () => new Promise<unknown>((done) => receiver.once('message', done));
  try {
    await told();
    const env = { ...process.env, ENGINELIGHT_HOOKS_SOCKET: path };
    const run = spawnSync(command, args, { env, encoding: 'utf8', timeout: 600_000 });
    if (run.status !== 0) say(`${name}: FAILED\n${run.stdout}${run.stderr}`);
    else say(`${name}: ${run.stdout.trim()}`);
    const arrived = told();
    receiver.send('over');
    say(`  ${await arrived} events arrived`);
  } finally {
    receiver.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

const has = (module: string) => spawnSync(PYTHON, ['-c', `import ${module}`]).status === 0;

if (process.argv[2] === 'receiver') await receive(process.argv[3]!, process.argv[4]!);
else {
  const every = { rate: 1, bytes_per_second: 0 };
  const cases = [
    ['100 %', every],
    ['default sampling', {}],
  ] as const;
  say(spawnSync(PYTHON, [SCRIPT, 'call'], { encoding: 'utf8' }).stdout.trim());
  for (const [name, collective] of cases) {
    if (has('torch.distributed')) {
      const args = [SCRIPT, 'torch', '--ranks', RANKS, '--seconds', SECONDS];
      await job(`torch, ${name}`, PYTHON, args, collective);
    } else say(`torch: NOT RUN, ${PYTHON} has no torch.distributed (set PYTHON)`);
    if (has('mpi4py.MPI')) {
      const mpirun = ['--oversubscribe', ...(process.getuid?.() === 0 ? ['--allow-run-as-root'] : []), '-n', RANKS];
      // 95 us of own work between two collectives: about ten thousand a second on each rank.
      const args = [...mpirun, PYTHON, SCRIPT, 'mpi', '--seconds', SECONDS, '--work', '95'];
      await job(`MPI, ${name}`, 'mpirun', args, collective);
    } else say(`MPI: NOT RUN, ${PYTHON} has no mpi4py (set PYTHON)`);
  }
}
