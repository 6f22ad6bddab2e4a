import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createHistory } from '../../../processors/bottleneck/history.ts';
import { engine, gpu, type Run, scenario } from './scenario.ts';

const folder = mkdtempSync(join(tmpdir(), 'enginelight-restart-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Four replicas of two GPUs each, one of which is hot or not. */
function fleet(run: Run) {
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
  return {
    calm(t: number) {
      for (const e of engines) e.tell(t);
      for (const g of gpus) g.tell(t);
    },
    hot(t: number) {
      engines.forEach((e, i) => void e.tell(t, i === 2 ? { itl: 0.03, ttft: 0.4, running: 28 } : {}));
      gpus.forEach((g, i) => void g.tell(t, i === 5 ? { clock: 1.41e9, thermal: 0.6, temp: 88, power: 430 } : {}));
    },
  };
}

describe('a restart', () => {
  it('loses no open incident: it goes on with its id and beginning, and ends when it is over', async () => {
    const config = { storage: { directory: join(folder, 'goes-on') } };
    const before = await scenario(config);
    const a = fleet(before);
    await before.run(720, a.calm);
    await before.run(240, a.hot);
    const incident = before.last()!;
    expect(incident).toMatchObject({ state: 'open', root: { detector: 'thermal-throttle' } });
    const finding = before.findings().find((f) => f.detector === 'thermal-throttle' && f.state === 'firing')!;
    await before.stop();

    const after = await scenario(config, before.clock.now() + 20_000);
    const b = fleet(after);
    await after.run(240, b.hot);
    const again = after.last()!;
    expect(again).toMatchObject({ id: incident.id, state: 'open', detected_at: incident.detected_at });
    expect(again.impact.started_at).toBe(incident.impact.started_at);
    expect(new Set(after.incidents().map((i) => i.id))).toEqual(new Set([incident.id]));
    expect(
      after
        .findings()
        .filter((f) => f.detector === 'thermal-throttle')
        .map((f) => f.id),
    ).toContain(finding.id);
    await after.run(500, b.calm);
    expect(after.last()).toMatchObject({ id: incident.id, state: 'resolved' });
    await after.stop();
  }, 120_000);

  it('ends what did not come back', async () => {
    const config = { storage: { directory: join(folder, 'over') } };
    const before = await scenario(config);
    const a = fleet(before);
    await before.run(720, a.calm);
    await before.run(240, a.hot);
    const { id } = before.last()!;
    await before.stop();
    const after = await scenario(config, before.clock.now() + 20_000);
    const b = fleet(after);
    await after.run(200, b.calm);
    expect(after.incidents()).toEqual([]);
    await after.run(150, b.calm);
    expect(after.incidents().map((i) => [i.id, i.state])).toEqual([[id, 'resolved']]);
    expect(
      after
        .findings()
        .filter((f) => f.state === 'resolved')
        .map((f) => f.detector),
    ).toContain('thermal-throttle');
    await after.stop();
  }, 120_000);

  it('takes a damaged or foreign file for none', async () => {
    const directory = join(folder, 'broken');
    const config = { storage: { directory } };
    await (await scenario(config)).stop();
    expect(readdirSync(directory).sort()).toEqual(['bottleneck-open.json', 'bottleneck-past.json']);
    for (const text of ['', '{"version":1,"at":1e15,"findings":7,"incidents":[{}],"tracks":[["a",0,"!"],[]]}', '[1]']) {
      for (const name of readdirSync(directory)) writeFileSync(join(directory, name), text);
      const run = await scenario(config);
      await run.run(20, fleet(run).calm);
      await run.stop();
      expect(run.incidents()).toEqual([]);
    }
  });
});

describe('the past of features', () => {
  it('comes back from the disk as it was, without what is older than two hours', () => {
    const now = 1_800_000_000_000;
    const history = createHistory();
    for (let i = 0; i < 400; i++) history.record('a|b', i / 7, now - (400 - i) * 15_000);
    history.record('old', 1, now - 3 * 3_600_000);
    const saved = JSON.parse(JSON.stringify(history.dump(10)));
    const restored = createHistory();
    restored.restore(saved, now);
    const [was, is] = [history, restored].map((h) => h.course('a|b', 0));
    expect(is!.v).toEqual(was!.v);
    is!.t.forEach((t, i) => void expect(Math.abs(t - was!.t[i]!)).toBeLessThan(1));
    expect(restored.course('old', 0).v).toEqual([]);
    expect(history.dump(1)).toHaveLength(1);
  });
});
