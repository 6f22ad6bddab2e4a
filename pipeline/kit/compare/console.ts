/** A comparison as text. */
import type { Interval } from '../stats/knee.ts';
import type { ComparedCapacity } from './capacity.ts';
import type { ComparedMetric, Comparison } from './compare.ts';

const WORDS = {
  regressed: 'WORSE: at least one headline metric regressed.',
  improved: 'BETTER: at least one headline metric improved, none regressed.',
  equivalent: 'EQUIVALENT: every headline metric is the same within its band.',
  inconclusive: 'NOT DECIDED: what was measured does not tell.',
} as const;

/** A stranger's text on a terminal: nothing that moves the cursor, not too long. */
const clean = (text: string, max: number): string => {
  const safe = text.replace(/[\p{Cc}\p{Cf}]/gu, '?');
  return safe.length > max ? `${safe.slice(0, max - 1)}…` : safe;
};

const number = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(3))) : '–');
const percent = (ratio: number): string => {
  const p = (ratio - 1) * 100;
  return `${p > 0 ? '+' : ''}${p.toFixed(Math.abs(p) < 10 ? 1 : 0)} %`;
};

/** Counts are per second here; shares have no unit. */
const unitOf = ({ unit }: ComparedMetric): string => unit.replace(/^\{(.*)\}$/, '$1/s').replace(/^1$/, '');

function row(m: ComparedMetric): string[] {
  const { shift } = m;
  const why = m.note ?? (m.need !== undefined ? `not enough, about ${m.need} blocks a side are needed` : '');
  return [
    m.headline ? `* ${m.signal}` : `  ${m.signal}`,
    shift ? `${number(shift.before)} ${unitOf(m)}`.trimEnd() : '–',
    shift ? `${number(shift.after)} ${unitOf(m)}`.trimEnd() : '–',
    shift ? percent(shift.ratio) : '–',
    shift ? `${percent(shift.low)} … ${percent(shift.high)}` : '–',
    `${m.verdict}${why === '' ? '' : ` (${why})`}`,
  ];
}

function table(rows: readonly string[][]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  return rows.map((r) =>
    r
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
}

const interval = (i: Interval | null): string =>
  i === null ? '–' : `${number(i.value)} (${number(i.low)} … ${number(i.high)})`;

function capacityLines({ knee, capacity, ratio, verdict, note }: ComparedCapacity): string[] {
  if (!ratio) return knee.some((k) => k) ? [`  Capacity: not compared (${note}).`] : [];
  return [
    `  Knee: ${interval(knee[0])} → ${interval(knee[1])} requests at once`,
    `  Capacity: ${interval(capacity[0])} → ${interval(capacity[1])} tokens/s, ${percent(ratio.value)} (${percent(ratio.low)} … ${percent(ratio.high)}), ${verdict}`,
  ];
}

export function comparisonText(c: Comparison): string {
  const lines = [WORDS[c.verdict], ''];
  for (const { service, before, after, overlap } of c.load) {
    const own = c.metrics.filter((m) => m.service === service);
    lines.push(
      `Service ${clean(service, 60)}: ${number(before)} → ${number(after)} requests/s${overlap ? '' : ', DIFFERENT LOADS'}`,
    );
    const head = ['  metric', 'before', 'after', 'change', '95 % interval', 'verdict'];
    const whole = own.filter((m) => m.replica === undefined);
    if (whole.length > 0) lines.push(...table([head, ...whole.map(row)]));
    const carried = c.capacity.find((x) => x.service === service);
    if (carried) lines.push(...capacityLines(carried));
    const replicas = own.filter((m) => m.replica !== undefined && /regressed|improved/.test(m.verdict));
    if (replicas.length > 0) {
      lines.push('', '  Replicas that changed:');
      lines.push(...table(replicas.map((m) => [`  ${clean(m.replica!, 30)}`, ...row(m)])));
    }
    lines.push('');
  }
  if (c.metrics.length === 0) lines.push('None of the signals that are compared is in both recordings.', '');
  for (const aa of c.aa_failures.slice(0, 10)) {
    const who = clean(aa.replica ?? aa.service, 60);
    lines.push(`A/A check failed: ${aa.signal} of ${who} differs from itself.`);
  }
  const unit = c.unit_of_analysis;
  lines.push(`* decides the verdict. Blocks are ${unit}s; before and after are put at the same load.`);
  return `${lines.join('\n')}\n`;
}
