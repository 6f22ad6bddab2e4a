import '../../../kit/seed.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cohortsOf } from '../../../../pipeline/kit/waterfall/cohort.ts';
import { collectRequests, type Request } from '../../../../pipeline/kit/waterfall/collect.ts';
import { type Told as Known, type Leg, PARTS, waterfallOf } from '../../../../pipeline/kit/waterfall/parts.ts';
import { type AnyValue, resource } from '../../../../pipeline/model.ts';
import { span, type Told } from '../flame/spans.ts';

const on = (host: string, role: string) =>
  resource({ 'service.name': 'chat', 'host.name': host, 'inference.role': role, 'service.instance.id': `${role}-0` });
const KEY = 'inference.request.key';
const request = (more: Record<string, AnyValue>, key = 'r1') => ({ [KEY]: key, 'inference.stage': 'request', ...more });
const collect = (spans: readonly Told[]) => {
  const all = collectRequests();
  for (const told of spans) all.add(span(told));
  return all.finish();
};
const rounded = (parts: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(parts).map(([part, ms]) => [part, Math.round(ms)]));

/** Front end, router, prefill engine, transfer and decode engine; hosts' clocks are off by so many milliseconds. */
function handOff(id: number, at: number, clocks: { p: number; d: number }, extra: { queue?: number } = {}): Told[] {
  const key = `request-${id}`;
  const base = id * 10;
  const queue = 20 + (extra.queue ?? 0);
  const late = extra.queue ?? 0;
  return [
    {
      id: base,
      trace: base,
      at,
      took: 500 + late,
      name: 'http-request',
      resource: on('f', 'frontend'),
      attributes: request({ 'gen_ai.server.time_to_first_token': (202 + late) / 1000 }, key),
    },
    {
      id: base + 1,
      trace: base,
      at: at + 4,
      took: 6,
      name: 'select',
      resource: on('f', 'frontend'),
      attributes: { [KEY]: key, 'inference.stage': 'route' },
    },
    {
      id: base + 2,
      trace: base,
      at: at + 12 + clocks.p,
      took: 103 + late,
      name: 'llm_request',
      resource: on('p', 'prefill'),
      attributes: request(
        {
          'gen_ai.server.time_to_first_token': (100 + late) / 1000,
          'inference.request.queue.duration': queue / 1000,
          'inference.request.prefill.duration': 0.075,
        },
        key,
      ),
    },
    {
      id: base + 3,
      trace: base,
      at: at + 118 + late + clocks.d,
      took: 370,
      name: 'llm_request',
      resource: on('d', 'decode'),
      attributes: request(
        {
          'gen_ai.server.time_to_first_token': 0.08,
          'inference.request.queue.duration': 0.06,
          'inference.request.prefill.duration': 0.015,
          'gen_ai.usage.output_tokens': 20,
        },
        key,
      ),
    },
    {
      id: base + 4,
      trace: base,
      at: at + 125 + late + clocks.d,
      took: 40,
      name: 'kv_transfer',
      resource: on('d', 'decode'),
      attributes: { [KEY]: key },
    },
  ];
}

describe('the waterfall of a time to first token', () => {
  test('goes from the router over queue, prefill, transfer and decode queue to the first step', () => {
    const { requests } = collect(handOff(1, 0, { p: 0, d: 0 }));
    const [one] = requests;
    expect(Math.round(one!.ttft)).toBe(202);
    expect(rounded(one!.parts)).toEqual({
      router_queue: 4,
      route: 6,
      dispatch: 2,
      prefill_frontend: 5,
      queue: 20,
      prefill: 75,
      transfer: 40,
      decode_frontend: 5,
      decode_queue: 20,
      first_step: 15,
      egress: 4,
    });
    // From the prefill's first token to the decode engine's begin nothing is known.
    expect(Math.round(one!.remainder)).toBe(6);
    expect(one!.trusted).toBe(true);
  });

  test('clocks of hosts that are off are moved, over all requests together, and said', () => {
    const spans: Told[] = [];
    for (let i = 1; i <= 30; i++) spans.push(...handOff(i, i * 1000, { p: -400, d: 900 }));
    const { requests, shifted } = collect(spans);
    // Known to what lies between the engine's share and the end of the frontend's.
    expect(shifted.get('p')!).toBeGreaterThan(380);
    expect(shifted.get('d')!).toBeLessThan(-880);
    for (const { parts, ttft, remainder } of requests) {
      expect(Math.round(parts.prefill!)).toBe(75);
      expect(Math.round(parts.queue!)).toBe(20);
      expect(Math.round(parts.first_step!)).toBe(15);
      expect(PARTS.reduce((sum, part) => sum + (parts[part] ?? 0), remainder)).toBeCloseTo(ttft, 6);
    }
  });

  test('whatever is told: no part is negative, and with the remainder they add up to the whole exactly', () => {
    const ms = fc.double({ min: -500, max: 2000, noNaN: true });
    const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
    const interval = fc.record({ start: ms, end: ms });
    const leg = fc.record({
      role: fc.constantFrom('prefill', 'decode', ''),
      replica: fc.constant('r'),
      host: fc.constant('h'),
      start: ms,
      end: ms,
      ttft: maybe(ms),
      queue: maybe(ms),
      prefill: maybe(ms),
      outputTokens: maybe(fc.nat(5)),
    }) as fc.Arbitrary<Leg>;
    fc.assert(
      fc.property(
        maybe(fc.record({ start: ms, end: ms, ttft: maybe(ms) })),
        maybe(interval),
        maybe(interval),
        fc.array(leg, { maxLength: 4 }),
        fc.record({ queue: ms, prefill: ms, transfer: ms }, { requiredKeys: [] }),
        (front, route, transfer, legs, durations) => {
          const found = waterfallOf({ front, route, transfer, legs, durations } as Known);
          if (!found) return;
          expect(found.ttft).toBeGreaterThan(0);
          let sum = found.remainder;
          for (const part of PARTS) {
            expect(found.parts[part] ?? 0).toBeGreaterThanOrEqual(0);
            sum += found.parts[part] ?? 0;
          }
          expect(found.remainder).toBeGreaterThanOrEqual(0);
          expect(sum).toBeCloseTo(found.ttft, 6);
        },
      ),
    );
  });

  test('one engine by itself, and a frontend that tells durations only, are taken apart too', () => {
    const told = {
      'gen_ai.server.time_to_first_token': 0.5,
      'inference.request.queue.duration': 0.1,
      'inference.request.prefill.duration': 0.3,
    };
    const engine = collect([{ id: 1, at: 0, took: 900, resource: on('a', 'aggregated'), attributes: request(told) }]);
    expect(rounded(engine.requests[0]!.parts)).toEqual({ prefill_frontend: 100, queue: 100, prefill: 300 });
    const front = collect([
      {
        id: 1,
        at: 0,
        took: 900,
        resource: on('a', 'frontend'),
        attributes: request({ ...told, 'inference.request.transfer.duration': 0.02 }),
      },
    ]);
    expect(rounded(front.requests[0]!.parts)).toEqual({ queue: 100, prefill: 300, transfer: 20 });
    expect(Math.round(front.requests[0]!.remainder)).toBe(80);
    expect(front.requests[0]!.trusted).toBe(false);
  });

  test('requests of one trace stay apart, and one whose id is learnt late is not torn', () => {
    const first = { 'gen_ai.server.time_to_first_token': 0.1 };
    const { requests } = collect([
      {
        id: 1,
        trace: 7,
        at: 0,
        took: 10,
        resource: on('a', 'router'),
        attributes: request({}, '00000000000000000000000000000007'),
      },
      { id: 2, trace: 7, at: 1, took: 200, resource: on('b', 'aggregated'), attributes: request(first, 'abcdef') },
      { id: 3, trace: 7, at: 500, took: 200, resource: on('b', 'aggregated'), attributes: request(first, 'fedcba') },
    ]);
    expect(requests.map(({ key }) => key)).toEqual(['abcdef', 'fedcba']);
  });

  test('requests that do not say when their first token was are counted, not guessed', () => {
    expect(
      collect([{ id: 1, at: 0, took: 9, resource: on('a', 'aggregated'), attributes: request({}) }]),
    ).toMatchObject({
      requests: [],
      without: 1,
    });
  });
});

describe('slow requests against usual ones', () => {
  const made = (i: number, queue: number, promptTokens = 100): Request => ({
    key: `k${i}`,
    service: 'chat',
    start: i,
    replica: 'r0',
    promptTokens,
    ttft: queue + promptTokens + 7,
    parts: { queue, prefill: promptTokens },
    remainder: 7,
    transferEstimated: false,
    trusted: true,
  });

  test('the part that grew is first, has an interval, and the differences add up to the gap', () => {
    const requests = Array.from({ length: 200 }, (_, i) => made(i, i % 20 === 0 ? 900 + i : 10 + (i % 7)));
    const found = cohortsOf(requests)!;
    expect(found.slow).toBe(10);
    expect(found.rows[0]!.part).toBe('queue');
    expect(found.rows[0]!.low).toBeGreaterThan(800);
    const sum = found.rows.reduce((all, row) => all + row.difference, 0);
    expect(sum).toBeCloseTo(found.slowTtft - found.usualTtft, 6);
    expect(found.rows.find(({ part }) => part === 'remainder')!.difference).toBeCloseTo(0, 9);
  });

  test('long prompts are compared with long prompts', () => {
    // Every tenth has a long prompt; of those, some wait.
    const requests = Array.from({ length: 400 }, (_, i) =>
      made(i, i % 20 === 0 ? 300 : 10 + (i % 5), i % 4 === 0 ? 4000 : 1500 + (i % 3)),
    );
    const found = cohortsOf(requests)!;
    expect(found.matched).toBe(true);
    expect(found.rows[0]!.part).toBe('queue');
  });

  test('twenty requests at least', () => {
    expect(cohortsOf(Array.from({ length: 19 }, (_, i) => made(i, 10)))).toBeUndefined();
  });

  test('parts and remainder of the differences add up whatever the requests', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(5000), fc.integer({ min: 1, max: 9000 })), { minLength: 20, maxLength: 120 }),
        (draws) => {
          const found = cohortsOf(draws.map(([queue, tokens], i) => made(i, queue, tokens)))!;
          const sum = found.rows.reduce((all, row) => all + row.difference, 0);
          expect(sum).toBeCloseTo(found.slowTtft - found.usualTtft, 6);
        },
      ),
      { numRuns: 20 },
    );
  });
});
