/**
 * Whoever sends: the OpenTelemetry SDKs for JavaScript and Python over HTTP and gRPC, a real Collector's exporters, and a real
 * two-rank torch job with hooks, all into one daemon. What they made has to leave it through otlp_http and file.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { OTLPTraceExporter as TracesGrpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as TracesJson } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as TracesProto } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import type { Span } from '../../pipeline/model.ts';
import { decompress } from '../../pipeline/wire/compression.ts';
import { decodeRequest } from '../../pipeline/wire/otlp/index.ts';
import { COLLECTOR_REMEDY, collectorBinary } from './collector.ts';
import { type Bench, find, freePort, Skipped, until, versionOf } from './kit.ts';

const EACH = 50;
const HOOKS = join(process.cwd(), 'hooks', 'python');

const PYTHON_SDK = `
import sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
which, endpoint, name = sys.argv[1:4]
if which == "http":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    exporter = OTLPSpanExporter(endpoint=endpoint + "/v1/traces")
else:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True)
provider = TracerProvider(resource=Resource.create({"service.name": name}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("interop")
for i in range(${EACH}):
    with tracer.start_as_current_span("llm_request", attributes={"number": i, "text": "\\u00e4\\u20ac"}):
        pass
provider.shutdown()
`;

/** No line of it knows of hooks. */
const TORCH_JOB = `
import os, time
import torch, torch.distributed as dist, torch.multiprocessing as mp

def rank(n):
    os.environ.update(RANK=str(n), WORLD_SIZE="2")
    dist.init_process_group("gloo", rank=n, world_size=2)
    tensor = torch.ones(256)
    end = time.time() + 6
    flag = torch.zeros(1)
    while flag[0] == 0:
        dist.all_reduce(tensor)
        time.sleep(0.002)
        flag[0] = 1.0 if n == 0 and time.time() > end else 0.0
        dist.broadcast(flag, 0)
    dist.destroy_process_group()

if __name__ == "__main__":
    mp.spawn(rank, nprocs=2)
`;

async function javascript(exporter: SpanExporter, name: string): Promise<void> {
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': name }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer('interop');
  for (let i = 0; i < EACH; i++) {
    tracer.startSpan('llm_request', { attributes: { number: i, text: 'ä€' } }).end();
  }
  await provider.shutdown();
}

const has = (python: string, module: string) => spawnSync(python, ['-c', `import ${module}`]).status === 0;

export async function checkSenders(world: Bench): Promise<void> {
  const { say } = world;
  const missing: string[] = [];
  const sent: string[] = [];
  const [grpc, http] = [await freePort(), await freePort()];
  const socket = join(world.folder, 'hooks.sock');
  const file = join(world.folder, 'out.jsonl');

  const arrived: Span[] = [];
  const backend = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', async () => {
      const body = await decompress(Buffer.concat(chunks), 'gzip', 1 << 28);
      arrived.push(...(decodeRequest('traces', body, 'protobuf').items as readonly Span[]));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((done) => backend.listen(0, '127.0.0.1', done));
  try {
    const url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
    const daemon = await world.enginelight(`
receivers:
  otlp: { protocols: { grpc: { endpoint: "127.0.0.1:${grpc}" }, http: { endpoint: "127.0.0.1:${http}" } } }
  hooks: { socket: { path: ${socket} }, http: null, events: { collective: { rate: 1 } } }
exporters:
  otlp_http: { endpoint: "${url}", compression: gzip }
  file: { path: ${file}, flush_interval: 100ms }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference: { receivers: [otlp, hooks], exporters: [otlp_http, file] }
`);
    const web = `http://127.0.0.1:${http}`;
    const javascripts = [
      ['js, http json', new TracesJson({ url: `${web}/v1/traces` })],
      ['js, http protobuf', new TracesProto({ url: `${web}/v1/traces` })],
      ['js, grpc', new TracesGrpc({ url: `http://127.0.0.1:${grpc}` })],
    ] as const;
    for (const [name, exporter] of javascripts) {
      await javascript(exporter, name);
      sent.push(name);
    }

    const sdk = find('ENGINELIGHT_INTEROP_PYTHON', ['python3']);
    if (sdk && has(sdk, 'opentelemetry.sdk.trace')) {
      for (const [which, endpoint] of [
        ['http', web],
        ['grpc', `127.0.0.1:${grpc}`],
      ] as const) {
        const run = spawnSync(sdk, ['-c', PYTHON_SDK, which, endpoint, `python, ${which}`], { encoding: 'utf8' });
        if (run.status !== 0) throw new Error(`the Python SDK over ${which}:\n${run.stderr}`);
        sent.push(`python, ${which}`);
      }
    } else
      missing.push(
        'the Python SDK (ENGINELIGHT_INTEROP_PYTHON: a python3 with opentelemetry-sdk and both OTLP exporters)',
      );

    const binary = collectorBinary();
    if (binary) {
      say(versionOf(binary));
      const into = [await freePort(), await freePort()];
      const config = world.file(
        'between.yaml',
        `
receivers:
  otlp/a: { protocols: { http: { endpoint: "127.0.0.1:${into[0]}" } } }
  otlp/b: { protocols: { http: { endpoint: "127.0.0.1:${into[1]}" } } }
exporters:
  otlp_http: { endpoint: "${web}" }
  otlp_grpc: { endpoint: "127.0.0.1:${grpc}", tls: { insecure: true } }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    traces/a: { receivers: [otlp/a], exporters: [otlp_http] }
    traces/b: { receivers: [otlp/b], exporters: [otlp_grpc] }
`,
      );
      const collector = world.program('between', binary, ['--config', config]);
      await until('the Collector to be ready', () => collector.output().includes('Everything is ready')).catch(
        (error) => {
          throw new Error(`the Collector did not start:\n${collector.output()}`, { cause: error });
        },
      );
      for (const [i, name] of ['collector, otlp_http', 'collector, otlp_grpc'].entries()) {
        await javascript(new TracesProto({ url: `http://127.0.0.1:${into[i]}/v1/traces` }), name);
        sent.push(name);
      }
      await collector.stop();
    } else missing.push(`a Collector (${COLLECTOR_REMEDY})`);

    const torch = find('PYTHON', ['python3']);
    const ranks = torch !== undefined && has(torch, 'torch.distributed');
    if (torch && ranks) {
      // What the .pth file of an installed package does, without installing it.
      const site = join(world.folder, 'sitecustomize.py');
      writeFileSync(site, readFileSync(join(HOOKS, 'enginelight_hooks.pth'), 'utf8'));
      const script = world.file('job.py', TORCH_JOB);
      const run = spawnSync(torch, [script], {
        encoding: 'utf8',
        env: {
          ...process.env,
          PYTHONPATH: `${world.folder}:${HOOKS}`,
          ENGINELIGHT_HOOKS: '1',
          ENGINELIGHT_HOOKS_SOCKET: socket,
          MASTER_ADDR: '127.0.0.1',
          MASTER_PORT: String(await freePort()),
          OTEL_SERVICE_NAME: 'torch',
        },
      });
      if (run.status !== 0) throw new Error(`the torch job:\n${run.stderr}`);
    } else missing.push('torch (PYTHON: a python3 with torch.distributed)');

    await daemon.stop();
    const written = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .flatMap((line) => decodeRequest('traces', Buffer.from(line), 'json').items as readonly Span[]);
    for (const [way, spans] of [
      ['otlp_http', arrived],
      ['file', written],
    ] as const) {
      const of = (name: string) => spans.filter((s) => s.resource.attributes['service.name'] === name);
      for (const name of sent) {
        const numbers = of(name).map((s) => s.attributes['number']);
        if (new Set(numbers).size !== EACH || numbers.length !== EACH) {
          throw new Error(`${name} -> ${way}: ${numbers.length} of ${EACH} spans arrived`);
        }
        if (!of(name).every((s) => s.attributes['text'] === 'ä€'))
          throw new Error(`${name} -> ${way}: text is damaged`);
      }
      if (ranks) {
        const collectives = of('torch').filter((s) => s.name === 'collective');
        const seen = [0, 1].map((n) => {
          const own = collectives.filter(
            (s) => s.attributes['comm.rank'] === n && s.attributes['comm.op'] === 'all_reduce',
          );
          return new Set(own.map((s) => s.attributes['comm.seq']));
        });
        const both = [...seen[0]!].filter((seq) => seen[1]!.has(seq)).length;
        if (both < 100) throw new Error(`torch -> ${way}: ${both} collectives of both ranks`);
        say(`torch job, two ranks -> hooks -> ${way}: ${collectives.length} collectives, ${both} seen by both ranks`);
      }
    }
    for (const name of sent) say(`${name}: ${EACH} spans -> otlp_http and file`);
    if (missing.length > 0) throw new Skipped(`without ${missing.join('; ')}`);
  } finally {
    backend.closeAllConnections();
    backend.close();
  }
}
