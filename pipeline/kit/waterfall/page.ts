/** Waterfalls as one page that needs nothing else, not even a script. */
import { STYLE } from '../report-html-style.ts';
import { esc } from '../report-html-text.ts';
import { partName, signed, time } from './console.ts';
import { PARTS } from './parts.ts';
import type { WaterfallCohorts, WaterfallReport, WaterfallRequest } from './report.ts';

const COLOURS = [
  '#7b8794',
  '#5b6b7c',
  '#9aa5b1',
  '#b98a4b',
  '#e0a030',
  '#d9622b',
  '#8a63d2',
  '#5c9bd6',
  '#3b7dd8',
  '#2d9d74',
  '#a0aab4',
];
const colour = (part: string) =>
  part === 'remainder' ? 'url(#un)' : (COLOURS[(PARTS as readonly string[]).indexOf(part)] ?? '#999');

const PAGE_STYLE = `td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}.wf{min-width:720px}.wf text{font-size:12px;fill:var(--ink)}.wf .t{fill:var(--soft)}.wf line{stroke:var(--line)}.sw{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;vertical-align:-1px}.sw.un{background:repeating-linear-gradient(45deg,#c4262e 0 3px,transparent 3px 6px);border:1px solid #c4262e}h3 small{font-weight:400;margin-left:8px}h3{margin-bottom:8px}`;

const ROW = 24;
const LEFT = 150;
const RIGHT = 90;
const WIDTH = 1000;

interface Bar {
  readonly part: string;
  readonly from: number;
  readonly until: number;
  readonly label: string;
}

function chart(bars: readonly Bar[], low: number, high: number): string {
  const scale = (s: number) => LEFT + ((s - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  const height = bars.length * ROW + 26;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low));
  return `<div class="wide"><svg class="wf" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${esc(bars.map(({ part, label }) => `${partName(part)} ${label}`).join(', '))}">${ticks
    .map(
      (tick) =>
        `<line x1="${r(scale(tick))}" x2="${r(scale(tick))}" y1="2" y2="${height - 20}"/><text class="t" text-anchor="middle" x="${r(scale(tick))}" y="${height - 6}">${esc(time(tick))}</text>`,
    )
    .join('')}${bars
    .map(({ part, from, until, label }, i) => {
      const [x1, x2] = [scale(Math.min(from, until)), scale(Math.max(from, until))];
      return `<text x="${LEFT - 10}" y="${i * ROW + 18}" text-anchor="end">${esc(partName(part))}</text><rect x="${r(x1)}" y="${i * ROW + 5}" width="${r(Math.max(1, x2 - x1))}" height="${ROW - 7}" rx="2" fill="${colour(part)}"><title>${esc(partName(part))}: ${esc(label)}</title></rect><text x="${r(x2 + 6)}" y="${i * ROW + 18}">${esc(label)}</text>`;
    })
    .join('')}</svg></div>`;
}

const r = (n: number) => String(Math.round(n * 10) / 10);

function requestBars(request: WaterfallRequest): Bar[] {
  const rows: [string, number][] = [...Object.entries(request.parts), ['remainder', request.remainder]];
  let at = 0;
  return rows
    .filter(([part, took]) => took > 0 || part === 'remainder')
    .map(([part, took]) => {
      const from = at;
      at += took;
      return { part, from, until: at, label: time(took) };
    });
}

function cohortSection(cohort: WaterfallCohorts): string {
  const { slow, usual, rows } = cohort;
  const gap = slow.ttft - usual.ttft;
  const top = rows[0];
  const verdict =
    top && top.interval[0] > 0
      ? `${partName(top.part)} is ${Math.round((100 * top.difference) / (gap || 1))} % of what makes slow requests slow`
      : 'Nothing in particular makes slow requests slow';
  let at = usual.ttft;
  const bars: Bar[] = [{ part: 'usual', from: 0, until: usual.ttft, label: time(usual.ttft) }];
  for (const { part, difference } of rows) {
    bars.push({ part, from: at, until: at + difference, label: signed(difference) });
    at += difference;
  }
  bars.push({ part: 'slow', from: 0, until: slow.ttft, label: time(slow.ttft) });
  const high = Math.max(...bars.map((bar) => Math.max(bar.from, bar.until)));
  return `<section class="card"><div class="pills"><span>${esc(cohort.service)}</span></div><h1>${esc(verdict)}</h1><p>Time to first token: median ${time(cohort.ttft.p50)}, p95 ${time(cohort.ttft.p95)} over ${cohort.requests.toLocaleString('en-US')} requests. The ${slow.requests.toLocaleString('en-US')} slowest, from ${time(slow.from)} on, take ${time(gap)} longer than usual ones${cohort.matched_on_prompt_length ? ' with prompts as long' : ''}.</p>${chart(bars, 0, high)}<table><thead><tr><th>Part</th><th class="n">Usual</th><th class="n">Slow</th><th class="n">Difference</th><th class="n">95 % interval</th></tr></thead><tbody>${rows
    .map(
      (row) =>
        `<tr><td>${swatch(row.part)}${esc(partName(row.part))}</td><td class="n">${time(row.usual)}</td><td class="n">${time(row.slow)}</td><td class="n">${signed(row.difference)}</td><td class="n">${signed(row.interval[0])} … ${signed(row.interval[1])}</td></tr>`,
    )
    .join('')}</tbody></table></section>`;
}

const swatch = (part: string) =>
  part === 'remainder' ? '<i class="sw un"></i>' : `<i class="sw" style="background:${colour(part)}"></i>`;

function requestSection(request: WaterfallRequest): string {
  return `<section class="card"><h3>${esc(request.key, 120)} <small>${esc(request.start)} ${esc(request.replica, 80)}, ${time(request.ttft)}${request.trusted ? '' : ', more than a tenth unexplained'}</small></h3>${chart(requestBars(request), 0, request.ttft)}</section>`;
}

export function waterfallPage(
  report: WaterfallReport,
  options: { readonly of: string; readonly version: string },
): string {
  const means = report.means.map((mean) => {
    const rows: [string, number][] = [...Object.entries(mean.parts), ['remainder', mean.remainder]];
    let at = 0;
    const bars = rows.map(([part, took]) => {
      const from = at;
      at += took;
      return { part, from, until: at, label: time(took) };
    });
    const low = Math.min(0, ...bars.map((bar) => bar.until));
    const high = Math.max(...bars.map((bar) => Math.max(bar.from, bar.until)));
    return `<section class="card"><h3>${esc(mean.service)} <small>mean time to first token ${time(mean.ttft)} over ${mean.requests.toLocaleString('en-US')} requests, from histograms</small></h3>${chart(bars, low, high)}</section>`;
  });
  const moved = Object.entries(report.clocks_moved_ms).map(([host, ms]) => `${host} by ${ms} ms`);
  const notes = [
    ...report.notes,
    ...(moved.length > 0
      ? [`Clocks moved so that engines' shares lie inside the frontend's: ${moved.join(', ')}.`]
      : []),
    ...(report.without_first_token > 0
      ? [`The spans of ${report.without_first_token} requests do not say when the first token was.`]
      : []),
  ];
  const singles = report.request ? [report.request] : report.slowest;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><title>Time to first token: ${esc(options.of)}</title><style>${STYLE}${PAGE_STYLE}</style></head>
<body><svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs><pattern id="un" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#c4262e22"/><rect width="3" height="6" fill="#c4262e"/></pattern></defs></svg><main><header class="top"><b>enginelight</b><span>Time to first token</span><span>${esc(options.of)}</span></header>${report.cohorts.map(cohortSection).join('')}${means.join('')}${singles.map(requestSection).join('')}${notes.length > 0 ? `<section class="card"><ul class="plain">${notes.map((note) => `<li>${esc(note)}</li>`).join('')}</ul></section>` : ''}<footer>enginelight ${esc(options.version)}</footer></main></body></html>
`;
}
