import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { liveExporter } from '../../../exporters/live/index.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import type { LiveSnapshot } from '../../../pipeline/kit/live-types.ts';
import { findingRecord, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import {
  type Batch,
  gauge,
  logsBatch,
  metricsBatch,
  nanosFromMs,
  resource,
  type Series,
  scope,
  sum,
} from '../../../pipeline/model.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { aFinding, anIncident, GPU } from '../../kit/incident.ts';

const open: Stage[] = [];
afterEach(async () => {
  for (const stage of open.splice(0)) await stage.stop(AbortSignal.abort());
});

async function started(options: Record<string, unknown> = {}) {
  const context = testContext({ kind: 'exporter', id: 'live', clock: systemClock });
  const stage = await liveExporter.start(
    resolve(liveExporter.config, { endpoint: '127.0.0.1:0', interval: '500ms', ...options }),
    context,
  );
  open.push(stage);
  const url = String(context.log.records.find((r) => r.fields['url'])?.fields['url']);
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(url + path, init);
    const text = await response.text();
    return { response, status: response.status, text, body: text.startsWith('{') ? JSON.parse(text) : undefined };
  };
  return { stage, url, get, context, give: async (batch: Batch) => stage.consume(deepFreeze(batch)) };
}

const about = (attributes: Record<string, string>) => resource(attributes);
const made = (attributes: Record<string, string>, metric: Series['metric'], own = {}): Series => ({
  resource: about(attributes),
  scope: scope('test'),
  metric,
  attributes: own,
});
const at = (series: Series, value: number, ago = 0) => ({
  series,
  time: nanosFromMs(Date.now() - ago),
  startTime: 0n,
  flags: 0,
  value,
});

const R1 = { 'service.name': 'chat', 'service.instance.id': 'r1', 'host.name': 'n1', 'inference.engine': 'vllm' };
const GPU3 = { 'hw.id': 'GPU-3', 'host.name': 'n1' };
function aMoment(): Batch {
  const tokens = made(R1, sum('inference.tokens.generated', '{token}'));
  return metricsBatch([
    at(made(R1, gauge('up', '1')), 1),
    at(made(R1, gauge('inference.requests.running', '{request}')), 12),
    at(made(R1, gauge('inference.requests.waiting', '{request}')), 3),
    at(made(R1, gauge('inference.kv.usage', '1')), 0.83),
    at(tokens, 1000, 4000),
    at(tokens, 3000),
    at(made(GPU3, gauge('hw.gpu.clock', 'Hz'), { clock: 'sm' }), 1.41e9),
    at(made(GPU3, gauge('hw.gpu.clock', 'Hz'), { clock: 'mem' }), 2.6e9),
    at(made(GPU3, gauge('hw.temperature', 'Cel')), 91),
  ]);
}
const anOpenIncident = (over = {}) =>
  logsBatch([findingRecord(aFinding(), Date.now()), incidentRecord(anIncident(over), Date.now())]);

describe('live exporter', () => {
  it('answers the state of now: replicas, GPUs, incidents, and one sentence', async () => {
    const { give, get } = await started();
    await give(aMoment());
    await give(anOpenIncident());
    const { body } = (await get('/api/v1/state')) as { body: LiveSnapshot };
    expect(body).toMatchObject({
      schema: 'enginelight.live/v1',
      worst: 'critical',
      verdict: 'Replica r1, rank 3, GPU-3: clock 1,410 of 1,980 MHz (thermal).',
      counts: { replicas: 1, gpus: 1, open: 1, findings: 1 },
      services: [{ id: 'chat', replicas: 1, running: 12, waiting: 3, incidents: 1 }],
      replicas: [{ id: 'r1', up: true, running: 12, waiting: 3, kv: 0.83, output_rate: 500, trouble: 'critical' }],
      gpus: [{ id: 'GPU-3', node: 'n1', clock: 1.41e9, temperature: 91, trouble: 'critical' }],
      incidents: [{ id: 'inc-1', root: { detector: 'thermal-throttle', entity: { id: 'GPU-3' } } }],
    });
  });

  it('answers an incident with its evidence, as JSON and as a page', async () => {
    const { give, get } = await started();
    await give(anOpenIncident());
    const { body } = await get('/api/v1/incidents/inc-1');
    expect(body).toMatchObject({
      schema: 'enginelight.report/v1',
      findings: [{ evidence: [{ signal: 'hw.gpu.clock' }] }],
    });
    const page = await get('/api/v1/incidents/inc-1/report');
    expect(page.text).toContain('Replica r1, rank 3');
    expect(page.response.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect((await get('/api/v1/incidents?state=resolved')).body).toEqual({ total: 0, incidents: [] });
    expect((await get('/api/v1/findings?entity=r1')).body).toMatchObject({ total: 1, findings: [{ id: 'f1' }] });
    expect((await get('/api/v1/findings?entity=r9')).body.total).toBe(0);
  });

  it('answers one entity, and what its signals did', async () => {
    const { give, get } = await started();
    await give(aMoment());
    await give(anOpenIncident());
    const gpu = (await get(`/api/v1/entities/gpu/${GPU.id}`)).body;
    expect(gpu.incidents).toMatchObject([{ id: 'inc-1' }]);
    expect(gpu.signals.map((s: { signal: string }) => s.signal)).toContain('hw.gpu.clock');
    const series = (await get('/api/v1/signals?name=inference.kv.usage&kind=replica&id=r1')).body;
    expect(series).toMatchObject({ unit: '1', series: [{ entity: { replica: 'r1' }, kind: 'level' }] });
    expect(series.series[0].values.at(-1)).toBe(0.83);
    expect((await get('/api/v1/signals')).body.signals).toContain('hw.temperature');
  });

  it('says what is wrong with a question', async () => {
    const { get } = await started();
    const wrong = async (path: string) => {
      const { status, body } = await get(path);
      return [status, body.error];
    };
    expect(await wrong('/api/v1/incidents/none')).toEqual([404, expect.stringContaining('no such incident')]);
    expect(await wrong('/api/v1/incidents?state=maybe')).toEqual([400, 'state must be one of open, resolved']);
    expect(await wrong('/api/v1/findings?limit=1e9')).toEqual([400, expect.stringContaining('from 1 to 1000')]);
    expect(await wrong('/api/v1/signals?name=x&from=yesterday')).toEqual([
      400,
      expect.stringContaining('from must be'),
    ]);
    expect(await wrong('/api/v1/signals?name=x&kind=gpu')).toEqual([400, expect.stringContaining('go together')]);
    expect(await wrong('/api/v1/entities/gpu/none')).toEqual([404, expect.stringContaining('no such entity')]);
    expect(await wrong('/api/v1/entities/cat/tom')).toEqual([404, expect.stringContaining('no kind of entity')]);
    expect(await wrong('/api/v1/incidents/%zz')).toEqual([400, expect.stringContaining('%')]);
    expect(await wrong('/api/v1/nothing')).toEqual([404, expect.stringContaining('/api/v1/state')]);
  });

  it('only reads, and only for names of this machine and pages of its own', async () => {
    const { get, url, context } = await started();
    expect((await get('/api/v1/state', { method: 'POST', body: 'x' })).status).toBe(405);
    expect((await get('/api/v1/state', { method: 'DELETE' })).status).toBe(405);
    const { request } = await import('node:http');
    const status = (headers: Record<string, string>) =>
      new Promise<number>((done, failed) =>
        request(`${url}/api/v1/state`, { headers }, (r) => done(r.resume().statusCode!))
          .on('error', failed)
          .end(),
      );
    expect(await status({ host: 'evil.example:13134' })).toBe(403);
    expect(await status({ host: 'localhost:1' })).toBe(200);
    expect(await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' })).toBe(403);
    expect(await status({ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' })).toBe(200);
    const logged = () => context.log.records.filter((r) => r.message === 'A request was answered.');
    await expect.poll(() => logged().length).toBe(6);
    expect(logged()[0]!.fields).toMatchObject({ method: 'POST', path: '/api/v1/state', status: 405 });
  });

  it('asks for credentials where they are configured', async () => {
    const { get } = await started({ auth: { bearer_token: 'open sesame' } });
    expect((await get('/api/v1/state')).status).toBe(401);
    expect((await get('/api/v1/state', { headers: { authorization: 'Bearer open sesame' } })).status).toBe(200);
  });

  it('sends the state again and again to whoever follows it, up to a number of them', async () => {
    const { give, url, get, context } = await started({ max_watchers: 1 });
    await give(aMoment());
    const gone = new AbortController();
    const response = await fetch(`${url}/api/v1/events`, { signal: gone.signal });
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    expect((await get('/api/v1/events')).status).toBe(503);
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (text.split('event: state').length < 3) text += (await reader.read()).value ?? '';
    const states = text.split('\n').filter((line) => line.startsWith('data: '));
    expect(JSON.parse(states[0]!.slice(6))).toMatchObject({ replicas: [{ id: 'r1' }] });
    gone.abort();
    await expect.poll(() => context.measured.gauges.get('exporter_live_watchers')?.()).toBe(0);
  });

  it('stops while somebody follows', async () => {
    const { stage, url } = await started();
    const response = await fetch(`${url}/api/v1/events`);
    await stage.stop();
    await expect(response.text()).resolves.toContain('retry:');
  });

  it('shows those with trouble when there are too many to show', async () => {
    const { give, get } = await started({ max_rows: 2 });
    const running = gauge('inference.requests.running', '{request}');
    await give(
      metricsBatch(
        Array.from({ length: 50 }, (_, i) => at(made({ ...R1, 'service.instance.id': `a${i}` }, running), i)),
      ),
    );
    await give(aMoment());
    await give(anOpenIncident());
    const { body } = (await get('/api/v1/state')) as { body: LiveSnapshot };
    expect(body.replicas[0]!.id).toBe('r1');
    expect(body.omitted.replicas).toBe(49);
  });

  it('sends names of any length and content as short text', async () => {
    const { give, get } = await started();
    const evil = `<img src=x onerror=alert(1)>\x1b[2J${'y'.repeat(100_000)}`;
    const running = gauge('inference.requests.running', '{request}');
    await give(metricsBatch([at(made({ 'service.instance.id': evil, 'service.name': evil }, running), 1)]));
    await give(anOpenIncident({ service: evil.slice(0, 100), summary: evil }));
    const { text, body } = await get('/api/v1/state');
    expect(body.replicas[0].id).toContain('<img');
    expect(text.length).toBeLessThan(8_000);
    expect((await get('/api/v1/incidents/inc-1/report')).text).not.toContain('<img');
  });
});
