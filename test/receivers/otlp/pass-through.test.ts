/** OTLP in, OTLP out, with nothing in between that needs the contents: what came is what leaves, byte for byte. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { otlpHttpExporter } from '../../../exporters/otlp_http/index.ts';
import { createGraph } from '../../../pipeline/graph.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { createTelemetry } from '../../../pipeline/telemetry.ts';
import { otlpReceiver } from '../../../receivers/otlp/index.ts';
import { grpcOnce } from '../../kit/grpc-client.ts';
import { configOf, parts } from '../../kit/parts.ts';
import { double, message, str, uint } from '../../kit/protobuf-builder.ts';
import { METHODS, request } from './harness.ts';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A backend that keeps the bodies it gets. */
async function backend() {
  const bodies: Buffer[] = [];
  const server = createServer((req: IncomingMessage, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      bodies.push(Buffer.concat(chunks));
      res.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  });
  return { bodies, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The real graph: receiver, perhaps a processor, exporter with its queue. */
async function daemon(url: string, more: { processors?: readonly string[]; exporter?: object } = {}) {
  const p = parts();
  const copy = p.processor('copy', { map: (batch) => ({ ...batch, items: [...batch.items] }) as typeof batch });
  const config = configOf({
    definitions: [otlpReceiver, otlpHttpExporter, copy, p.processor('pass')],
    pipelines: { inference: [['otlp'], more.processors ?? [], ['otlp_http']] },
  });
  const endpoint = '127.0.0.1:0';
  const override = (map: ReadonlyMap<string, unknown>, id: string, value: unknown) =>
    (map as Map<string, object>).set(id, { ...(map.get(id) as object), config: value });
  override(
    config.receivers,
    'otlp',
    resolve(otlpReceiver.config, { protocols: { http: { endpoint }, grpc: { endpoint } } }),
  );
  override(
    config.exporters,
    'otlp_http',
    resolve(otlpHttpExporter.config, { endpoint: url, compression: 'none', ...more.exporter }),
  );
  const log = memoryLogger();
  const telemetry = createTelemetry();
  const graph = createGraph({ clock: systemClock, log, telemetry });
  await graph.turnInto(config);
  closing.push(() => graph.stop(AbortSignal.timeout(2000)));
  const at = (of: string) => String(log.records.find((r) => r.message === `Receives OTLP over ${of}.`)?.fields['url']);
  const counted = (name: string) =>
    telemetry.collect('detailed').find((c) => c.info.name === `enginelight_${name}`)?.series[0]?.value;
  return { http: at('HTTP'), grpc: at('gRPC'), counted };
}

const until = async (condition: () => boolean) => {
  for (let i = 0; i < 3000 && !condition(); i++) await new Promise((r) => setTimeout(r, 2));
  expect(condition()).toBe(true);
};

/** In an order that we would not write it, with a field that we do not know: decoding it would show. */
const odd = (value: number) =>
  message(
    1,
    message(2, uint(900, value), message(2, message(5, message(1, double(4, value))), str(1, 'm'))),
    message(1, message(1, message(2, str(1, 'svc')), str(1, 'service.name'))),
  );
const PB = { 'content-type': 'application/x-protobuf' };

describe('a request without a processor', () => {
  test('leaves as it came, over HTTP and gRPC, and its items are counted', async () => {
    const { bodies, url } = await backend();
    const to = await daemon(url);
    expect((await request(`${to.http}/v1/metrics`, { headers: PB, body: odd(1) })).status).toBe(200);
    expect((await grpcOnce(to.grpc, METHODS.metrics, odd(2))).status).toBe(0);
    await until(() => bodies.length === 2);
    expect(bodies.map((b) => b.toString('hex')).sort()).toEqual([odd(1), odd(2)].map((b) => b.toString('hex')).sort());
    await until(() => to.counted('exporter_sent_items_total') === 2);
    expect(to.counted('receiver_accepted_items_total')).toBe(2);
  });

  test('leaves as it came behind a processor that changes nothing', async () => {
    const { bodies, url } = await backend();
    const to = await daemon(url, { processors: ['pass'] });
    await request(`${to.http}/v1/metrics`, { headers: PB, body: odd(1) });
    await until(() => bodies.length === 1);
    expect(bodies[0]!.equals(odd(1))).toBe(true);
  });

  test('leaves joined with others, each as it came', async () => {
    const { bodies, url } = await backend();
    const batch = { flush_timeout: '10s', min_size: 3 };
    const to = await daemon(url, { exporter: { sending_queue: { batch } } });
    for (const n of [1, 2, 3]) await request(`${to.http}/v1/metrics`, { headers: PB, body: odd(n) });
    await until(() => bodies.length === 1);
    expect(bodies[0]!.equals(Buffer.concat([odd(1), odd(2), odd(3)]))).toBe(true);
  });
});

test('a request whose items a processor made anew leaves as we write it', async () => {
  const { bodies, url } = await backend();
  const to = await daemon(url, { processors: ['copy'] });
  await request(`${to.http}/v1/metrics`, { headers: PB, body: odd(1) });
  await until(() => bodies.length === 1);
  expect(bodies[0]!.equals(odd(1))).toBe(false);
  expect(bodies[0]!.length).toBeLessThan(odd(1).length);
});
