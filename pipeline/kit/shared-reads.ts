/**
 * Sockets of HTTP clients that all read into one piece of memory. Node gives every read 64 KiB of its own, which its HTTP
 * parser copies from at once: half of all garbage of a daemon that scrapes. The option's form is Node's `onread`.
 */
import type { Socket } from 'node:net';

const memory = Buffer.allocUnsafeSlow(64 * 1024);

/** For the options of a plain `http.Agent` (TLS has its own buffers), whose parser keeps nothing of what it is given. */
export const sharedReads = {
  onread: {
    buffer: memory,
    callback(this: Socket, bytes: number, buffer: Uint8Array): boolean {
      // What a socket without `onread` does by itself; all listeners are done with it when this returns.
      this.emit('data', buffer.subarray(0, bytes));
      return true;
    },
  },
};
