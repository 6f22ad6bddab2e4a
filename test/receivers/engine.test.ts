import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../config/catalog.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import type { TargetLabels } from '../../pipeline/kit/discovery/discovery.ts';
import { memoryLogger } from '../../pipeline/kit/log.ts';
import { isStale } from '../../pipeline/model.ts';
import { engineReceiver } from '../../receivers/engine/index.ts';
import { onLoopback, usualPorts } from '../../receivers/engine/loopback.ts';
import { candidatePaths } from '../../receivers/engine/probe.ts';
import { resourceOf, scraping, shown } from '../kit/scraping.ts';
import { fakeTarget, freePort, pages, until } from '../kit/targets.ts';

const VLLM = '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 1\n';
const SGLANG = '# TYPE sglang:num_running_reqs gauge\nsglang:num_running_reqs 2\n';
const TRTLLM = '# TYPE trtllm_request_success_total counter\ntrtllm_request_success_total 3\n';
const NODE = '# TYPE node_load1 gauge\nnode_load1 4\n';

describe('engine receiver', () => {
  it('tries the paths of single engines before the one that all share', () => {
    const paths = candidatePaths(loadCatalog());
    expect(paths).toContain('/prometheus/metrics');
    expect(paths.at(-1)).toBe('/metrics');
    expect(usualPorts(loadCatalog())).toEqual(expect.arrayContaining([8000, 30000, 3000, 9090]));
  });

  it.each([
    ['vllm', { '/metrics': VLLM }],
    ['sglang', { '/metrics': SGLANG }],
    ['trtllm', { '/prometheus/metrics': TRTLLM, '/metrics': '[]' }],
  ])('recognises %s by itself, once, and then only scrapes', async (engine, byPath) => {
    const t = await fakeTarget(pages(byPath as Record<string, string>));
    const s = await scraping(engineReceiver, { targets: [`127.0.0.1:${t.port}`] });
    const points = await s.round();
    expect(resourceOf(points)).toMatchObject({ 'inference.engine': engine, 'service.name': 'engine' });
    expect(shown(points)).toHaveLength(1);
    const asked = t.asked.length;
    await s.round();
    await s.round();
    expect(t.asked.length).toBe(asked + 2);
  });

  it('does not touch /metrics of trtllm-serve, which hands out records once', async () => {
    const t = await fakeTarget(
      pages({
        '/openapi.json': '{"paths": {"/metrics": {}, "/perf_metrics": {}, "/v1/models": {}}}',
        '/metrics': '[{"iter": 1}]',
      }),
    );
    const s = await scraping(engineReceiver, { targets: [t.url] });
    for (let i = 0; i < 3; i++) await s.round();
    expect(t.asked.map((a) => a.url)).not.toContain('/metrics');
    expect(s.warnings()).toEqual([expect.stringContaining('set return_perf_metrics: true')]);
    // Once it is switched on, it is found.
    t.answer(pages({ '/prometheus/metrics': TRTLLM }));
    expect(resourceOf(await s.round())).toMatchObject({ 'inference.engine': 'trtllm' });
  });

  it('recognises anew what comes back after a restart', async () => {
    const t = await fakeTarget(pages({ '/metrics': VLLM }));
    const s = await scraping(engineReceiver, { targets: [t.url] });
    expect(resourceOf(await s.round())).toMatchObject({ 'inference.engine': 'vllm' });
    await t.close();
    await s.round();
    const next = await fakeTarget(pages({ '/prometheus/metrics': TRTLLM }), undefined, t.port);
    const points = await s.round();
    expect(shown(points)).toEqual(['trtllm_request_success_total{} 3']);
    expect(resourceOf(points)).toMatchObject({ 'inference.engine': 'trtllm' });
    // And where it changed between two scrapes.
    next.answer(pages({ '/prometheus/metrics': SGLANG }));
    const changed = await s.round();
    expect(changed.filter((p) => !isStale(p))[0]!.series.resource.attributes['inference.engine']).toBe('sglang');
  });

  it('scrapes what is no engine, where a target was given, and says nothing about an engine', async () => {
    const t = await fakeTarget(pages({ '/metrics': NODE }));
    const s = await scraping(engineReceiver, { targets: [t.url] });
    const points = await s.round();
    expect(shown(points)).toEqual(['node_load1{} 4']);
    expect('inference.engine' in points[0]!.series.resource.attributes).toBe(false);
  });

  it('asks just for the path that a target names', async () => {
    const t = await fakeTarget(pages({ '/team/metrics': VLLM }));
    const s = await scraping(engineReceiver, { targets: [`${t.url}/team/metrics`] });
    expect(resourceOf(await s.round())).toMatchObject({ 'inference.engine': 'vllm' });
    expect(t.asked.map((a) => a.url)).toEqual(['/team/metrics']);
  });

  it('says what it looked for where there is nothing of the kind', async () => {
    const t = await fakeTarget(pages({}));
    const s = await scraping(engineReceiver, { targets: [t.url] });
    await s.round();
    await s.round();
    expect(s.warnings()).toEqual([expect.stringContaining('HTTP status 404')]);
  });
});

describe('engines on this machine', () => {
  async function look(ports: number[]) {
    const clock = manualClock();
    const log = memoryLogger();
    const updates: (readonly TargetLabels[])[] = [];
    const problems: (string | undefined)[] = [];
    const running = await onLoopback({ catalog: loadCatalog(), timeoutMs: 4000, ports })((t) => updates.push(t), {
      clock,
      log,
      problem: (p) => problems.push(p),
    });
    const asked = () => until('a look around', () => problems.length > 0);
    return { clock, log, updates, problems, running, asked };
  }

  it('are found at their ports, others are left alone, and who comes later is found later', async () => {
    const engine = await fakeTarget(pages({ '/metrics': VLLM }));
    const node = await fakeTarget(pages({ '/metrics': NODE }));
    const later = await freePort();
    const l = await look([engine.port, node.port, later]);
    await l.asked();
    expect(l.updates).toEqual([[{ __address__: `127.0.0.1:${engine.port}` }]]);
    expect(l.problems).toEqual([undefined]);
    const before = [engine.asked.length, node.asked.length];
    await fakeTarget(pages({ '/metrics': SGLANG }), undefined, later);
    await l.clock.advance(15_000);
    await until('the second engine', () => l.updates.length === 2);
    expect(l.updates[1]).toHaveLength(2);
    // Neither the one that is found nor the one that is no engine was asked again.
    expect([engine.asked.length, node.asked.length]).toEqual(before);
    await l.running.stop();
  });

  it('are missed with a message that says where it looked', async () => {
    const port = await freePort();
    const l = await look([port]);
    await l.asked();
    expect(l.problems.at(-1)).toBe(`no engine answers on this machine (ports ${port}): set targets`);
    await l.running.stop();
    expect(l.clock.pending()).toBe(0);
  });
});
