/** Scrapes whatever engine answers at an address, or on this machine, and says which it is. */
import { defineReceiver } from '../../pipeline/component.ts';
import { engineOptions, scrapeJob } from '../../pipeline/kit/engine-receiver.ts';
import { mayAskEngine } from '../../pipeline/kit/get-paths.ts';
import { scrapeJobs } from '../../pipeline/kit/scrape.ts';
import { checkScrape, discoveriesOf, staticTargets, timeoutOf } from '../../pipeline/kit/scrape-options.ts';
import { onLoopback } from './loopback.ts';
import { findMetrics } from './probe.ts';

/** The path of targets that name none; it is never asked for. */
const UNKNOWN_PATH = '/';

export const engineReceiver = defineReceiver({
  type: 'engine',
  summary: 'Recognises which inference engine answers and scrapes it',
  stability: 'beta',
  signals: ['metrics'],
  config: engineOptions,
  validate: checkScrape,
  start(config, next, context) {
    const timeoutMs = timeoutOf(config);
    const { catalog } = context;
    const discoveries = discoveriesOf(config, staticTargets(config));
    if (discoveries.length === 0) discoveries.push(onLoopback({ catalog, timeoutMs }));
    const job = scrapeJob(config, context, {
      discoveries,
      path: UNKNOWN_PATH,
      attributes: {},
      allow: mayAskEngine,
      findPath: async (target, client, signal) =>
        target.path === UNKNOWN_PATH
          ? (await findMetrics(client, { catalog, timeoutMs, signal })).path
          : `${target.path}${target.query}`,
    });
    return scrapeJobs([job], next, context);
  },
});
