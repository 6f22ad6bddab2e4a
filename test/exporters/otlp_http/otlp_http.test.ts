/** The numbers are those of the OTLP conformance checklist's exporter side. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { otlpHttpExporter } from '../../../exporters/otlp_http/index.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  type Batch,
  type LogRecord,
  logsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  resource,
  SIGNALS,
  type Signal,
  scope,
  tracesBatch,
} from '../../../pipeline/model.ts';
import { decompress, HAS_ZSTD } from '../../../pipeline/wire/compression.ts';
import { decodeRequest } from '../../../pipeline/wire/otlp/index.ts';
import { encodeResponse, encodeStatus } from '../../../pipeline/wire/otlp/responses.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { arbitraryBatch } from '../../kit/otlp-arbitrary.ts';
import { oracleDecode } from '../../kit/otlp-oracle.ts';
import { points } from '../../kit/parts.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Seen {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}
type Answer = (res: ServerResponse, seen: Seen) => void;
const ok: Answer = (res) => res.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
const status =
  (code: number, headers: Record<string, string> = {}, message = 'no'): Answer =>
  (res) =>
    res
      .writeHead(code, { 'content-type': 'application/x-protobuf', ...headers })
      .end(encodeStatus({ code: 13, message }, 'protobuf'));

/** A backend that answers each request with the next of `answers`, and with the last one from then on. */
async function backend(...answers: Answer[]) {
  const seen: Seen[] = [];
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (c) => chunks.push(c));
    req.on('end', () => {
      const one = { path: req.url ?? '', headers: req.headers, body: Buffer.concat(chunks) };
      seen.push(one);
      (answers[Math.min(seen.length, answers.length) - 1] ?? ok)(res, one);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const got = (n: number) => vi.waitFor(() => expect(seen.length).toBeGreaterThanOrEqual(n), { interval: 5 });
  return { url, seen, got };
}

async function start(config: Record<string, unknown>, signals: readonly Signal[] = SIGNALS) {
  const clock = manualClock(Date.parse('2026-05-01T12:00:00Z'));
  const context = testContext({ id: 'otlp_http', kind: 'exporter', clock, signals: new Set(signals) });
  const resolved = resolve(otlpHttpExporter.config, config);
  expect(otlpHttpExporter.validate!(resolved)).toEqual([]);
  const stage: Stage = await otlpHttpExporter.start(resolved, context);
  closers.push(() => stage.stop(AbortSignal.abort()));
  const { measured } = context;
  const settled = (n: number) =>
    vi.waitFor(() => expect(measured.sent + measured.failed).toBeGreaterThanOrEqual(n), { interval: 5 });
  return { stage, clock, context, measured, settled, log: context.log.records };
}

const drops = (measured: { drops: { items: number; reason: string }[] }) =>
  measured.drops.map((d) => `${d.reason} ${d.items}`);
const noJitter = { retry_on_failure: { randomization_factor: 0 } };

describe('otlp_http: requests', () => {
  it('sends each signal to its path, as gzipped protobuf that reads back as it was', async () => {
    const { url, seen, got } = await backend();
    const { stage, measured, settled } = await start({ endpoint: `${url}/` });
    stage.consume(points(3));
    stage.consume(deepFreeze(logsBatch([record('hello')])));
    await got(2);
    const metrics = seen.find((s) => s.path === '/v1/metrics')!;
    expect(metrics.headers).toMatchObject({ 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip' });
    expect(decodeRequest('metrics', gunzipSync(metrics.body), 'protobuf').items).toEqual(points(3).items);
    expect(seen.some((s) => s.path === '/v1/logs')).toBe(true);
    await settled(4);
    expect(measured.sent).toBe(4);
  });

  it('sends JSON where wanted, and signals to their own URLs', async () => {
    const { url, seen, got } = await backend((res) =>
      res.writeHead(200, { 'content-type': 'application/json' }).end('{}'),
    );
    const { stage } = await start(
      { metrics_endpoint: `${url}/else/where?x=1`, encoding: 'json', compression: 'none' },
      ['metrics'],
    );
    stage.consume(points(2));
    await got(1);
    expect(seen[0]).toMatchObject({ path: '/else/where?x=1', headers: { 'content-type': 'application/json' } });
    expect(JSON.parse(seen[0]!.body.toString())).toHaveProperty('resourceMetrics');
  });

  it.runIf(HAS_ZSTD)('compresses with zstd where Node has it', async () => {
    const { url, seen, got } = await backend();
    const { stage } = await start({ endpoint: url, compression: 'zstd' });
    stage.consume(points(3));
    await got(1);
    expect(seen[0]!.headers['content-encoding']).toBe('zstd');
    const body = await decompress(seen[0]!.body, 'zstd', 1 << 20);
    expect(decodeRequest('metrics', body, 'protobuf').items).toEqual(points(3).items);
  });

  it.runIf(!HAS_ZSTD)('says that this Node has no zstd, before it starts', () => {
    const config = resolve(otlpHttpExporter.config, { endpoint: 'http://x', compression: 'zstd' });
    expect(otlpHttpExporter.validate!(config)[0]).toMatchObject({
      path: ['compression'],
      message: expect.stringContaining('zstd needs Node 22.15 or later'),
    });
  });

  it('warns at the start about a signal that has nowhere to go, and counts what is dropped', async () => {
    const { url } = await backend();
    const { stage, log, measured, settled } = await start({ metrics_endpoint: url });
    expect(log.filter((r) => r.level === 'warn').map((r) => r.message)).toEqual([
      'There is nowhere to send traces to; they are dropped.',
      'There is nowhere to send logs to; they are dropped.',
    ]);
    stage.consume(logsBatch([record('x')]));
    await settled(1);
    expect(drops(measured)).toEqual(['permanent_error 1']);
  });
});

describe('E53: retries exactly 429, 502, 503, 504 and connection errors', () => {
  it.each([429, 502, 503, 504])('%i is tried again', async (code) => {
    const { url, seen, got } = await backend(status(code), ok);
    const { stage, clock, measured, settled } = await start({ endpoint: url, ...noJitter });
    stage.consume(points(2));
    await got(1);
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    await clock.advance(5000);
    await settled(2);
    expect(seen.length).toBe(2);
    expect([measured.sent, measured.drops.length]).toEqual([2, 0]);
  });

  it.each([400, 401, 403, 404, 408, 413, 415, 500, 501, 505])('%i is not', async (code) => {
    const { url, seen } = await backend(status(code, {}, 'because'));
    const { stage, clock, measured, settled, log } = await start({ endpoint: url, ...noJitter });
    stage.consume(points(2));
    await settled(2);
    await clock.advance(600_000);
    expect(seen.length).toBe(1);
    expect(drops(measured)).toEqual(['permanent_error 2']);
    const error = log.find((r) => r.level === 'error')!;
    expect(error.message).toBe('Exporting failed. Dropping data.');
    expect(String(error.fields['error'])).toContain(`${url}/v1/metrics answered ${code}: because`);
  });

  it('a refused connection is tried again until the backend is there', async () => {
    const probe = createTcpServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    await new Promise((done) => probe.close(done));
    const { stage, clock, measured, log } = await start({ endpoint: `http://127.0.0.1:${port}`, ...noJitter });
    stage.consume(points(1));
    await vi.waitFor(() => expect(log.some((r) => r.message.startsWith('Exporting failed. Will retry'))).toBe(true));
    const server = createServer((req, res) => void req.resume().on('end', () => res.end())).listen(port, '127.0.0.1');
    closers.push(() => server.close());
    await once(server, 'listening');
    await clock.advance(5000);
    await vi.waitFor(() => expect(measured.sent).toBe(1));
    server.closeAllConnections();
  });

  it('a backend that hangs ends each attempt with the timeout, and others are not held up', async () => {
    const hanging = createTcpServer(() => {}).listen(0, '127.0.0.1');
    await once(hanging, 'listening');
    closers.push(() => hanging.close());
    const { stage, clock, log } = await start({
      endpoint: `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`,
      timeout: '2s',
    });
    stage.consume(points(1));
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    await clock.advance(2000);
    expect(String(log.at(-1)?.fields['error'])).toContain('no answer within 2000 ms');
  });
});

describe('E54: honours Retry-After', () => {
  const waits = async (header: string) => {
    const { url, got } = await backend(status(503, { 'retry-after': header }), ok);
    const { stage, clock, measured } = await start({ endpoint: url, ...noJitter });
    stage.consume(points(1));
    await got(1);
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    const begin = clock.monotonic();
    while (!measured.counters.get('exporter_retries') && clock.monotonic() - begin < 310_000) await clock.advance(1000);
    const waited = clock.monotonic() - begin;
    await got(2);
    return waited;
  };
  it.each([
    ['as seconds', '40', 40_000],
    ['as a date', 'Fri, 01 May 2026 12:01:00 GMT', 60_000],
    ['a date in the past means now: the usual wait', 'Fri, 01 May 2026 11:00:00 GMT', 5000],
    ['an absurd value is capped by max_elapsed_time', '99999999999', 300_000],
  ])('%s', async (_what, header, expected) => {
    expect(await waits(header)).toBe(expected);
  });
});

describe('E55: backoff', () => {
  it('grows, and stops at max_elapsed_time with a counted drop', async () => {
    const { url, seen } = await backend(status(503));
    const { stage, clock, measured } = await start({
      endpoint: url,
      retry_on_failure: {
        randomization_factor: 0,
        initial_interval: '1s',
        multiplier: 2,
        max_interval: '10s',
        max_elapsed_time: '20s',
      },
    });
    stage.consume(points(4));
    while (measured.drops.length === 0) {
      await vi.waitFor(() => expect(clock.pending() === 1 || measured.drops.length > 0).toBe(true));
      await clock.advance(500);
      await new Promise((r) => setTimeout(r, 3));
    }
    expect(drops(measured)).toEqual(['retries_exhausted 4']);
    // At 0, 1, 3, 7 and 15 s; the next would be at 25.
    expect(seen.length).toBe(5);
  });
});

describe('E57: partial success', () => {
  const partial: Answer = (res) =>
    res
      .writeHead(200, { 'content-type': 'application/x-protobuf' })
      .end(encodeResponse('metrics', 'protobuf', { rejected: 2, message: 'too old' }));

  it('is not sent again; what was rejected counts as rejected', async () => {
    const { url, seen } = await backend(partial);
    const { stage, clock, measured, settled, log } = await start({ endpoint: url });
    for (let i = 1; i <= 3; i++) {
      stage.consume(points(5));
      await settled(5 * i);
    }
    await clock.advance(60_000);
    expect(seen.length).toBe(3);
    expect([measured.sent, measured.failed]).toEqual([9, 6]);
    expect(drops(measured)).toEqual(['partial_success 2', 'partial_success 2', 'partial_success 2']);
    const warnings = log.filter((r) => r.level === 'warn');
    expect(warnings.length).toBe(1);
    expect(warnings[0]!.fields).toMatchObject({ rejected_items: 2, message: 'too old' });
  });

  it('of none with a message is a warning', async () => {
    const { url } = await backend((res) =>
      res
        .writeHead(200, { 'content-type': 'application/json' })
        .end('{"partialSuccess":{"errorMessage":"deprecated"}}'),
    );
    const { stage, measured, settled, log } = await start({ endpoint: url });
    stage.consume(points(5));
    await settled(5);
    expect([measured.sent, measured.drops.length]).toEqual([5, 0]);
    expect(log.find((r) => r.level === 'warn')?.fields['message']).toBe('deprecated');
  });

  it('a 200 with a web page is an error: it was some other server', async () => {
    const { url } = await backend((res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Log in</h1>'));
    const { stage, measured, settled, log } = await start({ endpoint: url });
    stage.consume(points(5));
    await settled(5);
    expect(drops(measured)).toEqual(['permanent_error 5']);
    expect(String(log.at(-1)?.fields['error'])).toContain(
      'answered 200 with text/html, no OTLP answer (is the endpoint right?): <h1>Log in</h1>',
    );
  });

  it('a 200 with some other text is a success, and is remarked on once', async () => {
    const { url } = await backend((res) => res.writeHead(200, { 'content-type': 'text/plain' }).end('OK'));
    const { stage, measured, settled, log } = await start({ endpoint: url });
    stage.consume(points(5));
    await settled(5);
    stage.consume(points(5));
    await settled(10);
    expect([measured.sent, measured.drops.length]).toEqual([10, 0]);
    const warnings = log.filter((r) => r.level === 'warn');
    expect(warnings.map((w) => w.fields['message'])).toEqual([
      'answered 200 with text/plain, no OTLP answer (is the endpoint right?): OK',
    ]);
  });

  it.each([
    ['nothing', (res: ServerResponse) => res.end()],
    ['204', (res: ServerResponse) => res.writeHead(204).end()],
    ['{} as text', (res: ServerResponse) => res.writeHead(200, { 'content-type': 'text/plain' }).end('{}')],
  ])('an answer of %s is a success', async (_what, answer) => {
    const { url } = await backend(answer);
    const { stage, measured, settled } = await start({ endpoint: url });
    stage.consume(points(1));
    await settled(1);
    expect(measured.sent).toBe(1);
  });
});

describe('E58: the answer is capped', () => {
  it.each([
    ['sent', (res: ServerResponse) => res.writeHead(503).end(Buffer.alloc(5 << 20))],
    ['promised', (res: ServerResponse) => res.writeHead(503, { 'content-length': '999999999' }).write('x')],
    [
      'decompressed',
      (res: ServerResponse) => res.writeHead(503, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5 << 20))),
    ],
  ])('more than 4 MiB %s is not read and not tried again', async (_what, answer) => {
    const { url, seen } = await backend(answer);
    const { stage, clock, measured, settled } = await start({ endpoint: url });
    stage.consume(points(1));
    await settled(1);
    await clock.advance(60_000);
    expect(seen.length).toBe(1);
    expect(drops(measured)).toEqual(['permanent_error 1']);
  });
});

describe('E59: requests above max_request_size', () => {
  it('are split, and what cannot be split is discarded with a record', async () => {
    const { url, seen } = await backend();
    const { stage, measured, settled, log } = await start({
      endpoint: url,
      max_request_size: '2KiB',
      compression: 'none',
    });
    stage.consume(
      logsBatch([record('a'), record('x'.repeat(5000)), ...Array.from({ length: 60 }, (_, i) => record(`line ${i}`))]),
    );
    await settled(62);
    expect(seen.length).toBeGreaterThan(1);
    for (const { body } of seen) expect(body.length).toBeLessThanOrEqual(2048);
    const bodies = seen
      .flatMap((s) => decodeRequest('logs', s.body, 'protobuf').items as LogRecord[])
      .map((r) => r.body);
    expect(bodies).toEqual(['a', ...Array.from({ length: 60 }, (_, i) => `line ${i}`)]);
    expect(drops(measured)).toEqual(['too_large 1']);
    expect(log.some((r) => r.level === 'error' && String(r.fields['error']).includes('max_request_size'))).toBe(true);
  });
});

describe('E60: headers', () => {
  it('Content-Encoding only if compressed; User-Agent; custom headers; secrets never logged', async () => {
    const { url, seen, got } = await backend(status(400), status(503), status(200));
    const { stage, log, clock, settled, context } = await start({
      endpoint: url,
      compression: 'none',
      headers: { 'X-Tenant': 'hunter2-tenant' },
      authorization: { credentials: 'hunter2-token' },
      ...noJitter,
    });
    stage.consume(points(1));
    await got(1);
    await settled(1);
    stage.consume(points(1));
    await got(2);
    await vi.waitFor(() => expect(clock.pending()).toBe(1));
    await clock.advance(5000);
    await settled(2);
    for (const { headers } of seen) {
      expect(headers['content-encoding']).toBeUndefined();
      expect(headers['user-agent']).toMatch(/^enginelight\//);
      expect(headers['x-tenant']).toBe('hunter2-tenant');
      expect(headers['authorization']).toBe('Bearer hunter2-token');
    }
    const said = log.map((r) => `${r.message} ${Object.values(r.fields).map(String).join(' ')}`).join('\n');
    expect(said).toContain('answered 400');
    expect(said + JSON.stringify(context.statuses)).not.toContain('hunter2');
  });
});

describe('E61: what is sent', () => {
  it('is byte for byte the same on a retry', async () => {
    const { url, seen } = await backend(status(503), status(429), ok);
    const { stage, clock, settled } = await start({ endpoint: url, ...noJitter });
    stage.consume(points(50));
    for (const ms of [5000, 7500]) {
      await vi.waitFor(() => expect(clock.pending()).toBe(1));
      await clock.advance(ms);
      await new Promise((r) => setTimeout(r, 10));
    }
    await settled(50);
    expect(seen.length).toBe(3);
    expect(seen[1]!.body.equals(seen[0]!.body)).toBe(true);
    expect(seen[2]!.body.equals(seen[0]!.body)).toBe(true);
    expect(seen[2]!.headers).toEqual(seen[0]!.headers);
  });

  it('is never an empty envelope', async () => {
    const { url, seen } = await backend();
    const { stage } = await start({ endpoint: url, sending_queue: { batch: { flush_timeout: '10ms' } } });
    for (const batch of [metricsBatch([]), tracesBatch([]), logsBatch([])]) stage.consume(batch);
    await stage.stop();
    expect(seen.length).toBe(0);
  });
});

describe('E62: redirects and proxies', () => {
  it('follows no redirect to another origin with credentials', async () => {
    const other = await backend();
    const { url } = await backend((res) => res.writeHead(307, { location: `${other.url}/v1/metrics` }).end());
    const { stage, measured, settled, log } = await start({ endpoint: url, headers: { 'x-api-key': 'secret' } });
    stage.consume(points(1));
    await settled(1);
    expect(other.seen.length).toBe(0);
    expect(drops(measured)).toEqual(['permanent_error 1']);
    expect(String(log.at(-1)?.fields['error'])).toContain('which is not followed');
  });

  it('goes through the proxy it is told to', async () => {
    const proxy = await backend();
    const { stage, settled } = await start({ endpoint: 'http://collector.example:4318', proxy_url: proxy.url });
    stage.consume(points(1));
    await settled(1);
    expect(proxy.seen[0]!.path).toBe('http://collector.example:4318/v1/metrics');
    expect(proxy.seen[0]!.headers.host).toBe('collector.example:4318');
  });
});

describe('E63: in, queue on disk, restart, out', () => {
  it('is identical in every field', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'enginelight-e63-'));
    closers.push(() => rm(directory, { recursive: true, force: true }));
    const sending_queue = { queue_size: 10_000, num_consumers: 1, storage: { directory, fsync: 'never' } };
    const down = await start({ endpoint: 'http://127.0.0.1:9', sending_queue });
    const random = SIGNALS.flatMap((signal) => fc.sample(arbitraryBatch(signal), { numRuns: 60, seed: 63 }));
    // The examples of the protocol's own repository.
    const golden = (['metrics', 'logs', 'events', 'trace'] as const).map((name) => {
      const signal = name === 'trace' ? 'traces' : name === 'events' ? 'logs' : name;
      return decodeRequest(signal, readFileSync(new URL(`../../fixtures/otlp/${name}.json`, import.meta.url)), 'json');
    });
    const given: Batch[] = [...golden, ...random].filter((b) => b.items.length > 0);
    for (const batch of given) await down.stage.consume(deepFreeze(batch));
    await down.stage.stop(AbortSignal.abort());
    expect(down.measured.drops).toEqual([]);

    const { url, seen } = await backend();
    const up = await start({ endpoint: url, sending_queue, compression: 'none' });
    const total = given.reduce((n, b) => n + b.items.length, 0);
    await up.settled(total);
    expect(up.measured.sent).toBe(total);
    for (const signal of SIGNALS) {
      const bodies = seen.filter((s) => s.path === `/v1/${signal}`).map((s) => s.body);
      const batches = given.filter((b) => b.signal === signal);
      expect(bodies.length).toBe(batches.length);
      for (const [i, batch] of batches.entries()) {
        expect(decodeRequest(signal, bodies[i]!, 'protobuf')).toEqual(batch);
        // And as an independent implementation reads it, the same bytes as a direct export.
        expect(() => oracleDecode(signal, bodies[i]!)).not.toThrow();
      }
    }
  });
});

describe('mistakes in the options', () => {
  const check = (config: unknown) =>
    otlpHttpExporter.validate!(resolve(otlpHttpExporter.config, config)).map((m) => m.message);
  it.each([
    [{}, 'at least one endpoint must be specified'],
    [{ endpoint: 'http://x', compression_params: { level: 12 } }, 'gzip knows levels 1 to 9'],
    [{ endpoint: 'http://x', sending_queue: { batch: { flush_timeout: 0 } } }, '`flush_timeout` must be positive'],
    [{ endpoint: 'http://x', tls: { cert_file: '/x' } }, 'a client certificate needs its key: set key_file or key_pem'],
  ])('%j', (config, message) => expect(check(config)).toEqual([message]));
});

function record(body: string): LogRecord {
  return {
    resource: resource({ 'service.name': 'x' }),
    scope: scope('s'),
    time: 1n,
    observedTime: 1n,
    severityNumber: 9,
    severityText: 'INFO',
    body,
    attributes: NO_ATTRIBUTES,
    droppedAttributesCount: 0,
    flags: 0,
    traceId: '',
    spanId: '',
    eventName: '',
  };
}
