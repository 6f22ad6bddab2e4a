/** The options of everything that scrapes, and what they become. Names and meanings are Prometheus' where it has them. */
import { type Static, type TObject, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';
import { type ClientOptions, checkClientOptions, clientOptions } from './client-options.ts';
import { type Discovery, fixed, type TargetLabels } from './discovery/discovery.ts';
import { fromDns } from './discovery/dns.ts';
import { fromTargetFiles } from './discovery/files.ts';
import { fromKubernetes } from './discovery/kubernetes.ts';
import { clientFromPrometheus, type PrometheusClient, prometheusClientOptions } from './prometheus-client.ts';
import { checkRelabel, relabelRules, scalar } from './relabel.ts';
import { labelsFromUrl } from './scrape-who.ts';

const labelMap = (description: string) => t.map(scalar('Value of the label.'), { description, default: {} });

/** A target as somebody writes it. */
const targetOption = t.oneOf(
  [
    t.string({ description: 'Address or URL.' }),
    t.item(
      {
        url: t.string({ description: 'Address or URL.', minLength: 1 }),
        labels: labelMap(
          'What is known about the target: `replica`, `node`, `role`, `pool`, `service`, `pod`, `namespace`, `tp_rank`, … become resource attributes; any other label becomes one under its own name.',
        ),
      },
      { description: 'A target with labels.' },
    ),
  ],
  { description: '`http://host:port`, `host:port` or a whole URL; without a path the usual one is taken.' },
);

export const fileSdItem = t.item(
  {
    files: t.list(t.string({ description: 'Path of a .json, .yml or .yaml file; its last element may hold `*`.' }), {
      description: "Files in Prometheus' file_sd format.",
      minItems: 1,
    }),
    refresh_interval: t.duration({
      description: 'How often to read them unasked; changes are seen at once.',
      default: '5m',
    }),
  },
  { description: 'Targets from files.' },
);

export const dnsSdItem = t.item(
  {
    names: t.list(t.string({ description: 'A DNS name.' }), { description: 'Names to look up.', minItems: 1 }),
    type: t.choice(['SRV', 'A', 'AAAA'], { description: 'Kind of record.', default: 'SRV' }),
    port: t.optional(t.integer({ description: 'Port of the targets, for A and AAAA.', minimum: 1, maximum: 65535 })),
    refresh_interval: t.duration({ description: 'How often to look the names up.', default: '30s' }),
  },
  { description: 'Targets from DNS records.' },
);

export const kubernetesSdItem = t.item(
  {
    role: t.choice(['pod'], { description: 'What to discover; only pods are.', default: 'pod' }),
    namespaces: t.section(
      {
        own_namespace: t.boolean({ description: 'The namespace this process runs in.', default: false }),
        names: t.list(t.string({ description: 'A namespace.' }), { description: 'Namespaces.', default: [] }),
      },
      { description: 'Where to look; empty: everywhere, which needs a ClusterRole.' },
    ),
    selectors: t.list(
      t.item(
        {
          role: t.choice(['pod'], { description: 'What the selector is for.', default: 'pod' }),
          label: t.string({ description: 'A label selector, `app=vllm`.', default: '' }),
          field: t.string({ description: 'A field selector, `spec.nodeName=node-1`.', default: '' }),
        },
        { description: 'A selector.' },
      ),
      { description: 'Which pods; several are joined.', default: [] },
    ),
    port: t.optional(
      scalar(
        'Name or number of the port to scrape, instead of every declared one. Ours; Prometheus relabels for this.',
      ),
    ),
    api_server: t.optional(t.url({ description: 'The API server, from outside a cluster. Default: the own cluster.' })),
    ...prometheusClientOptions,
    attach_metadata: t.optional(t.any({ description: 'Accepted; only what a pod itself says is attached.' })),
  },
  { description: 'Targets from the pods of a Kubernetes cluster. Needs get, list and watch on pods.' },
);

/** Where targets come from; spread into options. */
export const discoveryOptions = {
  file_sd_configs: t.list(fileSdItem, { description: 'Targets from files.', default: [] }),
  dns_sd_configs: t.list(dnsSdItem, { description: 'Targets from DNS.', default: [] }),
  kubernetes_sd_configs: t.list(kubernetesSdItem, { description: 'Targets from Kubernetes pods.', default: [] }),
};

/** Prometheus' limits; a page beyond one is refused. 0 = no limit. Spread into options. */
export const limitOptions = (sampleLimit: number, bodySize: string) => ({
  sample_limit: t.integer({
    description: 'Samples of a page, after metric_relabel_configs; a page with more is refused. 0 = no limit.',
    default: sampleLimit,
    minimum: 0,
  }),
  body_size_limit: t.size({
    description: 'Size of a page, uncompressed; a larger one is refused. 0 = 256MiB.',
    default: bodySize,
  }),
  label_limit: t.integer({
    description: 'Labels of a sample, its name among them. 0 = no limit.',
    default: 0,
    minimum: 0,
  }),
  label_name_length_limit: t.integer({ description: 'Length of a label name. 0 = no limit.', default: 0, minimum: 0 }),
  label_value_length_limit: t.integer({
    description: 'Length of a label value. 0 = no limit.',
    default: 0,
    minimum: 0,
  }),
});

/** All options of a receiver that scrapes `targets`. */
export const scrapeOptions = {
  targets: t.list(targetOption, {
    description: 'What to scrape.',
    default: [],
    examples: [['http://127.0.0.1:8000', { url: 'http://10.0.0.7:8000', labels: { replica: 'r1', node: 'n2' } }]],
  }),
  ...discoveryOptions,
  relabel_configs: relabelRules('Rules that rewrite or drop discovered targets before they are scraped.'),
  metric_relabel_configs: relabelRules('Rules that rewrite or drop samples.'),
  collection_interval: t.duration({ description: 'How often to scrape each target.', default: '5s', minimum: '100ms' }),
  timeout: t.optional(
    t.duration({
      description: 'How long an answer may take; at most the interval. Default: 80 % of the interval, at most 10s.',
    }),
  ),
  max_scrape_load: t.number({
    description:
      "The share of a target's time that scraping may take: the interval grows to at least the scrape time divided by this (0.001: 1000 times). 0 keeps the interval as it is.",
    default: 0.001,
    minimum: 0,
    maximum: 1,
  }),
  honor_labels: t.boolean({
    description:
      "Whether a sample's own `job` and `instance` win over the target's; otherwise they become `exported_…`.",
    default: false,
  }),
  honor_timestamps: t.boolean({ description: 'Whether timestamps on a page are used.', default: true }),
  enable_compression: t.boolean({
    description: 'Ask for gzip. It saves bytes on the way but costs the target CPU, often on its event loop.',
    default: false,
  }),
  ...limitOptions(100_000, '64MiB'),
  ...clientOptions,
};

export type ScrapeConfig = Static<TObject<typeof scrapeOptions>>;
type DiscoveryConfig = Static<TObject<typeof discoveryOptions>>;

export const textOf = (labels: Record<string, string | number | boolean>): Record<string, string> =>
  Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]));

/** The timeout of a config: its own, else 80 % of the interval, at most 10 s. */
export const timeoutOf = (config: { collection_interval: number; timeout?: number }): number =>
  config.timeout ?? Math.min(10_000, Math.round(config.collection_interval * 0.8));

/** Everything a config's targets come from. `pick` is the port of pods whose config names none. */
export function discoveriesOf(config: DiscoveryConfig, targets: readonly TargetLabels[], pick?: string): Discovery[] {
  const out: Discovery[] = [];
  if (targets.length > 0) out.push(fixed(targets));
  for (const sd of config.file_sd_configs) {
    out.push(fromTargetFiles({ files: sd.files, refreshMs: sd.refresh_interval }));
  }
  for (const sd of config.dns_sd_configs) {
    const { names, type, port = Number(pick ?? 80), refresh_interval: refreshMs } = sd;
    out.push(fromDns({ names, type, port, refreshMs }));
  }
  for (const sd of config.kubernetes_sd_configs) {
    const join = (key: 'label' | 'field') =>
      sd.selectors
        .map((s) => s[key])
        .filter((s) => s !== '')
        .join(',');
    out.push(
      fromKubernetes({
        apiServer: sd.api_server,
        client: clientFromPrometheus(sd as PrometheusClient),
        namespaces: sd.namespaces.names,
        ownNamespace: sd.namespaces.own_namespace,
        labelSelector: join('label'),
        fieldSelector: join('field'),
        port: sd.port === undefined ? pick : String(sd.port),
      }),
    );
  }
  return out;
}

/** The configured targets; mistakes in them were reported by `checkScrape`. */
export function staticTargets(config: Pick<ScrapeConfig, 'targets'>): TargetLabels[] {
  return config.targets
    .map((target) =>
      typeof target === 'string' ? labelsFromUrl(target) : labelsFromUrl(target.url, textOf(target.labels)),
    )
    .filter((labels) => typeof labels !== 'string');
}

/** Mistakes that the schema cannot see. */
export function checkScrape(config: ScrapeConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  for (const [i, target] of config.targets.entries()) {
    const labels = labelsFromUrl(typeof target === 'string' ? target : target.url);
    if (typeof labels === 'string') mistakes.push({ path: ['targets', i], message: labels });
  }
  if (config.timeout !== undefined && config.timeout > config.collection_interval) {
    mistakes.push({ path: ['timeout'], message: 'scrape timeout greater than scrape interval' });
  }
  if (config.timeout === 0) mistakes.push({ path: ['timeout'], message: 'a scrape needs some time' });
  mistakes.push(...checkDiscovery(config, []));
  mistakes.push(...checkRelabel(config.relabel_configs, ['relabel_configs']));
  mistakes.push(...checkRelabel(config.metric_relabel_configs, ['metric_relabel_configs']));
  mistakes.push(...checkClientOptions(config as Partial<ClientOptions>));
  return mistakes;
}

/** Mistakes in service discovery sections. */
export function checkDiscovery(
  config: DiscoveryConfig,
  at: readonly (string | number)[],
  portKnown = true,
): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  for (const [i, sd] of config.file_sd_configs.entries()) {
    for (const [j, file] of sd.files.entries()) {
      if (/\.(json|ya?ml)$/i.test(file) && !/[*?].*\//.test(file)) continue;
      mistakes.push({
        path: [...at, 'file_sd_configs', i, 'files', j],
        message: `path name "${file}" is not valid for file discovery: it must end in .json, .yml or .yaml, with * only in its last element`,
      });
    }
  }
  for (const [i, sd] of config.dns_sd_configs.entries()) {
    if (sd.type !== 'SRV' && sd.port === undefined && !portKnown) {
      mistakes.push({
        path: [...at, 'dns_sd_configs', i, 'port'],
        message: 'a port is required in DNS-SD configs for all record types except SRV',
      });
    }
  }
  for (const [i, sd] of config.kubernetes_sd_configs.entries()) {
    mistakes.push(
      ...checkClientOptions(clientFromPrometheus(sd as PrometheusClient), [...at, 'kubernetes_sd_configs', i]),
    );
  }
  return mistakes;
}
