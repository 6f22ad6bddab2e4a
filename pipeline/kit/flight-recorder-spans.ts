/** A dump's entries as spans `collective`. */

import { type AnyValue, type Attributes, nanosFromMs, type Resource, type Span } from '../model.ts';
import type { Dump, Entry } from './flight-recorder-dump.ts';
import { collectiveTrace, type HookSpan } from './hook-span.ts';

export interface DumpContext {
  /** Of the file: it ends with the rank. */
  readonly name: string;
  readonly writtenMs: number;
  about(said: Attributes): Resource;
  make(span: HookSpan): Span;
}

export interface DumpSpans {
  readonly spans: Span[];
  readonly rank: number | undefined;
  /** Spans of operations that had not ended. */
  readonly open: number;
  /** Finished operations that are left out: when the watchdog saw them end is no measure of how long they took. */
  readonly untimed: number;
  /** Entries of groups that the dump does not describe. */
  readonly bad: number;
}

export function dumpSpans(dump: Dump, { name, writtenMs, about, make }: DumpContext): DumpSpans {
  const digits = /(\d{1,9})(?:\.[a-z.]+)?$/i.exec(name)?.[1];
  const rank = digits === undefined ? undefined : Number(digits);
  let world: readonly number[] = [];
  for (const { ranks } of dump.groups.values()) if (ranks.length > world.length) world = ranks;
  const said: Record<string, AnyValue> = {};
  if (rank !== undefined) said['inference.rank'] = rank;
  if (world.length > 0) said['inference.world_size'] = world.length;
  const resource = about(said);
  const written = nanosFromMs(writtenMs);

  const spans: Span[] = [];
  let open = 0;
  let untimed = 0;
  let bad = 0;
  for (const entry of dump.entries) {
    const ranks = dump.groups.get(entry.group)?.ranks ?? [];
    const own = rank === undefined ? -1 : ranks.indexOf(rank);
    if (own < 0) {
      bad++;
      continue;
    }
    const times = timesOf(entry, written);
    if (!times) {
      untimed++;
      continue;
    }
    const attributes: Record<string, AnyValue> = {
      'comm.id': entry.group,
      'comm.seq': entry.seq,
      'comm.op': entry.op,
      'comm.bytes': entry.bytes,
      'comm.size': ranks.length,
      'comm.rank': own,
      'comm.backend': entry.backend,
      'hook.clock': times.clock,
    };
    if (entry.peer !== undefined) attributes['comm.peer'] = entry.peer;
    if (entry.state !== 'completed') {
      open++;
      attributes['hook.open'] = true;
      attributes['hook.open_ns'] = Number(times.end - times.start);
      attributes['hook.state'] = entry.state;
    }
    spans.push(
      make({
        resource,
        name: 'collective',
        traceId: collectiveTrace(entry.group, entry.op, entry.seq),
        start: times.start,
        end: times.end,
        attributes,
      }),
    );
  }
  return { spans, rank, open, untimed, bad };
}

function timesOf(entry: Entry, written: bigint): { start: bigint; end: bigint; clock: string } | undefined {
  if (entry.state !== 'completed') {
    const start = entry.started ?? entry.created;
    // A clock that runs differently where the file lies must not make it end before it began.
    return { start, end: written > start ? written : start, clock: 'host' };
  }
  if (entry.durationMs === undefined || entry.completed === undefined) return undefined;
  return { start: entry.completed - nanosFromMs(entry.durationMs), end: entry.completed, clock: 'device' };
}
