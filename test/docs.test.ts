/** Documents say what the code does: generated parts are up to date, and every config that is shown loads. */
import { existsSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { documents } from '../commands/settings-docs.ts';
import { loadCatalog } from '../config/catalog.ts';
import { SECTIONS } from '../config/checker.ts';
import { loadConfig } from '../config/load.ts';
import { exporters } from '../exporters/index.ts';
import { extensions } from '../extensions/index.ts';
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { processors } from '../processors/index.ts';
import { receivers } from '../receivers/index.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const registry: Registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };

describe('generated documents', () => {
  test('are what npm run docs would write', () => {
    expect([...documents(registry, ROOT).keys()].map((path) => relative(ROOT, path))).toEqual([]);
  });

  test('exist for every component: a README with its settings', () => {
    const missing = SECTIONS.flatMap((section) =>
      (registry[section] as readonly AnyDefinition[])
        .map((definition) => `${section}/${definition.type}/README.md`)
        .filter((path) => {
          const file = join(ROOT, path);
          return !existsSync(file) || !readFileSync(file, 'utf8').includes('<!-- /settings -->');
        }),
    );
    expect(missing).toEqual([]);
  });
});

/** The YAML blocks of a document that are whole configs. */
const configsIn = (path: string): string[] =>
  [...readFileSync(join(ROOT, path), 'utf8').matchAll(/^( *)```ya?ml\n([\s\S]*?)^\1```/gm)]
    .map(([, indent, text]) => text!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''))
    .filter((text) => /^service:/m.test(text) && /^receivers:/m.test(text) && /^exporters:/m.test(text));

describe('configs in documents load without a mistake or a warning', () => {
  const paths = [
    'README.md',
    'docs/config.md',
    'docs/deploy.md',
    'docs/telemetry.md',
    ...SECTIONS.flatMap((section) =>
      (registry[section] as readonly AnyDefinition[]).map((d) => `${section}/${d.type}/README.md`),
    ),
  ].filter((path) => existsSync(join(ROOT, path)));

  test.each(paths)('%s', async (path) => {
    for (const text of configsIn(path)) {
      // Plug-ins are named relative to the example they are part of.
      const cwd = text.includes('plugins:') ? join(ROOT, 'config/examples/plugin') : ROOT;
      const result = await loadConfig({ configs: [`yaml:${text}`], sets: [] }, { registry, env: {}, cwd });
      const warnings = result.warnings.filter((w) => !w.message.includes('unset environment variable'));
      expect([...result.mistakes, ...warnings]).toEqual([]);
    }
  });
});
