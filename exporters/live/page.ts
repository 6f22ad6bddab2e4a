/** The page for a browser: one file, nothing from elsewhere, and a policy under which nothing else could run in it. */
import { createHash } from 'node:crypto';
import { SCRIPT } from './page-script.ts';

const STYLE = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d0d7de;--card:#f6f8fa;--link:#0550ae;--critical:#b3261e;--warning:#8a5300;--info:#0b5a8f;--ok:#1a6b33}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9aa4af;--line:#30363d;--card:#161b22;--link:#79b8ff;--critical:#ff7b72;--warning:#e3b341;--info:#79c0ff;--ok:#56d364}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}
#top{border-bottom:4px solid var(--soft);padding:12px 20px;position:sticky;top:0;background:var(--bg);z-index:1}
#top.critical{border-color:var(--critical)}#top.warning{border-color:var(--warning)}#top.info{border-color:var(--info)}#top.ok{border-color:var(--ok)}
#top p{margin:0;color:var(--soft);display:flex;gap:16px;flex-wrap:wrap}h1{font-size:17px;margin:4px 0;overflow-wrap:anywhere}
main{padding:8px 20px 40px;outline:none;max-width:1500px}h2{font-size:17px;margin:20px 0 8px;overflow-wrap:anywhere}h3{font-size:15px;margin:16px 0 4px}
a{color:var(--link)}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.cards{list-style:none;padding:0;margin:0;display:grid;gap:10px;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr))}
.card{border:1px solid var(--line);border-left:5px solid var(--soft);background:var(--card);padding:10px 12px;border-radius:6px;overflow-wrap:anywhere}
.card.critical{border-left-color:var(--critical)}.card.warning{border-left-color:var(--warning)}.card.info{border-left-color:var(--info)}.card>a{font-weight:600}.card p{margin:6px 0 0}.meta{color:var(--soft);margin-top:4px}
.badge{border:1px solid;border-radius:9px;padding:0 7px;font-size:12px;white-space:nowrap;color:var(--ok)}.badge.critical{color:var(--critical)}.badge.warning{color:var(--warning)}.badge.info{color:var(--info)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--soft);padding:2px 0}
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line);white-space:nowrap;max-width:340px;overflow:hidden;text-overflow:ellipsis}td:last-child{white-space:normal}th{color:var(--soft);font-weight:600}.n{text-align:right}
.chart path{fill:none;stroke:var(--link);stroke-width:1.5}.phases{display:flex;width:110px;height:12px;gap:1px}.phases span{min-width:3px}.queue{background:var(--critical)}.prefill{background:var(--warning)}.transfer{background:var(--info)}.decode{background:var(--ok)}
.timeline{margin:16px 0}.timeline figcaption{color:var(--soft)}.timeline .row{display:flex;gap:10px;align-items:center;text-decoration:none;padding:2px 0}.timeline .name{width:190px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.track{position:relative;flex:1;height:12px;background:var(--card);border:1px solid var(--line)}
.bar{position:absolute;top:0;bottom:0;background:var(--soft)}.bar.critical{background:var(--critical)}.bar.warning{background:var(--warning)}.bar.info{background:var(--info)}.bar.over{opacity:.5}
details{border:1px solid var(--line);border-radius:6px;padding:6px 10px;margin:6px 0}summary{cursor:pointer;overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:600px){#top{position:static}.timeline .name{width:110px}main{padding:8px 12px 40px}}
`;

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>enginelight</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><header id="top"><p><b>enginelight</b><span id="counts"></span><span id="time"></span><span id="link" role="status">connecting</span></p><h1 id="verdict" aria-live="polite">Nothing is seen yet.</h1></header><main id="main" tabindex="-1"></main><noscript>This page needs JavaScript. The reports at api/v1/incidents/ID/report do not.</noscript><script>${SCRIPT}</script></body></html>
`;

/** Only what is in the page may run or style it, and it may talk to its own origin only. */
export const PAGE_POLICY = `default-src 'none'; script-src ${hash(SCRIPT)}; style-src ${hash(STYLE)}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
