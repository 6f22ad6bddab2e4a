import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { loadCatalog } from '../../config/catalog.ts';
import { signalsDoc } from '../../config/signals-doc.ts';

test('docs/signals.md is what npm run docs would write', () => {
  const file = new URL('../../docs/signals.md', import.meta.url);
  expect(readFileSync(file, 'utf8')).toBe(signalsDoc(loadCatalog()));
});
