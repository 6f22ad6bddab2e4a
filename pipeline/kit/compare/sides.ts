/** What is compared: the runs of one side as histories of neutral signals, with what they carry; or a baseline that was kept. */

import { gauge, NO_ATTRIBUTES } from '../../model.ts';
import type { Baseline, ServiceBaseline } from '../baseline/baseline.ts';
import { serviceBaseline } from '../baseline/baseline.ts';
import type { LoadWatch, WatchedService } from '../baseline/watch.ts';
import type { History, Line, LineIds } from '../report-series.ts';

/** Knee and capacity of each service of a side. */
export type Carried = ReadonlyMap<string, ServiceBaseline>;

export interface LoadedSide {
  readonly histories: readonly History[];
  readonly carried: Carried;
}

/** All runs of a side together are one sweep. */
export function carriedBy(watches: readonly LoadWatch[]): Carried {
  const all = new Map<string, WatchedService>();
  for (const s of watches.flatMap((w) => w.services())) {
    const known = all.get(s.service);
    all.set(s.service, known ? { ...s, windows: [...known.windows, ...s.windows] } : s);
  }
  return new Map([...all].map(([name, s]) => [name, serviceBaseline(s, { objectives: {}, share: 0.99 })]));
}

const UNITS: Readonly<Record<string, string>> = {
  'inference.requests.finished': '{request}',
  'inference.tokens.generated': '{token}',
  'inference.kv.usage': '1',
};

/** A baseline's minutes as a history: what `compare` needs of it, per service. */
export function sideOfBaseline(baseline: Baseline): LoadedSide {
  const lines = new Map<string, Line[]>();
  let count = 0;
  for (const s of baseline.services) {
    for (const [signal, values] of Object.entries(s.minutes ?? {})) {
      count = Math.max(count, values.length);
      const numbers = Float64Array.from(values, (v) => (typeof v === 'number' ? v : Number.NaN));
      const ids: LineIds = {
        gpu: undefined,
        nic: undefined,
        replica: undefined,
        node: undefined,
        service: s.service,
        role: undefined,
      };
      const line: Line = {
        metric: gauge(signal, UNITS[signal] ?? 's'),
        attributes: NO_ATTRIBUTES,
        ids,
        kind: 'level',
        values: () => numbers,
      };
      lines.set(signal, [...(lines.get(signal) ?? []), line]);
    }
  }
  const history: History = {
    add() {},
    lines: (signal) => lines.get(signal) ?? [],
    changes: () => [],
    span: () => ({ startMs: Date.parse(baseline.window?.start ?? '') || 0, stepMs: 60_000, count }),
  };
  return { histories: [history], carried: new Map(baseline.services.map((s) => [s.service, s])) };
}

/** The services of a side. */
export function servicesOf(side: LoadedSide, signals: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const h of side.histories) {
    for (const signal of signals) for (const line of h.lines(signal)) names.add(line.ids.service ?? 'unknown_service');
  }
  return names;
}

/** The same side with its one service called otherwise: one model before, another after. */
export function renamed(side: LoadedSide, to: string): LoadedSide {
  return {
    histories: side.histories.map((h) => ({
      ...h,
      lines: (signal) => h.lines(signal).map((line) => ({ ...line, ids: { ...line.ids, service: to } })),
    })),
    carried: new Map([...side.carried.values()].map((s) => [to, s])),
  };
}
