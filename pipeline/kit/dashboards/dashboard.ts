/**
 * Dashboards as data: which signals are shown together, told apart by what. They are written in `config/dashboards/*.yaml` in the
 * words of alert rules, so that a panel and an alert about the same thing ask the same question. Whoever renders them agrees here.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { configFile } from '../../../config/config-files.ts';
import type { SignalInfo } from '../../../config/signals.ts';
import { toPlain, valuePlace } from '../../../config/tree.ts';
import { parseYaml } from '../../../config/yaml.ts';
import { fields, isMap, type Path } from '../rules/fields.ts';
import type { FileMistake } from '../rules/files.ts';
import { OWN_METRICS, readTerm } from '../rules/read.ts';
import type { Term } from '../rules/rule.ts';

export const PANEL_KINDS = ['timeseries', 'stat', 'table', 'state-timeline', 'heatmap'] as const;
export type PanelKind = (typeof PANEL_KINDS)[number];

export interface PanelSeries {
  readonly term: Term;
  /** Words and attributes that tell the lines apart. */
  readonly by: readonly string[];
  /** With `{{word}}` for each of them; empty: all of them in a row. */
  readonly legend: string;
  /** Only these variables filter it. */
  readonly filters: readonly string[];
}

export interface Panel {
  readonly title: string;
  readonly kind: PanelKind;
  readonly description: string;
  /** A unit as the vocabulary writes it, such as `s`, `By/s`, `1`. */
  readonly unit: string;
  /** Of 24 columns. */
  readonly width: number;
  readonly stacked: boolean;
  /** Values from which the panel turns yellow and red; empty: neither. */
  readonly warnAt: number | undefined;
  readonly badAt: number | undefined;
  readonly series: readonly PanelSeries[];
}

export interface Row {
  readonly title: string;
  readonly collapsed: boolean;
  readonly panels: readonly Panel[];
}

/** A choice at the top of a dashboard: the values that a word has on a signal. */
export interface Variable {
  readonly word: string;
  readonly signal: string;
}

export interface Dashboard {
  /** The file's name without its ending; part of the address. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly rows: readonly Row[];
}

export interface LoadedDashboard {
  readonly file: string;
  readonly dashboard: Dashboard | undefined;
  readonly problems: readonly FileMistake[];
}

type Signals = ReadonlyMap<string, SignalInfo>;

/** The dashboards that come with enginelight. */
export function builtInDashboards(signals: Signals): LoadedDashboard[] {
  const folder = configFile('dashboards');
  return readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .sort()
    .map((name) => dashboardFromText(readFileSync(`${folder}/${name}`, 'utf8'), name, signals));
}

/** Reads the text of one dashboard file; what is wrong comes with its place. */
export function dashboardFromText(text: string, file: string, signals: Signals): LoadedDashboard {
  const parsed = parseYaml(text, (line, column) => ({ file, line, column }));
  const broken = parsed.issues.filter((issue) => issue.severity === 'error');
  if (broken.length > 0) {
    const problems = broken.map((i) => ({
      file,
      line: i.place?.line ?? 1,
      column: i.place?.column ?? 1,
      message: i.message,
    }));
    return { file, dashboard: undefined, problems };
  }
  const mistakes: { path: Path; message: string }[] = [];
  const dashboard = read(toPlain(parsed.node), basename(file).replace(/\.ya?ml$/, ''), signals, mistakes);
  const problems = mistakes.map(({ path, message }) => ({ file, ...lineAndColumn(parsed.node, path), message }));
  return { file, dashboard: problems.length > 0 ? undefined : dashboard, problems };
}

function lineAndColumn(node: Parameters<typeof valuePlace>[0], path: Path): { line: number; column: number } {
  const { line, column } = valuePlace(node, path);
  return { line, column };
}

function read(value: unknown, name: string, signals: Signals, mistakes: { path: Path; message: string }[]): Dashboard {
  const fail = (path: Path, message: string) => void mistakes.push({ path, message });
  const f = fields(value, [], fail);
  const variables: Variable[] = [];
  f.each('variables', (entry, path) => {
    const v = fields(entry, path, fail);
    const word = v.text('word');
    const signal = v.text('signal');
    if (word === undefined || signal === undefined) fail(path, 'a variable needs a word and a signal that has it');
    else if (!signals.has(signal)) fail([...path, 'signal'], `there is no signal ${signal}`);
    else variables.push({ word, signal });
    v.done();
  });
  const context = { signals, mistakes, fail, variables };
  const rows: Row[] = [];
  f.each('rows', (entry, path) => {
    const r = fields(entry, path, fail);
    const panels: Panel[] = [];
    const row = { title: r.text('title') ?? '', collapsed: r.flag('collapsed') ?? false };
    r.each('panels', (one, at) => {
      const panel = readPanel(one, at, context);
      if (panel) panels.push(panel);
    });
    r.done();
    rows.push({ ...row, panels });
  });
  const title = f.text('title');
  const description = f.text('description');
  if (title === undefined || description === undefined) fail([], 'a dashboard needs a title and a description');
  f.done();
  return { name, title: title ?? '', description: description ?? '', variables, rows };
}

interface Context {
  readonly signals: Signals;
  readonly mistakes: { path: Path; message: string }[];
  readonly fail: (path: Path, message: string) => void;
  readonly variables: readonly Variable[];
}

function readPanel(value: unknown, path: Path, context: Context): Panel | undefined {
  const { fail, signals } = context;
  const f = fields(value, path, fail);
  const title = f.text('title');
  if (title === undefined) fail(path, 'a panel needs a title');
  const kind = f.choice('kind', PANEL_KINDS) ?? 'timeseries';
  const series: PanelSeries[] = [];
  f.each('series', (entry, at) => {
    const one = readSeries(entry, at, context);
    if (one) series.push(one);
  });
  if (series.length === 0) fail(path, 'a panel needs at least one series');
  const unit = f.text('unit') ?? (series[0] ? unitOf(series[0].term, signals) : '');
  const meaning = series
    .map((s) => signals.get(s.term.signal))
    .filter((info) => info !== undefined)
    .map((info) => `${info.name}: ${info.meaning}.`);
  const said = f.text('description');
  const description = [...(said === undefined ? [] : [said]), ...new Set(meaning)].join('\n\n');
  const panel = {
    title: title ?? '',
    kind,
    description,
    unit,
    width: f.number('width') ?? (kind === 'stat' ? 4 : 8),
    stacked: f.flag('stacked') ?? false,
    warnAt: f.number('warn_at'),
    badAt: f.number('bad_at'),
    series,
  };
  f.done();
  return panel;
}

function readSeries(value: unknown, path: Path, context: Context): PanelSeries | undefined {
  const { fail, signals, mistakes, variables } = context;
  if (!isMap(value)) return void fail(path, 'a series is a map: { signal, fold, by, legend }');
  const { by: _by, legend: _legend, filters: _filters, ...rest } = value;
  const f = fields(
    Object.fromEntries(Object.entries(value).filter(([key]) => ['by', 'legend', 'filters'].includes(key))),
    path,
    fail,
  );
  const by = f.texts('by') ?? [];
  const legend = f.text('legend') ?? '';
  const filters = f.texts('filters') ?? variables.map((v) => v.word);
  for (const word of filters) {
    if (!variables.some((v) => v.word === word)) fail([...path, 'filters'], `there is no variable ${word}`);
  }
  f.done();
  // A panel shows what there is, however little; only alerts need enough of it.
  const term = readTerm({ min_count: 0, ...rest }, path, { signals, file: '', builtIn: true }, mistakes, 'above');
  return term && { term, by, legend, filters };
}

/** The unit of what is drawn. */
function unitOf(term: Term, signals: Signals): string {
  if (term.dividedBy || term.fold === 'share_above') return '1';
  const unit = signals.get(term.signal)?.unit ?? OWN_METRICS[term.signal] ?? '';
  if (term.fold !== 'rate') return unit;
  return unit === 's' ? '1' : `${unit}/s`;
}
