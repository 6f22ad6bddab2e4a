/**
 * Recordings through the pipeline of the daemon, on a clock that the recordings move: the same receivers' parsing, the same
 * processors, the same timers. What came out is kept.
 */

import { loadConfig } from '../../config/load.ts';
import { formatIssue } from '../../config/report.ts';
import { options } from '../../config/schema.ts';
import type { ResolvedConfig } from '../../config/types.ts';
import { type Consumer, defineExporter, defineReceiver, type Registry } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { createGraph } from '../../pipeline/graph.ts';
import { type ManualClock, manualClock, systemClock } from '../../pipeline/kit/clock.ts';
import { createLogger } from '../../pipeline/kit/log.ts';
import type { BadLine } from '../../pipeline/kit/recording-files.ts';
import { createReplay } from '../../pipeline/kit/replay.ts';
import type { Batch, LogRecord } from '../../pipeline/model.ts';
import { createTelemetry } from '../../pipeline/telemetry.ts';
import type { RecordingLine } from '../../pipeline/wire/recording.ts';

export interface ReplayResult {
  /** Findings, incidents, topology, alerts: every log record that came out of the pipeline, in order. */
  readonly records: readonly LogRecord[];
  readonly startMs: number;
  readonly endMs: number;
  readonly lines: number;
  readonly skipped: number;
  readonly badLines: readonly BadLine[];
  readonly targets: number;
  readonly signals: readonly string[];
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly peakRssMib: number;
}

export interface ReplayRequest {
  readonly registry: Registry;
  /** Processors come from this config's pipeline (the first that has a `bottleneck`); the embedded chain otherwise. */
  readonly configs: readonly string[];
  readonly sets: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly writeLog: (line: string) => void;
  /** Types of processors that are run; those of the config, or the embedded chain, where absent. */
  readonly only?: readonly string[];
  /** Sees every batch that leaves the processors. */
  readonly tap?: (batch: Batch) => void;
}

/** A mistake in the config that was given; the message is ready to be shown. */
export class ReplayRefused extends Error {
  override readonly name = 'ReplayRefused';
}

const CHAIN = ['normalize', 'correlation', 'bottleneck', 'alerts'];
/** How many bad lines are named; all are counted. */
const NAMED = 20;
/** A pause that is longer is not lived through. */
const PAUSE_MS = 86_400_000;
/** After the last line the detectors get this long to see what is still due. */
const TAIL_MS = 30_000;

/** Runs lines through the pipeline. Rejects with ReplayRefused where the config is wrong. */
export async function replay(
  lines: AsyncIterable<RecordingLine> | Iterable<RecordingLine>,
  request: ReplayRequest,
  bad: BadLine[] = [],
): Promise<ReplayResult> {
  const cpu = process.cpuUsage();
  const started = systemClock.monotonic();
  const records: LogRecord[] = [];
  const signals = new Set<string>();
  let next: Consumer | undefined;
  const registry: Registry = {
    ...request.registry,
    receivers: [
      ...request.registry.receivers,
      defineReceiver({
        type: 'recording_lines',
        summary: 'The lines of the recordings',
        stability: 'stable',
        signals: ['metrics', 'traces', 'logs'],
        config: options({}),
        async start(_config, consumer) {
          next = consumer;
          return { async stop() {} };
        },
      }),
    ],
    exporters: [
      ...request.registry.exporters,
      defineExporter({
        type: 'verdicts',
        summary: 'Keeps what came out',
        stability: 'stable',
        signals: ['metrics', 'traces', 'logs'],
        config: options({}),
        async start() {
          const seen = new WeakSet<object>();
          return {
            consume(batch) {
              request.tap?.(batch);
              if (batch.signal === 'logs') records.push(...batch.items);
              else if (batch.signal === 'metrics') {
                for (const point of batch.items) {
                  if (seen.has(point.series)) continue;
                  seen.add(point.series);
                  signals.add(point.series.metric.name);
                }
              } else for (const span of batch.items) signals.add(`span:${span.name}`);
            },
            async stop() {},
          };
        },
      }),
    ],
  };
  const config = await configOf(registry, request);
  const clock = manualClock(0);
  const log = createLogger({ clock, level: 'warn', write: request.writeLog });
  const graph = createGraph({ telemetry: createTelemetry(), clock, log });
  const source = createReplay(config.registry.catalog, 'recording');
  let count = 0;
  let skipped = 0;
  let startMs = 0;
  let peak = process.memoryUsage.rss();
  const skip = (line: number, what: string) => {
    skipped++;
    if (bad.length < NAMED) bad.push({ file: '', line, what });
  };
  try {
    for await (const line of lines) {
      count++;
      if (startMs === 0 && line.timeMs > 0) {
        startMs = line.timeMs;
        await clock.setTime(startMs);
        await graph.turnInto(config);
      }
      if (startMs === 0) continue;
      if (line.timeMs > clock.now() + PAUSE_MS) {
        // Recordings of different days, or a clock that was set: nobody watches through what lies between.
        await settle(clock);
        clock.step(line.timeMs);
      }
      const moving = clock.moveTo(line.timeMs);
      if (moving) await moving;
      try {
        for (const batch of source.batches(line)) {
          const consumed = next?.consume(batch);
          if (consumed) await consumed;
        }
      } catch (error) {
        skip(count, describeError(error));
      }
      if (count % 256 === 0) peak = Math.max(peak, process.memoryUsage.rss());
    }
    if (startMs > 0) await settle(clock);
  } finally {
    await graph.stop();
  }
  peak = Math.max(peak, process.memoryUsage.rss());
  const used = process.cpuUsage(cpu);
  return {
    records,
    startMs,
    endMs: startMs === 0 ? 0 : clock.now() - TAIL_MS,
    lines: count,
    skipped: skipped,
    badLines: bad,
    targets: source.counts().targets,
    signals: [...signals].sort(),
    cpuSeconds: (used.user + used.system) / 1e6,
    wallSeconds: (systemClock.monotonic() - started) / 1000,
    peakRssMib: peak / 2 ** 20,
  };
}

const settle = (clock: ManualClock) => clock.advance(TAIL_MS);

/** The config whose pipeline is: the lines, the processors, the collector of verdicts. */
async function configOf(registry: Registry, request: ReplayRequest): Promise<ResolvedConfig> {
  const known = new Set(registry.processors.map((p) => p.type));
  const chain = CHAIN.filter((type) => known.has(type) && isWanted(type, request));
  const embedded = await load(
    registry,
    request,
    [
      `yaml:${JSON.stringify({
        receivers: { recording_lines: {} },
        processors: Object.fromEntries(chain.map((type) => [type, {}])),
        exporters: { verdicts: {} },
        service: {
          pipelines: { inference: { receivers: ['recording_lines'], processors: chain, exporters: ['verdicts'] } },
        },
      })}`,
    ],
    [],
  );
  if (request.configs.length === 0) return embedded;
  const given = await load(registry, request, request.configs, request.sets);
  const pipeline =
    given.service.pipelines.find((p) => p.processors.some((id) => id.split('/')[0] === 'bottleneck')) ??
    given.service.pipelines.find((p) => p.signal === 'inference');
  if (!pipeline) {
    throw new ReplayRefused(
      'The config has no pipeline with a bottleneck processor, so there is nothing that could give a verdict.',
    );
  }
  return {
    ...embedded,
    processors: given.processors,
    registry: given.registry,
    service: {
      ...embedded.service,
      pipelines: [
        {
          ...embedded.service.pipelines[0]!,
          processors: pipeline.processors.filter((id) => isWanted(id.split('/')[0]!, request)),
        },
      ],
    },
  };
}

const isWanted = (type: string, { only }: ReplayRequest): boolean => only === undefined || only.includes(type);

async function load(
  registry: Registry,
  request: ReplayRequest,
  configs: readonly string[],
  sets: readonly string[],
): Promise<ResolvedConfig> {
  const loaded = await loadConfig({ configs, sets }, { registry, env: request.env, cwd: request.cwd });
  if (!loaded.ok) throw new ReplayRefused(loaded.mistakes.map((issue) => formatIssue(issue)).join('\n'));
  return loaded.config;
}
