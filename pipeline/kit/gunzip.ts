/** Gzip that comes in pieces, as it is written: what can be decompressed so far, with bounded memory. */
import { constants, createGunzip, type Gunzip } from 'node:zlib';

export interface GunzipFeed {
  /** The text that these further bytes make known; members may follow one another. Rejects if it is no gzip. */
  push(bytes: Uint8Array): Promise<Uint8Array[]>;
  close(): void;
}

/** Bytes given to zlib at once: with its greatest ratio of a thousand, four megabytes come back. */
const SLICE = 4096;

export function gunzipFeed(): GunzipFeed {
  const stream: Gunzip = createGunzip({ finishFlush: constants.Z_SYNC_FLUSH, chunkSize: 64 * 1024 });
  let out: Uint8Array[] = [];
  let failure: Error | undefined;
  let failed: (error: Error) => void = () => {};
  stream.on('data', (chunk: Uint8Array) => void out.push(chunk));
  stream.on('error', (error) => {
    failure = error;
    failed(error);
  });
  return {
    async push(bytes) {
      for (let at = 0; at < bytes.length; at += SLICE) {
        if (failure) throw failure;
        await new Promise<void>((resolve, reject) => {
          failed = reject;
          // The callback comes when zlib has taken the slice and said all that follows from it.
          stream.write(bytes.subarray(at, at + SLICE), (error) => (error ? reject(error) : resolve()));
        });
      }
      if (failure) throw failure;
      const made = out;
      out = [];
      return made;
    },
    close() {
      stream.destroy();
    },
  };
}
