/** Spans of engines get their attributes under neutral names too, and a word for which stage of a request they are. */
import type { Catalog, CatalogSource } from '../../config/catalog.ts';
import type { SpanRule } from '../../config/catalog-types.ts';
import type { AnyValue, Resource, Span } from '../../pipeline/model.ts';

interface Rule extends SpanRule {
  readonly source: CatalogSource;
}

/** Returns what renames the attributes of a span; a span that no rule is about comes back as it is. */
export function createSpanNormalizer(catalog: Catalog, keepOriginals: boolean): (span: Span) => Span {
  const byName = new Map<string, Rule[]>();
  const byAttribute: Rule[] = [];
  for (const source of catalog.sources) {
    for (const rule of source.spans) {
      const entry = { ...rule, source };
      if (!rule.names) byAttribute.push(entry);
      for (const name of rule.names ?? []) byName.set(name, [...(byName.get(name) ?? []), entry]);
    }
  }
  const resources = new WeakMap<Resource, Map<string, Resource>>();

  /** The resource, and what engine it is. */
  const named = (resource: Resource, engine: string | undefined): Resource => {
    if (engine === undefined || resource.attributes['inference.engine'] !== undefined) return resource;
    let known = resources.get(resource);
    if (!known) {
      known = new Map();
      resources.set(resource, known);
    }
    let made = known.get(engine);
    if (!made) {
      made = { ...resource, attributes: { ...resource.attributes, 'inference.engine': engine } };
      known.set(engine, made);
    }
    return made;
  };

  return (span) => {
    const rules = byName.get(span.name) ?? NONE;
    let out: Record<string, AnyValue> | undefined;
    let engine: string | undefined;
    for (const list of [rules, byAttribute]) {
      for (const rule of list) {
        if (!matches(rule, span)) continue;
        out ??= { ...span.attributes };
        engine ??= rule.source.engine;
        for (const [name, value] of rule.set) if (out[name] === undefined) out[name] = value;
        for (const [from, to] of rule.rename) {
          const value = span.attributes[from];
          if (value === undefined) continue;
          if (out[to] === undefined) out[to] = value;
          if (!keepOriginals) delete out[from];
        }
      }
    }
    return out ? { ...span, resource: named(span.resource, engine), attributes: out } : span;
  };
}

const NONE: readonly Rule[] = [];

function matches(rule: Rule, span: Span): boolean {
  for (const name of rule.having) if (span.attributes[name] === undefined) return false;
  const given = span.resource.attributes['inference.engine'];
  if (rule.engine === undefined) {
    // An attribute like `rid` says little by itself: not where another engine is named.
    return rule.names !== undefined || given === undefined || given === rule.source.engine;
  }
  if (given !== undefined) return given === rule.engine;
  return (
    plain(span.resource.attributes['service.name']) === rule.engine || plain(span.scope.name).includes(rule.engine)
  );
}

/** `llm-d-router/pkg/epp` is of `llm_d`. */
const plain = (name: AnyValue | undefined): string => (typeof name === 'string' ? name.replaceAll('-', '_') : '');
