import { readFileSync, writeFileSync } from 'node:fs';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { METRICS } from '../../pipeline/telemetry-metrics.ts';
import { componentMetrics, withTables } from '../kit/telemetry-doc.ts';

const FILE = new URL('../../docs/telemetry.md', import.meta.url);
const text = readFileSync(FILE, 'utf8');

/** The members of a union of string literals in a source file. */
function unionOf(path: string, name: string): string[] {
  const url = new URL(`../../${path}`, import.meta.url);
  const source = ts.createSourceFile(path, readFileSync(url, 'utf8'), ts.ScriptTarget.ES2023, true);
  for (const statement of source.statements) {
    if (!ts.isTypeAliasDeclaration(statement) || statement.name.text !== name) continue;
    return (statement.type as ts.UnionTypeNode).types.map(
      (t) => ((t as ts.LiteralTypeNode).literal as ts.StringLiteral).text,
    );
  }
  throw new Error(`${path} has no type ${name}`);
}

describe('docs/telemetry.md', () => {
  it('lists every metric of the runtime and of the components, and no other (`npm run docs` rewrites the tables)', () => {
    const fresh = withTables(text);
    if (process.env['UPDATE_DOCS']) writeFileSync(FILE, fresh);
    else expect(text).toBe(fresh);
  });

  it('explains every reason of a drop, and no other', () => {
    const section = text.slice(text.indexOf('## Why items are dropped'), text.indexOf('## What components count'));
    const explained = [...section.matchAll(/^\| `([a-z_]+)` \|/gm)].map((m) => m[1]);
    expect(explained.sort()).toEqual(unionOf('pipeline/errors.ts', 'DropReason').sort());
  });
});

describe('the names of the own metrics', () => {
  const all = [
    ...Object.values(METRICS).map(({ name, type }) => ({
      name,
      type: type as string,
      file: 'pipeline/telemetry-metrics.ts',
    })),
    ...componentMetrics(),
  ];

  it.each(all)('$name is lower_snake_case with the prefix, and ends in _total exactly if it is a counter', (metric) => {
    expect(metric.name).toMatch(/^enginelight(_[a-z0-9]+)+$/);
    expect(metric.name.endsWith('_total')).toBe(metric.type === 'counter');
  });

  it('say their unit where it is one that a translation to Prometheus would append', () => {
    for (const { name, unit } of Object.values(METRICS)) {
      if (unit === 's') expect(name).toMatch(/_seconds(_total)?$/);
      if (unit === 'By') expect(name).toMatch(/_bytes(_total)?$/);
      expect(['', 's', 'By']).toContain(unit.startsWith('{') ? '' : unit);
    }
  });
});
