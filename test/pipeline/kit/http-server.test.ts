import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { Secret } from '../../../config/schema.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  type AccessRecord,
  HttpError,
  type HttpHandler,
  type ServeOptions,
  type Serving,
  serve,
} from '../../../pipeline/kit/http-server.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';

const open: Serving[] = [];
afterEach(async () => {
  const now = AbortSignal.abort();
  await Promise.all(open.splice(0).map((s) => s.close(now)));
});

async function start(handler: HttpHandler, options: Partial<ServeOptions> = {}) {
  const clock = manualClock();
  const log = memoryLogger();
  const server = await serve({ endpoint: '127.0.0.1:0', clock, log, ...options }, handler);
  open.push(server);
  return { server, clock, log };
}

const echo: HttpHandler = async (request) => ({ status: 200, body: await request.body() });
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 2000 && !condition(); i++) await new Promise((r) => setTimeout(r, 1));
  expect(condition()).toBe(true);
};

/** Sends raw bytes and collects all that comes back until the server closes. */
function raw(port: number, ...pieces: (string | Buffer)[]) {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (d) => {
    text += d.toString('latin1');
  });
  socket.on('error', () => {});
  for (const piece of pieces) socket.write(piece);
  const closed = new Promise<string>((resolve) => socket.on('close', () => resolve(text)));
  return { socket, closed, text: () => text };
}

describe('an HTTP server', () => {
  test('says where it listens and answers there', async () => {
    const { server } = await start((r) => ({
      status: 200,
      body: `${r.method} ${r.path} ${r.query.get('a')} ${r.contentType}`,
    }));
    expect(server.port).toBeGreaterThan(0);
    const response = await fetch(`${server.url}/x/y?a=1&b=2`, {
      method: 'POST',
      headers: { 'content-type': 'Text/Plain; charset=utf-8' },
      body: 'hello',
    });
    expect(await response.text()).toBe('POST /x/y 1 text/plain');
  });

  test('names the endpoint and the remedy when the port is taken', async () => {
    const { server } = await start(echo);
    await expect(start(echo, { endpoint: `127.0.0.1:${server.port}` })).rejects.toThrow(
      /Cannot listen on 127\.0\.0\.1:\d+: something else listens there.*EADDRINUSE/,
    );
  });

  test('serves several requests on one connection and tells how long it may idle', async () => {
    const { server } = await start(echo);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number | undefined>();
    for (let i = 0; i < 3; i++) {
      await new Promise<void>((resolve, reject) => {
        const req = http.request(server.url, { method: 'POST', agent }, (res) => {
          ports.add(res.socket.localPort);
          expect(res.headers['keep-alive']).toBe('timeout=60');
          res.resume().on('end', resolve);
        });
        req.on('error', reject).end(`body ${i}`);
      });
    }
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test("answers a handler's HttpError with its status and anything else with 500 and a log record", async () => {
    const { server, log } = await start((r) => {
      if (r.path === '/teapot') throw new HttpError(418, 'I am a teapot.', { 'x-a': 'b' });
      throw new Error('secret detail');
    });
    const teapot = await fetch(`${server.url}/teapot`);
    expect([teapot.status, teapot.headers.get('x-a'), await teapot.text()]).toEqual([418, 'b', 'I am a teapot.\n']);
    const bug = await fetch(server.url);
    expect(bug.status).toBe(500);
    expect(await bug.text()).not.toContain('secret');
    expect(log.records.map((r) => r.level)).toEqual(['error']);
  });

  test('sends no body for HEAD', async () => {
    const { server } = await start(() => ({ status: 200, body: 'four' }));
    const response = await fetch(server.url, { method: 'HEAD' });
    expect([response.headers.get('content-length'), await response.text()]).toEqual(['4', '']);
  });

  test('streams an answer until the client goes away', async () => {
    let ended = false;
    const { server } = await start(() => ({
      status: 200,
      async body(writer) {
        await writer.write('tick\n');
        await new Promise<void>((resolve) => writer.signal.addEventListener('abort', () => resolve()));
        ended = true;
      },
    }));
    const abort = new AbortController();
    const response = await fetch(server.url, { signal: abort.signal });
    const reader = response.body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe('tick\n');
    abort.abort();
    await reader.read().catch(() => {});
    await until(() => ended);
  });
});

describe('a request body', () => {
  test('may have exactly the limit, and not one byte more', async () => {
    const { server } = await start(echo, { maxBodySize: 1000 });
    for (const chunked of [false, true]) {
      const send = (size: number) =>
        new Promise<number>((resolve, reject) => {
          const req = http.request(server.url, { method: 'POST' }, (res) => {
            res.resume().on('end', () => resolve(res.statusCode!));
          });
          if (chunked) req.write('x');
          else req.setHeader('content-length', size);
          req.on('error', reject).end('x'.repeat(chunked ? size - 1 : size));
        });
      expect(await send(1000)).toBe(200);
      expect(await send(1001)).toBe(413);
    }
  });

  test('is limited after decompression too, and a bomb costs no more than the limit', async () => {
    const { server } = await start(async (r) => ({ status: 200, body: String((await r.body()).length) }), {
      maxBodySize: 100_000,
    });
    const send = (bytes: number) =>
      fetch(server.url, {
        method: 'POST',
        headers: { 'content-encoding': 'gzip' },
        body: gzipSync(Buffer.alloc(bytes)),
      });
    expect(await (await send(100_000)).text()).toBe('100000');
    expect((await send(100_001)).status).toBe(413);
    const bomb = gzipSync(Buffer.alloc(90_000_000));
    expect(bomb.length).toBeLessThan(100_000);
    const before = process.memoryUsage().rss;
    const response = await fetch(server.url, { method: 'POST', headers: { 'content-encoding': 'gzip' }, body: bomb });
    expect(response.status).toBe(413);
    expect(process.memoryUsage().rss - before).toBeLessThan(30e6);
  });

  test('with an announced length above the limit is refused before it is read', async () => {
    const { server } = await start(echo, { maxBodySize: 1000 });
    const { closed } = raw(server.port, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n');
    const text = closed;
    await until(() => open.length > 0);
    const socket = net.connect(server.port, '127.0.0.1');
    socket.destroy();
    const { closed: continued } = raw(
      server.port,
      'POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n',
    );
    for (const answer of [await text, await continued]) {
      expect(answer).toMatch(/^HTTP\/1\.1 413 /);
      expect(answer).not.toContain('100 Continue');
    }
  });

  test('of a client that expects 100-continue is asked for only when it is wanted', async () => {
    const { server } = await start(echo);
    const head = 'POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 2\r\n\r\n';
    const { socket, closed, text } = raw(server.port, head);
    await until(() => text().includes('100 Continue'));
    socket.write('hi');
    expect(await closed).toMatch(/200 OK[\s\S]*hi$/);
  });

  test('in an unknown encoding is refused and the known ones are named', async () => {
    const { server } = await start(echo, { encodings: ['gzip'] });
    for (const encoding of ['br', 'deflate', 'gzip, gzip']) {
      const response = await fetch(server.url, {
        method: 'POST',
        headers: { 'content-encoding': encoding },
        body: 'x',
      });
      expect([response.status, response.headers.get('accept-encoding')]).toEqual([415, 'gzip']);
      expect(await response.text()).toContain(`Unsupported Content-Encoding: ${encoding}`);
    }
  });

  test('that is corrupt is refused and the connection can be used again', async () => {
    const { server } = await start(echo);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number | undefined>();
    const send = (body: Buffer) =>
      new Promise<number>((resolve, reject) => {
        const options = { method: 'POST', agent, headers: { 'content-encoding': 'gzip' } };
        const req = http.request(server.url, options, (res) => {
          ports.add(res.socket.localPort);
          res.resume().on('end', () => resolve(res.statusCode!));
        });
        req.on('error', reject).end(body);
      });
    const good = gzipSync('hello');
    expect(await send(good.subarray(0, 12))).toBe(400);
    expect(await send(Buffer.concat([good, Buffer.from('tail')]))).toBe(400);
    expect(await send(Buffer.concat([good, good]))).toBe(200);
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test('that arrives too slowly is answered 408', async () => {
    const { server, clock } = await start(echo, { readTimeoutMs: 5000 });
    const { closed, socket } = raw(server.port, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n');
    await until(() => clock.pending() > 0);
    socket.write('a');
    await new Promise((r) => setTimeout(r, 20));
    await clock.advance(5000);
    await clock.advance(2000);
    expect(await closed).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('that breaks off costs only itself', async () => {
    let failure: unknown;
    const { server } = await start(async (r) => {
      try {
        return { status: 200, body: await r.body() };
      } catch (error) {
        failure = error;
        throw error;
      }
    });
    const { socket } = raw(server.port, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc');
    await new Promise((r) => setTimeout(r, 20));
    socket.destroy();
    await until(() => failure !== undefined);
    expect(failure).toBeInstanceOf(HttpError);
    expect((await fetch(server.url, { method: 'POST', body: 'x' })).status).toBe(200);
  });

  test('does not add up with others beyond what the server may hold', async () => {
    const { server } = await start(echo, { maxBodySize: 1000, maxBufferedBytes: 1000 });
    const { socket, closed } = raw(
      server.port,
      'POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 900\r\n\r\n',
      'x'.repeat(800),
    );
    await new Promise((r) => setTimeout(r, 30));
    const refused = await fetch(server.url, { method: 'POST', body: 'y'.repeat(300) });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    socket.write('x'.repeat(100));
    expect(await closed).toMatch(/^HTTP\/1\.1 200 /);
    expect((await fetch(server.url, { method: 'POST', body: 'y'.repeat(300) })).status).toBe(200);
  });
});

describe('slow and idle clients', () => {
  test('that do not finish their headers are cut off', async () => {
    const { server, clock } = await start(echo, { readHeaderTimeoutMs: 1000 });
    const { closed } = raw(server.port, 'POST / HTTP/1.1\r\nhost: x\r\nx-slow: ');
    await until(() => server.connections() === 1);
    await clock.advance(999);
    expect(server.connections()).toBe(1);
    await clock.advance(1);
    expect(await closed).toBe('');
  });

  test('that idle after an answer are cut off', async () => {
    const { server, clock } = await start(echo, { idleTimeoutMs: 3000 });
    const { closed, text } = raw(server.port, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await until(() => text().includes('200 OK'));
    await clock.advance(2999);
    expect(server.connections()).toBe(1);
    await clock.advance(1);
    await closed;
  });

  test('by the thousand are closed beyond the limit, and others are still answered', async () => {
    const { server, clock } = await start(echo, { maxConnections: 50, readHeaderTimeoutMs: 1000 });
    const idle = Array.from({ length: 200 }, () => raw(server.port));
    await until(() => server.connections() === 50);
    expect(server.connections()).toBeLessThanOrEqual(50);
    // Those that the kernel kept waiting come when others have gone, and are cut in their turn.
    let over = false;
    const all = Promise.all(idle.map((i) => i.closed)).then(() => {
      over = true;
    });
    while (!over) await clock.advance(1000);
    await all;
    expect((await fetch(server.url, { method: 'POST', body: 'x' })).status).toBe(200);
  });
});

describe('authentication', () => {
  const auth = { bearer_token: new Secret('tok'), basic: { username: 'ann', password: new Secret('pä:ss') } };
  test.each([
    ['nothing', undefined, 401],
    ['a wrong token', 'Bearer tokk', 401],
    ['the token', 'Bearer tok', 200],
    ['the token in another case of scheme', 'bearer tok', 200],
    ['a wrong password', `Basic ${btoa('ann:x')}`, 401],
    ['the password', `Basic ${Buffer.from('ann:pä:ss').toString('base64')}`, 200],
    ['another scheme', 'Digest tok', 401],
  ])('with %s', async (_what, header, status) => {
    const { server } = await start(echo, { auth });
    const response = await fetch(server.url, { headers: header ? { authorization: header } : {} });
    expect(response.status).toBe(status);
    expect(response.headers.has('www-authenticate')).toBe(status === 401);
  });

  test('comes before the body: a client that waits for 100-continue never gets it', async () => {
    const { server } = await start(echo, { auth });
    const { closed } = raw(
      server.port,
      'POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n',
    );
    const text = await closed;
    expect(text).toMatch(/^HTTP\/1\.1 401 /);
    expect(text).not.toContain('100 Continue');
  });

  test('refuses with an answer that arrives even when a large body is on its way', async () => {
    const { server } = await start(echo, { auth });
    const status = await new Promise((resolve, reject) => {
      const req = http.request(server.url, { method: 'POST', headers: { 'content-length': 8e6 } }, (res) => {
        res.resume();
        resolve(res.statusCode);
      });
      req.on('error', reject).end(Buffer.alloc(8e6));
    });
    expect(status).toBe(401);
  });
});

describe('CORS', () => {
  const cors = {
    allowed_origins: ['https://*.example.com'],
    allowed_headers: ['x-own'],
    exposed_headers: ['x-e'],
    max_age: 60,
  };
  const preflight = (url: string, origin: string) =>
    fetch(url, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST' } });

  test('answers the preflight of an allowed origin without asking for credentials', async () => {
    const { server } = await start(echo, { cors, auth: { bearer_token: new Secret('t') } });
    const response = await preflight(server.url, 'https://a.example.com');
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('https://a.example.com');
    expect(response.headers.get('access-control-allow-headers')).toContain('x-own');
    expect(response.headers.get('access-control-max-age')).toBe('60');
  });

  test('says nothing to another origin', async () => {
    const { server } = await start(echo, { cors });
    for (const origin of ['https://example.org', 'https://a.example.com.evil.org', 'http://a.example.com']) {
      const response = await preflight(server.url, origin);
      expect([...response.headers.keys()].filter((k) => k.startsWith('access-control'))).toEqual([]);
    }
  });

  test('marks the answer to an allowed origin, with credentials only if the origin was named', async () => {
    const named = await start(echo, { cors });
    const any = await start(echo, { cors: { ...cors, allowed_origins: ['*'] } });
    const get = (url: string) => fetch(url, { headers: { origin: 'https://a.example.com' } });
    const first = await get(named.server.url);
    expect(first.headers.get('access-control-allow-credentials')).toBe('true');
    expect(first.headers.get('access-control-expose-headers')).toBe('x-e');
    const second = await get(any.server.url);
    expect(second.headers.get('access-control-allow-origin')).toBe('https://a.example.com');
    expect(second.headers.get('access-control-allow-credentials')).toBe(null);
  });
});

describe('a local server', () => {
  test('refuses names that are not this machine, so that no web page can rebind to it', async () => {
    const { server } = await start(echo, { localHostsOnly: true });
    const get = async (host: string) =>
      (await raw(server.port, `GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`).closed).slice(9, 12);
    expect(await get(`127.0.0.1:${server.port}`)).toBe('200');
    expect(await get('localhost')).toBe('200');
    expect(await get('[::1]:1')).toBe('200');
    expect(await get('evil.example')).toBe('403');
    expect(await get('127.0.0.1.evil.example')).toBe('403');
  });
});

describe('a Unix socket', () => {
  test('is private, replaces one that a dead process left, and is gone after closing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'enginelight-'));
    const path = join(folder, 's.sock');
    // A process that died leaves its socket file behind.
    const { spawnSync } = await import('node:child_process');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect((await stat(path)).isSocket()).toBe(true);
    const { server } = await start(echo, { endpoint: `unix://${path}` });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const body = await new Promise((resolve, reject) => {
      const req = http.request({ socketPath: path, method: 'POST', path: '/' }, (res) => {
        res.setEncoding('utf8').on('data', resolve);
      });
      req.on('error', reject).end('over a socket');
    });
    expect(body).toBe('over a socket');
    await expect(start(echo, { endpoint: `unix://${path}` })).rejects.toThrow(/another process answers there/);
    await server.close();
    await expect(stat(path)).rejects.toThrow(/ENOENT/);
    await rm(folder, { recursive: true });
  });

  test('never removes a file that is not a socket', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'enginelight-'));
    const path = join(folder, 'precious');
    await writeFile(path, 'data');
    await expect(start(echo, { endpoint: `unix://${path}` })).rejects.toThrow(/Cannot listen on/);
    expect((await stat(path)).size).toBe(4);
    await rm(folder, { recursive: true });
  });
});

describe('closing', () => {
  test('lets the request in flight finish and takes no new connection', async () => {
    let finish = () => {};
    const { server } = await start(async () => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return { status: 200, body: 'done' };
    });
    const inFlight = fetch(server.url);
    const idle = raw(server.port);
    await until(() => server.connections() === 2);
    await new Promise((r) => setTimeout(r, 20));
    const closing = server.close();
    await idle.closed;
    await expect(fetch(server.url)).rejects.toThrow();
    finish();
    const response = await inFlight;
    expect([response.status, response.headers.get('connection'), await response.text()]).toEqual([
      200,
      'close',
      'done',
    ]);
    await closing;
    await server.close();
  });

  test('cuts what is left when the deadline passes', async () => {
    const { server } = await start(() => new Promise(() => {}));
    const inFlight = fetch(server.url);
    inFlight.catch(() => {});
    await until(() => server.connections() === 1);
    const deadline = new AbortController();
    const closing = server.close(deadline.signal);
    deadline.abort();
    await closing;
    await expect(inFlight).rejects.toThrow();
  });
});

test('every request is reported once when it is over', async () => {
  const records: AccessRecord[] = [];
  const { server } = await start(echo, { onAccess: (r) => records.push(r) });
  await fetch(`${server.url}/a?x=1`, { method: 'POST', body: 'hello' });
  await until(() => records.length === 1);
  expect(records[0]).toMatchObject({
    method: 'POST',
    path: '/a',
    status: 200,
    bodyBytes: 5,
    remoteAddress: '127.0.0.1',
  });
});
