import { describe, expect, test } from 'vitest';
import { validate } from '../../commands/validate.ts';
import { runCommand } from '../kit/command.ts';
import { folder, VALID } from '../kit/config.ts';

const BROKEN = VALID.replace('[otlp]', '[otpl]').replace('nop:\n', 'nop:\n  page:\n');

describe('enginelight validate', () => {
  test('a valid config exits with 0 and says what it holds', async () => {
    const cwd = folder({ 'config.yaml': VALID });
    expect(await runCommand(validate, ['--config', 'config.yaml'], { cwd })).toEqual({
      code: 0,
      out: 'valid: 1 pipeline, 2 components\n',
      err: '',
    });
  });

  test('a broken one exits with 1 and says every mistake, then every warning, without colour', async () => {
    const cwd = folder({ 'config.yaml': BROKEN });
    expect(await runCommand(validate, ['--config=config.yaml'], { cwd })).toEqual({
      code: 1,
      out: '',
      err: `config.yaml:9:19: error: service::pipelines::inference: references receiver "otpl" which is not configured; did you mean "otlp"?
    configured receivers: otlp
config.yaml:5:3: warning: exporters::page: exporter "page" is defined but not used
    it is not started: name it in a pipeline, or delete it
1 mistake, 1 warning
`,
    });
  });

  test('colour is for terminals, and NO_COLOR turns it off', async () => {
    const cwd = folder({ 'config.yaml': BROKEN });
    const coloured = await runCommand(validate, ['config.yaml'], { cwd, terminal: true });
    expect(coloured.err).toContain('\u001b[31merror:\u001b[39m');
    const plain = await runCommand(validate, ['config.yaml'], { cwd, terminal: true, env: { NO_COLOR: '1' } });
    expect(plain.err).not.toContain('\u001b');
  });

  test('control characters of a file do not reach the terminal', async () => {
    const cwd = folder({ 'config.yaml': VALID.replace('nop:\n', 'nop:\n  "\\e[31mx": {}\n') });
    const { err } = await runCommand(validate, ['config.yaml'], { cwd });
    expect(err).toContain('\\x1b[31mx');
    expect(err).not.toContain('\u001b');
  });

  test('--json gives the same as data', async () => {
    const cwd = folder({ 'config.yaml': BROKEN });
    const { code, out } = await runCommand(validate, ['--json', 'config.yaml'], { cwd });
    expect(code).toBe(1);
    expect(JSON.parse(out)).toEqual({
      valid: false,
      mistakes: [
        {
          severity: 'error',
          place: { file: 'config.yaml', line: 9, column: 19 },
          path: 'service::pipelines::inference',
          message: 'references receiver "otpl" which is not configured; did you mean "otlp"?',
          hint: 'configured receivers: otlp',
        },
      ],
      warnings: [expect.objectContaining({ severity: 'warning', path: 'exporters::page' })],
    });
  });

  test('files without a flag, --set and variables count', async () => {
    const cwd = folder({ 'a.yaml': VALID, 'b.yaml': 'exporters: { page: { endpoint: "${env:AT}" } }\n' });
    const ran = await runCommand(
      validate,
      ['--config', 'a.yaml', 'b.yaml', '--set', 'service.pipelines.inference.exporters=[nop, page]'],
      { cwd, env: { AT: '127.0.0.1:1' } },
    );
    expect(ran).toEqual({ code: 0, out: 'valid: 1 pipeline, 3 components\n', err: '' });
  });

  test.each<[string[], string]>([
    [[], 'at least one config flag must be provided: --config FILE'],
    [['--confg', 'x'], 'unknown flag --confg; did you mean --config?'],
    [['--config'], '--config needs a value: --config FILE'],
    [['--config', '--set', 'a=b'], '--config needs a value: --config FILE'],
    [['--json=yes', 'x'], '--json takes no value'],
  ])('%j is wrong usage', async (args, message) => {
    const ran = await runCommand(validate, args);
    expect(ran.code).toBe(2);
    expect(ran.err.split('\n')[0]).toBe(message);
  });

  test('--help explains the flags', async () => {
    const { code, out } = await runCommand(validate, ['--help']);
    expect(code).toBe(0);
    expect(out).toContain('Usage: enginelight validate --config FILE…');
    expect(out).toContain('-c, --config FILE');
  });

  test('a config of forty exporters is checked', async () => {
    const many = Array.from({ length: 40 }, (_, i) => `  otlp_http/${i}: { endpoint: "http://h${i}:4318" }`).join('\n');
    const names = Array.from({ length: 40 }, (_, i) => `otlp_http/${i}`).join(', ');
    const cwd = folder({
      'config.yaml': VALID.replace('nop:\n', `nop:\n${many}\n`).replace('[nop]', `[nop, ${names}]`),
    });
    const { code } = await runCommand(validate, ['config.yaml'], { cwd });
    expect(code).toBe(0);
  });
});
