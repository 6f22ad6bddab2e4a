import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { Secret } from '../../../config/schema.ts';
import { PermanentError, RetryableError } from '../../../pipeline/errors.ts';
import { manualClock, systemClock } from '../../../pipeline/kit/clock.ts';
import { answerError, excerpt, retryAfterMs } from '../../../pipeline/kit/http-answers.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { type PostOptions, poster } from '../../../pipeline/kit/post.ts';
import { proxyFor } from '../../../pipeline/kit/post-proxy.ts';
import { authority } from '../../kit/certificates.ts';

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function listening(server: Server): Promise<URL> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const scheme = 'setSecureContext' in server ? 'https' : 'http';
  return new URL(`${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`);
}

const web = (handler: (req: IncomingMessage, res: ServerResponse) => void) => listening(createServer(handler));

/** A server of raw bytes, for answers that no library would give. */
async function tcp(onConnection: (socket: Socket) => void): Promise<URL> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    for (const s of sockets) s.destroy();
    server.close();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/metrics`);
}

function client(options: Partial<PostOptions> = {}) {
  const log = memoryLogger();
  const made = poster({ client: {}, clock: systemClock, log, env: {}, ...options });
  closers.push(() => made.close());
  const post = (url: URL, body: Uint8Array = Buffer.from('hello'), abort = new AbortController().signal) =>
    made.post(url, body, { 'content-type': 'application/x-protobuf' }, abort);
  return { ...made, post, log };
}

const text = (body: Uint8Array) => Buffer.from(body).toString();

describe('one POST', () => {
  it('carries body, length, headers and who we are, over a connection that is kept', async () => {
    const seen: { headers: IncomingMessage['headers']; body: string; port: number | undefined }[] = [];
    const url = await web((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (c) => chunks.push(c));
      req.on('end', () => {
        seen.push({ headers: req.headers, body: Buffer.concat(chunks).toString(), port: req.socket.remotePort });
        res.end('thanks');
      });
    });
    const { post } = client({ client: { headers: { 'X-Scope-OrgID': new Secret('tenant') } } });
    for (let i = 0; i < 2; i++) {
      const answer = await post(url);
      expect([answer.status, text(answer.body)]).toEqual([200, 'thanks']);
    }
    expect(seen[0]).toMatchObject({
      body: 'hello',
      headers: { 'content-length': '5', 'content-type': 'application/x-protobuf', 'x-scope-orgid': 'tenant' },
    });
    expect(seen[0]!.headers['user-agent']).toMatch(/^enginelight\/\d/);
    expect(seen[1]!.port).toBe(seen[0]!.port);
  });

  it('is sent again at once when the kept connection was closed just then', async () => {
    let connections = 0;
    const url = await tcp((socket) => {
      connections++;
      let requests = 0;
      socket.on('data', () => {
        // Takes one request per connection and is gone when the second comes.
        if (++requests === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        else socket.destroy();
      });
    });
    const { post } = client();
    expect((await post(url)).status).toBe(200);
    expect((await post(url)).status).toBe(200);
    expect(connections).toBe(2);
  });
});

describe('answers that are not what they should be', () => {
  it('a refused connection can be tried again, and names the place without user and query', async () => {
    const url = await web(() => {});
    closers.at(-1)!();
    url.username = 'user';
    url.password = 'secret';
    url.search = '?token=secret';
    const error = await client()
      .post(url)
      .catch((e) => e);
    expect(error).toBeInstanceOf(RetryableError);
    expect(error.message).toBe(`cannot send to http://${url.host}/v1/metrics`);
    expect(error.cause.message).toContain('ECONNREFUSED');
    expect(JSON.stringify([error.message, error.cause.message])).not.toContain('secret');
  });

  it.each([
    ['reset before the answer', (s: Socket) => s.resetAndDestroy()],
    ['closed before the answer', (s: Socket) => s.destroy()],
    ['closed in the middle of the body', (s: Socket) => s.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort')],
    [
      'closed in the middle of a chunk',
      (s: Socket) => s.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nabc'),
    ],
    [
      'with more bytes than promised',
      (s: Socket) => s.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokAND MORE NONSENSE'),
    ],
    ['garbage', (s: Socket) => s.end('SSH-2.0-OpenSSH_9.2\r\n')],
  ])('%s can be tried again', async (_what, answer) => {
    const url = await tcp((socket) => socket.once('data', () => answer(socket)));
    await expect(client().post(url)).rejects.toBeInstanceOf(RetryableError);
  });

  it('more bytes than promised, sent later, do no harm to the next request', async () => {
    const url = await tcp((socket) =>
      socket.on('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', () =>
          setTimeout(() => socket.write('MORE NONSENSE'), 10),
        );
      }),
    );
    const { post } = client();
    for (let i = 0; i < 3; i++) {
      expect(text((await post(url)).body)).toBe('ok');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });

  it('an answer that never comes ends with the abort', async () => {
    const url = await tcp(() => {});
    const abort = new AbortController();
    const waiting = client().post(url, Buffer.from('x'), abort.signal);
    setTimeout(() => abort.abort(), 20);
    await expect(waiting).rejects.toThrow(`no answer from http://${url.host}/v1/metrics in time`);
  });

  it('a body that never ends is cut off and not tried again', async () => {
    let written = 0;
    const url = await tcp((socket) =>
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        const more = () => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) written += 65_536;
        };
        socket.on('drain', more);
        more();
      }),
    );
    await expect(client({ maxResponseBytes: 1 << 20 }).post(url)).rejects.toBeInstanceOf(PermanentError);
    expect(written).toBeLessThan(16 << 20);
  });

  it('a promise of more than the limit is not waited for', async () => {
    const url = await tcp((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n')),
    );
    await expect(client().post(url)).rejects.toThrow('larger than 4194304 bytes');
  });

  it('the limit holds for the decompressed body', async () => {
    const bomb = gzipSync(Buffer.alloc(8 << 20));
    const url = await web((req, res) => {
      req.resume();
      res.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb);
    });
    expect(bomb.length).toBeLessThan(10_000);
    await expect(client().post(url)).rejects.toThrow('larger than 4194304 bytes');
    await expect(client().post(url)).rejects.toBeInstanceOf(PermanentError);
  });

  it('exactly the limit is read', async () => {
    const url = await web((req, res) => {
      req.resume();
      res.end(Buffer.alloc(4 << 20));
    });
    expect((await client().post(url)).body.length).toBe(4 << 20);
  });
});

describe('redirects', () => {
  const redirecting = (status: number, to: (url: URL) => string) =>
    web((req, res) => {
      req.resume();
      if (req.url === '/moved') res.end(`moved ${req.method}`);
      else res.writeHead(status, { location: to(new URL(`http://${req.headers.host}`)) }).end();
    });

  it.each([307, 308])('%i within the origin is followed with method and body', async (status) => {
    expect(text((await client().post(await redirecting(status, () => '/moved'))).body)).toBe('moved POST');
  });

  it('to another origin is not followed: credentials stay here', async () => {
    let reached = false;
    const other = await web((_req, res) => {
      reached = true;
      res.end();
    });
    const { post } = client({ client: { headers: { authorization: new Secret('Bearer t') } } });
    const error = await post(await redirecting(307, () => other.href)).catch((e) => e);
    expect(error).toBeInstanceOf(PermanentError);
    expect(error.message).toContain(`to another origin, ${other.href}, which is not followed; set the endpoint`);
    expect(reached).toBe(false);
  });

  it.each([
    [302, () => '/moved', 'would turn the POST into a GET'],
    [307, () => '/round', 'again and again'],
    [308, () => 'http://[bad', 'to nowhere'],
  ])('%i to %s is an error that says why', async (status, to, message) => {
    await expect(client().post(await redirecting(status, to))).rejects.toThrow(message);
  });
});

describe('TLS', () => {
  const ca = authority();
  const secure = (options: object = {}, certificate = ca.issue(['127.0.0.1', 'localhost'])) =>
    listening(
      createTlsServer({ ...certificate, ...options }, (req, res) => {
        req.resume();
        res.end('safe');
      }) as unknown as Server,
    );
  const tls = (over: object) => ({
    client: {
      tls: {
        insecure: false,
        insecure_skip_verify: false,
        include_system_ca_certs_pool: false,
        min_version: '1.2' as const,
        reload_interval: 1000,
        ...over,
      },
    },
  });

  it('trusts the given authority and nobody else', async () => {
    const url = await secure();
    expect(text((await client(tls({ ca_pem: ca.cert })).post(url)).body)).toBe('safe');
    await expect(client().post(url)).rejects.toThrow(RetryableError);
    await expect(client(tls({ ca_pem: authority('other').cert })).post(url)).rejects.toThrow('cannot send to https://');
    expect(text((await client(tls({ insecure_skip_verify: true })).post(url)).body)).toBe('safe');
  });

  it('refuses an expired certificate and one for another name', async () => {
    const trust = tls({ ca_pem: ca.cert });
    await expect(client(trust).post(await secure({}, ca.issue(['127.0.0.1'], { expired: true })))).rejects.toThrow();
    const other = await secure({}, ca.issue(['other.example']));
    await expect(client(trust).post(other)).rejects.toThrow();
    const named = client(tls({ ca_pem: ca.cert, server_name_override: 'other.example' }));
    expect(text((await named.post(other)).body)).toBe('safe');
  });

  it('shows its own certificate where it has one', async () => {
    const url = await secure({ requestCert: true, rejectUnauthorized: true, ca: ca.cert });
    const mine = ca.issue(['client']);
    expect(
      text((await client(tls({ ca_pem: ca.cert, cert_pem: mine.cert, key_pem: new Secret(mine.key) })).post(url)).body),
    ).toBe('safe');
    await expect(client(tls({ ca_pem: ca.cert })).post(url)).rejects.toThrow(RetryableError);
  });

  it('speaks through a proxy without the proxy seeing what is said', async () => {
    const url = await secure();
    const { proxy, asked } = await tunnelProxy();
    const one = client({ client: { ...tls({ ca_pem: ca.cert }).client, proxy_url: proxy } });
    expect(text((await one.post(url)).body)).toBe('safe');
    expect(text((await one.post(url)).body)).toBe('safe');
    expect(asked).toEqual([`CONNECT ${url.host} Basic dXNlcjpwYXNz`]);
  });
});

async function tunnelProxy() {
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.url} ${req.headers['proxy-authorization']}`);
    req.resume();
    res.end('via proxy');
  });
  server.on('connect', (req, socket) => {
    asked.push(`CONNECT ${req.url} ${req.headers['proxy-authorization']}`);
    const [host, port] = req.url!.split(':');
    const to = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      to.pipe(socket).pipe(to);
    });
    to.on('error', () => socket.destroy());
    socket.on('error', () => to.destroy());
    closers.push(() => void to.destroy());
  });
  const url = await listening(server);
  return { proxy: `http://user:pass@${url.host}`, asked };
}

describe('proxies', () => {
  it('get plain requests whole', async () => {
    const { proxy, asked } = await tunnelProxy();
    const answer = await client({ env: { HTTP_PROXY: proxy } }).post(
      new URL('http://collector.example:4318/v1/traces'),
    );
    expect(text(answer.body)).toBe('via proxy');
    expect(asked).toEqual(['POST http://collector.example:4318/v1/traces Basic dXNlcjpwYXNz']);
  });

  it('that refuse say so', async () => {
    const url = await tcp((s) => s.once('data', () => s.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')));
    const error = await client({ client: { proxy_url: `http://${url.host}` } })
      .post(new URL('https://collector.example/'))
      .catch((e) => e);
    expect(error).toBeInstanceOf(RetryableError);
    expect(error.cause.message).toContain('refused the tunnel to collector.example:443 with status 407');
  });

  it.each([
    ['http://c.example/', { HTTP_PROXY: 'http://p:1' }, 'http://p:1/'],
    ['https://c.example/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['https://c.example/', { HTTPS_PROXY: 'p:1' }, 'http://p:1/'],
    ['https://c.example/', { https_proxy: 'http://lower:1', HTTPS_PROXY: 'http://upper:1' }, 'http://lower:1/'],
    ['http://localhost:4318/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['http://127.0.0.1:4318/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['http://[::1]:4318/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['http://c.example/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '*' }, undefined],
    ['http://a.c.example/', { HTTP_PROXY: 'http://p:1', NO_PROXY: 'x, c.example' }, undefined],
    ['http://ac.example/', { HTTP_PROXY: 'http://p:1', NO_PROXY: 'c.example' }, 'http://p:1/'],
    ['http://c.example/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '.c.example' }, 'http://p:1/'],
    ['http://a.c.example/', { HTTP_PROXY: 'http://p:1', no_proxy: '.c.example' }, undefined],
    ['http://10.1.2.3/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '10.0.0.0/8' }, undefined],
    ['http://11.1.2.3/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '10.0.0.0/8,fe80::/10' }, 'http://p:1/'],
    ['http://c.example:81/', { HTTP_PROXY: 'http://p:1', NO_PROXY: 'c.example:81' }, undefined],
    ['http://c.example:82/', { HTTP_PROXY: 'http://p:1', NO_PROXY: 'c.example:81' }, 'http://p:1/'],
    ['http://c.example/', { HTTP_PROXY: ':::' }, undefined],
  ])('%s with %j: %s', (url, env, expected) => {
    expect(proxyFor(new URL(url), undefined, env)?.href).toBe(expected);
  });
});

describe('what an answer means', () => {
  const clock = manualClock(Date.parse('2026-05-01T12:00:00Z'));
  it.each([
    ['30', 30_000],
    ['0', 0],
    ['Fri, 01 May 2026 12:01:00 GMT', 60_000],
    ['Fri, 01 May 2026 11:00:00 GMT', 0],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('Retry-After %s is %s ms', (header, ms) => {
    expect(retryAfterMs(header, clock)).toBe(ms);
  });

  const answer = (status: number, headers = {}) => ({ status, headers, body: new Uint8Array() });
  it('an error tells status, message and what to look at', () => {
    const make = (status: number) => answerError('http://c', answer(status), 'nope', (s) => s === 429, clock);
    expect(make(401).message).toBe(
      'http://c answered 401: nope (check the credentials: authorization, basic_auth, headers, tls)',
    );
    expect(make(413).message).toContain('lower max_request_size');
    expect(make(404)).toBeInstanceOf(PermanentError);
    expect(make(429)).toMatchObject({ exhausted: true, retryAfterMs: undefined });
  });

  it('a strange body is shown short, on one line and harmless', () => {
    expect(excerpt(Buffer.from('a\n\u001b[31mb\u0000  c'))).toBe('a [31mb c');
    expect(excerpt(Buffer.alloc(5000, 0x41)).length).toBe(301);
    expect(excerpt(Buffer.from([0xff, 0xfe, 0x41]))).toBe('A');
  });
});
