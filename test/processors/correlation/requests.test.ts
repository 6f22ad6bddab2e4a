import { afterEach, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { commonRequestId } from '../../../pipeline/kit/request-id.ts';
import { createTopology } from '../../../pipeline/kit/topology.ts';
import { applyTopology } from '../../../pipeline/kit/topology-records.ts';
import { type Attributes, nanosFromMs, resource, type Span, scope, tracesBatch } from '../../../pipeline/model.ts';
import { correlation } from '../../../processors/correlation/index.ts';
import { normalize } from '../../../processors/normalize/index.ts';
import { type ManualClock, type Sink, sink, type TestContext, testContext } from '../../kit/harness.ts';

let stages: Stage[] = [];
afterEach(async () => {
  for (const stage of stages) await stage.stop();
  stages = [];
});

/** normalize → correlation, as a pipeline has them. */
async function pipeline(options: Record<string, unknown> = {}) {
  const context: TestContext = testContext({ kind: 'processor' });
  const out: Sink = sink();
  const last = await correlation.start(resolve(correlation.config, options), out, context);
  const first = await normalize.start(resolve(normalize.config, {}), last, context);
  stages = [first, last];
  return {
    out,
    context,
    clock: context.clock as ManualClock,
    send: async (...spans: Span[]) => {
      for (const one of spans) await first.consume(tracesBatch([one]));
    },
    requests: () => out.logs().filter((r) => r.eventName === 'inference.request'),
  };
}

let serial = 0;
const T0 = 1_700_000_000_000;
interface Given {
  readonly trace: string;
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly about: Attributes;
  readonly attributes?: Attributes;
  readonly by?: string;
}
/** `from` and `to` in milliseconds of the request. */
const span = ({ trace, name, from, to, about, attributes = {}, by = 'x' }: Given): Span => ({
  resource: resource(about),
  scope: scope(by),
  traceId: trace.repeat(32),
  spanId: (++serial).toString(16).padStart(16, '0'),
  parentSpanId: '',
  traceState: '',
  flags: 0,
  name,
  kind: 2,
  startTime: nanosFromMs(T0 + from),
  endTime: nanosFromMs(T0 + to),
  attributes,
  droppedAttributesCount: 0,
  events: [],
  droppedEventsCount: 0,
  links: [],
  droppedLinksCount: 0,
  status: { code: 0, message: '' },
});

const UUID = '93923d63-113b-4b33-8973-f24d19d4bf11';
const HEX = UUID.replaceAll('-', '');
const EPP = { 'service.name': 'llm-d-router', 'service.instance.id': 'epp-0', 'inference.role': 'router' };
const SIDECAR = { 'service.name': 'llm-d-routing-sidecar' };
const vllm = (id: string, role?: string) => ({
  'service.name': 'llama',
  'service.instance.id': id,
  ...(role ? { 'inference.role': role } : {}),
});
const leg = (id: string, queue: number, prefill: number, decode: number, tokens: number) => ({
  'gen_ai.request.id': id,
  'gen_ai.usage.prompt_tokens': 1000,
  'gen_ai.usage.completion_tokens': tokens,
  'gen_ai.latency.time_in_queue': queue,
  'gen_ai.latency.time_in_model_prefill': prefill,
  'gen_ai.latency.time_in_model_decode': decode,
  'gen_ai.latency.e2e': queue + prefill + decode,
});

/** A request through llm-d: endpoint picker, sidecar, prefill and decode engine, each in the order they report. */
const throughLlmD = (
  traces: { gateway: string; prefill: string; decode: string },
  ids: { prefill: string; decode: string },
) => [
  span({
    trace: traces.gateway,
    name: 'run_scheduler_profile',
    from: 1,
    to: 4,
    about: EPP,
    by: 'llm-d-router/pkg/epp/scheduling',
  }),
  span({
    trace: traces.gateway,
    name: 'filter_endpoints',
    from: 1,
    to: 2,
    about: EPP,
    by: 'llm-d-router/pkg/epp/scheduling',
  }),
  span({
    trace: traces.gateway,
    name: 'pick_pd_profile',
    from: 4,
    to: 5,
    about: EPP,
    by: 'llm-d-router/pkg/epp',
    attributes: { 'gen_ai.request.id': UUID, 'gen_ai.request.model': 'llama' },
  }),
  span({
    trace: traces.prefill,
    name: 'llm_request',
    from: 10,
    to: 310,
    about: vllm('p0'),
    attributes: leg(ids.prefill, 0.1, 0.2, 0, 1),
  }),
  span({
    trace: traces.gateway,
    name: 'prefill',
    from: 8,
    to: 320,
    about: SIDECAR,
    attributes: { 'llm_d.pd_proxy.request_id': UUID, 'llm_d.pd_proxy.connector': 'nixlv2' },
  }),
  span({
    trace: traces.decode,
    name: 'llm_request',
    from: 330,
    to: 1330,
    about: vllm('d0'),
    attributes: leg(ids.decode, 0.05, 0.05, 0.9, 80),
  }),
  span({
    trace: traces.gateway,
    name: 'decode',
    from: 325,
    to: 1340,
    about: SIDECAR,
    attributes: { 'llm_d.pd_proxy.request_id': UUID, 'llm_d.pd_proxy.connector': 'nixlv2' },
  }),
  span({ trace: traces.gateway, name: 'gateway.request', from: 0, to: 1350, about: EPP, by: 'llm-d-router/pkg/epp' }),
];

const WHOLE = {
  'inference.request.key': HEX,
  'inference.request.route.duration': expect.closeTo(0.004, 6),
  'inference.request.queue.duration': expect.closeTo(0.1, 6),
  'inference.request.prefill.duration': expect.closeTo(0.2, 6),
  // From 310, when the prefill engine was done, to 380, when the other took it out of its queue.
  'inference.request.transfer.duration': expect.closeTo(0.07, 6),
  'inference.request.transfer.estimated': true,
  'inference.request.decode.duration': expect.closeTo(0.9, 6),
  'gen_ai.server.request.duration': expect.closeTo(1.35, 6),
  'inference.request.router': 'epp-0',
  'inference.request.prefill.replica': 'p0',
  'inference.request.decode.replica': 'd0',
  'gen_ai.request.model': 'llama',
  'inference.request.spans': 8,
};

describe('llm-d with vLLM behind it', () => {
  test('one trace: the parts are put together from whoever knows them best', async () => {
    const { send, requests, clock, out } = await pipeline();
    await send(
      ...throughLlmD(
        { gateway: 'a', prefill: 'a', decode: 'a' },
        { prefill: `chatcmpl-${UUID}`, decode: `chatcmpl-${UUID}` },
      ),
    );
    await clock.advance(60_000);
    expect(requests().length).toBe(1);
    expect(requests()[0]!.attributes).toMatchObject(WHOLE);
    expect(requests()[0]!.traceId).toBe('a'.repeat(32));
    expect(out.spans().every((s) => s.links.length === 0)).toBe(true);
  });

  test('three traces, as engines without a traceparent make them: by request id, with links', async () => {
    const { send, requests, clock, out } = await pipeline();
    const ids = { prefill: `cmpl-${UUID}-0-1a2b3c4d`, decode: `cmpl-${UUID}-0-99aabbcc` };
    await send(...throughLlmD({ gateway: 'a', prefill: 'b', decode: 'c' }, ids));
    await clock.advance(60_000);
    expect(requests().length).toBe(1);
    expect(requests()[0]!.attributes).toMatchObject(WHOLE);
    const engines = out.spans().filter((s) => s.name === 'llm_request');
    for (const engine of engines) {
      expect(engine.attributes).toMatchObject({
        'inference.request.key': HEX,
        'inference.request.joined_by': 'request_id',
      });
      expect(engine.links).toMatchObject([
        { traceId: 'a'.repeat(32), spanId: out.spans()[0]!.spanId, attributes: { 'inference.link': 'same_request' } },
      ]);
    }
  });

  test('the order in which spans come does not matter', async () => {
    for (const order of [(i: number) => -i, (i: number) => (i * 5) % 8]) {
      const { send, requests, clock } = await pipeline();
      const spans = throughLlmD(
        { gateway: 'a', prefill: 'b', decode: 'c' },
        { prefill: `chatcmpl-${UUID}`, decode: `chatcmpl-${UUID}` },
      );
      await send(
        ...spans
          .map((s, i) => [order(i), s] as const)
          .sort((x, y) => x[0] - y[0])
          .map(([, s]) => s),
      );
      await clock.advance(60_000);
      expect(requests().length).toBe(1);
      expect(requests()[0]!.attributes).toMatchObject(WHOLE);
      for (const stage of stages) await stage.stop();
    }
  });

  test('the hand-off makes its two replicas a pair of the topology', async () => {
    const { send, clock, out } = await pipeline();
    await send(...throughLlmD({ gateway: 'a', prefill: 'b', decode: 'c' }, { prefill: UUID, decode: UUID }));
    await clock.advance(60_000);
    const read = createTopology();
    for (const record of out.logs()) applyTopology(read, record, 0);
    expect(read.get('pair', 'p0->d0')).toBeDefined();
  });

  test('a transfer that a hook timed counts more than the guess', async () => {
    const { send, requests, clock } = await pipeline();
    await send(
      ...throughLlmD({ gateway: 'a', prefill: 'b', decode: 'c' }, { prefill: UUID, decode: UUID }),
      span({
        trace: 'd',
        name: 'kv_transfer',
        from: 315,
        to: 345,
        about: vllm('d0'),
        attributes: { 'kv.request_id': `cmpl-${UUID}-0`, 'kv.source': 'p0', 'kv.destination': 'd0' },
      }),
    );
    await clock.advance(60_000);
    expect(requests()[0]!.attributes['inference.request.transfer.duration']).toBeCloseTo(0.03, 6);
    expect(requests()[0]!.attributes['inference.request.transfer.estimated']).toBeUndefined();
  });
});

describe('SGLang', () => {
  test('slices of both legs, which share a room and nothing else', async () => {
    const { send, requests, clock } = await pipeline();
    const about = (id: string, role: string) => ({
      'service.name': 'sglang',
      'service.instance.id': id,
      'inference.role': role,
    });
    const p = about('p0', 'prefill');
    const d = about('d0', 'decode');
    await send(
      span({ trace: 'a', name: 'tokenize', from: 0, to: 5, about: p }),
      span({ trace: 'a', name: 'prefill_waiting', from: 5, to: 45, about: p }),
      span({ trace: 'a', name: 'prefill_forward', from: 45, to: 145, about: p }),
      span({ trace: 'a', name: 'chunked_prefill', from: 145, to: 195, about: p }),
      span({ trace: 'a', name: 'prefill_transfer_kv_cache', from: 195, to: 225, about: p }),
      span({
        trace: 'a',
        name: 'prefill Req 93923d63',
        from: 0,
        to: 230,
        about: p,
        attributes: { rid: HEX, bootstrap_room: 77, module: 'sglang::request' },
      }),
      span({ trace: 'b', name: 'decode_forward', from: 230, to: 730, about: d }),
      span({
        trace: 'b',
        name: 'decode Req 11111111',
        from: 0,
        to: 740,
        about: d,
        attributes: {
          rid: 'f'.repeat(32),
          bootstrap_room: 77,
          module: 'sglang::request',
          'gen_ai.usage.completion_tokens': 30,
        },
      }),
    );
    await clock.advance(60_000);
    expect(requests().length).toBe(1);
    expect(requests()[0]!.attributes).toMatchObject({
      'inference.request.queue.duration': expect.closeTo(0.04, 6),
      'inference.request.prefill.duration': expect.closeTo(0.15, 6),
      'inference.request.transfer.duration': expect.closeTo(0.03, 6),
      'inference.request.decode.duration': expect.closeTo(0.5, 6),
      'inference.request.prefill.replica': 'p0',
      'inference.request.decode.replica': 'd0',
      'gen_ai.usage.output_tokens': 30,
    });
  });
});

describe('Dynamo', () => {
  test('the frontend, its router, and the engine, of which only the id is the same', async () => {
    const { send, requests, clock } = await pipeline();
    const frontend = { 'service.name': 'dynamo', 'service.instance.id': 'front' };
    await send(
      span({ trace: 'a', name: 'kv_router.find_matches', from: 1, to: 2, about: frontend }),
      span({ trace: 'a', name: 'kv_router.select_worker', from: 1, to: 3, about: frontend }),
      span({
        trace: 'b',
        name: 'llm_request',
        from: 5,
        to: 505,
        about: vllm('w0'),
        attributes: leg(UUID, 0.1, 0.1, 0.3, 40),
      }),
      span({ trace: 'a', name: 'http-request', from: 0, to: 510, about: frontend, attributes: { x_request_id: UUID } }),
    );
    await clock.advance(60_000);
    expect(requests().length).toBe(1);
    expect(requests()[0]!.attributes).toMatchObject({
      'inference.request.route.duration': expect.closeTo(0.002, 6),
      'inference.request.queue.duration': expect.closeTo(0.1, 6),
      'inference.request.decode.replica': 'w0',
      'inference.request.router': 'front',
      'gen_ai.server.request.duration': expect.closeTo(0.51, 6),
    });
    expect(requests()[0]!.attributes['inference.request.prefill.replica']).toBeUndefined();
  });
});

describe('ids', () => {
  test.each([
    [`chatcmpl-${UUID}`, HEX],
    [`cmpl-${UUID}-0`, HEX],
    [`cmpl-${UUID}-0-1a2b3c4d`, HEX],
    [`3_chatcmpl-${HEX}`, HEX],
    [UUID.toUpperCase(), HEX],
    [`${UUID}_prefill`, HEX],
    [`___prefill_addr_10.0.1.2:21001___decode_addr_10.0.1.3:22001_${HEX}`, HEX],
    ['chatcmpl-8e1011b0d1d69ad5-abcd1234', '8e1011b0d1d69ad5'],
    ['chatcmpl-caller-request-7', 'caller-request'],
    ['caller-request-7', 'caller-request-7'],
    ['caller-request-7_decode', 'caller-request-7'],
    ['order-1a2b3c4d', 'order-1a2b3c4d'],
    ['resp_0011223344', '0011223344'],
    ['7', ''],
    ['cmpl-0', ''],
    ['x'.repeat(1000), ''],
  ])('%s', (id, common) => {
    expect(commonRequestId(id)).toBe(common);
  });
});

describe('limits', () => {
  test('requests with one span say nothing more; memory is bounded; it can be switched off', async () => {
    const { send, requests, clock, context } = await pipeline({ limits: { requests: 10 } });
    const many = Array.from({ length: 50 }, (_, i) => ({
      ...span({
        trace: 'a',
        name: 'llm_request',
        from: 0,
        to: 1,
        about: vllm('p0'),
        attributes: leg(`another-${i}-x`, 0, 0, 0, 1),
      }),
      traceId: i.toString(16).padStart(32, 'e'),
    }));
    await send(...many);
    expect(context.measured.gauges.get('correlation_requests')!()).toBe(10);
    await clock.advance(60_000);
    expect(requests()).toEqual([]);
    expect(context.measured.gauges.get('correlation_requests')!()).toBe(0);
    const off = await pipeline({ requests: { enabled: false } });
    const one = span({
      trace: 'a',
      name: 'llm_request',
      from: 0,
      to: 1,
      about: vllm('p0'),
      attributes: leg(UUID, 0, 0, 0, 1),
    });
    await off.send(one, one);
    await off.clock.advance(60_000);
    expect(off.requests()).toEqual([]);
    expect(off.out.spans()[0]!.attributes['inference.request.key']).toBeUndefined();
  });

  test('the same short id again and again is not one request', async () => {
    const { send, requests, clock } = await pipeline();
    for (const trace of ['a', 'b', 'c']) {
      await send(
        span({ trace, name: 'llm_request', from: 0, to: 1, about: vllm('p0'), attributes: leg('cmpl-0', 0, 0, 0, 1) }),
      );
    }
    await clock.advance(60_000);
    expect(requests()).toEqual([]);
  });

  test('an agent’s trace with many requests is many requests', async () => {
    const { send, requests, clock, out } = await pipeline();
    const frontend = { 'service.name': 'dynamo', 'service.instance.id': 'front' };
    for (const [i, id] of ['first-request', 'second-request', 'third-request'].entries()) {
      await send(
        span({
          trace: 'a',
          name: 'llm_request',
          from: i * 100,
          to: i * 100 + 50,
          about: vllm('w0'),
          attributes: leg(id, 0.01, 0.01, 0.03, 40),
        }),
        span({
          trace: 'a',
          name: 'http-request',
          from: i * 100,
          to: i * 100 + 60,
          about: frontend,
          attributes: { x_request_id: id },
        }),
      );
    }
    await send(span({ trace: 'a', name: 'kv_router.schedule', from: 0, to: 1, about: frontend }));
    await clock.advance(60_000);
    expect(
      requests().map((r) => [r.attributes['inference.request.key'], r.attributes['inference.request.spans']]),
    ).toEqual([
      ['first-request', 2],
      ['second-request', 2],
      ['third-request', 2],
    ]);
    expect(out.spans().at(-1)!.attributes['inference.request.key']).toBeUndefined();
  });

  test('what is not over at the stop is said then', async () => {
    const { send, requests } = await pipeline();
    await send(...throughLlmD({ gateway: 'a', prefill: 'a', decode: 'a' }, { prefill: UUID, decode: UUID }));
    for (const stage of stages) await stage.stop();
    expect(requests().length).toBe(1);
  });
});
