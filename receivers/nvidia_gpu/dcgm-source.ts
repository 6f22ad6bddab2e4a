/**
 * A dcgm-exporter that is there already, scraped: its labels say which pod and container have a GPU. Its last XID is a
 * gauge that stays; here it becomes an event when it changes.
 */
import { describeCatalog, sourceByName } from '../../config/catalog.ts';
import { resolve } from '../../config/schema.ts';
import type { Consumer, Context } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { fixed } from '../../pipeline/kit/discovery/discovery.ts';
import { engineOptions, scrapeJob } from '../../pipeline/kit/engine-receiver.ts';
import { getter } from '../../pipeline/kit/get.ts';
import { mayScrape } from '../../pipeline/kit/get-paths.ts';
import type { GpuRounds } from '../../pipeline/kit/gpu-rounds.ts';
import type { GpuSourceKind } from '../../pipeline/kit/gpu-source.ts';
import { scrapeJobs } from '../../pipeline/kit/scrape.ts';
import { staticTargets } from '../../pipeline/kit/scrape-options.ts';
import { type Batch, isNumberPoint } from '../../pipeline/model.ts';
import { sayXid } from './xids.ts';

export interface DcgmSourceOptions {
  readonly context: Context;
  readonly next: Consumer;
  /** URL of the page. */
  readonly url: string;
  readonly intervalMs: number;
}

const MAX_BYTES = 64 << 20;
const TIMEOUT_MS = 5000;

export function dcgmKind(options: DcgmSourceOptions): GpuSourceKind {
  const { context, next, url } = options;
  return {
    name: 'dcgm-exporter',
    async open(rounds) {
      const enable = 'run dcgm-exporter and set dcgm_url to its page';
      const source = sourceByName(context.catalog, 'dcgm');
      if (url === '' || !source) return { because: 'no dcgm_url is set', enable };
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
        if (!source.prefixes.some((prefix) => text.includes(prefix.toLowerCase())))
          return { because: `what answers at ${url} is no dcgm-exporter`, enable };
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
      const edges = xidEdges(context, into);
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

/** Calls a fault for each series of last XIDs whose code became another one; the first look tells no news. */
function xidEdges(context: Context, rounds: GpuRounds): (batch: Batch) => Promise<void> {
  const names = new Set(
    describeCatalog(context.catalog)
      .filter((row) => row.source === 'dcgm' && row.to === 'hw.errors' && row.unit === '{code}')
      .map((row) => row.metric),
  );
  const last = new Map<string, number>();
  return async (batch) => {
    if (batch.signal !== 'metrics') return;
    for (const point of batch.items) {
      if (!names.has(point.series.metric.name) || !isNumberPoint(point)) continue;
      const { attributes } = point.series;
      const uuid = String(attributes['UUID'] ?? attributes['uuid'] ?? '');
      const key = JSON.stringify(attributes);
      const code = Number(point.value);
      const before = last.get(key);
      if (last.size < 4096 || before !== undefined) last.set(key, code);
      if (before === undefined || before === code || code === 0) continue;
      await sayXid(rounds, code, uuid, String(attributes['pci_bus_id'] ?? '').toLowerCase());
    }
  };
}
