import { describe, expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { type Batch, logsBatch, metricsBatch, resource, tracesBatch } from '../../pipeline/model.ts';
import { attributes } from '../../processors/attributes/index.ts';
import { deepFreeze, sink, testContext } from '../kit/harness.ts';
import { point, record, series, span } from './items.ts';

const MARK = [{ key: 'mark', value: 1, action: 'insert' }];

async function through(config: Record<string, unknown>, batch: Batch) {
  const next = sink();
  const settings = resolve(attributes.config, { actions: MARK, ...config });
  const stage = await attributes.start(settings, next, testContext({ kind: 'processor' }));
  await stage.consume(deepFreeze(batch));
  return next;
}

const api = resource({ 'service.name': 'api', 'k8s.pod.name': 'api-0' });
const batch = metricsBatch([
  point(series('vllm:tokens', { tenant: 'a' }, api)),
  point(series('vllm:requests', { tenant: 'b' })),
  point(series('up', {})),
]);
const marked = async (config: Record<string, unknown>) =>
  (await through(config, batch)).points().map((p) => p.series.attributes['mark'] === 1);

describe('series', () => {
  test.each<[string, Record<string, unknown>, boolean[]]>([
    ['all, without include and exclude', {}, [true, true, true]],
    ['by whole names', { include: { match_type: 'strict', metric_names: ['up'] } }, [false, false, true]],
    ['by a part of their names', { include: { match_type: 'regexp', metric_names: ['^vllm:'] } }, [true, true, false]],
    [
      'but not those that are excluded',
      { exclude: { match_type: 'regexp', metric_names: ['^vllm:'] } },
      [false, false, true],
    ],
    [
      'included and not excluded',
      {
        include: { match_type: 'regexp', metric_names: ['^vllm:'] },
        exclude: { match_type: 'strict', attributes: [{ key: 'tenant', value: 'b' }] },
      },
      [true, false, false],
    ],
    [
      'that have an attribute',
      { include: { match_type: 'strict', attributes: [{ key: 'tenant' }] } },
      [true, true, false],
    ],
    ['of a service', { include: { match_type: 'strict', services: ['api'] } }, [true, false, false]],
    [
      'of a resource',
      { include: { match_type: 'regexp', resources: [{ key: 'k8s.pod.name', value: '^api-\\d$' }] } },
      [true, false, false],
    ],
    [
      'of a scope',
      { include: { match_type: 'strict', libraries: [{ name: 'lib', version: '1.2' }] } },
      [true, true, true],
    ],
    [
      'of no other scope',
      { include: { match_type: 'strict', libraries: [{ name: 'lib', version: '9' }] } },
      [false, false, false],
    ],
    [
      'only if every criterion is fulfilled',
      { include: { match_type: 'strict', services: ['api'], metric_names: ['up'] } },
      [false, false, false],
    ],
  ])('are changed: %s', async (_name, config, expected) => {
    expect(await marked(config)).toEqual(expected);
  });

  test('are changed once and stay one object', async () => {
    const next = sink();
    const stage = await attributes.start(resolve(attributes.config, { actions: MARK }), next, testContext());
    const one = series('m');
    await stage.consume(metricsBatch([point(one)]));
    await stage.consume(metricsBatch([point(one, 2)]));
    const [a, b] = next.points();
    expect(a!.series).toBe(b!.series);
    await stage.stop();
  });
});

test('spans are matched by name and kind', async () => {
  const spans = tracesBatch([span('GET /a'), span('POST /a')]);
  const include = { match_type: 'regexp', span_names: ['^GET'], span_kinds: ['SERVER$'] };
  const next = await through({ include }, spans);
  expect(next.spans().map((s) => s.attributes['mark'])).toEqual([1, undefined]);
});

test('log records are matched by body, severity text and number', async () => {
  const logs = logsBatch([record('it failed', 17), record('it works', 9), record('unknown', 0)]);
  const which = async (include: Record<string, unknown>) =>
    (await through({ include: { match_type: 'regexp', ...include } }, logs))
      .logs()
      .map((r) => r.attributes['mark'] === 1);
  expect(await which({ log_bodies: ['fail'] })).toEqual([true, false, false]);
  expect(await which({ log_severity_texts: ['^ERR'] })).toEqual([true, false, false]);
  expect(await which({ log_severity_number: { min: 'WARN' } })).toEqual([true, false, false]);
  expect(await which({ log_severity_number: { min: 9, match_undefined: true } })).toEqual([true, true, true]);
});

test.each<[Record<string, unknown>, string, (string | number)[]]>([
  [
    { include: { match_type: 'regexp', metric_names: ['('] } },
    'is not a regular expression',
    ['include', 'metric_names', 0],
  ],
  [{ exclude: { match_type: 'strict' } }, 'nothing to match by', ['exclude']],
  [
    { include: { match_type: 'strict', log_severity_number: { min: 'LOUD' } } },
    '"LOUD" is no severity',
    ['include', 'log_severity_number', 'min'],
  ],
  [{ actions: [{ action: 'hash' }] }, 'needs a "key"', ['actions', 0]],
])('%j is a mistake', (config, message, path) => {
  const found = attributes.validate?.(resolve(attributes.config, { actions: MARK, ...config })) ?? [];
  expect(found).toMatchObject([{ path, message: expect.stringContaining(message) }]);
});
