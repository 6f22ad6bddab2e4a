/**
 * Alerts in the hands of others: our rules in a real Prometheus that scrapes our exporter, their tests in promtool, and our own
 * alerts in a real Alertmanager, from the first to the last of their life, over a restart of the daemon.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bench, find, freePort, Skipped, until, versionOf } from './kit.ts';

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url));

interface Gettable {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly status: { readonly state: string };
}

function run(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** An engine whose KV cache is full, or not. */
function engine() {
  let full = false;
  return {
    set(value: boolean) {
      full = value;
    },
    page: () => `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 8
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="m"} ${full ? 90 : 0}
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="m"} ${full ? 0.99 : 0.3}
`,
  };
}

const RULES = `
rules:
  - alert: KVFull
    severity: critical
    by: [service, replica]
    for: 2s
    keep_firing_for: 2s
    when:
      all:
        - { signal: inference.kv.usage, above: 90% }
        - { signal: inference.requests.waiting, combine: sum, above: 50 }
    annotations: { summary: '{{ $labels.replica }} is {{ $value | humanizePercentage }} full' }
  - alert: Explained
    severity: warning
    by: [service, replica]
    for: 0s
    when: { signal: inference.requests.waiting, combine: sum, above: 50 }
inhibit:
  - { source: { alertname: KVFull }, target: { alertname: Explained }, equal: [service, replica] }
`;

export async function checkAlerts(world: Bench): Promise<void> {
  const promtool = find('ENGINELIGHT_INTEROP_PROMTOOL', ['promtool']);
  const prometheus = find('ENGINELIGHT_INTEROP_PROMETHEUS', ['prometheus']);
  const alertmanager = find('ENGINELIGHT_INTEROP_ALERTMANAGER', ['alertmanager', 'prometheus-alertmanager']);
  if (!promtool && !alertmanager)
    throw new Skipped(
      'install promtool (with Prometheus) and Alertmanager, or set ENGINELIGHT_INTEROP_PROMTOOL and ENGINELIGHT_INTEROP_ALERTMANAGER',
    );
  if (promtool) exported(world, promtool);
  else world.say('!!! SKIPPED the exported rules: no promtool');
  if (prometheus && promtool) await inPrometheus(world, prometheus);
  else world.say('!!! SKIPPED the exported rules in Prometheus: it is not here');
  if (alertmanager) await inAlertmanager(world, alertmanager);
  else world.say('!!! SKIPPED Alertmanager: it is not here');
}

function exported(world: Bench, promtool: string): void {
  world.say(versionOf(promtool));
  const folder = join(world.folder, 'exported');
  run(process.execPath, [MAIN, 'rules', 'export', '--output', folder, '--tests']);
  const files = readdirSync(folder).map((name) => join(folder, name));
  const rules = files.filter((file) => file.endsWith('.rules.yaml'));
  const tests = files.filter((file) => file.endsWith('.tests.yaml'));
  run(promtool, ['check', 'rules', ...rules]);
  run(promtool, ['test', 'rules', ...tests]);
  world.say(`promtool took ${rules.length} exported rule files and passed their tests`);
  // A check that cannot fail shows nothing: with every bound turned round, the same tests fail.
  const broken = rules[0]!;
  writeFileSync(broken, readFileSync(broken, 'utf8').replaceAll(' > ', ' < '));
  let failed = false;
  try {
    run(promtool, ['test', 'rules', broken.replace('.rules.', '.tests.')]);
  } catch {
    failed = true;
  }
  if (!failed) throw new Error(`the tests of ${broken} pass although its bounds were turned round`);
}

async function inPrometheus(world: Bench, prometheus: string): Promise<void> {
  const source = engine();
  const target = await world.serve(source.page);
  const [port, exporter] = [await freePort(), await freePort()];
  const mine = world.file('prometheus-rules-source.yaml', RULES);
  const folder = join(world.folder, 'for-prometheus');
  run(process.execPath, [MAIN, 'rules', 'export', mine, '--output', folder]);
  const config = world.file(
    'prometheus-with-rules.yaml',
    `
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["${folder}/*.rules.yaml"]
scrape_configs:
  - job_name: enginelight
    honor_labels: true
    static_configs: [{ targets: ["127.0.0.1:${exporter}"] }]
`,
  );
  const url = `http://127.0.0.1:${port}`;
  const server = world.program('prometheus-with-rules', prometheus, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${world.folder}/tsdb-rules`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await until('Prometheus to be ready', async () => (await fetch(`${url}/-/ready`)).ok).catch((error) => {
    throw new Error(`Prometheus did not start:\n${server.output()}`, { cause: error });
  });
  const daemon = await world.enginelight(
    daemonConfig(target, `prometheus: { endpoint: "127.0.0.1:${exporter}" }`, mine),
  );
  const firing = async () => {
    const { data } = (await (await fetch(`${url}/api/v1/alerts`)).json()) as {
      data: {
        alerts: readonly { labels: Record<string, string>; annotations: Record<string, string>; state: string }[];
      };
    };
    return data.alerts.filter((a) => a.state === 'firing');
  };
  await until('Prometheus to have our series', async () => {
    const query = new URLSearchParams({ query: 'inference_kv_usage_ratio' });
    const { data } = (await (await fetch(`${url}/api/v1/query?${query}`)).json()) as { data: { result: unknown[] } };
    return data.result.length > 0;
  });
  if ((await firing()).length > 0) throw new Error('Prometheus fires before anything is wrong');
  source.set(true);
  const alert = await until('Prometheus to fire', async () =>
    (await firing()).find((a) => a.labels['alertname'] === 'KVFull'),
  );
  const { service, replica } = alert.labels;
  if (service !== 'chat' || replica !== 'r0' || alert.annotations['summary'] !== 'r0 is 99% full')
    throw new Error(`Prometheus fires with other labels: ${JSON.stringify(alert)}`);
  source.set(false);
  await until('Prometheus to be quiet again', async () => (await firing()).length === 0);
  await daemon.stop();
  await server.stop();
  world.say(
    'an exported rule fired in Prometheus over our exporter, with the labels that our own alert has, and ended',
  );
}

const daemonConfig = (target: string, exporter: string, rules: string, state = '') => `
receivers:
  vllm:
    collection_interval: 1s
    targets: [{ url: "http://${target}/metrics", labels: { service: chat, replica: r0, node: n1 } }]
processors:
  normalize: {}
  alerts:
    default_rules: false
    rule_files: ["${rules}"]
    evaluation_interval: 1s
    ${state === '' ? '' : `storage: { directory: "${state}" }`}
exporters:
  ${exporter}
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference:
      receivers: [vllm]
      processors: [normalize, alerts]
      exporters: [${exporter.slice(0, exporter.indexOf(':'))}]
`;

async function inAlertmanager(world: Bench, binary: string): Promise<void> {
  world.say(versionOf(binary));
  const source = engine();
  source.set(true);
  const target = await world.serve(source.page);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const inhibitions = run(process.execPath, [MAIN, 'rules', 'inhibitions']);
  const config = world.file(
    'alertmanager.yaml',
    `route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n${inhibitions}`,
  );
  const server = world.program('alertmanager', binary, [
    `--config.file=${config}`,
    `--storage.path=${world.folder}/alertmanager`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]);
  await until('Alertmanager to be ready', async () => (await fetch(`${url}/-/ready`)).ok).catch((error) => {
    throw new Error(`Alertmanager did not start (or not with our inhibitions):\n${server.output()}`, { cause: error });
  });
  const alerts = async () => (await (await fetch(`${url}/api/v2/alerts`)).json()) as Gettable[];
  const rules = world.file('alertmanager-rules.yaml', RULES);
  const exporter = `alertmanager: { endpoints: ["${url}"], resend_interval: 2s, resolve_after: 30s, external_labels: { cluster: c1 } }`;
  const state = join(world.folder, 'state');
  const first = await world.enginelight(daemonConfig(target, exporter, rules, state));
  const one = await until('the alert in Alertmanager', async () =>
    (await alerts()).find((a) => a.labels['alertname'] === 'KVFull'),
  );
  const wanted = {
    alertname: 'KVFull',
    severity: 'critical',
    service: 'chat',
    replica: 'r0',
    node: 'n1',
    cluster: 'c1',
  };
  for (const [label, value] of Object.entries(wanted)) {
    if (one.labels[label] !== value)
      throw new Error(`${label} is ${one.labels[label]}, not ${value}: ${JSON.stringify(one)}`);
  }
  if (one.annotations['summary'] !== 'r0 is 99% full')
    throw new Error(`annotations: ${JSON.stringify(one.annotations)}`);
  await first.stop();
  const second = await world.enginelight(daemonConfig(target, exporter, rules, state));
  await until('the alert after the restart', () => second.output().includes('Alerts of before the restart go on'));
  // Longer than `for`, so that one which began anew would have another beginning.
  await new Promise((done) => setTimeout(done, 5000));
  const all = await alerts();
  const again = all.filter((a) => a.labels['alertname'] === 'KVFull');
  if (again.length !== 1 || again[0]!.startsAt !== one.startsAt)
    throw new Error(`after the restart: ${JSON.stringify(again)}, before: ${JSON.stringify(one)}`);
  source.set(false);
  await until('the end in Alertmanager', async () => (await alerts()).length === 0);
  await second.stop();
  world.say(
    'an alert came to Alertmanager with all its labels, kept its beginning over a restart of the daemon, and ended',
  );
}
