/** What every receiver of an engine is made of: the catalogue says port and path, the scrape part does the rest. */
import { type Catalog, type CatalogSource, recognise, sourceByName } from '../../config/catalog.ts';
import { options, type Static } from '../../config/schema.ts';
import { type Consumer, type Context, defineReceiver, type ReceiverDefinition, type Running } from '../component.ts';
import { type Attributes, scope } from '../model.ts';
import type { ClientOptions } from './client-options.ts';
import type { Discovery, TargetLabels } from './discovery/discovery.ts';
import { mayAskEngine } from './get-paths.ts';
import { relabel } from './relabel.ts';
import { MAX_TARGETS, type ScrapeJob, scrapeJobs } from './scrape.ts';
import { checkScrape, discoveriesOf, scrapeOptions, staticTargets, timeoutOf } from './scrape-options.ts';
import type { TargetOptions } from './scrape-target.ts';
import { VERSION } from './version.ts';

export const engineOptions = options(scrapeOptions);
export type EngineConfig = Static<typeof engineOptions>;

export interface EngineReceiver {
  /** The word in the config file, and the name of the source in the catalogue. */
  readonly type: string;
  readonly summary: string;
  /** Turns an answer that is no exposition into one; undefined where it is one. */
  readonly translate?: (body: Buffer) => Buffer | undefined;
}

/** A receiver that needs only the addresses of its engines. */
export function defineEngineReceiver(engine: EngineReceiver): ReceiverDefinition<typeof engineOptions> {
  return defineReceiver({
    type: engine.type,
    summary: engine.summary,
    stability: 'beta',
    signals: ['metrics'],
    config: engineOptions,
    validate: checkScrape,
    start: (config, next, context) => startEngine(engine, config, next, context),
  });
}

async function startEngine(
  engine: EngineReceiver,
  config: EngineConfig,
  next: Consumer,
  context: Context,
): Promise<Running> {
  const source = sourceByName(context.catalog, engine.type);
  const place = source?.endpoints[0];
  const found = discoveriesOf(
    config,
    staticTargets(config),
    place?.port === undefined ? undefined : String(place.port),
  );
  if (found.length === 0) {
    const own = loopback(source);
    if (!own) {
      context.status('permanent_error', `${context.id} has nothing to scrape: set targets`);
      context.log.error('There is nothing to scrape: set targets.');
      return { stop: async () => {} };
    }
    found.push(own);
  }
  const job = scrapeJob(config, context, {
    discoveries: found,
    path: place?.path ?? '/metrics',
    port: place?.port,
    attributes: source?.engine === undefined ? {} : { 'inference.engine': source.engine },
    allow: mayAskEngine,
    ...(engine.translate ? { translate: engine.translate } : {}),
  });
  return scrapeJobs([job], next, context);
}

/** The engine on this machine, at its usual port. */
function loopback(source: CatalogSource | undefined): Discovery | undefined {
  const port = source?.endpoints[0]?.port;
  if (port === undefined) return undefined;
  const targets: TargetLabels[] = [{ __address__: `127.0.0.1:${port}` }];
  return async (update) => {
    update(targets);
    return { stop: async () => {} };
  };
}

export interface JobParts {
  readonly discoveries: readonly Discovery[];
  readonly path: string;
  readonly port?: number | undefined;
  readonly attributes: Attributes;
  readonly allow: TargetOptions['allow'];
  readonly translate?: TargetOptions['translate'];
  readonly findPath?: TargetOptions['findPath'];
}

/** A job of the `targets:` form: labels of targets become resource attributes. */
export function scrapeJob(config: EngineConfig, context: Context, parts: JobParts): ScrapeJob {
  return {
    name: context.id,
    discoveries: parts.discoveries,
    targetLimit: MAX_TARGETS,
    who: {
      job: context.id,
      scheme: 'http',
      path: parts.path,
      params: {},
      port: parts.port,
      relabel: relabel(config.relabel_configs),
      labels: 'resource',
      attributes: parts.attributes,
    },
    target: {
      scope: receiverScope(context),
      intervalMs: config.collection_interval,
      timeoutMs: timeoutOf(config),
      maxLoad: config.max_scrape_load,
      gzip: config.enable_compression,
      maxBytes: bodyLimit(config.body_size_limit),
      limits: {
        samples: config.sample_limit,
        labels: config.label_limit,
        labelNameLength: config.label_name_length_limit,
        labelValueLength: config.label_value_length_limit,
      },
      honorLabels: config.honor_labels,
      honorTimestamps: config.honor_timestamps,
      metricRelabel: relabel(config.metric_relabel_configs),
      client: config as Partial<ClientOptions>,
      allow: parts.allow,
      identify: (names) => identifyBy(context.catalog, names),
      translate: parts.translate,
      findPath: parts.findPath,
    },
  };
}

/** A page that nobody limits still has this limit. */
const LARGEST_BODY = 256 << 20;
export const bodyLimit = (bytes: number): number => (bytes > 0 ? bytes : LARGEST_BODY);

/** The scope of what a receiver scrapes. */
export const receiverScope = (context: Context) => scope(`enginelight/receivers/${context.id.split('/')[0]}`, VERSION);

/** The engine and role that the names on a page give away. */
export function identifyBy(catalog: Catalog, names: Iterable<string>): Attributes {
  const { engine, role } = recognise(catalog, names);
  return {
    ...(engine === undefined ? {} : { 'inference.engine': engine }),
    ...(role === undefined ? {} : { 'inference.role': role }),
  };
}
