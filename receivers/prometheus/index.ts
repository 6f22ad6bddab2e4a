/** Scrapes anything that exposes Prometheus text or OpenMetrics. */
import { options } from '../../config/schema.ts';
import { type ConfigMistake, defineReceiver } from '../../pipeline/component.ts';
import { scrapeJob } from '../../pipeline/kit/engine-receiver.ts';
import { mayScrape } from '../../pipeline/kit/get-paths.ts';
import { scrapeJobs } from '../../pipeline/kit/scrape.ts';
import { checkScrape, discoveriesOf, staticTargets } from '../../pipeline/kit/scrape-options.ts';
import { checkScrapeConfigs, jobFromScrapeConfig } from './jobs.ts';
import { prometheusOptions } from './options.ts';

export const prometheusReceiver = defineReceiver({
  type: 'prometheus',
  summary: 'Scrapes Prometheus and OpenMetrics endpoints',
  stability: 'beta',
  signals: ['metrics'],
  config: options(prometheusOptions),
  validate(config) {
    const mistakes: ConfigMistake[] = checkScrape(config);
    if (config.config) mistakes.push(...checkScrapeConfigs(config.config.scrape_configs, config.config.global));
    const sources =
      config.targets.length +
      config.file_sd_configs.length +
      config.dns_sd_configs.length +
      config.kubernetes_sd_configs.length;
    if (sources === 0 && (config.config?.scrape_configs.length ?? 0) === 0) {
      mistakes.push({
        path: [],
        message: 'no Prometheus scrape_configs, and no targets: there is nothing to scrape',
      });
    }
    return mistakes;
  },
  start(config, next, context) {
    const jobs = (config.config?.scrape_configs ?? []).map((job) =>
      // Whoever gives Prometheus' own intervals wants just these.
      jobFromScrapeConfig(job, config.config!.global, 0, context),
    );
    const discoveries = discoveriesOf(config, staticTargets(config));
    if (discoveries.length > 0) {
      jobs.push(
        scrapeJob(config, context, { discoveries, path: config.metrics_path, attributes: {}, allow: mayScrape }),
      );
    }
    return scrapeJobs(jobs, next, context);
  },
});
