import { expect, it } from 'vitest';
import { simulateCase } from '../../../simulator/simulate.ts';
import { injection, type SpecOverrides } from '../../../simulator/spec.ts';
import { small } from '../kit.ts';

interface Op {
  readonly comm: string;
  readonly seq: number;
  readonly rank: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly size: number;
  readonly op: string;
}

function collectives(over: SpecOverrides): Op[] {
  const ops: Op[] = [];
  for (const line of simulateCase(small({ observe: { hooksEveryS: 5 }, durationS: 90, ...over })).lines) {
    if (!line.startsWith('{"resourceSpans"')) continue;
    for (const rs of JSON.parse(line).resourceSpans)
      for (const ss of rs.scopeSpans)
        for (const span of ss.spans) {
          if (span.name !== 'collective') continue;
          const at: Record<string, string> = {};
          for (const a of span.attributes) at[a.key] = Object.values(a.value)[0] as string;
          ops.push({
            comm: at['comm.id']!,
            seq: Number(at['comm.seq']),
            rank: Number(at['comm.rank']),
            size: Number(at['comm.size']),
            op: at['comm.op']!,
            start: BigInt(span.startTimeUnixNano),
            end: BigInt(span.endTimeUnixNano),
          });
        }
  }
  return ops;
}

function votes(ops: readonly Op[], comm: string): number[] {
  const bySeq = new Map<number, Op[]>();
  for (const o of ops) if (o.comm === comm && o.op === 'all_reduce') bySeq.set(o.seq, [...(bySeq.get(o.seq) ?? []), o]);
  const count = new Array<number>(4).fill(0);
  for (const group of bySeq.values()) {
    expect(group.length).toBe(4);
    group.sort((a, b) => Number(a.end - a.start - (b.end - b.start)));
    count[group[0]!.rank]!++;
  }
  return count;
}

it('the rank whose GPU is slow has the shortest collectives, though no clock is in step', () => {
  const ops = collectives({
    inject: [injection({ kind: 'slow-rank', entity: 'r1/tp2', at: 0, durationS: 999, dose: 0.1 })],
    observe: { hooksEveryS: 5, clockOffsetMsSd: 5 } as never,
  });
  const slow = votes(ops, 'tp-r1');
  const total = slow.reduce((a, b) => a + b, 0);
  expect(total).toBeGreaterThan(200);
  expect(slow[2]! / total).toBeGreaterThan(0.9);
});

it('in a healthy group nobody is always last', () => {
  const healthy = votes(collectives({}), 'tp-r0');
  const total = healthy.reduce((a, b) => a + b, 0);
  expect(Math.max(...healthy) / total).toBeLessThan(0.8);
});

it('a slow link makes every rank slow at once: the shortest duration rises, waiting does not', () => {
  const shortest = (ops: readonly Op[]) => {
    const by = new Map<number, number>();
    for (const o of ops)
      if (o.comm === 'tp-r1') {
        const d = Number(o.end - o.start);
        by.set(o.seq, Math.min(by.get(o.seq) ?? Number.POSITIVE_INFINITY, d));
      }
    const all = [...by.values()].sort((a, b) => a - b);
    return all[all.length >> 1]!;
  };
  const slow = collectives({
    inject: [injection({ kind: 'tp-link-slow', entity: 'r1', at: 0, durationS: 999, dose: 0.6 })],
  });
  expect(shortest(slow) / shortest(collectives({}))).toBeGreaterThan(1.8);
});

it('a hung group reports open collectives on every rank but the missing one', () => {
  const open = new Set<string>();
  const spec = small({
    durationS: 90,
    observe: { hooksEveryS: 5 },
    inject: [injection({ kind: 'hang', entity: 'r0/tp1', at: 30, durationS: 50, dose: 0.6 })],
  });
  for (const line of simulateCase(spec).lines) {
    if (!line.includes('hook.open')) continue;
    const parsed = JSON.parse(line);
    for (const rs of parsed.resourceSpans) {
      const rank = rs.resource.attributes.find((a: { key: string }) => a.key === 'inference.rank.tp').value.intValue;
      const instance = rs.resource.attributes.find((a: { key: string }) => a.key === 'service.instance.id').value
        .stringValue;
      open.add(`${instance}/tp${rank}`);
    }
  }
  expect([...open].sort()).toEqual(['r0/tp0', 'r0/tp2', 'r0/tp3']);
});
