import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../config/load.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import type { MetricsBatch } from '../../pipeline/model.ts';
import { load, testRegistry } from '../kit/config.ts';
import { sink, testContext } from '../kit/harness.ts';

const using = (plugins: string) => `receivers: { scraper: }
exporters: { mine: }
service:
  plugins: ${plugins}
  pipelines: { metrics: { receivers: [scraper], exporters: [mine] } }
`;

const exporter = (type: string, more = '') => `defineExporter({
  type: '${type}', summary: 'Mine', stability: 'alpha', signals: ['metrics'],
  config: options({ path: t.string({ description: 'A path.', default: 'x' }) }), start: async () => {}, ${more} })`;
const GOOD = `export default ({ defineExporter, options, t }) => ({ exporters: [${exporter('mine')}] });`;

describe('a plug-in', () => {
  test('in a file beside the config adds a component, whose options are checked like any other', async () => {
    const files = { 'conf/p.mjs': GOOD, 'conf/main.yaml': using('[./p.mjs]') };
    const { result, mistakes } = await load('', { files, configs: ['conf/main.yaml'] });
    expect(mistakes).toEqual([]);
    expect(result.config!.exporters.get('mine')!.config).toEqual({ path: 'x' });
    expect(result.config!.service.plugins).toEqual(['./p.mjs']);
    expect(result.config!.registry.exporters.map((d) => d.type)).toContain('mine');

    const wrong = await load('', {
      files: { ...files, 'conf/main.yaml': using('[./p.mjs]').replace('mine:', 'mine: { paht: y }') },
      configs: ['conf/main.yaml'],
    });
    expect(wrong.mistakes[0]).toContain('did you mean "path"?');
  });

  test('in an npm package is found from the folder of the config, whatever kind of module it is', async () => {
    for (const [kind, manifest, file] of [
      ['import only', { exports: { '.': { import: './index.mjs' } } }, 'index.mjs'],
      ['main', { main: './lib.cjs' }, 'lib.cjs'],
      ['type module', { type: 'module', exports: './index.js' }, 'index.js'],
    ] as const) {
      const code = file.endsWith('.cjs') ? GOOD.replace('export default', 'module.exports =') : GOOD;
      const { mistakes, result } = await load(using('[some-plugin]'), {
        files: {
          'node_modules/some-plugin/package.json': JSON.stringify({
            name: 'some-plugin',
            version: '1.0.0',
            ...manifest,
          }),
          [`node_modules/some-plugin/${file}`]: code,
        },
      });
      expect([kind, mistakes]).toEqual([kind, []]);
      expect(result.ok).toBe(true);
    }
  });

  test('can be an object, with detectors that are passed on', async () => {
    const { result, mistakes } = await load(using('[./p.mjs]').replace('mine', 'nop').replace('[mine]', '[nop]'), {
      files: { 'p.mjs': 'export default { detectors: [{ id: "x" }] };' },
    });
    expect(mistakes).toEqual([]);
    expect(result.config!.registry.detectors).toEqual([{ id: 'x' }]);
  });

  test('adds catalogue entries, as a file beside it or as an object', async () => {
    const { result, mistakes } = await load(using('[./sub/p.mjs]').replace('mine', 'nop').replace('[mine]', '[nop]'), {
      files: {
        'sub/p.mjs': `export default { catalog: ['./mine.yaml', { name: 'other', kind: 'engine', metrics: [] }] };`,
        'sub/mine.yaml': `name: mine
kind: engine
prefixes: [mine_]
metrics:
  - { from: mine_running, to: inference.requests.running, type: gauge, unit: '{request}', brief: running }
`,
      },
    });
    expect(mistakes).toEqual([]);
    expect(result.config!.registry.catalog.sources.map((source) => source.name)).toEqual(['other', 'mine']);
  });

  test('that was not edited gives the same definitions again, so that a reload restarts nothing', async () => {
    const first = await load(using('[./p.mjs]'), { files: { 'p.mjs': GOOD } });
    const options = { registry: testRegistry, env: {}, cwd: first.cwd };
    const second = await loadConfig({ configs: ['config.yaml'], sets: [] }, options);
    const definitionOf = (result: typeof second) => result.config!.exporters.get('mine')!.definition;
    expect(definitionOf(second)).toBe(definitionOf(first.result));
  });

  test('that was edited is loaded anew by the next load', async () => {
    const files = { 'p.mjs': GOOD.replace("'x'", "'one'") };
    const first = await load(using('[./p.mjs]'), { files });
    expect(first.result.config!.exporters.get('mine')!.config).toEqual({ path: 'one' });
    const { utimesSync, writeFileSync } = await import('node:fs');
    writeFileSync(join(first.cwd, 'p.mjs'), GOOD.replace("'x'", "'two'"));
    utimesSync(join(first.cwd, 'p.mjs'), 1, 1);
    const second = await loadConfig(
      { configs: ['config.yaml'], sets: [] },
      { registry: testRegistry, env: {}, cwd: first.cwd },
    );
    expect(second.config!.exporters.get('mine')!.config).toEqual({ path: 'two' });
  });

  test.each<[string, string, string]>([
    ['does not exist', '', 'is not found: no such file '],
    ['throws', 'throw new Error("boom");', 'throws when it is loaded: Error: boom'],
    ['has a syntax error', 'export default {', 'throws when it is loaded: '],
    [
      'has a function that throws',
      'export default () => { throw new TypeError("no"); };',
      'throws when it is loaded: TypeError: no',
    ],
    ['exports nothing', 'export const x = 1;', 'is not a plug-in: it has no default export that is an object'],
    ['exports a list', 'export default [];', 'is not a plug-in: it has no default export that is an object'],
    ['adds nothing', 'export default {};', 'is not a plug-in: it adds nothing'],
    [
      'exports an unknown key',
      'export default { recievers: [] };',
      'is not a plug-in: it exports the unknown key "recievers"',
    ],
    ['has no list', 'export default { exporters: {} };', 'is not a plug-in: its "exporters" is not a list'],
    [
      'has a definition that was not defined',
      'export default { exporters: [{ type: "x" }] };',
      'is not a plug-in: its exporter "x" was not made with defineExporter',
    ],
    [
      'has a definition in the wrong list',
      `export default ({ defineExporter, options, t }) => ({ receivers: [${exporter('mine')}] });`,
      'is not a plug-in: its receiver "mine" is exporter, not receiver',
    ],
    [
      'has a type in the wrong case',
      `export default ({ defineExporter, options, t }) => ({ exporters: [${exporter('Mine-1')}] });`,
      'is not a plug-in: its exporter "Mine-1" needs a type in lower_snake_case',
    ],
    [
      'has the type of a built-in',
      `export default ({ defineExporter, options, t }) => ({ exporters: [${exporter('nop')}] });`,
      'adds the exporter "nop", but there is one of this type already',
    ],
    [
      'has the other spelling of a built-in',
      `export default ({ defineExporter, options, t }) => ({ exporters: [${exporter('mine', "aliases: ['otlphttp']")}] });`,
      'adds the exporter "otlphttp", but there is one of this type already',
    ],
    [
      'has one type twice',
      `export default ({ defineExporter, options, t }) => ({ exporters: [${exporter('mine')}, ${exporter('mine')}] });`,
      'adds the exporter "mine", but there is one of this type already',
    ],
    [
      'has a bad catalogue entry',
      'export default { catalog: [5] };',
      'adds the catalogue entry, which is not well formed',
    ],
  ])('that %s is a mistake with its place', async (_name, code, expected) => {
    const { mistakes } = await load(using('[./p.mjs]'), { files: code === '' ? {} : { 'p.mjs': code } });
    expect(mistakes.join('\n')).toContain(
      `config.yaml:4:13: error: service::plugins::0: plug-in "./p.mjs" ${expected}`,
    );
  });

  test('that is missing among others does not keep the others out', async () => {
    const { mistakes } = await load(using('[not-installed-here, ./p.mjs]'), { files: { 'p.mjs': GOOD } });
    expect(mistakes).toEqual([
      'config.yaml:4:13: error: service::plugins::0: plug-in "not-installed-here" is not found',
    ]);
  });
});

describe('the example plug-in', () => {
  const folder = fileURLToPath(new URL('../../config/examples/plugin/', import.meta.url));
  const registry = {
    ...testRegistry,
    exporters: testRegistry.exporters.map((d) => (d.type === 'nop' ? { ...d, type: 'debug' } : d)),
  };

  test('loads, receives and stamps', async () => {
    const result = await loadConfig({ configs: ['config.yaml'], sets: [] }, { registry, env: {}, cwd: folder });
    expect(result.mistakes).toEqual([]);
    expect(result.warnings).toEqual([]);
    const clock = manualClock();
    const out = sink();
    const { definition: stamp, config: stampConfig } = result.config!.processors.get('stamp')!;
    const { definition: heartbeat, config } = result.config!.receivers.get('heartbeat')!;
    const stage = await stamp.start(stampConfig, out, testContext({ clock, kind: 'processor' }));
    const running = await heartbeat.start(config, stage, testContext({ clock }));
    await clock.advance(10_000);
    await running.stop();
    await running.stop();
    await stage.stop();
    expect(out.points().map((point) => ('value' in point ? point.value : undefined))).toEqual([0, 5, 10]);
    const [first, second] = (out.batches as MetricsBatch[]).flatMap((batch) => batch.items);
    expect(first!.series.resource.attributes).toEqual({
      'service.name': 'heartbeat',
      'deployment.environment.name': 'staging',
    });
    expect(first!.series).toBe(second!.series);
  });

  test('is what the documentation shows', () => {
    const docs = readFileSync(new URL('../../docs/config.md', import.meta.url), 'utf8');
    expect(docs).toContain(readFileSync(join(folder, 'config.yaml'), 'utf8').trim());
  });
});
