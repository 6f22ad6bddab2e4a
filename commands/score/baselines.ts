/** What naive methods would have said to the same signals. */
import type { Batch } from '../../pipeline/model.ts';
import type { Label } from './labels.ts';
import type { Alarm, RootOutcome } from './outcome.ts';

export interface BaselineOutcome {
  readonly name: string;
  readonly roots: readonly RootOutcome[];
  readonly alarms: readonly Pick<Alarm, 'at' | 'when' | 'right' | 'root'>[];
}

export interface Baselines {
  see(batch: Batch): void;
  nodes(): number;
  series(): number;
  judge(label: Label, startMs: number): BaselineOutcome[];
}

export function baselines(): Baselines {
  const nodes = new Set<unknown>();
  const seen = new WeakSet<object>();
  let series = 0;
  return {
    see(batch) {
      if (batch.signal !== 'metrics') return;
      for (const point of batch.items) {
        if (seen.has(point.series)) continue;
        seen.add(point.series);
        series++;
        const node = point.series.resource.attributes['host.name'];
        if (node !== undefined) nodes.add(node);
      }
    },
    nodes: () => nodes.size,
    series: () => series,
    judge: () => [],
  };
}
