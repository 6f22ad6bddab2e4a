/**
 * The metrics that the runtime itself counts, one row each; docs/telemetry.md lists the same. Counters end in `_total` and
 * names carry their unit, so that every reader and every translation to Prometheus shows the same name.
 */

export type Level = 'basic' | 'normal' | 'detailed';

/** What a metric is, without its numbers. */
export interface MetricInfo {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly unit: string;
  readonly description: string;
  /** The least `service::telemetry::metrics::level` at which it is shown. */
  readonly level: Level;
  readonly labels: readonly string[];
}

const row = (
  name: string,
  type: 'counter' | 'gauge',
  unit: string,
  level: Level,
  labels: readonly string[],
  description: string,
): MetricInfo => ({ name: `enginelight_${name}`, type, unit, level, labels, description });

const item = '{item}';

export const METRICS = {
  receiverAccepted: row(
    'receiver_accepted_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal'],
    'Items from this receiver that at least one pipeline took.',
  ),
  receiverRefused: row(
    'receiver_refused_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal'],
    'Items from this receiver that no pipeline took; the sender was told so.',
  ),
  receiverDropped: row(
    'receiver_dropped_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal', 'reason'],
    'Items that this receiver lost.',
  ),
  processorIncoming: row(
    'processor_incoming_items_total',
    'counter',
    item,
    'basic',
    ['component', 'pipeline', 'signal'],
    'Items that were given to this processor and that it took.',
  ),
  processorRefused: row(
    'processor_refused_items_total',
    'counter',
    item,
    'basic',
    ['component', 'pipeline', 'signal'],
    'Items that this processor, or what follows it, refused; the sender was told so.',
  ),
  processorOutgoing: row(
    'processor_outgoing_items_total',
    'counter',
    item,
    'basic',
    ['component', 'pipeline', 'signal'],
    'Items that this processor handed on and that were taken.',
  ),
  processorDropped: row(
    'processor_dropped_items_total',
    'counter',
    item,
    'basic',
    ['component', 'pipeline', 'signal', 'reason'],
    'Items that this processor lost or was told to leave out.',
  ),
  exporterIncoming: row(
    'exporter_incoming_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal'],
    'Items that this exporter took, into its queue if it has one.',
  ),
  exporterSent: row(
    'exporter_sent_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal'],
    'Items that the other side took.',
  ),
  exporterFailed: row(
    'exporter_failed_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal'],
    'Items that the other side refused for good, or that could not be sent before the retries ended.',
  ),
  exporterDropped: row(
    'exporter_dropped_items_total',
    'counter',
    item,
    'basic',
    ['component', 'signal', 'reason'],
    'Items that are lost for this exporter.',
  ),
  pipelineDropped: row(
    'pipeline_dropped_items_total',
    'counter',
    item,
    'basic',
    ['pipeline', 'signal', 'reason'],
    'Items that are lost for this pipeline: it refused what another pipeline of the same receiver took, or it has no exporter for the signal.',
  ),
  componentErrors: row(
    'component_errors_total',
    'counter',
    '{error}',
    'basic',
    ['kind', 'component', 'pipeline'],
    'Bugs: exceptions of a component that are neither permanent nor retryable errors. Each is in the log with its stack.',
  ),
  componentHealthy: row(
    'component_healthy',
    'gauge',
    '',
    'basic',
    ['kind', 'component', 'pipeline'],
    '1 while the component is ok, 0 while it is in error, starting or stopping.',
  ),
  componentBusy: row(
    'component_busy_seconds_total',
    'counter',
    's',
    'detailed',
    ['kind', 'component', 'pipeline'],
    'Time that the event loop spent inside this component when it was given data, without what follows it.',
  ),
  configReloads: row(
    'config_reloads_total',
    'counter',
    '{reload}',
    'basic',
    ['outcome'],
    'Reloads of the config: `success`, `invalid` (mistakes; the old config runs on), `failed` (it could not be started; the old config runs again).',
  ),
  configReloadOk: row(
    'config_last_reload_success',
    'gauge',
    '',
    'basic',
    [],
    '1 if the config that runs is the one that was last asked for, 0 after a reload that was refused.',
  ),
  uptime: row('process_uptime_seconds', 'gauge', 's', 'basic', [], 'Time since the daemon started.'),
  cpu: row(
    'process_cpu_seconds_total',
    'counter',
    's',
    'basic',
    [],
    'CPU time of the process, user and system, all threads.',
  ),
  rss: row('process_memory_rss_bytes', 'gauge', 'By', 'basic', [], 'Resident memory of the process.'),
  heap: row('process_memory_heap_bytes', 'gauge', 'By', 'basic', [], 'JavaScript heap in use.'),
  external: row(
    'process_memory_external_bytes',
    'gauge',
    'By',
    'basic',
    [],
    'Memory of buffers and other objects outside the JavaScript heap.',
  ),
  eventLoopLag: row(
    'process_event_loop_lag_seconds',
    'gauge',
    's',
    'basic',
    ['statistic'],
    'How late timers fired in the last 15 to 30 s: median (p50), 99th percentile (p99) and worst (max).',
  ),
} as const satisfies Record<string, MetricInfo>;
