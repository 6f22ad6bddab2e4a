import { describe, expect, test } from 'vitest';
import { components } from '../../commands/components.ts';
import { loadCatalog } from '../../config/catalog.ts';
import { runCommand } from '../kit/command.ts';
import { folder, testRegistry } from '../kit/config.ts';

describe('enginelight components', () => {
  test('lists every kind with its types, signals, stability and one line each', async () => {
    const { code, out } = await runCommand(components, []);
    expect(code).toBe(0);
    expect(out).toBe(`receivers:
  otlp                  metrics traces logs  stable  Takes OTLP
  scraper               metrics              beta    Reads metrics pages

processors:
  memory_limiter        metrics traces logs  stable  Refuses when memory is short
  attributes            metrics traces logs  beta    Changes attributes
  spans_only            traces               alpha   Works on spans

exporters:
  otlp_http (otlphttp)  metrics traces logs  stable  Sends OTLP over HTTP
  page                  metrics              beta    Serves a metrics page
  nop                   metrics traces logs  stable  Forgets everything

extensions:
  health_check                               stable  Says how it is
`);
  });

  test('--json gives the same as data', async () => {
    const { out } = await runCommand(components, ['--json']);
    expect(JSON.parse(out)).toContainEqual({
      kind: 'exporter',
      type: 'otlp_http',
      aliases: ['otlphttp'],
      signals: ['metrics', 'traces', 'logs'],
      stability: 'stable',
      summary: 'Sends OTLP over HTTP',
    });
  });

  test('shows only what is named, under either spelling', async () => {
    const { out } = await runCommand(components, ['otlphttp', 'health_check']);
    expect(out.match(/^ {2}\S+/gm)).toEqual(['  otlp_http', '  health_check']);
    const wrong = await runCommand(components, ['otlp_htp']);
    expect([wrong.code, wrong.err]).toEqual([2, 'there is no component "otlp_htp"; did you mean "otlp_http"?']);
  });

  test('--catalog shows what each metric of a source becomes', async () => {
    const registry = { ...testRegistry, catalog: loadCatalog() };
    const { code, out } = await runCommand(components, ['--catalog', 'vllm'], { registry });
    expect(code).toBe(0);
    expect(out).toMatch(/^vllm: vLLM, \d+ metric names, \d+ of them neutral signals\n/);
    expect(out).toMatch(/vllm:num_requests_running +\S+ +gauge +\{request\} +-> inference\.requests\.running/);
    expect(out).not.toMatch(/^sglang/m);
    const json = await runCommand(components, ['--catalog', '--json'], { registry });
    const rows = JSON.parse(json.out) as { source: string; metric: string; to?: string }[];
    expect(rows.find((row) => row.source === 'vllm' && row.metric === 'vllm:num_requests_running')?.to).toBe(
      'inference.requests.running',
    );
    expect(new Set(rows.map((row) => row.source)).size).toBeGreaterThan(10);
    const wrong = await runCommand(components, ['--catalog', 'vlm'], { registry });
    expect([wrong.code, wrong.err]).toEqual([2, 'there is no source "vlm"; did you mean "vllm"?']);
  });

  test('the plug-ins of a config are listed too', async () => {
    const cwd = folder({
      'config.yaml': 'service: { plugins: [./p.mjs] }\n',
      'p.mjs': `export default ({ defineExporter, options }) => ({ exporters: [defineExporter({
        type: 'mine', summary: 'Mine', stability: 'alpha', signals: ['logs'], config: options({}), start: async () => {} })] });`,
    });
    const { code, out, err } = await runCommand(components, ['--config', 'config.yaml'], { cwd });
    expect(err).toBe('');
    expect(code).toBe(0);
    expect(out).toMatch(/ {2}mine +logs +alpha +Mine/);
  });

  test('a plug-in that cannot be loaded is a mistake', async () => {
    const cwd = folder({ 'config.yaml': 'service: { plugins: [./p.mjs] }\n' });
    const { code, out, err } = await runCommand(components, ['--config', 'config.yaml'], { cwd });
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toContain('config.yaml:1:22: error: service::plugins::0: plug-in "./p.mjs" is not found');
  });
});
