/** Certificates of a server, read again when their files change. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions, type SecureVersion, type TlsOptions } from 'node:tls';
import { describeError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { Logger } from './log.ts';
import type { TlsServerConfig } from './server-options.ts';

const version = (v: '1.2' | '1.3'): SecureVersion => (v === '1.3' ? 'TLSv1.3' : 'TLSv1.2');

/** Reads what the config names. Rejects with a message that names the file. */
export async function readServerTls(config: TlsServerConfig): Promise<TlsOptions> {
  const read = async (path: string | undefined, what: string) => {
    if (path === undefined) return undefined;
    try {
      return await readFile(path);
    } catch (error) {
      throw new Error(`Cannot read the ${what} ${path}`, { cause: error });
    }
  };
  const cert = config.cert_pem ?? (await read(config.cert_file, 'certificate file'));
  const key = config.key_pem?.reveal() ?? (await read(config.key_file, 'key file'));
  const ca = await read(config.client_ca_file, 'client CA file');
  const options: TlsOptions = {
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(ca !== undefined && { ca, requestCert: true, rejectUnauthorized: true }),
    minVersion: version(config.min_version),
    ...(config.max_version !== undefined && { maxVersion: version(config.max_version) }),
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const names = [config.cert_file ?? 'cert_pem', config.key_file ?? 'key_pem'].join(' and ');
    throw new Error(`The certificate and key in ${names} cannot be used together`, { cause: error });
  }
  return options;
}

const fingerprint = (options: TlsOptions) => {
  const hash = createHash('sha256');
  for (const part of [options.cert, options.key, options.ca]) hash.update(String(part)).update('\0');
  return hash.digest('hex');
};

/**
 * Looks at the files every `reload_interval` and hands a changed certificate to the server. Files that cannot be used
 * (half written, key and certificate of different pairs) leave the old certificate in place and are reported.
 */
export function followServerTls(
  config: TlsServerConfig,
  current: TlsOptions,
  server: { setSecureContext(options: SecureContextOptions): void },
  context: { readonly clock: Clock; readonly log: Logger },
): { stop(): void } {
  if (!config.cert_file && !config.key_file && !config.client_ca_file) return { stop: () => {} };
  const stopped = new AbortController();
  let known = fingerprint(current);
  const follow = async () => {
    while (!stopped.signal.aborted) {
      await context.clock.sleep(config.reload_interval, stopped.signal);
      if (stopped.signal.aborted) return;
      try {
        const fresh = await readServerTls(config);
        const now = fingerprint(fresh);
        if (now === known || stopped.signal.aborted) continue;
        server.setSecureContext(fresh);
        known = now;
        context.log.info('The certificate changed and is used for new connections.', { cert_file: config.cert_file });
      } catch (error) {
        context.log.warn('A changed certificate cannot be used; the old one stays in use.', {
          error: describeError(error),
        });
      }
    }
  };
  void follow();
  return { stop: () => stopped.abort() };
}
