/** Flame graphs as pprof files, gzipped as its readers expect them. */
import { gzipSync } from 'node:zlib';
import type { UnixNano } from '../../model.ts';
import { encodePprof } from '../../wire/pprof.ts';
import type { FlameTree } from './tree.ts';

/** Times are nanoseconds; the comment is shown by `go tool pprof -comments`. */
export function pprofFile(tree: FlameTree, start: UnixNano, durationNanos: number, comment: string): Uint8Array {
  function* samples() {
    for (let i = 1; i < tree.size; i++) {
      const nanos = Math.round(tree.self[i]!);
      if (nanos <= 0) continue;
      const stack: number[] = [];
      for (let at = i; at > 0; at = tree.parent[at]!) stack.push(tree.frame[at]!);
      yield { stack, values: [nanos] };
    }
  }
  return gzipSync(
    encodePprof({
      frames: tree.frames,
      samples: samples(),
      types: [['time', 'nanoseconds']],
      timeNanos: start,
      durationNanos: Math.max(0, Math.round(durationNanos)),
      comment,
    }),
  );
}
