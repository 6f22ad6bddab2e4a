import { expect, test } from 'vitest';
import { PermanentError, RetryableError } from '../../../pipeline/errors.ts';
import { outbox } from '../../../pipeline/kit/outbox.ts';
import type { Batch, LogRecord } from '../../../pipeline/model.ts';
import { testContext } from '../../kit/harness.ts';

const record = (n: number) => ({ eventName: `e${n}` }) as LogRecord;

function behind() {
  const context = testContext({ kind: 'processor', id: 'p' });
  const got: string[] = [];
  let refusal: Error | undefined;
  const next = {
    async consume(batch: Batch) {
      if (refusal) throw refusal;
      got.push(...(batch.items as readonly LogRecord[]).map((r) => r.eventName));
    },
  };
  const refuse = (error?: Error) => {
    refusal = error;
  };
  return { context, got, refuse, box: outbox(next, 'Alerts', context) };
}

test('what may be tried again waits, and goes first the next time', async () => {
  const { box, got, refuse, context } = behind();
  box.push(record(1));
  refuse(new RetryableError('later'));
  await box.deliver();
  box.push(record(2));
  refuse();
  await box.deliver();
  expect(got).toEqual(['e1', 'e2']);
  expect(context.measured.drops).toEqual([]);
});

test('what is refused for good is dropped, counted and said', async () => {
  const { box, got, refuse, context } = behind();
  box.push(record(1));
  refuse(new PermanentError('never'));
  await box.deliver();
  refuse();
  await box.deliver();
  expect(got).toEqual([]);
  expect(context.measured.drops).toMatchObject([{ reason: 'permanent_error', items: 1 }]);
  expect(context.log.records.map((r) => r.message)).toEqual(['Alerts could not be handed on.']);
});

test('of what waits too long the oldest are dropped, counted and said', async () => {
  const { box, got, refuse, context } = behind();
  for (let n = 0; n < 6000; n++) box.push(record(n));
  refuse(new RetryableError('later'));
  await box.deliver();
  refuse();
  await box.deliver();
  expect(got).toHaveLength(5000);
  expect(got[0]).toBe('e1000');
  expect(context.measured.drops).toMatchObject([{ reason: 'queue_full', items: 1000 }]);
});
