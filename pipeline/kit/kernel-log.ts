/**
 * New lines of the kernel's log (/dev/kmsg), as they come. What was there before the start is passed over. Where
 * kernel.dmesg_restrict is set, reading it needs CAP_SYSLOG: then there is no log, and the cause can be told.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

export interface KernelLog {
  /** Lines that came since the last call, without their prefix. */
  lines(): string[];
  stop(): void;
}

/** Records of one call at most: a kernel that repeats itself must not hold us up. */
const MOST = 20_000;

/** Opens the log below `root`; a sentence's clause says why it cannot be read. */
export function openKernelLog(root = '/'): KernelLog | { readonly because: string } {
  let fd: number;
  try {
    fd = openSync(join(root, 'dev/kmsg'), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return {
      because:
        code === 'EACCES' || code === 'EPERM'
          ? 'reading the kernel log is not permitted (kernel.dmesg_restrict)'
          : code === 'ENOENT'
            ? 'there is no /dev/kmsg here'
            : `the kernel log cannot be opened (${code})`,
    };
  }
  const buffer = Buffer.allocUnsafe(16 * 1024);
  let open = true;
  let rest = '';
  const read = (): string[] => {
    const found: string[] = [];
    for (let i = 0; open && i < MOST; i++) {
      let n = 0;
      try {
        n = readSync(fd, buffer, 0, buffer.length, null);
      } catch (error) {
        // Records were overwritten before they were read: the next read goes on with the oldest that is left.
        if ((error as NodeJS.ErrnoException).code === 'EPIPE') continue;
        break;
      }
      if (n === 0) break;
      const parts = (rest + buffer.toString('utf8', 0, n)).split('\n');
      rest = parts.pop()!.slice(-4096);
      // `6,1234,5678901,-;text`; lines that begin with a space continue the one before with keys and values.
      for (const part of parts) if (part !== '' && part[0] !== ' ') found.push(part.replace(/^[\d,]+[^;]*;/, ''));
    }
    return found;
  };
  read();
  return {
    lines: read,
    stop() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
