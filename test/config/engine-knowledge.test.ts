import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describeCatalog, loadCatalog } from '../../config/catalog.ts';

const root = new URL('../../', import.meta.url).pathname;
/** Names long enough not to be ordinary words; those of every Prometheus client are nobody's. */
const names = new Set(
  describeCatalog(loadCatalog())
    .filter((row) => row.source !== 'process')
    .map((row) => row.metric)
    .filter((name) => name.length > 12),
);

describe('what one engine calls its numbers', () => {
  test('is a long list', () => {
    expect(names.size).toBeGreaterThan(2_000);
  });

  test.each(['config', 'pipeline', 'processors'])('is known to the catalogue, not to the code of %s', (folder) => {
    const found: string[] = [];
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      // What a detector tells a person to switch on has to be named as that person knows it.
      const text = readFileSync(join(root, folder, file), 'utf8').replace(/^\s*enable:.*(\n\s+['"`].*)*/gm, '');
      for (const [word] of text.matchAll(/[A-Za-z][\w:]+/g))
        if (names.has(word)) found.push(`${folder}/${file}: ${word}`);
    }
    expect(found).toEqual([]);
  });
});
