/**
 * A tree as SVG, the top frame above: readable without a script, with one (`script.ts`) it zooms and searches. Widths are shares
 * of the whole; what would be narrower than a quarter of a pixel is left out and counted.
 */
import { esc } from '../report-html-text.ts';
import type { FlameTree } from './tree.ts';

const WIDTH = 1200;
const ROW = 19;
/** A letter's width at 12 px, about. */
const LETTER = 6.6;
const NARROWEST = 0.25 / WIDTH;
const MOST = 20_000;

export interface Box {
  /** Class of its colour. */
  readonly colour: string;
  /** What stands in the tooltip behind the name. */
  readonly says: string;
}

export interface FlameSvg {
  readonly text: string;
  readonly shown: number;
  readonly hidden: number;
}

export function flameSvg(tree: FlameTree, totals: Float64Array, box: (node: number) => Box, id: string): FlameSvg {
  const whole = totals[0]!;
  const children = tree.children(totals);
  const rects: string[] = [];
  let deepest = 0;
  let hidden = 0;
  const nodes: number[] = [];
  const xs: number[] = [];
  const open = (node: number, x: number) => {
    nodes.push(node);
    xs.push(x);
  };
  open(0, 0);
  while (nodes.length > 0) {
    const node = nodes.pop()!;
    const x = xs.pop()!;
    const share = whole > 0 ? totals[node]! / whole : 0;
    const depth = tree.depth[node]!;
    deepest = Math.max(deepest, depth);
    const { colour, says } = box(node);
    rects.push(rect(node === 0 ? 'all' : tree.name(node), x, share, depth, colour, says));
    let at = x;
    const later: [number, number][] = [];
    for (const child of children[node]!) {
      const wide = whole > 0 ? totals[child]! / whole : 0;
      if (wide < NARROWEST || rects.length + nodes.length + later.length >= MOST) hidden++;
      else later.push([child, at]);
      at += wide;
    }
    for (const [child, where] of later.reverse()) open(child, where);
  }
  const height = (deepest + 1) * ROW + 2;
  return {
    text: `<svg class="flame" id="${id}" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Flame graph">${rects.join('')}</svg>`,
    shown: rects.length,
    hidden,
  };
}

function rect(name: string, x: number, share: number, depth: number, colour: string, says: string): string {
  const left = x * WIDTH;
  const wide = share * WIDTH;
  const top = depth * ROW + 1;
  const letters = Math.floor((wide - 6) / LETTER);
  const text =
    letters < 3
      ? ''
      : `<text x="${r(left + 3)}" y="${top + 13}">${esc(name.length > letters ? `${name.slice(0, letters - 1)}…` : name)}</text>`;
  return `<g class="${colour}" data-x="${x.toPrecision(9)}" data-w="${share.toPrecision(9)}" data-d="${depth}" data-n="${esc(name)}"><title>${esc(name)}\n${esc(says)}</title><rect x="${r(left)}" y="${top}" width="${r(Math.max(0.2, wide - 0.4))}" height="${ROW - 1}" rx="1.5"/>${text}</g>`;
}

const r = (n: number) => String(Math.round(n * 100) / 100);

/** Frames in which nobody works. */
const WAITING = /^(queue|comm_wait|bubble|idle|host_gap|not_seen|prefill_waiting|decode_waiting)$/;

/** Blue for what waits; else one of twelve warm colours, the same for a name everywhere. */
export function colourOf(name: string): string {
  if (WAITING.test(name)) return 'wait';
  let h = 0;
  for (let i = 0; i < name.length; i++) h = (Math.imul(h, 31) + name.charCodeAt(i)) | 0;
  return `c${((h ^ (h >>> 13)) >>> 0) % 12}`;
}

const WARM = Array.from(
  { length: 12 },
  (_, i) => `.c${i}>rect{fill:hsl(${14 + i * 3.4},${74 + (i % 3) * 7}%,${60 + (i % 4) * 3}%)}`,
).join('');

/** Colours hold on light and on dark; the letters on them are always dark. */
export const FLAME_STYLE = `.flame text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1c1206;pointer-events:none}.flame g{cursor:pointer}.flame g:hover>rect{stroke:#000;stroke-width:1.2}.flame .off{display:none}.flame .dim>rect{opacity:.5}.flame .hit>rect{fill:#c774f5!important}${WARM}.all>rect{fill:#cfd4da}.wait>rect{fill:#9dbbe3}.same>rect{fill:#d9dce0}.more1>rect{fill:#f6b3a6}.more2>rect{fill:#ee7f6c}.more3>rect{fill:#dd4a3a}.less1>rect{fill:#b3cdf3}.less2>rect{fill:#7fa9ea}.less3>rect{fill:#4a80d8}`;
