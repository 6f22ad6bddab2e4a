import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Running } from '../../../pipeline/component.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { msFromNanos } from '../../../pipeline/model.ts';
import { createEvents } from '../../../processors/bottleneck/events.ts';
import { dynamoTrace } from '../../../receivers/dynamo_trace/index.ts';
import { looking } from '../../kit/feed.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

let dir: string;
let running: Running | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'enginelight-dynamo-'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function started(more: Record<string, unknown> = {}) {
  const context = testContext();
  const next = sink();
  const config = resolve(dynamoTrace.config, { include: [join(dir, '*.jsonl*')], start_at: 'beginning', ...more });
  running = await dynamoTrace.start(config, next, context);
  const look = (done?: () => boolean) => looking(context.clock as ManualClock, 1000, done);
  return { context, next, look };
}

const request = (more: object = {}) => ({
  schema: 'dynamo.request.trace.v1',
  event_type: 'request_end',
  event_time_unix_ms: 1_777_312_801_000,
  event_source: 'dynamo',
  agent_context: { session_id: 'run-42:researcher' },
  request: {
    request_id: 'dynamo-request-id',
    x_request_id: 'caller-request-id',
    model: 'my-model',
    input_tokens: 128,
    output_tokens: 16,
    cached_tokens: 64,
    request_received_ms: 1_777_312_800_000,
    prefill_wait_time_ms: 20,
    prefill_time_ms: 180,
    ttft_ms: 200,
    total_time_ms: 1000,
    kv_transfer_estimated_latency_ms: 15,
    worker: { prefill_worker_id: 11, decode_worker_id: 22 },
    finish_reason_metadata: { finish_reason: 'stop', tool_calls: [{ name: 'web_search' }] },
    replay: { trace_block_size: 64, input_length: 128, input_sequence_hashes: ['14879255164371896291'] },
    ...more,
  },
});
const pass = (counter: number, more: object = {}) => ({
  schema: 'dynamo.fpm.trace.v1',
  source: { namespace: 'default', component: 'backend', producer_id: '4192' },
  capture_mode: 'sampled',
  observed_at_unix_ms: 1_782_777_601_250,
  fpm: {
    version: 1,
    worker_id: '4192',
    dp_rank: 1,
    counter_id: counter,
    wall_time: 0.025,
    scheduled_requests: { num_prefill_requests: 2, sum_prefill_tokens: 256, num_decode_requests: 3 },
    queued_requests: { num_prefill_requests: 1, num_decode_requests: 0 },
    ...more,
  },
});
const envelope = (event: object) => `${JSON.stringify({ timestamp: 1250, event })}\n`;

test('a request becomes a span in neutral names, without what its tools were called with', async () => {
  const { next, look } = await started();
  writeFileSync(join(dir, 'r.jsonl'), `${JSON.stringify(request())}\n`);
  await look(() => next.spans().length > 0);
  const [span] = next.spans();
  expect(span!.name).toBe('http-request');
  expect(span!.resource.attributes).toMatchObject({ 'inference.engine': 'dynamo', 'inference.role': 'frontend' });
  expect(msFromNanos(span!.startTime)).toBe(1_777_312_800_000);
  expect(msFromNanos(span!.endTime)).toBe(1_777_312_801_000);
  expect(span!.attributes).toEqual({
    'inference.stage': 'request',
    'inference.request.id': 'caller-request-id',
    request_id: 'dynamo-request-id',
    'gen_ai.request.model': 'my-model',
    'gen_ai.usage.input_tokens': 128,
    'gen_ai.usage.output_tokens': 16,
    'gen_ai.usage.cache_read.input_tokens': 64,
    'gen_ai.server.request.duration': 1,
    'gen_ai.server.time_to_first_token': 0.2,
    'inference.request.queue.duration': 0.02,
    'inference.request.prefill.duration': 0.18,
    'inference.request.decode.duration': 0.8,
    'inference.request.transfer.duration': 0.015,
    'inference.request.prefill.worker': '11',
    'inference.request.decode.worker': '22',
    'gen_ai.response.finish_reasons': ['stop'],
  });
  expect(JSON.stringify(span!.attributes)).not.toContain('web_search');
});

test('a row without context has what the replay needs, and that is enough', async () => {
  const { next, look } = await started();
  const row = {
    ...request(),
    request: {
      request_id: 'a',
      request_received_ms: 1_777_312_800_000,
      output_tokens: 4,
      replay: { input_length: 12 },
    },
  };
  writeFileSync(join(dir, 'r.jsonl'), `${JSON.stringify(row)}\n`);
  await look(() => next.spans().length > 0);
  expect(next.spans()[0]!.attributes).toMatchObject({
    'gen_ai.usage.input_tokens': 12,
    'gen_ai.server.request.duration': 1,
  });
});

test('iterations in growing gzip segments become steps, where the detectors look for them', async () => {
  const { next, look } = await started();
  const file = join(dir, 'fpm.4192.000000.jsonl.gz');
  writeFileSync(file, gzipSync(envelope(pass(42)) + envelope(pass(43, { wall_time: 0 }))));
  await look(() => next.spans().length > 0);
  appendFileSync(file, gzipSync(envelope(pass(44))));
  writeFileSync(join(dir, 'fpm.4192.000001.jsonl.gz'), gzipSync(envelope(pass(45))));
  await look(() => next.spans().length > 2);
  expect(next.spans().map((s) => s.attributes['step.id'])).toEqual([42, 44, 45]);
  const [span] = next.spans();
  expect(span!.attributes).toMatchObject({ 'step.prefill_tokens': 256, 'step.decode_seqs': 3, 'hook.sampled': true });
  expect(span!.resource.attributes).toMatchObject({
    'service.instance.id': '4192',
    'inference.rank.dp': 1,
    'inference.pool': 'backend',
  });
  expect(Number(span!.endTime - span!.startTime)).toBeCloseTo(25e6, -3);
  const topology = createTopology();
  const events = createEvents(topology);
  events.spans(next.spans(), 0);
  expect(events.steps(topology.get('replica', '4192')!)!.items.length).toBe(3);
});

test('ends of tools are passed over; garbage, other schemas and half lines are counted', async () => {
  const { context, next, look } = await started();
  writeFileSync(
    join(dir, 'r.jsonl'),
    [
      JSON.stringify({ ...request(), event_type: 'tool_end' }),
      '{"schema":"dynamo.request.trace.v1","event_type":"request_end"}',
      '{"schema":"dynamo.fpm.trace.v1"}',
      '{"schema":"other"}',
      '[]',
      'not json',
      '{"timestamp":1,"event":7}',
      JSON.stringify(request()),
      '{"schema":"dynamo.req',
    ].join('\n'),
  );
  await look(() => next.spans().length > 0);
  expect(next.spans().length).toBe(1);
  expect(context.measured.drops.length).toBe(6);
});
