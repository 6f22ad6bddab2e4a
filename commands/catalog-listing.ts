/** What the catalogue knows, for people: one line per metric name, grouped by source. */
import { type Catalog, type CatalogRow, describeCatalog } from '../config/catalog.ts';

export const sourceNames = (catalog: Catalog): string[] => [...new Set(catalog.sources.map((source) => source.name))];

/** The rows of the named sources; of all, if none is named. */
export const rowsOf = (catalog: Catalog, sources: readonly string[]): readonly CatalogRow[] =>
  describeCatalog(catalog).filter((row) => sources.length === 0 || sources.includes(row.source));

/** A table per source: name on the wire, its versions, type and unit, and the signal that it becomes. */
export function catalogText(catalog: Catalog, rows: readonly CatalogRow[]): string {
  const parts: string[] = [];
  for (const source of catalog.sources) {
    const own = rows.filter((row) => row.source === source.name);
    if (own.length === 0) continue;
    const mapped = own.filter((row) => row.to !== undefined).length;
    const lines = own.map((row) => [row.metric, versions(row), row.type, row.unit, signal(row)]);
    const widths = [0, 1, 2, 3].map((column) => Math.min(72, Math.max(...lines.map((line) => line[column]!.length))));
    const text = lines.map((line) => `  ${line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd());
    parts.push(
      `${source.name}: ${source.title}, ${own.length} metric names, ${mapped} of them neutral signals\n${text.join('\n')}\n`,
    );
  }
  return parts.join('\n');
}

/** `0.9.0..0.12.0`, `0.9.0..`, or nothing where every known version has it. */
const versions = ({ since, until }: CatalogRow): string =>
  since === undefined && until === undefined ? '' : `${since ?? ''}..${until ?? ''}`;

function signal(row: CatalogRow): string {
  if (row.to === undefined) return `-  ${row.note ?? row.brief}`;
  const attributes = Object.entries(row.attributes).map(([key, value]) => `${key}=${value}`);
  const form = [row.toInstrument, row.toUnit].filter((part) => part !== undefined).join(' ');
  return `-> ${row.to}${attributes.length > 0 ? `{${attributes.join(', ')}}` : ''}${form === '' ? '' : `  ${form}`}`;
}
