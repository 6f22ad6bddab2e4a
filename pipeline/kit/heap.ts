/**
 * Keeps a daemon that works a little every few seconds small: V8 collects garbage for throughput, so what a start leaves
 * behind and the pages of former scrapes stay in memory for minutes. A collection after the start, and one whenever enough
 * has piled up, costs about 10 ms each (docs/decisions/memory.md has the measurements).
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock } from './clock.ts';

const LOOK_MS = 5000;
/** Growth since the last collection that is worth one. */
const WORTH_BYTES = 12 << 20;
/** Not more often than this: a busy daemon collects by itself. */
const APART_MS = 10_000;

/** Starts looking; never stops, and never keeps the process alive. */
export function keepHeapSmall(clock: Clock): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as unknown;
  if (typeof collect !== 'function') return;
  const used = () => {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  let after = 0;
  let at = Number.NEGATIVE_INFINITY;
  const look = () => {
    if (used() > after + WORTH_BYTES && clock.monotonic() - at >= APART_MS) {
      collect();
      after = used();
      at = clock.monotonic();
    }
    clock.after(LOOK_MS, look);
  };
  clock.after(LOOK_MS, look);
}
