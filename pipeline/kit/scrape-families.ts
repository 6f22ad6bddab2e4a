/** Which samples make up which series: lines of a histogram or summary come together, whatever their order. */
import { type Attributes, type Metric, NO_ATTRIBUTES } from '../model.ts';
import type { Labels } from '../wire/prometheus/labels.ts';
import { type FamilyMetadata, type FamilyType, roleOf, ucumOf } from '../wire/prometheus/metadata.ts';
import { readNumber } from '../wire/prometheus/number.ts';
import { type Identity, labelOf, partKey, withoutLabel } from './scrape-identity.ts';
import {
  type Family,
  type HistogramSlot,
  isSeen,
  NO_PART,
  type NumberSlot,
  type SamplePart,
  type Slot,
  type SummarySlot,
} from './scrape-points.ts';

export interface Families {
  /** Finds or makes the slot that a sample feeds; again after the metadata changed. */
  attach(part: SamplePart, metadata: ReadonlyMap<string, FamilyMetadata>): void;
  /** Points the series of this scrape at the current resource. */
  refresh(generation: number): void;
  /** Forgets what no sample has fed since the given generation. */
  evict(before: number): void;
  all(): Iterable<Family>;
  /** Samples that have no place, and why. */
  orphans(): Iterable<readonly [SamplePart, string]>;
}

type Grouped = HistogramSlot | SummarySlot;

export function families(who: Identity, partAt: (name: string, labels: Labels) => SamplePart | undefined): Families {
  const byKey = new Map<string, Family>();
  const groups = new Map<string, Grouped>();
  const orphans = new Map<SamplePart, string>();

  const familyOf = (
    kind: 'number' | 'histogram' | 'summary',
    name: string,
    meta: FamilyMetadata | undefined,
  ): Family => {
    const key = `${kind} ${name}`;
    const known = byKey.get(key);
    if (known && (known.metadata === meta || sameFamily(known.metadata, meta))) return known;
    const family: Family = { key, metric: metricOf(kind, name, meta), metadata: meta, slots: [] };
    byKey.set(key, family);
    if (known && known.metric.type === family.metric.type && known.metric.monotonic === family.metric.monotonic) {
      // Another HELP or UNIT tells the same series differently: its slots move over with all they know.
      for (const slot of known.slots) {
        slot.family = family;
        slot.series = { ...slot.series, metric: family.metric };
      }
      family.slots = known.slots;
    }
    return family;
  };

  const slotBase = (family: Family, labels: Labels) => ({
    family,
    labels,
    series: {
      resource: who.resourceOf(labels),
      scope: who.scopeOf(labels),
      metric: family.metric,
      attributes: who.attributesOf(labels),
    },
    live: false,
    timed: false,
    start: 0n,
    latest: 0,
    latestTime: 0n,
    created: undefined,
    createdSeconds: Number.NaN,
    createdTime: 0n,
  });

  const groupOf = (kind: 'histogram' | 'summary', name: string, labels: Labels, meta: FamilyMetadata): Grouped => {
    const family = familyOf(kind, name, meta);
    const key = `${kind} ${partKey(name, labels)}`;
    let group = groups.get(key);
    if (!group) {
      const base = slotBase(family, labels);
      const none = { sum: undefined, count: undefined };
      group =
        kind === 'histogram'
          ? { kind, ...base, ...none, buckets: [], uppers: [], bounds: undefined }
          : { kind, ...base, ...none, quantiles: [], levels: [] };
      group.created = partAt(`${name}_created`, labels);
      groups.set(key, group);
      family.slots.push(group);
    }
    return group;
  };

  const numberSlot = (part: SamplePart, meta: FamilyMetadata | undefined, before: Slot | undefined): NumberSlot => {
    const { name, labels } = part;
    // A bare sample in a histogram's family is a series of its own that nothing is known about.
    const own = meta?.type === 'histogram' || meta?.type === 'summary' ? undefined : meta;
    const family = familyOf('number', name, own);
    if (before?.kind === 'number' && before.family === family && before.part === part) return before;
    const slot: NumberSlot = { kind: 'number', ...slotBase(family, labels), part };
    family.slots.push(slot);
    if (family.metric.monotonic) {
      const stem = name.endsWith('_total') ? name.slice(0, -6) : name;
      slot.created = partAt(`${stem}_created`, labels);
    }
    if (name.endsWith('_created')) {
      // The text format has created times as gauges: they stay, and say when their sibling began.
      const stem = name.slice(0, -8);
      const group = partKey(stem, labels);
      const sibling =
        groups.get(`histogram ${group}`) ??
        groups.get(`summary ${group}`) ??
        partAt(`${stem}_total`, labels)?.slot ??
        partAt(stem, labels)?.slot;
      if (sibling) sibling.created = part;
    }
    return slot;
  };

  const attach: Families['attach'] = (part, metadata) => {
    const { name, labels, exposedName } = part;
    const has = (label: string) => labelOf(labels, label) !== undefined;
    let role = roleOf(name, has, metadata);
    let base = role.family;
    if (name !== exposedName && !metadata.has(role.family)) {
      // Renamed by relabelling: the page said what it is under its old name.
      role = roleOf(exposedName, has, metadata);
      const suffix = exposedName.slice(role.family.length);
      base = suffix !== '' && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
    }
    const meta = metadata.get(role.family);
    const before = part.slot;
    let slot: Slot | undefined;
    let wrong: string | undefined;
    if (role.kind === 'number') slot = numberSlot(part, meta, before);
    else if (role.kind === 'bucket' || role.kind === 'quantile') {
      const label = role.kind === 'bucket' ? 'le' : 'quantile';
      const level = numberOf(labelOf(labels, label)!);
      if (level === undefined) wrong = `${label} is not a number`;
      else {
        const group = groupOf(
          role.kind === 'bucket' ? 'histogram' : 'summary',
          base,
          withoutLabel(labels, label),
          meta!,
        );
        if (before === group || insert(group, part, level)) slot = group;
        else wrong = `a second series for ${label}="${level}"`;
      }
    } else if (role.kind === 'created' && meta!.type === 'counter') {
      slot = partAt(`${base}_total`, labels)?.slot ?? partAt(base, labels)?.slot;
      if (slot) slot.created = part;
    } else {
      const group = groupOf(meta!.type === 'histogram' ? 'histogram' : 'summary', base, labels, meta!);
      group[role.kind] = part;
      slot = group;
    }
    if (before && before !== slot) detach(before, part);
    part.slot = slot;
    if (wrong !== undefined) orphans.set(part, wrong);
    else orphans.delete(part);
  };

  return {
    attach,
    all: () => byKey.values(),
    orphans: () => orphans,
    refresh(generation) {
      for (const family of byKey.values()) {
        for (const slot of family.slots) {
          if (!isSeen(slot, generation)) continue;
          const resource = who.resourceOf(slot.labels);
          if (slot.series.resource !== resource) slot.series = { ...slot.series, resource };
        }
      }
    },
    evict(before) {
      for (const part of orphans.keys()) if (part.generation < before) orphans.delete(part);
      for (const [key, family] of byKey) {
        let gone = 0;
        for (const slot of family.slots) {
          if (slot.created && slot.created.generation < before) slot.created = undefined;
          if (slot.kind === 'number') {
            if (slot.part.generation < before) gone++;
            continue;
          }
          for (const part of partsOf(slot)) if (part.generation < before) detach(slot, part);
          if (isEmpty(slot)) {
            gone++;
            groups.delete(`${slot.kind} ${partKey(family.metric.name, slot.labels)}`);
          }
        }
        if (gone === 0) continue;
        family.slots = family.slots.filter((slot) =>
          slot.kind === 'number' ? slot.part.generation >= before : !isEmpty(slot),
        );
        if (family.slots.length === 0) byKey.delete(key);
      }
    },
  };
}

const sameFamily = (a: FamilyMetadata | undefined, b: FamilyMetadata | undefined): boolean =>
  a?.type === b?.type && a?.help === b?.help && a?.unit === b?.unit;

const partsOf = (slot: Grouped): SamplePart[] => {
  const own = slot.kind === 'histogram' ? slot.buckets : slot.quantiles;
  return [...own, slot.sum, slot.count].filter((part) => part !== undefined);
};

const isEmpty = (slot: Grouped): boolean =>
  (slot.kind === 'histogram' ? slot.buckets : slot.quantiles).length === 0 && !slot.sum && !slot.count;

/** Puts a bucket or quantile in its place; false where that place is taken. */
function insert(slot: Grouped, part: SamplePart, level: number): boolean {
  const [own, levels] = slot.kind === 'histogram' ? [slot.buckets, slot.uppers] : [slot.quantiles, slot.levels];
  let at = levels.length;
  while (at > 0 && levels[at - 1]! >= level) at--;
  if (levels[at] === level) return false;
  own.splice(at, 0, part);
  levels.splice(at, 0, level);
  if (slot.kind === 'histogram') slot.bounds = undefined;
  return true;
}

function detach(slot: Slot, part: SamplePart): void {
  if (slot.created === part) slot.created = undefined;
  if (slot.kind === 'number') {
    if (slot.part === part) slot.part = NO_PART;
    return;
  }
  if (slot.sum === part) slot.sum = undefined;
  if (slot.count === part) slot.count = undefined;
  const [own, levels] = slot.kind === 'histogram' ? [slot.buckets, slot.uppers] : [slot.quantiles, slot.levels];
  const at = own.indexOf(part);
  if (at < 0) return;
  own.splice(at, 1);
  levels.splice(at, 1);
  if (slot.kind === 'histogram') slot.bounds = undefined;
}

function numberOf(text: string): number | undefined {
  const bytes = Buffer.from(text, 'latin1');
  const value = readNumber(bytes, 0, bytes.length);
  return value === undefined || Number.isNaN(value) ? undefined : value;
}

const PROMETHEUS_TYPE = Object.fromEntries(
  (
    ['counter', 'gauge', 'histogram', 'gaugehistogram', 'summary', 'info', 'stateset', 'unknown'] satisfies FamilyType[]
  ).map((type): [string, Attributes] => [
    type,
    Object.freeze(Object.assign(Object.create(null), { 'prometheus.type': type })),
  ]),
);

function metricOf(kind: 'number' | 'histogram' | 'summary', name: string, meta: FamilyMetadata | undefined): Metric {
  const type = meta?.type ?? 'unknown';
  const told = {
    name,
    description: meta?.help ?? '',
    unit: ucumOf(meta?.unit ?? ''),
    metadata: PROMETHEUS_TYPE[type] ?? NO_ATTRIBUTES,
  };
  if (kind === 'histogram') return { ...told, type: 'histogram', temporality: 2, monotonic: false };
  if (kind === 'summary') return { ...told, type: 'summary', temporality: 0, monotonic: false };
  if (type === 'counter') return { ...told, type: 'sum', temporality: 2, monotonic: true };
  if (type === 'info' || type === 'stateset') return { ...told, type: 'sum', temporality: 2, monotonic: false };
  return { ...told, type: 'gauge', temporality: 0, monotonic: false };
}
