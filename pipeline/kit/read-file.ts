/** Whole files of others, read within a limit; gzip is seen by its first bytes. */
import { readFile } from 'node:fs/promises';
import { gunzip } from 'node:zlib';

/** The contents, decompressed. Rejects with the system's error, or if there is more than `most` bytes of it. */
export async function readWhole(path: string, most: number): Promise<Uint8Array> {
  const bytes = await readFile(path);
  if (bytes.length > most) throw new Error(`it has ${bytes.length} bytes, more than ${most}`);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: most }, (error, out) => {
      if (!error) resolve(out);
      else if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
        reject(new Error(`it has more than ${most} bytes when decompressed`));
      } else reject(error);
    });
  });
}
