/** Waterfalls as text. */
import { plainId } from '../flame/names.ts';
import { PART_NAMES, type Part } from './parts.ts';
import type { WaterfallReport, WaterfallRequest } from './report.ts';

export const partName = (part: string): string =>
  part === 'remainder' ? 'unexplained' : (PART_NAMES[part as Part] ?? part);

/** Seconds for people. */
export function time(seconds: number): string {
  const size = Math.abs(seconds);
  if (size >= 1) return `${seconds.toFixed(2)} s`;
  const ms = seconds * 1000;
  return `${Math.abs(ms) >= 100 ? ms.toFixed(0) : Math.abs(ms) >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}
export const signed = (seconds: number): string => (seconds < 0 ? `−${time(-seconds)}` : `+${time(seconds)}`);

const BAR = 36;

export function waterfallText(report: WaterfallReport): string {
  const out: string[] = [];
  for (const cohort of report.cohorts) {
    const { slow, usual } = cohort;
    out.push(
      `${plainId(cohort.service)}: time to first token p50 ${time(cohort.ttft.p50)}, p95 ${time(cohort.ttft.p95)} over ${cohort.requests} requests`,
      `  The ${slow.requests} slowest (from ${time(slow.from)}) take ${time(slow.ttft)} on average, usual ones ${time(usual.ttft)}: ${signed(slow.ttft - usual.ttft)}${cohort.matched_on_prompt_length ? ', at the same prompt lengths' : ''}`,
      '',
      `  ${'part'.padEnd(20)}${'usual'.padStart(11)}${'slow'.padStart(11)}${'difference'.padStart(12)}   95 % interval`,
    );
    for (const row of cohort.rows)
      out.push(
        `  ${partName(row.part).padEnd(20)}${time(row.usual).padStart(11)}${time(row.slow).padStart(11)}${signed(row.difference).padStart(12)}   ${signed(row.interval[0])} … ${signed(row.interval[1])}`,
      );
    out.push('');
  }
  for (const mean of report.means) {
    out.push(
      `${plainId(mean.service)}: mean time to first token ${time(mean.ttft)} over ${mean.requests} requests, from histograms: there are no spans`,
      ...Object.entries(mean.parts).map(([part, took]) => `  ${partName(part).padEnd(20)}${time(took).padStart(11)}`),
      `  ${'unexplained'.padEnd(20)}${time(mean.remainder).padStart(11)}`,
      '',
    );
  }
  if (report.request) out.push(...requestLines(report.request), '');
  else if (report.slowest.length > 0) {
    out.push('The slowest:', '');
    for (const request of report.slowest) out.push(...requestLines(request), '');
  }
  for (const note of report.notes) out.push(note);
  const moved = Object.entries(report.clocks_moved_ms);
  if (moved.length > 0)
    out.push(
      `Clocks moved so that engines' shares lie inside the frontend's: ${moved.map(([host, ms]) => `${plainId(host)} by ${ms} ms`).join(', ')}.`,
    );
  if (report.without_first_token > 0)
    out.push(`The spans of ${report.without_first_token} requests do not say when the first token was.`);
  return `${out.join('\n').trimEnd()}\n`;
}

function requestLines(request: WaterfallRequest): string[] {
  const rows = [...Object.entries(request.parts), ['remainder', request.remainder] as const];
  let at = 0;
  return [
    `${plainId(request.key)}  ${request.start}  ${plainId(request.replica)}  ${time(request.ttft)}${request.trusted ? '' : '  (more than a tenth unexplained)'}`,
    ...rows
      .filter(([part, took]) => took > 0 || part === 'remainder')
      .map(([part, took]) => {
        const from = Math.round((BAR * at) / request.ttft);
        at += took;
        const until = Math.max(from, Math.round((BAR * at) / request.ttft));
        const bar = `${' '.repeat(from)}${(part === 'remainder' ? '░' : '█').repeat(until - from)}`.padEnd(BAR);
        return `  ${partName(part).padEnd(20)}${time(took).padStart(10)}  ${bar}`.trimEnd();
      }),
  ];
}
