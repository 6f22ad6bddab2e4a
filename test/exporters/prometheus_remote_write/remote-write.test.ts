import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { prometheusRemoteWriteExporter } from '../../../exporters/prometheus_remote_write/index.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import {
  type Attributes,
  gauge,
  logsBatch,
  type Metric,
  type MetricsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  type Point,
  type Resource,
  resource,
  scope,
  sum,
} from '../../../pipeline/model.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { type ReadRequest, readRemoteWrite } from '../../kit/remote-write-oracle.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type Answer = (res: ServerResponse) => void;
const status =
  (code: number, headers: Record<string, string> = {}, body = 'no'): Answer =>
  (res) =>
    void res.writeHead(code, headers).end(body);

async function backend(...answers: Answer[]) {
  const seen: { headers: IncomingHttpHeaders; read: ReadRequest }[] = [];
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (c) => chunks.push(c));
    req.on('end', () => {
      const version = req.headers['x-prometheus-remote-write-version'] === '2.0.0' ? '2.0' : '1.0';
      seen.push({ headers: req.headers, read: readRemoteWrite(version, Buffer.concat(chunks)) });
      const answer = answers[Math.min(seen.length, answers.length) - 1];
      if (answer) answer(res);
      else res.writeHead(204).end();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1/write`;
  const series = () => seen.flatMap((s) => s.read.series);
  const value = (id: string) =>
    series()
      .filter((s) => s.id === id)
      .flatMap((s) => s.samples.map((x) => x.value));
  return { endpoint, seen, series, value };
}

const MS = 1_700_000_000_000;
async function start(config: Record<string, unknown>) {
  const clock = manualClock(MS);
  const context = testContext({
    id: 'prometheus_remote_write',
    kind: 'exporter',
    clock,
    signals: new Set(['metrics'] as const),
  });
  const resolved = resolve(prometheusRemoteWriteExporter.config, {
    target_info: { enabled: false },
    without_scope_info: true,
    retry_on_failure: { randomization_factor: 0 },
    ...config,
  });
  expect(prometheusRemoteWriteExporter.validate!(resolved)).toEqual([]);
  const stage = await prometheusRemoteWriteExporter.start(resolved, context);
  closers.push(() => stage.stop(AbortSignal.abort()));
  const { measured } = context;
  const settled = (n: number) =>
    vi.waitFor(() => expect(measured.sent + measured.failed + measured.drops.length).toBeGreaterThanOrEqual(n), {
      interval: 5,
    });
  return { stage, clock, context, measured, settled, log: context.log.records };
}

const llm = resource({ 'service.name': 'llm', 'service.instance.id': 'r0', 'process.pid': 7 });
const point = (
  metric: Metric,
  value: number,
  ms: number,
  attributes: Attributes = NO_ATTRIBUTES,
  of: Resource = llm,
): Point => ({
  series: { resource: of, scope: scope('s'), metric, attributes },
  time: BigInt(MS + ms) * 1_000_000n,
  startTime: 0n,
  flags: 0,
  value,
});
const batch = (...items: Point[]): MetricsBatch => deepFreeze(metricsBatch(items));
const g = gauge('g', '');
const who = 'instance="r0",job="llm"';

describe('the remote write exporter', () => {
  it.each([
    ['prometheus.WriteRequest', '0.1.0', 'application/x-protobuf'],
    ['io.prometheus.write.v2.Request', '2.0.0', 'application/x-protobuf;proto=io.prometheus.write.v2.Request'],
  ])('speaks %s', async (protobuf_message, version, type) => {
    const { endpoint, seen, value } = await backend();
    const { stage, settled, measured } = await start({ endpoint, protobuf_message, headers: { 'x-scope-orgid': 't' } });
    await stage.consume(batch(point(g, 1.5, 0), point(sum('n', ''), 2, 0)));
    await settled(2);
    expect(seen[0]!.headers).toMatchObject({
      'content-encoding': 'snappy',
      'content-type': type,
      'x-prometheus-remote-write-version': version,
      'x-scope-orgid': 't',
    });
    expect([value(`g{${who}}`), value(`n_total{${who}}`)]).toEqual([[1.5], [2]]);
    expect(measured.sent).toBe(2);
  });

  it('adds external labels and target_info, once for each job and instance', async () => {
    const { endpoint, series } = await backend();
    const { stage, settled, measured } = await start({
      endpoint,
      target_info: { enabled: true },
      external_labels: { cluster: 'c1' },
    });
    const rank = (n: number) => resource({ ...llm.attributes, 'inference.rank.tp': n });
    for (const ms of [0, 1000]) {
      await stage.consume(batch(...[0, 1].map((n) => point(g, n, ms, NO_ATTRIBUTES, rank(n)))));
      await vi.waitFor(() => expect(series().length).toBe(ms === 0 ? 3 : 6));
    }
    const infos = series().filter((s) => s.id.startsWith('target_info'));
    expect(new Set(infos.map((s) => s.id))).toEqual(
      new Set([`target_info{cluster="c1",inference_rank_tp="0",${who},process_pid="7"}`]),
    );
    expect(infos.map((s) => s.samples[0]!.timestamp - MS)).toEqual([0, 1000]);
    expect(series().filter((s) => s.id.startsWith('g{')).length).toBe(4);
    // What the exporter adds is not what it was given.
    await settled(4);
    expect(measured.sent).toBe(4);
    expect(measured.drops).toEqual([]);
  });

  it('keeps each series in order of time even when the backend is slow and fails', async () => {
    const { endpoint, series } = await backend(status(503), status(503), status(429), status(204));
    const { stage, clock, measured, settled } = await start({ endpoint, sending_queue: { num_consumers: 3 } });
    const attributes = Array.from({ length: 12 }, (_, i) => ({ i: String(i) }));
    for (let ms = 0; ms < 10; ms++) await stage.consume(batch(...attributes.map((a) => point(g, ms, ms, a))));
    for (let i = 0; i < 40 && measured.sent < 120; i++) {
      await clock.advance(5000);
      await new Promise((r) => setTimeout(r, 5));
    }
    await settled(120);
    expect(measured.sent).toBe(120);
    const latest = new Map<string, number>();
    // The first three requests were refused; what was accepted must be in order, series by series.
    for (const s of series()) {
      for (const { timestamp } of s.samples) {
        expect(timestamp).toBeGreaterThanOrEqual(latest.get(s.id) ?? 0);
        latest.set(s.id, timestamp);
      }
    }
    expect(latest.size).toBe(12);
  });

  it('writes no point twice and none too late; both are counted and said once', async () => {
    const { endpoint, value } = await backend();
    const { stage, settled, measured, log } = await start({ endpoint });
    const other = resource({ ...llm.attributes, 'process.pid': 8 });
    await stage.consume(batch(point(g, 1, 5), point(g, 2, 5, NO_ATTRIBUTES, other), point(g, 3, 1)));
    await stage.consume(batch(point(g, 4, 6), point(g, 5, 6)));
    await settled(5);
    expect(value(`g{${who}}`)).toEqual([1, 4]);
    expect(measured.drops.map((d) => d.reason).sort()).toEqual(['duplicate', 'duplicate', 'stale']);
    expect(log.filter((r) => r.level === 'warn').length).toBe(2);
  });

  it('accepts a batch again that a full queue has refused', async () => {
    const { endpoint, value } = await backend((res) => void setTimeout(() => res.writeHead(204).end(), 30));
    const { stage, settled, measured } = await start({ endpoint, sending_queue: { num_consumers: 1, queue_size: 1 } });
    await stage.consume(batch(point(g, 1, 0)));
    const again = batch(point(g, 2, 1));
    expect(() => stage.consume(again)).toThrow('the sending queue is full');
    await settled(1);
    await vi.waitFor(() => stage.consume(again));
    await settled(2);
    expect(value(`g{${who}}`)).toEqual([1, 2]);
    expect(measured.drops).toEqual([]);
  });

  it('forgets a failed delivery when the queue is off, so that the sender can bring it again', async () => {
    const { endpoint, value } = await backend(status(503));
    const { stage } = await start({
      endpoint,
      sending_queue: { enabled: false },
      retry_on_failure: { enabled: false },
    });
    const one = batch(point({ ...sum('n', ''), temporality: 1 }, 5, 0));
    await expect(Promise.resolve(stage.consume(one))).rejects.toThrow('answered 503');
    await expect(Promise.resolve(stage.consume(one))).rejects.toThrow('answered 503');
    expect(value(`n_total{${who}}`)).toEqual([5, 5]);
  });

  it('adds up deltas', async () => {
    const { endpoint, value } = await backend();
    const { stage, settled } = await start({ endpoint });
    const delta = { ...sum('n', ''), temporality: 1 };
    for (const [i, v] of [5, 3, 2].entries()) {
      await stage.consume(batch(point(delta, v, i)));
      await settled(i + 1);
    }
    expect(value(`n_total{${who}}`)).toEqual([5, 8, 10]);
  });

  it('marks the end of a series', async () => {
    const { endpoint, series } = await backend();
    const { stage, settled } = await start({ endpoint });
    await stage.consume(batch(point(g, 1, 0)));
    await stage.consume(batch({ ...point(g, 0, 1), flags: 1 }));
    await settled(2);
    expect(series().map((s) => s.samples[0]!.stale)).toEqual([false, true]);
  });

  it('gives points without a time that of their sending, and drops what has no form here', async () => {
    const { endpoint, series } = await backend();
    const { stage, settled, measured } = await start({ endpoint });
    const coarse = { ...gauge('e', ''), type: 'exponential_histogram' as const, temporality: 2 };
    await stage.consume(
      batch({ ...point(g, 1, 0), time: 0n }, {
        ...point(coarse, 0, 0),
        value: undefined,
        count: 1,
        scale: -9,
        zeroCount: 1,
        zeroThreshold: 0,
      } as unknown as Point),
    );
    await settled(2);
    expect(series()[0]!.samples[0]!.timestamp).toBe(MS);
    expect(measured.drops).toEqual([{ signal: 'metrics', items: 1, reason: 'unsupported' }]);
  });

  it.each([500, 502, 503, 429, 599])('%i is tried again', async (code) => {
    const { endpoint, seen } = await backend(status(code), (res) => void res.writeHead(204).end());
    const { stage, clock, settled, measured, log } = await start({ endpoint });
    await stage.consume(batch(point(g, 1, 0)));
    await vi.waitFor(() => expect(log.some((r) => r.message.includes('Will retry'))).toBe(true));
    await clock.advance(5000);
    await settled(1);
    expect([seen.length, measured.sent]).toEqual([2, 1]);
  });

  it.each([400, 401, 404, 413])('%i is not', async (code) => {
    const { endpoint, seen } = await backend(status(code, {}, 'out of order sample'));
    const { stage, clock, settled, measured, log } = await start({ endpoint });
    await stage.consume(batch(point(g, 1, 0)));
    await settled(1);
    await clock.advance(60_000);
    expect(seen.length).toBe(1);
    expect(measured.drops.map((d) => d.reason)).toEqual(['permanent_error']);
    expect(String(log.at(-1)?.fields['error'])).toContain(`answered ${code}: out of order sample`);
  });

  it('counts only what version 2.0 says was not written, and names the way back when it is not understood', async () => {
    const v2 = { protobuf_message: 'io.prometheus.write.v2.Request' };
    const partly = await backend(status(400, { 'x-prometheus-remote-write-samples-written': '3' }, 'too old'));
    const one = await start({ endpoint: partly.endpoint, ...v2, sending_queue: { num_consumers: 1 } });
    await one.stage.consume(batch(...[1, 2, 3, 4].map((i) => point(g, i, 0, { i: String(i) }))));
    await one.settled(4);
    expect([one.measured.sent, one.measured.failed]).toEqual([3, 1]);
    const not = await backend(status(415));
    const two = await start({ endpoint: not.endpoint, ...v2 });
    await two.stage.consume(batch(point(g, 1, 0)));
    await two.settled(1);
    expect(String(two.log.at(-1)?.fields['error'])).toContain('set protobuf_message: prometheus.WriteRequest');
  });

  it('splits requests above max_batch_size_bytes', async () => {
    const { endpoint, seen } = await backend();
    const { stage, settled, measured } = await start({
      endpoint,
      max_batch_size_bytes: 2000,
      sending_queue: { num_consumers: 1 },
    });
    await stage.consume(batch(...Array.from({ length: 100 }, (_, i) => point(g, i, 0, { i: String(i) }))));
    await settled(100);
    expect(measured.sent).toBe(100);
    expect(seen.length).toBeGreaterThan(3);
  });

  it('describes metrics once a minute with send_metadata', async () => {
    const { endpoint, seen } = await backend();
    const { stage, clock, settled } = await start({ endpoint, send_metadata: true });
    for (const [i, ms] of [0, 1000, 61_000].entries()) {
      await stage.consume(batch(point(gauge('g', '', 'Help.'), 1, ms)));
      await settled(i + 1);
      await clock.advance(30_000);
    }
    expect(seen.map((s) => s.read.metadata.length)).toEqual([1, 0, 1]);
  });

  it('goes on after a restart with what the last run left on disk (wal)', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'enginelight-wal-'));
    closers.push(() => rm(directory, { recursive: true, force: true }));
    const down = await start({
      endpoint: 'http://127.0.0.1:9/x',
      wal: { directory },
      remote_write_queue: { num_consumers: 2 },
    });
    for (let ms = 0; ms < 5; ms++)
      await down.stage.consume(batch(...['a', 'b', 'c'].map((i) => point(g, ms, ms, { i }))));
    await down.stage.stop(AbortSignal.abort());
    expect(down.measured.drops).toEqual([]);
    const { endpoint, value } = await backend();
    const up = await start({ endpoint, wal: { directory }, remote_write_queue: { num_consumers: 2 } });
    await up.settled(15);
    for (const i of ['a', 'b', 'c']) expect(value(`g{i="${i}",${who}}`)).toEqual([0, 1, 2, 3, 4]);
  });

  it('refuses other signals, and everything once it is stopped', async () => {
    const { endpoint } = await backend();
    const { stage, clock } = await start({ endpoint });
    expect(() => stage.consume(logsBatch([]))).toThrow('takes metrics, not logs');
    await stage.stop();
    expect(() => stage.consume(batch(point(g, 1, 0)))).toThrow('is stopping');
    expect(clock.pending()).toBe(0);
  });

  it('names mistakes in its options', () => {
    const check = (config: object) =>
      prometheusRemoteWriteExporter.validate!(
        resolve(prometheusRemoteWriteExporter.config, { endpoint: 'http://x', ...config }),
      ).map((m) => `${m.path.join('.')}: ${m.message}`);
    expect(check({ external_labels: { __name__: 'x' } })).toEqual([
      'external_labels.__name__: names that start with __ are for Prometheus itself',
    ]);
    expect(check({ sending_queue: { wait_for_result: true }, wal: {} })[0]).toContain('`wait_for_result`');
  });
});
