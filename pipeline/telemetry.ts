/**
 * The daemon's own numbers: plain counters that cost an addition, and gauges that are read when somebody collects. Who
 * collects, and over which protocol, is telemetry-readers.ts; nothing here knows OpenTelemetry's SDK.
 */
import type { ComponentKind, DropReason, Meter } from './component.ts';
import type { Signal } from './model.ts';
import { type Level, METRICS, type MetricInfo } from './telemetry-metrics.ts';

export type Labels = Readonly<Record<string, string>>;

/** One time series of a counter: add to `value`. */
export interface Cell {
  readonly labels: Labels;
  value: number;
}

/** A metric with its numbers, as collected. */
export interface Collected {
  readonly info: MetricInfo;
  readonly series: readonly { readonly labels: Labels; readonly value: number }[];
}

/** A component's meter; `close` forgets its gauges (its counters stay, so that they never go back). */
export interface MeterHandle {
  readonly meter: Meter;
  close(): void;
}

export interface Telemetry {
  /** The cell of a counter of the runtime, made on first use. */
  cell(info: MetricInfo, labels?: Labels): Cell;
  /** Registers what is read when somebody collects; returns what unregisters it. While `read` returns undefined, it is not shown. */
  observe(info: MetricInfo, labels: Labels, read: () => number | undefined): () => void;
  /** The meter of one component instance. */
  meter(kind: ComponentKind, id: string, pipeline?: string): MeterHandle;
  /** Everything up to the level, sorted by name. */
  collect(level: Level): Collected[];
  /** Items lost so far, summed over what they were lost in. */
  drops(): { readonly where: string; readonly signal: string; readonly reason: string; readonly items: number }[];
}

/** Series of one metric of one component; more are added up in one series labelled `overflow="true"`. */
const MAX_SERIES = 1000;

const RANK: Record<Level, number> = { basic: 0, normal: 1, detailed: 2 };

interface Family {
  readonly info: MetricInfo;
  readonly cells: Map<string, Cell>;
  readonly gauges: Set<{ labels: Labels; read: () => number | undefined }>;
}

const keyOf = (labels: Labels): string => {
  let key = '';
  for (const name in labels) key += `${name}\u0000${labels[name]}\u0000`;
  return key;
};

const DROPPED: Partial<Record<ComponentKind, MetricInfo>> = {
  receiver: METRICS.receiverDropped,
  processor: METRICS.processorDropped,
  exporter: METRICS.exporterDropped,
};

/** Makes an empty set of counters. */
export function createTelemetry(): Telemetry {
  const families = new Map<string, Family>();

  const family = (info: MetricInfo): Family => {
    let found = families.get(info.name);
    if (!found) {
      found = { info, cells: new Map(), gauges: new Set() };
      families.set(info.name, found);
    }
    return found;
  };

  const cellOf = ({ cells }: Family, labels: Labels): Cell => {
    const key = keyOf(labels);
    let cell = cells.get(key);
    if (!cell) {
      cell = { labels, value: 0 };
      cells.set(key, cell);
    }
    return cell;
  };

  const cell: Telemetry['cell'] = (info, labels = {}) => cellOf(family(info), labels);

  const observe: Telemetry['observe'] = (info, labels, read) => {
    const { gauges } = family(info);
    const entry = { labels, read };
    gauges.add(entry);
    return () => void gauges.delete(entry);
  };

  const meter: Telemetry['meter'] = (kind, id, pipeline) => {
    const own: Labels = pipeline === undefined ? { component: id } : { component: id, pipeline };
    const ownNamed: Labels = { kind, ...own };
    const releases: (() => void)[] = [];
    let seriesMade = 0;

    const info = (name: string, type: 'counter' | 'gauge', description: string, unit = ''): MetricInfo => {
      const full = `enginelight_${name.replace(/^enginelight_/, '')}`;
      return {
        name: type === 'counter' && !full.endsWith('_total') ? `${full}_total` : full,
        type,
        // A translation to Prometheus would add a unit that the name does not say.
        unit: (unit === 's' && !full.includes('seconds')) || (unit === 'By' && !full.includes('bytes')) ? '' : unit,
        description,
        level: 'normal',
        labels: Object.keys(ownNamed),
      };
    };
    const bySignal = (metric: MetricInfo) => {
      const cells = new Map<string, Cell>();
      return (signal: Signal, items: number, reason?: DropReason) => {
        const key = reason === undefined ? signal : `${signal} ${reason}`;
        let found = cells.get(key);
        if (!found) {
          found = cell(metric, reason === undefined ? { ...own, signal } : { ...own, signal, reason });
          cells.set(key, found);
        }
        found.value += items;
      };
    };
    const dropped = DROPPED[kind];
    const sent = bySignal(METRICS.exporterSent);
    const failed = bySignal(METRICS.exporterFailed);
    const lost = dropped && bySignal(dropped);

    return {
      meter: {
        counter(name, description, unit) {
          const made = family(info(name, 'counter', description, unit));
          // Shown as 0 from the start, unless it turns out that this counter is only added to with labels.
          const plain = cellOf(made, ownNamed);
          const plainKey = keyOf(ownNamed);
          let hidden = false;
          const labelled = new Map<string, Cell>();
          return {
            add(n, labels) {
              if (labels === undefined) {
                plain.value += n;
                if (hidden) made.cells.set(plainKey, plain);
                return;
              }
              if (!hidden && plain.value === 0) {
                made.cells.delete(plainKey);
                hidden = true;
              }
              const key = keyOf(labels);
              let found = labelled.get(key);
              if (!found) {
                const room = seriesMade++ < MAX_SERIES;
                found = cellOf(made, { ...ownNamed, ...(room ? labels : { overflow: 'true' }) });
                if (room) labelled.set(key, found);
              }
              found.value += n;
            },
          };
        },
        gauge(name, description, read, unit, labels) {
          if (seriesMade++ >= MAX_SERIES) return;
          releases.push(observe(info(name, 'gauge', description, unit), { ...ownNamed, ...labels }, read));
        },
        dropped: (signal, items, reason) => lost?.(signal, items, reason),
        sent: (signal, items) => sent(signal, items),
        failed: (signal, items) => failed(signal, items),
      },
      close() {
        for (const release of releases.splice(0)) release();
      },
    };
  };

  return {
    cell,
    observe,
    meter,
    collect(level) {
      const out: Collected[] = [];
      for (const { info, cells, gauges } of families.values()) {
        if (RANK[info.level] > RANK[level]) continue;
        const series = new Map<string, { labels: Labels; value: number }>();
        for (const [key, c] of cells) series.set(key, { labels: c.labels, value: c.value });
        for (const { labels, read } of gauges) {
          const value = readSafely(read);
          if (value !== undefined) series.set(keyOf(labels), { labels, value });
        }
        if (series.size > 0) out.push({ info, series: [...series.values()] });
      }
      return out.sort((a, b) => (a.info.name < b.info.name ? -1 : 1));
    },
    drops() {
      const out: { where: string; signal: string; reason: string; items: number }[] = [];
      for (const info of [
        METRICS.receiverDropped,
        METRICS.processorDropped,
        METRICS.exporterDropped,
        METRICS.pipelineDropped,
      ]) {
        for (const { labels, value } of families.get(info.name)?.cells.values() ?? []) {
          const kind = /_(receiver|processor|exporter|pipeline)_/.exec(info.name)![1]!;
          const where = `${kind} ${labels['component'] ?? labels['pipeline'] ?? ''}`;
          out.push({ where, signal: labels['signal'] ?? '', reason: labels['reason'] ?? '', items: value });
        }
      }
      return out;
    },
  };
}

/** A gauge whose component is broken must not take the page with it. */
function readSafely(read: () => number | undefined): number | undefined {
  try {
    const value = read();
    return value === undefined || Number.isNaN(value) ? undefined : value;
  } catch {
    return undefined;
  }
}
