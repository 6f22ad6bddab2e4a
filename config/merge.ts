/**
 * Several configs to one, left to right, as the Collector does it: maps are merged deeply, lists and single values are
 * replaced, and an empty section in a later file wipes what earlier ones said (which is warned about, because it is rarely
 * meant).
 */
import { type Entry, formatPath, isNull, type Node, type Path } from './tree.ts';
import type { Issue } from './types.ts';

/** Every value keeps the place where it was last written. */
export function merge(below: Node, above: Node, issues: Issue[], path: Path = []): Node {
  if (below.kind !== 'map' || above.kind !== 'map') {
    if (isNull(above) && (path.length === 0 || holdsSomething(below))) {
      // A file without content says nothing; only a key without content wipes.
      if (path.length === 0) return below;
      issues.push({
        severity: 'warning',
        place: above.place,
        path: formatPath(path),
        message: `the empty section wipes what ${formatFile(below)} says here`,
        hint: 'leave the key out to keep it, or write {} to merge nothing',
      });
    }
    return above;
  }
  const entries = new Map<string, Entry>(below.entries);
  for (const [key, entry] of above.entries) {
    const before = entries.get(key);
    entries.set(key, before ? { ...entry, value: merge(before.value, entry.value, issues, [...path, key]) } : entry);
  }
  return { kind: 'map', entries, place: below.place };
}

/** A single value that is emptied is plainly meant to be; a section or list that is, hardly ever. */
const holdsSomething = (node: Node): boolean =>
  (node.kind === 'map' && node.entries.size > 0) || (node.kind === 'list' && node.items.length > 0);

const formatFile = (node: Node): string =>
  node.place.line > 0 ? `${node.place.file}:${node.place.line}` : node.place.file;
