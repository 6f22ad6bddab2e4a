/** The identity of a series as text: equal for series that OTLP holds to be one, whoever made the objects. */
import type { Attributes, Resource, Scope, Series } from '../model.ts';

/** One text for one set of attributes, whatever their order. */
export function canonicalText(attributes: Attributes): string {
  const keys = Object.keys(attributes).sort();
  return JSON.stringify(
    keys.map((key) => [key, attributes[key]]),
    (_key, value) => (typeof value === 'bigint' ? `${value}n` : value),
  );
}

/** A scope as text. */
export const scopeText = (scope: Scope): string =>
  [scope.name, scope.version, scope.schemaUrl, canonicalText(scope.attributes)].join('\0');

/** A function that gives the identity of a series; texts of resources and scopes are worked out once per object. */
export function seriesKeys(): (series: Series) => string {
  const resources = new WeakMap<Resource, string>();
  const scopes = new WeakMap<Scope, string>();
  const once = <K extends object>(cache: WeakMap<K, string>, key: K, make: () => string): string => {
    let text = cache.get(key);
    if (text === undefined) {
      text = make();
      cache.set(key, text);
    }
    return text;
  };
  return ({ resource, scope, metric, attributes }) =>
    [
      metric.name,
      metric.type,
      metric.unit,
      `${metric.temporality}${metric.monotonic ? 'm' : ''}`,
      once(scopes, scope, () => scopeText(scope)),
      once(resources, resource, () => canonicalText(resource.attributes)),
      canonicalText(attributes),
    ].join('\x01');
}
