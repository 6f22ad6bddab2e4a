/** Where the data files of this folder are: beside the sources, or two levels above the built ones in dist/config/. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The path of a file or folder in the package's `config/`. */
export function configFile(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}`, import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL(`../../config/${name}`, import.meta.url));
}
