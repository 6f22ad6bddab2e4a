import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { report } from '../../../exporters/report/index.ts';
import { type ManualClock, manualClock } from '../../../pipeline/kit/clock.ts';
import { findingRecord, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { type Batch, logsBatch } from '../../../pipeline/model.ts';
import { deepFreeze, testContext } from '../../kit/harness.ts';
import { aFinding, anIncident, clocks, GPU, T } from '../../kit/incident.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});
const freshFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'enginelight-report-'));
  folders.push(folder);
  return join(folder, 'reports');
};

async function open(options: Record<string, unknown> = {}) {
  const directory = freshFolder();
  const clock: ManualClock = manualClock(T + 20_000);
  const context = testContext({ kind: 'exporter', id: 'report', clock });
  const stage = await report.start(resolve(report.config, { directory, ...options }), context);
  const give = async (batch: Batch) => stage.consume(deepFreeze(batch));
  const files = () => readdirSync(directory).sort();
  return { directory, clock, context, stage, give, files };
}

/** Timers and the disk take turns. */
async function written(clock: ManualClock, done: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!done() && performance.now() < deadline) {
    await clock.advance(1000);
    await new Promise((r) => setImmediate(r));
  }
}

const incidentBatch = (over: Parameters<typeof anIncident>[0] = {}) =>
  logsBatch([findingRecord(aFinding(), T), incidentRecord(anIncident(over), T + 20_000)]);

describe('report exporter', () => {
  it('writes an HTML and a JSON file for an incident, readable by its user only', async () => {
    const { directory, clock, stage, give, files } = await open();
    for (const batch of clocks({ gpus: 4, seconds: 600, everyS: 5, slow: GPU.id })) await give(batch);
    await give(incidentBatch());
    await written(clock, () => files().length === 2);
    await stage.stop();
    expect(files()).toEqual(['20260501T120000Z_chat_inc-1.html', '20260501T120000Z_chat_inc-1.json']);
    for (const file of files()) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    const json = JSON.parse(readFileSync(join(directory, files()[1]!), 'utf8'));
    expect(json).toMatchObject({
      schema: 'enginelight.report/v1',
      incidents: [{ id: 'inc-1' }],
      findings: [{ id: 'f1' }],
    });
    const html = readFileSync(join(directory, files()[0]!), 'utf8');
    expect(html).toContain('Replica r1, rank 3');
    expect(html).toContain('class="own o0"');
  });

  it('follows its incident in the same files until it is over', async () => {
    const { directory, clock, stage, give, files } = await open({ formats: ['json'] });
    await give(incidentBatch());
    await written(clock, () => files().length === 1);
    const impact = { ...anIncident().impact, started_at: new Date(T - 60_000).toISOString(), ended_at: null };
    await give(incidentBatch({ state: 'resolved', impact }));
    await stage.stop();
    expect(files()).toEqual(['20260501T120000Z_chat_inc-1.json']);
    expect(JSON.parse(readFileSync(join(directory, files()[0]!), 'utf8')).incidents[0].state).toBe('resolved');
  });

  it('writes what is new when it stops', async () => {
    const { stage, give, files } = await open({ formats: ['html'], interval: '1h' });
    await give(incidentBatch());
    await stage.stop();
    expect(files()).toHaveLength(1);
  });

  it('keeps the newest reports only', async () => {
    const { stage, give, files } = await open({ formats: ['json'], max_reports: 2 });
    for (const hour of [0, 1, 2, 3]) {
      const started = new Date(T + hour * 3_600_000).toISOString();
      await give(incidentBatch({ id: `i${hour}`, impact: { ...anIncident().impact, started_at: started } }));
    }
    await stage.stop();
    expect(files()).toEqual(['20260501T140000Z_chat_i2.json', '20260501T150000Z_chat_i3.json']);
  });

  it('never leaves its folder, whatever a service is called', async () => {
    const { directory, stage, give, files } = await open({ formats: ['json'] });
    await give(incidentBatch({ id: '../../evil', service: '../../../etc/passwd\u0000' }));
    await stage.stop();
    expect(files()).toHaveLength(1);
    expect(files()[0]).toMatch(/^20260501T120000Z__/);
    expect(existsSync(join(directory, '..', 'evil'))).toBe(false);
  });

  it('tries again when the disk did not take a report, and says so', async () => {
    const { directory, clock, context, stage, give, files } = await open({ formats: ['json'] });
    rmSync(directory, { recursive: true });
    await give(incidentBatch());
    await written(clock, () => context.statuses.some((s) => s.status === 'recoverable_error'));
    expect(context.log.records.filter((r) => r.level === 'error').map((r) => r.message)).toEqual(
      expect.arrayContaining([expect.stringContaining('tried again')]),
    );
    const { mkdirSync } = await import('node:fs');
    mkdirSync(directory, { recursive: true });
    await stage.stop();
    expect(files()).toHaveLength(1);
  });

  it('refuses after it was stopped, and stops twice', async () => {
    const { stage, give } = await open();
    await stage.stop();
    await stage.stop();
    await expect(give(incidentBatch())).rejects.toThrow('stopping');
  });
});
