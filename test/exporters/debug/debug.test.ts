import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { debugOn } from '../../../exporters/debug/index.ts';
import { render, safe } from '../../../exporters/debug/render.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  type Batch,
  Double,
  gauge,
  KeyValues,
  logsBatch,
  type Metric,
  metricsBatch,
  NO_ATTRIBUTES,
  type Point,
  resource,
  SIGNALS,
  scope,
  sum,
  tracesBatch,
} from '../../../pipeline/model.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { arbitraryBatch } from '../../kit/otlp-arbitrary.ts';

const NOON = Date.parse('2026-05-01T12:00:00Z');
const at = BigInt(NOON) * 1_000_000n;
const about = resource({ 'service.name': 'llm', 'service.instance.id': 'r0', 'inference.engine': 'vllm' });
const by = scope('probe', '1.2');
const base = (metric: Metric, attributes = {}) => ({
  series: { resource: about, scope: by, metric, attributes },
  time: at + 5n,
  startTime: 0n,
  flags: 0,
});
const some: Batch = deepFreeze(
  metricsBatch([
    { ...base(gauge('running', '{request}', 'Now.'), { model: 'a b' }), value: 3 },
    { ...base(sum('tokens', '{token}')), value: 7n, startTime: at },
    {
      ...base({ ...gauge('ttft', 's'), type: 'histogram', temporality: 2 }),
      count: 3,
      sum: 1.2345678,
      bounds: Float64Array.from([0.5, 1]),
      bucketCounts: Float64Array.from([1, 0, 2]),
    },
    { ...base(gauge('gone', '')), value: 0, flags: 1 },
  ]),
);
const spans = tracesBatch([
  {
    resource: about,
    scope: by,
    traceId: 'aa'.repeat(16),
    spanId: 'bb'.repeat(8),
    parentSpanId: '',
    traceState: '',
    flags: 0,
    name: 'llm_request',
    kind: 2,
    startTime: at,
    endTime: at + 12_500_000n,
    attributes: { n: 1, x: new Double(2) },
    droppedAttributesCount: 0,
    events: [{ time: at, name: 'first_token', attributes: NO_ATTRIBUTES, droppedAttributesCount: 0 }],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { code: 2, message: 'boom' },
  },
]);
const logs = logsBatch([
  {
    resource: resource({}),
    scope: by,
    time: 0n,
    observedTime: at,
    severityNumber: 17,
    severityText: 'ERROR',
    body: new KeyValues({ a: [1, 'x', null] }),
    attributes: { raw: new Uint8Array([1, 255]) },
    droppedAttributesCount: 0,
    flags: 0,
    traceId: '',
    spanId: '',
    eventName: 'inference.finding',
  },
]);

describe('what the debug exporter shows', () => {
  it('is one line per batch when basic', () => {
    expect(render(some, 'basic', NOON)).toEqual(['12:00:00.000 metrics 1 resource, 4 metrics, 4 points']);
    expect(render(spans, 'basic', NOON)).toEqual(['12:00:00.000 traces  1 resource, 1 span']);
    expect(render(logs, 'basic', NOON)).toEqual(['12:00:00.000 logs    1 resource, 1 record']);
  });

  it('is one line per item when normal', () => {
    expect(render(some, 'normal', NOON).slice(1)).toEqual([
      '  llm r0 {inference.engine=vllm}',
      '    running {model="a b"} 3',
      '    tokens 7',
      '    ttft count=3 sum=1.23457 le0.5=1 le+Inf=2',
      '    gone (ended)',
    ]);
    expect(render(spans, 'normal', NOON).at(-1)).toBe('    llm_request server 12.5ms ERROR boom {n=1 x=2}');
    expect(render(logs, 'normal', NOON).slice(1)).toEqual([
      '  (no service)',
      '    ERROR inference.finding {a: [1, x, null]} {raw=0x01ff}',
    ]);
  });

  it('is every field when detailed', () => {
    expect(render(some, 'detailed', NOON).slice(1)).toEqual([
      ' resource',
      '   service.name = Str(llm)',
      '   service.instance.id = Str(r0)',
      '   inference.engine = Str(vllm)',
      '  scope probe 1.2',
      '    running gauge in {request} - Now.',
      '      {model="a b"} 2026-05-01T12:00:00.000000005Z 3 (double)',
      '    tokens sum monotonic cumulative in {token}',
      '      {} 2026-05-01T12:00:00.000000005Z 7 (int) since 2026-05-01T12:00:00.000000000Z',
      '    ttft histogram cumulative in s',
      '      {} 2026-05-01T12:00:00.000000005Z count=3 sum=1.23457 le0.5=1 le+Inf=2',
      '    gone gauge',
      '      {} 2026-05-01T12:00:00.000000005Z (ended) (double) flags=1',
    ]);
    const detail = render(spans, 'detailed', NOON).join('\n');
    expect(detail).toContain(`trace=${'aa'.repeat(16)} span=${'bb'.repeat(8)}`);
    expect(detail).toContain('x = Double(2)');
    expect(detail).toContain('event first_token 2026-05-01T12:00:00.000000000Z');
  });

  it('shows a thing between its neighbours once', () => {
    const same = metricsBatch([...some.items, ...some.items] as Point[]);
    expect(render(same, 'normal', NOON).filter((l) => l.includes('llm r0')).length).toBe(1);
  });

  it('lets nothing through that a terminal would obey', () => {
    expect(safe('a\u001b[2Jb\r\nc\u0085\u202e')).toBe('a\\u001b[2Jb\\r\\nc\\u0085\\u202e');
    fc.assert(
      fc.property(
        fc.constantFrom(...SIGNALS).chain(arbitraryBatch),
        fc.constantFrom('normal' as const, 'detailed' as const),
        (batch, verbosity) => {
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
          for (const line of render(batch, verbosity, NOON)) expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the debug exporter', () => {
  async function start(config: object = {}) {
    let text = '';
    const clock = manualClock(NOON);
    const context = testContext({ id: 'debug', kind: 'exporter', clock });
    const exporter = debugOn({
      write: (t) => {
        text += t;
      },
    });
    const stage = await exporter.start(resolve(exporter.config, config), context);
    return { stage, clock, context, lines: () => text.split('\n').filter(Boolean) };
  }

  it('shows every batch by default, and counts it as sent', async () => {
    const { stage, lines, context } = await start();
    for (let i = 0; i < 5; i++) stage.consume(some);
    expect(lines().length).toBe(5);
    expect(context.measured.sent).toBe(20);
  });

  it('samples each second, per signal, and says what it hid', async () => {
    const { stage, lines, clock } = await start({ sampling_initial: 2, sampling_thereafter: 3 });
    for (let i = 0; i < 10; i++) stage.consume(some);
    stage.consume(logs);
    expect(lines().length).toBe(4 + 1);
    await clock.advance(1000);
    stage.consume(some);
    expect(lines().slice(-2)).toEqual([
      '... and 6 more batches of metrics not shown (sampling)',
      '12:00:01.000 metrics 1 resource, 4 metrics, 4 points',
    ]);
  });

  it('shows nothing after the first ones with sampling_thereafter 0', async () => {
    const { stage, lines } = await start({ sampling_initial: 1, sampling_thereafter: 0 });
    for (let i = 0; i < 10; i++) stage.consume(some);
    await stage.stop();
    expect(lines()).toEqual([
      '12:00:00.000 metrics 1 resource, 4 metrics, 4 points',
      '... and 9 more batches of metrics not shown (sampling)',
    ]);
  });

  it('writes to the log with use_internal_logger', async () => {
    const { stage, lines, context } = await start({ use_internal_logger: true });
    stage.consume(some);
    expect(lines()).toEqual([]);
    expect(context.log.records.map((r) => r.message)).toEqual(['12:00:00.000 metrics 1 resource, 4 metrics, 4 points']);
  });

  it('refuses after its stop', async () => {
    const { stage } = await start();
    await stage.stop();
    expect(() => stage.consume(some)).toThrow('is stopping');
  });
});
