/** The rules that come with enginelight, judged by the tests inside their files. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadCatalog } from '../../../config/catalog.ts';
import { builtInSignals } from '../../../config/signals.ts';
import { packFolder, rulesFromFiles, shownMistake } from '../../../pipeline/kit/rules/files.ts';
import { OWN_METRICS } from '../../../pipeline/kit/rules/read.ts';
import { termsOf } from '../../../pipeline/kit/rules/rule.ts';
import { runTests } from '../../../pipeline/kit/rules/run-tests.ts';
import { alerts } from '../../../processors/alerts/index.ts';
import { detectors } from '../../../processors/bottleneck/detectors/index.ts';

const signals = builtInSignals();
const files = rulesFromFiles([packFolder()], { signals, builtIn: true });
const rules = files.flatMap((file) => file.rules);

describe('the default pack', () => {
  test('has no mistake', () => {
    expect(files.flatMap((file) => file.problems.map(shownMistake))).toEqual([]);
    expect(files.length).toBe(readdirSync(packFolder()).length);
  });

  test.each(
    files.map((file) => [file.file.slice(file.file.lastIndexOf('/') + 1), file] as const),
  )('%s passes its tests', async (name, file) => {
    const results = await runTests(file, join(packFolder(), name), { alerts, signals, catalog: loadCatalog() });
    expect(results.flatMap((r) => r.failures.map((f) => `${r.name}: ${f}`))).toEqual([]);
    expect(results.length).toBeGreaterThan(0);
  });

  test('has a test for every rule that sees it fire', () => {
    const seen = new Set(
      files.flatMap((f) => f.tests.flatMap((t) => t.expect.filter((e) => e.firing.length > 0).map((e) => e.alert))),
    );
    expect(rules.map((r) => r.name).filter((name) => !seen.has(name))).toEqual([]);
  });

  test('names only signals that some source gives, and detectors that exist', () => {
    const given = new Set([...signals.keys(), ...Object.keys(OWN_METRICS)]);
    const known = new Set(detectors.map((d) => d.id));
    const terms = rules.flatMap((rule) => termsOf(rule.when));
    expect(terms.map((term) => term.signal).filter((signal) => !given.has(signal))).toEqual([]);
    const named = terms.flatMap((term) =>
      term.where.filter((w) => w.attribute === 'detector').flatMap((w) => w.values),
    );
    expect(named.filter((detector) => !known.has(detector))).toEqual([]);
  });

  test('says of each alert what it is about, and how bad it is, in a sentence', () => {
    expect(rules.filter((rule) => rule.annotations['summary'] === undefined).map((rule) => rule.name)).toEqual([]);
  });
});
