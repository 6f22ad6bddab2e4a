/** Where the daemon's sockets are unless a config says otherwise, so that whoever talks to it finds them. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * `$XDG_RUNTIME_DIR/enginelight/<name>`; without that variable `/run/enginelight/<name>` for root, else
 * `/tmp/enginelight-<uid>/<name>`. The hooks inside engines look in the same places.
 */
export function runtimePath(
  name: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
  uid = process.getuid?.() ?? 0,
): string {
  const base = env['XDG_RUNTIME_DIR'];
  if (base) return join(base, 'enginelight', name);
  return uid === 0 ? join('/run/enginelight', name) : join(`/tmp/enginelight-${uid}`, name);
}

/**
 * Makes the folder of a socket, for its owner and group alone. Rejects with a sentence if somebody else could put
 * another socket in its place: a folder in /tmp that a stranger made first.
 */
export async function prepareFolder(path: string, uid = process.getuid?.()): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o750 });
  const owner = (await stat(folder)).uid;
  if (folder.startsWith('/tmp/enginelight-') && uid !== undefined && owner !== uid) {
    throw new Error(`Cannot use ${folder}: it belongs to user ${owner}; remove it or choose another path`);
  }
}
