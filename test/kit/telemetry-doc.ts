/** The tables of docs/telemetry.md, from the code: the runtime's metrics, and the ones that components register. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { METRICS } from '../../pipeline/telemetry-metrics.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

export interface ComponentMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly description: string;
  /** Where it is registered, relative to the root. */
  readonly file: string;
}

/** Every `meter.counter('…')` and `meter.gauge('…')` in the source, under the name that readers show. */
export function componentMetrics(): ComponentMetric[] {
  const found = new Map<string, ComponentMetric>();
  for (const folder of ['receivers', 'processors', 'exporters', 'extensions', 'pipeline/kit']) {
    for (const file of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).sort()) {
      if (!file.endsWith('.ts')) continue;
      const path = `${folder}/${file}`;
      const source = ts.createSourceFile(path, readFileSync(join(ROOT, path), 'utf8'), ts.ScriptTarget.ES2023, true);
      visit(source, path, found);
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function visit(node: ts.Node, file: string, found: Map<string, ComponentMetric>): void {
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    const type = node.expression.name.text;
    const on = node.expression.expression.getText();
    if ((type === 'counter' || type === 'gauge') && /(^|\.)meter$/.test(on)) {
      const [name, description] = node.arguments;
      if (!name || !ts.isStringLiteralLike(name) || !description || !ts.isStringLiteralLike(description)) {
        throw new Error(`${file}: the name and the description of a metric must be literals: ${node.getText()}`);
      }
      const full = `enginelight_${name.text}${type === 'counter' && !name.text.endsWith('_total') ? '_total' : ''}`;
      if (!found.has(full)) found.set(full, { name: full, type, description: description.text, file });
    }
  }
  ts.forEachChild(node, (child) => visit(child, file, found));
}

const escaped = (text: string) => text.replaceAll('|', '\\|');

/** The two tables as Markdown, by the name of their markers. */
export function telemetryTables(): Record<'runtime' | 'components', string> {
  const runtime = Object.values(METRICS).map(
    ({ name, type, unit, level, labels, description }) =>
      `| \`${name}\` | ${type} | ${unit ? `\`${unit}\`` : ''} | ${level} | ${labels.map((l) => `\`${l}\``).join(' ')} | ${escaped(description)} |`,
  );
  const components = componentMetrics().map(
    ({ name, type, description }) => `| \`${name}\` | ${type} | ${escaped(description)} |`,
  );
  return {
    runtime: ['| name | type | unit | level | labels | what |', '|---|---|---|---|---|---|', ...runtime].join('\n'),
    components: ['| name | type | what |', '|---|---|---|', ...components].join('\n'),
  };
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. */
export function withTables(text: string): string {
  let out = text;
  for (const [name, table] of Object.entries(telemetryTables())) {
    const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
    const from = out.indexOf(open);
    const to = out.indexOf(close);
    if (from < 0 || to < from) throw new Error(`docs/telemetry.md lacks ${open} … ${close}`);
    out = `${out.slice(0, from + open.length)}\n${table}\n${out.slice(to)}`;
  }
  return out;
}
