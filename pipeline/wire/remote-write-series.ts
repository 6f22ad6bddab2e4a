/** What a series of ours becomes in Prometheus' storage: one series, or one for each bucket and for sum and count. */
import { isHistogramPoint, isNumberPoint, isStale, isSummaryPoint, type Point, type Series } from '../model.ts';
import { boundText, isScraped, metricName, unitOf } from './prometheus-text-names.ts';
import {
  type Label,
  type LabelOptions,
  labeller,
  type PrometheusType,
  prometheusType,
} from './prometheus-text-series.ts';

/** One stored series: its labels with its name among them, and which number of a point is its value. */
export interface StoredSeries {
  /** Names and values in turn, sorted by name. */
  readonly labels: readonly string[];
  readonly value: (point: Point, cumulative: Float64Array | undefined) => number;
  /** Which exemplars belong here: above the first, up to the second bound; undefined: none. */
  readonly exemplars: readonly [above: number, upTo: number] | undefined;
}

export interface StoredMetric {
  readonly name: string;
  readonly type: PrometheusType;
  readonly help: string;
  readonly unit: string;
  /** The labels without the name, as one text: equal for series that are stored as the same. */
  readonly key: string;
  /** Of `key`, for spreading over queues; 32 bits. */
  readonly hash: number;
  /** A native histogram: `series` has one, without a value. */
  readonly native: boolean;
  readonly series: readonly StoredSeries[];
}

export interface StoredNames {
  /** How the series of a point is stored. The same object for as long as its bounds are the same. */
  of(point: Point): StoredMetric;
}

const NUMBER: StoredSeries['value'] = (p) => (isNumberPoint(p) ? Number(p.value) : Number.NaN);
const COUNT: StoredSeries['value'] = (p) => ('count' in p ? Number(p.count) : Number.NaN);
const SUM: StoredSeries['value'] = (p) => ('sum' in p && p.sum !== undefined ? p.sum : Number.NaN);

/** Works out names and labels once per series. */
export function storedNames(options: LabelOptions & { readonly namespace: string }): StoredNames {
  const labels = labeller(options);
  const known = new WeakMap<Series, { metric: StoredMetric; bounds: ArrayLike<number> | undefined; hasSum: boolean }>();

  const make = (point: Point): { metric: StoredMetric; bounds: ArrayLike<number> | undefined; hasSum: boolean } => {
    const { series } = point;
    const { metric } = series;
    const type = prometheusType(metric);
    const name = metricName(metric, options.strategy, options.namespace);
    const reserved = type === 'histogram' ? ['le'] : type === 'summary' ? ['quantile'] : [];
    const own = labels.series(series, reserved).labels;
    const key = `${name}{${own.map(([n, v]) => `${n}=${JSON.stringify(v)}`).join(',')}}`;
    const one = (
      suffix: string,
      value: StoredSeries['value'],
      extra?: Label,
      exemplars?: StoredSeries['exemplars'],
    ): StoredSeries => ({ labels: flat(own, `${name}${suffix}`, extra), value, exemplars });
    const made: StoredSeries[] = [];
    let bounds: ArrayLike<number> | undefined;
    const hasSum = 'sum' in point && point.sum !== undefined;
    if (isHistogramPoint(point)) {
      bounds = point.bounds;
      const edges = [...point.bounds, Number.POSITIVE_INFINITY];
      edges.forEach((edge, i) => {
        made.push(
          one(
            '_bucket',
            (_p, cumulative) => cumulative?.[i] ?? Number.NaN,
            ['le', boundText(edge)],
            [i === 0 ? Number.NEGATIVE_INFINITY : edges[i - 1]!, edge],
          ),
        );
      });
      if (hasSum) made.push(one('_sum', SUM));
      made.push(one('_count', COUNT));
    } else if (isSummaryPoint(point)) {
      bounds = point.quantiles.map((q) => q.quantile);
      point.quantiles.forEach((q, i) => {
        made.push(
          one('', (p) => (isSummaryPoint(p) ? (p.quantiles[i]?.value ?? Number.NaN) : Number.NaN), [
            'quantile',
            boundText(q.quantile),
          ]),
        );
      });
      made.push(one('_sum', SUM), one('_count', COUNT));
    } else {
      made.push(
        one(
          '',
          NUMBER,
          undefined,
          type === 'counter' ? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] : undefined,
        ),
      );
    }
    const unit = isScraped(metric) ? metric.unit : unitOf(metric, name);
    return {
      metric: {
        name,
        type,
        help: metric.description,
        unit,
        key,
        hash: hashOf(key),
        native: metric.type === 'exponential_histogram',
        series: made,
      },
      bounds,
      hasSum,
    };
  };

  return {
    of(point) {
      const found = known.get(point.series);
      // A point that ends a series may have no buckets any more; it ends those that the series had.
      if (found && (isStale(point) || same(found, point))) return found.metric;
      const made = make(point);
      known.set(point.series, made);
      return made.metric;
    },
  };
}

function same(known: { bounds: ArrayLike<number> | undefined; hasSum: boolean }, point: Point): boolean {
  if (isHistogramPoint(point)) {
    return (point.sum !== undefined) === known.hasSum && equal(known.bounds, point.bounds);
  }
  if (isSummaryPoint(point)) {
    const { bounds } = known;
    return bounds?.length === point.quantiles.length && point.quantiles.every((q, i) => q.quantile === bounds[i]);
  }
  return true;
}

function equal(a: ArrayLike<number> | undefined, b: ArrayLike<number>): boolean {
  if (a === b) return true;
  if (a?.length !== b.length) return false;
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function flat(labels: readonly Label[], name: string, extra: Label | undefined): string[] {
  const all: Label[] = [...labels, ['__name__', name], ...(extra ? [extra] : [])];
  return all.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)).flat();
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
