/** Reads a config: providers, merging, expansion, plug-ins, checks. Every mistake at once, each with its place. */
import type { Registry } from '../pipeline/component.ts';
import { type Checked, check } from './check.ts';
import type { Checker } from './checker.ts';
import { expand } from './expand.ts';
import { merge } from './merge.ts';
import { loadPlugins } from './plugins.ts';
import { createReader, type Reader, readConfig, readSet } from './providers.ts';
import { redactUrls } from './redact.ts';
import type { Node } from './tree.ts';
import type { ConfigSources, Issue, LoadOptions, LoadResult } from './types.ts';

type Found = Checker['issues'][number];

/** Never throws for what a user wrote. Files are read, plug-ins are imported; nothing else happens. */
export async function loadConfig(sources: ConfigSources, options: LoadOptions): Promise<LoadResult> {
  const reader = createReader(options);
  const { root, whole } = readAll(sources, reader);
  if (!root) return finish(reader, options.registry, [], undefined);
  const expanded = expand(root, reader);
  const checker: Checker = { registry: options.registry, issues: [], unreadable: new Set(), missingPlugins: [] };
  const registry = await loadPlugins(expanded, options.cwd, checker);
  const complete: Checker = { ...checker, registry };
  const checked = check(expanded, complete);
  // What a file that could not be read fully lacks is no mistake of its own.
  const issues = whole ? complete.issues : complete.issues.filter((issue) => issue.local && isReadable(issue, reader));
  return finish(reader, registry, issues, checked);
}

/** The merged tree; `whole` is false if a part of what was named could not be read. */
function readAll(sources: ConfigSources, reader: Reader): { root: Node | undefined; whole: boolean } {
  if (sources.configs.length === 0) {
    reader.issues.push({
      severity: 'error',
      path: '',
      message: 'at least one config flag must be provided',
      hint: 'enginelight --config FILE',
    });
    return { root: undefined, whole: false };
  }
  const nodes = [
    ...sources.configs.map((uri, index) => readConfig(uri, index, reader)),
    ...sources.sets.map((set) => readSet(set, reader)),
  ];
  let root: Node | undefined;
  for (const node of nodes) if (node) root = root ? merge(root, node, reader.issues) : node;
  return { root, whole: nodes.every((node) => node !== undefined) && reader.broken.size === 0 };
}

function isReadable(issue: Found, reader: Reader): boolean {
  const brokenFrom = issue.place && reader.broken.get(issue.place.file);
  return brokenFrom === undefined || issue.place!.line < brokenFrom;
}

function finish(reader: Reader, registry: Registry, found: readonly Found[], checked: Checked | undefined): LoadResult {
  const issues = inOrder([...reader.issues, ...found]);
  const mistakes = issues.filter((issue) => issue.severity === 'error');
  const warnings = issues.filter((issue) => issue.severity === 'warning');
  if (mistakes.length > 0 || !checked) return { ok: false, registry, mistakes, warnings };
  const config = { ...checked.config, files: [...reader.files] };
  return { ok: true, registry, config, shown: checked.shown, mistakes, warnings };
}

/** In the order of the files, and of the lines in them; what has no place comes first. */
function inOrder(issues: readonly Found[]): Issue[] {
  const files = new Map<string, number>();
  for (const { place } of issues) if (place && !files.has(place.file)) files.set(place.file, files.size);
  const seen = new Set<string>();
  return issues
    .map(({ local: _local, ...issue }) => ({ ...issue, message: redactUrls(issue.message) }))
    .filter((issue) => {
      const key = JSON.stringify(issue);
      return !seen.has(key) && seen.add(key);
    })
    .sort((a, b) => {
      if (!a.place || !b.place) return Number(a.place !== undefined) - Number(b.place !== undefined);
      return (
        files.get(a.place.file)! - files.get(b.place.file)! ||
        a.place.line - b.place.line ||
        a.place.column - b.place.column
      );
    });
}
