import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { CommandIo } from '../commands/command.ts';
import { defaultConfig } from '../commands/default-config.ts';
import { loadConfig } from '../config/load.ts';
import { formatIssue } from '../config/report.ts';
import { main } from '../main.ts';
import type { Registry } from '../pipeline/component.ts';

async function cli(...args: string[]) {
  let out = '';
  let err = '';
  let loaded = false;
  const io: CommandIo = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    env: {},
    version: '9.9.9',
    registry: async () => {
      loaded = true;
      return { receivers: [], processors: [], exporters: [], extensions: [], catalog: { sources: [] } as never };
    },
  };
  const code = await main(args, io);
  return { code, out, err, loaded };
}

describe('the command line', () => {
  it('says its version', async () => {
    expect(await cli('--version')).toEqual({ code: 0, out: 'enginelight 9.9.9\n', err: '', loaded: false });
  });

  it('lists every command that exists, and each of them explains itself', async () => {
    const { out, code } = await cli('--help');
    expect(code).toBe(0);
    const commands = out
      .slice(out.indexOf('Commands:'), out.indexOf('Options:'))
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/)[0]!)
      .filter((name) => name !== '');
    expect(commands).toContain('run');
    for (const name of commands) {
      const { code: helpCode, out: help } = await cli(name, '--help');
      expect(helpCode, name).toBe(0);
      expect(help, name).toContain(`Usage: enginelight ${name}`);
    }
  });

  it('answers wrong usage with 2, what was meant, and where to look', async () => {
    expect(await cli('validat')).toMatchObject({
      code: 2,
      err: 'enginelight: there is no command "validat"; did you mean validate?\nTry: enginelight --help\n',
    });
    expect((await cli('--confg', 'x')).err).toContain('did you mean --config?');
    expect((await cli('--confg', 'x')).code).toBe(2);
    expect(await cli('ftp://10.0.0.7')).toMatchObject({ code: 2 });
    expect((await cli('http://10.0.0.7:8000', '--config', 'x.yaml')).err).toContain('either addresses or --config');
  });

  it('ends with 1 when the config has mistakes, and shows them', async () => {
    const { code, err } = await cli('--config', 'no/such/file.yaml');
    expect(code).toBe(1);
    expect(err).toContain('no/such/file.yaml');
  });

  it('has no file in commands/ that nobody can reach', () => {
    const folder = new URL('../commands/', import.meta.url);
    const files = readdirSync(folder).filter((file) => file.endsWith('.ts'));
    const text = [new URL('../main.ts', import.meta.url), ...files.map((file) => new URL(file, folder))]
      .map((url) => readFileSync(url, 'utf8'))
      .join('\n');
    for (const file of files) expect(text).toMatch(new RegExp(`'\\./(commands/)?${file}'`));
  });
});

describe('the default config', () => {
  const registry = async (): Promise<Registry> => {
    const [{ receivers }, { processors }, { exporters }, { extensions }, { loadCatalog }] = await Promise.all([
      import('../receivers/index.ts'),
      import('../processors/index.ts'),
      import('../exporters/index.ts'),
      import('../extensions/index.ts'),
      import('../config/catalog.ts'),
    ]);
    return { receivers, processors, exporters, extensions, catalog: loadCatalog() };
  };

  it.each([
    ['this machine', []],
    [
      'addresses, also with characters that mean something in YAML and in a config',
      ['http://a:1/$x?y={z}', 'http://b:2'],
    ],
  ])('for %s has no mistake and no warning', async (_what, urls) => {
    const text = defaultConfig(urls);
    const options = { registry: await registry(), env: {}, cwd: '/' };
    const { mistakes, warnings } = await loadConfig({ configs: [`yaml:${text}`], sets: [] }, options);
    expect([...mistakes, ...warnings].map((issue) => formatIssue(issue))).toEqual([]);
    for (const url of urls) expect(text.replaceAll('$$', '$')).toContain(url);
  });
});
