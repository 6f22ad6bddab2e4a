import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import {
  type ExponentialHistogramPoint,
  gauge,
  type HistogramPoint,
  type MetricsBatch,
  metricsBatch,
  type NumberPoint,
  type Point,
  resource,
  type Series,
  scope,
  sum,
} from '../../../pipeline/model.ts';
import { normalize } from '../../../processors/normalize/index.ts';
import { sink, testContext } from '../../kit/harness.ts';
import { running, shown, target } from './run.ts';

const PAGE = `
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3
# TYPE vllm:websocket_connections_active gauge
vllm:websocket_connections_active 1
# TYPE vllm:brand_new gauge
vllm:brand_new 1
# TYPE my_own gauge
my_own 1
up 1
`;

describe('what was normalised already', () => {
  test('goes on once: an agent’s output through a gateway, a recording of it through a replay', async () => {
    const first = await running();
    const second = await running();
    const of = target();
    for (let round = 0; round < 2; round++) {
      const once = (await first.through(metricsBatch(of.read(PAGE)))) as MetricsBatch;
      const twice = (await second.through(once)) as MetricsBatch;
      expect(twice.items).toEqual(once.items);
    }
    // What is new to the second beside it still gets its neutral form.
    const once = (await first.through(metricsBatch(of.read(PAGE)))) as MetricsBatch;
    const more = target().read('# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name="m"} 2\n');
    const both = (await second.through(metricsBatch([...once.items, ...more]))) as MetricsBatch;
    const names = both.items.map((p) => p.series.metric.name);
    expect(names.filter((n) => n === 'inference.requests.running')).toHaveLength(1);
    expect(names.filter((n) => n === 'inference.requests.waiting')).toHaveLength(1);
  });
});

describe('originals', () => {
  test('are kept by default, as they are and in front', async () => {
    const { through } = await running();
    const points = target().read(PAGE);
    const { items } = (await through(metricsBatch(points))) as MetricsBatch;
    expect(items.slice(0, points.length)).toEqual(points);
    expect(items.slice(0, points.length).every((p, i) => p === points[i])).toBe(true);
    expect(shown(items.slice(points.length))).toEqual([
      'inference.requests.running 3 {request} updown @ gen_ai.request.model=m inference.engine=vllm inference.rank.dp=0',
    ]);
  });

  test('can be dropped: what is not of a known source stays, what has no neutral name is counted', async () => {
    const { through, context } = await running({ originals: 'drop' });
    const { items } = (await through(metricsBatch(target().read(PAGE)))) as MetricsBatch;
    expect(items.map((p) => p.series.metric.name)).toEqual(['my_own', 'up', 'inference.requests.running']);
    expect(context.measured.drops).toEqual([{ signal: 'metrics', items: 2, reason: 'filtered' }]);
  });

  test('a batch with nothing to say about goes on as the same object', async () => {
    const { through } = await running();
    const batch = metricsBatch(target().read('my_own 1\n'));
    expect(await through(batch)).toBe(batch);
    const logs = { signal: 'logs', items: [] } as const;
    expect(await through(logs)).toBe(logs);
  });
});

describe('identity', () => {
  test('series, resources and metrics are the same objects scrape after scrape', async () => {
    const { neutral } = await running();
    const of = target();
    const page =
      '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 1\nvllm:num_requests_running{engine="1"} 2\n';
    const first = await neutral(of.read(page, 1_000));
    const second = await neutral(of.read(page, 2_000));
    expect(second.map((p) => p.series)).toEqual(first.map((p) => p.series));
    expect(second.every((p, i) => p.series === first[i]!.series)).toBe(true);
    expect(first[0]!.series.metric).toBe(first[1]!.series.metric);
    expect(second[0]!.time).toBe(2_000_000_000n);
  });

  test('metrics of two targets share their description, resources do not', async () => {
    const { neutral } = await running();
    const page = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n';
    const [a] = await neutral(target({ 'service.instance.id': 'a' }).read(page));
    const [b] = await neutral(target({ 'service.instance.id': 'b' }).read(page));
    expect(a!.series.metric).toBe(b!.series.metric);
    expect(a!.series.resource.attributes['service.instance.id']).toBe('a');
    expect(b!.series.resource.attributes['service.instance.id']).toBe('b');
  });

  test('points of one neutral resource come together', async () => {
    const { neutral } = await running();
    const gpus = ['A', 'B', 'C'];
    const page = ['DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_POWER_USAGE']
      .map((n) => `# TYPE ${n} gauge\n${gpus.map((g) => `${n}{UUID="${g}"} 1`).join('\n')}`)
      .join('\n');
    const ids = (await neutral(target().read(page))).map((p) => p.series.resource.attributes['hw.id']);
    expect(ids).toEqual(['A', 'A', 'B', 'B', 'C', 'C']);
  });
});

describe('absence', () => {
  test('a signal that is not exposed does not come out', async () => {
    const { neutral } = await running();
    expect(await neutral(target().read('# TYPE vllm:nothing_known gauge\nvllm:nothing_known 1\n'))).toEqual([]);
  });

  test('a value that needs another metric is absent while that is', async () => {
    const { neutral } = await running();
    const of = target();
    const blocks = '# TYPE trtllm_kv_cache_max_blocks gauge\ntrtllm_kv_cache_max_blocks{model_name="m"} 100\n';
    const size = '# TYPE trtllm_kv_cache_tokens_per_block gauge\ntrtllm_kv_cache_tokens_per_block{model_name="m"} 32\n';
    expect(await neutral(of.read(blocks))).toEqual([]);
    expect((await neutral(of.read(blocks + size))).map((p) => (p as NumberPoint).value)).toEqual([3200]);
    expect((await neutral([...of.read(blocks), ...of.end(size)])).map((p) => (p as NumberPoint).value)).toEqual([]);
    expect(await neutral(of.read(blocks))).toEqual([]);
  });

  test('a share of nothing is no value', async () => {
    const { neutral } = await running();
    const page =
      '# TYPE sglang:hicache_host_used_tokens gauge\nsglang:hicache_host_used_tokens 0\n# TYPE sglang:hicache_host_total_tokens gauge\nsglang:hicache_host_total_tokens 0\n';
    const names = (await neutral(target().read(page))).map((p) => p.series.metric.name);
    expect(names).not.toContain('inference.kv.offload.usage');
  });

  test('an uptime is what passed since the start; a start in the future is none', async () => {
    const { neutral } = await running();
    const of = target();
    const page = (start: number) =>
      `# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds ${start}\n`;
    const uptime = async (start: number) =>
      (await neutral(of.read(page(start), 1_000_000_000)))
        .filter((p) => p.series.metric.name === 'process.uptime')
        .map((p) => (p as NumberPoint).value);
    expect(await uptime(999_940)).toEqual([60]);
    expect(await uptime(1_000_001)).toEqual([0]);
    expect(await uptime(2_000_000)).toEqual([]);
  });
});

describe('the life of a series', () => {
  test('stale points end the neutral series; the next value starts it again', async () => {
    const { neutral } = await running();
    const of = target();
    const page = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name="m"} 1\n';
    const text = async (points: readonly Point[]) => shown(await neutral(points)).map((l) => l.split(' @')[0]);
    expect(await text(of.read(page))).toEqual(['inference.requests.running 1 {request} updown']);
    expect(await text(of.end(page))).toEqual(['inference.requests.running stale {request} updown']);
    expect(await text(of.end(page))).toEqual([]);
    expect(await text(of.read(page))).toEqual(['inference.requests.running 1 {request} updown']);
  });

  test('a histogram ends as a histogram', async () => {
    const { neutral } = await running();
    const of = target();
    const page =
      '# TYPE vllm:e2e_request_latency_seconds histogram\nvllm:e2e_request_latency_seconds_bucket{le="+Inf"} 1\nvllm:e2e_request_latency_seconds_sum 1\nvllm:e2e_request_latency_seconds_count 1\n';
    await neutral(of.read(page));
    const [end] = await neutral(of.end(page));
    expect(end).toMatchObject({ flags: 1, count: 0 });
    expect((end as HistogramPoint).bucketCounts).toHaveLength(0);
  });

  test('when the parts of a total appear, the total ends', async () => {
    const { neutral } = await running();
    const of = target();
    const total = '# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 9\n';
    const parts =
      '# TYPE vllm:num_requests_waiting_by_reason gauge\nvllm:num_requests_waiting_by_reason{reason="capacity"} 9\n';
    const text = async (page: string) => shown(await neutral(of.read(page))).map((l) => l.split(' {')[0]);
    expect(await text(total)).toEqual(['inference.requests.waiting 9']);
    expect(await text(total + parts)).toEqual([
      'inference.requests.waiting stale',
      'inference.requests.waiting{reason=capacity} 9',
    ]);
    expect(await text(total + parts)).toEqual(['inference.requests.waiting{reason=capacity} 9']);
  });

  test('a neutral series that two metrics could give survives a change from one to the other', async () => {
    const { neutral } = await running();
    const of = target();
    const old = '# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc 0.5\n';
    const now = '# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc 0.6\n';
    const [before] = await neutral(of.read(old));
    const after = await neutral([...of.end(old), ...of.read(now)]);
    expect(after.map((p) => [(p as NumberPoint).value, p.flags])).toEqual([[0.6, 0]]);
    expect(after[0]!.series).toBe(before!.series);
  });

  test('a restarted engine with other families is planned anew', async () => {
    const { neutral } = await running();
    const of = target();
    const dynamo = '# TYPE dynamo_component_inflight_requests gauge\ndynamo_component_inflight_requests 4\n';
    const engine = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\n';
    const text = async (page: string) =>
      shown(await neutral(of.read(page))).map((l) => l.replace(/ \{.*inference.engine/, ' inference.engine'));
    expect(await text(dynamo)).toEqual(['inference.requests.running 4 inference.engine=dynamo']);
    expect(await text(dynamo + engine)).toEqual([
      'inference.requests.running 3 inference.engine=vllm',
      'inference.requests.running stale inference.engine=dynamo',
    ]);
  });
});

describe('points that did not come from a scrape', () => {
  const SCOPE = scope('otlp');
  const about = resource({ 'service.name': 'llm' });
  const at = { time: 5n, startTime: 2n, flags: 0 };
  const series = (metric: Series['metric'], attributes = {}): Series => ({
    resource: about,
    scope: SCOPE,
    metric,
    attributes,
  });

  test('keep start times, exemplars and integers', async () => {
    const { neutral } = await running();
    const exemplars = [{ time: 1n, value: 3, traceId: 'ab', spanId: 'cd', filteredAttributes: {} }];
    const point: NumberPoint = {
      ...at,
      series: series(sum('vllm:prompt_tokens', '')),
      value: 9_007_199_254_740_993n,
      exemplars,
    };
    const [out] = (await neutral([point])) as NumberPoint[];
    expect(out).toMatchObject({ time: 5n, startTime: 2n, value: 9_007_199_254_740_993n, exemplars });
    expect(out!.series.metric).toMatchObject({
      name: 'inference.tokens.prompt',
      type: 'sum',
      monotonic: true,
      unit: '{token}',
    });
  });

  test('keep their temporality', async () => {
    const { neutral } = await running();
    const delta = { ...sum('vllm:prompt_tokens_total', ''), temporality: 1 };
    const [out] = await neutral([{ ...at, series: series(delta), value: 1 }]);
    expect(out!.series.metric.temporality).toBe(1);
  });

  test('exponential histograms pass where no unit has to change', async () => {
    const { neutral } = await running();
    const exponential = (name: string): Series['metric'] => ({
      ...gauge(name, ''),
      type: 'exponential_histogram',
      temporality: 2,
    });
    const point = (name: string): ExponentialHistogramPoint => ({
      ...at,
      series: series(exponential(name)),
      count: 2,
      sum: 3,
      scale: 1,
      zeroCount: 0,
      zeroThreshold: 0,
      positive: { offset: 0, counts: Float64Array.from([2]) },
    });
    const out = await neutral([
      point('vllm:e2e_request_latency_seconds'),
      point('sglang:kv_transfer_latency_ms'),
      point('vllm:nixl_bytes_transferred'),
    ]);
    expect(out.map((p) => [p.series.metric.name, 'value' in p ? p.value : p.count])).toEqual([
      ['gen_ai.server.request.duration', 2],
      ['inference.kv.transfer.count', 2],
      ['inference.kv.transfer.io', 3],
    ]);
  });

  test('min, max and the bounds of a histogram are scaled once', async () => {
    const { neutral } = await running();
    const histogram: Series['metric'] = {
      ...gauge('sglang:kv_transfer_latency_ms', 'ms'),
      type: 'histogram',
      temporality: 2,
    };
    const s = series(histogram);
    const bounds = Float64Array.from([1, 25, 100]);
    const point: HistogramPoint = {
      ...at,
      series: s,
      count: 2,
      sum: 40,
      min: 10,
      max: 30,
      bounds,
      bucketCounts: Float64Array.from([0, 1, 1, 0]),
    };
    const [a] = (await neutral([point])) as HistogramPoint[];
    const [b] = (await neutral([{ ...point, count: 3 }])) as HistogramPoint[];
    expect(a).toMatchObject({ count: 2, sum: 0.04, min: 0.01, max: 0.03 });
    expect([...a!.bounds]).toEqual([0.001, 0.025, 0.1]);
    expect(b!.bounds).toBe(a!.bounds);
  });

  test('labels that are not texts work too', async () => {
    const { neutral } = await running();
    const [out] = await neutral([
      { ...at, series: series(gauge('vllm:num_requests_running', ''), { engine: 2 }), value: 1 },
    ]);
    expect(out!.series.resource.attributes['inference.rank.dp']).toBe(2);
  });
});

describe('configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'normalize-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'acme.yaml');

  test('takes more catalogue files', async () => {
    writeFileSync(
      file,
      "name: acme\nkind: engine\nengine: acme\nprefixes: [acme_]\nmetrics:\n  - { from: acme_running, to: inference.requests.running, type: gauge, unit: '{request}', brief: requests }\n",
    );
    const { neutral } = await running({ catalog: [file] });
    expect(shown(await neutral(target().read('acme_running 4\n')))).toEqual([
      'inference.requests.running 4 {request} updown @ inference.engine=acme',
    ]);
  });

  test('says what is wrong with one', () => {
    writeFileSync(file, 'name: acme\nkind: motor\n');
    expect(normalize.validate?.(resolve(normalize.config, { catalog: [file] }))).toMatchObject([
      { path: ['catalog', 0], message: expect.stringMatching(/acme\.yaml:2:7: .*motor/) },
    ]);
    expect(normalize.validate?.(resolve(normalize.config, {}))).toEqual([]);
  });

  test('refusals of what follows reach the sender', async () => {
    const next = sink();
    const stage = await normalize.start(resolve(normalize.config, {}), next, testContext({ kind: 'processor' }));
    next.failWith(new Error('no'));
    expect(() => stage.consume(metricsBatch(target().read(PAGE)))).toThrow('no');
    await stage.stop();
    await stage.stop();
  });
});
