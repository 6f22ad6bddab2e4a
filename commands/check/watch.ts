/** The daemon's pipeline over some addresses for a while, with what came out kept by target. */
import { type Recognition, recognise } from '../../config/catalog.ts';
import { loadConfig } from '../../config/load.ts';
import { formatIssue } from '../../config/report.ts';
import { options } from '../../config/schema.ts';
import type { SignalInfo } from '../../config/signals.ts';
import { defineExporter, type Registry } from '../../pipeline/component.ts';
import { createGraph } from '../../pipeline/graph.ts';
import type { Clock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import { type Report, reportBuilder } from '../../pipeline/kit/report.ts';
import { incidentOf, isoTime, type Severity } from '../../pipeline/kit/verdict.ts';
import { type Batch, isNumberPoint, isStale } from '../../pipeline/model.ts';
import { createTelemetry } from '../../pipeline/telemetry.ts';

export interface WatchRequest {
  readonly registry: Registry;
  readonly urls: readonly string[];
  readonly forMs: number;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly signals: ReadonlyMap<string, SignalInfo>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly writeLog: (line: string) => void;
}

export interface WatchedTarget {
  readonly url: string;
  readonly answers: boolean;
  readonly scrapes: number;
  /** Undefined where nothing answered. */
  readonly is: Recognition | undefined;
  /** Names of the vocabulary that it gives. */
  readonly signals: readonly string[];
  /** Names that it exposes. */
  readonly names: number;
}

export interface Watched {
  readonly targets: readonly WatchedTarget[];
  readonly report: Report;
  readonly worst: Severity | undefined;
  /** Rules that can never fire with these targets, and the signals they miss. */
  readonly blindRules: readonly { readonly rule: string; readonly missing: string }[];
}

interface Seen {
  answers: boolean;
  scrapes: number;
  readonly names: Set<string>;
  readonly signals: Set<string>;
}

/** What was found is given time to be explained before the watch ends early. */
const SETTLE_MS = 15_000;
const STEP_MS = 250;
/** Tells the targets apart in what comes out. */
const LABEL = 'checked';
const CHAIN = ['normalize', 'correlation', 'bottleneck', 'alerts'];

/** Watches until the time is over, or an incident was seen and had time to settle. Rejects if nothing could be started. */
export async function watch(request: WatchRequest): Promise<Watched> {
  const { clock, signals } = request;
  const builder = reportBuilder();
  const seen = new Map<string, Seen>(request.urls.map((_url, i) => [String(i), newSeen()]));
  const blind = new Map<string, string>();
  const open = new Set<string>();

  const take = (batch: Batch): void => {
    builder.add(batch);
    if (batch.signal === 'logs') {
      for (const record of batch.items) {
        const incident = incidentOf(record);
        if (incident?.state === 'open') open.add(incident.id);
      }
    } else if (batch.signal === 'metrics') {
      for (const point of batch.items) {
        const { metric, attributes, resource } = point.series;
        const { name } = metric;
        if (name === 'enginelight_alert_rule_blind') {
          if (!isStale(point)) blind.set(String(attributes['rule']), String(attributes['missing']));
          else blind.delete(String(attributes['rule']));
          continue;
        }
        const one = seen.get(String(resource.attributes[LABEL]));
        if (!one || isStale(point)) continue;
        if (name === 'up' && isNumberPoint(point)) {
          one.scrapes++;
          one.answers = Number(point.value) === 1;
        } else if (signals.has(name)) one.signals.add(name);
        else if (!name.startsWith('scrape_')) one.names.add(name);
      }
    }
  };

  const registry: Registry = {
    ...request.registry,
    exporters: [
      ...request.registry.exporters,
      defineExporter({
        type: 'checked',
        summary: 'Keeps what came out',
        stability: 'stable',
        signals: ['metrics', 'traces', 'logs'],
        config: options({}),
        async start() {
          return { consume: take, async stop() {} };
        },
      }),
    ],
  };
  const text = JSON.stringify({
    receivers: {
      engine: {
        targets: request.urls.map((url, i) => ({ url, labels: { [LABEL]: String(i) } })),
        collection_interval: `${request.intervalMs}ms`,
      },
    },
    processors: {
      ...Object.fromEntries(CHAIN.map((type) => [type, {}])),
      alerts: { blind_after: '10s', evaluation_interval: '2s' },
    },
    exporters: { checked: {} },
    service: { pipelines: { inference: { receivers: ['engine'], processors: CHAIN, exporters: ['checked'] } } },
  }).replaceAll('$', '$$$$');
  const loaded = await loadConfig({ configs: [`yaml:${text}`], sets: [] }, { ...request, registry });
  if (!loaded.ok) throw new Error(loaded.mistakes.map((issue) => formatIssue(issue)).join('\n'));
  const telemetry = createTelemetry();
  const log = createLogger({ clock, level: 'warn', write: request.writeLog });
  const graph = createGraph({ telemetry, clock, log });
  const began = clock.now();
  let until = began + request.forMs;
  let openSinceMs: number | undefined;
  try {
    await graph.turnInto(loaded.config);
    while (clock.now() < until) {
      await clock.sleep(Math.min(STEP_MS, until - clock.now()));
      if (openSinceMs === undefined && open.size > 0) {
        openSinceMs = clock.now();
        until = Math.min(until, openSinceMs + SETTLE_MS);
      }
    }
  } finally {
    await graph.stop();
  }
  return {
    targets: request.urls.map((url, i) => {
      const one = seen.get(String(i))!;
      const { names } = one;
      return {
        url,
        answers: one.answers,
        scrapes: one.scrapes,
        is: one.answers ? recognise(loaded.config.registry.catalog, names) : undefined,
        signals: [...one.signals].sort(),
        names: names.size,
      };
    }),
    report: builder.build({ window: { start: isoTime(began), end: isoTime(clock.now()) } }),
    worst: builder.worst(),
    blindRules: [...blind].map(([rule, missing]) => ({ rule, missing })),
  };
}

const newSeen = (): Seen => ({ answers: false, scrapes: 0, names: new Set(), signals: new Set() });
