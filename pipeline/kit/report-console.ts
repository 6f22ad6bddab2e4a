/** A report as text for a terminal: the verdict first, the proof below it. */
import type { Report } from './report.ts';
import { type Evidence, entityWords, type Finding, type Incident, type PathStep, type Remedy } from './verdict.ts';

export interface ConsoleOptions {
  /** ANSI colours. */
  readonly colour: boolean;
  readonly width: number;
}

type Paint = (style: keyof typeof CODES, text: string) => string;
const CODES = { bold: '1', dim: '2', red: '31', yellow: '33', green: '32', cyan: '36' } as const;
const SEVERITY = { critical: 'red', warning: 'yellow', info: 'cyan' } as const;
const MAX_FINDINGS = 12;

/** Lines joined, ending with a line break. Label values are shown without control characters. */
export function reportText(report: Report, options: ConsoleOptions): string {
  const paint: Paint = (style, text) => (options.colour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text);
  const out: string[] = [];
  const { window, inputs } = report;
  const { replicas, gpus, nodes } = report.topology;
  out.push(
    paint(
      'dim',
      `${window.start ?? '?'} to ${window.end ?? '?'}: ${counted(replicas.length, 'replica')}, ${counted(gpus.length, 'GPU')}, ${counted(nodes.length, 'node')}; ${counted(inputs.lines, 'line')}${inputs.skipped > 0 ? `, ${inputs.skipped} skipped` : ''}, ${counted(inputs.signals_seen.length, 'signal')} of ${counted(inputs.targets, 'target')}`,
    ),
    '',
  );
  if (report.incidents.length === 0) out.push(paint('green', 'No incident.'), '');
  for (const incident of report.incidents) out.push(...incidentLines(incident, report, paint, options.width), '');
  const loose = looseFindings(report);
  if (loose.length > 0) {
    out.push(paint('bold', 'Findings outside of incidents'));
    for (const finding of loose.slice(0, MAX_FINDINGS)) out.push(...findingLines(finding, paint, options.width));
    if (loose.length > MAX_FINDINGS) out.push(`  and ${loose.length - MAX_FINDINGS} more (--format json has all)`);
    out.push('');
  }
  const firing = report.alerts.filter((alert) => alert.ends_at === null);
  if (firing.length > 0) {
    out.push(paint('bold', 'Alerts that fire'));
    for (const alert of firing.slice(0, MAX_FINDINGS))
      out.push(`  ${alert.severity}  ${alert.name}  ${whose(alert.labels)}since ${alert.starts_at}`);
    out.push('');
  }
  if (report.insufficient.length > 0) {
    out.push(paint('bold', 'Not judged, for want of evidence'));
    for (const gap of report.insufficient) {
      out.push(
        ...wrap(
          `${gap.detector}: ${gap.missing.join(', ')} missing${gap.entities > 1 ? ` (${gap.entities} of them)` : ''}. ${gap.enable}`,
          options.width,
          '  ',
          '    ',
        ),
      );
    }
    out.push('');
  }
  return `${clean(out.join('\n').trimEnd(), options.colour)}\n`;
}

function incidentLines(incident: Incident, report: Report, paint: Paint, width: number): string[] {
  const out: string[] = [];
  const { impact, root } = incident;
  const sure = `${Math.round(root.probability * 100)} %, grade ${root.grade}`;
  out.push(
    `${paint(SEVERITY[incident.severity], incident.severity.toUpperCase())} ${paint('bold', incident.service)}  ${incident.state}, since ${impact.started_at}${impact.ended_at ? ` until ${impact.ended_at}` : ''}`,
    ...wrap(incident.summary, width, '  ', '  '),
    `  ${paint('dim', 'root')}    ${root.detector} on ${entityWords(root.entity)} (${sure})`,
    `  ${paint('dim', 'path')}    ${incident.path.map(step).join(' → ')}`,
  );
  if (impact.before !== null && impact.during !== null) {
    out.push(
      `  ${paint('dim', 'impact')}  ${impact.slo} ${number(impact.before)} ${impact.unit} before, ${number(impact.during)} ${impact.unit} during`,
    );
  }
  for (const other of incident.roots.slice(1)) {
    out.push(
      `  ${paint('dim', 'also')}    ${other.detector} on ${entityWords(other.entity)} (${Math.round(other.probability * 100)} %, grade ${other.grade})`,
    );
  }
  const finding = report.findings.find((f) => f.id === root.finding);
  for (const evidence of finding?.evidence ?? []) out.push(`  ${paint('dim', 'proof')}   ${evidenceText(evidence)}`);
  for (const check of finding?.counter_evidence ?? []) {
    out.push(
      ...wrap(
        `${check.against ? 'against' : 'checked'}: ${check.check}: ${check.result}`,
        width,
        '          ',
        '            ',
      ),
    );
  }
  const rivals = incident.candidates.filter((c) => c.finding !== root.finding).slice(0, 3);
  for (const rival of rivals) {
    out.push(
      `  ${paint('dim', 'rival')}   ${rival.detector} on ${entityWords(rival.entity)}: ${Math.round(rival.probability * 100)} %${rival.note ? ` (${rival.note})` : ''}`,
    );
  }
  if (incident.ambiguous)
    out.push(...wrap(incident.ambiguous, width, `  ${paint('yellow', 'unsure')}  `, '          '));
  for (const note of incident.quality) out.push(...wrap(note, width, `  ${paint('dim', 'note')}    `, '          '));
  for (const remedy of incident.remedies.slice(0, 4))
    out.push(...wrap(remedyText(remedy), width, `  ${paint('green', 'do')}      `, '          '));
  return out;
}

function findingLines(finding: Finding, paint: Paint, width: number): string[] {
  return [
    `  ${paint(SEVERITY[finding.severity], finding.severity.padEnd(8))} ${finding.detector} on ${entityWords(finding.entity)}  ${finding.state} since ${finding.started_at}`,
    ...wrap(finding.summary, width, '           ', '           '),
  ];
}

/** Findings that no incident names. */
function looseFindings(report: Report): Finding[] {
  const named = new Set<string>();
  for (const incident of report.incidents) {
    for (const root of [...incident.roots, ...incident.candidates, incident.root]) named.add(root.finding);
    for (const id of [...incident.symptoms, ...incident.contexts]) named.add(id);
  }
  return report.findings.filter((finding) => !named.has(finding.id));
}

const step = (s: PathStep) => `${s.detector} (${s.entity.kind} ${s.entity.id})`;

function evidenceText(e: Evidence): string {
  const base = e.baseline ? `, baseline ${number(e.baseline.median)} ± ${number(e.baseline.scale)}` : '';
  return `${e.signal} ${number(e.value)}${e.unit ? ` ${e.unit}` : ''} (${e.comparison === '>=' ? 'at least' : 'at most'} ${number(e.threshold)}${base}, ${e.window_s} s)${e.note ? `: ${e.note}` : ''}`;
}

function remedyText(r: Remedy): string {
  const flag = r.flag ? ` ${r.flag}` : '';
  const size = r.size ? ` (${r.size})` : '';
  const price = r.price ? ` Price: ${r.price}.` : '';
  return `${r.action}${flag}${size}. Expect: ${r.expected_effect}.${price} Risk: ${r.risk}. Verify: ${r.verify}.`.replaceAll(
    '..',
    '.',
  );
}

function number(n: number): string {
  if (!Number.isFinite(n)) return String(n);
  const size = Math.abs(n);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return n.toExponential(2);
  return String(Number(n.toPrecision(size >= 1000 ? 5 : 3)));
}

const counted = (n: number, word: string) => `${n.toLocaleString('en-US')} ${word}${n === 1 ? '' : 's'}`;

/** The paint of words does not count as width. */
const PAINT = new RegExp(`${String.fromCharCode(0x1b)}\\[\\d+m`, 'g');

function wrap(text: string, width: number, first: string, rest: string): string[] {
  const out: string[] = [];
  let line = first;
  let empty = true;
  const shown = (s: string) => s.replace(PAINT, '').length;
  for (const word of text.split(/\s+/)) {
    if (!empty && shown(line) + 1 + word.length > width) {
      out.push(line);
      line = rest;
      empty = true;
    }
    line += empty ? word : ` ${word}`;
    empty = false;
  }
  out.push(line);
  return out;
}

/** What a label value could do to a terminal; our own colours stay. */
function clean(text: string, colour: boolean): string {
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const paint = colour && code === ESCAPE ? /^\[(?:[0-2]|3[1236])m/.exec(text.slice(i + 1, i + 5))?.[0] : undefined;
    if (paint !== undefined) {
      out += text[i] + paint;
      i += paint.length;
    } else if (code === LINE_BREAK || (code >= 0x20 && (code < 0x7f || code > 0x9f))) out += text[i];
    else out += `\\x${code.toString(16).padStart(2, '0')}`;
  }
  return out;
}
const ESCAPE = 0x1b;
const LINE_BREAK = 0x0a;

/** What an alert is about, from its labels; its name and severity are said beside it. */
function whose(labels: Readonly<Record<string, string>>): string {
  const own = Object.entries(labels).filter(([name]) => name !== 'alertname' && name !== 'severity');
  return own.length === 0 ? '' : `${own.map(([name, value]) => `${name}=${value}`).join(' ')}  `;
}
