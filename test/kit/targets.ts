/** Real targets for tests of scraping: a server that notes what it was asked, and sockets that misbehave. */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, createServer as createSocketServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export interface FakeTarget {
  readonly url: string;
  readonly port: number;
  readonly asked: Asked[];
  /** Connections that were opened so far, and requests in flight at most at one time. */
  connections(): number;
  mostAtOnce(): number;
  /** What it answers from now on. */
  answer(listener: RequestListener): void;
  close(): Promise<void>;
}

/** A page of text, whatever is asked for. */
export const page =
  (text: string | (() => string), contentType = 'text/plain; version=0.0.4; charset=utf-8'): RequestListener =>
  (_request, response) => {
    response.setHeader('content-type', contentType);
    response.end(typeof text === 'function' ? text() : text);
  };

/** Pages by path; 404 for others. */
export const pages =
  (byPath: Readonly<Record<string, string>>): RequestListener =>
  (request, response) => {
    const text = byPath[request.url!.split('?')[0]!];
    if (text === undefined) {
      response.statusCode = 404;
      response.end('{"detail":"Not Found"}');
    } else page(text)(request, response);
  };

/** Starts a server on loopback; it is closed when the test ends. */
export async function fakeTarget(first: RequestListener, tls?: ServerOptions, port = 0): Promise<FakeTarget> {
  const asked: Asked[] = [];
  let listener = first;
  let connections = 0;
  let now = 0;
  let most = 0;
  const take = (request: IncomingMessage, response: ServerResponse) => {
    asked.push({ method: request.method!, url: request.url!, headers: request.headers });
    most = Math.max(most, ++now);
    response.once('close', () => now--);
    listener(request, response);
  };
  const server: Server = tls ? (createTlsServer(tls, take) as unknown as Server) : createServer(take);
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${bound}`,
    port: bound,
    asked,
    connections: () => connections,
    mostAtOnce: () => most,
    answer(next) {
      listener = next;
    },
    close,
  };
}

/** A listener on bare sockets, for peers that do not speak HTTP as they should. */
export async function fakeSocket(onConnection: (socket: Socket) => void): Promise<{ url: string; port: number }> {
  const sockets = new Set<Socket>();
  const server = createSocketServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  );
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port };
}

/** A port where nobody listens. */
export async function freePort(): Promise<number> {
  const server = createSocketServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

/** Waits, in real time, until sockets have brought what is looked for. */
export async function until(what: string, test: () => boolean | Promise<boolean>, ms = 5000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
