import { describe, expect, it } from 'vitest';
import { createHistory } from '../../../processors/bottleneck/history.ts';
import { engine, gpu, random, scenario } from './scenario.ts';

const HOSTILE = ['a\u0000b\u001b[31m', '../../etc', `x${'y'.repeat(5000)}`, '{"a":1}', 'ünï—✓', ''];

describe('bad input', () => {
  it('of hostile names and thousands of entities ends in bounded state and no failed round', async () => {
    const run = await scenario({ limits: { entities: 300, channels: 2000 } });
    const good = engine(run, 'r0');
    const noise = random(7);
    await run.run(30, (t) => {
      good.tell(t);
      if (t % 5 !== 0) return;
      for (const name of HOSTILE) {
        const s = run.source({ 'service.name': name, 'service.instance.id': name, 'inference.engine': name });
        s.gauge('inference.requests.running', Number.NaN);
        s.gauge('inference.kv.usage', Number.POSITIVE_INFINITY);
        s.count('inference.tokens.generated', -1e300);
      }
      for (let i = 0; i < 60; i++) {
        const s = run.source({ 'service.name': 'flood', 'service.instance.id': `f${t}-${i}`, 'hw.id': `g${t}-${i}` });
        s.gauge('inference.requests.running', 1e9 * noise.next());
        s.gauge('hw.temperature', -400);
      }
    });
    expect(run.context.log.records.filter((l) => /round failed/i.test(l.message))).toEqual([]);
    await run.stop();
    for (const incident of run.incidents()) expect(incident.root.probability).toBeLessThanOrEqual(1);
  }, 60_000);

  it('of a time that goes backwards, gaps and a restart raises no alarm', async () => {
    const run = await scenario();
    const engines = ['r0', 'r1', 'r2'].map((id, i) => engine(run, id, {}, i + 1));
    await run.run(420, (t) => {
      for (const [i, e] of engines.entries()) {
        // r1 is not heard for half a minute, r2 restarts.
        if (i === 1 && t >= 200 && t < 225) continue;
        if (i === 2 && t === 300) e.source.restart();
        e.tell(t);
      }
    });
    expect(run.incidents().filter((i) => i.severity !== 'info')).toEqual([]);
    await run.stop();
  }, 60_000);

  it('of one GPU claimed by two replicas names no wrong replica for its heat', async () => {
    const run = await scenario();
    const engines = ['r0', 'r1', 'r2'].map((id, i) => engine(run, id, {}, i + 1));
    const cards = Array.from({ length: 4 }, (_, i) =>
      gpu(run, `GPU-${i}`, { 'service.name': 'chat', 'service.instance.id': 'r0', 'host.name': 'n0' }, i + 1),
    );
    const liar = gpu(run, 'GPU-0', { 'service.name': 'chat', 'service.instance.id': 'r2', 'host.name': 'n9' }, 9);
    await run.run(150, (t) => {
      for (const e of engines) e.tell(t);
      const hot = t >= 60;
      cards.forEach((c, i) => {
        c.tell(t, i === 0 && hot ? { clock: 1.4e9, temp: 92, thermal: 0.7 } : {});
      });
      if (t % 7 === 0) liar.tell(t, {});
    });
    const roots = run.incidents().flatMap((i) => i.roots.map((r) => r.entity.id));
    expect(roots.filter((id) => id === 'r1' || id === 'r2')).toEqual([]);
    await run.stop();
  }, 60_000);
});

describe('a short past', () => {
  it('counts after three minutes, with a wider scale, and follows a service that fills up', () => {
    const history = createHistory();
    let answer: ReturnType<typeof history.baseline>;
    const at = (i: number) => i * 15_000;
    const noise = random(3);
    const level = () => 10 + noise.next();
    for (let i = 0; i < 28; i++) answer = history.baseline('flat', level(), at(i), 300_000, 12, []);
    expect(Math.abs(answer!.median - 10.5)).toBeLessThan(0.6);
    const flat = answer!;
    expect(flat.n).toBeLessThan(30);
    for (let i = 28; i < 200; i++) answer = history.baseline('flat', level(), at(i), 300_000, 12, []);
    expect(flat.scale).toBeGreaterThan(answer!.scale);
    for (let i = 0; i < 28; i++) answer = history.baseline('rising', 10 + i, at(i), 300_000, 12, []);
    // Of what is known (10 to about 28) the middle is 19; where it leads to by now is more.
    expect(answer!.median).toBeGreaterThan(25);
  });

  it('does not count while less than asked for is known', () => {
    const history = createHistory();
    for (let i = 0; i < 14; i++) expect(history.baseline('x', 1, i * 15_000, 300_000, 12, [])).toBeUndefined();
  });
});
