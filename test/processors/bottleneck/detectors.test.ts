import { describe, expect, it } from 'vitest';
import { engine, gpu, scenario } from './scenario.ts';

describe('a hot GPU', () => {
  it('is named as the root of a slow replica and of what the users feel, with a path, within half a minute', async () => {
    const run = await scenario();
    const engines = ['r0', 'r1', 'r2', 'r3'].map((id, i) => engine(run, id, { 'host.name': `n${i >> 1}` }, i + 1));
    const gpus = Array.from({ length: 8 }, (_, i) =>
      gpu(
        run,
        `GPU-${i}`,
        {
          'service.name': 'chat',
          'service.instance.id': `r${i >> 1}`,
          'inference.engine': 'vllm',
          'inference.rank.tp': i & 1,
          'host.name': `n${i >> 2}`,
        },
        i + 1,
      ),
    );
    const calm = (t: number) => {
      for (const e of engines) e.tell(t);
      for (const g of gpus) g.tell(t);
    };
    await run.run(720, calm);
    expect(run.fired()).toEqual([]);
    await run.run(300, (t) => {
      engines.forEach((e, i) => void e.tell(t, i === 2 ? { itl: 0.03, ttft: 0.4, running: 28 } : {}));
      gpus.forEach((g, i) => void g.tell(t, i === 5 ? { clock: 1.41e9, thermal: 0.6, temp: 88, power: 430 } : {}));
    });
    const first = run.findings().find((f) => f.detector === 'thermal-throttle' && f.state === 'firing')!;
    expect(first.entity).toMatchObject({ kind: 'gpu', id: 'GPU-5', node: 'n1', replica: 'r2', rank: 1 });
    const delay = (Date.parse(first.detected_at!) - Date.parse('2026-05-01T12:12:00Z')) / 1000;
    expect(delay).toBeLessThanOrEqual(30);
    expect(Math.abs(Date.parse(first.started_at) - Date.parse('2026-05-01T12:12:00Z'))).toBeLessThan(20_000);
    expect(run.fired()).toContain('replica-outlier@r2');
    const incident = run.last()!;
    expect(incident).toMatchObject({
      service: 'chat',
      root: { detector: 'thermal-throttle', entity: { id: 'GPU-5' }, grade: 'B' },
    });
    expect(incident.root.probability).toBeGreaterThan(0.7);
    expect(incident.path.map((s) => s.detector)).toContain('replica-outlier');
    expect(incident.remedies.map((r) => r.code)).toContain('G1');
    expect(run.fired().filter((f) => !/GPU-5|r2|chat/.test(f))).toEqual([]);
    await run.run(400, calm);
    expect(run.last()!.state).toBe('resolved');
  }, 60_000);
});

describe('a process on a GPU that is not the engine’s', () => {
  const GIB = 2 ** 30;
  it('is named where the probe knows whose it is; one that was always there is not', async () => {
    const run = await scenario();
    const one = engine(run, 'r0', { 'host.name': 'n0' }, 1);
    const gpus = ['GPU-0', 'GPU-1'].map((id, i) =>
      gpu(
        run,
        id,
        { 'service.name': 'chat', 'service.instance.id': 'r0', 'inference.rank.tp': i, 'host.name': 'n0' },
        i + 1,
      ),
    );
    const tell = (t: number, came: boolean) => {
      one.tell(t);
      gpus.forEach((g, i) => {
        g.tell(t);
        // The monitor on GPU-0 was there from the start.
        const there = i === 0 || came;
        g.source.gauge('hw.gpu.foreign.processes', there ? 1 : 0);
        g.source.gauge('hw.gpu.foreign.memory.usage', i === 0 ? 2 * GIB : came ? 9 * GIB : 0);
        g.source.gauge('hw.gpu.foreign.utilization', i === 0 ? 0.02 : came ? 0.4 : 0);
      });
    };
    await run.run(720, (t) => tell(t, false));
    expect(run.fired()).toEqual([]);
    await run.run(180, (t) => tell(t, true));
    const found = run.findings().filter((f) => f.detector === 'noisy-neighbour-gpu' && f.state === 'firing');
    expect(new Set(found.map((f) => f.entity.id))).toEqual(new Set(['GPU-1']));
    expect(found[0]!.summary).toMatch(/processes that are not the engine’s \(1\) hold 9\.0 GiB more than usual/);
  }, 60_000);
});
