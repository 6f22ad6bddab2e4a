/** Prometheus' scrape_configs as jobs, and the mistakes that can be made in them. */
import type { ConfigMistake, Context } from '../../pipeline/component.ts';
import { checkClientOptions } from '../../pipeline/kit/client-options.ts';
import type { TargetLabels } from '../../pipeline/kit/discovery/discovery.ts';
import { bodyLimit, identifyBy, receiverScope } from '../../pipeline/kit/engine-receiver.ts';
import { mayScrape } from '../../pipeline/kit/get-paths.ts';
import { clientFromPrometheus, type PrometheusClient } from '../../pipeline/kit/prometheus-client.ts';
import { checkRelabel, relabel } from '../../pipeline/kit/relabel.ts';
import type { ScrapeJob } from '../../pipeline/kit/scrape.ts';
import { checkDiscovery, discoveriesOf, textOf } from '../../pipeline/kit/scrape-options.ts';
import type { GlobalConfig, ScrapeJobConfig } from './options.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
/** What a job without a sample_limit gets: a daemon that runs out of memory helps nobody. */
const MOST_SAMPLES = 1_000_000;

const intervalOf = (job: ScrapeJobConfig, all: GlobalConfig): number => job.scrape_interval ?? all.scrape_interval;
const timeoutOf = (job: ScrapeJobConfig, all: GlobalConfig): number =>
  job.scrape_timeout ?? Math.min(all.scrape_timeout ?? DEFAULT_TIMEOUT_MS, intervalOf(job, all));

/** A job of the Collector's form: labels of targets go onto every point, as in Prometheus. */
export function jobFromScrapeConfig(
  job: ScrapeJobConfig,
  all: GlobalConfig,
  maxLoad: number,
  context: Context,
): ScrapeJob {
  const external = textOf(all.external_labels);
  const targets: TargetLabels[] = job.static_configs.flatMap((group) =>
    group.targets.map((address) => ({ ...textOf(group.labels), __address__: address })),
  );
  const limit = (key: 'sample_limit' | 'body_size_limit' | 'target_limit' | LabelLimit) => job[key] || all[key];
  return {
    name: job.job_name,
    discoveries: discoveriesOf(job, targets),
    targetLimit: limit('target_limit'),
    who: {
      job: job.job_name,
      scheme: job.scheme,
      path: job.metrics_path,
      params: Object.fromEntries(Object.entries(job.params).map(([name, values]) => [name, values.map(String)])),
      relabel: relabel(job.relabel_configs),
      labels: 'points',
      attributes: {},
      defaults: external,
    },
    target: {
      scope: receiverScope(context),
      intervalMs: intervalOf(job, all),
      timeoutMs: timeoutOf(job, all),
      maxLoad,
      gzip: job.enable_compression,
      maxBytes: bodyLimit(limit('body_size_limit')),
      limits: {
        samples: limit('sample_limit') || MOST_SAMPLES,
        labels: limit('label_limit'),
        labelNameLength: limit('label_name_length_limit'),
        labelValueLength: limit('label_value_length_limit'),
      },
      honorLabels: job.honor_labels,
      honorTimestamps: job.honor_timestamps,
      metricRelabel: relabel(job.metric_relabel_configs),
      client: clientFromPrometheus(job as PrometheusClient),
      allow: mayScrape,
      identify: (names) => identifyBy(context.catalog, names),
    },
  };
}

type LabelLimit = 'label_limit' | 'label_name_length_limit' | 'label_value_length_limit';

/** Mistakes that the schema cannot see, in Prometheus' words. */
export function checkScrapeConfigs(jobs: readonly ScrapeJobConfig[], all: GlobalConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  const seen = new Set<string>();
  for (const [i, job] of jobs.entries()) {
    const at = ['config', 'scrape_configs', i];
    const put = (path: (string | number)[], message: string) => mistakes.push({ path: [...at, ...path], message });
    if (seen.has(job.job_name)) put(['job_name'], `found multiple scrape configs with job name "${job.job_name}"`);
    seen.add(job.job_name);
    if (timeoutOf(job, all) > intervalOf(job, all)) {
      put(
        ['scrape_timeout'],
        `scrape timeout greater than scrape interval for scrape config with job name "${job.job_name}"`,
      );
    }
    for (const [j, group] of job.static_configs.entries()) {
      for (const [k, address] of group.targets.entries()) {
        if (!address.includes('/')) continue;
        put(
          ['static_configs', j, 'targets', k],
          `"${address}" is not a valid hostname: write host:port, with scheme and metrics_path beside it`,
        );
      }
    }
    mistakes.push(...checkRelabel(job.relabel_configs, [...at, 'relabel_configs']));
    mistakes.push(...checkRelabel(job.metric_relabel_configs, [...at, 'metric_relabel_configs']));
    mistakes.push(...checkDiscovery(job, at, false));
    if (job.bearer_token && job.bearer_token_file !== undefined) {
      put(['bearer_token'], 'at most one of bearer_token & bearer_token_file must be configured');
    }
    const bearer = job.bearer_token !== undefined || job.bearer_token_file !== undefined;
    if (bearer && (job.basic_auth || job.authorization)) {
      put(
        ['authorization'],
        'at most one of basic_auth, authorization, bearer_token & bearer_token_file must be configured',
      );
    }
    mistakes.push(...checkClientOptions(clientFromPrometheus(job as PrometheusClient), at));
  }
  return mistakes;
}
