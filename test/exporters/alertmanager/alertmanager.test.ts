import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { alertmanagerExporter } from '../../../exporters/alertmanager/index.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { type Alert, alertRecord, isoTime } from '../../../pipeline/kit/verdict.ts';
import { logsBatch } from '../../../pipeline/model.ts';
import { testContext } from '../../kit/harness.ts';

const T = Date.UTC(2026, 0, 3);
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

/** Takes posts, keeps them, and answers with what `status` is at the time. */
async function receiver() {
  const got: { path: string; body: { labels: Record<string, string>; endsAt: string; startsAt: string }[] }[] = [];
  const state = { status: 200, got, url: '' };
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      got.push({ path: `${request.method} ${request.url}`, body: JSON.parse(text) });
      response.writeHead(state.status).end();
    });
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return state;
}

const alert = (replica: string, more: Partial<Alert> = {}): Alert => ({
  name: 'Full',
  severity: 'warning',
  labels: { alertname: 'Full', severity: 'warning', replica },
  starts_at: isoTime(T),
  ends_at: null,
  annotations: { summary: `${replica} is full` },
  ...more,
});
const batch = (...alerts: Alert[]) =>
  logsBatch(alerts.map((a) => alertRecord(a, { kind: 'replica', id: a.labels['replica']! }, T)));

async function start(options: object) {
  const clock = manualClock(T);
  const context = testContext({ kind: 'exporter', clock });
  const stage = await alertmanagerExporter.start(resolve(alertmanagerExporter.config, options), context);
  return { clock, context, stage };
}
const until = (check: () => void) => vi.waitFor(check, { timeout: 10_000 });

describe('alertmanager', () => {
  test('every Alertmanager gets every alert, again each minute with an end that moves on, and the end when it is over', async () => {
    const [a, b] = [await receiver(), await receiver()];
    const { clock, stage, context } = await start({
      endpoints: [a.url, `${b.url}/prefix/`],
      external_labels: { cluster: 'eu', replica: 'not this' },
    });
    await stage.consume(batch(alert('r0'), alert('r1')));
    await clock.advance(1000);
    await until(() => expect([a.got.length, b.got.length]).toEqual([1, 1]));
    expect(a.got[0]).toMatchObject({
      path: 'POST /api/v2/alerts',
      body: [
        {
          labels: { alertname: 'Full', severity: 'warning', replica: 'r0', cluster: 'eu' },
          annotations: { summary: 'r0 is full' },
          startsAt: isoTime(T),
          endsAt: isoTime(T + 1000 + 300_000),
        },
        { labels: { replica: 'r1' } },
      ],
    });
    expect(b.got[0]?.path).toBe('POST /prefix/api/v2/alerts');
    await until(() => expect(context.measured.sent).toBe(2));
    await clock.advance(60_000);
    await until(() => expect(a.got.length).toBe(2));
    expect(a.got[1]?.body[0]?.endsAt).toBe(isoTime(T + 61_000 + 300_000));
    await stage.consume(batch(alert('r1', { ends_at: isoTime(T + 61_000) })));
    await clock.advance(1000);
    await until(() => expect(a.got.length).toBe(3));
    expect(a.got[2]?.body.map((x) => x.endsAt)).toEqual([isoTime(T + 362_000), isoTime(T + 61_000)]);
    await stage.stop();
  });

  test('one that does not answer is tried again soon, and does not keep the other waiting', async () => {
    const [up, down] = [await receiver(), await receiver()];
    down.status = 503;
    const { clock, stage, context } = await start({ endpoints: [up.url, down.url] });
    await stage.consume(batch(alert('r0')));
    await clock.advance(1000);
    await until(() => expect([up.got.length, down.got.length]).toEqual([1, 1]));
    await until(() => expect(context.statuses.at(-1)?.status).toBe('recoverable_error'));
    down.status = 200;
    await until(() => expect(clock.pending()).toBe(1));
    await clock.advance(5000);
    await until(() => expect(down.got.length).toBe(2));
    await until(() => expect(context.statuses.at(-1)?.status).toBe('ok'));
    await stage.stop();
  });

  test('what is kept quiet is not sent, and an alert that nobody says any more ends', async () => {
    const a = await receiver();
    const { clock, stage } = await start({ endpoints: [a.url], forget_after: '2m' });
    await stage.consume(batch(alert('r0', { suppressed: 'silence: x' }), alert('r1')));
    await clock.advance(1000);
    await until(() => expect(a.got.length).toBe(1));
    expect(a.got[0]?.body.map((x) => x.labels['replica'])).toEqual(['r1']);
    for (let i = 2; i < 5; i++) {
      await until(() => expect(clock.pending()).toBe(1));
      await clock.advance(60_000);
      await until(() => expect(a.got.length).toBe(i));
    }
    expect(a.got.at(-1)?.body.map((x) => x.endsAt)).toEqual([isoTime(T + 121_000)]);
    await stage.stop();
  });

  test('what is new when the daemon stops is still sent; what cannot be is counted', async () => {
    const a = await receiver();
    const first = await start({ endpoints: [a.url] });
    await first.stage.consume(batch(alert('r0')));
    await first.stage.stop();
    expect(a.got.length).toBe(1);
    a.status = 500;
    const second = await start({ endpoints: [a.url], max_alerts: 1 });
    await second.stage.consume(batch(alert('r0'), alert('r1')));
    await second.stage.stop();
    expect(second.context.measured.drops).toEqual([
      { signal: 'logs', items: 1, reason: 'limit' },
      { signal: 'logs', items: 1, reason: 'shutdown' },
    ]);
  });

  test('an end that could not be moved on in time is a mistake of the config', () => {
    const config = resolve(alertmanagerExporter.config, { resend_interval: '5m', resolve_after: '6m' });
    expect(alertmanagerExporter.validate!(config).map((m) => m.path)).toEqual([['resolve_after']]);
  });
});
