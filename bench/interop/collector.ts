/** A real OpenTelemetry Collector on the other side, and on ours. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bench, find, freePort, Skipped, until, versionOf } from './kit.ts';
import { compareWithPages, readOtlpFile } from './otlp-file.ts';
import { pages } from './page.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CACHE = join(ROOT, '.cache', 'interop');

/** A Collector with the receivers and exporters that the checks use, or undefined. */
export function collectorBinary(): string | undefined {
  const built = join(CACHE, 'otelcol');
  return (
    find('ENGINELIGHT_INTEROP_COLLECTOR', ['otelcol-contrib', 'otelcol']) ?? (existsSync(built) ? built : undefined)
  );
}

/** Builds one from Go modules into .cache (several minutes). */
export function buildCollector(): void {
  mkdirSync(CACHE, { recursive: true });
  const source = join(CACHE, 'collector');
  cpSync(join(ROOT, 'bench', 'interop', 'collector'), source, { recursive: true });
  execFileSync('go', ['build', '-mod=mod', '-o', join(CACHE, 'otelcol'), '.'], { cwd: source, stdio: 'inherit' });
}

export const COLLECTOR_REMEDY =
  'set ENGINELIGHT_INTEROP_COLLECTOR to an otelcol-contrib, or run `npm run interop -- --build-collector` (needs Go, takes minutes)';

/** The same pages over each way into a Collector, and back from it into our receiver. */
export async function checkCollector(world: Bench): Promise<void> {
  const binary = collectorBinary();
  if (!binary) throw new Skipped(COLLECTOR_REMEDY);
  const { say } = world;
  say(`${versionOf(binary)}`);
  const source = pages();
  const target = await world.serve(source.page);
  const [proto, json, grpc, back] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const out = (name: string) => join(world.folder, `${name}.jsonl`);

  const returned = await world.enginelight(`
receivers:
  otlp: { protocols: { http: { endpoint: "127.0.0.1:${back}" } } }
exporters:
  file: { path: ${out('returned')}, flush_interval: 100ms }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    metrics: { receivers: [otlp], exporters: [file] }
`);
  const config = world.file(
    'collector.yaml',
    `
receivers:
  otlp/proto: { protocols: { http: { endpoint: "127.0.0.1:${proto}" } } }
  otlp/json: { protocols: { http: { endpoint: "127.0.0.1:${json}" } } }
  otlp/grpc: { protocols: { grpc: { endpoint: "127.0.0.1:${grpc}" } } }
  prometheus:
    config:
      scrape_configs:
        - job_name: own
          scrape_interval: 1s
          static_configs: [{ targets: ["${target}"] }]
exporters:
  file/proto: { path: ${out('proto')} }
  file/json: { path: ${out('json')} }
  file/grpc: { path: ${out('grpc')} }
  file/own: { path: ${out('own')} }
  otlp_http/back: { endpoint: "http://127.0.0.1:${back}" }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    metrics/proto: { receivers: [otlp/proto], exporters: [file/proto] }
    metrics/json: { receivers: [otlp/json], exporters: [file/json] }
    metrics/grpc: { receivers: [otlp/grpc], exporters: [file/grpc] }
    metrics/own: { receivers: [prometheus], exporters: [file/own, otlp_http/back] }
`,
  );
  const collector = world.program('collector', binary, ['--config', config]);
  await until('the Collector to be ready', () => collector.output().includes('Everything is ready')).catch((error) => {
    throw new Error(`the Collector did not start:\n${collector.output()}`, { cause: error });
  });
  const daemon = await world.enginelight(`
receivers:
  prometheus: { targets: ["http://${target}/metrics"], collection_interval: 500ms, max_scrape_load: 0 }
processors:
  normalize: {}
exporters:
  otlp_http/proto: { endpoint: "http://127.0.0.1:${proto}", encoding: proto, compression: gzip }
  otlp_http/json: { endpoint: "http://127.0.0.1:${json}", encoding: json, compression: gzip }
  otlp_grpc: { endpoint: "127.0.0.1:${grpc}", tls: { insecure: true }, compression: gzip }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference:
      receivers: [prometheus]
      processors: [normalize]
      exporters: [otlp_http/proto, otlp_http/json, otlp_grpc]
`);
  await until('twenty pages', () => source.served() >= 20);
  // What was scraped is delivered before it ends.
  await daemon.stop();
  await collector.stop();
  await returned.stop();

  const ways = [
    ['proto', 'scraped by us -> OTLP/HTTP protobuf, gzip -> Collector'],
    ['json', 'scraped by us -> OTLP/HTTP JSON, gzip -> Collector'],
    ['grpc', 'scraped by us -> OTLP/gRPC, gzip -> Collector'],
    ['own', 'scraped by the Collector itself (the yardstick)'],
    ['returned', 'scraped by the Collector -> OTLP/HTTP -> our receiver -> our file exporter'],
  ] as const;
  const failures: string[] = [];
  for (const [name, what] of ways) {
    const seen = readOtlpFile(out(name));
    const { pages: count, values, wrong } = compareWithPages(seen);
    say(`${what}: ${count} pages, ${values} values compared, ${wrong.length} wrong`);
    if (count === 0) failures.push(`${what}: nothing arrived`);
    failures.push(...wrong.slice(0, 3).map((w) => `${what}: ${w}`));
    if (name === 'proto') {
      const neutral = new Set(seen.filter((s) => s.name.startsWith('inference.')).map((s) => s.name));
      say(`engine-neutral signals beside them: ${[...neutral].sort().join(' ')}`);
      if (!neutral.has('inference.requests.running')) failures.push('inference.requests.running did not arrive');
    }
  }
  if (failures.length > 0) throw new Error(`${failures.join('\n')}\n${daemon.output()}`);
}
