import { describe, expect, it } from 'vitest';
import { engine, scenario } from './scenario.ts';

describe('a replica whose pod is not ready', () => {
  it('is unavailable though it answers its scrapes, and so is none that only starts', async () => {
    const run = await scenario();
    const engines = ['r0', 'r1', 'r2'].map((id, i) => engine(run, id, {}, i + 1));
    const tell = (ready: readonly number[]) => (t: number) => {
      engines.forEach((e, i) => {
        e.tell(t);
        if (t % 5 !== 0) return;
        e.source.gauge('k8s.pod.status.ready', ready[i]!, { condition: 'true' });
        e.source.gauge('k8s.pod.status.ready', 1 - ready[i]!, { condition: 'false' });
      });
    };
    // r2 was never ready: it starts.
    await run.run(120, tell([1, 1, 0]));
    expect(run.fired()).toEqual([]);
    await run.run(90, tell([1, 0, 0]));
    const found = run.findings().filter((f) => f.detector === 'replica-unavailable' && f.state === 'firing');
    expect(new Set(found.map((f) => f.entity.id))).toEqual(new Set(['r1']));
    expect(found[0]!.summary).toContain('not been ready');
    await run.run(240, tell([1, 1, 0]));
    expect(
      run
        .findings()
        .filter((f) => f.detector === 'replica-unavailable')
        .at(-1)!.state,
    ).toBe('resolved');
    await run.stop();
  }, 60_000);
});
