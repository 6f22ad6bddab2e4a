/** What communicators are called: `comm.id` of the spans, and the group that the truth names. */
import type { Replica } from './types.ts';

/** The tensor-parallel communicator of one data-parallel copy and pipeline stage. */
export function tensorComm(rep: Replica, dp: number, stage: number): string {
  return `tp-${rep.id}${rep.tpGroups.length > 1 ? `-dp${dp}` : ''}${rep.tpGroups[0]!.length > 1 ? `-pp${stage}` : ''}`;
}

/** The communicator of the experts. */
export const expertComm = (rep: Replica): string => `ep-${rep.id}`;

/** A communicator as reports name it: ids of different replicas may be alike, so the replica is part of it. */
export const groupEntity = (rep: Replica, comm: string): `group:${string}` => `group:${rep.id}/${comm}`;

/** All tensor-parallel groups of a replica, as reports name them. */
export const tensorGroups = (rep: Replica): `group:${string}`[] =>
  rep.tpGroups.flatMap((stages, dp) => stages.map((_, stage) => groupEntity(rep, tensorComm(rep, dp, stage))));
