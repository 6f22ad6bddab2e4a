/** Runs a receiver that scrapes: real sockets, a clock that the test moves. */
import { onTestFinished } from 'vitest';
import { loadCatalog } from '../../config/catalog.ts';
import { resolve } from '../../config/schema.ts';
import type { Consumer, ReceiverDefinition, Running } from '../../pipeline/component.ts';
import { type ManualClock, manualClock } from '../../pipeline/kit/clock.ts';
import { isHistogramPoint, isNumberPoint, isStale, type Point } from '../../pipeline/model.ts';
import { type Sink, sink, type TestContext, testContext } from './harness.ts';
import { until } from './targets.ts';

const STEP_MS = 100;

export interface Scraping {
  readonly clock: ManualClock;
  readonly context: TestContext;
  readonly out: Sink;
  readonly running: Running;
  /** Lets every target be scraped once more; resolves with what came. */
  round(targets?: number, intervalMs?: number): Promise<Point[]>;
  /** Moves the clock until a further scrape has begun, and no longer. */
  begin(): Promise<void>;
  /** Moves the clock until the test holds, in real and in manual time. */
  meanwhile(what: string, test: () => boolean, stepMs?: number): Promise<void>;
  /** Latest value of `up` by `service.instance.id`. */
  up(): Record<string, number>;
  warnings(): string[];
}

export async function scraping(
  // biome-ignore lint/suspicious/noExplicitAny: a test starts receivers of every config type
  definition: ReceiverDefinition<any>,
  config: unknown,
  id = definition.type,
): Promise<Scraping> {
  const clock = manualClock();
  const context = testContext({ id, clock, catalog: loadCatalog() });
  const out = sink();
  // The clock moves in steps while sockets take no time of it: what a scrape took would be made up.
  const resolved = resolve(definition.config, { max_scrape_load: 0, ...(config as object) });
  const mistakes = definition.validate?.(resolved) ?? [];
  if (mistakes.length > 0) throw new Error(mistakes.map((m) => `${m.path.join('.')}: ${m.message}`).join('\n'));
  let reported = 0;
  const next: Consumer = {
    consume(batch) {
      for (const p of batch.items as readonly Point[]) if (p.series.metric.name === 'up' && !isStale(p)) reported++;
      return out.consume(batch);
    },
  };
  const running = await definition.start(resolved, next, context);
  onTestFinished(() => running.stop(AbortSignal.abort()));
  const ups = () => out.points().filter((p) => p.series.metric.name === 'up' && !isStale(p));
  const scrapes = () => context.measured.counters.get('receiver_scrapes') ?? 0;
  /** In small steps, so that no scrape under way finds that hours have passed. */
  const moved = async (ms: number) => {
    for (let left = ms; left > 0; left -= STEP_MS) {
      await clock.advance(Math.min(left, STEP_MS));
      await until('the scrapes under way', () => reported >= scrapes());
    }
  };
  return {
    clock,
    context,
    out,
    running,
    async round(targets = 1, intervalMs = 5000) {
      const batches = out.batches.length;
      const before = reported;
      await moved(intervalMs);
      if (reported < before + targets) throw new Error(`${reported - before} of ${targets} scrapes`);
      return out.batches.slice(batches).flatMap((b) => b.items as readonly unknown[] as Point[]);
    },
    async begin() {
      const before = scrapes();
      for (let i = 0; i < 10_000 && scrapes() === before; i++) await clock.advance(10);
    },
    meanwhile: (what, test, stepMs = 100) =>
      until(what, async () => {
        if (test()) return true;
        await moved(stepMs);
        return test();
      }),
    up: () =>
      Object.fromEntries(
        ups().map((p) => [
          String(p.series.resource.attributes['service.instance.id']),
          isNumberPoint(p) ? Number(p.value) : NaN,
        ]),
      ),
    warnings: () =>
      context.log.records
        .filter((r) => r.level === 'warn' || r.level === 'error')
        .map((r) => `${r.message} ${r.fields['error'] ?? ''}`.trim()),
  };
}

const REPORT = /^(up|scrape_)/;

/** `name{labels} value` of points, without those that a scrape says about itself. */
export const shown = (points: readonly Point[]): string[] =>
  points.filter((p) => !REPORT.test(p.series.metric.name)).map(line);

/** What a scrape says about itself: `up 1`. */
export const report = (points: readonly Point[]): Record<string, number> =>
  Object.fromEntries(
    points
      .filter((p) => REPORT.test(p.series.metric.name) && !isStale(p))
      .map((p) => [p.series.metric.name, isNumberPoint(p) ? Number(p.value) : NaN]),
  );

function line(p: Point): string {
  const labels = Object.entries(p.series.attributes).map(([n, v]) => `${n}=${v}`);
  const value = isStale(p) ? 'stale' : isNumberPoint(p) ? p.value : isHistogramPoint(p) ? `h${p.count}` : `s${p.count}`;
  return `${p.series.metric.name}{${labels.join(',')}} ${value}`;
}

/** Attributes of the resource of a batch. */
export const resourceOf = (points: readonly Point[]): Record<string, unknown> => ({
  ...points[0]?.series.resource.attributes,
});
