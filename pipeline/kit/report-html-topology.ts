/** The machines, what runs on them, and which part is guilty. */
import type { Report } from './report.ts';
import { esc } from './report-html-text.ts';
import type { History } from './report-series.ts';
import type { EntityName, Incident } from './verdict.ts';

/** Nodes beyond this many are drawn only if something on them is part of the incident. */
const MAX_NODES = 24;
const MAX_GPUS = 64;

interface Machine {
  readonly id: string;
  readonly gpus: { id: string; label: string }[];
  readonly replicas: { id: string; role: string | null }[];
}

/** How an entity takes part: `bad` is the root, `hit` is on the path or explained by it. */
type Part = 'bad' | 'hit';

/** Boxes of nodes with their replicas and GPUs; empty text where nothing is known. */
export function topologyHtml(report: Report, incident: Incident, history: History | undefined): string {
  const machines = machinesOf(report, history);
  const parts = partsOf(report, incident);
  const part = (kind: string, id: string): Part | undefined => parts.get(`${kind}|${id}`);
  const weight = (m: Machine) =>
    part('node', m.id) === 'bad' ||
    m.gpus.some((g) => part('gpu', g.id) === 'bad') ||
    m.replicas.some((r) => part('replica', r.id) === 'bad')
      ? 2
      : m.gpus.some((g) => part('gpu', g.id)) || m.replicas.some((r) => part('replica', r.id))
        ? 1
        : 0;
  const order = machines.map((m) => ({ m, w: weight(m) })).sort((a, b) => b.w - a.w || (a.m.id < b.m.id ? -1 : 1));
  const shown = order.slice(0, MAX_NODES);
  if (shown.length === 0) return '';
  const css = (p: Part | undefined) => (p ? ` ${p}` : '');
  const say = (p: Part | undefined) => (p === 'bad' ? ' (root cause)' : p === 'hit' ? ' (affected)' : '');
  const boxes = shown.map(({ m }) => {
    const replicas = m.replicas.map((r) => {
      const p = part('replica', r.id);
      return `<span class="rep${css(p)}">${esc(r.id, 40)}${r.role && r.role !== 'aggregated' ? ` <em>${esc(r.role, 20)}</em>` : ''}<span class="sr">${say(p)}</span></span>`;
    });
    const gpus = m.gpus.slice(0, MAX_GPUS).map((g) => {
      const p = part('gpu', g.id);
      return `<span class="gpu${css(p)}" title="${esc(`${g.id}${say(p)}`, 120)}">${esc(g.label, 12)}</span>`;
    });
    const more = m.gpus.length > MAX_GPUS ? `<small>and ${m.gpus.length - MAX_GPUS} more</small>` : '';
    return `<div class="node${css(part('node', m.id))}"><h4>${esc(m.id, 60)}</h4><div class="reps">${replicas.join('') || '<small>no replica known</small>'}</div>${gpus.length > 0 ? `<div class="gpus">${gpus.join('')}${more}</div>` : ''}</div>`;
  });
  const pairs = [...parts].filter(([key]) => /^(pair|link|nic|router|frontend|group)\|/.test(key));
  const others = pairs.length
    ? `<p class="pairs">${pairs.map(([key, p]) => `<span class="rep ${p}">${esc(key.replace('|', ' '), 120)}${say(p)}</span>`).join(' ')}</p>`
    : '';
  const hidden = order.length - shown.length;
  return `<div class="topo">${boxes.join('')}</div>${others}<p class="keys"><span class="k kb">root cause</span><span class="k kh">affected</span>${hidden > 0 ? `<span>${hidden} more nodes, not part of this</span>` : ''}</p>`;
}

function partsOf(report: Report, incident: Incident): Map<string, Part> {
  const parts = new Map<string, Part>();
  const put = (e: EntityName, part: Part) => {
    const set = (kind: string, id: string | undefined | null) => {
      if (id && parts.get(`${kind}|${id}`) !== 'bad') parts.set(`${kind}|${id}`, part);
    };
    set(e.kind, e.id);
    // A rank is drawn as its GPU; whatever holds the guilty thing is affected.
    if (e.kind === 'rank') set('gpu', report.topology.gpus.find((g) => g.rank === e.id)?.id);
    if (e.kind !== 'replica' && e.replica && parts.get(`replica|${e.replica}`) === undefined)
      parts.set(`replica|${e.replica}`, 'hit');
  };
  put(incident.root.entity, 'bad');
  for (const root of incident.roots) if (root.probability >= 0.5) put(root.entity, 'bad');
  for (const step of incident.path.slice(1)) put(step.entity, 'hit');
  const symptoms = new Set(incident.symptoms);
  for (const finding of report.findings) if (symptoms.has(finding.id)) put(finding.entity, 'hit');
  return parts;
}

function machinesOf(report: Report, history: History | undefined): Machine[] {
  const { nodes, gpus, replicas } = report.topology;
  if (nodes.length > 0) {
    const gpuOf = new Map(gpus.map((g) => [g.id, g]));
    const roleOf = new Map(replicas.map((r) => [r.id, r.role]));
    return nodes.map((n) => ({
      id: n.id,
      gpus: n.gpus
        .map((id) => ({ id, index: gpuOf.get(id)?.index ?? null }))
        .sort((a, b) => (a.index ?? 0) - (b.index ?? 0))
        .map(({ id, index }, i) => ({ id, label: String(index ?? i) })),
      replicas: n.replicas.map((id) => ({ id, role: roleOf.get(id) ?? null })),
    }));
  }
  // Nobody published a topology: what the signals said of themselves.
  const machines = new Map<string, Machine>();
  const at = (node: string): Machine => {
    const found = machines.get(node) ?? { id: node, gpus: [], replicas: [] };
    machines.set(node, found);
    return found;
  };
  for (const signal of ['hw.gpu.utilization', 'hw.gpu.clock', 'hw.temperature', 'hw.power']) {
    for (const { ids } of history?.lines(signal) ?? []) {
      if (ids.gpu === undefined || ids.node === undefined) continue;
      const list = at(ids.node).gpus;
      if (!list.some((g) => g.id === ids.gpu)) list.push({ id: ids.gpu, label: String(list.length) });
    }
  }
  for (const { ids } of history?.lines('inference.requests.running') ?? []) {
    if (ids.replica === undefined || ids.node === undefined || ids.gpu !== undefined) continue;
    const list = at(ids.node).replicas;
    if (!list.some((r) => r.id === ids.replica)) list.push({ id: ids.replica, role: ids.role ?? null });
  }
  return [...machines.values()];
}
