/**
 * Reading /proc and /sys, or a copy of them under another root: small files that appear, vanish and refuse. Nothing here
 * throws; what could not be read is remembered with its cause, so that a probe can say once what it lacks.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

export type Problem = 'missing' | 'denied' | 'unreadable';

export interface Tree {
  /** The text of a file (its first 4 MiB), or undefined. */
  read(path: string): string | undefined;
  /** The bytes of a file, for the few that are no text. */
  bytes(path: string): Buffer | undefined;
  /** The number a file holds; undefined if it holds anything else. */
  number(path: string): number | undefined;
  /** The names in a folder, sorted; empty if it cannot be listed. */
  list(path: string): string[];
  /** Where a link points to. */
  link(path: string): string | undefined;
  /** Size, free and available bytes of the file system at a path. Blocks where a network mount hangs: ask local ones only. */
  space(path: string): { size: number; free: number; available: number } | undefined;
  /** Why the last `read`, `list` or `link` of this tree gave nothing. */
  problem(): Problem | undefined;
}

const START = 64 * 1024;
const LIMIT = 4 * 1024 * 1024;

/** A tree below `root` (`/` is the machine itself, `/host` a mount of it). */
export function createTree(root = '/'): Tree {
  let buffer = Buffer.allocUnsafe(START);
  let problem: Problem | undefined;

  const failed = (error: unknown): undefined => {
    const code = (error as NodeJS.ErrnoException).code;
    problem =
      code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH' || code === 'ENODEV'
        ? 'missing'
        : code === 'EACCES' || code === 'EPERM'
          ? 'denied'
          : 'unreadable';
    return undefined;
  };

  const load = <T>(path: string, take: (length: number) => T): T | undefined => {
    let fd: number;
    try {
      fd = openSync(root === '/' ? path : join(root, path), 'r');
    } catch (error) {
      return failed(error);
    }
    try {
      let length = 0;
      for (;;) {
        if (length === buffer.length) {
          if (length >= LIMIT) break;
          const larger = Buffer.allocUnsafe(buffer.length * 2);
          buffer.copy(larger, 0, 0, length);
          buffer = larger;
        }
        const n = readSync(fd, buffer, length, buffer.length - length, null);
        if (n === 0) break;
        length += n;
      }
      problem = undefined;
      return take(length);
    } catch (error) {
      return failed(error);
    } finally {
      closeSync(fd);
    }
  };

  const read = (path: string) => load(path, (length) => buffer.toString('utf8', 0, length));

  return {
    read,
    bytes: (path) => load(path, (length) => Buffer.from(buffer.subarray(0, length))),
    number(path) {
      const text = read(path)?.trim();
      if (text === undefined || text === '') return undefined;
      const value = Number(text);
      return Number.isFinite(value) ? value : undefined;
    },
    list(path) {
      try {
        const names = readdirSync(root === '/' ? path : join(root, path)).sort();
        problem = undefined;
        return names;
      } catch (error) {
        failed(error);
        return [];
      }
    },
    link(path) {
      try {
        const target = readlinkSync(root === '/' ? path : join(root, path));
        problem = undefined;
        return target;
      } catch (error) {
        return failed(error);
      }
    },
    space(path) {
      try {
        const stat = statfsSync(root === '/' ? path : join(root, path));
        return { size: stat.blocks * stat.bsize, free: stat.bfree * stat.bsize, available: stat.bavail * stat.bsize };
      } catch (error) {
        return failed(error);
      }
    },
    problem: () => problem,
  };
}

/** `key: value kB` and `key value` lines, as in /proc/meminfo, /proc/vmstat, cpu.stat and memory.events. */
export function keyedNumbers(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^([^\s:]+):?\s+(-?\d+)/.exec(line);
    if (match) found.set(match[1]!, Number(match[2]));
  }
  return found;
}

/** `0-3,8,10-11` to numbers; at most 4,096 of them. */
export function numberList(text: string): number[] {
  const out: number[] = [];
  for (const part of text.trim().split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (!match) continue;
    const last = Number(match[2] ?? match[1]);
    for (let n = Number(match[1]); n <= last && out.length < 4096; n++) out.push(n);
  }
  return out;
}
