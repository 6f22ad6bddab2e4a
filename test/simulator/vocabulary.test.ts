import { expect, it } from 'vitest';
import { replay } from '../../commands/diagnose/replay.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { createTopology } from '../../pipeline/kit/topology.ts';
import { applyTopology } from '../../pipeline/kit/topology-records.ts';
import { readRecordingLine } from '../../pipeline/wire/recording.ts';
import { processors } from '../../processors/index.ts';
import { generateCase } from '../../simulator/cases.ts';
import { simulateCase } from '../../simulator/simulate.ts';

// An answer is compared with the truth by name: both have to call an entity the same, or a right answer counts as wrong.
it.each([
  'tp-link-slow',
  'ep-hot-expert',
  'slow-rank',
  'thermal-gpu',
  'kv-leak',
  'offload-slow',
])('the truth of %s names its entity as the topology does', async (fault) => {
  const sim = simulateCase(generateCase(3, { fault, durationS: 90, at: 30, forS: 50, load: 0.3 }));
  const topology = createTopology();
  const { records } = await replay([...sim.lines].map(readRecordingLine), {
    registry: { receivers: [], processors, exporters: [], extensions: [], catalog: loadCatalog() },
    configs: [],
    sets: [],
    env: {},
    cwd: '.',
    writeLog() {},
    only: ['normalize', 'correlation'],
  });
  for (const record of records) if (record.eventName === 'inference.topology') applyTopology(topology, record, 0);
  const names = [...topology.entities.values()].map((e) => `${e.kind}:${e.id}`);
  expect(names).toContain(sim.truth().roots[0]!.entity);
}, 60_000);
