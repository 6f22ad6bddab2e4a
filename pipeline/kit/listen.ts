/** Binds a server to where the config says: an address of this machine or a Unix socket. */
import { chmod, lstat, unlink } from 'node:fs/promises';
import { type AddressInfo, connect, type Server } from 'node:net';

/** Where a server turned out to listen. For a Unix socket `address` is its path and `port` 0. */
export interface Listening {
  readonly address: string;
  readonly port: number;
}

/** Splits `host:port`, `:port`, `[::1]:port` or `unix:///path`; throws a sentence if it is none of them. */
export function parseEndpoint(endpoint: string): { host?: string; port: number } | { path: string } {
  const unix = /^unix:(?:\/\/)?(.+)$/.exec(endpoint);
  if (unix) return { path: unix[1]! };
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d{1,5})$/.exec(endpoint.trim());
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new Error(`"${endpoint}" is not an address to listen on; write it as host:port`);
  const host = match[1] ?? match[2] ?? '';
  if (host === '') return { port };
  // "localhost" may be ::1 or 127.0.0.1, depending on the machine; senders nearly always mean the latter.
  return { host: host === 'localhost' ? '127.0.0.1' : host, port };
}

const REMEDIES: Record<string, string> = {
  EADDRINUSE: 'something else listens there; stop it or choose another endpoint',
  EACCES: 'this user may not; choose a port above 1023 or a folder it may write to',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'the host name is not known',
  ENOENT: 'the folder does not exist',
};

/** Resolves once the server listens; rejects with a sentence that names the endpoint and the remedy. */
export async function listen(server: Server, endpoint: string, socketMode = 0o600): Promise<Listening> {
  const where = parseEndpoint(endpoint);
  if ('path' in where) await removeStaleSocket(where.path);
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const remedy = REMEDIES[error.code ?? ''];
      reject(new Error(`Cannot listen on ${endpoint}: ${remedy ?? error.message} (${error.code})`, { cause: error }));
    };
    server.once('error', failed);
    server.listen(where, () => {
      server.off('error', failed);
      resolve();
    });
  });
  if ('path' in where) {
    await chmod(where.path, socketMode);
    return { address: where.path, port: 0 };
  }
  const { address, port } = server.address() as AddressInfo;
  return { address, port };
}

/** A socket file that nobody answers on was left by a process that died; one that answers is not ours to remove. */
async function removeStaleSocket(path: string): Promise<void> {
  const file = await lstat(path).catch(() => undefined);
  if (!file?.isSocket()) return;
  await new Promise<void>((resolve, reject) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      reject(new Error(`Cannot listen on ${path}: another process answers there; stop it or choose another path`));
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') unlink(path).then(resolve, resolve);
      else resolve();
    });
  });
}

/** `http://host:port` as somebody on this machine would type it. */
export function urlOf(listening: Listening, scheme: 'http' | 'https'): string {
  if (listening.port === 0) return `${scheme}+unix://${encodeURIComponent(listening.address)}`;
  const host = listening.address === '::' || listening.address === '0.0.0.0' ? 'localhost' : listening.address;
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
}
