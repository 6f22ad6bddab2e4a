/**
 * Verdicts of another bottleneck that arrive here, from a sidecar or out of a recording. Incidents are made where most is seen, which
 * is here, and a sidecar takes its one replica for the whole service; so only its findings about a replica and its parts go on.
 */

import { FINDING_EVENT, findingOf, INCIDENT_EVENT, INSUFFICIENT_EVENT } from '../../pipeline/kit/verdict.ts';
import { type LogRecord, type LogsBatch, logsBatch } from '../../pipeline/model.ts';

const WIDER = new Set(['service', 'pool', 'router', 'frontend', 'cluster']);

function superseded(r: LogRecord): boolean {
  if (r.eventName === INCIDENT_EVENT || r.eventName === INSUFFICIENT_EVENT) return true;
  if (r.eventName !== FINDING_EVENT) return false;
  const kind = findingOf(r)?.entity.kind;
  return kind !== undefined && WIDER.has(kind);
}

/** The batch without them, and how many there were; the same batch where there were none. */
export function withoutSuperseded(batch: LogsBatch): { rest: LogsBatch; dropped: number } {
  if (!batch.items.some(superseded)) return { rest: batch, dropped: 0 };
  const items = batch.items.filter((r) => !superseded(r));
  return { rest: logsBatch(items), dropped: batch.items.length - items.length };
}
