import { connect } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { prometheusExporter } from '../../../exporters/prometheus/index.ts';
import { negotiate } from '../../../exporters/prometheus/negotiate.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { gauge, logsBatch, metricsBatch, NO_ATTRIBUTES, resource, scope } from '../../../pipeline/model.ts';
import { contentType } from '../../../pipeline/wire/prometheus-text-write.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';

const stages: Stage[] = [];
afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.stop();
});

async function start(config: object = {}) {
  const context = testContext({ id: 'prometheus', kind: 'exporter' });
  const stage = await prometheusExporter.start(
    resolve(prometheusExporter.config, { endpoint: '127.0.0.1:0', ...config }),
    context,
  );
  stages.push(stage);
  const url = String(context.log.records.find((r) => r.fields['url'])?.fields['url']);
  return { stage, url, context };
}

const gpu = (id: string) => ({
  series: {
    resource: resource({ 'service.name': 'llm', 'hw.id': id, 'process.pid': 42 }),
    scope: scope('probe'),
    metric: gauge('hw.gpu.power', 'W', 'Power.'),
    attributes: NO_ATTRIBUTES,
  },
  time: 1n,
  startTime: 0n,
  flags: 0,
  value: 300,
});
const batch = () => deepFreeze(metricsBatch([gpu('GPU-1'), gpu('GPU-2')]));

describe('the prometheus exporter', () => {
  it('serves what it was given, GPUs of one service apart', async () => {
    const { stage, url, context } = await start();
    stage.consume(batch());
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8; escaping=underscores');
    const text = await response.text();
    expect(text).toContain('hw_gpu_power_watts{hw_id="GPU-1",job="llm",otel_scope_name="probe"} 300\n');
    expect(text).toContain('hw_gpu_power_watts{hw_id="GPU-2",job="llm",otel_scope_name="probe"} 300\n');
    expect(context.measured.drops).toEqual([]);
    expect(context.measured.sent).toBe(2);
    expect(context.measured.gauges.get('exporter_prometheus_series')!()).toBe(3);
  });

  it('says once, with the remedy, that two sources make one series, and serves the rest', async () => {
    const { stage, url, context } = await start({
      resource_constant_labels: { included: [] },
      without_scope_info: true,
    });
    stage.consume(batch());
    stage.consume(batch());
    expect(await (await fetch(url)).text()).toContain('hw_gpu_power_watts{job="llm"} 300\n');
    expect(context.measured.drops.map((d) => d.reason)).toEqual(['duplicate', 'duplicate']);
    const warnings = context.log.records.filter((r) => r.level === 'warn');
    expect(warnings.length).toBe(1);
    expect(warnings[0]!.fields).toMatchObject({
      what: 'hw_gpu_power_watts{job="llm"}',
      remedy: 'add the attribute that tells them apart to resource_constant_labels.included',
    });
  });

  it('makes all attributes labels with resource_to_telemetry_conversion, except the excluded', async () => {
    const { stage, url } = await start({
      resource_to_telemetry_conversion: { enabled: true },
      resource_constant_labels: { excluded: ['hw.*'] },
      without_scope_info: true,
    });
    stage.consume(metricsBatch([gpu('GPU-1')]));
    expect(await (await fetch(url)).text()).toContain(
      'hw_gpu_power_watts{job="llm",process_pid="42",service_name="llm"} 300\n',
    );
  });

  it('compresses for who asks for it', async () => {
    const { stage, url } = await start();
    stage.consume(batch());
    const { body, headers } = await raw(url, 'Accept-Encoding: gzip');
    expect(headers).toMatch(/content-encoding: gzip/i);
    expect(gunzipSync(body).toString()).toContain('hw_gpu_power_watts');
  });

  it('answers OpenMetrics with its end mark to who asks for it, unless it is switched off', async () => {
    const accept = { accept: 'application/openmetrics-text;version=1.0.0' };
    const on = await start();
    const response = await fetch(on.url, { headers: accept });
    expect(response.headers.get('content-type')).toContain('application/openmetrics-text; version=1.0.0');
    expect(await response.text()).toBe('# EOF\n');
    const off = await start({ enable_open_metrics: false });
    expect((await fetch(off.url, { headers: accept })).headers.get('content-type')).toContain('text/plain');
  });

  it('answers 404 elsewhere, 405 to other methods, 401 without credentials', async () => {
    const { url } = await start();
    expect((await fetch(url.replace('/metrics', '/other'))).status).toBe(404);
    expect((await fetch(url, { method: 'POST' })).status).toBe(405);
    expect(await (await fetch(url, { method: 'HEAD' })).text()).toBe('');
    const safe = await start({ auth: { bearer_token: 't' } });
    expect((await fetch(safe.url)).status).toBe(401);
    expect((await fetch(safe.url, { headers: { authorization: 'Bearer t' } })).status).toBe(200);
  });

  it('refuses what is no metric, and everything once it is stopped', async () => {
    const { stage, context } = await start();
    expect(() => stage.consume(logsBatch([]))).toThrow('takes metrics, not logs');
    await stage.stop();
    await stage.stop();
    expect(() => stage.consume(batch())).toThrow('is stopping');
    expect(context.measured.sent).toBe(0);
    expect((context.clock as unknown as { pending(): number }).pending()).toBe(0);
  });

  it('names the address when it cannot listen there', async () => {
    const { url } = await start();
    const endpoint = new URL(url).host;
    await expect(start({ endpoint })).rejects.toThrow(endpoint);
  });
});

describe('the format that a scraper gets', () => {
  const prometheus3 =
    'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2';
  it.each([
    [undefined, 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'],
    ['*/*', 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'],
    ['text/html,application/xml;q=0.9,*/*;q=0.8', 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'],
    [prometheus3, 'application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8'],
    [
      'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1',
      'application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores',
    ],
    [
      'application/openmetrics-text',
      'application/openmetrics-text; version=0.0.1; charset=utf-8; escaping=underscores',
    ],
    ['text/plain;version=1.0.0;escaping=dots', 'text/plain; version=1.0.0; charset=utf-8; escaping=dots'],
    ['text/plain; version=0.0.4; escaping=values', 'text/plain; version=0.0.4; charset=utf-8; escaping=values'],
    ['text/plain;version=0.0.4;escaping=allow-utf-8', 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'],
    ['text/plain;version=1.0.0;escaping=martian', 'text/plain; version=1.0.0; charset=utf-8; escaping=underscores'],
    [
      'text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.1',
      'text/plain; version=0.0.4; charset=utf-8; escaping=underscores',
    ],
    [
      'application/openmetrics-text;version=1.0.0;q=0',
      'text/plain; version=0.0.4; charset=utf-8; escaping=underscores',
    ],
    [';;;,=,q=', 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores'],
  ])('for Accept %s is %s', (accept, expected) => {
    expect(contentType(negotiate(accept, true))).toBe(expected);
  });
});

/** fetch hides compression; this does not. */
function raw(url: string, header: string): Promise<{ headers: string; body: Buffer }> {
  const { hostname, port, pathname } = new URL(url);
  return new Promise((done, fail) => {
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\n${header}\r\nConnection: close\r\n\r\n`),
    );
    const chunks: Buffer[] = [];
    socket.on('data', (c) => chunks.push(c));
    socket.on('error', fail);
    socket.on('close', () => {
      const all = Buffer.concat(chunks);
      const end = all.indexOf('\r\n\r\n');
      done({ headers: all.subarray(0, end).toString(), body: all.subarray(end + 4) });
    });
  });
}
