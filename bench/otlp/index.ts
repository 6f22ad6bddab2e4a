/**
 * How fast OTLP comes in, beside protobufjs, in one process and one run: reading requests, reading and writing them again,
 * passing them through; then a real `otlp` receiver whose pipeline writes every batch again, with a sender in another
 * process, over HTTP and gRPC. Time is CPU time of all threads of the receiving process, so that other work on the machine
 * does not count.
 *
 * `node bench/otlp/index.js [CPU seconds per case]` after compiling.
 */
import { type ChildProcess, fork } from 'node:child_process';
import http from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { resolve } from '../../config/schema.ts';
import type { Consumer, Context } from '../../pipeline/component.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import {
  type Batch,
  gauge,
  itemCount,
  metricsBatch,
  resource,
  SIGNALS,
  type Signal,
  scope,
  tracesBatch,
} from '../../pipeline/model.ts';
import { frame } from '../../pipeline/wire/grpc.ts';
import { createInterner, decodeRequest, encodeRequest, openRequest } from '../../pipeline/wire/otlp/index.ts';
import { otlpReceiver } from '../../receivers/otlp/index.ts';
import { SPANS, spanRequests } from './traffic.ts';

export interface Measured {
  readonly input: string;
  readonly what: string;
  readonly whose: 'enginelight' | 'protobufjs';
  readonly itemsPerCpuSecond: number;
  readonly megabytesPerCpuSecond: number;
}

interface Input {
  readonly name: string;
  readonly signal: 'metrics' | 'traces';
  readonly items: number;
  /** Requests of one sender, one after the other. */
  readonly requests: readonly Uint8Array[];
}

const about = resource({
  'service.name': 'llm',
  'service.instance.id': 'r0',
  'host.name': 'node-1',
  'inference.engine': 'vllm',
});
const by = scope('vllm', '0.11');

const spans = (): Input => ({
  name: '200 spans x 15 attributes',
  signal: 'traces',
  items: SPANS,
  requests: spanRequests(),
});

function points(): Input {
  const series = Array.from({ length: 300 }, (_, m) =>
    gauge(`vllm:metric_${m}`, '1', 'A gauge of the engine.'),
  ).flatMap((metric) =>
    Array.from({ length: 10 }, (_, engine) => ({
      resource: about,
      scope: by,
      metric,
      attributes: {
        model_name: 'meta-llama/Llama-3.1-8B-Instruct',
        engine: String(engine),
        pod: `pod-${engine}`,
        zone: 'a',
      },
    })),
  );
  const requests = Array.from({ length: 8 }, (_, n) =>
    encodeRequest(
      metricsBatch(
        series.map((one, i) => ({
          series: one,
          time: 1_700_000_000_000_000_000n + BigInt(n) * 5_000_000_000n,
          startTime: 1_600_000_000_000_000_000n,
          flags: 0,
          value: i * n + 0.5,
        })),
      ),
      'protobuf',
    ),
  );
  return { name: '3,000 points x 4 attributes', signal: 'metrics', items: 3000, requests };
}

function protobufjsTypes(): Record<'metrics' | 'traces', protobuf.Type> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('@platformatic/promotel')), '..', 'proto');
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => join(folder, target);
  root.loadSync(['metrics', 'trace'].map((s) => `opentelemetry/proto/collector/${s}/v1/${s}_service.proto`));
  const type = (name: string) => root.lookupType(`opentelemetry.proto.collector.${name}`);
  return {
    metrics: type('metrics.v1.ExportMetricsServiceRequest'),
    traces: type('trace.v1.ExportTraceServiceRequest'),
  };
}

interface Case {
  readonly what: string;
  readonly whose: Measured['whose'];
  run(input: Input, bytes: Uint8Array): unknown;
}

function cases(): Case[] {
  const types = protobufjsTypes();
  const interner = createInterner();
  return [
    {
      what: 'read',
      whose: 'enginelight',
      run: ({ signal }, b) => decodeRequest(signal, b, 'protobuf', { interner }).items,
    },
    { what: 'read', whose: 'protobufjs', run: ({ signal }, b) => types[signal].decode(b) },
    {
      what: 'read and write',
      whose: 'enginelight',
      run: ({ signal }, b) => encodeRequest(decodeRequest(signal, b, 'protobuf', { interner }), 'protobuf'),
    },
    {
      what: 'read and write',
      whose: 'protobufjs',
      run: ({ signal }, b) => types[signal].encode(types[signal].decode(b)).finish(),
    },
    {
      what: 'pass through',
      whose: 'enginelight',
      run: ({ signal }, b) => encodeRequest(openRequest(signal, b), 'protobuf'),
    },
  ];
}

/** Runs every case over every input, `seconds` of CPU each, in turns; medians of the turns. */
export function benchCodec(seconds = 2): Measured[] {
  const results: Measured[] = [];
  for (const input of [spans(), points()]) {
    const all = cases();
    const rates = all.map((): number[] => []);
    const turns = 5;
    // Turns alternate between the cases, so that a slow moment of the machine meets all of them. The first is warm-up.
    for (let turn = 0; turn <= turns; turn++) {
      all.forEach((one, c) => {
        const begin = process.cpuUsage();
        let rounds = 0;
        let elapsed = 0;
        do {
          one.run(input, input.requests[rounds++ % input.requests.length]!);
          const { user, system } = process.cpuUsage(begin);
          elapsed = (user + system) / 1e6;
        } while (elapsed < seconds / turns);
        if (turn > 0) rates[c]!.push(rounds / elapsed);
      });
    }
    const size = input.requests.reduce((sum, r) => sum + r.length, 0) / input.requests.length;
    all.forEach(({ what, whose }, c) => {
      const perSecond = rates[c]!.sort((a, b) => a - b)[turns >> 1]!;
      results.push({
        input: input.name,
        what,
        whose,
        itemsPerCpuSecond: perSecond * input.items,
        megabytesPerCpuSecond: (perSecond * size) / 1e6,
      });
    });
  }
  return results;
}

const METHOD = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';

function benchContext(): Context {
  const nothing = () => {};
  return {
    id: 'otlp',
    kind: 'receiver',
    log: createLogger({ clock: systemClock, level: 'warn' }),
    clock: systemClock,
    catalog: { sources: [] } as unknown as Context['catalog'],
    signals: new Set<Signal>(SIGNALS),
    status: nothing,
    meter: { counter: () => ({ add: nothing }), gauge: nothing, dropped: nothing, sent: nothing, failed: nothing },
  };
}

/** A receiver whose pipeline writes each batch again, for `seconds` of its CPU, per transport and kind of pipeline. */
export async function benchReceiver(seconds = 3): Promise<Measured[]> {
  const input = spans();
  const results: Measured[] = [];
  for (const transport of ['http', 'grpc'] as const) {
    for (const what of ['pass through', 'with a processor'] as const) {
      let items = 0;
      const next: Consumer = {
        consume(batch: Batch) {
          // A processor that changes something makes a new batch of new items.
          const out =
            what === 'pass through'
              ? batch
              : tracesBatch((batch.items as ReturnType<typeof tracesBatch>['items']).map((s) => ({ ...s, kind: 3 })));
          encodeRequest(out, 'protobuf');
          items += itemCount(out);
        },
      };
      const endpoint = '127.0.0.1:0';
      const config = resolve(otlpReceiver.config, { protocols: { [transport]: { endpoint } } });
      let url = '';
      const context = benchContext();
      const log = {
        ...context.log,
        info(_message: string, fields?: Readonly<Record<string, unknown>>) {
          url = String(fields?.['url']);
        },
      };
      const running = await otlpReceiver.start(config, next, { ...context, log });
      const sender = fork(fileURLToPath(import.meta.url), ['sender', transport, url]);
      const waitFor = async (done: () => boolean) => {
        while (!done() && sender.exitCode === null) await systemClock.sleep(5);
        if (sender.exitCode !== null) throw new Error(`the sender ended with ${sender.exitCode}`);
      };
      await waitFor(() => items > 50_000);
      const begin = process.cpuUsage();
      const from = items;
      const elapsed = () => {
        const { user, system } = process.cpuUsage(begin);
        return (user + system) / 1e6;
      };
      await waitFor(() => elapsed() >= seconds);
      const took = elapsed();
      const count = items - from;
      await stopped(sender);
      await running.stop(AbortSignal.abort());
      results.push({
        input: `${input.name}, over ${transport === 'http' ? 'HTTP' : 'gRPC'}`,
        what,
        whose: 'enginelight',
        itemsPerCpuSecond: count / took,
        megabytesPerCpuSecond: ((count / input.items) * input.requests[0]!.length) / 1e6 / took,
      });
    }
  }
  return results;
}

function stopped(child: ChildProcess): Promise<void> {
  return new Promise((done) => {
    if (child.exitCode !== null) return done();
    child.once('exit', () => done());
    child.kill('SIGKILL');
  });
}

/** The other process: eight requests in flight until it is killed. */
function send(transport: string, url: string): void {
  const { requests } = spans();
  let n = 0;
  if (transport === 'http') {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const options = { method: 'POST', agent, headers: { 'content-type': 'application/x-protobuf' } };
    const one = () => {
      const req = http.request(`${url}/v1/traces`, options, (res) => res.resume().on('end', one));
      req.on('error', () => process.exit(1)).end(requests[n++ % requests.length]);
    };
    for (let i = 0; i < 8; i++) one();
    return;
  }
  const session = http2.connect(url);
  session.on('error', () => process.exit(1));
  const frames = requests.map((r) => frame(r, false));
  const headers = { ':method': 'POST', ':path': METHOD, 'content-type': 'application/grpc', te: 'trailers' };
  const one = () => {
    const call = session.request(headers);
    call.resume().on('error', () => process.exit(1));
    call.on('close', one);
    call.end(frames[n++ % frames.length]);
  };
  for (let i = 0; i < 8; i++) one();
}

/** The results as a table, each of ours with its ratio to protobufjs where it does the same. */
export function tableOf(results: readonly Measured[]): string {
  const lines: string[] = [];
  let input = '';
  for (const r of results) {
    if (r.input !== input) {
      input = r.input;
      lines.push(
        '',
        input,
        `  ${'what'.padEnd(18)}${'whose'.padEnd(14)}${'items/cpu s'.padStart(14)}${'MB/cpu s'.padStart(10)}  ratio`,
      );
    }
    // Passing through has no peer of its own: reading and writing again is how protobufjs would do it.
    const job = r.what === 'pass through' ? 'read and write' : r.what;
    const peer = results.find((o) => o.input === r.input && o.what === job && o.whose === 'protobufjs');
    const ratio =
      r.whose === 'enginelight' && peer ? `${(r.itemsPerCpuSecond / peer.itemsPerCpuSecond).toFixed(1)} x` : '';
    const items = Math.round(r.itemsPerCpuSecond).toLocaleString('en-US').padStart(14);
    lines.push(
      `  ${r.what.padEnd(18)}${r.whose.padEnd(14)}${items}${r.megabytesPerCpuSecond.toFixed(0).padStart(10)}  ${ratio}`,
    );
  }
  return lines.join('\n').trim();
}

if (/otlp\/index\.[jt]s$/.test(process.argv[1] ?? '')) {
  if (process.argv[2] === 'sender') send(process.argv[3]!, process.argv[4]!);
  else {
    const seconds = Number(process.argv[2] ?? 2);
    const results = [...benchCodec(seconds), ...(await benchReceiver(seconds))];
    process.stdout.write(`node ${process.version}\n${tableOf(results)}\n`);
  }
}
