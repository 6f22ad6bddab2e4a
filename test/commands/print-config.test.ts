import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { printConfig } from '../../commands/print-config.ts';
import { runCommand } from '../kit/command.ts';
import { folder, VALID } from '../kit/config.ts';

const CONFIG = `receivers:
  scraper:
    targets: ["http://u:hunter2@a/metrics", { url: "http://b", labels: { replica: 0 } }]
    auth: { username: me, password: "\${env:TOKEN}" }
processors: { attributes: { actions: [ { key: price, action: insert, value: "$$5" } ] } }
exporters:
  otlphttp: { endpoint: "http://\${env:HOST:-backend}:4318", headers: { authorization: "Bearer hunter2" } }
service:
  pipelines:
    metrics: { receivers: [scraper], processors: [attributes], exporters: [otlphttp] }
`;

describe('enginelight print-config', () => {
  test('prints the resolved config with its defaults and no secret', async () => {
    const cwd = folder({ 'config.yaml': CONFIG });
    const { code, out, err } = await runCommand(printConfig, ['--config', 'config.yaml'], {
      cwd,
      env: { TOKEN: 'hunter2' },
    });
    expect(code).toBe(0);
    expect(out + err).not.toContain('hunter2');
    expect(parse(out)).toMatchObject({
      receivers: {
        scraper: {
          targets: ['http://u:[REDACTED]@a/metrics', { url: 'http://b', labels: { replica: '0' } }],
          collection_interval: '5s',
          auth: { username: 'me', password: '[REDACTED]' },
        },
      },
      processors: { attributes: { actions: [{ key: 'price', action: 'insert', value: '$$5' }] } },
      exporters: {
        otlphttp: {
          endpoint: 'http://backend:4318',
          headers: { authorization: '[REDACTED]' },
          timeout: '30s',
          compression: 'gzip',
          sending_queue: { enabled: true, queue_size: 1000 },
        },
      },
      service: {
        extensions: [],
        pipelines: { metrics: { receivers: ['scraper'], processors: ['attributes'], exporters: ['otlphttp'] } },
        telemetry: { logs: { level: 'info' } },
        shutdown_timeout: '30s',
      },
    });
  });

  test('what it prints is a config that prints the same', async () => {
    const cwd = folder({ 'config.yaml': CONFIG });
    const first = await runCommand(printConfig, ['config.yaml'], { cwd, env: { TOKEN: 'x' } });
    const again = folder({ 'config.yaml': first.out });
    const second = await runCommand(printConfig, ['config.yaml'], { cwd: again });
    expect(second.code).toBe(0);
    expect(second.out).toBe(first.out);
  });

  test('--format json prints the same as JSON', async () => {
    const cwd = folder({ 'config.yaml': VALID });
    const yaml = await runCommand(printConfig, ['config.yaml'], { cwd });
    const json = await runCommand(printConfig, ['config.yaml', '--format', 'json'], { cwd });
    expect(JSON.parse(json.out)).toEqual(parse(yaml.out));
  });

  test('a broken config is not printed; its mistakes are', async () => {
    const cwd = folder({ 'config.yaml': VALID.replace('[otlp]', '[otpl]') });
    const { code, out, err } = await runCommand(printConfig, ['config.yaml'], { cwd });
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err).toContain('did you mean "otlp"?');
  });

  test('secrets cannot be had', async () => {
    const { code, err } = await runCommand(printConfig, ['config.yaml', '--mode', 'unredacted']);
    expect(code).toBe(2);
    expect(err).toContain('secrets are never printed');
  });

  test('an unknown format names the nearest', async () => {
    const { code, err } = await runCommand(printConfig, ['config.yaml', '--format', 'yml']);
    expect(code).toBe(2);
    expect(err).toContain('--format yml: expected yaml or json; did you mean yaml?');
  });
});
