/**
 * The `host` receiver on this machine against the tools that a person would ask: top, ps, ss, ip, df, free, uptime, nproc
 * and taskset, while a process that calls itself an engine burns CPU. Prints a row per number; a difference beyond its
 * tolerance fails the run, a tool that is not there is said.
 *
 * `npm run probes`.
 */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from '../../config/schema.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { isNumberPoint, type Point } from '../../pipeline/model.ts';
import { host } from '../../receivers/host/index.ts';
import { sink, testContext } from '../../test/kit/harness.ts';

const SECONDS = 10;
const sleep = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const say = (line: string) => void process.stdout.write(`${line}\n`);

/** What a command prints; undefined where there is none. */
function ask(command: string, ...args: string[]): string | undefined {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    return undefined;
  }
}
const matched = (text: string | undefined, pattern: RegExp): number | undefined => {
  const found = text === undefined ? undefined : pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
};

const engine = spawn('bash', ['-c', 'while :; do :; done', 'vllm serve model'], { stdio: 'ignore' });
let wrong = 0;
try {
  await sleep(1000);
  const clock = manualClock(Date.now());
  const out = sink();
  const context = testContext({ id: 'host', clock });
  const running = await host.start(resolve(host.config, { max_load: 0 }), out, context);
  const pid = engine.pid!;
  const look = async (ms: number): Promise<readonly Point[]> => {
    out.batches.length = 0;
    await clock.advance(ms);
    return out.points();
  };
  const value = (
    points: readonly Point[],
    name: string,
    attributes: Record<string, unknown> = {},
  ): number | undefined => {
    let sum: number | undefined;
    const seen = new Map<unknown, number>();
    for (const p of points) {
      if (p.series.metric.name !== name || !isNumberPoint(p)) continue;
      const all = { ...p.series.resource.attributes, ...p.series.attributes };
      if (Object.entries(attributes).every(([k, v]) => all[k] === v)) seen.set(p.series, Number(p.value));
    }
    for (const v of seen.values()) sum = (sum ?? 0) + v;
    return sum;
  };
  await look(31_000);
  const row = (what: string, tool: string, theirs: number | undefined, ours: number | undefined, tolerance: number) => {
    const verdict =
      theirs === undefined
        ? 'SKIPPED: the tool does not tell it here'
        : ours === undefined
          ? 'MISSING'
          : Math.abs(theirs - ours) <= tolerance
            ? 'agrees'
            : 'DIFFERS';
    if (verdict === 'MISSING' || verdict === 'DIFFERS') wrong++;
    const shown = (n: number | undefined) => (n === undefined ? '' : Number.isInteger(n) ? `${n}` : n.toFixed(2));
    say(`| ${what} | ${tool} | ${shown(theirs)} | ${shown(ours)} | ${verdict} |`);
  };
  say('| what | asked | it says | host says | |\n|---|---|---|---|---|');

  const before = await look(5000);
  const top = new Promise<string | undefined>((done) => {
    const child = spawn('top', ['-b', '-n', '2', '-d', `${SECONDS}`, '-w', '200'], {
      env: { ...process.env, LC_ALL: 'C' },
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.on('error', () => done(undefined));
    child.on('close', () => done(text));
  });
  const said = await top;
  const after = await look(5000);
  const second = said?.slice(said.lastIndexOf('top - '));
  const cpus = Number(ask('nproc', '--all') ?? Number.NaN);
  const grown = (name: string, attributes: Record<string, unknown> = {}) =>
    (value(after, name, attributes) ?? Number.NaN) - (value(before, name, attributes) ?? Number.NaN);
  const total = ['user', 'system', 'idle', 'iowait', 'nice', 'interrupt', 'steal', 'softirq'].reduce(
    (sum, mode) => sum + (grown('system.cpu.time', { 'cpu.mode': mode }) || 0),
    0,
  );
  row(
    'CPU idle, %',
    'top',
    matched(second, /([\d.]+) id/),
    (grown('system.cpu.time', { 'cpu.mode': 'idle' }) / total) * 100,
    8,
  );
  const own = grown('process.cpu.time', { 'process.pid': pid });
  const line = second?.split('\n').find((l) => l.trim().startsWith(`${pid} `));
  // The share of all CPUs' time, so that it does not matter how long the two looks were apart.
  row(
    'CPU of the engine, %',
    'top',
    line === undefined ? undefined : Number(line.trim().split(/\s+/)[8]),
    (own / total) * cpus * 100,
    15,
  );

  const now = await look(5000);
  const ps = ask('ps', '-o', 'rss=,nlwp=,vsz=', '-p', `${pid}`)?.trim().split(/\s+/).map(Number);
  row(
    'RSS of the engine, KiB',
    'ps',
    ps?.[0],
    (value(now, 'process.memory.usage', { 'process.pid': pid }) ?? Number.NaN) / 1024,
    512,
  );
  row('threads of the engine', 'ps', ps?.[1], value(now, 'process.thread.count', { 'process.pid': pid }), 0);
  row(
    'virtual memory of the engine, KiB',
    'ps',
    ps?.[2],
    (value(now, 'process.memory.virtual', { 'process.pid': pid }) ?? Number.NaN) / 1024,
    512,
  );
  row(
    'run-queue wait of the engine, s',
    '/proc/PID/schedstat',
    Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e9,
    value(now, 'process.cpu.wait.time', { 'process.pid': pid }),
    1,
  );
  row(
    'open files of the engine',
    'ls /proc/PID/fd',
    ask('ls', `/proc/${pid}/fd`)?.trim().split('\n').length,
    value(now, 'process.unix.file_descriptor.count', { 'process.pid': pid }),
    0,
  );
  row(
    'CPUs it may use',
    'taskset',
    matched(
      ask(
        'bash',
        '-c',
        `taskset -p ${pid} | sed 's/.*: //' | { read m; echo "obase=2; ibase=16; \${m^^}" | bc | tr -cd 1 | wc -c; }`,
      ),
      /^(\d+)/,
    ),
    value(now, 'process.cpu.allowed.count', { 'process.pid': pid }),
    0,
  );
  row('logical CPUs', 'nproc', cpus, value(now, 'system.cpu.logical.count'), 0);
  row(
    'load of a minute',
    'uptime',
    matched(ask('uptime'), /load average: ([\d.]+)/),
    value(now, 'system.cpu.load_average.1m'),
    0.5,
  );
  const free = ask('free', '-b');
  row('memory, bytes', 'free', matched(free, /Mem:\s+(\d+)/), value(now, 'system.memory.limit'), 0);
  const available = free?.split('\n')[1]?.trim().split(/\s+/)[6];
  row(
    'available memory, MiB',
    'free',
    available === undefined ? undefined : Number(available) / 2 ** 20,
    (value(now, 'system.memory.linux.available') ?? Number.NaN) / 2 ** 20,
    256,
  );
  const sockets = ask('ss', '-tHn', 'state', 'established');
  const waiting = ask('ss', '-tHn', 'state', 'close-wait');
  const count = (text: string | undefined) => text?.split('\n').filter((l) => l !== '').length;
  row(
    'TCP connections (established and close-wait)',
    'ss',
    sockets === undefined ? undefined : count(sockets)! + (count(waiting) ?? 0),
    value(now, 'system.network.connection.count'),
    10,
  );
  row(
    'TCP segments sent again',
    'nstat',
    matched(ask('nstat', '-asz', 'TcpRetransSegs'), /TcpRetransSegs\s+(\d+)/),
    value(now, 'system.network.tcp.retransmissions'),
    20,
  );
  const links = ask('ip', '-s', '-j', 'link');
  const stats =
    links === undefined
      ? []
      : (JSON.parse(links) as { ifname: string; stats64?: { rx: { bytes: number }; tx: { bytes: number } } }[]);
  for (const { ifname, stats64 } of stats) {
    const ours = value(now, 'system.network.io', {
      'network.interface.name': ifname,
      'network.io.direction': 'receive',
    });
    if (ours !== undefined && stats64)
      row(`bytes received by ${ifname}, MiB`, 'ip', stats64.rx.bytes / 2 ** 20, ours / 2 ** 20, 8);
  }
  const slow = await look(31_000);
  const df = ask('df', '-B1', '--output=size,used', '/')?.split('\n')[1]?.trim().split(/\s+/).map(Number);
  const root = { 'system.filesystem.mountpoint': '/' };
  row('size of /, bytes', 'df', df?.[0], value(slow, 'system.filesystem.limit', root), 0);
  row(
    'used of /, MiB',
    'df',
    df === undefined ? undefined : df[1]! / 2 ** 20,
    (value(slow, 'system.filesystem.usage', { ...root, 'system.filesystem.state': 'used' }) ?? Number.NaN) / 2 ** 20,
    64,
  );
  row(
    'processes started',
    '/proc/stat',
    matched(readFileSync('/proc/stat', 'utf8'), /processes (\d+)/),
    value(slow, 'system.process.created'),
    200,
  );
  await running.stop();
  const gaps = context.log.records.filter((r) => r.message === 'Not available on this machine.');
  say('\nNot available here:');
  for (const { fields } of gaps) say(`- ${fields['what']}: ${fields['because']}`);
  say(wrong === 0 ? '\nEverything agrees.' : `\n${wrong} numbers differ.`);
} finally {
  engine.kill('SIGKILL');
}
process.exit(wrong === 0 ? 0 : 1);
