/** A pipeline in this process for engines at given addresses, when no daemon runs. */
import { EventEmitter } from 'node:events';
import { loadConfig } from '../../config/load.ts';
import { formatIssue } from '../../config/report.ts';
import { options } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { createLive } from '../../pipeline/kit/live.ts';
import { reportOf } from '../../pipeline/kit/report.ts';
import { runDaemon } from '../../pipeline/runtime.ts';
import type { CommandIo } from '../command.ts';
import type { LiveSource } from '../live-client.ts';

const WINDOW_MS = 15 * 60_000;
const SERIES = 8000;
const ROWS = 512;

export interface Embedded extends LiveSource {
  /** What the pipeline complained about last. */
  complaint(): string | undefined;
  /** Stops the pipeline; resolves with its exit code. */
  stop(): Promise<number>;
}

/** Watches the engines at these addresses. */
export async function embedded(urls: readonly string[], io: CommandIo): Promise<Embedded> {
  const live = createLive({ windowMs: WINDOW_MS, series: SERIES, rows: ROWS, version: io.version });
  const built = await io.registry();
  const registry = {
    ...built,
    exporters: [
      ...built.exporters,
      defineExporter({
        type: 'top',
        summary: 'Shows what comes out on the screen of top',
        stability: 'stable',
        signals: ['metrics', 'traces', 'logs'],
        config: options({}),
        async start() {
          return { consume: (batch) => live.add(batch, systemClock.now()), async stop() {} };
        },
      }),
    ],
  };
  const known = new Set(registry.processors.map((p) => p.type));
  const processors = ['normalize', 'correlation', 'bottleneck'].filter((type) => known.has(type));
  // In a config, $ begins a variable.
  const text = JSON.stringify({
    receivers: { engine: { collection_interval: '2s', targets: urls.map((url) => url.replaceAll('$', '$$$$')) } },
    processors: Object.fromEntries(processors.map((type) => [type, {}])),
    exporters: { top: {} },
    service: {
      pipelines: { inference: { receivers: ['engine'], processors, exporters: ['top'] } },
      shutdown_timeout: '2s',
      telemetry: { logs: { level: 'warn' }, metrics: { level: 'none' } },
    },
  });
  const daemon = new EventEmitter();
  let said: string | undefined;
  const done = runDaemon({
    load: () =>
      loadConfig({ configs: [`yaml:${text}`], sets: [] }, { registry, env: io.env, cwd: io.cwd ?? process.cwd() }),
    format: (issue) => formatIssue(issue),
    clock: systemClock,
    version: io.version,
    process: daemon,
    writeLog: (line) => {
      said = line;
    },
    exitNow: () => {},
  });
  return {
    complaint: () => said,
    async state() {
      return live.snapshot(systemClock.now());
    },
    async incident(id) {
      const full = live.report(systemClock.now());
      const found = full.incidents.find((i) => i.id === id);
      if (!found) throw new Error('this incident is forgotten');
      return reportOf(full, found);
    },
    stop() {
      daemon.emit('SIGTERM', 'SIGTERM');
      return done;
    },
  };
}
