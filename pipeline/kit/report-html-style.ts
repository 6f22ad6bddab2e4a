/** How a report looks: light and dark by the reader's setting, one column when narrow, no colour lost in print. */
export const STYLE = `
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#161b22;--soft:#5a6572;--line:#e1e5ea;--fill:#f0f2f5;--bad:#c4262e;--badbg:#fdecec;--hit:#b06000;--hitbg:#fff3e0;--ok:#1d7a3a;--acc:#1f5fbf;--accbg:#e8f0fc;--band:#9aa5b133;--med:#8793a0;--shade:#c4262e0f}
@media(prefers-color-scheme:dark){:root{--bg:#0e1116;--card:#171b22;--ink:#e8ebef;--soft:#9aa5b1;--line:#2a313b;--fill:#20262f;--bad:#ff6b6b;--badbg:#3a1a1d;--hit:#f0a54a;--hitbg:#38290f;--ok:#5fcf85;--acc:#74a9ff;--accbg:#16263f;--band:#9aa5b126;--med:#717d8a;--shade:#ff6b6b14}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main{max-width:1080px;margin:0 auto;padding:20px 16px 60px}
header.top{display:flex;flex-wrap:wrap;gap:2px 16px;align-items:baseline;color:var(--soft);font-size:13px;margin-bottom:14px}
header.top b{color:var(--ink);font-size:15px;letter-spacing:.01em}
h1,h2,h3,h4,p{margin:0}
article,section.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px;margin:0 0 18px}
article.critical{border-top:5px solid var(--bad)}article.warning{border-top:5px solid var(--hit)}article.info{border-top:5px solid var(--acc)}
.pills{display:flex;flex-wrap:wrap;gap:8px;align-items:center;font-size:13px;color:var(--soft);margin-bottom:8px}
.pill{font-weight:650;font-size:12px;text-transform:uppercase;letter-spacing:.05em;padding:2px 9px;border-radius:99px}
.critical>.pill,.pill.critical{background:var(--badbg);color:var(--bad)}.pill.warning{background:var(--hitbg);color:var(--hit)}.pill.info{background:var(--accbg);color:var(--acc)}.pill.ok{background:var(--fill);color:var(--ok)}
h1{font-size:23px;line-height:1.32;font-weight:650;letter-spacing:-.01em;text-wrap:pretty}
h2{font-size:13px;font-weight:650;text-transform:uppercase;letter-spacing:.07em;color:var(--soft);margin:28px 0 10px}
section.card>h2:first-child{margin-top:0}
h3{font-size:15px;font-weight:650}
h4{font-size:13px;font-weight:650}
small{color:var(--soft);font-size:12.5px}
.chain{display:flex;flex-wrap:wrap;gap:6px;align-items:stretch;margin-top:16px;list-style:none;padding:0}
.chain li{display:flex;align-items:center;gap:6px}
.chain li+li:before{content:"→";color:var(--soft);font-size:18px}
.chain span{display:block;border:1px solid var(--line);background:var(--fill);border-radius:8px;padding:5px 11px;font-weight:600;font-size:14px}
.chain span small{display:block;font-weight:400}
.chain li:first-child span{border-color:var(--bad);background:var(--badbg);color:var(--bad)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin-top:18px}
.facts div{background:var(--fill);border-radius:8px;padding:9px 12px}
.facts b{display:block;font-size:18px;font-weight:650;line-height:1.3}
.say{border-left:3px solid var(--hit);background:var(--hitbg);padding:8px 12px;border-radius:0 8px 8px 0;margin-top:12px}
ol.do{list-style:none;counter-reset:n;padding:0;margin:0;display:grid;gap:10px}
ol.do li{counter-increment:n;border:1px solid var(--line);border-radius:10px;padding:11px 14px 11px 48px;position:relative}
ol.do li:before{content:counter(n);position:absolute;left:13px;top:11px;width:23px;height:23px;border-radius:50%;background:var(--ok);color:var(--card);font-weight:700;font-size:13px;text-align:center;line-height:23px}
ol.do dl{display:grid;grid-template-columns:auto 1fr;gap:1px 12px;margin:5px 0 0;font-size:13.5px}
ol.do dt{color:var(--soft)}ol.do dd{margin:0}
code{font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--fill);border-radius:5px;padding:1px 5px}
code.q{display:block;margin-top:7px;padding:5px 8px;font-size:11.5px;color:var(--soft)}
.wide{overflow-x:auto}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg.tl{min-width:660px}
.g{stroke:var(--line);stroke-width:1}
.t{font-size:11px;fill:var(--soft)}.m{text-anchor:middle}.e{text-anchor:end}
.w{fill:var(--shade)}
.band{fill:var(--band)}.med{fill:none;stroke:var(--med);stroke-width:1.3;stroke-dasharray:2 2}
.own{fill:none;stroke-width:2;stroke-linejoin:round}
.own.o0{stroke:var(--acc)}.own.o1{stroke:var(--hit)}.own.o2{stroke:var(--ok)}.own.o3{stroke:#8a63d2}.own.o4{stroke:#2d9d9d}.own.o5{stroke:#c05a9d}
.guilty .own.o0{stroke:var(--bad)}
.th{stroke:var(--ink);stroke-width:1;stroke-dasharray:6 3;opacity:.65}.thl{font-size:10px;fill:var(--ink);opacity:.8}
.mark{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:3 3}
.l{font-size:12.5px}.l .d{font-weight:650;fill:var(--ink)}.l .d.root{fill:var(--bad)}.l .d.beside{fill:var(--soft)}.l .n{fill:var(--soft)}
.b.root{fill:var(--bad)}.b.onpath{fill:var(--hit)}.b.beside{fill:var(--med)}.b.early{opacity:.38}
.arrow{fill:none;stroke:var(--ink);stroke-width:1.6}.head{fill:var(--ink)}
.det{stroke:var(--acc);stroke-width:1.2;stroke-dasharray:4 3}text.det{stroke:none;fill:var(--acc)}
.chg{stroke:var(--ok);stroke-width:1.2}text.chg{stroke:none;fill:var(--ok)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:14px}
figure{margin:0;border:1px solid var(--line);border-radius:10px;padding:12px 14px}
figcaption{margin-bottom:6px}
figcaption small{display:block}
.keys{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:12px;color:var(--soft);margin-top:4px}
.k:before{content:"";display:inline-block;width:12px;height:3px;border-radius:2px;margin-right:5px;vertical-align:middle;background:var(--acc)}
.k.o1:before{background:var(--hit)}.k.o2:before{background:var(--ok)}.k.o3:before{background:#8a63d2}.k.o4:before{background:#2d9d9d}.k.o5:before{background:#c05a9d}.k.peers:before{background:var(--med);height:8px;opacity:.5}
.guilty .k.o0:before,.k.kb:before{background:var(--bad)}.k.kb:before,.k.kh:before{height:10px}.k.kh:before{background:var(--hit)}
.ev{display:grid;grid-template-columns:74px 1fr 84px;gap:0 8px;align-items:center;margin-top:7px;font-size:13px}
.ev .v{font-weight:650}.ev .c{color:var(--soft);white-space:nowrap}.ev small{grid-column:1/-1}
.ev.no{opacity:.55}
.bar{position:relative;height:10px;background:var(--fill);border-radius:3px}
.bar b{position:absolute;left:0;top:0;bottom:0;background:var(--acc);border-radius:3px;opacity:.85}.guilty .bar b{background:var(--bad)}
.bar .tl{position:absolute;top:-3px;bottom:-3px;width:2px;background:var(--ink)}
.bar .bl{position:absolute;top:3px;bottom:3px;background:var(--ok);opacity:.65;min-width:3px}
.topo{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,190px),1fr));gap:10px}
.node{border:1.5px solid var(--line);border-radius:9px;padding:9px 11px}
.node.bad{border-color:var(--bad);background:var(--badbg)}.node.hit{border-color:var(--hit)}
.reps,.gpus,.pairs{display:flex;flex-wrap:wrap;gap:4px;margin-top:6px}
.rep{font-size:12.5px;padding:1px 8px;border-radius:6px;background:var(--fill);border:1px solid transparent}
.rep em{color:var(--soft);font-style:normal}
.gpu{font-size:11px;min-width:25px;height:25px;line-height:23px;text-align:center;border-radius:5px;background:var(--fill);border:1px solid var(--line)}
.rep.hit,.gpu.hit{background:var(--hitbg);border-color:var(--hit);color:var(--hit)}
.rep.bad,.gpu.bad{background:var(--bad);border-color:var(--bad);color:var(--card);font-weight:700}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:6px 10px 6px 0;border-top:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500;border:0;font-size:12.5px}
ul.plain{list-style:none;padding:0;margin:0;font-size:14px}ul.plain li{padding:5px 0;border-top:1px solid var(--line)}ul.plain li:first-child{border:0}
.ruled:before{content:"✓";color:var(--ok);font-weight:700;margin-right:7px}.ruled.against:before{content:"!";color:var(--hit)}
footer{color:var(--soft);font-size:12.5px}
@media(max-width:600px){article,section.card{padding:16px 14px;border-radius:9px}h1{font-size:19px}table.r thead{display:none}table.r td{display:block;border:0;padding:1px 0}table.r tr{display:block;border-top:1px solid var(--line);padding:6px 0}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--fill:#f2f2f2;--bad:#b3161e;--badbg:#fdecec;--hit:#9a5200;--hitbg:#fff3e0;--ok:#14692e;--acc:#144e9f;--accbg:#e8f0fc;--band:#9aa5b144;--med:#777;--shade:#c4262e12}body{font-size:11.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}main{max-width:none;padding:0}article,section.card{border-radius:0;border-left:0;border-right:0;padding:12px 0;break-inside:auto}figure,ol.do li,.node,tr{break-inside:avoid}h2{break-after:avoid}svg.tl{min-width:0}.wide{overflow:visible}}
`;
