/**
 * The topology as log records: what changed since the last time, and everything once in a while, so that a reader who came
 * late is complete after one round. A record carries at most `PER_RECORD` entities with their links.
 */
import { type AnyValue, KeyValues, type LogRecord, nanosFromMs, resource, scope } from '../model.ts';
import { ENTITY_KINDS, type Entity, type EntityKind, type Link, type Relation, type Topology } from './topology.ts';
import { fromAny, TOPOLOGY_EVENT } from './verdict.ts';

const PER_RECORD = 200;
const RESOURCE = resource(Object.assign(Object.create(null), { 'service.name': 'enginelight' }));
const SCOPE = scope('enginelight');

const describeLink = (l: Link): AnyValue =>
  new KeyValues(
    Object.assign(Object.create(null), {
      kind: l.to.kind,
      id: l.to.id,
      relation: l.relation,
      via: l.via,
      confidence: l.confidence,
      since: l.since,
      ...(l.until === Number.POSITIVE_INFINITY ? {} : { until: l.until }),
    }),
  );

function describeEntity(e: Entity): AnyValue {
  return new KeyValues(
    Object.assign(Object.create(null), {
      kind: e.kind,
      id: e.id,
      first_seen: e.firstSeen,
      last_seen: e.lastSeen,
      attributes: new KeyValues(Object.assign(Object.create(null), e.attributes)),
      links: [...e.up, ...e.at].map(describeLink),
    }),
  );
}

/** Publishes a topology: `changes` gives what is new since the last call, `snapshot` everything. */
export interface TopologyPublisher {
  changes(atMs: number): LogRecord[];
  snapshot(atMs: number): LogRecord[];
}

export function publisher(topology: Topology): TopologyPublisher {
  let version = -1;
  const sent = new Map<string, string>();
  const fingerprint = (e: Entity) =>
    `${JSON.stringify(e.attributes)}|${[...e.up, ...e.at].map((l) => `${l.to.key}${l.relation}${l.confidence}${l.until}`).join()}`;

  function records(entities: Entity[], mode: 'delta' | 'snapshot', gone: readonly string[], atMs: number): LogRecord[] {
    const out: LogRecord[] = [];
    const time = nanosFromMs(atMs);
    const parts = Math.max(1, Math.ceil(entities.length / PER_RECORD));
    for (let part = 0; part < parts; part++) {
      const slice = entities.slice(part * PER_RECORD, (part + 1) * PER_RECORD);
      out.push({
        resource: RESOURCE,
        scope: SCOPE,
        time,
        observedTime: time,
        severityNumber: 9,
        severityText: 'info',
        body: slice.map(describeEntity),
        attributes: Object.assign(Object.create(null), {
          'topology.mode': mode,
          'topology.version': topology.version,
          'topology.part': part,
          'topology.parts': parts,
          'topology.entities': topology.entities.size,
          ...(part === 0 && gone.length > 0 ? { 'topology.gone': gone } : {}),
        }),
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
        eventName: TOPOLOGY_EVENT,
      });
    }
    return out;
  }

  return {
    changes(atMs) {
      if (topology.version === version) return [];
      version = topology.version;
      const changed: Entity[] = [];
      for (const e of topology.entities.values()) {
        const print = fingerprint(e);
        if (sent.get(e.key) === print) continue;
        sent.set(e.key, print);
        changed.push(e);
      }
      const gone = [...sent.keys()].filter((key) => !topology.entities.has(key));
      for (const key of gone) sent.delete(key);
      return changed.length > 0 || gone.length > 0 ? records(changed, 'delta', gone, atMs) : [];
    },
    snapshot: (atMs) =>
      topology.entities.size > 0 ? records([...topology.entities.values()], 'snapshot', [], atMs) : [],
  };
}

interface Described {
  kind: EntityKind;
  id: string;
  attributes: Record<string, string | number | boolean>;
  links: {
    kind: EntityKind;
    id: string;
    relation: Relation;
    via: string;
    confidence: number;
    since: number;
    until?: number;
  }[];
}

const KINDS = new Set<string>(ENTITY_KINDS);

/** Merges a topology record into a topology; false if it is not one. Malformed entries are skipped. */
export function applyTopology(topology: Topology, record: LogRecord, atMs: number): boolean {
  if (record.eventName !== TOPOLOGY_EVENT) return false;
  const body = fromAny(record.body);
  if (!Array.isArray(body)) return true;
  for (const raw of body as Partial<Described>[]) {
    if (!raw || typeof raw.id !== 'string' || !KINDS.has(raw.kind as string)) continue;
    const e = topology.entity(raw.kind!, raw.id, atMs);
    if (!e) continue;
    for (const [name, value] of Object.entries(raw.attributes ?? {})) topology.describe(e, name, value);
    for (const l of raw.links ?? []) {
      if (!l || typeof l.id !== 'string' || !KINDS.has(l.kind)) continue;
      if (typeof l.until === 'number') {
        for (const open of [...e.up, ...e.at]) {
          if (open.to.kind === l.kind && open.to.id === l.id && open.until === Number.POSITIVE_INFINITY) {
            topology.end(open, l.until);
          }
        }
        continue;
      }
      const to = topology.entity(l.kind, l.id, atMs);
      if (!to) continue;
      topology.link(e, to, l.relation === 'at' ? 'at' : 'part', l.via, l.confidence, atMs);
      // The same claim, and less sure than it was: somebody disputes it where it was made.
      for (const own of l.relation === 'at' ? e.at : e.up) {
        if (own.to !== to || own.until !== Number.POSITIVE_INFINITY) continue;
        if (own.via === l.via && l.confidence < own.claimed) topology.dispute(own, l.confidence, atMs);
      }
    }
  }
  return true;
}
