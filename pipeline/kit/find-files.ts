/** Files by name or by pattern (`/var/log/vllm*.log`), as they are now. */
import type { BigIntStats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';

export interface FoundFile {
  readonly path: string;
  readonly stats: BigIntStats;
  /** Device and inode: the same after a rename. */
  readonly identity: string;
}

/** A folder with more entries is not looked through to its end. */
const MOST_ENTRIES = 100_000;

/**
 * The regular files that match, by path. `*` and `?` stand for characters within one part of the path, hidden files need
 * their dot written. What cannot be looked at is left out; a file that two patterns match is there once.
 */
export async function findFiles(patterns: readonly string[], most: number): Promise<FoundFile[]> {
  const found = new Map<string, FoundFile>();
  for (const pattern of patterns) {
    for (const path of await expand(pattern)) {
      if (found.size >= most) break;
      const stats = await stat(path, { bigint: true }).catch(() => undefined);
      if (!stats?.isFile()) continue;
      const identity = `${stats.dev}:${stats.ino}`;
      // A link and what it leads to are one file.
      if (!found.has(identity)) found.set(identity, { path, stats, identity });
    }
  }
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

const isPattern = (part: string): boolean => /[*?]/.test(part);

async function expand(pattern: string): Promise<string[]> {
  if (!isPattern(pattern)) return [pattern];
  let folders = [isAbsolute(pattern) ? sep : '.'];
  for (const part of pattern.split(sep)) {
    if (part === '') continue;
    if (!isPattern(part)) {
      folders = folders.map((folder) => join(folder, part));
      continue;
    }
    const matches = matcher(part);
    const next: string[] = [];
    for (const folder of folders) {
      const names = await readdir(folder).catch(() => []);
      for (const name of names.slice(0, MOST_ENTRIES)) if (matches(name)) next.push(join(folder, name));
    }
    folders = next;
  }
  return folders;
}

/**
 * Whether a name matches, without a regular expression: many stars in a name must not take time that grows with the power
 * of their number.
 */
function matcher(part: string): (name: string) => boolean {
  return (name) => {
    if (name.startsWith('.') && !part.startsWith('.')) return false;
    let p = 0;
    let n = 0;
    let star = -1;
    let from = 0;
    while (n < name.length) {
      if (p < part.length && (part[p] === '?' || (part[p] === name[n] && part[p] !== '*'))) {
        p++;
        n++;
      } else if (p < part.length && part[p] === '*') {
        star = p++;
        from = n;
      } else if (star >= 0) {
        p = star + 1;
        n = ++from;
      } else return false;
    }
    while (part[p] === '*') p++;
    return p === part.length;
  };
}
