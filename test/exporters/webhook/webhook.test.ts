import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { webhookExporter } from '../../../exporters/webhook/index.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { type Alert, alertRecord, isoTime } from '../../../pipeline/kit/verdict.ts';
import { logsBatch } from '../../../pipeline/model.ts';
import { testContext } from '../../kit/harness.ts';

const T = Date.UTC(2026, 0, 3);
const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

interface Posted {
  readonly status: string;
  readonly groupLabels: Record<string, string>;
  readonly commonLabels: Record<string, string>;
  readonly alerts: { readonly status: string; readonly labels: Record<string, string>; readonly endsAt: string }[];
}

async function start(options: object = {}) {
  const got: Posted[] = [];
  const state = { status: 200 };
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      got.push(JSON.parse(text));
      response.writeHead(state.status).end();
    });
  });
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const clock = manualClock(T);
  const context = testContext({ kind: 'exporter', clock });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  const stage = await webhookExporter.start(resolve(webhookExporter.config, { url, ...options }), context);
  /** Moves the clock once the exporter waits for it, and not for an answer. */
  const advance = async (ms: number) => {
    await vi.waitFor(() => expect(clock.pending()).toBeLessThan(2), { timeout: 10_000 });
    await clock.advance(ms);
  };
  const posts = (n: number) => vi.waitFor(() => expect(got.length).toBe(n), { timeout: 10_000 });
  const shown = (post: Posted | undefined) => post?.alerts.map((a) => `${a.labels['replica']} ${a.status}`);
  return { got, state, clock, context, stage, advance, posts, shown };
}

const say = (stage: { consume(batch: ReturnType<typeof logsBatch>): unknown }, ...alerts: Alert[]) =>
  stage.consume(logsBatch(alerts.map((a) => alertRecord(a, { kind: 'replica', id: a.labels['replica']! }, T))));
const alert = (replica: string, more: Partial<Alert> & { service?: string } = {}): Alert => {
  const { service = 'chat', ...rest } = more;
  const severity = rest.severity ?? 'warning';
  return {
    name: 'Full',
    severity,
    labels: { alertname: 'Full', severity, service, replica },
    starts_at: isoTime(T),
    ends_at: null,
    annotations: {},
    ...rest,
  };
};

describe('webhook', () => {
  test('what breaks together is posted together, by group', async () => {
    const w = await start();
    await say(w.stage, alert('r0'), alert('r9', { service: 'other' }));
    await w.advance(10_000);
    await say(w.stage, alert('r1'));
    expect(w.got).toEqual([]);
    await w.advance(5000);
    await w.posts(2);
    const chat = w.got.find((p) => p.groupLabels['service'] === 'chat');
    expect(w.shown(chat)).toEqual(['r0 firing', 'r1 firing']);
    expect(chat).toMatchObject({
      version: '4',
      status: 'firing',
      groupKey: '{}:{alertname="Full", service="chat"}',
      groupLabels: { service: 'chat', alertname: 'Full' },
      commonLabels: { alertname: 'Full', severity: 'warning', service: 'chat' },
      truncatedAlerts: 0,
    });
    expect(chat?.commonLabels['replica']).toBeUndefined();
    await w.stage.stop();
  });

  test('news of a group wait for its interval, ends are told once, and a quiet group is repeated', async () => {
    const w = await start({ group_interval: '1m', repeat_interval: '10m', forget_after: '1h' });
    await say(w.stage, alert('r0'), alert('r1'));
    await w.advance(15_000);
    await w.posts(1);
    await w.advance(1000);
    await say(w.stage, alert('r1', { ends_at: isoTime(T + 16_000) }));
    await w.advance(58_000);
    expect(w.got.length).toBe(1);
    await w.advance(1000);
    await w.posts(2);
    expect(w.shown(w.got[1])).toEqual(['r0 firing', 'r1 resolved']);
    await w.advance(600_000);
    await w.posts(3);
    expect(w.shown(w.got[2])).toEqual(['r0 firing']);
    await say(w.stage, alert('r0', { ends_at: isoTime(T + 700_000) }));
    await w.advance(60_000);
    await w.posts(4);
    expect(w.got[3]?.status).toBe('resolved');
    await w.advance(3_600_000);
    expect(w.got.length).toBe(4);
    await w.stage.stop();
  });

  test('a post that fails is tried again and loses nothing', async () => {
    const w = await start();
    w.state.status = 503;
    await say(w.stage, alert('r0'));
    await w.advance(15_000);
    await w.posts(1);
    await vi.waitFor(() => expect(w.context.statuses.at(-1)?.status).toBe('recoverable_error'));
    w.state.status = 200;
    await w.advance(15_000);
    await w.posts(2);
    expect(w.shown(w.got[1])).toEqual(['r0 firing']);
    await w.stage.stop();
  });

  test('what is kept quiet, too mild, or over before it was told, is not posted', async () => {
    const w = await start();
    await say(w.stage, alert('r0', { suppressed: 'silence: x' }), alert('r1', { severity: 'info' }));
    await say(w.stage, alert('r2', { service: 'short' }));
    await say(w.stage, alert('r2', { service: 'short', ends_at: isoTime(T + 1000) }));
    await w.advance(15_000);
    await w.advance(60_000);
    expect(w.got).toEqual([]);
    await say(w.stage, alert('r0'));
    await w.advance(15_000);
    await w.posts(1);
    expect(w.shown(w.got[0])).toEqual(['r0 firing']);
    await w.stage.stop();
  });

  test('what cannot be told even then is counted', async () => {
    const { stage, state, context, clock } = await start();
    state.status = 503;
    await say(stage, alert('r0'), alert('r1'));
    const stopping = stage.stop(AbortSignal.timeout(5000));
    await clock.advance(0);
    await stopping;
    expect(context.measured.drops).toEqual([{ signal: 'logs', items: 2, reason: 'shutdown' }]);
  });

  test('what was not told yet is told when the daemon stops', async () => {
    const w = await start();
    await say(w.stage, alert('r0'));
    await w.stage.stop();
    expect(w.got.map(w.shown)).toEqual([['r0 firing']]);
  });
});
