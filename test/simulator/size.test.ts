import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { injection, makeSpec } from '../../simulator/spec.ts';
import { writeCase } from '../../simulator/write.ts';

it('20 minutes of 8 replicas on 32 GPUs fit in 5 MiB', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'simulator-speed-'));
  try {
    const spec = makeSpec({
      seed: 4711,
      load: { rps: [[0, 30]] },
      inject: [injection({ kind: 'thermal-gpu', entity: 'node2/gpu5', at: 480, durationS: 600, dose: 0.3 })],
    });
    expect(spec.deploy.replicas).toBe(8);
    expect(spec.cluster.nodes * spec.cluster.gpusPerNode).toBe(32);
    const { bytes, truth } = await writeCase(spec, join(dir, 'case.jsonl.gz'));
    expect(truth.roots[0]!.id).toBe('thermal-throttle');
    expect(bytes).toBeLessThan(5 * 1048576);
  } finally {
    rmSync(dir, { recursive: true });
  }
}, 60_000);
