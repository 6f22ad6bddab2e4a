/** Whom a target's series are about: labels merged with those of the target, resources, scopes, attributes. */
import { type Attributes, type Resource, resource, type Scope } from '../model.ts';
import { type Labels, NO_LABELS, sortPairs } from '../wire/prometheus/labels.ts';

// A record without a prototype that is still a fast object: dictionaries cost five times the memory.
function Bare() {}
Bare.prototype = Object.create(null);

/** An empty record for attributes. */
export const attributeRecord = (): Record<string, string> =>
  new (Bare as unknown as new () => Record<string, string>)();

export function labelOf(labels: Labels, name: string): string | undefined {
  for (let i = 0; i < labels.length; i += 2) if (labels[i] === name) return labels[i + 1];
  return undefined;
}

export function withoutLabel(labels: Labels, name: string): Labels {
  for (let i = 0; i < labels.length; i += 2) {
    if (labels[i] === name) return [...labels.slice(0, i), ...labels.slice(i + 2)];
  }
  return labels;
}

/** Prometheus' honor_labels: who wins where a sample has a label that its target has too. Both are sorted, so is the result. */
export function mergeLabels(sample: Labels, target: Labels, honor: boolean): Labels {
  if (target.length === 0) return sample;
  if (sample.length === 0) return target;
  let clash = false;
  for (let i = 0; i < target.length && !clash; i += 2) clash = labelOf(sample, target[i]!) !== undefined;
  if (!clash) return sortPairs([...sample, ...target]);
  if (honor) {
    const missing = target.filter((_, i) => labelOf(sample, target[i & ~1]!) === undefined);
    return missing.length === 0 ? sample : sortPairs([...sample, ...missing]);
  }
  const taken = new Set<string>();
  for (let i = 0; i < sample.length; i += 2) taken.add(sample[i]!);
  for (let i = 0; i < target.length; i += 2) taken.add(target[i]!);
  const out = [...target];
  for (let i = 0; i < sample.length; i += 2) {
    let name = sample[i]!;
    if (labelOf(target, name) !== undefined) {
      do name = `exported_${name}`;
      while (taken.has(name));
      taken.add(name);
    }
    out.push(name, sample[i + 1]!);
  }
  return sortPairs(out);
}

/** What a series is found by. */
export const partKey = (name: string, labels: Labels): string =>
  labels.length === 0 ? name : `${name}\u00ff${labels.join('\u00ff')}`;

export interface Identity {
  /** The target itself. */
  target(): Resource;
  /** Of a series with these labels: another one where `job` or `instance` among them name somebody else. */
  resourceOf(labels: Labels): Resource;
  scopeOf(labels: Labels): Scope;
  /** What stays on the point. */
  attributesOf(labels: Labels): Attributes;
  /** Adds to the target's own attributes, which win; true if that changed anything. */
  extend(more: Attributes): boolean;
}

export function identity(own: Attributes, scope: Scope): Identity {
  let base = resource(combine(own, {}));
  let others = new Map<string, Resource>();
  const scopes = new Map<string, Scope>();
  return {
    target: () => base,
    resourceOf(labels) {
      const job = labelOf(labels, 'job');
      const instance = labelOf(labels, 'instance');
      if (job === undefined && instance === undefined) return base;
      const key = JSON.stringify([job, instance]);
      let other = others.get(key);
      if (!other) {
        const named = attributeRecord();
        if (job !== undefined) named['service.name'] = job;
        if (instance !== undefined) named['service.instance.id'] = instance;
        other = resource(combine(named, base.attributes));
        if (others.size < 10_000) others.set(key, other);
      }
      return other;
    },
    scopeOf(labels) {
      let named = false;
      for (let i = 0; i < labels.length && !named; i += 2) named = labels[i]!.startsWith(SCOPE);
      if (!named) return scope;
      const attributes = attributeRecord();
      for (let i = 0; i < labels.length; i += 2) {
        const label = labels[i]!;
        if (label.startsWith(SCOPE) && !SCOPE_FIELDS.has(label)) attributes[label.slice(SCOPE.length)] = labels[i + 1]!;
      }
      const made: Scope = {
        name: labelOf(labels, 'otel_scope_name') ?? '',
        version: labelOf(labels, 'otel_scope_version') ?? '',
        attributes,
        droppedAttributesCount: 0,
        schemaUrl: labelOf(labels, 'otel_scope_schema_url') ?? '',
      };
      const key = JSON.stringify([made.name, made.version, made.schemaUrl, attributes]);
      const known = scopes.get(key);
      if (known) return known;
      if (scopes.size < 1000) scopes.set(key, made);
      return made;
    },
    attributesOf(labels) {
      const out = attributeRecord();
      for (let i = 0; i < labels.length; i += 2) {
        const label = labels[i]!;
        if (label !== 'job' && label !== 'instance' && !label.startsWith(SCOPE)) out[label] = labels[i + 1]!;
      }
      return out;
    },
    extend(more) {
      const next = combine(own, more);
      if (same(next, base.attributes)) return false;
      base = resource(next);
      others = new Map();
      return true;
    },
  };
}

const SCOPE = 'otel_scope_';
const SCOPE_FIELDS = new Set(['otel_scope_name', 'otel_scope_version', 'otel_scope_schema_url']);

/** The first one's keys win. */
function combine(first: Attributes, second: Attributes): Attributes {
  const out: Record<string, Attributes[string]> = attributeRecord();
  for (const key of Object.keys(first)) out[key] = first[key]!;
  for (const key of Object.keys(second)) if (!(key in out)) out[key] = second[key]!;
  return out;
}

function same(a: Attributes, b: Attributes): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** A record as sorted label pairs, without empty values. */
export function labelsFrom(record: Readonly<Record<string, string>>): Labels {
  const pairs = Object.entries(record).filter(([, value]) => value !== '');
  return pairs.length === 0 ? NO_LABELS : sortPairs(pairs.flat());
}
