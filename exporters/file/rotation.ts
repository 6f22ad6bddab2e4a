/** When a file is full or old, what it is called then, and which of the old ones go. */
import { readdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';

export interface RotationConfig {
  /** Bytes; 0 is no limit. */
  readonly maxBytes: number;
  /** Milliseconds since the file was begun; 0 is no limit. */
  readonly maxAgeMs: number;
  /** Days that old files are kept; 0 is for ever. */
  readonly maxDays: number;
  /** Old files that are kept; 0 is all. */
  readonly maxBackups: number;
  readonly localtime: boolean;
}

const two = (n: number, width = 2) => String(n).padStart(width, '0');

/** `traces.jsonl` becomes `traces-2026-05-01T12-00-00.000.jsonl`; of `a.jsonl.gz` both endings stay. */
export function backupName(path: string, ms: number, localtime: boolean): string {
  const d = new Date(ms);
  const at = localtime
    ? `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}-${two(d.getMinutes())}-${two(d.getSeconds())}.${two(d.getMilliseconds(), 3)}`
    : d.toISOString().replace(/:/g, '-').slice(0, 23);
  const { stem, ending } = parts(path);
  return join(dirname(path), `${stem}-${at}${ending}`);
}

function parts(path: string): { stem: string; ending: string } {
  const name = basename(path);
  let ending = extname(name);
  if (/^\.(gz|zst)$/.test(ending)) ending = extname(name.slice(0, -ending.length)) + ending;
  return { stem: name.slice(0, name.length - ending.length), ending };
}

/** Moves the file out of the way, in one step; resolves to its new name. */
export async function moveAside(path: string, nowMs: number, localtime: boolean): Promise<string> {
  for (let ms = nowMs; ; ms++) {
    const to = backupName(path, ms, localtime);
    const taken = await stat(to).then(
      () => true,
      () => false,
    );
    if (taken) continue;
    await rename(path, to);
    return to;
  }
}

/** Deletes old files beyond what is kept; resolves to their names. Errors of single files are passed to `onError`. */
export async function prune(
  path: string,
  config: RotationConfig,
  nowMs: number,
  onError: (file: string, error: unknown) => void,
): Promise<string[]> {
  const { stem, ending } = parts(path);
  const folder = dirname(path);
  const dated = /^-(\d{4})-(\d{2})-(\d{2})T(\d{2})-(\d{2})-(\d{2})\.(\d{3})$/;
  const old: { file: string; ms: number }[] = [];
  for (const name of await readdir(folder)) {
    if (!name.startsWith(stem) || !name.endsWith(ending)) continue;
    const match = dated.exec(name.slice(stem.length, name.length - ending.length));
    if (!match) continue;
    const [year, month, day, hour, minute, second, ms] = match.slice(1).map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const at = config.localtime
      ? new Date(year, month - 1, day, hour, minute, second, ms).getTime()
      : Date.UTC(year, month - 1, day, hour, minute, second, ms);
    old.push({ file: join(folder, name), ms: at });
  }
  old.sort((a, b) => b.ms - a.ms);
  const removed: string[] = [];
  for (const [i, { file, ms }] of old.entries()) {
    const tooMany = config.maxBackups > 0 && i >= config.maxBackups;
    const tooOld = config.maxDays > 0 && nowMs - ms > config.maxDays * 86_400_000;
    if (!tooMany && !tooOld) continue;
    try {
      await unlink(file);
      removed.push(file);
    } catch (error) {
      onError(file, error);
    }
  }
  return removed;
}
