/** Finds rows by name: which source a name belongs to, and what it maps to there. */
import { rowsOf } from './catalog-file.ts';
import type { CatalogSource } from './catalog-types.ts';
import { type Mapping, namesOf, normalName, type Operand, type RawMetric, readMapping } from './mapping.ts';
import { builtInSignals } from './signals.ts';

/** A row that a name leads to. `index` is the place of the name in the row: 0 is the newest. */
export interface Hit {
  readonly mapping: Mapping;
  readonly index: number;
}

interface Table {
  readonly rows: readonly RawMetric[];
  readonly compiled: (Mapping | undefined)[];
  /** Normal name -> pairs of row and index. */
  readonly byName: ReadonlyMap<string, readonly (readonly [row: number, index: number])[]>;
  /** Metrics that others are worked out with, by normal name. */
  readonly operands: ReadonlyMap<string, readonly Operand[]>;
}

const tables = new WeakMap<CatalogSource, Table>();

function tableOf(source: CatalogSource): Table {
  const known = tables.get(source);
  if (known) return known;
  const rows = rowsOf(source);
  const byName = new Map<string, (readonly [number, number])[]>();
  const loose = new Map<string, (readonly [number, number])[]>();
  const add = (map: typeof byName, name: string, hit: readonly [number, number]) => {
    const list = map.get(name);
    if (list) list.push(hit);
    else map.set(name, [hit]);
  };
  for (const [row, raw] of rows.entries()) {
    const counter = raw.type === 'counter' || (Array.isArray(raw.type) && raw.type.includes('counter'));
    for (const [index, { name }] of namesOf(raw).entries()) {
      const normal = normalName(name);
      add(byName, normal, [row, index]);
      if (counter) add(loose, normal.endsWith('_total') ? normal.slice(0, -6) : `${normal}_total`, [row, index]);
    }
  }
  // A counter is also known with or without its `_total`, unless that is another metric's name.
  for (const [name, hits] of loose) if (!byName.has(name)) byName.set(name, hits);
  const table: Table = { rows, compiled: [], byName, operands: operandsOf(rows) };
  tables.set(source, table);
  return table;
}

function operandsOf(rows: readonly RawMetric[]): Map<string, Operand[]> {
  const out = new Map<string, Operand[]>();
  for (const raw of rows) {
    for (const op of ['times', 'over', 'plus', 'minus', 'count'] as const) {
      for (const one of raw[op] === undefined ? [] : [raw[op]].flat()) {
        const { metric, when = {} } = (typeof one === 'string' ? { metric: one } : one) as {
          metric: string;
          when?: Record<string, string>;
        };
        const name = normalName(metric.replace(/\?$/, ''));
        const operand: Operand = {
          name,
          when: new Map(Object.entries(when).map(([k, v]) => [k, [v]])),
          optional: false,
        };
        const list = out.get(name) ?? [];
        if (!list.some((o) => sameWhen(o, operand))) list.push(operand);
        out.set(name, list);
      }
    }
  }
  return out;
}

const sameWhen = (a: Operand, b: Operand): boolean => JSON.stringify([...a.when]) === JSON.stringify([...b.when]);

function compile(source: CatalogSource, table: Table, row: number): Mapping {
  const known = table.compiled[row];
  if (known) return known;
  const signals = builtInSignals();
  const mapping = readMapping(
    table.rows[row]!,
    { source: source.name, ...source.defaults },
    (name) => source.signals.get(name) ?? signals.get(name),
  );
  if ('wrong' in mapping) throw new Error(`catalogue ${source.name}, row ${row + 1}: ${mapping.wrong.join('; ')}`);
  table.compiled[row] = mapping;
  return mapping;
}

/** Every row of a source, compiled. */
export const mappingsOf = (source: CatalogSource): readonly Mapping[] => {
  const table = tableOf(source);
  return table.rows.map((_, row) => compile(source, table, row));
};

/** The rows of a source that a normal name leads to. */
export function hitsIn(source: CatalogSource, name: string): readonly Hit[] {
  const table = tableOf(source);
  return (table.byName.get(name) ?? []).map(([row, index]) => ({ mapping: compile(source, table, row), index }));
}

/** How a normal name is an operand of other rows of a source. */
export const operandsIn = (source: CatalogSource, name: string): readonly Operand[] =>
  tableOf(source).operands.get(name) ?? [];

/** Whether a normal name can be one of a source, going by how it begins. The name without a wrapper's word, if it can. */
export function belongsTo(source: CatalogSource, name: string): string | undefined {
  if (source.extraNames.includes(name)) return name;
  for (const prefix of source.prefixes) {
    if (name.startsWith(prefix)) return name;
    for (const wrapper of source.wrappers) {
      if (name.startsWith(wrapper) && name.startsWith(prefix, wrapper.length)) return name.slice(wrapper.length);
    }
  }
  return undefined;
}
