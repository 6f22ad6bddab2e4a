/** Small components for tests of the graph and the runtime, and a resolved config made of them without any file. */
import { loadCatalog } from '../../config/catalog.ts';
import { options, resolve, t } from '../../config/schema.ts';
import type { ResolvedComponent, ResolvedConfig } from '../../config/types.ts';
import type {
  AnyDefinition,
  Consumer,
  Context,
  ExporterDefinition,
  ExtensionDefinition,
  ProcessorDefinition,
  ReceiverDefinition,
  Stage,
} from '../../pipeline/component.ts';
import {
  type Batch,
  gauge,
  type LogRecord,
  type LogsBatch,
  logsBatch,
  type MetricsBatch,
  metricsBatch,
  NO_ATTRIBUTES,
  resource,
  SIGNALS,
  type Signal,
  scope,
  type TracesBatch,
  tracesBatch,
} from '../../pipeline/model.ts';
import { telemetryOptions } from '../../pipeline/telemetry-options.ts';
import { deepFreeze } from './harness.ts';

const about = resource({ 'service.name': 'test' });
const by = scope('test');
const series = { resource: about, scope: by, metric: gauge('test.value', '1'), attributes: NO_ATTRIBUTES };

/** `n` points of one gauge. */
export const points = (n = 1): MetricsBatch =>
  metricsBatch(Array.from({ length: n }, (_, i) => ({ series, time: 1n, startTime: 0n, flags: 0, value: i })));

/** `n` log records. */
export const records = (n = 1): LogsBatch =>
  logsBatch(
    Array.from({ length: n }, (_, i): LogRecord => {
      const text = `line ${i}`;
      return {
        resource: about,
        scope: by,
        time: 1n,
        observedTime: 1n,
        severityNumber: 9,
        severityText: 'INFO',
        body: text,
        attributes: NO_ATTRIBUTES,
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
        eventName: '',
      };
    }),
  );

/** `n` spans. */
export const spans = (n = 1): TracesBatch =>
  tracesBatch(
    Array.from({ length: n }, (_, i) => ({
      resource: about,
      scope: by,
      traceId: `${i}`.padStart(32, '0'),
      spanId: `${i}`.padStart(16, '0'),
      parentSpanId: '',
      traceState: '',
      flags: 0,
      name: 'span',
      kind: 1,
      startTime: 1n,
      endTime: 2n,
      attributes: NO_ATTRIBUTES,
      droppedAttributesCount: 0,
      events: [],
      droppedEventsCount: 0,
      links: [],
      droppedLinksCount: 0,
      status: { code: 0, message: '' },
    })),
  );

/** What happened to the parts, in order: `start exporter a`, `stop receiver r`, … */
export type Journal = string[];

export interface PartsOptions {
  signals?: readonly Signal[];
  /** Called with each batch, by the id of the instance. May throw or return a promise. */
  onBatch?: (id: string, batch: Batch) => Promise<void> | void;
  onStart?: (id: string, context: Context) => Promise<void> | void;
  onStop?: (id: string, deadline: AbortSignal | undefined) => Promise<void> | void;
  /** Processors: what is handed on for a batch; by default the batch. */
  map?: (batch: Batch) => Batch | readonly Batch[];
}

/** Components that write a journal. `inputs` holds every started receiver's way into the graph, `got` what exporters took. */
export function parts(journal: Journal = []) {
  const inputs = new Map<string, Consumer>();
  const contexts = new Map<string, Context>();
  const got: { exporter: string; batch: Batch }[] = [];
  const config = options({
    value: t.string({ description: 'Anything.', default: '' }),
  });

  const started = async (context: Context, o: PartsOptions) => {
    journal.push(`start ${context.kind} ${context.id}`);
    contexts.set(context.id, context);
    await o.onStart?.(context.id, context);
  };
  const stopOf = (context: Context, o: PartsOptions) => async (deadline?: AbortSignal) => {
    journal.push(`stop ${context.kind} ${context.id}`);
    await o.onStop?.(context.id, deadline);
  };

  const receiver = (type = 'in', o: PartsOptions = {}): ReceiverDefinition => ({
    kind: 'receiver',
    type,
    summary: 'A receiver of tests',
    stability: 'stable',
    signals: o.signals ?? SIGNALS,
    config,
    async start(_config, next, context) {
      await started(context, o);
      inputs.set(context.id, next);
      return { stop: stopOf(context, o) };
    },
  });
  const processor = (type = 'pass', o: PartsOptions = {}): ProcessorDefinition => ({
    kind: 'processor',
    type,
    summary: 'A processor of tests',
    stability: 'stable',
    signals: o.signals ?? SIGNALS,
    config,
    async start(_config, next, context): Promise<Stage> {
      await started(context, o);
      return {
        stop: stopOf(context, o),
        consume(batch) {
          const before = o.onBatch?.(context.id, batch);
          const give = () => {
            const out = o.map ? o.map(batch) : batch;
            const list: readonly Batch[] = 'signal' in out ? [out] : out;
            const waits = list.map((b) => next.consume(b)).filter((w) => w !== undefined);
            return waits.length > 0 ? Promise.all(waits).then(() => {}) : undefined;
          };
          return before ? before.then(give) : give();
        },
      };
    },
  });
  const exporter = (type = 'out', o: PartsOptions = {}): ExporterDefinition => ({
    kind: 'exporter',
    type,
    summary: 'An exporter of tests',
    stability: 'stable',
    signals: o.signals ?? SIGNALS,
    config,
    async start(_config, context): Promise<Stage> {
      await started(context, o);
      return {
        stop: stopOf(context, o),
        consume(batch) {
          const result = o.onBatch?.(context.id, batch);
          const keep = () => void got.push({ exporter: context.id, batch: deepFreeze(batch) });
          return result ? result.then(keep) : keep();
        },
      };
    },
  });
  const extension = (type = 'ext', o: PartsOptions = {}): ExtensionDefinition => ({
    kind: 'extension',
    type,
    summary: 'An extension of tests',
    stability: 'stable',
    config,
    async start(_config, context) {
      await started(context, o);
      return { stop: stopOf(context, o) };
    },
  });
  return { journal, inputs, contexts, got, receiver, processor, exporter, extension };
}

interface ConfigSpec {
  /** Definitions by type, and the ids of each kind with the text that makes the fingerprint. */
  definitions: readonly AnyDefinition[];
  /** `metrics` or `inference/x` to `[receivers, processors, exporters]`. */
  pipelines: Readonly<Record<string, readonly [readonly string[], readonly string[], readonly string[]]>>;
  extensions?: readonly string[];
  /** `<id>` or `<kind> <id>` to the value of its only option. */
  values?: Readonly<Record<string, string>>;
  telemetry?: unknown;
  shutdownTimeoutMs?: number;
  catalog?: ResolvedConfig['registry']['catalog'];
}

const CATALOG = loadCatalog();

/** A config as config/load.ts would give it. */
export function configOf(spec: ConfigSpec): ResolvedConfig {
  const { definitions, values = {} } = spec;
  const component = (kind: string, id: string): ResolvedComponent<never> => {
    const type = id.split('/')[0];
    const definition = definitions.find((d) => d.kind === kind && d.type === type);
    if (!definition) throw new Error(`no ${kind} "${type}"`);
    const value = values[`${kind} ${id}`] ?? values[id] ?? '';
    return {
      id,
      definition: definition as never,
      config: { value } as never,
      fingerprint: JSON.stringify({ value }),
      place: { file: 'test.yaml', line: 1, column: 1 },
    };
  };
  const all = (index: 0 | 1 | 2, kind: string) =>
    new Map(
      [...new Set(Object.values(spec.pipelines).flatMap((p) => p[index]))].map((id) => [id, component(kind, id)]),
    );
  const of = (kind: string) => definitions.filter((d) => d.kind === kind) as never[];
  return {
    receivers: all(0, 'receiver'),
    processors: all(1, 'processor'),
    exporters: all(2, 'exporter'),
    extensions: new Map((spec.extensions ?? []).map((id) => [id, component('extension', id)])),
    service: {
      extensions: spec.extensions ?? [],
      pipelines: Object.entries(spec.pipelines).map(([id, [receivers, processors, exporters]]) => ({
        id,
        signal: id.split('/')[0] as Signal,
        receivers,
        processors,
        exporters,
      })),
      telemetry: resolve(telemetryOptions, spec.telemetry ?? { metrics: { level: 'none' } }),
      shutdownTimeoutMs: spec.shutdownTimeoutMs ?? 30_000,
      plugins: [],
    },
    registry: {
      receivers: of('receiver'),
      processors: of('processor'),
      exporters: of('exporter'),
      extensions: of('extension'),
      catalog: spec.catalog ?? CATALOG,
    },
    files: [],
  };
}
