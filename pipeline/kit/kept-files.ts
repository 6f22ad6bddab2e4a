/**
 * Files that nobody but the daemon's own user may read, kept within limits: written whole or not at all, the oldest removed
 * first. For reports and recordings, which contain what a service is asked and how it is built.
 */
import { chmod, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface KeptFile {
  readonly name: string;
  readonly bytes: number;
  readonly changedMs: number;
}

export interface KeepLimits {
  /** Most files of the folder; 0 is no limit. */
  readonly files?: number;
  readonly bytes?: number;
  /** Files that were not changed for so long are removed, milliseconds; 0 keeps them. */
  readonly ageMs?: number;
}

export interface KeptFolder {
  readonly path: string;
  /** Writes a whole file, in one step. Rejects with the system's error; then the old one is as it was. */
  write(name: string, content: string | Uint8Array): Promise<void>;
  /** The files whose names match, oldest name first. */
  list(names: RegExp): Promise<KeptFile[]>;
  remove(name: string): Promise<void>;
  /** Removes the oldest files until the limits hold, but none of `spare`. Resolves with what was removed. */
  prune(names: RegExp, limits: KeepLimits, nowMs: number, spare?: (file: KeptFile) => boolean): Promise<KeptFile[]>;
}

/** Makes the folder if it is not there (0700). Rejects with the system's error. */
export async function openKeptFolder(path: string): Promise<KeptFolder> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  // Leftovers of a process that died while writing.
  for (const name of await readdir(path)) if (name.endsWith(PARTIAL)) await rm(join(path, name), { force: true });

  const folder: KeptFolder = {
    path,
    async write(name, content) {
      const partial = join(path, `.${name}${PARTIAL}`);
      try {
        const handle = await open(partial, 'w', 0o600);
        try {
          await handle.writeFile(content);
        } finally {
          await handle.close();
        }
        await chmod(partial, 0o600);
        await rename(partial, join(path, name));
      } catch (error) {
        await rm(partial, { force: true }).catch(() => {});
        throw error;
      }
    },
    async list(names) {
      const out: KeptFile[] = [];
      for (const name of (await readdir(path)).sort()) {
        if (!names.test(name)) continue;
        const s = await stat(join(path, name)).catch(() => undefined);
        if (s?.isFile()) out.push({ name, bytes: s.size, changedMs: s.mtimeMs });
      }
      return out;
    },
    remove: (name) => rm(join(path, name), { force: true }),
    async prune(names, limits, nowMs, spare = () => false) {
      const files = await folder.list(names);
      let count = files.length;
      let bytes = files.reduce((sum, f) => sum + f.bytes, 0);
      const removed: KeptFile[] = [];
      for (const file of files) {
        const old = limits.ageMs !== undefined && limits.ageMs > 0 && nowMs - file.changedMs > limits.ageMs;
        const many = limits.files !== undefined && limits.files > 0 && count > limits.files;
        const large = limits.bytes !== undefined && limits.bytes > 0 && bytes > limits.bytes;
        if (!(old || many || large)) continue;
        if (spare(file)) continue;
        await folder.remove(file.name);
        removed.push(file);
        count--;
        bytes -= file.bytes;
      }
      return removed;
    },
  };
  return folder;
}

const PARTIAL = '.partial';

/** A stranger's text as a part of a file name: no folders, no hidden files, not too long. */
export function namePart(text: string, max = 60): string {
  const clean = text.replace(/[^A-Za-z0-9._-]/g, '_').slice(0, max);
  return /^[._]*$/.test(clean) ? 'unnamed' : clean.replace(/^\.+/, '_');
}

/** `20260501T120000Z`: sorts by time. */
export const stamp = (ms: number): string => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, '');
