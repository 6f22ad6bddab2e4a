/** The state of now, folded out of everything that passes: who serves how, which GPU does what, and what is found. */
import { type Batch, isHistogramPoint, isNumberPoint, isStale, type Point } from '../model.ts';
import { recentQuantiles } from './live-quantiles.ts';
import { gpuRows, replicaRows } from './live-rows.ts';
import { LIVE_SCHEMA, type LiveIncident, type LiveService, type LiveSnapshot } from './live-types.ts';
import { type Report, reportBuilder } from './report.ts';
import { createHistory, type History } from './report-series.ts';
import { cleanId } from './topology.ts';
import { type EntityName, type Finding, type Incident, isoTime, type Severity } from './verdict.ts';

export interface LiveOptions {
  /** How much of the past is kept, milliseconds. */
  readonly windowMs: number;
  /** Series kept. */
  readonly series: number;
  /** Most rows of each kind in a snapshot. */
  readonly rows: number;
  readonly version: string;
}

export interface Live {
  add(batch: Batch, nowMs: number): void;
  snapshot(nowMs: number): LiveSnapshot;
  /** All that is known, as a report of the kept past. */
  report(nowMs: number): Report;
  readonly history: History;
  /** Forgets what was over long ago. */
  forget(nowMs: number): void;
}

const BUCKETS = 180;
/** Verdicts that are over stay this long. */
const FORGET_MS = 2 * 3_600_000;
/** A replica of whose scrapes nothing was heard for so long is neither up nor down. */
const UP_MS = 120_000;
const TTFT = 'gen_ai.server.time_to_first_token';
/** The first that a replica has is shown. */
const ITL = ['inference.inter_token.latency', 'gen_ai.server.time_per_output_token'];
const SPREAD = new Set([TTFT, ...ITL]);
const RANK: Record<Severity, number> = { info: 1, warning: 2, critical: 3 };
const rankOf = (s: Severity | null): number => (s === null ? 0 : RANK[s]);
const key = (replica: string, signal: string) => `${signal}\n${replica}`;

/** Starts with nothing. */
export function createLive(options: LiveOptions): Live {
  const builder = reportBuilder();
  const stepMs = Math.max(1000, Math.ceil(options.windowMs / BUCKETS / 1000) * 1000);
  const history = createHistory({ full: 'slide', buckets: BUCKETS, stepMs, lines: options.series });
  const quantiles = recentQuantiles(options.series);
  const ups = new Map<string, { up: boolean; at: number }>();
  let changed = true;
  let lastReport: { at: number; report: Report } | undefined;

  const point = (p: Point, nowMs: number): void => {
    const { name } = p.series.metric;
    const isUp = name === 'up';
    if (!isUp && !SPREAD.has(name)) return;
    const given = p.series.resource.attributes['service.instance.id'];
    if (typeof given !== 'string') return;
    const replica = cleanId(given);
    if (isUp) {
      if (!isNumberPoint(p) || isStale(p) || (ups.size >= options.series && !ups.has(replica))) return;
      ups.set(replica, { up: Number(p.value) > 0, at: nowMs });
    } else if (isHistogramPoint(p)) quantiles.take(key(replica, name), p, nowMs);
  };

  const report = (nowMs: number): Report => {
    // Topology is dear to describe; it may be a few seconds old.
    if (lastReport && (!changed || nowMs - lastReport.at < 1000)) return lastReport.report;
    const { startMs } = history.span();
    const built = builder.build({ window: { start: isoTime(startMs || nowMs), end: isoTime(nowMs) } });
    changed = false;
    lastReport = { at: nowMs, report: built };
    return built;
  };

  return {
    history,
    report,
    add(batch, nowMs) {
      builder.add(batch);
      history.add(batch);
      if (batch.signal === 'logs') changed = true;
      else if (batch.signal === 'metrics') for (const p of batch.items) point(p, nowMs);
    },
    forget(nowMs) {
      builder.forget(nowMs - FORGET_MS);
      quantiles.forget(nowMs);
      for (const [replica, { at }] of ups) if (nowMs - at > UP_MS) ups.delete(replica);
      changed = true;
    },
    snapshot(nowMs) {
      const full = report(nowMs);
      const { topology } = full;
      const open = full.incidents.filter((i) => i.state === 'open');
      const firing = full.findings.filter((f) => f.state === 'firing' && !f.observed);
      const troubled = troubles(open, firing);
      const q = (replica: string, signal: string, p: number) => {
        const value = quantiles.quantile(key(replica, signal), p, nowMs);
        return value === undefined ? null : Number(value.toPrecision(4));
      };
      const upOf = (id: string) => {
        const seen = ups.get(id);
        return seen && nowMs - seen.at < UP_MS ? seen.up : null;
      };
      const rows = replicaRows(history, topology, nowMs);
      const heard = new Set(rows.map((r) => r.id));
      const silent = topology.replicas
        .filter((r) => !heard.has(r.id))
        .map(({ id, service, engine, role, model, nodes }) => ({
          ...NOTHING,
          id,
          service,
          engine,
          role,
          model,
          node: nodes[0] ?? null,
        }));
      const replicas = [...rows, ...silent].map((row) => ({
        ...row,
        up: upOf(row.id),
        ttft_p50: q(row.id, TTFT, 0.5),
        ttft_p95: q(row.id, TTFT, 0.95),
        itl_p50: q(row.id, ITL[0]!, 0.5) ?? q(row.id, ITL[1]!, 0.5),
        itl_p95: q(row.id, ITL[0]!, 0.95) ?? q(row.id, ITL[1]!, 0.95),
        trouble: troubled.replicas.get(row.id) ?? null,
      }));
      const gpus = gpuRows(history, topology, nowMs).map((row) => ({
        ...row,
        trouble: troubled.gpus.get(row.id) ?? null,
      }));
      const incidents = [
        ...open,
        ...full.incidents
          .filter((i) => i.state !== 'open')
          .sort((a, b) => (b.impact.ended_at ?? '').localeCompare(a.impact.ended_at ?? '')),
      ];
      const worst = [...open, ...firing].reduce<Severity | null>(
        (most, { severity }) => (rankOf(severity) > rankOf(most) ? severity : most),
        null,
      );
      const shown = {
        replicas: worstFirst(replicas, options.rows),
        gpus: worstFirst(gpus, options.rows),
        incidents: incidents.slice(0, options.rows).map(briefly),
      };
      return {
        schema: LIVE_SCHEMA,
        version: options.version,
        time: isoTime(nowMs),
        verdict: verdict(open, firing, replicas.length + gpus.length),
        worst,
        counts: {
          replicas: replicas.length,
          gpus: gpus.length,
          nodes: topology.nodes.length,
          open: open.length,
          findings: firing.length,
          insufficient: full.insufficient.length,
        },
        omitted: {
          replicas: replicas.length - shown.replicas.length,
          gpus: gpus.length - shown.gpus.length,
          incidents: incidents.length - shown.incidents.length,
        },
        bucket_s: stepMs / 1000,
        services: services(replicas, open).slice(0, options.rows),
        ...shown,
      };
    },
  };
}

const NOTHING = {
  running: null,
  waiting: null,
  kv: null,
  phases: { queue: null, prefill: null, transfer: null, decode: null },
  prompt_rate: null,
  output_rate: null,
  trend: { ttft: [], itl: [] },
} as const;

/** All while they fit, in their order; else those with trouble before the others. */
function worstFirst<T extends { readonly trouble: Severity | null }>(rows: readonly T[], most: number): T[] {
  if (rows.length <= most) return [...rows];
  return [...rows].sort((a, b) => rankOf(b.trouble) - rankOf(a.trouble)).slice(0, most);
}

/** What open incidents and firing findings say of replicas and GPUs; of a part, and of what it is in. */
function troubles(open: readonly Incident[], firing: readonly Finding[]) {
  const replicas = new Map<string, Severity>();
  const gpus = new Map<string, Severity>();
  const mark = (map: Map<string, Severity>, id: string | undefined, severity: Severity) => {
    if (id !== undefined && rankOf(severity) > rankOf(map.get(id) ?? null)) map.set(id, severity);
  };
  const take = (entity: EntityName, severity: Severity) => {
    if (entity.kind === 'gpu') mark(gpus, entity.id, severity);
    mark(replicas, entity.kind === 'replica' ? entity.id : entity.replica, severity);
  };
  for (const { severity, roots, root } of open) for (const r of [root, ...roots]) take(r.entity, severity);
  // What is only context would mark everything.
  for (const f of firing) if (f.class !== 'context' && f.severity !== 'info') take(f.entity, f.severity);
  return { replicas, gpus };
}

function services(
  replicas: readonly {
    service: string | null;
    running: number | null;
    waiting: number | null;
    output_rate: number | null;
    role: string | null;
  }[],
  open: readonly Incident[],
): LiveService[] {
  const rows = new Map<string, { -readonly [K in keyof LiveService]: LiveService[K] }>();
  const add = (a: number | null, b: number | null) => (b === null ? a : (a ?? 0) + b);
  const of = (id: string) => {
    let row = rows.get(id);
    if (!row) {
      row = { id, replicas: 0, running: null, waiting: null, output_rate: null, incidents: 0 };
      rows.set(id, row);
    }
    return row;
  };
  for (const r of replicas) {
    // A router repeats what its replicas say.
    if (r.service === null || r.role === 'router' || r.role === 'frontend') continue;
    const row = of(r.service);
    row.replicas++;
    row.running = add(row.running, r.running);
    row.waiting = add(row.waiting, r.waiting);
    row.output_rate = add(row.output_rate, r.output_rate);
  }
  for (const { service } of open) of(service).incidents++;
  return [...rows.values()].sort((a, b) => b.incidents - a.incidents || a.id.localeCompare(b.id));
}

function verdict(open: readonly Incident[], firing: readonly Finding[], rows: number): string {
  const [first, ...more] = [...open].sort((a, b) => rankOf(b.severity) - rankOf(a.severity));
  if (first)
    return `${cut(first.summary)}${more.length > 0 ? ` And ${more.length} more open incident${more.length === 1 ? '' : 's'}.` : ''}`;
  if (firing.length > 0) {
    return `No incident; ${firing.length} finding${firing.length === 1 ? ' is' : 's are'} firing that no service feels.`;
  }
  return rows === 0 ? 'Nothing is seen yet.' : 'No incident.';
}

const MAX_PATH = 8;
const MAX_TEXT = 600;
const cut = (text: string): string => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT - 1)}…` : text);

/** What a list shows of an incident. */
export function briefly(incident: Incident): LiveIncident {
  const { id, service, severity, state, impact, root } = incident;
  const remedy = incident.remedies[0];
  return {
    id,
    service,
    severity,
    state,
    summary: cut(incident.summary),
    started_at: impact.started_at,
    detected_at: incident.detected_at,
    ended_at: impact.ended_at,
    slo: impact.slo,
    before: impact.before,
    during: impact.during,
    unit: impact.unit,
    root: { detector: root.detector, entity: root.entity, probability: root.probability, grade: root.grade },
    path: incident.path.slice(0, MAX_PATH),
    ambiguous: incident.ambiguous === null ? null : cut(incident.ambiguous),
    remedy: remedy ? cut(`${remedy.action}${remedy.flag ? ` ${remedy.flag}` : ''}`) : null,
  };
}
