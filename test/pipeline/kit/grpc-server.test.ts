import http2 from 'node:http2';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { Secret } from '../../../config/schema.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  GrpcError,
  type GrpcMethod,
  type GrpcServeOptions,
  type GrpcServing,
  serveGrpc,
} from '../../../pipeline/kit/grpc-server.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { frame, GrpcCode } from '../../../pipeline/wire/grpc.ts';
import { grpcCall, grpcOnce } from '../../kit/grpc-client.ts';

const open: GrpcServing[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((s) => s.close(AbortSignal.abort())));
});

async function start(method: GrpcMethod, options: Partial<GrpcServeOptions> = {}) {
  const clock = manualClock();
  const log = memoryLogger();
  const server = await serveGrpc(
    { endpoint: '127.0.0.1:0', clock, log, maxMessageSize: 1000, ...options },
    { '/test.Service/Method': method },
  );
  open.push(server);
  const call = (message: Uint8Array | string, send: Parameters<typeof grpcOnce>[3] = {}) =>
    grpcOnce(server.url, '/test.Service/Method', Buffer.from(message as string), send);
  return { server, clock, log, call };
}

const echo: GrpcMethod = ({ message }) => message;
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 2000 && !condition(); i++) await new Promise((r) => setTimeout(r, 1));
  expect(condition()).toBe(true);
};

describe('a gRPC server', () => {
  test('answers a call with a message and a status of OK', async () => {
    const { call } = await start(echo);
    const answer = await call('hello');
    expect([answer.httpStatus, answer.status, answer.body.toString()]).toEqual([200, 0, 'hello']);
    expect(answer.headers['content-type']).toBe('application/grpc');
  });

  test('says a failure by code, message and details', async () => {
    const { call } = await start(() => {
      throw new GrpcError(GrpcCode.RESOURCE_EXHAUSTED, 'voll, später', Buffer.from('details'));
    });
    const answer = await call('x');
    expect([answer.httpStatus, answer.status, answer.message]).toEqual([200, 8, 'voll, später']);
    expect(answer.details?.toString()).toBe('details');
  });

  test('answers INTERNAL and logs when a method has a bug', async () => {
    const { call, log } = await start(() => {
      throw new Error('secret detail');
    });
    const answer = await call('x');
    expect([answer.status, answer.message]).toEqual([GrpcCode.INTERNAL, 'internal error']);
    expect(log.records.map((r) => r.level)).toEqual(['error']);
  });

  test('answers UNIMPLEMENTED for what it does not have, and not at all in gRPC what is not gRPC', async () => {
    const { server } = await start(echo);
    for (const path of ['/test.Service/Other', '/toString', '/', '/test.Service/Method/']) {
      expect(await grpcOnce(server.url, path, Buffer.from('x'))).toMatchObject({ status: GrpcCode.UNIMPLEMENTED });
    }
    const send = (headers: http2.OutgoingHttpHeaders) =>
      grpcOnce(server.url, '/test.Service/Method', Buffer.from('x'), { headers });
    expect(await send({ 'content-type': 'application/json' })).toMatchObject({ httpStatus: 415, status: -1 });
    expect(await send({ 'content-type': 'application/grpc-web' })).toMatchObject({ httpStatus: 415 });
    expect(await send({ ':method': 'PUT' })).toMatchObject({ httpStatus: 405, status: -1 });
    expect(await send({ 'content-type': 'application/grpc+proto' })).toMatchObject({ status: 0 });
  });

  test('takes compressed messages and names what it knows when it does not know one', async () => {
    const { call } = await start(echo);
    const gzip = await call(gzipSync('packed'), { compressed: true, headers: { 'grpc-encoding': 'gzip' } });
    expect([gzip.status, gzip.body.toString()]).toEqual([0, 'packed']);
    // The header only says what may come: a message that is not marked is not compressed.
    expect((await call('plain', { headers: { 'grpc-encoding': 'gzip' } })).body.toString()).toBe('plain');
    const unknown = await call('x', { compressed: true, headers: { 'grpc-encoding': 'br' } });
    expect(unknown.status).toBe(GrpcCode.UNIMPLEMENTED);
    expect(unknown.headers['grpc-accept-encoding']).toContain('gzip');
    expect(await call('x', { compressed: true })).toMatchObject({ status: GrpcCode.INTERNAL });
    const corrupt = await call('x', { compressed: true, headers: { 'grpc-encoding': 'gzip' } });
    expect(corrupt).toMatchObject({ status: GrpcCode.INVALID_ARGUMENT });
  });

  test('takes exactly the limit and not one byte more, before and after decompression', async () => {
    const { call } = await start(({ message }) => Buffer.from(String(message.length)));
    const gzip = { compressed: true, headers: { 'grpc-encoding': 'gzip' } };
    expect((await call(Buffer.alloc(1000))).body.toString()).toBe('1000');
    expect((await call(gzipSync(Buffer.alloc(1000)), gzip)).body.toString()).toBe('1000');
    for (const answer of [await call(Buffer.alloc(1001)), await call(gzipSync(Buffer.alloc(1001)), gzip)]) {
      expect(answer.status).toBe(GrpcCode.RESOURCE_EXHAUSTED);
      expect(answer.details).toBe(undefined);
    }
  });

  test('refuses an announced length above the limit before reading it', async () => {
    const { call } = await start(echo);
    const head = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
    expect(await call('', { raw: head, keepOpen: true })).toMatchObject({ status: GrpcCode.RESOURCE_EXHAUSTED });
  });

  test.each([
    ['no message', new Uint8Array(0), GrpcCode.INTERNAL],
    ['half a frame header', Buffer.from([0, 0]), GrpcCode.INTERNAL],
    ['half a message', frame(Buffer.from('hello'), false).subarray(0, 7), GrpcCode.INTERNAL],
    [
      'two messages',
      Buffer.concat([frame(Buffer.from('a'), false), frame(Buffer.from('b'), false)]),
      GrpcCode.INTERNAL,
    ],
    ['an unknown flag', Buffer.from([7, 0, 0, 0, 0]), GrpcCode.INTERNAL],
  ])('refuses a call with %s', async (_what, raw, status) => {
    const { call } = await start(echo);
    expect(await call('', { raw })).toMatchObject({ status });
  });

  test('puts a message together that comes byte by byte', async () => {
    const { server } = await start(echo);
    const session = http2.connect(server.url);
    const request = session.request({
      ':method': 'POST',
      ':path': '/test.Service/Method',
      'content-type': 'application/grpc',
    });
    let status: unknown;
    request.on('trailers', (t) => {
      status = t['grpc-status'];
    });
    for (const byte of frame(Buffer.from('hello'), false)) {
      request.write(Buffer.from([byte]));
      await new Promise((r) => setTimeout(r, 1));
    }
    request.end();
    request.resume();
    await until(() => status === '0');
    session.destroy();
  });

  test('keeps calls apart, a hundred at once on one connection', async () => {
    const { server } = await start(async ({ message }) => {
      await new Promise((r) => setTimeout(r, Math.random() * 20));
      return message;
    });
    const session = http2.connect(server.url);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => grpcCall(session, '/test.Service/Method', Buffer.from(`call ${i}`))),
    );
    expect(answers.map((a) => a.body.toString())).toEqual(Array.from({ length: 100 }, (_, i) => `call ${i}`));
    session.destroy();
  });

  test('takes a message of many megabytes', async () => {
    const { server } = await start(({ message }) => Buffer.from(String(message.length)), { maxMessageSize: 64e6 });
    const answer = await grpcOnce(server.url, '/test.Service/Method', Buffer.alloc(40e6, 1));
    expect(answer.body.toString()).toBe('40000000');
  });
});

describe('time', () => {
  test('that the client allows for a call is kept', async () => {
    let calls = 0;
    const { call, clock } = await start(() => {
      calls++;
      return new Promise(() => {});
    });
    const answer = call('x', { headers: { 'grpc-timeout': '250m' } });
    await until(() => calls === 1);
    await clock.advance(250);
    expect(await answer).toMatchObject({ status: GrpcCode.DEADLINE_EXCEEDED });
  });

  test('that a request may take to arrive is limited', async () => {
    const { call, clock } = await start(echo, { readTimeoutMs: 5000 });
    const answer = call('', { raw: Buffer.from([0, 0, 0, 0, 5, 1]), keepOpen: true });
    // Idle, keepalive and read timers.
    await until(() => clock.pending() >= 2);
    await new Promise((r) => setTimeout(r, 20));
    await clock.advance(5000);
    expect(await answer).toMatchObject({ status: GrpcCode.DEADLINE_EXCEEDED });
  });

  test('without calls ends a connection', async () => {
    const { server, clock } = await start(echo, { keepalive: { maxConnectionIdleMs: 1000 } });
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await until(() => server.connections() === 1);
    await clock.advance(1000);
    await closed;
    await until(() => server.connections() === 0);
  });

  test('passes for connections that hang: those that do not answer a ping are cut off, others stay', async () => {
    const { server, clock, call } = await start(echo, { keepalive: { timeMs: 1000, timeoutMs: 500 } });
    const alive = http2.connect(server.url);
    await new Promise((resolve) => alive.once('connect', resolve));
    // A header block that cannot be decoded: some versions of Node then neither read on nor close.
    const broken = Buffer.from(
      '505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000000040000000000000003010400000001ffffff',
      'hex',
    );
    for (const bytes of [broken, Buffer.alloc(0)]) {
      const socket = net.connect(server.port, '127.0.0.1');
      socket.on('error', () => {}).resume();
      socket.write(bytes);
    }
    await until(() => server.connections() >= 2);
    await new Promise((r) => setTimeout(r, 50));
    // Real time too, so that answers can come in.
    for (let i = 0; i < 8; i++) {
      await clock.advance(250);
      await new Promise((r) => setTimeout(r, 20));
    }
    await until(() => server.connections() === 1);
    expect(alive.destroyed).toBe(false);
    expect(await call('x')).toMatchObject({ status: 0 });
    alive.destroy();
  });

  test('makes a connection old: its calls finish, then it is closed', async () => {
    let finish = () => {};
    const { server, clock } = await start(
      async ({ message }) => {
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
        return message;
      },
      { keepalive: { maxConnectionAgeMs: 1000 } },
    );
    const session = http2.connect(server.url);
    const answer = grpcCall(session, '/test.Service/Method', Buffer.from('old'));
    const ended = new Promise((resolve) => session.once('close', resolve));
    await until(() => server.connections() === 1);
    await new Promise((r) => setTimeout(r, 20));
    await clock.advance(1000);
    finish();
    expect((await answer).body.toString()).toBe('old');
    await ended;
  });

  test('between pings may not be too short', async () => {
    const { server } = await start(echo);
    const session = http2.connect(server.url);
    session.on('error', () => {});
    let goaway: number | undefined;
    session.on('goaway', (code) => {
      goaway = code;
    });
    const closed = new Promise((resolve) => session.once('close', resolve));
    await new Promise((resolve) => session.once('connect', resolve));
    for (let i = 0; i < 6 && !session.destroyed; i++) {
      await new Promise((resolve) => {
        if (!session.ping(resolve)) resolve(undefined);
        setTimeout(resolve, 100);
      });
    }
    await closed;
    expect(goaway).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
  });
});

describe('authentication', () => {
  test('comes before the message', async () => {
    const { call } = await start(echo, { auth: { bearer_token: new Secret('tok') } });
    expect(await call('', { raw: new Uint8Array(0), keepOpen: true })).toMatchObject({
      status: GrpcCode.UNAUTHENTICATED,
    });
    expect(await call('x', { headers: { authorization: 'Bearer tokk' } })).toMatchObject({
      status: GrpcCode.UNAUTHENTICATED,
    });
    expect(await call('x', { headers: { authorization: 'Bearer tok' } })).toMatchObject({ status: 0 });
  });
});

describe('what is not HTTP/2', () => {
  test('costs only its own connection', async () => {
    const { server, call } = await start(echo);
    for (const junk of [
      'GET / HTTP/1.1\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame',
      '\x16\x03\x01',
    ]) {
      const socket = net.connect(server.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      socket.end(junk);
      await new Promise((resolve) => socket.once('close', resolve));
    }
    expect(await call('still here')).toMatchObject({ status: 0 });
  });

  test('a call that is cancelled in the middle costs only itself', async () => {
    const { server, call } = await start(echo);
    const session = http2.connect(server.url);
    const request = session.request({
      ':method': 'POST',
      ':path': '/test.Service/Method',
      'content-type': 'application/grpc',
    });
    request.on('error', () => {});
    request.write(Buffer.from([0, 0, 0, 0, 9, 1]));
    await new Promise((r) => setTimeout(r, 20));
    request.close(http2.constants.NGHTTP2_CANCEL);
    session.destroy();
    expect(await call('still here')).toMatchObject({ status: 0 });
  });
});

describe('closing', () => {
  test('lets the call in flight finish and takes no new connection', async () => {
    let finish = () => {};
    const { server } = await start(async ({ message }) => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return message;
    });
    const session = http2.connect(server.url);
    const answer = grpcCall(session, '/test.Service/Method', Buffer.from('last'));
    await new Promise((r) => setTimeout(r, 50));
    const closing = server.close();
    await expect(grpcOnce(server.url, '/x', Buffer.from(''))).rejects.toThrow();
    finish();
    expect((await answer).body.toString()).toBe('last');
    await closing;
    await server.close();
  });

  test('cuts what is left when the deadline passes', async () => {
    const { server, call } = await start(() => new Promise(() => {}));
    const answer = call('x');
    answer.catch(() => {});
    await until(() => server.connections() === 1);
    const deadline = new AbortController();
    const closing = server.close(deadline.signal);
    deadline.abort();
    await closing;
    await expect(answer).rejects.toThrow();
  });
});
