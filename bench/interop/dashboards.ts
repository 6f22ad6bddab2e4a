/**
 * The Grafana dashboards before a real Prometheus: a simulated cluster answers on loopback, the daemon watches it, Prometheus scrapes
 * the daemon, and every query of every dashboard is asked. (No Grafana can be had here; its JSON is checked by its own types.)
 */

import { demoSpec } from '../../commands/demo/faults.ts';
import { builtInSignals } from '../../config/signals.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { builtInDashboards } from '../../pipeline/kit/dashboards/dashboard.ts';
import { grafanaDashboard } from '../../pipeline/kit/dashboards/grafana.ts';
import { startLive } from '../../simulator/live.ts';
import { type Bench, find, freePort, Skipped, sleep, until, versionOf } from './kit.ts';

/** Panels that this cluster has nothing for: no split of prefill and decode, no speculation, no incident so early. */
const NOTHING_HERE: readonly string[] = [
  'Open incidents',
  'Incidents',
  'Dropped to make room',
  'KV transfer, mean',
  'KV moved',
  'Failed transfers',
  'Drafted tokens that were taken',
  'Findings that fire',
];

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
  readonly panels?: readonly Panel[];
}
interface Grafana {
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

export async function checkDashboards(world: Bench): Promise<void> {
  const binary = find('ENGINELIGHT_INTEROP_PROMETHEUS', ['prometheus']);
  if (!binary) throw new Skipped('install Prometheus, or set ENGINELIGHT_INTEROP_PROMETHEUS');
  world.say(versionOf(binary));
  const live = await startLive(demoSpec(3600), { clock: systemClock });
  try {
    await ask(world, binary, live.targets);
  } finally {
    await live.stop();
  }
}

async function ask(
  world: Bench,
  binary: string,
  targets: readonly { name: string; url: string; labels: Readonly<Record<string, string>> }[],
): Promise<void> {
  const exporter = await freePort();
  const of = (prefix: string) => ({
    targets: targets.filter((t) => t.name.startsWith(prefix)).map(({ url, labels }) => ({ url, labels })),
    collection_interval: '2s',
    max_scrape_load: 0,
  });
  const receivers = {
    vllm: of('engine/'),
    llm_d: of('router/'),
    'prometheus/gpus': of('gpu/'),
    'prometheus/nodes': of('node/'),
    'prometheus/containers': of('cadvisor/'),
  };
  const daemon = await world.enginelight(
    JSON.stringify({
      receivers,
      processors: { normalize: { originals: 'drop' }, correlation: {}, bottleneck: {} },
      exporters: { prometheus: { endpoint: `127.0.0.1:${exporter}` }, debug: {} },
      service: {
        telemetry: { metrics: { level: 'none' } },
        pipelines: {
          inference: {
            receivers: Object.keys(receivers),
            processors: ['normalize', 'correlation', 'bottleneck'],
            exporters: ['prometheus', 'debug'],
          },
        },
      },
    }),
  );
  const port = await freePort();
  const config = world.file(
    'prometheus-dashboards.yaml',
    `global: { scrape_interval: 2s }\nscrape_configs:\n  - job_name: enginelight\n    honor_labels: true\n    static_configs: [{ targets: ["127.0.0.1:${exporter}"] }]\n`,
  );
  const url = `http://127.0.0.1:${port}`;
  const server = world.program('prometheus-dashboards', binary, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${world.folder}/tsdb-dashboards`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  await until('Prometheus to be ready', async () => (await fetch(`${url}/-/ready`)).ok).catch((error) => {
    throw new Error(`Prometheus did not start:\n${server.output()}`, { cause: error });
  });
  // Rates over a minute need a minute.
  await sleep(75_000);

  const get = async (path: string, query: Record<string, string>): Promise<unknown> => {
    const answer = (await (await fetch(`${url}${path}?${new URLSearchParams(query)}`)).json()) as {
      status: string;
      error?: string;
      data: unknown;
    };
    if (answer.status !== 'success') throw new Error(`${JSON.stringify(query)}: ${answer.error}`);
    return answer.data;
  };
  const signals = builtInSignals();
  const failures: string[] = [];
  for (const { dashboard } of builtInDashboards(signals)) {
    const json = grafanaDashboard(dashboard!, signals) as unknown as Grafana;
    const panels = json.panels.flatMap((p) => [p, ...(p.panels ?? [])]).filter((p) => p.type !== 'row');
    let queries = 0;
    let empty = 0;
    for (const panel of panels) {
      let series = 0;
      for (const { expr } of panel.targets ?? []) {
        queries++;
        const names = json.templating.list.map((v) => v.name).filter((name) => name !== 'datasource');
        const query = names.reduce(
          (text, name) => text.replaceAll(`$${name}`, '.*'),
          expr.replaceAll('$__rate_interval', '1m'),
        );
        const { result } = (await get('/api/v1/query', { query })) as { result: unknown[] };
        series += result.length;
        if (result.length === 0) empty++;
      }
      if (series === 0 && !NOTHING_HERE.includes(panel.title))
        failures.push(`${json.title}: ${panel.title} shows nothing`);
    }
    for (const { name, definition } of json.templating.list) {
      const asked = /^label_values\((.*), (\w+)\)$/.exec(definition ?? '');
      if (!asked) continue;
      const match = asked[1]!.replace(/"\$\w+"/g, '".*"');
      const values = (await get(`/api/v1/label/${asked[2]}/values`, { 'match[]': match })) as unknown[];
      if (values.length === 0) failures.push(`${json.title}: the variable ${name} has no values`);
    }
    world.say(`${json.title}: ${panels.length} panels, ${queries} queries taken, ${empty} of them without data here`);
  }
  if (failures.length > 0) throw new Error(`${failures.join('\n')}\n${daemon.output()}`);
}
