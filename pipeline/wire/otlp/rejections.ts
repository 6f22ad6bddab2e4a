/** Items of a request that could be read but not taken: they go into the answer as a partial success. */
import type { Count } from '../../model.ts';

export interface Rejections {
  /** Items that are not in the batch. */
  readonly count: number;
  /** What was wrong with the first of them; '' when there are none. */
  readonly message: string;
  histogram(name: string, bounds: number, counts: number): void;
}

export function createRejections(): Rejections {
  let count = 0;
  let message = '';
  return {
    get count() {
      return count;
    },
    get message() {
      return count > 1 ? `${message} (and ${count - 1} more)` : message;
    },
    histogram(name, bounds, counts) {
      if (count++ === 0) {
        message = `histogram "${name}" has ${counts} bucket counts for ${bounds} bounds; it must have one count more than bounds`;
      }
    },
  };
}

/** Counts as the model keeps them: doubles while all are exact. */
export function countsOf(list: readonly Count[]): Float64Array | BigUint64Array {
  for (const count of list) if (typeof count === 'bigint') return BigUint64Array.from(list, BigInt);
  return Float64Array.from(list as readonly number[]);
}
