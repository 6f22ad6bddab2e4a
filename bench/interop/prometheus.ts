/** A real Prometheus that scrapes our exporter and takes our remote write, asked for every value. */
import { type Bench, find, freePort, Skipped, until, versionOf } from './kit.ts';
import { PAGE_NUMBER, pageNumber, pages, type Truth } from './page.ts';

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const go = (v: number) => (v === Number.POSITIVE_INFINITY ? '+Inf' : `${v}`);

/** The samples that Prometheus has of a series. */
function samplesOf({ name, labels, value, histogram, summary }: Truth): Sample[] {
  if (value !== undefined) return [{ name, labels, value }];
  const { sum, count } = (histogram ?? summary)!;
  const both = [
    { name: `${name}_sum`, labels, value: sum },
    { name: `${name}_count`, labels, value: count },
  ];
  if (summary)
    return [
      ...summary.quantiles.map(([q, v]) => ({ name, labels: { ...labels, quantile: `${q}` }, value: v })),
      ...both,
    ];
  let cumulative = 0;
  const buckets = histogram!.counts.map((n, i) => {
    cumulative += n;
    const le = go(histogram!.bounds[i] ?? Number.POSITIVE_INFINITY);
    return { name: `${name}_bucket`, labels: { ...labels, le }, value: cumulative };
  });
  return [...buckets, ...both];
}

/** Answers an instant query. */
async function query(url: string, expression: string): Promise<Sample[]> {
  const response = await fetch(`${url}/api/v1/query`, {
    method: 'POST',
    body: new URLSearchParams({ query: expression }),
  });
  const { data } = (await response.json()) as {
    data: { result: readonly { metric: Record<string, string>; value: readonly [number, string] }[] };
  };
  return data.result.map(({ metric: { __name__: name = '', ...labels }, value: [, v] }) => {
    // OpenMetrics writes bounds as floats: 1.0 is 1.
    for (const one of ['le', 'quantile'])
      if (labels[one] !== undefined) labels[one] = go(Number(labels[one].replace('+Inf', 'Infinity')));
    return { name, labels, value: Number(v.replace('+Inf', 'Infinity').replace('-Inf', '-Infinity')) };
  });
}

function compare(page: number, found: readonly Sample[]): { values: number; wrong: string[] } {
  const byName = new Map<string, Sample[]>();
  for (const one of found) byName.set(one.name, [...(byName.get(one.name) ?? []), one]);
  const wrong: string[] = [];
  const all = pageNumber(page).truth.flatMap(samplesOf);
  for (const one of all) {
    const matches = (byName.get(one.name) ?? []).filter(({ labels }) =>
      Object.entries(one.labels).every(([k, v]) => labels[k] === v),
    );
    const about = `${one.name}${JSON.stringify(one.labels)}`;
    if (matches.length !== 1) wrong.push(`${about} is there ${matches.length} times`);
    else if (!Object.is(matches[0]!.value + 0, one.value + 0))
      wrong.push(`${about} is ${matches[0]!.value}, was ${one.value}`);
  }
  return { values: all.length, wrong };
}

/** Is this Prometheus new enough for remote write 2.0 (2.54 had it behind a flag, 3 has it)? */
const takesVersion2 = (version: string) => Number(/version (\d+)\./.exec(version)?.[1] ?? 0) >= 3;

export async function checkPrometheus(world: Bench): Promise<void> {
  const binary = find('ENGINELIGHT_INTEROP_PROMETHEUS', ['prometheus']);
  if (!binary)
    throw new Skipped('set ENGINELIGHT_INTEROP_PROMETHEUS to a prometheus (2.25 or later; 3 for remote write 2.0)');
  const { say } = world;
  const version = versionOf(binary);
  say(version);
  const two = takesVersion2(version);
  if (!two) say('!!! SKIPPED remote write 2.0: this Prometheus does not take it, version 3 does');
  const source = pages();
  const target = await world.serve(source.page);
  const [port, exporter] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const config = world.file(
    'prometheus.yaml',
    `
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: enginelight
    honor_labels: true
    static_configs: [{ targets: ["127.0.0.1:${exporter}"], labels: { way: scraped } }]
`,
  );
  const prometheus = world.program('prometheus', binary, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${world.folder}/tsdb`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--web.enable-remote-write-receiver',
  ]);
  await until('Prometheus to be ready', async () => (await fetch(`${url}/-/ready`)).ok).catch((error) => {
    throw new Error(`Prometheus did not start:\n${prometheus.output()}`, { cause: error });
  });
  const writers = two ? ['remote_write_1', 'remote_write_2'] : ['remote_write_1'];
  const daemon = await world.enginelight(`
receivers:
  prometheus: { targets: ["http://${target}/metrics"], collection_interval: 500ms, max_scrape_load: 0 }
processors:
  normalize: {}
exporters:
  prometheus: { endpoint: "127.0.0.1:${exporter}" }
  prometheus_remote_write/1: { endpoint: "${url}/api/v1/write", external_labels: { way: remote_write_1 } }
  prometheus_remote_write/2:
    endpoint: ${url}/api/v1/write
    protobuf_message: io.prometheus.write.v2.Request
    external_labels: { way: remote_write_2 }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    inference:
      receivers: [prometheus]
      processors: [normalize]
      exporters: [prometheus, prometheus_remote_write/1${two ? ', prometheus_remote_write/2' : ''}]
`);
  const failures: string[] = [];
  try {
    await until('ten pages', () => source.served() >= 10);
    const last = source.hold();
    for (const way of ['scraped', ...writers]) {
      await until(`page ${last} in Prometheus, ${way}`, async () =>
        (await query(url, `${PAGE_NUMBER}{way="${way}"}`)).some(({ value }) => value === last),
      );
      const found = await query(url, `{way="${way}"}`);
      const { values, wrong } = compare(last, found);
      say(`${way}: ${values} values asked for, ${wrong.length} wrong; ${found.length} series in all`);
      failures.push(...wrong.slice(0, 5).map((w) => `${way}: ${w}`));
      // What PromQL people do with it: the histogram must be one.
      const [p50] = await query(
        url,
        `histogram_quantile(0.5, sum by (le) (vllm:e2e_request_latency_seconds_bucket{way="${way}"}))`,
      );
      const [neutral] = await query(url, `sum(inference_requests_running{way="${way}"})`);
      const [original] = await query(url, `sum(vllm:num_requests_running{way="${way}"})`);
      say(
        `${way}: histogram_quantile gives ${p50?.value}; running requests ${neutral?.value} neutral, ${original?.value} original`,
      );
      if (!(p50 && p50.value > 0)) failures.push(`${way}: histogram_quantile gives nothing`);
      if (neutral?.value !== original?.value) failures.push(`${way}: the neutral signal is not the original one`);
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${daemon.output()}\n${prometheus.output()}`, { cause: error });
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
}
