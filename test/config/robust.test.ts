/** Whatever the file says, reading it ends with a result: never a throw, never an endless loop. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { expand } from '../../config/expand.ts';
import { loadConfig } from '../../config/load.ts';
import { createReader, readConfig, readSet } from '../../config/providers.ts';
import { formatIssue } from '../../config/report.ts';
import { toPlain } from '../../config/tree.ts';
import { testRegistry, VALID } from '../kit/config.ts';

const read = (text: string) =>
  loadConfig(
    { configs: [`yaml:${text}`], sets: [] },
    { registry: testRegistry, env: { A: '${env:B}', B: 'x' }, cwd: '/' },
  );

const LINES = VALID.split('\n');

describe('reading a config', () => {
  test('survives any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 200, unit: 'binary' }), async (text) => {
        const result = await read(text);
        expect(result.ok).toBe(false);
        expect(result.mistakes.length).toBeGreaterThan(0);
      }),
      { numRuns: 200 },
    );
  });

  test('survives any change of a line, and says a place for every mistake', async () => {
    const pieces = [
      '\t',
      '{',
      '[',
      ']',
      ': ',
      '- ',
      '&a ',
      '*a',
      '${',
      '}',
      '$',
      '"',
      "'",
      '#',
      '|',
      '>',
      '? ',
      '!x ',
      '%',
      '\u0000',
      'null',
      '[]',
      '<<: ',
    ];
    await fc.assert(
      fc.asyncProperty(
        fc.nat(LINES.length - 1),
        fc.nat(40),
        fc.array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 4 }),
        async (line, column, parts) => {
          const lines = [...LINES];
          lines[line] = lines[line]!.slice(0, column) + parts.join('') + lines[line]!.slice(column);
          const result = await read(lines.join('\n'));
          expect(result.ok || result.mistakes.length > 0).toBe(true);
          for (const mistake of result.mistakes) expect(mistake.place).toBeDefined();
        },
      ),
      { numRuns: 400 },
    );
  });

  test.each([
    'constructor',
    '__proto__',
    'toString',
    'hasOwnProperty',
    'valueOf',
  ])('survives the name %s everywhere', async (name) => {
    const texts = [
      `${name}: {}\n${VALID}`,
      `processors: { ${name}: }\n${VALID}`,
      `processors: { memory_limiter: { ${name}: 1, limit_mib: "\${${name}}", check_interval: 5${name} } }\n${VALID}`,
      `extensions: { health_check: { endpoint: "\${env:${name}}" } }\n${VALID}`,
      VALID.replace('inference', name),
      VALID.replace('[otlp]', `[otlp, ${name}]`),
      VALID.replace('nop:', `otlp_http: { endpoint: "http://a", headers: { ${name}: x }, compression: ${name} }`),
    ];
    for (const text of texts) {
      const result = await loadConfig(
        { configs: [`yaml:${text}`], sets: [`${name}.${name}=${name}`] },
        { registry: testRegistry, env: process.env, cwd: '/' },
      );
      expect(result.ok).toBe(false);
      expect(result.mistakes.map((issue) => formatIssue(issue)).join('\n')).not.toContain('[native code]');
    }
  });

  test('survives any value at any place', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('receivers', 'processors', 'exporters', 'extensions', 'service', 'connectors'),
        fc.jsonValue({ maxDepth: 3 }),
        async (key, value) => {
          const config = { ...(parse(VALID) as object), [key]: value };
          const result = await read(JSON.stringify(config));
          expect(result.ok || result.mistakes.length > 0).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('keeps every value of a document as the YAML library reads it', () => {
    const reader = createReader({ env: {}, cwd: '/' });
    fc.assert(
      fc.property(
        fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.jsonValue({ maxDepth: 3, noUnicodeString: true })),
        (value) => {
          const text = JSON.stringify(value);
          // A dollar sign is ours, and so is a key with two colons.
          fc.pre(!text.includes('$') && Object.keys(value).length > 0 && !text.includes('<<'));
          const node = expand(readConfig(`yaml:${text}`, 0, reader)!, reader);
          expect(JSON.parse(JSON.stringify(toPlain(node)))).toEqual(JSON.parse(JSON.stringify(parse(text))));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('--set survives any text', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 50 }), (text) => {
        const reader = createReader({ env: {}, cwd: '/' });
        const node = readSet(text, reader);
        expect(node !== undefined || reader.issues.length > 0).toBe(true);
      }),
    );
  });
});
