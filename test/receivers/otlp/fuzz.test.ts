/** Bytes that nobody would send, at both listeners: they must go on answering, in bounded memory. */
import http2 from 'node:http2';
import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { frame } from '../../../pipeline/wire/grpc.ts';
import { encodeRequest } from '../../../pipeline/wire/otlp/index.ts';
import { type ManualClock, sink } from '../../kit/harness.ts';
import { points } from '../../kit/parts.ts';
import { METHODS, type Started, startOtlp, TRANSPORTS, through } from './harness.ts';

/** `npm run fuzz` sets it; a run is one connection with one mutated stream of bytes. */
const RUNS = Number(process.env['ENGINELIGHT_FUZZ_RUNS'] ?? 60) * 5;
const SEED = Number(process.env['ENGINELIGHT_FUZZ_SEED'] ?? 1);

/** mulberry32: small, and the same everywhere. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

let to: Started;
beforeAll(async () => {
  // Nothing is kept of what gets through: a million runs must fit.
  const inner = sink();
  const next = { ...inner, consume: (batch: Parameters<typeof inner.consume>[0]) => void (batch.items.length > 1e9) };
  to = await startOtlp({ next });
});
afterAll(() => to.running.stop(AbortSignal.abort()));

/** What a good client writes for one call, byte for byte. */
async function recordedGrpc(body: Uint8Array, headers: Record<string, string> = {}): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const server = net.createServer((socket) => {
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => {});
    // An empty SETTINGS frame, so that the client goes on.
    socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const session = http2.connect(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  session.on('error', () => {});
  const call = session.request({
    ':method': 'POST',
    ':path': METHODS.metrics,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  call.on('error', () => {});
  call.end(body);
  await new Promise((done) => setTimeout(done, 100));
  session.destroy();
  await new Promise((done) => server.close(done));
  return Buffer.concat(chunks);
}

const request = () => encodeRequest(points(20), 'protobuf');

function httpBytes(body: Uint8Array, encoding = 'identity'): Buffer {
  const head = `POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-encoding: ${encoding}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/** Changes, cuts, repeats or inserts a few bytes. */
function mutate(bytes: Buffer, next: () => number): Buffer {
  let out = Buffer.from(bytes);
  for (let n = 1 + Math.floor(next() * 4); n > 0; n--) {
    const at = Math.floor(next() * out.length);
    const kind = next();
    if (kind < 0.5) out[at] = Math.floor(next() * 256);
    else if (kind < 0.65) out = out.subarray(0, at);
    else if (kind < 0.8) out = Buffer.concat([out.subarray(0, at), out.subarray(Math.max(0, at - 20))]);
    else {
      const junk = Buffer.from(Array.from({ length: 1 + Math.floor(next() * 16) }, () => Math.floor(next() * 256)));
      out = Buffer.concat([out.subarray(0, at), junk, out.subarray(at)]);
    }
  }
  return out;
}

/** Writes and goes away, sometimes in the middle. */
function throwAt(url: string, bytes: Uint8Array): Promise<void> {
  const { hostname, port } = new URL(url);
  return new Promise((done) => {
    const socket = net.connect(Number(port), hostname);
    socket.on('error', () => {});
    socket.on('close', () => done());
    socket.resume();
    socket.end(bytes);
    setTimeout(() => socket.destroy(), 200).unref();
  });
}

describe.each([
  ['HTTP', () => to.http, async () => [httpBytes(request()), httpBytes(gzipSync(request()), 'gzip')]],
  [
    'gRPC',
    () => to.grpc,
    async () => [
      await recordedGrpc(frame(request(), false)),
      await recordedGrpc(frame(gzipSync(request()), true), { 'grpc-encoding': 'gzip' }),
    ],
  ],
] as const)('mutated streams of bytes over %s', (_name, url, streams) => {
  test(`do no harm (${RUNS} of them, seed ${SEED})`, { timeout: 0 }, async () => {
    const next = random(SEED);
    const originals = await streams();
    // The originals are good: what is mutated is a request that would be taken.
    for (const original of originals) await throwAt(url(), original);
    const before = process.memoryUsage().rss;
    for (let done = 0; done < RUNS; ) {
      const batch = Array.from({ length: Math.min(20, RUNS - done) }, () => mutate(originals[done++ % 2]!, next));
      await Promise.all(batch.map((bytes) => throwAt(url(), bytes)));
      // Time passes, and with it connections that hang.
      await (to.context.clock as ManualClock).advance(60_000);
    }
    for (const transport of TRANSPORTS) await through(transport, to, points(1));
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 2 ** 20);
    expect(to.context.log.records.filter((r) => r.level === 'error')).toEqual([]);
  });
});

test('a thousand idle connections to each listener keep nobody out', async () => {
  const idle = Array.from({ length: 2000 }, (_, i) => {
    const { hostname, port } = new URL(i % 2 ? to.http : to.grpc);
    const socket = net.connect(Number(port), hostname);
    socket.on('error', () => {});
    return new Promise<net.Socket>((done) => socket.on('connect', () => done(socket)));
  });
  const sockets = await Promise.all(idle);
  for (const transport of TRANSPORTS) await through(transport, to, points(1));
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise((done) => {
          socket.on('close', done);
          socket.destroy();
        }),
    ),
  );
});
