/** The two shapes of the `prometheus` receiver's options: our `targets:`, and the Collector's `config:`. */
import { type Static, type TObject, t } from '../../config/schema.ts';
import { prometheusClientOptions } from '../../pipeline/kit/prometheus-client.ts';
import { relabelRules, scalar } from '../../pipeline/kit/relabel.ts';
import { discoveryOptions, limitOptions, scrapeOptions } from '../../pipeline/kit/scrape-options.ts';

const staticConfig = t.item(
  {
    targets: t.list(t.string({ description: '`host:port`.' }), { description: 'Addresses.', default: [] }),
    labels: t.map(scalar('Value of the label.'), {
      description: 'Labels of every sample of these targets.',
      default: {},
    }),
  },
  { description: 'A fixed list.' },
);

const accepted = (what: string) => t.optional(t.any({ description: `Accepted; ${what}` }));

const scrapeConfig = t.item(
  {
    job_name: t.string({ description: 'Name of the job: `service.name` of its targets.', minLength: 1 }),
    scrape_interval: t.optional(t.duration({ description: 'How often to scrape. Default: that of `global`.' })),
    scrape_timeout: t.optional(t.duration({ description: 'How long an answer may take. Default: that of `global`.' })),
    metrics_path: t.string({ description: 'Path to scrape.', default: '/metrics' }),
    scheme: t.choice(['http', 'https'], { description: 'Scheme of the targets.', default: 'http' }),
    params: t.map(t.list(scalar('A value.'), { description: 'Values.' }), {
      description: 'Query parameters.',
      default: {},
    }),
    honor_labels: t.boolean({ description: "Whether a sample's own labels win over the target's.", default: false }),
    honor_timestamps: t.boolean({ description: 'Whether timestamps on a page are used.', default: true }),
    enable_compression: t.boolean({ description: 'Ask for gzip.', default: true }),
    static_configs: t.list(staticConfig, { description: 'Fixed targets.', default: [] }),
    ...discoveryOptions,
    relabel_configs: relabelRules('Rules for targets.'),
    metric_relabel_configs: relabelRules('Rules for samples.'),
    target_limit: t.integer({ description: 'Targets of this job at most. 0 = no limit.', default: 0, minimum: 0 }),
    ...limitOptions(0, '0'),
    ...prometheusClientOptions,
    http_headers: accepted('headers are set with the `headers` of our own form.'),
    no_proxy: accepted('proxies are never taken from the environment.'),
    proxy_from_environment: accepted('proxies are never taken from the environment.'),
    track_timestamps_staleness: accepted('series with timestamps of their own get no stale markers.'),
    scrape_protocols: accepted('all text formats are understood, whatever the Content-Type says.'),
    fallback_scrape_protocol: accepted('a missing or wrong Content-Type does no harm.'),
    scrape_classic_histograms: accepted('classic histograms are always scraped.'),
    always_scrape_classic_histograms: accepted('classic histograms are always scraped.'),
    convert_classic_histograms_to_nhcb: accepted('OTLP has classic histograms.'),
    scrape_native_histograms: accepted('native histograms come only with the protobuf format, which is not asked for.'),
    native_histogram_bucket_limit: accepted('native histograms are not scraped.'),
    native_histogram_min_bucket_factor: accepted('native histograms are not scraped.'),
    keep_dropped_targets: accepted('dropped targets are not kept.'),
    metric_name_validation_scheme: accepted('UTF-8 names are always valid.'),
    metric_name_escaping_scheme: accepted('names are never escaped.'),
    extra_scrape_metrics: accepted('the five usual ones are always there.'),
    scrape_failure_log_file: accepted('failures go to the log.'),
  },
  { description: "One of Prometheus' scrape_configs." },
);

const prometheusConfig = t.section(
  {
    global: t.section(
      {
        scrape_interval: t.duration({ description: 'How often to scrape.', default: '1m' }),
        scrape_timeout: t.optional(t.duration({ description: 'How long an answer may take. Default 10s.' })),
        evaluation_interval: accepted('there are no rule files here.'),
        external_labels: t.map(scalar('Value of the label.'), {
          description: 'Labels of every sample that has none of that name.',
          default: {},
        }),
        ...limitOptions(0, '0'),
        target_limit: t.integer({ description: 'Targets of a job at most. 0 = no limit.', default: 0, minimum: 0 }),
        scrape_protocols: accepted('all text formats are understood.'),
        scrape_native_histograms: accepted('native histograms are not scraped.'),
        metric_name_validation_scheme: accepted('UTF-8 names are always valid.'),
        metric_name_escaping_scheme: accepted('names are never escaped.'),
        keep_dropped_targets: accepted('dropped targets are not kept.'),
      },
      { description: 'Defaults of all jobs.' },
    ),
    scrape_configs: t.list(scrapeConfig, { description: 'Jobs.', default: [] }),
  },
  { description: "Prometheus' own configuration, as the Collector's receiver takes it." },
);

export const prometheusOptions = {
  ...scrapeOptions,
  config: t.optional(prometheusConfig),
  metrics_path: t.string({ description: 'Path of `targets` that name none.', default: '/metrics' }),
  trim_metric_suffixes: accepted('names stay as they are exposed.'),
  use_start_time_metric: accepted('start times are found without it.'),
  start_time_metric_regex: accepted('start times are found without it.'),
  report_extra_scrape_metrics: accepted('the five usual ones are always there.'),
};

export type PrometheusOptions = Static<TObject<typeof prometheusOptions>>;
export type ScrapeJobConfig = Static<typeof scrapeConfig>;
export type GlobalConfig = Static<typeof prometheusConfig>['global'];
