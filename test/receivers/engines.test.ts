import { describe, expect, it } from 'vitest';
import { loadCatalog, sourceByName } from '../../config/catalog.ts';
import type { ReceiverDefinition } from '../../pipeline/component.ts';
import { dynamoReceiver } from '../../receivers/dynamo/index.ts';
import { llmDReceiver } from '../../receivers/llm_d/index.ts';
import { lmcacheReceiver } from '../../receivers/lmcache/index.ts';
import { sglangReceiver } from '../../receivers/sglang/index.ts';
import { tgiReceiver } from '../../receivers/tgi/index.ts';
import { trtllmReceiver } from '../../receivers/trtllm/index.ts';
import { pageFromIterations } from '../../receivers/trtllm/iterations.ts';
import { vllmReceiver } from '../../receivers/vllm/index.ts';
import { apiServer, pod } from '../kit/api-server.ts';
import { resourceOf, scraping, shown } from '../kit/scraping.ts';
import { fakeTarget, page, pages } from '../kit/targets.ts';

// biome-ignore lint/suspicious/noExplicitAny: receivers of every config type
const engines: [ReceiverDefinition<any>, string][] = [
  [vllmReceiver, '/metrics'],
  [sglangReceiver, '/metrics'],
  [dynamoReceiver, '/metrics'],
  [llmDReceiver, '/metrics'],
  [lmcacheReceiver, '/metrics'],
  [trtllmReceiver, '/prometheus/metrics'],
  [tgiReceiver, '/metrics'],
];

describe.each(engines.map(([definition, path]) => ({ type: definition.type, definition, path })))('$type receiver', ({
  type,
  definition,
  path,
}) => {
  it('needs only an address: the engine’s path and name go without saying', async () => {
    const t = await fakeTarget(pages({ [path]: 'a 1\n' }));
    const s = await scraping(definition, {
      targets: [t.url, { url: `127.0.0.1:${t.port}`, labels: { replica: 'r' } }],
    });
    const points = await s.round(2);
    expect(shown(points)).toEqual(['a{} 1', 'a{} 1']);
    expect(t.asked.map((a) => `${a.method} ${a.url}`)).toEqual([`GET ${path}`, `GET ${path}`]);
    expect(resourceOf(points)).toMatchObject({ 'inference.engine': type, 'service.name': type });
    expect(new Set(points.map((p) => p.series.resource.attributes['service.instance.id']))).toEqual(
      new Set([`127.0.0.1:${t.port}`, 'r']),
    );
    expect(points[0]!.series.scope.name).toBe(`enginelight/receivers/${type}`);
  });

  it('is known to the catalogue', () => {
    expect(sourceByName(loadCatalog(), type)).toMatchObject({ engine: type });
  });
});

describe('receivers of engines', () => {
  it('look at the usual port of this machine when they are given nothing', async () => {
    const s = await scraping(vllmReceiver, {});
    expect(s.context.log.records).toEqual([]);
    await s.begin();
    await s.running.stop(AbortSignal.abort());
  });

  it('say so when there is no usual port', async () => {
    const s = await scraping(lmcacheReceiver, {});
    expect(s.context.statuses.at(-1)).toEqual({
      status: 'permanent_error',
      message: 'lmcache has nothing to scrape: set targets',
    });
    await s.running.stop();
  });

  it('refuse a path that is no page of metrics, with a hint, and ask for nothing', async () => {
    const t = await fakeTarget(page('a 1\n'));
    const s = await scraping(vllmReceiver, { targets: [`${t.url}/collective_rpc`] });
    await s.round();
    expect(t.asked).toEqual([]);
    expect(s.context.log.records[0]!.fields).toMatchObject({
      reason: 'forbidden',
      error: '/collective_rpc is not on the list of paths that may be asked for',
      hint: expect.stringContaining('Engines change state on some paths'),
    });
  });

  it('take pods at their usual port, named after the pod', async () => {
    const t = await fakeTarget(pages({ '/metrics': 'a 1\n' }));
    const api = await apiServer();
    api.put(
      pod('vllm-0', {
        status: { podIP: '127.0.0.1' },
        spec: { nodeName: 'n1', containers: [{ name: 'engine', ports: [{ name: 'web', containerPort: t.port }] }] },
      }),
    );
    const s = await scraping(vllmReceiver, {
      kubernetes_sd_configs: [
        { api_server: api.url, namespaces: { names: ['prod'] }, selectors: [{ label: 'app=vllm' }], port: 'web' },
      ],
    });
    await s.meanwhile('a scrape', () => s.out.batches.length > 0, 1000);
    expect(resourceOf(s.out.points())).toMatchObject({
      'service.name': 'vllm',
      'service.instance.id': 'vllm-0',
      'k8s.pod.name': 'vllm-0',
      'host.name': 'n1',
      'inference.engine': 'vllm',
    });
    expect(api.asked[0]!.url).toContain('labelSelector=app%3Dvllm');
  });

  it('tell the role that names give away, unless a label says another', async () => {
    const t = await fakeTarget(page('# TYPE smg_http_requests_total counter\nsmg_http_requests_total 1\n'));
    const s = await scraping(sglangReceiver, { targets: [t.url] });
    expect(resourceOf(await s.round())).toMatchObject({ 'inference.engine': 'sglang', 'inference.role': 'router' });
    const told = await scraping(sglangReceiver, { targets: [{ url: t.url, labels: { role: 'frontend' } }] });
    expect(resourceOf(await told.round())).toMatchObject({ 'inference.role': 'frontend' });
  });
});

describe('iteration records of trtllm-serve', () => {
  const record = {
    iter: 7,
    timestamp: 'x',
    kvCacheStats: { freeNumBlocks: 12, nested: { list: [1] } },
    kvCacheIterationStats: { '4096': { usedNumBlocks: 3 } },
  };

  it('are read only where a target names /metrics, and become gauges', async () => {
    const t = await fakeTarget(page(JSON.stringify([{ iter: 6 }, record]), 'application/json'));
    const s = await scraping(trtllmReceiver, { targets: [`${t.url}/metrics`] });
    expect(shown(await s.round())).toEqual([
      'json:iter{} 7',
      'json:kvCacheStats.freeNumBlocks{} 12',
      'json:kvCacheIterationStats.*.usedNumBlocks{window=4096} 3',
    ]);
    const usual = await scraping(trtllmReceiver, { targets: [t.url] });
    await usual.round();
    expect(t.asked.at(-1)!.url).toBe('/prometheus/metrics');
  });

  it('that are none, or broken, are left to the reader of pages', () => {
    const of = (text: string) => pageFromIterations(Buffer.from(text))?.toString();
    expect(of('a 1\n')).toBeUndefined();
    expect(of('[{"iter": 1')).toBeUndefined();
    expect(of('{"iter": 1}')).toBeUndefined();
    expect(of('[]')).toBe('\n');
    expect(of('[null]')).toBe('\n');
  });
});
