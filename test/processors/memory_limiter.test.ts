import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { resolve } from '../../config/schema.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { metricsBatch } from '../../pipeline/model.ts';
import { limitsOf, memoryLimiter } from '../../processors/memory_limiter/index.ts';
import { createLimiter } from '../../processors/memory_limiter/limiter.ts';
import { memoryTotal } from '../../processors/memory_limiter/limits.ts';
import { sink, testContext } from '../kit/harness.ts';
import { point, series } from './items.ts';

const MIB = 2 ** 20;
const settings = (config: Record<string, unknown>) => resolve(memoryLimiter.config, config);
const batch = metricsBatch([point(series('m'))]);

describe('the processor', () => {
  test('refuses with an error that says to try again, and tells its status', async () => {
    const next = sink();
    const context = testContext({ kind: 'processor' });
    const stage = await memoryLimiter.start(settings({ limit_mib: 1 }), next, context);
    expect(() => stage.consume(batch)).toThrow(RetryableError);
    expect(() => stage.consume(batch)).toThrow('data refused due to high memory usage');
    expect(next.batches).toEqual([]);
    expect(context.statuses.at(-1)).toMatchObject({ status: 'recoverable_error' });
    expect(context.log.records.some((r) => r.message.includes('data is refused'))).toBe(true);
    await stage.stop();
    await stage.stop();
  });

  test('lets data pass below the limit, and measures at every interval until it is stopped', async () => {
    const clock = manualClock();
    const next = sink();
    const context = testContext({ kind: 'processor', clock });
    const stage = await memoryLimiter.start(settings({ limit_mib: 1_000_000, check_interval: '1s' }), next, context);
    await stage.consume(batch);
    expect(next.batches).toEqual([batch]);
    expect(context.measured.gauges.get('memory_limiter_used_bytes')?.()).toBeGreaterThan(MIB);
    await clock.advance(3_000);
    expect(clock.pending()).toBe(1);
    await stage.stop();
    expect(clock.pending()).toBe(0);
  });
});

describe('the limits', () => {
  test('are megabytes, or shares of the memory there is; the spike is a fifth unless told otherwise', () => {
    expect(limitsOf(settings({ limit_mib: 100 }), 0)).toEqual({ hard: 100 * MIB, soft: 80 * MIB });
    expect(limitsOf(settings({ limit_mib: 100, spike_limit_mib: 30 }), 0)).toEqual({ hard: 100 * MIB, soft: 70 * MIB });
    expect(limitsOf(settings({ limit_percentage: 50 }), 1000)).toEqual({ hard: 500, soft: 400 });
    expect(limitsOf(settings({ limit_percentage: 80, spike_limit_percentage: 25 }), 1000)).toEqual({
      hard: 800,
      soft: 550,
    });
    expect(limitsOf(settings({ limit_mib: 1, limit_percentage: 50 }), 1000).hard).toBe(MIB);
  });

  test.each<[Record<string, unknown>, string]>([
    [{}, "'limit_mib' or 'limit_percentage' must be greater than zero"],
    [{ limit_mib: 10, check_interval: '0s' }, "'check_interval' must be greater than zero"],
    [{ limit_mib: 10, spike_limit_mib: 10 }, "'spike_limit_mib' must be smaller than 'limit_mib'"],
    [
      { limit_percentage: 50, spike_limit_percentage: 60 },
      "'spike_limit_percentage' must be smaller than 'limit_percentage'",
    ],
  ])('%j is a mistake', (config, message) => {
    expect(memoryLimiter.validate?.(settings(config))).toMatchObject([{ message }]);
  });
});

describe('the limiter', () => {
  function limiter(collect?: () => void) {
    const clock = manualClock();
    const memory = { used: 0 };
    const changes: string[] = [];
    const made = createLimiter({
      limits: { soft: 80, hard: 100, gcEverySoftMs: 10_000, gcEveryHardMs: 0 },
      clock,
      measure: () => memory.used,
      collect,
      onChange: (refusing, used) => void changes.push(`${refusing ? 'refuse' : 'accept'} ${used}`),
    });
    return { made, memory, clock, changes };
  }

  test('refuses from the soft limit on and accepts below it, each said once', () => {
    const { made, memory, changes } = limiter();
    for (const used of [79, 80, 120, 80, 79, 10]) {
      memory.used = used;
      made.check();
    }
    expect(changes).toEqual(['refuse 80', 'accept 79']);
  });

  test('collects garbage before it refuses', () => {
    const { made, memory, changes } = limiter(() => {
      memory.used = 20;
    });
    memory.used = 110;
    made.check();
    expect([made.refusing, made.used, changes]).toEqual([false, 20, []]);
  });

  test('forces collections rarely between the limits, and ever more rarely where they free nothing', async () => {
    let collected = 0;
    const { made, memory, clock } = limiter(() => void collected++);
    memory.used = 90;
    for (let s = 0; s < 21; s++) {
      made.check();
      await clock.advance(1_000);
    }
    expect(collected).toBe(3);
    memory.used = 150;
    collected = 0;
    for (let s = 0; s < 120; s++) {
      made.check();
      await clock.advance(1_000);
    }
    expect(collected).toBeLessThan(10);
    expect(made.refusing).toBe(true);
  });
});

describe('the memory there is', () => {
  const root = mkdtempSync(join(tmpdir(), 'cgroup-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const tree = (name: string, files: Record<string, string>): string => {
    for (const [path, text] of Object.entries(files)) {
      const file = join(root, name, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `${text}\n`);
    }
    return join(root, name);
  };

  test.each<[string, Record<string, string>, number]>([
    ['nothing', {}, 1000],
    ['v2, in a container', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/memory.max': '400' }, 400],
    ['v2, without a limit', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/memory.max': 'max' }, 1000],
    [
      'v2, on the host: the lowest of all levels',
      {
        'proc/self/cgroup': '0::/a/b',
        'sys/fs/cgroup/a/b/memory.max': '700',
        'sys/fs/cgroup/a/memory.max': '300',
      },
      300,
    ],
    [
      'v1',
      {
        'proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/docker/abc',
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '500',
      },
      500,
    ],
    [
      'v1, without a limit',
      { 'proc/self/cgroup': '4:memory:/', 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712' },
      1000,
    ],
    ['v2, above what the machine has', { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/memory.max': '5000' }, 1000],
  ])('%s', (name, files, expected) => {
    expect(memoryTotal(tree(name, files), 1000)).toBe(expected);
  });

  test('of this machine is some', () => {
    expect(memoryTotal()).toBeGreaterThan(64 * MIB);
  });
});
