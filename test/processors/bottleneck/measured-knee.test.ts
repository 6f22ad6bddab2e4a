import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engine, scenario } from './scenario.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'enginelight-knee-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What `enginelight baseline` keeps of a service whose knee is at 40 requests with one replica. */
function baseline(name: string, content: string | object): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}
const measured = (feasible: number | null) => ({
  schema: 'enginelight.baseline/v1',
  services: [
    {
      service: 'chat',
      replicas: 1,
      knee: { status: 'found', load: { value: 40, low: 36, high: 44 } },
      feasible: feasible === null ? null : { load: feasible, open: false },
    },
  ],
});
const detectors = (path: string) => ({ detectors: { 'capacity-knee': { baseline: path } } });

describe('a measured knee', () => {
  it('is used from the first minute, in proportion to the replicas', async () => {
    const run = await scenario(detectors(baseline('one.json', measured(null))));
    const engines = ['r0', 'r1'].map((id, i) => engine(run, id, {}, i + 1));
    // Two replicas carry 80: 60 are fine, 78 are nearly all.
    await run.run(180, (t) => {
      for (const e of engines) e.tell(t, { running: 30, waiting: 0 });
    });
    expect(run.findings().filter((f) => f.detector === 'capacity-knee' && f.state === 'firing')).toEqual([]);
    await run.run(600, (t) => {
      for (const e of engines) e.tell(t, { running: 39, waiting: 0 });
    });
    const found = run.findings().filter((f) => f.detector === 'capacity-knee' && f.state === 'firing');
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]!.summary).toContain('the knee that was measured is at 80');
    await run.stop();
  }, 60_000);

  it('gives way to a load within the objectives that is lower', async () => {
    const run = await scenario(detectors(baseline('slo.json', measured(20))));
    const only = engine(run, 'r0');
    await run.run(600, (t) => only.tell(t, { running: 25, waiting: 0 }));
    const found = run.findings().filter((f) => f.detector === 'capacity-knee' && f.state === 'firing');
    expect(found[0]?.summary).toContain('the load within the SLO that was measured is at 20');
    await run.stop();
  }, 60_000);

  it('that cannot be read is refused at the start, with its place and what is wrong', async () => {
    for (const [name, content, what] of [
      ['text.json', 'hello', 'it is no JSON'],
      ['other.json', { schema: 'enginelight.report/v1' }, 'it is no baseline'],
      ['odd.json', { schema: 'enginelight.baseline/v1', services: [{}] }, 'no name or no knee'],
    ] as const) {
      const path = baseline(name, content);
      await expect(scenario(detectors(path))).rejects.toThrow(what);
      await expect(scenario(detectors(path))).rejects.toThrow('detectors::capacity-knee::baseline');
    }
    await expect(scenario(detectors(join(folder, 'none.json')))).rejects.toThrow('cannot be used');
  });
});
