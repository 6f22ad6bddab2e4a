/**
 * The other side of a daemon under measurement, as a process of its own so that its CPU is not counted: engines whose
 * pages move, and a backend that takes OTLP and throws it away. Says its ports on standard output.
 *
 * `node other-side.js TARGETS ENGINES_PER_TARGET`
 */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { vllmLikePage } from '../scrape/page.ts';

async function listening(handle: RequestListener): Promise<number> {
  const server = createServer(handle);
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}

const [targets = 8, engines = 9] = process.argv.slice(2).map(Number);
const seen = { scrapes: 0, samples: 0, requests: 0, bytes: 0 };
const ports: number[] = [];
for (let t = 0; t < targets; t++) {
  const next = vllmLikePage({ engines, seed: t + 1 });
  const pages = Array.from({ length: 12 }, next).map((text) => ({
    bytes: Buffer.from(text),
    samples: text.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length,
  }));
  let n = 0;
  const port = await listening((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    const page = pages[n++ % pages.length]!;
    seen.scrapes++;
    seen.samples += page.samples;
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(page.bytes);
  });
  ports.push(port);
}
const backend = await listening((request, response) => {
  request.on('data', (chunk: Buffer) => {
    seen.bytes += chunk.length;
  });
  request.on('end', () => {
    seen.requests++;
    response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
  });
});
process.on('message', () => process.send?.(seen));
process.send?.({ targets: ports, backend });
