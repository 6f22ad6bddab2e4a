/** Stands between a daemon and an engine, passes every byte on, and remembers the pages that went by: what was scraped, exactly. */
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

export interface Between {
  readonly address: string;
  /** The pages that the daemon was given, in order. */
  pages(): readonly string[];
  close(): Promise<void>;
}

export async function between(target: URL, path: string): Promise<Between> {
  const pages: string[] = [];
  const server = createServer((from, to) => {
    const onward = request(
      { host: target.hostname, port: target.port, path: from.url, method: from.method, headers: from.headers },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const body = Buffer.concat(chunks);
          const plain = answer.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
          if (from.url?.split('?')[0] === path && answer.statusCode === 200) pages.push(plain.toString());
          to.end();
        });
        to.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(to, { end: false });
      },
    );
    onward.on('error', () => to.writeHead(502).end());
    from.pipe(onward);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    pages: () => pages,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
