import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { score } from '../../../commands/score.ts';
import { loadCatalog } from '../../../config/catalog.ts';
import { exporters } from '../../../exporters/index.ts';
import { extensions } from '../../../extensions/index.ts';
import { processors } from '../../../processors/index.ts';
import { receivers } from '../../../receivers/index.ts';
import { injection } from '../../../simulator/spec.ts';
import { writeCase } from '../../../simulator/write.ts';
import { runCommand } from '../../kit/command.ts';
import { small } from '../../simulator/kit.ts';

/** Four GPUs: what is shown here is the way from file to table, not the verdict. */
const LITTLE = {
  cluster: { nodes: 2, gpusPerNode: 2 },
  deploy: { tp: 2, model: '32b-like' },
  load: { rps: [[0, 3]] },
} as const;

const registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };

describe('enginelight score on a person’s own recordings', () => {
  let cwd: string;
  let gpu: string;
  const label = (roots: unknown) => writeFileSync(join(cwd, 'mine.truth.json'), JSON.stringify({ roots }));
  const run = (...args: string[]) => runCommand(score, args, { cwd, registry });

  beforeAll(async () => {
    cwd = mkdtempSync(join(tmpdir(), 'enginelight-score-'));
    const inject = [injection({ kind: 'thermal-gpu', entity: 'node0/gpu1', at: 180, durationS: 150, dose: 0.3 })];
    const { truth } = await writeCase(small({ ...LITTLE, durationS: 330, inject }), join(cwd, 'mine.jsonl.gz'));
    gpu = truth.roots[0]!.entity;
  }, 180_000);
  afterAll(() => rmSync(cwd, { recursive: true, force: true }));

  it('judges them by a label of one line, and compares with the run before', async () => {
    label([{ id: 'thermal-throttle', entity: gpu, onset: 180, end: 330 }]);
    const first = await run('mine.jsonl.gz');
    expect([first.code, first.err]).toEqual([0, '']);
    expect(first.out).toMatch(/1 labelled recordings\n1 cases, 1 faults; 1 of them felt/);
    expect(first.out).toMatch(/enginelight {2,}100 % \[21-100\]/);
    expect(first.out).toContain('static thresholds');

    // The same verdict against another truth is wrong, and said to be.
    label([{ id: 'cpu-starvation', entity: 'node:node0', onset: 180, end: 330, fault: 'thermal-throttle' }]);
    const second = await run('mine.jsonl.gz');
    expect(second.out).toMatch(/Against the previous run, 1 cases in common/);
    expect(second.out).toMatch(/enginelight {2,}0 % \[0-79\]/);
  }, 180_000);

  it('says what is wrong with a label, and judges the others', async () => {
    label([{ id: 'thermal-throttle', entity: 'GPU-3' }]);
    const ran = await run('mine.jsonl.gz', 'other.jsonl');
    expect(ran.code).toBe(1);
    expect(ran.err).toContain('not judged: mine.jsonl.gz');
    expect(ran.err).toContain('write kind:id, for example replica:r2');
    expect(ran.err).toMatch(/not judged: other\.jsonl: there is no label .*other\.truth\.json/);
  }, 180_000);

  it('refuses a seed of another tier, an unknown kind and a reference that is not there', async () => {
    expect((await run('--tier', 'train', '--seed', '200')).err).toContain('tier train has the seeds 1 to 199');
    expect((await run('--kind', 'thermal')).err).toContain('--kind thermal: there are thermal-gpu');
    expect((await run('--against', 'nothing.json')).err).toContain('there is no such file');
  });
});
