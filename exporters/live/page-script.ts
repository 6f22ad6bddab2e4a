/**
 * The script of the page. It builds elements and sets their text, never markup, so what peers say stays text. The page shows the
 * state that comes as events; details are fetched when they are looked at.
 */
export const SCRIPT = `
'use strict';
const $ = (id) => document.getElementById(id);
const el = (tag, props, ...children) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (k === 'class') e.className = v; else if (v !== undefined && v !== null) e.setAttribute(k, v);
  }
  for (const c of children.flat(Infinity)) if (c !== null && c !== undefined) e.append(c);
  return e;
};
const INVISIBLE = /[\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]/g;
const cut = (t, n) => { t = String(t === null || t === undefined ? '' : t).slice(0, n + 1).replace(INVISIBLE, '\\ufffd'); return t.length > n ? t.slice(0, n) + '\\u2026' : t; };
const num = (n) => n === null || n === undefined || !Number.isFinite(n) ? '\\u2013' : Math.abs(n) >= 1000 ? Math.round(n).toLocaleString('en-US') : String(Number(n.toPrecision(3)));
const SCALES = { s: [[1, 's'], [1e-3, 'ms'], [1e-6, '\\u00b5s']], Hz: [[1e9, 'GHz'], [1e6, 'MHz'], [1, 'Hz']], By: [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB'], [1, 'B']], 'By/s': [[1e9, 'GB/s'], [1e6, 'MB/s'], [1, 'B/s']] };
const quantity = (n, unit) => {
  if (n === null || n === undefined) return '\\u2013';
  const s = (SCALES[unit] || []).find(([by]) => Math.abs(n) >= by);
  if (s) return num(n / s[0]) + ' ' + s[1];
  const words = { '1': '', Cel: ' \\u00b0C' };
  return num(n) + (unit in words ? words[unit] : unit ? ' ' + cut(unit, 20).replace(/[{}]/g, '') : '');
};
const pct = (n) => n === null || n === undefined ? '\\u2013' : Math.round(n * 100) + ' %';
const time = (iso) => cut(iso, 40).slice(11, 19);
const words = (e) => cut(e.kind, 20) + ' ' + cut(e.id, 80) + (e.replica && e.kind !== 'replica' ? ' (' + cut(e.replica, 60) + ')' : '');
const link = (e) => el('a', { href: '#/entity/' + encodeURIComponent(e.kind) + '/' + encodeURIComponent(e.id) }, words(e));
const badge = (s) => el('span', { class: 'badge ' + (['critical', 'warning', 'info'].includes(s) ? s : 'none') }, s || 'ok');
const table = (caption, heads, rows) => el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
  el('table', {}, el('caption', {}, caption), el('thead', {}, el('tr', {}, heads.map((h) => el('th', { scope: 'col', class: h[0] === '>' ? 'n' : '' }, h.replace('>', ''))))),
    el('tbody', {}, rows.map((r) => el('tr', { class: r.c }, r.map((cell, i) => el('td', { class: heads[i][0] === '>' ? 'n' : '' }, cell)))))));
const SVG = 'http://www.w3.org/2000/svg';
const chart = (values, w, h, label) => {
  const svg = document.createElementNS(SVG, 'svg');
  for (const [k, v] of Object.entries({ viewBox: '0 0 ' + w + ' ' + h, width: w, height: h, role: 'img', 'aria-label': label, class: 'chart' })) svg.setAttribute(k, v);
  const known = values.filter((v) => v !== null);
  const most = Math.max(...known, 0), least = Math.min(...known, 0);
  let d = '', pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    const x = values.length < 2 ? 0 : i * w / (values.length - 1), y = h - 1 - (most > least ? (v - least) / (most - least) : 0.5) * (h - 2);
    d += (pen ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1); pen = true;
  });
  const path = document.createElementNS(SVG, 'path'); path.setAttribute('d', d); svg.append(path);
  return svg;
};
const phases = (p) => {
  const parts = ['queue', 'prefill', 'transfer', 'decode'].map((name) => [name, p[name] || 0]);
  const all = parts.reduce((s, x) => s + x[1], 0);
  if (all <= 0) return '\\u2013';
  const text = parts.filter((x) => x[1] > 0).map(([n, v]) => n + ' ' + quantity(v, 's')).join(', ');
  return el('span', { class: 'phases', role: 'img', title: text, 'aria-label': text }, parts.filter((x) => x[1] > 0).map(([n, v]) => {
    const e = el('span', { class: n }); e.style.flexGrow = String(v / all); return e;
  }));
};

let state = null, detailAt = 0;
const incidentCard = (i) => el('li', { class: 'card ' + (i.state === 'open' ? i.severity : 'over') },
  el('a', { href: '#/incident/' + encodeURIComponent(i.id) }, cut(i.root.detector, 60) + ' on ' + words(i.root.entity)),
  el('div', { class: 'meta' }, badge(i.severity), ' ', i.state === 'open' ? 'open since ' : 'over, since ', time(i.started_at), ', ', cut(i.service, 60), ', ', pct(i.root.probability) + ' sure, grade ' + cut(i.root.grade, 1)),
  el('p', {}, cut(i.summary, 600)),
  i.remedy ? el('p', { class: 'do' }, 'Do: ' + cut(i.remedy, 300)) : null);
const timeline = (s) => {
  if (s.incidents.length === 0) return null;
  const end = Date.parse(s.time), start = Math.min(...s.incidents.map((i) => Date.parse(i.started_at)), end - 300000);
  const at = (t) => Math.max(0, Math.min(100, (t - start) / (end - start) * 100));
  return el('figure', { class: 'timeline' }, el('figcaption', {}, 'Timeline, ' + new Date(start).toISOString().slice(11, 19) + ' to ' + time(s.time) + ' UTC'),
    s.incidents.slice(0, 30).map((i) => {
      const a = at(Date.parse(i.started_at)), b = i.ended_at ? at(Date.parse(i.ended_at)) : 100;
      const bar = el('span', { class: 'bar ' + i.severity + (i.state === 'open' ? '' : ' over') }); bar.style.left = a + '%'; bar.style.width = Math.max(0.5, b - a) + '%';
      return el('a', { class: 'row', href: '#/incident/' + encodeURIComponent(i.id), title: cut(i.summary, 200) }, el('span', { class: 'name' }, cut(i.root.detector, 40)), el('span', { class: 'track' }, bar));
    }));
};
const overview = (s) => [
  el('section', {}, el('h2', {}, 'Incidents'), s.incidents.length ? el('ul', { class: 'cards' }, s.incidents.slice(0, 20).map(incidentCard)) : el('p', {}, 'No incident.'), timeline(s)),
  el('section', {}, el('h2', {}, 'Replicas'), s.replicas.length ? table('Load and latency of the last minute', ['', 'Replica', 'Service', 'Role', '>Running', '>Waiting', '>KV', '>TTFT p50', '>p95', '>ITL p50', 'Phases', 'TTFT, trend', '>Tokens/s'], s.replicas.slice(0, 200).map((r) => [
    badge(r.up === false ? 'down' : r.trouble), link({ kind: 'replica', id: r.id }), cut(r.service, 40), cut(r.role, 20), num(r.running), num(r.waiting), pct(r.kv), quantity(r.ttft_p50, 's'), quantity(r.ttft_p95, 's'), quantity(r.itl_p50, 's'), phases(r.phases), chart(r.trend.ttft, 120, 22, 'trend of TTFT'), num(r.output_rate)])) : el('p', {}, 'No replica is seen yet.'),
    s.omitted.replicas + Math.max(0, s.replicas.length - 200) > 0 ? el('p', {}, 'And ' + (s.omitted.replicas + Math.max(0, s.replicas.length - 200)) + ' more.') : null),
  s.gpus.length ? el('section', {}, el('h2', {}, 'GPUs'), table('What the GPUs do', ['', 'GPU', 'Node', 'Rank', '>Busy', '>Clock', '>Held down', 'By', '>Power', '>Temperature', '>Memory'], s.gpus.slice(0, 200).map((g) => [
    badge(g.trouble), link({ kind: 'gpu', id: g.id }), cut(g.node, 40), cut(g.rank, 40), pct(g.utilization), quantity(g.clock, 'Hz'), g.throttle ? pct(g.throttle) : '', cut(g.throttle_reason, 30), quantity(g.power, 'W'), quantity(g.temperature, 'Cel'), quantity(g.memory_used, 'By')])),
    s.omitted.gpus + Math.max(0, s.gpus.length - 200) > 0 ? el('p', {}, 'And ' + (s.omitted.gpus + Math.max(0, s.gpus.length - 200)) + ' more.') : null) : null,
];
const evidence = (list) => table('Evidence', ['Signal', 'Of', '>Value', '>Threshold', '>Usual', 'Note'], list.slice(0, 40).map((e) => [
  cut(e.signal, 80), link(e.entity), quantity(e.value, e.unit), (e.comparison === '<=' ? '\\u2264 ' : '\\u2265 ') + quantity(e.threshold, e.unit), e.baseline ? quantity(e.baseline.median, e.unit) : '', cut(e.note, 200)]));
const finding = (f) => el('details', { open: f.class === 'root' ? '' : undefined }, el('summary', {}, badge(f.severity), ' ', cut(f.detector, 60) + ' on ' + words(f.entity) + ', since ' + time(f.started_at) + ', ' + cut(f.state, 20)), el('p', {}, cut(f.summary, 600)), f.evidence.length ? evidence(f.evidence) : null,
  f.counter_evidence.length ? el('ul', {}, f.counter_evidence.slice(0, 20).map((c) => el('li', {}, (c.against ? 'Against: ' : 'Checked: ') + cut(c.check, 200) + ': ' + cut(c.result, 200)))) : null);
const incident = (report) => {
  const i = report.incidents[0];
  return [back(), el('section', {}, el('h2', {}, cut(i.root.detector, 60) + ' on ' + words(i.root.entity)), el('p', {}, badge(i.severity), ' ' + cut(i.state, 20) + ' since ' + cut(i.impact.started_at, 40) + (i.impact.ended_at ? ' until ' + cut(i.impact.ended_at, 40) : '')), el('p', {}, cut(i.summary, 1000)),
    i.impact.during !== null && i.impact.before !== null ? el('p', {}, cut(i.impact.slo, 20) + ': ' + quantity(i.impact.before, i.impact.unit) + ' before, ' + quantity(i.impact.during, i.impact.unit) + ' during') : null,
    el('h3', {}, 'Path'), el('ol', { class: 'path' }, i.path.slice(0, 20).map((p) => el('li', {}, cut(p.detector, 60), ' on ', link(p.entity)))),
    i.ambiguous ? el('p', {}, 'Unsure: ' + cut(i.ambiguous, 600)) : null,
    i.remedies.length ? el('div', {}, el('h3', {}, 'What to do'), el('ol', {}, i.remedies.slice(0, 6).map((r) => el('li', {}, cut(r.action, 300) + (r.flag ? ' ' + cut(r.flag, 120) : '') + (r.size ? ' (' + cut(r.size, 120) + ')' : '') + '. Expect: ' + cut(r.expected_effect, 200) + '. Risk: ' + cut(r.risk, 200) + '. Verify: ' + cut(r.verify, 200) + '.')))) : null,
    i.candidates.length > 1 ? el('div', {}, el('h3', {}, 'Rivals'), el('ul', {}, i.candidates.filter((c) => c.finding !== i.root.finding).slice(0, 5).map((c) => el('li', {}, cut(c.detector, 60), ' on ', link(c.entity), ': ' + pct(c.probability) + (c.note ? ', ' + cut(c.note, 200) : ''))))) : null,
    el('h3', {}, 'Findings'), report.findings.slice(0, 40).map(finding),
    el('p', {}, el('a', { href: 'api/v1/incidents/' + encodeURIComponent(i.id) + '/report' }, 'The whole report, with charts')))];
};
const entity = (a) => [back(), el('section', {}, el('h2', {}, words(a.entity)),
  a.about ? el('dl', {}, Object.entries(a.about).filter(([k, v]) => k !== 'id' && v !== null && String(v) !== '').map(([k, v]) => [el('dt', {}, k), el('dd', {}, cut(Array.isArray(v) ? v.slice(0, 12).join(', ') : v, 400))])) : null,
  a.incidents.length ? el('div', {}, el('h3', {}, 'Incidents'), el('ul', { class: 'cards' }, a.incidents.map(incidentCard))) : null,
  a.findings.length ? el('div', {}, el('h3', {}, 'Findings'), a.findings.slice(0, 40).map(finding)) : null,
  a.signals.length ? table('Signals now', ['Signal', 'Attributes', '>Value'], a.signals.map((s) => [cut(s.signal, 80), cut(Object.entries(s.attributes).map(([k, v]) => k + '=' + v).join(' '), 120), s.kind === 'rate' ? num(s.value) + ' ' + cut(s.unit, 20).replace(/[{}]/g, '') + '/s' : quantity(s.value, s.unit)])) : null)];
const back = () => el('p', {}, el('a', { href: '#/' }, '\\u2190 All'));

let shown = '';
const put = (what, children, moved) => {
  const focus = document.activeElement && document.activeElement.getAttribute && document.activeElement.getAttribute('href');
  const opened = new Set([...document.querySelectorAll('details')].flatMap((d, i) => d.open ? [i] : []));
  $('main').replaceChildren(...children.flat().filter((c) => c !== null));
  if (!moved) document.querySelectorAll('details').forEach((d, i) => { d.open = opened.has(i); });
  if (moved) { window.scrollTo(0, 0); $('main').focus({ preventScroll: true }); }
  else if (focus) { const same = [...document.querySelectorAll('main a')].find((a) => a.getAttribute('href') === focus); if (same) same.focus({ preventScroll: true }); }
  shown = what;
};
const draw = async () => {
  const where = location.hash || '#/', moved = where !== shown && shown !== '', parts = where.slice(2).split('/');
  if (parts[0] !== 'incident' && parts[0] !== 'entity') { if (state) put(where, overview(state), moved); return; }
  if (!moved && where === shown && Date.now() - detailAt < 10000) return;
  detailAt = Date.now();
  try {
    const answer = await fetch('api/v1/' + (parts[0] === 'incident' ? 'incidents/' : 'entities/') + parts.slice(1).join('/'));
    const body = await answer.json();
    if ((location.hash || '#/') !== where) return;
    if (!answer.ok) put(where, [back(), el('p', {}, cut(body.error, 300))], moved);
    else put(where, parts[0] === 'incident' ? incident(body) : entity(body), moved);
  } catch (error) { put(where, [back(), el('p', {}, 'It cannot be read: ' + cut(error.message, 200))], moved); }
};
const head = () => {
  if (!state) return;
  const verdict = cut(state.verdict, 700);
  if ($('verdict').textContent !== verdict) $('verdict').textContent = verdict;
  $('top').className = state.worst || 'ok';
  const c = state.counts;
  $('counts').textContent = [c.replicas + ' replicas', c.gpus + ' GPUs', c.nodes + ' nodes', c.open + ' open'].join(', ');
  $('time').textContent = time(state.time) + ' UTC';
  document.title = (c.open ? '(' + c.open + ') ' : '') + 'enginelight';
};
const follow = () => {
  const source = new EventSource('api/v1/events');
  source.addEventListener('state', (event) => { state = JSON.parse(event.data); $('link').textContent = 'live'; head(); draw(); });
  // A browser tries again by itself after a break, but not after a refusal.
  source.addEventListener('error', () => { $('link').textContent = 'not connected, trying again'; if (source.readyState === 2) setTimeout(follow, 10000); });
};
follow();
addEventListener('hashchange', draw);
`;
