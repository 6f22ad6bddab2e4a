/**
 * The conformance checklist of the OTLP receiver, each assertion by its number, over every transport that it concerns.
 * 53 to 62 are about exporters (test/exporters/otlp_http, otlp_grpc); so is 63, the queue on disk (otlp_http, E63).
 * Where the OTLP specification and the Collector differ, the specification is what is asserted.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { PermanentError, RetryableError } from '../../../pipeline/errors.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import {
  type AnyValue,
  type Batch,
  Double,
  KeyValues,
  type Metric,
  type NumberPoint,
  type Point,
  SIGNALS,
  type Signal,
  type Span,
} from '../../../pipeline/model.ts';
import { compress, HAS_ZSTD } from '../../../pipeline/wire/compression.ts';
import { GrpcCode } from '../../../pipeline/wire/grpc.ts';
import { attributesOf, decodeStatus, encodeRequest } from '../../../pipeline/wire/otlp/index.ts';
import { httpStatusOf } from '../../../receivers/otlp/http.ts';
import { otlpReceiver } from '../../../receivers/otlp/index.ts';
import { authority } from '../../kit/certificates.ts';
import { grpcOnce } from '../../kit/grpc-client.ts';
import { sink } from '../../kit/harness.ts';
import { arbitraryBatch } from '../../kit/otlp-arbitrary.ts';
import { double, fixed64, group, message, str, uint } from '../../kit/protobuf-builder.ts';
import { METHODS, PATHS, request, type Started, startOtlp, TRANSPORTS, through } from './harness.ts';

const started: Started[] = [];
afterEach(async () => {
  const now = AbortSignal.abort();
  await Promise.all(started.splice(0).map((s) => s.running.stop(now)));
});
const start = async (...args: Parameters<typeof startOtlp>): Promise<Started> => {
  const receiver = await startOtlp(...args);
  started.push(receiver);
  return receiver;
};
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 3000 && !condition(); i++) await new Promise((r) => setTimeout(r, 1));
  expect(condition()).toBe(true);
};

const resource = { attributes: attributesOf({ 'service.name': 'svc' }), droppedAttributesCount: 0, schemaUrl: '' };
const scope = { name: 'lib', version: '1', attributes: {}, droppedAttributesCount: 0, schemaUrl: '' };
const metricOf = (type: Metric['type'], more: Partial<Metric> = {}): Metric => ({
  name: `a.${type}`,
  description: '',
  unit: '1',
  type,
  temporality: 0,
  monotonic: false,
  metadata: {},
  ...more,
});
const pointOf = (metric: Metric, fields: object, attributes: Record<string, AnyValue> = {}): Point =>
  ({
    series: { resource, scope, metric, attributes: attributesOf(attributes) },
    time: 1_700_000_000_000_000_000n,
    startTime: 1_600_000_000_000_000_000n,
    flags: 0,
    ...fields,
  }) as Point;
const number = (value: number | bigint, attributes: Record<string, AnyValue> = {}) =>
  pointOf(metricOf('gauge'), { value }, attributes);
const metrics = (...items: Point[]): Batch => ({ signal: 'metrics', items });
const spanOf = (fields: Partial<Span> = {}): Span => ({
  resource,
  scope,
  traceId: '5b8efff798038103d269b633813fc60c',
  spanId: 'eee19b7ec3c1b174',
  parentSpanId: '',
  traceState: '',
  flags: 0,
  name: 'span',
  kind: 2,
  startTime: 1n,
  endTime: 2n,
  attributes: {},
  droppedAttributesCount: 0,
  events: [],
  droppedEventsCount: 0,
  links: [],
  droppedLinksCount: 0,
  status: { code: 0, message: '' },
  ...fields,
});
const traces = (...items: Span[]): Batch => ({ signal: 'traces', items });
const logWith = (body: AnyValue): Batch => ({
  signal: 'logs',
  items: [
    {
      resource,
      scope,
      time: 1n,
      observedTime: 2n,
      severityNumber: 9,
      severityText: '',
      body,
      attributes: {},
      droppedAttributesCount: 0,
      flags: 0,
      traceId: '',
      spanId: '',
      eventName: '',
    },
  ],
});
const sample: Record<Signal, Batch> = { metrics: metrics(number(1.5)), traces: traces(spanOf()), logs: logWith('x') };

const [PROTOBUF, JSON_HTTP, GRPC] = TRANSPORTS as [
  (typeof TRANSPORTS)[0],
  (typeof TRANSPORTS)[0],
  (typeof TRANSPORTS)[0],
];
const HTTP = [PROTOBUF, JSON_HTTP];
/** A hundred megabytes of zeros in a hundred kilobytes. */
const BOMB = gzipSync(Buffer.alloc(100 * 2 ** 20));
const DEEP = Array.from({ length: 10_000 }).reduce<Buffer>(
  (inner) => message(6, message(1, message(2, inner))),
  str(1, 'x'),
);
const PB = { 'content-type': 'application/x-protobuf' };

/** Sends raw bytes and collects all that comes back until the connection closes. */
function raw(url: string, ...pieces: (string | Uint8Array)[]) {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  let text = '';
  socket.on('data', (d) => {
    text += d.toString('latin1');
  });
  socket.on('error', () => {});
  for (const piece of pieces) socket.write(piece);
  const closed = new Promise<string>((done) => socket.on('close', () => done(text)));
  return { socket, closed, text: () => text };
}

describe('transport', () => {
  test.each(TRANSPORTS)('§4.5-1 every signal is taken over $name', async (transport) => {
    const to = await start();
    for (const signal of SIGNALS) {
      expect(await through(transport, to, sample[signal])).toEqual(sample[signal]);
    }
  });

  test('§4.5-1 paths can be chosen', async () => {
    const to = await start({ http: { metrics_url_path: '/otlp/m', traces_url_path: '/t', logs_url_path: '/l' } });
    const post = (path: string) =>
      request(`${to.http}${path}`, { headers: PB, body: encodeRequest(sample.metrics, 'protobuf') });
    expect((await post('/otlp/m')).status).toBe(200);
    expect((await post('/v1/metrics')).status).toBe(404);
  });

  test.each([
    'GET',
    'PUT',
    'DELETE',
    'PATCH',
    'HEAD',
  ])('§4.5-2 %s is answered 405 and told about POST', async (method) => {
    const to = await start();
    const answer = await request(`${to.http}/v1/metrics`, { method });
    expect([answer.status, answer.headers.allow]).toEqual([405, 'POST']);
    if (method !== 'HEAD') expect(decodeStatus(answer.body, 'json').message).toContain('supported: [POST]');
  });

  test('§4.5-3 an unknown path is answered 404, an unknown method UNIMPLEMENTED', async () => {
    const to = await start();
    for (const path of ['/', '/v1/profiles', '/v1/metrics/x', '/V1/metrics']) {
      expect((await request(`${to.http}${path}`, { headers: PB })).status).toBe(404);
    }
    const call = await grpcOnce(
      to.grpc,
      '/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export',
      Buffer.alloc(0),
    );
    expect(call.status).toBe(GrpcCode.UNIMPLEMENTED);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-3 a signal without a pipeline is answered 404 or UNIMPLEMENTED over $name', async (transport) => {
    const to = await start({ context: { signals: new Set<Signal>(['metrics']) } });
    const outcome = await transport.send(to, 'traces', encodeRequest(sample.traces, transport.encoding));
    expect([outcome.code, outcome.httpStatus]).toEqual([GrpcCode.UNIMPLEMENTED, transport === GRPC ? 200 : 404]);
    expect(await through(transport, to, sample.metrics)).toEqual(sample.metrics);
  });

  test('§4.5-4 protobuf is answered in protobuf', async () => {
    const to = await start();
    const good = await PROTOBUF.send(to, 'metrics', encodeRequest(sample.metrics, 'protobuf'));
    const bad = await PROTOBUF.send(to, 'metrics', Buffer.from('x'));
    expect([good.headers['content-type'], bad.headers['content-type']]).toEqual(
      Array(2).fill('application/x-protobuf'),
    );
  });

  test('§4.5-5 JSON is answered in JSON, with a charset too', async () => {
    const to = await start();
    const good = await JSON_HTTP.send(to, 'metrics', encodeRequest(sample.metrics, 'json'));
    const bad = await JSON_HTTP.send(to, 'metrics', Buffer.from('x'));
    expect([good.httpStatus, good.headers['content-type']]).toEqual([200, 'application/json']);
    expect([bad.httpStatus, bad.headers['content-type']]).toEqual([400, 'application/json']);
  });

  test.each([
    { 'content-type': 'text/plain' },
    {},
    { 'content-type': 'nonsense' },
    { 'content-type': 'application/x-protobuf2' },
  ])('§4.5-6 the content type %j is answered 415', async (headers) => {
    const to = await start();
    const answer = await request(`${to.http}/v1/metrics`, { headers: headers as Record<string, string>, body: '{}' });
    expect(answer.status).toBe(415);
    expect(decodeStatus(answer.body, 'json').message).toContain('application/x-protobuf');
  });

  test('§4.5-7 one connection carries requests in both encodings one after the other', async () => {
    const to = await start();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const connections: unknown[] = [];
    agent.on('free', (socket: net.Socket) => connections.push(socket.localPort));
    for (const [signal, encoding, type] of [
      ['metrics', 'protobuf', 'application/x-protobuf'],
      ['traces', 'json', 'application/json'],
      ['logs', 'protobuf', 'application/x-protobuf'],
    ] as const) {
      const body = encodeRequest(sample[signal], encoding);
      const answer = await request(`${to.http}${PATHS[signal]}`, { headers: { 'content-type': type }, body, agent });
      expect(answer.status).toBe(200);
    }
    await until(() => connections.length === 3);
    expect(new Set(connections).size).toBe(1);
    agent.destroy();
  });

  test('§4.5-8 a slash at the end and a query change nothing', async () => {
    const to = await start();
    for (const path of ['/v1/metrics/', '/v1/metrics?x=1', '/v1/metrics/?x=1#y']) {
      const answer = await request(`${to.http}${path}`, {
        headers: PB,
        body: encodeRequest(sample.metrics, 'protobuf'),
      });
      expect(answer.status).toBe(200);
    }
    expect(to.sink.batches.length).toBe(3);
  });

  test('§4.5-9 only this machine is listened to, on the usual ports, unless told otherwise', () => {
    const { protocols } = resolve(otlpReceiver.config, { protocols: { http: null, grpc: null } });
    expect([protocols.http?.endpoint, protocols.grpc?.endpoint]).toEqual(['127.0.0.1:4318', '127.0.0.1:4317']);
  });
});

describe('compression and size', () => {
  const encodings = ['identity', 'gzip', 'deflate', 'snappy', ...(HAS_ZSTD ? (['zstd'] as const) : [])] as const;
  const packed = encodings.flatMap((encoding) =>
    TRANSPORTS.map((transport) => ({ encoding, transport, name: transport.name })),
  );
  test.each(packed)('§4.5-10 §4.5-11 $encoding is understood over $name', async ({ encoding, transport }) => {
    const to = await start();
    const body = await compress(encodeRequest(sample.metrics, transport.encoding), encoding);
    const outcome = await transport.send(to, 'metrics', body, { encoding });
    expect(outcome.code).toBe(0);
    expect(to.sink.batches).toEqual([sample.metrics]);
  });

  test('§4.5-11 what is understood can be cut down, and is advertised', async () => {
    const to = await start({ http: { compression_algorithms: ['gzip'] } });
    const body = deflateSync(encodeRequest(sample.metrics, 'protobuf'));
    const refused = await PROTOBUF.send(to, 'metrics', body, { encoding: 'deflate' });
    expect([refused.httpStatus, refused.headers['accept-encoding']]).toEqual([415, 'gzip']);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-12 an unknown encoding is refused and never taken for none over $name', async (transport) => {
    const to = await start();
    const body = encodeRequest(sample.metrics, transport.encoding);
    const outcome = await transport.send(to, 'metrics', body, { encoding: 'br' });
    if (transport === GRPC) expect(outcome.code).toBe(GrpcCode.UNIMPLEMENTED);
    else expect([outcome.httpStatus, outcome.status?.message]).toEqual([415, 'Unsupported Content-Encoding: br']);
    expect(to.sink.batches).toEqual([]);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-13 corrupt and truncated gzip is refused over $name, and the next request is taken', async (transport) => {
    const to = await start();
    const good = gzipSync(encodeRequest(sample.metrics, transport.encoding));
    const corrupt = Buffer.from(good);
    corrupt[good.length >> 1]! ^= 0xff;
    for (const bad of [good.subarray(0, good.length - 3), good.subarray(0, 5), corrupt, Buffer.from('no gzip')]) {
      const outcome = await transport.send(to, 'metrics', bad, { encoding: 'gzip' });
      expect(outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
      if (transport !== GRPC) expect(outcome.httpStatus).toBe(400);
    }
    expect((await transport.send(to, 'metrics', good, { encoding: 'gzip' })).code).toBe(0);
  });

  test('§4.5-13 a connection is good for more after corrupt gzip', async () => {
    const to = await start();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<unknown>();
    agent.on('free', (socket: net.Socket) => ports.add(socket.localPort));
    const good = gzipSync(encodeRequest(sample.metrics, 'protobuf'));
    const post = (body: Uint8Array) =>
      request(`${to.http}/v1/metrics`, { headers: { ...PB, 'content-encoding': 'gzip' }, body, agent });
    expect((await post(good.subarray(0, 9))).status).toBe(400);
    expect((await post(good)).status).toBe(200);
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test.each(
    TRANSPORTS,
  )('§4.5-14 gzip of several members is one body, with garbage behind it none, over $name', async (transport) => {
    const to = await start();
    const body = encodeRequest(sample.metrics, transport.encoding);
    const half = body.length >> 1;
    const members = Buffer.concat([gzipSync(body.subarray(0, half)), gzipSync(body.subarray(half))]);
    expect((await transport.send(to, 'metrics', members, { encoding: 'gzip' })).code).toBe(0);
    const garbage = Buffer.concat([members, Buffer.from('garbage')]);
    expect((await transport.send(to, 'metrics', garbage, { encoding: 'gzip' })).code).toBe(GrpcCode.INVALID_ARGUMENT);
    expect(to.sink.batches).toEqual([sample.metrics]);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-15 a decompression bomb stops at the limit and costs little memory over $name', async (transport) => {
    const to = await start({ http: { max_request_body_size: '1MiB' }, grpc: { max_recv_msg_size_mib: 1 } });
    expect(BOMB.length).toBeLessThan(2 ** 20);
    const before = process.memoryUsage().rss;
    const outcome = await transport.send(to, 'metrics', BOMB, { encoding: 'gzip' });
    expect(outcome.code).toBe(GrpcCode.RESOURCE_EXHAUSTED);
    if (transport !== GRPC) expect(outcome.httpStatus).toBe(413);
    expect(process.memoryUsage().rss - before).toBeLessThan(50 * 2 ** 20);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-16 exactly the limit passes and one byte more does not, raw and decompressed, over $name', async (transport) => {
    const limit = 2 ** 20;
    const to = await start({ http: { max_request_body_size: limit }, grpc: { max_recv_msg_size_mib: 1 } });
    const sized = (size: number) => {
      const fill = (n: number) => encodeRequest(logWith('x'.repeat(n)), transport.encoding);
      const overhead = fill(limit).length - limit;
      const body = fill(size - overhead);
      expect(body.length).toBe(size);
      return body;
    };
    for (const [pack, encoding] of [[(b: Uint8Array) => b], [gzipSync, 'gzip']] as const) {
      const options = encoding ? { encoding } : {};
      expect((await transport.send(to, 'logs', pack(sized(limit)), options)).code).toBe(0);
      const over = await transport.send(to, 'logs', pack(sized(limit + 1)), options);
      expect(over.code).toBe(GrpcCode.RESOURCE_EXHAUSTED);
      expect(over.status?.retryAfterMs).toBe(undefined);
      if (transport !== GRPC) expect([over.httpStatus, over.headers['retry-after']]).toEqual([413, undefined]);
    }
  });

  test('§4.5-17 a length above the limit is refused before reading, and chunked bodies are limited too', async () => {
    const to = await start({ http: { max_request_body_size: 1000 }, grpc: { max_recv_msg_size_mib: 1 } });
    const head = `POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n`;
    const announced = await raw(to.http, `${head}expect: 100-continue\r\ncontent-length: 1000000\r\n\r\n`).closed;
    expect(announced).toMatch(/^HTTP\/1\.1 413 /);
    expect(announced).not.toContain('100 Continue');
    const chunk = `200\r\n${'x'.repeat(0x200)}\r\n`;
    const chunked = raw(to.http, `${head}transfer-encoding: chunked\r\n\r\n${chunk}${chunk}`);
    await until(() => chunked.text().startsWith('HTTP/1.1 413 '));
    chunked.socket.destroy();
    const call = await grpcOnce(to.grpc, METHODS.metrics, Buffer.alloc(0), {
      raw: Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]),
      keepOpen: true,
    });
    expect(call.status).toBe(GrpcCode.RESOURCE_EXHAUSTED);
  });

  test.each(
    TRANSPORTS,
  )('§4.5-18 a snappy header that lies about its length allocates nothing over $name', async (transport) => {
    const to = await start();
    const lie = Buffer.from([0x80, 0x80, 0x80, 0x1f, 0x00, 0x61]);
    const before = process.memoryUsage();
    const outcome = await transport.send(to, 'metrics', lie, { encoding: 'snappy' });
    expect(outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(8 * 2 ** 20);
  });

  test('§4.5-19 clients that are slow with headers or body are cut off over HTTP', async () => {
    const to = await start({ http: { read_header_timeout: '5s', read_timeout: '10s' } });
    const clock = to.context.clock as ReturnType<typeof import('../../../pipeline/kit/clock.ts').manualClock>;
    const headers = raw(to.http, 'POST /v1/metrics HTTP/1.1\r\nhost: x\r\n');
    await until(() => clock.pending() >= 1);
    await new Promise((r) => setTimeout(r, 20));
    await clock.advance(5000);
    expect(await headers.closed).toBe('');
    const body = raw(
      to.http,
      'POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{',
    );
    await new Promise((r) => setTimeout(r, 50));
    await clock.advance(10_000);
    await clock.advance(5000);
    expect(await body.closed).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('§4.5-19 clients that are slow with a message or idle are cut off over gRPC', async () => {
    const to = await start({ grpc: { read_timeout: '10s' } });
    const clock = to.context.clock as ReturnType<typeof import('../../../pipeline/kit/clock.ts').manualClock>;
    const call = grpcOnce(to.grpc, METHODS.metrics, Buffer.alloc(0), { raw: Buffer.from([0, 0]), keepOpen: true });
    await new Promise((r) => setTimeout(r, 50));
    await clock.advance(10_000);
    expect((await call).status).toBe(GrpcCode.DEADLINE_EXCEEDED);
    const idle = raw(to.grpc);
    await new Promise((r) => setTimeout(r, 50));
    await clock.advance(300_000);
    await idle.closed;
  });
});

describe.each(TRANSPORTS)('payload over $name', (transport) => {
  const send = async (batch: Batch) => through(transport, await start(), batch);
  const same = async (batch: Batch) => expect(await send(batch)).toEqual(batch);
  const json = transport.encoding === 'json';
  /** A request that no encoder of ours would write, in either encoding. */
  const sendRaw = async (signal: Signal, protobuf: Uint8Array, text: string) => {
    const to = await start();
    const outcome = await transport.send(to, signal, json ? Buffer.from(text) : protobuf);
    return { outcome, to };
  };
  const metric = (...parts: Uint8Array[]) => message(1, message(2, message(2, ...parts)));
  const jsonMetric = (text: string) => `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[${text}]}]}]}`;

  test('§4.5-20 an empty request is a success, and the pipeline is not called', async () => {
    const empty = json ? ['{}', '{"resourceMetrics":[]}', '{"resourceMetrics":[{}]}'] : ['', '\n\0', '\n\x02\x12\0'];
    for (const text of empty) {
      const { outcome, to } = await sendRaw('metrics', Buffer.from(text, 'latin1'), text);
      expect([outcome.code, outcome.httpStatus]).toEqual([0, 200]);
      expect(to.sink.batches).toEqual([]);
    }
  });

  test('§4.5-21 a malformed request is refused in its encoding, naming the offset, and is counted', async () => {
    const { outcome, to } = await sendRaw('metrics', Buffer.from([0x0a, 0x05, 0x61]), '{"resourceMetrics":[}');
    expect(outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
    expect(outcome.httpStatus).toBe(transport === GRPC ? 200 : 400);
    expect(outcome.status?.message).toContain(json ? '(at byte 20)' : '(at byte 1)');
    const of = transport === GRPC ? 'grpc' : 'http';
    const counter = `receiver_otlp_malformed_requests{transport=${of},signal=metrics}`;
    expect(to.context.measured.counters.get(counter)).toBe(1);
    expect(to.context.log.records.filter((r) => r.level === 'warn').length).toBe(1);
    expect(to.sink.batches).toEqual([]);
  });

  test('§4.5-22 unknown fields are ignored', async () => {
    const junk = Buffer.concat([uint(999, 1), group(998, str(1, 'x')), message(997, Buffer.from('y'))]);
    const { to } = await sendRaw(
      'metrics',
      Buffer.concat([junk, metric(junk, message(5, junk, message(1, double(4, 7), junk)))]),
      '{"x":1,"resourceMetrics":[{"y":[],"scopeMetrics":[{"metrics":[{"z":{},"gauge":{"dataPoints":[{"asDouble":7,"w":null}]}}]}]}]}',
    );
    expect((to.sink.points()[0] as NumberPoint).value).toBe(7);
  });

  test('§4.5-23 keys in snake_case are unknown keys', async () => {
    const { outcome, to } = await sendRaw(
      'metrics',
      new Uint8Array(0),
      '{"resource_metrics":[{"scope_metrics":[{}]}]}',
    );
    expect(outcome.code).toBe(0);
    expect(to.sink.batches).toEqual([]);
  });

  test('§4.5-24 ids are hex in any case, lower case inside, and refused otherwise', async () => {
    await same(traces(spanOf({ parentSpanId: '00000000000000ff', links: [] })));
    const span = (traceId: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"${traceId}"}]}]}]}`;
    const bytes = (size: number) => message(1, message(2, message(2, message(1, Buffer.alloc(size, 0xab)))));
    const good = await sendRaw('traces', bytes(16), span('AB'.repeat(16)));
    expect(good.to.sink.spans()[0]!.traceId).toBe('ab'.repeat(16));
    // Odd length, no hex, base64 of 16 bytes, too short.
    for (const [size, text] of [
      [15, 'a'.repeat(31)],
      [17, 'zz'.repeat(16)],
      [1, 'q6urq6urq6urq6urq6urqw=='],
      [8, 'ab'.repeat(8)],
    ] as const) {
      expect((await sendRaw('traces', bytes(size), span(text))).outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
    }
  });

  test('§4.5-25 64-bit integers are exact, as strings and as numbers', async () => {
    const values = [-(2n ** 63n), 2n ** 63n - 1n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 0n];
    await same(metrics(...values.map((value) => number(value))));
    await same(logWith(values.map((v) => (Number.isSafeInteger(Number(v)) ? Number(v) : v))));
    await same(metrics({ ...number(1), time: 2n ** 64n - 1n, startTime: 2n ** 53n + 1n }));
    for (const value of values) {
      const point = message(1, fixed64(6, value));
      const { to } = await sendRaw(
        'metrics',
        metric(message(5, point)),
        jsonMetric(`{"gauge":{"dataPoints":[{"asInt":${value}}]}}`),
      );
      expect((to.sink.points()[0] as NumberPoint).value).toBe(value);
    }
  });

  test('§4.5-26 enums are integers, and unknown ones are kept', async () => {
    await same(traces(spanOf({ kind: 99 }), spanOf({ status: { code: 2, message: 'bad' } })));
    await same(metrics(pointOf(metricOf('sum', { temporality: 77 }), { value: 1 })));
  });

  test('§4.5-27 NaN and infinities survive in every place', async () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const counts = { count: 2, bounds: Float64Array.of(value), bucketCounts: Float64Array.of(1, 1) };
      await same(
        metrics(
          number(value),
          pointOf(metricOf('sum', { temporality: 2 }), { value }),
          pointOf(metricOf('histogram', { temporality: 2 }), { ...counts, sum: value, min: value, max: value }),
          pointOf(metricOf('summary'), { count: 1, sum: value, quantiles: [{ quantile: 0.5, value }] }),
        ),
      );
      await same(logWith(value));
    }
  });

  test('§4.5-28 every kind of metric survives', async () => {
    const sums = [0, 1, 2].flatMap((temporality) =>
      [true, false].map((monotonic) =>
        pointOf(metricOf('sum', { temporality, monotonic, name: `s${temporality}${monotonic}` }), { value: 1.25 }),
      ),
    );
    const histogram = {
      count: 6,
      sum: 10.5,
      min: 1,
      max: 4,
      bounds: Float64Array.of(1, 2),
      bucketCounts: Float64Array.of(1, 2, 3),
    };
    const exponential = {
      count: 9,
      sum: -1,
      scale: -3,
      zeroCount: 2,
      zeroThreshold: 1e-9,
      positive: { offset: -5, counts: Float64Array.of(1, 0, 300) },
      negative: { offset: 7, counts: BigUint64Array.of(2n ** 64n - 1n, 1n) },
    };
    await same(
      metrics(
        number(1),
        ...sums,
        pointOf(metricOf('histogram', { temporality: 1 }), histogram),
        pointOf(metricOf('exponential_histogram', { temporality: 2 }), exponential),
        pointOf(metricOf('summary'), {
          count: 3,
          sum: 4.5,
          quantiles: [
            { quantile: 0, value: 1 },
            { quantile: 0.99, value: 3 },
          ],
        }),
      ),
    );
  });

  test('§4.5-29 integers and doubles stay what they are, point by point and attribute by attribute', async () => {
    await same(metrics(number(1), number(1n), number(-0), number(0n)));
    await same(metrics(number(1, { whole: new Double(1), int: 1, fraction: 1.5, negativeZero: -0, large: 2 ** 53 })));
  });

  test('§4.5-30 flags survive, and a start time of 0 stays 0', async () => {
    await same(
      metrics(
        { ...number(0), flags: 1, startTime: 0n },
        { ...number(2), flags: 0x8000_0001 },
        { ...number(3), time: 0n },
      ),
    );
  });

  test('§4.5-31 exemplars survive with ids, filtered attributes and both types of value', async () => {
    const exemplar = {
      time: 5n,
      traceId: 'ab'.repeat(16),
      spanId: 'cd'.repeat(8),
      filteredAttributes: attributesOf({ user: 'x' }),
    };
    const exemplars = [
      { ...exemplar, value: 1.5 },
      { ...exemplar, value: -7n, traceId: '', spanId: '', filteredAttributes: {} },
    ];
    const counts = { count: 1, bounds: new Float64Array(0), bucketCounts: Float64Array.of(1) };
    await same(
      metrics(
        { ...number(1), exemplars } as Point,
        pointOf(metricOf('histogram', { temporality: 2 }), { ...counts, exemplars }),
        pointOf(metricOf('exponential_histogram', { temporality: 2 }), {
          count: 0,
          scale: 0,
          zeroCount: 0,
          zeroThreshold: 0,
          exemplars,
        }),
      ),
    );
  });

  test('§4.5-32 sum, min and max that are absent stay absent, and those that are 0 stay 0', async () => {
    const histogram = metricOf('histogram', { temporality: 2 });
    const counts = { count: 0, bounds: new Float64Array(0), bucketCounts: new Float64Array(0) };
    const batch = await send(
      metrics(pointOf(histogram, counts), pointOf(histogram, { ...counts, sum: 0, min: 0, max: 0 })),
    );
    expect('sum' in batch!.items[0]! || 'min' in batch!.items[0]! || 'max' in batch!.items[0]!).toBe(false);
    expect(batch!.items[1]).toMatchObject({ sum: 0, min: 0, max: 0 });
  });

  test('§4.5-33 §4.5-43 a histogram whose counts do not fit is left out as a partial success', async () => {
    const bad = message(1, double(7, 1), fixed64(6, 1n));
    const good = message(1, fixed64(6, 4n));
    const { outcome, to } = await sendRaw(
      'metrics',
      metric(str(1, 'h'), message(9, bad, good, bad)),
      jsonMetric(
        '{"name":"h","histogram":{"dataPoints":[{"explicitBounds":[1],"bucketCounts":["1"]},{"bucketCounts":["4"]},{"explicitBounds":[1],"bucketCounts":[1]}]}}',
      ),
    );
    expect(outcome.httpStatus).toBe(200);
    expect(outcome.partial?.rejected).toBe(2);
    expect(outcome.partial?.message).toMatch(/^histogram "h" has 1 bucket counts for 1 bounds.*\(and 1 more\)$/);
    expect(to.sink.points().length).toBe(1);
    expect(to.context.measured.drops).toEqual([{ signal: 'metrics', items: 2, reason: 'bad_line' }]);
  });

  test('§4.5-34 schema URLs and scopes survive', async () => {
    const about = { ...resource, schemaUrl: 'https://opentelemetry.io/schemas/1.30.0', droppedAttributesCount: 3 };
    const by = {
      ...scope,
      schemaUrl: 'https://example.com/s',
      attributes: attributesOf({ a: 1 }),
      droppedAttributesCount: 2,
    };
    await same(traces(spanOf({ resource: about, scope: by })));
    const point = number(1);
    await same(metrics({ ...point, series: { ...point.series, resource: about, scope: by } }));
  });

  test('§4.5-35 metric metadata and entity references survive', async () => {
    const about = {
      ...resource,
      entityRefs: [{ schemaUrl: 'https://x', type: 'service', idKeys: ['service.name'], descriptionKeys: ['', 'a'] }],
    };
    const point = pointOf(metricOf('gauge', { metadata: attributesOf({ 'prometheus.type': 'unknown' }) }), {
      value: 1,
    });
    await same(metrics({ ...point, series: { ...point.series, resource: about } } as Point));
  });

  test('§4.5-36 every type of value survives', async () => {
    const map = new KeyValues(attributesOf({ a: [1, 'x', null], b: new KeyValues(attributesOf({ c: true })) }));
    const values: AnyValue[] = [
      '',
      'text',
      false,
      true,
      0,
      -5,
      1.5,
      new Uint8Array([0, 255]),
      new Uint8Array(0),
      [],
      map,
      null,
    ];
    await same(logWith(values));
    for (const value of values) await same(metrics(number(1, { value })));
  });

  test('§4.5-37 of two attributes with one key the last counts', async () => {
    const pair = (value: string) => message(7, str(1, 'k'), message(2, str(1, value)));
    const { to } = await sendRaw(
      'metrics',
      metric(message(5, message(1, double(4, 1), pair('first'), pair('last')))),
      jsonMetric(
        '{"gauge":{"dataPoints":[{"asDouble":1,"attributes":[{"key":"k","value":{"stringValue":"first"}},{"key":"k","value":{"stringValue":"last"}}]}]}}',
      ),
    );
    expect(to.sink.points()[0]!.series.attributes).toEqual({ k: 'last' });
  });

  test('§4.5-38 bytes that are not UTF-8 become U+FFFD', async () => {
    const to = await start();
    const body = Buffer.from([0x61, 0xff, 0x62]);
    const text = [
      Buffer.from('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"'),
      body,
      Buffer.from('"}}]}]}]}'),
    ];
    const protobuf = message(1, message(2, message(2, message(5, message(1, body)))));
    expect((await transport.send(to, 'logs', json ? Buffer.concat(text) : protobuf)).code).toBe(0);
    expect(to.sink.logs()[0]!.body).toBe('a\ufffdb');
  });

  test('§4.5-39 resources, scopes and metrics that look the same stay apart', async () => {
    const copy = (): Point => {
      const { series, ...rest } = number(1);
      return {
        series: { resource: { ...resource }, scope: { ...scope }, metric: { ...series.metric }, attributes: {} },
        ...rest,
      } as Point;
    };
    const a = copy();
    const b = copy();
    const c = { ...copy(), series: { ...b.series, metric: { ...b.series.metric } } } as Point;
    const got = await send(metrics(a, b, c));
    const [x, y, z] = got!.items as Point[];
    expect(got).toEqual(metrics(a, b, c));
    expect([x!.series.resource === y!.series.resource, y!.series.resource === z!.series.resource]).toEqual([
      false,
      true,
    ]);
    expect(y!.series.metric === z!.series.metric).toBe(false);
  });

  test('§4.5-40 repeated numbers that are not packed are read, and unknown wire types refused', async () => {
    const histogram = message(1, double(7, 1), double(7, 2), fixed64(6, 1n), fixed64(6, 2n), fixed64(6, 3n));
    const { to } = await sendRaw(
      'metrics',
      metric(message(9, histogram)),
      jsonMetric('{"histogram":{"dataPoints":[{"explicitBounds":[1,2],"bucketCounts":["1",2,"3"]}]}}'),
    );
    expect(to.sink.points()[0]).toMatchObject({
      bucketCounts: Float64Array.of(1, 2, 3),
      bounds: Float64Array.of(1, 2),
    });
    if (json) return;
    for (const tag of [0x0e, 0x0f, 0x0c]) {
      expect((await sendRaw('metrics', Buffer.from([tag]), '')).outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
    }
  });

  test('§4.5-41 values nested 10,000 deep are refused', async () => {
    const text = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":${'{"kvlistValue":{"values":[{"value":'.repeat(10_000)}{}${'}]}}'.repeat(10_000)}}]}]}]}`;
    const { outcome, to } = await sendRaw('logs', message(1, message(2, message(2, message(5, DEEP)))), text);
    expect(outcome.code).toBe(GrpcCode.INVALID_ARGUMENT);
    expect(outcome.status?.message).toContain('nested more than 128 deep');
    expect(await through(transport, to, sample.logs)).toEqual(sample.logs);
  });

  test('§4.5-22..40 any batch arrives as it was sent', async () => {
    const to = await start();
    for (const signal of SIGNALS) {
      await fc.assert(
        fc.asyncProperty(arbitraryBatch(signal), async (batch) => {
          const got = await through(transport, to, batch);
          if (batch.items.length > 0) expect(got).toEqual(batch);
        }),
        { numRuns: 20 },
      );
    }
  });
});

describe.each(TRANSPORTS)('answers over $name', (transport) => {
  const post = (to: Started) => transport.send(to, 'metrics', encodeRequest(sample.metrics, transport.encoding));
  const failing = async (error: Error) => {
    const next = sink();
    next.failWith(error);
    return post(await start({ next }));
  };

  test('§4.5-42 full success has an empty body', async () => {
    const outcome = await post(await start());
    expect(outcome.body.toString()).toBe(transport.encoding === 'json' ? '{}' : '');
  });

  test('§4.5-43 items that the pipeline refused for good are a partial success', async () => {
    const next = sink();
    next.failWith(new PermanentError('two are too old', { rejected: 2 }));
    const to = await start({ next });
    const batch = metrics(number(1), number(2), number(3));
    const outcome = await transport.send(to, 'metrics', encodeRequest(batch, transport.encoding));
    expect([outcome.httpStatus, outcome.code, outcome.partial]).toEqual([
      200,
      0,
      { rejected: 2, message: 'two are too old' },
    ]);
  });

  test.each([
    [new RetryableError('the queue is full', { exhausted: true }), GrpcCode.RESOURCE_EXHAUSTED, 429, 1000, '1'],
    [new RetryableError('the peer is busy'), GrpcCode.UNAVAILABLE, 503, 1000, '1'],
    [new RetryableError('later', { retryAfterMs: 2500 }), GrpcCode.UNAVAILABLE, 503, 2500, '3'],
    [new RetryableError('full', { retryAfterMs: 10, exhausted: true }), GrpcCode.RESOURCE_EXHAUSTED, 429, 10, '1'],
  ])('§4.5-44 %s is told with the time to wait', async (error, code, httpStatus, retryAfterMs, header) => {
    const outcome = await failing(error);
    expect(outcome.code).toBe(code);
    expect(outcome.status).toEqual({ code, message: error.message, retryAfterMs });
    if (transport !== GRPC) expect([outcome.httpStatus, outcome.headers['retry-after']]).toEqual([httpStatus, header]);
  });

  test('§4.5-45 a permanent failure is not retryable', async () => {
    const outcome = await failing(new PermanentError('the peer refused it'));
    expect(outcome.status).toEqual({ code: GrpcCode.INTERNAL, message: 'the peer refused it' });
    if (transport !== GRPC) expect([outcome.httpStatus, outcome.headers['retry-after']]).toEqual([500, undefined]);
  });

  test('§4.5-45 a bug is not retryable, is logged, and its message stays inside', async () => {
    const next = sink();
    next.failWith(new TypeError('x is undefined'));
    const to = await start({ next });
    const outcome = await post(to);
    expect(outcome.status).toEqual({ code: GrpcCode.INTERNAL, message: 'internal error' });
    expect(to.context.log.records.some((r) => r.level === 'error' && r.fields['error'] === 'x is undefined')).toBe(
      true,
    );
  });

  test('§4.5-47 every error body is a google.rpc.Status', async () => {
    const to = await start({ http: { max_request_body_size: 100 } });
    const bad = [
      await transport.send(to, 'metrics', Buffer.from('\xff\xff')),
      await transport.send(to, 'metrics', Buffer.from('x'), { encoding: 'gzip' }),
      await transport.send(to, 'metrics', Buffer.from('x'), { encoding: 'lzma' }),
      await failing(new PermanentError('p')),
      await failing(new RetryableError('r')),
    ];
    if (transport !== GRPC) bad.push(await transport.send(to, 'metrics', Buffer.alloc(101)));
    for (const outcome of bad) {
      expect(outcome.code).toBeGreaterThan(0);
      if (transport !== GRPC) expect(outcome.status?.message).not.toBe('');
    }
  });

  test('§4.5-48 credentials are asked for before the body is read', async () => {
    const auth = { bearer_token: 'tok', basic: { username: 'u', password: 'p' } };
    const to = await start({ http: { auth }, grpc: { auth } });
    const send = (authorization?: string) =>
      transport.send(to, 'metrics', encodeRequest(sample.metrics, transport.encoding), {
        headers: authorization === undefined ? {} : { authorization },
      });
    for (const wrong of [undefined, 'Bearer no', 'Basic bm86bm8=', 'tok', 'Bearer']) {
      const outcome = await send(wrong);
      expect(outcome.code).toBe(GrpcCode.UNAUTHENTICATED);
      if (transport !== GRPC) expect(outcome.httpStatus).toBe(401);
    }
    expect(to.sink.batches).toEqual([]);
    for (const right of ['Bearer tok', `Basic ${btoa('u:p')}`]) expect((await send(right)).code).toBe(0);
    if (transport === GRPC) {
      const open = await grpcOnce(to.grpc, METHODS.metrics, Buffer.alloc(0), { raw: Buffer.alloc(1), keepOpen: true });
      expect(open.status).toBe(GrpcCode.UNAUTHENTICATED);
    } else {
      const head = 'POST /v1/metrics HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n';
      expect(await raw(to.http, head).closed).toMatch(/^HTTP\/1\.1 401 (?![\s\S]*100 Continue)/);
    }
  });

  test('§4.5-51 stopping lets the request in flight finish and takes no other', async () => {
    let finish = () => {};
    const inner = sink();
    const next = {
      ...inner,
      async consume(batch: Batch) {
        await new Promise<void>((done) => {
          finish = done;
        });
        await inner.consume(batch);
      },
    };
    let waiting = false;
    const slow = {
      ...next,
      consume(batch: Batch) {
        waiting = true;
        return next.consume(batch);
      },
    };
    const to = await start({ next: slow });
    const inFlight = post(to);
    await until(() => waiting);
    const stopping = to.running.stop();
    await expect(post(to)).rejects.toThrow();
    finish();
    expect((await inFlight).code).toBe(0);
    await stopping;
    await to.running.stop();
    expect(inner.batches).toEqual([sample.metrics]);
  });

  test('§4.5-51 what is cut off by the deadline was not acknowledged', async () => {
    const inner = sink();
    let waiting = false;
    const next = {
      ...inner,
      consume: () => {
        waiting = true;
        return new Promise<void>(() => {});
      },
    };
    const to = await start({ next });
    const inFlight = post(to).then(
      () => 'acknowledged',
      () => 'cut',
    );
    await until(() => waiting);
    await to.running.stop(AbortSignal.abort());
    expect(await inFlight).toBe('cut');
  });

  test('§4.5-52 a hundred requests at once do not get mixed up', async () => {
    const inner = sink();
    const next = {
      ...inner,
      async consume(batch: Batch) {
        const [point] = batch.items as NumberPoint[];
        await new Promise((r) => setTimeout(r, Math.random() * 10));
        if (Number(point!.value) % 3 === 0) throw new PermanentError(`no ${point!.value}`);
        await inner.consume(batch);
      },
    };
    const to = await start({ next });
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        transport.send(to, 'metrics', encodeRequest(metrics(number(BigInt(i))), transport.encoding)),
      ),
    );
    for (const [i, outcome] of outcomes.entries()) {
      if (i % 3 === 0) expect(outcome.status?.message).toBe(`no ${i}`);
      else expect(outcome.code).toBe(0);
    }
    const values = inner.points().map((p) => Number((p as NumberPoint).value));
    expect(values.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 3 !== 0));
  });

  test('§4.5-50 TLS and mTLS: only known certificates get in, old TLS does not, a rotated certificate is picked up', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'enginelight-tls-'));
    const servers = authority('servers');
    const clients = authority('clients');
    const [certFile, keyFile, caFile] = ['cert.pem', 'key.pem', 'ca.pem'].map((f) => join(folder, f)) as [
      string,
      string,
      string,
    ];
    const install = async (who: { cert: string; key: string }) => {
      await writeFile(keyFile, who.key);
      await writeFile(certFile, who.cert);
    };
    await install(servers.issue(['localhost', '127.0.0.1'], { commonName: 'first' }));
    await writeFile(caFile, clients.cert);
    const section = { cert_file: certFile, key_file: keyFile, client_ca_file: caFile, reload_interval: '1s' };
    const to = await start({ http: { tls: section }, grpc: { tls: section }, context: { clock: systemClock } });
    const body = encodeRequest(sample.metrics, transport.encoding);
    const client = clients.issue(['client']);
    const good = { ca: servers.cert, cert: client.cert, key: client.key };
    const send = (options: object) => transport.send(to, 'metrics', body, { tls: options });
    expect((await send(good)).code).toBe(0);
    // No certificate, one of a stranger, an unknown server, and a version that is too old.
    await expect(send({ ca: servers.cert })).rejects.toThrow();
    const stranger = authority('strangers').issue(['client']);
    await expect(send({ ca: servers.cert, cert: stranger.cert, key: stranger.key })).rejects.toThrow();
    await expect(send({ ...good, ca: clients.cert })).rejects.toThrow();
    const old = { ...good, maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await expect(send(old)).rejects.toThrow(/alert protocol version/);
    const served = () =>
      new Promise<string>((done, reject) => {
        const url = new URL(transport === GRPC ? to.grpc : to.http);
        const options = {
          ...good,
          host: url.hostname,
          port: Number(url.port),
          ALPNProtocols: transport === GRPC ? ['h2'] : [],
        };
        const socket = tls.connect(options, () => {
          done(String(socket.getPeerCertificate().subject.CN));
          socket.destroy();
        });
        socket.on('error', reject);
      });
    expect(await served()).toBe('first');
    await install(servers.issue(['localhost', '127.0.0.1'], { commonName: 'second' }));
    for (let i = 0; i < 40 && (await served()) === 'first'; i++) await new Promise((r) => setTimeout(r, 100));
    expect(await served()).toBe('second');
    // Files that do not fit together leave the old certificate in use.
    await writeFile(keyFile, 'half written');
    await until(() => to.context.log.records.some((r) => r.message.startsWith('A changed certificate cannot be used')));
    expect(await served()).toBe('second');
    await rm(folder, { recursive: true });
  });
});

test('§4.5-46 gRPC codes and HTTP statuses say the same', () => {
  const table = Object.entries(GrpcCode).map(([name, code]) => [name, httpStatusOf(code)]);
  expect(Object.fromEntries(table)).toEqual({
    OK: 500, // Never asked: a success is 200 without a status.
    CANCELLED: 503,
    UNKNOWN: 500,
    INVALID_ARGUMENT: 400,
    DEADLINE_EXCEEDED: 503,
    NOT_FOUND: 500,
    ALREADY_EXISTS: 500,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 500,
    ABORTED: 503,
    OUT_OF_RANGE: 503,
    UNIMPLEMENTED: 404,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    DATA_LOSS: 503,
    UNAUTHENTICATED: 401,
  });
  expect(HTTP.length).toBe(2);
});

test('§4.5-49 pages of allowed origins may post, others are told nothing', async () => {
  const cors = { allowed_origins: ['https://*.example.com'], allowed_headers: ['x-tenant'], max_age: 600 };
  const to = await start({ http: { cors, auth: { bearer_token: 't' } } });
  const preflight = (origin: string) =>
    request(`${to.http}/v1/traces`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
  const allowed = await preflight('https://app.example.com');
  expect(allowed.status).toBe(204);
  expect(allowed.headers).toMatchObject({
    'access-control-allow-origin': 'https://app.example.com',
    'access-control-max-age': '600',
  });
  expect(allowed.headers['access-control-allow-methods']).toContain('POST');
  expect(allowed.headers['access-control-allow-headers']).toContain('x-tenant');
  const other = await preflight('https://example.org');
  expect(Object.keys(other.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  const posted = await request(`${to.http}/v1/traces`, {
    headers: { ...PB, origin: 'https://app.example.com', authorization: 'Bearer t' },
    body: encodeRequest(sample.traces, 'protobuf'),
  });
  expect([posted.status, posted.headers['access-control-allow-origin']]).toEqual([200, 'https://app.example.com']);
});

test('§4.5-52 a hundred calls share one gRPC connection', async () => {
  const to = await start();
  const session = http2.connect(to.grpc);
  const { grpcCall } = await import('../../kit/grpc-client.ts');
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      grpcCall(session, METHODS.metrics, encodeRequest(metrics(number(BigInt(i))), 'protobuf')),
    ),
  );
  expect(answers.every((a) => a.status === 0)).toBe(true);
  expect(new Set(to.sink.points().map((p) => (p as NumberPoint).value)).size).toBe(100);
  session.destroy();
});
