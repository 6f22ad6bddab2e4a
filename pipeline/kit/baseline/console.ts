/** A baseline as text. */
import type { Interval } from '../stats/knee.ts';
import type { Baseline, ServiceBaseline } from './baseline.ts';

/** A stranger's text on a terminal: nothing that moves the cursor, not too long. */
const clean = (text: string, max: number): string => {
  const safe = text.replace(/[\p{Cc}\p{Cf}]/gu, '?');
  return safe.length > max ? `${safe.slice(0, max - 1)}…` : safe;
};

const number = (x: number | null | undefined): string =>
  x === null || x === undefined || !Number.isFinite(x) ? '–' : String(Number(x.toPrecision(3)));
const percent = (x: number | null): string => (x === null ? '–' : `${(x * 100).toFixed(x > 0.99 && x < 1 ? 1 : 0)} %`);
const seconds = (x: number | null): string => (x === null ? '–' : x < 1 ? `${number(x * 1000)} ms` : `${number(x)} s`);
const between = (i: Interval): string => `${number(i.value)} (${number(i.low)} … ${number(i.high)})`;

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  return rows.map((r) => `  ${r.map((cell, i) => cell.padStart(widths[i]!)).join('  ')}`);
}

function kneeLines({ knee, capacity }: ServiceBaseline): string[] {
  if (knee.status === 'insufficient') return [`  Knee: not known, ${knee.why}.`];
  if (knee.status === 'not_reached' || !knee.load) {
    return [`  Knee: not reached, ${knee.why}; this is the range that was seen, no more.`];
  }
  const rate = knee.requests_per_s ? `, ${between(knee.requests_per_s)} requests/s` : '';
  return [
    `  Knee: ${between(knee.load)} requests at once${rate}. By another way: ${number(knee.cross_check_load)}.`,
    ...(capacity
      ? [
          `  Capacity: ${between(capacity.tokens_per_s)} tokens/s${
            capacity.requests_per_s ? `, ${between(capacity.requests_per_s)} requests/s` : ''
          }.`,
        ]
      : []),
  ];
}

function feasibleLine({ feasible }: ServiceBaseline): string {
  if (!feasible) return '  Within the SLO: give objectives, --slo ttft=2s --slo itl=60ms, or a config that has them.';
  const wanted = Object.entries(feasible.objectives)
    .map(([name, limit]) => `${name} ${seconds(limit ?? null)}`)
    .join(', ');
  if (feasible.load === null)
    return `  Within the SLO (${wanted}; ${percent(feasible.share)}): not even the lowest load.`;
  const rate = feasible.requests_per_s === null ? '' : ` (${number(feasible.requests_per_s)} requests/s)`;
  const open = feasible.open ? ', and it held as far as the load went' : '';
  return `  Within the SLO (${wanted}; ${percent(feasible.share)}): up to ${number(feasible.load)} requests at once${rate}${open}.`;
}

export function baselineText(b: Baseline): string {
  const lines: string[] = [];
  for (const s of b.services) {
    const many = s.replicas > 0 ? `, ${s.replicas} replica${s.replicas === 1 ? '' : 's'}` : '';
    lines.push(`Service ${clean(s.service, 60)}${many}: ${s.levels.length} load levels`);
    lines.push(...kneeLines(s), feasibleLine(s));
    if (!s.mix.steady) lines.push('  The length of answers differed between the levels: they are hardly comparable.');
    if (s.levels.length > 0) {
      const head = ['at once', 'requests/s', 'tokens/s', 'TTFT', 'ITL', 'whole', 'within SLO'];
      const rows = s.levels.map((l) => [
        number(l.load),
        number(l.requests_per_s),
        number(l.tokens_per_s),
        seconds(l.ttft_s),
        seconds(l.itl_s),
        seconds(l.e2e_s),
        percent(l.within_slo),
      ]);
      lines.push('', ...table([head, ...rows]));
    }
    if (s.resources.length > 0) {
      lines.push('', '  At the load that can be carried:');
      for (const r of s.resources) {
        const full =
          r.full_at_tokens_per_s === null ? '' : `, full at about ${number(r.full_at_tokens_per_s)} tokens/s`;
        lines.push(`    ${r.resource}: ${percent(r.used)} in use, ${percent(r.headroom)} left${full}`);
      }
    }
    lines.push('');
  }
  if (b.services.length === 0)
    lines.push('There is no load in what was given: no requests under way and no tokens.', '');
  return lines.join('\n');
}
