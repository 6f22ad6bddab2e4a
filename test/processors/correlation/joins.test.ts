/** Who a signal is about: joins by uid, container, pod and GPU; what is not known is not joined. */
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { createTopology, WEAK } from '../../../pipeline/kit/topology.ts';
import { applyTopology } from '../../../pipeline/kit/topology-records.ts';
import { type Attributes, metricsBatch, resource, tracesBatch } from '../../../pipeline/model.ts';
import { correlation } from '../../../processors/correlation/index.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';
import { point, series, span } from '../items.ts';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

async function started(options: Record<string, unknown> = {}) {
  const context = testContext({ kind: 'processor' });
  const out = sink();
  const own = await correlation.start(resolve(correlation.config, options), out, context);
  stage = own;
  const clock = context.clock as ManualClock;
  return {
    clock,
    gauge: (name: string) => context.measured.gauges.get(name)?.(),
    /** Sends one point about these attributes and says what its resource became. */
    async says(name: string, about: Attributes, at: Attributes = {}): Promise<Attributes> {
      const before = out.points().length;
      await own.consume(metricsBatch([point(series(name, at, resource(about)))]));
      return out.points()[before]!.series.resource.attributes;
    },
    async collective(about: Attributes, attributes: Attributes): Promise<void> {
      await own.consume(tracesBatch([span('collective', attributes, resource(about))]));
    },
    /** The topology as a reader of what was published has it. */
    async published() {
      await clock.advance(15_000);
      const copy = createTopology();
      for (const record of out.logs()) applyTopology(copy, record, clock.now());
      return copy;
    },
  };
}

const RUNNING = 'inference.requests.running';
const TEMPERATURE = 'hw.temperature';
const vllm = (id: string, more: Attributes = {}): Attributes => ({
  'service.name': 'chat',
  'service.instance.id': id,
  'inference.engine': 'vllm',
  'inference.role': 'decode',
  'inference.pool': 'decode',
  ...more,
});

describe('a signal of somebody else', () => {
  it.each([
    ['uid', { 'k8s.pod.uid': 'u-1', 'k8s.pod.name': 'other', 'k8s.namespace.name': 'llm' }],
    ['container', { 'container.id': 'c'.repeat(64) }],
    ['pod', { 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'llm' }],
  ])('is put on the replica whose %s it names, with its service, role and pool', async (_key, about) => {
    const run = await started();
    await run.says(
      RUNNING,
      vllm('r0', {
        'k8s.pod.uid': 'u-1',
        'container.id': 'c'.repeat(64),
        'k8s.pod.name': 'chat-0',
        'k8s.namespace.name': 'llm',
      }),
    );
    expect(await run.says('container.memory.usage', { ...about, 'service.name': 'cadvisor' })).toMatchObject({
      ...about,
      'service.instance.id': 'r0',
      'service.name': 'chat',
      'inference.engine': 'vllm',
      'inference.role': 'decode',
      'inference.pool': 'decode',
    });
  });

  it('prefers the pod’s uid to its name, which can be used again', async () => {
    const run = await started();
    await run.says(RUNNING, vllm('old', { 'k8s.pod.uid': 'u-1', 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'a' }));
    await run.says(RUNNING, vllm('new', { 'k8s.pod.uid': 'u-2', 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'a' }));
    const about = { 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'a' };
    expect(await run.says('k8s.pod.uptime', { ...about, 'k8s.pod.uid': 'u-1' })).toMatchObject({
      'service.instance.id': 'old',
    });
    expect(await run.says('k8s.pod.uptime', about)).toMatchObject({ 'service.instance.id': 'new' });
  });

  it('of a pod with the same name in another namespace stays where it is', async () => {
    const run = await started();
    await run.says(RUNNING, vllm('a0', { 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'a' }));
    await run.says(RUNNING, vllm('b0', { 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': 'b' }));
    for (const [namespace, id] of [
      ['a', 'a0'],
      ['b', 'b0'],
    ] as const)
      expect(
        await run.says('k8s.pod.uptime', { 'k8s.pod.name': 'chat-0', 'k8s.namespace.name': namespace }),
      ).toMatchObject({ 'service.instance.id': id });
  });

  it('that shares only the node is not joined', async () => {
    const run = await started();
    await run.says(RUNNING, vllm('r0', { 'host.name': 'n1' }));
    const about = { 'host.name': 'n1', 'service.name': 'dcgm' };
    expect(await run.says(TEMPERATURE, about, { 'hw.id': 'GPU-a' })).toEqual(about);
    const copy = await run.published();
    const gpu = copy.get('gpu', 'GPU-a')!;
    expect(gpu.up).toEqual([]);
    for (const r of copy.related(gpu, 'replica')) expect(r.confidence).toBeLessThan(WEAK);
  });

  it('is joined later, when who it is about becomes known', async () => {
    const run = await started();
    const about = { 'k8s.pod.uid': 'u-9' };
    expect(await run.says('k8s.pod.cpu.time', about)).toEqual(about);
    await run.says(RUNNING, vllm('r9', { 'k8s.pod.uid': 'u-9' }));
    expect(await run.says('k8s.pod.cpu.time', about)).toMatchObject({ 'service.instance.id': 'r9' });
  });
});

describe('a GPU', () => {
  const hook = (tp: number, gpu: string, replica = 'r0') =>
    vllm(replica, { 'inference.rank.tp': tp, 'hw.id': gpu, 'host.name': 'n1' });

  it('is its rank’s and replica’s as soon as a hook says so, whoever measures it', async () => {
    const run = await started();
    const exporter = { 'host.name': 'n1', 'service.name': 'dcgm', 'service.instance.id': 'n1:9400' };
    await run.says('inference.hook.alive', hook(3, 'GPU-d'));
    expect(await run.says(TEMPERATURE, exporter, { 'hw.id': 'GPU-d' })).toMatchObject({
      'service.instance.id': 'r0',
      'service.name': 'chat',
      'inference.rank.tp': 3,
    });
  });

  it('of one exporter is put on one replica each, by the pod that each series names', async () => {
    const run = await started();
    for (const i of [0, 1])
      await run.says(RUNNING, vllm(`r${i}`, { 'k8s.pod.name': `p${i}`, 'k8s.namespace.name': 'x' }));
    for (const i of [0, 1])
      expect(
        await run.says(
          TEMPERATURE,
          { 'service.name': 'dcgm', 'host.name': 'n1' },
          { 'hw.id': `GPU-${i}`, 'k8s.pod.name': `p${i}`, 'k8s.namespace.name': 'x' },
        ),
      ).toMatchObject({ 'service.instance.id': `r${i}` });
  });

  it('that moves to another rank is the new one’s from then on, and the old time is kept', async () => {
    const run = await started();
    await run.says('inference.hook.alive', hook(0, 'GPU-a'));
    await run.clock.advance(60_000);
    await run.says('inference.hook.alive', hook(0, 'GPU-b'));
    const copy = await run.published();
    const rank = copy.get('rank', 'r0/tp0')!;
    expect(copy.related(copy.get('gpu', 'GPU-a')!, 'rank')).toEqual([]);
    expect(copy.related(copy.get('gpu', 'GPU-b')!, 'rank')).toEqual([{ entity: rank, confidence: 1 }]);
  });

  it('that two nodes claim at once is disputed and counted, not moved to and fro', async () => {
    const run = await started();
    for (let i = 0; i < 5; i++) {
      for (const node of ['n1', 'n2']) await run.says(TEMPERATURE, { 'host.name': node }, { 'hw.id': 'GPU-a' });
      await run.clock.advance(11_000);
    }
    expect(run.gauge('correlation_disputes')).toBeGreaterThan(0);
    const copy = await run.published();
    const links = copy.get('gpu', 'GPU-a')!.at.filter((l) => l.until === Number.POSITIVE_INFINITY);
    expect(links).toHaveLength(1);
    expect(links[0]!.confidence).toBeLessThan(WEAK);
  });
});

describe('ranks', () => {
  it('of a group are known from their collectives', async () => {
    const run = await started();
    for (const tp of [0, 1])
      await run.collective(vllm('r0', { 'inference.rank.tp': tp, 'host.name': 'n1' }), {
        'comm.id': 'tp',
        'comm.seq': 1,
        'comm.size': 2,
      });
    const copy = await run.published();
    const group = copy.get('group', 'r0/tp')!;
    expect(group.attributes).toMatchObject({ size: 2 });
    expect(group.down.map((l) => l.from.id).sort()).toEqual(['r0/tp0', 'r0/tp1']);
  });
});

describe('whatever the labels', () => {
  it('time going backwards and duplicates make nothing twice', async () => {
    const run = await started();
    await run.clock.advance(3_600_000);
    for (const back of [0, -600_000, 0, -600_000]) {
      await run.clock.setTime(run.clock.now() + back);
      await run.says(RUNNING, vllm('r0', { 'host.name': 'n1' }));
    }
    const copy = await run.published();
    expect(copy.all('replica').map((e) => e.id)).toEqual(['r0']);
    expect(copy.get('replica', 'r0')!.at).toHaveLength(1);
  });

  it('memory stays within its limit and the signals pass unharmed', async () => {
    const run = await started({ limits: { entities: 50, links: 60 } });
    for (let i = 0; i < 500; i++) {
      const about = vllm(`r${i}\u0000\u001b[31m${'x'.repeat(3000)}`, { 'host.name': `n${i}`, 'k8s.pod.uid': `u${i}` });
      expect(await run.says(RUNNING, about)).toEqual(about);
    }
    expect(run.gauge('correlation_entities')).toBe(50);
    expect(run.gauge('correlation_refused')).toBeGreaterThan(0);
    for (const e of (await run.published()).entities.values()) expect(e.id.length).toBeLessThanOrEqual(220);
  });
});
