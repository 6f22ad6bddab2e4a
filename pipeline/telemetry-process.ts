/** What the process costs and how it feels: CPU, memory, event loop. */
import type { Clock } from './kit/clock.ts';
import type { Telemetry } from './telemetry.ts';
import { METRICS } from './telemetry-metrics.ts';

/** The lag is worked out over one to two windows of this length. */
const WINDOW_MS = 15_000;

/**
 * How often the event loop is probed. A stall is seen for sure only if it is longer than this; Node's own
 * monitorEventLoopDelay sees shorter ones but takes 0.2 % of a core, which is more than scraping an engine does.
 */
const PROBE_MS = 250;

/** Registers the process metrics; returns what ends it. */
export function watchProcess(telemetry: Telemetry, clock: Clock): () => void {
  const startedAt = clock.monotonic();
  let lastWindow: number[] = [];
  let window: number[] = [];
  let windowEnds = startedAt + WINDOW_MS;
  let due = startedAt + PROBE_MS;
  let timer = clock.after(PROBE_MS, function probe() {
    const now = clock.monotonic();
    window.push(Math.max(0, now - due));
    if (now >= windowEnds) {
      lastWindow = window;
      window = [];
      windowEnds = now + WINDOW_MS;
    }
    due = now + PROBE_MS;
    timer = clock.after(PROBE_MS, probe);
  });
  const lag = (quantile: number) => () => {
    const sorted = [...lastWindow, ...window].sort((a, b) => a - b);
    const ms = sorted[Math.ceil(quantile * sorted.length) - 1];
    return ms === undefined ? undefined : ms / 1000;
  };

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
    telemetry.observe(METRICS.eventLoopLag, { statistic: 'p50' }, lag(0.5)),
    telemetry.observe(METRICS.eventLoopLag, { statistic: 'p99' }, lag(0.99)),
    telemetry.observe(METRICS.eventLoopLag, { statistic: 'max' }, lag(1)),
  ];
  return () => {
    timer.cancel();
    for (const release of releases) release();
  };
}
