/** The engine-neutral vocabulary (config/signals.yaml): which signals there are and how their series may be put together. */
import { readFileSync } from 'node:fs';
import { configFile } from './config-files.ts';
import { readPlainYaml } from './plain-yaml.ts';

export type Instrument = 'gauge' | 'counter' | 'updowncounter' | 'histogram' | 'summary';

/** A shape in which a signal is given: instrument and unit. */
export interface Form {
  readonly instrument: Instrument;
  readonly unit: string;
}

export interface SignalInfo extends Form {
  readonly name: string;
  /** Other shapes in which some source gives it; a series' type and unit say which one it is. */
  readonly forms: readonly Form[];
  /** Parts of a whole: series of one entity that differ only in these add up to the total. */
  readonly attributes: readonly string[];
  /** The same thing looked at otherwise: pick one value, never add up. */
  readonly views: readonly string[];
  /** What the ranks of one engine say: all the same, kept apart if there are several, or always kept apart. */
  readonly ranks: 'replicated' | 'several' | 'each';
  /** `at_completion` values move when a request ends, so they are late in an incident. */
  readonly population: 'live' | 'at_completion';
  readonly tier: 'core' | 'extended';
  /** `semconv` and `semconv-genai` names are OpenTelemetry's, `proposed` ones ours. */
  readonly otel: 'semconv' | 'semconv-genai' | 'proposed';
  readonly group: string;
  readonly meaning: string;
}

/** As it stands in a file. */
export type RawSignal = Partial<SignalInfo> & Pick<SignalInfo, 'name' | 'instrument' | 'unit' | 'meaning'>;

/** Fills in what a file may leave out. */
export const signalOf = (raw: RawSignal): SignalInfo => ({
  name: raw.name,
  instrument: raw.instrument,
  unit: raw.unit,
  forms: raw.forms ?? [],
  attributes: raw.attributes ?? [],
  views: raw.views ?? [],
  ranks: raw.ranks ?? 'each',
  population: raw.population ?? 'live',
  tier: raw.tier ?? 'core',
  otel: raw.otel ?? 'proposed',
  group: raw.group ?? 'Other',
  meaning: raw.meaning,
});

let builtIn: ReadonlyMap<string, SignalInfo> | undefined;

/** The vocabulary that is built in, in the order of the file; read once. */
export function builtInSignals(): ReadonlyMap<string, SignalInfo> {
  if (!builtIn) {
    const { signals } = readPlainYaml(readFileSync(configFile('signals.yaml'), 'utf8')) as { signals: RawSignal[] };
    builtIn = new Map(signals.map((s) => [s.name, signalOf(s)]));
  }
  return builtIn;
}
