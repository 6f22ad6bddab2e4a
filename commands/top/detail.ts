/** What is shown of one replica, GPU or incident. */
import type { LiveGpu, LiveIncident, LiveReplica, LiveSnapshot } from '../../pipeline/kit/live-types.ts';
import type { Report } from '../../pipeline/kit/report.ts';
import { reportText } from '../../pipeline/kit/report-console.ts';
import { entityWords } from '../../pipeline/kit/verdict.ts';
import { wrap } from '../demo/wrap.ts';
import { phaseBar } from './render.ts';
import { bar, clock, count, gib, type Paint, perSecond, safe, seconds, share, sparkline, wrapped } from './text.ts';

const LABEL = 12;
const MOST = 64;

const row = (paint: Paint, label: string, value: string): string =>
  `  ${paint('dim', label.padEnd(LABEL))}${safe(value)}`;

/** The whole of an incident: root, path, proof, rivals, what to do. */
export function incidentDetail(report: Report, width: number, colour: boolean): string[] {
  return reportText({ ...report, insufficient: [], alerts: [] }, { colour, width })
    .trimEnd()
    .split('\n')
    .flatMap((line) => wrap(line, width, 10).split('\n'));
}

export function replicaDetail(r: LiveReplica, state: LiveSnapshot, width: number, paint: Paint): string[] {
  const wide = Math.max(10, Math.min(60, width - LABEL - 24));
  const { phases: p } = r;
  const parts = (['queue', 'prefill', 'transfer', 'decode'] as const).map((name) => `${name} ${seconds(p[name])}`);
  const gpus = state.gpus.filter((g) => g.replica === r.id).slice(0, MOST);
  return [
    paint('bold', `replica ${safe(r.id)}`),
    row(paint, 'service', r.service ?? '-'),
    row(paint, 'engine', [r.engine, r.role, r.model].filter((v) => v !== null).join(', ') || '-'),
    row(paint, 'node', r.node ?? '-'),
    row(paint, 'answers', r.up === null ? 'not scraped' : r.up ? 'yes' : 'no'),
    row(paint, 'requests', `${count(r.running)} running, ${count(r.waiting)} waiting`),
    row(paint, 'KV', `${bar(r.kv, 20)} ${share(r.kv)}`),
    row(paint, 'TTFT', `p50 ${seconds(r.ttft_p50)}  p95 ${seconds(r.ttft_p95)}  ${sparkline(r.trend.ttft, wide)}`),
    row(paint, 'ITL', `p50 ${seconds(r.itl_p50)}  p95 ${seconds(r.itl_p95)}  ${sparkline(r.trend.itl, wide)}`),
    row(paint, 'phases', parts.join('  ')),
    row(paint, '', phaseBar(p, wide)),
    row(paint, 'tokens', `${count(r.prompt_rate)}/s in, ${count(r.output_rate)}/s out`),
    '',
    ...(gpus.length > 0 ? [paint('bold', 'its GPUs'), ...gpus.map((g) => gpuLine(g))] : []),
    ...touching(state, (e) => e.id === r.id || e.replica === r.id, width, paint),
  ];
}

const gpuLine = (g: LiveGpu): string =>
  safe(
    `  ${g.rank ?? g.index ?? ''} ${g.id}  ${share(g.utilization)}  ${clock(g.clock)}${g.throttle !== null && g.throttle >= 0.005 ? ` held ${share(g.throttle)} by ${g.throttle_reason ?? '?'}` : ''}  ${count(g.power)} W  ${count(g.temperature)} °C`,
  );

export function gpuDetail(g: LiveGpu, state: LiveSnapshot, width: number, paint: Paint): string[] {
  const held = g.throttle === null ? '-' : `${share(g.throttle)}${g.throttle_reason ? ` (${g.throttle_reason})` : ''}`;
  return [
    paint('bold', `gpu ${safe(g.id)}`),
    row(paint, 'node', `${g.node ?? '-'}${g.index === null ? '' : `, index ${g.index}`}`),
    row(paint, 'rank', g.rank ?? '-'),
    row(paint, 'replica', g.replica ?? '-'),
    row(paint, 'model', g.model ?? '-'),
    row(paint, 'busy', `${bar(g.utilization, 20)} ${share(g.utilization)}`),
    row(paint, 'clock', clock(g.clock)),
    row(paint, 'held down', held),
    row(paint, 'power', `${count(g.power)} W of ${count(g.power_limit)} W`),
    row(paint, 'temperature', `${count(g.temperature)} °C`),
    row(paint, 'memory', `${gib(g.memory_used)} of ${gib(g.memory_limit)}`),
    row(
      paint,
      'links, PCIe',
      `${perSecond(g.io)}, ${g.link_errors === null ? '-' : g.link_errors.toPrecision(2)} errors/s`,
    ),
    '',
    ...touching(state, (e) => e.id === g.id, width, paint),
  ];
}

function touching(
  state: LiveSnapshot,
  is: (e: LiveIncident['root']['entity']) => boolean,
  width: number,
  paint: Paint,
): string[] {
  const found = state.incidents.filter((i) => is(i.root.entity) || i.path.some((s) => is(s.entity))).slice(0, MOST);
  if (found.length === 0) return [];
  return [
    paint('bold', 'incidents'),
    ...found.flatMap((i) => [
      `  ${i.state === 'open' ? i.severity : 'over'}  since ${safe(i.started_at)}  ${safe(i.root.detector)} on ${safe(entityWords(i.root.entity))}`,
      ...wrapped(i.summary, Math.max(10, width - 4)).map((line) => `    ${line}`),
    ]),
  ];
}
