import { describe, expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { type Batch, logsBatch, metricsBatch, resource, tracesBatch } from '../../pipeline/model.ts';
import { filter } from '../../processors/filter/index.ts';
import { deepFreeze, sink, testContext } from '../kit/harness.ts';
import { point, record, series, span } from './items.ts';

async function through(config: Record<string, unknown>, batch: Batch) {
  const next = sink();
  const context = testContext({ kind: 'processor' });
  const stage = await filter.start(resolve(filter.config, config), next, context);
  await stage.consume(deepFreeze(batch));
  await stage.stop();
  return { next, drops: context.measured.drops };
}

const api = resource({ 'service.name': 'api' });

describe('metrics', () => {
  const batch = metricsBatch([point(series('vllm:a', {}, api)), point(series('vllm:b')), point(series('up'))]);
  const names = async (metrics: Record<string, unknown>) =>
    (await through({ metrics }, batch)).next.points().map((p) => p.series.metric.name);

  test.each<[string, Record<string, unknown>, string[]]>([
    ['all without criteria', {}, ['vllm:a', 'vllm:b', 'up']],
    ['what is included by name', { include: { match_type: 'strict', metric_names: ['up'] } }, ['up']],
    [
      'what is included by pattern',
      { include: { match_type: 'regexp', metric_names: ['^vllm:'] } },
      ['vllm:a', 'vllm:b'],
    ],
    ['what is not excluded', { exclude: { match_type: 'regexp', metric_names: ['b$', '^up$'] } }, ['vllm:a']],
    [
      'what is included and not excluded',
      {
        include: { match_type: 'regexp', metric_names: ['^vllm'] },
        exclude: { match_type: 'strict', metric_names: ['vllm:b'] },
      },
      ['vllm:a'],
    ],
    [
      'by resource',
      { include: { match_type: 'strict', resource_attributes: [{ key: 'service.name', value: 'api' }] } },
      ['vllm:a'],
    ],
  ])('pass: %s', async (_name, config, expected) => {
    expect(await names(config)).toEqual(expected);
  });

  test('that are dropped are counted', async () => {
    const { drops } = await through({ metrics: { exclude: { match_type: 'strict', metric_names: ['up'] } } }, batch);
    expect(drops).toEqual([{ signal: 'metrics', items: 1, reason: 'filtered' }]);
  });

  test('a batch that passes whole goes on as the same object, one that is dropped whole does not go on', async () => {
    const all = await through({ metrics: { exclude: { match_type: 'strict', metric_names: ['x'] } } }, batch);
    expect(all.next.batches[0]).toBe(batch);
    const none = await through({ metrics: { include: { match_type: 'strict', metric_names: ['x'] } } }, batch);
    expect(none.next.batches).toEqual([]);
    expect(none.drops).toEqual([{ signal: 'metrics', items: 3, reason: 'filtered' }]);
  });

  test('do not touch other signals', async () => {
    const spans = tracesBatch([span('x')]);
    const { next } = await through({ metrics: { include: { match_type: 'strict', metric_names: ['x'] } } }, spans);
    expect(next.batches[0]).toBe(spans);
  });
});

test('spans pass by name, service, attribute and resource', async () => {
  const batch = tracesBatch([span('GET /health', {}, api), span('GET /a', { 'http.response.status_code': 500 })]);
  const names = async (spans: Record<string, unknown>) =>
    (await through({ spans }, batch)).next.spans().map((s) => s.name);
  expect(await names({ exclude: { match_type: 'strict', span_names: ['GET /health'] } })).toEqual(['GET /a']);
  expect(await names({ include: { match_type: 'strict', services: ['api'] } })).toEqual(['GET /health']);
  const status = [{ key: 'http.response.status_code', value: 500 }];
  expect(await names({ include: { match_type: 'strict', attributes: status } })).toEqual(['GET /a']);
  expect(
    await names({ include: { match_type: 'regexp', attributes: [{ key: 'http.response.status_code', value: '^5' }] } }),
  ).toEqual(['GET /a']);
  expect(await names({ exclude: { match_type: 'regexp', resources: [{ key: 'service.name', value: 'a' }] } })).toEqual([
    'GET /a',
  ]);
});

test('log records pass by severity, body and attribute', async () => {
  const batch = logsBatch([record('bad', 17, { k: 'v' }), record('fine', 9), record('unset', 0)]);
  const bodies = async (logs: Record<string, unknown>) =>
    (await through({ logs }, batch)).next.logs().map((r) => r.body);
  expect(await bodies({ include: { match_type: 'strict', severity_number: { min: 'ERROR' } } })).toEqual(['bad']);
  expect(
    await bodies({ include: { match_type: 'strict', severity_number: { min: 'INFO', match_undefined: true } } }),
  ).toEqual(['bad', 'fine', 'unset']);
  expect(await bodies({ exclude: { match_type: 'regexp', bodies: ['^(bad|fine)$'] } })).toEqual(['unset']);
  expect(await bodies({ include: { match_type: 'strict', record_attributes: [{ key: 'k', value: 'v' }] } })).toEqual([
    'bad',
  ]);
  expect(await bodies({ include: { match_type: 'strict', severity_texts: ['ERROR'] } })).toEqual(['bad']);
});

describe('mistakes', () => {
  const found = (config: Record<string, unknown>) => filter.validate?.(resolve(filter.config, config)) ?? [];

  test.each<[Record<string, unknown>, string[], string]>([
    [
      { metrics: { metric: ['name == "x"'] } },
      ['metrics', 'metric'],
      'conditions in OTTL are not supported: write metrics.exclude',
    ],
    [{ traces: { span: ['name == "x"'] } }, ['traces', 'span'], 'write spans.exclude'],
    [{ logs: { log_record: ['severity_number < 9'] } }, ['logs', 'log_record'], 'write logs.exclude'],
    [
      { metrics: { include: { match_type: 'strict', expressions: ['x'] } } },
      ['metrics', 'include', 'expressions'],
      'expressions are not supported',
    ],
    [{ metrics: { include: { match_type: 'strict' } } }, ['metrics', 'include'], 'nothing to match by'],
    [{ spans: { exclude: { match_type: 'strict' } } }, ['spans', 'exclude'], 'nothing to match by'],
    [
      { logs: { include: { match_type: 'strict', severity_number: { min: 'LOUD' } } } },
      ['logs', 'include', 'severity_number', 'min'],
      'no severity',
    ],
  ])('%j', (config, path, message) => {
    expect(found(config)).toMatchObject([{ path, message: expect.stringContaining(message) }]);
  });

  test('patterns that are none', () => {
    expect(found({ metrics: { include: { match_type: 'regexp', metric_names: ['ok', '('] } } })).toMatchObject([
      {
        path: ['metrics', 'include', 'metric_names', 1],
        message: expect.stringContaining('is not a regular expression'),
      },
    ]);
  });

  test('error_mode is read', () => {
    expect(found({ error_mode: 'ignore' })).toEqual([]);
  });
});
