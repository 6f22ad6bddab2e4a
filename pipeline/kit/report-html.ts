/**
 * A report as one HTML file that needs nothing else: no network, no script. What broke, why, and what to do come first, the
 * proof below. Everything that came from outside is escaped and cut to a length that a page can bear.
 */
import type { Report } from './report.ts';
import { type ChartSpan, chart, gauge } from './report-html-charts.ts';
import { STYLE } from './report-html-style.ts';
import { clockTime, duration, esc, num, pct, quantity } from './report-html-text.ts';
import { rowsOf, timeline } from './report-html-timeline.ts';
import { topologyHtml } from './report-html-topology.ts';
import { createHistory, type History } from './report-series.ts';
import {
  type CounterEvidence,
  type EntityName,
  type Evidence,
  entityWords,
  type Finding,
  type Incident,
  type Remedy,
  type SloKind,
} from './verdict.ts';

export interface HtmlOptions {
  /** What the signals did, for charts; without it evidence is shown as numbers only. */
  readonly history?: History;
  /** Shown at the foot. */
  readonly version?: string;
}

/** Incidents drawn in full; of the others the sentence. */
const MAX_FULL = 8;
const MAX_ROWS = 60;
const MAX_TOPICS = 14;
/** All charts of a page together, characters: the page stays below 1.5 MiB. */
const CHART_BUDGET = 900_000;

const SLO_SIGNAL: Partial<Record<SloKind, string>> = {
  ttft: 'gen_ai.server.time_to_first_token',
  itl: 'inference.inter_token.latency',
  e2e: 'gen_ai.server.request.duration',
  throughput: 'inference.tokens.generated',
};
const SLO_WORDS: Record<SloKind, string> = {
  ttft: 'time to first token',
  itl: 'time between tokens',
  e2e: 'request duration',
  throughput: 'throughput',
  availability: 'availability',
};

interface Page {
  readonly report: Report;
  readonly history: History;
  budget: number;
}

/** The whole document. */
export function reportHtml(report: Report, options: HtmlOptions = {}): string {
  const page: Page = { report, history: options.history ?? createHistory({ full: 'grow' }), budget: CHART_BUDGET };
  const { incidents, window, inputs, topology } = report;
  const title = incidents[0] ? `${incidents[0].service}: ${incidents[0].root.detector}` : 'No incident';
  const counts = [
    counted(topology.replicas.length, 'replica'),
    counted(topology.gpus.length, 'GPU'),
    counted(topology.nodes.length, 'node'),
  ].filter((c) => !c.startsWith('0 '));
  const body = [
    `<header class="top"><b>enginelight</b><span>${esc(window.start ?? '?', 40)} to ${esc(window.end ?? '?', 40)}</span>${counts.length > 0 ? `<span>${counts.join(', ')}</span>` : ''}<span>${counted(inputs.signals_seen.length, 'signal')} of ${counted(inputs.targets, 'target')}</span></header>`,
    incidents.length === 0 ? noIncident(report) : '',
    ...incidents.slice(0, MAX_FULL).map((incident) => incidentHtml(incident, page)),
    briefly(incidents.slice(MAX_FULL)),
    looseHtml(report),
    alertsHtml(report),
    gapsHtml(report),
    footer(report, options),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><meta name="color-scheme" content="light dark"><title>${esc(title, 120)} – enginelight</title><style>${STYLE}</style></head>
<body><main>
${body.filter((part) => part !== '').join('\n')}
</main></body></html>
`;
}

function noIncident(report: Report): string {
  const firing = report.findings.filter((f) => f.state === 'firing').length;
  return `<article class="info"><div class="pills"><span class="pill ok">healthy</span></div><h1>No incident in this time.</h1><p><small>${firing > 0 ? `${counted(firing, 'finding')} stand${firing === 1 ? 's' : ''} without impact on a service; see below.` : report.insufficient.length > 0 ? 'Some causes could not be judged for want of evidence; see below.' : 'All causes that can be judged with these signals were looked for.'}</small></p></article>`;
}

function incidentHtml(incident: Incident, page: Page): string {
  const { report } = page;
  const { impact, root } = incident;
  const byId = new Map(report.findings.map((f) => [f.id, f]));
  const rows = rowsOf(incident, report.findings);
  const starts = rows.map((r) => (r.finding ? Date.parse(r.finding.started_at) : Number.NaN)).filter(Number.isFinite);
  const beganMs = Math.min(Date.parse(impact.started_at), ...starts);
  const windowEnd = report.window.end ? Date.parse(report.window.end) : Date.parse(incident.detected_at);
  const endedMs = impact.ended_at ? Date.parse(impact.ended_at) : windowEnd;
  const windowStart = report.window.start ? Date.parse(report.window.start) : beganMs;
  const length = Math.max(60_000, endedMs - beganMs);
  const fromMs = Math.max(windowStart, beganMs - length * 0.35);
  const toMs = Math.max(beganMs + 30_000, Math.min(windowEnd, endedMs + length * 0.2));
  const span: ChartSpan = { fromMs, toMs, beganMs: rootStart(byId.get(root.finding), beganMs), endedMs };
  const rootFinding = byId.get(root.finding);
  const parts = [
    `<div class="pills"><span class="pill ${incident.severity}">${incident.severity}</span><span class="pill ${incident.state === 'open' ? incident.severity : 'ok'}">${esc(incident.state, 20)}</span><span>service <b>${esc(incident.service, 80)}</b></span><span>since ${clockTime(beganMs)} UTC, ${duration(endedMs - beganMs)}${impact.ended_at ? '' : ' so far'}</span></div>`,
    `<h1>${esc(incident.summary, 1200)}</h1>`,
    `<ol class="chain">${incident.path.map((s) => `<li><span>${esc(s.detector, 60)}<small>${esc(`${s.entity.kind} ${s.entity.id}`, 60)}</small></span></li>`).join('')}</ol>`,
    facts(incident, beganMs),
    ...[incident.ambiguous, incident.metastable, ...incident.quality]
      .filter((text): text is string => typeof text === 'string' && text !== '')
      .slice(0, 8)
      .map((text) => `<p class="say">${esc(text, 800)}</p>`),
    incident.shared
      ? `<p class="say">All that are affected share ${esc(incident.shared.attribute, 80)} = ${esc(incident.shared.value, 120)} (p ${num(incident.shared.p)}).</p>`
      : '',
    remediesHtml(incident.remedies),
    topologyPart(incident, page),
    `<h2>Timeline</h2>${timeline(incident, rows, { fromMs, toMs }, page.history.changes())}`,
    evidenceHtml(
      incident,
      rows.map((r) => r.finding).filter((f): f is Finding => f !== undefined),
      span,
      page,
    ),
    rivalsHtml(incident, rootFinding, byId),
  ];
  return `<article class="${incident.severity}" id="${esc(incident.id, 100)}">${parts.filter((p) => p !== '').join('\n')}</article>`;
}

const rootStart = (finding: Finding | undefined, otherwise: number) =>
  finding ? Date.parse(finding.started_at) : otherwise;

function facts(incident: Incident, beganMs: number): string {
  const { impact, root } = incident;
  const out: string[] = [];
  const put = (value: string, label: string) => void out.push(`<div><b>${value}</b><small>${label}</small></div>`);
  const unit = impact.unit;
  if (impact.during !== null) {
    const before = impact.before === null ? '' : `${esc(quantity(impact.before, unit), 30)} → `;
    put(
      `${before}${esc(quantity(impact.during, unit), 30)}`,
      `${SLO_WORDS[impact.slo] ?? esc(impact.slo, 30)}${impact.before === null ? ' during' : ', before → during'}`,
    );
  }
  put(pct(root.probability), `sure of the root, grade ${esc(root.grade, 4)}`);
  const detected = Date.parse(incident.detected_at);
  put(clockTime(detected), `UTC, named ${duration(detected - beganMs)} after it began`);
  return `<div class="facts">${out.join('')}</div>`;
}

function remediesHtml(remedies: readonly Remedy[]): string {
  if (remedies.length === 0) return '';
  const row = (label: string, text: string | undefined) => (text ? `<dt>${label}</dt><dd>${esc(text, 400)}</dd>` : '');
  const items = merged(remedies)
    .slice(0, 10)
    .map(
      (r) =>
        `<li><h3>${esc(r.action, 400)}</h3><dl>${r.flag ? `<dt>With</dt><dd><code>${esc(r.flag, 200)}</code>${r.engine ? ` <small>${esc(r.engine, 40)}</small>` : ''}</dd>` : ''}${row('Size', r.size)}${row('Expect', r.expected_effect)}${row('Price', r.price)}${row('Risk', r.risk)}${row('Verify', r.verify)}</dl></li>`,
    );
  return `<h2>What to do</h2><ol class="do">${items.join('')}</ol>`;
}

/** The same advice for several things once, with every size that was computed. */
function merged(remedies: readonly Remedy[]): Remedy[] {
  const out = new Map<string, Remedy>();
  for (const r of remedies) {
    const key = [r.action, r.flag, r.engine].join('\n');
    const known = out.get(key);
    if (!known) out.set(key, r);
    else if (r.size && known.size && !known.size.includes(r.size))
      out.set(key, { ...known, size: `${known.size}; ${r.size}` });
  }
  return [...out.values()];
}

function evidenceHtml(incident: Incident, findings: readonly Finding[], span: ChartSpan, page: Page): string {
  interface Topic {
    readonly signal: string;
    readonly entity: EntityName;
    readonly evidence: Evidence[];
    readonly levels: { readonly label: string; readonly value: number }[];
    readonly from: Set<string>;
    guilty: boolean;
  }
  const topics = new Map<string, Topic>();
  const topicOf = (signal: string, entity: EntityName): Topic => {
    const key = `${signal}|${entity.kind}|${entity.id}`;
    const known = topics.get(key);
    if (known) return known;
    const topic: Topic = { signal, entity, evidence: [], levels: [], from: new Set(), guilty: false };
    topics.set(key, topic);
    return topic;
  };
  const slo = SLO_SIGNAL[incident.impact.slo];
  if (slo) {
    const { before, during } = incident.impact;
    const topic = topicOf(slo, { kind: 'service', id: incident.service, service: incident.service });
    topic.from.add('impact');
    if (before !== null) topic.levels.push({ label: 'before', value: before });
    if (during !== null) topic.levels.push({ label: 'during', value: during });
  }
  for (const finding of findings) {
    for (const e of finding.evidence) {
      const topic = topicOf(e.signal, e.entity);
      topic.evidence.push(e);
      topic.from.add(finding.detector);
      if (finding.id === incident.root.finding || finding.class === 'root') topic.guilty = true;
    }
  }
  const figures: string[] = [];
  let left = 0;
  for (const topic of topics.values()) {
    if (figures.length >= MAX_TOPICS) {
      left++;
      continue;
    }
    let drawn = page.budget > 0 ? chart(topic, page.history, page.report.topology, span) : undefined;
    if (drawn !== undefined && drawn.length > page.budget) drawn = undefined;
    page.budget -= drawn?.length ?? 0;
    if (drawn === undefined && topic.evidence.length === 0) continue;
    figures.push(
      `<figure${topic.guilty ? ' class="guilty"' : ''}><figcaption><h4>${esc(topic.signal, 100)}</h4><small>${esc(`${[...topic.from].join(', ')} on ${entityWords(topic.entity)}`, 200)}</small></figcaption>${drawn ?? ''}${topic.evidence.slice(0, 6).map(gauge).join('')}</figure>`,
    );
  }
  if (figures.length === 0) return '';
  return `<h2>Evidence</h2><div class="grid">${figures.join('')}</div><p class="keys"><span>Bars: what was measured; the dark stroke is the threshold, the green part what is usual. Under each chart: what to ask Prometheus for the same.</span>${left > 0 ? `<span>${left} more in the JSON report.</span>` : ''}</p>`;
}

function topologyPart(incident: Incident, page: Page): string {
  const drawn = topologyHtml(page.report, incident, page.history);
  return drawn === '' ? '' : `<h2>Where</h2>${drawn}`;
}

function rivalsHtml(incident: Incident, root: Finding | undefined, byId: ReadonlyMap<string, Finding>): string {
  const seen = new Set([incident.root.finding]);
  const rivals = [...incident.roots.slice(1), ...incident.candidates].filter((c) => {
    if (seen.has(c.finding)) return false;
    seen.add(c.finding);
    return true;
  });
  const out: string[] = [];
  if (rivals.length > 0) {
    const rows = rivals.slice(0, 8).map((c) => {
      const against = (byId.get(c.finding)?.counter_evidence ?? [])
        .filter((e) => e.against)
        .map((e) => `${e.check}: ${e.result}`);
      const why = [c.note ?? '', ...against].filter((w) => w !== '').join('; ') || 'explains less of what was seen';
      return `<tr><td>${esc(c.detector, 60)}<br><small>${esc(entityWords(c.entity), 120)}</small></td><td>${pct(c.probability)}</td><td>${esc(why, 500)}</td></tr>`;
    });
    out.push(
      `<h2>Other causes, and why they lost</h2><table class="r"><thead><tr><th>Cause</th><th>Probability</th><th>Why it ranks there</th></tr></thead><tbody>${rows.join('')}</tbody></table>`,
    );
  }
  const checks: CounterEvidence[] = [...(root?.counter_evidence ?? [])];
  if (checks.length > 0) {
    out.push(
      `<h2>Checked against the root</h2><ul class="plain">${checks
        .slice(0, 12)
        .map((c) => `<li class="ruled${c.against ? ' against' : ''}">${esc(c.check, 200)}: ${esc(c.result, 300)}</li>`)
        .join('')}</ul>`,
    );
  }
  if (root?.would_change_my_mind)
    out.push(`<p class="say">What would change this verdict: ${esc(root.would_change_my_mind, 500)}</p>`);
  if (incident.hypotheses.length > 0) {
    out.push(
      `<h2>Could not be ruled out</h2><ul class="plain">${incident.hypotheses
        .slice(0, 12)
        .map((h) => `<li>${esc(h.detector, 60)} <small>needs ${esc(h.missing.join(', '), 300)}</small></li>`)
        .join('')}</ul>`,
    );
  }
  return out.join('\n');
}

function briefly(rest: readonly Incident[]): string {
  if (rest.length === 0) return '';
  const rows = rest
    .slice(0, MAX_ROWS)
    .map(
      (i) =>
        `<li><span class="pill ${i.severity}">${i.severity}</span> <b>${esc(i.service, 60)}</b> ${esc(i.summary, 400)}</li>`,
    );
  const more = rest.length - rows.length;
  return `<section class="card"><h2>Other incidents</h2><ul class="plain">${rows.join('')}${more > 0 ? `<li>and ${more} more in the JSON report</li>` : ''}</ul></section>`;
}

function looseHtml(report: Report): string {
  const named = new Set(
    report.incidents.flatMap((i) => [
      i.root.finding,
      ...[...i.roots, ...i.candidates].map((r) => r.finding),
      ...i.symptoms,
      ...i.contexts,
    ]),
  );
  const loose = report.findings.filter((f) => !named.has(f.id));
  if (loose.length === 0) return '';
  const rows = loose
    .slice(0, MAX_ROWS)
    .map(
      (f) =>
        `<tr><td><span class="pill ${f.severity}">${f.severity}</span></td><td>${esc(f.detector, 60)}<br><small>${esc(entityWords(f.entity), 120)}</small></td><td>${esc(f.summary, 400)}</td><td><small>${f.state === 'firing' ? 'since' : ''} ${clockTime(Date.parse(f.started_at))}${f.ended_at ? ` to ${clockTime(Date.parse(f.ended_at))}` : ''}</small></td></tr>`,
    );
  const more = loose.length - rows.length;
  return `<section class="card"><h2>Findings outside of incidents</h2><table class="r"><tbody>${rows.join('')}</tbody></table>${more > 0 ? `<p><small>and ${more} more in the JSON report</small></p>` : ''}</section>`;
}

function alertsHtml(report: Report): string {
  if (report.alerts.length === 0) return '';
  const rows = report.alerts
    .slice(0, MAX_ROWS)
    .map(
      (a) =>
        `<tr><td><span class="pill ${a.severity === 'critical' || a.severity === 'info' ? a.severity : 'warning'}">${esc(a.severity, 20)}</span></td><td>${esc(a.name, 100)}</td><td>${esc(a.annotations['summary'] ?? Object.values(a.labels).join(' '), 300)}</td><td><small>${clockTime(Date.parse(a.starts_at))}${a.ends_at ? ` to ${clockTime(Date.parse(a.ends_at))}` : ', fires'}</small></td></tr>`,
    );
  const more = report.alerts.length - rows.length;
  return `<section class="card"><h2>Alerts</h2><table class="r"><tbody>${rows.join('')}</tbody></table>${more > 0 ? `<p><small>and ${more} more in the JSON report</small></p>` : ''}</section>`;
}

function gapsHtml(report: Report): string {
  if (report.insufficient.length === 0) return '';
  const rows = report.insufficient.slice(0, MAX_ROWS).map(
    (g) =>
      `<tr><td>${esc(g.detector, 60)}${g.entities > 1 ? `<br><small>${g.entities} entities</small>` : ''}</td><td>${g.missing
        .slice(0, 12)
        .map((m) => `<code>${esc(m, 80)}</code>`)
        .join(' ')}</td><td>${esc(g.enable, 500)}</td></tr>`,
  );
  const more = report.insufficient.length - rows.length;
  return `<section class="card"><h2>What could not be judged</h2><table class="r"><thead><tr><th>Detector</th><th>Missing</th><th>How to get it</th></tr></thead><tbody>${rows.join('')}</tbody></table>${more > 0 ? `<p><small>and ${more} more in the JSON report</small></p>` : ''}</section>`;
}

function footer(report: Report, options: HtmlOptions): string {
  const { inputs, cost } = report;
  const words = [
    options.version ? `enginelight ${options.version}` : 'enginelight',
    report.schema,
    inputs.lines > 0
      ? `${counted(inputs.lines, 'line')} read${inputs.skipped > 0 ? `, ${inputs.skipped} skipped` : ''}`
      : '',
    cost['cpu_s'] !== undefined
      ? `${num(cost['cpu_s'])} s of CPU${cost['speedup'] ? `, ${num(cost['speedup'])}× real time` : ''}`
      : '',
    'times are UTC',
  ].filter((w) => w !== '');
  return `<footer>${words.map((w) => esc(w, 120)).join(' · ')}</footer>`;
}

const counted = (n: number, word: string) => `${n.toLocaleString('en-US')} ${word}${n === 1 ? '' : 's'}`;
