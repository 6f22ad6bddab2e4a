import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { manualClock, systemClock } from '../../pipeline/kit/clock.ts';
import { memoryLogger } from '../../pipeline/kit/log.ts';
import { createTelemetry } from '../../pipeline/telemetry.ts';
import { METRICS } from '../../pipeline/telemetry-metrics.ts';
import { telemetryOptions } from '../../pipeline/telemetry-options.ts';
import { watchProcess } from '../../pipeline/telemetry-process.ts';
import { startReaders } from '../../pipeline/telemetry-readers.ts';

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function readers(config: unknown, telemetry = createTelemetry()) {
  const log = memoryLogger();
  const started = await startReaders(resolve(telemetryOptions, config), {
    telemetry,
    clock: systemClock,
    log,
    version: '1.2.3',
  });
  cleanUps.push(() => started.stop(1000));
  return { ...started, telemetry, log };
}

/** The part of an OTLP/JSON metrics request that these tests look at. */
interface Request {
  readonly resourceMetrics: readonly [
    {
      readonly resource: { readonly attributes: readonly { key: string; value: { stringValue: string } }[] };
      readonly scopeMetrics: readonly [{ readonly metrics: readonly PushedMetric[] }];
    },
  ];
}
interface PushedMetric {
  readonly name: string;
  readonly sum: {
    readonly aggregationTemporality: number;
    readonly isMonotonic: boolean;
    readonly dataPoints: readonly [{ readonly asInt: number }];
  };
}

interface Received {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Request;
}

/** An OTLP server that keeps what it gets. */
async function otlpServer(status = 200) {
  const received: Received[] = [];
  let wake = () => {};
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const bytes = Buffer.concat(chunks);
      const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes;
      received.push({
        path: request.url ?? '',
        headers: request.headers,
        body: JSON.parse(body.toString()) as Request,
      });
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
      wake();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanUps.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    async next(): Promise<Received> {
      const seen = received.length;
      while (received.length === seen) {
        await new Promise<void>((done) => {
          wake = done;
        });
      }
      return received.at(-1)!;
    },
  };
}

const push = (url: string, otlp: Record<string, unknown> = {}) => ({
  metrics: { readers: [{ periodic: { interval: 100, exporter: { otlp: { endpoint: url, ...otlp } } } }] },
});

const pageNames = (text: string) =>
  [...text.matchAll(/^# TYPE (\S+) /gm)].map((m) => m[1]!).filter((name) => name !== 'target_info');

describe('counters and gauges', () => {
  it('cost an addition and are read when somebody collects', () => {
    const telemetry = createTelemetry();
    const { meter } = telemetry.meter('exporter', 'otlp_http/eu');
    meter.sent('metrics', 5);
    meter.sent('metrics', 2);
    meter.failed('logs', 1);
    meter.dropped('logs', 1, 'too_large');
    const series = (name: string) => telemetry.collect('basic').find((c) => c.info.name === name)?.series;
    expect(series('enginelight_exporter_sent_items_total')).toEqual([
      { labels: { component: 'otlp_http/eu', signal: 'metrics' }, value: 7 },
    ]);
    expect(series('enginelight_exporter_dropped_items_total')).toEqual([
      { labels: { component: 'otlp_http/eu', signal: 'logs', reason: 'too_large' }, value: 1 },
    ]);
    expect(telemetry.drops()).toEqual([
      { where: 'exporter otlp_http/eu', signal: 'logs', reason: 'too_large', items: 1 },
    ]);
  });

  it('of a component get the prefix, the suffix and its labels', () => {
    const telemetry = createTelemetry();
    const { meter } = telemetry.meter('processor', 'normalize', 'inference');
    const seen = meter.counter('normalize_renames', 'Names that were mapped.', '{name}');
    seen.add(2, { engine: 'vllm' });
    seen.add(3, { engine: 'vllm' });
    const [found] = telemetry.collect('normal');
    expect(found?.info).toMatchObject({ name: 'enginelight_normalize_renames_total', type: 'counter' });
    expect(found?.series).toEqual([
      { labels: { kind: 'processor', component: 'normalize', pipeline: 'inference', engine: 'vllm' }, value: 5 },
    ]);
    expect(telemetry.collect('basic')).toEqual([]);
  });

  it('show 0 from the start where they have no labels of their own', () => {
    const telemetry = createTelemetry();
    telemetry.meter('exporter', 'x').meter.counter('exporter_retries', 'Tried again.');
    expect(telemetry.collect('normal')[0]?.series[0]?.value).toBe(0);
  });

  it('survive a restart of their component if they are counters, and go with it if they are gauges', () => {
    const telemetry = createTelemetry();
    const first = telemetry.meter('exporter', 'x');
    first.meter.counter('exporter_retries', 'Tried again.').add(3);
    first.meter.gauge('exporter_queue_size', 'Waiting.', () => 7);
    first.close();
    const names = () => telemetry.collect('normal').map((c) => c.info.name);
    expect(names()).toEqual(['enginelight_exporter_retries_total']);
    telemetry.meter('exporter', 'x').meter.counter('exporter_retries', 'Tried again.').add(1);
    expect(telemetry.collect('normal')[0]?.series[0]?.value).toBe(4);
  });

  it('are bounded: beyond 1000 series of a component the rest is added up in one', () => {
    const telemetry = createTelemetry();
    const counter = telemetry.meter('receiver', 'x').meter.counter('scrape_errors', 'Failures.');
    for (let i = 0; i < 1500; i++) counter.add(1, { target: `t${i}` });
    const { series } = telemetry.collect('normal')[0]!;
    expect(series).toHaveLength(1001);
    expect(series.find((s) => s.labels['overflow'] === 'true')?.value).toBe(500);
  });

  it('do not take the page with them when one of them breaks', () => {
    const telemetry = createTelemetry();
    const { meter } = telemetry.meter('exporter', 'x');
    meter.gauge('exporter_queue_size', 'Waiting.', () => {
      throw new Error('bug');
    });
    meter.gauge('exporter_queue_capacity', 'Room.', () => 10);
    expect(telemetry.collect('normal').map((c) => c.info.name)).toEqual(['enginelight_exporter_queue_capacity']);
  });
});

describe('readers', () => {
  it('show the same names on the page and in OTLP', async () => {
    const server = await otlpServer();
    const telemetry = createTelemetry();
    const end = watchProcess(telemetry, manualClock());
    cleanUps.push(end);
    for (const info of Object.values(METRICS)) if (info.type === 'counter') telemetry.cell(info).value = 3;
    telemetry.meter('exporter', 'x').meter.counter('exporter_retries', 'Tried again.', '{request}').add(1);
    telemetry.meter('exporter', 'x').meter.gauge('exporter_queue_size', 'Waiting.', () => 7, 'By');
    const own = push(server.url).metrics.readers[0]!;
    const pull = { pull: { exporter: { prometheus: { port: 0 } } } };
    const { pages } = await readers({ metrics: { level: 'detailed', readers: [pull, own] } }, telemetry);
    const { path, body } = await server.next();
    expect(path).toBe('/v1/metrics');
    const pushed = body.resourceMetrics[0].scopeMetrics[0].metrics.map((m) => m.name);
    const page = await (await fetch(pages[0]!)).text();
    expect(pageNames(page)).toEqual(pushed);
    expect(pushed).toContain('enginelight_exporter_sent_items_total');
    expect(pushed).toContain('enginelight_process_memory_rss_bytes');
  });

  it('describe the daemon in the resource, with what the config adds and takes away', async () => {
    const server = await otlpServer();
    const telemetry = createTelemetry();
    telemetry.cell(METRICS.configReloads, { outcome: 'success' });
    const resource = { 'service.instance.id': null, 'deployment.environment.name': 'prod' };
    await readers({ ...push(server.url), resource }, telemetry);
    const { body } = await server.next();
    const attributes = body.resourceMetrics[0].resource.attributes.map((a) => [a.key, a.value.stringValue]);
    expect(Object.fromEntries(attributes)).toEqual({
      'service.name': 'enginelight',
      'service.version': '1.2.3',
      'deployment.environment.name': 'prod',
    });
  });

  it('push with headers, compressed, and as changes where that is preferred', async () => {
    const server = await otlpServer();
    const telemetry = createTelemetry();
    const cell = telemetry.cell(METRICS.exporterSent, { component: 'x', signal: 'metrics' });
    cell.value = 10;
    const otlp = { headers: [{ name: 'x-token', value: 't' }], compression: 'gzip', temporality_preference: 'delta' };
    await readers(push(`${server.url}/custom`, otlp), telemetry);
    const first = await server.next();
    expect(first.path).toBe('/custom');
    expect(first.headers).toMatchObject({ 'x-token': 't', 'content-encoding': 'gzip' });
    const sum = (r: Received) => r.body.resourceMetrics[0].scopeMetrics[0].metrics[0]!.sum;
    expect(sum(first)).toMatchObject({ aggregationTemporality: 1, isMonotonic: true, dataPoints: [{ asInt: 10 }] });
    cell.value = 14;
    let changes = 0;
    while (changes < 4) changes += sum(await server.next()).dataPoints[0].asInt;
    expect(changes).toBe(4);
  });

  it('push a last time when they are stopped', async () => {
    const server = await otlpServer();
    const config = push(server.url);
    config.metrics.readers[0]!.periodic.interval = 3_600_000;
    const telemetry = createTelemetry();
    telemetry.cell(METRICS.configReloads, { outcome: 'success' });
    const { stop } = await readers(config, telemetry);
    cleanUps.splice(cleanUps.length - 1, 1);
    await stop(5000);
    expect(server.received).toHaveLength(1);
  });

  it('that cannot reach their server say so in the log and go on', async () => {
    const server = await otlpServer(400);
    const telemetry = createTelemetry();
    telemetry.cell(METRICS.configReloads, { outcome: 'success' });
    const { log } = await readers(push(server.url), telemetry);
    await server.next();
    await server.next();
    const said = log.records.filter((r) => r.message === 'The own metrics could not be sent.');
    expect(said[0]?.fields['endpoint']).toBe(`${server.url}/v1/metrics`);
  });

  it('leave a series out of the page once it is gone', async () => {
    const telemetry = createTelemetry();
    const handle = telemetry.meter('exporter', 'x');
    handle.meter.gauge('exporter_queue_size', 'Waiting.', () => 7);
    const { pages } = await readers({ metrics: { address: '127.0.0.1:0' } }, telemetry);
    const page = async () => (await fetch(pages[0]!)).text();
    expect(await page()).toContain('enginelight_exporter_queue_size{kind="exporter",component="x"} 7');
    handle.close();
    expect(await page()).not.toContain('enginelight_exporter_queue_size');
  });

  it('serve only GET and HEAD of /metrics, on the loopback unless told otherwise', async () => {
    const { pages } = await readers({ metrics: { address: '127.0.0.1:0' } });
    expect(pages[0]).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    expect(resolve(telemetryOptions, {}).metrics.address).toBe('127.0.0.1:8888');
    expect((await fetch(new URL('/other', pages[0]))).status).toBe(404);
    expect((await fetch(pages[0]!, { method: 'POST' })).status).toBe(405);
  });

  it('do not exist at level none, nor with an empty list', async () => {
    expect((await readers({ metrics: { level: 'none' } })).pages).toEqual([]);
    expect((await readers({ metrics: { readers: [] } })).pages).toEqual([]);
  });
});

describe('the process', () => {
  it('is measured: CPU, memory, uptime, and how late its timers are', async () => {
    const telemetry = createTelemetry();
    const clock = manualClock();
    let stalledMs = 0;
    const end = watchProcess(telemetry, { ...clock, monotonic: () => clock.monotonic() + stalledMs });
    const value = (name: string, statistic?: string) =>
      telemetry
        .collect('basic')
        .find((c) => c.info.name === `enginelight_process_${name}`)
        ?.series.find((s) => statistic === undefined || s.labels['statistic'] === statistic)?.value;
    expect(value('event_loop_lag_seconds', 'max')).toBeUndefined();
    await clock.advance(5000);
    expect(value('event_loop_lag_seconds', 'max')).toBe(0);
    stalledMs += 400;
    await clock.advance(1000);
    expect(value('event_loop_lag_seconds', 'max')).toBeCloseTo(0.4);
    expect(value('event_loop_lag_seconds', 'p50')).toBe(0);
    await clock.advance(31_000);
    expect(value('event_loop_lag_seconds', 'max')).toBe(0);
    expect(value('cpu_seconds_total')).toBeGreaterThan(0);
    expect(value('memory_rss_bytes')).toBeGreaterThan(10e6);
    expect(value('uptime_seconds')).toBeCloseTo(37.4);
    end();
    expect(telemetry.collect('detailed')).toEqual([]);
    expect(clock.pending()).toBe(0);
  });
});
