/** Every config in config/examples loads without a mistake or a warning, and the editors' schema agrees. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadCatalog } from '../../config/catalog.ts';
import { configSchema } from '../../config/json-schema.ts';
import { loadConfig } from '../../config/load.ts';
import { exporters } from '../../exporters/index.ts';
import { extensions } from '../../extensions/index.ts';
import type { Registry } from '../../pipeline/component.ts';
import { processors } from '../../processors/index.ts';
import { receivers } from '../../receivers/index.ts';

const FOLDER = fileURLToPath(new URL('../../config/examples/', import.meta.url));
const registry: Registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };
const files = readdirSync(FOLDER).filter((file) => file.endsWith('.yaml'));
const editorAjv = () =>
  new Ajv({ allErrors: true, allowUnionTypes: true }).addVocabulary(['errorMessage', 'patternErrorMessage']);
const accepts = editorAjv().compile(configSchema(registry));

describe('the example', () => {
  test.each(files)('%s loads without a mistake or a warning', async (file) => {
    const result = await loadConfig({ configs: [file], sets: [] }, { registry, env: {}, cwd: FOLDER });
    expect([...result.mistakes, ...result.warnings]).toEqual([]);
  });

  test.each(files)('%s is accepted by the schema for editors', (file) => {
    accepts(parse(readFileSync(join(FOLDER, file), 'utf8')));
    expect(accepts.errors ?? []).toEqual([]);
  });

  test.each(files)('%s begins by saying what it is for', (file) => {
    expect(readFileSync(join(FOLDER, file), 'utf8')).toMatch(/^(# yaml-language-server: .*\n)?# [A-Z].*\.?/);
  });
});
