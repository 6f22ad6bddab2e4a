/**
 * OTLP in, the same out, through a whole process: the daemon and, where there is one, a real Collector with the same pipeline.
 * A sender with eight requests in flight on one side, a backend that throws away on the other, each a process of its own.
 * What counts is the CPU time of the process in the middle, all its threads, for the spans that reached the backend.
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { frame } from '../../pipeline/wire/grpc.ts';
import { collectorBinary } from '../interop/collector.ts';
import { freePort, sleep, until } from '../interop/kit.ts';
import { SPANS, spanRequests } from './traffic.ts';

export type Transport = 'http' | 'grpc';

export interface Through {
  readonly what: string;
  readonly whose: 'enginelight' | 'Collector';
  readonly spansPerCpuSecond: number;
  readonly rssMiB: number;
}

const METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url));
const SELF = fileURLToPath(import.meta.url);
const CLOCK_TICKS = 100;

const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
};
const rssOf = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;

interface Ports {
  readonly grpc: number;
  readonly http: number;
}

/** The config of each; a sender waits until its spans were delivered, so that nothing waits in between. */
function configOf(
  whose: Through['whose'],
  transport: Transport,
  listen: number,
  backend: Ports,
  { queue, processor }: { queue: boolean; processor: boolean },
): string {
  const out =
    transport === 'http'
      ? `otlp_http: { endpoint: "http://127.0.0.1:${backend.http}", compression: none, sending_queue: { enabled: ${queue} } }`
      : `otlp_grpc: { endpoint: "127.0.0.1:${backend.grpc}", compression: none, tls: { insecure: true }, sending_queue: { enabled: ${queue} } }`;
  return `receivers:
  otlp: { protocols: { ${transport}: { endpoint: "127.0.0.1:${listen}" } } }
processors:
  resource: { attributes: [{ key: site, value: a, action: insert }] }
exporters:
  ${out}
service:
${whose === 'Collector' ? '  telemetry: { metrics: { level: none } }\n' : ''}  pipelines:
    traces:
      receivers: [otlp]
      processors: [${processor ? 'resource' : ''}]
      exporters: [${transport === 'http' ? 'otlp_http' : 'otlp_grpc'}]
`.replace(/^processors:\n.*\n/m, processor ? '$&' : '');
}

/** Whether a Collector has the processor that the benchmark uses. */
const hasProcessor = (binary: string): boolean => {
  const { stdout } = spawnSync(binary, ['components'], { encoding: 'utf8' });
  const section = /^processors:\n((?: .*\n)*)/m.exec(stdout ?? '')?.[1] ?? '';
  return /name: resource$/m.test(section);
};

function other(role: string, ...args: string[]): ChildProcess {
  return fork(SELF, [role, ...args], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

async function messageOf<T>(child: ChildProcess, ask?: string): Promise<T> {
  const answer = new Promise<T>((done, fail) => {
    child.once('message', (message) => done(message as T));
    child.once('exit', (code) => fail(new Error(`a process of the benchmark ended with ${code}`)));
  });
  if (ask !== undefined) child.send(ask);
  return answer;
}

/** Runs one case for `seconds`; where the backend refuses everything, only memory is of interest. */
async function measure(
  whose: Through['whose'],
  transport: Transport,
  seconds: number,
  how: 'through' | 'a processor' | 'backend down',
): Promise<Through> {
  const dead = how === 'backend down';
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-through-'));
  const backend = other('backend', dead ? 'dead' : 'takes');
  const children = [backend];
  let subject: ChildProcess | undefined;
  try {
    const ports = await messageOf<Ports>(backend);
    const listen = await freePort();
    const path = join(folder, 'config.yaml');
    writeFileSync(path, configOf(whose, transport, listen, ports, { queue: dead, processor: how === 'a processor' }));
    const [command, args] = whose === 'Collector' ? [collectorBinary()!, []] : [process.execPath, [MAIN]];
    subject = spawn(command, [...args, '--config', path], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    subject.stderr!.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
    });
    await until(`${whose} to be ready`, () => /Everything is ready|Everything is ready\./.test(said)).catch((error) => {
      throw new Error(`${whose} did not start:\n${said}`, { cause: error });
    });
    const sender = other('sender', transport, String(listen));
    children.push(sender);
    const pid = subject.pid!;
    // What is compiled late does not count.
    await sleep(6000);
    const bytes = async () => (await messageOf<{ bytes: number }>(backend, 'seen')).bytes;
    const before = await bytes();
    const cpu = cpuOf(pid);
    await sleep(seconds * 1000);
    const used = cpuOf(pid) - cpu;
    const size = spanRequests().reduce((sum, r) => sum + r.length, 0) / 8 / SPANS;
    const spans = ((await bytes()) - before) / size;
    return {
      what: how === 'through' ? transport : `${transport}, ${how}`,
      whose,
      spansPerCpuSecond: spans / used,
      rssMiB: rssOf(pid),
    };
  } finally {
    subject?.kill('SIGKILL');
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

const CASES = [
  ['http', 'through'],
  ['http', 'a processor'],
  ['grpc', 'through'],
  ['grpc', 'a processor'],
] as const;

/** All cases in turns, `rounds` of them; medians. */
export async function benchThrough(
  seconds = 8,
  rounds = 3,
  say: (line: string) => void = () => {},
): Promise<Through[]> {
  const binary = collectorBinary();
  if (!binary) say('NO COLLECTOR FOUND: nothing to compare with (npm run interop -- --build-collector)');
  const whose: Through['whose'][] = binary ? ['enginelight', 'Collector'] : ['enginelight'];
  const all = new Map<string, Through[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [transport, how] of CASES) {
      for (const one of whose) {
        if (one === 'Collector' && how === 'a processor' && !hasProcessor(binary!)) continue;
        const result = await measure(one, transport, seconds, how);
        const key = `${result.what}/${one}`;
        all.set(key, [...(all.get(key) ?? []), result]);
        say(row(result));
      }
    }
  }
  const medians = [...all.values()].map((list) => {
    const sorted = [...list].sort((a, b) => a.spansPerCpuSecond - b.spansPerCpuSecond);
    return sorted[sorted.length >> 1]!;
  });
  for (const one of whose) {
    const result = await measure(one, 'http', seconds, 'backend down');
    say(row(result));
    medians.push(result);
  }
  return medians;
}

export const row = ({ what, whose, spansPerCpuSecond, rssMiB }: Through): string =>
  `  ${what.padEnd(22)}${whose.padEnd(14)}${(what.endsWith('down') ? '' : Math.round(spansPerCpuSecond).toLocaleString('en-US')).padStart(12)} spans/cpu s${rssMiB.toFixed(0).padStart(8)} MiB`;

/** The medians, ours with its ratio to the Collector's. */
export function throughTable(results: readonly Through[]): string {
  return results
    .map((r) => {
      const peer = results.find((o) => o.what === r.what && o.whose === 'Collector');
      const ratio =
        r.whose === 'enginelight' && peer && !r.what.endsWith('down')
          ? r.spansPerCpuSecond / peer.spansPerCpuSecond
          : 0;
      return row(r) + (ratio > 0 ? `  ${ratio.toFixed(2)} x` : '');
    })
    .join('\n');
}

/** Takes OTLP over both transports and throws it away, or refuses it for now. */
async function backendProcess(dead: boolean): Promise<void> {
  const seen = { bytes: 0 };
  const plain = http.createServer((request, response) => {
    request.on('data', (chunk: Buffer) => {
      if (!dead) seen.bytes += chunk.length;
    });
    request.on('end', () => {
      response.writeHead(dead ? 503 : 200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  plain.keepAliveTimeout = 60_000;
  const grpc = http2.createServer();
  grpc.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      seen.bytes += chunk.length;
    });
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(frame(new Uint8Array(), false));
    });
  });
  const port = (server: http.Server | http2.Http2Server) =>
    new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as AddressInfo).port)));
  process.on('message', () => process.send?.(seen));
  process.send?.({ http: await port(plain), grpc: await port(grpc) } satisfies Ports);
}

/** Eight requests in flight; one that was refused waits a little, as a sender has to. */
function senderProcess(transport: Transport, port: number): void {
  const requests = spanRequests();
  let n = 0;
  const again = (one: () => void, refused: boolean) => void setTimeout(one, refused ? 50 : 0);
  if (transport === 'http') {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const headers = { 'content-type': 'application/x-protobuf' };
    const one = () => {
      const request = http.request(
        { host: '127.0.0.1', port, path: '/v1/traces', method: 'POST', agent, headers },
        (response) => {
          response.resume().on('end', () => (response.statusCode === 200 ? one() : again(one, true)));
        },
      );
      request.on('error', () => again(one, true)).end(requests[n++ % requests.length]);
    };
    for (let i = 0; i < 8; i++) one();
    return;
  }
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => process.exit(1));
  const frames = requests.map((r) => frame(r, false));
  const headers = { ':method': 'POST', ':path': METHOD, 'content-type': 'application/grpc', te: 'trailers' };
  const one = () => {
    const call = session.request(headers);
    let refused = true;
    call.on('trailers', (trailers) => {
      refused = trailers['grpc-status'] !== '0';
    });
    call.resume().on('error', () => {});
    call.on('close', () => (refused ? again(one, true) : one()));
    call.end(frames[n++ % frames.length]);
  };
  for (let i = 0; i < 8; i++) one();
}

if (/otlp\/through\.[jt]s$/.test(process.argv[1] ?? '')) {
  const [role, first = '', second = ''] = process.argv.slice(2);
  if (role === 'backend') await backendProcess(first === 'dead');
  else if (role === 'sender') senderProcess(first as Transport, Number(second));
  else {
    const say = (line: string) => void process.stdout.write(`${line}\n`);
    say(`\n${throughTable(await benchThrough(Number(role ?? 8), Number(first || 3), say))}`);
  }
}
