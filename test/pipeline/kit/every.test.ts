import { describe, expect, it } from 'vitest';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { type EveryOptions, runEvery } from '../../../pipeline/kit/every.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';

function loop(options: Partial<EveryOptions> = {}) {
  const clock = manualClock(1_700_000_000_000);
  const log = memoryLogger();
  const times: number[] = [];
  const every = runEvery({
    clock,
    log,
    intervalMs: 5000,
    key: 'a target',
    run: ({ time }) => {
      times.push(time);
      return 1;
    },
    ...options,
  });
  return { clock, log, times, every };
}

describe('a loop', () => {
  it('begins within one interval and then runs on a grid of wall time', async () => {
    const { clock, times, every } = loop();
    await clock.advance(5000);
    expect(times).toHaveLength(1);
    await clock.advance(20_000);
    expect(times).toHaveLength(5);
    for (let i = 1; i < times.length; i++) expect(times[i]! - times[i - 1]!).toBe(5000);
    await every.stop();
  });

  it('spreads different keys over the interval, and puts the same key at the same place', async () => {
    const phases = new Map<number, number>();
    for (let i = 0; i < 200; i++) {
      const { clock, times, every } = loop({ key: `http://10.0.0.${i}:8000/metrics` });
      await clock.advance(5000);
      await every.stop();
      const bin = Math.floor((times[0]! % 5000) / 1000);
      phases.set(bin, (phases.get(bin) ?? 0) + 1);
    }
    expect([...phases.keys()].sort()).toEqual([0, 1, 2, 3, 4]);
    expect(Math.max(...phases.values())).toBeLessThan(80);
    const again = await Promise.all(
      [1, 2].map(async () => {
        const { clock, times, every } = loop({ key: 'same' });
        await clock.advance(5000);
        await every.stop();
        return times[0];
      }),
    );
    expect(again[0]).toBe(again[1]);
  });

  it('never runs twice at once: what is missed is skipped, and the grid is kept', async () => {
    let running = 0;
    let most = 0;
    const starts: number[] = [];
    const clock = manualClock();
    const every = runEvery({
      clock,
      log: memoryLogger(),
      intervalMs: 1000,
      key: 'k',
      run: async ({ time }) => {
        starts.push(time);
        most = Math.max(most, ++running);
        await clock.sleep(2500);
        running--;
        return undefined;
      },
    });
    await clock.advance(10_000);
    expect(most).toBe(1);
    for (let i = 1; i < starts.length; i++) expect(starts[i]! - starts[i - 1]!).toBe(3000);
    expect(every.skipped()).toBeGreaterThanOrEqual(4);
    const stopping = every.stop();
    await clock.advance(5000);
    await stopping;
  });

  it('grows its interval so that a run takes no more than its share, and shrinks it back', async () => {
    let cost = 3;
    const changes: [number, number][] = [];
    const { clock, every } = loop({ maxLoad: 0.001, run: () => cost, onInterval: (ms, c) => changes.push([ms, c]) });
    await clock.advance(20_000);
    expect(every.intervalMs()).toBe(5000);
    cost = 20;
    await clock.advance(60_000);
    expect(every.intervalMs()).toBe(20_000);
    cost = 2;
    await clock.advance(100_000);
    expect(every.intervalMs()).toBe(5000);
    expect(changes).toEqual([
      [20_000, 20],
      [5000, 2],
    ]);
    await every.stop();
  });

  it('is not moved by a single slow run, nor by runs that say nothing', async () => {
    const costs = [100, 3, 3, 900, 3, undefined, undefined, 3, 3];
    let i = 0;
    const changes: number[] = [];
    const { clock, every } = loop({ maxLoad: 0.001, run: () => costs[i++], onInterval: (ms) => changes.push(ms) });
    await clock.advance(60_000);
    expect(i).toBe(12);
    expect(every.intervalMs()).toBe(5000);
    expect(changes).toEqual([]);
    await every.stop();
  });

  it('keeps its interval where no share is set', async () => {
    let runs = 0;
    const { clock, every } = loop({
      run: () => {
        runs++;
        return 60_000;
      },
    });
    await clock.advance(25_000);
    expect(every.intervalMs()).toBe(5000);
    expect(runs).toBe(5);
    await every.stop();
  });

  it('goes on after a run that threw, and logs it', async () => {
    let runs = 0;
    const { clock, log, every } = loop({
      run: () => {
        runs++;
        throw new Error('boom');
      },
    });
    await clock.advance(15_000);
    expect(runs).toBe(3);
    expect(log.records[0]).toMatchObject({ level: 'error', message: 'A run failed unexpectedly.' });
    await every.stop();
  });

  it('goes on when the wall clock is set back or forth', async () => {
    const { clock, times, every } = loop();
    await clock.advance(10_000);
    const before = times.length;
    await clock.setTime(clock.now() - 3_600_000);
    await clock.advance(15_000);
    expect(times.length).toBeGreaterThanOrEqual(before + 2);
    await clock.setTime(clock.now() + 3_600_000);
    await clock.advance(10_000);
    expect(times.at(-1)).toBeGreaterThan(clock.now() - 6000);
    await every.stop();
  });

  it('stops without a further run, waiting for the one in flight, which a deadline aborts', async () => {
    const clock = manualClock();
    let aborted = false;
    const every = runEvery({
      clock,
      log: memoryLogger(),
      intervalMs: 1000,
      key: 'k',
      run: ({ signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            aborted = true;
            resolve(undefined);
          });
        }),
    });
    await clock.advance(1000);
    const deadline = new AbortController();
    let stopped = false;
    const stopping = every.stop(deadline.signal).then(() => {
      stopped = true;
    });
    await clock.advance(1000);
    expect(stopped).toBe(false);
    deadline.abort();
    await stopping;
    expect(aborted).toBe(true);
    await every.stop();
    expect(clock.pending()).toBe(0);
  });
});
