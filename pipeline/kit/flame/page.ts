/** Flame graphs as files that need nothing else: a page with search, zoom and a table, or an SVG by itself. */
import { STYLE } from '../report-html-style.ts';
import { esc } from '../report-html-text.ts';
import type { FlameDiff } from './diff.ts';
import { totalsOf } from './diff.ts';
import type { Drawn } from './draw.ts';
import { FLAME_SCRIPT } from './script.ts';
import { type Box, colourOf, FLAME_STYLE, type FlameSvg, flameSvg } from './svg.ts';
import type { FlameTree } from './tree.ts';

export interface PageOptions {
  /** What it was made from. */
  readonly of: string;
  readonly version: string;
}

const PAGE_STYLE = `main{max-width:1280px}.flamebox{overflow-x:auto}.flamebar{display:flex;flex-wrap:wrap;gap:8px 14px;align-items:center;margin:10px 0}.flamebar input{font:inherit;color:inherit;background:var(--fill);border:1px solid var(--line);border-radius:8px;padding:5px 10px;width:min(100%,260px)}.flamebar button{font:inherit;color:inherit;background:var(--fill);border:1px solid var(--line);border-radius:8px;padding:5px 12px;visibility:hidden;cursor:pointer}.flame{min-width:960px}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}tr.muted{color:var(--soft)}.swatch{display:inline-block;width:12px;height:12px;border-radius:3px;vertical-align:-1px;margin-right:5px}@media print{.flamebar{display:none}}`;

/** Nanoseconds for people: `1.25 s`, `310 ms`, `4.2 µs`. */
export function duration(nanos: number): string {
  const size = Math.abs(nanos);
  const [by, unit] = size >= 1e9 ? [1e9, 's'] : size >= 1e6 ? [1e6, 'ms'] : size >= 1e3 ? [1e3, 'µs'] : [1, 'ns'];
  const n = nanos / by;
  const digits = Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2;
  return `${n >= 10_000 ? Math.round(n).toLocaleString('en-US') : n.toFixed(digits)} ${unit}`;
}

const percent = (share: number) => `${(share * 100).toFixed(share < 0.01 ? 2 : 1)} %`;

function plainBox(tree: FlameTree, totals: Float64Array): (node: number) => Box {
  return (node) => ({
    colour: node === 0 ? 'all' : colourOf(tree.name(node)),
    says: `${duration(totals[node]!)}, ${percent(totals[node]! / (totals[0]! || 1))}; itself ${duration(tree.self[node]!)}`,
  });
}

function narrow({ hidden }: FlameSvg): string {
  return hidden > 0
    ? `<p><small>${hidden.toLocaleString('en-US')} frames are too narrow to be drawn; the folded stacks have all.</small></p>`
    : '';
}

const graph = (svg: FlameSvg, label: string) =>
  `<div class="flamebox"><div class="flamebar"><input class="search" type="search" placeholder="Search names" aria-label="Search names in ${esc(label)}"><button class="reset" type="button">Whole graph</button><small class="found" role="status"></small></div>${svg.text}${narrow(svg)}</div>`;

function page(title: string, body: string, options: PageOptions): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"><title>${esc(title)}</title><style>${STYLE}${PAGE_STYLE}${FLAME_STYLE}</style></head>
<body><main><header class="top"><b>enginelight</b><span>${esc(title)}</span></header>${body}<footer>enginelight ${esc(options.version)}</footer></main><script>${FLAME_SCRIPT}</script></body></html>
`;
}

const list = (notes: readonly string[]) =>
  notes.length === 0 ? '' : `<ul class="plain">${notes.map((note) => `<li>${esc(note)}</li>`).join('')}</ul>`;

/** The frames with most time of their own, over all stacks they are in. */
function busiest(tree: FlameTree, whole: number): string {
  const own = new Map<string, number>();
  for (let i = 1; i < tree.size; i++) own.set(tree.name(i), (own.get(tree.name(i)) ?? 0) + tree.self[i]!);
  const rows = [...own]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 15)
    .filter(([, nanos]) => nanos > 0)
    .map(
      ([name, nanos]) =>
        `<tr><td>${esc(name)}</td><td class="n">${duration(nanos)}</td><td class="n">${percent(nanos / (whole || 1))}</td></tr>`,
    );
  return `<section class="card"><h2>Most time of their own</h2><table><thead><tr><th>Frame</th><th class="n">Itself</th><th class="n">Of the whole</th></tr></thead><tbody>${rows.join('')}</tbody></table></section>`;
}

export function flamePage(drawn: Drawn, options: PageOptions): string {
  const { tree } = drawn;
  const totals = tree.totals();
  const svg = flameSvg(tree, totals, plainBox(tree, totals), 'flame');
  const body = `<section class="card"><h1>${esc(headline(drawn))}</h1><p>${duration(totals[0]!)} in ${drawn.spans.toLocaleString('en-US')} spans over ${duration(drawn.durationNanos)}${drawn.requests > 0 ? `, ${drawn.requests.toLocaleString('en-US')} requests` : ''}. <small>${esc(options.of)}</small></p>${list(drawn.notes)}<p class="keys"><span><i class="swatch" style="background:#9dbbe3"></i>waits</span><span><i class="swatch" style="background:#f0a050"></i>everything else</span></p>${graph(svg, 'the flame graph')}</section>${busiest(tree, totals[0]!)}`;
  return page(`Flame graph: ${drawn.title}`, body, options);
}

const headline = (drawn: Drawn) => `Flame graph: ${drawn.title}`;

/** An SVG file of its own; clicking zooms, "Search" asks for a name. */
export function flameSvgFile(drawn: Drawn, options: PageOptions): string {
  const { tree } = drawn;
  const totals = tree.totals();
  const svg = flameSvg(tree, totals, plainBox(tree, totals), 'flame');
  return svgFile(svg, `${headline(drawn)}, ${duration(totals[0]!)}; ${options.of}`);
}

function svgFile(svg: FlameSvg, title: string): string {
  const height = Number(/height="(\d+)"/.exec(svg.text)![1]);
  const inner = svg.text.replace('<svg ', `<svg y="34" `);
  return `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 ${height + 40}" width="1200" height="${height + 40}"><style>${FLAME_STYLE}.bar{font:13px system-ui,sans-serif;fill:#333}.bar.act{cursor:pointer;fill:#1f5fbf}#reset{visibility:hidden}</style><rect width="100%" height="100%" fill="#fff"/><text class="bar" x="4" y="20">${esc(title, 110)}</text><text class="bar act" id="reset" x="960" y="20">Whole graph</text><text class="bar" id="found" x="780" y="20"></text><text class="bar act" id="search" x="1140" y="20">Search</text>${inner}<script>//<![CDATA[
${FLAME_SCRIPT}//]]></script></svg>
`;
}

/** Red grew, blue shrank; grey is what may be chance or does not matter. */
function diffBox(diff: FlameDiff): (node: number) => Box {
  const whole = Math.max(diff.changes[0]!.before, diff.changes[0]!.after) || 1;
  return (node) => {
    const { before, after, changed, low, high } = diff.changes[node]!;
    const delta = after - before;
    const size = Math.abs(delta) / whole;
    const strength = size > 0.1 ? 3 : size > 0.03 ? 2 : 1;
    const interval = low === undefined ? '' : ` (95 %: ${signed(low)} to ${signed(high!)})`;
    return {
      colour: node === 0 ? 'all' : changed ? `${delta > 0 ? 'more' : 'less'}${strength}` : 'same',
      says: `${duration(before)} → ${duration(after)} per ${diff.per}, ${signed(delta)}${interval}${node === 0 || changed ? '' : '; no significant change'}`,
    };
  };
}

const signed = (nanos: number) => `${nanos < 0 ? '−' : '+'}${duration(Math.abs(nanos))}`;

function changedRows(diff: FlameDiff): string {
  const rows = diff.changes
    .map((change, node) => ({ change, node }))
    .filter(({ change, node }) => node > 0 && change.changed)
    .sort((a, b) => Math.abs(b.change.after - b.change.before) - Math.abs(a.change.after - a.change.before))
    .slice(0, 25)
    .map(
      ({ change, node }) =>
        `<tr><td>${esc(diff.tree.stack(node).join(' › '), 300)}</td><td class="n">${duration(change.before)}</td><td class="n">${duration(change.after)}</td><td class="n">${signed(change.after - change.before)}</td><td class="n">${signed(change.low ?? 0)} … ${signed(change.high ?? 0)}</td></tr>`,
    );
  return rows.length === 0
    ? ''
    : `<section class="card"><h2>What changed</h2><table><thead><tr><th>Stack</th><th class="n">Before</th><th class="n">After</th><th class="n">Change</th><th class="n">95 % interval</th></tr></thead><tbody>${rows.join('')}</tbody></table></section>`;
}

export function diffVerdict(diff: FlameDiff): string {
  const { before, after } = diff.changes[0]!;
  const ratio = before > 0 ? after / before : 1;
  const change = ratio >= 3 ? ` (×${ratio.toFixed(1)})` : ` (${ratio >= 1 ? '+' : '−'}${percent(Math.abs(ratio - 1))})`;
  const total = `${duration(before)} per ${diff.per} before, ${duration(after)} after${change}`;
  if (diff.insufficient !== undefined) return `${total}; nothing can be called a change: ${diff.insufficient}`;
  const most = mostChanged(diff);
  return most === undefined
    ? `${total}; no frame changed by more than chance`
    : `${total}; most of it in ${diff.tree.stack(most).slice(-2).join(' › ')}`;
}

/** The deepest of the frames that make up most of the change: what a frame says, those above it say too. */
function mostChanged(diff: FlameDiff): number | undefined {
  let best: number | undefined;
  let size = 0;
  for (let node = 1; node < diff.tree.size; node++) {
    const { before, after, changed } = diff.changes[node]!;
    const delta = Math.abs(after - before);
    if (!changed || delta < 0.8 * size) continue;
    best = node;
    size = Math.max(size, delta);
  }
  return best;
}

export function diffPage(diff: FlameDiff, notes: readonly string[], options: PageOptions): string {
  const box = diffBox(diff);
  const after = flameSvg(diff.tree, diff.tree.totals(), box, 'after');
  const before = flameSvg(diff.tree, totalsOf(diff.tree, diff.selfBefore), box, 'before');
  const legend = `<p class="keys"><span><i class="swatch" style="background:#dd4a3a"></i>takes longer</span><span><i class="swatch" style="background:#4a80d8"></i>takes less</span><span><i class="swatch" style="background:#d9dce0"></i>no significant change, or less than 1 % of the whole</span></p>`;
  const body = `<section class="card"><h1>${esc(diffVerdict(diff))}</h1><p><small>${esc(options.of)}; ${Math.round(diff.unitsBefore).toLocaleString('en-US')} and ${Math.round(diff.unitsAfter).toLocaleString('en-US')} ${diff.per}s</small></p>${list(notes)}${legend}<h2>After</h2>${graph(after, 'after')}<h2>Before</h2><p><small>With the widths of before, so that what vanished is seen too.</small></p>${graph(before, 'before')}</section>${changedRows(diff)}`;
  return page('Differential flame graph', body, options);
}

/** The differential graph with the widths of after, as an SVG file. */
export function diffSvgFile(diff: FlameDiff, options: PageOptions): string {
  return svgFile(
    flameSvg(diff.tree, diff.tree.totals(), diffBox(diff), 'flame'),
    `${diffVerdict(diff)}; ${options.of}`,
  );
}
