import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { healthCheck } from '../../extensions/health_check/index.ts';
import type { ComponentStatus, Host, Running } from '../../pipeline/component.ts';
import { type ManualClock, manualClock } from '../../pipeline/kit/clock.ts';
import { testContext } from '../kit/harness.ts';

type State = ReturnType<Host['state']>;

/** A graph of two pipelines that does what a test says. */
function fakeHost(clock: ManualClock) {
  let state: State = 'running';
  const components = [
    { kind: 'extension' as const, id: 'health_check', pipelines: [] as string[] },
    { kind: 'exporter' as const, id: 'otlp_http', pipelines: ['metrics', 'logs/2'] },
    { kind: 'receiver' as const, id: 'vllm', pipelines: ['metrics'] },
    { kind: 'receiver' as const, id: 'otlp', pipelines: ['logs/2'] },
  ].map((c) => ({ ...c, status: 'ok' as ComponentStatus, message: '', since: clock.now() }));
  const host: Host = { state: () => state, components: () => components };
  return {
    host,
    state(next: State) {
      state = next;
    },
    set(id: string, status: ComponentStatus, message = '') {
      Object.assign(components.find((c) => c.id === id)!, { status, message, since: clock.now() });
    },
  };
}

const open: Running[] = [];
afterEach(async () => {
  for (const running of open.splice(0)) await running.stop();
});

async function started(options: Record<string, unknown> = {}) {
  const clock = manualClock();
  const graph = fakeHost(clock);
  const context = testContext({ kind: 'extension', id: 'health_check', clock });
  const config = resolve(healthCheck.config, { endpoint: '127.0.0.1:0', ...options });
  const running = await healthCheck.start(config, context, graph.host);
  open.push(running);
  const url = String(context.log.records.find((r) => r.fields['url'])?.fields['url']);
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(url + path, init);
    const text = await response.text();
    return { status: response.status, text, body: text.startsWith('{') ? JSON.parse(text) : undefined };
  };
  return { ...graph, clock, running, get };
}

describe('health_check', () => {
  it('answers 503 while the daemon starts, 200 while it runs, 503 while it stops', async () => {
    const { state, get } = await started();
    state('starting');
    expect((await get('/')).status).toBe(503);
    expect((await get('/status')).body).toMatchObject({ healthy: false, status: 'StatusStarting' });
    state('running');
    expect(await get('/')).toMatchObject({ status: 200, body: { status: 'Server available' } });
    expect((await get('/status')).body).toMatchObject({ healthy: true, status: 'StatusOK' });
    state('stopping');
    expect(await get('/')).toMatchObject({ status: 503, body: { status: 'Server not available' } });
    expect((await get('/status?pipeline=metrics')).status).toBe(503);
  });

  it('stays 200 while a reload restarts parts, and when a backend is away: that is no reason to restart the daemon', async () => {
    const { set, get, clock } = await started();
    set('vllm', 'starting');
    set('otlp_http', 'recoverable_error', 'the backend answers 503');
    await clock.advance(3_600_000);
    expect((await get('/')).status).toBe(200);
    expect((await get('/status')).body).toMatchObject({
      healthy: true,
      status: 'StatusRecoverableError',
      error: 'the backend answers 503',
    });
  });

  it('tells pipelines apart, each with its components where it is asked for them', async () => {
    const { set, get } = await started();
    set('otlp', 'permanent_error', 'port taken');
    expect((await get('/status?pipeline=metrics')).body).toMatchObject({ healthy: true, status: 'StatusOK' });
    const logs = (await get('/status?pipeline=logs/2&verbose')).body;
    expect(logs.status).toBe('StatusPermanentError');
    expect(Object.keys(logs.components)).toEqual(['exporter:otlp_http', 'receiver:otlp']);
    expect(logs.components['receiver:otlp']).toMatchObject({ status: 'StatusPermanentError', error: 'port taken' });
    expect((await get('/status')).body.components).toBeUndefined();
    const all = (await get('/status?verbose')).body;
    expect(Object.keys(all.components)).toEqual(['extensions', 'pipeline:metrics', 'pipeline:logs/2']);
    expect((await get('/status?pipeline=nope')).status).toBe(404);
  });

  it('counts errors of components where it is told to', async () => {
    const { set, get, clock } = await started({
      component_health: {
        include_permanent_errors: true,
        include_recoverable_errors: true,
        recovery_duration: '1m',
      },
    });
    set('otlp_http', 'recoverable_error', 'connection refused');
    await clock.advance(59_000);
    expect((await get('/')).status).toBe(200);
    await clock.advance(1000);
    expect((await get('/')).status).toBe(503);
    set('otlp_http', 'ok');
    expect((await get('/')).status).toBe(200);
    set('otlp', 'permanent_error');
    expect((await get('/')).status).toBe(503);
    expect((await get('/status?pipeline=metrics')).status).toBe(200);
    expect((await get('/status?pipeline=logs/2')).status).toBe(503);
  });

  it('answers with the bodies and at the paths that the config names', async () => {
    const { get, state } = await started({
      path: '/healthz',
      response_body: { healthy: 'yes', unhealthy: 'no' },
      status: { enabled: false },
    });
    expect(await get('/healthz')).toMatchObject({ status: 200, text: 'yes' });
    state('stopping');
    expect(await get('/healthz')).toMatchObject({ status: 503, text: 'no' });
    expect((await get('/status')).status).toBe(404);
    expect((await get('/')).status).toBe(404);
  });

  it('only answers questions', async () => {
    const { get } = await started();
    expect((await get('/', { method: 'POST' })).status).toBe(405);
    expect((await get('/', { method: 'HEAD' })).status).toBe(200);
  });

  it('says which endpoint it could not listen on', async () => {
    const { running } = await started();
    await running.stop();
    const clock = manualClock();
    const context = testContext({ kind: 'extension', clock });
    const config = resolve(healthCheck.config, { endpoint: '192.0.2.1:1' });
    await expect(healthCheck.start(config, context, fakeHost(clock).host)).rejects.toThrow('192.0.2.1:1');
  });
});
