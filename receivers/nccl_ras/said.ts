/** A RAS status as metrics, events and open collectives. */
import { collectiveTrace, type HookSpan } from '../../pipeline/kit/hook-span.ts';
import type { Round } from '../../pipeline/kit/probe.ts';
import {
  type AnyValue,
  type Attributes,
  gauge,
  type LogRecord,
  type MetricsBatch,
  nanosFromMs,
  type Resource,
  type Scope,
  type Span,
  sum,
} from '../../pipeline/model.ts';
import type { Stall } from './stalls.ts';
import type { Communicator, MissingRank, Rank, RasStatus } from './status.ts';

const LAUNCHED = sum('nccl.ras.operations', '{operation}', 'Operations that a rank launched, by collective');
const RANKS = gauge('nccl.ras.ranks', '{rank}', 'Ranks of a communicator, by state');
const ERROR = 17;
/** ncclResult_t: "in progress" is no error. */
const IN_PROGRESS = 7;
const MOST_KNOWN = 100_000;

export interface SaidOptions {
  readonly scope: Scope;
  make(span: HookSpan): Span;
  /** The resource of a process on a host. */
  about(attributes: Attributes, host: string): Resource;
}

export function createSaid({ scope, make, about }: SaidOptions) {
  /** What is wrong with a rank and was said: it is said again only after it was well. */
  let known = new Set<string>();

  const resourceOf = (who: Rank | MissingRank): Resource => {
    const attributes: Record<string, AnyValue> = {};
    if (who.pid !== undefined) attributes['process.pid'] = who.pid;
    if (who.gpu !== undefined) attributes['hw.gpu.index'] = who.gpu;
    return about(attributes, who.host);
  };

  const record = (
    who: Rank | MissingRank,
    comm: Communicator,
    event: string,
    body: string,
    more: Attributes,
    at: number,
  ) =>
    ({
      resource: resourceOf(who),
      scope,
      time: nanosFromMs(at),
      observedTime: nanosFromMs(at),
      severityNumber: ERROR,
      severityText: 'ERROR',
      body,
      attributes: { 'comm.id': comm.id, 'comm.rank': who.rank, 'comm.size': comm.size, ...more },
      droppedAttributesCount: 0,
      flags: 0,
      traceId: '',
      spanId: '',
      eventName: event,
    }) satisfies LogRecord;

  return {
    metrics(round: Round, { communicators }: RasStatus): MetricsBatch {
      const node = about({}, '');
      for (const comm of communicators) {
        for (const rank of comm.ranks) {
          const resource = resourceOf(rank);
          for (const [name, count] of rank.counts) {
            round.add(resource, LAUNCHED, count, { collective: name, 'comm.id': comm.id, 'comm.rank': rank.rank });
          }
        }
        const states = { present: comm.ranks.length, unresponsive: 0, dead: 0, missing: 0 };
        for (const rank of comm.missing) states[rank.dead ? 'dead' : rank.unresponsive ? 'unresponsive' : 'missing']++;
        for (const [state, n] of Object.entries(states)) round.add(node, RANKS, n, { state, 'comm.id': comm.id });
      }
      return round.finish();
    },

    /** What went wrong since the last status. */
    events({ communicators }: RasStatus, at: number): LogRecord[] {
      const records: LogRecord[] = [];
      const now = new Set<string>();
      const once = (key: string, say: () => LogRecord) => {
        if (now.size < MOST_KNOWN) now.add(key);
        if (!known.has(key)) records.push(say());
      };
      for (const comm of communicators) {
        for (const rank of comm.missing) {
          const state = rank.dead ? 'dead' : rank.unresponsive ? 'unresponsive' : 'missing';
          once(`${comm.id}/${rank.rank}/${state}`, () =>
            record(
              rank,
              comm,
              'inference.comm.rank_missing',
              `Rank ${rank.rank} of ${comm.size} is ${state}`,
              { state },
              at,
            ),
          );
        }
        for (const rank of comm.ranks) {
          if (rank.aborted || (rank.asyncError !== 0 && rank.asyncError !== IN_PROGRESS)) {
            once(`${comm.id}/${rank.rank}/error`, () =>
              record(
                rank,
                comm,
                'inference.comm.error',
                `Rank ${rank.rank} of ${comm.size} ${rank.aborted ? 'was aborted' : `reports error ${rank.asyncError}`}`,
                { 'error.type': rank.aborted ? 'aborted' : String(rank.asyncError) },
                at,
              ),
            );
          }
        }
      }
      known = now;
      return records;
    },

    /** The ranks that wait, each in an operation that has not ended. */
    open(stalls: readonly Stall[], at: number): Span[] {
      return stalls.flatMap(({ comm, op, seq, inside, sinceMs }) =>
        comm.ranks
          .filter((rank) => inside.includes(rank.rank))
          .map((rank) =>
            make({
              resource: resourceOf(rank),
              name: 'collective',
              traceId: collectiveTrace(comm.id, op, seq),
              start: nanosFromMs(sinceMs),
              end: nanosFromMs(at),
              attributes: {
                'comm.id': comm.id,
                'comm.seq': seq,
                'comm.op': op,
                'comm.bytes': 0,
                'comm.size': comm.size,
                'comm.rank': rank.rank,
                'comm.backend': 'nccl',
                'hook.clock': 'host',
                'hook.open': true,
                'hook.open_ns': Math.max(0, Math.round((at - sinceMs) * 1e6)),
              },
            }),
          ),
      );
    },
  };
}
