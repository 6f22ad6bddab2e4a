import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { vllmLikePage } from '../../../bench/scrape/page.ts';
import { resolve } from '../../../config/schema.ts';
import { relabel, relabelRule } from '../../../pipeline/kit/relabel.ts';
import { type Page, type SeriesOptions, seriesTable } from '../../../pipeline/kit/scrape-series.ts';
import {
  type HistogramPoint,
  isHistogramPoint,
  isNumberPoint,
  isStale,
  isSummaryPoint,
  nanosFromMs,
  type Point,
  scope,
} from '../../../pipeline/model.ts';
import { deepFreeze } from '../../kit/harness.ts';

const T0 = 1_700_000_000_000;
const NO_LIMITS = { samples: 0, labels: 0, labelNameLength: 0, labelValueLength: 0 };
const rules = (...list: Record<string, unknown>[]) => relabel(list.map((rule) => resolve(relabelRule, rule)));

function target(options: Partial<SeriesOptions> = {}) {
  const table = seriesTable({
    attributes: { 'service.name': 'job', 'service.instance.id': 'host:1' },
    scope: scope('test'),
    job: 'job',
    instance: 'host:1',
    labels: [],
    honorLabels: false,
    honorTimestamps: true,
    metricRelabel: undefined,
    limits: NO_LIMITS,
    ...options,
  });
  let now = T0;
  const read = (page: string | Buffer, contentType = 'text/plain; version=0.0.4'): Page => {
    const result = table.read(Buffer.from(page), contentType, nanosFromMs(now));
    now += 5000;
    return deepFreeze(result);
  };
  return {
    table,
    read,
    points: (page: string, contentType?: string) => read(page, contentType).points,
    openMetrics: (page: string) => read(page, 'application/openmetrics-text; version=1.0.0').points,
    miss: () => {
      const points = table.miss(nanosFromMs(now));
      now += 5000;
      return points;
    },
    /** Time of the scrape `n` before the next one. */
    ago: (n: number) => nanosFromMs(now - n * 5000),
  };
}

/** `name{labels} value` of each number point, stale ones as `stale`. */
const shown = (points: readonly Point[]) =>
  points.map((p) => {
    const labels = Object.entries(p.series.attributes).map(([n, v]) => `${n}=${v}`);
    const value = isStale(p)
      ? 'stale'
      : isNumberPoint(p)
        ? p.value
        : isHistogramPoint(p)
          ? `h${p.count}`
          : `s${p.count}`;
    return `${p.series.metric.name}{${labels.join(',')}} ${value}`;
  });
const only = (points: readonly Point[]): Point => {
  expect(points).toHaveLength(1);
  return points[0]!;
};

describe('a page becomes points', () => {
  it('types follow TYPE lines, in text and in OpenMetrics spelling', () => {
    const t = target();
    const points = t.points(
      [
        '# HELP g A gauge.',
        '# TYPE g gauge',
        'g 1',
        '# TYPE c_total counter',
        'c_total 2',
        '# TYPE d counter',
        'd_total 3',
        'untyped 4',
        '# TYPE i info',
        'i_info{version="1"} 1',
        '# TYPE s stateset',
        's{s="on"} 1',
        '# TYPE u_seconds gauge',
        '# UNIT u_seconds seconds',
        'u_seconds 5',
      ].join('\n'),
    );
    expect(points.map((p) => p.series.metric)).toMatchObject([
      { name: 'g', type: 'gauge', description: 'A gauge.', metadata: { 'prometheus.type': 'gauge' } },
      { name: 'c_total', type: 'sum', monotonic: true, temporality: 2, metadata: { 'prometheus.type': 'counter' } },
      { name: 'd_total', type: 'sum', monotonic: true },
      { name: 'untyped', type: 'gauge', metadata: { 'prometheus.type': 'unknown' } },
      { name: 'i_info', type: 'sum', monotonic: false, metadata: { 'prometheus.type': 'info' } },
      { name: 's', type: 'sum', monotonic: false, metadata: { 'prometheus.type': 'stateset' } },
      { name: 'u_seconds', type: 'gauge', unit: 's' },
    ]);
    expect(points.every((p) => isNumberPoint(p) && typeof p.value === 'number')).toBe(true);
  });

  const histogram = [
    '# TYPE h histogram',
    'h_bucket{le="0.1"} 1',
    'h_bucket{le="1"} 3',
    'h_bucket{le="+Inf"} 6',
    'h_sum 12.5',
    'h_count 6',
  ];

  it('buckets, sum and count are one histogram, whatever the order of lines and of TYPE', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(histogram, { minLength: histogram.length }), (lines) => {
        const point = only(target().points(lines.join('\n'))) as HistogramPoint;
        expect(point.series.metric).toMatchObject({ name: 'h', type: 'histogram', temporality: 2 });
        expect(point.series.attributes).toEqual({});
        expect([...point.bounds]).toEqual([0.1, 1]);
        expect([...point.bucketCounts]).toEqual([1, 2, 3]);
        expect(point).toMatchObject({ count: 6, sum: 12.5 });
      }),
    );
  });

  it('families may be interleaved and their comments repeated', () => {
    const points = target().points(
      [
        '# TYPE h histogram',
        'h_bucket{a="1",le="1"} 1',
        '# TYPE g gauge',
        'g{a="1"} 7',
        '# TYPE h histogram',
        'h_bucket{a="2",le="1"} 2',
        'h_bucket{a="2",le="+Inf"} 3',
        'h_bucket{a="1",le="+Inf"} 1',
        'h_count{a="1"} 1',
        '# TYPE g gauge',
        'g{a="2"} 8',
        'h_sum{a="1"} 0.5',
      ].join('\n'),
    );
    expect(shown(points)).toEqual(['h{a=1} h1', 'h{a=2} h3', 'g{a=1} 7', 'g{a=2} 8']);
    expect(points[0]).toMatchObject({ sum: 0.5 });
    expect('sum' in points[1]!).toBe(false);
  });

  it('a histogram without +Inf takes its count for it; with neither it is a bad line', () => {
    const t = target();
    const point = only(t.points('# TYPE h histogram\nh_bucket{le="1"} 2\nh_count 5\nh_sum 1\n')) as HistogramPoint;
    expect([...point.bounds]).toEqual([1]);
    expect([...point.bucketCounts]).toEqual([2, 3]);
    const page = t.read('# TYPE h histogram\nh_bucket{le="1"} 2\n');
    expect(page).toMatchObject({ badLines: 1, firstBad: { text: 'h', wrong: expect.stringContaining('+Inf') } });
    expect(shown(page.points)).toEqual(['h{} stale']);
    const inf = only(target().points('# TYPE h histogram\nh_bucket{le="+Inf"} 5\n')) as HistogramPoint;
    expect(inf).toMatchObject({ count: 5 });
    expect([...inf.bucketCounts]).toEqual([5]);
    const bare = only(target().points('# TYPE h histogram\nh_count 5\nh_sum 2\n')) as HistogramPoint;
    expect(bare).toMatchObject({ count: 5, sum: 2 });
    expect([bare.bounds.length, bare.bucketCounts.length]).toEqual([0, 0]);
  });

  it('buckets that fall, or are no number, never make a negative count', () => {
    const point = only(
      target().points(
        '# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="2"} 4\nh_bucket{le="3"} NaN\nh_bucket{le="+Inf"} 7\nh_count 6\nh_sum NaN\n',
      ),
    ) as HistogramPoint;
    expect([...point.bucketCounts]).toEqual([5, 0, 0, 2]);
    expect(point.count).toBe(7);
    expect(point.sum).toBeNaN();
  });

  it('two spellings of one bound are one bucket: the first', () => {
    const page = target().read('# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="1.0"} 9\nh_bucket{le="+Inf"} 9\n');
    expect([...(only(page.points) as HistogramPoint).bucketCounts]).toEqual([5, 4]);
    expect(page.badLines).toBe(1);
    const odd = target().read('# TYPE h histogram\nh_bucket{le="x"} 5\nh_count 1\n');
    expect(odd).toMatchObject({ badLines: 1, firstBad: { wrong: 'le is not a number' } });
  });

  it('a summary is its quantiles, count and sum', () => {
    const point = only(
      target().points(
        '# TYPE s summary\ns{a="b",quantile="0.9"} 3\ns{a="b",quantile="0.5"} 1\ns_count{a="b"} 4\ns_sum{a="b"} 6\n',
      ),
    );
    expect(isSummaryPoint(point) && point).toMatchObject({
      count: 4,
      sum: 6,
      quantiles: [
        { quantile: 0.5, value: 1 },
        { quantile: 0.9, value: 3 },
      ],
    });
    expect(point.series.attributes).toEqual({ a: 'b' });
    expect(only(target().points('# TYPE s summary\ns_count 4\n'))).toMatchObject({ count: 4, sum: 0, quantiles: [] });
  });

  it('NaN and infinities are values', () => {
    expect(
      target()
        .points('a NaN\nb +Inf\nc -Inf\n')
        .map((p) => isNumberPoint(p) && p.value),
    ).toEqual([NaN, Infinity, -Infinity]);
  });

  it('parts of a gauge histogram, and a bare sample in the family of a histogram, are gauges of their own', () => {
    const points = target().points(
      '# TYPE q gaugehistogram\nq_bucket{le="1"} 1\nq_gcount 1\nq_gsum 2\n# TYPE h histogram\nh 5\nh_count 1\n',
    );
    expect(shown(points)).toEqual(['q_bucket{le=1} 1', 'q_gcount{} 1', 'q_gsum{} 2', 'h{} 5', 'h{} h1']);
  });

  it('counts beyond 2^53 are whole numbers', () => {
    const point = only(target().points('# TYPE h histogram\nh_bucket{le="+Inf"} 1e19\n')) as HistogramPoint;
    expect(point.count).toBe(10_000_000_000_000_000_000n);
  });

  it('exemplars carry trace and span, and stay the same object while their text does', () => {
    const t = target();
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const page = (
      v: number,
      text = `{trace_id="${trace.toUpperCase()}",span_id="b7ad6b7169203331",user="x"} 0.67 1700000000.5`,
    ) =>
      `# TYPE c counter\nc_total ${v} # ${text}\n# TYPE h histogram\nh_bucket{le="1"} ${v} # {trace_id="short"} 0.3\nh_bucket{le="+Inf"} ${v}\nh_count ${v}\n# EOF\n`;
    const [c, h] = t.openMetrics(page(1));
    expect(isNumberPoint(c!) && c.exemplars).toEqual([
      {
        time: nanosFromMs(1700000000500),
        value: 0.67,
        traceId: trace,
        spanId: 'b7ad6b7169203331',
        filteredAttributes: { user: 'x' },
      },
    ]);
    expect(isHistogramPoint(h!) && h.exemplars).toMatchObject([
      { value: 0.3, traceId: '', filteredAttributes: { trace_id: 'short' } },
    ]);
    const [again] = t.openMetrics(page(2));
    expect(isNumberPoint(again!) && isNumberPoint(c!) && again.exemplars![0] === c.exemplars![0]).toBe(true);
    const [other] = t.openMetrics(page(3, '{} 9'));
    expect(isNumberPoint(other!) && other.exemplars).toMatchObject([{ value: 9 }]);
  });

  it('UTF-8 names in quotes are names like others', () => {
    const points = target().points(
      '# TYPE "my.latency" histogram\n{"my.latency_count","http.route"="/x"} 2\n{"my.gauge"} 1\n',
    );
    expect(shown(points)).toEqual(['my.latency{http.route=/x} h2', 'my.gauge{} 1']);
  });

  it('timestamps on the page are used, or not, as told', () => {
    const page = 'a 1 1600000000000\n# TYPE h histogram\nh_count 2 1600000000000\n';
    for (const point of target().points(page)) expect(point.time).toBe(nanosFromMs(1600000000000));
    for (const point of target({ honorTimestamps: false }).points(page)) expect(point.time).toBe(nanosFromMs(T0));
  });
});

describe('series keep their identity', () => {
  it('series, metrics, resources and bounds are the same objects from scrape to scrape', () => {
    const next = vllmLikePage({ engines: 2 });
    const t = target();
    const first = t.points(next());
    const second = t.points(next());
    expect(second.map((p) => p.series)).toEqual(first.map((p) => p.series));
    for (const [i, point] of second.entries()) {
      expect(point.series).toBe(first[i]!.series);
      if (isHistogramPoint(point)) expect(point.bounds).toBe((first[i] as HistogramPoint).bounds);
    }
    expect(new Set(first.map((p) => p.series.resource)).size).toBe(1);
  });

  it('a new series joins those of its metric, so that a metric stays in one piece', () => {
    const t = target();
    t.points('a{x="1"} 1\nb 1\n');
    expect(shown(t.points('a{x="1"} 1\na{x="2"} 1\nb 1\n'))).toEqual(['a{x=1} 1', 'a{x=2} 1', 'b{} 1']);
  });

  it('another HELP is the same series told differently: no stale marker', () => {
    const t = target();
    const [before] = t.points('# HELP a one\n# TYPE a counter\na 1\n');
    const [after, ...rest] = t.points('# HELP a two\n# TYPE a counter\na 2\n');
    expect(rest).toEqual([]);
    expect(after!.series.metric.description).toBe('two');
    expect(after!.startTime).toBe(before!.startTime);
    expect(t.points('# HELP a two\n# TYPE a counter\na 3\n')[0]!.series).toBe(after!.series);
  });

  it('a type that changes under one name ends the old series and begins the new ones', () => {
    const t = target();
    expect(shown(t.points('# TYPE x gauge\nx 1\n'))).toEqual(['x{} 1']);
    expect(shown(t.points('# TYPE x histogram\nx_bucket{le="+Inf"} 2\nx_count 2\n')).sort()).toEqual([
      'x{} h2',
      'x{} stale',
    ]);
    expect(shown(t.points('# TYPE x gauge\nx 3\n')).sort()).toEqual(['x{} 3', 'x{} stale']);
    // A gauge that becomes a counter is the same series for whoever stores it.
    expect(shown(t.points('# TYPE x counter\nx 4\n'))).toEqual(['x{} 4']);
    expect(shown(t.points('# TYPE x counter\nx 5\n'))).toEqual(['x{} 5']);
  });

  it('buckets may come and go', () => {
    const t = target();
    const page = (...les: string[]) =>
      `# TYPE h histogram\n${les.map((le, i) => `h_bucket{le="${le}"} ${i + 1}`).join('\n')}\nh_bucket{le="+Inf"} 9\n`;
    const bounds = (p: Point[]) => [...(only(p) as HistogramPoint).bounds];
    expect(bounds(t.points(page('1', '2')))).toEqual([1, 2]);
    expect(bounds(t.points(page('1')))).toEqual([1]);
    expect(bounds(t.points(page('0.5', '1', '2')))).toEqual([0.5, 1, 2]);
    for (let i = 0; i < 40; i++) expect(bounds(t.points(page('0.5', '1')))).toEqual([0.5, 1]);
  });
});

describe('staleness', () => {
  it('a series that is gone gets one stale point, and none after that', () => {
    const t = target();
    t.points('a 1\nb{x="1"} 2\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\n# TYPE s summary\ns_count 1\n');
    const points = t.points('a 1\n');
    expect(shown(points).sort()).toEqual(['a{} 1', 'b{x=1} stale', 'h{} stale', 's{} stale']);
    expect(points.filter(isStale).map((p) => p.flags)).toEqual([1, 1, 1]);
    expect(shown(t.points('a 1\n'))).toEqual(['a{} 1']);
    expect(shown(t.points('a 1\nb{x="1"} 3\n'))).toEqual(['a{} 1', 'b{x=1} 3']);
  });

  it('a scrape that failed ends all of them, once', () => {
    const t = target();
    t.points('a 1\nb 2\n');
    expect(shown(t.miss())).toEqual(['a{} stale', 'b{} stale']);
    expect(t.miss()).toEqual([]);
    const page = t.read('a 1\n');
    expect(shown(page.points)).toEqual(['a{} 1']);
    expect(page.added).toBe(1);
  });

  it('series with timestamps of their own get no stale point, as in Prometheus', () => {
    const t = target();
    t.points('a 1 1600000000000\nb 1\n');
    expect(shown(t.points('c 1\n'))).toEqual(['b{} stale', 'c{} 1']);
  });

  it('forgets what is gone: churn does not grow the table', () => {
    const t = target();
    for (let i = 0; i < 300; i++) {
      const lines = Array.from({ length: 20 }, (_, j) => `req{id="${i}-${j}"} 1`);
      t.points(
        `# TYPE h histogram\nh_bucket{id="${i}",le="+Inf"} 1\nh_count{id="${i}"} 1\n# TYPE m${i} counter\nm${i} 1\n${lines.join('\n')}\nsame 1\n`,
      );
      if (i > 20) {
        expect(t.table.size().series).toBeLessThan(24 * 22);
        expect(t.table.size().lines).toBeLessThan(26 * 22);
      }
    }
    for (let i = 0; i < 40; i++) t.points('same 1\n');
    expect(t.table.size()).toEqual({ series: 1, lines: 1 });
    for (let i = 0; i < 40; i++) t.miss();
    expect(t.table.size()).toEqual({ series: 0, lines: 0 });
  });
});

describe('start times', () => {
  const start = (points: readonly Point[], name = 'c') => points.find((p) => p.series.metric.name === name)!.startTime;
  const counter = (value: number) => `# TYPE c counter\nc ${value}\n`;

  it('without a word from the target: the first scrape; a value that fell began at the scrape before', () => {
    const t = target();
    expect(start(t.points(counter(5)))).toBe(nanosFromMs(T0));
    expect(start(t.points(counter(7)))).toBe(nanosFromMs(T0));
    expect(start(t.points(counter(2)))).toBe(nanosFromMs(T0 + 5000));
    expect(start(t.points(counter(4)))).toBe(nanosFromMs(T0 + 5000));
  });

  it('a series that appears on a page later began after the scrape before', () => {
    const t = target();
    t.points('a 1\n');
    t.points('a 1\n');
    expect(start(t.points(`a 1\n${counter(3)}`))).toBe(nanosFromMs(T0 + 5000));
    expect(start(t.points(`a 1\n${counter(4)}`))).toBe(nanosFromMs(T0 + 5000));
  });

  const process = (seconds: number, value: number) => `process_start_time_seconds ${seconds}\n${counter(value)}`;
  it('the start of the process, when the page has it; jitter of it is no restart', () => {
    const t = target();
    expect(start(t.points(process(1_699_999_000, 5)))).toBe(nanosFromMs(1_699_999_000_000));
    expect(start(t.points(process(1_699_999_000.9, 6)))).toBe(nanosFromMs(1_699_999_000_000));
    expect(start(t.points(process(1_700_000_007, 1)))).toBe(nanosFromMs(1_700_000_007_000));
    // Restarted, and beyond the old value already.
    expect(start(t.points(process(1_700_000_013, 9)))).toBe(nanosFromMs(1_700_000_013_000));
    // The same process, yet the counter fell: whatever it was, it was after the scrape before.
    expect(start(t.points(process(1_700_000_013, 3)))).toBe(nanosFromMs(T0 + 15_000));
    // A clock that is ahead of ours says nothing.
    expect(start(target().points(process(1_800_000_000, 5)))).toBe(nanosFromMs(T0));
  });

  it('the created time of a series goes before all', () => {
    const t = target();
    const page = (created: number) =>
      `# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1699990000\n# TYPE c counter\nc_total 5\nc_created ${created}\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_created ${created + 1}\n# TYPE s summary\ns_count 1\ns_created ${created + 2}\n# EOF\n`;
    const points = t.openMetrics(page(1699999000.5));
    expect(shown(points)).toEqual(['process_start_time_seconds{} 1699990000', 'c_total{} 5', 'h{} h1', 's{} s1']);
    expect(start(points, 'c_total')).toBe(nanosFromMs(1_699_999_000_500));
    expect(start(points, 'h')).toBe(nanosFromMs(1_699_999_001_500));
    expect(start(points, 's')).toBe(nanosFromMs(1_699_999_002_500));
    expect(start(t.openMetrics(page(1700000003)), 'c_total')).toBe(nanosFromMs(1_700_000_003_000));
  });

  it('in the text format created times are gauges of their own, which stay, and start times too', () => {
    const page = [
      '# TYPE c_created gauge',
      'c_created{a="b"} 1699999000',
      '# TYPE c_total counter',
      'c_total{a="b"} 5',
      '# TYPE h histogram',
      'h_bucket{le="+Inf"} 1',
      '# TYPE h_created gauge',
      'h_created 1699999001',
    ];
    for (const lines of [page, [...page].reverse()]) {
      const points = target().points(lines.join('\n'));
      expect(shown(points).sort()).toEqual([
        'c_created{a=b} 1699999000',
        'c_total{a=b} 5',
        'h_created{} 1699999001',
        'h{} h1',
      ]);
      expect(start(points, 'c_total')).toBe(nanosFromMs(1_699_999_000_000));
      expect(start(points, 'h')).toBe(nanosFromMs(1_699_999_001_000));
      expect(start(points, 'h_created')).toBe(0n);
    }
  });

  it('a histogram whose count fell began anew', () => {
    const t = target();
    const page = (n: number) => `# TYPE h histogram\nh_bucket{le="+Inf"} ${n}\nh_sum ${n}\n`;
    t.points(page(5));
    expect(start(t.points(page(2)), 'h')).toBe(nanosFromMs(T0));
    expect(start(t.points(page(3)), 'h')).toBe(nanosFromMs(T0));
    expect(start(t.points(page(1)), 'h')).toBe(nanosFromMs(T0 + 10_000));
  });
});

describe('labels, resource and scope', () => {
  const about = (p: Point) => [
    p.series.resource.attributes['service.name'],
    p.series.resource.attributes['service.instance.id'],
  ];

  it("honor_labels false: a sample's job and instance become exported_…", () => {
    const [point] = target().points('a{job="x",instance="y",exported_job="z"} 1\n');
    expect(shown([point!])).toEqual(['a{exported_exported_job=x,exported_instance=y,exported_job=z} 1']);
    expect(about(point!)).toEqual(['job', 'host:1']);
  });

  it('honor_labels true: they say whom the sample is about', () => {
    const points = target({ honorLabels: true }).points(
      'a{job="x",instance="y"} 1\nb{job="x",instance="y"} 2\nc{instance="w"} 3\nd 4\n',
    );
    expect(points.map(about)).toEqual([
      ['x', 'y'],
      ['x', 'y'],
      ['job', 'w'],
      ['job', 'host:1'],
    ]);
    expect(points[0]!.series.resource).toBe(points[1]!.series.resource);
    expect(points.every((p) => Object.keys(p.series.attributes).length === 0)).toBe(true);
  });

  it('labels of the target are on every sample, and win or lose by honor_labels', () => {
    const labels = ['rack', '7', 'zone', 'a'];
    expect(shown(target({ labels }).points('a{zone="b"} 1\n# TYPE h histogram\nh_count 1\n'))).toEqual([
      'a{exported_zone=b,rack=7,zone=a} 1',
      'h{rack=7,zone=a} h1',
    ]);
    expect(shown(target({ labels, honorLabels: true }).points('a{zone="b"} 1\n'))).toEqual(['a{rack=7,zone=b} 1']);
  });

  it('target_info becomes attributes of the resource, of the first batch on', () => {
    const t = target();
    const page = '# TYPE target info\ntarget_info{service_version="1.2",job="other"} 1\na 1\n';
    const mine = '# TYPE target info\ntarget_info{service_version="1.2"} 1\na 1\n';
    expect(shown(t.points(mine))).toEqual(['a{} 1']);
    const [a] = t.points(mine);
    expect(a!.series.resource.attributes).toMatchObject({ 'service.name': 'job', service_version: '1.2' });
    expect(t.table.resource()).toBe(a!.series.resource);
    const [b] = t.points(mine.replace('1.2', '1.3'));
    expect(b!.series.resource.attributes).toMatchObject({ service_version: '1.3' });
    expect(shown(target({ honorLabels: true }).points(page))).toEqual(['target_info{service_version=1.2} 1', 'a{} 1']);
  });

  it('otel_scope_ labels become the scope', () => {
    const [a, b] = target().points(
      'a{otel_scope_name="lib",otel_scope_version="2",otel_scope_schema_url="u",otel_scope_x="y",k="v"} 1\nb{otel_scope_name="lib",otel_scope_version="2",otel_scope_schema_url="u",otel_scope_x="y"} 1\n',
    );
    expect(a!.series.scope).toMatchObject({ name: 'lib', version: '2', schemaUrl: 'u', attributes: { x: 'y' } });
    expect(a!.series.attributes).toEqual({ k: 'v' });
    expect(b!.series.scope).toBe(a!.series.scope);
  });

  it('what the names give away is on the resource from the first batch on, and follows a change of engine', () => {
    const asked: string[][] = [];
    const t = target({
      identify: (names) => {
        asked.push([...names]);
        return names.has('red:x') ? { engine: 'red' } : names.has('blue:x') ? { engine: 'blue' } : {};
      },
    });
    const [red] = t.points('red:x 1\n');
    expect(red!.series.resource.attributes['engine']).toBe('red');
    t.points('red:x 2\n');
    expect(asked).toEqual([['red:x']]);
    t.miss();
    const points = t.points('blue:x 1\n');
    expect(points.map((p) => p.series.resource.attributes['engine'])).toEqual(['blue']);
    const both = t.points('red:x 1\n');
    expect(shown(both).sort()).toEqual(['blue:x{} stale', 'red:x{} 1']);
    // The end of a series is told under the name it had.
    expect(both.find(isStale)!.series.resource.attributes['engine']).toBe('blue');
    expect(both.find((p) => !isStale(p))!.series.resource.attributes['engine']).toBe('red');
  });
});

describe('metric_relabel_configs', () => {
  it('drop, rewrite and rename samples; counts tell before and after', () => {
    const t = target({
      metricRelabel: rules(
        { source_labels: ['__name__'], regex: 'go_.*', action: 'drop' },
        { source_labels: ['__name__'], regex: 'old_(.*)', target_label: '__name__', replacement: 'new_$1' },
        { regex: 'secret', action: 'labeldrop' },
        { source_labels: ['instance'], target_label: 'copy' },
      ),
    });
    const page = t.read(
      'go_a 1\ngo_b 2\n# TYPE old_h histogram\nold_h_bucket{le="+Inf"} 3\nold_h_sum 1\na{secret="x"} 1\n',
    );
    expect(shown(page.points)).toEqual(['new_h{copy=host:1} h3', 'a{copy=host:1} 1']);
    expect(page).toMatchObject({ samples: 5, afterRelabel: 3, added: 3 });
  });

  it('two series that become one are a duplicate, the first stays', () => {
    const t = target({ metricRelabel: rules({ regex: 'x', action: 'labeldrop' }) });
    const page = t.read('a{x="1"} 1\na{x="2"} 2\n');
    expect(shown(page.points)).toEqual(['a{} 1']);
    expect(page.duplicates).toBe(1);
  });
});

describe('limits', () => {
  const limits = (more: Partial<typeof NO_LIMITS>) => target({ limits: { ...NO_LIMITS, ...more } });
  it.each([
    [{ samples: 2 }, 'a 1\nb 1\nc 1\n', 'sample limit exceeded (samples: 3, limit: 2)'],
    [{ labels: 4 }, 'a{x="1",y="2"} 1\n', 'label_limit exceeded (metric: a, number of labels: 5, limit: 4)'],
    [
      { labelNameLength: 9 },
      'a{long_label="1"} 1\n',
      'label_name_length_limit exceeded (metric: a, label name: long_label, length: 10, limit: 9)',
    ],
    [
      { labelValueLength: 7 },
      'a{x="12345678"} 1\n',
      'label_value_length_limit exceeded (metric: a, label name: x, value: "12345678", length: 8, limit: 7)',
    ],
  ])('%j refuses a page beyond it, every time, and takes it again once it is within', (limit, page, message) => {
    const t = limits(limit);
    for (let i = 0; i < 2; i++) {
      expect(() => t.read(page)).toThrow(expect.objectContaining({ name: 'PageRefused', message }));
      t.miss();
    }
    expect(shown(t.points('a 1\n'))).toEqual(['a{} 1']);
  });

  it('are not reached by a page that is just within them', () => {
    expect(
      limits({ samples: 2, labels: 5, labelNameLength: 8, labelValueLength: 6 }).points('a{x="1",y="2"} 1\nb 1\n'),
    ).toHaveLength(2);
  });

  it('count samples after relabelling', () => {
    const t = target({
      limits: { ...NO_LIMITS, samples: 1 },
      metricRelabel: rules({ source_labels: ['__name__'], regex: 'b', action: 'drop' }),
    });
    expect(t.points('a 1\nb 1\n')).toHaveLength(1);
  });
});

describe('pages that are none', () => {
  it.each([
    ['<!DOCTYPE html><html></html>', 'text/html', 'HTML'],
    ['[{"iter":1}]', 'application/json', 'JSON'],
    ['hello world\nthis is no page\n', 'text/plain', 'no line is a sample; line 1 is "hello world"'],
  ])('%j is refused with a reason', (page, type, reason) => {
    expect(() => target().read(page, type)).toThrow(reason);
  });

  it('whatever bytes come, the answer is points or a reason, and the next page is read as if they had not come', () => {
    const page = vllmLikePage({ engines: 1 })();
    const whole = shown(target().points(page)).sort();
    const bytes = Buffer.from(page);
    const broken = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)),
      fc.nat(bytes.length).map((n) => bytes.subarray(0, n)),
      fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)).map(([at, byte]) => {
        const copy = Buffer.from(bytes);
        copy[at] = byte;
        return copy;
      }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(broken, fc.constantFrom('text/plain', 'application/openmetrics-text', '')), { maxLength: 4 }),
        (pages) => {
          const t = target();
          for (const [body, type] of pages) {
            try {
              t.read(body, type);
            } catch (error) {
              expect((error as Error).name).toBe('PageRefused');
              t.miss();
            }
          }
          expect(shown(t.points(page).filter((p) => !isStale(p))).sort()).toEqual(whole);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('an empty page is a page without series', () => {
    expect(target().read('')).toMatchObject({ samples: 0, points: [], badLines: 0 });
  });

  it('bad lines cost themselves, and contradicting comments too', () => {
    const page = target().read('# TYPE a gauge\na 1\nb{ 2\nc x\n# TYPE a counter\nd 4\n');
    expect(shown(page.points)).toEqual(['a{} 1', 'd{} 4']);
    expect(page).toMatchObject({ samples: 2, badLines: 3, firstBad: { line: 3, text: 'b{ 2' } });
  });
});
