/** What happens next: a binary heap of timed callbacks; equal times run in the order they were put in. */
export interface EventQueue {
  /** Calls `run` at simulated second `t`; a time in the past runs next. */
  at(t: number, run: () => void): void;
  /** Time of the earliest entry, Infinity when there is none. */
  peek(): number;
  /** Takes the earliest entry out. */
  pop(): () => void;
  readonly size: number;
}

export function eventQueue(): EventQueue {
  const times: number[] = [];
  const order: number[] = [];
  const runs: (() => void)[] = [];
  let serial = 0;
  const before = (i: number, t: number, s: number) => times[i]! < t || (times[i]! === t && order[i]! < s);
  return {
    get size() {
      return times.length;
    },
    at(t, run) {
      if (!(t < Number.POSITIVE_INFINITY)) throw new Error(`an event at ${t} can never happen`);
      const s = serial++;
      let i = times.length;
      times.push(t);
      order.push(s);
      runs.push(run);
      while (i > 0) {
        const parent = (i - 1) >> 1;
        if (before(parent, t, s)) break;
        times[i] = times[parent]!;
        order[i] = order[parent]!;
        runs[i] = runs[parent]!;
        i = parent;
      }
      times[i] = t;
      order[i] = s;
      runs[i] = run;
    },
    peek: () => (times.length === 0 ? Number.POSITIVE_INFINITY : times[0]!),
    pop() {
      const top = runs[0]!;
      const t = times.pop()!;
      const s = order.pop()!;
      const run = runs.pop()!;
      const n = times.length;
      if (n > 0) {
        let i = 0;
        for (;;) {
          let child = 2 * i + 1;
          if (child >= n) break;
          if (child + 1 < n && before(child + 1, times[child]!, order[child]!)) child++;
          if (!before(child, t, s)) break;
          times[i] = times[child]!;
          order[i] = order[child]!;
          runs[i] = runs[child]!;
          i = child;
        }
        times[i] = t;
        order[i] = s;
        runs[i] = run;
      }
      return top;
    },
  };
}
