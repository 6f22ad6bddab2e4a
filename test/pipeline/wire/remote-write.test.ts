import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Attributes,
  type Exemplar,
  gauge,
  type Metric,
  NO_ATTRIBUTES,
  type Point,
  resource,
  scope,
  sum,
} from '../../../pipeline/model.ts';
import { encodeWriteRequest, isStorable } from '../../../pipeline/wire/remote-write.ts';
import { storedNames } from '../../../pipeline/wire/remote-write-series.ts';
import { deepFreeze } from '../../kit/harness.ts';
import { arbitraryBatch } from '../../kit/otlp-arbitrary.ts';
import { type ReadRequest, readRemoteWrite } from '../../kit/remote-write-oracle.ts';

const VERSIONS = ['1.0', '2.0'] as const;
const names = () =>
  storedNames({
    strategy: 'UnderscoreEscapingWithSuffixes',
    namespace: '',
    constLabels: [['cluster', 'c1']],
    resourceLabel: (n) => n === 'hw.id',
    scopeLabels: false,
  });

const about = resource({ 'service.name': 'llm', 'hw.id': 'GPU-1' });
const MS = 1_700_000_000_000;
const base = (metric: Metric, attributes: Attributes = NO_ATTRIBUTES, ms = MS) => ({
  series: { resource: about, scope: scope('s'), metric, attributes },
  time: BigInt(ms) * 1_000_000n,
  startTime: 0n,
  flags: 0,
});
const exemplar = (value: number, more: Attributes = NO_ATTRIBUTES): Exemplar => ({
  time: BigInt(MS - 5) * 1_000_000n,
  value,
  traceId: 'aa'.repeat(16),
  spanId: '',
  filteredAttributes: more,
});
const histogram = (over = {}): Point =>
  ({
    ...base({ ...gauge('ttft', 's', 'How long.'), type: 'histogram', temporality: 2 }),
    count: 6,
    sum: 2.5,
    bounds: Float64Array.from([0.5, 1]),
    bucketCounts: Float64Array.from([1, 2, 3]),
    ...over,
  }) as Point;

function written(version: '1.0' | '2.0', points: Point[], metadata = false): ReadRequest {
  const request = encodeWriteRequest(deepFreeze(points), names(), { version, metadata });
  const read = readRemoteWrite(version, request.bytes, false);
  expect(request.samples).toBe(read.series.reduce((n, s) => n + s.samples.length, 0));
  expect(request.histograms).toBe(read.series.reduce((n, s) => n + s.histograms.length, 0));
  expect(request.exemplars).toBe(read.series.reduce((n, s) => n + s.exemplars.length, 0));
  return read;
}
const rest = 'cluster="c1",hw_id="GPU-1",job="llm"';

describe.each(VERSIONS)('remote write %s', (version) => {
  it('writes a number as one series with sorted labels and milliseconds', () => {
    const { series } = written(version, [{ ...base(gauge('power', 'W'), { Zone: 'z', model: 'm' }), value: 1.5 }]);
    expect(series.length).toBe(1);
    expect(series[0]!.labels).toEqual([
      ['Zone', 'z'],
      ['__name__', 'power_watts'],
      ['cluster', 'c1'],
      ['hw_id', 'GPU-1'],
      ['job', 'llm'],
      ['model', 'm'],
    ]);
    expect(series[0]!.samples).toEqual([{ value: 1.5, timestamp: MS, stale: false }]);
  });

  it('writes a histogram as buckets, each with all below it, sum and count', () => {
    const { series } = written(version, [histogram()]);
    expect(series.map((s) => [s.id, s.samples[0]!.value])).toEqual([
      [`ttft_seconds_bucket{${rest},le="0.5"}`, 1],
      [`ttft_seconds_bucket{${rest},le="1.0"}`, 3],
      [`ttft_seconds_bucket{${rest},le="+Inf"}`, 6],
      [`ttft_seconds_sum{${rest}}`, 2.5],
      [`ttft_seconds_count{${rest}}`, 6],
    ]);
  });

  it('writes a summary as quantiles, sum and count', () => {
    const { series } = written(version, [
      {
        ...base({ ...gauge('gc', 's'), type: 'summary' }),
        count: 7,
        sum: 3,
        quantiles: [
          { quantile: 0.5, value: 0.25 },
          { quantile: 0.99, value: 4 },
        ],
      },
    ]);
    expect(series.map((s) => [s.id, s.samples[0]!.value])).toEqual([
      [`gc_seconds{${rest},quantile="0.5"}`, 0.25],
      [`gc_seconds{${rest},quantile="0.99"}`, 4],
      [`gc_seconds_sum{${rest}}`, 3],
      [`gc_seconds_count{${rest}}`, 7],
    ]);
  });

  it('puts the samples of one series together, oldest first', () => {
    const point = base(gauge('g', ''));
    const { series } = written(version, [
      { ...point, time: point.time + 2_000_000n, value: 3 },
      { ...base(gauge('other', '')), value: 9 },
      { ...base(gauge('g', '')), value: 1 },
    ]);
    expect(series.map((s) => s.samples.map((x) => [x.value, x.timestamp - MS]))).toEqual([
      [
        [1, 0],
        [3, 2],
      ],
      [[9, 0]],
    ]);
  });

  it('marks the end of every stored series of a metric, even when the last point has no buckets', () => {
    const first = histogram();
    const n = names();
    encodeWriteRequest([first], n, { version, metadata: false });
    const stale = {
      ...first,
      flags: 1,
      count: 0,
      bounds: new Float64Array(0),
      bucketCounts: new Float64Array(0),
    } as Point;
    const { bytes } = encodeWriteRequest([stale], n, { version, metadata: false });
    const { series } = readRemoteWrite(version, bytes, false);
    expect(series.length).toBe(5);
    expect(series.every((s) => s.samples[0]!.stale)).toBe(true);
  });

  it('tells NaN from the end of a series', () => {
    const { series } = written(version, [
      { ...base(gauge('a', '')), value: Number.NaN },
      { ...base(gauge('b', '')), value: 0, flags: 1 },
    ]);
    expect(series.map((s) => [s.samples[0]!.value, s.samples[0]!.stale])).toEqual([
      [Number.NaN, false],
      [Number.NaN, true],
    ]);
  });

  it('gives exemplars to counters and to the bucket they are in', () => {
    const { series } = written(version, [
      { ...base(sum('tokens', '')), value: 5, exemplars: [exemplar(3, { user: 'u', ignored: 1 })] },
      { ...base(gauge('g', '')), value: 5, exemplars: [exemplar(3)] },
      histogram({ exemplars: [exemplar(0.5), exemplar(0.7), exemplar(9)] }),
    ]);
    const found = series.filter((s) => s.exemplars.length > 0);
    expect(found.map((s) => [s.id, s.exemplars.map((e) => e.value)])).toEqual([
      [`tokens_total{${rest}}`, [3]],
      [`ttft_seconds_bucket{${rest},le="0.5"}`, [0.5]],
      [`ttft_seconds_bucket{${rest},le="1.0"}`, [0.7]],
      [`ttft_seconds_bucket{${rest},le="+Inf"}`, [9]],
    ]);
    expect(found[0]!.exemplars[0]).toEqual({
      labels: { trace_id: 'aa'.repeat(16), user: 'u' },
      value: 3,
      timestamp: MS - 5,
    });
  });

  it('writes an exponential histogram whole, as a native one', () => {
    const metric: Metric = { ...gauge('lat', 's'), type: 'exponential_histogram', temporality: 2 };
    const { series } = written(version, [
      {
        ...base(metric),
        count: 20,
        sum: 12.5,
        scale: 3,
        zeroCount: 2,
        zeroThreshold: 0,
        positive: { offset: -2, counts: Float64Array.from([1, 0, 4, 0, 0, 0, 0, 7]) },
        negative: { offset: 5, counts: Float64Array.from([6]) },
      } as Point,
    ]);
    expect(series[0]!.id).toBe(`lat_seconds{${rest}}`);
    expect(series[0]!.histograms[0]).toMatchObject({
      count_int: 20,
      sum: 12.5,
      schema: 3,
      zero_count_int: 2,
      zero_threshold: 1e-128,
      timestamp: MS,
      // Buckets -1, 0, 1, then 6: Prometheus counts by the upper edge.
      positive_spans: [
        { offset: -1, length: 3 },
        { offset: 4, length: 1 },
      ],
      positive_deltas: [1, -1, 4, 3],
      negative_spans: [{ offset: 6, length: 1 }],
      negative_deltas: [6],
    });
  });

  it('makes a histogram that is finer than Prometheus knows coarser, and refuses one that is too coarse', () => {
    const metric: Metric = { ...gauge('lat', ''), type: 'exponential_histogram', temporality: 2 };
    const of = (scale: number) =>
      ({
        ...base(metric),
        count: 10,
        sum: 1,
        scale,
        zeroCount: 0,
        zeroThreshold: 0,
        positive: { offset: 0, counts: Float64Array.from([1, 2, 3, 4]) },
      }) as Point;
    const { series } = written(version, [of(10)]);
    expect(series[0]!.histograms[0]).toMatchObject({
      schema: 8,
      positive_spans: [{ offset: 1, length: 1 }],
      positive_deltas: [10],
    });
    expect([isStorable(of(-4)), isStorable(of(-5))]).toEqual([true, false]);
  });

  it('never fails and is always readable, whatever the points', () => {
    fc.assert(
      fc.property(arbitraryBatch('metrics'), (batch) => {
        const n = names();
        const points = (batch.items as Point[]).filter((p) => isStorable(p) && n.of(p).name !== '');
        const { bytes } = encodeWriteRequest(points, n, { version, metadata: true });
        const { series } = readRemoteWrite(version, bytes, false);
        for (const s of series) {
          const labels = s.labels.map(([n]) => n);
          expect(labels).toEqual([...new Set(labels)]);
          expect(labels).toEqual([...labels].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
          expect(s.labels.every(([name, value]) => name !== '' && value !== '')).toBe(true);
          expect(s.samples.map((x) => x.timestamp)).toEqual(s.samples.map((x) => x.timestamp).sort((a, b) => a - b));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('what describes the metrics', () => {
  it('is a list of its own in 1.0, where asked for', () => {
    const points = [histogram(), { ...base(sum('tokens', '{token}', 'Made.')), value: 1 } as Point];
    expect(written('1.0', points).metadata).toEqual([]);
    expect(written('1.0', points, true).metadata).toEqual([
      { type: 3, metric_family_name: 'ttft_seconds', help: 'How long.', unit: 'seconds' },
      { type: 1, metric_family_name: 'tokens_total', help: 'Made.', unit: '' },
    ]);
  });

  it('is part of every series in 2.0, and no text is there twice', () => {
    const { series, symbols } = written('2.0', [histogram(), histogram({ time: BigInt(MS + 1) * 1_000_000n })]);
    expect(series[0]!.metadata).toEqual({ type: 3, help: 'How long.', unit: 'seconds' });
    expect(symbols[0]).toBe('');
    expect(new Set(symbols).size).toBe(symbols.length);
  });
});
