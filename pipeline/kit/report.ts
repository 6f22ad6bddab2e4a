/**
 * `enginelight.report/v1`, built from what passes by: the log records of findings, incidents, gaps, alerts and topology, and
 * the names of the signals. Needs nothing of the processors that made them, so `diagnose` and the `report` exporter share it,
 * and a report can be made from records that came from elsewhere.
 */
import { type Batch, type LogRecord, msFromNanos, type Point, type Series } from '../model.ts';
import { createTopology, type Entity, type EntityKind, type Topology } from './topology.ts';
import { applyTopology } from './topology-records.ts';
import {
  type Alert,
  alertOf,
  type Finding,
  findingOf,
  type Incident,
  type Insufficient,
  incidentOf,
  insufficientOf,
  isoTime,
  type Severity,
  TOPOLOGY_EVENT,
} from './verdict.ts';

export const REPORT_SCHEMA = 'enginelight.report/v1';

export interface ReportTopology {
  readonly services: readonly { id: string; pools: string[]; replicas: string[] }[];
  readonly replicas: readonly {
    id: string;
    service: string | null;
    pool: string | null;
    role: string | null;
    engine: string | null;
    model: string | null;
    nodes: string[];
    gpus: string[];
    ranks: string[];
  }[];
  readonly nodes: readonly { id: string; gpus: string[]; replicas: string[] }[];
  readonly gpus: readonly {
    id: string;
    node: string | null;
    replica: string | null;
    rank: string | null;
    index: number | null;
    model: string | null;
  }[];
  readonly links: readonly { id: string; kind: 'pair' | 'link'; source: string; destination: string }[];
}

export interface Report {
  readonly schema: typeof REPORT_SCHEMA;
  readonly window: { readonly start: string | null; readonly end: string | null };
  readonly inputs: {
    readonly lines: number;
    readonly skipped: number;
    readonly targets: number;
    readonly signals_seen: readonly string[];
  };
  readonly topology: ReportTopology;
  readonly incidents: readonly Incident[];
  readonly findings: readonly Finding[];
  readonly insufficient: readonly Insufficient[];
  readonly alerts: readonly Alert[];
  readonly cost: Readonly<Record<string, number>>;
}

export interface ReportOptions {
  /** Overrides what was seen: the window that was asked for. */
  readonly window?: { readonly start: string; readonly end: string };
  readonly lines?: number;
  readonly skipped?: number;
  readonly cost?: Readonly<Record<string, number>>;
}

export interface ReportBuilder {
  /** Takes note of a batch; keeps the newest state of everything. */
  add(batch: Batch): void;
  build(options?: ReportOptions): Report;
  /** Forgets what was over before a time (milliseconds), so that a daemon's report stays bounded and about now. */
  forget(beforeMs: number): void;
  /** The newest state of an incident. */
  incident(id: string): Incident | undefined;
  /** The worst severity among incidents and firing findings; undefined when there is none. */
  worst(): Severity | undefined;
}

export interface ReportLimits {
  readonly findings: number;
  readonly incidents: number;
  readonly signals: number;
}

const LIMITS: ReportLimits = { findings: 20_000, incidents: 2_000, signals: 5_000 };
const RANK: Record<Severity, number> = { info: 0, warning: 1, critical: 2 };

/** Neutral names; a source's own names are not signals. */
const SIGNAL = /^(inference|gen_ai|hw|system|process|container|k8s|http)\./;

export function reportBuilder(limits: ReportLimits = LIMITS): ReportBuilder {
  const topology = createTopology();
  const findings = new Map<string, Finding>();
  const incidents = new Map<string, Incident>();
  const alerts = new Map<string, Alert>();
  let gaps = new Map<string, Insufficient>();
  let gapsAt = -1;
  const known = new WeakSet<Series>();
  const signals = new Set<string>();
  const targets = new Set<string>();
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  let nanos = 0n;

  function moment(time: bigint): void {
    if (time === nanos || time <= 0n) return;
    nanos = time;
    const ms = msFromNanos(time);
    if (ms < first) first = ms;
    if (ms > last) last = ms;
  }

  function point(p: Point): void {
    moment(p.time);
    const { series } = p;
    if (known.has(series)) return;
    known.add(series);
    const { name } = series.metric;
    if (SIGNAL.test(name) && signals.size < limits.signals) signals.add(name);
    if (name === 'up' && targets.size < limits.signals) {
      const a = series.resource.attributes;
      targets.add(
        JSON.stringify(
          [a['server.address'], a['server.port'], a['service.instance.id'], a['service.name']].map(String),
        ),
      );
    }
  }

  function keep<T>(map: Map<string, T>, key: string, value: T, limit: number): void {
    // The newest state of a known one always; a new one only while there is room.
    if (map.has(key) || map.size < limit) map.set(key, value);
  }

  function record(r: LogRecord): void {
    if (r.eventName === '') return;
    if (r.eventName === TOPOLOGY_EVENT) {
      applyTopology(topology, r, msFromNanos(r.time));
      return;
    }
    const finding = findingOf(r);
    if (finding) keep(findings, finding.id, finding, limits.findings);
    const incident = incidentOf(r);
    if (incident) keep(incidents, incident.id, incident, limits.incidents);
    const gap = insufficientOf(r);
    if (gap) {
      // Each round of gaps replaces the one before.
      const at = msFromNanos(r.time);
      if (at !== gapsAt) gaps = new Map();
      gapsAt = at;
      keep(gaps, `${gap.detector}|${gap.entity.id}|${gap.missing.join()}`, gap, limits.findings);
    }
    const alert = alertOf(r);
    if (alert) {
      const labels = Object.entries(alert.labels).sort().join();
      keep(alerts, `${alert.name}|${labels}|${alert.starts_at}`, alert, limits.findings);
    }
  }

  return {
    add(batch) {
      if (batch.signal === 'metrics') for (const p of batch.items) point(p);
      else if (batch.signal === 'traces') for (const s of batch.items) moment(s.endTime);
      else for (const r of batch.items) record(r);
    },
    build(options = {}) {
      const shown = [...findings.values()].filter((f) => f.state !== 'pending');
      const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
      return {
        schema: REPORT_SCHEMA,
        window: options.window ?? {
          start: Number.isFinite(first) ? isoTime(first) : null,
          end: Number.isFinite(last) ? isoTime(last) : null,
        },
        inputs: {
          lines: options.lines ?? 0,
          skipped: options.skipped ?? 0,
          targets: targets.size,
          signals_seen: [...signals].sort(),
        },
        topology: describeTopology(topology),
        incidents: [...incidents.values()].sort(
          (a, b) => RANK[b.severity] - RANK[a.severity] || order(a.impact.started_at, b.impact.started_at),
        ),
        findings: shown.sort((a, b) => order(a.started_at, b.started_at) || order(a.id, b.id)),
        insufficient: [...gaps.values()].sort((a, b) => order(a.detector, b.detector)),
        alerts: [...alerts.values()].sort((a, b) => order(a.starts_at, b.starts_at) || order(a.name, b.name)),
        cost: options.cost ?? {},
      };
    },
    forget(beforeMs) {
      const over = (ended: string | null | undefined) => typeof ended === 'string' && Date.parse(ended) < beforeMs;
      for (const [id, f] of findings) if (over(f.ended_at)) findings.delete(id);
      for (const [id, i] of incidents) if (i.state === 'resolved' && over(i.impact.ended_at)) incidents.delete(id);
      for (const [key, a] of alerts) if (over(a.ends_at)) alerts.delete(key);
      topology.expire(beforeMs, beforeMs);
    },
    incident: (id) => incidents.get(id),
    worst() {
      let worst: Severity | undefined;
      const take = (s: Severity) => {
        if (worst === undefined || RANK[s] > RANK[worst]) worst = s;
      };
      for (const i of incidents.values()) take(i.severity);
      for (const f of findings.values()) if (f.state !== 'pending' && !f.observed) take(f.severity);
      return worst;
    },
  };
}

/** The part of a report that is about one incident: its findings, and what else was known at the time. */
export function reportOf(report: Report, incident: Incident): Report {
  const mine = new Set([
    ...[incident.root, ...incident.roots, ...incident.candidates].map((r) => r.finding),
    ...incident.symptoms,
    ...incident.contexts,
  ]);
  const start = Date.parse(incident.impact.started_at);
  return {
    ...report,
    incidents: [incident],
    findings: report.findings.filter((f) => mine.has(f.id)),
    alerts: report.alerts.filter((a) => a.ends_at === null || Date.parse(a.ends_at) >= start),
  };
}

/** The entities and how they hang together, as lists of ids. */
export function describeTopology(topology: Topology): ReportTopology {
  const ids = (e: Entity, kind: EntityKind): string[] =>
    topology
      .related(e, kind)
      .filter((r) => r.confidence >= 0.8)
      .map((r) => r.entity.id)
      .sort();
  const only = (list: readonly string[]): string | null => (list.length === 1 ? list[0]! : null);
  const word = (e: Entity, name: string): string | null => {
    const v = e.attributes[name];
    return typeof v === 'string' ? v : null;
  };
  const sorted = (kind: EntityKind) => [...topology.all(kind)].sort((a, b) => (a.id < b.id ? -1 : 1));
  return {
    services: sorted('service').map((e) => ({ id: e.id, pools: ids(e, 'pool'), replicas: ids(e, 'replica') })),
    replicas: sorted('replica').map((e) => ({
      id: e.id,
      service: only(ids(e, 'service')),
      pool: only(ids(e, 'pool')),
      role: word(e, 'role'),
      engine: word(e, 'engine'),
      model: word(e, 'model'),
      nodes: topology
        .nodes(e)
        .map((n) => n.id)
        .sort(),
      gpus: ids(e, 'gpu'),
      ranks: ids(e, 'rank'),
    })),
    nodes: sorted('node').map((e) => ({ id: e.id, gpus: ids(e, 'gpu'), replicas: ids(e, 'replica') })),
    gpus: sorted('gpu').map((e) => ({
      id: e.id,
      node: only(topology.nodes(e).map((n) => n.id)),
      replica: only(ids(e, 'replica')),
      rank: only(ids(e, 'rank')),
      index: typeof e.attributes['index'] === 'number' ? e.attributes['index'] : null,
      model: word(e, 'model'),
    })),
    links: (['pair', 'link'] as const).flatMap((kind) =>
      sorted(kind).map((e) => {
        const [a = '', b = ''] = e.id.split('->');
        return {
          id: e.id,
          kind,
          source: word(e, 'source') ?? a,
          destination: word(e, 'destination') ?? b,
        };
      }),
    ),
  };
}
