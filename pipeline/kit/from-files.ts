/**
 * Values made of files that others replace while we run: certificates, tokens, passwords. No watcher: a look at the
 * file's identity when the value is next needed is cheaper, survives Kubernetes' symlink swaps and holds no handle.
 */
import { readFile, stat } from 'node:fs/promises';
import { describeError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';

export interface FromFilesOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** How often the files are looked at, at most. Default 1 s. */
  readonly recheckMs?: number;
}

/**
 * Returns a function that gives `make(contents)`, made again when any of the files changed. A file that cannot be read or
 * a `make` that throws keeps the last good value and is said once; without any good value the call rejects, naming the
 * file. `what` is what the message calls the value ("client certificate").
 */
export function fromFiles<T>(
  what: string,
  paths: readonly string[],
  make: (contents: readonly Buffer[]) => T,
  options: FromFilesOptions,
): () => Promise<T> {
  const { clock, log, recheckMs = 1000 } = options;
  let good: { value: T } | undefined;
  let seen = '';
  let lookedAt = Number.NEGATIVE_INFINITY;
  let failure: Error | undefined;
  let running: Promise<T> | undefined;

  const look = async (): Promise<T> => {
    let path = paths[0] ?? '';
    try {
      const identities: string[] = [];
      for (path of paths) {
        const s = await stat(path);
        identities.push(`${s.dev}:${s.ino}:${s.size}:${s.mtimeMs}`);
      }
      const identity = identities.join('|');
      if (identity !== seen || !good) {
        const contents: Buffer[] = [];
        for (path of paths) contents.push(await readFile(path));
        const value = make(contents);
        if (good) log.info(`Read a changed ${what}.`, { files: paths.join(', ') });
        good = { value };
        seen = identity;
      }
      failure = undefined;
    } catch (error) {
      const next = new Error(`cannot use ${what} from ${path}: ${describeError(error)}`, { cause: error });
      if (good && failure?.message !== next.message) {
        log.warn(`A changed ${what} cannot be used, the last good one stays in use.`, { file: path, error });
      }
      failure = next;
    }
    lookedAt = clock.monotonic();
    if (good) return good.value;
    throw failure;
  };

  return () => {
    if (good && clock.monotonic() - lookedAt < recheckMs) return Promise.resolve(good.value);
    running ??= look().finally(() => {
      running = undefined;
    });
    return running;
  };
}
