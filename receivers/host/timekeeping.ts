/**
 * How well the machine's clock is kept: adjtimex(2) with no mode bits set, which only reads and needs no privilege. The
 * struct is that of 64-bit Linux; without FFI (or on another platform) this is a gap.
 */
import { createRequire } from 'node:module';
import { gauge } from '../../pipeline/model.ts';
import type { Host, Reader } from './reader.ts';

const OFFSET = gauge('system.clock.offset', 's', 'Offset of the clock that the kernel still has to correct');
const MAX_ERROR = gauge('system.clock.error.max', 's', 'Bound of the error of the clock');
const SYNCHRONIZED = gauge('system.clock.synchronized', '1', '1 while something disciplines the clock');

/** struct timex: modes, offset, freq, maxerror, esterror, status at 0, 8, 16, 24, 32, 40; 208 bytes in all. */
const SIZE = 208;
const STA_UNSYNC = 0x40;
const STA_NANO = 0x2000;

export interface Timex {
  readonly offset: number;
  readonly maxError: number;
  readonly synchronized: boolean;
}

/** Reads struct timex; seconds. */
export function parseTimex(bytes: Buffer): Timex {
  const status = bytes.readInt32LE(40);
  return {
    offset: Number(bytes.readBigInt64LE(8)) / ((status & STA_NANO) !== 0 ? 1e9 : 1e6),
    maxError: Number(bytes.readBigInt64LE(24)) / 1e6,
    synchronized: (status & STA_UNSYNC) === 0,
  };
}

/** A function that asks the kernel, or why there is none. */
export function openTimex(): (() => Timex | undefined) | string {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch))
    return `no adjtimex on ${process.platform} ${process.arch}`;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as {
      load(path: string | null): { func(signature: string): (buffer: Buffer) => number };
    };
    const adjtimex = koffi.load(null).func('int adjtimex(void *buf)');
    const buffer = Buffer.alloc(SIZE);
    return () => {
      buffer.fill(0);
      return adjtimex(buffer) < 0 ? undefined : parseTimex(buffer);
    };
  } catch (error) {
    return `the kernel cannot be asked: ${error instanceof Error ? error.message : String(error)}`;
  }
}

export function clockReader({ probe, node }: Host, ask: ReturnType<typeof openTimex> = openTimex()): Reader {
  return (round) => {
    const timex = typeof ask === 'string' ? undefined : ask();
    if (!timex) {
      return probe.gap(
        'clock',
        typeof ask === 'string' ? ask : 'adjtimex failed',
        'install the optional dependency koffi',
      );
    }
    probe.filled('clock');
    round.add(node, OFFSET, timex.offset);
    round.add(node, MAX_ERROR, timex.maxError);
    round.add(node, SYNCHRONIZED, timex.synchronized ? 1 : 0);
  };
}
