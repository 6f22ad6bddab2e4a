import { describe, expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { isNumberPoint } from '../../../pipeline/model.ts';
import { host } from '../../../receivers/host/index.ts';
import { type ManualClock, sink, testContext } from '../../kit/harness.ts';

describe.runIf(process.platform === 'linux')('host on the machine that runs the test', () => {
  test('says what /proc says, on series that stay the same', async () => {
    const context = testContext({ id: 'host' });
    const out = sink();
    const running = await host.start(resolve(host.config, {}), out, context);
    const clock = context.clock as ManualClock;
    await clock.advance(5_000);
    await clock.advance(30_000);
    await running.stop();
    await running.stop();
    const points = out.points().filter(isNumberPoint);
    const first = points.find((p) => p.series.metric.name === 'system.cpu.time')!;
    const limit = points.find((p) => p.series.metric.name === 'system.memory.limit')!;
    expect(Number(limit.value)).toBeGreaterThan(64 * 1024 * 1024);
    expect(first.series.resource.attributes['host.name']).toBeTypeOf('string');
    const again = points.filter((p) => p.series === first.series);
    expect(again.length).toBeGreaterThan(1);
    expect(Number(again.at(-1)!.value)).toBeGreaterThanOrEqual(Number(again[0]!.value));
    const names = new Set(points.map((p) => p.series.metric.name));
    for (const name of ['system.cpu.load_average.1m', 'system.memory.usage', 'system.uptime'])
      expect(names).toContain(name);
  });
});
