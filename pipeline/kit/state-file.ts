/**
 * What a component knows and would lose with the process, as one small JSON file: written whole or not at all, read once at
 * start. A file that cannot be read costs the memory, never the start.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '../errors.ts';
import { namePart, openKeptFolder } from './kept-files.ts';
import type { Logger } from './log.ts';

/** A larger file is not ours, or broken. */
const MAX_BYTES = 64 << 20;

export interface StateFile {
  /** Where it is, for messages. */
  readonly path: string;
  /** What was written last, whatever form that has; undefined where nothing (readable) is there. */
  read(): Promise<unknown>;
  /** Resolves with false where the disk refused; that is logged once until it works again. */
  write(value: unknown): Promise<boolean>;
}

/** Opens the file of component `id` in a folder, which is made if it is missing (0700). Rejects if it cannot be. */
export async function openStateFile(directory: string, id: string, log: Logger): Promise<StateFile> {
  const folder = await openKeptFolder(directory);
  const name = `${namePart(id)}.json`;
  const path = join(directory, name);
  let failing = false;
  return {
    path,
    async read() {
      try {
        const handle = await open(path, 'r');
        try {
          if ((await handle.stat()).size > MAX_BYTES) throw new Error(`it is larger than ${MAX_BYTES} bytes`);
          return JSON.parse(await handle.readFile('utf8')) as unknown;
        } finally {
          await handle.close();
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        log.warn('What was known before the restart cannot be read. Starting without it.', {
          file: path,
          error: describeError(error),
        });
        return undefined;
      }
    },
    async write(value) {
      try {
        await folder.write(name, JSON.stringify(value));
        failing = false;
        return true;
      } catch (error) {
        if (!failing) {
          log.warn('The state cannot be written; a restart now would lose it.', {
            file: path,
            error: describeError(error),
          });
        }
        failing = true;
        return false;
      }
    },
  };
}
