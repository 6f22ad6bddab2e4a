/**
 * What reading a config gives: either every mistake, each with its place, or the resolved config that the graph is built
 * from.
 */
import type { Static } from '@sinclair/typebox';
import type {
  AnyDefinition,
  ExporterDefinition,
  ExtensionDefinition,
  ProcessorDefinition,
  ReceiverDefinition,
  Registry,
} from '../pipeline/component.ts';
import type { Signal } from '../pipeline/model.ts';
import type { telemetryOptions } from '../pipeline/telemetry-options.ts';

/** Where something was written. `line` and `column` count from 1; both are 0 where there are no lines (`--set a.b`). */
export interface Place {
  /** As the user named it: `config.yaml`, `--set a.b`, `env:NAME`. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One mistake or warning. `formatIssue` in config/report.ts makes its line. Never holds the value of a secret. */
export interface Issue {
  readonly severity: 'error' | 'warning';
  /** Absent when it is about the whole (no config at all, an empty file). */
  readonly place?: Place;
  /** The key's path in the Collector's notation, `service::pipelines::traces`; '' is the top. */
  readonly path: string;
  /** One sentence: the Collector's own where it has one, then the cause and the nearest valid name. */
  readonly message: string;
  /** More help, shown below: valid names, an example, the Collector's wording where ours differs. */
  readonly hint?: string;
}

/** One configured component. */
export interface ResolvedComponent<D extends AnyDefinition = AnyDefinition> {
  /** `type` or `type/name`, as written (an alias stays as it is). */
  readonly id: string;
  readonly definition: D;
  /** Checked and resolved: what `definition.start` takes. */
  readonly config: never;
  /** Equal for two loads exactly if the component's own config is equal; for deciding what a reload restarts. */
  readonly fingerprint: string;
  readonly place: Place;
}

export interface ResolvedPipeline {
  /** `metrics`, `traces/2`, `inference`, … */
  readonly id: string;
  /** What the pipeline carries; an inference pipeline carries all signals. */
  readonly signal: Signal | 'inference';
  /** Component ids, each of them a key of the maps below. */
  readonly receivers: readonly string[];
  readonly processors: readonly string[];
  readonly exporters: readonly string[];
}

export interface ResolvedConfig {
  readonly receivers: ReadonlyMap<string, ResolvedComponent<ReceiverDefinition>>;
  readonly processors: ReadonlyMap<string, ResolvedComponent<ProcessorDefinition>>;
  readonly exporters: ReadonlyMap<string, ResolvedComponent<ExporterDefinition>>;
  readonly extensions: ReadonlyMap<string, ResolvedComponent<ExtensionDefinition>>;
  readonly service: {
    /** Ids, in the order they start. */
    readonly extensions: readonly string[];
    readonly pipelines: readonly ResolvedPipeline[];
    readonly telemetry: Static<typeof telemetryOptions>;
    /** `service::shutdown_timeout` (declared as `shutdownTimeout` in pipeline/telemetry-options.ts), milliseconds. */
    readonly shutdownTimeoutMs: number;
    /** As written: module names, or paths relative to the config file. */
    readonly plugins: readonly string[];
  };
  /** The registry that was given, plus what the plug-ins brought. Use this one from here on. */
  readonly registry: Registry;
  /** Every file that was read, absolute; a change of one of them may change the config. */
  readonly files: readonly string[];
}

/** What `--config` and `--set` said, in order. */
export interface ConfigSources {
  /** Paths, or `env:NAME`, `yaml:text`, `file:path`. */
  readonly configs: readonly string[];
  /** `a.b.c=value`. */
  readonly sets: readonly string[];
}

export interface LoadOptions {
  readonly registry: Registry;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths are relative to. */
  readonly cwd: string;
}

export type LoadResult = {
  /** What was given, plus what those plug-ins brought that could be loaded. */
  readonly registry: Registry;
  /** Everything that stops the start, in the order of the file; empty exactly if `ok`. */
  readonly mistakes: readonly Issue[];
  readonly warnings: readonly Issue[];
} & (
  | {
      readonly ok: true;
      readonly config: ResolvedConfig;
      /** The whole config as a person would write it, defaults filled in, secrets redacted: for `print-config`. */
      readonly shown: Readonly<Record<string, unknown>>;
    }
  | { readonly ok: false; readonly config?: undefined }
);
