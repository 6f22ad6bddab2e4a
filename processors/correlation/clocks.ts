/**
 * How far apart hosts' clocks are, without NTP: ranks leave a collective together, so the differences of their end times are
 * the clocks'; and a child span lies inside its parent. Offsets are intervals, written on the nodes.
 */
import { median, quantile } from '../../pipeline/kit/stats/robust.ts';
import type { Entity, Subject, Topology } from '../../pipeline/kit/topology.ts';
import { msFromNanos, type Span } from '../../pipeline/model.ts';

const SAMPLES = 256;
const PENDING = 512;
const PARENTS = 4096;
const FEWEST = 8;
const PAIRS = 2000;

interface Difference {
  readonly from: Entity;
  readonly to: Entity;
  readonly values: number[];
  /** From containment: the offset is at least, at most. */
  low: number;
  high: number;
}

export interface Clocks {
  span(span: Span, subject: Subject): void;
  /** Writes `clock_offset_ms` and `clock_bound_ms` on nodes, against the first node of their group by name. */
  settle(): void;
}

export function createClocks(topology: Topology): Clocks {
  const pending = new Map<string, Map<Entity, number>>();
  const parents = new Map<string, { node: Entity; start: number; end: number }>();
  const differences = new Map<string, Difference>();

  function between(a: Entity, b: Entity): Difference | undefined {
    const [from, to] = a.id < b.id ? [a, b] : [b, a];
    const key = `${from.id}|${to.id}`;
    let d = differences.get(key);
    if (!d) {
      if (differences.size >= PAIRS) return undefined;
      d = { from, to, values: [], low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
      differences.set(key, d);
    }
    return d;
  }

  return {
    span(span, subject) {
      const node = subject.node;
      if (!node) return;
      const end = msFromNanos(span.endTime);
      if (span.name === 'collective') {
        if (span.attributes['hook.open'] === true) return;
        const key = `${subject.instance?.id}|${String(span.attributes['comm.id'])}|${String(span.attributes['comm.seq'])}`;
        let ends = pending.get(key);
        if (!ends) {
          if (pending.size >= PENDING) pending.delete(pending.keys().next().value!);
          ends = new Map();
          pending.set(key, ends);
        }
        for (const [other, at] of ends) {
          if (other === node) continue;
          const d = between(node, other);
          if (!d) continue;
          d.values.push(d.from === node ? at - end : end - at);
          if (d.values.length > SAMPLES) d.values.shift();
        }
        ends.set(node, end);
        return;
      }
      const start = msFromNanos(span.startTime);
      if (span.spanId !== '') {
        if (parents.size >= PARENTS) parents.delete(parents.keys().next().value!);
        parents.set(span.spanId, { node, start, end });
      }
      const parent = span.parentSpanId === '' ? undefined : parents.get(span.parentSpanId);
      if (!parent || parent.node === node) return;
      // The child's true interval lies inside the parent's: offset ≥ child.end − parent.end and ≤ child.start − parent.start.
      const d = between(node, parent.node);
      if (!d) return;
      const low = end - parent.end;
      const high = start - parent.start;
      if (d.to === node) {
        d.low = Math.max(d.low, low);
        d.high = Math.min(d.high, high);
      } else {
        d.low = Math.max(d.low, -high);
        d.high = Math.min(d.high, -low);
      }
      // Contradictory bounds come from a clock that was stepped: begin again.
      if (d.low > d.high) {
        d.low = Number.NEGATIVE_INFINITY;
        d.high = Number.POSITIVE_INFINITY;
      }
    },
    settle() {
      for (const d of differences.values()) {
        if (d.values.length >= FEWEST) {
          const offset = median(d.values);
          const bound = (quantile(d.values, 0.9) - quantile(d.values, 0.1)) / 2;
          describe(topology, d, offset, bound);
        } else if (Number.isFinite(d.low) && Number.isFinite(d.high)) {
          describe(topology, d, (d.low + d.high) / 2, (d.high - d.low) / 2);
        }
      }
    },
  };
}

/** Rounded, so that noise does not make every round a change of the topology. */
function describe(topology: Topology, d: Difference, offset: number, bound: number): void {
  const grain = Math.max(0.1, bound);
  topology.describe(d.to, 'clock_offset_ms', Math.round(offset / grain) * grain);
  topology.describe(d.to, 'clock_bound_ms', Math.max(0.1, Math.round(bound * 10) / 10));
  topology.describe(d.to, 'clock_reference', d.from.id);
}
