/**
 * A merged and expanded tree to a resolved config, or to everything that is wrong with it. Sentences are the Collector's
 * where it has one.
 */
import { createHash } from 'node:crypto';
import type { AnyDefinition } from '../pipeline/component.ts';
import { telemetryOptions } from '../pipeline/telemetry-options.ts';
import { checkOptions } from './check-options.ts';
import { checkService } from './check-service.ts';
import {
  type Checker,
  type Configured,
  type ConfiguredSections,
  findDefinition,
  kindOf,
  report,
  SECTIONS,
  type Section,
} from './checker.ts';
import { parseId } from './ids.ts';
import { redact } from './redact.ts';
import { type AnySchema, fillDefaults, resolve } from './schema.ts';
import { didYouMean, nearest } from './suggest.ts';
import {
  child,
  describeKind,
  type Entry,
  goType,
  isNull,
  type MapNode,
  type Node,
  type Path,
  valuePlace,
} from './tree.ts';
import type { Place, ResolvedComponent, ResolvedConfig } from './types.ts';

const TOP_LEVEL = [...SECTIONS, 'service'];

export interface Checked {
  readonly config: Omit<ResolvedConfig, 'files'>;
  readonly shown: Record<string, unknown>;
}

/** Checks everything; `config` is there exactly if no mistake was reported. */
export function check(root: Node, checker: Checker): Checked | undefined {
  if (root.kind !== 'map' || root.entries.size === 0) {
    report(checker, root.place, [], 'empty configuration file', {
      hint: 'a config needs receivers, exporters and service: { pipelines }',
    });
    return undefined;
  }
  checkTopLevel(root, checker);
  const sections: Record<Section, Map<string, Configured | undefined>> = {
    receivers: checkSection('receivers', root, checker),
    processors: checkSection('processors', root, checker),
    exporters: checkSection('exporters', root, checker),
    extensions: checkSection('extensions', root, checker),
  };
  for (const section of ['receivers', 'exporters'] as const) {
    if (sections[section].size === 0 && !checker.unreadable.has(section)) {
      report(checker, root.place, [section], `no ${kindOf(section)} configuration specified in config`);
    }
  }
  checkConnectors(root, sections, checker);
  const service = checkService(root, sections, checker);
  const telemetry = checkTelemetry(root, checker);
  if (checker.issues.some((issue) => issue.severity === 'error')) return undefined;

  const resolved = (section: Section) => {
    const out = new Map<string, ResolvedComponent>();
    for (const [id, component] of sections[section]) if (component) out.set(id, resolveComponent(component));
    return out;
  };
  const config: Checked['config'] = {
    receivers: resolved('receivers') as ResolvedConfig['receivers'],
    processors: resolved('processors') as ResolvedConfig['processors'],
    exporters: resolved('exporters') as ResolvedConfig['exporters'],
    extensions: resolved('extensions') as ResolvedConfig['extensions'],
    service: { ...service, telemetry: telemetry!.resolved },
    registry: checker.registry,
  };
  return { config, shown: showConfig(sections, service, telemetry?.shown) };
}

function showConfig(
  sections: ConfiguredSections,
  service: Omit<ResolvedConfig['service'], 'telemetry'>,
  telemetry: unknown,
): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const section of SECTIONS) {
    const components: Record<string, unknown> = {};
    for (const [id, component] of sections[section]) {
      if (component) components[id] = showOptions(component.definition.config as AnySchema, component.value);
    }
    if (Object.keys(components).length > 0) shown[section] = components;
  }
  const pipelines = Object.fromEntries(service.pipelines.map(({ id, signal: _signal, ...lists }) => [id, lists]));
  shown['service'] = {
    ...(service.plugins.length > 0 ? { plugins: service.plugins } : {}),
    extensions: service.extensions,
    pipelines,
    telemetry,
    shutdown_timeout:
      service.shutdownTimeoutMs % 1000 === 0
        ? `${service.shutdownTimeoutMs / 1000}s`
        : `${service.shutdownTimeoutMs}ms`,
  };
  return shown;
}

const showOptions = (schema: AnySchema, value: unknown): unknown => redact(schema, fillDefaults(schema, value));

function checkTopLevel(root: MapNode, checker: Checker): void {
  for (const [key, entry] of root.entries) {
    if (TOP_LEVEL.includes(key) || key === 'connectors') continue;
    report(checker, entry.keyPlace, [key], `'' has invalid keys: ${key}${didYouMean(key, TOP_LEVEL)}`, {
      hint: `valid keys: ${TOP_LEVEL.join(', ')}`,
      local: true,
    });
  }
}

function checkSection(section: Section, root: MapNode, checker: Checker): Map<string, Configured | undefined> {
  const result = new Map<string, Configured | undefined>();
  const entry = root.entries.get(section);
  if (!entry || isNull(entry.value)) return result;
  if (entry.value.kind !== 'map') {
    checker.unreadable.add(section);
    report(
      checker,
      entry.value.place,
      [section],
      `'${section}' expected a map or struct, got "${entry.value.kind === 'list' ? 'slice' : goType(entry.value)}": expected a map from ids to settings, found ${describeKind(entry.value)}`,
      { local: true, hint: `${section}: { ${checker.registry[section][0]?.type ?? 'type'}: {} }` },
    );
    return result;
  }
  for (const [key, { keyPlace, value }] of entry.value.entries) {
    const parsed = parseId(key);
    const path = [section, key];
    if ('mistake' in parsed) {
      report(checker, keyPlace, path, parsed.mistake, { local: true });
    } else if (result.has(parsed.id)) {
      report(checker, keyPlace, path, `duplicate name ${JSON.stringify(parsed.id)} after unmarshaling ${parsed.id}`, {
        local: true,
        hint: 'spaces around an id do not count; give one of the two a name of its own, as in type/name',
      });
    } else {
      const definition = findDefinition(section, parsed.type, checker.registry);
      result.set(parsed.id, undefined);
      if (!definition) reportUnknownType(section, parsed.id, parsed.type, keyPlace, path, checker);
      else result.set(parsed.id, checkComponent(parsed.id, definition, value, keyPlace, path, checker));
      if (definition && parsed.type !== definition.type) {
        const current = parsed.id.replace(parsed.type, definition.type);
        report(checker, keyPlace, path, `"${parsed.type}" is a deprecated name of "${definition.type}"`, {
          severity: 'warning',
          hint: `both work; write ${current} here and in the pipelines`,
        });
      }
    }
  }
  return result;
}

/** What users of the Collector look for, and where it is here. */
const COLLECTOR_TYPES = new Map(
  Object.entries({
    batch: "batching is part of every exporter's sending_queue: write sending_queue: { batch: {} } there",
    queue_batch: 'every exporter has its own sending_queue, with batch in it',
    logging: 'the exporter debug does this',
    hostmetrics: 'the receiver host does this',
    prometheus_simple: 'the receiver prometheus takes plain targets: targets: [http://host:port/metrics]',
    transform: 'the processors attributes, resource and filter do parts of this',
    resourcedetection:
      'receivers fill in host and Kubernetes attributes by themselves; the processor resource adds others',
    zpages: 'the own metrics (service::telemetry) and health_check show how the pipelines are',
    pprof: 'run node with --cpu-prof, or --inspect on loopback',
  }),
);

function reportUnknownType(
  section: Section,
  id: string,
  type: string,
  place: Place,
  path: Path,
  checker: Checker,
): void {
  const types = (checker.registry[section] as readonly AnyDefinition[]).map((d) => d.type);
  const elsewhere = SECTIONS.find((other) => other !== section && findDefinition(other, type, checker.registry));
  const near = nearest(type, types);
  const help =
    elsewhere === undefined
      ? near === undefined
        ? ''
        : `; did you mean "${near}"?`
      : `; there is ${elsewhere === 'extensions' || elsewhere === 'exporters' ? 'an' : 'a'} ${kindOf(elsewhere)} of this type`;
  report(checker, place, path, `unknown type: "${type}" for id: "${id}" (valid values: [${types.join(' ')}])${help}`, {
    local: true,
    hint:
      checker.missingPlugins.length > 0
        ? `perhaps it is of the plug-in that could not be loaded: ${checker.missingPlugins.join(', ')}`
        : (COLLECTOR_TYPES.get(type) ?? 'enginelight components lists what is built in; service::plugins adds more'),
  });
}

function checkComponent(
  id: string,
  definition: AnyDefinition,
  node: Node,
  keyPlace: Place,
  path: Path,
  checker: Checker,
): Configured {
  const checked = checkOptions(
    node.kind === 'scalar' && isNull(node) ? { ...node, place: keyPlace } : node,
    definition.config,
    path,
  );
  const label = `error reading configuration for "${id}"`;
  for (const issue of checked.issues) {
    // The Collector's prefix, so that the whole sentence can be searched for.
    const message = issue.severity === 'error' ? `${label}: ${issue.message}` : issue.message;
    checker.issues.push({ ...issue, message, local: true });
  }
  let { ok } = checked;
  if (ok && definition.validate) {
    for (const mistake of ownMistakes(definition, checked.value)) {
      ok = false;
      report(checker, mistakePlace(node, keyPlace, mistake.path), [...path, ...mistake.path], mistake.message, {
        local: true,
      });
    }
  }
  return { id, definition, place: keyPlace, value: checked.value, ok };
}

function ownMistakes(definition: AnyDefinition, value: unknown): readonly { path: Path; message: string }[] {
  try {
    return definition.validate?.(resolve(definition.config, value)) ?? [];
  } catch (failure) {
    const reason = failure instanceof Error ? failure.message : String(failure);
    return [{ path: [], message: `the check of ${definition.kind} "${definition.type}" failed: ${reason}` }];
  }
}

/** The key of the setting a component's own mistake is about, or of the nearest one above it that was written. */
function mistakePlace(node: Node, keyPlace: Place, path: Path): Place {
  let place = keyPlace;
  let current: Node | undefined = node;
  for (const step of path) {
    const entry: Entry | undefined = current?.kind === 'map' ? current.entries.get(String(step)) : undefined;
    const item: Node | undefined = current?.kind === 'list' ? current.items[Number(step)] : undefined;
    if (!entry && !item) return place;
    place = entry?.keyPlace ?? item!.place;
    current = entry?.value ?? item;
  }
  return place;
}

function checkConnectors(root: MapNode, sections: ConfiguredSections, checker: Checker): void {
  const entry = root.entries.get('connectors');
  if (!entry || isNull(entry.value) || (entry.value.kind === 'map' && entry.value.entries.size === 0)) return;
  const entries = entry.value.kind === 'map' ? entry.value.entries : new Map();
  for (const [id, { keyPlace }] of entries) {
    report(
      checker,
      keyPlace,
      ['connectors', id],
      `unknown type: "${id.split('/')[0]}" for id: "${id}" (valid values: [])`,
      {
        local: true,
        hint: 'enginelight has no connectors: an inference pipeline carries metrics, traces and logs together',
      },
    );
    for (const kind of ['exporters', 'receivers'] as const) {
      if (!sections[kind].has(id)) continue;
      const word = kindOf(kind);
      report(
        checker,
        keyPlace,
        ['connectors', id],
        `ambiguous ID: Found both "${id}" ${word} and "${id}" connector. Change one of the components' IDs to eliminate ambiguity (e.g. rename connector "${id}" to "${id}/connector")`,
      );
    }
  }
}

function checkTelemetry(
  root: MapNode,
  checker: Checker,
): { resolved: ResolvedConfig['service']['telemetry']; shown: unknown } | undefined {
  const path = ['service', 'telemetry'];
  const node = child(child(root, 'service'), 'telemetry');
  const place = node?.place ?? root.place;
  const checked = checkOptions(node ?? { kind: 'map', entries: new Map(), place }, telemetryOptions as AnySchema, path);
  checker.issues.push(...checked.issues.map((issue) => ({ ...issue, local: true })));
  if (!checked.ok) return undefined;
  const telemetry = resolve(telemetryOptions, checked.value);
  const { level, readers, views } = telemetry.metrics;
  const metrics = child(node, 'metrics');
  const at = (key: string) => (metrics?.kind === 'map' ? metrics.entries.get(key)?.keyPlace : undefined) ?? place;
  if (level !== 'none' && readers?.length === 0) {
    report(
      checker,
      at('readers'),
      [...path, 'metrics'],
      'collector telemetry metrics reader should exist when metric level is not none',
      {
        hint: 'add a reader, leave readers out, or write level: none',
      },
    );
  }
  readers?.forEach(({ pull, periodic }, index) => {
    const exporters = { ...pull?.exporter, ...periodic?.exporter };
    if ((pull === undefined) !== (periodic === undefined) && Object.keys(exporters).length === 1) return;
    report(
      checker,
      valuePlace(node ?? root, ['metrics', 'readers', index]),
      [...path, 'metrics', 'readers', index],
      'a reader is one of pull: { exporter: { prometheus: {} } } and periodic: { exporter: { otlp: {} } }',
    );
  });
  if (views !== undefined && level !== 'detailed') {
    const wanted =
      'service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed';
    report(checker, at('views'), [...path, 'metrics', 'views'], wanted);
  }
  return { resolved: telemetry, shown: showOptions(telemetryOptions as AnySchema, checked.value) };
}

function resolveComponent(component: Configured): ResolvedComponent {
  return {
    id: component.id,
    definition: component.definition,
    config: resolve(component.definition.config, component.value) as never,
    fingerprint: createHash('sha256').update(canonical(component.value)).digest('hex'),
    place: component.place,
  };
}

/** JSON with sorted keys: equal text for equal values. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
