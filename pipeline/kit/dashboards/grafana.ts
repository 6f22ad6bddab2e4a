/** Dashboards as Grafana's JSON (schema 42), over the names that our exporters give signals in Prometheus. */
import type { SignalInfo } from '../../../config/signals.ts';
import { familyOf, labelOfWordThere, promqlOfBuckets, promqlOfTerm } from '../rules/promql.ts';
import type { Dashboard, Panel, PanelSeries, Variable } from './dashboard.ts';

type Signals = ReadonlyMap<string, SignalInfo>;

const SOURCE = { type: 'prometheus', uid: '${datasource}' } as const;
const COLUMNS = 24;
const HEIGHTS: Readonly<Record<Panel['kind'], number>> = {
  timeseries: 8,
  stat: 4,
  table: 8,
  'state-timeline': 8,
  heatmap: 8,
};

/** Units of the vocabulary in Grafana's words. */
const UNITS: Readonly<Record<string, string>> = {
  s: 's',
  '1': 'percentunit',
  By: 'bytes',
  'By/s': 'Bps',
  Cel: 'celsius',
  W: 'watt',
  Hz: 'hertz',
  J: 'joule',
  '': 'short',
  none: 'short',
};

function unitOf(unit: string): string {
  const known = UNITS[unit];
  if (known !== undefined) return known;
  // `{request}/s` is requests per second; Grafana takes any suffix.
  const counted = /^\{(\w+)\}(\/s)?$/.exec(unit);
  if (!counted) return `suffix: ${unit}`;
  return counted[2] === undefined ? 'short' : `suffix: ${counted[1] === 'token' ? 'tok' : counted[1]}/s`;
}

/** `job=~"$service"` for each of the variables. */
const matchersOf = (words: readonly string[]): string[] =>
  words.map((word) => `${labelOfWordThere(word)}=~"$${variableName(word)}"`);

const variableName = (word: string): string => word.replace(/[^a-zA-Z0-9_]/g, '_');

/** The query of one series; `window` is Grafana's own, which follows the zoom. */
export function queryOf(series: PanelSeries, kind: Panel['kind'], signals: Signals): string {
  const labels = [...series.by.map(labelOfWordThere), ...(kind === 'heatmap' ? ['le'] : [])];
  const of = { signals, labels, window: '$__rate_interval', matchers: matchersOf(series.filters) };
  return kind === 'heatmap' ? promqlOfBuckets(series.term, of) : promqlOfTerm(series.term, of);
}

function legendOf(series: PanelSeries): string {
  const text = series.legend === '' ? series.by.map((word) => `{{${word}}}`).join(' ') : series.legend;
  return text.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_all, word: string) => `{{${labelOfWordThere(word)}}}`);
}

function targetsOf(panel: Panel, signals: Signals) {
  return panel.series.map((series, i) => {
    const now = panel.kind === 'table' || panel.kind === 'stat';
    return {
      refId: String.fromCharCode(65 + i),
      datasource: SOURCE,
      expr: queryOf(series, panel.kind, signals),
      legendFormat: legendOf(series),
      editorMode: 'code',
      // A stat draws its past as well; a table shows what is.
      range: panel.kind !== 'table',
      instant: panel.kind === 'table',
      format: panel.kind === 'table' ? 'table' : panel.kind === 'heatmap' ? 'heatmap' : 'time_series',
      ...(now ? {} : { exemplar: true }),
    } as const;
  });
}

function panelOf(panel: Panel, id: number, at: { x: number; y: number }, signals: Signals) {
  const steps = [
    { value: null, color: panel.badAt === undefined && panel.warnAt === undefined ? 'text' : 'green' },
    ...(panel.warnAt === undefined ? [] : [{ value: panel.warnAt, color: 'yellow' }]),
    ...(panel.badAt === undefined ? [] : [{ value: panel.badAt, color: 'red' }]),
  ];
  const marked = panel.warnAt !== undefined || panel.badAt !== undefined;
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.description,
    datasource: SOURCE,
    gridPos: { ...at, w: panel.width, h: HEIGHTS[panel.kind] },
    targets: targetsOf(panel, signals),
    ...(panel.kind === 'table' ? { transformations: tableColumns(panel) } : {}),
    options: optionsOf(panel),
    fieldConfig: {
      defaults: {
        unit: unitOf(panel.unit),
        ...(panel.kind === 'timeseries' ? { min: 0 } : {}),
        thresholds: { mode: 'absolute', steps },
        color: { mode: panel.kind === 'timeseries' ? 'palette-classic' : 'thresholds' },
        custom: customOf(panel, marked),
      },
      overrides: [],
    },
  } as const;
}

function optionsOf(panel: Panel): object {
  switch (panel.kind) {
    case 'timeseries':
      return {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
        tooltip: { mode: 'multi', sort: 'desc' },
      };
    case 'stat':
      return {
        reduceOptions: { values: false, calcs: ['lastNotNull'], fields: '' },
        colorMode: 'value',
        graphMode: 'area',
        textMode: panel.series.length > 1 ? 'value_and_name' : 'value',
        wideLayout: true,
      };
    case 'state-timeline':
      return {
        mergeValues: true,
        showValue: 'never',
        rowHeight: 0.8,
        legend: { displayMode: 'list', placement: 'bottom', showLegend: false },
      };
    case 'heatmap':
      return {
        calculate: false,
        yAxis: { unit: unitOf(panel.unit), axisPlacement: 'left' },
        color: { mode: 'scheme', scheme: 'Oranges', steps: 64 },
        legend: { show: true },
        cellGap: 1,
      };
    case 'table':
      return { showHeader: true, cellHeight: 'sm' };
  }
}

function customOf(panel: Panel, marked: boolean): object {
  if (panel.kind !== 'timeseries') return {};
  return {
    drawStyle: 'line',
    lineWidth: 1,
    fillOpacity: panel.stacked ? 30 : 0,
    showPoints: 'never',
    spanNulls: false,
    stacking: { mode: panel.stacked ? 'normal' : 'none', group: 'A' },
    thresholdsStyle: { mode: marked ? 'line' : 'off' },
  };
}

/** Only the labels and the value, in the order in which they tell things apart. */
function tableColumns(panel: Panel) {
  const labels = [...new Set(panel.series.flatMap((s) => s.by))].map(labelOfWordThere);
  return [
    { id: 'merge', options: {} },
    {
      id: 'organize',
      options: {
        excludeByName: { Time: true, ...(panel.unit === 'none' ? { Value: true, 'Value #A': true } : {}) },
        indexByName: Object.fromEntries([...labels, 'Value'].map((label, i) => [label, i])),
      },
    },
  ];
}

function variablesOf(variables: readonly Variable[], signals: Signals) {
  const source = {
    type: 'datasource',
    name: 'datasource',
    label: 'Data source',
    query: 'prometheus',
    refresh: 1,
  } as const;
  const chosen = variables.map(({ word, signal }, i) => {
    const info = signals.get(signal)!;
    const suffix = info.instrument === 'histogram' ? '_count' : '';
    const before = matchersOf(variables.slice(0, i).map((v) => v.word)).join(', ');
    const series = `${familyOf(signal, info.instrument, info)}${suffix}{${before}}`;
    const query = `label_values(${series}, ${labelOfWordThere(word)})`;
    return {
      type: 'query',
      name: variableName(word),
      label: word,
      datasource: SOURCE,
      definition: query,
      query: { query, refId: 'StandardVariableQuery' },
      refresh: 2,
      sort: 1,
      multi: true,
      includeAll: true,
      allValue: '.*',
      current: { selected: true, text: ['All'], value: ['$__all'] },
    } as const;
  });
  return [source, ...chosen];
}

/** Incidents as shaded stretches over every panel. */
function incidentMarks(variables: readonly Variable[]) {
  const own = variables.some((v) => v.word === 'service') ? `{${matchersOf(['service'])[0]}}` : '';
  return {
    name: 'Incidents',
    datasource: SOURCE,
    enable: true,
    iconColor: 'red',
    expr: `max by (incident, detector, entity, severity) (enginelight_incident_open${own})`,
    step: '30s',
    titleFormat: '{{severity}}: {{detector}}',
    textFormat: '{{entity}}',
    tagKeys: 'detector,entity',
  };
}

type PanelJson = ReturnType<typeof panelOf>;
interface RowJson {
  readonly id: number;
  readonly type: 'row';
  readonly title: string;
  readonly collapsed: boolean;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly panels: readonly PanelJson[];
}

/** The JSON that Grafana imports; a test holds its type against Grafana's own. */
export function grafanaDashboard(dashboard: Dashboard, signals: Signals) {
  const panels: (RowJson | PanelJson)[] = [];
  let id = 0;
  let y = 0;
  for (const row of dashboard.rows) {
    const head = { id: ++id, type: 'row' as const, title: row.title, collapsed: row.collapsed };
    const gridPos = { x: 0, y: y++, w: COLUMNS, h: 1 };
    const inside: PanelJson[] = [];
    let x = 0;
    let height = 0;
    for (const panel of row.panels) {
      if (x + panel.width > COLUMNS) {
        y += height;
        x = 0;
        height = 0;
      }
      inside.push(panelOf(panel, ++id, { x, y }, signals));
      x += panel.width;
      height = Math.max(height, HEIGHTS[panel.kind]);
    }
    y += height;
    // Grafana keeps the panels of a folded row inside it, and those of an open one behind it.
    panels.push({ ...head, gridPos, panels: row.collapsed ? inside : [] }, ...(row.collapsed ? [] : inside));
  }
  return {
    uid: `enginelight-${dashboard.name}`,
    title: `enginelight: ${dashboard.title}`,
    description: dashboard.description,
    tags: ['enginelight'],
    schemaVersion: 42,
    editable: true,
    // One crosshair over all panels: what moved first is what one looks for.
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    templating: { list: variablesOf(dashboard.variables, signals) },
    annotations: { list: [incidentMarks(dashboard.variables)] },
    links: [
      {
        title: 'enginelight',
        type: 'dashboards',
        tags: ['enginelight'],
        asDropdown: false,
        includeVars: true,
        keepTime: true,
        icon: 'external link',
        tooltip: '',
        targetBlank: false,
      },
    ],
    panels,
  } as const;
}
