/**
 * The whole daemon beside a real OpenTelemetry Collector that does the same: scrape targets of about 3,000 samples each,
 * hand everything on. Each is a process of its own; CPU and resident memory are what the system says about it.
 *
 * `node bench/daemon/index.js [seconds per case]` after compiling.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COLLECTOR_REMEDY, collectorBinary } from '../interop/collector.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

export interface Measured {
  readonly what: string;
  readonly whose: 'enginelight' | 'Collector';
  readonly samples: number;
  readonly cpuSecondsPerMillion: number;
  /** Percent of one core. */
  readonly cpuPercent: number;
  readonly rssMiB: number;
  readonly peakMiB: number;
}

interface OtherSide {
  readonly targets: readonly number[];
  readonly backend: number;
  seen(): Promise<{ samples: number; requests: number; bytes: number }>;
  end(): void;
}

async function otherSide(targets: number, engines: number): Promise<OtherSide> {
  const child = fork(here('./other-side.js'), [`${targets}`, `${engines}`]);
  const message = <T>() => new Promise<T>((done) => child.once('message', (m) => done(m as T)));
  const ports = await message<{ targets: number[]; backend: number }>();
  return {
    ...ports,
    seen() {
      const answer = message<{ samples: number; requests: number; bytes: number }>();
      child.send('seen');
      return answer;
    },
    end: () => void child.kill(),
  };
}

const CLOCK_TICKS = 100;

/** CPU seconds of a process and all its threads, since it began. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

/** Resident memory now and at its highest, MiB. */
function memoryOf(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / 1024;
  return { now: field('VmRSS'), peak: field('VmHWM') };
}

interface Case {
  readonly what: string;
  readonly whose: Measured['whose'];
  readonly targets: number;
  readonly everyMs: number;
  readonly seconds: number;
  command(side: OtherSide, everyMs: number, file: (name: string, text: string) => string): [string, string[]];
}

async function measure(one: Case): Promise<Measured> {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-bench-'));
  const file = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const side = await otherSide(one.targets, 9);
  const [command, args] = one.command(side, one.everyMs, file);
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-5000);
  });
  try {
    // Start, first pages, what is compiled late, and the heap's last collection after the start do not count: a daemon runs for weeks.
    const warmUp = 75_000;
    await sleep(warmUp);
    if (child.exitCode !== null) throw new Error(`${command} ended: ${errors}`);
    const pid = child.pid!;
    const before = await side.seen();
    const cpu = cpuOf(pid);
    const begin = performance.now();
    const rss: number[] = [];
    while (performance.now() - begin < one.seconds * 1000) {
      await sleep(200);
      rss.push(memoryOf(pid).now);
    }
    const used = cpuOf(pid) - cpu;
    const wall = (performance.now() - begin) / 1000;
    const samples = (await side.seen()).samples - before.samples;
    if (samples === 0) throw new Error(`nothing was scraped: ${errors}`);
    return {
      what: one.what,
      whose: one.whose,
      samples,
      cpuSecondsPerMillion: (used / samples) * 1e6,
      cpuPercent: (used / wall) * 100,
      rssMiB: rss.sort((a, b) => a - b)[rss.length >> 1]!,
      peakMiB: memoryOf(pid).peak,
    };
  } finally {
    child.kill('SIGKILL');
    side.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

const ours =
  (exporter: 'otlp_http' | 'prometheus', normalize: boolean): Case['command'] =>
  (side, everyMs, file) => {
    const urls = side.targets.map((port) => `"http://127.0.0.1:${port}/metrics"`).join(', ');
    const config = `
receivers:
  vllm: { targets: [${urls}], collection_interval: ${everyMs}ms, max_scrape_load: 0 }
processors:
  normalize: {}
exporters:
  otlp_http: { endpoint: "http://127.0.0.1:${side.backend}" }
  prometheus: { endpoint: "127.0.0.1:0" }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference: { receivers: [vllm], processors: [${normalize ? 'normalize' : ''}], exporters: [${exporter}] }
`;
    const extra = process.env['ENGINELIGHT_BENCH_NODE_ARGS']?.split(' ') ?? [];
    return [process.execPath, [...extra, here('../../main.js'), '--config', file('enginelight.yaml', config)]];
  };

const collectors =
  (binary: string): Case['command'] =>
  (side, everyMs, file) => {
    const config = `
receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: bench
          scrape_interval: ${everyMs}ms
          scrape_timeout: ${everyMs}ms
          static_configs: [{ targets: [${side.targets.map((port) => `"127.0.0.1:${port}"`).join(', ')}] }]
exporters:
  otlp_http: { endpoint: "http://127.0.0.1:${side.backend}", compression: gzip }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    metrics: { receivers: [prometheus], exporters: [otlp_http] }
`;
    return [binary, ['--config', file('collector.yaml', config)]];
  };

/** Every case, one after the other. */
export async function benchDaemon(seconds = 15, say: (line: string) => void = () => {}): Promise<Measured[]> {
  const binary = collectorBinary();
  if (!binary) say(`!!! SKIPPED the Collector: ${COLLECTOR_REMEDY}`);
  const cases: Case[] = [];
  const both = (what: string, targets: number, everyMs: number, seconds: number) => {
    const add = (more: string, whose: Measured['whose'], command: Case['command']) =>
      cases.push({ what: `${what}${more}`, whose, targets, everyMs, seconds, command });
    add(', normalised, otlp_http', 'enginelight', ours('otlp_http', true));
    add(', as scraped, otlp_http', 'enginelight', ours('otlp_http', false));
    if (binary) add(', as scraped, otlp_http', 'Collector', collectors(binary));
    return add;
  };
  both('8 targets every 0.5 s', 8, 500, seconds);
  both(
    '8 targets every 5 s',
    8,
    5000,
    2 * seconds,
  )(', normalised, prometheus', 'enginelight', ours('prometheus', true));
  both('1 target every 5 s', 1, 5000, 4 * seconds);
  const only = process.env['ENGINELIGHT_BENCH_ONLY'];
  const results: Measured[] = [];
  for (const one of cases) {
    if (only && !`${one.whose}: ${one.what}`.includes(only)) continue;
    results.push(await measure(one));
    say(row(results.at(-1)!));
  }
  return results;
}

export const HEAD = `  ${'what'.padEnd(50)}${'whose'.padEnd(13)}${'cpu s/10^6'.padStart(11)}${'cpu %'.padStart(8)}${'RSS MiB'.padStart(9)}${'peak'.padStart(7)}`;

export function row({ what, whose, cpuSecondsPerMillion, cpuPercent, rssMiB, peakMiB }: Measured): string {
  const cells = [
    cpuSecondsPerMillion.toFixed(2).padStart(11),
    cpuPercent.toFixed(2).padStart(8),
    rssMiB.toFixed(0).padStart(9),
    peakMiB.toFixed(0).padStart(7),
  ];
  return `  ${what.padEnd(50)}${whose.padEnd(13)}${cells.join('')}`;
}

if (process.argv[1] && import.meta.url === new URL(process.argv[1], 'file://').href) {
  process.stdout.write(`node ${process.version}\n${HEAD}\n`);
  await benchDaemon(Number(process.argv[2] ?? 15), (line) => void process.stdout.write(`${line}\n`));
}
