/**
 * Findings, incidents and gaps of evidence as they travel: OTLP log records with an event name. Whoever makes, forwards,
 * shows or reports them agrees here and nowhere else. The shapes are those of `enginelight.report/v1`; in a record every key
 * of the top level is an attribute with a prefix (`finding.detector`), the entity is flat (`entity.kind`), and lists are
 * nested values.
 */
import {
  type AnyValue,
  Double,
  KeyValues,
  type LogRecord,
  nanosFromMs,
  type Resource,
  resource,
  type Scope,
  scope,
} from '../model.ts';
import type { EntityKind } from './topology.ts';

export const FINDING_EVENT = 'inference.finding';
export const INCIDENT_EVENT = 'inference.incident';
export const INSUFFICIENT_EVENT = 'inference.insufficient';
/** A notification of the `alerts` processor. */
export const ALERT_EVENT = 'inference.alert';
export const TOPOLOGY_EVENT = 'inference.topology';
/** Something that happened outside: a deploy, a restart, a scaling, a change of configuration. */
export const CHANGE_EVENT = 'inference.change';

export type Severity = 'info' | 'warning' | 'critical';
export type Grade = 'A' | 'B' | 'C';
export type FindingClass = 'root' | 'symptom' | 'context';
export type FindingState = 'pending' | 'firing' | 'resolved';
export type SloKind = 'ttft' | 'itl' | 'e2e' | 'throughput' | 'availability';

/** Which thing, and where it sits as far as that is known. */
export interface EntityName {
  readonly kind: EntityKind;
  readonly id: string;
  readonly service?: string;
  readonly pool?: string;
  readonly role?: string;
  readonly replica?: string;
  readonly node?: string;
  readonly rank?: number;
}

export interface Evidence {
  readonly signal: string;
  readonly entity: EntityName;
  readonly window_s: number;
  readonly value: number;
  readonly threshold: number;
  /** `at least` or `at most` the threshold is what speaks for the finding. */
  readonly comparison: '>=' | '<=';
  readonly holds: boolean;
  readonly unit?: string;
  /** Samples (or observations) behind the value. */
  readonly n?: number;
  readonly baseline?: { readonly median: number; readonly scale: number; readonly n: number };
  readonly exemplars?: readonly string[];
  readonly note?: string;
}

export interface CounterEvidence {
  readonly check: string;
  readonly result: string;
  /** True when the result speaks against the finding. */
  readonly against: boolean;
}

export interface Remedy {
  readonly code: string;
  readonly action: string;
  readonly flag?: string;
  readonly engine?: string;
  /** How much, where the evidence allows computing it: `raise from 64 to at least 96`. */
  readonly size?: string;
  readonly price?: string;
  readonly expected_effect: string;
  readonly risk: string;
  readonly verify: string;
}

export interface Impact {
  /** (y − reference) / reference of the service's latency; 0.34 is 34 % slower. */
  readonly latency?: number;
  /** Share of the service's capacity that is lost. */
  readonly capacity?: number;
  /** How many times faster than allowed the error budget burns. */
  readonly burn?: number;
}

export interface Finding {
  readonly id: string;
  readonly detector: string;
  readonly class: FindingClass;
  readonly entity: EntityName;
  readonly severity: Severity;
  readonly confidence: number;
  readonly grade: Grade;
  readonly state: FindingState;
  readonly started_at: string;
  readonly detected_at: string | null;
  readonly ended_at: string | null;
  readonly summary: string;
  readonly impact: Impact;
  readonly tags: readonly string[];
  readonly flapping: boolean;
  /** True when the detector only observes: shown, but never part of an incident or alert. */
  readonly observed: boolean;
  readonly evidence: readonly Evidence[];
  readonly counter_evidence: readonly CounterEvidence[];
  readonly would_change_my_mind: string;
  readonly remedies: readonly Remedy[];
}

export interface RootCause {
  readonly detector: string;
  readonly entity: EntityName;
  readonly probability: number;
  readonly grade: Grade;
  readonly finding: string;
  readonly path: readonly PathStep[];
  /** Why it ranks where it ranks, one short sentence. */
  readonly note?: string;
}

export interface PathStep {
  readonly detector: string;
  readonly entity: EntityName;
}

export interface Incident {
  readonly id: string;
  readonly service: string;
  readonly severity: Severity;
  readonly state: 'open' | 'resolved';
  readonly summary: string;
  readonly impact: {
    readonly started_at: string;
    readonly ended_at: string | null;
    readonly slo: SloKind;
    readonly before: number | null;
    readonly during: number | null;
    readonly unit: string;
  };
  readonly detected_at: string;
  readonly root: RootCause;
  /** Roots of faults that happen at the same time; the first is `root`. */
  readonly roots: readonly RootCause[];
  readonly candidates: readonly RootCause[];
  readonly path: readonly PathStep[];
  /** Ids of findings that the roots explain. */
  readonly symptoms: readonly string[];
  readonly contexts: readonly string[];
  /** Said aloud when two causes cannot be told apart, with what would decide. */
  readonly ambiguous: string | null;
  /** Causes that cannot be seen with the signals present, and what would show them. */
  readonly hypotheses: readonly { readonly detector: string; readonly missing: readonly string[] }[];
  /** An ancestor that the affected entities share and the others do not. */
  readonly shared: { readonly attribute: string; readonly value: string; readonly p: number } | null;
  /** Set when the trigger is gone and a loop keeps the symptoms up. */
  readonly metastable: string | null;
  readonly remedies: readonly Remedy[];
  readonly quality: readonly string[];
}

export interface Insufficient {
  readonly detector: string;
  readonly entity: EntityName;
  /** How many entities of the scope miss the same. */
  readonly entities: number;
  readonly missing: readonly string[];
  readonly enable: string;
}

export interface Alert {
  readonly name: string;
  readonly severity: Severity;
  readonly labels: Readonly<Record<string, string>>;
  readonly starts_at: string;
  readonly ends_at: string | null;
  readonly annotations: Readonly<Record<string, string>>;
  /** What its condition came to, in the unit of its signal. */
  readonly value?: number;
  /** Why it tells nobody: a silence, a maintenance window, another alert. */
  readonly suppressed?: string;
}

const SEVERITY_NUMBER: Record<Severity, number> = { info: 9, warning: 13, critical: 17 };
const SCOPE: Scope = scope('enginelight');

export const isoTime = (ms: number): string => new Date(ms).toISOString();

/** Any JSON-like value as an attribute value; undefined members are left out. */
export function toAny(value: unknown): AnyValue {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map(toAny);
  const entries: Record<string, AnyValue> = Object.create(null);
  for (const [key, v] of Object.entries(value as object)) if (v !== undefined) entries[key] = toAny(v);
  return new KeyValues(entries);
}

/** The JSON-like value of an attribute value. */
export function fromAny(value: AnyValue | undefined): unknown {
  if (value instanceof Double) return value.value;
  if (value instanceof KeyValues) {
    return Object.fromEntries(Object.entries(value.entries).map(([k, v]) => [k, fromAny(v)]));
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map((v) => fromAny(v as AnyValue));
  if (typeof value === 'bigint') return Number(value);
  return value ?? null;
}

const ENTITY_KEYS = ['kind', 'id', 'service', 'pool', 'role', 'replica', 'node', 'rank'] as const;

function encode(
  event: string,
  prefix: string,
  object: object,
  entity: EntityName,
  severity: Severity,
  body: string,
  timeMs: number,
  about: Resource,
): LogRecord {
  const attributes: Record<string, AnyValue> = Object.create(null);
  for (const key of ENTITY_KEYS) {
    const value = entity[key];
    if (value !== undefined) attributes[`entity.${key}`] = value;
  }
  for (const [key, value] of Object.entries(object)) {
    if (key !== 'entity' && value !== undefined) attributes[`${prefix}.${key}`] = toAny(value);
  }
  const time = nanosFromMs(timeMs);
  return {
    resource: about,
    scope: SCOPE,
    time,
    observedTime: time,
    severityNumber: SEVERITY_NUMBER[severity],
    severityText: severity,
    body,
    attributes,
    droppedAttributesCount: 0,
    flags: 0,
    traceId: '',
    spanId: '',
    eventName: event,
  };
}

function decode(record: LogRecord, prefix: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const entity: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(record.attributes)) {
    if (key.startsWith(`${prefix}.`)) out[key.slice(prefix.length + 1)] = fromAny(value);
    else if (key.startsWith('entity.')) entity[key.slice(7)] = fromAny(value);
  }
  out['entity'] = entity;
  return out;
}

const resources = new Map<string, Resource>();

/** The resource of records about an entity; one object per entity while it is in use. */
export function resourceOf(entity: EntityName): Resource {
  const key = `${entity.service ?? ''}|${entity.replica ?? ''}|${entity.node ?? ''}`;
  let found = resources.get(key);
  if (!found) {
    if (resources.size > 10_000) resources.clear();
    const attributes: Record<string, AnyValue> = Object.create(null);
    attributes['service.name'] = entity.service ?? 'unknown_service';
    if (entity.replica) attributes['service.instance.id'] = entity.replica;
    if (entity.node) attributes['host.name'] = entity.node;
    found = resource(attributes);
    resources.set(key, found);
  }
  return found;
}

export const findingRecord = (finding: Finding, timeMs: number): LogRecord =>
  encode(
    FINDING_EVENT,
    'finding',
    finding,
    finding.entity,
    finding.severity,
    finding.summary,
    timeMs,
    resourceOf(finding.entity),
  );

export const incidentRecord = (incident: Incident, timeMs: number): LogRecord =>
  encode(
    INCIDENT_EVENT,
    'incident',
    incident,
    incident.root.entity,
    incident.severity,
    incident.summary,
    timeMs,
    resourceOf({ kind: 'service', id: incident.service, service: incident.service }),
  );

export const insufficientRecord = (gap: Insufficient, timeMs: number): LogRecord =>
  encode(
    INSUFFICIENT_EVENT,
    'insufficient',
    gap,
    gap.entity,
    'info',
    `${gap.detector} cannot be judged: ${gap.missing.join(', ')} missing. ${gap.enable}`,
    timeMs,
    resourceOf(gap.entity),
  );

/** An alert as a record about `entity`. */
export const alertRecord = (alert: Alert, entity: EntityName, timeMs: number): LogRecord =>
  encode(
    ALERT_EVENT,
    'alert',
    alert,
    entity,
    alert.severity,
    alert.annotations['summary'] ?? alert.name,
    timeMs,
    resourceOf(entity),
  );

export function alertOf(record: LogRecord): Alert | undefined {
  if (record.eventName !== ALERT_EVENT) return undefined;
  const { entity: _about, ...out } = decode(record, 'alert');
  return typeof out['name'] === 'string' && typeof out['starts_at'] === 'string'
    ? ({ severity: 'warning', labels: {}, annotations: {}, ends_at: null, ...out } as unknown as Alert)
    : undefined;
}

/** The finding in a record, or undefined if it is none (or malformed). */
export function findingOf(record: LogRecord): Finding | undefined {
  if (record.eventName !== FINDING_EVENT) return undefined;
  const out = decode(record, 'finding');
  return typeof out['id'] === 'string' && typeof out['detector'] === 'string' ? (out as unknown as Finding) : undefined;
}

export function incidentOf(record: LogRecord): Incident | undefined {
  if (record.eventName !== INCIDENT_EVENT) return undefined;
  const { entity: _root, ...out } = decode(record, 'incident');
  return typeof out['id'] === 'string' && typeof out['root'] === 'object' ? (out as unknown as Incident) : undefined;
}

export function insufficientOf(record: LogRecord): Insufficient | undefined {
  if (record.eventName !== INSUFFICIENT_EVENT) return undefined;
  const out = decode(record, 'insufficient');
  return typeof out['detector'] === 'string' ? (out as unknown as Insufficient) : undefined;
}

/** `service/r2 (gpu GPU-… on n3)`-like words for a person. */
export function entityWords(entity: EntityName): string {
  const where = [
    entity.kind !== 'replica' && entity.replica ? `replica ${entity.replica}` : '',
    entity.kind !== 'node' && entity.node ? `node ${entity.node}` : '',
  ].filter((w) => w !== '');
  return `${entity.kind} ${entity.id}${where.length > 0 ? ` (${where.join(', ')})` : ''}`;
}
