import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { recordingExporter } from '../../../exporters/recording/index.ts';
import { appendWhole, openRing, RING_FILE } from '../../../exporters/recording/ring.ts';
import { manualClock } from '../../../pipeline/kit/clock.ts';
import { openKeptFolder } from '../../../pipeline/kit/kept-files.ts';
import { readRecordings } from '../../../pipeline/kit/recording-files.ts';
import { findingRecord, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { type Batch, gauge, logsBatch, metricsBatch, nanosFromMs, resource, scope } from '../../../pipeline/model.ts';
import { HAS_ZSTD } from '../../../pipeline/wire/compression.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { aFinding, anIncident, T } from '../../kit/incident.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
const freshFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-ring-'));
  folders.push(folder);
  return join(folder, 'recordings');
};

const SERIES = {
  resource: resource({ 'service.name': 'chat' }),
  scope: scope('test'),
  metric: gauge('inference.kv.usage', '1'),
  attributes: {},
};
const point = (ms: number): Batch =>
  deepFreeze(metricsBatch([{ series: SERIES, time: nanosFromMs(ms), startTime: 0n, flags: 0, value: 0.5 }]));

async function open(options: Record<string, unknown> = {}, directory = freshFolder(), startMs = T) {
  const clock = manualClock(startMs);
  const context = testContext({ kind: 'exporter', id: 'recording', clock });
  const stage = await recordingExporter.start(resolve(recordingExporter.config, { directory, ...options }), context);
  const files = (prefix = '') =>
    readdirSync(directory)
      .sort()
      .filter((name) => name.startsWith(prefix));
  /** A point a second. */
  const run = async (seconds: number) => {
    for (let s = 0; s < seconds; s++) {
      await stage.consume(point(clock.now()));
      await clock.advance(1000);
    }
  };
  return { directory, clock, context, stage, files, run };
}

async function timesIn(directory: string, files: readonly string[]): Promise<number[]> {
  const bad: string[] = [];
  const times: number[] = [];
  for await (const line of readRecordings(
    files.map((f) => join(directory, f)),
    (b) => bad.push(b.what),
  ))
    times.push(line.timeMs);
  expect(bad).toEqual([]);
  return times;
}

const incident = (over: Parameters<typeof anIncident>[0] = {}) =>
  logsBatch([findingRecord(aFinding(), T), incidentRecord(anIncident(over), T + 20_000)]);

describe('recording exporter', () => {
  it.each([
    ['gzip'],
    ['none'],
    ...(HAS_ZSTD ? [['zstd']] : []),
  ])('keeps everything of the time it should, readable as recordings (%s)', async (compression) => {
    const { directory, stage, files, run } = await open({ keep: '2m', segment: '30s', compression });
    await run(300);
    await stage.stop();
    const times = await timesIn(directory, files('ring_'));
    const last = T + 299_000;
    expect(times.at(-1)).toBe(last);
    expect(times[0]).toBeLessThanOrEqual(last - 120_000);
    expect(times[0]).toBeGreaterThan(last - 200_000);
    expect(times).toEqual(times.map((_, i) => times[0]! + i * 1000));
  });

  it('lets nobody but its own user read', async () => {
    const { directory, stage, files, run } = await open();
    await stage.consume(incident());
    await run(10);
    await stage.stop();
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(files().length).toBe(2);
    for (const file of files()) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
  });

  it('cuts a recording around an incident, from before it began until after it ended', async () => {
    const { directory, stage, files, run } = await open(
      { keep: '5m', segment: '10s', incidents: { before: '60s', after: '30s' } },
      freshFolder(),
      T - 200_000,
    );
    await run(220);
    await stage.consume(incident());
    await run(100);
    const impact = { ...anIncident().impact, ended_at: new Date(T + 100_000).toISOString() };
    await stage.consume(incident({ state: 'resolved', impact }));
    await run(400);
    await stage.stop();
    const cuts = files('incident_');
    expect(cuts).toEqual(['incident_20260501T120000Z_chat_inc-1.jsonl.gz']);
    const times = await timesIn(directory, cuts);
    expect(times[0]).toBeLessThanOrEqual(T - 60_000);
    expect(times[0]).toBeGreaterThan(T - 80_000);
    expect(times.at(-1)).toBeGreaterThanOrEqual(T + 125_000);
    expect(times.at(-1)).toBeLessThan(T + 160_000);
    expect(times).toEqual(times.map((_, i) => times[0]! + i * 1000));
  });

  it('records what came in, not what the detectors said of it', async () => {
    const { directory, stage, files } = await open({ incidents: { enabled: false } });
    await stage.consume(point(T));
    await stage.consume(incident());
    await stage.stop();
    expect(await timesIn(directory, files('ring_'))).toEqual([T]);
    expect(files('incident_')).toEqual([]);
  });

  it('goes on with the ring of a process before it, and a half-written file of that one harms nothing', async () => {
    const first = await open({ keep: '10m', segment: '10s' });
    await first.run(30);
    await first.stage.stop();
    const last = join(first.directory, first.files('ring_').at(-1)!);
    truncateSync(last, statSync(last).size - 5);
    const second = await open({ keep: '10m', segment: '10s' }, first.directory, T + 40_000);
    await second.stage.consume(incident({ impact: { ...anIncident().impact } }));
    await second.run(10);
    await second.stage.stop();
    const times = await timesIn(first.directory, second.files('incident_'));
    expect(times[0]).toBe(T);
    expect(times.at(-1)).toBe(T + 49_000);
  });
});

describe('the ring', () => {
  const CHUNK = Buffer.alloc(1000, 'x\n');
  const full = () => Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });

  it('is never larger than it may be', async () => {
    const folder = await openKeptFolder(freshFolder());
    const ring = await openRing({ folder, ending: '.jsonl', segmentMs: 60_000, keepMs: 3_600_000, maxBytes: 50_000 });
    for (let i = 0; i < 200; i++) {
      await ring.append(CHUNK, T + i * 1000);
      expect(ring.bytes()).toBeLessThanOrEqual(50_000);
    }
    expect(ring.bytes()).toBeGreaterThan(40_000);
    expect(ring.cutShort()).toBeGreaterThan(0);
    const onDisk = await folder.list(RING_FILE);
    expect(onDisk.reduce((sum, f) => sum + f.bytes, 0)).toBe(ring.bytes());
  });

  it('shrinks when the disk is full, and grows again', async () => {
    const folder = await openKeptFolder(freshFolder());
    let disk = 20_000;
    const ring = await openRing({
      folder,
      ending: '.jsonl',
      segmentMs: 5000,
      keepMs: 3_600_000,
      maxBytes: 1 << 20,
      async append(path, piece) {
        const used = (await folder.list(/./)).reduce((sum, f) => sum + f.bytes, 0);
        if (used + piece.length > disk) throw full();
        await appendWhole(path, piece);
      },
    });
    for (let i = 0; i < 100; i++) await ring.append(CHUNK, T + i * 1000);
    expect(ring.bytes()).toBeLessThanOrEqual(20_000);
    expect(ring.segments.at(-1)!.startMs).toBeGreaterThanOrEqual(T + 95_000);
    disk = 8000;
    for (let i = 100; i < 120; i++) await ring.append(CHUNK, T + i * 1000);
    expect(ring.bytes()).toBeLessThanOrEqual(8000);
    disk = 0;
    await expect(ring.append(CHUNK, T + 120_000)).rejects.toThrow('no space');
    disk = 1 << 20;
    for (let i = 121; i < 160; i++) await ring.append(CHUNK, T + i * 1000);
    expect(ring.bytes()).toBeGreaterThan(30_000);
  });

  it('outlives a clock that is set back or forth', async () => {
    const folder = await openKeptFolder(freshFolder());
    const ring = await openRing({ folder, ending: '.jsonl', segmentMs: 5000, keepMs: 60_000, maxBytes: 1 << 20 });
    for (const at of [T, T + 86_400_000 * 365, T, T + 1000, T - 86_400_000, T - 86_390_000])
      await ring.append(CHUNK, at);
    for (let i = 0; i < 100; i++) await ring.append(CHUNK, T - 86_390_000 + i * 1000);
    expect(ring.segments.length).toBeLessThan(20);
    expect(ring.segments.length).toBeGreaterThan(10);
  });
});
