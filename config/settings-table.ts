/** The settings of a component as a Markdown table, made from the one declaration of its options. */
import { type AnySchema, isOptionalSection } from './schema.ts';

interface Row {
  readonly name: string;
  readonly type: string;
  readonly fallback: string;
  readonly description: string;
}

/** A table with one row per setting; nested ones are written with dots, as `--set` takes them. */
export function settingsTable(schema: AnySchema): string {
  const rows = rowsOf(schema, '');
  if (rows.length === 0) return 'It has no settings.';
  return [
    '| Setting | Type | Default | Description |',
    '| --- | --- | --- | --- |',
    ...rows.map((row) => `| \`${row.name}\` | ${cell(row.type)} | ${cell(row.fallback)} | ${cell(row.description)} |`),
  ].join('\n');
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function rowsOf(schema: AnySchema, prefix: string): Row[] {
  const rows: Row[] = [];
  for (const [key, option] of Object.entries(schema.properties ?? {})) {
    const name = `${prefix}${key}`;
    const optional = isOptionalSection(schema, key);
    const required = (schema.required ?? []).includes(key) && option.default === undefined;
    rows.push({
      name,
      type: typeWords(option),
      fallback: required ? '**required**' : fallbackOf(option, optional),
      description: describe(option),
    });
    rows.push(...innerRows(option, name));
  }
  return rows;
}

function innerRows(option: AnySchema, name: string): Row[] {
  if (option.anyOf) return option.anyOf.flatMap((alternative) => innerRows(alternative, name));
  if (option.properties) return rowsOf(option, `${name}.`);
  if (option.items) return innerRows(option.items, `${name}[]`);
  if (typeof option.additionalProperties === 'object') return innerRows(option.additionalProperties, `${name}.<key>`);
  return [];
}

function describe(option: AnySchema): string {
  const notes = [
    option.description ?? '',
    option.deprecated === undefined ? '' : `*Deprecated: ${option.deprecated}.*`,
    option.ignored === undefined ? '' : `*Accepted, but has no effect: ${option.ignored}.*`,
  ];
  return notes.filter((note) => note !== '').join(' ');
}

function fallbackOf(option: AnySchema, optionalSection: boolean): string {
  if (optionalSection && option.properties) return 'off';
  if (option.properties) return '';
  if (option.default === undefined) return '';
  const text =
    typeof option.default === 'string' && option.default !== '' ? option.default : JSON.stringify(option.default);
  return `\`${text}\``;
}

/** What the setting takes, in words. */
function typeWords(option: AnySchema): string {
  if (option.anyOf) return [...new Set(option.anyOf.map(typeWords))].join(' or ');
  if (option.enum) return option.enum.map((word) => `\`${word}\``).join(', ');
  const formats: Record<string, string> = {
    duration: 'duration',
    size: 'size',
    endpoint: 'host:port',
    http_url: 'URL',
    path: 'path',
    secret: 'secret',
  };
  if (option.format !== undefined && formats[option.format] !== undefined) return formats[option.format]!;
  switch (Array.isArray(option.type) ? option.type[0] : option.type) {
    case 'string':
      return 'text';
    case 'integer':
      return 'integer';
    case 'number':
      return 'number';
    case 'boolean':
      return 'true, false';
    case 'array':
      return `list of ${option.items ? plural(typeWords(option.items)) : 'anything'}`;
    case 'object':
      if (option.properties) return 'section';
      return typeof option.additionalProperties === 'object'
        ? `map to ${typeWords(option.additionalProperties)}`
        : 'map';
    default:
      return 'anything';
  }
}

const plural = (words: string): string =>
  /^(text|URL|path|size|duration|secret|section|number|integer)$/.test(words) ? `${words}s` : words;

const START = '<!-- settings -->';
const END = '<!-- /settings -->';

/** A README with the part between its settings markers replaced; undefined if it lacks the markers. */
export function withSettings(readme: string, table: string): string | undefined {
  const start = readme.indexOf(START);
  const end = readme.indexOf(END);
  if (start < 0 || end < start) return undefined;
  return `${readme.slice(0, start + START.length)}\n${table}\n${readme.slice(end)}`;
}
