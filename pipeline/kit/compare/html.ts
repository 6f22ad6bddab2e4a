/**
 * A comparison as one HTML file that needs nothing else: the verdict in a sentence, every metric with its interval drawn against
 * the band, what the sides carry, and the replicas one by one.
 */
import { STYLE } from '../report-html-style.ts';
import { esc, num, quantity } from '../report-html-text.ts';
import type { Interval } from '../stats/knee.ts';
import type { ComparedCapacity } from './capacity.ts';
import type { ComparedMetric, Comparison } from './compare.ts';

export interface CompareHtmlOptions {
  readonly before: string;
  readonly after: string;
  /** Shown at the foot. */
  readonly version?: string;
}

const WORDS = {
  regressed: 'Worse',
  improved: 'Better',
  equivalent: 'No difference that matters',
  inconclusive: 'Not decided',
} as const;
const PILLS = { regressed: 'critical', improved: 'ok', equivalent: 'ok', inconclusive: 'info' } as const;
/** Replicas and metrics that are drawn at most; the JSON has all. */
const MOST_ROWS = 400;

const OWN = `
.iv{width:100%;min-width:150px;height:22px}
.iv .zero{stroke:var(--ink);stroke-width:1}.iv .lim{fill:var(--band)}
.iv .ci{stroke-width:3;stroke:var(--med)}.iv .pt{fill:var(--med)}
.iv.regressed .ci{stroke:var(--bad)}.iv.regressed .pt{fill:var(--bad)}.iv.improved .ci{stroke:var(--ok)}.iv.improved .pt{fill:var(--ok)}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td.v{white-space:nowrap;font-weight:600}td.v.regressed{color:var(--bad)}td.v.improved{color:var(--ok)}td.v small{display:block;font-weight:400;white-space:normal}
tr.main td:first-child{font-weight:650}
details{margin-top:14px}summary{cursor:pointer;font-weight:600}
@media(max-width:600px){table.r td.n{display:inline-block;text-align:left;margin-right:14px}table.r td.n:nth-child(2):after{content:" →";color:var(--soft)}}
`;

const percent = (ratio: number): string => {
  const p = (ratio - 1) * 100;
  return `${p > 0 ? '+' : ''}${p.toFixed(Math.abs(p) < 10 ? 1 : 0)} %`;
};
const value = (x: number, unit: string) => quantity(x, unit.replace(/^\{(.*)\}$/, '$1/s').replace(/^1$/, ''));

/** The interval of a ratio from half to twice, on a logarithm, with the band in which nothing matters. */
function drawn(low: number, ratio: number, high: number, band: number, verdict: string): string {
  const x = (r: number) => (100 + 100 * Math.max(-1, Math.min(1, Math.log2(r)))).toFixed(1);
  const said = `${percent(ratio)}, with 95 % between ${percent(low)} and ${percent(high)}`;
  return `<svg class="iv ${verdict}" viewBox="0 0 200 22" preserveAspectRatio="none" role="img" aria-label="${esc(said)}"><rect class="lim" x="${x(1 / (1 + band))}" y="2" width="${(Number(x(1 + band)) - Number(x(1 / (1 + band)))).toFixed(1)}" height="18"/><line class="zero" x1="100" y1="0" x2="100" y2="22"/><line class="ci" x1="${x(low)}" y1="11" x2="${x(high)}" y2="11"/><rect class="pt" x="${(Number(x(ratio)) - 1.5).toFixed(1)}" y="5" width="3" height="12"/></svg><small>${percent(low)} … ${percent(high)}</small>`;
}

function row(m: ComparedMetric, first: string): string {
  const { shift } = m;
  const why = m.note ?? (m.need !== undefined && !shift ? `about ${m.need} blocks a side are needed` : undefined);
  const need = m.need !== undefined && shift && !m.note ? `about ${m.need} blocks a side would tell` : undefined;
  const more = [why, need].filter((s) => s !== undefined).join('; ');
  return `<tr${m.headline ? ' class="main"' : ''}><td>${first}</td><td class="n">${shift ? value(shift.before, m.unit) : '–'}</td><td class="n">${shift ? value(shift.after, m.unit) : '–'}</td><td class="n">${shift ? percent(shift.ratio) : '–'}</td><td>${shift ? drawn(shift.low, shift.ratio, shift.high, m.band, m.verdict) : ''}</td><td class="v ${m.verdict}">${m.verdict}${more === '' ? '' : `<small>${esc(more)}</small>`}</td></tr>`;
}

const HEAD = (first: string) =>
  `<thead><tr><th>${first}</th><th class="n">before</th><th class="n">after</th><th class="n">change</th><th>95 % interval, half to twice</th><th>verdict</th></tr></thead>`;

const between = (i: Interval | null, unit: string): string =>
  i ? `${esc(num(i.value))}<small> ${esc(num(i.low))} … ${esc(num(i.high))} ${unit}</small>` : '–';

function capacityHtml(c: ComparedCapacity): string {
  if (!c.ratio) return c.knee.some((k) => k) ? `<p class="say">Capacity is not compared: ${esc(c.note)}.</p>` : '';
  return `<h2>What it carries</h2><div class="wide"><table class="r"><thead><tr><th></th><th>before</th><th>after</th><th class="n">change</th><th>95 % interval</th><th>verdict</th></tr></thead><tbody><tr><td>Knee</td><td>${between(c.knee[0], 'at once')}</td><td>${between(c.knee[1], 'at once')}</td><td></td><td></td><td></td></tr><tr class="main"><td>Capacity</td><td>${between(c.capacity[0], 'tokens/s')}</td><td>${between(c.capacity[1], 'tokens/s')}</td><td class="n">${percent(c.ratio.value)}</td><td>${drawn(c.ratio.low, c.ratio.value, c.ratio.high, 0.03, c.verdict)}</td><td class="v ${c.verdict}">${c.verdict}</td></tr></tbody></table></div>`;
}

function serviceHtml(c: Comparison, service: string): string {
  const own = c.metrics.filter((m) => m.service === service);
  const load = c.load.find((l) => l.service === service);
  const whole = own.filter((m) => m.replica === undefined);
  const parts = own.filter((m) => m.replica !== undefined).slice(0, MOST_ROWS);
  const changed = parts.filter((m) => m.verdict === 'regressed' || m.verdict === 'improved');
  const replicas = [...new Set(parts.map((m) => m.replica!))];
  const carried = c.capacity.find((x) => x.service === service);
  const rates = load
    ? `<p><small>${esc(num(load.before))} → ${esc(num(load.after))} requests/s${load.overlap ? ', put at the same load' : ''}</small></p>`
    : '';
  const apart =
    load && !load.overlap
      ? '<p class="say">The loads of the two sides do not overlap, so nothing is decided: compare at the same load.</p>'
      : '';
  const table = (rows: readonly ComparedMetric[], name: (m: ComparedMetric) => string, first: string) =>
    `<div class="wide"><table class="r">${HEAD(first)}<tbody>${rows.map((m) => row(m, name(m))).join('')}</tbody></table></div>`;
  return `<section class="card"><h3>${esc(service, 120)}</h3>${rates}${apart}${whole.length > 0 ? table(whole, (m) => `${m.headline ? '★ ' : ''}${esc(m.signal)}`, 'metric') : ''}${carried ? capacityHtml(carried) : ''}${
    changed.length > 0
      ? `<h2>Replicas that changed</h2>${table(changed, (m) => `${esc(m.replica, 80)}<br><small>${esc(m.signal)}</small>`, 'replica')}`
      : ''
  }${
    replicas.length > 0
      ? `<details><summary>Every replica (${replicas.length})</summary>${replicas
          .map(
            (r) =>
              `<h4>${esc(r, 120)}</h4>${table(
                parts.filter((m) => m.replica === r),
                (m) => esc(m.signal),
                'metric',
              )}`,
          )
          .join('')}</details>`
      : ''
  }</section>`;
}

/** The verdict in one sentence: the headline metric that moved most, or why nothing is decided. */
function sentence(c: Comparison): string {
  const moved = c.metrics
    .filter((m) => m.headline && m.shift && m.verdict === c.verdict)
    .sort((a, b) => Math.abs(Math.log(b.shift!.ratio)) - Math.abs(Math.log(a.shift!.ratio)))[0];
  const open = c.metrics.filter((m) => m.headline && m.verdict === 'inconclusive').map((m) => m.signal);
  if (c.verdict === 'inconclusive' && open.length > 0) return `${WORDS.inconclusive}: ${[...new Set(open)].join(', ')}`;
  if (!moved?.shift || c.verdict === 'equivalent' || c.verdict === 'inconclusive') return WORDS[c.verdict];
  const { ratio, low, high } = moved.shift;
  return `${WORDS[c.verdict]}: ${moved.signal} of ${moved.service} ${percent(ratio)} (95 %: ${percent(low)} … ${percent(high)})`;
}

/** The whole document. */
export function comparisonHtml(c: Comparison, options: CompareHtmlOptions): string {
  const services = [...new Set([...c.load.map((l) => l.service), ...c.metrics.map((m) => m.service)])];
  const unit = c.unit_of_analysis;
  const body = [
    `<header class="top"><b>enginelight</b><span>before: ${esc(options.before, 160)}</span><span>after: ${esc(options.after, 160)}</span></header>`,
    `<article class="${c.verdict === 'regressed' ? 'critical' : 'info'}"><div class="pills"><span class="pill ${PILLS[c.verdict]}">${WORDS[c.verdict]}</span><span>${unit}s are the blocks</span></div><h1>${esc(sentence(c), 300)}</h1></article>`,
    ...services.map((s) => serviceHtml(c, s)),
    services.length === 0
      ? '<section class="card"><p>None of the signals that are compared is in both.</p></section>'
      : '',
    c.aa_failures.length > 0
      ? `<section class="card"><h2>A/A</h2><ul class="plain">${c.aa_failures
          .slice(0, 20)
          .map(
            (f) =>
              `<li>${esc(f.signal)} of ${esc(f.replica ?? f.service, 80)} differs from itself, and is not decided.</li>`,
          )
          .join('')}</ul></section>`
      : '',
    `<footer><p>★ decides the verdict. The grey band is the difference that does not matter. The change is the ratio of medians (Hodges–Lehmann), its interval from ranks; p is corrected for many comparisons. Each side was compared with itself first.</p>${options.version ? `<p>enginelight ${esc(options.version, 40)}</p>` : ''}</footer>`,
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><meta name="color-scheme" content="light dark"><title>${esc(WORDS[c.verdict])} – enginelight compare</title><style>${STYLE}${OWN}</style></head>
<body><main>
${body.filter((part) => part !== '').join('\n')}
</main></body></html>
`;
}
