import { describe, expect, test } from 'vitest';
import { components } from '../../commands/components.ts';
import { runCommand } from '../kit/command.ts';
import { folder } from '../kit/config.ts';

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
