/**
 * Who gets the daemon's own metrics: OpenTelemetry's readers, fed from the plain counters through a MetricProducer. Not
 * through observable instruments: those go on showing a series that is no longer observed, so a queue or a target that is
 * gone would stay on the page for ever. OpenTelemetry is loaded only here and only when there is a reader.
 */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { HrTime } from '@opentelemetry/api';
import type {
  MetricData,
  MetricProducer,
  MetricReader,
  PushMetricExporter,
  ResourceMetrics,
} from '@opentelemetry/sdk-metrics';
import type { Secret, Static } from '../config/schema.ts';
import { describeError } from './errors.ts';
import type { Clock } from './kit/clock.ts';
import { listen, urlOf } from './kit/listen.ts';
import type { Logger } from './kit/log.ts';
import type { Telemetry } from './telemetry.ts';
import type { Level } from './telemetry-metrics.ts';
import type { telemetryOptions } from './telemetry-options.ts';

export type TelemetryConfig = Static<typeof telemetryOptions>;
type ReaderConfig = NonNullable<TelemetryConfig['metrics']['readers']>[number];
type OtlpConfig = NonNullable<NonNullable<ReaderConfig['periodic']>['exporter']['otlp']>;

export interface Readers {
  /** Where the Prometheus pages are, as URLs. */
  readonly pages: readonly string[];
  /** Sends what is due a last time, within `timeoutMs`, and closes everything. */
  stop(timeoutMs: number): Promise<void>;
}

interface Needs {
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
}

const INSTANCE_ID = randomUUID();

/**
 * Starts the configured readers. Own telemetry is never a reason not to run: a reader that cannot be started (a port that
 * is taken) is named in a warning and left out.
 */
export async function startReaders(config: TelemetryConfig, needs: Needs): Promise<Readers> {
  const { metrics } = config;
  const { log } = needs;
  if (metrics.level === 'none') return { pages: [], stop: async () => {} };
  const level = metrics.level;
  const pages: string[] = [];
  const stops: ((timeoutMs: number) => Promise<void>)[] = [];

  const configs = metrics.readers ?? [undefined];
  for (const reader of configs) {
    const page = reader === undefined ? { endpoint: metrics.address, scopeInfo: false } : pullEndpoint(reader);
    try {
      if (page) {
        const started = await prometheusPage(page.endpoint, page.scopeInfo, config, level, needs);
        pages.push(started.url);
        stops.push(started.stop);
      }
      const otlp = reader?.periodic?.exporter.otlp;
      if (reader?.periodic && otlp) {
        const { interval, timeout } = reader.periodic;
        stops.push(await otlpPush(otlp, interval as number, timeout as number, config, level, needs));
      }
      if (reader && !page && !otlp) log.warn('A reader of service::telemetry::metrics names no exporter.');
    } catch (error) {
      log.warn('The own metrics are not available there; the daemon runs on without.', {
        error: describeError(error),
        remedy: 'set service::telemetry::metrics::address to a free address',
      });
    }
  }
  return {
    pages,
    async stop(timeoutMs) {
      await Promise.all(stops.map((stop) => stop(timeoutMs)));
    },
  };
}

function pullEndpoint(reader: ReaderConfig): { endpoint: string; scopeInfo: boolean } | undefined {
  const prometheus = reader.pull?.exporter.prometheus;
  if (!prometheus) return undefined;
  const { host, port, without_scope_info } = prometheus;
  return { endpoint: `${host.includes(':') ? `[${host}]` : host}:${port}`, scopeInfo: !without_scope_info };
}

async function prometheusPage(
  endpoint: string,
  scopeInfo: boolean,
  config: TelemetryConfig,
  level: Level,
  needs: Needs,
): Promise<{ url: string; stop: (timeoutMs: number) => Promise<void> }> {
  const { PrometheusExporter } = await import('@opentelemetry/exporter-prometheus');
  // Its own server cannot be told port 0, does not close connections and takes a bound address from the environment.
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    withoutScopeInfo: !scopeInfo,
    metricProducers: [await producer(needs, level, false)],
  });
  const provider = await provide(exporter, config, needs);
  const server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0];
    if (path !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('The metrics are at /metrics.\n');
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
    } else {
      exporter.getMetricsRequestHandler(request, response);
    }
  });
  server.unref();
  try {
    const listening = await listen(server, endpoint);
    return {
      url: `${urlOf(listening, 'http')}/metrics`,
      async stop() {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        server.closeAllConnections();
        await closed;
        await provider.shutdown();
      },
    };
  } catch (error) {
    await provider.shutdown();
    throw error;
  }
}

async function otlpPush(
  otlp: OtlpConfig,
  intervalMs: number,
  timeoutMs: number,
  config: TelemetryConfig,
  level: Level,
  needs: Needs,
): Promise<(timeoutMs: number) => Promise<void>> {
  const [{ OTLPMetricExporter }, { PeriodicExportingMetricReader }] = await Promise.all([
    import('@opentelemetry/exporter-metrics-otlp-http'),
    import('@opentelemetry/sdk-metrics'),
  ]);
  const url = new URL(otlp.endpoint);
  if (url.pathname === '/') url.pathname = '/v1/metrics';
  const headers = headersOf(otlp.headers);
  const gzip = otlp.compression === 'gzip';
  const exporter = new OTLPMetricExporter({
    url: url.href,
    headers,
    timeoutMillis: otlp.timeout as number,
    // Its enum of compressions is exported by a package that is no dependency of ours.
    ...(gzip ? ({ compression: 'gzip' } as object) : {}),
  });
  const reader = new PeriodicExportingMetricReader({
    exporter: quiet(exporter, url.href, needs.log),
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: Math.min(timeoutMs, intervalMs),
    metricProducers: [await producer(needs, level, otlp.temporality_preference !== 'cumulative')],
  });
  const provider = await provide(reader, config, needs);
  return async (within) => {
    await provider.shutdown({ timeoutMillis: Math.max(1, within) }).catch((error: unknown) => {
      needs.log.warn('The own metrics could not be sent a last time.', { endpoint: url.href, error });
    });
  };
}

/** Failures go to our log, once and with the endpoint, instead of to OpenTelemetry's global error handler. */
function quiet(exporter: PushMetricExporter, endpoint: string, log: Logger): PushMetricExporter {
  return {
    export(metrics: ResourceMetrics, done) {
      exporter.export(metrics, (result) => {
        if (result.error) log.warn('The own metrics could not be sent.', { endpoint, error: result.error });
        done({ code: 0 });
      });
    },
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}

function headersOf(headers: OtlpConfig['headers']): Record<string, string> {
  const pairs: [string, Secret][] = Array.isArray(headers)
    ? (headers as { name: string; value: Secret }[]).map(({ name, value }) => [name, value])
    : Object.entries(headers as Record<string, Secret>);
  return Object.fromEntries(pairs.map(([name, value]) => [name, value.reveal()]));
}

async function provide(reader: MetricReader, config: TelemetryConfig, { version }: Needs) {
  const [{ MeterProvider }, { resourceFromAttributes }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    import('@opentelemetry/resources'),
  ]);
  const attributes: Record<string, unknown> = {
    'service.name': 'enginelight',
    'service.version': version,
    'service.instance.id': INSTANCE_ID,
    ...config.resource,
  };
  const kept = Object.entries(attributes).filter(([, value]) => value !== null && value !== undefined);
  const resource = resourceFromAttributes(Object.fromEntries(kept.map(([k, v]) => [k, v as string])));
  return new MeterProvider({ resource, readers: [reader] });
}

/** Turns the counters into the SDK's data when it collects. With `delta`, counters are what was added since. */
async function producer({ telemetry, clock, version }: Needs, level: Level, delta: boolean): Promise<MetricProducer> {
  const [{ AggregationTemporality, DataPointType }, { resourceFromAttributes }, { ValueType }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    import('@opentelemetry/resources'),
    import('@opentelemetry/api'),
  ]);
  const ignored = resourceFromAttributes({});
  const scope = { name: 'enginelight', version };
  const hrTime = (): HrTime => {
    const ms = clock.now();
    const seconds = Math.floor(ms / 1000);
    return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
  };
  let startTime = hrTime();
  let last = new Map<string, number>();
  return {
    async collect() {
      const endTime = hrTime();
      const next = new Map<string, number>();
      const metrics = telemetry.collect(level).map(({ info, series }): MetricData => {
        const isCounter = info.type === 'counter';
        const dataPoints = series.map(({ labels, value }) => {
          let shown = value;
          if (delta && isCounter) {
            const key = `${info.name} ${JSON.stringify(labels)}`;
            next.set(key, value);
            shown = value - (last.get(key) ?? 0);
          }
          return { startTime, endTime, attributes: labels, value: shown };
        });
        const descriptor = {
          name: info.name,
          description: info.description,
          unit: info.unit,
          valueType: info.unit.startsWith('{') ? ValueType.INT : ValueType.DOUBLE,
        };
        return isCounter
          ? {
              descriptor,
              dataPoints,
              dataPointType: DataPointType.SUM,
              isMonotonic: true,
              aggregationTemporality: delta ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE,
            }
          : {
              descriptor,
              dataPoints,
              dataPointType: DataPointType.GAUGE,
              aggregationTemporality: AggregationTemporality.CUMULATIVE,
            };
      });
      if (delta) {
        last = next;
        startTime = endTime;
      }
      return { resourceMetrics: { resource: ignored, scopeMetrics: [{ scope, metrics }] }, errors: [] };
    },
  };
}
