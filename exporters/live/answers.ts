/** What is behind each path of the API: objects that become JSON, or an HttpError that says what is wrong. */
import { HttpError } from '../../pipeline/kit/http-server.ts';
import { briefly, type Live } from '../../pipeline/kit/live.ts';
import { type Report, reportOf } from '../../pipeline/kit/report.ts';
import { linesFor } from '../../pipeline/kit/report-html-charts.ts';
import { ENTITY_KINDS, type EntityKind } from '../../pipeline/kit/topology.ts';
import { type EntityName, type Finding, type Incident, isoTime } from '../../pipeline/kit/verdict.ts';

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** Series that one answer carries. */
const MAX_SERIES = 64;

/** A number of a query, within bounds. */
function limitOf(query: URLSearchParams, fallback = DEFAULT_LIMIT): number {
  const text = query.get('limit');
  if (text === null) return fallback;
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1 || n > MAX_LIMIT) {
    throw new HttpError(400, `limit must be a whole number from 1 to ${MAX_LIMIT}`);
  }
  return n;
}

/** A time of a query: RFC 3339 or milliseconds since the epoch. */
function timeOf(query: URLSearchParams, name: string, fallback: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  const ms = /^\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (!Number.isFinite(ms) || Math.abs(ms) > 8e15) {
    throw new HttpError(400, `${name} must be a time such as 2026-05-01T12:00:00Z, or milliseconds since 1970`);
  }
  return ms;
}

function oneOf<T extends string>(query: URLSearchParams, name: string, choices: readonly T[]): T | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!(choices as readonly string[]).includes(text)) {
    throw new HttpError(400, `${name} must be one of ${choices.join(', ')}`);
  }
  return text as T;
}

export function incidents(live: Live, query: URLSearchParams, now: number) {
  const state = oneOf(query, 'state', ['open', 'resolved']);
  const service = query.get('service');
  const limit = limitOf(query);
  const found = live
    .report(now)
    .incidents.filter((i) => (state === undefined || i.state === state) && (service === null || i.service === service));
  return { total: found.length, incidents: found.slice(0, limit).map(briefly) };
}

/** The report of one incident: itself, its findings with evidence, and the topology around it. */
export function incidentReport(live: Live, id: string, now: number): Report {
  const full = live.report(now);
  const incident = full.incidents.find((i) => i.id === id);
  if (!incident) throw new HttpError(404, 'there is no such incident; it may be forgotten two hours after its end');
  return reportOf(full, incident);
}

export function findings(live: Live, query: URLSearchParams, now: number) {
  const state = oneOf(query, 'state', ['firing', 'resolved']);
  const detector = query.get('detector');
  const entity = query.get('entity');
  const limit = limitOf(query);
  const found = live
    .report(now)
    .findings.filter(
      (f) =>
        (state === undefined || f.state === state) &&
        (detector === null || f.detector === detector) &&
        (entity === null || concerns(f.entity, entity)),
    );
  // The newest are what is asked for; the report has the oldest first.
  return { total: found.length, findings: found.slice(-limit).reverse() };
}

const concerns = (e: EntityName, id: string): boolean =>
  e.id === id || e.replica === id || e.node === id || e.service === id;

/** Ids of a kind, or how many of each kind there are. */
export function entities(live: Live, query: URLSearchParams, now: number) {
  const kind = oneOf(query, 'kind', ['service', 'replica', 'node', 'gpu', 'link', 'pair']);
  const limit = limitOf(query);
  const { topology } = live.report(now);
  const lists: Record<string, readonly { readonly id: string }[]> = {
    service: topology.services,
    replica: topology.replicas,
    node: topology.nodes,
    gpu: topology.gpus,
    link: topology.links.filter((l) => l.kind === 'link'),
    pair: topology.links.filter((l) => l.kind === 'pair'),
  };
  if (kind === undefined) return { kinds: Object.fromEntries(Object.entries(lists).map(([k, l]) => [k, l.length])) };
  return { total: lists[kind]!.length, entities: lists[kind]!.slice(0, limit) };
}

/** One thing: where it sits, what its signals say now, and what is found about it. */
export function entity(live: Live, kind: string, id: string, now: number) {
  const name = entityName(live, kind, id, now);
  const full = live.report(now);
  const { topology } = full;
  const lists: Partial<Record<EntityKind, readonly { readonly id: string }[]>> = {
    service: topology.services,
    replica: topology.replicas,
    node: topology.nodes,
    gpu: topology.gpus,
    link: topology.links,
    pair: topology.links,
  };
  const about = lists[name.kind]?.find((e) => e.id === id) ?? null;
  const signals: { signal: string; attributes: Record<string, string>; unit: string; value: number; kind: string }[] =
    [];
  for (const signal of full.inputs.signals_seen) {
    for (const line of linesFor(live.history, topology, signal, name).own) {
      if (signals.length >= 200) break;
      const value = line.values().findLast((v) => !Number.isNaN(v));
      if (value === undefined) continue;
      signals.push({ signal, attributes: texts(line.attributes), unit: line.metric.unit, value, kind: line.kind });
    }
  }
  const mine = (f: Finding) => f.entity.kind === name.kind && f.entity.id === id;
  const found = full.findings.filter((f) => mine(f) || (kind !== 'gpu' && concerns(f.entity, id)));
  const touches = (i: Incident) =>
    [i.root, ...i.roots, ...i.path].some(({ entity: e }) => (e.kind === name.kind && e.id === id) || concerns(e, id));
  if (about === null && signals.length === 0 && found.length === 0) {
    throw new HttpError(404, 'there is no such entity; entities?kind=… lists them');
  }
  return {
    entity: name,
    about,
    signals,
    findings: found.slice(-50).reverse(),
    incidents: full.incidents.filter(touches).slice(0, 50).map(briefly),
  };
}

function entityName(live: Live, kind: string, id: string, now: number): EntityName {
  if (!(ENTITY_KINDS as readonly string[]).includes(kind)) {
    throw new HttpError(404, `there is no kind of entity of this name; there are ${ENTITY_KINDS.join(', ')}`);
  }
  const { topology } = live.report(now);
  if (kind === 'gpu') {
    const gpu = topology.gpus.find((g) => g.id === id);
    return { kind, id, ...(gpu?.replica ? { replica: gpu.replica } : {}), ...(gpu?.node ? { node: gpu.node } : {}) };
  }
  // `r2/tp1` is a part of r2.
  if (kind === 'rank') return { kind, id, replica: id.replace(/\/[^/]*$/, '') };
  return { kind: kind as EntityKind, id };
}

/** What a signal did over a range of time, of one entity or of all. Without a name: the names there are. */
export function signals(live: Live, query: URLSearchParams, now: number) {
  const full = live.report(now);
  const name = query.get('name');
  if (name === null) return { signals: full.inputs.signals_seen };
  const kind = query.get('kind');
  const id = query.get('id');
  if ((kind === null) !== (id === null)) throw new HttpError(400, 'kind and id go together: kind=replica&id=r1');
  const { startMs, stepMs, count } = live.history.span();
  const from = timeOf(query, 'from', startMs);
  const to = timeOf(query, 'to', now);
  if (from > to) throw new HttpError(400, 'from is after to');
  const first = Math.max(0, Math.floor((from - startMs) / stepMs));
  const last = Math.min(count, Math.floor((to - startMs) / stepMs) + 1);
  const lines =
    kind !== null && id !== null
      ? linesFor(live.history, full.topology, name, entityName(live, kind, id, now)).own
      : live.history.lines(name);
  const limit = Math.min(MAX_SERIES, limitOf(query, MAX_SERIES));
  return {
    signal: name,
    unit: lines[0]?.metric.unit ?? null,
    start: isoTime(startMs + first * stepMs),
    step_s: stepMs / 1000,
    total: lines.length,
    series: lines.slice(0, limit).map((line) => ({
      entity: Object.fromEntries(Object.entries(line.ids).filter(([, v]) => v !== undefined)),
      attributes: texts(line.attributes),
      kind: line.kind,
      values: Array.from(line.values().subarray(first, Math.max(first, last)), (v) =>
        Number.isNaN(v) ? null : Number(v.toPrecision(6)),
      ),
    })),
  };
}

const MAX_VALUE = 400;
function texts(attributes: Readonly<Record<string, unknown>>): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(attributes)) out[name] = String(value).slice(0, MAX_VALUE);
  return out;
}
