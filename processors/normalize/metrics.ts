/** The points of a batch to the neutral ones; keeps what it knows of each series and resource. */

import type { Recognition } from '../../config/catalog.ts';
import { isStale, type Point, type Resource, type Series } from '../../pipeline/model.ts';
import type { Bucket, Claim, Output } from './claims.ts';
import { operandValue, stalePoint } from './convert.ts';
import type { Page, Plan } from './page.ts';

export interface MetricsOptions {
  /** Whether the sources' own metrics stay. */
  readonly keep: boolean;
  readonly newPage: (resource: Resource) => Page;
  /** Called when a resource is met for the first time. */
  readonly onPage: (recognition: Recognition) => void;
}

export interface NormalizedItems {
  readonly items: readonly Point[];
  /** Points that were dropped though they have no neutral form. */
  readonly unmapped: number;
}

/** A neutral series that may have ended, its page, and a point with the time of it. */
type Ended = Map<Claim, { readonly page: Page; readonly like: Point }>;

export function createMetricsNormalizer(options: MetricsOptions): (items: readonly Point[]) => NormalizedItems {
  const { keep } = options;
  const pages = new WeakMap<Resource, Page>();
  const plans = new WeakMap<Series, Plan>();
  /** The plan of each item of the batch at hand. */
  const planned: (Plan | undefined)[] = [];
  /** Neutral metrics that the batch at hand has already: made again of the originals beside them, each would come twice. */
  const given = new Set<string>();

  /** Looks up every plan; false if one is missing or out of date. */
  function look(items: readonly Point[]): boolean {
    let current = true;
    given.clear();
    for (let i = 0; i < items.length; i++) {
      const p = items[i]!;
      const plan = plans.get(p.series);
      planned[i] = plan;
      if (plan?.neutral) given.add(p.series.metric.name);
      if (plan === undefined ? !isStale(p) : plan.generation !== plan.page.generation) current = false;
    }
    return current;
  }

  /** Plans the series that are new, and those that something new has changed. */
  function prepare(items: readonly Point[], ended: Ended): void {
    // Every round that changes a page adds to what it knows, and that is bounded; the limit is for bugs.
    for (let round = 0; round < 20; round++) {
      const fresh = new Map<Page, Point[]>();
      for (const p of items) {
        const { series } = p;
        const plan = plans.get(series);
        if (plan ? plan.generation === plan.page.generation : isStale(p)) continue;
        let page = plan?.page ?? pages.get(series.resource);
        if (!page) {
          page = options.newPage(series.resource);
          pages.set(series.resource, page);
        }
        const list = fresh.get(page);
        if (list) list.push(p);
        else fresh.set(page, [p]);
      }
      if (fresh.size === 0) return;
      for (const [page, points] of fresh) {
        const first = page.generation === 0;
        if (page.learn(points.map((p) => p.series))) {
          if (first) options.onPage(page.recognition);
          continue;
        }
        for (const p of points) {
          const old = plans.get(p.series);
          if (old) for (const claim of page.release(old)) ended.set(claim, { page, like: p });
          plans.set(p.series, page.plan(p.series));
        }
      }
    }
  }

  return (items) => {
    const ended: Ended = new Map();
    if (!look(items)) {
      prepare(items, ended);
      look(items);
    }
    const touched: Bucket[] = [];
    const late: { output: Output; point: Point }[] = [];
    const rest: Point[] = [];
    let unmapped = 0;
    const put = (bucket: Bucket, point: Point) => {
      if (bucket.points.length === 0) touched.push(bucket);
      bucket.points.push(point);
    };

    for (let i = 0; i < items.length; i++) {
      const p = items[i]!;
      const plan = planned[i];
      if (!keep && !plan?.known) rest.push(p);
      if (plan === undefined) continue;
      const { page, feeds, outputs } = plan;
      if ((p.flags & 1) !== 0) {
        for (const cell of feeds) cell.value = Number.NaN;
        for (const claim of page.release(plan)) ended.set(claim, { page, like: p });
        plans.delete(p.series);
        continue;
      }
      if (plan.known && !plan.mapped) unmapped++;
      if (feeds.length > 0) for (const cell of feeds) cell.value = operandValue(p);
      for (const output of outputs) {
        const { claim } = output;
        if (given.size > 0 && given.has(claim.series.metric.name)) continue;
        if (output.late !== 'no') {
          if (output.late === 'newest' || claim.owner === output) late.push({ output, point: p });
        } else if (claim.owner === output) {
          const made = output.convert(p, claim.series);
          if (made !== undefined) put(claim.bucket, made);
        }
      }
    }
    planned.length = 0;
    if (late.length > 0) workOut(late, put);
    for (const [claim, { page, like }] of ended) {
      if (page.end(claim)) put(claim.bucket, stalePoint(claim.series, like));
    }
    const points = collect(touched);
    if (keep) return { items: points.length === 0 ? items : items.concat(points), unmapped: 0 };
    return { items: rest.concat(points), unmapped };
  };
}

/** What needs other metrics of the page, or the newest of several series, once all were seen. */
function workOut(late: readonly { output: Output; point: Point }[], put: (bucket: Bucket, point: Point) => void): void {
  const newest = new Map<Claim, { output: Output; point: Point; at: number }>();
  for (const { output, point } of late) {
    if (output.late === 'combine') {
      const made = output.convert(point, output.claim.series);
      if (made !== undefined) put(output.claim.bucket, made);
      continue;
    }
    const at = operandValue(point);
    const best = newest.get(output.claim);
    if (!Number.isNaN(at) && (!best || at > best.at)) newest.set(output.claim, { output, point, at });
  }
  for (const [claim, { output, point }] of newest) {
    const made = output.convert(point, claim.series);
    if (made !== undefined) put(claim.bucket, made);
  }
}

/** The points of all buckets, those of one resource together. */
function collect(buckets: readonly Bucket[]): Point[] {
  const lists = buckets.map((bucket) => {
    const { points } = bucket;
    bucket.points = [];
    return points;
  });
  return lists.length === 1 ? lists[0]! : lists.flat();
}
