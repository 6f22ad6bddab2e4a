/** Which enginelight this is, for the headers we send. */
import { readFileSync } from 'node:fs';

/** The version in package.json, which lies above this folder, whether built or not; '0.0.0' if it cannot be read. */
export const VERSION: string = readVersion();

/** What requests of ours call themselves. */
export const USER_AGENT = `enginelight/${VERSION} (${process.platform}; ${process.arch}) Node.js/${process.versions.node}`;

function readVersion(): string {
  for (const place of ['../../package.json', '../../../package.json']) {
    try {
      const found = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (found.name === 'enginelight' && found.version) return found.version;
    } catch {
      // Not here: the built files lie one folder deeper.
    }
  }
  return '0.0.0';
}
