import { expect, test } from 'vitest';
import {
  type Attributes,
  NO_ATTRIBUTES,
  resource,
  type Span,
  scope,
  type TracesBatch,
  tracesBatch,
} from '../../../pipeline/model.ts';
import { running } from './run.ts';

const span = (name: string, attributes: Attributes, about: Attributes = {}, scopeName = 'x'): Span => ({
  resource: resource(about),
  scope: scope(scopeName),
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: '',
  traceState: '',
  flags: 0,
  name,
  kind: 2,
  startTime: 1n,
  endTime: 2n,
  attributes,
  droppedAttributesCount: 0,
  events: [],
  droppedEventsCount: 0,
  links: [],
  droppedLinksCount: 0,
  status: { code: 0, message: '' },
});

async function normalized(spans: readonly Span[], config = {}): Promise<readonly Span[]> {
  const { through } = await running(config);
  return ((await through(tracesBatch(spans))) as TracesBatch).items;
}

const VLLM = {
  'gen_ai.usage.prompt_tokens': 100,
  'gen_ai.usage.completion_tokens': 20,
  'gen_ai.request.id': 'cmpl-1',
  'gen_ai.latency.time_in_queue': 0.5,
  'gen_ai.latency.time_to_first_token': 0.7,
  'gen_ai.latency.time_in_model_prefill': 0.2,
};

test('vLLM’s request span gets neutral names beside its own', async () => {
  const [out] = await normalized([span('llm_request', VLLM)]);
  expect(out!.attributes).toEqual({
    ...VLLM,
    'inference.stage': 'request',
    'gen_ai.usage.input_tokens': 100,
    'gen_ai.usage.output_tokens': 20,
    'inference.request.id': 'cmpl-1',
    'inference.request.queue.duration': 0.5,
    'inference.request.prefill.duration': 0.2,
    'gen_ai.server.time_to_first_token': 0.7,
  });
  expect(out!.resource.attributes['inference.engine']).toBe('vllm');
});

test('with originals dropped only the neutral names are left', async () => {
  const [out] = await normalized([span('llm_request', { 'gen_ai.usage.prompt_tokens': 100, other: 1 })], {
    originals: 'drop',
  });
  expect(out!.attributes).toEqual({ other: 1, 'inference.stage': 'request', 'gen_ai.usage.input_tokens': 100 });
});

test('an attribute that is there under its neutral name is not overwritten', async () => {
  const [out] = await normalized([
    span('llm_request', { 'gen_ai.usage.prompt_tokens': 1, 'gen_ai.usage.input_tokens': 2 }),
  ]);
  expect(out!.attributes['gen_ai.usage.input_tokens']).toBe(2);
});

test('SGLang: request, thread and slice spans', async () => {
  const about = { 'service.name': 'sglang' };
  const [root, thread, slice] = await normalized([
    span('prefill Req 1a2b3c4d', { rid: '1a2b', bootstrap_room: 7, 'gen_ai.usage.cached_tokens': 5 }, about),
    span('scheduler [TP 1]', { thread_label: 'scheduler', tp_rank: 1, dp_rank: 0 }, about),
    span('prefill_transfer_kv_cache', {}, about),
  ]);
  expect(root!.attributes).toMatchObject({
    'inference.stage': 'request',
    'inference.request.id': '1a2b',
    'inference.pd.room': 7,
    'gen_ai.usage.cache_read.input_tokens': 5,
  });
  expect(thread!.attributes).toMatchObject({
    'inference.stage': 'thread',
    'inference.rank.tp': 1,
    'inference.rank.dp': 0,
  });
  expect(slice!.attributes).toEqual({ 'inference.stage': 'kv_transfer' });
  expect(slice!.resource.attributes).toEqual({ ...about, 'inference.engine': 'sglang' });
});

test('Dynamo: the request at the frontend, and the choice of a worker', async () => {
  const [request, route] = await normalized([
    span('http-request', { x_request_id: 'r1' }),
    span('kv_router.select_worker', {}),
  ]);
  expect(request!.attributes).toMatchObject({ 'inference.request.id': 'r1', 'inference.role': 'frontend' });
  expect(route!.attributes).toEqual({ 'inference.stage': 'route', 'inference.role': 'router' });
});

test('llm-d: the endpoint picker by its scope, and the sidecar that waits for both legs', async () => {
  const proxy = { 'llm_d.pd_proxy.request_id': 'r1', 'llm_d.pd_proxy.connector': 'nixlv2' };
  const [route, request, prefill, decode, other] = await normalized([
    span('filter_endpoints', { 'gen_ai.request.id': 'r1' }, {}, 'llm-d-router/pkg/epp/scheduling'),
    span('gateway.request', {}, {}, 'llm-d-router/pkg/epp/handlers'),
    span('prefill', proxy),
    span('llm_d.pd_proxy.decode', proxy),
    span('prefill', {}),
  ]);
  expect(route!.attributes).toMatchObject({ 'inference.stage': 'route', 'inference.request.id': 'r1' });
  expect(request!.attributes).toMatchObject({ 'inference.stage': 'request', 'inference.role': 'router' });
  expect(prefill!.attributes).toMatchObject({ 'inference.stage': 'prefill', 'inference.request.id': 'r1' });
  expect(decode!.attributes).toMatchObject({ 'inference.stage': 'decode', 'inference.role': 'router' });
  expect(other!.attributes).toEqual({});
});

test('spans of others pass as they are, even if they share a name or an attribute', async () => {
  const mine = [
    span('decode_loop', { a: 1 }),
    span('GET /', { rid: 'x' }, { 'inference.engine': 'acme' }),
    span('collective', NO_ATTRIBUTES),
  ];
  expect(await normalized(mine)).toEqual(mine);
});

test('resources stay one object per sender', async () => {
  const about = resource({});
  const spans = [1, 2].map(() => ({ ...span('llm_request', {}), resource: about }));
  const [a, b] = await normalized(spans);
  expect(a!.resource).toBe(b!.resource);
});
