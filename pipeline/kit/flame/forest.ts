/**
 * Spans as trees: who is whose parent, whatever was sent. A parent that is not there makes a root of its child, a circle is cut
 * at its earliest span, a span that was sent twice counts once. Clocks of other hosts are moved so that children lie inside
 * their parents. Nothing here goes deep: a chain of 10⁵ spans is walked like any other.
 */
import { mix } from './hex.ts';
import { createShifts } from './shifts.ts';
import { RANK, type SpanStore } from './store.ts';

export interface Forest {
  /** -1: it has none. */
  readonly parent: Int32Array;
  /** Spans that count, parents before children. */
  readonly order: Int32Array;
  /** Children of span i are `kids[first[i]] … kids[first[i + 1] - 1]`, earliest first. */
  readonly first: Int32Array;
  readonly kids: Int32Array;
  /** Nanoseconds after the store's base, by the clock of the root's host. */
  readonly start: Float64Array;
  readonly odd: { readonly orphans: number; readonly cycles: number; readonly twice: number };
  /** Hosts whose clocks were moved, milliseconds. */
  readonly shifted: ReadonlyMap<string, number>;
}

export function buildForest(store: SpanStore): Forest {
  const { size } = store;
  const { parent, dead, twice, orphans } = findParents(store);
  adopt(store, parent, dead);
  const cycles = cutCycles(store, parent);
  const { first, kids } = childLists(size, parent, dead);
  const order = parentsFirst(size, parent, dead, first, kids);
  const { start, shifted } = align(store, parent, order);
  for (let i = 0; i < size; i++) sortByStart(kids, first[i]!, first[i + 1]!, start);
  return { parent, order, first, kids, start, odd: { orphans, cycles, twice }, shifted };
}

/** Open addressing over the ids of the spans. */
function findParents({ size, ids, start, duration }: SpanStore) {
  let slots = 1024;
  while (slots < 2 * size) slots *= 2;
  const table = new Int32Array(slots).fill(-1);
  const dead = new Uint8Array(size);
  let twice = 0;
  const slotOf = (a: number, b: number, c: number, d: number) =>
    mix(a ^ Math.imul(b, 0x9e3779b1) ^ Math.imul(c, 0x85ebca77) ^ Math.imul(d, 0xc2b2ae3d)) & (slots - 1);
  for (let i = 0; i < size; i++) {
    const at = 6 * i;
    const [a, b, c, d] = [ids[at]!, ids[at + 1]!, ids[at + 2]!, ids[at + 3]!];
    if (c === 0 && d === 0) continue;
    let slot = slotOf(a, b, c, d);
    for (;;) {
      const there = table[slot]!;
      if (there < 0) {
        table[slot] = i;
        break;
      }
      const t = 6 * there;
      if (ids[t] === a && ids[t + 1] === b && ids[t + 2] === c && ids[t + 3] === d) {
        if (start[there] === start[i] && duration[there] === duration[i]) {
          dead[i] = 1;
          twice++;
        }
        break;
      }
      slot = (slot + 1) & (slots - 1);
    }
  }
  const parent = new Int32Array(size).fill(-1);
  let orphans = 0;
  for (let i = 0; i < size; i++) {
    const at = 6 * i;
    const [a, b, c, d] = [ids[at]!, ids[at + 1]!, ids[at + 4]!, ids[at + 5]!];
    if ((c === 0 && d === 0) || dead[i] === 1) continue;
    // Sisters come one after the other.
    const o = at - 6;
    if (i > 0 && dead[i - 1] === 0 && ids[o] === a && ids[o + 1] === b && ids[o + 4] === c && ids[o + 5] === d) {
      const theirs = parent[i - 1]!;
      if (theirs >= 0 && theirs !== i) {
        parent[i] = theirs;
        continue;
      }
    }
    let slot = slotOf(a, b, c, d);
    let found = -1;
    for (let there = table[slot]!; there >= 0; there = table[slot]!) {
      const t = 6 * there;
      if (ids[t] === a && ids[t + 1] === b && ids[t + 2] === c && ids[t + 3] === d) {
        found = there;
        break;
      }
      slot = (slot + 1) & (slots - 1);
    }
    if (found < 0) orphans++;
    else if (found !== i) parent[i] = found;
  }
  return { parent, dead, twice, orphans };
}

/** What hooks say of one rank lies inside one another: the step, its stages, their collectives. */
function adopt({ size, kind, who, whos, start, duration }: SpanStore, parent: Int32Array, dead: Uint8Array): void {
  const lanes = new Map<string, number[]>();
  for (let i = 0; i < size; i++) {
    if (kind[i] !== RANK || dead[i] === 1) continue;
    const { lane } = whos[who[i]!]!;
    const list = lanes.get(lane);
    if (list) list.push(i);
    else lanes.set(lane, [i]);
  }
  for (const lane of lanes.values()) {
    lane.sort((a, b) => start[a]! - start[b]! || duration[b]! - duration[a]! || a - b);
    const open: number[] = [];
    for (const i of lane) {
      const end = start[i]! + duration[i]!;
      while (open.length > 0) {
        const top = open[open.length - 1]!;
        if (end <= start[top]! + duration[top]!) break;
        open.pop();
      }
      const over = open[open.length - 1];
      if (parent[i] === -1 && over !== undefined) parent[i] = over;
      open.push(i);
    }
  }
}

function cutCycles({ size, start }: SpanStore, parent: Int32Array): number {
  /** 0 not seen, otherwise the number of the walk that saw it. */
  const seen = new Int32Array(size);
  let cycles = 0;
  for (let i = 0; i < size; i++) {
    if (seen[i] !== 0) continue;
    let at = i;
    while (at >= 0 && seen[at] === 0) {
      seen[at] = i + 1;
      at = parent[at]!;
    }
    if (at < 0 || seen[at] !== i + 1) continue;
    cycles++;
    let earliest = at;
    for (let on = parent[at]!; on !== at; on = parent[on]!) if (start[on]! < start[earliest]!) earliest = on;
    parent[earliest] = -1;
  }
  return cycles;
}

function childLists(size: number, parent: Int32Array, dead: Uint8Array) {
  const first = new Int32Array(size + 1);
  for (let i = 0; i < size; i++) if (parent[i]! >= 0 && dead[i] !== 1) first[parent[i]! + 1]!++;
  for (let i = 0; i < size; i++) first[i + 1]! += first[i]!;
  const kids = new Int32Array(first[size]!);
  const next = first.slice();
  for (let i = 0; i < size; i++) if (parent[i]! >= 0 && dead[i] !== 1) kids[next[parent[i]!]!++] = i;
  return { first, kids };
}

function parentsFirst(size: number, parent: Int32Array, dead: Uint8Array, first: Int32Array, kids: Int32Array) {
  const order = new Int32Array(size);
  let end = 0;
  for (let i = 0; i < size; i++) if (parent[i] === -1 && dead[i] !== 1) order[end++] = i;
  for (let at = 0; at < end; at++) {
    const span = order[at]!;
    for (let k = first[span]!; k < first[span + 1]!; k++) order[end++] = kids[k]!;
  }
  return order.subarray(0, end);
}

function align({ size, start: raw, duration, who, whos }: SpanStore, parent: Int32Array, order: Int32Array) {
  const shifts = createShifts();
  const start = raw.slice(0, size);
  for (const i of order) {
    const p = parent[i]!;
    if (p < 0) continue;
    const [from, to] = [whos[who[p]!]!.host, whos[who[i]!]!.host];
    if (from !== to) shifts.add(from, to, start[p]! - start[i]!, start[p]! + duration[p]! - start[i]! - duration[i]!);
  }
  const found = shifts.settle();
  if (found.size === 0) return { start, shifted: new Map<string, number>() };
  const moved = new Float64Array(size);
  const shifted = new Map<string, number>();
  for (const i of order) {
    const p = parent[i]!;
    if (p < 0) continue;
    const [from, to] = [whos[who[p]!]!.host, whos[who[i]!]!.host];
    const by = from === to ? 0 : Math.round(found.get(`${from}\n${to}`) ?? 0);
    if (by !== 0) shifted.set(to, by / 1e6);
    moved[i] = moved[p]! + by;
    start[i]! += moved[i]!;
  }
  return { start, shifted };
}

/** Small pieces are many and nearly in order: no list is made for them. */
function sortByStart(list: Int32Array, from: number, to: number, start: Float64Array): void {
  if (to - from > 64) {
    const sorted = Array.from(list.subarray(from, to)).sort((a, b) => start[a]! - start[b]! || a - b);
    list.set(sorted, from);
    return;
  }
  for (let i = from + 1; i < to; i++) {
    const span = list[i]!;
    const at = start[span]!;
    let j = i;
    while (j > from && start[list[j - 1]!]! > at) {
      list[j] = list[j - 1]!;
      j--;
    }
    list[j] = span;
  }
}
