/** The same made-up metrics in two shapes: our points, and what OpenTelemetry's SDK hands to its exporters. */
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationTemporality, DataPointType, type ResourceMetrics } from '@opentelemetry/sdk-metrics';
import {
  gauge,
  type HistogramPoint,
  isHistogramPoint,
  type Metric,
  type MetricsBatch,
  metricsBatch,
  type NumberPoint,
  type Point,
  resource,
  type Series,
  scope,
  sum,
} from '../../pipeline/model.ts';

const ABOUT = { 'service.name': 'llm', 'service.instance.id': 'r0', 'host.name': 'node-1', 'inference.engine': 'vllm' };
const BOUNDS = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160];
const START = 1_700_000_000_000_000_000n;

/** Batches of one source whose numbers move: the next call gives the same series with other numbers. */
export interface Source {
  readonly name: string;
  readonly points: number;
  /** Lines of its page in Prometheus text, comments left out. */
  readonly lines: number;
  next(): MetricsBatch;
}

function source(name: string, series: readonly Series[], seed = 1): Source {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  let time = START;
  const totals = new Map<Series, Float64Array>();
  const bounds = Float64Array.from(BOUNDS);
  const histograms = series.filter((s) => s.metric.type === 'histogram').length;
  return {
    name,
    points: series.length,
    lines: series.length - histograms + histograms * (BOUNDS.length + 3),
    next() {
      time += 5_000_000_000n;
      return metricsBatch(
        series.map((one): Point => {
          const base = { series: one, time, startTime: START, flags: 0 };
          if (one.metric.type !== 'histogram') {
            return { ...base, value: one.metric.type === 'sum' ? Math.floor(random() * 1e9) : random() * 100 };
          }
          const counts = totals.get(one) ?? new Float64Array(BOUNDS.length + 1);
          for (let i = 0; i < 4; i++) counts[Math.floor(random() * counts.length)]! += Math.ceil(random() * 5);
          totals.set(one, counts);
          const count = counts.reduce((a, b) => a + b, 0);
          return { ...base, count, sum: count * 0.37, bounds, bucketCounts: counts.slice() };
        }),
      );
    },
  };
}

/** Gauges with six attributes each. */
export function gauges(count: number): Source {
  const about = resource(ABOUT);
  const by = scope('bench', '1');
  const metric = gauge('bench.value', '1', 'A value.');
  return source(
    `${count} gauges, 6 attributes`,
    Array.from({ length: count }, (_, i) => ({
      resource: about,
      scope: by,
      metric,
      attributes: {
        model: 'llama-3.1-8b',
        engine: String(i % 8),
        worker: `worker-${i}`,
        zone: `eu-${i % 3}`,
        device: String(i % 16),
        kind: i % 2 ? 'prefill' : 'decode',
      },
    })),
  );
}

/** What eight engines of a vLLM server expose: mostly histograms. */
export function vllmLike(): Source {
  const about = resource(ABOUT);
  const by = scope('bench', '1');
  const series: Series[] = [];
  const add = (metric: Metric, more: Record<string, string> = {}) => {
    const scraped = { ...metric, metadata: { 'prometheus.type': metric.type === 'sum' ? 'counter' : metric.type } };
    for (let engine = 0; engine < 8; engine++) {
      const attributes = { model_name: 'meta-llama/Llama-3.1-8B-Instruct', engine: String(engine), ...more };
      series.push({ resource: about, scope: by, metric: scraped, attributes });
    }
  };
  for (let i = 0; i < 13; i++)
    add({ ...gauge(`vllm:latency_${i}_seconds`, 's', 'Some latency.'), type: 'histogram', temporality: 2 });
  for (let i = 0; i < 8; i++) add(sum(`vllm:counter_${i}_total`, '', 'Some counter.'));
  for (let i = 0; i < 4; i++) add(gauge(`vllm:gauge_${i}`, '', 'Some gauge.'));
  for (const reason of ['stop', 'length', 'abort', 'error']) {
    add(sum('vllm:request_success_total', '', 'Finished.'), { finished_reason: reason });
  }
  return source('vLLM-like page', series);
}

const hrTime = (nanos: bigint): [number, number] => [Number(nanos / 1_000_000_000n), Number(nanos % 1_000_000_000n)];

/** Makes a function that gives a batch of the source as the SDK would; what can be kept from batch to batch is kept. */
export function sdkShape(): (batch: MetricsBatch) => ResourceMetrics {
  const about = resourceFromAttributes(ABOUT);
  const descriptors = new Map<Metric, object>();
  return (batch) => {
    const byMetric = new Map<Metric, Point[]>();
    for (const point of batch.items) {
      const list = byMetric.get(point.series.metric);
      if (list) list.push(point);
      else byMetric.set(point.series.metric, [point]);
    }
    const metrics = [...byMetric].map(([metric, points]) => {
      let descriptor = descriptors.get(metric);
      if (!descriptor) {
        const { name, unit, description } = metric;
        descriptor = { name, unit, description, type: metric.type.toUpperCase(), valueType: 1, advice: {} };
        descriptors.set(metric, descriptor);
      }
      const shared = (p: Point) => ({
        attributes: p.series.attributes,
        startTime: hrTime(p.startTime),
        endTime: hrTime(p.time),
      });
      if (metric.type === 'histogram') {
        return {
          descriptor,
          aggregationTemporality: AggregationTemporality.CUMULATIVE,
          dataPointType: DataPointType.HISTOGRAM,
          dataPoints: points.filter(isHistogramPoint).map((p: HistogramPoint) => ({
            ...shared(p),
            value: {
              count: Number(p.count),
              sum: p.sum,
              buckets: { boundaries: BOUNDS, counts: Array.from(p.bucketCounts as Float64Array) },
            },
          })),
        };
      }
      return {
        descriptor,
        aggregationTemporality: AggregationTemporality.CUMULATIVE,
        dataPointType: metric.type === 'sum' ? DataPointType.SUM : DataPointType.GAUGE,
        isMonotonic: metric.monotonic,
        dataPoints: points.map((p) => ({ ...shared(p), value: Number((p as NumberPoint).value) })),
      };
    });
    return { resource: about, scopeMetrics: [{ scope: { name: 'bench', version: '1' }, metrics }] } as ResourceMetrics;
  };
}
