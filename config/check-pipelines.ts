/** Checks the pipelines: their ids, and that each names components that exist and carry its signal. */
import type { AnyDefinition } from '../pipeline/component.ts';
import { SIGNALS, type Signal } from '../pipeline/model.ts';
import { type Checker, type ConfiguredSections, findDefinition, kindOf, report, type Section } from './checker.ts';
import { parseId } from './ids.ts';
import { didYouMean, nearest } from './suggest.ts';
import { child, describeKind, goType, isNull, type MapNode, type Node, type Path } from './tree.ts';
import type { Place, ResolvedPipeline } from './types.ts';

const PIPELINE_SIGNALS = [...SIGNALS, 'inference'];
const PIPELINE_KEYS = ['receivers', 'processors', 'exporters'] as const;
type PipelineSection = (typeof PIPELINE_KEYS)[number];

/** An id that a pipeline or the list of extensions names. */
export interface Reference {
  readonly id: string;
  readonly place: Place;
}

/** Which ids are used, or were probably meant by a reference that is wrong. */
export type Used = Readonly<Record<Section, Set<string>>>;

/** Reports every mistake of the pipelines; the result is only meaningful if none was reported. */
export function checkPipelines(
  root: MapNode,
  servicePlace: Place,
  sections: ConfiguredSections,
  used: Used,
  checker: Checker,
): ResolvedPipeline[] {
  const path = ['service', 'pipelines'];
  const service = child(root, 'service');
  const entry = service?.kind === 'map' ? service.entries.get('pipelines') : undefined;
  const node = entry?.value;
  if (!node || isNull(node) || (node.kind === 'map' && node.entries.size === 0)) {
    if (node?.kind === 'scalar' && node.failed) return [];
    report(checker, entry?.keyPlace ?? servicePlace, path, 'service must have at least one pipeline', {
      hint: 'service: { pipelines: { inference: { receivers: [...], exporters: [...] } } }',
    });
    return [];
  }
  if (node.kind !== 'map') {
    report(
      checker,
      node.place,
      path,
      `'pipelines' expected type 'pipelines.Config', got unconvertible type '${goType(node)}': expected a map from pipeline ids to pipelines, found ${describeKind(node)}`,
      { local: true },
    );
    return [];
  }
  const pipelines = new Map<string, ResolvedPipeline>();
  for (const [key, { keyPlace, value }] of node.entries) {
    const at = [...path, key];
    const parsed = parseId(key);
    if ('mistake' in parsed) {
      report(checker, keyPlace, at, parsed.mistake, { local: true });
    } else if (pipelines.has(parsed.id)) {
      report(checker, keyPlace, at, `duplicate name ${JSON.stringify(parsed.id)} after unmarshaling ${parsed.id}`, {
        local: true,
      });
    } else if (!PIPELINE_SIGNALS.includes(parsed.type)) {
      reportUnknownSignal(parsed.id, parsed.type, keyPlace, at, checker);
      const silent: Checker = { ...checker, issues: [] };
      checkPipeline(parsed.id, 'inference', value, keyPlace, at, sections, used, silent);
    } else {
      const signal = parsed.type as ResolvedPipeline['signal'];
      pipelines.set(parsed.id, checkPipeline(parsed.id, signal, value, keyPlace, at, sections, used, checker));
    }
  }
  return [...pipelines.values()];
}

function reportUnknownSignal(id: string, signal: string, place: Place, path: Path, checker: Checker): void {
  if (signal === 'profiles') {
    report(
      checker,
      place,
      path,
      `pipeline "${id}": profiling signal support is at alpha level, gated under the "service.profilesSupport" feature gate; enginelight does not carry profiles`,
      { local: true },
    );
    return;
  }
  report(checker, place, path, `pipeline "${id}": unknown signal "${signal}"${didYouMean(signal, PIPELINE_SIGNALS)}`, {
    local: true,
    hint: `a pipeline id is ${PIPELINE_SIGNALS.join(', ')}, or one of them with a name, as in inference/a`,
  });
}

function checkPipeline(
  id: string,
  signal: ResolvedPipeline['signal'],
  node: Node,
  keyPlace: Place,
  path: Path,
  sections: ConfiguredSections,
  used: Used,
  checker: Checker,
): ResolvedPipeline {
  const lists: Record<PipelineSection, Reference[]> = { receivers: [], processors: [], exporters: [] };
  if (node.kind !== 'map' && !isNull(node)) {
    report(
      checker,
      node.place,
      path,
      `'[${id}]' expected a map or struct, got "${node.kind === 'list' ? 'slice' : goType(node)}": expected a map with the keys ${PIPELINE_KEYS.join(', ')}`,
      { local: true },
    );
  } else if (node.kind === 'map') {
    for (const [key, entry] of node.entries) {
      if (!(PIPELINE_KEYS as readonly string[]).includes(key)) {
        report(
          checker,
          entry.keyPlace,
          [...path, key],
          `'[${id}]' has invalid keys: ${key}${didYouMean(key, PIPELINE_KEYS)}`,
          {
            hint: `valid keys: ${PIPELINE_KEYS.join(', ')}`,
            local: true,
          },
        );
      }
    }
    for (const key of PIPELINE_KEYS) {
      const entry = node.entries.get(key);
      if (entry) lists[key] = references(entry.value, `'[${id}].${key}'`, [...path, key], checker);
    }
  }
  const unreadable = PIPELINE_KEYS.filter((key) => {
    const given = child(node, key);
    return (
      given !== undefined &&
      !isNull(given) &&
      lists[key].length === 0 &&
      !(given.kind === 'list' && given.items.length === 0)
    );
  });
  if (node.kind === 'map' || isNull(node)) {
    for (const key of ['receivers', 'exporters'] as const) {
      if (lists[key].length > 0 || unreadable.includes(key)) continue;
      const place = node.kind === 'map' ? (node.entries.get(key)?.keyPlace ?? keyPlace) : keyPlace;
      report(checker, place, path, `must have at least one ${kindOf(key)}`, {
        hint: sections[key].size > 0 ? `configured ${key}: ${[...sections[key].keys()].join(', ')}` : undefined,
      });
    }
  }
  for (const key of PIPELINE_KEYS) checkReferences(key, lists[key], signal, id, path, sections, used, checker);
  checkOrder(lists.processors, path, sections, checker);
  checkFindingsLeave(signal, lists.exporters, keyPlace, path, sections, checker);
  const ids = (key: PipelineSection) => [...new Set(lists[key].map((r) => r.id))];
  return { id, signal, receivers: ids('receivers'), processors: ids('processors'), exporters: ids('exporters') };
}

/** Reads a list of ids; a text with commas is a list too, as in the Collector. */
export function references(node: Node, name: string, path: Path, checker: Checker): Reference[] {
  if (isNull(node)) return [];
  if (node.kind === 'map' || (node.kind === 'scalar' && typeof node.value !== 'string')) {
    const kind = node.kind === 'map' ? 'map' : goType(node);
    report(
      checker,
      node.place,
      path,
      `${name} source data must be an array or slice, got ${kind}: write a list, as in [a, b]`,
      {
        local: true,
      },
    );
    return [];
  }
  const items =
    node.kind === 'list'
      ? node.items
      : String(node.value)
          .split(',')
          .map((text): Node => ({ ...node, value: text }));
  return items.flatMap((item, index) => {
    const at = [...path, index];
    if (item.kind !== 'scalar' || item.value === null) {
      if (item.kind === 'scalar' && item.failed) return [];
      report(checker, item.place, at, `expected the id of a component, found ${describeKind(item)}`, { local: true });
      return [];
    }
    const parsed = parseId(item.text ?? String(item.value));
    if ('mistake' in parsed) {
      report(checker, item.place, at, parsed.mistake, { local: true });
      return [];
    }
    return [{ id: parsed.id, place: item.place }];
  });
}

function checkReferences(
  section: PipelineSection,
  list: readonly Reference[],
  signal: ResolvedPipeline['signal'],
  pipeline: string,
  path: Path,
  sections: ConfiguredSections,
  used: Used,
  checker: Checker,
): void {
  const kind = kindOf(section);
  const seen = new Set<string>();
  for (const { id, place } of list) {
    if (seen.has(id)) {
      const isMistake = section === 'processors';
      report(checker, place, path, `references ${kind} "${id}" multiple times`, {
        severity: isMistake ? 'error' : 'warning',
        hint: isMistake ? `define a second one, as in "${id}/2"` : 'it is used once',
      });
      continue;
    }
    seen.add(id);
    used[section].add(id);
    if (!sections[section].has(id)) {
      if (!checker.unreadable.has(section)) reportDangling(section, id, place, path, sections, used, checker);
      continue;
    }
    const definition = sections[section].get(id)?.definition as
      | (AnyDefinition & { signals: readonly Signal[] })
      | undefined;
    if (!definition || signal === 'inference' || definition.signals.includes(signal)) continue;
    report(
      checker,
      place,
      path,
      `${kind} "${id}" cannot be used in pipeline "${pipeline}": telemetry type is not supported; it ${section === 'receivers' ? 'gives' : 'takes'} ${definition.signals.join(', ')}`,
      {
        hint: `move it to ${definition.signals.map((s) => `a ${s} pipeline`).join(', ')}, or to an inference pipeline`,
      },
    );
  }
}

const nameOf = (id: string): string => id.split('/').slice(1).join('/');

function definitionOf(section: Section, id: string, checker: Checker): AnyDefinition | undefined {
  return findDefinition(section, id.split('/')[0]!, checker.registry);
}

/** A reference to nothing, with the nearest id that exists. */
export function reportDangling(
  section: Section,
  id: string,
  place: Place,
  path: Path,
  sections: ConfiguredSections,
  used: Used,
  checker: Checker,
): void {
  const kind = kindOf(section);
  const configured = [...sections[section].keys()];
  const definition = definitionOf(section, id, checker);
  // The same component under its other spelling (`otlphttp`), else a near name, else another one of its type.
  const ofType = configured.filter(
    (other) => definition !== undefined && definitionOf(section, other, checker) === definition,
  );
  const spelledOtherwise = ofType.find((other) => nameOf(other) === nameOf(id));
  const elsewhere = (Object.keys(sections) as Section[]).find((other) => other !== section && sections[other].has(id));
  const near = spelledOtherwise ?? nearest(id, configured) ?? ofType[0];
  if (near !== undefined) used[section].add(near);
  const help =
    near !== undefined
      ? `; did you mean "${near}"?`
      : elsewhere !== undefined
        ? `; "${id}" is configured under ${elsewhere}`
        : '';
  const hint =
    definition !== undefined
      ? `add it: ${section}: { ${id}: {} }`
      : configured.length > 0
        ? `configured ${section}: ${configured.join(', ')}`
        : undefined;
  report(checker, place, path, `references ${kind} "${id}" which is not configured${help}`, { hint });
}

/** `memory_limiter` protects only what comes after it. */
function checkOrder(
  processors: readonly Reference[],
  path: Path,
  sections: ConfiguredSections,
  checker: Checker,
): void {
  processors.forEach(({ id, place }, index) => {
    if (index === 0 || sections.processors.get(id)?.definition.type !== 'memory_limiter') return;
    report(
      checker,
      place,
      path,
      `processor "${id}" is not the first of its pipeline, so what stands before it is not protected`,
      {
        severity: 'warning',
        hint: `write processors: [${[id, ...processors.map((p) => p.id).filter((p) => p !== id)].join(', ')}]`,
      },
    );
  });
}

/** Findings are log records: a pipeline without an exporter of logs computes them for nobody. */
function checkFindingsLeave(
  signal: ResolvedPipeline['signal'],
  exporters: readonly Reference[],
  place: Place,
  path: Path,
  sections: ConfiguredSections,
  checker: Checker,
): void {
  const definitions = exporters.map(({ id }) => sections.exporters.get(id)?.definition);
  if (signal !== 'inference' || definitions.length === 0 || definitions.some((d) => d === undefined)) return;
  if (definitions.some((d) => d?.kind === 'exporter' && d.signals.includes('logs'))) return;
  const able = checker.registry.exporters.filter((d) => d.signals.includes('logs')).map((d) => d.type);
  report(checker, place, path, 'none of its exporters takes logs, so findings, which are log records, go nowhere', {
    severity: 'warning',
    hint: able.length > 0 ? `exporters that take logs: ${able.join(', ')}` : undefined,
  });
}
