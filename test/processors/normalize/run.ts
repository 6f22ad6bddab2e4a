/** Runs pages through the processor as a pipeline would. */

import { resolve } from '../../../config/schema.ts';
import { type Batch, type MetricsBatch, metricsBatch, type Point } from '../../../pipeline/model.ts';
import { normalize } from '../../../processors/normalize/index.ts';
import { deepFreeze, sink, testContext } from '../../kit/harness.ts';
import { shown, type Target, target } from './exposition.ts';

export interface Run {
  /** What comes out for a batch, all of it. */
  through(batch: Batch): Promise<Batch>;
  /** The neutral points that come out for these, without the originals. */
  neutral(points: readonly Point[]): Promise<Point[]>;
  readonly context: ReturnType<typeof testContext>;
}

export async function running(config: Record<string, unknown> = {}): Promise<Run> {
  const context = testContext({ kind: 'processor', id: 'normalize' });
  const next = sink();
  const stage = await normalize.start(resolve(normalize.config, config), next, context);
  const through = async (batch: Batch): Promise<Batch> => {
    await stage.consume(deepFreeze(batch));
    return next.batches.at(-1)!;
  };
  return {
    through,
    context,
    async neutral(points) {
      const out = (await through(metricsBatch(points))) as MetricsBatch;
      const originals = new Set(points);
      return out.items.filter((p) => !originals.has(p));
    },
  };
}

/** The neutral form of a page of one target, as text. What the target's resource says itself is left out. */
export async function neutralText(page: string, of: Target = target(), timeMs?: number): Promise<string[]> {
  const { neutral } = await running();
  return shown(await neutral(of.read(page, timeMs)), of.resource.attributes);
}

export { shown, target };
