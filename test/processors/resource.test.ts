import { expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { resource as about, logsBatch, metricsBatch, tracesBatch } from '../../pipeline/model.ts';
import { resource } from '../../processors/resource/index.ts';
import { deepFreeze, sink, testContext } from '../kit/harness.ts';
import { point, record, series, span } from './items.ts';

async function started(attributes: readonly unknown[]) {
  const next = sink();
  const stage = await resource.start(
    resolve(resource.config, { attributes }),
    next,
    testContext({ kind: 'processor' }),
  );
  return { next, stage };
}

const UPSERT = [{ key: 'env', value: 'prod', action: 'upsert' }];

test('attributes of the resource change for every signal, those of items do not', async () => {
  const { next, stage } = await started(UPSERT);
  const who = about({ 'service.name': 's' });
  for (const batch of [
    metricsBatch([point(series('m', { a: 1 }, who))]),
    tracesBatch([span('x', { a: 1 }, who)]),
    logsBatch([record('x', 9, { a: 1 }, who)]),
  ]) {
    await stage.consume(deepFreeze(batch));
  }
  const expected = { 'service.name': 's', env: 'prod' };
  expect(next.points()[0]!.series.resource.attributes).toEqual(expected);
  expect(next.points()[0]!.series.attributes).toEqual({ a: 1 });
  expect(next.spans()[0]!.resource.attributes).toEqual(expected);
  expect(next.spans()[0]!.attributes).toEqual({ a: 1 });
  expect(next.logs()[0]!.resource.attributes).toEqual(expected);
});

test('what was shared stays shared, batch after batch', async () => {
  const { next, stage } = await started(UPSERT);
  const who = about({});
  const [a, b] = [series('a', {}, who), series('b', {}, who)];
  await stage.consume(metricsBatch([point(a), point(b)]));
  await stage.consume(metricsBatch([point(a, 2)]));
  const [first, second, third] = next.points();
  expect(first!.series.resource).toBe(second!.series.resource);
  expect(third!.series).toBe(first!.series);
});

test('a batch in which nothing changes goes on as the same object', async () => {
  const { next, stage } = await started([{ key: 'absent', action: 'delete' }]);
  const batch = metricsBatch([point(series('m'))]);
  await stage.consume(batch);
  expect(next.batches[0]).toBe(batch);
  await stage.stop();
});

test('mistakes are told with their place', () => {
  expect(resource.validate?.(resolve(resource.config, { attributes: [{ action: 'insert', key: 'a' }] }))).toMatchObject(
    [{ path: ['attributes', 0], message: expect.stringContaining('"value"') }],
  );
});
