/** Checks `service`: its pipelines and what they name, its extensions, and what is defined but used by none of them. */
import { shutdownTimeout } from '../pipeline/telemetry-options.ts';
import { checkOptions } from './check-options.ts';
import { checkPipelines, references, reportDangling, type Used } from './check-pipelines.ts';
import { type Checker, type ConfiguredSections, kindOf, report, type Section } from './checker.ts';
import { type AnySchema, options, resolve } from './schema.ts';
import { didYouMean } from './suggest.ts';
import { child, goType, isNull, type MapNode, type Node } from './tree.ts';
import type { ResolvedConfig } from './types.ts';

const SERVICE_KEYS = ['pipelines', 'extensions', 'telemetry', 'plugins', 'shutdown_timeout'];
/** Reports every mistake of the service section; the result is only meaningful if none was reported. */
export function checkService(
  root: MapNode,
  sections: ConfiguredSections,
  checker: Checker,
): Omit<ResolvedConfig['service'], 'telemetry'> {
  const entry = root.entries.get('service');
  const node = entry?.value;
  if (node && !isNull(node) && node.kind !== 'map') {
    report(
      checker,
      node.place,
      ['service'],
      `'service' expected a map or struct, got "${node.kind === 'list' ? 'slice' : goType(node)}": expected a map with the keys ${SERVICE_KEYS.join(', ')}`,
      { local: true },
    );
    return { extensions: [], pipelines: [], plugins: [], shutdownTimeoutMs: 0 };
  }
  for (const [key, { keyPlace }] of node?.kind === 'map' ? node.entries : []) {
    if (SERVICE_KEYS.includes(key)) continue;
    report(checker, keyPlace, ['service', key], `'service' has invalid keys: ${key}${didYouMean(key, SERVICE_KEYS)}`, {
      hint: `valid keys: ${SERVICE_KEYS.join(', ')}`,
      local: true,
    });
  }
  const used: Used = { receivers: new Set(), processors: new Set(), exporters: new Set(), extensions: new Set() };
  const pipelines = checkPipelines(root, entry?.keyPlace ?? root.place, sections, used, checker);
  const extensions = checkExtensions(root, sections, used, checker);
  warnUnused(sections, used, checker);
  return {
    extensions,
    pipelines,
    plugins: strings(child(child(root, 'service'), 'plugins')),
    shutdownTimeoutMs: checkShutdownTimeout(child(root, 'service'), checker),
  };
}

const timeoutOnly = options({ shutdown_timeout: shutdownTimeout });

function checkShutdownTimeout(service: Node | undefined, checker: Checker): number {
  const given = service?.kind === 'map' ? service.entries.get('shutdown_timeout') : undefined;
  const place = service?.place ?? { file: '', line: 0, column: 0 };
  const entries = new Map(given ? [['shutdown_timeout', given] as const] : []);
  const checked = checkOptions({ kind: 'map', entries, place }, timeoutOnly as AnySchema, ['service']);
  checker.issues.push(...checked.issues.map((issue) => ({ ...issue, local: true })));
  return checked.ok ? resolve(timeoutOnly, checked.value).shutdown_timeout : 0;
}

const strings = (node: Node | undefined): string[] =>
  node?.kind === 'list'
    ? node.items.flatMap((i) => (i.kind === 'scalar' && typeof i.value === 'string' ? [i.value] : []))
    : [];

function checkExtensions(root: MapNode, sections: ConfiguredSections, used: Used, checker: Checker): string[] {
  const path = ['service', 'extensions'];
  const node = child(child(root, 'service'), 'extensions');
  if (!node) return [];
  const seen = new Set<string>();
  for (const { id, place } of references(node, "'extensions'", path, checker)) {
    if (!sections.extensions.has(id)) reportDangling('extensions', id, place, path, sections, used, checker);
    else if (seen.has(id)) {
      report(checker, place, path, `references extension "${id}" multiple times`, {
        severity: 'warning',
        hint: 'it is started once',
      });
    }
    seen.add(id);
    used.extensions.add(id);
  }
  return [...seen];
}

function warnUnused(sections: ConfiguredSections, used: Used, checker: Checker): void {
  for (const section of Object.keys(sections) as Section[]) {
    for (const [id, component] of sections[section]) {
      if (!component || used[section].has(id)) continue;
      const where = section === 'extensions' ? 'service::extensions' : 'a pipeline';
      report(checker, component.place, [section, id], `${kindOf(section)} "${id}" is defined but not used`, {
        severity: 'warning',
        hint: `it is not started: name it in ${where}, or delete it`,
      });
    }
  }
}
