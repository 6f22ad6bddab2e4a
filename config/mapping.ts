/** One row of the catalogue: how a metric of a source becomes a signal. Rows are compiled when their name is first met. */
import type { Form, Instrument, SignalInfo } from './signals.ts';
import { conversion } from './units.ts';

/** What a source says it exposes; `info` puts its values into labels. */
export type WireType = 'counter' | 'gauge' | 'histogram' | 'summary' | 'info';

/** What to do with a label: which attribute it becomes, and whose. */
export interface LabelRule {
  /** The attribute; undefined drops the label. */
  readonly to: string | undefined;
  /** `resource` labels say who the number is about, `point` labels what it counts. */
  readonly on: 'resource' | 'point';
  readonly as: 'text' | 'int' | 'hex' | 'index' | 'pci' | 'container_id';
  /** Only where nothing more certain says it already. */
  readonly fill: boolean;
  /** Other spellings of values; an empty text leaves the attribute out; `*` is every other value. */
  readonly values: Readonly<Record<string, string>> | undefined;
  /** `several` leaves it out while the target shows only one value. */
  readonly keep: 'always' | 'several';
  /** Of the series that differ in this label only the lowest number counts. */
  readonly lowest: boolean;
}

/** A condition on labels: a value, one of several, `*` (present), `''` (absent), or `!value`. */
export type When = ReadonlyMap<string, readonly string[]>;

/** Another metric of the same target that a value is worked out with: same labels but for those of the condition. */
export interface Operand {
  /** Its name in normal form (see `normalName`). */
  readonly name: string;
  readonly when: When;
  readonly optional: boolean;
}

export type Combine = { readonly op: 'times' | 'over' | 'plus' | 'minus' | 'count'; readonly with: readonly Operand[] };

/** A name on the wire, with the versions that have it. */
export interface WireName {
  readonly name: string;
  readonly since: string | undefined;
  readonly until: string | undefined;
}

/** What comes out, for one shape of points that comes in. */
export interface Target extends Form {
  readonly scale: number;
}

export interface Mapping {
  readonly source: string;
  /** Newest first; of the names that a target shows, the first one counts. */
  readonly names: readonly WireName[];
  /** The signal; undefined for a metric that is known and has no neutral name. */
  readonly signal: SignalInfo | undefined;
  readonly types: readonly WireType[];
  readonly unit: string;
  readonly brief: string;
  readonly note: string | undefined;
  /** By the shape of the point; absent if that shape cannot be the signal. */
  readonly targets: { readonly number?: Target; readonly histogram?: Target; readonly summary?: Target };
  readonly take: 'sum' | 'count' | undefined;
  readonly when: When;
  readonly labels: ReadonlyMap<string, readonly LabelRule[]>;
  /** Labels that no rule names are left out. */
  readonly dropOthers: boolean;
  /** Attributes that every point gets. */
  readonly set: Readonly<Record<string, string | number>>;
  /** Attributes that the resource gets, whatever it said before. */
  readonly about: Readonly<Record<string, string | number>>;
  /** Left out when the target also shows one of these (normal names). */
  readonly unless: readonly string[];
  /** Left out when another source of the same target gives the same signal. */
  readonly fallback: boolean;
  readonly combine: Combine | undefined;
  /** The value is the product of labels (the first alternative whose labels are numbers), or the entries of a list in one. */
  readonly value: { readonly labels: readonly (readonly string[])[] } | { readonly count: string } | undefined;
  /** Of all its series only the one with the largest value counts; that value is a time. */
  readonly newest: boolean;
  /** One series per bit of a mask, or per state of an enumeration: 1 where it applies, else 0. */
  readonly expand: Expand | undefined;
  /** The value is a Unix time in seconds; the signal is the time since then. */
  readonly epoch: boolean;
  readonly valid: { readonly min: number; readonly max: number };
  readonly ranks: SignalInfo['ranks'];
  readonly population: SignalInfo['population'];
}

export interface Expand {
  readonly attribute: string;
  readonly of: 'bits' | 'states';
  readonly cases: readonly (readonly [key: number, name: string])[];
}

type Texts = Readonly<Record<string, string | readonly string[]>>;
type RawLabel = string | null | Partial<Omit<LabelRule, 'to'>> | (Partial<LabelRule> & { to: string | null });
type RawOperand = string | { readonly metric: string; readonly when?: Texts };

/** A row as it stands in a file. */
export interface RawMetric {
  readonly from: string | readonly string[];
  readonly to: string | null;
  readonly type: WireType | readonly WireType[];
  readonly unit: string;
  readonly brief: string;
  readonly note?: string;
  readonly as?: Instrument;
  readonly take?: 'sum' | 'count';
  readonly scale?: number;
  readonly when?: Texts;
  readonly labels?: Readonly<Record<string, RawLabel | readonly RawLabel[]>>;
  readonly set?: Readonly<Record<string, string | number>>;
  readonly about?: Readonly<Record<string, string | number>>;
  readonly unless?: readonly string[];
  readonly fallback?: boolean;
  readonly times?: RawOperand;
  readonly over?: RawOperand;
  readonly plus?: readonly RawOperand[];
  readonly minus?: readonly RawOperand[];
  readonly count?: RawOperand;
  readonly value?: Mapping['value'];
  readonly newest?: boolean;
  readonly expand?: {
    readonly attribute: string;
    readonly bits?: Record<string, string>;
    readonly states?: Record<string, string>;
  };
  readonly epoch?: boolean;
  readonly valid?: { readonly min?: number; readonly max?: number };
  readonly ranks?: SignalInfo['ranks'];
  readonly population?: SignalInfo['population'];
}

/** What a source says once for all its rows. */
export interface RowDefaults {
  readonly source: string;
  readonly when: Texts | undefined;
  readonly labels: RawMetric['labels'] | undefined;
  readonly about: RawMetric['about'] | undefined;
}

/**
 * Names are compared with `:` as `_`, because SGLang's gateway, Ray and some pipelines rewrite them so, and without the
 * `_total` that some formats and libraries add to counters and others take away (see `catalog-index.ts`).
 */
export const normalName = (name: string): string => (name.includes(':') ? name.replaceAll(':', '_') : name);

/** Reads `name since..until`. */
export function readWireName(text: string): WireName {
  const space = text.indexOf(' ');
  if (space < 0) return { name: text, since: undefined, until: undefined };
  const range = text.slice(space + 1);
  const dots = range.indexOf('..');
  return {
    name: text.slice(0, space),
    since: (dots < 0 ? range : range.slice(0, dots)) || undefined,
    until: (dots < 0 ? '' : range.slice(dots + 2)) || undefined,
  };
}

export const namesOf = (raw: RawMetric): readonly WireName[] =>
  (typeof raw.from === 'string' ? [raw.from] : raw.from).map(readWireName);

function readWhen(...all: (Texts | undefined)[]): When {
  const out = new Map<string, readonly string[]>();
  for (const texts of all) {
    for (const [label, values] of Object.entries(texts ?? {})) {
      out.set(label, typeof values === 'string' ? [values] : values);
    }
  }
  return out;
}

function readOperand(raw: RawOperand): Operand {
  const { metric, when } = typeof raw === 'string' ? { metric: raw, when: undefined } : raw;
  const optional = metric.endsWith('?');
  return { name: normalName(optional ? metric.slice(0, -1) : metric), when: readWhen(when), optional };
}

function readLabel(raw: RawLabel): LabelRule {
  const given: Partial<Omit<LabelRule, 'to'>> & { to?: string | null | undefined } =
    raw === null || typeof raw === 'string' ? { to: raw } : raw;
  return {
    to: given.to ?? undefined,
    on: given.on ?? 'point',
    as: given.as ?? 'text',
    fill: given.fill ?? false,
    values: given.values,
    keep: given.keep ?? 'always',
    lowest: given.lowest ?? false,
  };
}

export const RANKS = ['inference.rank.tp', 'inference.rank.pp', 'inference.rank.ep', 'inference.rank'] as const;

/** Compiles a row. Returns what is wrong with it instead, one sentence each. */
export function readMapping(
  raw: RawMetric,
  defaults: RowDefaults,
  signals: (name: string) => SignalInfo | undefined,
): Mapping | { readonly wrong: readonly string[] } {
  const wrong: string[] = [];
  const types = typeof raw.type === 'string' ? [raw.type] : raw.type;
  const signal = raw.to === null ? undefined : signals(raw.to);
  if (raw.to !== null && !signal) wrong.push(`to: there is no signal "${raw.to}"`);

  const labels = new Map<string, readonly LabelRule[]>();
  for (const rules of [defaults.labels, raw.labels]) {
    for (const [label, rule] of Object.entries(rules ?? {})) {
      const list = (Array.isArray(rule) ? rule : [rule]) as readonly RawLabel[];
      labels.set(label, list.map(readLabel));
    }
  }
  const dropOthers = labels.has('*');
  labels.delete('*');

  const operands = (['times', 'over', 'plus', 'minus', 'count'] as const).filter((op) => raw[op] !== undefined);
  if (operands.length > 1) wrong.push(`${operands[1]}: only one of times, over, plus, minus and count can be given`);
  const op = operands[0];
  const combine: Combine | undefined =
    op === undefined ? undefined : { op, with: [raw[op] as RawOperand | RawOperand[]].flat().map(readOperand) };

  const targets: Record<string, Target> = {};
  if (signal) {
    for (const type of types) {
      const shape = type === 'histogram' || type === 'summary' ? type : 'number';
      const target = targetOf(raw, type, signal, combine);
      if (typeof target === 'string') wrong.push(target);
      else targets[shape] ??= target;
    }
  }
  if (wrong.length > 0) return { wrong };

  return {
    source: defaults.source,
    names: namesOf(raw),
    signal,
    types,
    unit: raw.unit,
    brief: raw.brief,
    note: raw.note,
    targets,
    take: raw.take,
    when: readWhen(defaults.when, raw.when),
    labels,
    dropOthers,
    set: raw.set ?? {},
    about: { ...defaults.about, ...raw.about },
    unless: (raw.unless ?? []).map(normalName),
    fallback: raw.fallback ?? false,
    combine,
    value: raw.value,
    newest: raw.newest ?? false,
    expand: raw.expand && readExpand(raw.expand),
    epoch: raw.epoch ?? false,
    valid: { min: raw.valid?.min ?? Number.NEGATIVE_INFINITY, max: raw.valid?.max ?? Number.POSITIVE_INFINITY },
    ranks: raw.ranks ?? signal?.ranks ?? 'each',
    population: raw.population ?? signal?.population ?? 'live',
  };
}

function readExpand(raw: NonNullable<RawMetric['expand']>): Expand {
  const of = raw.bits ? 'bits' : 'states';
  const cases = Object.entries(raw.bits ?? raw.states ?? {}).map(([key, name]) => [Number(key), name] as const);
  return { attribute: raw.attribute, of, cases };
}

/** The form of the signal that a row's values are in, and the factor; or what keeps them from being one. */
function targetOf(raw: RawMetric, type: WireType, signal: SignalInfo, combine: Combine | undefined): Target | string {
  let instrument: Instrument = type === 'info' ? 'gauge' : type;
  if (raw.take && (type === 'histogram' || type === 'summary')) instrument = 'counter';
  if (combine?.op === 'count') instrument = 'histogram';
  if (raw.expand) instrument = 'gauge';
  if (raw.as) instrument = raw.as;
  const forms: readonly Form[] = [signal, ...signal.forms];
  for (const form of forms) {
    const same =
      form.instrument === instrument ||
      (instrument === 'gauge' && form.instrument === 'updowncounter') ||
      (instrument === 'summary' && form.instrument === 'histogram');
    if (!same) continue;
    // A product or quotient, a count of events or an enumeration is in the unit that it was declared to end in.
    const free = raw.scale !== undefined || combine?.op === 'times' || combine?.op === 'over' || raw.expand;
    const scale = raw.scale ?? (free ? 1 : conversion(raw.unit, form.unit));
    if (scale === undefined) continue;
    return { instrument: instrument === 'summary' ? 'summary' : form.instrument, unit: form.unit, scale };
  }
  const shown = forms.map((f) => `${f.instrument} in ${f.unit}`).join(', ');
  return `${instrument} in ${raw.unit} cannot be ${signal.name}, which is a ${shown}`;
}

/** Whether labels fulfil a condition. */
export function fulfils(when: When, label: (name: string) => string): boolean {
  for (const [name, wanted] of when) {
    const value = label(name);
    let positive = false;
    let matched = false;
    for (const w of wanted) {
      if (w.startsWith('!')) {
        if (value === w.slice(1)) return false;
        continue;
      }
      positive = true;
      if (w === '*' ? value !== '' : value === w) matched = true;
    }
    if (positive && !matched) return false;
  }
  return true;
}
