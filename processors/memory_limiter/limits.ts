/** How much memory there is for this process: the machine's, or what its control groups leave it. */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';

/** Above this a limit of cgroup v1 means "none" (it is a huge number there). */
const NO_LIMIT = 2 ** 60;

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
};

/**
 * Bytes: the lowest limit of the control groups that this process is in (v1 and v2, every level up to the root), at most the
 * machine's memory. `root` is where `/proc` and `/sys` are.
 */
export function memoryTotal(root = '/', machine = totalmem()): number {
  let total = machine;
  for (const line of (read(join(root, 'proc/self/cgroup')) ?? '').split('\n')) {
    const [id, controllers = '', path] = line.split(/:(.*?):(.*)/s);
    if (path === undefined) continue;
    const unified = id === '0' && controllers === '';
    if (!unified && !controllers.split(',').includes('memory')) continue;
    const mount = join(root, unified ? 'sys/fs/cgroup' : 'sys/fs/cgroup/memory');
    const file = unified ? 'memory.max' : 'memory.limit_in_bytes';
    // Inside a container the path may be the host's, which is not there: then only the root of the mount is.
    for (let at = path; ; at = dirname(at)) {
      const limit = Number(read(join(mount, at, file)) ?? Number.NaN);
      if (limit > 0 && limit < NO_LIMIT) total = Math.min(total, limit);
      if (at === '/' || at === '.') break;
    }
  }
  return total;
}
