/**
 * Sidecars and a gateway as separate processes, the same binary by config: what a sidecar says of a hung engine on its own, what
 * only the gateway can say of a slow replica among its peers, and what a gateway that is killed and started again still knows.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Bench, freePort, type Program, sleep, until } from './kit.ts';

const REPLICAS = ['r0', 'r1', 'r2', 'r3'];
const BOUNDS = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3];

/** An engine that makes tokens at its own pace; `pace` is seconds per token, 0 hangs with its gauges frozen. */
function engine() {
  let pace = 0.02;
  let last = Date.now();
  let tokens = 0;
  let sum = 0;
  let requests = 0;
  const buckets = BOUNDS.map(() => 0);
  const advance = () => {
    const now = Date.now();
    const seconds = (now - last) / 1000;
    last = now;
    if (pace === 0) return;
    const made = Math.round((seconds / pace) * 20);
    tokens += made;
    sum += made * pace;
    requests += seconds * 2;
    const at = BOUNDS.findIndex((bound) => pace <= bound);
    for (let i = at; i < BOUNDS.length; i++) buckets[i]! += made;
  };
  return {
    set(value: number) {
      advance();
      pace = value;
    },
    page() {
      advance();
      const name = 'vllm:inter_token_latency_seconds';
      const label = 'model_name="m"';
      return `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{${label}} 20
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{${label}} 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{${label}} 0.4
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{${label}} ${tokens}
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{${label}} ${Math.round(requests) * 100}
# TYPE vllm:request_success_total counter
vllm:request_success_total{${label},finished_reason="stop"} ${Math.round(requests)}
# TYPE ${name} histogram
${BOUNDS.map((bound, i) => `${name}_bucket{${label},le="${bound}"} ${buckets[i]}`).join('\n')}
${name}_bucket{${label},le="+Inf"} ${tokens}
${name}_sum{${label}} ${sum}
${name}_count{${label}} ${tokens}
`;
    },
  };
}

const sidecar = (target: string, replica: string, node: string, gateway: number, reports: string) => `
receivers:
  vllm:
    collection_interval: 1s
    targets: [{ url: "http://${target}/metrics", labels: { service: chat, replica: ${replica}, node: ${node} } }]
processors: { normalize: { originals: drop }, correlation: {}, bottleneck: {}, interval: { interval: 15s, gauge: mean } }
exporters:
  otlp_http: { endpoint: "http://127.0.0.1:${gateway}" }
  report: { directory: "${reports}", interval: 1s }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference:
      receivers: [vllm]
      processors: [normalize, correlation, bottleneck, interval]
      exporters: [otlp_http, report]
`;

const gatewayConfig = (port: number, folder: string) => `
receivers: { otlp: { protocols: { http: { endpoint: "127.0.0.1:${port}" } } } }
processors:
  normalize: {}
  correlation: {}
  bottleneck: { storage: { directory: "${folder}/state" } }
  alerts: { storage: { directory: "${folder}/state" } }
exporters: { report: { directory: "${folder}/reports", interval: 1s } }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference:
      receivers: [otlp]
      processors: [normalize, correlation, bottleneck, alerts]
      exporters: [report]
`;

interface Reported {
  readonly id: string;
  readonly state: string;
  readonly root: { readonly detector: string; readonly entity: { readonly id: string; readonly replica?: string } };
  readonly impact: { readonly started_at: string };
}

/** Incidents in a folder of reports. */
function incidents(folder: string): Reported[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .flatMap(
        (name) => (JSON.parse(readFileSync(join(folder, name), 'utf8')) as { incidents: Reported[] }).incidents ?? [],
      );
  } catch {
    return [];
  }
}

export async function checkCrossNode(world: Bench): Promise<void> {
  const engines = REPLICAS.map(() => engine());
  const port = await freePort();
  const at = join(world.folder, 'gateway');
  const gateway = await world.enginelight(gatewayConfig(port, at));
  const sidecars: Program[] = [];
  const reports = REPLICAS.map((r) => join(world.folder, `reports-${r}`));
  for (const [i, replica] of REPLICAS.entries()) {
    const target = await world.serve(engines[i]!.page);
    sidecars.push(await world.enginelight(sidecar(target, replica, `n${i}`, port, reports[i]!)));
  }
  // A replica is compared with its own usual place among its peers: that takes twenty readings, and how it stands
  // against its own past as many again.
  await sleep(600_000);
  const early = [at, ...reports].flatMap((folder) => incidents(folder === at ? join(at, 'reports') : folder));
  if (early.length > 0) throw new Error(`incidents before anything is wrong: ${JSON.stringify(early)}`);

  engines[2]!.set(0.12);
  const slow = await until(
    'the gateway to name the slow replica',
    () => incidents(join(at, 'reports')).find((i) => i.root.entity.replica === 'r2' || i.root.entity.id === 'r2'),
    240,
  );
  const alone = incidents(reports[2]!).filter((i) => i.root.detector === 'replica-outlier');
  if (alone.length > 0) throw new Error('a sidecar cannot know its peers, and claims to');
  world.say(`the gateway named r2 among its peers: ${slow.root.detector}, ${slow.id}`);

  // Killed, without a word to the disk; started again with the same state.
  gateway.child.kill('SIGKILL');
  await gateway.stop();
  await sleep(5000);
  const second = await world.enginelight(gatewayConfig(port, at));
  await until('the incident after the restart', () =>
    second.output().includes('Open incidents of before the restart go on'),
  );
  await sleep(60_000);
  const after = incidents(join(at, 'reports')).filter((i) => i.state !== 'resolved');
  if (after.length !== 1 || after[0]!.id !== slow.id)
    throw new Error(`after the restart: ${JSON.stringify(after)}, before: ${JSON.stringify(slow)}`);
  world.say('killed and started again, the gateway went on with the same incident');
  engines[2]!.set(0.02);
  await until(
    'the end of the incident',
    () => incidents(join(at, 'reports')).every((i) => i.state === 'resolved'),
    300,
  );

  // Without the gateway, a sidecar still says that its engine hangs.
  await second.stop();
  engines[0]!.set(0);
  const hang = await until(
    'the sidecar to say that its engine hangs',
    () => incidents(reports[0]!).find((i) => i.root.detector === 'engine-stall' && i.state !== 'resolved'),
    120,
  );
  world.say(`with the gateway away, the sidecar of r0 said: ${hang.root.detector} on ${hang.root.entity.id}`);
  for (const one of sidecars) await one.stop();
}
