/** A series as Prometheus knows it: its labels, made of the attributes of point, resource and scope. */
import type { Attributes, Metric, Resource, Scope, Series } from '../model.ts';
import { isLegacyLabel, labelName, type TranslationStrategy, valueText } from './prometheus-text-names.ts';

/** Name and value; sorted by name within a series, no empty values. */
export type Label = readonly [name: string, value: string];

export interface LabelOptions {
  readonly strategy: TranslationStrategy;
  /** Added to every series that has no label of that name. */
  readonly constLabels: readonly Label[];
  /** Which attributes of the resource become labels of every series (all go to target_info). */
  readonly resourceLabel: (attribute: string) => boolean;
  /** Whether `otel_scope_name` and its companions are added. */
  readonly scopeLabels: boolean;
}

export type PrometheusType = 'counter' | 'gauge' | 'histogram' | 'summary' | 'info' | 'stateset' | 'unknown';

/** The type that a metric gets; what was scraped keeps the type it had. */
export function prometheusType(metric: Metric): PrometheusType {
  switch (metric.type) {
    case 'histogram':
    case 'exponential_histogram':
      return 'histogram';
    case 'summary':
      return 'summary';
    default: {
      const scraped = metric.metadata['prometheus.type'];
      if (scraped === 'unknown' || scraped === 'info' || scraped === 'stateset') return scraped;
      return metric.type === 'sum' && metric.monotonic ? 'counter' : 'gauge';
    }
  }
}

const byName = (a: Label, b: Label) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);

/**
 * Attributes as labels. Names that become the same are one label, their values joined with `;` in the order of the names
 * they had. `lossless` is false where names were changed, so that other attributes could give the same labels.
 */
export function labelsOf(
  attributes: Attributes,
  strategy: TranslationStrategy,
  keep?: (attribute: string) => boolean,
): { labels: Map<string, string>; lossless: boolean } {
  const labels = new Map<string, string>();
  let lossless = true;
  let keys: string[] | undefined;
  for (const key in attributes) {
    if (!(isLegacyLabel(key) && !key.includes('__'))) lossless = false;
  }
  // Sorting matters only where names can meet.
  keys = lossless ? Object.keys(attributes) : Object.keys(attributes).sort();
  for (const key of keys) {
    if (keep && !keep(key)) continue;
    const value = valueText(attributes[key]!);
    if (value === '') continue;
    const name = lossless ? key : labelName(key, strategy);
    const before = labels.get(name);
    labels.set(name, before === undefined ? value : `${before};${value}`);
  }
  return { labels, lossless };
}

/** `job` is `namespace/name` of the service, `instance` its instance id; each only if it is there. */
export function jobAndInstance(resource: Resource): Label[] {
  const text = (key: string) => {
    const value = resource.attributes[key];
    return value === undefined ? '' : valueText(value);
  };
  const name = text('service.name');
  const space = text('service.namespace');
  const instance = text('service.instance.id');
  const labels: Label[] = [];
  if (name) labels.push(['job', space ? `${space}/${name}` : name]);
  if (instance) labels.push(['instance', instance]);
  return labels;
}

/** Works out labels; what depends only on a resource or a scope is worked out once for each. */
export interface Labeller {
  /** The labels of a series, without its name, sorted; and whether other attributes could give the same. */
  series(series: Series, reserved: readonly string[]): { labels: Label[]; lossless: boolean };
  /** The labels of `target_info`; undefined if the resource says nothing more than job and instance, or not even these. */
  targetInfo(resource: Resource): Label[] | undefined;
}

export function labeller(options: LabelOptions): Labeller {
  const { strategy } = options;
  const byResource = new WeakMap<Resource, { always: Label[]; more: Label[] }>();
  const byScope = new WeakMap<Scope, Label[]>();

  const ofResource = (resource: Resource) => {
    let made = byResource.get(resource);
    if (!made) {
      const { labels } = labelsOf(resource.attributes, strategy, options.resourceLabel);
      made = { always: jobAndInstance(resource), more: [...labels] };
      byResource.set(resource, made);
    }
    return made;
  };

  const ofScope = (scope: Scope) => {
    let made = byScope.get(scope);
    if (!made) {
      const labels: Label[] = [];
      if (options.scopeLabels && (scope.name || scope.version || scope.schemaUrl)) {
        const { labels: own } = labelsOf(scope.attributes, strategy);
        for (const [name, value] of own) labels.push([`otel_scope_${name}`, value]);
        if (scope.name) labels.push(['otel_scope_name', scope.name]);
        if (scope.version) labels.push(['otel_scope_version', scope.version]);
        if (scope.schemaUrl) labels.push(['otel_scope_schema_url', scope.schemaUrl]);
      }
      made = labels;
      byScope.set(scope, made);
    }
    return made;
  };

  return {
    series(series, reserved) {
      const { always, more } = ofResource(series.resource);
      const { labels, lossless } = labelsOf(series.attributes, strategy);
      // What the target is called, and what the format itself needs, wins over an attribute of the same name.
      const yield_ = (name: string) => {
        const value = labels.get(name);
        if (value === undefined) return;
        labels.delete(name);
        labels.set(`exported_${name}`, value);
      };
      for (const [name] of always) yield_(name);
      for (const name of reserved) yield_(name);
      for (const [name, value] of always) labels.set(name, value);
      for (const [name, value] of more) if (!labels.has(name)) labels.set(name, value);
      for (const [name, value] of ofScope(series.scope)) labels.set(name, value);
      for (const [name, value] of options.constLabels) if (!labels.has(name)) labels.set(name, value);
      return { labels: [...labels].sort(byName), lossless };
    },
    targetInfo(resource) {
      const identity = jobAndInstance(resource);
      if (identity.length === 0) return undefined;
      const named = new Set(['service.name', 'service.namespace', 'service.instance.id']);
      const { labels } = labelsOf(resource.attributes, strategy, (key) => !named.has(key));
      if (labels.size === 0) return undefined;
      for (const [name, value] of identity) labels.set(name, value);
      for (const [name, value] of options.constLabels) if (!labels.has(name)) labels.set(name, value);
      return [...labels].sort(byName);
    },
  };
}
