import { describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { findingOf, incidentOf, insufficientOf } from '../../../pipeline/kit/verdict.ts';
import { type LogRecord, logsBatch } from '../../../pipeline/model.ts';
import { bottleneck } from '../../../processors/bottleneck/index.ts';
import { sink, testContext } from '../../kit/harness.ts';
import { engine, scenario } from './scenario.ts';

/** What a sidecar says of one replica that becomes slow: it cannot know that the service has others. */
async function sidecar(): Promise<readonly LogRecord[]> {
  const run = await scenario({});
  const r = engine(run, 'r0', { 'host.name': 'n0' });
  await run.run(1200, (t) => r.tell(t));
  await run.run(300, (t) => r.tell(t, { itl: 0.2, ttft: 3, running: 60, waiting: 30 }));
  await run.stop();
  return run.out.logs();
}

describe('verdicts that come from another bottleneck', () => {
  it('of a whole service are not handed on: they are made where most is seen', async () => {
    const said = await sidecar();
    expect(said.some((r) => incidentOf(r) !== undefined)).toBe(true);
    const wide = said.filter((r) => findingOf(r)?.entity.kind === 'service');
    expect(wide.length).toBeGreaterThan(0);
    const plain: LogRecord = { ...said[0]!, eventName: 'app.log', attributes: Object.create(null) };

    const out = sink();
    const context = testContext({ clock: manualClock() });
    const gateway = await bottleneck.start(resolve(bottleneck.config, {}), out, context);
    await gateway.consume(logsBatch([...said, plain]));
    const passed = out.logs();
    expect(passed.filter((r) => incidentOf(r) ?? insufficientOf(r))).toEqual([]);
    expect(passed.filter((r) => findingOf(r)?.entity.kind === 'service')).toEqual([]);
    const narrow = said.filter((r) => findingOf(r) && findingOf(r)!.entity.kind !== 'service');
    expect(passed).toEqual([...narrow, plain]);
    expect(context.measured.drops).toEqual([
      expect.objectContaining({ reason: 'filtered', items: said.length - narrow.length }),
    ]);
    await gateway.stop(AbortSignal.timeout(1000));
  });

  it('leave a batch without them as it is', async () => {
    const said = await sidecar();
    const batch = logsBatch([{ ...said[0]!, eventName: 'app.log', attributes: Object.create(null) }]);
    const out = sink();
    const context = testContext({ clock: manualClock() });
    const gateway = await bottleneck.start(resolve(bottleneck.config, {}), out, context);
    await gateway.consume(batch);
    expect(out.batches[0]).toBe(batch);
    await gateway.stop(AbortSignal.timeout(1000));
  });
});
