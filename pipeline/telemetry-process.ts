/** What the process costs and how it feels: CPU, memory, event loop. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock } from './kit/clock.ts';
import type { Telemetry } from './telemetry.ts';
import { METRICS } from './telemetry-metrics.ts';

/** The lag is worked out over windows of this length, so that several readers see the same. */
const WINDOW_MS = 15_000;

const NANOS = 1e9;
/** How often the event loop is probed; a stall shorter than this can go unnoticed. */
const RESOLUTION_MS = 20;

/** Registers the process metrics; returns what ends it. */
export function watchProcess(telemetry: Telemetry, clock: Clock): () => void {
  const startedAt = clock.monotonic();
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let last = { p50: 0, p99: 0, max: 0 };
  // The histogram holds the time between two probes, so the lag is what exceeds the resolution.
  const lag = (nanos: number) => Math.max(0, nanos / NANOS - RESOLUTION_MS / 1000);
  const now = () =>
    histogram.count === 0
      ? { p50: 0, p99: 0, max: 0 }
      : { p50: lag(histogram.percentile(50)), p99: lag(histogram.percentile(99)), max: lag(histogram.max) };
  let timer = clock.after(WINDOW_MS, function roll() {
    last = now();
    histogram.reset();
    timer = clock.after(WINDOW_MS, roll);
  });
  // A stall in the current window shows at once, not only when the window ends.
  const worst = (key: 'p50' | 'p99' | 'max') => () => Math.max(last[key], key === 'p50' ? 0 : now()[key]);

  const cpu = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  const releases = [
    telemetry.observe(METRICS.uptime, {}, () => (clock.monotonic() - startedAt) / 1000),
    telemetry.observe(METRICS.cpu, {}, cpu),
    telemetry.observe(METRICS.rss, {}, () => process.memoryUsage.rss()),
    telemetry.observe(METRICS.heap, {}, () => process.memoryUsage().heapUsed),
    telemetry.observe(METRICS.external, {}, () => process.memoryUsage().external),
    telemetry.observe(METRICS.eventLoopLag, { quantile: '0.5' }, worst('p50')),
    telemetry.observe(METRICS.eventLoopLag, { quantile: '0.99' }, worst('p99')),
    telemetry.observe(METRICS.eventLoopLag, { quantile: '1' }, worst('max')),
  ];
  return () => {
    timer.cancel();
    histogram.disable();
    for (const release of releases) release();
  };
}
