/** Against the independent server of @grpc/grpc-js, and against raw sockets for what no library would do. */
import { once } from 'node:events';
import { createServer as createHttp1 } from 'node:http';
import { createServer as createHttp2, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { otlpGrpcExporter } from '../../../exporters/otlp_grpc/index.ts';
import { type Clock, type ManualClock, manualClock, systemClock } from '../../../pipeline/kit/clock.ts';
import { SIGNALS, type Signal } from '../../../pipeline/model.ts';
import { frame } from '../../../pipeline/wire/grpc.ts';
import { decodeRequest } from '../../../pipeline/wire/otlp/index.ts';
import { encodeResponse, encodeStatus } from '../../../pipeline/wire/otlp/responses.ts';
import { authority } from '../../kit/certificates.ts';
import { testContext } from '../../kit/harness.ts';
import { oracleDecode, oracleEncodeResponse } from '../../kit/otlp-oracle.ts';
import { points, records, spans } from '../../kit/parts.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Call {
  readonly signal: Signal;
  readonly body: Buffer;
  readonly metadata: grpc.Metadata;
  readonly deadlineMs: number;
  readonly peer: string;
}
type Reply = { code: number; message?: string; retryAfterMs?: number } | { body: Uint8Array } | 'hang';
const OK: Reply = { body: new Uint8Array(0) };

const SERVICES: Record<Signal, string> = {
  metrics: 'opentelemetry.proto.collector.metrics.v1.MetricsService',
  traces: 'opentelemetry.proto.collector.trace.v1.TraceService',
  logs: 'opentelemetry.proto.collector.logs.v1.LogsService',
};

/** A real gRPC server that answers each call with the next reply, and with the last one from then on. */
async function server(
  replies: Reply[] = [OK],
  options: { port?: number; credentials?: grpc.ServerCredentials; address?: string; max?: number } = {},
) {
  const calls: Call[] = [];
  const one = new grpc.Server({ 'grpc.max_receive_message_length': options.max ?? 64 << 20 });
  for (const signal of SIGNALS) {
    const raw = (b: Buffer) => b;
    one.addService(
      {
        Export: {
          path: `/${SERVICES[signal]}/Export`,
          requestStream: false,
          responseStream: false,
          requestSerialize: raw,
          requestDeserialize: raw,
          responseSerialize: raw,
          responseDeserialize: raw,
        },
      },
      {
        Export(call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) {
          calls.push({
            signal,
            body: call.request,
            metadata: call.metadata,
            deadlineMs: Number(call.getDeadline()) - Date.now(),
            peer: call.getPeer(),
          });
          const reply = replies[Math.min(calls.length, replies.length) - 1]!;
          if (reply === 'hang') return;
          if ('body' in reply) return done(null, Buffer.from(reply.body));
          const metadata = new grpc.Metadata();
          const { code, message = 'nope', retryAfterMs } = reply;
          if (retryAfterMs !== undefined) {
            metadata.set(
              'grpc-status-details-bin',
              Buffer.from(encodeStatus({ code, message, retryAfterMs }, 'protobuf')),
            );
          }
          done({ code, details: message, metadata });
        },
      },
    );
  }
  const port = await new Promise<number>((ok, fail) =>
    one.bindAsync(
      options.address ?? `127.0.0.1:${options.port ?? 0}`,
      options.credentials ?? grpc.ServerCredentials.createInsecure(),
      (error, bound) => (error ? fail(error) : ok(bound)),
    ),
  );
  closers.push(() => one.forceShutdown());
  return { calls, port, endpoint: `http://127.0.0.1:${port}`, stop: () => one.forceShutdown() };
}

async function start<C extends Clock = ManualClock>(config: Record<string, unknown>, clock?: C) {
  const context = testContext({ id: 'otlp_grpc', kind: 'exporter', clock: clock ?? manualClock() });
  const resolved = resolve(otlpGrpcExporter.config, { retry_on_failure: { randomization_factor: 0 }, ...config });
  expect(otlpGrpcExporter.validate!(resolved)).toEqual([]);
  const stage = await otlpGrpcExporter.start(resolved, context);
  closers.push(() => stage.stop(AbortSignal.abort()));
  const { measured } = context;
  const settled = (n: number) =>
    vi.waitFor(() => expect(measured.sent + measured.failed).toBeGreaterThanOrEqual(n), { interval: 5, timeout: 5000 });
  const retrying = (n = 1) =>
    vi.waitFor(() => expect(context.log.records.filter((r) => r.message.includes('Will retry')).length).toBe(n), {
      interval: 5,
      timeout: 5000,
    });
  return { stage, clock: context.clock as C, context, measured, settled, retrying, log: context.log.records };
}
const drops = (measured: { drops: { items: number; reason: string }[] }) =>
  measured.drops.map((d) => `${d.reason} ${d.items}`);

describe('otlp_grpc: requests', () => {
  it.each([
    'gzip',
    'none',
  ])('sends all signals to a real server, compression %s, each readable by an independent implementation', async (compression) => {
    const { calls, endpoint } = await server();
    const { stage, measured, settled } = await start({ endpoint, compression, headers: { 'X-Tenant': 't1' } });
    stage.consume(points(3));
    stage.consume(spans(2));
    stage.consume(records(1));
    await settled(6);
    expect(measured.sent).toBe(6);
    expect(calls.map((c) => c.signal).sort()).toEqual(['logs', 'metrics', 'traces']);
    for (const { signal, body, metadata } of calls) {
      expect(() => oracleDecode(signal, body)).not.toThrow();
      expect(metadata.get('x-tenant')).toEqual(['t1']);
      expect(String(metadata.get('user-agent')[0])).toMatch(/^enginelight\//);
    }
    const metrics = calls.find((c) => c.signal === 'metrics')!;
    expect(decodeRequest('metrics', metrics.body, 'protobuf').items).toEqual(points(3).items);
    // One connection for all.
    expect(new Set(calls.map((c) => c.peer)).size).toBe(1);
  });

  it('tells the server how long it waits', async () => {
    const { calls, endpoint } = await server();
    const { stage, settled } = await start({ endpoint, timeout: '7s' });
    stage.consume(points(1));
    await settled(1);
    expect(calls[0]!.deadlineMs).toBeGreaterThan(5000);
    expect(calls[0]!.deadlineMs).toBeLessThanOrEqual(7000);
  });

  it('sends what is larger than max_request_size in parts that a server with default limits takes', async () => {
    const { calls, endpoint } = await server([OK], { max: 4 << 20 });
    const { stage, measured, settled } = await start({ endpoint, sending_queue: { num_consumers: 1 } });
    stage.consume(points(300_000));
    await settled(300_000);
    expect(measured.sent).toBe(300_000);
    expect(calls.length).toBeGreaterThan(1);
  });

  it('keeps many requests apart', async () => {
    const { calls, endpoint } = await server();
    const { stage, measured, settled } = await start({ endpoint, sending_queue: { num_consumers: 100 } });
    for (let n = 1; n <= 100; n++) stage.consume(points(n));
    await settled(5050);
    expect(measured.sent).toBe(5050);
    const sizes = calls.map((c) => decodeRequest('metrics', c.body, 'protobuf').items.length).sort((a, b) => a - b);
    expect(sizes).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  });

  it('speaks over a Unix socket', async () => {
    const path = join(tmpdir(), `enginelight-grpc-${process.pid}-${Date.now()}.sock`);
    const { calls } = await server([OK], { address: `unix:${path}` });
    const { stage, settled } = await start({ endpoint: `unix://${path}` });
    stage.consume(points(1));
    await settled(1);
    expect(calls.length).toBe(1);
  });
});

describe('E56: what is tried again', () => {
  it.each([
    ['CANCELLED', 1],
    ['DEADLINE_EXCEEDED', 4],
    ['ABORTED', 10],
    ['OUT_OF_RANGE', 11],
    ['UNAVAILABLE', 14],
    ['DATA_LOSS', 15],
  ])('%s is', async (name, code) => {
    const { calls, endpoint } = await server([{ code }, OK]);
    const { stage, clock, measured, settled, retrying, log } = await start({ endpoint });
    stage.consume(points(2));
    await retrying();
    expect(String(log.at(-1)?.fields['error'])).toContain(`answered ${name}: nope`);
    await clock.advance(5000);
    await settled(2);
    expect([measured.sent, calls.length]).toEqual([2, 2]);
    expect(calls[1]!.body.equals(calls[0]!.body)).toBe(true);
  });

  it.each([
    ['UNKNOWN', 2],
    ['INVALID_ARGUMENT', 3],
    ['NOT_FOUND', 5],
    ['ALREADY_EXISTS', 6],
    ['PERMISSION_DENIED', 7],
    ['RESOURCE_EXHAUSTED', 8],
    ['FAILED_PRECONDITION', 9],
    ['UNIMPLEMENTED', 12],
    ['INTERNAL', 13],
    ['UNAUTHENTICATED', 16],
  ])('%s is not', async (name, code) => {
    const { calls, endpoint } = await server([{ code, message: 'größer ✓' }]);
    const { stage, clock, measured, settled, log } = await start({ endpoint });
    stage.consume(points(2));
    await settled(2);
    await clock.advance(600_000);
    expect(calls.length).toBe(1);
    expect(drops(measured)).toEqual(['permanent_error 2']);
    expect(String(log.at(-1)?.fields['error'])).toContain(`answered ${name}: größer ✓`);
  });

  it('RESOURCE_EXHAUSTED is with RetryInfo, after the time it names', async () => {
    const { calls, endpoint } = await server([{ code: 8, retryAfterMs: 12_500 }, OK]);
    const { stage, clock, settled, retrying } = await start({ endpoint });
    stage.consume(points(1));
    await retrying();
    await clock.advance(12_400);
    expect(calls.length).toBe(1);
    await clock.advance(100);
    await settled(1);
    expect(calls.length).toBe(2);
  });

  it('partial success is not; what was rejected counts as rejected', async () => {
    const body = oracleEncodeResponse('metrics', {
      partialSuccess: { rejectedDataPoints: 2, errorMessage: 'too old' },
    });
    const { calls, endpoint } = await server([{ body }]);
    const { stage, clock, measured, settled, log } = await start({ endpoint });
    stage.consume(points(5));
    await settled(5);
    await clock.advance(60_000);
    expect([calls.length, measured.sent, measured.failed]).toEqual([1, 3, 2]);
    expect(drops(measured)).toEqual(['partial_success 2']);
    expect(log.find((r) => r.level === 'warn')?.fields).toMatchObject({ rejected_items: 2, message: 'too old' });
  });
});

describe('otlp_grpc: connections', () => {
  it('waits for a server that is not there yet', async () => {
    const probe = await server();
    probe.stop();
    const { stage, clock, measured, retrying, log } = await start({ endpoint: probe.endpoint });
    stage.consume(points(1));
    await retrying();
    expect(String(log.at(-1)?.fields['error'])).toContain(`cannot connect to 127.0.0.1:${probe.port}`);
    await server([OK], { port: probe.port });
    await clock.advance(5000);
    await vi.waitFor(() => expect(measured.sent).toBe(1));
  });

  it('connects again after the server went away, and loses nothing', async () => {
    const first = await server();
    const { stage, clock, measured, settled, retrying } = await start({ endpoint: first.endpoint });
    stage.consume(points(1));
    await settled(1);
    first.stop();
    await new Promise((r) => setTimeout(r, 30));
    stage.consume(points(2));
    await retrying();
    const second = await server([OK], { port: first.port });
    await clock.advance(5000);
    await settled(3);
    expect([measured.sent, second.calls.length]).toEqual([3, 1]);
  });

  it('a server that says goodbye gets no further calls; those in flight end there', async () => {
    const held: ServerHttp2Stream[] = [];
    let sessions = 0;
    const { endpoint } = await http2(
      (stream, n) => {
        if (n > 1) return reply(stream);
        held.push(stream);
      },
      (session) => {
        sessions++;
        if (sessions === 1) setTimeout(() => session.goaway(), 40);
      },
    );
    const { stage, measured, settled } = await start({ endpoint });
    stage.consume(points(1));
    await vi.waitFor(() => expect(held.length).toBe(1));
    await new Promise((r) => setTimeout(r, 80));
    stage.consume(points(2));
    await settled(2);
    expect(sessions).toBe(2);
    reply(held[0]!);
    await settled(3);
    expect(measured.sent).toBe(3);
  });

  it('ends an attempt after the timeout, and opens a connection that is dead anew', async () => {
    const real = await server();
    const pipe = await blackHole(real.port);
    const { stage, measured, log } = await start(
      {
        endpoint: `http://127.0.0.1:${pipe.port}`,
        timeout: '100ms',
        retry_on_failure: { initial_interval: '50ms', max_interval: '50ms' },
        keepalive: { time: '1s', timeout: '100ms', permit_without_stream: true },
      },
      systemClock,
    );
    stage.consume(points(1));
    await vi.waitFor(() => expect(measured.sent).toBe(1));
    pipe.swallow();
    stage.consume(points(2));
    await vi.waitFor(() =>
      expect(log.some((r) => String(r.fields['error']).includes('no answer within 100 ms'))).toBe(true),
    );
    pipe.forward();
    // The old connection stays dead; only a new one gets through.
    await vi.waitFor(() => expect(measured.sent).toBe(3), { timeout: 8000 });
    expect(pipe.connections()).toBeGreaterThan(1);
  });

  it('asks a quiet connection whether it still stands, with keepalive', async () => {
    let pings = 0;
    const { endpoint } = await http2(
      (stream) => reply(stream),
      (session) => session.on('ping', () => pings++),
    );
    const { stage, clock, settled } = await start({
      endpoint,
      keepalive: { time: '10s', permit_without_stream: true },
    });
    stage.consume(points(1));
    await settled(1);
    for (let i = 1; i <= 3; i++) {
      await clock.advance(10_000);
      await vi.waitFor(() => expect(pings).toBe(i));
    }
  });

  it('speaks TLS, and mutual TLS, and trusts nobody else', async () => {
    const ca = authority();
    const own = ca.issue(['127.0.0.1']);
    const mine = ca.issue(['client']);
    const { calls, port } = await server([OK], {
      credentials: grpc.ServerCredentials.createSsl(
        Buffer.from(ca.cert),
        [{ cert_chain: Buffer.from(own.cert), private_key: Buffer.from(own.key) }],
        true,
      ),
    });
    const endpoint = `127.0.0.1:${port}`;
    const good = await start({ endpoint, tls: { ca_pem: ca.cert, cert_pem: mine.cert, key_pem: mine.key } });
    good.stage.consume(points(1));
    await good.settled(1);
    expect([good.measured.sent, calls.length]).toEqual([1, 1]);
    const stranger = await start({ endpoint, tls: { ca_pem: authority('other').cert } });
    stranger.stage.consume(points(1));
    await stranger.retrying();
    expect(calls.length).toBe(1);
  });

  it('tunnels through a proxy', async () => {
    const { calls, port } = await server();
    const asked: string[] = [];
    const proxy = createHttp1().on('connect', (req, socket) => {
      asked.push(req.url ?? '');
      const to = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        to.pipe(socket).pipe(to);
      });
      for (const one of [to, socket]) one.on('error', () => {});
      closers.push(() => to.destroy());
    });
    await listening(proxy);
    const { stage, settled } = await start({
      endpoint: 'http://collector.example:4317',
      proxy_url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    });
    stage.consume(points(1));
    await settled(1);
    expect([asked, calls.length]).toEqual([['collector.example:4317'], 1]);
  });
});

describe('otlp_grpc: answers that are not what they should be', () => {
  it.each([
    ['a reset stream', (s: ServerHttp2Stream) => s.close(2)],
    ['a refused stream', (s: ServerHttp2Stream) => s.close(7)],
    ['a cut connection', (s: ServerHttp2Stream) => s.session?.destroy()],
    [
      'HTTP 503',
      (s: ServerHttp2Stream) => {
        s.respond({ ':status': 503, 'content-type': 'text/html' });
        s.end('busy');
      },
    ],
  ])('%s is tried again', async (_what, answer) => {
    const { endpoint } = await http2((stream, n) => (n === 1 ? answer(stream) : reply(stream)));
    const { stage, clock, measured, settled, retrying } = await start({ endpoint });
    stage.consume(points(1));
    await retrying();
    await clock.advance(5000);
    await settled(1);
    expect(measured.sent).toBe(1);
  });

  it.each([
    [
      'a web server',
      'HTTP status 200, text/html: not a gRPC server',
      (s: ServerHttp2Stream) => {
        s.respond({ ':status': 200, 'content-type': 'text/html' });
        s.end('<h1>');
      },
    ],
    [
      'HTTP 404',
      'answered UNIMPLEMENTED: HTTP status 404',
      (s: ServerHttp2Stream) => {
        s.respond({ ':status': 404 }, { endStream: true });
      },
    ],
    [
      'an answer that promises more than 4 MiB',
      'larger than 4194304 bytes',
      (s: ServerHttp2Stream) => reply(s, Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1])),
    ],
    [
      'an answer of more than 4 MiB',
      'larger than 4194304 bytes',
      (s: ServerHttp2Stream) => reply(s, frame(Buffer.alloc(5 << 20), false)),
    ],
    ['an answer cut short', 'cut short', (s: ServerHttp2Stream) => reply(s, Buffer.from([0, 0, 0, 0, 9, 1]))],
    [
      'an answer that is no OTLP',
      'no OTLP answer',
      (s: ServerHttp2Stream) => reply(s, frame(Buffer.from([0xff, 0xff, 0xff]), false)),
    ],
    [
      'an unknown compression',
      'compressed with br',
      (s: ServerHttp2Stream) => reply(s, frame(Buffer.from('x'), true), { 'grpc-encoding': 'br' }),
    ],
  ])('%s is not tried again and says what it was', async (_what, message, answer) => {
    const { endpoint } = await http2((stream) => answer(stream));
    const { stage, clock, measured, settled, log } = await start({ endpoint });
    stage.consume(points(1));
    await settled(1);
    await clock.advance(60_000);
    expect(drops(measured)).toEqual(['permanent_error 1']);
    expect(describeAll(log.at(-1)?.fields['error'])).toContain(message);
  });

  it('a server that speaks HTTP/1 or nothing known is tried again, and named', async () => {
    const http1 = createHttp1((_req, res) => res.end('hello'));
    await listening(http1);
    const { stage, retrying, log } = await start({
      endpoint: `http://127.0.0.1:${(http1.address() as AddressInfo).port}`,
    });
    stage.consume(points(1));
    await retrying();
    expect(String(log.at(-1)?.fields['error'])).toContain('127.0.0.1:');
  });

  it('a server that never answers costs its own data only, and the stop is not held up', async () => {
    const { endpoint } = await server(['hang']);
    const { stage, measured } = await start({ endpoint });
    stage.consume(points(4));
    await new Promise((r) => setTimeout(r, 30));
    await stage.stop(AbortSignal.timeout(50));
    expect(drops(measured)).toEqual(['shutdown 4']);
  });

  it('an empty success of the server is one, with and without a message', async () => {
    const { endpoint } = await http2((stream, n) =>
      reply(stream, n === 1 ? new Uint8Array(0) : frame(encodeResponse('metrics', 'protobuf'), false)),
    );
    const { stage, measured, settled } = await start({ endpoint });
    stage.consume(points(1));
    await settled(1);
    stage.consume(points(1));
    await settled(2);
    expect(measured.sent).toBe(2);
  });
});

describe('mistakes in the options', () => {
  it.each(['http://x:1/path', 'a b', 'https://'])('endpoint %s', (endpoint) => {
    const found = otlpGrpcExporter.validate!(resolve(otlpGrpcExporter.config, { endpoint }));
    expect(found[0]).toMatchObject({ path: ['endpoint'], message: expect.stringContaining('is not host:port') });
  });
  it.each([
    '127.0.0.1:4317',
    'localhost:4317',
    '[::1]:4317',
    'http://x:1',
    'https://x',
    'dns:///x:4317',
    'unix:///tmp/s',
  ])('%s is fine', (endpoint) => {
    expect(otlpGrpcExporter.validate!(resolve(otlpGrpcExporter.config, { endpoint }))).toEqual([]);
  });
});

const describeAll = (error: unknown): string =>
  error instanceof Error ? `${error.message} ${describeAll(error.cause)}` : String(error ?? '');

async function listening(one: Server | Http2Server) {
  const sockets = new Set<Socket>();
  (one as Server).on('connection', (s: Socket) => sockets.add(s));
  one.listen(0, '127.0.0.1');
  await once(one, 'listening');
  closers.push(() => {
    for (const s of sockets) s.destroy();
    one.close();
  });
}

/** An http2 server whose streams the test answers; `n` counts them from 1. */
async function http2(
  onStream: (stream: ServerHttp2Stream, n: number) => void,
  onSession?: (session: import('node:http2').ServerHttp2Session) => void,
) {
  const one = createHttp2();
  let n = 0;
  one.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.resume();
    const mine = ++n;
    stream.on('end', () => onStream(stream, mine));
  });
  one.on('sessionError', () => {});
  if (onSession) one.on('session', onSession);
  await listening(one);
  return { endpoint: `http://127.0.0.1:${(one.address() as AddressInfo).port}` };
}

function reply(
  stream: ServerHttp2Stream,
  body: Uint8Array = frame(new Uint8Array(0), false),
  headers: Record<string, string> = {},
) {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.end(body);
}

/** A connection in between that can stop passing bytes on without closing, as a network that forgot it. */
async function blackHole(port: number) {
  let swallowing = false;
  let connections = 0;
  const one = createTcpServer((socket) => {
    connections++;
    let dead = false;
    const to = connect(port, '127.0.0.1');
    const pass = (target: Socket) => (chunk: Buffer) => {
      // What was swallowed once stays dead.
      dead ||= swallowing;
      if (!dead) target.write(chunk);
    };
    socket.on('data', pass(to));
    to.on('data', pass(socket));
    for (const s of [socket, to]) s.on('error', () => {});
    socket.on('close', () => to.destroy());
    closers.push(() => to.destroy());
  });
  await listening(one);
  return {
    port: (one.address() as AddressInfo).port,
    swallow: () => {
      swallowing = true;
    },
    forward: () => {
      swallowing = false;
    },
    connections: () => connections,
  };
}
