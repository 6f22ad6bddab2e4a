/**
 * An exporter of GPU metrics that is there already, scraped: its labels say which pod and container have a GPU. Codes that it
 * keeps as the last one (XIDs, RAS events) become events when they change. Shared by the GPU receivers.
 */
import { describeCatalog, sourceByName } from '../../config/catalog.ts';
import { resolve } from '../../config/schema.ts';
import type { Consumer, Context } from '../component.ts';
import { describeError } from '../errors.ts';
import { type Batch, isNumberPoint } from '../model.ts';
import { fixed } from './discovery/discovery.ts';
import { engineOptions, scrapeJob } from './engine-receiver.ts';
import { getter } from './get.ts';
import { mayScrape } from './get-paths.ts';
import type { GpuRounds } from './gpu-rounds.ts';
import { plainBusId } from './gpu-signals.ts';
import type { GpuSourceKind } from './gpu-source.ts';
import { scrapeJobs } from './scrape.ts';
import { staticTargets } from './scrape-options.ts';

export interface ExporterOptions {
  readonly context: Context;
  readonly next: Consumer;
  /** What it is called in the output. */
  readonly name: string;
  /** Its name in the catalogue. */
  readonly source: string;
  /** The option that says where it is. */
  readonly option: string;
  /** URL of the page; empty: there is none. */
  readonly url: string;
  readonly intervalMs: number;
  /** Labels that name the GPU, the best first. */
  readonly labels: readonly string[];
  /** What its codes are: `xid`, `ras`. */
  readonly fault: string;
}

const MAX_BYTES = 64 << 20;
const TIMEOUT_MS = 5000;

export function exporterKind(options: ExporterOptions): GpuSourceKind {
  const { context, next, url, name } = options;
  return {
    name,
    async open(rounds) {
      const enable = `run ${name} and set ${options.option} to its page`;
      const source = sourceByName(context.catalog, options.source);
      if (url === '' || !source) return { because: `no ${options.option} is set`, enable };
      const { origin, pathname } = new URL(url);
      const client = getter({
        origin,
        allow: (path) => path === pathname,
        client: {},
        clock: context.clock,
        log: context.log,
      });
      try {
        const page = await client.get({ path: pathname, timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES });
        const text = page.body.toString('latin1').toLowerCase();
        const telling = source.recognise?.any ?? source.prefixes;
        if (!telling.some((word) => text.includes(word.toLowerCase())))
          return { because: `what answers at ${url} is no ${name}`, enable };
      } catch (error) {
        return { because: describeError(error), enable };
      } finally {
        client.close();
      }
      const into = rounds();
      const config = resolve(engineOptions, { collection_interval: `${options.intervalMs}ms` });
      const job = scrapeJob(config, context, {
        discoveries: [fixed(staticTargets({ targets: [url] }))],
        path: '/metrics',
        attributes: { 'host.name': String(into.node.attributes['host.name']) },
        allow: mayScrape,
      });
      const edges = codeEdges(options, into);
      const consume = async (batch: Batch) => {
        await edges(batch);
        await next.consume(batch);
      };
      const running = await scrapeJobs(
        [{ ...job, target: { ...job.target, scope: into.scope } }],
        { consume },
        context,
      );
      return { running };
    },
  };
}

/** Tells a fault for each series of last codes that became another one; the first look tells no news. */
function codeEdges(options: ExporterOptions, rounds: GpuRounds): (batch: Batch) => Promise<void> {
  const names = new Set(
    describeCatalog(options.context.catalog)
      .filter((row) => row.source === options.source && row.to === 'hw.errors' && row.unit === '{code}')
      .map((row) => row.metric),
  );
  const last = new Map<string, number>();
  return async (batch) => {
    if (batch.signal !== 'metrics') return;
    for (const point of batch.items) {
      if (!names.has(point.series.metric.name) || !isNumberPoint(point)) continue;
      const { attributes } = point.series;
      const key = JSON.stringify(attributes);
      const code = Number(point.value);
      const before = last.get(key);
      if (last.size < 4096 || before !== undefined) last.set(key, code);
      if (before === undefined || before === code || code === 0) continue;
      const uuid = options.labels.map((label) => attributes[label]).find((value) => value !== undefined);
      const busId = plainBusId(String(attributes['pci_bus_id'] ?? ''));
      const gpu = String(uuid ?? rounds.uuidOf(busId) ?? busId);
      const text = `${options.fault.toUpperCase()} ${code} on GPU ${gpu}`;
      await rounds.fault({ uuid: gpu, kind: options.fault, code, text });
    }
  };
}
