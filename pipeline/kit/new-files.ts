/**
 * Files that are written once and then mean something as a whole: dumps, traces. Each is taken when it has not changed from
 * one look to the next, and again when it is written anew.
 */
import { describeError, RetryableError } from '../errors.ts';
import { type FoundFile, findFiles } from './find-files.ts';
import type { StateFile } from './state-file.ts';

export interface WholeFile {
  readonly path: string;
  readonly bytes: number;
  /** When it was written last, milliseconds since the epoch. */
  readonly writtenMs: number;
}

export interface FolderFeedOptions {
  readonly include: readonly string[];
  readonly startAt: 'beginning' | 'end';
  readonly maxFileBytes: number;
  readonly maxFiles: number;
  readonly state: StateFile | undefined;
  now(): number;
  take(file: WholeFile): Promise<void>;
  lost(files: number, why: string, file: string): void;
}

const MOST = 10_000;

/** One `poll` looks once. A file that is taken is known by its place, size and time of writing. */
export async function createFolderFeed(options: FolderFeedOptions) {
  const { state } = options;
  /** What was taken of each file, by identity. */
  const done = new Map<string, string>();
  let seen = new Map<string, string>();
  const saved = (await state?.read()) as { files?: unknown } | undefined;
  if (typeof saved?.files === 'object' && saved.files !== null) {
    for (const [identity, form] of Object.entries(saved.files).slice(0, MOST)) {
      if (typeof form === 'string') done.set(identity, form);
    }
  }
  let first = true;
  let dirty = false;

  const formOf = ({ stats }: FoundFile) => `${stats.size}/${stats.mtimeNs}`;
  const finish = (identity: string, form: string) => {
    done.delete(identity);
    done.set(identity, form);
    if (done.size > MOST) done.delete(done.keys().next().value!);
    dirty = true;
  };
  const save = async () => {
    if (state && dirty && (await state.write({ version: 1, files: Object.fromEntries(done) }))) dirty = false;
  };

  return {
    async poll(): Promise<void> {
      const found = await findFiles(options.include, options.maxFiles);
      const now = new Map(found.map((f) => [f.identity, formOf(f)]));
      for (const file of found) {
        const form = formOf(file);
        if (done.get(file.identity) === form) continue;
        if (first && options.startAt === 'end' && !done.has(file.identity)) {
          finish(file.identity, form);
          continue;
        }
        // Still being written, or not begun.
        if (seen.get(file.identity) !== form || file.stats.size === 0n) continue;
        const bytes = Number(file.stats.size);
        if (bytes > options.maxFileBytes) {
          options.lost(1, `it has ${bytes} bytes, more than ${options.maxFileBytes}`, file.path);
          finish(file.identity, form);
          continue;
        }
        try {
          await options.take({ path: file.path, bytes, writtenMs: Number(file.stats.mtimeNs / 1_000_000n) });
        } catch (error) {
          if (error instanceof RetryableError) continue;
          options.lost(1, describeError(error), file.path);
        }
        finish(file.identity, form);
      }
      first = false;
      seen = now;
      await save();
    },
    async close(): Promise<void> {
      await save();
    },
  };
}
