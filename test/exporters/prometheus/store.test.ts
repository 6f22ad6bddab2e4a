import { describe, expect, it } from 'vitest';
import { type StoreOptions, store } from '../../../exporters/prometheus/store.ts';
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
import type { ExpositionFormat } from '../../../pipeline/wire/prometheus-text-write.ts';
import { deepFreeze } from '../../kit/harness.ts';

const TEXT: ExpositionFormat = { kind: 'text', version: '0.0.4', escaping: 'underscores' };
const TEXT_UTF8: ExpositionFormat = { kind: 'text', version: '1.0.0', escaping: 'allow-utf-8' };
const OM: ExpositionFormat = { kind: 'openmetrics', version: '1.0.0', escaping: 'allow-utf-8' };

function make(over: Partial<StoreOptions> = {}) {
  const drops: string[] = [];
  const made = store({
    strategy: 'UnderscoreEscapingWithSuffixes',
    namespace: '',
    constLabels: [],
    resourceLabel: () => false,
    scopeLabels: false,
    expirationMs: 300_000,
    timestamps: false,
    maxSeries: 1000,
    dropped: (reason, what) => drops.push(`${reason}: ${what}`),
    ...over,
  });
  return {
    drops,
    put: (now: number, ...points: Point[]) => {
      for (const p of points) made.put(deepFreeze(p), now);
    },
    page: (format = TEXT, now = 0) => made.page(format, now).join(''),
    store: made,
  };
}

const none = resource({});
const at = 1_700_000_000_000_000_000n;
let ticks = 0n;
const tick = (by = 1_000_000n) => {
  ticks += by;
  return at + ticks;
};
const base = (metric: Metric, attributes: Attributes = NO_ATTRIBUTES, of = none) => ({
  series: { resource: of, scope: scope('s', '1'), metric, attributes },
  time: tick(),
  startTime: 0n,
  flags: 0,
});
const number = (metric: Metric, value: number | bigint, attributes: Attributes = NO_ATTRIBUTES, of = none): Point => ({
  ...base(metric, attributes, of),
  value,
});
const histogramMetric = (name: string, temporality = 2): Metric => ({
  ...gauge(name, 's', 'How long.'),
  type: 'histogram',
  temporality,
});
const histogram = (
  metric: Metric,
  bounds: number[],
  counts: number[],
  exemplars?: Exemplar[],
  total?: number,
): Point => ({
  ...base(metric),
  count: counts.reduce((a, b) => a + b, 0),
  ...(total === undefined ? {} : { sum: total }),
  bounds: Float64Array.from(bounds),
  bucketCounts: Float64Array.from(counts),
  ...(exemplars ? { exemplars } : {}),
});

describe('the page in text', () => {
  it('shows each type as Prometheus writes it', () => {
    const { put, page } = make();
    put(
      0,
      number(gauge('queue.length', '{request}', 'Waiting\nrequests \\ now.'), 3, { model: 'a"b\\c\nd', 'ab.cd': 'x' }),
      number(sum('tokens', '{token}'), 5n),
      number(sum('inflight', '{request}', '', false), -2),
      histogram(histogramMetric('ttft'), [0.5, 1], [1, 2, 3], undefined, 9.25),
      {
        ...base({ ...gauge('gc', 's'), type: 'summary' }),
        count: 7,
        sum: 1.5,
        quantiles: [
          { quantile: 0.5, value: 0.1 },
          { quantile: 1, value: 2 },
        ],
      },
    );
    expect(page()).toBe(
      [
        '# TYPE gc_seconds summary',
        'gc_seconds{quantile="0.5"} 0.1',
        'gc_seconds{quantile="1.0"} 2',
        'gc_seconds_sum 1.5',
        'gc_seconds_count 7',
        '# TYPE inflight gauge',
        'inflight -2',
        '# HELP queue_length Waiting\\nrequests \\\\ now.',
        '# TYPE queue_length gauge',
        'queue_length{ab_cd="x",model="a\\"b\\\\c\\nd"} 3',
        '# TYPE tokens_total counter',
        'tokens_total 5',
        '# HELP ttft_seconds How long.',
        '# TYPE ttft_seconds histogram',
        'ttft_seconds_bucket{le="0.5"} 1',
        'ttft_seconds_bucket{le="1.0"} 3',
        'ttft_seconds_bucket{le="+Inf"} 6',
        'ttft_seconds_sum 9.25',
        'ttft_seconds_count 6',
        '',
      ].join('\n'),
    );
  });

  it('shows the last value of each series and special values', () => {
    const { put, page } = make();
    put(0, number(gauge('g', ''), 9, { i: '0' }));
    const points = [1.5, Number.NaN, Number.POSITIVE_INFINITY, 2e-7].map((value, i) =>
      number(gauge('g', ''), value, { i: String(i) }),
    );
    put(0, ...points);
    expect(page()).toBe('# TYPE g gauge\ng{i="0"} 1.5\ng{i="1"} NaN\ng{i="2"} +Inf\ng{i="3"} 2e-7\n');
  });

  it('keeps scraped names unchanged, with the type they had', () => {
    const { put, page } = make();
    const scraped = (m: Metric, type: string): Metric => ({ ...m, metadata: { 'prometheus.type': type } });
    put(
      0,
      number(scraped(gauge('vllm:num_requests_running', ''), 'gauge'), 1, { model_name: 'm' }),
      number(scraped(gauge('vllm:kv_cache_usage_perc', '1'), 'gauge'), 0.5),
      number(scraped(sum('vllm:prompt_tokens_total', ''), 'counter'), 3),
      number(scraped(sum('sglang:cached_tokens', ''), 'counter'), 3),
      number(scraped(gauge('mystery', ''), 'unknown'), 3),
      number(scraped(sum('vllm:cache_config_info', '', '', false), 'info'), 1, { block_size: '16' }),
    );
    expect(page().split('\n').filter(Boolean)).toEqual([
      '# TYPE mystery untyped',
      'mystery 3',
      '# TYPE sglang:cached_tokens counter',
      'sglang:cached_tokens 3',
      '# TYPE vllm:cache_config_info gauge',
      'vllm:cache_config_info{block_size="16"} 1',
      '# TYPE vllm:kv_cache_usage_perc gauge',
      'vllm:kv_cache_usage_perc 0.5',
      '# TYPE vllm:num_requests_running gauge',
      'vllm:num_requests_running{model_name="m"} 1',
      '# TYPE vllm:prompt_tokens_total counter',
      'vllm:prompt_tokens_total 3',
    ]);
    const om = page(OM);
    expect(om).toContain('# TYPE vllm:prompt_tokens counter\nvllm:prompt_tokens_total 3\n');
    expect(om).toContain('# TYPE sglang:cached_tokens unknown\nsglang:cached_tokens 3\n');
    expect(om).toContain('# TYPE vllm:cache_config info\nvllm:cache_config_info{block_size="16"} 1\n');
  });

  it('writes times when told to: milliseconds in text, seconds in OpenMetrics', () => {
    const { put, page } = make({ timestamps: true });
    put(0, { ...number(gauge('g', ''), 1), time: 1_700_000_000_012_345_678n });
    expect(page()).toContain('g 1 1700000000012\n');
    expect(page(OM)).toContain('g 1 1700000000.012\n');
  });

  it('adds constant labels where the name is free', () => {
    const { put, page } = make({
      constLabels: [
        ['cluster', 'c1'],
        ['mine', 'const'],
      ],
    });
    put(0, number(gauge('g', ''), 1, { mine: 'point' }));
    expect(page()).toContain('g{cluster="c1",mine="point"} 1\n');
  });

  it('joins labels whose names meet after escaping with a semicolon, in the order of their names', () => {
    const { put, page } = make();
    put(0, number(gauge('g', ''), 1, { a_b: 'third', 'a.b': 'second', 'a-b': 'first' }));
    expect(page()).toContain('g{a_b="first;second;third"} 1\n');
  });
});

describe('OpenMetrics', () => {
  const exemplar = (value: number, more: Attributes = NO_ATTRIBUTES): Exemplar => ({
    time: at,
    value,
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    filteredAttributes: more,
  });

  it('gives counters and buckets their exemplars, and ends the page', () => {
    const { put, page } = make();
    put(
      0,
      { ...number(sum('tokens', '{token}'), 5), exemplars: [exemplar(2)] } as Point,
      { ...number(gauge('g', ''), 5), exemplars: [exemplar(2)] } as Point,
      histogram(histogramMetric('ttft'), [0.5, 1], [1, 1, 1], [exemplar(0.5), exemplar(7, { user: 'u' })]),
    );
    const ids = 'trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"';
    expect(page(OM)).toBe(
      [
        '# TYPE g gauge',
        'g 5',
        '# TYPE tokens counter',
        `tokens_total 5 # {${ids}} 2 1700000000.000`,
        '# HELP ttft_seconds How long.',
        '# TYPE ttft_seconds histogram',
        '# UNIT ttft_seconds seconds',
        `ttft_seconds_bucket{le="0.5"} 1 # {${ids}} 0.5 1700000000.000`,
        'ttft_seconds_bucket{le="1.0"} 2',
        `ttft_seconds_bucket{le="+Inf"} 3 # {${ids},user="u"} 7 1700000000.000`,
        'ttft_seconds_count 3',
        '# EOF',
        '',
      ].join('\n'),
    );
    expect(page(TEXT)).not.toContain('trace_id');
  });

  it('keeps exemplars within 128 characters, ids first', () => {
    const { put, page } = make();
    put(0, {
      ...number(sum('t', ''), 5),
      exemplars: [exemplar(2, { long: 'x'.repeat(200), short: 'y' })],
    } as Point);
    expect(page(OM)).toContain('span_id="b7ad6b7169203331",short="y"} 2');
  });

  it('does not let a counter take the name of another family', () => {
    const { put, page } = make();
    put(0, number(gauge('jobs', ''), 1), number(sum('jobs_total', ''), 2));
    expect(page(OM)).toBe('# TYPE jobs gauge\njobs 1\n# TYPE jobs_total unknown\njobs_total 2\n# EOF\n');
  });

  it('escapes quotes in HELP', () => {
    const { put, page } = make();
    put(0, number(gauge('g', '', 'a "b" \\ c'), 1));
    expect(page(OM)).toContain('# HELP g a \\"b\\" \\\\ c\n');
  });
});

describe('names beyond the old characters', () => {
  const utf8 = () => make({ strategy: 'NoTranslation' });
  const point = () => number(gauge('http.größe', ''), 1, { 'server.address': 'x', plain: 'y' });

  it('are quoted for a scraper that can read them', () => {
    const { put, page } = utf8();
    put(0, point());
    expect(page(TEXT_UTF8)).toBe('# TYPE "http.größe" gauge\n{"http.größe",plain="y","server.address"="x"} 1\n');
  });

  it.each([
    ['underscores', 'http_gr__e{plain="y",server_address="x"} 1'],
    ['dots', 'http_dot_gr____e{plain="y",server_dot_address="x"} 1'],
    ['values', 'U__http_2e_gr_f6__df_e{plain="y",U__server_2e_address="x"} 1'],
  ] as const)('are escaped with %s for the others', (escaping, line) => {
    const { put, page } = utf8();
    put(0, point());
    expect(page({ ...TEXT, escaping })).toContain(`\n${line}\n`);
  });

  it('are left out, counted, where two would read the same', () => {
    const { put, page, drops } = utf8();
    put(0, number(gauge('a.b', ''), 1), number(gauge('a_b', ''), 2));
    expect(page()).toBe('# TYPE a_b gauge\na_b 2\n');
    expect(drops).toEqual(['duplicate: a.b, which reads a_b in underscores']);
    expect(page(TEXT_UTF8)).toContain('{"a.b"} 1');
  });
});

describe('who a series is about', () => {
  const replica = (attributes: Attributes = {}) =>
    resource({ 'service.name': 'llm', 'service.instance.id': 'r0', 'service.namespace': 'prod', ...attributes });

  it('becomes job and instance, and target_info for the rest', () => {
    const { put, page } = make();
    put(0, number(gauge('g', ''), 1, NO_ATTRIBUTES, replica({ 'host.name': 'n1' })));
    expect(page()).toBe(
      [
        '# TYPE g gauge',
        'g{instance="r0",job="prod/llm"} 1',
        '# HELP target_info Target metadata',
        '# TYPE target_info gauge',
        'target_info{host_name="n1",instance="r0",job="prod/llm"} 1',
        '',
      ].join('\n'),
    );
    expect(page(OM)).toContain('# TYPE target info\ntarget_info{');
  });

  it('shows target_info once for each job and instance', () => {
    const { put, page, drops } = make({ resourceLabel: (n) => n === 'rank' });
    for (const rank of ['0', '1']) put(0, number(gauge('g', ''), 1, NO_ATTRIBUTES, replica({ rank })));
    expect(page().match(/^target_info\{/gm)).toHaveLength(1);
    expect(page().match(/^g\{/gm)).toHaveLength(2);
    expect(drops).toEqual([]);
  });

  it('becomes labels where wanted; the point wins, but never over job and instance', () => {
    const { put, page } = make({ resourceLabel: (n) => n.startsWith('hw.') || n === 'zone' });
    put(
      0,
      number(gauge('g', ''), 1, { zone: 'mine', job: 'theirs' }, replica({ 'hw.id': 'GPU-1', zone: 'z', other: 'o' })),
    );
    expect(page()).toContain('g{exported_job="theirs",hw_id="GPU-1",instance="r0",job="prod/llm",zone="mine"} 1\n');
  });

  it('has scope labels where wanted', () => {
    const { put, page } = make({ scopeLabels: true });
    put(0, number(gauge('g', ''), 1));
    expect(page()).toContain('g{otel_scope_name="s",otel_scope_version="1"} 1\n');
  });

  it('does not confuse a label of its own with le', () => {
    const { put, page } = make();
    put(0, {
      ...histogram(histogramMetric('h'), [1], [1, 0]),
      series: { resource: none, scope: scope('s'), metric: histogramMetric('h'), attributes: { le: 'mine' } },
    } as Point);
    expect(page()).toContain('h_seconds_bucket{exported_le="mine",le="1.0"} 1\n');
  });
});

describe('clashes', () => {
  const gpu = (id: string) => resource({ 'service.name': 'llm', 'hw.id': id });

  it('drops and counts the later of two sources of one series and keeps serving', () => {
    const { put, page, drops } = make();
    put(0, number(gauge('g', ''), 1, NO_ATTRIBUTES, gpu('a')));
    put(1000, number(gauge('g', ''), 2, NO_ATTRIBUTES, gpu('b')), number(gauge('other', ''), 3));
    expect(page()).toContain('g{job="llm"} 1\n');
    expect(page()).toContain('other 3\n');
    expect(drops).toEqual(['duplicate: g{job="llm"}']);
  });

  it('gives a series to the other source when the first has been silent for a minute', () => {
    const { put, page, drops } = make();
    put(0, number(gauge('g', ''), 1, NO_ATTRIBUTES, gpu('a')));
    put(61_000, number(gauge('g', ''), 2, NO_ATTRIBUTES, gpu('b')));
    expect(page(TEXT, 61_000)).toContain('g{job="llm"} 2\n');
    put(62_000, number(gauge('g', ''), 3, NO_ATTRIBUTES, gpu('a')));
    expect(page(TEXT, 62_000)).toContain('g{job="llm"} 2\n');
    expect(drops).toEqual(['duplicate: g{job="llm"}']);
  });

  it('takes the same source through new objects, as a decoder may make them', () => {
    const { put, page, drops } = make();
    for (let i = 0; i < 3; i++) put(i, number(gauge('g', ''), i, { a: 'b' }, gpu('a')));
    expect(page()).toContain('g{a="b",job="llm"} 2\n');
    expect(drops).toEqual([]);
  });

  it('notices two sets of attributes that read the same', () => {
    const { put, drops } = make();
    put(0, number(gauge('g', ''), 1, { 'a.b': 'x' }), number(gauge('g', ''), 2, { a_b: 'x' }));
    expect(drops).toEqual(['duplicate: g{a_b="x"}']);
  });

  it('drops a metric whose name has another type already', () => {
    const { put, page, drops } = make();
    put(0, number(gauge('jobs_total', ''), 1), number(sum('jobs', ''), 2));
    expect(page()).toBe('# TYPE jobs_total gauge\njobs_total 1\n');
    expect(drops).toEqual(['unsupported: jobs_total as a counter, which is something else already']);
  });

  it('drops a histogram whose samples would take the name of another metric', () => {
    const { put, drops } = make();
    put(0, number(gauge('h_seconds_count', ''), 1), histogram(histogramMetric('h'), [1], [1, 0]));
    expect(drops.length).toBe(1);
  });

  it('lets the type change once the old series are gone', () => {
    const { put, page } = make({ expirationMs: 1000 });
    put(0, number(gauge('jobs_total', ''), 1));
    page(TEXT, 1001);
    put(1001, number(sum('jobs', ''), 2));
    expect(page(TEXT, 1001)).toBe('# TYPE jobs_total counter\njobs_total 2\n');
  });

  it('holds no more than max_series', () => {
    const { put, drops, store } = make({ maxSeries: 3 });
    for (let i = 0; i < 5; i++) put(0, number(gauge('g', ''), 1, { i: String(i) }));
    expect(store.series()).toBe(3);
    expect(drops.map((d) => d.split(':')[0])).toEqual(['limit', 'limit']);
  });
});

describe('the end of series', () => {
  it('leaves the page after metric_expiration', () => {
    const { put, page, store } = make({ expirationMs: 1000 });
    put(0, number(gauge('a', ''), 1));
    put(900, number(gauge('b', ''), 1));
    expect(page(TEXT, 1000)).toContain('a 1');
    expect(page(TEXT, 1001)).toBe('# TYPE b gauge\nb 1\n');
    page(TEXT, 2000);
    expect([store.series(), store.families()]).toEqual([0, 0]);
  });

  it('leaves the page with a stale point, and comes back with the next one', () => {
    const { put, page } = make();
    const first = number(gauge('a', ''), 1);
    const again = (value: number, flags = 0): Point => ({ ...first, time: tick(1n), value, flags }) as Point;
    put(0, first, number(gauge('b', ''), 1));
    put(1, again(0, 1));
    expect(page()).toBe('# TYPE b gauge\nb 1\n');
    put(2, again(5));
    expect(page()).toContain('a 5\n');
  });

  it('is not announced by the stale point of another source', () => {
    const { put, page } = make();
    put(0, number(gauge('g', ''), 1, NO_ATTRIBUTES, resource({ x: 'a' })));
    put(0, { ...number(gauge('g', ''), 0, NO_ATTRIBUTES, resource({ x: 'b' })), flags: 1 });
    expect(page()).toContain('g 1\n');
  });

  it('ignores a point that is older than the one shown', () => {
    const { put, page, drops } = make();
    const old = number(gauge('g', ''), 1);
    put(0, number(gauge('g', ''), 2), old);
    expect(page()).toContain('g 2\n');
    expect(drops).toEqual(['stale: g: a point that is older than the one shown']);
  });
});

describe('deltas', () => {
  const delta = (name: string): Metric => ({ ...sum(name, ''), temporality: 1 });

  it('are added up to a counter', () => {
    const { put, page } = make();
    put(0, number(delta('n'), 5n), number(delta('n'), 3n), number(delta('n'), 2.5));
    expect(page()).toBe('# TYPE n_total counter\nn_total 10.5\n');
  });

  it('are not added twice when a batch is sent again', () => {
    const { put, page, drops } = make();
    const point = number(delta('n'), 5);
    put(0, point, point);
    expect(page()).toContain('n_total 5\n');
    expect(drops.length).toBe(1);
  });

  it('of histograms are added bucket by bucket', () => {
    const { put, page } = make();
    const metric = histogramMetric('h', 1);
    put(0, histogram(metric, [1], [1, 2], undefined, 4), histogram(metric, [1], [10, 20], undefined, 40));
    expect(page()).toContain('h_seconds_bucket{le="1.0"} 11\nh_seconds_bucket{le="+Inf"} 33\nh_seconds_sum 44\n');
  });
});

describe('exponential histograms', () => {
  const metric: Metric = { ...gauge('lat', ''), type: 'exponential_histogram', temporality: 2 };
  const exponential = (over: object): Point =>
    ({ ...base(metric), count: 0, scale: 0, zeroCount: 0, zeroThreshold: 0, ...over }) as Point;

  it('are shown as a classic histogram whose bounds are powers of two; counts are exact', () => {
    const { put, page } = make();
    put(
      0,
      exponential({
        count: 13,
        sum: 20,
        scale: 1,
        zeroCount: 2,
        zeroThreshold: 0.001,
        positive: { offset: -2, counts: Float64Array.from([1, 2, 3, 4]) },
        negative: { offset: 0, counts: Float64Array.from([1]) },
      }),
    );
    expect(page()).toBe(
      [
        '# TYPE lat histogram',
        'lat_bucket{le="-1.0"} 1',
        'lat_bucket{le="0.001"} 3',
        'lat_bucket{le="0.5"} 3',
        'lat_bucket{le="1.0"} 6',
        'lat_bucket{le="2.0"} 13',
        'lat_bucket{le="+Inf"} 13',
        'lat_sum 20',
        'lat_count 13',
        '',
      ].join('\n'),
    );
  });

  it('never make more than a page can hold, whatever their scale and offset', () => {
    const { put, page } = make();
    put(
      0,
      exponential({ count: 2000, scale: -5, positive: { offset: -1000, counts: new Float64Array(2000).fill(1) } }),
    );
    const buckets = page().match(/lat_bucket/g)!;
    expect(buckets.length).toBeLessThan(200);
    expect(page()).toContain('lat_bucket{le="+Inf"} 2000\n');
  });

  it('are added up as deltas even when scales and places differ wildly', () => {
    const { put, page } = make();
    const d = { ...metric, temporality: 1 };
    const of = (over: object): Point => ({ ...exponential(over), series: { ...base(d).series } }) as Point;
    put(
      0,
      of({ count: 3, scale: 20, positive: { offset: 0, counts: Float64Array.from([3]) } }),
      of({ count: 4, scale: 3, positive: { offset: -2_000_000_000, counts: Float64Array.from([4]) } }),
    );
    expect(page()).toContain('lat_count 7\n');
  });
});
