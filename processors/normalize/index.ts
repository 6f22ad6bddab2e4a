/**
 * Turns metrics and spans of engines, GPU exporters, hosts and Kubernetes into engine-neutral signals, by what the catalogue
 * knows. The originals stay beside them unless told otherwise.
 */
import { CatalogError, extendCatalog } from '../../config/catalog.ts';
import { options, t } from '../../config/schema.ts';
import { defineProcessor } from '../../pipeline/component.ts';
import { metricsBatch, tracesBatch } from '../../pipeline/model.ts';
import { createMetricsNormalizer } from './metrics.ts';
import { createPage } from './page.ts';
import { createSpanNormalizer } from './spans.ts';

const config = options({
  originals: t.choice(['keep', 'drop'], {
    description:
      "Whether the sources' own metrics and attributes stay beside the neutral ones. With `drop`, metrics that have no neutral name are dropped too.",
    default: 'keep',
  }),
  catalog: t.list(t.path({ description: 'Path of a catalogue file' }), {
    description: 'More catalogue files, beside the built-in ones. Their rows win over built-in rows of the same name.',
    default: [],
    examples: [['./my-engine.yaml']],
  }),
});

export const normalize = defineProcessor({
  type: 'normalize',
  summary: 'Metrics and spans of any engine and exporter as engine-neutral signals',
  stability: 'beta',
  signals: ['metrics', 'traces'],
  config,
  validate({ catalog }) {
    return catalog.flatMap((file, index) => {
      try {
        extendCatalog({ sources: [] }, file);
        return [];
      } catch (failure) {
        if (!(failure instanceof CatalogError)) throw failure;
        return [{ path: ['catalog', index], message: failure.message }];
      }
    });
  },
  async start({ originals, catalog: files }, next, { catalog: builtIn, meter, log }) {
    const catalog = files.reduce((all, file) => extendCatalog(all, file), builtIn);
    const keep = originals === 'keep';
    const metrics = createMetricsNormalizer({
      keep,
      newPage: (resource) => createPage(catalog, resource),
      onPage({ sources, variant, version }) {
        log.debug('A target was recognised.', { sources: sources.map((s) => s.name).join(' '), variant, version });
      },
    });
    const span = createSpanNormalizer(catalog, keep);

    return {
      consume(batch) {
        if (batch.signal === 'metrics') {
          const { items, unmapped } = metrics(batch.items);
          if (unmapped > 0) meter.dropped('metrics', unmapped, 'filtered');
          return next.consume(items === batch.items ? batch : metricsBatch(items));
        }
        if (batch.signal === 'traces') return next.consume(tracesBatch(batch.items.map(span)));
        return next.consume(batch);
      },
      async stop() {},
    };
  },
});
