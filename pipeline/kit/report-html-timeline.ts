/** What began when, with the causal path drawn from bar to bar. */
import { clockTime, duration, esc } from './report-html-text.ts';
import type { ChangeMark } from './report-series.ts';
import type { EntityName, Finding, Incident } from './verdict.ts';

export interface TimelineRow {
  readonly finding: Finding | undefined;
  readonly detector: string;
  readonly entity: EntityName;
  /** Its place on the path, 0 is the root; undefined beside it. */
  readonly step: number | undefined;
}

const W = 940;
const LEFT = 12;
const RIGHT = 12;
const ROW = 46;
const TOP = 44;
const MAX_BESIDE = 6;

/** The findings of an incident: the path from root to symptom, then what else it explains. */
export function rowsOf(incident: Incident, findings: readonly Finding[]): TimelineRow[] {
  const byId = new Map(findings.map((f) => [f.id, f]));
  const mine = [
    incident.root.finding,
    ...incident.roots.map((r) => r.finding),
    ...incident.symptoms,
    ...incident.contexts,
  ];
  const own = mine.map((id) => byId.get(id)).filter((f): f is Finding => f !== undefined);
  const find = (detector: string, entity: EntityName) =>
    own.find((f) => f.detector === detector && f.entity.id === entity.id) ??
    findings.findLast((f) => f.detector === detector && f.entity.id === entity.id);
  const used = new Set<string>();
  const rows: TimelineRow[] = incident.path.map((step, i) => {
    const finding =
      i === 0
        ? (byId.get(incident.root.finding) ?? find(step.detector, step.entity))
        : find(step.detector, step.entity);
    if (finding) used.add(finding.id);
    return { finding, detector: step.detector, entity: step.entity, step: i };
  });
  for (const finding of own) {
    if (used.has(finding.id) || rows.length >= incident.path.length + MAX_BESIDE) continue;
    used.add(finding.id);
    rows.push({ finding, detector: finding.detector, entity: finding.entity, step: undefined });
  }
  return rows;
}

export interface TimelineSpan {
  readonly fromMs: number;
  readonly toMs: number;
}

/** The SVG; `changes` are deploys, restarts and the like. */
export function timeline(
  incident: Incident,
  rows: readonly TimelineRow[],
  span: TimelineSpan,
  changes: readonly ChangeMark[],
): string {
  const { fromMs, toMs } = span;
  const x = (ms: number) =>
    LEFT + ((Math.min(toMs, Math.max(fromMs, ms)) - fromMs) / Math.max(1, toMs - fromMs)) * (W - LEFT - RIGHT);
  const height = TOP + rows.length * ROW + 8;
  const out: string[] = [];
  for (let i = 0; i <= 6; i++) {
    const ms = fromMs + ((toMs - fromMs) * i) / 6;
    const at = x(ms).toFixed(1);
    out.push(
      `<line class="g" x1="${at}" x2="${at}" y1="22" y2="${height}"/><text class="t ${i === 0 ? 's' : i === 6 ? 'e' : 'm'}" x="${at}" y="14">${clockTime(ms)}</text>`,
    );
  }
  const mark = (ms: number, label: string, css: string, y: number) => {
    if (!(ms >= fromMs && ms <= toMs)) return;
    const at = x(ms);
    const right = at > W * 0.75;
    out.push(
      `<line class="${css}" x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y1="22" y2="${height}"/><text class="t ${css} ${right ? 'e' : 's'}" x="${(at + (right ? -4 : 4)).toFixed(1)}" y="${y}">${esc(label, 60)}</text>`,
    );
  };
  for (const change of changes.slice(0, 12)) mark(change.timeMs, change.what, 'chg', 36);
  mark(Date.parse(incident.detected_at), `verdict ${clockTime(Date.parse(incident.detected_at))}`, 'det', 36);

  const bars = rows.map((row, i) => {
    const top = TOP + i * ROW;
    const f = row.finding;
    const start = f ? Date.parse(f.started_at) : Date.parse(incident.impact.started_at);
    const end = f ? (f.ended_at ? Date.parse(f.ended_at) : toMs) : toMs;
    const seen = f?.detected_at ? Date.parse(f.detected_at) : start;
    return { row, top, f, start, end, seen, x0: x(start), x1: Math.max(x(start) + 4, x(end)) };
  });
  for (const bar of bars) {
    const { row, top, f, x0, x1 } = bar;
    const kind = row.step === 0 ? 'root' : row.step !== undefined ? 'onpath' : 'beside';
    const y = top + 20;
    const seenX = Math.min(x1, x(bar.seen));
    out.push(
      `<rect class="b ${kind} early" x="${x0.toFixed(1)}" y="${y}" width="${Math.max(0, seenX - x0).toFixed(1)}" height="15" rx="3"/>`,
    );
    out.push(
      `<rect class="b ${kind}" x="${seenX.toFixed(1)}" y="${y}" width="${Math.max(3, x1 - seenX).toFixed(1)}" height="15" rx="3"/>`,
    );
    if (f && f.ended_at === null) {
      out.push(`<path class="b ${kind}" d="M${x1.toFixed(1)} ${y}l7 7.5l-7 7.5z"/>`);
    }
    const label = `${row.step === 0 ? 'root: ' : ''}${row.detector}`;
    const where = `${row.entity.kind} ${row.entity.id}`;
    const when = f
      ? `${clockTime(bar.start)}, ${duration(bar.end - bar.start)}${f.ended_at ? '' : ' so far'}`
      : 'inferred';
    const right = x0 > W * 0.55;
    out.push(
      `<text class="l ${right ? 'e' : 's'}" x="${(right ? Math.min(W - RIGHT, x1) : x0).toFixed(1)}" y="${top + 14}"><tspan class="d ${kind}">${esc(label, 60)}</tspan> <tspan class="n">${esc(where, 44)} · ${when}</tspan></text>`,
    );
  }
  // The path: from the beginning of a cause down to the beginning of what it caused.
  for (let i = 0; i + 1 < incident.path.length && i + 1 < bars.length; i++) {
    const a = bars[i]!;
    const b = bars[i + 1]!;
    const x0 = Math.min(a.x0 + 6, a.x1 - 2);
    const x1 = Math.min(b.x0 + 6, b.x1 - 2);
    const y0 = a.top + 35;
    const y1 = b.top + 19;
    out.push(
      `<path class="arrow" d="M${x0.toFixed(1)} ${y0}C${x0.toFixed(1)} ${(y0 + 12).toFixed(1)} ${x1.toFixed(1)} ${(y1 - 16).toFixed(1)} ${x1.toFixed(1)} ${y1 - 5}"/><path class="head" d="M${(x1 - 4.5).toFixed(1)} ${y1 - 7}h9l-4.5 7z"/>`,
    );
  }
  return `<div class="wide"><svg class="tl" viewBox="0 0 ${W} ${height}" role="img" aria-label="Timeline of the incident">${out.join('')}</svg></div>`;
}
