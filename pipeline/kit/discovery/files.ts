/**
 * Targets from files in Prometheus' file_sd format: JSON or YAML, a list of `{targets: [host:port], labels: {}}`. Read
 * again when a file changes; a file that cannot be read or is half written keeps the targets it last gave.
 */
import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { describeError } from '../../errors.ts';
import type { Discovery, TargetLabels } from './discovery.ts';

export interface FilesOptions {
  /** Paths; the last element may hold `*` and `?`. */
  readonly files: readonly string[];
  /** How often the files are read without having been seen to change. */
  readonly refreshMs: number;
}

/** A file is looked at again this long after it was touched, so that whoever writes it can finish. */
const SETTLE_MS = 100;
/** How often files are looked at where changes are not reported (network file systems, no watches left). */
const POLL_MS = 5000;
const MAX_FILE_BYTES = 64 << 20;

export function fromTargetFiles(options: FilesOptions): Discovery {
  return async (update, { clock, log, problem }) => {
    const known = new Map<string, { identity: string; targets: readonly TargetLabels[] }>();
    const complaints = new Map<string, string>();
    const watchers: FSWatcher[] = [];
    let stopped = false;
    let timer = { cancel() {} };
    let pollTimer = { cancel() {} };
    let running: Promise<void> | undefined;
    let again = false;
    let told = '';

    const complain = (path: string, message: string) => {
      if (complaints.get(path) === message) return;
      complaints.set(path, message);
      const kept = known.get(path)?.targets.length;
      log.warn('Cannot read a file of targets.', {
        file: path,
        error: message,
        ...(kept === undefined ? {} : { keeping: `${kept} targets it gave before` }),
      });
    };

    const read = async (path: string): Promise<void> => {
      const s = await stat(path);
      const identity = `${s.dev}:${s.ino}:${s.size}:${s.mtimeMs}`;
      if (known.get(path)?.identity === identity && !complaints.has(path)) return;
      if (s.size > MAX_FILE_BYTES) throw new Error(`larger than ${MAX_FILE_BYTES} bytes`);
      const targets = parseTargetFile(await readFile(path, 'utf8'), path);
      known.set(path, { identity, targets });
      if (complaints.delete(path)) log.info('A file of targets can be read again.', { file: path });
    };

    const look = async () => {
      const present = new Set<string>();
      for (const pattern of options.files) {
        const paths = await expand(pattern).catch(() => [] as string[]);
        if (paths.length === 0) complain(pattern, 'no such file');
        else if (complaints.get(pattern) === 'no such file') complaints.delete(pattern);
        for (const path of paths) {
          present.add(path);
          try {
            await read(path);
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code === 'ENOENT') present.delete(path);
            else complain(path, describeError(error));
          }
        }
      }
      for (const path of [...known.keys()]) if (!present.has(path)) known.delete(path);
      for (const path of complaints.keys()) {
        if (!present.has(path) && !options.files.includes(path)) complaints.delete(path);
      }
      const [first] = complaints;
      problem(first && `${first[0]}: ${first[1]}`);
      const targets = [...known.values()].flatMap((file) => file.targets);
      const text = JSON.stringify(targets);
      if (text !== told && !stopped) {
        told = text;
        update(targets);
      }
    };

    const refresh = (): Promise<void> => {
      if (running) {
        again = true;
        return running;
      }
      running = look()
        .catch((error) => log.error('Looking for targets in files failed.', { error }))
        .finally(() => {
          running = undefined;
          if (again && !stopped) {
            again = false;
            void refresh();
          }
        });
      return running;
    };

    const soon = () => {
      timer.cancel();
      if (!stopped) timer = clock.after(SETTLE_MS, () => void refresh());
    };

    let pollMs = options.refreshMs;
    for (const folder of new Set(options.files.map((file) => dirname(file)))) {
      try {
        const watcher = watch(folder, { persistent: false }, soon);
        watcher.on('error', () => {
          pollMs = Math.min(options.refreshMs, POLL_MS);
        });
        watchers.push(watcher);
      } catch {
        pollMs = Math.min(options.refreshMs, POLL_MS);
      }
    }
    const poll = () => {
      pollTimer = clock.after(pollMs, () => {
        void refresh();
        if (!stopped) poll();
      });
    };
    await refresh();
    poll();
    return {
      async stop() {
        stopped = true;
        timer.cancel();
        pollTimer.cancel();
        for (const watcher of watchers) watcher.close();
        await running;
      },
    };
  };
}

/** Reads the text of one file; throws an Error that says what is wrong with it. */
export function parseTargetFile(text: string, path: string): TargetLabels[] {
  const extension = extname(path).toLowerCase();
  let groups: unknown;
  if (extension === '.json') groups = JSON.parse(text);
  else if (extension === '.yml' || extension === '.yaml') groups = parseYaml(text, { maxAliasCount: 100 });
  else throw new Error('file name must end with .json, .yml or .yaml');
  if (groups === null || groups === undefined) {
    // An empty file is what a half-written one looks like; an empty list is how to say "none".
    throw new Error('the file is empty; write [] for no targets');
  }
  if (!Array.isArray(groups)) throw new Error('a list of {targets, labels} is expected');
  return groups.flatMap((group: unknown, i) => {
    if (typeof group !== 'object' || group === null || Array.isArray(group)) {
      throw new Error(`entry ${i + 1} is not a mapping with targets`);
    }
    const { targets = [], labels = {}, ...rest } = group as { targets?: unknown; labels?: unknown };
    const unknown = Object.keys(rest).filter((key) => key !== 'source');
    if (unknown.length > 0) throw new Error(`entry ${i + 1} has the unknown key "${unknown[0]}"`);
    if (!Array.isArray(targets)) throw new Error(`targets of entry ${i + 1} is not a list`);
    if (typeof labels !== 'object' || labels === null || Array.isArray(labels)) {
      throw new Error(`labels of entry ${i + 1} is not a mapping`);
    }
    const common: Record<string, string> = { __meta_filepath: path };
    for (const [name, value] of Object.entries(labels)) {
      if (typeof value === 'object') throw new Error(`label "${name}" of entry ${i + 1} is not a text`);
      common[name] = String(value);
    }
    return targets.map((target: unknown): TargetLabels => {
      if (typeof target !== 'string') throw new Error(`a target of entry ${i + 1} is not a text`);
      return { ...common, __address__: target };
    });
  });
}

async function expand(pattern: string): Promise<string[]> {
  const name = basename(pattern);
  if (!/[*?]/.test(name)) {
    await stat(pattern);
    return [pattern];
  }
  const source = name
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  const matches = new RegExp(`^${source}$`);
  const folder = dirname(pattern);
  const entries = await readdir(folder);
  return entries
    .filter((entry) => matches.test(entry) && !entry.startsWith('.'))
    .sort()
    .map((entry) => join(folder, entry));
}
