import { describe, expect, test } from 'vitest';
import { check } from '../../commands/check.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { exporters } from '../../exporters/index.ts';
import { extensions } from '../../extensions/index.ts';
import { processors } from '../../processors/index.ts';
import { receivers } from '../../receivers/index.ts';
import { runCommand } from '../kit/command.ts';
import { fakeTarget, page } from '../kit/targets.ts';

const registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };
const VLLM = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="m"} 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="m"} 0.3
`;
const WATCH = ['--for', '1s', '--interval', '100ms'];

describe('enginelight check', () => {
  test('says what answers, what it does not show, and what nobody answers', async () => {
    const engine = await fakeTarget(page(VLLM));
    const gone = await fakeTarget(page(VLLM));
    await gone.close();
    const ran = await runCommand(check, [engine.url.replace('http://', ''), gone.url, ...WATCH], { registry });
    expect(ran.code).toBe(1);
    expect(ran.out).toMatch(/127\.0\.0\.1:\d+: vLLM.*; 3 signals in \d+ reads?\n/);
    expect(ran.out).toContain('core signals that it does not show: inference.requests.finished');
    expect(ran.out).toContain(`${gone.url}: does not answer with metrics`);
    expect(ran.out).toContain('No incident.');
    expect(ran.out).toContain('Not judged, for want of evidence');
    // It only reads.
    expect(new Set(engine.asked.map((a) => a.method))).toEqual(new Set(['GET']));
  });

  test('gives the same as JSON', async () => {
    const engine = await fakeTarget(page(VLLM));
    const ran = await runCommand(check, [engine.url, '--json', ...WATCH], { registry });
    expect(ran.code).toBe(0);
    const got = JSON.parse(ran.out);
    expect(got.targets[0]).toMatchObject({ answers: true, engine: 'vllm' });
    expect(got.targets[0].signals).toEqual([
      'inference.kv.usage',
      'inference.requests.running',
      'inference.requests.waiting',
    ]);
    expect(got.report.schema).toBe('enginelight.report/v1');
  });

  test('refuses what is no address and no duration', async () => {
    expect((await runCommand(check, [])).err).toContain('name at least one address');
    expect((await runCommand(check, ['ftp://x'])).code).toBe(2);
    expect((await runCommand(check, ['x:1', '--for', '5'])).err).toContain('--for 5: write a duration');
  });
});
