import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Secret } from '../../../config/schema.ts';
import type { ClientOptions } from '../../../pipeline/kit/client-options.ts';
import { manualClock, systemClock } from '../../../pipeline/kit/clock.ts';
import { GetFailure, type GetRequest, type Getter, type GetterOptions, getter } from '../../../pipeline/kit/get.ts';
import { mayAskEngine, mayScrape } from '../../../pipeline/kit/get-paths.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { fakeSocket, fakeTarget, freePort, page, until } from '../../kit/targets.ts';

function client(origin: string, options: Partial<GetterOptions> = {}): Getter {
  const made = getter({
    origin,
    allow: () => true,
    client: {} as Partial<ClientOptions>,
    clock: systemClock,
    log: memoryLogger(),
    ...options,
  });
  onTestFinished(() => made.close());
  return made;
}
const ask = (c: Getter, more: Partial<GetRequest> = {}) =>
  c.get({ path: '/metrics', timeoutMs: 5000, maxBytes: 1 << 20, ...more });
const reason = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => new Error('it was answered'),
    (e: unknown) => e as Error,
  );
  expect(error).toBeInstanceOf(GetFailure);
  return `${(error as GetFailure).reason}: ${error.message}`;
};

describe('the client that can only GET', () => {
  it('brings body and content type, over one connection, one request at a time', async () => {
    const t = await fakeTarget((request, response) => {
      setTimeout(() => page(`a ${request.url}\n`, 'text/plain')(request, response), 5);
    });
    const c = client(t.url);
    const answers = await Promise.all(['/1', '/2?x=y', '/3'].map((path) => ask(c, { path })));
    expect(answers.map((a) => [a.body.toString(), a.contentType])).toEqual([
      ['a /1\n', 'text/plain'],
      ['a /2?x=y\n', 'text/plain'],
      ['a /3\n', 'text/plain'],
    ]);
    expect(t.mostAtOnce()).toBe(1);
    expect(t.connections()).toBe(1);
    expect(answers.map((a) => a.reused)).toEqual([false, true, true]);
    expect(answers[1]!.durationMs).toBeGreaterThan(3);
    expect(t.asked.every((a) => a.method === 'GET' && a.headers['user-agent']?.startsWith('enginelight/'))).toBe(true);
  });

  it('asks for no path that is not on its list', async () => {
    const t = await fakeTarget(page('a 1\n'));
    const c = client(t.url, { allow: (path) => path === '/metrics' });
    await ask(c);
    for (const path of [
      '/sleep',
      '/metrics/../sleep',
      '//other.example/metrics',
      '/metrics/%2e%2e/sleep',
      'http://127.0.0.1:1/metrics',
    ]) {
      expect(await reason(ask(c, { path })), path).toMatch(/^forbidden: /);
    }
    expect(t.asked.map((a) => a.url)).toEqual(['/metrics']);
  });

  it('follows a redirect on the same origin to a path on its list, and no other', async () => {
    const t = await fakeTarget((request, response) => {
      const to = {
        '/metrics': '/metrics/',
        '/out': 'http://127.0.0.1:1/metrics',
        '/bad': '/sleep',
        '/loop': '/loop',
        '/none': '',
      }[request.url!];
      if (to === undefined) return page('a 1\n')(request, response);
      response.writeHead(307, to === '' ? {} : { location: to }).end();
    });
    const c = client(t.url, { allow: (path) => path !== '/sleep' });
    expect((await ask(c)).body.toString()).toBe('a 1\n');
    expect(await reason(ask(c, { path: '/out' }))).toContain(
      'redirect: server returned HTTP status 307 with a redirect to http://127.0.0.1:1, another origin',
    );
    expect(await reason(ask(c, { path: '/bad' }))).toContain('to /sleep, which may not be asked for');
    expect(await reason(ask(c, { path: '/loop' }))).toContain('again and again');
    expect(await reason(ask(c, { path: '/none' }))).toContain('to nowhere');
    expect(t.asked.some((a) => a.url === '/sleep')).toBe(false);
  });

  it.each([404, 401, 500, 204, 304])('takes nothing but 200: %d is a failure with its status', async (status) => {
    const t = await fakeTarget((_request, response) => response.writeHead(status).end());
    const c = client(t.url);
    const error = (await ask(c).catch((e: unknown) => e)) as GetFailure;
    expect(error).toMatchObject({
      reason: 'status',
      status,
      message: expect.stringContaining(`HTTP status ${status}`),
    });
  });

  it('opens gzip, whose size it limits after unpacking too', async () => {
    const body = `${'a 1\n'.repeat(1000)}`;
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    const t = await fakeTarget((request, response) => {
      response.setHeader('content-encoding', request.url === '/odd' ? 'rot13' : 'gzip');
      if (request.url === '/bomb') response.end(bomb);
      else if (request.url === '/broken') response.end('no gzip');
      else response.end(gzipSync(body));
    });
    const c = client(t.url);
    const answer = await ask(c, { gzip: true });
    expect(answer.body.toString()).toBe(body);
    expect(answer.wireBytes).toBeLessThan(200);
    expect(t.asked[0]!.headers['accept-encoding']).toBe('gzip');
    expect(bomb.length).toBeLessThan(1 << 20);
    expect(await reason(ask(c, { path: '/bomb' }))).toBe('too_large: body size limit exceeded (1048576 bytes)');
    expect(await reason(ask(c, { path: '/broken' }))).toMatch(/^encoding: the answer cannot be decompressed/);
    expect(await reason(ask(c, { path: '/odd' }))).toBe(
      'encoding: the answer has the unknown Content-Encoding "rot13"',
    );
    await ask(c);
    expect(t.asked.at(-1)!.headers['accept-encoding']).toBe('identity');
  });

  it('stops reading an endless body, and one whose announced length is too large', async () => {
    let sent = 0;
    const t = await fakeTarget((request, response) => {
      if (request.url === '/announced') return void response.writeHead(200, { 'content-length': 1 << 30 }).write('a');
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65536, 'x'))) sent += 65536;
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    const c = client(t.url);
    expect(await reason(ask(c))).toBe('too_large: body size limit exceeded (1048576 bytes)');
    expect(sent).toBeLessThan(32 << 20);
    expect(await reason(ask(c, { path: '/announced' }))).toContain('too_large');
    t.answer(page('a 1\n'));
    expect((await ask(c)).body.toString()).toBe('a 1\n');
  });

  it('gives up on whoever is slow: to accept, to begin, to finish', async () => {
    const clock = manualClock();
    const silent = await fakeSocket(() => {});
    const drip = await fakeTarget((_request, response) => {
      response.write('a 1\n');
    });
    for (const origin of [silent.url, drip.url]) {
      const promise = reason(ask(client(origin, { clock }), { timeoutMs: 300 }));
      await new Promise((resolve) => setTimeout(resolve, 30));
      await clock.advance(299);
      await clock.advance(1);
      expect(await promise).toBe('timeout: no complete answer within 300 ms');
    }
  });

  it('says who refused, who is unknown, who hung up', async () => {
    expect(await reason(ask(client(`http://127.0.0.1:${await freePort()}`)))).toBe('refused: connection refused');
    expect(await reason(ask(client(`http://${'x'.repeat(64)}.invalid:1`)))).toMatch(/^dns: /);
    const hangUp = await fakeSocket((socket) => socket.destroy());
    expect(await reason(ask(client(hangUp.url)))).toMatch(/^reset: /);
  });

  it.each<[string, string, string]>([
    [
      'half-closes in the middle of a chunk',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\na 1\n',
      'reset',
    ],
    ['promises more than it sends', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na 1\n', 'reset'],
    ['half-closes before the answer', '', 'reset'],
    ['speaks something else', 'SSH-2.0-OpenSSH_9.2\r\n', 'protocol'],
    ['has an unreadable length', 'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\na 1\n', 'protocol'],
    ['has two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\na 1\n', 'protocol'],
    ['has endless headers', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`, 'protocol'],
  ])('is not fooled by a peer that %s', async (_, bytes, expected) => {
    const peer = await fakeSocket((socket) => socket.once('data', () => socket.end(bytes)));
    expect(await reason(ask(client(peer.url)))).toMatch(new RegExp(`^${expected}: `));
  });

  it('takes a body that ends with the connection, and no more than a promised length', async () => {
    const peer = await fakeSocket((socket) => socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\na 1\n')));
    expect((await ask(client(peer.url))).body.toString()).toBe('a 1\n');
    const more = await fakeSocket((socket) =>
      socket.on('data', () =>
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\nb 2\nHTTP/1.1 200 OK\r\n'),
      ),
    );
    const c = client(more.url);
    expect((await ask(c)).body.toString()).toBe('a 1\n');
    expect((await ask(c)).body.toString()).toBe('a 1\n');
  });

  it('asks again when the target closed the kept connection just then', async () => {
    const t = await fakeTarget(page('a 1\n'));
    let connections = 0;
    const peer = await fakeSocket((socket) => {
      const first = ++connections === 1;
      let requests = 0;
      socket.on('data', () => {
        if (first && ++requests === 2) return void socket.resetAndDestroy();
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n');
      });
    });
    const c = client(peer.url);
    await ask(c);
    expect((await ask(c)).body.toString()).toBe('a 1\n');
    expect(connections).toBe(2);
    await t.close();
  });

  it('stops at once when told to', async () => {
    const silent = await fakeSocket(() => {});
    const abort = new AbortController();
    const promise = reason(ask(client(silent.url), { signal: abort.signal }));
    setTimeout(() => abort.abort(), 10);
    expect(await promise).toBe('stopped: stopped');
    expect(await reason(ask(client(silent.url), { signal: AbortSignal.abort() }))).toBe('stopped: stopped');
    const c = client(silent.url);
    c.close();
    expect(await reason(ask(c))).toBe('stopped: the client is closed');
  });

  it('sends credentials, and goes through a proxy that is configured', async () => {
    const t = await fakeTarget(page('a 1\n'));
    const c = client(t.url, {
      client: { basic_auth: { username: 'me', password: new Secret('pw') }, headers: { 'X-Tenant': new Secret('t') } },
    });
    await ask(c);
    expect(t.asked[0]!.headers).toMatchObject({
      authorization: `Basic ${Buffer.from('me:pw').toString('base64')}`,
      'x-tenant': 't',
    });
    const proxied = client('http://engine.invalid:8000', { client: { proxy_url: t.url } });
    await ask(proxied);
    expect(t.asked[1]).toMatchObject({
      url: 'http://engine.invalid:8000/metrics',
      headers: { host: 'engine.invalid:8000' },
    });
  });

  it('streams what goes on, with a timeout for its beginning only', async () => {
    const clock = manualClock();
    const t = await fakeTarget((_request, response) => {
      response.write('one\n');
      setTimeout(() => response.end('two\n'), 30);
    });
    const c = client(t.url, { clock });
    const seen: string[] = [];
    const streaming = c.stream({ path: '/metrics', timeoutMs: 100, maxBytes: 1 }, (chunk) =>
      seen.push(chunk.toString()),
    );
    await until('the first line', () => seen.length > 0);
    await clock.advance(1000);
    await streaming;
    expect(seen.join('')).toBe('one\ntwo\n');
  });
});

describe('the list of paths', () => {
  it.each([
    '/metrics',
    '/metrics/',
    '/prometheus/metrics',
    '/v1/metrics',
    '/engine_metrics',
    '/team-a/vllm/metrics',
    '/version',
    '/health',
    '//metrics',
  ])('an engine may be asked for %s', (path) => {
    expect(mayAskEngine(path)).toBe(true);
  });

  it.each([
    '/',
    '/sleep',
    '/wake_up',
    '/reset_prefix_cache',
    '/collective_rpc',
    '/scale_elastic_ep',
    '/flush_cache',
    '/start_profile',
    '/v1/completions',
    '/metrics/../sleep',
    '/sleep/metrics',
    '/metrics/%2e%2e/sleep',
    '/metrics%2f..%2fsleep',
    '/%73leep/metrics',
    '/SLEEP/metrics',
    '/metricsx',
    '/xmetrics/',
    '/metrics%00',
    '/metrics%25',
    '/..\\sleep',
    '/health_generate',
  ])('an engine may not be asked for %s', (path) => {
    expect(mayAskEngine(path)).toBe(false);
  });

  it('the generic receiver may ask for the path that is configured, unless engines act on it', () => {
    expect(mayScrape('/stats/prometheus', '/stats/prometheus')).toBe(true);
    expect(mayScrape('/metrics/', '/metrics')).toBe(true);
    expect(mayScrape('/other', '/metrics')).toBe(false);
    expect(mayScrape('/sleep', '/sleep')).toBe(false);
    expect(mayScrape('/flush_cache', '/flush_cache')).toBe(false);
  });
});
