/** The official OpenTelemetry exporters for JavaScript, sending to us as they would to a Collector. */
import { type Attributes, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { OTLPMetricExporter as MetricsGrpc } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as MetricsJson } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as MetricsProto } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as TracesGrpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as TracesJson } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as TracesProto } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterEach, describe, expect, test } from 'vitest';
import { PermanentError } from '../../../pipeline/errors.ts';
import {
  type HistogramPoint,
  isExponentialHistogramPoint,
  isHistogramPoint,
  type NumberPoint,
} from '../../../pipeline/model.ts';
import { sink } from '../../kit/harness.ts';
import { type Started, startOtlp } from './harness.ts';

const started: Started[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((s) => s.running.stop(AbortSignal.abort())));
});
const start = async (...args: Parameters<typeof startOtlp>): Promise<Started> => {
  const receiver = await startOtlp(...args);
  started.push(receiver);
  return receiver;
};

const resource = resourceFromAttributes({ 'service.name': 'engine', 'service.instance.id': 'r0', rank: 3 });
const attributes: Attributes = { model: 'm', tokens: 512, ratio: 0.5, cached: true, list: ['a', 'b'] };
// The enum of it is not exported by these packages.
const gzip = { compression: 'gzip' as never };

describe.each([
  ['HTTP JSON', (to: Started) => new TracesJson({ url: `${to.http}/v1/traces` })],
  ['HTTP JSON, gzip', (to: Started) => new TracesJson({ url: `${to.http}/v1/traces`, ...gzip })],
  ['HTTP protobuf', (to: Started) => new TracesProto({ url: `${to.http}/v1/traces` })],
  ['HTTP protobuf, gzip', (to: Started) => new TracesProto({ url: `${to.http}/v1/traces`, ...gzip })],
  ['gRPC', (to: Started) => new TracesGrpc({ url: to.grpc })],
  ['gRPC, gzip', (to: Started) => new TracesGrpc({ url: to.grpc, ...gzip })],
] as const)('spans of the official exporter over %s', (_name, exporter) => {
  test('arrive as they were made', async () => {
    const to = await start();
    const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(exporter(to))] });
    const tracer = provider.getTracer('vllm', '0.9');
    const span = tracer.startSpan('llm_request', {
      kind: SpanKind.SERVER,
      attributes,
      startTime: [1_700_000_000, 123_456_789],
      links: [{ context: { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), traceFlags: 1 }, attributes: { l: 1 } }],
    });
    span.addEvent('first_token', { n: 1 }, [1_700_000_000, 500_000_000]);
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'out of memory' });
    span.end([1_700_000_001, 1]);
    await provider.forceFlush();
    await provider.shutdown();
    const { traceId, spanId } = span.spanContext();
    const [got] = to.sink.spans();
    expect(to.sink.spans().length).toBe(1);
    expect(got).toMatchObject({
      traceId,
      spanId,
      parentSpanId: '',
      name: 'llm_request',
      kind: 2,
      startTime: 1_700_000_000_123_456_789n,
      endTime: 1_700_000_001_000_000_001n,
      attributes,
      events: [{ name: 'first_token', time: 1_700_000_000_500_000_000n, attributes: { n: 1 } }],
      links: [{ traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), attributes: { l: 1 } }],
      status: { code: 2, message: 'out of memory' },
      scope: { name: 'vllm', version: '0.9' },
    });
    expect(got!.resource.attributes).toMatchObject({ 'service.name': 'engine', rank: 3 });
  });
});

describe.each([
  ['HTTP JSON', (to: Started) => new MetricsJson({ url: `${to.http}/v1/metrics` })],
  ['HTTP protobuf, gzip', (to: Started) => new MetricsProto({ url: `${to.http}/v1/metrics`, ...gzip })],
  ['gRPC', (to: Started) => new MetricsGrpc({ url: to.grpc })],
] as const)('metrics of the official exporter over %s', (_name, exporter) => {
  test('arrive as they were made, and the same series is the same object next time', async () => {
    const to = await start();
    const reader = new PeriodicExportingMetricReader({ exporter: exporter(to), exportIntervalMillis: 3_600_000 });
    const provider = new MeterProvider({
      resource,
      readers: [reader],
      views: [{ instrumentName: 'spread', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
    });
    const meter = provider.getMeter('vllm', '0.9');
    const counter = meter.createCounter('tokens', { unit: '{token}', description: 'Tokens made.' });
    const gauge = meter.createGauge('usage');
    const histogram = meter.createHistogram('ttft', { unit: 's', advice: { explicitBucketBoundaries: [0.1, 1] } });
    const spread = meter.createHistogram('spread');
    counter.add(7, { model: 'm' });
    gauge.record(0.25);
    for (const value of [0.05, 0.5, 5]) histogram.record(value);
    spread.record(3);
    await provider.forceFlush();
    counter.add(1, { model: 'm' });
    await provider.forceFlush();
    await provider.shutdown();

    const [first, second] = to.sink.batches.map((b) => b.items as NumberPoint[]);
    const named = (name: string) => first!.find((p) => p.series.metric.name === name)!;
    expect(named('tokens')).toMatchObject({
      value: 7,
      series: {
        attributes: { model: 'm' },
        metric: { unit: '{token}', description: 'Tokens made.', type: 'sum', temporality: 2, monotonic: true },
      },
    });
    expect(named('usage')).toMatchObject({ value: 0.25, series: { metric: { type: 'gauge' } } });
    const ttft = named('ttft') as unknown as HistogramPoint;
    expect(isHistogramPoint(ttft)).toBe(true);
    expect(ttft).toMatchObject({ count: 3, sum: 5.55, min: 0.05, max: 5 });
    expect([[...ttft.bounds], [...ttft.bucketCounts]]).toEqual([
      [0.1, 1],
      [1, 1, 1],
    ]);
    expect(isExponentialHistogramPoint(named('spread'))).toBe(true);
    const again = second!.find((p) => p.series.metric.name === 'tokens')!;
    expect(again.value).toBe(8);
    expect(again.series).toBe(named('tokens').series);
  });
});

test('the official exporter tries again after 503 and stops after a refusal for good', async () => {
  const inner = sink();
  let calls = 0;
  const { RetryableError } = await import('../../../pipeline/errors.ts');
  const next = {
    ...inner,
    consume(batch: Parameters<typeof inner.consume>[0]) {
      calls++;
      if (calls === 1) throw new RetryableError('busy', { retryAfterMs: 10 });
      if (calls === 3) throw new PermanentError('no');
      return inner.consume(batch);
    },
  };
  const to = await start({ next });
  const exporter = new TracesProto({ url: `${to.http}/v1/traces` });
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.getTracer('t').startSpan('retried').end();
  await provider.forceFlush();
  expect([calls, inner.spans().length]).toEqual([2, 1]);
  provider.getTracer('t').startSpan('refused').end();
  await provider.forceFlush().catch(() => {});
  expect([calls, inner.spans().length]).toEqual([3, 1]);
  await provider.shutdown();
});
