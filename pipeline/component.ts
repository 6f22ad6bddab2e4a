/**
 * What a component is. A component is one folder with one literal made by `defineReceiver`, `defineProcessor`,
 * `defineExporter` or `defineExtension`; the registry is an explicit list of those literals.
 *
 * The life of a component: `start` is called once with its checked config (defaults filled in, durations in
 * milliseconds, sizes in bytes, secrets wrapped) and resolves when it is ready; the handle it returns is the only way to
 * reach it. Exporters start first, then processors from last to first, then receivers; stopping goes the other way
 * round. "Created but not started" does not exist.
 */
import type { Static, TObject } from '@sinclair/typebox';
import type { Catalog } from '../config/catalog-types.ts';
import type { DropReason } from './errors.ts';
import type { Clock } from './kit/clock.ts';
import type { Logger } from './kit/log.ts';
import type { Batch, Signal } from './model.ts';

export type { DropReason } from './errors.ts';

/**
 * Where data goes next. Resolves (or returns) once the batch is accepted: it is then somebody else's to keep. Rejects (or
 * throws) with a PermanentError or a RetryableError if it is not accepted. The batch is never changed by either side.
 */
export interface Consumer {
  consume(batch: Batch): Promise<void> | void;
}

/**
 * A started component. `stop` takes no new data, flushes what it holds until `deadline` aborts, frees what it opened, and
 * resolves; what could not be flushed is counted as dropped. Calling it twice is harmless.
 */
export interface Running {
  stop(deadline?: AbortSignal): Promise<void>;
}

/** A started processor or exporter. */
export interface Stage extends Running, Consumer {}

export type ComponentKind = 'receiver' | 'processor' | 'exporter' | 'extension';
export type Stability = 'development' | 'alpha' | 'beta' | 'stable';
/** How a component is doing, as shown by `health_check`. */
export type ComponentStatus = 'starting' | 'ok' | 'recoverable_error' | 'permanent_error' | 'stopping' | 'stopped';

/** A plain counter that the daemon's own telemetry reads when it is collected; adding costs an addition. */
export interface Counter {
  add(n: number, labels?: Readonly<Record<string, string>>): void;
}

/**
 * A component's own instruments. Accepted, refused and outgoing items are counted by the graph on every edge; a component
 * counts only what the edge cannot see. Metric names get the prefix `enginelight_` and the component's labels.
 */
export interface Meter {
  counter(name: string, description: string, unit?: string): Counter;
  /** Read when collected; several calls with one name and different labels are several series. */
  gauge(
    name: string,
    description: string,
    read: () => number | undefined,
    unit?: string,
    labels?: Readonly<Record<string, string>>,
  ): void;
  /** Items this component lost. Feeds `enginelight_<kind>_dropped_items{reason}`. */
  dropped(signal: Signal, items: number, reason: DropReason): void;
  /** Exporters: items the other side took, or refused for good. Feeds `enginelight_exporter_{sent,failed}_items`. */
  sent(signal: Signal, items: number): void;
  failed(signal: Signal, items: number): void;
}

/** All that a component is given. A closed list, not a locator. */
export interface Context {
  /** `type` or `type/name`. */
  readonly id: string;
  readonly kind: ComponentKind;
  readonly log: Logger;
  readonly clock: Clock;
  readonly meter: Meter;
  /** What is known about engines and exporters, plug-ins' entries included. */
  readonly catalog: Catalog;
  /** The signals that some pipeline carries from (receiver) or to (others) this component. */
  readonly signals: ReadonlySet<Signal>;
  /** Says how the component is doing; `message` names the thing and the remedy. Cheap to repeat. */
  status(status: 'ok' | 'recoverable_error' | 'permanent_error', message?: string): void;
}

interface Definition<C extends TObject> {
  /** The word in the config file: lower_snake_case. */
  readonly type: string;
  /** Other spellings that are accepted, with a warning where one is deprecated. */
  readonly aliases?: readonly string[];
  /** One line for `enginelight components`: a capital, no full stop. */
  readonly summary: string;
  readonly stability: Stability;
  /** The one declaration of every option: type, default, description (see config/schema.ts). */
  readonly config: C;
  /**
   * What the schema cannot say ("one of a or b"). Gets the resolved config; returns one sentence per mistake, with the
   * path of the key it is about.
   */
  validate?(config: Static<C>): readonly ConfigMistake[];
}

export interface ConfigMistake {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

export interface ReceiverDefinition<C extends TObject = TObject> extends Definition<C> {
  readonly kind: 'receiver';
  readonly signals: readonly Signal[];
  start(config: Static<C>, next: Consumer, context: Context): Promise<Running>;
}

export interface ProcessorDefinition<C extends TObject = TObject> extends Definition<C> {
  readonly kind: 'processor';
  /** Batches of other signals pass it by. */
  readonly signals: readonly Signal[];
  /** One instance per pipeline. `next` is what follows in that pipeline. */
  start(config: Static<C>, next: Consumer, context: Context): Promise<Stage>;
}

export interface ExporterDefinition<C extends TObject = TObject> extends Definition<C> {
  readonly kind: 'exporter';
  readonly signals: readonly Signal[];
  start(config: Static<C>, context: Context): Promise<Stage>;
}

/** What the graph tells extensions. */
export interface Host {
  /** Of the whole: `running` once everything has started, also while a reload restarts parts of it. */
  state(): 'starting' | 'running' | 'stopping';
  /** Every component instance of the running graph; `pipelines` is empty for extensions. */
  components(): readonly {
    readonly kind: ComponentKind;
    readonly id: string;
    readonly pipelines: readonly string[];
    readonly status: ComponentStatus;
    readonly message: string;
    readonly since: number;
  }[];
}

export interface ExtensionDefinition<C extends TObject = TObject> extends Definition<C> {
  readonly kind: 'extension';
  start(config: Static<C>, context: Context, host: Host): Promise<Running>;
}

// `config` of a definition in the registry is read by whoever checks and starts it; its type is known only inside.
// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
type Any = any;
export type AnyDefinition =
  | ReceiverDefinition<Any>
  | ProcessorDefinition<Any>
  | ExporterDefinition<Any>
  | ExtensionDefinition<Any>;

/** What can be named in a config file. Passed as an argument everywhere; a test passes its own. */
export interface Registry {
  readonly receivers: readonly ReceiverDefinition<Any>[];
  readonly processors: readonly ProcessorDefinition<Any>[];
  readonly exporters: readonly ExporterDefinition<Any>[];
  readonly extensions: readonly ExtensionDefinition<Any>[];
  readonly catalog: Catalog;
  /** What plug-ins add to the built-in detectors; whoever runs detectors knows their form. */
  readonly detectors?: readonly unknown[];
}

/** Checks the literal's types and returns it unchanged; likewise the three below. */
export const defineReceiver = <C extends TObject>(
  definition: Omit<ReceiverDefinition<C>, 'kind'>,
): ReceiverDefinition<C> => ({ kind: 'receiver', ...definition });

export const defineProcessor = <C extends TObject>(
  definition: Omit<ProcessorDefinition<C>, 'kind'>,
): ProcessorDefinition<C> => ({ kind: 'processor', ...definition });

export const defineExporter = <C extends TObject>(
  definition: Omit<ExporterDefinition<C>, 'kind'>,
): ExporterDefinition<C> => ({ kind: 'exporter', ...definition });

export const defineExtension = <C extends TObject>(
  definition: Omit<ExtensionDefinition<C>, 'kind'>,
): ExtensionDefinition<C> => ({ kind: 'extension', ...definition });
