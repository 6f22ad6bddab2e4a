/**
 * What the probes cost: one look at eight GPUs through the double of NVML, one look of `host` at a machine with 256 more
 * processes (eight of them engines), and the whole set in a daemon at its default intervals, against the same daemon
 * without it. The double answers from memory: a driver's own time comes on top.
 *
 * `node build/bench/probes/index.js [seconds per daemon]` after `tsc -p bench/tsconfig.json`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { resolve } from '../../config/schema.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { createGpuRounds } from '../../pipeline/kit/gpu-rounds.ts';
import { createTree } from '../../pipeline/kit/tree.ts';
import { host } from '../../receivers/host/index.ts';
import { openLibrary } from '../../receivers/nvidia_gpu/library.ts';
import { createSampler, type Group, timed } from '../../receivers/nvidia_gpu/sampler.ts';
import { testContext } from '../../test/kit/harness.ts';
import { hasCompiler, healthyNode, nvmlDouble } from '../../test/kit/nvml-double/build.ts';

export interface Cost {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly limit: number;
}

/** Eight busy GPUs, each with a process that there is. */
const gpus = () => {
  const script = healthyNode(8);
  for (let i = 0; i < 8; i++) script[`gpu.${i}.process.0`] = `${process.pid} 75161927680`;
  return nvmlDouble(script).library;
};
const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!;
const nowhere = { consume() {} };

/** CPU milliseconds that a piece of work takes: the median of several times `rounds` of it. */
async function cpuMs(rounds: number, work: () => Promise<void>): Promise<number> {
  for (let i = 0; i < rounds; i++) await work();
  const costs: number[] = [];
  for (let sample = 0; sample < 7; sample++) {
    const before = process.cpuUsage();
    for (let i = 0; i < rounds; i++) await work();
    const { user, system } = process.cpuUsage(before);
    costs.push((user + system) / 1000 / rounds);
  }
  return median(costs);
}

async function benchNvml(): Promise<Cost[]> {
  const opened = await openLibrary(gpus());
  if ('because' in opened) throw new Error(opened.because);
  const sampler = createSampler(timed(opened.library, () => performance.now()));
  const context = testContext({ id: 'nvidia_gpu' });
  const rounds = createGpuRounds({
    context,
    next: nowhere,
    tree: createTree(),
    vendor: 'nvidia',
    source: 'nvml',
    hostName: 'n1',
    engines: [],
  });
  let time = 1_700_000_000_000;
  const look = async (group: Group) => {
    time += 1000;
    await rounds.send(sampler.sample(group).readings, time);
  };
  const costs: Cost[] = [];
  let all = 0;
  for (const group of ['fast', 'medium', 'slow'] as const) {
    const value = await cpuMs(50, () => look(group));
    all += value;
    costs.push({ what: `8 GPUs through the double, ${group} group`, value, unit: 'ms of CPU', limit: 5 });
  }
  costs.push({ what: '8 GPUs through the double, all groups at once', value: all, unit: 'ms of CPU', limit: 5 });
  sampler.close();
  return costs;
}

async function benchHost(): Promise<Cost[]> {
  const crowd = spawn(
    'bash',
    [
      '-c',
      'for i in $(seq 248); do sleep 600 & done; for i in $(seq 8); do (exec -a "vllm serve model-$i" sleep 600) & done; wait',
    ],
    { stdio: 'ignore', detached: true },
  );
  try {
    await sleep(1500);
    const clock = manualClock(Date.now());
    const running = await host.start(
      resolve(host.config, { max_load: 0 }),
      nowhere,
      testContext({ id: 'host', clock }),
    );
    const value = await cpuMs(12, () => clock.advance(5000));
    await running.stop();
    return [{ what: 'host, a look (of every 5 s and 30 s), 256 more processes', value, unit: 'ms of CPU', limit: 10 }];
  } finally {
    process.kill(-crowd.pid!, 'SIGKILL');
  }
}

const CLOCK_TICKS = 100;
const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url));

/** CPU of a core in percent, and resident MiB, of a daemon once it has settled. */
async function daemon(receivers: string, names: string, seconds: number): Promise<{ percent: number; mib: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-probes-'));
  const config = join(folder, 'config.yaml');
  writeFileSync(
    config,
    `receivers:\n  otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}\n${receivers}exporters:\n  prometheus: {endpoint: '127.0.0.1:0'}\nservice:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n    metrics: {receivers: [${names}], exporters: [prometheus]}\n`,
  );
  const child: ChildProcess = spawn(process.execPath, [MAIN, '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4000);
  });
  try {
    await sleep(30_000);
    if (child.exitCode !== null) throw new Error(`the daemon ended: ${said}`);
    const cpu = () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
    };
    const before = cpu();
    const began = performance.now();
    await sleep(seconds * 1000);
    const percent = ((cpu() - before) / ((performance.now() - began) / 1000)) * 100;
    const rss = /VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
    return { percent, mib: Number(rss) / 1024 };
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function benchSet(seconds: number): Promise<Cost[]> {
  const probes = `  host: {}\n  nvidia_gpu: {nvml_library: '${gpus()}'}\n  amd_gpu: {}\n`;
  const without = await daemon('', 'otlp', seconds);
  const withProbes = await daemon(probes, 'otlp, host, nvidia_gpu, amd_gpu', seconds);
  return [
    {
      what: 'all probes at default intervals, 8 GPUs, beyond the daemon without them',
      value: withProbes.percent - without.percent,
      unit: '% of a core',
      limit: 0.5,
    },
    { what: 'the same: resident memory beyond it', value: withProbes.mib - without.mib, unit: 'MiB', limit: 20 },
  ];
}

export async function benchProbes(seconds: number, say: (line: string) => void): Promise<void> {
  say('| what | measured | limit |\n|---|---|---|');
  const tell = (costs: readonly Cost[]) => {
    for (const { what, value, unit, limit } of costs)
      say(`| ${what} | ${value.toFixed(2)} ${unit} | ${limit}${value > limit ? ' EXCEEDED' : ''} |`);
  };
  if (!hasCompiler) say('| SKIPPED: what needs the double of NVML; there is no compiler | | |');
  else tell(await benchNvml());
  tell(await benchHost());
  if (hasCompiler) tell(await benchSet(seconds));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await benchProbes(Number(process.argv[2] ?? 60), (line) => void process.stdout.write(`${line}\n`));
  process.exit(0);
}
