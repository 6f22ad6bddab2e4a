import { cp, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { options, resolve } from '../../../config/schema.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { RetryableError } from '../../../pipeline/errors.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { deliver, type SendResult } from '../../../pipeline/kit/deliver.ts';
import { deliverOptions } from '../../../pipeline/kit/deliver-options.ts';
import type { Batch, NumberPoint } from '../../../pipeline/model.ts';
import { testContext } from '../../kit/harness.ts';
import { points } from '../../kit/parts.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'enginelight-queue-'));
});
const stages: Stage[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const stage of stages.splice(0)) await stage.stop(AbortSignal.abort());
  await rm(directory, { recursive: true, force: true });
});

const values = (batch: Batch) => (batch.items as NumberPoint[]).map((p) => Number(p.value));

async function start(config: { storage?: object } & Record<string, unknown> = {}, id = 'otlp_http') {
  const clock = manualClock();
  const context = testContext({ id, kind: 'exporter', clock, signals: new Set(['metrics'] as const) });
  const calls: { values: number[]; ok: (r?: SendResult) => void; fail: (e: Error) => void }[] = [];
  const { storage, ...queue } = config;
  const stage = await deliver(
    resolve(options(deliverOptions()), {
      sending_queue: { num_consumers: 1, storage: { directory, fsync: 'never', ...storage }, ...queue },
    }),
    {
      encode: (batch: Batch) => batch,
      send: (batch: Batch) =>
        new Promise<SendResult | undefined>((ok, fail) => calls.push({ values: values(batch), ok, fail })),
    },
    context,
    { random: () => 0.5 },
  );
  stages.push(stage);
  const next = async (n: number) => {
    await vi.waitFor(() => expect(calls.length).toBeGreaterThanOrEqual(n), { timeout: 5000, interval: 2 });
    return calls[n - 1]!;
  };
  return { clock, context, calls, stage, next, log: context.log.records, measured: context.measured };
}
const folder = () => join(directory, 'exporter-otlp_http');

describe('a sending queue on disk', () => {
  it('accepts a batch once it is written, and leaves nothing behind once all is delivered', async () => {
    const one = await start();
    await one.stage.consume(points(3));
    expect((await readdir(join(folder(), 'metrics'))).length).toBe(1);
    (await one.next(1)).ok();
    await one.stage.stop();
    expect(await readdir(join(folder(), 'metrics'))).toEqual([]);
    expect(one.measured.sent).toBe(3);
  });

  it('goes on after a restart where it ended, in order, and says so', async () => {
    const one = await start();
    for (let n = 1; n <= 4; n++) await one.stage.consume(points(n));
    (await one.next(1)).ok();
    await one.next(2);
    await one.stage.stop(AbortSignal.abort());
    expect(one.measured.drops).toEqual([]);
    expect(one.log.at(-1)).toMatchObject({
      message: 'Undelivered data stays in the queue on disk.',
      fields: { signal: 'metrics', items: 2 + 3 + 4 },
    });

    const two = await start();
    expect(two.log.find((r) => r.message.startsWith('Going on'))?.fields).toMatchObject({ batches: 3, items: 9 });
    expect(two.measured.gauges.get('exporter_queue_size')!()).toBe(3);
    for (let n = 1; n <= 3; n++) (await two.next(n)).ok();
    await two.stage.stop();
    expect(two.calls.map((c) => c.values.length)).toEqual([2, 3, 4]);
  });

  it('loses nothing in a crash; what was in flight is sent again', async () => {
    const one = await start();
    for (let n = 1; n <= 3; n++) await one.stage.consume(points(n));
    await one.next(1);
    // The process is gone without a stop: another one finds its files as they are, and a lock of nobody.
    const copy = await mkdtemp(join(tmpdir(), 'enginelight-queue-'));
    await cp(directory, copy, { recursive: true });
    directory = copy;
    await writeFile(join(folder(), 'lock'), '999999999');
    const two = await start();
    for (let n = 1; n <= 3; n++) (await two.next(n)).ok();
    expect(two.calls.map((c) => c.values.length)).toEqual([1, 2, 3]);
  });

  it('keeps a batch that was only partly delivered, whole', async () => {
    const one = await start({ batch: { min_size: 2, max_size: 2, flush_timeout: '1s' } });
    await one.stage.consume(points(4));
    (await one.next(1)).ok();
    await one.next(2);
    await one.stage.stop(AbortSignal.abort());
    const two = await start();
    expect((await two.next(1)).values).toEqual([0, 1, 2, 3]);
  });

  it('holds little in memory: batches far behind are read back from disk', async () => {
    const one = await start({ queue_size: 200 });
    for (let n = 1; n <= 100; n++) await one.stage.consume(points(n));
    for (let n = 1; n <= 100; n++) (await one.next(n)).ok();
    expect(one.calls.map((c) => c.values.length)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    await vi.waitFor(() => expect(one.measured.sent).toBe(5050));
  });

  it('refuses with a retryable error when max_size is reached', async () => {
    const one = await start({ storage: { max_size: '1MiB' }, queue_size: 1000 });
    const big = points(4000);
    let refused: unknown;
    for (let n = 0; n < 20 && !refused; n++) {
      await Promise.resolve(one.stage.consume(big)).catch((error) => {
        refused = error;
      });
    }
    expect(refused).toBeInstanceOf(RetryableError);
    expect(String(refused)).toContain('max_size');
    expect(one.measured.gauges.get('exporter_queue_disk_bytes')!()).toBeLessThanOrEqual(1 << 20);
    // Delivered data makes room again.
    const held = one.measured.gauges.get('exporter_queue_size')!()!;
    for (let n = 1; n <= held; n++) (await one.next(n)).ok();
    await vi.waitFor(async () => {
      await one.stage.consume(points(1));
    });
  });

  it('skips a record that was damaged while it waited: counted, said, and the rest is sent', async () => {
    const one = await start({ queue_size: 100 });
    for (let n = 1; n <= 50; n++) await one.stage.consume(points(1));
    const path = join(folder(), 'metrics', '00000001.queue');
    const bytes = await readFile(path);
    bytes[bytes.length - 5]! ^= 0xff;
    await writeFile(path, bytes);
    for (let n = 1; n <= 49; n++) (await one.next(n)).ok();
    await vi.waitFor(() => expect(one.measured.drops).toEqual([{ signal: 'metrics', items: 1, reason: 'disk' }]));
    expect(one.measured.counters.get('exporter_queue_corrupt_records{signal=metrics}')).toBe(1);
    expect(one.log.filter((r) => r.level === 'error').length).toBe(1);
    expect(one.measured.gauges.get('exporter_queue_size')!()).toBe(0);
  });

  it('counts and names damage found at the start, and sends the rest', async () => {
    const one = await start();
    for (let n = 1; n <= 3; n++) await one.stage.consume(points(n));
    await one.stage.stop(AbortSignal.abort());
    const path = join(folder(), 'metrics', '00000001.queue');
    const bytes = await readFile(path);
    bytes[8 + 20]! ^= 1;
    await writeFile(path, bytes);
    const two = await start();
    expect(two.measured.counters.get('exporter_queue_corrupt_records{signal=metrics}')).toBe(1);
    expect((await two.next(1)).values.length).toBe(2);
  });

  it('goes on in memory when the disk is full, says so once, and returns to the disk when it can', async () => {
    const one = await start();
    const handle = await open(join(directory, 'probe'), 'w');
    const prototype = Object.getPrototypeOf(handle) as { write: (...args: unknown[]) => Promise<unknown> };
    await handle.close();
    vi.spyOn(prototype, 'write').mockRejectedValue(
      Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }),
    );
    await one.stage.consume(points(1));
    await one.stage.consume(points(2));
    expect(one.measured.counters.get('exporter_queue_disk_errors{signal=metrics}')).toBe(2);
    const errors = one.log.filter((r) => r.level === 'error');
    expect(errors.length).toBe(1);
    expect(errors[0]!.message).toContain('memory only');
    expect(errors[0]!.fields['directory']).toBe(folder());
    vi.restoreAllMocks();
    await one.stage.consume(points(3));
    expect(one.log.at(-1)?.message).toBe('The disk takes the queue again.');
    for (let n = 1; n <= 3; n++) (await one.next(n)).ok();
    expect(one.calls.map((c) => c.values.length)).toEqual([1, 2, 3]);
  });

  it('drops at the stop only what was in memory, and says how much of each', async () => {
    const one = await start();
    await one.stage.consume(points(1));
    await one.next(1);
    await rm(directory, { recursive: true });
    await writeFile(directory, 'a file where the folder was');
    // The open segment still takes records; a new one cannot be made.
    await one.stage.consume(points(2));
    await one.stage.stop(AbortSignal.abort());
    const kept = one.log.find((r) => r.message.startsWith('Undelivered'))?.fields['items'];
    expect(Number(kept ?? 0) + one.measured.drops.reduce((n, d) => n + d.items, 0)).toBe(3);
  });

  it('does not start on a folder that another process uses, and takes over from one that is gone', async () => {
    const one = await start();
    await expect(start()).rejects.toThrow('another exporter of this process uses it');
    await one.stage.stop();
    await writeFile(join(folder(), 'lock'), String(process.ppid));
    await expect(start()).rejects.toThrow(`process ${process.ppid} uses it`);
    await writeFile(join(folder(), 'lock'), '999999999');
    const two = await start();
    await two.stage.stop();
    expect(await readdir(folder())).not.toContain('lock');
  });

  it('names the folder and the option when it cannot be used', async () => {
    await writeFile(join(directory, 'exporter-otlp_http'), 'a file');
    await expect(start()).rejects.toThrow(
      `the queue of otlp_http cannot be kept in ${folder()} (sending_queue.storage.directory)`,
    );
  });

  it('gives each exporter a folder of its own', async () => {
    await start({}, 'otlp_http/a b');
    await start({}, 'otlp_http/c');
    expect((await readdir(directory)).sort()).toEqual(['exporter-otlp_http-a-b', 'exporter-otlp_http-c']);
  });
});
